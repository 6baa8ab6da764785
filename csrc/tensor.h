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

#include "shape.h"

namespace tesela {

inline constexpr int64_t channel_block = 16;

enum class Layout : uint8_t { plain, blocked };
enum class DType : uint8_t { float32, int64 };

struct TensorSpec {
  Dims dims;
  DType dtype = DType::float32;
  Layout layout = Layout::plain;
  int64_t plane_stride = 0;  // blocked only, in elements
  int64_t image_stride = 0;  // blocked only, in elements

  int64_t blocks() const { return (dims[1] + channel_block - 1) / channel_block; }
  int64_t elements() const;  // of storage, padding included
  size_t bytes() const { return static_cast<size_t>(elements()) * (dtype == DType::int64 ? 8 : 4); }
};

TensorSpec plain_spec(Dims dims, DType dtype = DType::float32);
TensorSpec blocked_spec(Dims dims);

}  // namespace tesela
