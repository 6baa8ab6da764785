// Planning of max_pool2d, global_max_pool2d, avg_pool2d and max_unpool2d.

#include <atomic>
#include <cstring>
#include <limits>
#include <string>

#include "planning.h"

namespace tesela::cpu {
namespace {

MaxPool2dArgs max_pool2d_args(const Pool2dShape& s) {
  MaxPool2dArgs args{};
  args.IH = s.IH, args.IW = s.IW, args.OH = s.OH, args.OW = s.OW;
  args.KH = s.KH, args.KW = s.KW, args.SH = s.SH, args.SW = s.SW;
  args.DH = s.DH, args.DW = s.DW, args.PT = s.PT, args.PL = s.PL;
  return args;
}

// Input rows read for one output row of a plane, and the row written.
double row_floats(int64_t window_rows, int64_t IW, int64_t OW) { return static_cast<double>(window_rows) * IW + OW; }

// Floats that pooling moves from memory and back when x is brought to the kernel's layout first, or when the kernel for
// plain tensors takes it as it lies. Both leave y for the next step in the layout that they work in; who wants the
// other pays for that, which is why a y larger than x is made in blocks.
bool pools_plain(const Program& program, TensorId x, const TensorSpec& y, int64_t window_floats) {
  if (program.lies_in(x, Layout::blocked)) return false;
  constexpr int64_t most_scratch = int64_t{1} << 18;  // a megabyte: what a task transposes must stay in L2
  const double x_floats = payload(program.spec(x)), y_floats = payload(y);
  const double blocked = 3 * x_floats + y_floats, plain = x_floats + 3 * y_floats;
  return plain <= blocked && window_floats <= most_scratch;
}

// Bands of about 128 KB of input and output: neighbours read some rows twice, where windows overlap.
// rows_under: most input rows under so many output rows.
template <class Args, class RowsUnder>
size_t cut_into_bands(Args& args, const Dims& x, const RowsUnder& rows_under) {
  constexpr int64_t floats_per_band = 32768;
  PoolBands& bands = args.bands;
  const auto floats = [&](int64_t rows) { return (rows_under(rows) * args.IW + rows * args.OW) * channel_block; };
  bands.C = x[1];
  bands.rows = 1;
  while (bands.rows < args.OH && floats(bands.rows + 1) <= floats_per_band) ++bands.rows;
  bands.most_rows = rows_under(bands.rows);
  args.blocks = ceil_div(bands.C, channel_block);
  bands.units = cut(x[0] * args.blocks * ceil_div(args.OH, bands.rows), static_cast<double>(floats(bands.rows)));
  return static_cast<size_t>(args.IW * channel_block + floats(bands.rows));
}

// The windows' columns where pool2d_rows.cpp has a kernel for them that pays; else 0 taps.
PoolColumns columns_of(int64_t stride, int64_t taps, int64_t dilation, int64_t left, int64_t IW, int64_t OW) {
  constexpr int64_t most_floats = 1 << 14;  // 64 KB of scratch, which each task writes once
  constexpr int64_t floats_at_once = 2048;  // of the rows in scratch, which stay in L1
  const int64_t lanes = kernels().lanes;
  const bool served = (stride == 1 || stride == 2) && taps <= 3 && (dilation == 1 || taps == 1) && IW >= lanes &&
                      left < most_floats && IW < most_floats && OW < most_floats;
  if (!served) return {};
  const int64_t floats = std::max(left + IW, stride * ceil_div(OW, lanes) * lanes + taps - 1);
  return {stride, taps, left, floats, std::max<int64_t>(floats_at_once / floats, 1)};
}

// The columns of averaging windows, where they are a stride apart, as wide as each other but for the ends of x, and
// none of the windows is empty.
PoolColumns columns_of(const AveragingWindows& windows, int64_t IW) {
  const auto OH = static_cast<int64_t>(windows.begin_h.size()), OW = static_cast<int64_t>(windows.begin_w.size());
  if (OH == 0 || OW == 0) return {};
  for (int64_t oh = 0; oh < OH; ++oh) {
    if (windows.begin_h[oh] >= windows.end_h[oh]) return {};
  }
  int64_t taps = 0;
  for (int64_t ow = 0; ow < OW; ++ow) taps = std::max(taps, windows.end_w[ow] - windows.begin_w[ow]);
  const int64_t left = taps - windows.end_w[0];
  for (int64_t stride : {1, 2}) {
    bool alike = left >= 0;
    for (int64_t ow = 0; ow < OW && alike; ++ow) {
      const int64_t begin = std::max<int64_t>(ow * stride - left, 0);
      const int64_t end = std::min(ow * stride - left + taps, IW);
      alike = begin < end && windows.begin_w[ow] == begin && windows.end_w[ow] == end;
    }
    if (alike) return columns_of(stride, taps, 1, left, IW, OW);
  }
  return {};
}

TensorId append_max_pool2d(Program& program, const char* algorithm, TensorId x, const Pool2dShape& s) {
  MaxPool2dArgs args = max_pool2d_args(s);
  const double flops = 1.0 * s.N * s.C * s.OH * s.OW * s.KH * s.KW;
  const auto rows_under = [&](int64_t rows) { return std::min((rows - 1) * s.SH + (s.KH - 1) * s.DH + 1, s.IH); };
  if (pools_plain(program, x, plain_spec(s.y_dims()), rows_under(1) * s.IW * channel_block)) {
    args.columns = columns_of(s.SW, s.KW, s.DW, s.PL, s.IW, s.OW);
    if (args.columns.taps > 0) {
      args.rows = cut(s.N * s.C * s.OH, row_floats(std::min(s.KH, s.IH), s.IW, s.OW));
      return append_map(program, "rows", args, Nothing{}, kernels().max_pool2d_rows, args.rows, x,
                        plain_spec(s.y_dims()), static_cast<size_t>(args.columns.rows * args.columns.floats), flops);
    }
    const size_t scratch = cut_into_bands(args, program.spec(x).dims, rows_under);
    return append_map(program, "bands", args, Nothing{}, kernels().max_pool2d_bands, args.bands.units, x,
                      plain_spec(s.y_dims()), scratch, flops);
  }
  x = program.in_layout(x, Layout::blocked);
  const TensorSpec from = program.spec(x);
  TensorSpec y = blocked_spec(s.y_dims());
  args.blocks = from.blocks();
  args.x_plane_stride = from.plane_stride;
  args.y_plane_stride = y.plane_stride;
  args.last_block_lanes = last_block_lanes(from);
  args.rows = cut(s.N * args.blocks * s.OH, row_floats(std::min(s.KH, s.IH), s.IW, s.OW) * channel_block);
  return append_map(program, algorithm, args, Nothing{}, kernels().max_pool2d, args.rows, x, std::move(y),
                    static_cast<size_t>(s.IW * channel_block), flops);
}

// y[n, c].flat[index] = x: the planes are independent. A bad index must not throw on a worker, so it is noted, and
// thrown by the caller once all tasks are done.
struct MaxUnpool2dPlan final : Plan {
  int64_t C, IH, IW, OH, OW;
  Units planes;  // N * C

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    constexpr int64_t none = std::numeric_limits<int64_t>::max();
    const float* x = inputs[0].floats();
    const int64_t* indices = inputs[1].indices();
    float* y = outputs[0].floats();
    const int64_t x_plane = IH * IW, y_plane = OH * OW;
    std::atomic<int64_t> first_bad{none};
    execution.team->run(tasks_of(planes), [&](int64_t task, int) {
      const int64_t end = std::min((task + 1) * planes.per_task, planes.count);
      for (int64_t plane = task * planes.per_task; plane < end; ++plane) {
        const int64_t* at = indices + plane * x_plane;
        int64_t i = 0;
        while (i < x_plane && at[i] >= 0 && at[i] < y_plane) ++i;
        if (i < x_plane) {
          const int64_t bad = plane * x_plane + i;
          int64_t seen = first_bad.load();
          while (bad < seen && !first_bad.compare_exchange_weak(seen, bad)) {
          }
          continue;
        }
        float* to = y + plane * y_plane;
        std::memset(to, 0, static_cast<size_t>(y_plane) * sizeof(float));
        for (i = 0; i < x_plane; ++i) to[at[i]] = x[plane * x_plane + i];
      }
    });
    const int64_t bad = first_bad.load();
    if (bad == none) return;
    const int64_t plane = bad / x_plane, pixel = bad % x_plane;
    throw ShapeError("max_unpool2d: index " + std::to_string(indices[bad]) +
                     " at (n, c, h, w) = " + to_string({plane / C, plane % C, pixel / IW, pixel % IW}) +
                     " is outside the " + std::to_string(OH) + " x " + std::to_string(OW) + " output plane of " +
                     std::to_string(y_plane) + " elements");
  }
};

}  // namespace

