// What the kernels of conv2d and conv_transpose2d share: what is asked of them, their arguments, what follows the sum.

#pragma once

#include "backend.h"
#include "divisor.h"
#include "select.h"

namespace tesela::TESELA_DEVICE {

// weight: (OC, IC/G, KH, KW), also of a transposed convolution. bias may be null, residual and gate -1.
struct ConvRequest {
  TensorId x, residual, gate;
  const Conv2dShape& shape;
  const float *weight, *bias;
  ActivationSpec activation;
  bool linear = false;  // y has one pixel and will be a matrix
};

struct ConvArgs {
  int IH, IW, OH, OW, KH, KW, SH, SW, DH, DW, PT, PL;
  int gemm_m, gemm_k;         // OC/G, IC/G * KH * KW
  int64_t IC, OC, G, gemm_n;  // gemm_n = N * OH * OW
  int64_t m_tiles, n_tiles;
  Divisor by_plane, by_width, by_m_tiles, by_n_tiles;  // OH * OW, OW, and the tiles once they are known
  ActivationSpec activation;
};

struct ConvOperands {
  const float* x;         // (N, IC, IH, IW)
  const float* w;         // (OC, IC/G, KH, KW)
  const float* b;         // (OC) or null
  const float* residual;  // (N, OC, OH, OW) or null
  const float* gate;      // (N, OC) or null
  float* y;               // (N, OC, OH, OW)
};

struct Pixel {
  int64_t n;
  int oh, ow;
};

__device__ inline Pixel pixel_of(const ConvArgs& s, int64_t column) {
  const int64_t n = s.by_plane.quotient(column), at = column - n * s.OH * s.OW, oh = s.by_width.quotient(at);
  return {n, static_cast<int>(oh), static_cast<int>(at - oh * s.OW)};
}

__device__ inline void finish(const ConvArgs& s, const ConvOperands& p, const Pixel& pixel, int64_t oc, float sum) {
  const int64_t at = (pixel.n * s.OC + oc) * s.OH * s.OW + pixel.oh * s.OW + pixel.ow;
  if (p.b) sum += p.b[oc];
  if (p.gate) sum *= p.gate[pixel.n * s.OC + oc];
  if (p.residual) sum += p.residual[at];
  p.y[at] = activate(sum, s.activation);
}

struct Tile {
  int64_t g, m, n;  // group, and tile of rows and of columns
};
// Neighbouring blocks take other channels of the same pixels, which they then find in the L2 cache.
__device__ inline Tile tile_of(const ConvArgs& s, int64_t tile) {
  const int64_t rest = s.by_m_tiles.quotient(tile), g = s.by_n_tiles.quotient(rest);
  return {g, tile - rest * s.m_tiles, rest - g * s.n_tiles};
}

// ShapeError where a size does not fit the kernels' 32-bit coordinates.
ConvArgs conv_args(const Conv2dShape& s, ActivationSpec activation);        // conv2d.cu
ConvArgs in_tiles(ConvArgs args, int64_t tile_rows, int64_t tile_columns);  // the same, cut

// conv_transpose2d.cu. weight: (OC, IC/G, KH, KW), also of a transposed convolution.
TensorId append_conv_transpose2d(Program& program, const std::vector<TensorId>& inputs, const Conv2dShape& s,
                                 ConvArgs args, const float* weight, const float* bias);

// conv2d_mma.cu, conv2d_wgmma.cu, with the same weights, on channels_last tensors.
bool conv2d_fits_mma(const Conv2dShape& s, Precision precision);
TensorId append_conv2d_mma(Program& program, const ConvRequest& request, const TileChoice& choice);
bool conv2d_fits_wgmma(const Conv2dShape& s, Precision precision);
TensorId append_conv2d_wgmma(Program& program, const ConvRequest& request, const TileChoice& choice);
// The one of them that was chosen.
inline TensorId append_conv2d_on_tensor_cores(Program& program, const ConvRequest& request, const Choice& choice) {
  auto* append_product = choice.rung == Rung::mma ? append_conv2d_mma : append_conv2d_wgmma;
  return append_product(program, request, choice.tile);
}

}  // namespace tesela::TESELA_DEVICE
