// Arrays from and to other libraries as DLPack capsules (https://dmlc.github.io/dlpack, versions 0 and 1).

#pragma once

#include <pybind11/pybind11.h>

namespace tesela {

// Adds import_dlpack and export_dlpack to the module.
void define_dlpack(pybind11::module_& m);

}  // namespace tesela
