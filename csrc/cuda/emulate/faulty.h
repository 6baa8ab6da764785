// Kernels with one fault each, to see that the emulator finds it.

#pragma once

#include <string>
#include <vector>

namespace tesela::emulator {

// Runs the kernel of that name on 64 threads; returns what each wrote. ShapeError for an unknown name.
std::vector<float> run_faulty(const std::string& name);

}  // namespace tesela::emulator
