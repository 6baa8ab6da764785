// conv2d with square kernels, stride 1, and each phase of conv_transpose2d, by Winograd's minimal filtering F(m, r): m
// x m outputs of an r x r kernel from (m + r - 1)^2 products instead of m^2 r^2.
//
//   y = A^T [ (G w G^T) . (B^T x B) ] A      x a tile of n x n pixels, n = m + r - 1, summed over input channels before
//   A
//
// F(2, 3) and F(3, 2) share four points, and with them the transform of the input; F(4, 3) and F(2, 5) share six.
// G w G^T is done once, in double, by the planner (../conv2d_winograd.cpp, which also says where the matrices come
// from). A task takes a few tiles and some output panels. It transforms its tiles for all input channels into scratch,
// laid out so that one point of the transform is the packed form of contraction.h; then, panel by panel, it runs one
// product of (tiles x channels) for each of the points and transforms the sums back, adding bias and residual. Scratch
// is sized to stay in L2, so nothing but input, weights and output leaves the core. A lane is a channel throughout.
// With dilation d, the outputs with equal coordinates modulo d are an ordinary convolution of every d-th input pixel.
//
// Limits: one rounding more per transform; about twice the error of direct sums for F(4, 3), less than it for F(2, 3).
// The transforms subtract, so a NaN or an infinity spreads over its tile.
//
// Measured: 13 layers at 114 to 263 % of the ceiling, median 164 %;
// AMD EPYC, avx2, 2 threads, 2026-11-23; docs/performance.md.

#include "contraction.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {
namespace {

using cpu::WinogradArgs;

// ----------------------------------------------------------------------------------------------------- transforms

// Points 0, 1, -1 and infinity.
template <int outputs>
struct FourPoints {
  static constexpr int m = outputs, n = 4;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    t[0] = d[2] - d[0];
    t[1] = d[1] + d[2];
    t[2] = d[2] - d[1];
    t[3] = d[3] - d[1];
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even = s[1] + s[2], odd = s[1] - s[2];
    y[0] = s[0] + even;
    for (int i = 1; i < m; ++i) y[i] = i % 2 ? odd : even;
    y[m - 1] = y[m - 1] + s[3];
  }
};

// Points 0, +-p, +-q and infinity, p = 5/8, q = 3/2: exact in float32, and half the error of 0, +-1, +-2.
template <int outputs>
struct SixPoints {
  static constexpr int m = outputs, n = 6;
  static constexpr float p = 0.625f, q = 1.5f, pp = p * p, qq = q * q;
  TESELA_INLINE static void input(const vfloat (&d)[n], vfloat (&t)[n]) {
    const vfloat even_p = d[4] - set1(qq) * d[2], odd_p = set1(p) * (d[3] - set1(qq) * d[1]);
    const vfloat even_q = d[4] - set1(pp) * d[2], odd_q = set1(q) * (d[3] - set1(pp) * d[1]);
    t[0] = fma(set1(pp * qq), d[0], d[4] - set1(pp + qq) * d[2]);
    t[1] = even_p + odd_p;
    t[2] = even_p - odd_p;
    t[3] = even_q + odd_q;
    t[4] = even_q - odd_q;
    t[5] = fma(set1(pp * qq), d[1], d[5] - set1(pp + qq) * d[3]);
  }
  TESELA_INLINE static void output(const vfloat (&s)[n], vfloat (&y)[m]) {
    const vfloat even_p = s[1] + s[2], odd_p = s[1] - s[2];
    const vfloat even_q = s[3] + s[4], odd_q = s[3] - s[4];
    y[0] = (s[0] + even_p) + even_q;
    float power_p = 1.0f, power_q = 1.0f;
    TESELA_UNROLL(4)
    for (int i = 1; i < m; ++i) {
      power_p *= p, power_q *= q;
      y[i] =
          i % 2 ? fma(set1(power_p), odd_p, set1(power_q) * odd_q) : fma(set1(power_p), even_p, set1(power_q) * even_q);
    }
    y[m - 1] = y[m - 1] + s[5];
  }
};

// x: the tile's first pixel, the next rows and columns so many floats further; v: the tile in the first point.
template <class F>
TESELA_INLINE void transform_input(const float* x, int64_t row_stride, int64_t column_stride, float* v,
                                   int64_t point_stride) {
  constexpr int n = F::n;
  vfloat rows[n][n], from[n], to[n];
  for (int c = 0; c < n; ++c) {
    for (int r = 0; r < n; ++r) from[r] = load(x + r * row_stride + c * column_stride);
    F::input(from, to);
    for (int r = 0; r < n; ++r) rows[r][c] = to[r];
  }
  for (int r = 0; r < n; ++r) {
    F::input(rows[r], to);
    for (int c = 0; c < n; ++c) store(v + (r * n + c) * point_stride, to[c]);
  }
}

