// Transposed convolution without products with zeros.
//
// Along one axis the output o meets tap k where o + P - k * D is a multiple of the stride S. That depends on o % S
// alone, so the outputs of one such class form a convolution of stride 1: the q-th of them, o = first + S * q, reads
// the inputs q + offset of its own few taps. Every tap belongs to one class. A class may have no taps: S > K.

#pragma once

#include <cstdint>
#include <vector>

namespace tesela {

struct ParityTap {
  int64_t tap, offset;
};

// first: 0 to S - 1.
inline std::vector<ParityTap> parity_taps(int64_t first, int64_t K, int64_t S, int64_t D, int64_t P) {
  std::vector<ParityTap> taps;
  for (int64_t k = 0; k < K; ++k) {
    const int64_t at = first + P - k * D;
    if (at % S == 0) taps.push_back({k, at / S});
  }
  return taps;
}

}  // namespace tesela
