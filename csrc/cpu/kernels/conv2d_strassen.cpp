// conv2d, 1x1, stride 1, no padding, by one level of Strassen's algorithm in Winograd's form: seven products of halves
// instead of eight.
//
//   C = A B:  S1 = A21 - A22   S2 = S1 - A11   S3 = A11 - A21   S4 = S2 + A12
//             T1 = B12 - B11   T2 = -B22 - T1  T3 = -B22 - B12  T4 = T2 + B21
//             C11 = A11 B11 + A12 B21          U = A11 B11 + S2 T2     V = U + S3 T3
//             C12 = U + S1 T1 + S4 B22         C21 = V + A22 T4        C22 = V + S1 T1
//
// A is pixels x input channels: pixels of an even line of the image over those below them, the first half of the
// channels beside the second. B is input x output channels, neighbouring panels on either side; the planner
// (../conv2d_strassen.cpp) sums it up in double. Strassen's S1 is A21 + A22, and so on: the signs here go with the
// second half of the channels, because values after a ReLU are of one sign.
//
// A task takes some lines and some output panels. It sums up S1 to S4 for its tiles in scratch, in the packed form of
// contraction.h, and reads A11, A12 and A22 in place. Then, for twice the panels of a register tile, it runs the seven
// products of each two tiles, one below the other, in such an order that most sums go on in their registers; U and V
// rest in L1. Limits: an even number of lines, whole register tiles of panels on either side, an even number of whole
// blocks of input channels; a NaN or an infinity spreads to the other line and the other panels.
//
// Measured: docs/kernels/strassen.md.

#include "tile.h"

namespace tesela::TESELA_ISA {
namespace {

constexpr int width = tile_panels(max_rows), vectors = width * block_vectors;  // of a tile

enum Rows { A11, A12, A22, S1, S2, S3, S4 };
enum Start { go_on, from_u, from_bias };
enum Rest { none, in_u, in_v, added };
enum Result { C11, C12, C21, C22, no_result };

// A product with the next matrix of weights: rows, what its sums begin with, where they rest, and which result they
// are.
struct Step {
  Rows a;
  Start start;
  Rest rest;
  Result result;
};
constexpr Step steps[7] = {
    {A11, go_on, in_u, no_result},  // U = A11 B11
    {A12, go_on, none, C11},       {S2, from_u, in_u, no_result}, {S3, go_on, in_v, no_result},
    {A22, go_on, none, C21},       {S1, from_bias, added, C22},  // U += S1 T1
    {S4, from_u, none, C12},
};

struct RowTable {
  TileRow rows[max_rows];
};
constexpr RowTable neighbours = [] {
  RowTable table{};
  for (int r = 0; r < max_rows; ++r) table.rows[r] = {r * 16, r * 16};
  return table;
}();

// Two register tiles, the one below the other.
struct Pair {
  int64_t pixel;  // the first of the upper one, within the plane
  int height;
  float* s;  // S1 to S4, each (IC / 32, height, 16)
};

struct Task {
  const ContractionArgs& args;
  const ContractionOperands& io;
  int64_t image;
  const float* x;      // of the image
  int64_t half;        // of the input channels
  int64_t right;       // floats from a channel to that of the second half
  int64_t below;       // and from a pixel to the one below it
  const float* w_end;  // of the weights of the task's panels

