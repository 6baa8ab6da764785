// Planning of pad and upsample.

#include "planning.h"

namespace tesela::cpu {

TensorId CpuBackend::resample2d(Program& program, TensorId x, const Resampling& resampling) const {
  x = program.in_layout(x, Layout::blocked);
  const TensorSpec from = program.spec(x);
  const int64_t OH = static_cast<int64_t>(resampling.low_h.size()), OW = static_cast<int64_t>(resampling.low_w.size());
  TensorSpec y = blocked_spec({from.dims[0], from.dims[1], OH, OW});
  Resampling owned = resampling;
  Resample2dArgs args{};
  args.IW = from.dims[3], args.OH = OH, args.OW = OW;
  args.low_h = owned.low_h.data(), args.low_w = owned.low_w.data();
  args.constant = owned.constant;
  args.blocks = from.blocks();
  args.x_plane_stride = from.plane_stride;
  args.y_plane_stride = y.plane_stride;
  args.last_block_lanes = cpu::last_block_lanes(from);
  args.rows = cut(from.dims[0] * args.blocks * OH, (args.IW + OW) * channel_block);
  if (owned.weight_h.empty() && owned.weight_w.empty()) {
    return append_map(program, "copy", args, std::move(owned), kernels().resample2d_copy, args.rows, x, std::move(y));
  }
  args.high_h = owned.high_h.data(), args.high_w = owned.high_w.data();
  args.weight_h = owned.weight_h.data(), args.weight_w = owned.weight_w.data();
  const double flops = payload(y) / 4 * 6;  // two interpolations of three operations
  return append_map(program, "bilinear", args, std::move(owned), kernels().resample2d_bilinear, args.rows, x,
                    std::move(y), static_cast<size_t>(args.IW * channel_block), flops);
}

}  // namespace tesela::cpu
