// What the array operators plan alike on every device: which operands are taken, the sizes of the result, and the loops
// that walk their elements.

#pragma once

#include <string>
#include <vector>

#include "backend.h"
#include "reductions.h"

namespace tesela {

// Loops over y and operands that broadcast to it, innermost first. Strides are in elements, 0 where an operand
// broadcasts. Loops of one step are left out, neighbours that can be walked as one are merged. None: y has one element.
struct BroadcastLoops {
  Dims dims;                                  // of y
  std::vector<int64_t> sizes;                 // of the loops
  std::vector<std::vector<int64_t>> strides;  // [operand][loop]
};
BroadcastLoops broadcast_loops(const std::string& op, const std::vector<Dims>& operands);
// The same, for operands of map: one to three, which agree in dtype but for where's condition.
BroadcastLoops map_loops(const std::string& op, const std::vector<TensorSpec>& operands);

// Outputs are walked by the kept axes, the elements of one by the reduced axes, both outermost first and merged.
struct ReduceLoops {
  Reduction kind;
  std::vector<int64_t> kept, kept_strides, reduced, reduced_strides;
  int64_t outputs = 1, count = 1;  // count: elements reduced to one
  TensorSpec y;
};
ReduceLoops reduce_loops(const std::string& op, const TensorSpec& x, const std::vector<int64_t>& axes);

// y[o, i, inner] = x[o, index of i, inner]
struct GatherLoops {
  int64_t outer, size, indices, inner;
  TensorSpec y;
};
GatherLoops gather_loops(const TensorSpec& x, const TensorSpec& indices, int64_t axis);
[[noreturn]] void refuse_index(int64_t index, int64_t position, int64_t size);

// Every place has been checked to lie in x. Axes that can be walked as one are merged.
struct IndexedCopyLoops {
  std::vector<CopyAxis> axes;  // outermost first
  TensorSpec y;
};
IndexedCopyLoops indexed_copy_loops(const TensorSpec& x, const IndexedCopy& copy);

}  // namespace tesela
