// map: element-wise functions of one to three operands that broadcast, on any dtype.
//
// One thread per element of y. A kernel for each type holds all its functions (map_functions.h) and takes the one asked
// for in a switch that no thread takes differently: a kernel for each function and type would be two hundred of them.
// Limits: any sizes. An integer divided by zero is reported after the step, for which the run waits.
// Not measured on a GPU yet.

#include <cstring>
#include <iterator>

#include "../arrays.h"
#include "map.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

#define TESELA_CASE(name, expression) \
  case MapFunction::name:             \
    return static_cast<Y>(expression);

template <class T>
__device__ T number(MapFunction function, T a, T b, [[maybe_unused]] MapState& s) {
  using Y = T;
  if constexpr (std::is_same_v<T, bool>) {
    switch (function) {
      TESELA_LOGICAL_BINARY(TESELA_CASE)
      default:
        return !a;
    }
  } else {
    using W = Wrapping<T>;
    switch (function) {
      TESELA_NUMBER_BINARY(TESELA_CASE)
      TESELA_NUMBER_UNARY(TESELA_CASE)
      default:
        break;
    }
    if constexpr (std::is_integral_v<T>) {
      switch (function) {
        TESELA_INTEGER_BINARY(TESELA_CASE)
        TESELA_INTEGER_UNARY(TESELA_CASE)
        default:
          break;
      }
    }
    return a;
  }
}

template <class T>
__device__ bool compared(MapFunction function, T a, T b) {
  using Y = bool;
  switch (function) {
    TESELA_COMPARISONS(TESELA_CASE)
    default:
      return a == b;
  }
}
#undef TESELA_CASE

template <class T>
__global__ void __launch_bounds__(block_threads)
    number_kernel(const __grid_constant__ Loops<3> s, MapFunction function, MapOperands p) {
  wait_for_earlier_kernel();
  auto *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  MapState state;
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    const Places<3> at = places_of(s, item);
    static_cast<T*>(p.y)[item] = number<T>(function, a[at.of[0]], b ? b[at.of[1]] : T{}, state);
  }
  if (state.divided_by_zero && p.divided_by_zero) atomicExch(p.divided_by_zero, 1ull);
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    compare_kernel(const __grid_constant__ Loops<3> s, MapFunction function, MapOperands p) {
  wait_for_earlier_kernel();
  auto *a = static_cast<const T*>(p.a), *b = static_cast<const T*>(p.b);
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    const Places<3> at = places_of(s, item);
    static_cast<bool*>(p.y)[item] = compared(function, a[at.of[0]], b[at.of[1]]);
  }
}

// T stands for all types of its size.
template <class T>
__global__ void __launch_bounds__(block_threads)
    where_kernel(const __grid_constant__ Loops<3> s, MapFunction, MapOperands p) {
  wait_for_earlier_kernel();
  auto *b = static_cast<const T*>(p.b), *c = static_cast<const T*>(p.c);
  for (int64_t item = first_item(); item < s.steps; item += item_stride()) {
    const Places<3> at = places_of(s, item);
    static_cast<T*>(p.y)[item] = static_cast<const bool*>(p.a)[at.of[0]] ? b[at.of[1]] : c[at.of[2]];
  }
}

// --------------------------------------------------------------------------------------------------------- planning

MapFunction function_of(const std::string& op) {
  static constexpr struct {
    const char* name;
    MapFunction function;
  } functions[] = {
#define TESELA_ENTRY(name, expression) {#name, MapFunction::name},
      TESELA_NUMBER_BINARY(TESELA_ENTRY) TESELA_NUMBER_UNARY(TESELA_ENTRY) TESELA_INTEGER_BINARY(TESELA_ENTRY)
          TESELA_INTEGER_UNARY(TESELA_ENTRY) TESELA_REAL_UNARY(TESELA_ENTRY) TESELA_REAL_TRIGONOMETRIC(TESELA_ENTRY)
              TESELA_REAL_PREDICATES(TESELA_ENTRY) TESELA_COMPARISONS(TESELA_ENTRY) TESELA_LOGICAL_BINARY(TESELA_ENTRY)
#undef TESELA_ENTRY
                  {"equal", MapFunction::equal},
      {"logical_not", MapFunction::logical_not},
      {"where", MapFunction::where},
      {"cast", MapFunction::cast}};
  for (const auto& entry : functions) {
    if (op == entry.name) return entry.function;
  }
  throw ShapeError("map: unknown function '" + op + "'");
}

