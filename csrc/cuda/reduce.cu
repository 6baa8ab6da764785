// reduce: sums, extremes and their places over any axes (reductions.h).
//
// One thread per result, or a warp where the elements of one are many: its lanes take every 32nd element and combine by
// shuffles, in a fixed order. float32 is summed in double. Limits: any sizes. A few results over very many elements
// leave most of the GPU idle. Not measured on a GPU yet.

#include "../arrays.h"
#include "loops.h"
#include "reduce.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int64_t many_elements = 64;  // two for each lane of a warp

struct ReduceArgs {
  Loops<1> kept, reduced;
  Reduction kind;
  bool select_last;
};

template <int lanes, class T>
__device__ T extreme_over_lanes(Reduction kind, T value) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    value = extreme_of(kind, value, static_cast<T>(__shfl_xor_sync(~0u, value, step)));  // of narrow types it gives int
  }
  return value;
}

template <int lanes, class S>
__device__ S joined_over_lanes(Reduction kind, S value) {
  for (int step = lanes / 2; step > 0; step /= 2) value = joined_sums(kind, value, __shfl_xor_sync(~0u, value, step));
  return value;
}

// One result, of which each lane of the warp takes its part.
template <int lanes, class T>
__device__ T reduced(const ReduceArgs& s, const T* x, int lane) {
  const Loops<1>& loops = s.reduced;
  if (finds_extreme(s.kind)) {
    T best = extreme_of_none<T>(s.kind);
    for (int64_t i = lane; i < loops.steps; i += lanes) best = extreme_of(s.kind, x[places_of(loops, i).of[0]], best);
    return extreme_over_lanes<lanes>(s.kind, best);
  }
  if (s.kind == Reduction::log_sum_exp) {
    double largest = extreme_of_none<double>(Reduction::max), total = 0;
    for (int64_t i = lane; i < loops.steps; i += lanes) {
      largest = extreme_of(Reduction::max, static_cast<double>(x[places_of(loops, i).of[0]]), largest);
    }
    largest = extreme_over_lanes<lanes>(Reduction::max, largest);
    for (int64_t i = lane; i < loops.steps; i += lanes) {
      total += exp(static_cast<double>(x[places_of(loops, i).of[0]]) - largest);
    }
    return log_sum_exp_result<T>(largest, sum_over_lanes<lanes>(total));
  }
  Sum<T> sum = sum_of_none<T>(s.kind);
  for (int64_t i = lane; i < loops.steps; i += lanes) {
    sum = joined_sums(s.kind, sum, summand(s.kind, x[places_of(loops, i).of[0]]));
  }
  return sum_result<T>(s.kind, joined_over_lanes<lanes>(s.kind, sum), loops.steps);
}

// A lane without an element has place -1.
template <int lanes, class T>
__device__ int64_t place(const ReduceArgs& s, const T* x, int lane) {
  T best{};
  int64_t best_at = -1;
  const auto take = [&](T value, int64_t at) {
    if (at < 0 || (best_at >= 0 && !takes_place(s.kind, s.select_last, value, at, best, best_at))) return;
    best = value, best_at = at;
  };
  for (int64_t i = lane; i < s.reduced.steps; i += lanes) take(x[places_of(s.reduced, i).of[0]], i);
  for (int step = lanes / 2; step > 0; step /= 2) {
    const T value = static_cast<T>(__shfl_xor_sync(~0u, best, step));
    const int64_t at = __shfl_xor_sync(~0u, best_at, step);
    take(value, at);
  }
  return best_at;
}

template <class T, int lanes>
__global__ void __launch_bounds__(block_threads)
    reduce_kernel(const __grid_constant__ ReduceArgs s, const void* x, void* y) {
  wait_for_earlier_kernel();
  const Share<lanes> my = share<lanes>();
  for (int64_t item = my.first; item < s.kept.steps; item += my.stride) {
    const T* from = static_cast<const T*>(x) + places_of(s.kept, item).of[0];
    if (finds_place(s.kind)) {
      const int64_t result = place<lanes>(s, from, my.lane);
      if (my.lane == 0) static_cast<int64_t*>(y)[item] = result;
    } else {
      const T result = reduced<lanes>(s, from, my.lane);
      if (my.lane == 0) static_cast<T*>(y)[item] = result;
    }
  }
}

using ReduceKernel = void (*)(ReduceArgs, const void*, void*);

template <int lanes>
ReduceKernel reduce_kernel_of(DType x) {
  switch (x) {
    case DType::float32:
      return reduce_kernel<float, lanes>;
    case DType::float64:
      return reduce_kernel<double, lanes>;
    case DType::int8:
      return reduce_kernel<int8_t, lanes>;
    case DType::uint8:
    case DType::boolean:  // max is any, min is all
      return reduce_kernel<uint8_t, lanes>;
    case DType::int32:
      return reduce_kernel<int32_t, lanes>;
    case DType::int64:
      return reduce_kernel<int64_t, lanes>;
    default:  // of activations only
      return nullptr;
  }
}

Loops<1> innermost_first(const std::string& op, std::vector<int64_t> sizes, std::vector<int64_t> strides) {
  std::reverse(sizes.begin(), sizes.end());
  std::reverse(strides.begin(), strides.end());
  return loops_over<1>(op, sizes, {strides});
}

}  // namespace

TensorId DeviceBackend::reduce(Program& program, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                               bool select_last) const {
  x = program.in_layout(x, Layout::plain);
  const TensorSpec from = program.spec(x);
  const ReduceLoops planned = reduce_loops(op, from, axes);
  const ReduceArgs args{innermost_first(op, planned.kept, planned.kept_strides),
                        innermost_first(op, planned.reduced, planned.reduced_strides), planned.kind, select_last};
  const bool by_warps = planned.count >= many_elements;
  const ReduceKernel kernel = by_warps ? reduce_kernel_of<warp_lanes>(from.dtype) : reduce_kernel_of<1>(from.dtype);
  const Grid grid = by_warps ? grid_of_shares<warp_lanes>(planned.outputs) : grid_of_shares<1>(planned.outputs);
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(kernel, grid, stream, args, in[0].data, out[0].data);
  };
  const double flops = static_cast<double>(planned.outputs) * static_cast<double>(planned.count);
  return append(program, by_warps ? "warps" : "threads", {x}, {planned.y}, 0, flops, run)[0];
}

}  // namespace tesela::TESELA_DEVICE
