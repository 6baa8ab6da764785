// concat, copy and pixel_shuffle.
//
//   concat         rows of each part, found in rows of the whole at the part's offset
//   pixel_shuffle  y[n, c, h*r + i, w*r + j] = x[n, c*r*r + i*r + j, h, w]
//
// One thread per element; concat launches once for each part. Elements are copied as 4-byte words, int64 as two.
// Limits: any sizes. Not measured on a GPU yet.

#include "backend.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct CopyArgs {
  int64_t words, x_row, y_row, y_offset;  // all in words
};

__global__ void __launch_bounds__(block_threads) copy_rows_kernel(CopyArgs s, const uint32_t* x, uint32_t* y) {
  for (int64_t item = first_item(); item < s.words; item += item_stride()) {
    y[item / s.x_row * s.y_row + s.y_offset + item % s.x_row] = x[item];
  }
}

struct PixelShuffleArgs {
  int64_t elements, H, W, factor;  // H and W of x
};

__global__ void __launch_bounds__(block_threads) pixel_shuffle_kernel(PixelShuffleArgs s,
                                                                      const float* x,  // (N, C*r*r, H, W)
                                                                      float* y) {      // (N, C, H*r, W*r)
  const int64_t r = s.factor, OW = s.W * r, OH = s.H * r;
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t ow = item % OW, oh = item / OW % OH, plane = item / OW / OH;
    y[item] = x[(((plane * r + oh % r) * r + ow % r) * s.H + oh / r) * s.W + ow / r];
  }
}

TensorId append_copy(Program& program, const char* algorithm, const std::vector<TensorId>& inputs, TensorSpec y,
                     int64_t rows) {
  if (bytes_of(y.dtype) < 4) {
    throw DeviceError(std::string(algorithm) + " of " + name_of(y.dtype) + " is not there on the GPU yet");
  }
  std::vector<CopyArgs> parts;
  int64_t y_row = 0;
  for (TensorId id : inputs) {
    const auto words = static_cast<int64_t>(program.spec(id).bytes() / sizeof(uint32_t));
    const int64_t row = rows > 0 ? words / rows : 0;
    parts.push_back({words, row, 0, y_row});
    y_row += row;
  }
  for (CopyArgs& part : parts) part.y_row = y_row;
  auto run = [parts = std::move(parts)](const Operand* in, const Operand* out, void* stream) {
    for (size_t i = 0; i < parts.size(); ++i) {
      launch(copy_rows_kernel, grid_over(parts[i].words), stream, parts[i], static_cast<const uint32_t*>(in[i].data),
             static_cast<uint32_t*>(out[0].data));
    }
  };
  return append(program, algorithm, inputs, {std::move(y)}, 0, 0, std::move(run))[0];
}

}  // namespace

TensorId DeviceBackend::concat(Program& program, const std::vector<TensorId>& parts, int64_t dim) const {
  std::vector<Dims> dims;
  for (TensorId id : parts) dims.push_back(program.spec(id).dims);
  const Dims whole = concat_dims(dims, dim);
  int64_t rows = 1;
  for (int64_t d = 0; d < dim; ++d) rows *= whole[d];
  return append_copy(program, "concat", parts, plain_spec(whole, program.spec(parts[0]).dtype), rows);
}

TensorId DeviceBackend::copy(Program& program, TensorId x) const {
  return append_copy(program, "copy", {x}, program.spec(x), 1);
}

TensorId DeviceBackend::pixel_shuffle(Program& program, TensorId x, int64_t factor) const {
  const Dims dims = program.spec(x).dims;
  const TensorSpec y = plain_spec(pixel_shuffle_dims(dims, factor));
  const PixelShuffleArgs args{y.elements(), dims[2], dims[3], factor};
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    launch(pixel_shuffle_kernel, grid_over(args.elements), stream, args, in[0].floats(), out[0].floats());
  };
  return append(program, "gather", {x}, {y}, 0, 0, run)[0];
}

TensorId DeviceBackend::convert(Program&, TensorId, Layout) const {
  throw std::logic_error("CUDA: tensors have the plain layout only");
}

}  // namespace tesela::TESELA_DEVICE
