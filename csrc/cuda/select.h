// Which form of a matrix product runs, and in which tiles: the only place that chooses.
//
// A product is cut into tiles, one block each. Its time is the number of rounds of all SMs, times what a tile costs:
// its steps, each as long as its multiply-adds or its copies take, whichever is longer, and what stands before the
// first and after the last of them. Where tiles are few, parts of the sum are tiles of their own, for the price of one
// more launch and the parts' way through memory. Not measured on a GPU yet: rates are what data sheets of A100 and H100
// promise, times what kernels of that kind are known to reach of it.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "../program.h"
#include "fragments.h"
#include "launch.h"
#include "tile.cuh"
#include "wgmma_tile.h"

namespace tesela::TESELA_DEVICE {

// groups times (m x k) * (k x n), m the output channels, n the pixels; k is taps times channels.
struct Product {
  int64_t m, n, k, groups = 1, taps = 1;
};

enum class Rung { ffma, mma, wgmma };

struct WgmmaChoice {
  int BM = 0, BN = 0, splits = 1;
};
struct Choice {
  Rung rung = Rung::ffma;
  WgmmaChoice wgmma;
};

inline int device_attribute(cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device_ordinal), "device attribute");
  return value;
}

// Multiply-adds of an SM in a cycle. FFMA: 128, of which a kernel that uses each value from shared memory four times
// reaches half. mma.sync: three products of tf32 in the time of one of that kernel. wgmma: 1024 of tf32, 2048 of 16
// bits, of which four fifths are reached.
inline constexpr double ffma_rate = 64, mma_rate = 3 * ffma_rate, wgmma_tf32_rate = 820, wgmma_half_rate = 1640;
inline constexpr double copied_bytes = 40;     // of an SM in a cycle, from L2
inline constexpr double cycles_around = 1500;  // first copies, last stores
inline constexpr double cycles_of_launch = 3000;
inline constexpr double memory_bytes = 2000;  // of all SMs in a cycle

inline double rounds(int64_t tiles, int64_t blocks) { return static_cast<double>(ceil_div(tiles, blocks)); }

inline double tile_cycles(const Product& p, int64_t sms, int64_t bm, int64_t bn, int64_t bk, double rate) {
  const double work = static_cast<double>(bm * bn * ceil_div(p.k, bk) * bk);
  return rounds(p.groups * ceil_div(p.m, bm) * ceil_div(p.n, bn), sms) * (work / rate + cycles_around);
}

inline double wgmma_cycles(const Product& p, int64_t sms, Precision precision, const WgmmaChoice& c) {
  const bool half = storage_of(precision) != DType::float32, split = precision == Precision::float32;
  const int64_t bk = half ? 64 : 32, steps = ceil_div(p.taps * ceil_div(p.k / p.taps, bk), c.splits);
  const int64_t tiles = p.groups * ceil_div(p.m, c.BN) * ceil_div(p.n, c.BM) * c.splits;
  const double multiply =
      static_cast<double>(c.BM * c.BN * bk) * (split ? 3 : 1) / (half ? wgmma_half_rate : wgmma_tf32_rate);
  const double copy = (c.BM + c.BN * (split ? 2 : 1)) * swizzled_row / copied_bytes;
  const double parts =
      c.splits == 1 ? 0 : cycles_of_launch + 8.0 * static_cast<double>(c.splits * p.m * p.n * p.groups) / memory_bytes;
  return rounds(tiles, sms) * (static_cast<double>(steps) * std::max(multiply, copy) + cycles_around) + parts;
}

// TESELA_WGMMA_TILE=128x256x1, rows, columns and parts of the sum: to be taken wherever wgmma can, for tests.
inline bool is_forced(WgmmaChoice& choice) {
  const char* text = std::getenv("TESELA_WGMMA_TILE");
  return text && std::sscanf(text, "%dx%dx%d", &choice.BM, &choice.BN, &choice.splits) == 3;
}

inline Choice choose(const Product& p, const Program& program, bool fits_mma, bool fits_wgmma) {
  Choice best;
  // What is asked to be strict is summed in IEEE float32.
  if (p.m == 0 || p.n == 0 || p.k == 0 || program.accuracy() == Accuracy::strict) return best;
  const int capability = device_attribute(cudaDevAttrComputeCapabilityMajor);
  const int64_t sms = device_attribute(cudaDevAttrMultiProcessorCount);
  const Precision precision = program.precision();
  fits_mma = fits_mma && capability >= 8, fits_wgmma = fits_wgmma && capability == 9;
  const int64_t steps = p.taps * ceil_div(p.k / p.taps, storage_of(precision) == DType::float32 ? 32 : 64);
  WgmmaChoice forced;
  if (fits_wgmma && is_forced(forced)) {
    forced.splits = static_cast<int>(std::min<int64_t>(forced.splits, steps));
    return {Rung::wgmma, forced};
  }
  double least = tile_cycles(p, sms * blocks_per_sm, BM, BN, BK, ffma_rate / blocks_per_sm);
  const auto consider = [&](Rung rung, double cycles, const WgmmaChoice& choice) {
    if (cycles < least) least = cycles, best = {rung, choice};
  };
  if (fits_mma) consider(Rung::mma, tile_cycles(p, sms, MMA_BM, MMA_BN, MMA_BK, mma_rate), {});
  if (!fits_wgmma) return best;
  constexpr WgmmaChoice shapes[] = {{128, 128}, {64, 128}, {128, 256}, {128, 192}, {256, 64}};
  for (WgmmaChoice choice : shapes) {
    const bool of_float32 = choice.BN == 128;
    if (precision == Precision::float32 && !of_float32) continue;
    for (choice.splits = 1; choice.splits <= std::min<int64_t>(steps, choice.BM == 64 ? 16 : 1); choice.splits *= 2) {
      consider(Rung::wgmma, wgmma_cycles(p, sms, precision, choice), choice);
    }
  }
  return best;
}

}  // namespace tesela::TESELA_DEVICE
