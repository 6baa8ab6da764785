// gemm and linear: y = activation(alpha * op(a) @ op(b) + beta * c), and x @ weight^T + bias as a case of it.
//
// A block computes one 64 x 64 tile of y (tile.cuh). Operands are described by the strides of their two indices, so
// that transposition costs nothing but the order in which threads read: always along the contiguous index.
// Both go to tensor cores where select.h says so (gemm_mma.cu, conv2d_mma.cu, conv2d_wgmma.cu). Limits: any sizes. With
// few rows (M = 1) most of a tile is empty and the weights' bandwidth is not reached. Not measured on a GPU yet.

#include "conv2d.cuh"
#include "gemm.cuh"
#include "tile.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

__global__ void __launch_bounds__(block_threads, blocks_per_sm) gemm_kernel(GemmArgs s, GemmOperands p) {
  wait_for_earlier_kernel();
  const int64_t n_tiles = (s.N + BN - 1) / BN, tiles = (s.M + BM - 1) / BM * n_tiles;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t m0 = tile / n_tiles * BM, n0 = tile % n_tiles * BN;
    const auto load_a = [&](int64_t k, int m) { return m0 + m < s.M ? p.a[(m0 + m) * s.a_m + k * s.a_k] : 0.0f; };
    const auto load_b = [&](int64_t k, int n) { return n0 + n < s.N ? p.b[k * s.b_k + (n0 + n) * s.b_n] : 0.0f; };
    const TilePart part = tile_product(s.K, s.a_k == 1, s.b_n != 1, load_a, load_b);
    for (int i = 0; i < TM; ++i) {
      for (int j = 0; j < TN; ++j) {
        const int64_t m = m0 + part_row(i), n = n0 + part_column(j);
        if (m >= s.M || n >= s.N) continue;
        p.y[m * s.N + n] = finish(s, p, m, n, part.sum[i][j]);
      }
    }
  }
}

Grid grid_of(const GemmShape& s) { return {ceil_div(s.M, BM) * ceil_div(s.N, BN), block_threads, sizeof(TileMemory)}; }

}  // namespace

TensorId DeviceBackend::gemm(Program& program, TensorId a, TensorId b, TensorId c, const GemmShape& s, float alpha,
                             float beta, bool trans_a, bool trans_b, bool c_is_row, ActivationSpec activation) const {
  a = program.in_layout(a, Layout::plain), b = program.in_layout(b, Layout::plain);
  if (c >= 0) c = program.in_layout(c, Layout::plain);
  const GemmArgs args{s.M,
                      s.N,
                      s.K,
                      trans_a ? 1 : s.K,
                      trans_a ? s.M : 1,
                      trans_b ? 1 : s.N,
                      trans_b ? s.K : 1,
                      c_is_row ? 0 : s.N,
                      alpha,
                      beta,
                      activation};
  const bool has_c = c >= 0;
  std::vector<TensorId> inputs{a, b};
  if (has_c) inputs.push_back(c);
  // Operands are float32 whatever the program's precision: products are those of float32, or of tf32.
  const Precision precision = program.precision() == Precision::float32 ? Precision::float32 : Precision::tf32;
  constexpr int64_t most_k = int64_t{1} << 34;
  const Choice choice = choose({{{s.N, s.M, s.K}, {s.K < most_k, false, false}}}, program, precision, "tiles");
  if (choice.rung == Rung::mma) return append_gemm_mma(program, inputs, s, args, choice.tile);
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(gemm_kernel, grid_of(s), stream, args,
           GemmOperands{in[0].floats(), in[1].floats(), has_c ? in[2].floats() : nullptr, out[0].floats()});
  };
  return append(program, "tiles", inputs, {plain_spec({s.M, s.N})}, 0, s.flops(), run)[0];
}

TensorId DeviceBackend::linear(Program& program, TensorId x, const GemmShape& s, const float* weight, const float* bias,
                               ActivationSpec activation) const {
  // The same product as a convolution of one pixel: outputs are channels, rows of x images.
  const Conv2dShape pixel{s.M, s.K, 1, 1, s.N, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, false};
  const Precision precision = program.precision();
  const Choice choice =
      choose({{{s.N, s.M, s.K}, {conv2d_fits_mma(pixel, precision), conv2d_fits_wgmma(pixel, precision)}}}, program,
             precision, "tiles");
  if (choice.rung != Rung::ffma) {
    const ConvRequest request{program.reshaped(x, {s.M, s.K, 1, 1}), -1, -1, pixel, weight, bias, activation, true};
    const TensorId y = append_conv2d_on_tensor_cores(program, request, choice);
    return program.reshaped(y, {s.M, s.N});
  }
  x = program.in_layout(x, Layout::plain);
  const GemmArgs args{s.M, s.N, s.K, s.K, 1, 1, s.K, 0, 1.0f, 1.0f, activation};
  DeviceBuffer w = DeviceBuffer::of(weight, s.N * s.K), b = DeviceBuffer::of(bias, s.N);
  const size_t weight_bytes = w.bytes() + b.bytes();
  auto run = [=, w = std::move(w), b = std::move(b)](const Operand* in, const Operand* out, void* stream) {
    launch(gemm_kernel, grid_of(s), stream, args,
           GemmOperands{in[0].floats(), w.floats(), b.floats(), out[0].floats()});
  };
  return append(program, "tiles", {x}, {plain_spec({s.M, s.N})}, weight_bytes, s.flops(), std::move(run))[0];
}

}  // namespace tesela::TESELA_DEVICE
