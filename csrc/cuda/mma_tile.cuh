// The product of tensor cores that conv2d, linear and gemm share on sm_80 and up: a block computes BM x BN results of A
// * B, from rows of k of both.
//
// Tiles of 128 bytes of k, 64 numbers of 16 bits or 32 of 32, go through `stages` buffers of shared memory by cp.async,
// 16 bytes a copy, swizzled (fragments.h): while one is multiplied, the next ones are on their way. A warp has 64 x 32
// or 32 x 32 results in fragments of mma.m16n8, which ldmatrix loads, for all types alike.
//
// tf32: both numbers are rounded to nearest. float32 from tf32 (11 significant bits) by three products: x = hi + lo, hi
// = tf32(x), lo = tf32(x - hi), and x y ~ lo_x hi_y + hi_x lo_y + hi_x hi_y, smallest first. What is left out, and the
// rounding of lo, are below 3 * 2^-22 |x y|. Tensor cores cut products and sums toward zero; so that this does not add
// up, the accumulators are emptied into ordinary float32 sums after every tile. (Ootomo and Yokota, "Recovering single
// precision accuracy from Tensor Cores", 2022. Accumulators of their own for the small products would let two thirds of
// what is cut be cut from smaller sums, but the tile of 64 x 64 then spills.) An infinity or NaN in x makes lo a NaN,
// where float32 might have given an infinity. Not measured on a GPU yet.

#pragma once

#include "epilogue.cuh"
#include "fragments.h"
#include "ptx.cuh"

namespace tesela::TESELA_DEVICE {

// split: float32 as three products of tf32.
template <MmaType type_, bool split_, int BM_, int BN_>
struct MmaTile {
  static constexpr MmaType type = type_;
  static constexpr bool split = split_;
  static constexpr int BM = BM_, BN = BN_, BK = swizzled_row / bytes_of(type);
  static constexpr int WM = BM * BN == 128 * 128 ? 64 : 32, WN = 32;  // of a warp
  static constexpr int warps = BM / WM * (BN / WN), threads = warps * 32;
  static constexpr int stages = 3;
  // What 96 to 164 KB of shared memory and 64 K registers of an SM have room for.
  static constexpr int blocks_of_sm = BM == 64 ? 3 : 1;
  static_assert(WN == staged_columns && WM % 16 == 0 && !(split && WM == 64));
};

template <class Tile>
struct MmaStage {
  alignas(swizzle_period) char a[Tile::BM * swizzled_row];
  alignas(swizzle_period) char b[Tile::BN * swizzled_row];
};
template <class Tile>
union MmaMemory {
  MmaStage<Tile> stage[Tile::stages];
  alignas(16) Staged staged[Tile::warps];
};
inline constexpr size_t mma_shared_bytes = 99 << 10;  // of a block on sm_86, sm_89 and sm_120; others have more

// One thread's results: of each 16 rows and 8 columns of its warp's, as mma has them.
template <class Tile>
struct MmaSums {
  float at[Tile::WM / 16][Tile::WN / 8][4];

