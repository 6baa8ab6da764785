// The register tile: MR rows x NP panels of sums, over one slice of products (contraction.h).
//
//   acc[r][v] += a[r, k] * w[k, v]      r < MR rows, v < NP * 16 / lanes vectors
//
// What a product is, the Form says: where its values of `a` lie and how its weights are stored. Float32Products are
// packed as contraction.h has it; GatheredProducts find their values by a table of offsets, one per product.
// Each product loads NP panels of weights once and broadcasts MR values of a; the sums stay in registers until the
// slice ends. What follows in the same pass is the epilogue: residual, activation, store. Limits: a slice is any number
// of products, the last block of 16 may be short.

#pragma once

#include "contraction.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {

struct Float32Products {
  static constexpr bool gathered = false;
  static constexpr int halves = 1;  // products that lie in one unit of 32 bits and are multiplied one after the other
  static constexpr int registers = 0;  // that making a vector of weights needs
  template <int half>
  TESELA_INLINE static vfloat weights(const float* w) {
    return load(w);
  }
  TESELA_INLINE static vfloat multiply_add(vfloat a, vfloat w, vfloat sum) { return fma(a, w, sum); }
};

struct GatheredProducts : Float32Products {
  static constexpr bool gathered = true;
};

namespace {

template <int NP>
TESELA_INLINE void load_panels(vfloat (&to)[NP * block_vectors], const float* from, int64_t panel_stride) {
  TESELA_UNROLL(16)
  for (int v = 0; v < NP * block_vectors; ++v) {
    to[v] = load(from + (v / block_vectors) * panel_stride + (v % block_vectors) * lanes);
  }
}

template <class Form, int half, int MR, int NP, int row_stride>
TESELA_INLINE void multiply_add(vfloat (&acc)[MR][NP * block_vectors], const float* a, const float* w,
                                int64_t panel_stride) {
  constexpr int vectors = NP * block_vectors;
  if constexpr (MR < vectors) {  // hold the fewer ones
    vfloat value[MR];
    TESELA_UNROLL(16)
    for (int r = 0; r < MR; ++r) value[r] = set1(a[r * row_stride]);
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) {
      const float* from = w + (v / block_vectors) * panel_stride + (v % block_vectors) * lanes;
      const vfloat b = Form::template weights<half>(from);
      TESELA_UNROLL(16)
      for (int r = 0; r < MR; ++r) acc[r][v] = Form::multiply_add(value[r], b, acc[r][v]);
    }
  } else {
    vfloat b[vectors];
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) {
      b[v] = Form::template weights<half>(w + (v / block_vectors) * panel_stride + (v % block_vectors) * lanes);
    }
    TESELA_UNROLL(16)
    for (int r = 0; r < MR; ++r) {
      const vfloat value = set1(a[r * row_stride]);
      TESELA_UNROLL(16)
      for (int v = 0; v < vectors; ++v) acc[r][v] = Form::multiply_add(value, b[v], acc[r][v]);
    }
  }
}

// Sums (MR, NP, 16) in memory and back. A loop that is not unrolled would index registers, and the compiler would then
// keep all sums in memory from the first product on: whatever is done row by row is done to such a copy.
template <int MR, int vectors>
TESELA_INLINE void to_memory(const vfloat (&acc)[MR][vectors], float* sums) {
  TESELA_UNROLL(16)
  for (int r = 0; r < MR; ++r) {
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) store(sums + (r * vectors + v) * lanes, acc[r][v]);
  }
}

template <int MR, int vectors>
TESELA_INLINE void from_memory(vfloat (&acc)[MR][vectors], const float* sums) {
  TESELA_UNROLL(16)
  for (int r = 0; r < MR; ++r) {
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) acc[r][v] = load(sums + (r * vectors + v) * lanes);
  }
}

// An activation other than ReLU and ReLU6, a scaled residual, or a plain panel that is not full is finished in memory.
void finish_slowly(const ContractionArgs& args, const Tile& t, const TileRow& row, int panel, int lanes_kept,
                   float* sums) {
  float* y = t.y + row.y + panel * t.y_panel_stride;
  const int count = args.plain_output ? lanes_kept : 16;
  if (t.last) {
    if (args.scale != 1.0f) {  // gemm, which has no bias
      for (int i = 0; i < count; ++i) sums[i] *= args.scale;
    }
    if (t.residual) {
      const float* residual = t.residual + row.residual + panel * t.y_panel_stride;
      for (int i = 0; i < count; ++i) sums[i] += args.residual_scale * residual[i];
    }
    activate(sums, count, args.activation);
    for (int i = lanes_kept; i < count; ++i) sums[i] = 0.0f;
  }
  for (int i = 0; i < count; ++i) y[i] = sums[i];
}

