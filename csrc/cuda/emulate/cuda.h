// Stands in for <cuda.h>: tensor maps keep what they were made from, and copies.cpp walks boxes as the driver's manual
// says. What the driver would refuse is refused here too.

#pragma once

#include <cuda_runtime.h>

namespace emulated {

using cuuint32_t = uint32_t;
using cuuint64_t = uint64_t;
enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType {
  CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
  CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
  CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
};
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_256B };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE };

// word[1] has bit 21 set as the driver sets it, where small tensors need it cleared (tensor_map.h).
struct alignas(64) CUtensorMap {
  uint64_t word[2];
  const char* base;
  uint64_t stride[3];  // bytes, of all dimensions but the innermost
  uint32_t size[4];
  uint16_t box[2];  // tiled; for im2col channels and pixels
  int8_t lower[2], upper[2];
  uint8_t step[4];  // element strides
  uint8_t rank, element_bytes, im2col, swizzled;
};
static_assert(sizeof(CUtensorMap) == 128);

using cuTensorMapEncodeTiledFunction = CUresult(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                                const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                                CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                                CUtensorMapFloatOOBfill);
using cuTensorMapEncodeIm2colFunction = CUresult(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                                 const cuuint64_t*, const cuuint64_t*, const int*, const int*,
                                                 cuuint32_t, cuuint32_t, const cuuint32_t*, CUtensorMapInterleave,
                                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
cuTensorMapEncodeTiledFunction cuTensorMapEncodeTiled;
cuTensorMapEncodeIm2colFunction cuTensorMapEncodeIm2col;

}  // namespace emulated
