// local_response_norm, softmax and log_softmax.
//
//   y[c] = x[c] / (k + scale * sum over c' in [c - before, c + after], 0 <= c' < C, of x[c']^2)^beta
//   y[i] = exp(x[i] - m) / s,  or  (x[i] - m) - log(s),  with m = max x and s = sum of exp(x - m)
//
// local_response_norm: a task is a range of tiles of pixels. The squares of a tile's pixels are laid out in scratch
// with their channels in one line and zeros at both ends, so that a vector's neighbours are plain loads at an offset.
// The power is roots for beta = 0.75, 0.5 and 1, and powf, lane by lane, for any other beta.
//
// softmax_rows: the reduced dimension is the last; a task is a range of rows. softmax_columns: it is not; a task is a
// range of strips of at most 256 neighbouring columns. The reduced dimension is swept three times.
// Limits: softmax_columns is slow where the dimensions after the reduced one hold fewer elements than a vector.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {
namespace {

// ------------------------------------------------------------------------------------------- local_response_norm

enum class Power { three_quarters, half, one, general };

template <Power power>
TESELA_INLINE vfloat raised(vfloat d, float beta) {
  if constexpr (power == Power::one) return d;
  if constexpr (power == Power::half) return sqrt(d);
  if constexpr (power == Power::three_quarters) {
    const vfloat root = sqrt(d);
    return root * sqrt(root);
  }
  float lane[lanes];
  store(lane, d);
  for (int i = 0; i < lanes; ++i) lane[i] = __builtin_powf(lane[i], beta);
  return load(lane);
}

// One tile: `pixels` pixels of all blocks of one image, squares already in scratch.
template <Power power>
void normalize_tile(const cpu::LocalResponseNormArgs& args, const float* x, const float* squares, float* y,
                    int64_t pixels) {
  const vfloat k = set1(args.k), scale = set1(args.scale);
  for (int64_t block = 0; block < args.blocks; ++block) {
    const bool last = block == args.blocks - 1;
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      for (int v = 0; v < 16; v += lanes) {
        const float* window = squares + pixel * args.pitch + block * 16 + v;  // begins `before` channels ahead
        vfloat sum = load(window);
        for (int64_t i = 1; i <= args.before + args.after; ++i) sum = sum + load(window + i);
        const vfloat divisor = raised<power>(fma(scale, sum, k), args.beta);
        vfloat value = load(x + block * args.x_plane_stride + pixel * 16 + v) / divisor;
        // A neighbour's NaN, or a divisor of 0, reaches lanes that are no channels.
        if (last) value = select(lanes_below(args.last_block_lanes, v), value, zero());
        store(y + block * args.y_plane_stride + pixel * 16 + v, value);
      }
    }
  }
}

void clear(float* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = 0.0f;
}

// -------------------------------------------------------------------------------------------------------- softmax

template <class Reduce>
TESELA_INLINE float across(vfloat x, Reduce reduce) {
  float lane[lanes];
  store(lane, x);
  for (int width = lanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] = reduce(lane[i], lane[i + width]);
  }
  return lane[0];
}

TESELA_INLINE float largest_lane(vfloat x) {
  return across(x, [](float a, float b) { return a > b ? a : b; });
}
TESELA_INLINE float sum_of_lanes(vfloat x) {
  return across(x, [](float a, float b) { return a + b; });
}

// The last, incomplete vector of a row: -inf where there is nothing, whose exponential is 0.
TESELA_INLINE vfloat load_rest(const float* p, int n) {
  return select(lanes_below(n), load_partial(p, n), set1(-__builtin_inff()));
}

// A NaN need not win the maximum: its exponential is NaN, so the sum and with it the whole row are.
void softmax_row(const float* x, float* y, int64_t size, bool log) {
  const int64_t whole = size / lanes * lanes;
  const int rest = static_cast<int>(size - whole);
  const int64_t quads = whole / (4 * lanes) * (4 * lanes);  // four accumulators hide the latency
  vfloat part[4];
  for (vfloat& p : part) p = set1(-__builtin_inff());
  for (int64_t i = 0; i < quads; i += 4 * lanes) {
    for (int j = 0; j < 4; ++j) part[j] = max(part[j], load(x + i + j * lanes));
  }
  for (int64_t i = quads; i < whole; i += lanes) part[0] = max(part[0], load(x + i));
  if (rest > 0) part[1] = max(part[1], load_rest(x + whole, rest));
  const vfloat m = set1(largest_lane(max(max(part[0], part[1]), max(part[2], part[3]))));

  for (vfloat& p : part) p = zero();
  const auto accumulate = [&](vfloat value, float* to, vfloat& sum) __attribute__((always_inline)) {
    const vfloat e = exp(value - m);
    sum = sum + e;
    if (!log) store(to, e);
  };
  for (int64_t i = 0; i < quads; i += 4 * lanes) {
    for (int j = 0; j < 4; ++j) accumulate(load(x + i + j * lanes), y + i + j * lanes, part[j]);
  }
  for (int64_t i = quads; i < whole; i += lanes) accumulate(load(x + i), y + i, part[0]);
  float last[lanes] = {};
  if (rest > 0) accumulate(load_rest(x + whole, rest), last, part[1]);
  const float sum = sum_of_lanes((part[0] + part[1]) + (part[2] + part[3]));

  if (log) {
    const vfloat log_sum = set1(__builtin_logf(sum));
    for (int64_t i = 0; i < whole; i += lanes) store(y + i, (load(x + i) - m) - log_sum);
    if (rest > 0) store_partial(y + whole, (load_partial(x + whole, rest) - m) - log_sum, rest);
  } else {
    const vfloat s = set1(sum);
    for (int64_t i = 0; i < whole; i += lanes) store(y + i, load(y + i) / s);
    if (rest > 0) store_partial(y + whole, load(last) / s, rest);
  }
}

