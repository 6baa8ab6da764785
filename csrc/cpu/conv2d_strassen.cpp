// Planning of 1x1 convolutions by one level of Strassen's algorithm (kernels/conv2d_strassen.cpp): when it pays, and
// the sums of weights.

#include "conv2d.h"

namespace tesela::cpu {

bool suits_strassen(const Conv2dShape& s) {
  const int64_t outputs = 2 * channel_block * kernels().tile_panels;
  if (!is_pointwise(s) || s.G > 1 || s.IC % (2 * channel_block) != 0 || s.OC % outputs != 0 || s.OH % 2 != 0 ||
      s.OW < kernels().tile_rows / 2) {
    return false;
  }
  // Measured, in direct products: what an input costs to be summed up, and what an output's sums cost between products,
  // which is more where tiles are smaller. At least 3 % are to be saved.
  const double input = 5, output = kernels().lanes == 16 ? 7 : 15;
  const bool faster = 7.0 / 8 + input / static_cast<double>(s.OC) + output / static_cast<double>(s.IC) <= 0.97;
  // There are 7/4 of the weights: enough pixels, that their arrival takes no longer than the products.
  constexpr int64_t products_per_weight = 9;
  return faster && s.N * s.OH * s.OW >= 2 * products_per_weight * 7 / 4;
}

// Not with AVX2, unless it is measured (compile's `tune`): the smaller tile reaches its peak by direct sums, and a Zen
// 3, whose L2 of 512 KB has no room for the sums beside seven matrices of weights, takes 0.93 to 1.12 times as long.
bool prefers_strassen() { return kernels().lanes != 8; }

// Seven matrices of sums, each (width, half, 16), for the panels [panel, panel + 2 * width).
static void pack_sums(float* to, const float* weight, int64_t IC, int64_t panel, int64_t width) {
  const int64_t half = IC / 2, matrix = width * half * 16;
  for (int64_t side = 0; side < width; ++side) {
    for (int64_t j = 0; j < 16; ++j) {
      const float* left = weight + ((panel + side) * 16 + j) * IC;
      const float* right = left + width * 16 * IC;
      for (int64_t k = 0; k < half; ++k) {
        const double b11 = left[k], b21 = left[k + half], b12 = right[k], b22 = right[k + half];
        const double t1 = b12 - b11, t2 = -b22 - t1;
        float* at = to + (side * half + k) * 16 + j;
        for (double sum : {b11, b21, t2, -b22 - b12, t2 + b21, t1, b22}) {
          *at = static_cast<float>(sum);
          at += matrix;
        }
      }
    }
  }
}

std::unique_ptr<Plan> plan_strassen(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual,
                                    bool has_gate) {
  const Conv2dShape& s = r.s;
  const int64_t width = kernels().tile_panels, sides = y.blocks() / (2 * width), threads = planning_threads();
  ContractionData data;
  data.weights = PackedFloats(static_cast<size_t>(s.IC * s.OC / 4 * 7));
  data.bias = padded_channels(r.bias, s.OC);
  Contraction problem{};
  problem.w = data.weights.data();
  problem.k = s.IC;
  problem.panels = y.blocks();
  problem.panel_stride = 7 * width * s.IC / 2 * 16;
  parallel_for(sides, [&](int64_t side, int) {
    pack_sums(data.weights.data() + side * problem.panel_stride, r.weight, s.IC, side * 2 * width, width);
    // The first product's sums are part of all four results, the sixth's of those on the right.
    for (int64_t i = 0; r.bias && i < width * 16; ++i) {
      float* left = data.bias.data() + side * 2 * width * 16 + i;
      left[width * 16] -= left[0];
    }
  });
  // Pixels of two lines, and as many sums of them, stay in L2.
  const int64_t tile = kernels().tile_rows, fitting = 320 * 1024 / (16 * s.IC);
  const int64_t stretches = ceil_div(s.OW, std::clamp(fitting, tile, 4 * tile));
  problem.rows_w = ceil_div(s.OW, stretches);
  problem.rows_h = s.OH / 2 * stretches;
  const int64_t rows = s.N * problem.rows_h;
  const int64_t wanted = std::min(fitting, rows_per_task(s.N * s.OH * s.OW, y.blocks(), 1, threads) / 2);
  const int64_t task_rows = std::max<int64_t>(wanted / problem.rows_w, 1);
  const int64_t parts = rows < 4 * threads ? std::min(threads, sides) : 1;
  append_tasks(data.tasks, 0, rows, problem.rows_h, task_rows, sides, parts);
  data.problems.push_back(problem);
  auto plan = plan_contraction("strassen", conv2d_args(r, x, y), std::move(data), kernels().conv2d_strassen,
                               has_residual, has_gate);
  plan->scratch_bytes = static_cast<size_t>(task_rows * problem.rows_w) * (8 * static_cast<size_t>(s.IC) + 32) + 64;
  return plan;
}

}  // namespace tesela::cpu
