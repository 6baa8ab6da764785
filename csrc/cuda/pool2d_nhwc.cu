// max_pool2d, global_max_pool2d and avg_pool2d on channels_last tensors.
//
//   y[n, oh, ow, c] = max over kh, kw of x[n, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW, c]; taps outside x do not exist
//   y[n, oh, ow, c] = sum of x[n, begin_h[oh] : end_h[oh], begin_w[ow] : end_w[ow], c] / count
//
// One thread has 16 bytes of channels of one output; the windows of neighbours overlap in cache, so that memory is read
// once. Large windows (global pooling) are shared by 32 threads for each vector, 8 vectors a block, who combine through
// shared memory in a fixed order. A NaN wins a maximum; a window that holds only padding gives -inf, or 0 for a mean.
// Limits: planes and padded coordinates below 2^31; indices of maxima stay with the plain kernel. Not measured on a GPU
// yet.

#include "nhwc.h"
#include "pixels.h"
#include "vectors.cuh"
#include "windows.h"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int64_t large_window = 48;  // elements: 7 x 7 is worth a block
constexpr int vectors_of_block = 8, parts = block_threads / vectors_of_block;

struct MaxWindows {
  int IH, IW, KH, KW, SH, SW, DH, DW, PT, PL;
  static constexpr float start = -INFINITY;
  __device__ Range rows(int oh) const { return range_inside(oh * SH - PT, KH, DH, IH); }
  __device__ Range columns(int ow) const { return range_inside(ow * SW - PL, KW, DW, IW); }
  __device__ static float combined(float a, float b) { return max_propagating(a, b); }
  __device__ float result(float value, int, int) const { return value; }
};

struct AvgWindows {
  int IW;
  int64_t divisor_override;
  const int64_t *begin_h, *end_h, *count_h, *begin_w, *end_w, *count_w;  // (OH) and (OW), on the device
  static constexpr float start = 0.0f;
  __device__ static Range between(int64_t begin, int64_t end) {
    return {static_cast<int>(begin), static_cast<int>(end - begin), 1};
  }
  __device__ Range rows(int oh) const { return between(begin_h[oh], end_h[oh]); }
  __device__ Range columns(int ow) const { return between(begin_w[ow], end_w[ow]); }
  __device__ static float combined(float a, float b) { return a + b; }
  __device__ float result(float sum, int oh, int ow) const {
    const int64_t count = divisor_override > 0 ? divisor_override : count_h[oh] * count_w[ow];
    return sum / static_cast<float>(count > 0 ? count : 1);
  }
};

struct PoolArgs {
  PixelVectors vectors;  // of y
  Strides x, y;
};

struct Place {  // of a pixel of y
  int oh, ow;
};
__device__ Place place_of(const PoolArgs& s, const PixelVector& at) {
  const int64_t oh = s.vectors.row(at.pixel);
  return {static_cast<int>(oh), static_cast<int>(at.pixel - oh * s.vectors.width)};
}

template <class T, class Windows>
__device__ void combine(Lanes<T>& into, const Lanes<T>& other) {
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) into.lane[i] = Windows::combined(into.lane[i], other.lane[i]);
}

template <class T, class Windows>
__device__ void store_result(const PoolArgs& s, const Windows& windows, T* y, const PixelVector& at, Lanes<T> value) {
  const Place place = place_of(s, at);
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) value.lane[i] = windows.result(value.lane[i], place.oh, place.ow);
  store_channels(y + at.image * s.y.image + at.pixel * s.y.pixel, at.channel, s.vectors.C, value);
}

template <class T, class Windows>
__global__ void __launch_bounds__(block_threads)
    pool2d_nhwc_kernel(const __grid_constant__ PoolArgs s, const __grid_constant__ Windows windows, const T* x, T* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.vectors.count; item += item_stride()) {
    const PixelVector at = s.vectors.at(item);
    const Place place = place_of(s, at);
    const Range rows = windows.rows(place.oh), columns = windows.columns(place.ow);
    const int64_t row_stride = windows.IW * s.x.pixel, down = rows.step * row_stride, right = columns.step * s.x.pixel;
    const T* row = x + at.image * s.x.image + rows.first * row_stride + columns.first * s.x.pixel + at.channel;
    Lanes<T> total = all_lanes<T>(Windows::start);
    for (int h = 0; h < rows.count; ++h, row += down) {
      Lanes<T> of_row = all_lanes<T>(Windows::start);
      for (int w = 0; w < columns.count; ++w) combine<T, Windows>(of_row, load_lanes(row + w * right));
      combine<T, Windows>(total, of_row);
    }
    store_result(s, windows, y, at, total);
  }
}

template <class T>
struct PoolMemory {
  Lanes<T> partial[parts][vectors_of_block];
};

