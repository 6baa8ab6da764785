// Planning of a depthwise convolution together with the 1x1 convolution before it.

#include <optional>

#include "conv2d.h"
#include "planning.h"

namespace tesela::cpu {
namespace {

// Of a task's rows between the two, which are to stay in L2 beside weights and x.
constexpr int64_t most_scratch_bytes = 256 * 1024;
// Rows that two tasks compute, in all rows.
constexpr double most_repeated = 0.125;

struct Rows {
  int64_t panels, out, in;  // of one task
};

// Rows of the depthwise convolution's input under `out` neighbouring rows of its output.
int64_t rows_under(const Conv2dShape& s, int64_t out) {
  return std::min(s.IH, (out - 1) * s.SH + (s.KH - 1) * s.DH + 1);
}

// A cut into enough tasks for all threads. Small maps have many panels to a task, whose weights can then be fetched
// ahead; of large ones a task takes a few rows. None where rows are so long that too many would be computed twice.
std::optional<Rows> cut_rows(const Conv2dShape& s) {
  const int64_t blocks = ceil_div(s.OC, channel_block), width = std::min<int64_t>(kernels().tile_panels, blocks);
  const int64_t wanted = planning_threads() > 1 ? 4 * planning_threads() : 1, row_bytes = s.IW * channel_block * 4;
  const int64_t fitting = most_scratch_bytes / (rows_under(s, s.OH) * row_bytes);
  if (s.N * ceil_div(blocks, width) >= wanted && fitting >= width) {
    const int64_t parts = std::max(ceil_div(wanted, s.N), ceil_div(blocks, fitting));
    return Rows{std::max(blocks / parts / width, int64_t{1}) * width, s.OH, rows_under(s, s.OH)};
  }
  std::optional<Rows> best;
  for (int64_t panels : {width, int64_t{1}}) {
    for (int64_t chunks = 1; chunks <= s.OH; ++chunks) {
      const Rows rows{panels, ceil_div(s.OH, chunks), rows_under(s, ceil_div(s.OH, chunks))};
      const int64_t repeated = ceil_div(s.OH, rows.out) * rows.in - rows_under(s, s.OH);
      if (static_cast<double>(repeated) > most_repeated * static_cast<double>(s.IH)) continue;
      if (panels * rows.in * row_bytes > most_scratch_bytes) continue;
      best = rows;
      if (s.N * chunks * ceil_div(blocks, panels) >= wanted) return best;
    }
  }
  return best;
}

bool can_join(const Program& program, const Conv2dShape& pointwise, const Conv2dShape& depthwise) {
  return program.precision() == Precision::float32 && is_pointwise(pointwise) && pointwise.G == 1 &&
         is_depthwise(depthwise) && !depthwise.transposed && is_grouped(depthwise);
}

}  // namespace

TensorId CpuBackend::pointwise_depthwise_conv2d(Program& program, TensorId x, const Conv2dLayer& pointwise,
                                                const Conv2dLayer& depthwise) const {
  const std::optional<Rows> rows =
      can_join(program, pointwise.s, depthwise.s) ? cut_rows(depthwise.s) : std::optional<Rows>();
  if (!rows) return Backend::pointwise_depthwise_conv2d(program, x, pointwise, depthwise);
  x = program.in_layout(x, Layout::blocked);
  const TensorSpec &from = program.spec(x), y = blocked_spec(depthwise.s.y_dims());
  const TensorSpec between = blocked_spec({1, rows->panels * channel_block, rows->in, depthwise.s.IW});

  struct Data {
    Contraction problem;
    PackedFloats weights, bias;
    GroupedData depthwise;
  } data{};
  const int64_t ic = pointwise.s.IC;
  data.weights = PackedFloats(static_cast<size_t>(y.blocks() * ic) * 16);
  data.bias = padded_channels(pointwise.bias, pointwise.s.OC);
  const std::vector<Phase> phases = phases_of(pointwise.s);
  parallel_for(y.blocks(), [&](int64_t panel, int) {
    pack_panel(data.weights.data() + panel * ic * 16, pointwise, phases[0].taps, 0, ic, panel);
  });
  data.problem.w = data.weights.data();
  data.problem.k = ic;
  data.problem.panel_stride = ic * 16;
  PointwiseDepthwiseArgs args{};
  args.pointwise = conv2d_args(pointwise, from, between);
  args.pointwise.last_panel_lanes = pointwise.s.OC - (y.blocks() - 1) * channel_block;
  args.pointwise.bias = data.bias.data();
  args.depthwise = grouped_args(depthwise, between, y, data.depthwise);
  args.depthwise.rows_per_task = rows->out;
  args.depthwise.tasks_per_plane = ceil_div(depthwise.s.OH, rows->out);
  args.panels_per_task = rows->panels;
  const size_t weight_bytes =
      data.weights.bytes() + data.bias.bytes() + data.depthwise.weights.bytes() + data.depthwise.bias.bytes();
  const int64_t tasks = depthwise.s.N * args.depthwise.tasks_per_plane * ceil_div(y.blocks(), rows->panels);
  auto owned = std::make_unique<Data>(std::move(data));
  args.pointwise.problems = &owned->problem;
  auto plan = make_plan("pointwise, depthwise", args, std::move(owned), kernels().conv2d_pointwise_depthwise,
                        contraction_binding(false), tasks);
  plan->weight_bytes = weight_bytes;
  plan->scratch_bytes = contraction_scratch(rows->in * depthwise.s.IW, 0) +
                        static_cast<size_t>(rows->panels * between.plane_stride) * sizeof(float);
  plan->flops = pointwise.s.flops() + depthwise.s.flops();
  plan->bytes = payload(from) + payload(y) + 4.0 * static_cast<double>(pointwise.s.OC) * static_cast<double>(ic) +
                4.0 * static_cast<double>(depthwise.s.OC) * static_cast<double>(depthwise.s.KH * depthwise.s.KW);
  return program.append(std::move(plan), {x}, {y})[0];
}

}  // namespace tesela::cpu
