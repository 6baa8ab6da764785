// linear with weights stored as bfloat16: y[m, n] = activation(sum over k of x[m, k] * w[n, k] + bias[n]), x and the
// sums in float32.
//
// At batch 1 a fully connected layer is as fast as its weights arrive, so half the bytes are half the time. A unit of
// 32 bits holds two weights (bfloat16_rows.h); each half is a float once the other half is shifted or masked away.
// Limits: two operations more for each vector of weights, which only a few rows can hide behind memory.
//
// Measured: docs/kernels/bfloat16.md.

#include "bfloat16_rows.h"
#include "tile.h"

namespace tesela::TESELA_ISA {
namespace {

struct Bfloat16Weights {
  static constexpr bool gathered = false;
  static constexpr int halves = 2, unit_rows = 2;
  static constexpr int registers = lanes == 8 ? 1 : 0;  // the mask
  template <int half>
  TESELA_INLINE static vfloat weights(const float* w) {
    return half == 0 ? low_halves(load(w)) : high_halves(load(w));
  }
  TESELA_INLINE static vfloat multiply_add(vfloat a, vfloat w, vfloat sum) { return fma(a, w, sum); }
  TESELA_INLINE static void store(float* to, int64_t stride, vfloat first, vfloat second) {
    TESELA_ISA::store(to, first);
    TESELA_ISA::store(to + stride, second);
  }
};

constexpr TileFunction* tiles[14][3] = TESELA_ALL_TILES(Bfloat16Weights);

}  // namespace

void linear_bfloat16(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  Bfloat16Rows<Bfloat16Weights, tiles>::run(args, io, index);
}

}  // namespace tesela::TESELA_ISA
