#include "arrays.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tesela {

// -------------------------------------------------------------------------------------------------------------- map

BroadcastLoops broadcast_loops(const std::string& op, const std::vector<Dims>& operands) {
  BroadcastLoops loops;
  for (const Dims& dims : operands) loops.dims = broadcast_dims(op, loops.dims, dims);
  element_count(loops.dims, op);
  const size_t count = operands.size();
  loops.strides.resize(count);
  std::vector<int64_t> steps(count, 1);  // elements of the operand in the dimensions after this one
  for (size_t d = loops.dims.size(); d-- > 0;) {
    std::vector<int64_t> here(count, 0);
    for (size_t k = 0; k < count; ++k) {
      const size_t missing = loops.dims.size() - operands[k].size();
      const int64_t size = d < missing ? 1 : operands[k][d - missing];
      if (size != 1) here[k] = steps[k];
      steps[k] *= size;
    }
    if (loops.dims[d] == 1) continue;
    bool merges = !loops.sizes.empty();
    for (size_t k = 0; merges && k < count; ++k) merges = here[k] == loops.strides[k].back() * loops.sizes.back();
    if (merges) {
      loops.sizes.back() *= loops.dims[d];
      continue;
    }
    loops.sizes.push_back(loops.dims[d]);
    for (size_t k = 0; k < count; ++k) loops.strides[k].push_back(here[k]);
  }
  return loops;
}

BroadcastLoops map_loops(const std::string& op, const std::vector<TensorSpec>& operands) {
  if (operands.empty() || operands.size() > 3) throw ShapeError(op + ": expected one to three operands");
  std::vector<Dims> dims;
  for (size_t k = 0; k < operands.size(); ++k) {
    const DType expected = op == "where" && k == 0 ? DType::boolean : operands.back().dtype;
    if (operands[k].dtype != expected) throw ShapeError(op + ": operands differ in dtype");
    dims.push_back(operands[k].dims);
  }
  return broadcast_loops(op, dims);
}

// ----------------------------------------------------------------------------------------------------------- reduce

ReduceLoops reduce_loops(const std::string& op, const TensorSpec& x, const std::vector<int64_t>& axes) {
#define TESELA_REDUCTION(name) #name,
  constexpr const char* names[] = {TESELA_REDUCTIONS(TESELA_REDUCTION)};
#undef TESELA_REDUCTION
  const auto* name = std::find(std::begin(names), std::end(names), op);
  if (name == std::end(names)) throw ShapeError("reduce: unknown reduction '" + op + "'");
  const auto rank = static_cast<int64_t>(x.dims.size());
  std::vector<bool> goes(x.dims.size(), false);
  for (int64_t axis : axes) goes[static_cast<size_t>(normalized_dim(op, axis, rank))] = true;
  ReduceLoops loops;
  loops.kind = static_cast<Reduction>(name - std::begin(names));
  std::vector<int64_t> strides(x.dims.size());
  int64_t stride = 1;
  for (size_t d = x.dims.size(); d-- > 0; stride *= x.dims[d]) strides[d] = stride;
  Dims y;
  for (size_t d = 0; d < x.dims.size(); ++d) {
    std::vector<int64_t>& sizes = goes[d] ? loops.reduced : loops.kept;
    std::vector<int64_t>& steps = goes[d] ? loops.reduced_strides : loops.kept_strides;
    (goes[d] ? loops.count : loops.outputs) *= x.dims[d];
    y.push_back(goes[d] ? 1 : x.dims[d]);
    if (x.dims[d] == 1) continue;
    if (!sizes.empty() && steps.back() == strides[d] * x.dims[d]) {
      sizes.back() *= x.dims[d];
      steps.back() = strides[d];
    } else {
      sizes.push_back(x.dims[d]);
      steps.push_back(strides[d]);
    }
  }
  const bool places = finds_place(loops.kind);
  if (places && loops.count == 0) throw ShapeError(op + ": expected at least one element, got " + to_string(x.dims));
  loops.y = plain_spec(std::move(y), places ? DType::int64 : x.dtype);
  return loops;
}

// ----------------------------------------------------------------------------------------------------------- gather

GatherLoops gather_loops(const TensorSpec& x, const TensorSpec& indices, int64_t axis) {
  if (indices.dtype != DType::int64) throw ShapeError("gather: expected indices of dtype int64");
  const auto a = normalized_dim("gather", axis, static_cast<int64_t>(x.dims.size()));
  const Dims before(x.dims.begin(), x.dims.begin() + a), after(x.dims.begin() + a + 1, x.dims.end());
  Dims y = before;
  y.insert(y.end(), indices.dims.begin(), indices.dims.end());
  y.insert(y.end(), after.begin(), after.end());
  element_count(y, "gather output");
  return {element_count(before, "gather"), x.dims[static_cast<size_t>(a)],
          element_count(indices.dims, "gather indices"), element_count(after, "gather"),
          plain_spec(std::move(y), x.dtype)};
}

void refuse_index(int64_t index, int64_t position, int64_t size) {
  throw ShapeError("gather: index " + std::to_string(index) + " at position " + std::to_string(position) +
                   " is outside an axis of " + std::to_string(size));
}

// ----------------------------------------------------------------------------------------------------- indexed_copy

namespace {

// The range of offsets that the axes can add up to lies inside x.
void check_places(const IndexedCopy& copy, int64_t x_elements) {
  __int128 lowest = copy.base, highest = copy.base;  // sizes and strides have 63 bits, and there are few axes
  for (const CopyAxis& axis : copy.axes) {
    if (axis.size == 0) return;
    if (axis.table.empty()) {
      const __int128 reach = static_cast<__int128>(axis.stride) * (axis.size - 1);
      (reach < 0 ? lowest : highest) += reach;
      continue;
    }
    if (static_cast<int64_t>(axis.table.size()) != axis.size) throw ShapeError("indexed_copy: a table misses entries");
    int64_t most = 0;  // absent places are never added
    for (int64_t place : axis.table) most = std::max(most, place);
    highest += most;
  }
  bool reads = true;
  for (const CopyAxis& axis : copy.axes) {
    reads = reads && (axis.table.empty() || *std::max_element(axis.table.begin(), axis.table.end()) >= 0);
  }
  if (reads && (lowest < 0 || highest >= x_elements)) throw ShapeError("indexed_copy: a place lies outside x");
}

}  // namespace

IndexedCopyLoops indexed_copy_loops(const TensorSpec& x, const IndexedCopy& copy) {
  Dims dims;
  for (const CopyAxis& axis : copy.axes) {
    if (axis.size < 0) throw ShapeError("indexed_copy: a negative size");
    dims.push_back(axis.size);
  }
  element_count(dims, "indexed_copy output");
  check_places(copy, element_count(x.dims, "indexed_copy input"));
  if (copy.fill.size() != bytes_of(x.dtype)) throw ShapeError("indexed_copy: expected one element to fill with");
  IndexedCopyLoops loops;
  for (const CopyAxis& axis : copy.axes) {
    if (axis.size == 1 && axis.table.empty()) continue;
    CopyAxis* last = loops.axes.empty() ? nullptr : &loops.axes.back();
    if (last && last->table.empty() && axis.table.empty() && last->stride == axis.stride * axis.size) {
      last->size *= axis.size;
      last->stride = axis.stride;
    } else {
      loops.axes.push_back(axis);
    }
  }
  loops.y = plain_spec(std::move(dims), x.dtype);
  return loops;
}

}  // namespace tesela
