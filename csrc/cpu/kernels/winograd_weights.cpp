// Weights for conv2d_winograd: U = G g G^T of every kernel g (conv2d_winograd.cpp), in double, rounded once.
//
// One call makes one panel: its 16 output channels are the lanes, so that the transformation is the same multiply-adds
// for all of them, and what is read with a stride is read once. Lanes without a kernel become zero.
// Limits: up to 7 x 7 matrices from 5 x 5 taps. Measured as part of planning: bench/cold_start.py.

#include "declarations.h"

namespace tesela::TESELA_ISA {

void winograd_weights(const cpu::WinogradWeightsArgs& args, const cpu::WinogradLane* lane, float* panel) {
  constexpr int most_matrices = cpu::WinogradWeightsArgs::most_matrices,
                most_taps = cpu::WinogradWeightsArgs::most_taps;
  const int n = args.matrices, r = args.r;
  for (int64_t ic = 0; ic < args.k; ++ic, panel += 16) {
    double g[most_taps * most_taps][16] = {};
    for (int j = 0; j < 16; ++j) {
      if (ic < lane[j].begin || ic >= lane[j].end) continue;
      const float* kernel = lane[j].kernel + (ic - lane[j].begin) * args.ic_stride;
      for (int tap = 0; tap < r * r; ++tap) g[tap][j] = static_cast<double>(kernel[args.tap[tap]]);
    }
    double half[most_matrices * most_taps][16];  // G g
    for (int i = 0; i < n; ++i) {
      for (int c = 0; c < r; ++c) {
        double sum[16] = {};
        for (int k = 0; k < r; ++k) {
          for (int j = 0; j < 16; ++j) sum[j] += args.G[i][k] * g[k * r + c][j];
        }
        for (int j = 0; j < 16; ++j) half[i * r + c][j] = sum[j];
      }
    }
    for (int i = 0; i < n; ++i) {
      for (int c = 0; c < n; ++c) {
        double sum[16] = {};
        for (int k = 0; k < r; ++k) {
          for (int j = 0; j < 16; ++j) sum[j] += half[i * r + k][j] * args.G[c][k];
        }
        float* to = panel + (i * n + c) * args.k * 16;
        for (int j = 0; j < 16; ++j) to[j] = static_cast<float>(sum[j]);
      }
    }
  }
}

}  // namespace tesela::TESELA_ISA
