// How the vectors of a channels_last tensor are counted: channels first, then pixels, then images. Host and device
// alike.

#pragma once

#include "../tensor.h"
#include "divisor.h"

namespace tesela {

struct PixelVector {
  int64_t image, pixel, channel;  // the first of its channels
};

struct PixelVectors {
  int64_t count, C, lanes_of_vector, vectors, pixels, width;  // vectors of a pixel, pixels of an image and of a row
  Divisor by_vectors, by_pixels, by_width;

  PixelVectors(const Dims& dims, int64_t lanes)
      : count(0),
        C(dims[1]),
        lanes_of_vector(lanes),
        vectors((C + channel_octet - 1) / channel_octet * (channel_octet / lanes)),
        pixels(dims[2] * dims[3]),
        width(dims[3]),
        by_vectors(vectors),
        by_pixels(pixels),
        by_width(width) {
    count = dims[0] * pixels * vectors;
  }

  TESELA_HOST_DEVICE PixelVector at(int64_t item) const {
    const int64_t pixel = by_vectors.quotient(item), image = by_pixels.quotient(pixel);
    return {image, pixel - image * pixels, (item - pixel * vectors) * lanes_of_vector};
  }
  TESELA_HOST_DEVICE int64_t row(int64_t pixel) const { return by_width.quotient(pixel); }
};

}  // namespace tesela
