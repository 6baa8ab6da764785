// Which form of a matrix product runs, and in which tiles: the only place that chooses.
//
// A product is cut into tiles, one block each. Its time is the number of rounds of all SMs, times what a tile costs:
// its steps, each as long as its multiply-adds or its copies take, whichever is longer, and what stands before the
// first and after the last of them. Where tiles are few, parts of the sum are tiles of their own, for the price of one
// more launch and the parts' way through memory. Not measured on a GPU yet: rates are what data sheets of A100 and H100
// promise, times what kernels of that kind are known to reach of it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../program.h"
#include "fragments.h"
#include "launch.h"
#include "tile.cuh"

namespace tesela::TESELA_DEVICE {

// groups times (m x k) * (k x n), m the output channels, n the pixels; k is taps times channels.
struct Product {
  int64_t m, n, k, groups = 1, taps = 1;
};

enum class Rung { ffma, mma, wgmma };

// Tiles of BM pixels and BN channels, and in how many parts their sums are taken.
struct TileChoice {
  int BM = 0, BN = 0, splits = 1;
};
struct Choice {
  Rung rung = Rung::ffma;
  TileChoice tile;
  double cycles = 0;
  size_t form = 0;  // of those that were given to choose()
};

inline int device_attribute(cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device_ordinal), "device attribute");
  return value;
}

// Multiply-adds of an SM in a cycle. FFMA: 128, of which a kernel that uses each value from shared memory four times
// reaches half. mma.sync: 512 of tf32, 1024 of 16 bits, of which seven tenths are reached. wgmma: 1024 and 2048, four
// fifths.
inline constexpr double ffma_rate = 64, mma_tf32_rate = 360, mma_half_rate = 720, wgmma_tf32_rate = 820,
                        wgmma_half_rate = 1640;
inline constexpr double copied_bytes = 40;     // of an SM in a cycle, from L2
inline constexpr double cycles_around = 1500;  // first copies, last stores
inline constexpr double cycles_of_launch = 3000;
inline constexpr double memory_bytes = 2000;  // of all SMs in a cycle

inline double rounds(int64_t tiles, int64_t blocks) { return static_cast<double>(ceil_div(tiles, blocks)); }

// Of FFMA.
inline double tile_cycles(const Product& p, int64_t sms, int64_t bm, int64_t bn, int64_t bk, double rate) {
  const double work = static_cast<double>(bm * bn * ceil_div(p.k, bk) * bk);
  return rounds(p.groups * ceil_div(p.m, bm) * ceil_div(p.n, bn), sms) * (work / rate + cycles_around);
}

// Of a tile's step: 128 bytes of the summed index.
struct StepCost {
  double multiply, copy;
};
inline StepCost step_cost(Precision precision, const TileChoice& c, double tf32_rate, double half_rate,
                          int copies_of_weights) {
  const bool half = storage_of(precision) != DType::float32, split = precision == Precision::float32;
  const double products = static_cast<double>(c.BM * c.BN) * swizzled_row / (half ? 2 : 4) * (split ? 3 : 1);
  return {products / (half ? half_rate : tf32_rate), (c.BM + c.BN * copies_of_weights) * swizzled_row / copied_bytes};
}

inline double product_cycles(const Product& p, int64_t sms, const TileChoice& c, int64_t steps, const StepCost& step) {
  const int64_t tiles = p.groups * ceil_div(p.m, c.BN) * ceil_div(p.n, c.BM) * c.splits;
  const double parts =
      c.splits == 1 ? 0 : cycles_of_launch + 8.0 * static_cast<double>(c.splits * p.m * p.n * p.groups) / memory_bytes;
  return rounds(tiles, sms) *
             (static_cast<double>(ceil_div(steps, c.splits)) * std::max(step.multiply, step.copy) + cycles_around) +
         parts;
}

// Steps of all taps, of which each begins at a multiple of `granule` bytes.
inline int64_t steps_of(const Product& p, Precision precision, int64_t granule) {
  const int64_t of_tap = p.k / p.taps * static_cast<int64_t>(bytes_of(storage_of(precision)));
  return ceil_div(p.taps * ceil_div(of_tap, granule) * granule, swizzled_row);
}

// Of pixels and channels; float32, as three products, has not all of them.
inline constexpr TileChoice mma_tiles_known[] = {{128, 128}, {128, 64}, {64, 64}};
inline constexpr TileChoice wgmma_tiles_known[] = {{128, 128}, {64, 128}, {128, 256}, {128, 192}, {256, 64}};
inline bool has_tile(Rung rung, const TileChoice& tile, Precision precision) {
  return precision != Precision::float32 || (rung == Rung::mma ? tile.BN != 128 : tile.BN == 128);
}

// TESELA_WGMMA_TILE=128x256x1, rows, columns and parts of the sum: to be taken wherever wgmma can, for tests;
// TESELA_MMA_TILE alike.
template <size_t count>
bool is_forced(const char* variable, Rung rung, const TileChoice (&tiles)[count], Precision precision,
               TileChoice& choice) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == 0) return false;
  int read = 0;
  if (std::sscanf(text, "%dx%dx%d%n", &choice.BM, &choice.BN, &choice.splits, &read) == 3 && text[read] == 0 &&
      choice.splits >= 1) {
    for (const TileChoice& tile : tiles) {
      if (has_tile(rung, tile, precision) && tile.BM == choice.BM && tile.BN == choice.BN) return true;
    }
  }
  throw ShapeError(std::string(variable) + ": expected the rows and columns of a tile for " + name_of(precision) +
                   " and parts of at least 1, such as " + (rung == Rung::mma ? "64x64x1" : "128x128x1") + ", got '" +
                   text + "'");
}

