// max_pool2d, global_max_pool2d, avg_pool2d and max_unpool2d.
//
//   y[n, c, oh, ow] = max over kh, kw of x[n, c, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW]; taps outside x do not exist
//   y[n, c, oh, ow] = sum of x[n, c, begin_h[oh] : end_h[oh], begin_w[ow] : end_w[ow]] / count
//   y[n, c].flat[indices[n, c, i]] = x[n, c, i], the last of equal indices, 0 elsewhere
//
// Pooling: one thread per output, or a warp where windows are large (global pooling): its lanes share the window and
// combine by shuffles. A sum goes row by row, so that its error grows with H + W, not H * W. A NaN wins a maximum; a
// window that holds only padding gives -inf, or 0 when averaging.
// max_unpool2d: the winner of each output is found first, by an atomic maximum over positions, then copied; so the
// result does not depend on the order of threads. It waits for the stream, to report an index outside its plane.
// Limits: any sizes. Not measured on a GPU yet.

#include "nhwc.h"
#include "reduce.cuh"
#include "windows.h"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int64_t large_window = 64;  // two elements for each lane of a warp

// ---------------------------------------------------------------------------------------------------------- kernels

// indices: null, or int64 like y: ih * IW + iw of the first of equals, the last of NaNs, -1 for none. One lane only.
template <int lanes>
__global__ void __launch_bounds__(block_threads) max_pool2d_kernel(Pool2dShape s,
                                                                   const float* x,      // (N, C, IH, IW)
                                                                   float* y,            // (N, C, OH, OW)
                                                                   int64_t* indices) {  // (N, C, OH, OW) or null
  wait_for_earlier_kernel();
  const Share<lanes> my = share<lanes>();
  for (int64_t item = my.first; item < s.N * s.C * s.OH * s.OW; item += my.stride) {
    const float* plane = x + item / s.OW / s.OH * s.IH * s.IW;
    const int64_t ih = item / s.OW % s.OH * s.SH - s.PT, iw = item % s.OW * s.SW - s.PL;
    const Taps<int64_t> kh = taps_inside(ih, s.KH, s.DH, s.IH), kw = taps_inside(iw, s.KW, s.DW, s.IW);
    float best = -INFINITY;
    int64_t best_at = -1;
    for (int64_t h = kh.begin; h < kh.end; ++h) {
      for (int64_t w = kw.begin + my.lane; w < kw.end; w += lanes) {
        const int64_t here = (ih + h * s.DH) * s.IW + iw + w * s.DW;
        const float value = plane[here];
        if (value > best || value != value || best_at < 0) best = value, best_at = here;
      }
    }
    best = max_over_lanes<lanes>(best);
    if (my.lane == 0) y[item] = best;
    if (indices) indices[item] = best_at;
  }
}

struct AvgPool2dArgs {
  int64_t planes, IH, IW, OH, OW, divisor_override;
  const int64_t *begin_h, *end_h, *count_h, *begin_w, *end_w, *count_w;  // (OH) and (OW), on the device
};

template <int lanes>
__global__ void __launch_bounds__(block_threads) avg_pool2d_kernel(AvgPool2dArgs s,
                                                                   const float* x,  // (N, C, IH, IW)
                                                                   float* y) {      // (N, C, OH, OW)
  wait_for_earlier_kernel();
  const Share<lanes> my = share<lanes>();
  for (int64_t item = my.first; item < s.planes * s.OH * s.OW; item += my.stride) {
    const float* plane = x + item / s.OW / s.OH * s.IH * s.IW;
    const int64_t oh = item / s.OW % s.OH, ow = item % s.OW;
    float sum = 0.0f;
    for (int64_t h = s.begin_h[oh]; h < s.end_h[oh]; ++h) {
      float row = 0.0f;
      for (int64_t w = s.begin_w[ow] + my.lane; w < s.end_w[ow]; w += lanes) row += plane[h * s.IW + w];
      sum += row;
    }
    sum = sum_over_lanes<lanes>(sum);
    const int64_t count = s.divisor_override > 0 ? s.divisor_override : s.count_h[oh] * s.count_w[ow];
    if (my.lane == 0) y[item] = sum / static_cast<float>(count > 0 ? count : 1);
  }
}