// Whether y has no room for the lanes of a blocked tensor.
TESELA_INLINE bool has_partial_panel(const ContractionArgs& args, const Tile& t) {
  return args.plain_output && t.lanes_in_last < 16;
}

// Asks for the tile's part of a tensor in L1, while there are products to compute.
template <int MR, int NP>
TESELA_INLINE void prefetch(const float* first_panel, const Tile& t, int64_t TileRow::* place) {
  TESELA_UNROLL(16)
  for (int r = 0; r < MR; ++r) {
    TESELA_UNROLL(4)
    for (int p = 0; p < NP; ++p) __builtin_prefetch(first_panel + t.rows[r].*place + p * t.y_panel_stride);
  }
}

// Every row's sums begin as the bias (panels, 16), or as zero.
template <int MR, int NP>
TESELA_INLINE void start_sums(vfloat (&acc)[MR][NP * block_vectors], const float* bias) {
  constexpr int vectors = NP * block_vectors;
  vfloat start[vectors];
  if (bias) {
    load_panels<NP>(start, bias, 16);
  } else {
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) start[v] = zero();
  }
  TESELA_UNROLL(16)
  for (int r = 0; r < MR; ++r) {
    TESELA_UNROLL(16)
    for (int v = 0; v < vectors; ++v) acc[r][v] = start[v];
  }
}

template <int MR, int NP, class Form>
TESELA_INLINE void sum_products(vfloat (&acc)[MR][NP * block_vectors], const Tile& t) {
  const float* w = t.w;
  if constexpr (Form::gathered) {
    TESELA_UNROLL(2)
    for (int64_t k = 0; k < t.k; ++k) {
      multiply_add<Form, 0, MR, NP, 1>(acc, t.a + t.offsets[k], w + k * 16, t.w_panel_stride);
    }
  } else {
    const float* a = t.a;
    const float *next = t.next_w[0], *other = t.next_w[1];
    for (int64_t block = t.k / 16; block > 0; --block) {
      if (next) {
        TESELA_UNROLL(8)
        for (int i = 0; i < 8; ++i) __builtin_prefetch(next + i * 16, 0, 2);
        next += 8 * 16;
      }
      if (other) {
        TESELA_UNROLL(8)
        for (int i = 0; i < 8; ++i) __builtin_prefetch(other + i * 16, 0, 2);
        other += 8 * 16;
      }
      if constexpr (Form::halves == 1) {
        TESELA_UNROLL(4)
        for (int k = 0; k < 16; ++k) multiply_add<Form, 0, MR, NP, 16>(acc, a + k, w + k * 16, t.w_panel_stride);
      } else {
        TESELA_UNROLL(1)
        for (int k = 0; k < 16; ++k) {
          multiply_add<Form, 0, MR, NP, 16>(acc, a + k, w + k * 16, t.w_panel_stride);
          multiply_add<Form, 1, MR, NP, 16>(acc, a + t.a_block_stride + k, w + k * 16, t.w_panel_stride);
        }
      }
      a += Form::halves * t.a_block_stride;
      w += 16 * 16;
    }
    for (int64_t k = 0; k < t.k % 16; ++k) multiply_add<Form, 0, MR, NP, 16>(acc, a + k, w + k * 16, t.w_panel_stride);
  }
}

// Epilogue and store.
template <int MR, int NP>
TESELA_INLINE void finish(vfloat (&acc)[MR][NP * block_vectors], const ContractionArgs& args, const Tile& t) {
  constexpr int vectors = NP * block_vectors;
  const bool partial = has_partial_panel(args, t);
  if (t.last && t.gate) {
    vfloat gate[vectors];
    load_panels<NP>(gate, t.gate, 16);
    TESELA_UNROLL(16)
    for (int r = 0; r < MR; ++r) {
      TESELA_UNROLL(16)
      for (int v = 0; v < vectors; ++v) acc[r][v] = acc[r][v] * gate[v];
    }
  }
  const Activation kind = args.activation.kind;
  const bool simple =
      kind == Activation::none || kind == Activation::relu || (kind == Activation::relu6 && !t.residual);
  if (!partial && (!t.last || (simple && args.scale == 1.0f && args.residual_scale == 1.0f))) {
    // Rows are finished one by one, so that the first are stored while the last are still summed; branches outside.
    const auto store_rows = [&]<bool residual, bool relu, bool six>() {
      TESELA_UNROLL(16)
      for (int r = 0; r < MR; ++r) {
        float* y = t.y + t.rows[r].y;
        TESELA_UNROLL(16)
        for (int v = 0; v < vectors; ++v) {
          const int64_t at = (v / block_vectors) * t.y_panel_stride + (v % block_vectors) * lanes;
          vfloat value = acc[r][v];
          if constexpr (residual) value = value + load(t.residual + t.rows[r].residual + at);
          if constexpr (relu) value = max(zero(), value);  // in this order a NaN passes through
          if constexpr (six) value = min(set1(6.0f), value);
          store(y + at, value);
        }
      }
    };
    const bool relu = t.last && kind != Activation::none;
    if (t.last && t.lanes_in_last < 16) {
      TESELA_UNROLL(16)
      for (int r = 0; r < MR; ++r) {
        TESELA_UNROLL(16)
        for (int v = vectors - block_vectors; v < vectors; ++v) {
          acc[r][v] = keep_lanes(acc[r][v], t.lanes_in_last - v % block_vectors * lanes);
        }
      }
    }
    if (t.last && t.residual) {
      relu ? store_rows.template operator()<true, true, false>() : store_rows.template operator()<true, false, false>();
    } else if (t.last && kind == Activation::relu6) {
      store_rows.template operator()<false, true, true>();
    } else {
      relu ? store_rows.template operator()<false, true, false>()
           : store_rows.template operator()<false, false, false>();
    }
  } else {
    float sums[MR * NP * 16];
    to_memory(acc, sums);
    for (int r = 0; r < MR; ++r) {
      for (int p = 0; p < NP; ++p) {
        finish_slowly(args, t, t.rows[r], p, p == NP - 1 ? t.lanes_in_last : 16, sums + (r * NP + p) * 16);
      }
    }
  }
}

