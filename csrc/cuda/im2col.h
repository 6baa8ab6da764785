// What TMA's im2col mode can do, and how a convolution is said in its terms: host and device alike.
//
// TMA walks the pixels of a bounding box in steps of the convolution's stride, row after row and image after image,
// and reads each at an offset: the filter's tap. The box is that of the first tap: from -P, and as far as the last
// output pixel reaches, (O - 1) S - P. Its far corner is given from the image's last pixel, and is a signed byte.
// (CUDA driver API, cuTensorMapEncodeIm2col.)

#pragma once

#include <cstdint>

#include "../shape.h"

namespace tesela {

struct Im2colBox {
  int lower_w, lower_h, upper_w, upper_h, step_w, step_h;
};

constexpr int64_t upper_corner(int64_t I, int64_t O, int64_t S, int64_t P) { return (O - 1) * S - P - (I - 1); }

constexpr bool fits_im2col(const Conv2dShape& s) {
  const auto is_corner = [](int64_t corner) { return corner >= -128 && corner <= 127; };
  constexpr int64_t most_offset = 255, most_step = 8, most_size = int64_t{1} << 31;
  return !s.transposed && is_corner(-s.PT) && is_corner(-s.PL) && is_corner(upper_corner(s.IH, s.OH, s.SH, s.PT)) &&
         is_corner(upper_corner(s.IW, s.OW, s.SW, s.PL)) && (s.KH - 1) * s.DH <= most_offset &&
         (s.KW - 1) * s.DW <= most_offset && s.SH <= most_step && s.SW <= most_step && s.N > 0 && s.IC > 0 &&
         s.IH > 0 && s.IW > 0 && s.N * s.OH * s.OW < most_size - 1024;
}

constexpr Im2colBox im2col_box(const Conv2dShape& s) {
  return {static_cast<int>(-s.PL),
          static_cast<int>(-s.PT),
          static_cast<int>(upper_corner(s.IW, s.OW, s.SW, s.PL)),
          static_cast<int>(upper_corner(s.IH, s.OH, s.SH, s.PT)),
          static_cast<int>(s.SW),
          static_cast<int>(s.SH)};
}

}  // namespace tesela
