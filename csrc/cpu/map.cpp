// Planning and loops of map: element-wise functions of one to three operands that broadcast, on any dtype.
//
// Rows of y are walked with one stride for each operand, 0 where it broadcasts. These loops are compiled for the
// baseline; what networks use on large float32 maps is in kernels/elementwise.cpp.

#include "map.h"

#include <atomic>
#include <cstring>
#include <string>

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

#define TESELA_UNARY(text, expression) \
  if (op == text) return unary<T, T, [](T a) -> T { return static_cast<T>((expression)); }>
#define TESELA_BINARY(text, expression) \
  if (op == text)                       \
  return binary<T, T, [](T a, T b, [[maybe_unused]] MapState& s) -> T { return static_cast<T>((expression)); }>
#define TESELA_COMPARE(text, expression) \
  if (op == text) return binary<bool, T, [](T a, T b, MapState&) -> bool { return (expression); }>

template <class T>
Loop comparison(const std::string& op) {
  TESELA_COMPARE("equal", a == b);
  if constexpr (!std::is_same_v<T, bool>) {
    TESELA_COMPARE("greater", a > b);
    TESELA_COMPARE("greater_equal", a >= b);
    TESELA_COMPARE("less", a < b);
    TESELA_COMPARE("less_equal", a <= b);
  }
  return op == "where" ? select<T> : nullptr;
}

Loop logical_loop(const std::string& op) {
  using T = bool;
  TESELA_BINARY("logical_and", a && b);
  TESELA_BINARY("logical_or", a || b);
  TESELA_BINARY("logical_xor", a != b);
  TESELA_UNARY("logical_not", !a);
  return comparison<T>(op);
}

template <class T>
Loop number_loop(const std::string& op) {
  using W = Wrapping<T>;
  TESELA_BINARY("add", static_cast<W>(a) + static_cast<W>(b));
  TESELA_BINARY("sub", static_cast<W>(a) - static_cast<W>(b));
  TESELA_BINARY("mul", static_cast<W>(a) * static_cast<W>(b));
  TESELA_BINARY("div", divide<T>(a, b, s));
  TESELA_BINARY("mod", mod_of<T>(a, b, s));
  TESELA_BINARY("fmod", fmod_of<T>(a, b, s));
  TESELA_BINARY("pow", power<T>(a, b));
  TESELA_BINARY("maximum", larger_of<T>(a, b));
  TESELA_BINARY("minimum", smaller_of<T>(a, b));
  TESELA_UNARY("neg", -static_cast<W>(a));
  TESELA_UNARY("abs", std::is_floating_point_v<T> ? static_cast<W>(std::fabs(a))
                                                  : (a < 0 ? W{0} - static_cast<W>(a) : static_cast<W>(a)));
  TESELA_UNARY("sign", a != a ? a : static_cast<T>((a > 0) - (a < 0)));
  return comparison<T>(op);
}

template <class T>
Loop integer_loop(const std::string& op) {
  TESELA_BINARY("bitwise_and", a & b);
  TESELA_BINARY("bitwise_or", a | b);
  TESELA_BINARY("bitwise_xor", a ^ b);
  TESELA_UNARY("bitwise_not", ~a);
  return number_loop<T>(op);
}

