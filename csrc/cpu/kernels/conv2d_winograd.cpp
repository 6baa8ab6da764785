// conv2d with square kernels, stride 1, or 3 x 3 with stride 2, and each phase of conv_transpose2d, by Winograd's
// minimal filtering F(m, r): m x m outputs of an r x r kernel from (m + r - 1)^2 products instead of m^2 r^2.
//
//   y = A^T [ (G w G^T) . (B^T x B) ] A      x a tile of n x n pixels, n = m + r - 1, summed over input channels before
//   A
//
// The transforms are those of winograd_points.h. G w G^T is done once, in double, by the planner
// (../conv2d_winograd.cpp, which also says where the matrices come from). A task takes a few tiles and some output
// panels. It transforms its tiles for all input channels into scratch, laid out so that one point of the transform is
// the packed form of contraction.h; then, panel by panel, it runs one product of (tiles x channels) for each of the
// points and transforms the sums back, adding bias and residual. Scratch is sized to stay in L2, so nothing but input,
// weights and output leaves the core. A lane is a channel throughout. With dilation d, the outputs with equal
// coordinates modulo d are an ordinary convolution of every d-th input pixel.
//
// Limits: one rounding more per transform; about twice the error of direct sums for F(4, 3), less than it for F(2, 3).
// The transforms subtract, so a NaN or an infinity spreads over its tile.
//
// Measured: 29 layers at 10 to 305 % of the ceiling, median 172 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include <math.h>

#include "contraction.h"
#include "vector_math.h"
#include "winograd_points.h"

namespace tesela::TESELA_ISA {
namespace {

using cpu::WinogradArgs;

// ----------------------------------------------------------------------------------------------------- transforms

// x: the tile's first pixel, the next rows and columns so many floats further; to(r, c): where a point goes.
template <class F, class To>
TESELA_INLINE void transform_input(const float* x, int64_t row_stride, int64_t column_stride, To to) {
  constexpr int n = F::n;
  vfloat rows[n][n], from[n], point[n];
  TESELA_UNROLL(8)
  for (int c = 0; c < n; ++c) {
    TESELA_UNROLL(8)
    for (int r = 0; r < n; ++r) from[r] = load(x + r * row_stride + c * column_stride);
    F::input(from, point);
    TESELA_UNROLL(8)
    for (int r = 0; r < n; ++r) rows[r][c] = point[r];
  }
  TESELA_UNROLL(8)
  for (int r = 0; r < n; ++r) {
    F::input(rows[r], point);
    TESELA_UNROLL(8)
    for (int c = 0; c < n; ++c) store(to(r, c), point[c]);
  }
}

// Calls row(r, sums of a row) for each row of outputs, so that no more of them than these are in registers.
template <class F, class Row>
TESELA_INLINE void transform_output(const float* sums, int64_t point_stride, Row row) {
  constexpr int n = F::n, m = F::m;
  vfloat rows[m][n], from[n], to[m];
  TESELA_UNROLL(8)
  for (int c = 0; c < n; ++c) {
    TESELA_UNROLL(8)
    for (int r = 0; r < n; ++r) from[r] = load(sums + PointOrder<F>::position(r, c) * point_stride);
    F::output(from, to);
    TESELA_UNROLL(8)
    for (int r = 0; r < m; ++r) rows[r][c] = to[r];
  }
  TESELA_UNROLL(8)
  for (int r = 0; r < m; ++r) {
    F::output(rows[r], to);
    row(r, to);
  }
}

// ---------------------------------------------------------------------------------------------------------- a task

struct Place {          // of a tile
  int64_t image, h, w;  // first of its outputs, counted within the phase
};

template <class F>
struct Task {
  const WinogradArgs& args;
  const ContractionOperands& io;
  const Contraction& problem;
  int64_t begin, tiles;  // first tile, and how many
  float* v;              // for each group of points (ic_blocks, points of the group, tiles, 16)
  float* sums;           // (panels of one pass, n * n, tiles, 16)
  float* patch;          // (n, n, 16), for tiles that reach into the padding
  TileRow* rows;

  using Order = PointOrder<F>;
  static constexpr int m = F::m, n = F::n, points = n * n;

  Place place(int64_t tile) const {
    const int64_t tiles_w = (problem.rows_w + m - 1) / m, plane = (problem.rows_h + m - 1) / m * tiles_w;
    const int64_t index = begin + tile;
    return {index / plane, index % plane / tiles_w * m, index % plane % tiles_w * m};
  }

