// What the files of map share: its functions as numbers, and the one form that all its kernels have.

#pragma once

#include "../map_functions.h"
#include "loops.h"

namespace tesela::TESELA_DEVICE {

enum class MapFunction : int32_t {
#define TESELA_ENUMERATOR(name, expression) name,
  TESELA_NUMBER_BINARY(TESELA_ENUMERATOR) TESELA_NUMBER_UNARY(TESELA_ENUMERATOR)
      TESELA_INTEGER_BINARY(TESELA_ENUMERATOR) TESELA_INTEGER_UNARY(TESELA_ENUMERATOR)
          TESELA_REAL_UNARY(TESELA_ENUMERATOR) TESELA_REAL_TRIGONOMETRIC(TESELA_ENUMERATOR)
              TESELA_REAL_PREDICATES(TESELA_ENUMERATOR) TESELA_COMPARISONS(TESELA_ENUMERATOR)
                  TESELA_LOGICAL_BINARY(TESELA_ENUMERATOR)
#undef TESELA_ENUMERATOR
                      equal,
  logical_not,
  where,
  cast
};

struct MapOperands {
  const void *a, *b, *c;  // b and c: null where the function has one or two operands
  void* y;
  unsigned long long* divided_by_zero;  // set to 1 when an integer was; null where none can be
};

using MapKernel = void (*)(Loops<3>, MapFunction, MapOperands);

// null where the function does not exist for that type.
MapKernel real_map(MapFunction function, DType x);  // map_real.cu
MapKernel trigonometric_map(DType x);               // map_trigonometric.cu
MapKernel cast_map(DType x, DType y);               // cast.cu

}  // namespace tesela::TESELA_DEVICE
