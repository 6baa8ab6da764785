// Planning of conv2d by Winograd's minimal filtering: when it pays, and the transformation of weights.
//
// F(m, r) evaluates two polynomials at n = m + r - 1 points a_j (the last at infinity), multiplies there, and
// interpolates (Toom-Cook; Lavin and Gray 2016, arXiv:1509.09308). With N_j the product of a_j - a_l over the other
// finite points:
//   G[j] = (1, a_j, ..., a_j^(r-1)) / N_j;  A^T[i][j] = a_j^i;  B^T[j] = coefficients of the product of x - a_l, l != j
// and for infinity G = (0, ..., 0, 1), A^T = 1 in the last row, B^T = the product over all finite points.

#include <algorithm>
#include <cmath>

#include "conv2d.h"

namespace tesela::cpu {
namespace {

const std::vector<MinimalFilter>& minimal_filters() {
  static const std::vector<MinimalFilter> all{
      {"winograd F(3,2)", 3, 2, 1, {0, 1, -1}, &Kernels::conv2d_winograd_3_2},
      {"winograd F(4,2)", 4, 2, 1, {0.5, -0.5, 1.25, -1.25}, &Kernels::conv2d_winograd_4_2},
      {"winograd F(2,3)", 2, 3, 1, {0, 1, -1}, &Kernels::conv2d_winograd_2_3},
      {"winograd F(4,3)", 4, 3, 1, {0, 0.625, -0.625, 1.5, -1.5}, &Kernels::conv2d_winograd_4_3},
      {"winograd F(3,4)", 3, 4, 1, {0, 0.625, -0.625, 1.5, -1.5}, &Kernels::conv2d_winograd_3_4},
      {"winograd F(2,5)", 2, 5, 1, {0, 0.625, -0.625, 1.5, -1.5}, &Kernels::conv2d_winograd_2_5},
      {"winograd F(3,5)", 3, 5, 1, {0.3125, -0.3125, 0.8125, -0.8125, 1.75, -1.75}, &Kernels::conv2d_winograd_3_5},
      {"winograd F(3,3) stride 2", 3, 3, 2, {0, 1, -1}, &Kernels::conv2d_winograd_3_3_strided},
  };
  return all;
}

// The taps of every phase along both axes; 0 where they differ or lie apart.
int64_t taps_of(const Conv2dShape& s) {
  const int64_t step_h = s.transposed ? s.SH : 1, step_w = s.transposed ? s.SW : 1;
  if (s.transposed ? s.DH != 1 || s.DW != 1 : s.SH != s.SW || (s.SH > 1 && (s.DH != 1 || s.DW != 1))) return 0;
  if (s.KH % step_h != 0 || s.KW % step_w != 0 || s.KH / step_h != s.KW / step_w) return 0;
  return s.KH / step_h;
}

// Distance of neighbouring outputs that are computed as one convolution of neighbouring taps.
int64_t step_of(int64_t stride, int64_t dilation, bool transposed) { return transposed ? stride : dilation; }

// The phases of a transposed convolution, the sub-grids of a dilated one; the taps' offsets are those of the input.
std::vector<Phase> grids_of(const Conv2dShape& s) {
  std::vector<Phase> phases = phases_of(s);
  if (s.transposed) return phases;
  std::vector<Phase> grids;
  for (int64_t h = 0; h < std::min(s.DH, s.OH); ++h) {
    for (int64_t w = 0; w < std::min(s.DW, s.OW); ++w) {
      Phase grid{h, w, ceil_div(s.OH - h, s.DH), ceil_div(s.OW - w, s.DW), phases[0].taps};
      for (Tap& tap : grid.taps) tap.h += static_cast<int32_t>(h), tap.w += static_cast<int32_t>(w);
      grids.push_back(std::move(grid));
    }
  }
  return grids;
}

// G, matrices x r.
void set_filter_matrix(const MinimalFilter& f, WinogradWeightsArgs& args) {
  const size_t count = f.points.size();
  for (size_t j = 0; j < count; ++j) {
    double value = 1;
    for (double b : f.points) value /= f.points[j] == b ? 1 : f.points[j] - b;
    for (int i = 0; i < f.r; i += f.stride, value *= f.points[j]) args.G[j][i] = value;
  }
  args.G[count][f.r - 1] = 1;
  if (f.stride > 1) args.G[count + 1][1] = 1;
  args.matrices = f.matrices(), args.r = f.r;
}

// What an algorithm costs, in products at the rate of the register tile: its products and transforms, or the arrival of
// its weights from memory, whichever takes longer. The rates are estimates for a recent x86 core, good enough to rank
// algorithms that differ by a factor. The number of threads has no say here: the algorithm, and with it every bit of
// the result, must not depend on it.
constexpr double products_per_weight = 9, products_per_weight_in_l2 = 2, products_per_transformed = 4;
constexpr double l2_bytes = 1 << 20;

double cost(double products, double weights, double transformed) {
  return std::max(products + products_per_transformed * transformed, products_per_weight * weights);
}

// Of an input and an output channel that meet; output channels fill whole panels.
double channel_pairs(const Conv2dShape& s) {
  return static_cast<double>(s.IC / s.G) * (s.G > 1 ? s.OC : round_up(s.OC, channel_block));
}

// Of one phase of a transposed convolution, or of all sub-grids of a dilated one: `grids` of them, one after the other,
// so that their weights arrive as often: for few tiles in each, longer than the products take that are saved.
double winograd_cost(const Conv2dShape& s, double grids, double rows_h, double rows_w, const MinimalFilter& f) {
  const double tiles = grids * s.N * std::ceil(rows_h / f.m) * std::ceil(rows_w / f.m), points = f.n() * f.n();
  const double pairs = channel_pairs(s), weights = f.matrices() * f.matrices() * pairs;
  const double again = weights * sizeof(float) <= l2_bytes ? products_per_weight_in_l2 : products_per_weight;
  return cost(tiles * points * pairs, weights, tiles * points * (s.IC + s.OC)) + (grids - 1) * again * weights;
}

// The kernels that meet in a panel of a run: those of 16 output channels and the run's input channels.
void transform_panel(const Conv2dLayer& r, const WinogradWeightsArgs& args, const ChannelRun& run, int64_t panel,
                     float* to) {
  const Conv2dShape& s = r.s;
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G, first = run.ic_block * 16;
  WinogradLane lanes[channel_block] = {};
  for (int64_t j = 0; j < channel_block && panel * channel_block + j < s.OC; ++j) {
    const int64_t oc = panel * channel_block + j, group = oc / ocs;
    const int64_t begin = std::max(first, group * ics), end = std::min(first + args.k, (group + 1) * ics);
    const int64_t kernel = s.transposed ? begin * ocs + oc % ocs : oc * ics + begin % ics;
    lanes[j] = {r.weight + kernel * s.KH * s.KW, begin - first, end - first};
  }
  kernels().winograd_weights(args, lanes, to);
}

}  // namespace

std::vector<const MinimalFilter*> filters_by_estimate(const Conv2dShape& s, double direct_rate) {
  const int64_t r = taps_of(s), stride = s.transposed ? 1 : s.SH;
  if (s.IC / s.G < 16 || (s.G > 1 && s.OC / s.G < 16)) return {nullptr};
  const auto step_h = static_cast<double>(step_of(s.SH, s.DH, s.transposed));
  const auto step_w = static_cast<double>(step_of(s.SW, s.DW, s.transposed));
  const double rows_h = std::ceil(s.OH / step_h), rows_w = std::ceil(s.OW / step_w);
  const double grids = s.transposed ? 1 : std::min<double>(step_h, s.OH) * std::min<double>(step_w, s.OW);
  const double weights = static_cast<double>(r * r) * channel_pairs(s);
  const double pixels = s.transposed ? rows_h * rows_w : 1.0 * s.OH * s.OW;
  std::vector<std::pair<double, const MinimalFilter*>> estimates;
  for (const MinimalFilter& f : minimal_filters()) {
    // F(3, 4) is for first layers (conv2d_space_to_depth.cpp): over many channels its largest errors are beyond twice
    // those of direct sums.
    if (f.r == r && f.stride == stride && f.r != 4)
      estimates.emplace_back(winograd_cost(s, grids, rows_h, rows_w, f), &f);
  }
  std::reverse(estimates.begin(), estimates.end());  // of equal estimates the larger tile wins
  estimates.emplace_back(cost(pixels * s.N * weights, weights, 0) / direct_rate, nullptr);
  std::stable_sort(estimates.begin(), estimates.end(), [](auto& a, auto& b) { return a.first < b.first; });
  std::vector<const MinimalFilter*> filters;
  for (const auto& [estimate, filter] : estimates) filters.push_back(filter);
  return filters;
}

std::pair<const MinimalFilter*, double> cheapest_filter(const Conv2dShape& s) {
  std::pair<const MinimalFilter*, double> best{nullptr, 0};
  for (const MinimalFilter& f : minimal_filters()) {
    if (f.r != taps_of(s) || f.stride != 1) continue;
    const double estimate = winograd_cost(s, 1, static_cast<double>(s.OH), static_cast<double>(s.OW), f);
    if (!best.first || estimate <= best.second) best = {&f, estimate};
  }
  return best;
}

double direct_cost(const Conv2dShape& s) {
  const double weights = static_cast<double>(s.KH * s.KW) * channel_pairs(s);
  return cost(static_cast<double>(s.N * s.OH * s.OW) * weights, weights, 0);
}

std::unique_ptr<Plan> plan_winograd(const MinimalFilter& f, const Conv2dLayer& request, const TensorSpec& x,
                                    const TensorSpec& y, bool has_residual) {
  const Conv2dShape& s = request.s;
  const int m = f.m, points = f.n() * f.n(), matrices = f.matrices() * f.matrices();
  const std::vector<ChannelRun> runs = channel_runs(s);
  const std::vector<Phase> phases = grids_of(s);
  ContractionData data;
  size_t floats = 0;
  for (const ChannelRun& run : runs) floats += static_cast<size_t>(run.panels * run.ic_blocks) * 256 * matrices;
  data.weights = PackedFloats(floats * (s.transposed ? phases.size() : 1));
  data.bias = padded_channels(request.bias, s.OC);

  WinogradWeightsArgs weights{};
  set_filter_matrix(f, weights);
  weights.ic_stride = (s.transposed ? s.OC / s.G : 1) * s.KH * s.KW;
  float* to = data.weights.data();
  int64_t most_tiles = 0, most_blocks = 0;
  const int64_t threads = planning_threads();
  for (const Phase& phase : phases) {
    const bool packed = !s.transposed && to != data.weights.data();  // all sub-grids have the same weights
    if (packed) to = data.weights.data();
    int32_t first_h = phase.taps[0].h, first_w = phase.taps[0].w;
    for (const Tap& tap : phase.taps) first_h = std::min(first_h, tap.h), first_w = std::min(first_w, tap.w);
    for (const Tap& tap : phase.taps) {
      weights.tap[(tap.h - first_h) / s.DH * f.r + (tap.w - first_w) / s.DW] = tap.kh * s.KW + tap.kw;
    }
    data.taps.push_back({first_h, first_w});
    const int64_t tiles = s.N * ceil_div(phase.rows_h, m) * ceil_div(phase.rows_w, m);
    for (const ChannelRun& run : runs) {
      Contraction problem{};
      problem.w = to;
      problem.k = run.ic_blocks * 16;
      problem.panel_stride = matrices * problem.k * 16;
      problem.panel = run.panel, problem.panels = run.panels;
      problem.ic_block = run.ic_block, problem.ic_blocks = run.ic_blocks;
      problem.taps = data.taps.back().data(), problem.n_taps = 1;
      problem.rows_h = phase.rows_h, problem.rows_w = phase.rows_w;
      problem.offset_h = phase.offset_h, problem.offset_w = phase.offset_w;
      weights.k = problem.k;
      if (!packed) {
        parallel_for(run.panels, [&](int64_t panel, int) {
          transform_panel(request, weights, run, run.panel + panel, to + panel * problem.panel_stride);
        });
      }
      to += run.panels * problem.panel_stride;
      // Transformed tiles of a task take about 300 KB, so that they and the sums of a panel stay in an L2 of 512 KB;
      // whole register tiles of rows; if there are few tasks, as many for each thread.
      const int64_t rows = kernels().tile_rows, fitting = 300 * 1024 / (4 * points * problem.k);
      const int64_t most_rows = std::clamp(fitting / rows * rows, 2 * rows, 8 * rows);
      const int64_t problem_count = static_cast<int64_t>(phases.size() * runs.size());
      int64_t row_tasks = ceil_div(tiles, most_rows);
      if (row_tasks * problem_count < 4 * threads && row_tasks * problem_count > 1) {
        row_tasks = ceil_div(round_up(row_tasks * problem_count, threads), problem_count);
      }
      const int64_t task_tiles = ceil_div(tiles, row_tasks);
      // Each part of the panels transforms its input again: only as many as occupy all threads.
      const int64_t parts =
          std::min(ceil_div(threads, row_tasks * problem_count), std::max<int64_t>(run.panels / 2, 1));
      append_tasks(data.tasks, static_cast<int32_t>(data.problems.size()), tiles, tiles, task_tiles, run.panels, parts);
      data.problems.push_back(problem);
      most_tiles = std::max(most_tiles, std::min(task_tiles, tiles));
      most_blocks = std::max(most_blocks, run.ic_blocks);
    }
  }

  WinogradArgs args{};
  args.problems = data.problems.data(), args.tasks = data.tasks.data(), args.bias = data.bias.data();
  args.IH = s.IH, args.IW = s.IW, args.OW = s.OW;
  args.step_h = step_of(s.SH, s.DH, s.transposed), args.step_w = step_of(s.SW, s.DW, s.transposed);
  args.dilation_h = s.transposed ? 1 : s.DH, args.dilation_w = s.transposed ? 1 : s.DW;
  args.x_plane_stride = x.plane_stride, args.y_plane_stride = y.plane_stride;
  args.total_panels = y.blocks();
  args.last_panel_lanes = s.OC - (y.blocks() - 1) * channel_block;
  args.activation = request.activation;
  const size_t weight_bytes = data.weights.bytes() + data.bias.bytes();
  const int64_t tasks = static_cast<int64_t>(data.tasks.size());
  auto plan = make_plan(f.name, args, std::move(data), kernels().*f.kernel, contraction_binding(has_residual), tasks);
  plan->weight_bytes = weight_bytes;
  const size_t sharing = f.stride > 1 ? 9 : 1;  // points with the same weights, at most
  plan->scratch_bytes = static_cast<size_t>(most_tiles) * sharing * 16 + 64 +
                        sizeof(float) * static_cast<size_t>(points) * 16 * (1 + most_tiles * (most_blocks + 4));
  return plan;
}

}  // namespace tesela::cpu
