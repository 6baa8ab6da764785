// Planning and loops of map: element-wise functions of one to three operands that broadcast, on any dtype.
//
// Rows of y are walked with one stride for each operand, 0 where it broadcasts. These loops are compiled for the
// baseline; what networks use on large float32 maps is in kernels/elementwise.cpp.

#include <atomic>
#include <cstring>
#include <string>

#include "../arrays.h"
#include "../map_functions.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

using Loop = void (*)(char* y, const char* const* x, const int64_t* strides, int64_t n, MapState& state);

template <class Y, class A, auto f>
void unary(char* y, const char* const* x, const int64_t* strides, int64_t n, MapState&) {
  auto* to = reinterpret_cast<Y*>(y);
  auto* a = reinterpret_cast<const A*>(x[0]);
  for (int64_t i = 0; i < n; ++i) to[i] = f(a[i * strides[0]]);
}

template <class Y, class A, auto f>
void binary(char* y, const char* const* x, const int64_t* strides, int64_t n, MapState& state) {
  auto* to = reinterpret_cast<Y*>(y);
  auto *a = reinterpret_cast<const A*>(x[0]), *b = reinterpret_cast<const A*>(x[1]);
  for (int64_t i = 0; i < n; ++i) to[i] = f(a[i * strides[0]], b[i * strides[1]], state);
}

template <class T>
void select(char* y, const char* const* x, const int64_t* strides, int64_t n, MapState&) {
  auto* to = reinterpret_cast<T*>(y);
  auto* condition = reinterpret_cast<const bool*>(x[0]);
  auto *a = reinterpret_cast<const T*>(x[1]), *b = reinterpret_cast<const T*>(x[2]);
  for (int64_t i = 0; i < n; ++i) to[i] = condition[i * strides[0]] ? a[i * strides[1]] : b[i * strides[2]];
}

template <class To, class From>
void cast(char* y, const char* const* x, const int64_t* strides, int64_t n, MapState&) {
  auto* to = reinterpret_cast<To*>(y);
  auto* from = reinterpret_cast<const From*>(x[0]);
  for (int64_t i = 0; i < n; ++i) to[i] = cast_to<To>(from[i * strides[0]]);
}

// ------------------------------------------------------------------------------------------------ name -> loop

