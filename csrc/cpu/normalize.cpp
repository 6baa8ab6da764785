// Planning of local_response_norm, softmax and log_softmax.

#include "planning.h"

namespace tesela::cpu {

TensorId CpuBackend::local_response_norm(Program& program, TensorId x, int64_t before, int64_t after, float alpha,
                                         float beta, float k) const {
  x = program.in_layout(x, Layout::blocked);
  const TensorSpec from = program.spec(x);
  TensorSpec y = blocked_spec(from.dims);
  const int64_t channels = std::max<int64_t>(from.dims[1], 1);
  LocalResponseNormArgs args{};
  args.pixels = from.dims[2] * from.dims[3];
  args.before = std::min(before, channels - 1);  // beyond, there are no channels
  args.after = std::min(after, channels - 1);
  args.scale = alpha / static_cast<float>(before + 1 + after);
  args.beta = beta;
  args.k = k;
  args.blocks = from.blocks();
  args.x_plane_stride = from.plane_stride;
  args.y_plane_stride = y.plane_stride;
  args.last_block_lanes = cpu::last_block_lanes(from);
  args.pitch = args.before + args.blocks * channel_block + args.after;
  args.tile = std::clamp<int64_t>(4096 / std::max<int64_t>(args.pitch, 1), 1, 16);  // 16 KB of squares stay in L1
  const int64_t tiles = from.dims[0] * ((args.pixels + args.tile - 1) / args.tile);
  args.tiles = cut(tiles, 2 * args.tile * args.blocks * channel_block);
  const double flops = payload(y) / 4 * static_cast<double>(before + 1 + after) * 2;
  return append_map(program, "across channels", args, Nothing{}, kernels().local_response_norm, args.tiles, x,
                    std::move(y), static_cast<size_t>(args.tile * args.pitch), flops);
}

TensorId CpuBackend::softmax(Program& program, TensorId x, int64_t dim, bool log) const {
  x = program.in_layout(x, Layout::plain);
  const Dims dims = program.spec(x).dims;
  dim = normalized_dim("softmax", dim, static_cast<int64_t>(dims.size()));
  int64_t outer = 1, inner = 1;
  for (int64_t d = 0; d < dim; ++d) outer *= dims[d];
  for (size_t d = dim + 1; d < dims.size(); ++d) inner *= dims[d];
  SoftmaxArgs args{};
  args.size = dims[dim];
  args.inner = inner;
  args.log = log;
  if (inner == 1) {
    args.units = cut(args.size > 0 ? outer : 0, 2.0 * args.size);
    return append_map(program, "rows", args, Nothing{}, kernels().softmax_rows, args.units, x, plain_spec(dims));
  }
  args.columns = SoftmaxArgs::max_columns;
  const int64_t strips = (inner + args.columns - 1) / args.columns;
  args.units = cut(args.size > 0 ? outer * strips : 0, 2.0 * args.size * std::min(inner, args.columns));
  return append_map(program, "columns", args, Nothing{}, kernels().softmax_columns, args.units, x, plain_spec(dims));
}

}  // namespace tesela::cpu
