// Tensor maps: what TMA knows of a tensor, made on the host by the driver and passed to kernels as
// `const __grid_constant__ CUtensorMap`.
//
// Both kinds bring rows of 128 bytes, swizzled as wgmma reads them (fragments.h). Limits are the driver's: an address
// that is a multiple of 16 bytes, strides that are, boxes of at most 256 rows; and see Im2colBox.

#pragma once

#include <cuda.h>

#include "fragments.h"
#include "im2col.h"
#include "launch.h"

namespace tesela::TESELA_DEVICE {

// A matrix (rows, columns) whose rows are `stride` elements apart, box_rows rows and 128 bytes of each at a time.
CUtensorMap tiled_map(const void* matrix, MmaType type, int64_t rows, int64_t columns, int64_t stride, int box_rows);

// x (N, IH, IW, channels) in channels_last, `pixels` pixels of the box and 128 bytes of each at a time.
struct PixelStrides {
  int64_t pixel, image;  // elements
};
CUtensorMap im2col_map(const void* x, MmaType type, int64_t N, int64_t IH, int64_t IW, int64_t channels,
                       PixelStrides strides, const Im2colBox& box, int pixels);

}  // namespace tesela::TESELA_DEVICE
