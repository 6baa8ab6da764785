// Functions that kernels for GPUs share with the host are marked TESELA_HOST_DEVICE, loops that have to be unrolled, so
// that arrays stay in registers, TESELA_UNROLL. For other compilers both are nothing.

#pragma once

#ifdef __CUDACC__
#define TESELA_HOST_DEVICE __host__ __device__
#define TESELA_UNROLL _Pragma("unroll")
#else
#define TESELA_HOST_DEVICE
#define TESELA_UNROLL
#endif
