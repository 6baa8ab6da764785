// map: sin, cos and tan. CUDA's own functions keep the digits of 2 / pi that a large angle needs in local memory, which
// no other kernel may use: so they stand in a file of their own. One thread per element. Not measured on a GPU yet.

#include "map.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

template <class T>
__device__ T trigonometric(MapFunction function, T a) {
#define TESELA_CASE(name, expression) \
  case MapFunction::name:             \
    return expression;
  switch (function) {
    TESELA_REAL_TRIGONOMETRIC(TESELA_CASE)
    default:
      return a;
  }
#undef TESELA_CASE
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    trigonometric_kernel(const __grid_constant__ Loops<3> s, MapFunction function, MapOperands p) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    static_cast<T*>(p.y)[item] = trigonometric(function, static_cast<const T*>(p.a)[places_of(s, item).of[0]]);
  }
}

}  // namespace

MapKernel trigonometric_map(DType x) {
  return x == DType::float32   ? trigonometric_kernel<float>
         : x == DType::float64 ? trigonometric_kernel<double>
                               : nullptr;
}

}  // namespace tesela::TESELA_DEVICE
