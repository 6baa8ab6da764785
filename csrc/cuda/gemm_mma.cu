// gemm by mma.sync, fed by cp.async: sm_80 and up.
//
//   y = activation(alpha * op(a) @ op(b) + beta * c)
//
// Rows of the product (mma_tile.cuh) are those of y. Both operands come row by row of k, wherever they lie: 16 bytes a
// copy along k where rows begin at multiples of 16 bytes, else 4, in the order in which the operand is contiguous, and
// so that the 32 lanes of a warp meet different banks.
// float32 as three products of tf32, or tf32 in programs of less precision: operands are plain tensors, float32 always.
// Limits: K below 2^34. Not measured on a GPU yet.

#include "gemm.cuh"
#include "mma_tile.cuh"
#include "product_tiles.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct GemmMmaArgs {
  GemmArgs gemm;
  ProductTiles tiles;
  int steps;
};

// One operand from a tile's first row on.
template <class Tile>
struct GemmRows {
  static constexpr int lanes = vector_lanes<float>;

  const float* from;
  int64_t left, stride, k_stride;  // rows of the operand; from one to the next, from one k to the next

  __device__ const float* at(int64_t row, int64_t k) const { return from + row * stride + k * k_stride; }

  // Where a copy has no bytes nothing is read: its address may be anywhere.
  template <int rows>
  __device__ void copy(char* to, int64_t k0, int64_t K) const {
    if (k_stride == 1 && stride % lanes == 0) {
      const int chunk = copied_chunk();
      const int64_t k = k0 + chunk * lanes;
      const int there = K - k < lanes ? static_cast<int>(K - k) : lanes;
      TESELA_UNROLL
      for (int i = 0; i < rows; i += rows_at_once<Tile>) {
        const int row = copied_row() + i;
        ptx::cp_async_16(to + swizzled_place(row, chunk * 16), at(row, k), row < left && there > 0 ? there * 4 : 0);
      }
      return;
    }
    // A warp copies 32 k of a row, or 4 k of 8 rows.
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int item = static_cast<int>(threadIdx.x) / 32; item < rows; item += Tile::warps) {
      const int row = k_stride == 1 ? item : item % (rows / 8) * 8 + lane % 8;
      const int k = k_stride == 1 ? lane : item / (rows / 8) * lanes + lane / 8;
      ptx::cp_async_4(to + swizzled_place(row, k * 4), at(row, k0 + k), row < left && k0 + k < K ? 4 : 0);
    }
  }
};

template <class Tile>
struct GemmCopies {
  GemmRows<Tile> a, b;
  int64_t K, k = 0;

  __device__ void operator()(MmaStage<Tile>& stage) {
    a.template copy<Tile::BM>(stage.a, k, K);
    b.template copy<Tile::BN>(stage.b, k, K);
    k += Tile::BK;
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_of_sm)
    gemm_mma_kernel(const __grid_constant__ GemmMmaArgs s, const GemmOperands p) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  auto& memory = shared_memory<MmaMemory<Tile>>();
  const GemmArgs& g = s.gemm;
  wait_for_earlier_kernel();
  for (int64_t tile = blockIdx.x; tile < s.tiles.count(); tile += gridDim.x) {
    const TilePlace at = place_of(s.tiles, tile);
    const int64_t m0 = int64_t{at.m} * Tile::BM, n0 = int64_t{at.n} * Tile::BN;
    GemmCopies<Tile> copies{
        {p.a + m0 * g.a_m, g.M - m0, g.a_m, g.a_k}, {p.b + n0 * g.b_n, g.N - n0, g.b_n, g.b_k}, g.K};
    const MmaSums<Tile> sum = mma_product<Tile>(s.steps, copies, memory);
    turn_over<Tile::WM / 16>(
        sum.at[0][0], memory.staged[threadIdx.x / 32], [&](int chunk, int row, int column, Octet x) {
          const int64_t m = m0 + warp_row<Tile>() + chunk * 16 + row, n = n0 + warp_column<Tile>() + column;
          if (m >= g.M) return;
          float* y = p.y + m * g.N + n;
          TESELA_UNROLL
          for (int i = 0; i < 8; ++i) {
            if (n + i < g.N) x.lane[i] = finish(g, p, m, n + i, x.lane[i]);
          }
          if (g.N % 8 == 0 && n < g.N) {
            store_octet(y, x);
            return;
          }
          TESELA_UNROLL
          for (int i = 0; i < 8; ++i) {
            if (n + i < g.N) y[i] = x.lane[i];
          }
        });
    __syncthreads();  // before the next tile's copies
  }
#endif
}

template <class Tile>
TensorId append_tiles(Program& program, const std::vector<TensorId>& inputs, const GemmShape& s, const GemmArgs& args) {
  const GemmMmaArgs mma{args, product_tiles(ceil_div(s.N, Tile::BN), ceil_div(s.M, Tile::BM), 1, 1),
                        static_cast<int>(ceil_div(s.K, Tile::BK))};
  const Grid grid{mma.tiles.count(), Tile::threads, sizeof(MmaMemory<Tile>)};
  const bool has_c = inputs.size() > 2;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    const GemmOperands operands{in[0].floats(), in[1].floats(), has_c ? in[2].floats() : nullptr, out[0].floats()};
    launch(gemm_mma_kernel<Tile>, grid, stream, mma, operands);
  };
  return append(program, Tile::split ? "mma 3xtf32" : "mma", inputs, {plain_spec({s.M, s.N})}, 0, s.flops(), run)[0];
}

template <bool split>
TensorId append_precision(Program& program, const std::vector<TensorId>& inputs, const GemmShape& s,
                          const GemmArgs& args, const TileChoice& choice) {
  constexpr MmaType tf32 = MmaType::tf32;
  if (choice.BM == 64) return append_tiles<MmaTile<tf32, split, 64, 64>>(program, inputs, s, args);
  if constexpr (!split) {
    if (choice.BN == 128) return append_tiles<MmaTile<tf32, split, 128, 128>>(program, inputs, s, args);
  }
  return append_tiles<MmaTile<tf32, split, 128, 64>>(program, inputs, s, args);
}

}  // namespace

TensorId append_gemm_mma(Program& program, const std::vector<TensorId>& inputs, const GemmShape& s,
                         const GemmArgs& args, const TileChoice& choice) {
  return program.precision() == Precision::float32 ? append_precision<true>(program, inputs, s, args, choice)
                                                   : append_precision<false>(program, inputs, s, args, choice);
}

}  // namespace tesela::TESELA_DEVICE
