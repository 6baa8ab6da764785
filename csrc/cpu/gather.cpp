// Planning of gather: slices of x along an axis, chosen by indices known at run time. Plain layout, any dtype.

#include <atomic>
#include <cstring>
#include <limits>
#include <string>

#include "planning.h"

namespace tesela::cpu {
namespace {

// y[outer, i, inner] = x[outer, indices[i], inner]. A bad index must not throw on a worker, so it is noted.
struct GatherPlan final : Plan {
  int64_t size, indices, slice_bytes;
  Units slices;  // outer * indices

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    constexpr int64_t none = std::numeric_limits<int64_t>::max();
    const int64_t* at = inputs[1].indices();
    std::atomic<int64_t> bad{none};
    execution.team->run(tasks_of(slices), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * slices.per_task, slices.count);
      for (int64_t s = task * slices.per_task; s < end; ++s) {
        const int64_t i = s % indices;
        if (at[i] < -size || at[i] >= size) {
          int64_t seen = bad.load();
          while (i < seen && !bad.compare_exchange_weak(seen, i)) {
          }
          continue;
        }
        const int64_t from = s / indices * size + (at[i] < 0 ? at[i] + size : at[i]);
        std::memcpy(outputs[0].as<char>() + s * slice_bytes, inputs[0].as<const char>() + from * slice_bytes,
                    static_cast<size_t>(slice_bytes));
      }
    });
    if (bad.load() == none) return;
    throw ShapeError("gather: index " + std::to_string(at[bad.load()]) + " at position " + std::to_string(bad.load()) +
                     " is outside an axis of " + std::to_string(size));
  }
};

}  // namespace

TensorId CpuBackend::gather(Program& program, TensorId x, TensorId indices, int64_t axis) const {
  x = program.in_layout(x, Layout::plain);
  indices = program.in_layout(indices, Layout::plain);
  const TensorSpec from = program.spec(x);
  if (program.spec(indices).dtype != DType::int64) throw ShapeError("gather: expected indices of dtype int64");
  const Dims at = program.spec(indices).dims;
  const auto a = static_cast<size_t>(normalized_dim("gather", axis, static_cast<int64_t>(from.dims.size())));
  Dims y(from.dims.begin(), from.dims.begin() + static_cast<int64_t>(a));
  const int64_t outer = element_count(y, "gather");
  const int64_t inner = element_count(Dims(from.dims.begin() + static_cast<int64_t>(a) + 1, from.dims.end()), "gather");
  y.insert(y.end(), at.begin(), at.end());
  y.insert(y.end(), from.dims.begin() + static_cast<int64_t>(a) + 1, from.dims.end());
  element_count(y, "gather output");
  auto plan = std::make_unique<GatherPlan>();
  plan->algorithm = "plain";
  plan->size = from.dims[a];
  plan->indices = element_count(at, "gather indices");
  plan->slice_bytes = inner * static_cast<int64_t>(bytes_of(from.dtype));
  plan->slices = cut(outer * plan->indices, static_cast<double>(plan->slice_bytes) / 2);
  TensorSpec result = plain_spec(std::move(y), from.dtype);
  plan->bytes = 2 * payload(result);
  return program.append(std::move(plan), {x, indices}, {std::move(result)})[0];
}

}  // namespace tesela::cpu