std::vector<TensorId> CpuBackend::max_pool2d(Program& program, TensorId x, const Pool2dShape& s,
                                             bool with_indices) const {
  if (!with_indices) return {append_max_pool2d(program, "blocked", x, s)};
  x = program.in_layout(x, Layout::plain);
  const TensorSpec y = plain_spec(s.y_dims()), indices = plain_spec(s.y_dims(), DType::int64);
  MaxPool2dArgs args = max_pool2d_args(s);
  args.rows = cut(s.N * s.C * s.OH, static_cast<double>(s.OW) * s.KH * s.KW);
  const auto bind = [](const Operand* inputs, const Operand* outputs, float*) {
    return MaxPool2dIndicesOperands{inputs[0].floats(), outputs[0].floats(), outputs[1].indices()};
  };
  auto plan = make_plan("indices", args, Nothing{}, kernels().max_pool2d_indices, bind, tasks_of(args.rows));
  plan->bytes = payload(program.spec(x)) + payload(y) + payload(indices);
  plan->flops = payload(y) / 4 * s.KH * s.KW;
  return program.append(std::move(plan), {x}, {y, indices});
}

TensorId CpuBackend::global_max_pool2d(Program& program, TensorId x) const {
  const Dims dims = program.spec(x).dims;
  const Dims y = adaptive_pool2d_dims(dims, {1, 1});
  const Pool2dShape s{dims[0], dims[1], dims[2], dims[3], y[2], y[3], dims[2], dims[3], 1, 1, 1, 1, 0, 0, 0, 0};
  return append_max_pool2d(program, "global", x, s);
}

