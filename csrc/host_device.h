// Functions that kernels for GPUs share with the host are marked TESELA_HOST_DEVICE, loops that have to be unrolled, so
// that arrays stay in registers, TESELA_UNROLL, those whose body is long TESELA_ROLLED. For other compilers all are
// nothing.

#pragma once

#ifdef __CUDACC__
#define TESELA_HOST_DEVICE __host__ __device__
#define TESELA_UNROLL _Pragma("unroll")
#define TESELA_ROLLED _Pragma("unroll 1")
#else
#define TESELA_HOST_DEVICE
#define TESELA_UNROLL
#define TESELA_ROLLED
#endif
