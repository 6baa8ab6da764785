// top_k: the k greatest elements along an axis, or the smallest, in that order, with their places. Plain layout, any
// dtype.
//
//   y[outer, i, inner] = x[outer, places[outer, i, inner], inner]
//
// One row at a time: its places, in the scratch of a worker, are sorted as far as k. Of equals the first comes first; a
// NaN is greater than any number. Not measured: no network here uses it.

#include <algorithm>
#include <numeric>

#include "planning.h"

namespace tesela::cpu {
namespace {

struct TopKPlan : Plan {
  int64_t size, inner, k;
  bool largest;
  Units rows;  // outer * inner
};

template <class T>
struct TypedTopKPlan final : TopKPlan {
  static bool greater(T a, T b) { return a > b || (a != a && b == b); }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks_of(rows), [&](int64_t task, int worker) {
      auto* places = reinterpret_cast<int64_t*>(execution.scratch_of(worker));
      const int64_t end = std::min((task + 1) * rows.per_task, rows.count);
      for (int64_t row = task * rows.per_task; row < end; ++row) {
        const int64_t outer = row / inner, offset = row % inner;
        const T* x = inputs[0].as<const T>() + outer * size * inner + offset;
        const auto before = [&](int64_t i, int64_t j) {
          const T a = x[i * inner], b = x[j * inner];
          if (largest ? greater(a, b) : greater(b, a)) return true;
          return (largest ? greater(b, a) : greater(a, b)) ? false : i < j;
        };
        std::iota(places, places + size, int64_t{0});
        std::partial_sort(places, places + k, places + size, before);
        const int64_t to = outer * k * inner + offset;
        for (int64_t i = 0; i < k; ++i) {
          outputs[0].as<T>()[to + i * inner] = x[places[i] * inner];
          outputs[1].indices()[to + i * inner] = places[i];
        }
      }
    });
  }
};

std::unique_ptr<TopKPlan> plan_for(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return std::make_unique<TypedTopKPlan<float>>();
    case DType::float64:
      return std::make_unique<TypedTopKPlan<double>>();
    case DType::int8:
      return std::make_unique<TypedTopKPlan<int8_t>>();
    case DType::uint8:
    case DType::boolean:
      return std::make_unique<TypedTopKPlan<uint8_t>>();
    case DType::int32:
      return std::make_unique<TypedTopKPlan<int32_t>>();
    case DType::int64:
      return std::make_unique<TypedTopKPlan<int64_t>>();
    default:  // of activations only
      return nullptr;
  }
}

}  // namespace

std::vector<TensorId> CpuBackend::top_k(Program& program, TensorId x, int64_t k, int64_t axis, bool largest) const {
  x = program.in_layout(x, Layout::plain);
  const TensorSpec from = program.spec(x);
  const auto a = static_cast<size_t>(normalized_dim("top_k", axis, static_cast<int64_t>(from.dims.size())));
  if (k < 0 || k > from.dims[a]) {
    throw ShapeError("top_k: expected k from 0 to the " + std::to_string(from.dims[a]) + " elements of axis " +
                     std::to_string(axis) + ", got " + std::to_string(k));
  }
  auto plan = plan_for(from.dtype);
  plan->algorithm = "partial_sort";
  plan->size = from.dims[a];
  plan->inner = 1;
  for (size_t d = a + 1; d < from.dims.size(); ++d) plan->inner *= from.dims[d];
  plan->k = k;
  plan->largest = largest;
  Dims y = from.dims;
  y[a] = k;
  const int64_t count = plan->size == 0 ? 0 : element_count(from.dims, "top_k") / plan->size;
  plan->rows = cut(count, 4.0 * static_cast<double>(plan->size));
  plan->scratch_bytes = static_cast<size_t>(plan->size) * sizeof(int64_t);
  TensorSpec values = plain_spec(y, from.dtype), places = plain_spec(std::move(y), DType::int64);
  plan->bytes = payload(from) + payload(values) + payload(places);
  return program.append(std::move(plan), {x}, {std::move(values), std::move(places)});
}

}  // namespace tesela::cpu
