// Which block computes which tile of a product, host and device alike.

#pragma once

#include <cstdint>

#include "divisor.h"

namespace tesela {

// Tiles in the order in which blocks take them. Neighbours have the same pixels and other channels, so that pixels are
// read from memory once and then from L2; weights are in L2 anyway.
struct ProductTiles {
  int64_t n_tiles, m_tiles, groups, splits;
  Divisor by_n_tiles, by_m_tiles, by_groups;

  TESELA_HOST_DEVICE int64_t count() const { return n_tiles * m_tiles * groups * splits; }
};
inline ProductTiles product_tiles(int64_t n_tiles, int64_t m_tiles, int64_t groups, int64_t splits) {
  return {n_tiles, m_tiles, groups, splits, Divisor(n_tiles), Divisor(m_tiles), Divisor(groups)};
}

struct TilePlace {
  int n, m, group, split;
};
TESELA_HOST_DEVICE inline TilePlace place_of(const ProductTiles& tiles, int64_t tile) {
  const int64_t row = tiles.by_n_tiles.quotient(tile), plane = tiles.by_m_tiles.quotient(row),
                split = tiles.by_groups.quotient(plane);
  return {static_cast<int>(tile - row * tiles.n_tiles), static_cast<int>(row - plane * tiles.m_tiles),
          static_cast<int>(plane - split * tiles.groups), static_cast<int>(split)};
}

// The steps of one of `splits` parts of a sum: all parts differ by at most one step, and follow one another.
TESELA_HOST_DEVICE constexpr int64_t first_step(int64_t steps, int64_t splits, int64_t split) {
  return steps * split / splits;
}

}  // namespace tesela
