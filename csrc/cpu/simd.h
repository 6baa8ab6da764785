// Vectors of float for one instruction set.
//
// Every kernel source is compiled once per instruction set, with TESELA_ISA set to generic, avx2 or avx512, and lives
// in the namespace of that name: an inline function that two builds shared could be the wrong one after linking, and
// an old machine would die of an illegal instruction. For the same reason nothing here or in a kernel includes the
// standard library's templates, and nothing has a constructor that runs at load time.
//
// generic uses the compiler's vector extension: SSE2 on x86-64, NEON on Arm. With TESELA_GENERIC_LANES=16 it stands in
// for avx512 in tests, so that those tile shapes run on any machine.

#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(TESELA_ISA_avx2) || defined(TESELA_ISA_avx512)
#ifdef TESELA_SIMDE  // tests only: AVX-512 intrinsics executed on any machine
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif
#endif

#define TESELA_INLINE inline __attribute__((always_inline))
#define TESELA_PRAGMA(text) _Pragma(#text)
#define TESELA_UNROLL(n) TESELA_PRAGMA(GCC unroll n)

namespace tesela::TESELA_ISA {

#if defined(TESELA_ISA_avx512)

inline constexpr int lanes = 16;
struct vfloat {
  __m512 v;
};
struct vmask {
  __mmask16 v;
};

TESELA_INLINE vfloat set1(float x) { return {_mm512_set1_ps(x)}; }
// The bfloat16 number in the low or the high half of each lane.
TESELA_INLINE vfloat low_halves(vfloat x) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 16))};
}
#ifdef TESELA_SIMDE
TESELA_INLINE vfloat high_halves(vfloat x) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(-65536)))};
}
#else  // by a mask register: the register tile has no vector to spare
TESELA_INLINE vfloat high_halves(vfloat x) {
  return {_mm512_castsi512_ps(_mm512_maskz_mov_epi16(0xaaaaaaaau, _mm512_castps_si512(x.v)))};
}
#endif
TESELA_INLINE vfloat load(const float* p) { return {_mm512_loadu_ps(p)}; }
TESELA_INLINE void store(float* p, vfloat x) { _mm512_storeu_ps(p, x.v); }
TESELA_INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
#ifdef TESELA_SIMDE  // Debian 12's copy has no masked loads and stores
TESELA_INLINE vfloat load_partial(const float* p, int n) {
  float lane[16] = {};
  for (int i = 0; i < n; ++i) lane[i] = p[i];
  return load(lane);
}
TESELA_INLINE void store_partial(float* p, vfloat x, int n) {
  float lane[16];
  store(lane, x);
  for (int i = 0; i < n; ++i) p[i] = lane[i];
}
#else
TESELA_INLINE vfloat load_partial(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
TESELA_INLINE void store_partial(float* p, vfloat x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x.v); }
#endif
TESELA_INLINE vfloat operator+(vfloat a, vfloat b) { return {_mm512_add_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator-(vfloat a, vfloat b) { return {_mm512_sub_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator*(vfloat a, vfloat b) { return {_mm512_mul_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator/(vfloat a, vfloat b) { return {_mm512_div_ps(a.v, b.v)}; }
TESELA_INLINE vfloat fma(vfloat a, vfloat b, vfloat c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
TESELA_INLINE vfloat sqrt(vfloat a) { return {_mm512_sqrt_ps(a.v)}; }
// max and min return b when either is NaN, as the instruction does.
TESELA_INLINE vfloat max(vfloat a, vfloat b) { return {_mm512_max_ps(a.v, b.v)}; }
TESELA_INLINE vfloat min(vfloat a, vfloat b) { return {_mm512_min_ps(a.v, b.v)}; }
// The maximum in which a NaN on either side wins, as pooling and ReLU must have it.
TESELA_INLINE vfloat max_propagating(vfloat a, vfloat b) {
  return {_mm512_mask_max_ps(a.v, _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q), a.v, b.v)};
}
TESELA_INLINE vmask operator<(vfloat a, vfloat b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
TESELA_INLINE vmask operator>(vfloat a, vfloat b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
TESELA_INLINE vmask is_nan(vfloat a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
TESELA_INLINE vfloat select(vmask m, vfloat yes, vfloat no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
TESELA_INLINE vfloat nearest(vfloat a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// to[j] = block[lane[j] % 16], j < 16.
TESELA_INLINE void pick_lanes(float* to, const float* block, const int32_t* lane) {
  _mm512_storeu_ps(to, _mm512_permutexvar_ps(_mm512_loadu_si512(lane), _mm512_loadu_ps(block)));
}
struct vindex {
  __m512i v;
};
TESELA_INLINE vindex load_index(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
// Lane j takes lane index[j] % lanes of x.
TESELA_INLINE vfloat permute(vfloat x, vindex index) { return {_mm512_permutexvar_ps(index.v, x.v)}; }
// Lanes 0, 2, 4, ... of a and then of b; or lanes 1, 3, 5, ...
TESELA_INLINE vfloat evens(vfloat a, vfloat b) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return {_mm512_permutex2var_ps(a.v, from, b.v)};
}
TESELA_INLINE vfloat odds(vfloat a, vfloat b) {
  const __m512i from = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_permutex2var_ps(a.v, from, b.v)};
}
// 2^n for an integral n in [-126, 127].
TESELA_INLINE vfloat exp2_integer(vfloat n) {
  // 1.5 * 2^23 + 127 + n has n + 127 in its low bits, and the shift drops all other bits.
  const __m512 biased = _mm512_add_ps(n.v, _mm512_set1_ps(12582912.0f + 127.0f));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(biased), 23))};
}

#elif defined(TESELA_ISA_avx2)

inline constexpr int lanes = 8;
struct vfloat {
  __m256 v;
};
struct vmask {
  __m256 v;
};

// Eight ones then eight zeros: a load at 8 - n masks the first n lanes.
alignas(64) inline constexpr int32_t lane_window[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

TESELA_INLINE vfloat set1(float x) { return {_mm256_set1_ps(x)}; }
TESELA_INLINE vfloat low_halves(vfloat x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.v), 16))};
}
TESELA_INLINE vfloat high_halves(vfloat x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(_mm256_castps_si256(x.v), 16), 16))};
}
TESELA_INLINE vfloat load(const float* p) { return {_mm256_loadu_ps(p)}; }
TESELA_INLINE void store(float* p, vfloat x) { _mm256_storeu_ps(p, x.v); }
TESELA_INLINE __m256i first_lanes(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_window + 8 - n));
}
TESELA_INLINE vfloat load_partial(const float* p, int n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
TESELA_INLINE void store_partial(float* p, vfloat x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x.v); }
TESELA_INLINE vfloat operator+(vfloat a, vfloat b) { return {_mm256_add_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator-(vfloat a, vfloat b) { return {_mm256_sub_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator*(vfloat a, vfloat b) { return {_mm256_mul_ps(a.v, b.v)}; }
TESELA_INLINE vfloat operator/(vfloat a, vfloat b) { return {_mm256_div_ps(a.v, b.v)}; }
TESELA_INLINE vfloat fma(vfloat a, vfloat b, vfloat c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
TESELA_INLINE vfloat sqrt(vfloat a) { return {_mm256_sqrt_ps(a.v)}; }
TESELA_INLINE vfloat max(vfloat a, vfloat b) { return {_mm256_max_ps(a.v, b.v)}; }
TESELA_INLINE vfloat min(vfloat a, vfloat b) { return {_mm256_min_ps(a.v, b.v)}; }
TESELA_INLINE vmask operator<(vfloat a, vfloat b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
TESELA_INLINE vmask operator>(vfloat a, vfloat b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
TESELA_INLINE vmask is_nan(vfloat a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
TESELA_INLINE vfloat select(vmask m, vfloat yes, vfloat no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
TESELA_INLINE vfloat nearest(vfloat a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
TESELA_INLINE void pick_lanes(float* to, const float* block, const int32_t* lane) {
  const __m256 low = _mm256_loadu_ps(block), high = _mm256_loadu_ps(block + 8);
  for (int half = 0; half < 16; half += 8) {
    const __m256i from = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane + half));
    // Bit 3 of a lane's number tells the half, and the blend looks at the sign.
    const __m256 in_high = _mm256_castsi256_ps(_mm256_slli_epi32(from, 28));
    _mm256_storeu_ps(to + half, _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, from),
                                                 _mm256_permutevar8x32_ps(high, from), in_high));
  }
}
struct vindex {
  __m256i v;
};
TESELA_INLINE vindex load_index(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
TESELA_INLINE vfloat permute(vfloat x, vindex index) { return {_mm256_permutevar8x32_ps(x.v, index.v)}; }
template <int pairs>  // of each half of 128 bits, whose quarters are then put in order
TESELA_INLINE vfloat every_other(vfloat a, vfloat b) {
  const __m256d halves = _mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, pairs));
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(halves, 0xd8))};
}
TESELA_INLINE vfloat evens(vfloat a, vfloat b) { return every_other<0x88>(a, b); }
TESELA_INLINE vfloat odds(vfloat a, vfloat b) { return every_other<0xdd>(a, b); }
TESELA_INLINE vfloat exp2_integer(vfloat n) {
  const __m256i bias = _mm256_set1_epi32(127);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), bias), 23))};
}