template <class T, class Windows>
__global__ void __launch_bounds__(block_threads)
    pool2d_nhwc_shared_kernel(const __grid_constant__ PoolArgs s, const __grid_constant__ Windows windows,
                              int64_t blocks_of_pixel, int64_t blocks, const T* x, T* y) {
  wait_for_earlier_kernel();
  PoolMemory<T>& memory = shared_memory<PoolMemory<T>>();
  const int part = static_cast<int>(threadIdx.x) / vectors_of_block;
  const int own = static_cast<int>(threadIdx.x) % vectors_of_block;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t pixel = block / blocks_of_pixel, vector = block % blocks_of_pixel * vectors_of_block + own;
    const bool exists = vector < s.vectors.vectors;
    const PixelVector at = s.vectors.at(pixel * s.vectors.vectors + (exists ? vector : 0));
    const Place place = place_of(s, at);
    const Range rows = windows.rows(place.oh), columns = windows.columns(place.ow);
    const int64_t row_stride = windows.IW * s.x.pixel, down = rows.step * row_stride, right = columns.step * s.x.pixel;
    const T* first = x + at.image * s.x.image + rows.first * row_stride + columns.first * s.x.pixel + at.channel;
    Lanes<T> total = all_lanes<T>(Windows::start);
    const int count = rows.count > 0 && columns.count > 0 ? rows.count * columns.count : 0;
    for (int e = part; e < count; e += parts) {
      const int h = e / columns.count, w = e - h * columns.count;
      combine<T, Windows>(total, load_lanes(first + h * down + w * right));
    }
    memory.partial[part][own] = total;
    __syncthreads();
    for (int half = parts / 2; half > 0; half /= 2) {
      if (part < half) combine<T, Windows>(memory.partial[part][own], memory.partial[part + half][own]);
      __syncthreads();
    }
    if (part == 0 && exists) store_result(s, windows, y, at, memory.partial[0][own]);
    __syncthreads();
  }
}

// --------------------------------------------------------------------------------------------------------- planning

// `buffer` keeps alive what the windows point to.
template <class Windows>
TensorId append_pool(Program& program, const char* algorithm, TensorId x, const Dims& dims, Windows windows,
                     DeviceBuffer buffer, double window) {
  const TensorSpec y = spec_like(program, x, dims);
  const double flops = static_cast<double>(element_count(dims, "pooling")) * window;
  const std::string name = std::string(algorithm) + ", channels last";
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(dims, vector_lanes<T>);
    const int64_t blocks_of_pixel = ceil_div(vectors.vectors, vectors_of_block);
    const bool shared = window >= static_cast<double>(large_window);
    const int64_t blocks = dims[0] * vectors.pixels * blocks_of_pixel;
    auto run = [=, buffer = std::move(buffer)](const Operand* in, const Operand* out, void* stream) {
      const PoolArgs args{vectors, strides_of(in[0]), strides_of(out[0])};
      if (shared) {
        launch(pool2d_nhwc_shared_kernel<T, Windows>, Grid{blocks, block_threads, sizeof(PoolMemory<T>)}, stream, args,
               windows, blocks_of_pixel, blocks, in[0].as<T>(), out[0].as<T>());
      } else {
        launch(pool2d_nhwc_kernel<T, Windows>, grid_over(vectors.count), stream, args, windows, in[0].as<T>(),
               out[0].as<T>());
      }
    };
    return append(program, name.c_str(), {x}, {y}, 0, flops, std::move(run))[0];
  });
}

}  // namespace

bool pool2d_fits_nhwc(const Pool2dShape& s) {
  constexpr int64_t most = int64_t{1} << 31;
  return s.IH * s.IW < most && s.IH + s.PT + s.PB + s.KH * s.DH < most && s.IW + s.PL + s.PR + s.KW * s.DW < most &&
         s.KH * s.KW < most && s.OH * s.SH < most && s.OW * s.SW < most;
}

TensorId append_max_pool2d_nhwc(Program& program, const char* algorithm, TensorId x, const Pool2dShape& s) {
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const MaxWindows windows{narrow(s.IH), narrow(s.IW), narrow(s.KH), narrow(s.KW), narrow(s.SH),
                           narrow(s.SW), narrow(s.DH), narrow(s.DW), narrow(s.PT), narrow(s.PL)};
  return append_pool(program, algorithm, x, s.y_dims(), windows, {}, static_cast<double>(s.KH * s.KW));
}

TensorId append_avg_pool2d_nhwc(Program& program, const char* algorithm, TensorId x, const Dims& y,
                                int64_t divisor_override, DeviceBuffer bounds, double window) {
  const int64_t *h = bounds.indices(), *w = h + 3 * y[2];
  const AvgWindows windows{static_cast<int>(program.spec(x).dims[3]),
                           divisor_override,
                           h,
                           h + y[2],
                           h + 2 * y[2],
                           w,
                           w + y[3],
                           w + 2 * y[3]};
  return append_pool(program, algorithm, x, y, windows, std::move(bounds), window);
}

}  // namespace tesela::TESELA_DEVICE
