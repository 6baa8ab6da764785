// Planning of gather: slices of x along an axis, chosen by indices known at run time. Plain layout, any dtype.

#include <atomic>
#include <cstring>
#include <limits>
#include <string>

#include "../arrays.h"
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
    refuse_index(at[bad.load()], bad.load(), size);
  }
};

}  // namespace

TensorId CpuBackend::gather(Program& program, TensorId x, TensorId indices, int64_t axis) const {
  x = program.in_layout(x, Layout::plain);
  indices = program.in_layout(indices, Layout::plain);
  GatherLoops loops = gather_loops(program.spec(x), program.spec(indices), axis);
  auto plan = std::make_unique<GatherPlan>();
  plan->algorithm = "plain";
  plan->size = loops.size;
  plan->indices = loops.indices;
  plan->slice_bytes = loops.inner * static_cast<int64_t>(bytes_of(loops.y.dtype));
  plan->slices = cut(loops.outer * loops.indices, static_cast<double>(plan->slice_bytes) / 2);
  plan->bytes = 2 * payload(loops.y);
  return program.append(std::move(plan), {x, indices}, {std::move(loops.y)})[0];
}

}  // namespace tesela::cpu
