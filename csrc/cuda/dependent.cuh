// Kernels of a run overlap: programmatic dependent launch, sm_90 and later.
//
// launch() lets a kernel begin while the one before it runs its last blocks, so that the time between two kernels, and
// what a kernel does before it needs the other's results, cost nothing. Therefore every kernel calls
// wait_for_earlier_kernel() in each thread that reads or writes device memory that a kernel may have written, before it
// does: it returns when the earlier one has ended, which itself has waited for those before it. What no kernel
// writes, weights and tables, may be read before. From there on the next kernel may begin where this one leaves room;
// at most two overlap, and the earlier one's blocks all run by then, so that none of them waits for a place.
// The emulator finds a kernel that reads or writes too early, or does not wait. Not measured on a GPU yet.

#pragma once

#include "ptx.cuh"

namespace tesela::TESELA_DEVICE {

__device__ inline void wait_for_earlier_kernel() {
  ptx::wait_for_earlier_grid();
  ptx::let_next_grid_start();
}

}  // namespace tesela::TESELA_DEVICE