#define TESELA_UNARY(name, expression) \
  if (op == #name) return unary<T, T, [](T a) -> T { return static_cast<T>(expression); }>;
#define TESELA_BINARY(name, expression) \
  if (op == #name)                      \
    return binary<T, T, [](T a, T b, [[maybe_unused]] MapState& s) -> T { return static_cast<T>(expression); }>;
#define TESELA_COMPARISON(name, expression) \
  if (op == #name) return binary<bool, T, [](T a, T b, MapState&) -> bool { return (expression); }>;
#define TESELA_PREDICATE(name, expression) \
  if (op == #name) return unary<bool, T, [](T a) -> bool { return (expression); }>;

template <class T>
Loop comparison(const std::string& op) {
  TESELA_COMPARISON(equal, a == b)
  if constexpr (!std::is_same_v<T, bool>) {
    TESELA_COMPARISONS(TESELA_COMPARISON)
  }
  return op == "where" ? select<T> : nullptr;
}

Loop logical_loop(const std::string& op) {
  using T = bool;
  TESELA_LOGICAL_BINARY(TESELA_BINARY)
  TESELA_UNARY(logical_not, !a)
  return comparison<T>(op);
}

template <class T>
Loop number_loop(const std::string& op) {
  using W = Wrapping<T>;
  TESELA_NUMBER_BINARY(TESELA_BINARY)
  TESELA_NUMBER_UNARY(TESELA_UNARY)
  return comparison<T>(op);
}

template <class T>
Loop integer_loop(const std::string& op) {
  TESELA_INTEGER_BINARY(TESELA_BINARY)
  TESELA_INTEGER_UNARY(TESELA_UNARY)
  return number_loop<T>(op);
}

template <class T>
Loop real_loop(const std::string& op) {
  TESELA_REAL_UNARY(TESELA_UNARY)
  TESELA_REAL_TRIGONOMETRIC(TESELA_UNARY)
  TESELA_REAL_PREDICATES(TESELA_PREDICATE)
  return number_loop<T>(op);
}

template <class From>
Loop cast_from(DType to) {
  switch (to) {
    case DType::float32:
      return cast<float, From>;
    case DType::float64:
      return cast<double, From>;
    case DType::int8:
      return cast<int8_t, From>;
    case DType::uint8:
      return cast<uint8_t, From>;
    case DType::int32:
      return cast<int32_t, From>;
    case DType::int64:
      return cast<int64_t, From>;
    case DType::boolean:
      return cast<bool, From>;
    default:  // of activations only
      return nullptr;
  }
}

Loop loop_of(const std::string& op, DType x, DType y) {
  const bool casts = op == "cast";
  switch (x) {
    case DType::float32:
      return casts ? cast_from<float>(y) : real_loop<float>(op);
    case DType::float64:
      return casts ? cast_from<double>(y) : real_loop<double>(op);
    case DType::int8:
      return casts ? cast_from<int8_t>(y) : integer_loop<int8_t>(op);
    case DType::uint8:
      return casts ? cast_from<uint8_t>(y) : integer_loop<uint8_t>(op);
    case DType::int32:
      return casts ? cast_from<int32_t>(y) : integer_loop<int32_t>(op);
    case DType::int64:
      return casts ? cast_from<int64_t>(y) : integer_loop<int64_t>(op);
    case DType::boolean:
      return casts ? cast_from<bool>(y) : logical_loop(op);
    default:  // of activations only
      return nullptr;
  }
}

// ------------------------------------------------------------------------------------------------------ planning

struct MapPlan final : Plan {
  std::string op;
  Loop loop;
  std::vector<int64_t> sizes;                 // outer dimensions
  std::vector<std::vector<int64_t>> strides;  // of each operand, the row's last, in elements
  std::vector<int64_t> row_strides, x_bytes;
  int64_t inner, y_bytes;
  Units rows;

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    std::atomic<bool> divided_by_zero{false};
    execution.team->run(tasks_of(rows), [&](int64_t task, int) {
      MapState state;
      const int64_t end = std::min((task + 1) * rows.per_task, rows.count);
      for (int64_t r = task * rows.per_task; r < end; ++r) {
        const char* x[3];
        for (size_t k = 0; k < x_bytes.size(); ++k) {
          int64_t rest = r, at = 0;
          for (size_t d = sizes.size(); d-- > 0;) {
            at += rest % sizes[d] * strides[k][d];
            rest /= sizes[d];
          }
          x[k] = inputs[k].as<const char>() + at * x_bytes[k];
        }
        loop(outputs[0].as<char>() + r * inner * y_bytes, x, row_strides.data(), inner, state);
      }
      if (state.divided_by_zero) divided_by_zero = true;
    });
    if (divided_by_zero) throw ShapeError(op + ": an integer was divided by zero");
  }
};

}  // namespace

TensorId CpuBackend::map(Program& program, const std::string& op, const std::vector<TensorId>& operands,
                         DType y_dtype) const {
  std::vector<TensorId> inputs;
  std::vector<TensorSpec> specs;
  for (TensorId id : operands) {
    inputs.push_back(program.in_layout(id, Layout::plain));
    specs.push_back(program.spec(inputs.back()));
  }
  auto plan = std::make_unique<MapPlan>();
  plan->algorithm = "plain";
  plan->op = op;
  BroadcastLoops loops = map_loops(op, specs);
  plan->loop = loop_of(op, specs.back().dtype, y_dtype);
  if (plan->loop == nullptr) throw ShapeError(op + ": is not there for " + name_of(specs.back().dtype));
  // The innermost loop becomes the row; the others are walked from the outermost.
  plan->inner = loops.sizes.empty() ? 1 : loops.sizes.front();
  for (size_t k = 0; k < inputs.size(); ++k) {
    const std::vector<int64_t>& strides = loops.strides[k];
    plan->row_strides.push_back(strides.empty() ? 0 : strides.front());
    plan->strides.emplace_back(strides.rbegin(), strides.empty() ? strides.rend() : strides.rend() - 1);
    plan->x_bytes.push_back(static_cast<int64_t>(bytes_of(specs[k].dtype)));
  }
  if (!loops.sizes.empty()) plan->sizes.assign(loops.sizes.rbegin(), loops.sizes.rend() - 1);
  int64_t rows = plan->inner == 0 ? 0 : 1;
  for (int64_t size : plan->sizes) rows *= size;
  plan->rows = cut(rows, 2.0 * static_cast<double>(plan->inner));
  TensorSpec y = plain_spec(std::move(loops.dims), y_dtype);
  plan->y_bytes = static_cast<int64_t>(bytes_of(y_dtype));
  plan->bytes = payload(y);
  for (const TensorSpec& x : specs) plan->bytes += payload(x);
  return program.append(std::move(plan), inputs, {std::move(y)})[0];
}

}  // namespace tesela::cpu