struct UnpoolArgs {
  int64_t planes, x_plane, y_plane;  // counts of elements
};

// winners[plane][index] = 1 + the last i with that index; first_bad = the first place whose index is outside.
__global__ void __launch_bounds__(block_threads)
    max_unpool2d_winner_kernel(UnpoolArgs s, const int64_t* indices, unsigned long long* winners,
                               unsigned long long* first_bad) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.planes * s.x_plane; item += item_stride()) {
    const int64_t index = indices[item], plane = item / s.x_plane;
    if (index < 0 || index >= s.y_plane) {
      atomicMin(first_bad, static_cast<unsigned long long>(item));
    } else {
      atomicMax(winners + plane * s.y_plane + index, static_cast<unsigned long long>(item % s.x_plane + 1));
    }
  }
}

__global__ void __launch_bounds__(block_threads)
    max_unpool2d_copy_kernel(UnpoolArgs s, const float* x, const unsigned long long* winners, float* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.planes * s.y_plane; item += item_stride()) {
    const auto winner = static_cast<int64_t>(winners[item]);
    y[item] = winner > 0 ? x[item / s.y_plane * s.x_plane + winner - 1] : 0.0f;
  }
}

// --------------------------------------------------------------------------------------------------------- planning

TensorId append_max_pool2d(Program& program, const char* algorithm, TensorId x, const Pool2dShape& s) {
  if (is_channels_last(program, x) && pool2d_fits_nhwc(s)) return append_max_pool2d_nhwc(program, algorithm, x, s);
  x = program.in_layout(x, Layout::plain);
  const int64_t outputs = s.N * s.C * s.OH * s.OW;
  const bool by_warps = s.KH * s.KW >= large_window;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(by_warps ? max_pool2d_kernel<warp_lanes> : max_pool2d_kernel<1>,
           by_warps ? grid_of_shares<warp_lanes>(outputs) : grid_of_shares<1>(outputs), stream, s, in[0].floats(),
           out[0].floats(), nullptr);
  };
  return append(program, algorithm, {x}, {plain_spec(s.y_dims())}, 0, static_cast<double>(outputs) * s.KH * s.KW,
                run)[0];
}

}  // namespace

std::vector<TensorId> DeviceBackend::max_pool2d(Program& program, TensorId x, const Pool2dShape& s,
                                                bool with_indices) const {
  if (!with_indices) return {append_max_pool2d(program, "windows", x, s)};
  x = program.in_layout(x, Layout::plain);
  const int64_t outputs = s.N * s.C * s.OH * s.OW;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(max_pool2d_kernel<1>, grid_over(outputs), stream, s, in[0].floats(), out[0].floats(), out[1].indices());
  };
  return append(program, "indices", {x}, {plain_spec(s.y_dims()), plain_spec(s.y_dims(), DType::int64)}, 0,
                static_cast<double>(outputs) * s.KH * s.KW, run);
}

TensorId DeviceBackend::global_max_pool2d(Program& program, TensorId x) const {
  const Dims dims = program.spec(x).dims;
  const Dims y = adaptive_pool2d_dims(dims, {1, 1});
  const Pool2dShape s{dims[0], dims[1], dims[2], dims[3], y[2], y[3], dims[2], dims[3], 1, 1, 1, 1, 0, 0, 0, 0};
  return append_max_pool2d(program, "global", x, s);
}

