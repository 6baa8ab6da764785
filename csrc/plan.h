// What a planned kernel is: shape known, algorithm chosen, weights packed, epilogue fused.
//
// A plan is immutable once made. run() may be called from several threads at once, each with its own operands and
// scratch.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "threads.h"

namespace tesela {

// Where one tensor of a step lies in one run. The strides are not the plan's to fix: a concatenated tensor's parts are
// written straight into the whole, whose images and pixels are further apart.
struct Operand {
  void* data;
  int64_t image_stride;      // elements from one image to the next; 0 for plain tensors
  int64_t pixel_stride = 0;  // channels_last: elements from one pixel to the next

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  float* floats() const { return as<float>(); }
  int64_t* indices() const { return as<int64_t>(); }
};

// What the device lends to a step while it runs.
struct Execution {
  Team* team = nullptr;     // CPU
  char* scratch = nullptr;  // CPU: scratch_stride bytes for each worker, 64-byte aligned
  size_t scratch_stride = 0;
  void* stream = nullptr;  // CUDA: where launches go (cuda/launch.h)

  float* scratch_of(int worker) const {
    return reinterpret_cast<float*>(scratch + static_cast<size_t>(worker) * scratch_stride);
  }
};

struct Plan {
  std::string algorithm;     // as profile() shows it: "pointwise"
  double flops = 0;          // of the direct algorithm, whatever the kernel does
  double bytes = 0;          // compulsory traffic: inputs, weights and outputs once
  size_t scratch_bytes = 0;  // per worker
  size_t weight_bytes = 0;   // packed parameters that the plan holds

  virtual ~Plan() = default;
  virtual void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const = 0;

  // CUDA: whether the device notes what is wrong with the values, and, when the run is done, the error in its words.
  virtual bool notes_errors() const { return false; }
  virtual void throw_noted(const Operand* /*inputs*/, const Operand* /*outputs*/, const Execution&) const {}
};

}  // namespace tesela
