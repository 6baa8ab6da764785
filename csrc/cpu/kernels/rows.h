// How the memory-bound kernels find their work: a task's units, and the row of the plane that a unit stands for.

#pragma once

#include "../kernels.h"
#include "../simd.h"

namespace tesela::TESELA_ISA {

struct Range {
  int64_t begin, end;
};

TESELA_INLINE Range units_of(const cpu::Units& units, int64_t task) {
  const int64_t begin = task * units.per_task;
  return {begin, smaller(begin + units.per_task, units.count)};
}

// Unit = (n * blocks + block) * rows + row.
struct PlaneRow {
  int64_t n, block, row;
};

TESELA_INLINE PlaneRow plane_row(int64_t unit, int64_t blocks, int64_t rows) {
  const int64_t plane = unit / rows;
  return {plane / blocks, plane % blocks, unit % rows};
}

inline constexpr float lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Lanes first, first + 1, ... that are below n.
TESELA_INLINE vmask lanes_below(int64_t n, int first = 0) {
  return load(lane_numbers + first) < set1(static_cast<float>(n));
}

// One value in the lanes of `block` that are channels, zero in the others.
TESELA_INLINE void fill_lanes(float (&lane)[16], float value, int64_t block, int64_t blocks, int64_t last_block_lanes) {
  const int64_t valid = block == blocks - 1 ? last_block_lanes : 16;
  for (int i = 0; i < 16; ++i) lane[i] = i < valid ? value : 0.0f;
}

}  // namespace tesela::TESELA_ISA
