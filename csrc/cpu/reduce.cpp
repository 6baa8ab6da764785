// Planning of reduce: sums, extremes and their places over any axes of a plain tensor.
//
// One output at a time, its inputs found by strides. float32 and float64 are summed in double; integers wrap.

#include <algorithm>
#include <limits>
#include <string>

#include "../arrays.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

struct ReducePlan : Plan {
  ReduceLoops loops;
  bool select_last;
  Units outputs_;

  // Calls visit(place) for every input of one output, in row-major order.
  template <class Visit>
  void each(const Visit& visit) const {
    const std::vector<int64_t>&reduced = loops.reduced, &reduced_strides = loops.reduced_strides;
    const int64_t inner = reduced.empty() ? 1 : reduced.back(), stride = reduced.empty() ? 0 : reduced_strides.back();
    for (int64_t row = 0; inner > 0 && row < loops.count / inner; ++row) {
      int64_t rest = row, at = 0;
      for (size_t d = reduced.size() - (reduced.empty() ? 0 : 1); d-- > 0;) {
        at += rest % reduced[d] * reduced_strides[d];
        rest /= reduced[d];
      }
      for (int64_t i = 0; i < inner; ++i) visit(at + i * stride);
    }
  }
};

template <class T>
struct TypedReducePlan final : ReducePlan {
  T value(const T* x) const {
    const Reduction kind = loops.kind;
    if (finds_extreme(kind)) {
      T best = extreme_of_none<T>(kind);
      each([&](int64_t at) { best = extreme_of(kind, x[at], best); });
      return best;
    }
    if (kind == Reduction::log_sum_exp) {
      double largest = -std::numeric_limits<double>::infinity(), total = 0;
      each([&](int64_t at) { largest = larger_of(static_cast<double>(x[at]), largest); });
      each([&](int64_t at) { total += std::exp(static_cast<double>(x[at]) - largest); });
      return log_sum_exp_result<T>(largest, total);
    }
    Sum<T> sum = sum_of_none<T>(kind);
    each([&](int64_t at) { sum = joined_sums(kind, sum, summand(kind, x[at])); });
    return sum_result<T>(kind, sum, loops.count);
  }

  int64_t place(const T* x) const {
    int64_t best = 0, i = 0, best_at = 0;
    each([&](int64_t at) {
      if (i > 0 && takes_place(loops.kind, select_last, x[at], i, x[best_at], best)) best = i, best_at = at;
      ++i;
    });
    return best;
  }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks_of(outputs_), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * outputs_.per_task, outputs_.count);
      for (int64_t o = task * outputs_.per_task; o < end; ++o) {
        int64_t rest = o, at = 0;
        for (size_t d = loops.kept.size(); d-- > 0;) {
          at += rest % loops.kept[d] * loops.kept_strides[d];
          rest /= loops.kept[d];
        }
        const T* x = inputs[0].as<const T>() + at;
        if (finds_place(loops.kind)) {
          outputs[0].indices()[o] = place(x);
        } else {
          outputs[0].as<T>()[o] = value(x);
        }
      }
    });
  }
};

std::unique_ptr<ReducePlan> plan_for(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return std::make_unique<TypedReducePlan<float>>();
    case DType::float64:
      return std::make_unique<TypedReducePlan<double>>();
    case DType::int8:
      return std::make_unique<TypedReducePlan<int8_t>>();
    case DType::uint8:
    case DType::boolean:  // max is any, min is all
      return std::make_unique<TypedReducePlan<uint8_t>>();
    case DType::int32:
      return std::make_unique<TypedReducePlan<int32_t>>();
    case DType::int64:
      return std::make_unique<TypedReducePlan<int64_t>>();
    default:  // of activations only
      return nullptr;
  }
}

}  // namespace

TensorId CpuBackend::reduce(Program& program, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                            bool select_last) const {
  x = program.in_layout(x, Layout::plain);
  const TensorSpec from = program.spec(x);
  auto plan = plan_for(from.dtype);
  plan->loops = reduce_loops(op, from, axes);
  plan->select_last = select_last;
  plan->algorithm = "plain";
  plan->outputs_ = cut(plan->loops.outputs, static_cast<double>(plan->loops.count));
  TensorSpec y = plan->loops.y;
  plan->bytes = payload(from) + payload(y);
  return program.append(std::move(plan), {x}, {std::move(y)})[0];
}

}  // namespace tesela::cpu
