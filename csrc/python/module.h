// What each file here adds to the module, and arrays of NumPy as they see them.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "program.h"

namespace tesela {

using Floats = pybind11::array_t<float, pybind11::array::c_style>;

inline Dims dims_of(const pybind11::array& array) { return Dims(array.shape(), array.shape() + array.ndim()); }

void define_shapes(pybind11::module_& m);
using ProgramClass = pybind11::class_<Program, std::shared_ptr<Program>>;
ProgramClass define_program(pybind11::module_& m);
void define_operators(ProgramClass& program);
void define_device_memory(pybind11::module_& m);
void define_dlpack(pybind11::module_& m);
void define_emulator(pybind11::module_& m);  // only in builds that have it, as the next
void define_arithmetic(pybind11::module_& m);

}  // namespace tesela
