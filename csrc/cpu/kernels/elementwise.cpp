// Activations, per-channel maps and broadcast sums and products.
//
//   y = f(x), f(x + b), f(x * b), f(x * b + c), or (x > 0 ? x : x * b)
//
// The planner turns every case into rows of neighbouring floats: of x and y one by one; of b (and c) one by one, one
// value for the row, or 16 values repeated, which is how a channel block of one pixel meets a blocked plane. A task is
// a range of pieces of rows. A piece stays in L1 while an activation other than ReLU goes over it a second time.
// In a last channel block that is not full the lanes past C are cleared, since f(0) or NaN may have come there.
// Limits: two plain tensors whose dimensions broadcast by turns leave short rows, each found by its coordinates.
// Measured: docs/performance.md has them by layer, docs/kernels/memory_bound.md says why.

#include "declarations.h"
#include "rows.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {

using cpu::Elementwise;
using cpu::Spread;

// ----------------------------------------------------------------------------------------------------- activation

namespace {

struct ActivateFloats {
  const float* x;
  float* y;
  int64_t n;
  float parameter;

  template <Activation kind>
  TESELA_INLINE void run() const {
    const vfloat p = set1(parameter);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, activate_as<kind>(load(x + i), p));
    const int rest = static_cast<int>(n - i);
    if (rest > 0) store_partial(y + i, activate_as<kind>(load_partial(x + i, rest), p), rest);
  }
};

}  // namespace

void activate(const float* x, float* y, int64_t n, ActivationSpec spec) {
  with_activation(spec.kind, ActivateFloats{x, y, n, spec.parameter});
}

// ----------------------------------------------------------------------------------------------------- operations

namespace {

template <Elementwise op, bool relu>
TESELA_INLINE vfloat combine(vfloat x, vfloat b, vfloat c) {
  vfloat y = x;
  if constexpr (op == Elementwise::add) y = x + b;
  if constexpr (op == Elementwise::mul) y = x * b;
  if constexpr (op == Elementwise::affine) y = fma(x, b, c);
  if constexpr (op == Elementwise::prelu) y = select(x > zero(), x, x * b);
  return relu ? max(zero(), y) : y;  // in this order a NaN passes through
}

struct Piece {
  const float *x, *b, *c;
  float* y;
  int64_t n;
};

template <Elementwise op, bool relu>
void piece_each(const Piece& p) {
  constexpr bool reads_c = op == Elementwise::affine;
  int64_t i = 0;
  for (; i + lanes <= p.n; i += lanes) {
    store(p.y + i, combine<op, relu>(load(p.x + i), load(p.b + i), reads_c ? load(p.c + i) : zero()));
  }
  const int rest = static_cast<int>(p.n - i);
  if (rest > 0) {
    const vfloat c = reads_c ? load_partial(p.c + i, rest) : zero();
    store_partial(p.y + i, combine<op, relu>(load_partial(p.x + i, rest), load_partial(p.b + i, rest), c), rest);
  }
}

template <Elementwise op, bool relu>
void piece_lanes(const Piece& p) {
  constexpr bool reads_c = op == Elementwise::affine;
  vfloat b[block_vectors], c[block_vectors];
  for (int v = 0; v < block_vectors; ++v) {
    b[v] = load(p.b + v * lanes);
    c[v] = reads_c ? load(p.c + v * lanes) : zero();
  }
  for (int64_t i = 0; i < p.n; i += 16) {
    TESELA_UNROLL(4)
    for (int v = 0; v < block_vectors; ++v) {
      store(p.y + i + v * lanes, combine<op, relu>(load(p.x + i + v * lanes), b[v], c[v]));
    }
  }
}

template <Elementwise op, bool relu>
void piece_one(const Piece& p) {
  const vfloat b = set1(p.b[0]), c = op == Elementwise::affine ? set1(p.c[0]) : zero();
  int64_t i = 0;
  for (; i + lanes <= p.n; i += lanes) store(p.y + i, combine<op, relu>(load(p.x + i), b, c));
  const int rest = static_cast<int>(p.n - i);
  if (rest > 0) store_partial(p.y + i, combine<op, relu>(load_partial(p.x + i, rest), b, c), rest);
}

template <Elementwise op, bool relu>
TESELA_INLINE void run_op(Spread spread, const Piece& p) {
  switch (spread) {
    case Spread::each:
      return piece_each<op, relu>(p);
    case Spread::lanes:
      return piece_lanes<op, relu>(p);
    case Spread::one:
      return piece_one<op, relu>(p);
  }
}

template <bool relu>
TESELA_INLINE void run_piece(Elementwise op, Spread spread, const Piece& p) {
  switch (op) {
    case Elementwise::identity:
      return;
    case Elementwise::add:
      return run_op<Elementwise::add, relu>(spread, p);
    case Elementwise::mul:
      return run_op<Elementwise::mul, relu>(spread, p);
    case Elementwise::affine:
      return run_op<Elementwise::affine, relu>(spread, p);
    case Elementwise::prelu:
      return run_op<Elementwise::prelu, relu>(spread, p);
  }
}

void clear_lanes(float* y, int64_t n, int64_t from) {
  for (int64_t i = 0; i < n; i += 16) {
    for (int64_t lane = from; lane < 16; ++lane) y[i + lane] = 0.0f;
  }
}

}  // namespace

void elementwise(const cpu::ElementwiseArgs& args, const cpu::ElementwiseOperands& operands, int64_t task) {
  const Range units = units_of(args.units, task);
  int64_t coordinate[cpu::ElementwiseArgs::max_rank];
  int64_t rest = units.begin / args.pieces;
  for (int64_t d = args.rank - 1; d >= 0; --d) {
    coordinate[d] = rest % args.sizes[d];
    rest /= args.sizes[d];
  }
  int64_t begin = units.begin % args.pieces * args.piece;
  const bool relu = args.activation.kind == Activation::relu;
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    int64_t x_at = 0, b_at = 0, y_at = 0;
    if (args.rank > 0) {
      x_at = coordinate[0] * operands.x_image_stride;
      b_at = coordinate[0] * operands.b_image_stride;
      y_at = coordinate[0] * operands.y_image_stride;
    }
    for (int64_t d = 0; d < args.rank; ++d) {
      x_at += coordinate[d] * args.x_strides[d];
      b_at += coordinate[d] * args.b_strides[d];
      y_at += coordinate[d] * args.y_strides[d];
    }
    const int64_t b_begin = args.spread == Spread::each ? begin : 0;
    const Piece piece = {operands.x + x_at + begin, operands.b + b_at + b_begin, operands.c + b_at + b_begin,
                         operands.y + y_at + begin, smaller(args.piece, args.inner - begin)};
    if (args.op == Elementwise::identity) {
      activate(piece.x, piece.y, piece.n, args.activation);
    } else if (relu) {
      run_piece<true>(args.op, args.spread, piece);
    } else {
      run_piece<false>(args.op, args.spread, piece);
      if (args.activation.kind != Activation::none) activate(piece.y, piece.n, args.activation);
    }
    if (args.last_block_lanes < 16 && coordinate[args.rank - 1] == args.sizes[args.rank - 1] - 1) {
      clear_lanes(piece.y, piece.n, args.last_block_lanes);
    }
    begin += args.piece;
    if (begin >= args.inner) {
      begin = 0;
      for (int64_t d = args.rank - 1; d >= 0 && ++coordinate[d] == args.sizes[d]; --d) coordinate[d] = 0;
    }
  }
}

}  // namespace tesela::TESELA_ISA
