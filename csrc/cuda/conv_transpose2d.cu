// conv_transpose2d by parity classes: one launch for all of them, no products with zeros.
//
//   y[n, oc, first_h + SH * qh, first_w + SW * qw] = activation(b[oc] + residual
//       + sum over ic and the taps of the class of x[n, ic, qh + offset_h, qw + offset_w] * w[ic, oc, kh, kw])
//
// Outputs with equal coordinates modulo the stride form an ordinary convolution with the few taps that meet them
// (parity.h). Its weights are packed together, (G, OC/G, IC/G, taps), and a table says for each summed index where its
// input lies from the pixel (qh, qw). implicit_gemm: a block computes one tile of one class (tile.cuh). direct: one
// thread for each output, for groups of few output channels.
// Limits: those of conv2d.cuh. Neighbouring pixels of a class lie a stride apart in y. Not measured on a GPU yet.

#include "conv2d.cuh"
#include "parity.h"
#include "tile.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

struct alignas(16) Tap {
  int32_t offset, h, w, unused;
};

struct ParityClass {
  int first_h, first_w, QW, gemm_k;
  int64_t columns;      // N * QH * QW
  int64_t plane;        // QH * QW
  int64_t w, taps;      // where its weights and its taps begin
  int64_t first_block;  // of those that compute it
  int64_t n_tiles;
  Divisor by_plane, by_width, by_n_tiles;
};

struct ParityArgs {
  int64_t blocks;
  int classes;
};

__device__ const ParityClass& class_of(const ParityArgs& t, const ParityClass* classes, int64_t block) {
  int i = t.classes - 1;
  while (classes[i].first_block > block) --i;
  return classes[i];
}

struct ClassPixel {
  int64_t n;
  int qh, qw;
};
__device__ ClassPixel class_pixel(const ParityClass& c, int64_t column) {
  const int64_t n = c.by_plane.quotient(column), at = column - n * c.plane, qh = c.by_width.quotient(at);
  return {n, static_cast<int>(qh), static_cast<int>(at - qh * c.QW)};
}
__device__ Pixel output_of(const ConvArgs& s, const ParityClass& c, const ClassPixel& q) {
  return {q.n, c.first_h + q.qh * s.SH, c.first_w + q.qw * s.SW};
}

// x: of one group of one image, at the pixel (qh, qw)
__device__ float input_of(const ConvArgs& s, const float* x, const ClassPixel& q, const Tap& tap) {
  const bool inside = static_cast<unsigned>(q.qh + tap.h) < static_cast<unsigned>(s.IH) &&
                      static_cast<unsigned>(q.qw + tap.w) < static_cast<unsigned>(s.IW);
  return inside ? x[tap.offset] : 0.0f;
}
__device__ const float* input_at(const ConvArgs& s, const ConvOperands& p, int64_t g, const ClassPixel& q) {
  return p.x + (q.n * s.IC + g * (s.IC / s.G)) * s.IH * s.IW + static_cast<int64_t>(q.qh) * s.IW + q.qw;
}

__global__ void __launch_bounds__(block_threads, blocks_per_sm)
    conv_transpose2d_implicit_gemm_kernel(const __grid_constant__ ConvArgs s, ParityArgs t, ConvOperands p,
                                          const ParityClass* classes, const Tap* all_taps) {
  wait_for_earlier_kernel();
  for (int64_t block = blockIdx.x; block < t.blocks; block += gridDim.x) {
    const ParityClass& c = class_of(t, classes, block);
    const int64_t tile = block - c.first_block, rest = s.by_m_tiles.quotient(tile), g = c.by_n_tiles.quotient(rest);
    const int64_t n0 = (rest - g * c.n_tiles) * BN;
    const int m0 = static_cast<int>(tile - rest * s.m_tiles) * BM, gemm_k = c.gemm_k;
    const float* w = p.w + c.w + g * s.gemm_m * gemm_k;
    const Tap* taps = all_taps + c.taps;
    const int64_t own_column = n0 + threadIdx.x % BN;
    const bool exists = own_column < c.columns;
    const ClassPixel own = class_pixel(c, exists ? own_column : 0);
    const float* x = input_at(s, p, g, own);
    const auto load_w = [&](int64_t k, int m) {
      return m0 + m < s.gemm_m ? w[static_cast<int64_t>(m0 + m) * gemm_k + k] : 0.0f;
    };
    const auto load_x = [&](int64_t k, int) { return exists ? input_of(s, x, own, taps[k]) : 0.0f; };
    const TilePart part = tile_product(gemm_k, true, false, load_w, load_x);
    for (int j = 0; j < TN; ++j) {
      const int64_t column = n0 + part_column(j);
      if (column >= c.columns) continue;
      const Pixel pixel = output_of(s, c, class_pixel(c, column));
      for (int i = 0; i < TM; ++i) {
        const int m = m0 + part_row(i);
        if (m < s.gemm_m) finish(s, p, pixel, g * s.gemm_m + m, part.sum[i][j]);
      }
    }
  }
}