  void input_transform() const {
    const int64_t point_stride = problem.ic_blocks * tiles * 16;
    for (int64_t t = 0; t < tiles; ++t) {
      const Place p = place(t);
      const int64_t h = p.h * args.dilation_h * F::stride + problem.taps[0];
      const int64_t w = p.w * args.dilation_w * F::stride + problem.taps[1];
      const bool inside =
          h >= 0 && w >= 0 && h + (n - 1) * args.dilation_h < args.IH && w + (n - 1) * args.dilation_w < args.IW;
      const float* plane = io.x + p.image * io.x_image_stride + problem.ic_block * args.x_plane_stride;
      for (int64_t block = 0; block < problem.ic_blocks; ++block, plane += args.x_plane_stride) {
        const float* x = plane + (h * args.IW + w) * 16;
        int64_t row_stride = args.IW * 16 * args.dilation_h, column_stride = 16 * args.dilation_w;
        if (inside) {
          for (int r = 0; r < n; ++r) {
            for (int c = 0; c < m * F::stride; ++c) __builtin_prefetch(x + r * row_stride + (n + c) * column_stride);
          }
        } else {
          copy_patch(plane, h, w);
          x = patch;
          row_stride = n * 16, column_stride = 16;
        }
        for (int lane = 0; lane < 16; lane += lanes) {
          float* first = v + t * 16 + lane;
          const auto to = [&](int r, int c) __attribute__((always_inline)) {
            const int group = Order::group_of(r, c);
            return first + Order::first(group) * point_stride +
                   (block * Order::points(group) + Order::within(r, c)) * tiles * 16;
          };
          if (column_stride == 16) {  // known to the compiler
            transform_input<F>(x + lane, row_stride, 16, to);
          } else {
            transform_input<F>(x + lane, row_stride, column_stride, to);
          }
        }
      }
    }
  }

  void copy_patch(const float* plane, int64_t first_h, int64_t first_w) const {
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < n; ++c) {
        const int64_t h = first_h + r * args.dilation_h, w = first_w + c * args.dilation_w;
        const bool inside = h >= 0 && h < args.IH && w >= 0 && w < args.IW;
        for (int lane = 0; lane < 16; lane += lanes) {
          store(patch + (r * n + c) * 16 + lane, inside ? load(plane + (h * args.IW + w) * 16 + lane) : zero());
        }
      }
    }
  }

  // One product per point, for `width` panels from `panel` of the problem on.
  void multiply(int64_t panel, int width) const {
    static constexpr ContractionArgs bare = [] {  // sums as they are
      ContractionArgs sums_only{};
      sums_only.plain_output = true;
      sums_only.scale = sums_only.residual_scale = 1.0f;
      return sums_only;
    }();
    for (int group = 0; group < Order::groups; ++group) {
      const int64_t count = Order::points(group) * tiles, first = Order::first(group);
      const Cut cut(count, count);
      Tile tile{};
      tile.a_block_stride = count * 16;
      tile.w_panel_stride = problem.panel_stride;
      tile.y = sums + first * tiles * 16;
      tile.y_panel_stride = points * tiles * 16;
      tile.first = tile.last = true;
      tile.lanes_in_last = 16;
      for (int chain = 0; chain < F::chains; ++chain) {
        const int64_t begin = problem.ic_blocks * chain / F::chains, end = problem.ic_blocks * (chain + 1) / F::chains;
        if (begin == end && chain + 1 < F::chains) continue;
        tile.k = (end - begin) * 16;
        tile.w = problem.w + panel * problem.panel_stride + (group * problem.ic_blocks + begin) * 256;
        const bool more = group + 1 < Order::groups || chain + 1 < F::chains;
        const NextWeights weights{more ? tile.w + tile.k * 16 : nullptr, problem.panel_stride, tile.k, width,
                                  cut.tiles()};
        int64_t index = 0;
        for (TileRows at(cut); at.valid(); at.next()) {
          weights.share(index++, tile);
          tile.a = v + (first * problem.ic_blocks * tiles + begin * count + at.begin) * 16;
          tile.rows = rows + at.begin;
          packed_tiles[at.height - 1][width / 2](bare, tile);
        }
        tile.residual = tile.y;
      }
    }
  }

