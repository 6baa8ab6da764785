// A tensor as a program sees it: sizes, element type, and where its elements lie.
//
// Layout::plain    row-major, any rank.
// Layout::blocked  NCHW16c, rank 4: channels in blocks of 16 lanes. Element (n, c, h, w) is at
//                    n * image_stride + (c / 16) * plane_stride + (h * W + w) * 16 + c % 16.
//                  Lanes at or beyond C exist in the last block and always hold zero, so that a kernel may multiply
//                  them without looking. A plane of a multiple of 4096 bytes gets one more cache line: otherwise all
//                  channel blocks of a pixel would fall into the same set of the L1 cache.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shape.h"

namespace tesela {

inline constexpr int64_t channel_block = 16;

enum class Layout : uint8_t { plain, blocked };
enum class DType : uint8_t { float32, float64, int8, uint8, int32, int64, boolean };

size_t bytes_of(DType dtype);                // of one element
const char* name_of(DType dtype);            // as NumPy has it: "float32"
DType dtype_named(const std::string& name);  // ShapeError for a name that is none of these

struct TensorSpec {
  Dims dims;
  DType dtype = DType::float32;
  Layout layout = Layout::plain;
  int64_t plane_stride = 0;  // blocked only, in elements
  int64_t image_stride = 0;  // blocked only, in elements

  int64_t blocks() const { return (dims[1] + channel_block - 1) / channel_block; }
  int64_t elements() const;  // of storage, padding included
  size_t bytes() const { return static_cast<size_t>(elements()) * bytes_of(dtype); }
};

TensorSpec plain_spec(Dims dims, DType dtype = DType::float32);
TensorSpec blocked_spec(Dims dims);

}  // namespace tesela
