// Planning of indexed_copy: transpose, slice, expand, flip, tile, pad and gather by known indices are all
//
//   y[i, j, ...] = x[base + place_0(i) + place_1(j) + ...], or `fill` where a place is absent
//
// where place_d(i) is i * stride or an entry of a table. Plain layout, any element size. Every place is checked when
// the step is planned, so a run never looks. Axes that can be walked as one are merged; the last becomes the row.

#include <cstring>

#include "../arrays.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

template <class T>
void copy_row(const CopyAxis& axis, const T* x, T* y, T fill) {
  if (!axis.table.empty()) {
    for (int64_t i = 0; i < axis.size; ++i) y[i] = axis.table[i] < 0 ? fill : x[axis.table[i]];
  } else if (axis.stride == 1) {
    std::memcpy(y, x, static_cast<size_t>(axis.size) * sizeof(T));
  } else {
    for (int64_t i = 0; i < axis.size; ++i) y[i] = x[i * axis.stride];
  }
}

template <class T>
struct IndexedCopyPlan final : Plan {
  std::vector<CopyAxis> outer;
  CopyAxis row;
  int64_t base;
  T fill;
  Units rows;

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks_of(rows), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * rows.per_task, rows.count);
      for (int64_t r = task * rows.per_task; r < end; ++r) {
        int64_t at = base, rest = r;
        bool present = true;
        for (size_t d = outer.size(); d-- > 0;) {
          const int64_t i = rest % outer[d].size;
          rest /= outer[d].size;
          const int64_t place = outer[d].table.empty() ? i * outer[d].stride : outer[d].table[i];
          present = present && (place >= 0 || outer[d].table.empty());
          at += place;
        }
        T* y = outputs[0].as<T>() + r * row.size;
        if (present) {
          copy_row(row, inputs[0].as<const T>() + at, y, fill);
        } else {
          std::fill_n(y, row.size, fill);
        }
      }
    });
  }
};

template <class T>
std::unique_ptr<Plan> planned(std::vector<CopyAxis> axes, int64_t base, const std::vector<char>& fill) {
  auto plan = std::make_unique<IndexedCopyPlan<T>>();
  plan->row = axes.empty() ? CopyAxis{1, 1, {}} : std::move(axes.back());
  if (!axes.empty()) axes.pop_back();
  plan->outer = std::move(axes);
  plan->base = base;
  std::memcpy(&plan->fill, fill.data(), sizeof(T));
  int64_t count = plan->row.size == 0 ? 0 : 1;
  for (const CopyAxis& axis : plan->outer) count *= axis.size;
  plan->rows = cut(count, 2.0 * static_cast<double>(plan->row.size * sizeof(T)) / sizeof(float));
  plan->algorithm = "indexed";
  return plan;
}

}  // namespace

TensorId CpuBackend::indexed_copy(Program& program, TensorId x, const IndexedCopy& copy) const {
  x = program.in_layout(x, Layout::plain);
  IndexedCopyLoops loops = indexed_copy_loops(program.spec(x), copy);
  const size_t bytes = bytes_of(loops.y.dtype);
  auto plan = bytes == 1   ? planned<uint8_t>(std::move(loops.axes), copy.base, copy.fill)
              : bytes == 4 ? planned<uint32_t>(std::move(loops.axes), copy.base, copy.fill)
                           : planned<uint64_t>(std::move(loops.axes), copy.base, copy.fill);
  plan->bytes = 2 * payload(loops.y);
  return program.append(std::move(plan), {x}, {std::move(loops.y)})[0];
}

}  // namespace tesela::cpu
