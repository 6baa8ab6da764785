// The tiles of wgmma: their shapes, what they take of shared memory and registers, and which block computes which,
// host and device alike.
//
// A block is a producer, one warpgroup of which a single thread has work, and two consumers. It computes tile after
// tile of BM pixels by BN channels, in steps of 128 bytes of the summed index.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "divisor.h"
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

// Tiles in the order in which blocks take them. Neighbours have the same pixels and other channels, so that pixels are
// read from memory once and then from L2; weights are in L2 anyway.
struct WgmmaTiles {
  int64_t n_tiles, m_tiles, groups, splits;
  Divisor by_n_tiles, by_m_tiles, by_groups;

  TESELA_HOST_DEVICE int64_t count() const { return n_tiles * m_tiles * groups * splits; }
};
inline WgmmaTiles wgmma_tiles(int64_t n_tiles, int64_t m_tiles, int64_t groups, int64_t splits) {
  return {n_tiles, m_tiles, groups, splits, Divisor(n_tiles), Divisor(m_tiles), Divisor(groups)};
}

struct WgmmaPlace {
  int64_t n, m, group, split;
};
TESELA_HOST_DEVICE inline WgmmaPlace place_of(const WgmmaTiles& tiles, int64_t tile) {
  const int64_t row = tiles.by_n_tiles.quotient(tile), plane = tiles.by_m_tiles.quotient(row),
                split = tiles.by_groups.quotient(plane);
  return {tile - row * tiles.n_tiles, row - plane * tiles.m_tiles, plane - split * tiles.groups, split};
}

// The steps of one of `splits` parts of a sum: all parts differ by at most one step, and follow one another.
TESELA_HOST_DEVICE constexpr int64_t first_step(int64_t steps, int64_t splits, int64_t split) {
  return steps * split / splits;
}

}  // namespace tesela
