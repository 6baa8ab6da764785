// Which taps of a window lie inside its input. Host and device alike.

#pragma once

#include <cstdint>

#include "../host_device.h"

namespace tesela {

template <class Int>
struct Taps {
  Int begin, end;
};
// The taps k of [0, taps) for which origin + k * dilation lies in [0, size).
template <class Int>
TESELA_HOST_DEVICE Taps<Int> taps_inside(Int origin, Int taps, Int dilation, Int size) {
  const Int begin = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
  const Int end = origin >= size ? 0 : (size - 1 - origin) / dilation + 1;
  return {begin, end < taps ? end : taps};
}

// Coordinates along one axis: first, first + step, ...; none where count is not positive.
struct Range {
  int first, count, step;
};
TESELA_HOST_DEVICE inline Range range_inside(int origin, int taps, int dilation, int size) {
  const Taps<int> inside = taps_inside(origin, taps, dilation, size);
  return {origin + inside.begin * dilation, inside.end - inside.begin, dilation};
}

}  // namespace tesela