  void output_transform(int64_t panel, int slot) const {
    const int64_t output_panel = problem.panel + panel;
    const int lanes_kept = output_panel + 1 == args.total_panels ? static_cast<int>(args.last_panel_lanes) : 16;
    const float* bias = args.bias ? args.bias + output_panel * 16 : nullptr;
    const Activation kind = args.activation.kind;
    const bool relu6 = kind == Activation::relu6, relu = kind == Activation::relu || relu6;
    const bool other = !relu && kind != Activation::none;
    const int64_t row_stride = args.step_h * args.OW * 16, column_stride = args.step_w * 16;
    const vfloat lowest = set1(relu ? 0.0f : -INFINITY);
    for (int64_t t = 0; t < tiles; ++t) {
      const Place p = place(t);
      const int rows_kept = static_cast<int>(smaller<int64_t>(m, problem.rows_h - p.h));
      const int columns_kept = static_cast<int>(smaller<int64_t>(m, problem.rows_w - p.w));
      const int64_t pixel =
          output_panel * args.y_plane_stride +
          ((problem.offset_h + p.h * args.step_h) * args.OW + problem.offset_w + p.w * args.step_w) * 16;
      float* y = io.y + p.image * io.y_image_stride + pixel;
      const float* residual = io.residual ? io.residual + p.image * io.residual_image_stride + pixel : nullptr;
      for (int lane = 0; lane < 16; lane += lanes) {
        const vfloat start = bias ? load(bias + lane) : zero();
        const float* from = sums + (slot * points * tiles + t) * 16 + lane;
        const auto finish = [&]<bool whole>() __attribute__((always_inline)) {
          transform_output<F>(from, tiles * 16, [&](int r, const vfloat(&values)[m]) __attribute__((always_inline)) {
            if (!whole && r >= rows_kept) return;
            TESELA_UNROLL(8)
            for (int c = 0; c < m; ++c) {
              if (!whole && c >= columns_kept) return;
              const int64_t at = r * row_stride + c * column_stride + lane;
              vfloat value = values[c] + start;
              if (!whole && residual) value = value + load(residual + at);
              value = max(lowest, value);  // in this order a NaN passes through
              if (!whole && relu6) value = min(set1(6.0f), value);
              if (!whole && lanes_kept < 16) value = keep_lanes(value, lanes_kept - lane);
              store(y + at, value);
            }
          });
        };
        if (rows_kept == m && columns_kept == m && lanes_kept == 16 && !residual && !relu6) {
          finish.template operator()<true>();
        } else {
          finish.template operator()<false>();
        }
      }
      if (other) {
        for (int r = 0; r < rows_kept; ++r) {
          for (int c = 0; c < columns_kept; ++c) {
            finish_pixel(y + r * row_stride + c * column_stride, lanes_kept);
          }
        }
      }
    }
  }

  // Any other activation goes over the pixels once they are stored.
  void finish_pixel(float* y, int lanes_kept) const {
    activate(y, 16, args.activation);
    for (int i = lanes_kept; i < 16; ++i) y[i] = 0.0f;
  }

  void run(int64_t panel_begin, int64_t panel_end) const {
    constexpr int most = Order::points(Order::groups - 1);  // of a group
    for (int64_t t = 0; t < tiles * most; ++t) rows[t] = {t * 16, t * 16};
    input_transform();
    int widest = 4;
    for (int64_t count = tiles; count <= tiles * most; count += tiles) {
      const int here = tile_panels(Cut(count, count).height(0));
      widest = here < widest ? here : widest;
    }
    for (int64_t panel = panel_begin; panel < panel_end;) {
      int width = static_cast<int>(smaller<int64_t>(widest, panel_end - panel));
      if (width == 3) width = 2;
      multiply(panel, width);
      for (int slot = 0; slot < width; ++slot) output_transform(panel + slot, slot);
      panel += width;
    }
  }
};

template <class F>
void winograd(const WinogradArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  const int64_t tiles = task.row_end - task.row_begin;
  TileRow* rows = reinterpret_cast<TileRow*>(io.scratch);
  float* patch = after_rows(rows, tiles * PointOrder<F>::points(PointOrder<F>::groups - 1));
  float* v = patch + F::n * F::n * 16;
  float* sums = v + F::n * F::n * problem.ic_blocks * tiles * 16;
  Task<F>{args, io, problem, task.row_begin, tiles, v, sums, patch, rows}.run(task.panel_begin, task.panel_end);
}

}  // namespace

void conv2d_winograd_2_3(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<FourPoints<2>>(args, io, task);
}
void conv2d_winograd_3_2(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<FourPoints<3>>(args, io, task);
}
void conv2d_winograd_4_2(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<FivePoints<4>>(args, io, task);
}
void conv2d_winograd_4_3(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SixPoints<4>>(args, io, task);
}
void conv2d_winograd_3_4(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SixPoints<3>>(args, io, task);
}
void conv2d_winograd_2_5(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SixPoints<2>>(args, io, task);
}
void conv2d_winograd_3_5(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SevenPoints<3>>(args, io, task);
}
void conv2d_winograd_3_3_strided(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<StridedPoints>(args, io, task);
}

}  // namespace tesela::TESELA_ISA