TensorId DeviceBackend::avg_pool2d(Program& program, TensorId x, const AveragingWindows& windows) const {
  const Dims dims = program.spec(x).dims;
  const auto OH = static_cast<int64_t>(windows.begin_h.size()), OW = static_cast<int64_t>(windows.begin_w.size());
  const TensorSpec y = plain_spec(adaptive_pool2d_dims(dims, {OH, OW}));
  double rows = 0, columns = 0;  // summed over all windows
  for (int64_t oh = 0; oh < OH; ++oh) rows += static_cast<double>(windows.end_h[oh] - windows.begin_h[oh]);
  for (int64_t ow = 0; ow < OW; ++ow) columns += static_cast<double>(windows.end_w[ow] - windows.begin_w[ow]);
  const double window = rows * columns / (static_cast<double>(OH) * static_cast<double>(OW));
  const bool by_warps = window >= large_window;

  std::vector<int64_t> bounds;  // one after another, in one buffer
  for (const auto* list :
       {&windows.begin_h, &windows.end_h, &windows.count_h, &windows.begin_w, &windows.end_w, &windows.count_w}) {
    bounds.insert(bounds.end(), list->begin(), list->end());
  }
  DeviceBuffer buffer = DeviceBuffer::of(bounds);
  const char* algorithm = OH * OW == 1 ? "global" : "windows";
  if (is_channels_last(program, x) && dims[2] * dims[3] < int64_t{1} << 31) {
    return append_avg_pool2d_nhwc(program, algorithm, x, y.dims, windows.divisor_override, std::move(buffer), window);
  }
  x = program.in_layout(x, Layout::plain);
  const int64_t *h = buffer.indices(), *w = h + 3 * OH;
  const AvgPool2dArgs args{dims[0] * dims[1], dims[2], dims[3], OH,        OW, windows.divisor_override, h, h + OH,
                           h + 2 * OH,        w,       w + OW,  w + 2 * OW};
  const int64_t outputs = args.planes * OH * OW;
  auto run = [=, buffer = std::move(buffer)](const Operand* in, const Operand* out, void* stream) {
    launch(by_warps ? avg_pool2d_kernel<warp_lanes> : avg_pool2d_kernel<1>,
           by_warps ? grid_of_shares<warp_lanes>(outputs) : grid_of_shares<1>(outputs), stream, args, in[0].floats(),
           out[0].floats());
  };
  return append(program, algorithm, {x}, {y}, 0, static_cast<double>(outputs) * window, std::move(run))[0];
}

TensorId DeviceBackend::max_unpool2d(Program& program, TensorId x, TensorId indices, const Dims& y) const {
  x = program.in_layout(x, Layout::plain);
  const Dims dims = program.spec(x).dims;
  const UnpoolArgs args{dims[0] * dims[1], dims[2] * dims[3], y[2] * y[3]};
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    // int64 tensors in the arena; as positions are not negative, their bits are those of unsigned ones.
    auto* winners = reinterpret_cast<unsigned long long*>(out[1].indices());
    auto* first_bad = reinterpret_cast<unsigned long long*>(out[2].indices());
    clear(first_bad, 0xff, sizeof *first_bad, stream);
    clear(winners, 0, static_cast<size_t>(args.planes * args.y_plane) * sizeof *winners, stream);
    launch(max_unpool2d_winner_kernel, grid_over(args.planes * args.x_plane), stream, args, in[1].indices(), winners,
           first_bad);
    launch(max_unpool2d_copy_kernel, grid_over(args.planes * args.y_plane), stream, args, in[0].floats(), winners,
           out[0].floats());
  };
  const auto noted = [=, this](const Operand* in, const Operand* out, void* stream) {
    int64_t bad = 0, index = 0;
    download(&bad, out[2].data, sizeof bad, stream);
    wait(stream);
    if (bad < 0) return;
    download(&index, in[1].indices() + bad, sizeof index, stream);
    wait(stream);
    const int64_t plane = bad / args.x_plane, pixel = bad % args.x_plane;
    throw ShapeError("max_unpool2d: index " + std::to_string(index) + " at (n, c, h, w) = " +
                     to_string({plane / dims[1], plane % dims[1], pixel / dims[3], pixel % dims[3]}) +
                     " is outside the " + std::to_string(y[2]) + " x " + std::to_string(y[3]) + " output plane of " +
                     std::to_string(args.y_plane) + " elements");
  };
  return append(program, "scatter", {x, indices},
                {plain_spec(y), plain_spec(y, DType::int64), plain_spec({1}, DType::int64)}, 0, 0, run, noted)[0];
}

}  // namespace tesela::TESELA_DEVICE
