// The product of tensor cores that conv2d, linear and gemm share: a block computes a 64 x 128 tile of A * B.
//
// 8 warps as 2 x 4, each with a 32 x 32 part in 2 x 4 fragments of mma.m16n8k8 (fragments.h). Tiles of 16 products go
// through `mma_stages` buffers of shared memory by cp.async: while one is multiplied, the next ones are on their way.
//
// float32 from tf32 (11 significant bits) by three products: x = hi + lo, hi = tf32(x), lo = tf32(x - hi), and
// x y ~ lo_x hi_y + hi_x lo_y + hi_x hi_y, smallest first. What is left out, and the rounding of lo, are below
// 3 * 2^-22 |x y|. Tensor cores round their sums toward zero; so that this does not add up, the accumulators are
// emptied into ordinary float32 sums every `mma_promoted` products. (Ootomo and Yokota, "Recovering single precision
// accuracy from Tensor Cores", 2022.) An infinity or NaN in x makes lo a NaN, where float32 might have given an
// infinity. Not measured on a GPU yet.

#pragma once

#include "fragments.h"
#include "ptx.cuh"

namespace tesela::TESELA_DEVICE {

inline constexpr int mma_stages = 3;  // 41 KB: what every architecture gives without being asked
static_assert(mma_warps * 32 == block_threads && MMA_BM * MMA_BK == block_threads * 4);

struct MmaMemory {
  float a[mma_stages][MMA_BM * a_row];
  float b[mma_stages][MMA_BK * b_row];
};
static_assert(sizeof(MmaMemory) <= (48 << 10));

// One thread's part of the tile.
struct MmaPart {
  float sum[MMA_WM / 16][MMA_WN / 8][4];
};
__device__ inline int mma_lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int mma_row(int i, int r) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  return warp / (MMA_BN / MMA_WN) * MMA_WM + i * 16 + c_element(mma_lane(), r).row;
}
__device__ inline int mma_column(int j, int r) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  return warp % (MMA_BN / MMA_WN) * MMA_WN + j * 8 + c_element(mma_lane(), r).column;
}

template <int count>
struct SplitFragment {
  uint32_t high[count], low[count];
  __device__ void set(int i, float x) {
    high[i] = ptx::to_tf32(x);
    low[i] = ptx::to_tf32(x - __uint_as_float(high[i]));
  }
};

// a: this tile's rows of A, packed: a_stride floats from row to row, a multiple of MMA_BK, zeros where A has nothing.
// load_b(k, to) starts the copies of this thread's part of row k0 + k of B, to `to` = b_place(k, 0).
template <class LoadB>
__device__ MmaPart mma_product(const float* a, int64_t a_stride, LoadB load_b) {
  MmaMemory& memory = shared_memory<MmaMemory>();
  const int steps = static_cast<int>(a_stride / MMA_BK);
  const auto start = [&](int step) {
    if (step < steps) {
      const int m = static_cast<int>(threadIdx.x) / 4, k = static_cast<int>(threadIdx.x) % 4 * 4;
      ptx::cp_async_16(memory.a[step % mma_stages] + a_place(m, k), a + m * a_stride + step * MMA_BK + k, 16);
      load_b(step * MMA_BK, memory.b[step % mma_stages]);
    }
    ptx::cp_async_commit();  // also where there is nothing, so that groups are steps
  };

  MmaPart part{};
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = mma_lane();
  const int m0 = warp / (MMA_BN / MMA_WN) * MMA_WM, n0 = warp % (MMA_BN / MMA_WN) * MMA_WN;
  for (int step = 0; step < mma_stages - 1; ++step) start(step);
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<mma_stages - 2>();
    __syncthreads();  // this step's tile is there for all, and the last one's has been read by all
    start(step + mma_stages - 1);
    MmaPart recent{};
    const float *a_tile = memory.a[step % mma_stages], *b_tile = memory.b[step % mma_stages];
    for (int k = 0; k < MMA_BK; k += 8) {
      SplitFragment<4> a_part[MMA_WM / 16];
      TESELA_UNROLL
      for (int i = 0; i < MMA_WM / 16; ++i) {
        TESELA_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Element e = a_element(lane, r);
          a_part[i].set(r, a_tile[a_place(m0 + i * 16 + e.row, k + e.column)]);
        }
      }
      TESELA_UNROLL
      for (int j = 0; j < MMA_WN / 8; ++j) {
        SplitFragment<2> b_part;
        TESELA_UNROLL
        for (int r = 0; r < 2; ++r) {
          const Element e = b_element(lane, r);
          b_part.set(r, b_tile[b_place(k + e.row, n0 + j * 8 + e.column)]);
        }
        TESELA_UNROLL
        for (int i = 0; i < MMA_WM / 16; ++i) {
          ptx::mma_m16n8k8_tf32(recent.sum[i][j], a_part[i].low, b_part.high);
          ptx::mma_m16n8k8_tf32(recent.sum[i][j], a_part[i].high, b_part.low);
          ptx::mma_m16n8k8_tf32(recent.sum[i][j], a_part[i].high, b_part.high);
        }
      }
    }
    TESELA_UNROLL
    for (int i = 0; i < MMA_WM / 16; ++i) {
      TESELA_UNROLL
      for (int j = 0; j < MMA_WN / 8; ++j) {
        TESELA_UNROLL
        for (int r = 0; r < 4; ++r) part.sum[i][j][r] += recent.sum[i][j][r];
      }
    }
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // before the next tile's copies
  return part;
}

}  // namespace tesela::TESELA_DEVICE