  __device__ void add(const MmaSums& other) {
    TESELA_UNROLL
    for (int i = 0; i < Tile::WM / 16; ++i) {
      TESELA_UNROLL
      for (int j = 0; j < Tile::WN / 8; ++j) {
        TESELA_UNROLL
        for (int r = 0; r < 4; ++r) at[i][j][r] += other.at[i][j][r];
      }
    }
  }
};

// The first row and column of a warp's.
template <class Tile>
__device__ int warp_row() {
  return static_cast<int>(threadIdx.x) / 32 / (Tile::BN / Tile::WN) * Tile::WM;
}
template <class Tile>
__device__ int warp_column() {
  return static_cast<int>(threadIdx.x) / 32 % (Tile::BN / Tile::WN) * Tile::WN;
}

// A thread copies one chunk of 16 bytes of some rows: that of `copied_row` and of every Tile::threads / 8 after it.
inline constexpr int chunks_of_row = swizzled_row / 16;
__device__ inline int copied_chunk() { return static_cast<int>(threadIdx.x) % chunks_of_row; }
__device__ inline int copied_row() { return static_cast<int>(threadIdx.x) / chunks_of_row; }
template <class Tile>
inline constexpr int rows_at_once = Tile::threads / chunks_of_row;

// Registers of a fragment as they are multiplied: tf32 rounded, of split with what the rounding left.
template <class Tile, int count>
struct Fragment {
  uint32_t high[count], low[count];
  __device__ void set(const uint32_t* bits) {
    TESELA_UNROLL
    for (int i = 0; i < count; ++i) {
      if constexpr (Tile::type == MmaType::tf32) {
        high[i] = ptx::to_tf32(__uint_as_float(bits[i]));
      } else {
        high[i] = bits[i];
      }
      if constexpr (Tile::split) low[i] = ptx::to_tf32(__uint_as_float(bits[i]) - __uint_as_float(high[i]));
    }
  }
};

// c += a tile's products.
template <class Tile>
__device__ void multiply_stage(const MmaStage<Tile>& stage, MmaSums<Tile>& sum) {
  constexpr int fragments = Tile::WM / 16;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const Chunk in_a = a_chunk(lane), in_b = b_chunk(lane);
  const int row = warp_row<Tile>() + in_a.row, column = warp_column<Tile>() + in_b.row;
  TESELA_UNROLL
  for (int k = 0; k < swizzled_row; k += 32) {
    Fragment<Tile, 4> a[fragments];
    TESELA_UNROLL
    for (int i = 0; i < fragments; ++i) {
      uint32_t bits[4];
      ptx::ldmatrix(bits, stage.a + swizzled_place(row + i * 16, k + in_a.chunk * 16));
      a[i].set(bits);
    }
    TESELA_UNROLL
    for (int j = 0; j < Tile::WN; j += 16) {
      uint32_t bits[4];
      ptx::ldmatrix(bits, stage.b + swizzled_place(column + j, k + in_b.chunk * 16));
      Fragment<Tile, 2> b[2];
      b[0].set(bits), b[1].set(bits + 2);
      // Smallest products first, and of each sum not one after the other, which would have to wait.
      const auto multiply = [&](auto of_a, auto of_b) {
        TESELA_UNROLL
        for (int half = 0; half < 2; ++half) {
          TESELA_UNROLL
          for (int i = 0; i < fragments; ++i) {
            ptx::mma<Tile::type>(sum.at[i][j / 8 + half], a[i].*of_a, b[half].*of_b);
          }
        }
      };
      using A = Fragment<Tile, 4>;
      using B = Fragment<Tile, 2>;
      if constexpr (Tile::split) multiply(&A::low, &B::high), multiply(&A::high, &B::low);
      multiply(&A::high, &B::high);
    }
  }
}

// copy(stage) starts this thread's copies of the next tile of both operands.
template <class Tile, class Copy>
__device__ MmaSums<Tile> mma_product(int steps, Copy& copy, MmaMemory<Tile>& memory) {
  static_assert(sizeof memory <= mma_shared_bytes);
  constexpr int stages = Tile::stages;
  const auto start = [&](int step, int stage) {
    if (step < steps) copy(memory.stage[stage]);
    ptx::cp_async_commit();  // also where there is nothing, so that groups are steps
  };
  MmaSums<Tile> sum{};
  for (int step = 0; step < stages - 1; ++step) start(step, step);
  int stage = 0, free = stages - 1;
  for (int step = 0; step < steps; ++step) {
    ptx::cp_async_wait<stages - 2>();
    __syncthreads();  // this step's tile is there for all, and the last one's has been read by all
    start(step + stages - 1, free);
    if constexpr (Tile::split) {
      MmaSums<Tile> recent{};
      multiply_stage<Tile>(memory.stage[stage], recent);
      sum.add(recent);
    } else {
      multiply_stage<Tile>(memory.stage[stage], sum);
    }
    free = stage;
    stage = stage == stages - 1 ? 0 : stage + 1;
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // before what follows uses the memory
  return sum;
}

}  // namespace tesela::TESELA_DEVICE
