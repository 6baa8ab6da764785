// Planning of conv2d by Winograd's minimal filtering: when it pays, and the transformation of weights.
//
// F(m, 3) evaluates two polynomials at m + 2 points a_j (the last at infinity), multiplies there, and interpolates
// (Toom-Cook; Lavin and Gray 2016, arXiv:1509.09308). With N_j the product of a_j - a_l over the other finite points:
//   G[j] = (1, a_j, a_j^2) / N_j;  A^T[i][j] = a_j^i;  B^T[j] = coefficients of the product of x - a_l, l != j
// and for infinity G = (0, 0, 1), A^T = 1 in the last row, B^T = the product over all finite points.

#include "conv2d.h"

namespace tesela::cpu {
namespace {

std::vector<double> finite_points(int m) {
  // Symmetric and exact in float32; of those the ones with the least error for F(4, 3).
  return m == 2 ? std::vector<double>{0, 1, -1} : std::vector<double>{0, 0.625, -0.625, 1.5, -1.5};
}

// G, (m + 2) x 3.
std::vector<std::array<double, 3>> filter_matrix(int m) {
  const std::vector<double> points = finite_points(m);
  std::vector<std::array<double, 3>> G;
  for (double a : points) {
    double N = 1;
    for (double b : points) N *= a == b ? 1 : a - b;
    G.push_back({1 / N, a / N, a * a / N});
  }
  G.push_back({0, 0, 1});
  return G;
}

// What an algorithm costs, in products at the rate of the register tile: its products and transforms, or the arrival of
// its weights from memory, whichever takes longer. The two rates are
// estimates for a recent x86 core, good enough to rank algorithms that differ by a factor. The number of threads has no
// say here: the algorithm, and with it every bit of the result, must not depend on it.
double cost(double products, double weights, double transformed) {
  constexpr double products_per_weight = 9, products_per_transformed = 4;
  return std::max(products + products_per_transformed * transformed, products_per_weight * weights);
}

double winograd_cost(const Conv2dShape& s, int m) {
  const double tiles = 1.0 * s.N * ceil_div(s.OH, m) * ceil_div(s.OW, m), points = (m + 2.0) * (m + 2.0);
  const double weights = points * s.IC / s.G * s.OC;
  return cost(tiles * weights, weights, tiles * points * (s.IC + s.OC));
}

}  // namespace

int winograd_tile(const Conv2dShape& s) {
  if (s.transposed || s.KH != 3 || s.KW != 3 || s.SH != 1 || s.SW != 1 || s.DH != 1 || s.DW != 1) return 0;
  if (s.IC / s.G < 16 || s.OC / s.G < 16) return 0;
  const double weights = 9.0 * s.IC / s.G * s.OC;
  const double direct = cost(1.0 * s.N * s.OH * s.OW * weights, weights, 0);
  const double two = winograd_cost(s, 2), four = winograd_cost(s, 4);
  return std::min(two, four) > direct ? 0 : two < four ? 2 : 4;
}

std::unique_ptr<Plan> plan_winograd(const Conv2dRequest& r, int m, const TensorSpec& x, const TensorSpec& y,
                                    bool has_residual) {
  const Conv2dShape& s = r.s;
  const int n = m + 2, points = n * n;
  const std::vector<ChannelRun> runs = channel_runs(s);
  ContractionData data;
  size_t floats = 0;
  for (const ChannelRun& run : runs) floats += static_cast<size_t>(run.panels * run.ic_blocks) * 256 * points;
  data.weights = PackedFloats(floats);
  data.bias = padded_channels(r.bias, s.OC);

  const int64_t tiles_h = ceil_div(s.OH, m), tiles_w = ceil_div(s.OW, m), tiles = s.N * tiles_h * tiles_w;
  const std::vector<std::array<double, 3>> G = filter_matrix(m);
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G;
  float* to = data.weights.data();
  int64_t most_tiles = 0, most_blocks = 0;
  for (const ChannelRun& run : runs) {
    Contraction problem{};
    problem.w = to;
    problem.k = run.ic_blocks * 16;
    problem.panel_stride = points * problem.k * 16;
    problem.panel = run.panel, problem.panels = run.panels;
    problem.ic_block = run.ic_block, problem.ic_blocks = run.ic_blocks;
    for (int64_t panel = 0; panel < run.panels; ++panel, to += problem.panel_stride) {
      for (int64_t j = 0; j < 16 && (run.panel + panel) * 16 + j < s.OC; ++j) {
        const int64_t oc = (run.panel + panel) * 16 + j, group = oc / ocs;
        const int64_t end = std::min((run.ic_block + run.ic_blocks) * 16, (group + 1) * ics);
        for (int64_t ic = std::max(run.ic_block * 16, group * ics); ic < end; ++ic) {
          const float* w = r.weight + (oc * ics + ic % ics) * 9;
          double half[6][3];  // G w
          for (int i = 0; i < n; ++i) {
            for (int c = 0; c < 3; ++c) half[i][c] = G[i][0] * w[c] + G[i][1] * w[3 + c] + G[i][2] * w[6 + c];
          }
          for (int i = 0; i < n; ++i) {
            for (int c = 0; c < n; ++c) {
              const double value = half[i][0] * G[c][0] + half[i][1] * G[c][1] + half[i][2] * G[c][2];
              to[((i * n + c) * problem.k + ic - run.ic_block * 16) * 16 + j] = static_cast<float>(value);
            }
          }
        }
      }
    }
    // Transformed tiles of a task take about 300 KB, so that they and the sums of a panel stay in an L2 of 512 KB;
    // whole register tiles of rows; enough tasks for all threads.
    const int64_t rows = kernels().tile_rows, fitting = 300 * 1024 / (4 * points * problem.k);
    const int64_t even = ceil_div(tiles, 2 * num_threads());
    const int64_t task_tiles = std::clamp(std::min(fitting, round_up(even, rows)) / rows * rows, 2 * rows, 8 * rows);
    append_tasks(data.tasks, static_cast<int32_t>(data.problems.size()), tiles, tiles, task_tiles, run.panels,
                 num_threads());
    data.problems.push_back(problem);
    most_tiles = std::max(most_tiles, std::min(task_tiles, tiles));
    most_blocks = std::max(most_blocks, run.ic_blocks);
  }

  WinogradArgs args{};
  args.problems = data.problems.data(), args.tasks = data.tasks.data(), args.bias = data.bias.data();
  args.IH = s.IH, args.IW = s.IW, args.OH = s.OH, args.OW = s.OW, args.PT = s.PT, args.PL = s.PL;
  args.tiles_h = tiles_h, args.tiles_w = tiles_w;
  args.x_plane_stride = x.plane_stride, args.y_plane_stride = y.plane_stride;
  args.total_panels = y.blocks();
  args.last_panel_lanes = s.OC - (y.blocks() - 1) * channel_block;
  args.activation = r.activation;
  const size_t weight_bytes = data.weights.bytes() + data.bias.bytes();
  const int64_t tasks = static_cast<int64_t>(data.tasks.size());
  auto plan = make_plan(m == 4 ? "winograd 4x4" : "winograd 2x2", args, std::move(data),
                        m == 4 ? kernels().conv2d_winograd_4x4 : kernels().conv2d_winograd_2x2,
                        contraction_binding(has_residual), tasks);
  plan->weight_bytes = weight_bytes;
  plan->scratch_bytes = static_cast<size_t>(most_tiles) * 16 + 64 +
                        sizeof(float) * static_cast<size_t>(points) * 16 * (1 + most_tiles * (most_blocks + 4));
  return plan;
}

}  // namespace tesela::cpu
