// The table of CPU kernels: one per instruction set, all compiled from the same sources in kernels/.
//
// Arguments are plain data, filled once by the planner (no C++ type crosses into a kernel), plus the addresses of one
// run. A kernel does one task; the planner decides how work is cut into tasks. Pointers named x, y, residual are
// blocked (NCHW16c, tensor.h) unless a comment says plain. Strides count floats.

#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../activation.h"

namespace tesela::cpu {

// ------------------------------------------------------------------------------------------------ matrix products
//
// conv2d, conv_transpose2d, linear and gemm are products of rows (pixels) and panels (16 output channels or columns).
// A problem is one dense product; grouped and transposed convolutions are several.

struct Contraction {
  const float* w;        // (panels, k, 16): packed weights, zero where a panel has no channel
  int64_t k;             // products summed per output
  int64_t panel_stride;  // floats from one panel to the next, at least 16 * k
  int64_t panel;         // first output panel of the tensor that this problem writes
  int64_t panels;
  int64_t ic_block;  // first input block read, and how many (convolution)
  int64_t ic_blocks;
  // (n_taps, 2): offset (h, w) of the input pixel from the output's origin; conv2d_stem: (k), of a product in the band.
  const int32_t* taps;
  int64_t n_taps;
  int64_t rows_h, rows_w;      // output pixels of one image computed here ...
  int64_t offset_h, offset_w;  // ... at (offset + row * step) of the output
};

struct ContractionTask {
  int32_t problem, panel_begin, panel_end;  // panels relative to the problem's first
  int64_t row_begin, row_end;               // over N * rows_h * rows_w
};

struct PackPanelArgs {  // gemm's op(b), plain, into panels of 16 columns
  int64_t k, columns, ldb;
  bool transposed;  // b is (N, K)
};

struct ContractionArgs {
  const Contraction* problems;
  const ContractionTask* tasks;
  // Input: pixel (h, w) = (row_h * stride_h + tap_h, row_w * stride_w + tap_w), zero outside IH x IW.
  int64_t IH, IW, IC, stride_h, stride_w, x_plane_stride;
  // conv2d_stem: x may be plain, and its rows are copied to a band (IC, band_rows, phases, phase_width).
  int64_t kernel_h, dilation_h, pad_top, pad_left;
  int64_t x_channel_stride, x_row_stride, x_pixel_stride, plain_image_stride;  // the last is 0 for blocked
  int64_t band_rows, phases, phase_width;
  int64_t lda;                               // gemm: floats between rows (or columns) of a
  int64_t a_row_stride, a_product_stride;    // gemm_few_rows: of op(a)
  PackPanelArgs b;                           // gemm: how op(b) lies where it is no parameter, ...
  int64_t block_panels, block_panel_stride;  // ... taken so many panels at a time, packed so far apart, ...
  int64_t block_rows;                        // ... for at most so many rows at a time
  // Output: pixel steps between neighbouring rows.
  int64_t OW, step_h, step_w;
  int64_t y_pixel_stride;                  // floats between pixels: 16 blocked, N plain
  int64_t y_plane_stride;                  // floats between panels: a plane blocked, 16 plain
  int64_t total_panels, last_panel_lanes;  // the very last panel holds 1..16 channels
  bool plain_output;                       // lanes past the last must not be written
  int64_t kc;                              // products per pass over a packed slice of rows
  const float* bias;                       // (total_panels * 16) or null
  float scale, residual_scale;             // y = activation(scale * sum + residual_scale * residual); 1 for convolution
  bool residual_is_row;                    // gemm: one row of it serves every row of y
  ActivationSpec activation;
};

struct ContractionOperands {
  const float* x;
  float* y;
  const float* residual;  // null when there is none
  int64_t x_image_stride, y_image_stride, residual_image_stride;
  float* scratch;
  const float* b = nullptr;  // gemm: plain, packed during this run, instead of the problem's weights
  // conv2d_pointwise: (N, blocks, 16), y = activation(gate * (sum + bias) + residual); null when there is none.
  const float* gate = nullptr;
  int64_t gate_image_stride = 0;
};

using ContractionKernel = void(const ContractionArgs&, const ContractionOperands&, int64_t task);

// conv2d_winograd: a problem's rows are tiles of outputs, its taps only the first (h, w), its weights (panels, points
// with weights of their own, k, 16).
struct WinogradArgs {
  const Contraction* problems;
  const ContractionTask* tasks;
  int64_t IH, IW, OW, step_h, step_w, x_plane_stride, y_plane_stride;
  int64_t dilation_h, dilation_w;  // between the input pixels of a tile
  int64_t total_panels, last_panel_lanes;
  const float* bias;  // (total_panels * 16) or null
  ActivationSpec activation;
};

using WinogradKernel = void(const WinogradArgs&, const ContractionOperands&, int64_t task);

// Of one panel: matrices x matrices from r x r taps.
struct WinogradWeightsArgs {
  static constexpr int most_matrices = 7, most_taps = 5;
  double G[most_matrices][most_taps];
  int matrices, r;
  int64_t tap[most_taps * most_taps];  // where in a kernel they lie, row by row
  int64_t ic_stride;                   // from the kernel of an input channel to the next one's
  int64_t k;                           // input channels
};
struct WinogradLane {
  const float* kernel;  // of the first input channel that its output channel has, `begin` of k
  int64_t begin, end;   // none: equal
};

// --------------------------------------------------------------------------------------- convolution, small groups

// Output pixels that see the same taps: all of a convolution, one residue class modulo the stride of a transposed one.
struct GroupedPhase {
  int64_t rows_h, rows_w;      // output pixels ...
  int64_t offset_h, offset_w;  // ... at (offset + row * step) of the output
  int64_t KH, KW;
  int64_t origin_h, origin_w;  // input pixel under the first tap of output pixel (0, 0)
  const float* w;              // (blocks, chunks, KH, KW, inputs of the chunk, 16)
};

struct GroupedArgs {
  const GroupedPhase* phases;
  int64_t n_phases;
  int64_t IH, IW, OW;
  int64_t stride_h, stride_w;  // input pixels between those of neighbouring output pixels of a phase,
  int64_t tap_h, tap_w;        // and between taps
  int64_t step_h, step_w;
  int64_t blocks, x_plane_stride, y_plane_stride, last_block_lanes;
  int64_t rows_per_task, tasks_per_plane;
  int64_t inputs;  // input channels of each output channel, taken `chunk` at a time
  int64_t chunk;
  const int32_t* channels;  // (blocks, inputs, 16): the input channel of each lane; null for depthwise, its own
  bool dense_h, dense_w;    // conv2d_grouped: how the band is laid out
  bool three_columns;       // conv2d_depthwise: KW 3, dilation 1, stride 1 or 2, padding of at most a column a side
  const float* bias;        // (blocks * 16) or null
  ActivationSpec activation;
};

// A depthwise convolution of what a 1x1 convolution makes of x. A task is a range of output rows of a few panels.
struct PointwiseDepthwiseArgs {
  ContractionArgs pointwise;  // one problem, whose tasks are not used; a plane in scratch is y_plane_stride long
  GroupedArgs depthwise;      // rows_per_task, tasks_per_plane: of output rows
  int64_t panels_per_task;
};

// ---------------------------------------------------------------------------------------- operands they share

// One tensor in, one out. Image strides are 0 for plain tensors.
struct MapOperands {
  const float* x;
  float* y;
  int64_t x_image_stride, y_image_stride;
  float* scratch;
};

// Equal pieces of work in one order: task t takes units [t * per_task, (t + 1) * per_task) below `count`.
struct Units {
  int64_t count, per_task;
};

// -------------------------------------------------------------------------------------------------------- pooling

// Plain tensors, pooled in blocks all the same: a band is so many output rows of one block of channels, whose input
// rows, at most most_rows, are transposed into scratch.
struct PoolBands {
  int64_t C, rows, most_rows;
  Units units;  // N * blocks * ceil(OH / rows)
};

// Plain tensors, pooled along their rows: windows of `taps` columns begin at every `stride`-th float of a row of
// `floats` in scratch, in which x begins at `left`; `rows` of them are there at once.
struct PoolColumns {
  int64_t stride, taps, left, floats, rows;
};

// A unit is one output row of one plane. With a last block that is not full, last_block_lanes says how full it is.
struct MaxPool2dArgs {
  int64_t IH, IW, OH, OW, KH, KW, SH, SW, DH, DW, PT, PL, blocks;
  int64_t x_plane_stride, y_plane_stride, last_block_lanes;  // blocked only
  Units rows;                                                // N * blocks * OH; of plain tensors N * C * OH
  PoolBands bands;
  PoolColumns columns;
};

struct MaxPool2dIndicesOperands {
  const float* x;    // plain (N, C, IH, IW)
  float* y;          // plain (N, C, OH, OW)
  int64_t* indices;  // plain (N, C, OH, OW)
};

// Window (oh, ow) is rows [begin_h[oh], end_h[oh]) x columns [begin_w[ow], end_w[ow]).
struct AvgPool2dArgs {
  int64_t IH, IW, OH, OW;
  const int64_t *begin_h, *end_h, *count_h;  // (OH)
  const int64_t *begin_w, *end_w, *count_w;  // (OW)
  int64_t divisor_override;                  // 0: divide by count_h * count_w
  int64_t blocks, x_plane_stride, y_plane_stride;
  Units rows;  // N * blocks * OH; of plain tensors N * C * OH
  PoolBands bands;
  PoolColumns columns;
};

// ---------------------------------------------------------------------------------------------------- elementwise

enum class Elementwise : int32_t { identity, add, mul, affine, prelu };  // x, x + b, x * b, x * b + c, x or x * b
enum class Spread : int32_t { each, lanes, one };  // b along a row: its own value, 16 values repeated, one value

// Rows of `inner` neighbouring floats of x and y, under outer dimensions with strides of their own. Blocked tensors
// are seen as (N, blocks, H * W * 16); their first stride is in the operands.
struct ElementwiseArgs {
  Elementwise op;
  Spread spread;
  ActivationSpec activation;
  int64_t rank;                                              // outer dimensions, at most max_rank
  const int64_t *sizes, *y_strides, *x_strides, *b_strides;  // (rank); c lies as b does
  int64_t inner;
  int64_t piece, pieces;     // a row is cut into so many pieces of at most so many floats, a multiple of 16
  int64_t last_block_lanes;  // in rows whose last outer coordinate is its greatest; 16 when nothing is to be cleared
  Units units;               // product of sizes * pieces

