// Weights with the batch norm after them folded in: y[r][i] = float(double(x[r][i]) * factor[r]).
//
// One pass over rows, shared by the threads that the program is planned for. In float64, because the factor is: rounded
// once, as the reference does. Denormal weights count as zero, as they do in a run.

#pragma once

#include <algorithm>
#include <cstdint>

#include "integers.h"
#include "threads.h"

namespace tesela {

inline void scale_rows(const float* x, const double* factors, float* y, int64_t rows, int64_t size) {
  constexpr int64_t per_task = 65536;  // elements: some ten microseconds
  const int64_t task_rows = std::max<int64_t>(per_task / std::max<int64_t>(size, 1), 1);
  parallel_for(ceil_div(rows, task_rows), [&](int64_t task, int) {
    for (int64_t r = task * task_rows; r < std::min(rows, (task + 1) * task_rows); ++r) {
      const double factor = factors[r];
      for (int64_t i = r * size; i < (r + 1) * size; ++i) y[i] = static_cast<float>(x[i] * factor);
    }
  });
}

}  // namespace tesela
