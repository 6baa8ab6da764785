// What follows the sums of tensor cores on channels_last tensors, 8 channels at a time:
//
//   y[pixel, oc] = activation(gate[n, oc] * (sum + bias[oc]) + residual[pixel, oc])
//
// or, where sums are taken in parts, their storing as float32; sum_of_parts.cu does the rest then.

#pragma once

#include "divisor.h"
#include "fragments.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {

struct Epilogue {
  int64_t pixels;       // N * OH * OW
  int channels, lanes;  // of a group: OC/G, and that to a multiple of 8
  int groups, splits;   // splits: parts of each sum
  Divisor by_plane;     // OH * OW
  ActivationSpec activation;
};

template <class T>
struct EpilogueOperands {
  const float* bias;                  // (OC) or null
  const T* residual;                  // channels_last, or null
  const T* gate;                      // the same, of 1 x 1 pixels
  T* y;                               // channels_last
  int64_t residual_stride, y_stride;  // from pixel to pixel
  int64_t gate_stride;                // from image to image
  float* partial;                     // (splits, pixels, G * lanes) where the sum is split, or null
};

struct Octet {
  float lane[8];
};

// 16 bytes at a time.
template <class T>
__device__ Octet load_octet(const T* from) {
  Octet x;
  TESELA_UNROLL
  for (int i = 0; i < 8; i += vector_lanes<T>) {
    const Lanes<T> part = load_lanes(from + i);
    TESELA_UNROLL
    for (int j = 0; j < vector_lanes<T>; ++j) x.lane[i + j] = part.lane[j];
  }
  return x;
}
template <class T>
__device__ void store_octet(T* to, const Octet& x) {
  TESELA_UNROLL
  for (int i = 0; i < 8; i += vector_lanes<T>) {
    Lanes<T> part;
    TESELA_UNROLL
    for (int j = 0; j < vector_lanes<T>; ++j) part.lane[j] = x.lane[i + j];
    store_lanes(to + i, part);
  }
}

// 8 channels of a pixel, from `channel` of group g on; those beyond the last are 0.
template <class T>
__device__ void finish(const Epilogue& s, const EpilogueOperands<T>& p, int64_t pixel, int g, int channel, Octet x) {
  const int at = g * s.channels + channel;
  Octet gate{}, other{};
  if (p.gate) gate = load_octet(p.gate + s.by_plane.quotient(pixel) * p.gate_stride + at);
  if (p.residual) other = load_octet(p.residual + pixel * p.residual_stride + at);
  TESELA_UNROLL
  for (int i = 0; i < 8; ++i) {
    const bool there = channel + i < s.channels;
    if (there && p.bias) x.lane[i] += p.bias[at + i];
    if (p.gate) x.lane[i] *= gate.lane[i];
    x.lane[i] = there ? activate(x.lane[i] + other.lane[i], s.activation) : 0.0f;
  }
  store_octet(p.y + pixel * p.y_stride + at, x);
}

// The same of one part of a sum, which is kept until the others are there.
template <class T>
__device__ void finish_part(const Epilogue& s, const EpilogueOperands<T>& p, int64_t split, int64_t pixel, int g,
                            int channel, const Octet& x) {
  if (p.partial) {
    store_octet<float>(p.partial + ((split * s.pixels + pixel) * s.groups + g) * s.lanes + channel, x);
  } else {
    finish(s, p, pixel, g, channel, x);
  }
}

// sum_of_parts.cu: adds the parts in their order, and finishes.
template <class T>
void launch_sum_of_parts(const Epilogue& s, const EpilogueOperands<T>& operands, void* stream);

// Rows of 8 bytes written by 16 lanes at once meet different banks.
inline constexpr int staged_columns = 32, staged_row = staged_columns + 8;
inline constexpr int staged_sums = 16 * staged_columns / 32;  // of a lane
using Staged = float[16 * staged_row];
struct alignas(8) Two {
  float first, second;
};

// A warp turns its sums over in shared memory, 16 rows of 32 columns at a time, so that a lane has 8 columns in a row.
// sums: chunks x staged_sums, as wgmma_sum says; put(chunk, row, column, Octet).
template <int chunks, class Put>
__device__ void turn_over(const float* sums, Staged& staged, const Put& put) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  TESELA_ROLLED
  for (int chunk = 0; chunk < chunks; ++chunk) {
    TESELA_UNROLL
    for (int c = 0; c < chunks; ++c) {  // registers have no index
      if (c != chunk) continue;
      TESELA_UNROLL
      for (int i = 0; i < staged_sums; i += 2) {
        const Element e = wgmma_sum(lane, i);
        const float* from = sums + c * staged_sums + i;
        *reinterpret_cast<Two*>(staged + e.row * staged_row + e.column) = {from[0], from[1]};
      }
    }
    __syncwarp();
    TESELA_ROLLED
    for (int item = lane; item < 16 * staged_columns / 8; item += 32) {
      const int row = item / (staged_columns / 8), column = item % (staged_columns / 8) * 8;
      put(chunk, row, column, load_octet<float>(staged + row * staged_row + column));
    }
    __syncwarp();
  }
}

}  // namespace tesela::TESELA_DEVICE
