// Which form of a matrix product runs: the only place that chooses.
//
// A product is cut into tiles, one block each; an SM holds two blocks at a time. Its time is the number of rounds of
// all SMs, times what a tile costs. Not measured on a GPU yet: `worth` is what the arithmetic of A100 and H100
// promises.

#pragma once

#include <cstdint>

#include "fragments.h"
#include "launch.h"
#include "tile.cuh"

namespace tesela::TESELA_DEVICE {

// groups times (m x k) * (k x n)
struct Product {
  int64_t m, n, k, groups = 1;
};

inline int device_attribute(cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device_ordinal), "device attribute");
  return value;
}

// mma.sync on tf32 and cp.async: sm_80 and up.
inline bool has_tensor_cores() { return device_attribute(cudaDevAttrComputeCapabilityMajor) >= 8; }

inline bool tensor_cores_pay(const Product& p) {
  // Multiply-adds of three tf32 products in the time of one of the FFMA kernel: 2.6 times its peak on A100, 2.4 on
  // H100, and that kernel, which uses each value from shared memory four times, stays further below its own.
  constexpr double worth = 3;
  if (!has_tensor_cores() || p.m == 0 || p.n == 0 || p.k == 0) return false;
  const int64_t sms = device_attribute(cudaDevAttrMultiProcessorCount);
  const auto cost = [&](int64_t bm, int64_t bn, int64_t bk, int64_t blocks_of_sm) {
    const int64_t tiles = p.groups * ceil_div(p.m, bm) * ceil_div(p.n, bn);
    return static_cast<double>(ceil_div(tiles, sms * blocks_of_sm) * blocks_of_sm * bm * bn) *
           static_cast<double>(ceil_div(p.k, bk) * bk);
  };
  const double ffma = cost(BM, BN, BK, blocks_per_sm), mma = cost(MMA_BM, MMA_BN, MMA_BK, 1);
  return mma < worth * ffma;
}

}  // namespace tesela::TESELA_DEVICE