template <template <class> class Kernel>
MapKernel of_numbers(DType x) {
  switch (x) {
    case DType::float32:
      return Kernel<float>::kernel;
    case DType::float64:
      return Kernel<double>::kernel;
    case DType::int8:
      return Kernel<int8_t>::kernel;
    case DType::uint8:
      return Kernel<uint8_t>::kernel;
    case DType::int32:
      return Kernel<int32_t>::kernel;
    case DType::int64:
      return Kernel<int64_t>::kernel;
    case DType::boolean:
      return Kernel<bool>::kernel;
    default:  // of activations only
      return nullptr;
  }
}
template <class T>
struct NumberKernel {
  static constexpr MapKernel kernel = number_kernel<T>;
};
template <class T>
struct CompareKernel {
  static constexpr MapKernel kernel = compare_kernel<T>;
};

#define TESELA_IS(name, expression) case MapFunction::name:
MapKernel kernel_of(MapFunction function, DType x, DType y) {
  const bool boolean = x == DType::boolean, real = x == DType::float32 || x == DType::float64;
  switch (function) {
    TESELA_NUMBER_BINARY(TESELA_IS)
    TESELA_NUMBER_UNARY(TESELA_IS)
    return boolean ? nullptr : of_numbers<NumberKernel>(x);
    TESELA_INTEGER_BINARY(TESELA_IS)
    TESELA_INTEGER_UNARY(TESELA_IS)
    return boolean || real ? nullptr : of_numbers<NumberKernel>(x);
    TESELA_LOGICAL_BINARY(TESELA_IS)
    case MapFunction::logical_not:
      return boolean ? number_kernel<bool> : nullptr;
    case MapFunction::equal:
      return of_numbers<CompareKernel>(x);
      TESELA_COMPARISONS(TESELA_IS)
      return boolean ? nullptr : of_numbers<CompareKernel>(x);
    case MapFunction::where:
      return bytes_of(x) == 1   ? where_kernel<uint8_t>
             : bytes_of(x) == 4 ? where_kernel<uint32_t>
                                : where_kernel<uint64_t>;
    case MapFunction::cast:
      return cast_map(x, y);
      TESELA_REAL_TRIGONOMETRIC(TESELA_IS)
      return trigonometric_map(x);
      TESELA_REAL_UNARY(TESELA_IS)
      TESELA_REAL_PREDICATES(TESELA_IS)
      return real_map(function, x);
  }
  return nullptr;
}
#undef TESELA_IS

}  // namespace

TensorId DeviceBackend::map(Program& program, const std::string& op, const std::vector<TensorId>& given,
                            DType y_dtype) const {
  const std::vector<TensorId> operands = all_plain(program, given);
  std::vector<TensorSpec> specs;
  for (TensorId id : operands) specs.push_back(program.spec(id));
  const BroadcastLoops broadcast = map_loops(op, specs);
  const MapFunction function = function_of(op);
  const DType x_dtype = specs.back().dtype;
  const MapKernel kernel = kernel_of(function, x_dtype, y_dtype);
  if (kernel == nullptr) throw ShapeError(op + ": is not there for " + name_of(x_dtype));
  const Loops<3> loops = loops_over<3>(op, broadcast.sizes, broadcast.strides);
  const bool divides =
      (op == "div" || op == "mod" || op == "fmod") && x_dtype != DType::float32 && x_dtype != DType::float64;
  const size_t count = operands.size();
  std::vector<TensorSpec> outputs{plain_spec(broadcast.dims, y_dtype)};
  if (divides) outputs.push_back(plain_spec({1}, DType::int64));
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    auto* flag = divides ? out[1].as<unsigned long long>() : nullptr;
    if (divides) clear(flag, 0, sizeof *flag, stream);
    launch(
        kernel, grid_over(loops.steps), stream, loops, function,
        MapOperands{in[0].data, count > 1 ? in[1].data : nullptr, count > 2 ? in[2].data : nullptr, out[0].data, flag});
  };
  const auto noted = [=, this](const Operand*, const Operand* out, void* stream) {
    unsigned long long divided_by_zero = 0;
    download(&divided_by_zero, out[1].data, sizeof divided_by_zero, stream);
    wait(stream);
    if (divided_by_zero) throw ShapeError(op + ": an integer was divided by zero");
  };
  const auto flops = static_cast<double>(loops.steps);
  return divides ? append(program, "map", operands, std::move(outputs), 0, flops, run, noted)[0]
                 : append(program, "map", operands, std::move(outputs), 0, flops, run)[0];
}

}  // namespace tesela::TESELA_DEVICE