  void sum_rows(const Pair& pair) const {
    const float* upper = x + pair.pixel * 16;
    const int64_t matrix = pair.height * half;
    float* to = pair.s;
    for (int64_t k = 0; k < half; k += 16, upper += args.x_plane_stride) {
      for (int i = 0; i < pair.height * 16; i += lanes, to += lanes) {
        const vfloat a11 = load(upper + i), a21 = load(upper + below + i);
        const vfloat s1 = a21 - load(upper + below + right + i), s2 = s1 - a11;
        store(to, s1);
        store(to + matrix, s2);
        store(to + 2 * matrix, a11 - a21);
        store(to + 3 * matrix, s2 + load(upper + right + i));
      }
    }
  }
};

// The results of a pair for the panels [panel, panel + 2 * width), from weights w (7, width, half, 16). first: brings
// the weights of each product to L2 during the one before.
template <int MR>
void run_tile_pair(const Task& task, const Pair& pair, int64_t panel, const float* w, bool first) {
  const ContractionArgs& args = task.args;
  const ContractionOperands& io = task.io;
  const int64_t matrix = width * task.half * 16;
  vfloat acc[MR][vectors];
  float u[MR * vectors * lanes], v[MR * vectors * lanes];
  Tile tile{};
  tile.k = task.half;
  tile.w_panel_stride = task.half * 16;
  tile.y_panel_stride = args.y_plane_stride;
  tile.rows = neighbours.rows;
  tile.last = true;
  tile.lanes_in_last = 16;
  start_sums<MR, width>(acc, args.bias ? args.bias + panel * 16 : nullptr);
  TESELA_UNROLL(1)
  for (const Step step : steps) {
    const int64_t side = step.result == C12 || step.result == C22 ? panel + width : panel;
    if (step.start == from_bias) {
      start_sums<MR, width>(acc, args.bias ? args.bias + side * 16 : nullptr);
    } else if (step.start == from_u) {
      TESELA_UNROLL(16)
      for (int r = 0; r < MR; ++r) load_panels<width>(acc[r], u + r * 16, MR * 16);
    }
    if (step.result != no_result) {
      const int64_t place = side * args.y_plane_stride + pair.pixel * 16 + (step.result >= C21 ? task.below : 0);
      tile.y = io.y + task.image * io.y_image_stride + place;
      tile.gate = io.gate ? io.gate + task.image * io.gate_image_stride + side * 16 : nullptr;
      tile.residual = io.residual ? io.residual + task.image * io.residual_image_stride + place : nullptr;
      prefetch<MR, width>(tile.y, tile, &TileRow::y);
      if (tile.residual) prefetch<MR, width>(tile.residual, tile, &TileRow::residual);
    }
    const float* upper = task.x + pair.pixel * 16;
    tile.a = step.a == A11   ? upper
             : step.a == A12 ? upper + task.right
             : step.a == A22 ? upper + task.right + task.below
                             : pair.s + (step.a - S1) * MR * task.half;
    tile.a_block_stride = step.a <= A22 ? args.x_plane_stride : MR * 16;
    tile.w = w;
    w += matrix;
    tile.next_w[0] = first && w < task.w_end ? w : nullptr;
    tile.next_w[1] = first && w < task.w_end ? w + matrix / 2 : nullptr;
    sum_products<MR, width, Float32Products>(acc, tile);
    if (step.rest != none) {
      float* kept = step.rest == in_v ? v : u;
      TESELA_UNROLL(16)
      for (int r = 0; r < MR; ++r) {
        TESELA_UNROLL(16)
        for (int i = 0; i < vectors; ++i) {
          const int at = (i / block_vectors * MR + r) * 16 + i % block_vectors * lanes;
          store(kept + at, step.rest == added ? load(u + at) + acc[r][i] : acc[r][i]);
          if (step.rest == added) acc[r][i] = acc[r][i] + load(v + at);
        }
      }
    }
    if (step.result != no_result) finish<MR, width>(acc, args, tile);
  }
}

using PairFunction = void(const Task&, const Pair&, int64_t panel, const float* w, bool first);

template <int MR>
constexpr PairFunction* pair_or_null() {
  if constexpr (MR <= max_rows) return run_tile_pair<MR>;
  return nullptr;
}

constexpr PairFunction* of_height[14] = {
    pair_or_null<1>(),  pair_or_null<2>(),  pair_or_null<3>(),  pair_or_null<4>(),  pair_or_null<5>(),
    pair_or_null<6>(),  pair_or_null<7>(),  pair_or_null<8>(),  pair_or_null<9>(),  pair_or_null<10>(),
    pair_or_null<11>(), pair_or_null<12>(), pair_or_null<13>(), pair_or_null<14>(),
};

}  // namespace

// Rows of a task are stretches of the upper lines: problem.rows_h of an image, none longer than problem.rows_w.
void conv2d_strassen(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  const int64_t half = problem.k / 2, stretches = problem.rows_h / (args.IH / 2);
  const int64_t image = task.row_begin / problem.rows_h, tiles = (problem.rows_w + max_rows - 1) / max_rows;
  const int64_t count = (task.row_end - task.row_begin) * tiles;
  Pair* pairs = reinterpret_cast<Pair*>(io.scratch);
  float* s = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(pairs + count) + 63) / 64 * 64);
  const Task work{args,         io,
                  image,        io.x + image * io.x_image_stride,
                  half,         half / 16 * args.x_plane_stride,
                  args.IW * 16, problem.w + task.panel_end * problem.panel_stride};
  Pair* pair = pairs;
  for (int64_t row = task.row_begin; row < task.row_end; ++row) {
    const int64_t line = row % problem.rows_h / stretches, stretch = row % stretches;
    const int64_t first = args.IW * stretch / stretches, length = args.IW * (stretch + 1) / stretches - first;
    for (int64_t tile = 0; tile < tiles; ++tile, ++pair) {
      const int64_t begin = length * tile / tiles, end = length * (tile + 1) / tiles;
      *pair = {2 * line * args.IW + first + begin, static_cast<int>(end - begin), s};
      work.sum_rows(*pair);
      s += 4 * (end - begin) * half;
    }
  }
  for (int64_t side = task.panel_begin; side < task.panel_end; ++side) {
    const float* w = problem.w + side * problem.panel_stride;
    for (int64_t i = 0; i < count; ++i) of_height[pairs[i].height - 1](work, pairs[i], side * 2 * width, w, i == 0);
  }
}

}  // namespace tesela::TESELA_ISA