template <class F>
TESELA_INLINE void transform_output(const float* sums, int64_t point_stride, vfloat (&y)[F::m][F::m]) {
  constexpr int n = F::n, m = F::m;
  vfloat rows[m][n], from[n], to[m];
  for (int c = 0; c < n; ++c) {
    for (int r = 0; r < n; ++r) from[r] = load(sums + (r * n + c) * point_stride);
    F::output(from, to);
    for (int r = 0; r < m; ++r) rows[r][c] = to[r];
  }
  for (int r = 0; r < m; ++r) F::output(rows[r], y[r]);
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
  float* v;              // (n * n, ic_blocks, tiles, 16)
  float* sums;           // (panels of one pass, n * n, tiles, 16)
  float* patch;          // (n, n, 16), for tiles that reach into the padding
  TileRow* rows;

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
      const int64_t h = p.h * args.dilation_h + problem.taps[0], w = p.w * args.dilation_w + problem.taps[1];
      const bool inside =
          h >= 0 && w >= 0 && h + (n - 1) * args.dilation_h < args.IH && w + (n - 1) * args.dilation_w < args.IW;
      const float* plane = io.x + p.image * io.x_image_stride + problem.ic_block * args.x_plane_stride;
      for (int64_t block = 0; block < problem.ic_blocks; ++block, plane += args.x_plane_stride) {
        const float* x = plane + (h * args.IW + w) * 16;
        int64_t row_stride = args.IW * 16 * args.dilation_h, column_stride = 16 * args.dilation_w;
        if (inside) {
          for (int r = 0; r < n; ++r) {
            for (int c = 0; c < m; ++c) __builtin_prefetch(x + r * row_stride + (n + c) * column_stride);
          }
        } else {
          copy_patch(plane, h, w);
          x = patch;
          row_stride = n * 16, column_stride = 16;
        }
        for (int lane = 0; lane < 16; lane += lanes) {
          float* to = v + (block * tiles + t) * 16 + lane;
          if (column_stride == 16) {  // known to the compiler
            transform_input<F>(x + lane, row_stride, 16, to, point_stride);
          } else {
            transform_input<F>(x + lane, row_stride, column_stride, to, point_stride);
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
    const Cut cut(tiles, tiles);
    for (int point = 0; point < points; ++point) {
      Tile tile{};
      tile.k = problem.ic_blocks * 16;
      tile.a_block_stride = tiles * 16;
      tile.w = problem.w + panel * problem.panel_stride + point * tile.k * 16;
      tile.w_panel_stride = problem.panel_stride;
      tile.y = sums + point * tiles * 16;
      tile.y_panel_stride = points * tiles * 16;
      tile.first = tile.last = true;
      tile.lanes_in_last = 16;
      for (TileRows at(cut); at.valid(); at.next()) {
        tile.a = v + (point * problem.ic_blocks * tiles + at.begin) * 16;
        tile.rows = rows + at.begin;
        packed_tiles[at.height - 1][width / 2](bare, tile);
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
        vfloat tile[m][m];
        transform_output<F>(sums + (slot * points * tiles + t) * 16 + lane, tiles * 16, tile);
        const vfloat start = bias ? load(bias + lane) : zero();
        for (int r = 0; r < rows_kept; ++r) {
          for (int c = 0; c < columns_kept; ++c) {
            const int64_t at = (r * args.step_h * args.OW + c * args.step_w) * 16 + lane;
            vfloat value = tile[r][c] + start;
            if (residual) value = value + load(residual + at);
            if (relu) value = max(zero(), value);  // in this order a NaN passes through
            if (relu6) value = min(set1(6.0f), value);
            if (lanes_kept < 16) value = keep_lanes(value, lanes_kept - lane);
            store(y + at, value);
          }
        }
      }
      if (other) {
        for (int r = 0; r < rows_kept; ++r) {
          for (int c = 0; c < columns_kept; ++c) {
            finish_pixel(y + (r * args.step_h * args.OW + c * args.step_w) * 16, lanes_kept);
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
    for (int64_t t = 0; t < tiles; ++t) rows[t] = {t * 16, 0};
    input_transform();
    const Cut cut(tiles, tiles);
    const int widest = tile_panels(cut.height(0));
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
  float* patch = after_rows(rows, tiles);
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
void conv2d_winograd_4_3(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SixPoints<4>>(args, io, task);
}
void conv2d_winograd_2_5(const WinogradArgs& args, const ContractionOperands& io, int64_t task) {
  winograd<SixPoints<2>>(args, io, task);
}

}  // namespace tesela::TESELA_ISA
