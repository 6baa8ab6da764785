// conv2d: y = activation(residual + gate[n, oc] * (b[oc] + sum over ic, kh, kw of x[n, ic, oh*SH - PT + kh*DH, ...] *
// w[oc, ic, kh, kw])) and the choice of kernels for it and for conv_transpose2d.
//
// implicit_gemm: within a group, rows are output channels, columns are pixels (n, oh, ow), and the summed index is
// (ic, kh, kw). A block computes one tile (tile.cuh); the columns of B are never stored, but read from x where they
// lie. direct: one thread per output. For groups of few output channels (depthwise), which would leave most of a tile
// empty. Weights of conv_transpose2d are reordered to those of conv2d when planned: (OC, IC/G, KH, KW). Limits: IC/G *
// KH * KW, OH * OW, IH * IW and padded coordinates below 2^31, or ShapeError. Not measured on a GPU yet.

#include "conv2d.cuh"
#include "conv2d_stem.h"
#include "nhwc.h"
#include "select.h"
#include "tile.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

// The input coordinate that output o and tap k meet in, or -1.
__device__ int input_at(int o, int k, int S, int D, int P, int I) {
  const int i = o * S - P + k * D;
  return i < 0 || i >= I ? -1 : i;
}

// x of one group of one image, at the tap k = (ic * KH + kh) * KW + kw of an output pixel.
__device__ float tap(const ConvArgs& s, const float* x, const Pixel& pixel, int k) {
  const int taps = s.KH * s.KW, ic = k / taps, kh = k % taps / s.KW, kw = k % s.KW;
  const int ih = input_at(pixel.oh, kh, s.SH, s.DH, s.PT, s.IH);
  const int iw = input_at(pixel.ow, kw, s.SW, s.DW, s.PL, s.IW);
  return ih < 0 || iw < 0 ? 0.0f : x[static_cast<int64_t>(ic) * s.IH * s.IW + ih * s.IW + iw];
}

// ---------------------------------------------------------------------------------------------------------- kernels

__global__ void __launch_bounds__(block_threads, blocks_per_sm)
    conv2d_implicit_gemm_kernel(ConvArgs s, ConvOperands p) {
  wait_for_earlier_kernel();
  for (int64_t tile = blockIdx.x; tile < s.G * s.m_tiles * s.n_tiles; tile += gridDim.x) {
    const Tile at = tile_of(s, tile);
    const int64_t g = at.g, n0 = at.n * BN;
    const int m0 = static_cast<int>(at.m) * BM;
    const float* w = p.w + g * s.gemm_m * s.gemm_k;
    const int64_t own_column = n0 + threadIdx.x % BN;
    const Pixel own = pixel_of(s, own_column);
    const float* x = p.x + (own.n * s.IC + g * (s.IC / s.G)) * s.IH * s.IW;
    const auto load_w = [&](int64_t k, int m) {
      return m0 + m < s.gemm_m ? w[static_cast<int64_t>(m0 + m) * s.gemm_k + k] : 0.0f;
    };
    const auto load_x = [&](int64_t k, int) {
      return own_column < s.gemm_n ? tap(s, x, own, static_cast<int>(k)) : 0.0f;
    };
    const TilePart part = tile_product(s.gemm_k, true, false, load_w, load_x);
    for (int j = 0; j < TN; ++j) {
      const int64_t column = n0 + part_column(j);
      if (column >= s.gemm_n) continue;
      const Pixel pixel = pixel_of(s, column);
      for (int i = 0; i < TM; ++i) {
        const int m = m0 + part_row(i);
        if (m < s.gemm_m) finish(s, p, pixel, g * s.gemm_m + m, part.sum[i][j]);
      }
    }
  }
}

__global__ void __launch_bounds__(block_threads) conv2d_direct_kernel(ConvArgs s, ConvOperands p) {
  wait_for_earlier_kernel();
  const int64_t plane = static_cast<int64_t>(s.OH) * s.OW, outputs = s.gemm_n * s.OC;
  for (int64_t item = first_item(); item < outputs; item += item_stride()) {
    const int64_t n = item / plane / s.OC, oc = item / plane % s.OC, g = oc / s.gemm_m;
    const int at = static_cast<int>(item % plane);
    const Pixel pixel = {n, at / s.OW, at % s.OW};
    const float* x = p.x + (n * s.IC + g * (s.IC / s.G)) * s.IH * s.IW;
    const float* w = p.w + oc * s.gemm_k;
    float sum = 0.0f;
    for (int k = 0; k < s.gemm_k; ++k) sum = fmaf(w[k], tap(s, x, pixel, k), sum);
    finish(s, p, pixel, oc, sum);
  }
}