__global__ void __launch_bounds__(block_threads)
    conv_transpose2d_direct_kernel(const __grid_constant__ ConvArgs s, ParityArgs t, ConvOperands p,
                                   const ParityClass* classes, const Tap* all_taps) {
  wait_for_earlier_kernel();
  for (int64_t block = blockIdx.x; block < t.blocks; block += gridDim.x) {
    const ParityClass& c = class_of(t, classes, block);
    const int64_t item = (block - c.first_block) * block_threads + threadIdx.x;
    const int64_t plane = c.by_plane.quotient(item), n = plane / s.OC, oc = plane - n * s.OC, g = oc / s.gemm_m;
    if (item >= c.columns * s.OC) continue;
    const ClassPixel own = class_pixel(c, n * c.plane + item - plane * c.plane);
    const float *x = input_at(s, p, g, own), *w = p.w + c.w + oc * c.gemm_k;
    const Tap* taps = all_taps + c.taps;
    float sum = 0.0f;
    for (int k = 0; k < c.gemm_k; ++k) sum = fmaf(w[k], input_of(s, x, own, taps[k]), sum);
    finish(s, p, output_of(s, c, own), oc, sum);
  }
}

// --------------------------------------------------------------------------------------------------------- planning

struct Parities {
  std::vector<ParityClass> classes;
  std::vector<Tap> taps;
  std::vector<float> weights;
  int64_t blocks = 0;
};

// weight: (OC, IC/G, KH, KW)
void add_class(Parities& all, const Conv2dShape& s, const ConvArgs& args, const float* weight, int64_t first_h,
               int64_t first_w, bool direct) {
  const int64_t QH = ceil_div(s.OH - first_h, s.SH), QW = ceil_div(s.OW - first_w, s.SW);
  const auto taps_h = parity_taps(first_h, s.KH, s.SH, s.DH, s.PT);
  const auto taps_w = parity_taps(first_w, s.KW, s.SW, s.DW, s.PL);
  const int64_t IC = s.IC / s.G;
  ParityClass c{};
  c.first_h = static_cast<int>(first_h), c.first_w = static_cast<int>(first_w), c.QW = static_cast<int>(QW);
  c.gemm_k = static_cast<int>(IC * static_cast<int64_t>(taps_h.size() * taps_w.size()));
  c.columns = s.N * QH * QW, c.plane = QH * QW;
  c.w = static_cast<int64_t>(all.weights.size()), c.taps = static_cast<int64_t>(all.taps.size());
  c.first_block = all.blocks;
  c.n_tiles = ceil_div(c.columns, BN);
  c.by_plane = Divisor(c.plane), c.by_width = Divisor(QW), c.by_n_tiles = Divisor(c.n_tiles);
  all.blocks += direct ? ceil_div(c.columns * s.OC, block_threads) : s.G * args.m_tiles * c.n_tiles;
  for (int64_t ic = 0; ic < IC; ++ic) {
    for (const ParityTap& h : taps_h) {
      for (const ParityTap& w : taps_w) {
        all.taps.push_back({static_cast<int32_t>(ic * s.IH * s.IW + h.offset * s.IW + w.offset),
                            static_cast<int32_t>(h.offset), static_cast<int32_t>(w.offset), 0});
      }
    }
  }
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    for (int64_t ic = 0; ic < IC; ++ic) {
      const float* filter = weight + (oc * IC + ic) * s.KH * s.KW;
      for (const ParityTap& h : taps_h) {
        for (const ParityTap& w : taps_w) all.weights.push_back(filter[h.tap * s.KW + w.tap]);
      }
    }
  }
  all.classes.push_back(c);
}

}  // namespace

TensorId append_conv_transpose2d(Program& program, const std::vector<TensorId>& inputs, const Conv2dShape& s,
                                 ConvArgs args, const float* weight, const float* bias) {
  constexpr int64_t fewest_rows = 8;  // of a tile's 64: below, a tile does more than 8 times the work
  if (s.IC / s.G * s.IH * s.IW >= int64_t{1} << 31) {
    throw ShapeError("conv_transpose2d on CUDA: expected the inputs of a group to have fewer than 2^31 elements, got " +
                     std::to_string(s.IC / s.G * s.IH * s.IW));
  }
  const bool direct = args.gemm_m < fewest_rows;
  args = in_tiles(args, BM, BN);
  Parities all;
  for (int64_t h = 0; h < std::min(s.SH, s.OH); ++h) {
    for (int64_t w = 0; w < std::min(s.SW, s.OW); ++w) add_class(all, s, args, weight, h, w, direct);
  }
  DeviceBuffer w = DeviceBuffer::of(all.weights), b = DeviceBuffer::of(bias, s.OC);
  DeviceBuffer classes = DeviceBuffer::of(all.classes), taps = DeviceBuffer::of(all.taps);
  const size_t weight_bytes = w.bytes() + b.bytes();
  const bool has_residual = inputs.size() > 1;
  const ParityArgs parity{all.blocks, static_cast<int>(all.classes.size())};
  const Grid grid{all.blocks, block_threads, direct ? 0 : sizeof(TileMemory)};
  auto run = [=, w = std::move(w), b = std::move(b), classes = std::move(classes), taps = std::move(taps)](
                 const Operand* in, const Operand* out, void* stream) {
    const ConvOperands operands{in[0].floats(), w.floats(),     b.floats(), has_residual ? in[1].floats() : nullptr,
                                nullptr,        out[0].floats()};
    launch(direct ? conv_transpose2d_direct_kernel : conv_transpose2d_implicit_gemm_kernel, grid, stream, args, parity,
           operands, static_cast<const ParityClass*>(classes.data()), static_cast<const Tap*>(taps.data()));
  };
  return append(program, direct ? "direct by parity" : "implicit gemm by parity", inputs, {plain_spec(s.y_dims())},
                weight_bytes, s.flops(), std::move(run))[0];
}

}  // namespace tesela::TESELA_DEVICE
