// map: cast, from any dtype to any. One thread per element, a kernel for each pair of types.
// Not measured on a GPU yet.

#include "map.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

template <class To, class From>
__global__ void __launch_bounds__(block_threads)
    cast_kernel(const __grid_constant__ Loops<3> s, MapFunction, MapOperands p) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    static_cast<To*>(p.y)[item] = cast_to<To>(static_cast<const From*>(p.a)[places_of(s, item).of[0]]);
  }
}

template <class From>
MapKernel cast_from(DType y) {
  switch (y) {
    case DType::float32:
      return cast_kernel<float, From>;
    case DType::float64:
      return cast_kernel<double, From>;
    case DType::int8:
      return cast_kernel<int8_t, From>;
    case DType::uint8:
      return cast_kernel<uint8_t, From>;
    case DType::int32:
      return cast_kernel<int32_t, From>;
    case DType::int64:
      return cast_kernel<int64_t, From>;
    case DType::boolean:
      return cast_kernel<bool, From>;
    default:  // of activations only
      return nullptr;
  }
}

}  // namespace

MapKernel cast_map(DType x, DType y) {
  switch (x) {
    case DType::float32:
      return cast_from<float>(y);
    case DType::float64:
      return cast_from<double>(y);
    case DType::int8:
      return cast_from<int8_t>(y);
    case DType::uint8:
      return cast_from<uint8_t>(y);
    case DType::int32:
      return cast_from<int32_t>(y);
    case DType::int64:
      return cast_from<int64_t>(y);
    case DType::boolean:
      return cast_from<bool>(y);
    default:  // of activations only
      return nullptr;
  }
}

}  // namespace tesela::TESELA_DEVICE