TensorId CpuBackend::avg_pool2d(Program& program, TensorId x, const AveragingWindows& windows) const {
  const Dims dims = program.spec(x).dims;
  const int64_t OH = static_cast<int64_t>(windows.begin_h.size()), OW = static_cast<int64_t>(windows.begin_w.size());
  const Dims y_dims = adaptive_pool2d_dims(dims, {OH, OW});
  AveragingWindows owned = windows;
  AvgPool2dArgs args{};
  args.IH = dims[2], args.IW = dims[3], args.OH = OH, args.OW = OW;
  args.begin_h = owned.begin_h.data(), args.end_h = owned.end_h.data(), args.count_h = owned.count_h.data();
  args.begin_w = owned.begin_w.data(), args.end_w = owned.end_w.data(), args.count_w = owned.count_w.data();
  args.divisor_override = owned.divisor_override;
  int64_t window_rows = 0, window_columns = 0;  // summed over all windows
  for (int64_t oh = 0; oh < OH; ++oh) window_rows += owned.end_h[oh] - owned.begin_h[oh];
  for (int64_t ow = 0; ow < OW; ++ow) window_columns += owned.end_w[ow] - owned.begin_w[ow];
  const double flops = 1.0 * dims[0] * dims[1] * window_rows * window_columns;
  const auto rows_under = [&](int64_t rows) {
    int64_t most = 0;
    for (int64_t oh = 0; oh < OH; oh += rows) {
      const int64_t last = std::min(oh + rows, OH);
      const int64_t begin = *std::min_element(&owned.begin_h[oh], owned.begin_h.data() + last);
      most = std::max(most, *std::max_element(&owned.end_h[oh], owned.end_h.data() + last) - begin);
    }
    return most;
  };
  if (pools_plain(program, x, plain_spec(y_dims), rows_under(1) * args.IW * channel_block)) {
    args.columns = columns_of(owned, args.IW);
    if (args.columns.taps > 0) {
      args.rows = cut(dims[0] * dims[1] * OH, row_floats(window_rows / OH, args.IW, OW));
      const auto counts = static_cast<size_t>(ceil_div(OW, kernels().lanes) * kernels().lanes);
      return append_map(program, "rows", args, std::move(owned), kernels().avg_pool2d_rows, args.rows, x,
                        plain_spec(y_dims), static_cast<size_t>(args.columns.rows * args.columns.floats) + counts,
                        flops);
    }
    const size_t scratch = cut_into_bands(args, dims, rows_under);
    return append_map(program, "bands", args, std::move(owned), kernels().avg_pool2d_bands, args.bands.units, x,
                      plain_spec(y_dims), scratch, flops);
  }
  x = program.in_layout(x, Layout::blocked);
  const TensorSpec from = program.spec(x);
  TensorSpec y = blocked_spec(y_dims);
  args.blocks = from.blocks();
  args.x_plane_stride = from.plane_stride;
  args.y_plane_stride = y.plane_stride;
  args.rows =
      cut(dims[0] * args.blocks * OH, row_floats(window_rows / std::max<int64_t>(OH, 1), args.IW, OW) * channel_block);
  const char* algorithm = OH * OW == 1 ? "global" : "blocked";
  return append_map(program, algorithm, args, std::move(owned), kernels().avg_pool2d, args.rows, x, std::move(y),
                    static_cast<size_t>(args.IW * channel_block), flops);
}

TensorId CpuBackend::max_unpool2d(Program& program, TensorId x, TensorId indices, const Dims& y_dims) const {
  x = program.in_layout(x, Layout::plain);
  const Dims dims = program.spec(x).dims;
  const TensorSpec y = plain_spec(y_dims);
  auto plan = std::make_unique<MaxUnpool2dPlan>();
  plan->algorithm = "scatter";
  plan->C = dims[1], plan->IH = dims[2], plan->IW = dims[3];
  plan->OH = y_dims[2], plan->OW = y_dims[3];
  plan->planes = cut(dims[0] * dims[1], 3.0 * plan->IH * plan->IW + plan->OH * plan->OW);  // an index is two floats
  plan->bytes = 3 * payload(program.spec(x)) + payload(y);
  return program.append(std::move(plan), {x, indices}, {y})[0];
}

}  // namespace tesela::cpu
