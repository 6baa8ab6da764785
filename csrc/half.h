// The formats of 16 bits that activations and weights may be stored in: IEEE 754 binary16, and bfloat16, the upper half
// of a float. Nothing is computed in them: a kernel loads floats from them and rounds to nearest, ties to even, when it
// stores.

#pragma once

#include <bit>
#include <cstdint>

#include "host_device.h"
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace tesela {

struct float16 {
  uint16_t bits;
};
struct bfloat16 {
  uint16_t bits;
};

TESELA_HOST_DEVICE inline float as_float(float x) { return x; }

TESELA_HOST_DEVICE inline float as_float(bfloat16 x) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(uint32_t{x.bits} << 16);
#else
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
#endif
}

TESELA_HOST_DEVICE inline float as_float(float16 x) {
#ifdef __CUDA_ARCH__
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = (x.bits & 0x8000u) << 16, magnitude = x.bits & 0x7fffu;
  if (magnitude < 0x400) {  // below 2^-14: multiples of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign ? -value : value;
  }
  const bool finite = magnitude < 0x7c00;
  return std::bit_cast<float>(sign | (finite ? (magnitude << 13) + (112u << 23) : magnitude << 13 | 0x7f800000u));
#endif
}

template <class T>
TESELA_HOST_DEVICE T as_stored(float x);

template <>
TESELA_HOST_DEVICE inline float as_stored(float x) {
  return x;
}

template <>
TESELA_HOST_DEVICE inline bfloat16 as_stored(float x) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // a NaN, as the device writes it
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#endif
}

template <>
TESELA_HOST_DEVICE inline float16 as_stored(float x) {
#ifdef __CUDA_ARCH__
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {0x7fff};
  uint32_t rounded = 0x7c00;     // infinity, from 2^16 on
  if (magnitude < 113u << 23) {  // below 2^-14: adding 1/2 rounds to multiples of 2^-24
    rounded = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - (126u << 23);
  } else if (magnitude < 143u << 23) {
    rounded = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
  }
  return {static_cast<uint16_t>(sign | rounded)};
#endif
}

}  // namespace tesela