  static constexpr int64_t max_rank = 64;  // sizes are at least 2, so no addressable tensor has more
};

struct ElementwiseOperands {
  const float *x, *b, *c;
  float* y;
  int64_t x_image_stride, b_image_stride, y_image_stride;
};

// -------------------------------------------------------------------------------------------------- normalization

struct LocalResponseNormArgs {
  int64_t pixels, before, after;  // before and after below the number of channels
  float scale, beta, k;           // scale = alpha / size
  int64_t blocks, x_plane_stride, y_plane_stride, last_block_lanes;
  int64_t tile;   // pixels whose squares are in scratch at a time: tile * pitch floats
  int64_t pitch;  // floats of squares per pixel: before + blocks * 16 + after
  Units tiles;    // N * ceil(pixels / tile)
};

struct SoftmaxArgs {  // plain (outer, size, inner)
  int64_t size, inner;
  bool log;
  int64_t columns;  // softmax_columns: inner positions side by side, at most max_columns
  Units units;      // softmax_rows: outer; softmax_columns: outer * ceil(inner / columns)

  static constexpr int64_t max_columns = 256;
};

// ------------------------------------------------------------------------------------------------------ resampling

struct Resample2dArgs {
  int64_t IW, OH, OW;
  const int64_t *low_h, *high_h;  // (OH); -1 in low: the constant
  const int64_t *low_w, *high_w;  // (OW)
  const float *weight_h, *weight_w;
  float constant;
  int64_t blocks, x_plane_stride, y_plane_stride, last_block_lanes;
  Units rows;  // N * blocks * OH
};

// --------------------------------------------------------------------------------------------------------- layout

struct ConvertArgs {
  int64_t C, pixels, blocks, plane_stride;
  int64_t strip, strips;  // a plane is cut into so many strips of at most so many pixels
  Units units;            // N * blocks * strips
};

struct SpaceToDepthArgs {                                // x plain (N, C, IH, IW)
  int64_t C, IH, IW, OH, OW, stride, pad_top, pad_left;  // stride 2 or 4
  int64_t blocks, y_plane_stride;
  Units rows;  // N * blocks * OH
};

struct PixelShuffleArgs {  // plain (N * C, r * r, H, W) -> (N * C, H * r, W * r)
  int64_t H, W, factor;
  Units rows;  // N * C * H * r
};

// The table.
struct Kernels {
  const char* isa;
  int lanes;                            // floats of a vector
  int tile_rows;                        // most rows of a register tile
  int tile_panels;                      // and how many panels it has then
  ContractionKernel* conv2d_pointwise;  // 1x1, stride 1, no padding: x is read in place
  ContractionKernel* conv2d_strassen;   // likewise, from 7 products of halves instead of 8
  ContractionKernel* conv2d_direct;     // any taps; rows of x are packed slice by slice
  ContractionKernel* conv2d_stem;       // few input channels, x plain or blocked
  WinogradKernel *conv2d_winograd_2_3, *conv2d_winograd_3_2, *conv2d_winograd_4_2, *conv2d_winograd_4_3;  // F(m, r)
  WinogradKernel *conv2d_winograd_3_4, *conv2d_winograd_2_5, *conv2d_winograd_3_5, *conv2d_winograd_3_3_strided;
  void (*winograd_weights)(const WinogradWeightsArgs&, const WinogradLane* lane, float* panel);  // 16 lanes
  ContractionKernel* gemm_rows;      // x plain (M, K), row-major
  ContractionKernel* gemm_columns;   // x plain (K, M), row-major
  ContractionKernel* gemm_few_rows;  // x plain, either; b plain (K, N), row-major, read where it lies
  void (*gemm_pack_panel)(const PackPanelArgs&, const float* b, float* packed, int64_t panel);  // all its products
  ContractionKernel* linear_bfloat16;  // x plain, weights stored as bfloat16
  // From products of bfloat16: null in builds without them, and to be called where has_bfloat16_products() only.
  ContractionKernel *conv2d_products_bfloat16, *linear_products_bfloat16;
  void (*conv2d_depthwise)(const GroupedArgs&, const ContractionOperands&, int64_t task);
  void (*conv2d_grouped)(const GroupedArgs&, const ContractionOperands&, int64_t task);
  void (*conv2d_pointwise_depthwise)(const PointwiseDepthwiseArgs&, const ContractionOperands&, int64_t task);
  void (*max_pool2d)(const MaxPool2dArgs&, const MapOperands&, int64_t task);
  void (*max_pool2d_indices)(const MaxPool2dArgs&, const MaxPool2dIndicesOperands&, int64_t task);
  void (*max_pool2d_bands)(const MaxPool2dArgs&, const MapOperands&, int64_t task);
  void (*max_pool2d_rows)(const MaxPool2dArgs&, const MapOperands&, int64_t task);
  void (*avg_pool2d)(const AvgPool2dArgs&, const MapOperands&, int64_t task);
  void (*avg_pool2d_bands)(const AvgPool2dArgs&, const MapOperands&, int64_t task);
  void (*avg_pool2d_rows)(const AvgPool2dArgs&, const MapOperands&, int64_t task);
  void (*elementwise)(const ElementwiseArgs&, const ElementwiseOperands&, int64_t task);
  void (*local_response_norm)(const LocalResponseNormArgs&, const MapOperands&, int64_t task);
  void (*softmax_rows)(const SoftmaxArgs&, const MapOperands&, int64_t task);
  void (*softmax_columns)(const SoftmaxArgs&, const MapOperands&, int64_t task);
  void (*resample2d_copy)(const Resample2dArgs&, const MapOperands&, int64_t task);
  void (*resample2d_bilinear)(const Resample2dArgs&, const MapOperands&, int64_t task);
  void (*space_to_depth)(const SpaceToDepthArgs&, const MapOperands&, int64_t task);
  void (*plain_to_blocked)(const ConvertArgs&, const MapOperands&, int64_t task);
  void (*blocked_to_plain)(const ConvertArgs&, const MapOperands&, int64_t task);
  void (*pixel_shuffle)(const PixelShuffleArgs&, const MapOperands&, int64_t task);
};

}  // namespace tesela::cpu
