// Nested loops as an argument of a kernel, for operators that take tensors of any rank.

#pragma once

#include <string>
#include <vector>

#include "backend.h"
#include "divisor.h"

namespace tesela::TESELA_DEVICE {

// Loops of one step are left out, so that 63 bits of sizes need no more; only an empty tensor could.
inline constexpr int most_loops = 64;

template <int operands>
struct Loops {
  int rank;  // innermost first
  int64_t steps;
  int64_t sizes[most_loops], strides[operands][most_loops];
  Divisor by_size[most_loops];
};

template <int operands>
struct Places {
  int64_t of[operands];
};

// Where each operand is met in step `item`.
template <int operands>
__device__ Places<operands> places_of(const Loops<operands>& loops, int64_t item) {
  Places<operands> at{};
  for (int d = 0; d < loops.rank; ++d) {
    const bool last = d + 1 == loops.rank;
    const int64_t quotient = last ? 0 : loops.by_size[d].quotient(item), i = item - quotient * loops.sizes[d];
    for (int k = 0; k < operands; ++k) at.of[k] += i * loops.strides[k][d];
    item = quotient;
  }
  return at;
}

// sizes and strides: innermost first; operands without strides stay at their first element.
template <int operands>
Loops<operands> loops_over(const std::string& op, const std::vector<int64_t>& sizes,
                           const std::vector<std::vector<int64_t>>& strides) {
  if (sizes.size() > most_loops) {
    throw ShapeError(op + " on CUDA: expected at most 64 dimensions other than 1, got " + std::to_string(sizes.size()));
  }
  Loops<operands> loops{};
  loops.rank = static_cast<int>(sizes.size());
  loops.steps = 1;
  for (size_t d = 0; d < sizes.size(); ++d) {
    loops.sizes[d] = sizes[d];
    loops.by_size[d] = Divisor(sizes[d]);
    loops.steps *= sizes[d];
    for (size_t k = 0; k < strides.size(); ++k) loops.strides[k][d] = strides[k][d];
  }
  return loops;
}

}  // namespace tesela::TESELA_DEVICE
