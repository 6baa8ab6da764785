// What the rest of tesela sees of this folder. Its .cu files are compiled for each device that can run them: by nvcc
// for GPUs (namespace cuda), by the host compiler on emulate/cuda_runtime.h for the emulator (namespace emulator).

#pragma once

#include <string>

#include "../backend.h"

namespace tesela {

#define TESELA_DECLARE_DEVICE(device)                                     \
  namespace device {                                                      \
  const Backend& backend();                                               \
  std::string obstacle(); /* why the device cannot be used here, or "" */ \
  }
TESELA_DECLARE_DEVICE(cuda)
TESELA_DECLARE_DEVICE(emulator)
#undef TESELA_DECLARE_DEVICE

}  // namespace tesela
