// Functions that kernels for GPUs share with the host are marked TESELA_HOST_DEVICE; for other compilers it is nothing.

#pragma once

#ifdef __CUDACC__
#define TESELA_HOST_DEVICE __host__ __device__
#else
#define TESELA_HOST_DEVICE
#endif
