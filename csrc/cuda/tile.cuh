// The product that conv2d and gemm share: a block computes a BM x BN tile of A * B, BK columns of A at a time.
//
// 256 threads as 16 x 16, each with a TM x TN part of the tile in registers: rows ty + 16 i, columns tx + 16 j, so that
// neighbouring threads read neighbouring columns of B and write neighbouring columns of the result. A row of A in
// shared memory is one float longer than BM: threads that store consecutive k then meet different banks. Each value
// loaded from shared memory is used 4 times, which bounds this kernel well below the arithmetic peak.

#pragma once

#include "launch.h"

namespace tesela::TESELA_DEVICE {

inline constexpr int BM = 64, BN = 64, BK = 16;
inline constexpr int TM = 4, TN = 4;
inline constexpr int blocks_per_sm = 2;  // at least; leaves 128 registers a thread
static_assert(BM / TM * (BN / TN) == block_threads && block_threads % BN == 0 && block_threads % BM == 0);

struct TileMemory {
  float a[BK][BM + 1];
  float b[BK][BN];
};

struct TilePart {  // of one thread
  float sum[TM][TN];
};
__device__ inline int part_row(int i) { return static_cast<int>(threadIdx.x) / (BN / TN) + i * (BM / TM); }
__device__ inline int part_column(int j) { return static_cast<int>(threadIdx.x) % (BN / TN) + j * (BN / TN); }

// Element (m, k) of a tile's A comes from load_a(k, m), (k, n) of its B from load_b(k, n), k counted from 0 to K; both
// give 0 outside the operand. Neighbouring threads ask for neighbouring k where a_k_first (b_k_first) holds, else for
// neighbouring m (n); then each thread asks for one m (n) only, threadIdx.x % BM (BN).
template <class LoadA, class LoadB>
__device__ TilePart tile_product(int64_t K, bool a_k_first, bool b_k_first, LoadA load_a, LoadB load_b) {
  TileMemory& memory = shared_memory<TileMemory>();
  TilePart part{};
  for (int64_t k0 = 0; k0 < K; k0 += BK) {
    for (int e = static_cast<int>(threadIdx.x); e < BK * BM; e += block_threads) {
      const int k = a_k_first ? e % BK : e / BM, m = a_k_first ? e / BK : e % BM;
      memory.a[k][m] = k0 + k < K ? load_a(k0 + k, m) : 0.0f;
    }
    for (int e = static_cast<int>(threadIdx.x); e < BK * BN; e += block_threads) {
      const int k = b_k_first ? e % BK : e / BN, n = b_k_first ? e / BK : e % BN;
      memory.b[k][n] = k0 + k < K ? load_b(k0 + k, n) : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < BK; ++k) {
      float a[TM], b[TN];
      for (int i = 0; i < TM; ++i) a[i] = memory.a[k][part_row(i)];
      for (int j = 0; j < TN; ++j) b[j] = memory.b[k][part_column(j)];
      for (int i = 0; i < TM; ++i) {
        for (int j = 0; j < TN; ++j) part.sum[i][j] = fmaf(a[i], b[j], part.sum[i][j]);
      }
    }
    __syncthreads();
  }
  return part;
}

}  // namespace tesela::TESELA_DEVICE
