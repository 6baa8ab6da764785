// Where the elements of a warp's matrix fragments are, and where tiles lie in shared memory: host and device alike, and
// checked here for every value that occurs, when the file is compiled.
//
// mma.m16n8k8 of tf32: of each operand a lane holds some elements. With g = lane / 4 and t = lane % 4:
//
//     a (16 x 8)  a0 = (g, t)   a1 = (g + 8, t)   a2 = (g, t + 4)   a3 = (g + 8, t + 4)
//     b (8 x 8)   b0 = (t, g)   b1 = (t + 4, g)
//     c (16 x 8)  c0 = (g, 2t)  c1 = (g, 2t + 1)  c2 = (g + 8, 2t)  c3 = (g + 8, 2t + 1)
//
// mma.m16n8k16 of 16 bits has the same c, and two numbers where tf32 has one: register by register and byte by byte the
// fragments of a and of b are the same for all types, 32 bytes of k. ldmatrix fills them from rows of k in shared
// memory: each lane names 16 bytes, and register i of lane l gets the bytes 4 (l % 4) to 4 (l % 4) + 3 of what lane
// 8 i + l / 4 has named.
//
// Tiles lie k by k, in rows of 128 bytes whose 16-byte chunks are swizzled: chunk c of row r is at c ^ r % 8. So the 8
// rows that ldmatrix reads at a time meet different banks, and so do the chunks that 8 threads copy to a row.
//
// wgmma: a warpgroup multiplies 64 x k by k x n, with k of 32 bytes, from the same rows. Warp w holds rows 16 w and
// following of the result, in pairs of columns as mma's c does, and of A, where it comes from registers, as mma's a.

#pragma once

#include <cstdint>

#include "../host_device.h"

namespace tesela {

// What tensor cores multiply.
enum class MmaType { bfloat16, float16, tf32 };
TESELA_HOST_DEVICE constexpr int bytes_of(MmaType type) { return type == MmaType::tf32 ? 4 : 2; }

struct Element {
  int row, column;
};

TESELA_HOST_DEVICE constexpr Element a_element(int lane, int i) { return {lane / 4 + i % 2 * 8, lane % 4 + i / 2 * 4}; }
TESELA_HOST_DEVICE constexpr Element b_element(int lane, int i) { return {lane % 4 + i * 4, lane / 4}; }
TESELA_HOST_DEVICE constexpr Element c_element(int lane, int i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }

// What lane `lane` names for ldmatrix: of a, of two b that lie side by side.
struct Chunk {
  int row, chunk;  // of 16 bytes
};
TESELA_HOST_DEVICE constexpr Chunk a_chunk(int lane) { return {lane % 16, lane / 16}; }
TESELA_HOST_DEVICE constexpr Chunk b_chunk(int lane) { return {lane / 16 * 8 + lane % 8, lane / 8 % 2}; }

inline constexpr int swizzled_row = 128, swizzle_period = 8 * swizzled_row;  // bytes

// Where byte `byte` of row `row` is in a tile of swizzled rows that begins at a multiple of swizzle_period.
TESELA_HOST_DEVICE constexpr int swizzled_place(int row, int byte) {
  return row * swizzled_row + (byte ^ (row % 8 * 16));
}

// ------------------------------------------------------------------------------------------------------------- wgmma

// Of such a tile at a shared-memory address, or 32, 64 or 96 bytes further: 14 bits of address / 16, of nothing, of the
// distance of 8 rows / 16; and which swizzle it is.
TESELA_HOST_DEVICE constexpr uint64_t wgmma_descriptor(unsigned address) {
  return (address >> 4 & 0x3fffu) | uint64_t{1} << 16 | uint64_t{swizzle_period >> 4} << 32 | uint64_t{1} << 62;
}
inline constexpr uint64_t wgmma_next_k = 32 >> 4;  // to be added to a descriptor

// Thread t of a warpgroup, sum i of n / 2.
TESELA_HOST_DEVICE constexpr Element wgmma_sum(int t, int i) {
  const Element e = c_element(t % 32, i % 4);
  return {t / 32 * 16 + e.row, i / 4 * 8 + e.column};
}

// ------------------------------------------------------------------------------------------------ checked when
// compiled

namespace checked {

// Every element of rows x columns is held once.
template <class Map>
constexpr bool is_bijection(Map map, int registers, int rows, int columns) {
  bool held[16 * 8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < registers; ++i) {
      const Element e = map(lane, i);
      if (e.row < 0 || e.row >= rows || e.column < 0 || e.column >= columns || held[e.row * columns + e.column])
        return false;
      held[e.row * columns + e.column] = true;
    }
  }
  return registers * 32 == rows * columns;
}
static_assert(is_bijection(a_element, 4, 16, 8) && is_bijection(b_element, 2, 8, 8) &&
              is_bijection(c_element, 4, 16, 8));

// ldmatrix brings what the fragments hold, and 8 lanes name rows in different banks, wherever the tile begins.
constexpr bool ldmatrix_fills_fragments() {
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int named_by = i * 8 + lane / 4, column = lane % 4;
      const Element a = a_element(lane, i), b = b_element(lane, i % 2);
      const Chunk from_a = a_chunk(named_by), from_b = b_chunk(named_by);
      if (from_a.row != a.row || from_a.chunk * 4 + column != a.column) return false;
      if (from_b.row != b.column + i / 2 * 8 || from_b.chunk * 4 + column != b.row) return false;
    }
  }
  return true;
}
static_assert(ldmatrix_fills_fragments());
constexpr bool ldmatrix_banks_differ(Chunk (*chunk)(int)) {
  for (int k = 0; k < 4; ++k) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      bool used[8] = {};
      for (int lane = matrix * 8; lane < matrix * 8 + 8; ++lane) {
        const Chunk at = chunk(lane);
        bool& banks = used[swizzled_place(at.row, k * 32 + at.chunk * 16) / 16 % 8];
        if (banks) return false;
        banks = true;
      }
    }
  }
  return true;
}
static_assert(ldmatrix_banks_differ(a_chunk) && ldmatrix_banks_differ(b_chunk));
// A warp that loads one register of a from a swizzled tile of tf32, word by word.
constexpr bool swizzled_banks_differ() {
  for (int k = 0; k < 4; ++k) {
    for (int i = 0; i < 4; ++i) {
      bool used[32] = {};
      for (int lane = 0; lane < 32; ++lane) {
        const Element e = a_element(lane, i);
        bool& bank = used[swizzled_place(e.row, (k * 8 + e.column) * 4) / 4 % 32];
        if (bank) return false;
        bank = true;
      }
    }
  }
  return true;
}
static_assert(swizzled_banks_differ());

constexpr bool swizzle_is_bijection() {
  bool held[swizzle_period / 16] = {};
  for (int row = 0; row < 8; ++row) {
    for (int byte = 0; byte < swizzled_row; byte += 16) {
      bool& chunk = held[swizzled_place(row, byte) / 16];
      if (chunk) return false;
      chunk = true;
    }
  }
  return true;
}
static_assert(swizzle_is_bijection());

}  // namespace checked
}  // namespace tesela