// What the kernels of the rungs can compute.
struct Fits {
  bool mma, wgmma;
  bool in_parts = true;  // mma.sync: may the sum be split
};

// Every rung and tile that fits, the one with the best estimate first.
inline std::vector<Choice> choices(const Product& p, Accuracy accuracy, Precision precision, Fits fits) {
  // What is asked to be strict is summed in IEEE float32.
  if (p.m == 0 || p.n == 0 || p.k == 0 || accuracy == Accuracy::strict) return {Choice{}};
  const int64_t sms = device_attribute(cudaDevAttrMultiProcessorCount);
  fits.mma = fits.mma && mma_is_compiled(), fits.wgmma = fits.wgmma && wgmma_is_compiled();
  const int64_t mma_steps = steps_of(p, precision, 16), wgmma_steps = steps_of(p, precision, swizzled_row);
  std::vector<Choice> all;
  const auto mma_cost = [&](const TileChoice& tile) {
    return step_cost(precision, tile, mma_tf32_rate, mma_half_rate, 1);
  };
  const auto wgmma_cost = [&](const TileChoice& tile) {
    return step_cost(precision, tile, wgmma_tf32_rate, wgmma_half_rate, precision == Precision::float32 ? 2 : 1);
  };
  TileChoice forced;
  const auto alone = [&](Rung rung, int64_t steps, const StepCost& step, bool in_parts) {
    forced.splits = in_parts ? static_cast<int>(std::min<int64_t>(forced.splits, steps)) : 1;
    return std::vector<Choice>{{rung, forced, product_cycles(p, sms, forced, steps, step)}};
  };
  if (fits.wgmma && is_forced("TESELA_WGMMA_TILE", Rung::wgmma, wgmma_tiles_known, precision, forced)) {
    return alone(Rung::wgmma, wgmma_steps, wgmma_cost(forced), true);
  }
  if (fits.mma && is_forced("TESELA_MMA_TILE", Rung::mma, mma_tiles_known, precision, forced)) {
    return alone(Rung::mma, mma_steps, mma_cost(forced), fits.in_parts);
  }

  all.push_back({Rung::ffma, {}, tile_cycles(p, sms * blocks_per_sm, BM, BN, BK, ffma_rate / blocks_per_sm)});
  const auto consider = [&](Rung rung, TileChoice tile, int64_t steps, const StepCost& step, int64_t most_splits) {
    for (tile.splits = 1; tile.splits <= std::min(steps, most_splits); tile.splits *= 2) {
      all.push_back({rung, tile, product_cycles(p, sms, tile, steps, step)});
    }
  };
  constexpr int64_t most_splits = 16;
  for (const TileChoice& tile : mma_tiles_known) {
    if (!fits.mma || !has_tile(Rung::mma, tile, precision)) continue;
    consider(Rung::mma, tile, mma_steps, mma_cost(tile), tile.BM == 64 && fits.in_parts ? most_splits : 1);
  }
  for (const TileChoice& tile : wgmma_tiles_known) {
    if (!fits.wgmma || !has_tile(Rung::wgmma, tile, precision)) continue;
    consider(Rung::wgmma, tile, wgmma_steps, wgmma_cost(tile), tile.BM == 64 ? most_splits : 1);
  }
  std::stable_sort(all.begin(), all.end(), [](const Choice& a, const Choice& b) { return a.cycles < b.cycles; });
  return all;
}

// A way to say a layer as a product.
struct Form {
  Product product;
  Fits fits;
  double bytes_more = 0;  // to and from memory, than the first form has, before tensor cores begin
  const char* name = "";
};

// What the program takes of all forms' choices. ffma is the name of what sums without tensor cores, and reads the first
// form.
inline Choice choose(const std::vector<Form>& forms, Program& program, Precision precision, const char* ffma) {
  std::vector<Choice> all;
  for (size_t form = 0; form < forms.size(); ++form) {
    for (Choice choice : choices(forms[form].product, program.accuracy(), precision, forms[form].fits)) {
      if (choice.rung == Rung::ffma && form > 0) continue;
      if (choice.rung != Rung::ffma) choice.cycles += forms[form].bytes_more / memory_bytes;
      choice.form = form;
      all.push_back(choice);
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Choice& a, const Choice& b) { return a.cycles < b.cycles; });
  std::vector<std::string> names;
  for (const Choice& choice : all) {
    const std::string rung = forms[choice.form].name + std::string(choice.rung == Rung::mma ? "mma" : "wgmma");
    const TileChoice& tile = choice.tile;
    names.push_back(choice.rung == Rung::ffma
                        ? ffma
                        : rung + (precision == Precision::float32 ? " 3xtf32 " : " ") + std::to_string(tile.BM) + "x" +
                              std::to_string(tile.BN) + "x" + std::to_string(tile.splits));
  }
  return all[program.choose(std::move(names))];
}

}  // namespace tesela::TESELA_DEVICE
