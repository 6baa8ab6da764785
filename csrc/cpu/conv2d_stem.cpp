// Planning of conv2d with few input channels (kernels/conv2d_stem.cpp).

#include "conv2d.h"

namespace tesela::cpu {
namespace {

constexpr double most_band_floats = 1 << 18;

// The band of input rows under some output rows of a channel. Not an integer: strides may be absurd.
struct Band {
  double phases, width, rows;
  Band(const Conv2dShape& s, int64_t output_rows)
      : phases(std::min<double>(static_cast<double>(s.SW), extent(s.KW, s.DW))),
        width(static_cast<double>(s.OW) + std::floor((extent(s.KW, s.DW) - 1) / static_cast<double>(s.SW))),
        rows((static_cast<double>(output_rows) - 1) * static_cast<double>(s.SH) + extent(s.KH, s.DH)) {}
  double floats(const Conv2dShape& s) const { return phases * width * rows * static_cast<double>(s.IC); }

 private:
  static double extent(int64_t taps, int64_t dilation) {
    return static_cast<double>(taps - 1) * static_cast<double>(dilation) + 1;
  }
};

// Output rows of a task: several tasks a thread, a band that fits L1 beside the weights, but not less than a few rows,
// which share most of their input.
int64_t rows_per_task(const Conv2dShape& s) {
  const int64_t wanted = std::clamp<int64_t>(s.N * s.OH / (8 * planning_threads()), 4, 16);
  int64_t rows = std::min(wanted, s.OH);
  while (rows > 1 && Band(s, rows).floats(s) > 1 << 14) --rows;
  return rows;
}

}  // namespace

// It multiplies no zeros but copies its input; from 12 channels on whole blocks win. Its band must fit a cache.
bool is_stem(const Conv2dShape& s) {
  return !s.transposed && s.G == 1 && s.IC < 12 && s.KH * s.KW > 1 && s.KH * s.KW * s.IC <= 4096 &&
         Band(s, 1).floats(s) <= most_band_floats;
}

std::unique_ptr<Plan> plan_stem(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual) {
  const Conv2dShape& s = r.s;
  ContractionArgs args = conv2d_args(r, x, y);
  const bool blocked = x.layout == Layout::blocked;
  args.x_channel_stride = blocked ? 1 : s.IH * s.IW;
  args.x_pixel_stride = blocked ? channel_block : 1;
  args.x_row_stride = s.IW * args.x_pixel_stride;
  args.plain_image_stride = blocked ? 0 : s.IC * s.IH * s.IW;
  args.kernel_h = s.KH, args.dilation_h = s.DH, args.pad_top = s.PT, args.pad_left = s.PL;
  const int64_t task_rows = rows_per_task(s);
  const Band band(s, task_rows);
  args.phases = static_cast<int64_t>(band.phases), args.phase_width = static_cast<int64_t>(band.width);
  args.band_rows = static_cast<int64_t>(band.rows);

  ContractionData data;
  Contraction problem{};
  problem.k = s.KH * s.KW * s.IC;
  problem.panel_stride = problem.k * 16;
  problem.panels = y.blocks();
  problem.rows_h = s.OH, problem.rows_w = s.OW;
  args.kc = round_up(problem.k, 16);  // all products in one slice
  const std::vector<Tap> taps = phases_of(s)[0].taps;
  std::vector<int32_t> offsets;
  for (const Tap& tap : taps) {
    const int64_t column = tap.kw * s.DW, line = args.phases * args.phase_width;
    const int64_t within = tap.kh * s.DH * line + column % s.SW * args.phase_width + column / s.SW;
    for (int64_t c = 0; c < s.IC; ++c) offsets.push_back(static_cast<int32_t>(c * args.band_rows * line + within));
  }
  data.taps.push_back(std::move(offsets));
  problem.taps = data.taps.back().data();
  data.weights = PackedFloats(static_cast<size_t>(problem.panel_stride * problem.panels));
  data.bias = padded_channels(r.bias, s.OC);
  problem.w = data.weights.data();
  parallel_for(problem.panels, [&](int64_t panel, int) {
    pack_panel(data.weights.data() + panel * problem.panel_stride, r, taps, 0, s.IC, panel);
  });
  append_tasks(data.tasks, 0, s.N * s.OH, s.OH, task_rows, problem.panels,
               panel_parts(s.N * ceil_div(s.OH, task_rows), problem.panels, planning_threads()));
  for (ContractionTask& task : data.tasks) task.row_begin *= s.OW, task.row_end *= s.OW;  // whole rows of pixels
  data.problems.push_back(problem);
  auto plan = plan_contraction("stem", args, std::move(data), kernels().conv2d_stem, has_residual);
  plan->scratch_bytes = contraction_scratch(task_rows * s.OW, 0) + sizeof(float) * static_cast<size_t>(band.floats(s));
  return plan;
}

}  // namespace tesela::cpu
