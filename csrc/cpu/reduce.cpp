// Planning of reduce: sums, extremes and their places over any axes of a plain tensor.
//
// One output at a time, its inputs found by strides. float32 and float64 are summed in double; integers wrap.

#include <cmath>
#include <limits>
#include <string>

#include "map.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

enum class Reduction { sum, mean, max, min, prod, l1, l2, log_sum, log_sum_exp, sum_square, argmax, argmin };

constexpr const char* names[] = {"sum", "mean",    "max",         "min",        "prod",   "l1",
                                 "l2",  "log_sum", "log_sum_exp", "sum_square", "argmax", "argmin"};

struct ReducePlan : Plan {
  Reduction kind;
  bool select_last;
  std::vector<int64_t> kept, kept_strides, reduced, reduced_strides;
  int64_t count = 1;  // elements reduced to one
  Units outputs_;

  // Calls visit(place) for every input of one output, in row-major order.
  template <class Visit>
  void each(const Visit& visit) const {
    const int64_t inner = reduced.empty() ? 1 : reduced.back(), stride = reduced.empty() ? 0 : reduced_strides.back();
    for (int64_t row = 0; inner > 0 && row < count / inner; ++row) {
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
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

  T extreme(const T* x) const {
    T best = kind == Reduction::max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
    if constexpr (std::is_floating_point_v<T>) {
      best = kind == Reduction::max ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
    }
    each([&](int64_t at) { best = kind == Reduction::max ? larger_of(x[at], best) : smaller_of(x[at], best); });
    return best;
  }

  T value(const T* x) const {
    if (kind == Reduction::max || kind == Reduction::min) return extreme(x);
    Sum sum = kind == Reduction::prod ? 1 : 0;
    if (kind == Reduction::log_sum_exp) {
      double most = -std::numeric_limits<double>::infinity(), total = 0;
      each([&](int64_t at) { most = larger_of(static_cast<double>(x[at]), most); });
      if (std::isinf(most) || std::isnan(most)) return cast_to<T>(most);
      each([&](int64_t at) { total += std::exp(static_cast<double>(x[at]) - most); });
      return cast_to<T>(most + std::log(total));
    }
    each([&](int64_t at) {
      const auto v = static_cast<Sum>(x[at]);
      switch (kind) {
        case Reduction::prod:
          sum *= v;
          break;
        case Reduction::l1:
          sum += x[at] < T{0} ? Sum{0} - v : v;
          break;
        case Reduction::l2:
        case Reduction::sum_square:
          sum += v * v;
          break;
        default:
          sum += v;
      }
    });
    if constexpr (std::is_floating_point_v<T>) {
      if (kind == Reduction::mean) sum /= static_cast<double>(count);
      if (kind == Reduction::l2) sum = std::sqrt(sum);
      if (kind == Reduction::log_sum) sum = std::log(sum);
      return static_cast<T>(sum);
    } else {
      const auto total = static_cast<int64_t>(sum);
      if (kind == Reduction::mean) return static_cast<T>(count == 0 ? 0 : total / count);
      if (kind == Reduction::l2) return cast_to<T>(std::sqrt(static_cast<double>(total)));
      if (kind == Reduction::log_sum) return cast_to<T>(std::log(static_cast<double>(total)));
      return static_cast<T>(total);
    }
  }

  int64_t place(const T* x) const {
    int64_t best = 0, i = 0, best_at = 0;
    each([&](int64_t at) {
      const T a = x[at], b = x[best_at];
      const bool better = kind == Reduction::argmax ? a > b : a < b;
      const bool first_nan = a != a && b == b;
      const bool again = select_last && (a == b || (a != a && b != b));
      if (i > 0 && ((better && b == b) || first_nan || again)) best = i, best_at = at;
      ++i;
    });
    return best;
  }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks_of(outputs_), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * outputs_.per_task, outputs_.count);
      for (int64_t o = task * outputs_.per_task; o < end; ++o) {
        int64_t rest = o, at = 0;
        for (size_t d = kept.size(); d-- > 0;) {
          at += rest % kept[d] * kept_strides[d];
          rest /= kept[d];
        }
        const T* x = inputs[0].as<const T>() + at;
        if (kind == Reduction::argmax || kind == Reduction::argmin) {
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
  }
  return nullptr;
}

}  // namespace

TensorId CpuBackend::reduce(Program& program, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                            bool select_last) const {
  x = program.in_layout(x, Layout::plain);
  const TensorSpec from = program.spec(x);
  const auto rank = static_cast<int64_t>(from.dims.size());
  std::vector<bool> goes(from.dims.size(), false);
  for (int64_t axis : axes) goes[static_cast<size_t>(normalized_dim(op, axis, rank))] = true;
  auto plan = plan_for(from.dtype);
  const auto* name = std::find(std::begin(names), std::end(names), op);
  if (name == std::end(names)) throw ShapeError("reduce: unknown reduction '" + op + "'");
  plan->kind = static_cast<Reduction>(name - std::begin(names));
  plan->select_last = select_last;
  plan->algorithm = "plain";
  int64_t stride = 1, outputs = 1;
  Dims y;
  std::vector<int64_t> strides(from.dims.size());
  for (size_t d = from.dims.size(); d-- > 0; stride *= from.dims[d]) strides[d] = stride;
  for (size_t d = 0; d < from.dims.size(); ++d) {
    (goes[d] ? plan->reduced : plan->kept).push_back(from.dims[d]);
    (goes[d] ? plan->reduced_strides : plan->kept_strides).push_back(strides[d]);
    (goes[d] ? plan->count : outputs) *= from.dims[d];
    y.push_back(goes[d] ? 1 : from.dims[d]);
  }
  const bool places = op == "argmax" || op == "argmin";
  if (places && plan->count == 0) throw ShapeError(op + ": expected at least one element, got " + to_string(from.dims));
  plan->outputs_ = cut(outputs, static_cast<double>(plan->count));
  TensorSpec result = plain_spec(std::move(y), places ? DType::int64 : from.dtype);
  plan->bytes = payload(from) + payload(result);
  return program.append(std::move(plan), {x}, {std::move(result)})[0];
}

}  // namespace tesela::cpu
