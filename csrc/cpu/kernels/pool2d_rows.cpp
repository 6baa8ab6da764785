// max_pool2d and avg_pool2d of plain tensors, with vectors along the width.
//
//   t[left + i] = max or sum over kh of x[n, c, oh*SH - PT + kh*DH, i]; what leaves the sum as it is on both sides
//   y[n, c, oh, ow] = max over kw of t[ow*stride + kw], or their sum / count
//
// A task is a range of output rows. Each is found in two sweeps, as in pool2d.cpp and in the same order, so that all
// layouts give the same bits; but a vector holds neighbouring columns. t begins and ends with the identity of the
// reduction, so windows that reach into the padding are windows like any other. At stride 2 two vectors of t are
// parted into even and odd columns: one shuffle a tap for `lanes` outputs, where a transposition takes four to each
// vector of the input.
// Limits: 1 to 3 columns that are neighbours, strides 1 and 2; every averaging window has a value (columns_of in
// csrc/cpu/pool2d.cpp), rows of a vector at least: of shorter ones most lanes would be empty.
// Not measured alone yet: docs/performance.md has single operators as bench.operators last recorded them, which may be
// before this kernel: a record names its commit. docs/kernels/memory_bound.md says why it is as it is.

#include "declarations.h"
#include "pooling.h"

namespace tesela::TESELA_ISA {
namespace {

// Windows of `taps` columns, one a lane, the first at t.
template <class Reduce, int stride, int taps>
TESELA_INLINE vfloat reduce_columns(const float* t) {
  if constexpr (stride == 1) {
    vfloat value = load(t);
    if constexpr (taps > 1) value = Reduce::of(value, load(t + 1));
    if constexpr (taps > 2) value = Reduce::of(value, load(t + 2));
    return value;
  } else {
    const vfloat low = load(t), high = load(t + lanes);
    vfloat value = evens(low, high);
    if constexpr (taps > 1) value = Reduce::of(value, odds(low, high));
    if constexpr (taps > 2) value = Reduce::of(value, evens(load(t + 2), load(t + 2 + lanes)));
    return value;
  }
}

// Rows first, first + step, ... of x, `count` of them.
struct Rows {
  int64_t first, step, count;
};

TESELA_INLINE Rows rows_under(const cpu::MaxPool2dArgs& args, int64_t oh) {
  const int64_t ih = oh * args.SH - args.PT;
  const Range kh = taps_inside(ih, args.KH, args.DH, args.IH);
  return {ih + kh.begin * args.DH, args.DH, kh.end - kh.begin};
}

TESELA_INLINE Rows rows_under(const cpu::AvgPool2dArgs& args, int64_t oh) {
  return {args.begin_h[oh], 1, args.end_h[oh] - args.begin_h[oh]};
}

// What the results of one output row are divided by: nothing at all.
struct Undivided {
  Undivided(const cpu::MaxPool2dArgs&, float*) {}
  void row(int64_t) {}
  vfloat apply(vfloat value, int64_t) const { return value; }
};

// The windows' counts, whose columns are kept behind t as floats: whole numbers, and so is their product.
struct Divided {
  const cpu::AvgPool2dArgs& args;
  float* columns;
  vfloat rows;

  Divided(const cpu::AvgPool2dArgs& args, float* columns) : args(args), columns(columns), rows(set1(1.0f)) {
    const float all = static_cast<float>(args.divisor_override);
    for (int64_t ow = 0; ow < args.OW; ++ow) columns[ow] = all > 0 ? all : static_cast<float>(args.count_w[ow]);
    for (int64_t ow = args.OW; ow % lanes != 0; ++ow) columns[ow] = 1.0f;
  }
  void row(int64_t oh) {
    if (args.divisor_override <= 0) rows = set1(static_cast<float>(args.count_h[oh]));
  }
  TESELA_INLINE vfloat apply(vfloat value, int64_t ow) const { return value / (rows * load(columns + ow)); }
};

template <class Reduce, class Args>
TESELA_INLINE void sweep_down(const Args& args, const float* x, int64_t unit, float* t) {
  const Rows rows = rows_under(args, unit % args.OH);
  if (rows.count > 0) {
    reduce_rows<Reduce>(x + (unit / args.OH * args.IH + rows.first) * args.IW, rows.step * args.IW, rows.count, args.IW,
                        t);
  } else {
    for (int64_t i = 0; i < args.IW; ++i) t[i] = Reduce::nothing;
  }
}

template <class Reduce, class Divide, int stride, int taps, class Args>
TESELA_INLINE void pool_rows(const Args& args, const cpu::MapOperands& operands, int64_t task) {
  const cpu::PoolColumns& columns = args.columns;
  float* t = operands.scratch;
  for (int64_t i = 0; i < columns.rows * columns.floats; ++i) t[i] = Reduce::nothing;
  Divide divide(args, t + columns.rows * columns.floats);
  const Range units = units_of(args.rows, task);
  // Several rows down before one along: a load across two stores waits until both are in the cache.
  for (int64_t first = units.begin; first < units.end; first += columns.rows) {
    const int64_t end = smaller(first + columns.rows, units.end);
    for (int64_t unit = first; unit < end; ++unit) {
      sweep_down<Reduce>(args, operands.x, unit, t + (unit - first) * columns.floats + columns.left);
    }
    for (int64_t unit = first; unit < end; ++unit) {
      const float* from = t + (unit - first) * columns.floats;
      float* y = operands.y + unit * args.OW;
      divide.row(unit % args.OH);
      int64_t ow = 0;
      for (; ow + lanes <= args.OW; ow += lanes) {
        store(y + ow, divide.apply(reduce_columns<Reduce, stride, taps>(from + ow * stride), ow));
      }
      if (const int rest = static_cast<int>(args.OW - ow); rest > 0) {
        store_partial(y + ow, divide.apply(reduce_columns<Reduce, stride, taps>(from + ow * stride), ow), rest);
      }
    }
  }
}

template <class Reduce, class Divide, int stride, class Args>
TESELA_INLINE void pool_rows_of(const Args& args, const cpu::MapOperands& operands, int64_t task) {
  switch (args.columns.taps) {
    case 1:
      return pool_rows<Reduce, Divide, stride, 1>(args, operands, task);
    case 2:
      return pool_rows<Reduce, Divide, stride, 2>(args, operands, task);
    default:
      return pool_rows<Reduce, Divide, stride, 3>(args, operands, task);
  }
}

template <class Reduce, class Divide, class Args>
TESELA_INLINE void pool(const Args& args, const cpu::MapOperands& operands, int64_t task) {
  if (args.columns.stride == 1) return pool_rows_of<Reduce, Divide, 1>(args, operands, task);
  pool_rows_of<Reduce, Divide, 2>(args, operands, task);
}

}  // namespace

void max_pool2d_rows(const cpu::MaxPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool<Maximum, Undivided>(args, operands, task);
}

void avg_pool2d_rows(const cpu::AvgPool2dArgs& args, const cpu::MapOperands& operands, int64_t task) {
  pool<Sum, Divided>(args, operands, task);
}

}  // namespace tesela::TESELA_ISA
