// concat, copy and pixel_shuffle.
//
//   concat         rows of each part, found in rows of the whole at the part's offset
//   pixel_shuffle  y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w]
//
// One thread per element; concat launches once for each part. Elements are copied as words of their size.
// Limits: any sizes. Not measured on a GPU yet.

#include "nhwc.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct CopyArgs {
  int64_t elements, x_row, y_row, y_offset;  // all in elements
};

template <class Word>
__global__ void __launch_bounds__(block_threads) copy_rows_kernel(CopyArgs s, const void* x, void* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    static_cast<Word*>(y)[item / s.x_row * s.y_row + s.y_offset + item % s.x_row] = static_cast<const Word*>(x)[item];
  }
}

struct PixelShuffleArgs {
  int64_t elements, H, W, factor;  // H and W of x
};

__global__ void __launch_bounds__(block_threads) pixel_shuffle_kernel(PixelShuffleArgs s,
                                                                      const float* x,  // (N, C*r*r, H, W)
                                                                      float* y) {      // (N, C, H*r, W*r)
  wait_for_earlier_kernel();
  const int64_t r = s.factor, OW = s.W * r, OH = s.H * r;
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t ow = item % OW, oh = item / OW % OH, plane = item / OW / OH;
    y[item] = x[(((plane * r + oh % r) * r + ow % r) * s.H + oh / r) * s.W + ow / r];
  }
}

TensorId append_copy(Program& program, const char* algorithm, const std::vector<TensorId>& inputs, TensorSpec y,
                     int64_t rows) {
  const size_t bytes = bytes_of(y.dtype);
  auto* kernel = bytes == 1   ? copy_rows_kernel<uint8_t>
                 : bytes == 4 ? copy_rows_kernel<uint32_t>
                              : copy_rows_kernel<uint64_t>;
  std::vector<CopyArgs> parts;
  int64_t y_row = 0;
  for (TensorId id : inputs) {
    const int64_t elements = program.spec(id).elements(), row = rows > 0 ? elements / rows : 0;
    parts.push_back({elements, row, 0, y_row});
    y_row += row;
  }
  for (CopyArgs& part : parts) part.y_row = y_row;
  auto run = [kernel, parts = std::move(parts)](const Operand* in, const Operand* out, void* stream) {
    for (size_t i = 0; i < parts.size(); ++i) {
      launch(kernel, grid_over(parts[i].elements), stream, parts[i], in[i].data, out[0].data);
    }
  };
  return append(program, algorithm, inputs, {std::move(y)}, 0, 0, std::move(run))[0];
}

}  // namespace

TensorId DeviceBackend::concat(Program& program, const std::vector<TensorId>& given, int64_t dim) const {
  std::vector<Dims> dims;
  for (TensorId id : given) dims.push_back(program.spec(id).dims);
  const Dims whole = concat_dims(dims, dim);
  if (dim == 1 && std::any_of(given.begin(), given.end(), [&](TensorId id) { return is_channels_last(program, id); })) {
    std::vector<TensorId> parts = given;
    for (TensorId& id : parts) id = program.in_layout(id, Layout::channels_last);
    return append_concat_nhwc(program, parts, whole);
  }
  const std::vector<TensorId> parts = all_plain(program, given);
  int64_t rows = 1;
  for (int64_t d = 0; d < dim; ++d) rows *= whole[d];
  return append_copy(program, "concat", parts, plain_spec(whole, program.spec(parts[0]).dtype), rows);
}

TensorId DeviceBackend::copy(Program& program, TensorId x) const {
  x = program.in_layout(x, Layout::plain);
  return append_copy(program, "copy", {x}, program.spec(x), 1);
}

TensorId DeviceBackend::pixel_shuffle(Program& program, TensorId x, int64_t factor) const {
  if (is_channels_last(program, x)) return append_pixel_shuffle_nhwc(program, x, factor);
  const Dims dims = program.spec(x).dims;
  const TensorSpec y = plain_spec(pixel_shuffle_dims(dims, factor));
  const PixelShuffleArgs args{y.elements(), dims[2], dims[3], factor};
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(pixel_shuffle_kernel, grid_over(args.elements), stream, args, in[0].floats(), out[0].floats());
  };
  return append(program, "gather", {x}, {y}, 0, 0, run)[0];
}

}  // namespace tesela::TESELA_DEVICE
