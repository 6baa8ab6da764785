// map: functions of float32 and float64 that are no arithmetic of integers too, and the predicates isnan and isinf.
// One thread per element, as in map.cu. Not measured on a GPU yet.

#include "map.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

#define TESELA_CASE(name, expression) \
  case MapFunction::name:             \
    return static_cast<Y>(expression);

template <class T>
__device__ T real(MapFunction function, T a) {
  using Y = T;
  switch (function) {
    TESELA_REAL_UNARY(TESELA_CASE)
    default:
      return a;
  }
}

template <class T>
__device__ bool predicate(MapFunction function, T a) {
  using Y = bool;
  switch (function) {
    TESELA_REAL_PREDICATES(TESELA_CASE)
    default:
      return false;
  }
}
#undef TESELA_CASE

template <class T>
__global__ void __launch_bounds__(block_threads)
    real_kernel(const __grid_constant__ Loops<3> s, MapFunction function, MapOperands p) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    static_cast<T*>(p.y)[item] = real(function, static_cast<const T*>(p.a)[places_of(s, item).of[0]]);
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    predicate_kernel(const __grid_constant__ Loops<3> s, MapFunction function, MapOperands p) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    static_cast<bool*>(p.y)[item] = predicate(function, static_cast<const T*>(p.a)[places_of(s, item).of[0]]);
  }
}

}  // namespace

MapKernel real_map(MapFunction function, DType x) {
  const bool single = x == DType::float32;
  if (!single && x != DType::float64) return nullptr;
  if (function == MapFunction::isnan || function == MapFunction::isinf) {
    return single ? predicate_kernel<float> : predicate_kernel<double>;
  }
  return single ? real_kernel<float> : real_kernel<double>;
}

}  // namespace tesela::TESELA_DEVICE
