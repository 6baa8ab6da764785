// Reductions by one thread or by a warp: kernels take the number of lanes that share an item as a template parameter.

#pragma once

#include "launch.h"

namespace tesela::TESELA_DEVICE {

inline constexpr int warp_lanes = 32;

// With 32 lanes, all lanes of a warp call these together, and all get the result. The order of a sum is fixed.
template <int lanes, class T>
__device__ inline T sum_over_lanes(T value) {
  for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}
template <int lanes>
__device__ inline float max_over_lanes(float value) {
  for (int step = lanes / 2; step > 0; step /= 2) value = max_propagating(value, __shfl_xor_sync(~0u, value, step));
  return value;
}

// The items of a thread, or of a warp: `lane` tells the threads of an item apart.
template <int lanes>
struct Share {
  int64_t first, stride;
  int lane;
};
template <int lanes>
__device__ inline Share<lanes> share() {
  return {first_item() / lanes, item_stride() / lanes, static_cast<int>(threadIdx.x) % lanes};
}
template <int lanes>
Grid grid_of_shares(int64_t items) {
  return grid_over(items, block_threads / lanes);
}

}  // namespace tesela::TESELA_DEVICE
