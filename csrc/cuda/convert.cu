// Between plain tensors (float32, NCHW) and channels_last ones of the program's format: a transposition of the matrix
// (C, H*W) of each image, and a rounding.
//
// A block takes a tile of channels x pixels through shared memory: neighbouring threads meet neighbouring pixels in the
// plain tensor and neighbouring channels, 16 bytes each, in the other. A row of the tile is one float longer than its
// pixels, so that the channels of a pixel lie in different banks. 8 channels x 256 pixels for images, 32 x 64
// otherwise: a pixel's channels are then 64 or 128 bytes in one piece.
// Limits: any sizes. Not measured on a GPU yet.

#include "backend.h"
#include "divisor.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int tile_elements = 2048;

template <int channels>
struct ConvertTile {
  static constexpr int pixels = tile_elements / channels;
  float at[channels][pixels + 1];
};

struct ConvertArgs {
  int64_t C, lanes, pixels;
  int64_t channel_tiles, pixel_tiles, tiles;
  Divisor by_channel_tiles, by_pixel_tiles;
};

template <class T, int channels, bool to_plain>
__global__ void __launch_bounds__(block_threads)
    convert_kernel(ConvertArgs s, float* plain, T* last, int64_t image_stride, int64_t pixel_stride) {
  wait_for_earlier_kernel();
  using Tile = ConvertTile<channels>;
  constexpr int vectors = channels / vector_lanes<T>;
  Tile& tile = shared_memory<Tile>();
  for (int64_t item = blockIdx.x; item < s.tiles; item += gridDim.x) {
    const int64_t rest = s.by_channel_tiles.quotient(item), n = s.by_pixel_tiles.quotient(rest);
    const int64_t c0 = (item - rest * s.channel_tiles) * channels, p0 = (rest - n * s.pixel_tiles) * Tile::pixels;
    float* from = plain + (n * s.C + c0) * s.pixels + p0;
    T* to = last + n * image_stride + p0 * pixel_stride + c0;
    const int64_t rows = s.C - c0, columns = s.pixels - p0;
    if (!to_plain) {
      for (int e = static_cast<int>(threadIdx.x); e < tile_elements; e += block_threads) {
        const int c = e / Tile::pixels, p = e % Tile::pixels;
        tile.at[c][p] = c < rows && p < columns ? from[c * s.pixels + p] : 0.0f;
      }
      __syncthreads();
    }
    for (int e = static_cast<int>(threadIdx.x); e < vectors * Tile::pixels; e += block_threads) {
      const int c = e % vectors * vector_lanes<T>, p = e / vectors;
      if (p >= columns || c0 + c >= s.lanes) continue;
      if (to_plain) {
        const Lanes<T> x = load_lanes(to + p * pixel_stride + c);
        TESELA_UNROLL
        for (int i = 0; i < vector_lanes<T>; ++i) tile.at[c + i][p] = x.lane[i];
      } else {
        Lanes<T> y;
        TESELA_UNROLL
        for (int i = 0; i < vector_lanes<T>; ++i) y.lane[i] = tile.at[c + i][p];
        store_lanes(to + p * pixel_stride + c, y);
      }
    }
    __syncthreads();
    if (to_plain) {
      for (int e = static_cast<int>(threadIdx.x); e < tile_elements; e += block_threads) {
        const int c = e / Tile::pixels, p = e % Tile::pixels;
        if (c < rows && p < columns) from[c * s.pixels + p] = tile.at[c][p];
      }
      __syncthreads();
    }
  }
}

template <class T, int channels>
TensorId append_convert(Program& program, TensorId x, bool to_plain) {
  const TensorSpec from = program.spec(x);
  TensorSpec y = to_plain ? plain_spec(from.dims) : channels_last_spec(from.dims, storage_of(program.precision()));
  const int64_t pixels = from.dims.size() == 2 ? 1 : from.dims[2] * from.dims[3];
  ConvertArgs args{from.dims[1], (to_plain ? from : y).lanes(), pixels, 0, 0, 0, {}, {}};
  args.channel_tiles = ceil_div(args.lanes, channels);
  args.pixel_tiles = ceil_div(args.pixels, ConvertTile<channels>::pixels);
  args.tiles = from.dims[0] * args.channel_tiles * args.pixel_tiles;
  args.by_channel_tiles = Divisor(args.channel_tiles);
  args.by_pixel_tiles = Divisor(args.pixel_tiles);
  const Grid grid{args.tiles, block_threads, sizeof(ConvertTile<channels>)};
  auto* kernel = to_plain ? convert_kernel<T, channels, true> : convert_kernel<T, channels, false>;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    const Operand &plain = to_plain ? out[0] : in[0], &last = to_plain ? in[0] : out[0];
    launch(kernel, grid, stream, args, plain.floats(), last.as<T>(), last.image_stride, last.pixel_stride);
  };
  return append(program, to_plain ? "to plain" : "to channels last", {x}, {std::move(y)}, 0, 0, run)[0];
}

}  // namespace

TensorId DeviceBackend::convert(Program& program, TensorId x, Layout layout) const {
  const bool to_plain = layout == Layout::plain;
  const size_t rank = program.spec(x).dims.size();
  if ((rank != 4 && !(rank == 2 && to_plain)) || (!to_plain && program.spec(x).dtype != DType::float32)) {
    throw std::logic_error("convert: expected a float32 tensor (N, C, H, W), or rows with channels last");
  }
  const DType dtype = to_plain ? program.spec(x).dtype : storage_of(program.precision());
  return with_stored_type(dtype, [&](auto stored) {
    using T = decltype(stored);
    return program.spec(x).dims[1] <= channel_octet ? append_convert<T, 8>(program, x, to_plain)
                                                    : append_convert<T, 32>(program, x, to_plain);
  });
}

}  // namespace tesela::TESELA_DEVICE
