// A tensor as a program sees it: sizes, element type, and where its elements lie.
//
// Layout::plain    row-major, any rank.
// Layout::blocked  NCHW16c, rank 4: channels in blocks of 16 lanes. Element (n, c, h, w) is at
//                    n * image_stride + (c / 16) * plane_stride + (h * W + w) * 16 + c % 16.
//                  Lanes at or beyond C exist in the last block and always hold zero, so that a kernel may multiply
//                  them without looking. A plane of a multiple of 4096 bytes gets one more cache line: otherwise all
//                  channel blocks of a pixel would fall into the same set of the L1 cache.
// Layout::channels_last  NHWC, rank 4. Element (n, c, h, w) is at
//                    n * image_stride + (h * W + w) * pixel_stride + c.
//                  Pixels are a multiple of 8 elements apart, so that each begins at a multiple of 16 bytes in every
//                  format. Lanes from C to that multiple exist and always hold zero. A part of a concatenation lies
//                  among the channels of the whole and has the whole's strides. Rank 2 are maps of one pixel, (N, C)
//                  for (N, C, 1, 1): rows of a matrix that are image_stride apart.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "integers.h"
#include "shape.h"

namespace tesela {

inline constexpr int64_t channel_block = 16;

inline constexpr int64_t channel_octet = 8;

enum class Layout : uint8_t { plain, blocked, channels_last };
// float16 and bfloat16 are formats of activations inside a program; no array of a caller has them.
enum class DType : uint8_t { float32, float64, int8, uint8, int32, int64, boolean, float16, bfloat16 };

// What products and activations are made of. float32: IEEE, or three products of tf32 at the same accuracy where it is
// not strict. tf32: stored as float32, products of tf32. bfloat16, float16: activations and weights of 16 bits. Sums
// and what follows them are float32 always.
enum class Precision : uint8_t { float32, tf32, bfloat16, float16 };

const char* name_of(Precision precision);
DType storage_of(Precision precision);  // of activations in channels_last

size_t bytes_of(DType dtype);                // of one element
const char* name_of(DType dtype);            // as NumPy has it: "float32"
DType as_array(DType dtype);                 // what a caller's array of such elements has: float32 for 16 bits
DType dtype_named(const std::string& name);  // ShapeError for a name that is none that NumPy has too

struct TensorSpec {
  Dims dims;
  DType dtype = DType::float32;
  Layout layout = Layout::plain;
  int64_t plane_stride = 0;  // blocked only, in elements
  int64_t image_stride = 0;  // but for plain, in elements
  int64_t pixel_stride = 0;  // channels_last only, in elements

  int64_t blocks() const { return ceil_div(dims[1], channel_block); }
  // channels_last: those that a kernel writes, zeros beyond C
  int64_t lanes() const { return round_up(dims[1], channel_octet); }
  int64_t elements() const;  // of storage, padding included
  size_t bytes() const { return static_cast<size_t>(elements()) * bytes_of(dtype); }
};

double payload(const TensorSpec& spec);  // bytes of the elements, without what a layout adds

TensorSpec plain_spec(Dims dims, DType dtype = DType::float32);
TensorSpec blocked_spec(Dims dims);
TensorSpec channels_last_spec(Dims dims, DType dtype);

}  // namespace tesela