#else  // generic

#ifndef TESELA_GENERIC_LANES
#define TESELA_GENERIC_LANES 4
#endif
inline constexpr int lanes = TESELA_GENERIC_LANES;
typedef float float_lanes __attribute__((vector_size(4 * TESELA_GENERIC_LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * TESELA_GENERIC_LANES)));
struct vfloat {
  float_lanes v;
};
struct vmask {
  int_lanes v;
};

TESELA_INLINE vfloat set1(float x) { return {float_lanes{} + x}; }
TESELA_INLINE vfloat low_halves(vfloat x) { return {(float_lanes)((int_lanes)x.v << 16)}; }
TESELA_INLINE vfloat high_halves(vfloat x) { return {(float_lanes)((int_lanes)x.v & -65536)}; }
TESELA_INLINE vfloat load(const float* p) {
  vfloat x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
TESELA_INLINE void store(float* p, vfloat x) { __builtin_memcpy(p, &x, sizeof x); }
TESELA_INLINE vfloat load_partial(const float* p, int n) {
  vfloat x = {float_lanes{}};
  for (int i = 0; i < n; ++i) x.v[i] = p[i];
  return x;
}
TESELA_INLINE void store_partial(float* p, vfloat x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x.v[i];
}
TESELA_INLINE vfloat operator+(vfloat a, vfloat b) { return {a.v + b.v}; }
TESELA_INLINE vfloat operator-(vfloat a, vfloat b) { return {a.v - b.v}; }
TESELA_INLINE vfloat operator*(vfloat a, vfloat b) { return {a.v * b.v}; }
TESELA_INLINE vfloat operator/(vfloat a, vfloat b) { return {a.v / b.v}; }
TESELA_INLINE vfloat fma(vfloat a, vfloat b, vfloat c) { return {a.v * b.v + c.v}; }
TESELA_INLINE vfloat sqrt(vfloat a) {
  for (int i = 0; i < lanes; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
TESELA_INLINE vmask operator<(vfloat a, vfloat b) { return {a.v < b.v}; }
TESELA_INLINE vmask operator>(vfloat a, vfloat b) { return {a.v > b.v}; }
TESELA_INLINE vmask is_nan(vfloat a) { return {a.v != a.v}; }
TESELA_INLINE vfloat select(vmask m, vfloat yes, vfloat no) {
  return {(float_lanes)((m.v & (int_lanes)yes.v) | (~m.v & (int_lanes)no.v))};
}
TESELA_INLINE vfloat max(vfloat a, vfloat b) { return select(a > b, a, b); }
TESELA_INLINE vfloat min(vfloat a, vfloat b) { return select(a < b, a, b); }
TESELA_INLINE vfloat nearest(vfloat a) {  // exact for |a| < 2^22, which is all that exp asks for
  const vfloat magic = set1(12582912.0f);
  return (a + magic) - magic;
}
TESELA_INLINE void pick_lanes(float* to, const float* block, const int32_t* lane) {
  for (int j = 0; j < 16; ++j) to[j] = block[lane[j] % 16];
}
struct vindex {
  int_lanes v;
};
TESELA_INLINE vindex load_index(const int32_t* p) {
  vindex x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
TESELA_INLINE vfloat permute(vfloat x, vindex index) {
#ifdef __clang__  // which has no shuffle by a variable
  vfloat y = x;
  for (int i = 0; i < lanes; ++i) y.v[i] = x.v[index.v[i] % lanes];
  return y;
#else
  return {__builtin_shuffle(x.v, index.v)};
#endif
}
TESELA_INLINE vfloat every_other(vfloat a, vfloat b, int first) {
  vfloat y = a;
  for (int i = 0; i < lanes / 2; ++i) y.v[i] = a.v[2 * i + first], y.v[lanes / 2 + i] = b.v[2 * i + first];
  return y;
}
TESELA_INLINE vfloat evens(vfloat a, vfloat b) { return every_other(a, b, 0); }
TESELA_INLINE vfloat odds(vfloat a, vfloat b) { return every_other(a, b, 1); }
TESELA_INLINE vfloat exp2_integer(vfloat n) {
  return {(float_lanes)((__builtin_convertvector(n.v, int_lanes) + 127) << 23)};
}

#endif

inline constexpr int block_vectors = 16 / lanes;  // vectors in one 16-lane channel block

TESELA_INLINE vfloat zero() { return set1(0.0f); }
#ifndef TESELA_ISA_avx512
TESELA_INLINE vfloat max_propagating(vfloat a, vfloat b) { return select(is_nan(a), a, max(a, b)); }
#endif
TESELA_INLINE vfloat min_propagating(vfloat a, vfloat b) { return select(is_nan(a), a, min(a, b)); }
// The first n lanes of x, zero in the others; n may be at or below 0 and at or above `lanes`.
TESELA_INLINE vfloat keep_lanes(vfloat x, int n) {
  if (n >= lanes) return x;
  float window[2 * lanes];
  store(window, x);
  store(window + lanes, zero());
  for (int i = n < 0 ? 0 : n; i < lanes; ++i) window[i] = 0.0f;
  return load(window);
}

template <class T>
TESELA_INLINE constexpr T smaller(T a, T b) {
  return a < b ? a : b;
}
template <class T>
TESELA_INLINE constexpr T larger(T a, T b) {
  return a > b ? a : b;
}

}  // namespace tesela::TESELA_ISA
