// The tiles of wgmma: their shapes, and what they take of shared memory and registers. Host and device alike.
//
// A block is a producer, one warpgroup of which a single thread has work, and two consumers. It computes tile after
// tile of BM pixels by BN channels, in steps of 128 bytes of the summed index.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "fragments.h"

namespace tesela {

inline constexpr int wgmma_consumers = 2, warpgroup_threads = 128;
inline constexpr int wgmma_threads = (1 + wgmma_consumers) * warpgroup_threads;
inline constexpr size_t wgmma_shared_bytes = 227 << 10, wgmma_other_bytes = 22 << 10;  // barriers, results
// Of 65536: what a block of 384 threads is started with is 168 each.
inline constexpr int producer_registers = 40, consumer_registers = 232;
static_assert(warpgroup_threads * (producer_registers + wgmma_consumers * consumer_registers) <= 65536);

// split: float32 as three products of tf32; two tiles of weights then.
template <MmaType type_, bool split_, int BM_, int BN_>
struct WgmmaTile {
  static constexpr MmaType type = type_;
  static constexpr bool split = split_;
  static constexpr int BM = BM_, BN = BN_, BK = swizzled_row / bytes_of(type);
  // Consumers share the rows where there are enough for both.
  static constexpr int consumers_m = BM >= 128 ? 2 : 1, consumers_n = wgmma_consumers / consumers_m;
  static constexpr int rows = BM / consumers_m / 64, columns = BN / consumers_n;  // of a consumer: rows * 64
  static constexpr int a_bytes = BM * swizzled_row, b_bytes = BN * swizzled_row;
  static constexpr int stage_bytes = a_bytes + b_bytes * (split ? 2 : 1);
  static constexpr int stages =
      static_cast<int>(std::min<size_t>(8, (wgmma_shared_bytes - wgmma_other_bytes) / stage_bytes));
  // Sums, of split twice, and of split its fragments of a and their halves.
  static constexpr int registers = rows * columns / 2 * (split ? 2 : 1) + (split ? 3 * 16 : 0);
  static_assert(registers <= 200 && stages >= 4 && BN <= 256 && a_bytes % swizzle_period == 0);
};

}  // namespace tesela
