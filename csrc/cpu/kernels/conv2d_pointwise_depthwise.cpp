// conv2d, 1x1, and a depthwise conv2d of its result, which never leaves the cache: the first half of MobileNet v2's
// inverted residual, whose middle is six times as wide as its ends.
//
//   z[n, c, p]      = activation(bias[c] + sum over ic of x[n, ic, p] * w[c, ic])
//   y[n, c, oh, ow] = activation(bias[c] + sum over taps of z[n, c, ...] * w[c, tap])
//
// A task makes the rows of z that its output rows need, of a few panels of 16 channels, in its scratch (contraction.h),
// and reads them there (conv2d_depthwise.cpp). Rows between two tasks are made by both. Tasks of the same rows follow
// each other, so that a thread finds x, and whoever reads y next finds y, in its own cache. The bits are those of the
// two steps apart.
//
// Limits: float32; stride 1 and no groups before.

#include "contraction.h"
#include "grouped_rows.h"

namespace tesela::TESELA_ISA {
namespace {

struct Expansion : BlockedRows {
  void place(int64_t count, TileRow* rows) const {
    for (int64_t i = 0; i < count; ++i) rows[i] = {i * 16, 0};
  }
};

}  // namespace

void conv2d_pointwise_depthwise(const cpu::PointwiseDepthwiseArgs& args, const ContractionOperands& io, int64_t index) {
  const GroupedArgs& depthwise = args.depthwise;
  const GroupedPhase& phase = depthwise.phases[0];
  const int64_t parts = (depthwise.blocks + args.panels_per_task - 1) / args.panels_per_task;
  const int64_t block = index % parts * args.panels_per_task;
  const int panels = static_cast<int>(smaller(args.panels_per_task, depthwise.blocks - block));
  const int64_t chunk = index / parts % depthwise.tasks_per_plane, image = index / parts / depthwise.tasks_per_plane;
  const int64_t begin = chunk * depthwise.rows_per_task, end = smaller(begin + depthwise.rows_per_task, phase.rows_h);
  const int64_t first = larger<int64_t>(0, phase.origin_h + begin * depthwise.stride_h);
  const int64_t last =
      smaller(depthwise.IH, phase.origin_h + (end - 1) * depthwise.stride_h + (phase.KH - 1) * depthwise.tap_h + 1);
  const int64_t pixels = larger<int64_t>(0, last - first) * depthwise.IW;

  auto* rows = reinterpret_cast<TileRow*>(io.scratch);
  float* z = after_rows(rows, pixels);
  if (pixels > 0) {
    ContractionArgs pointwise = args.pointwise;
    if (pointwise.bias) pointwise.bias += block * 16;
    pointwise.total_panels = depthwise.blocks - block;
    Contraction problem = pointwise.problems[0];
    problem.w += block * problem.panel_stride;
    ContractionOperands operands{};
    operands.x = io.x + image * io.x_image_stride + first * depthwise.IW * 16;
    operands.y = z;
    Expansion source{{operands.x, pointwise.x_plane_stride}};
    contract(pointwise, problem, ContractionTask{0, 0, panels, 0, pixels}, operands, source, rows);
  }
  for (int panel = 0; panel < panels; ++panel) {
    const RowRange range{depthwise, io, phase, image, block + panel, begin, end};
    sum_rows_in_place(range, z + panel * args.pointwise.y_plane_stride, first);
  }
}

}  // namespace tesela::TESELA_ISA
