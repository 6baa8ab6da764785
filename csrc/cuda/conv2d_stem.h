// conv2d_stem.cu: a convolution with few input channels as two steps, of which the second is a convolution with many.

#pragma once

#include <vector>

#include "backend.h"

namespace tesela::TESELA_DEVICE {

// What becomes a pixel: those of x, the taps of an output in one row of x, or in all rows.
enum class Stem { none, rows, windows };

inline const char* name_before(Stem stem) {  // the product's, where its candidates are listed
  return stem == Stem::rows ? "rows of taps, " : "windows, ";
}
bool conv2d_fits_stem(const Conv2dShape& s);
// The convolution that is left, and its weights, of (OC, IC, KH, KW).
Conv2dShape after_stem(const Conv2dShape& s, Stem stem);
std::vector<float> weights_after_stem(const Conv2dShape& s, Stem stem, const float* weight);
// Its input, of x, which is plain.
TensorId append_stem(Program& program, TensorId x, const Conv2dShape& s, Stem stem);

}  // namespace tesela::TESELA_DEVICE
