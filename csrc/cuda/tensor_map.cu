// Tensor maps. The driver's functions are looked up when first needed: the package imports without a driver.

#include <algorithm>

#include "tensor_map.h"

namespace tesela::TESELA_DEVICE {
namespace {

#ifdef __CUDACC__
template <class Function>
Function* driver_function(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &result), name);
  if (result != cudaDriverEntryPointSuccess) throw std::runtime_error(std::string("CUDA: the driver has no ") + name);
  return reinterpret_cast<Function*>(function);
}
const auto& tiled_function() {
  static auto* const function = driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  return *function;
}
const auto& im2col_function() {
  static auto* const function = driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  return *function;
}
#else
const auto& tiled_function() { return cuTensorMapEncodeTiled; }
const auto& im2col_function() { return cuTensorMapEncodeIm2col; }
#endif

CUtensorMapDataType data_type(MmaType type) {
  return type == MmaType::bfloat16  ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
         : type == MmaType::float16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                    : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;  // tf32 drops bits when it multiplies
}

// Drivers up to 13.1 leave a bit set that small tensors must not have, as CUTLASS found out too.
void finish(CUtensorMap& map, CUresult result, int64_t bytes) {
  constexpr int64_t small = 131072;
  if (result != CUDA_SUCCESS) {
    throw std::runtime_error("CUDA: the driver refuses a tensor map, error " +
                             std::to_string(static_cast<int>(result)));
  }
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "driver version");
  if (bytes < small && driver <= 13010) reinterpret_cast<uint64_t*>(&map)[1] &= ~(uint64_t{1} << 21);
}

// Where the driver writes, at a multiple of 64. The result of a function may be written at once to a temporary of its
// caller, which g++ aligns only where it optimises.
struct Encoded {
  CUtensorMap map;
};

cuuint32_t elements_of_row(MmaType type) { return static_cast<cuuint32_t>(swizzled_row / bytes_of(type)); }

}  // namespace

CUtensorMap tiled_map(const void* matrix, MmaType type, int64_t rows, int64_t columns, int64_t stride, int box_rows) {
  const cuuint64_t size[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t bytes_of_stride[] = {static_cast<cuuint64_t>(stride * bytes_of(type))};
  const cuuint32_t box[] = {elements_of_row(type), static_cast<cuuint32_t>(box_rows)}, step[] = {1, 1};
  Encoded encoded;
  const CUresult result =
      tiled_function()(&encoded.map, data_type(type), 2, const_cast<void*>(matrix), size, bytes_of_stride, box, step,
                       CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  finish(encoded.map, result, std::max(rows * stride, columns) * bytes_of(type));
  return encoded.map;
}

CUtensorMap im2col_map(const void* x, MmaType type, int64_t N, int64_t IH, int64_t IW, int64_t channels,
                       PixelStrides strides, const Im2colBox& box, int pixels) {
  const auto wide = [](int64_t value) { return static_cast<cuuint64_t>(value); };
  const int64_t bytes = bytes_of(type), pixel = strides.pixel * bytes;
  const cuuint64_t size[] = {wide(channels), wide(IW), wide(IH), wide(N)};
  const cuuint64_t bytes_of_strides[] = {wide(pixel), wide(IW * pixel), wide(strides.image * bytes)};
  const int lower[] = {box.lower_w, box.lower_h}, upper[] = {box.upper_w, box.upper_h};
  const cuuint32_t step[] = {1, static_cast<cuuint32_t>(box.step_w), static_cast<cuuint32_t>(box.step_h), 1};
  Encoded encoded;
  const CUresult result = im2col_function()(
      &encoded.map, data_type(type), 4, const_cast<void*>(x), size, bytes_of_strides, lower, upper,
      elements_of_row(type), static_cast<cuuint32_t>(pixels), step, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  finish(encoded.map, result, std::max({N * strides.image * bytes, IH * IW * pixel, channels * bytes}));
  return encoded.map;
}

}  // namespace tesela::TESELA_DEVICE