template <class T>
Loop real_loop(const std::string& op) {
  TESELA_UNARY("exp", std::exp(a));
  TESELA_UNARY("log", std::log(a));
  TESELA_UNARY("sqrt", std::sqrt(a));
  TESELA_UNARY("reciprocal", T{1} / a);
  TESELA_UNARY("floor", std::floor(a));
  TESELA_UNARY("ceil", std::ceil(a));
  TESELA_UNARY("round", std::nearbyint(a));  // half to even, the mode that nobody here changes
  TESELA_UNARY("erf", std::erf(a));
  TESELA_UNARY("sin", std::sin(a));
  TESELA_UNARY("cos", std::cos(a));
  TESELA_UNARY("tan", std::tan(a));
  TESELA_UNARY("asin", std::asin(a));
  TESELA_UNARY("acos", std::acos(a));
  TESELA_UNARY("atan", std::atan(a));
  TESELA_UNARY("sinh", std::sinh(a));
  TESELA_UNARY("cosh", std::cosh(a));
  TESELA_UNARY("asinh", std::asinh(a));
  TESELA_UNARY("acosh", std::acosh(a));
  TESELA_UNARY("atanh", std::atanh(a));
  TESELA_UNARY("softplus", larger_of<T>(a, 0) + std::log1p(std::exp(-std::fabs(a))));
  TESELA_UNARY("softsign", a / (T{1} + std::fabs(a)));
  TESELA_UNARY("mish", a * std::tanh(larger_of<T>(a, 0) + std::log1p(std::exp(-std::fabs(a)))));
  if (op == "isnan") return unary<bool, T, [](T a) -> bool { return a != a; }>;
  if (op == "isinf") return unary<bool, T, [](T a) -> bool { return std::isinf(a); }>;
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
  }
  return nullptr;
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
  }
  return nullptr;
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
  if (operands.empty() || operands.size() > 3) throw ShapeError(op + ": expected one to three operands");
  Dims dims;
  std::vector<TensorId> inputs;
  for (TensorId id : operands) {
    inputs.push_back(program.in_layout(id, Layout::plain));
    dims = broadcast_dims(op, dims, program.spec(id).dims);
  }
  auto plan = std::make_unique<MapPlan>();
  plan->algorithm = "plain";
  plan->op = op;
  const DType x_dtype = program.spec(inputs.back()).dtype;
  for (size_t k = 0; k < inputs.size(); ++k) {
    const DType expected = op == "where" && k == 0 ? DType::boolean : x_dtype;
    if (program.spec(inputs[k]).dtype != expected) throw ShapeError(op + ": operands differ in dtype");
  }
  plan->loop = loop_of(op, x_dtype, y_dtype);
  if (plan->loop == nullptr) throw ShapeError(op + ": is not there for " + name_of(x_dtype));
  const size_t count = inputs.size();
  plan->strides.resize(count);
  std::vector<int64_t> steps(count, 1);  // elements of the operand in the dimensions after this one
  std::vector<std::vector<int64_t>> found(count);
  for (size_t d = dims.size(); d-- > 0;) {
    std::vector<int64_t> here(count, 0);
    for (size_t k = 0; k < count; ++k) {
      const Dims& x = program.spec(inputs[k]).dims;
      const size_t missing = dims.size() - x.size();
      const int64_t size = d < missing ? 1 : x[d - missing];
      if (size != 1) here[k] = steps[k];
      steps[k] *= size;
    }
    if (dims[d] == 1) continue;
    bool merges = !plan->sizes.empty();
    for (size_t k = 0; merges && k < count; ++k) merges = here[k] == found[k].back() * plan->sizes.back();
    if (merges) {
      plan->sizes.back() *= dims[d];
      continue;
    }
    plan->sizes.push_back(dims[d]);
    for (size_t k = 0; k < count; ++k) found[k].push_back(here[k]);
  }
  plan->inner = plan->sizes.empty() ? 1 : plan->sizes.front();
  for (size_t k = 0; k < count; ++k) {
    plan->row_strides.push_back(found[k].empty() ? 0 : found[k].front());
    if (!found[k].empty()) found[k].erase(found[k].begin());
    plan->strides[k].assign(found[k].rbegin(), found[k].rend());
    plan->x_bytes.push_back(static_cast<int64_t>(bytes_of(program.spec(inputs[k]).dtype)));
  }
  if (!plan->sizes.empty()) plan->sizes.erase(plan->sizes.begin());
  std::reverse(plan->sizes.begin(), plan->sizes.end());
  int64_t rows = plan->inner == 0 ? 0 : 1;
  for (int64_t size : plan->sizes) rows *= size;
  plan->rows = cut(rows, 2.0 * static_cast<double>(plan->inner));
  TensorSpec y = plain_spec(std::move(dims), y_dtype);
  plan->y_bytes = static_cast<int64_t>(bytes_of(y_dtype));
  plan->bytes = payload(y);
  for (TensorId id : inputs) plan->bytes += payload(program.spec(id));
  return program.append(std::move(plan), inputs, {std::move(y)})[0];
}

}  // namespace tesela::cpu
