// conv2d and unit-stride conv_transpose2d by tensor cores, float32 as three products of tf32 (mma_tile.cuh).
//
// Within a group, rows of the tile are output channels, columns are pixels (n, oh, ow), the summed index is
// (ic, kh, kw). Weights are packed when planned: (G, OC/G to a multiple of 64, IC/G * KH * KW to one of 16), zeros
// between. A table says for each summed index where its input lies from the first tap's: a thread keeps one column, and
// copies its inputs one by one from where they lie in x, zeros for padding. conv_transpose2d of stride 1 is the same
// with taps that count backwards.
// Limits: IC/G * IH * IW and what conv2d.cuh says; sm_80. Not measured on a GPU yet.

#include "conv2d.cuh"
#include "mma_tile.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

struct alignas(16) Tap {
  int32_t offset, h, w, unused;
};

struct ConvMmaArgs {
  int h0, w0;        // of x under the first tap of the first pixel
  int64_t a_stride;  // IC/G * KH * KW, padded
  int64_t group_channels;
  int64_t m_padded;  // OC/G, padded
};

constexpr int nowhere = INT32_MIN / 2;  // a row that no image has, also after adding a tap's, which may be there too
constexpr int64_t nowhere_reach = int64_t{1} << 29;

__global__ void __launch_bounds__(block_threads, 1)
    conv2d_mma_kernel(const __grid_constant__ ConvArgs s, const __grid_constant__ ConvMmaArgs t, ConvOperands p,
                      const Tap* taps) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  const int own = static_cast<int>(threadIdx.x) % MMA_BN, first_k = static_cast<int>(threadIdx.x) / MMA_BN;
  for (int64_t tile = blockIdx.x; tile < s.G * s.m_tiles * s.n_tiles; tile += gridDim.x) {
    const Tile at = tile_of(s, tile);
    const int64_t g = at.g, n0 = at.n * MMA_BN;
    const int m0 = static_cast<int>(at.m) * MMA_BM;
    const Pixel pixel = pixel_of(s, n0 + own);
    // A column beyond the last pixel has no row of x under any tap.
    const int h = n0 + own < s.gemm_n ? pixel.oh * s.SH + t.h0 : nowhere, w = pixel.ow * s.SW + t.w0;
    const float* x = p.x + (pixel.n * s.IC + g * t.group_channels) * s.IH * s.IW + static_cast<int64_t>(h) * s.IW + w;
    const auto load_b = [&](int k0, float* to) {
      for (int k = 0; k < MMA_BK; k += block_threads / MMA_BN) {
        const Tap tap = taps[k0 + first_k + k];
        const bool inside = static_cast<unsigned>(h + tap.h) < static_cast<unsigned>(s.IH) &&
                            static_cast<unsigned>(w + tap.w) < static_cast<unsigned>(s.IW);
        ptx::cp_async_4(to + b_place(first_k + k, own), inside ? x + tap.offset : p.x, inside ? 4 : 0);
      }
    };
    const MmaPart part = mma_product(p.w + (g * t.m_padded + m0) * t.a_stride, t.a_stride, load_b);
    TESELA_UNROLL
    for (int j = 0; j < MMA_WN / 8; ++j) {
      TESELA_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int64_t column = n0 + mma_column(j, r);
        if (column >= s.gemm_n) continue;
        const Pixel to = pixel_of(s, column);
        TESELA_UNROLL
        for (int i = 0; i < MMA_WM / 16; ++i) {
          TESELA_UNROLL
          for (int half = 0; half < 4; half += 2) {
            const int m = m0 + mma_row(i, r + half);
            if (m < s.gemm_m) finish(s, p, to, g * s.gemm_m + m, part.sum[i][j][r + half]);
          }
        }
      }
    }
  }
#endif
}

}  // namespace

bool conv2d_fits_mma(const Conv2dShape& s) {
  const int64_t reach = std::max(s.IH + s.PT + s.PB + s.OH + s.KH * s.DH, s.IW + s.PL + s.PR + s.OW + s.KW * s.DW);
  return !(s.transposed && (s.SH > 1 || s.SW > 1)) && reach < nowhere_reach &&
         s.IC / s.G * s.IH * s.IW < int64_t{1} << 31;
}

TensorId append_conv2d_mma(Program& program, const std::vector<TensorId>& inputs, const Conv2dShape& s, ConvArgs args,
                           const float* weight, const float* bias, const Dims& y) {
  args = in_tiles(args, MMA_BM, MMA_BN);
  const int64_t K = args.gemm_k, a_stride = ceil_div(K, MMA_BK) * MMA_BK, m_padded = args.m_tiles * MMA_BM;
  std::vector<float> packed(static_cast<size_t>(s.G * m_padded * a_stride));
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    const int64_t row = oc / args.gemm_m * m_padded + oc % args.gemm_m;
    std::copy_n(weight + oc * K, K, packed.data() + row * a_stride);
  }
  // Beyond K zeros are copied.
  std::vector<Tap> taps(static_cast<size_t>(a_stride), Tap{0, nowhere, 0, 0});
  const int sign = s.transposed ? -1 : 1;
  for (int64_t k = 0; k < K; ++k) {
    const auto h = static_cast<int32_t>(sign * (k / s.KW % s.KH) * s.DH),
               w = static_cast<int32_t>(sign * (k % s.KW) * s.DW);
    const int64_t channel = k / (s.KH * s.KW) * s.IH * s.IW;
    taps[static_cast<size_t>(k)] = {static_cast<int32_t>(channel + int64_t{h} * s.IW + w), h, w, 0};
  }
  const ConvMmaArgs mma{static_cast<int>(s.transposed ? s.PT : -s.PT), static_cast<int>(s.transposed ? s.PL : -s.PL),
                        a_stride, s.IC / s.G, m_padded};
  DeviceBuffer w = DeviceBuffer::of(packed), b = DeviceBuffer::of(bias, s.OC), table = DeviceBuffer::of(taps);
  const size_t weight_bytes = w.bytes() + b.bytes();
  const bool has_residual = inputs.size() > 1;
  const Grid grid{s.G * args.m_tiles * args.n_tiles, block_threads, sizeof(MmaMemory)};
  auto run = [=, w = std::move(w), b = std::move(b), table = std::move(table)](const Operand* in, const Operand* out,
                                                                               void* stream) {
    const ConvOperands operands{in[0].floats(), w.floats(), b.floats(), has_residual ? in[1].floats() : nullptr,
                                out[0].floats()};
    launch(conv2d_mma_kernel, grid, stream, args, mma, operands, static_cast<const Tap*>(table.data()));
  };
  return append(program, "implicit gemm 3xtf32", inputs, {plain_spec(y)}, weight_bytes, s.flops(), std::move(run))[0];
}

}  // namespace tesela::TESELA_DEVICE