// --------------------------------------------------------------------------------------------------------- planning

// (IC, OC/G, KH, KW) -> (OC, IC/G, KH, KW)
std::vector<float> as_conv2d_weight(const Conv2dShape& s, const float* weight) {
  const int64_t ic_of_group = s.IC / s.G, oc_of_group = s.OC / s.G, taps = s.KH * s.KW;
  std::vector<float> packed(static_cast<size_t>(s.OC * ic_of_group * taps));
  for (int64_t ic = 0; ic < s.IC; ++ic) {
    for (int64_t oc = 0; oc < oc_of_group; ++oc) {
      const int64_t to = (ic / ic_of_group * oc_of_group + oc) * ic_of_group + ic % ic_of_group;
      std::copy_n(weight + (ic * oc_of_group + oc) * taps, taps, packed.data() + to * taps);
    }
  }
  return packed;
}

constexpr Stem stems[] = {Stem::none, Stem::rows, Stem::windows};  // at the place of their forms

// The layer as it is and, where few channels lie plain and are to be rearranged anyway, with taps as channels.
std::vector<Form> forms_of(const Program& program, TensorId x, const Conv2dShape& s, bool fills_tiles) {
  const Precision precision = program.precision();
  const auto form = [&](const Conv2dShape& t) {
    // A transposed convolution's outputs each meet a part of the taps.
    const int64_t taps = t.transposed ? ceil_div(t.KH, t.SH) * ceil_div(t.KW, t.SW) : t.KH * t.KW;
    return Form{{t.OC / t.G, t.N * t.OH * t.OW, t.IC / t.G * taps, t.G, taps},
                {fills_tiles && conv2d_fits_mma(t, precision), fills_tiles && conv2d_fits_wgmma(t, precision)}};
  };
  // Of what is made of x: it is written, and read.
  const auto bytes = [&](const Conv2dShape& t) {
    return 2.0 * static_cast<double>(t.N * t.IH * t.IW * round_up(t.IC, channel_octet)) *
           static_cast<double>(bytes_of(storage_of(precision)));
  };
  std::vector<Form> forms{form(s)};
  if (program.spec(x).layout != Layout::plain || !conv2d_fits_stem(s)) return forms;
  for (Stem stem : {stems[1], stems[2]}) {
    const Conv2dShape t = after_stem(s, stem);
    forms.push_back(form(t));
    forms.back().bytes_more = bytes(t) - bytes(s);
    forms.back().name = name_before(stem);
  }
  return forms;
}

}  // namespace

ConvArgs conv_args(const Conv2dShape& s, ActivationSpec activation) {
  const int64_t gemm_k = s.IC / s.G * s.KH * s.KW;
  const int64_t reach_h = std::max(s.IH + s.PT + s.PB, s.OH + s.PT) + s.KH * s.DH + s.SH;
  const int64_t reach_w = std::max(s.IW + s.PL + s.PR, s.OW + s.PL) + s.KW * s.DW + s.SW;
  for (int64_t size : {gemm_k, s.OH * s.OW, s.IH * s.IW, reach_h, reach_w, s.OC / s.G + 2 * BM}) {
    if (size >= int64_t{1} << 31) {
      throw ShapeError(std::string(s.transposed ? "conv_transpose2d" : "conv2d") +
                       " on CUDA: expected planes, filters and coordinates below 2^31, got " + std::to_string(size));
    }
  }
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  return {narrow(s.IH),
          narrow(s.IW),
          narrow(s.OH),
          narrow(s.OW),
          narrow(s.KH),
          narrow(s.KW),
          narrow(s.SH),
          narrow(s.SW),
          narrow(s.DH),
          narrow(s.DW),
          narrow(s.PT),
          narrow(s.PL),
          narrow(s.OC / s.G),
          narrow(gemm_k),
          s.IC,
          s.OC,
          s.G,
          s.N * s.OH * s.OW,
          0,
          0,
          Divisor(s.OH * s.OW),
          Divisor(s.OW),
          {},
          {},
          activation};
}