// Columns [0, n) of x and y, rows `inner` apart.
void softmax_strip(const float* x, float* y, int64_t size, int64_t inner, int64_t n, bool log) {
  constexpr int64_t room = cpu::SoftmaxArgs::max_columns;
  alignas(64) float m[room], s[room];
  const int64_t whole = n / lanes * lanes;
  const int rest = static_cast<int>(n - whole);
  for (int64_t i = 0; i < whole + (rest ? lanes : 0); i += lanes) {
    store(m + i, set1(-__builtin_inff()));
    store(s + i, zero());
  }
  for (int64_t row = 0; row < size; ++row) {
    const float* from = x + row * inner;
    for (int64_t i = 0; i < whole; i += lanes) store(m + i, max(load(m + i), load(from + i)));
    if (rest > 0) store(m + whole, max(load(m + whole), load_partial(from + whole, rest)));
  }
  for (int64_t row = 0; row < size; ++row) {
    const float* from = x + row * inner;
    float* to = y + row * inner;
    for (int64_t i = 0; i < whole; i += lanes) {
      const vfloat e = exp(load(from + i) - load(m + i));
      store(s + i, load(s + i) + e);
      if (!log) store(to + i, e);
    }
    if (rest > 0) {
      const vfloat e = exp(load_partial(from + whole, rest) - load(m + whole));
      store(s + whole, load(s + whole) + e);
      if (!log) store_partial(to + whole, e, rest);
    }
  }
  if (log) {
    for (int64_t i = 0; i < n; ++i) s[i] = __builtin_logf(s[i]);
  }
  for (int64_t row = 0; row < size; ++row) {
    const float* from = x + row * inner;
    float* to = y + row * inner;
    for (int64_t i = 0; i < whole; i += lanes) {
      store(to + i, log ? (load(from + i) - load(m + i)) - load(s + i) : load(to + i) / load(s + i));
    }
    if (rest > 0) {
      const vfloat value = log ? (load_partial(from + whole, rest) - load(m + whole)) - load(s + whole)
                               : load_partial(to + whole, rest) / load(s + whole);
      store_partial(to + whole, value, rest);
    }
  }
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- kernels

void local_response_norm(const cpu::LocalResponseNormArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.tiles, task);
  const int64_t tiles_per_image = (args.pixels + args.tile - 1) / args.tile;
  float* squares = operands.scratch;
  const int64_t after_channels = args.before + args.blocks * 16;
  for (int64_t pixel = 0; pixel < args.tile; ++pixel) {
    clear(squares + pixel * args.pitch, args.before);
    clear(squares + pixel * args.pitch + after_channels, args.pitch - after_channels);
  }
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const int64_t n = unit / tiles_per_image, first = unit % tiles_per_image * args.tile;
    const int64_t pixels = smaller(args.tile, args.pixels - first);
    const float* x = operands.x + n * operands.x_image_stride + first * 16;
    float* y = operands.y + n * operands.y_image_stride + first * 16;
    for (int64_t block = 0; block < args.blocks; ++block) {
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (int v = 0; v < 16; v += lanes) {
          const vfloat value = load(x + block * args.x_plane_stride + pixel * 16 + v);
          store(squares + pixel * args.pitch + args.before + block * 16 + v, value * value);
        }
      }
    }
    if (args.beta == 0.75f)
      normalize_tile<Power::three_quarters>(args, x, squares, y, pixels);
    else if (args.beta == 0.5f)
      normalize_tile<Power::half>(args, x, squares, y, pixels);
    else if (args.beta == 1.0f)
      normalize_tile<Power::one>(args, x, squares, y, pixels);
    else
      normalize_tile<Power::general>(args, x, squares, y, pixels);
  }
}

void softmax_rows(const cpu::SoftmaxArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range rows = units_of(args.units, task);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    softmax_row(operands.x + row * args.size, operands.y + row * args.size, args.size, args.log);
  }
}

void softmax_columns(const cpu::SoftmaxArgs& args, const cpu::MapOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  const int64_t strips = (args.inner + args.columns - 1) / args.columns;
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const int64_t first = unit % strips * args.columns;
    const int64_t at = unit / strips * args.size * args.inner + first;
    softmax_strip(operands.x + at, operands.y + at, args.size, args.inner, smaller(args.columns, args.inner - first),
                  args.log);
  }
}

}  // namespace tesela::TESELA_ISA