template <int MR, int NP, class Form>
void run_tile(const ContractionArgs& args, const Tile& t) {
  constexpr int vectors = NP * block_vectors;
  vfloat acc[MR][vectors];
  if (t.last && t.residual) prefetch<MR, NP>(t.residual, t, &TileRow::residual);
  if (t.first && !args.plain_output) prefetch<MR, NP>(t.y, t, &TileRow::y);
  const bool partial = has_partial_panel(args, t);
  if (t.first) {
    start_sums<MR, NP>(acc, t.bias);
  } else if (!partial) {
    TESELA_UNROLL(16)
    for (int r = 0; r < MR; ++r) load_panels<NP>(acc[r], t.y + t.rows[r].y, t.y_panel_stride);
  } else {
    float sums[MR * NP * 16] = {};
    for (int r = 0; r < MR; ++r) {
      for (int p = 0; p < NP; ++p) {
        const int count = p == NP - 1 ? t.lanes_in_last : 16;
        for (int i = 0; i < count; ++i) sums[(r * NP + p) * 16 + i] = t.y[t.rows[r].y + p * t.y_panel_stride + i];
      }
    }
    from_memory(acc, sums);
  }

  sum_products<MR, NP, Form>(acc, t);
  finish<MR, NP>(acc, args, t);
}

// The same by tiles of half the panels.
template <int MR, int NP, class Form>
void run_halves(const ContractionArgs& args, const Tile& t) {
  Tile half = t;
  half.lanes_in_last = 16;
  run_tile<MR, NP / 2, Form>(args, half);
  half.lanes_in_last = t.lanes_in_last;
  half.w += NP / 2 * t.w_panel_stride;
  half.y += NP / 2 * t.y_panel_stride;
  if (t.residual) half.residual += NP / 2 * t.y_panel_stride;
  if (t.bias) half.bias += NP / 2 * 16;
  if (t.gate) half.gate += NP / 2 * 16;
  run_tile<MR, NP / 2, Form>(args, half);
}

template <int MR, int NP, class Form>
constexpr TileFunction* tile_or_null() {
  if constexpr (MR < 1 || MR > max_rows || NP > tile_panels(MR)) {
    return nullptr;
  } else if constexpr (NP > 1 && !fits_registers(MR, NP, Form::registers)) {
    return run_halves<MR, NP, Form>;
  } else {
    return run_tile<MR, NP, Form>;
  }
}

}  // namespace

// Of all heights, [rows - 1][0, 1, 2 for 1, 2, 4 panels]; null beyond tile_panels(rows).
#define TESELA_TILES(MR, Form) {tile_or_null<MR, 1, Form>(), tile_or_null<MR, 2, Form>(), tile_or_null<MR, 4, Form>()}
#define TESELA_ALL_TILES(Form)                                                                     \
  {TESELA_TILES(1, Form),  TESELA_TILES(2, Form),  TESELA_TILES(3, Form),  TESELA_TILES(4, Form),  \
   TESELA_TILES(5, Form),  TESELA_TILES(6, Form),  TESELA_TILES(7, Form),  TESELA_TILES(8, Form),  \
   TESELA_TILES(9, Form),  TESELA_TILES(10, Form), TESELA_TILES(11, Form), TESELA_TILES(12, Form), \
   TESELA_TILES(13, Form), TESELA_TILES(14, Form)}

}  // namespace tesela::TESELA_ISA
