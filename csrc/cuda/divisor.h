// Division by a number that is known when a step is planned: a multiplication and a shift, where a GPU would call a
// routine of some fifty instructions. For numerators of 63 bits; host and device alike.
//
// With 2^(shift + 1) the first power of two at or above d and m = floor(2^(64 + shift) / d) + 1, m d - 2^(64 + shift)
// is positive and at most d, hence at most 2^(shift + 1), and floor(n m / 2^(64 + shift)) = floor(n / d) for all n <
// 2^63. (Granlund and Montgomery, "Division by invariant integers using multiplication", 1994.)

#pragma once

#include <cstdint>

#include "../host_device.h"

namespace tesela {

struct Divisor {
  uint64_t multiplier = 0;  // 0: the divisor is 1
  int64_t shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t d) {
    if (d <= 1) return;  // by 0 nothing is ever divided: its loop has no steps
    while ((uint64_t{2} << shift) < static_cast<uint64_t>(d)) ++shift;
    const unsigned __int128 power = static_cast<unsigned __int128>(1) << (64 + shift);
    multiplier = static_cast<uint64_t>(power / static_cast<uint64_t>(d) + 1);
  }

  TESELA_HOST_DEVICE int64_t quotient(int64_t n) const {
    if (multiplier == 0) return n;
    const auto numerator = static_cast<uint64_t>(n);
#ifdef __CUDA_ARCH__
    const uint64_t high = __umul64hi(numerator, multiplier);
#else
    const auto high = static_cast<uint64_t>((static_cast<unsigned __int128>(numerator) * multiplier) >> 64);
#endif
    return static_cast<int64_t>(high >> shift);
  }
};

}  // namespace tesela