ConvArgs in_tiles(ConvArgs args, int64_t tile_rows, int64_t tile_columns) {
  args.m_tiles = ceil_div(args.gemm_m, tile_rows);
  args.n_tiles = ceil_div(args.gemm_n, tile_columns);
  args.by_m_tiles = Divisor(args.m_tiles);
  args.by_n_tiles = Divisor(args.n_tiles);
  return args;
}

TensorId DeviceBackend::conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                               const float* bias, TensorId residual, ActivationSpec activation) const {
  return gated_conv2d(program, x, s, weight, bias, -1, residual, activation);
}

TensorId DeviceBackend::gated_conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                                     const float* bias, TensorId gate, TensorId residual,
                                     ActivationSpec activation) const {
  if (is_channels_last(program, x) && conv2d_fits_grouped(s, program.spec(x).dtype)) {
    if (gate >= 0) return Backend::gated_conv2d(program, x, s, weight, bias, gate, residual, activation);
    return append_conv2d_grouped(program, x, s, weight, bias, residual, activation);
  }
  constexpr int64_t fewest_rows = 8;  // of a tile's 64: below, a tile does more than 8 times the work
  ConvArgs args = conv_args(s, activation);
  const std::vector<float> reordered = s.transposed ? as_conv2d_weight(s, weight) : std::vector<float>();
  if (s.transposed) weight = reordered.data();
  const bool fills_tiles = args.gemm_m >= fewest_rows;
  const char* ffma = s.transposed  ? fills_tiles ? "implicit gemm by parity" : "direct by parity"
                     : fills_tiles ? "implicit gemm"
                                   : "direct";
  const Choice choice = choose(forms_of(program, x, s, fills_tiles), program, program.precision(), ffma);
  if (choice.rung != Rung::ffma && choice.form > 0) {
    const Stem stem = stems[choice.form];
    const std::vector<float> rearranged = weights_after_stem(s, stem, weight);
    return append_conv2d_on_tensor_cores(
        program,
        {append_stem(program, x, s, stem), residual, gate, after_stem(s, stem), rearranged.data(), bias, activation},
        choice);
  }
  if (choice.rung != Rung::ffma) {
    return append_conv2d_on_tensor_cores(program, {x, residual, gate, s, weight, bias, activation}, choice);
  }
  const bool has_residual = residual >= 0, has_gate = gate >= 0;
  std::vector<TensorId> inputs;
  for (TensorId id : {x, residual, gate}) {
    if (id >= 0) inputs.push_back(program.in_layout(id, Layout::plain));
  }
  if (s.transposed) return append_conv_transpose2d(program, inputs, s, args, weight, bias);
  args = in_tiles(args, BM, BN);
  DeviceBuffer w = DeviceBuffer::of(weight, s.OC * args.gemm_k), b = DeviceBuffer::of(bias, s.OC);
  const size_t weight_bytes = w.bytes() + b.bytes();
  const bool direct = args.gemm_m < fewest_rows;
  const Grid grid = direct ? grid_over(args.gemm_n * s.OC)
                           : Grid{s.G * args.m_tiles * args.n_tiles, block_threads, sizeof(TileMemory)};
  auto* kernel = direct ? conv2d_direct_kernel : conv2d_implicit_gemm_kernel;
  auto run = [=, w = std::move(w), b = std::move(b)](const Operand* in, const Operand* out, void* stream) {
    launch(kernel, grid, stream, args,
           ConvOperands{in[0].floats(), w.floats(), b.floats(), has_residual ? in[1].floats() : nullptr,
                        has_gate ? in[has_residual ? 2 : 1].floats() : nullptr, out[0].floats()});
  };
  return append(program, direct ? "direct" : "implicit gemm", inputs, {plain_spec(s.y_dims())}, weight_bytes, s.flops(),
                std::move(run))[0];
}

}  // namespace tesela::TESELA_DEVICE
