// Channels of a pixel as kernels on channels_last tensors move them: 16 bytes at a time, 4 floats or 8 numbers of 16
// bits, in registers as floats.

#pragma once

#include <type_traits>
#include <vector>

#include "../half.h"
#include "../tensor.h"
#include "launch.h"

namespace tesela::TESELA_DEVICE {

template <class T>
inline constexpr int vector_lanes = 16 / sizeof(T);

template <class T>
struct alignas(16) Stored {
  T lane[vector_lanes<T>];
};

template <class T>
struct Lanes {
  float lane[vector_lanes<T>];
};

// `from` and `to`: a multiple of 16 bytes.
template <class T>
__device__ Stored<T> load_stored(const T* from) {
  return *reinterpret_cast<const Stored<T>*>(from);
}
template <class T>
__device__ Lanes<T> load_lanes(const T* from) {
  const Stored<T> stored = load_stored(from);
  Lanes<T> lanes;
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) lanes.lane[i] = as_float(stored.lane[i]);
  return lanes;
}

template <class T>
__device__ void store_lanes(T* to, const Lanes<T>& lanes) {
  Stored<T> stored;
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) stored.lane[i] = as_stored<T>(lanes.lane[i]);
  *reinterpret_cast<Stored<T>*>(to) = stored;
}

template <class T>
__device__ Lanes<T> all_lanes(float value) {
  Lanes<T> lanes;
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) lanes.lane[i] = value;
  return lanes;
}

// As many lanes as T has, from a tensor of it or from parameters, which are floats.
template <class T>
__device__ Lanes<T> load_lanes_of(const T* from) {
  return load_lanes(from);
}
template <class T>
  requires(!std::is_same_v<T, float>)
__device__ Lanes<T> load_lanes_of(const float* from) {
  Lanes<T> lanes;
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; i += vector_lanes<float>) {
    const Lanes<float> part = load_lanes(from + i);
    TESELA_UNROLL
    for (int j = 0; j < vector_lanes<float>; ++j) lanes.lane[i + j] = part.lane[j];
  }
  return lanes;
}

// Writes the lanes from `channel` on, zeros at and beyond C.
template <class T>
__device__ void store_channels(T* pixel, int64_t channel, int64_t C, Lanes<T> lanes) {
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) lanes.lane[i] = channel + i < C ? lanes.lane[i] : 0.0f;
  store_lanes(pixel + channel, lanes);
}

// Parameters, `count` of them, with zeros up to `lanes`.
inline std::vector<float> padded_lanes(const float* values, int64_t count, int64_t lanes) {
  if (values == nullptr) return {};
  std::vector<float> padded(values, values + count);
  padded.resize(static_cast<size_t>(lanes));
  return padded;
}

// Calls what(T{}) with the type that a dtype stores.
template <class What>
auto with_stored_type(DType dtype, What what) {
  if (dtype == DType::float16) return what(float16{});
  if (dtype == DType::bfloat16) return what(bfloat16{});
  return what(float{});
}

}  // namespace tesela::TESELA_DEVICE
