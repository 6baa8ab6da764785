// What the kernels of gemm share.

#pragma once

#include "backend.h"
#include "select.h"

namespace tesela::TESELA_DEVICE {

struct GemmArgs {
  int64_t M, N, K;
  int64_t a_m, a_k, b_k, b_n;  // strides of op(a)[m, k] and op(b)[k, n]; one of each pair is 1
  int64_t c_m;                 // stride of c's rows: N, or 0 where c is one row
  float alpha, beta;
  ActivationSpec activation;
};

struct GemmOperands {
  const float* a;  // (M, K) or (K, M)
  const float* b;  // (K, N) or (N, K)
  const float* c;  // (M, N), (N) or null
  float* y;        // (M, N)
};

__device__ inline float finish(const GemmArgs& s, const GemmOperands& p, int64_t m, int64_t n, float sum) {
  sum *= s.alpha;
  if (p.c) sum = fmaf(s.beta, p.c[m * s.c_m + n], sum);
  return activate(sum, s.activation);
}

// gemm_mma.cu. inputs: a, b, and c where there is one.
TensorId append_gemm_mma(Program& program, const std::vector<TensorId>& inputs, const GemmShape& s,
                         const GemmArgs& args, const TileChoice& choice);

}  // namespace tesela::TESELA_DEVICE
