// concat, pad, upsample and pixel_shuffle on channels_last tensors.
//
//   concat         channels of each part, found in pixels of the whole at the part's offset: only where the parts could
//                  not be written in place (Program::joined)
//   pad, upsample  y[oh, ow] = x[low_h[oh], low_w[ow]], the constant where either is -1, or a bilinear mean of four
//   pixel_shuffle  y[n, h*r + i, w*r + j, c] = x[n, h, w, c*r*r + i*r + j]
//
// One thread writes 16 bytes of channels. pixel_shuffle gathers them one by one: the r*r pixels that share a line of x
// find it in cache. A part of a concat whose channels begin or end off a vector is copied element by element.
// Limits: any sizes. Not measured on a GPU yet.

#include "nhwc.h"
#include "pixels.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

// ----------------------------------------------------------------------------------------------------------- concat

struct CopyArgs {
  int64_t count, words, pixels;  // words of the part in a pixel, zeros behind the last included; pixels of an image
  int64_t C, offset;             // words that x has; where they begin in a pixel of y
  Divisor by_words, by_pixels;
  Strides x, y;  // in words
};

template <class Word>
__global__ void __launch_bounds__(block_threads)
    copy_channels_kernel(const __grid_constant__ CopyArgs s, const Word* x, Word* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.count; item += item_stride()) {
    const int64_t pixel = s.by_words.quotient(item), word = item - pixel * s.words;
    const int64_t image = s.by_pixels.quotient(pixel), at = pixel - image * s.pixels;
    y[image * s.y.image + at * s.y.pixel + s.offset + word] =
        word < s.C ? x[image * s.x.image + at * s.x.pixel + word] : Word{};
  }
}

struct Part {
  int64_t C, lanes, offset;  // lanes: channels to write, zeros included
};

template <class Word>
void copy_part(const Part& part, int64_t images, int64_t pixels, int64_t elements_of_word, const Operand& x,
               const Operand& y, void* stream) {
  const auto words = [=](int64_t elements) { return elements / elements_of_word; };
  const CopyArgs args{images * pixels * words(part.lanes),
                      words(part.lanes),
                      pixels,
                      words(part.C),
                      words(part.offset),
                      Divisor(words(part.lanes)),
                      Divisor(pixels),
                      {words(x.image_stride), words(x.pixel_stride)},
                      {words(y.image_stride), words(y.pixel_stride)}};
  launch(copy_channels_kernel<Word>, grid_over(args.count), stream, args, x.as<Word>(), y.as<Word>());
}

// ---------------------------------------------------------------------------------------------------------- resample

struct ResampleArgs {
  PixelVectors vectors;  // of y
  int64_t IW;
  const int64_t *low_h, *high_h, *low_w, *high_w;  // (OH) and (OW), on the device
  const float *weight_h, *weight_w;
  float constant;
  Strides x, y;
};

template <class T>
__device__ Lanes<T> lerp(const Lanes<T>& low, const Lanes<T>& high, float weight) {
  Lanes<T> y;
  TESELA_UNROLL
  for (int i = 0; i < vector_lanes<T>; ++i) y.lane[i] = fmaf(weight, high.lane[i], (1.0f - weight) * low.lane[i]);
  return y;
}

template <class T, bool bilinear>
__global__ void __launch_bounds__(block_threads)
    resample2d_nhwc_kernel(const __grid_constant__ ResampleArgs s, const T* x, T* y) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.vectors.count; item += item_stride()) {
    const PixelVector at = s.vectors.at(item);
    const int64_t oh = s.vectors.row(at.pixel), ow = at.pixel - oh * s.vectors.width;
    const int64_t low_h = s.low_h[oh], low_w = s.low_w[ow];
    const T* image = x + at.image * s.x.image + at.channel;
    const auto load = [&](int64_t h, int64_t w) { return load_lanes(image + (h * s.IW + w) * s.x.pixel); };
    Lanes<T> value;
    if (bilinear) {
      const int64_t high_h = s.high_h[oh], high_w = s.high_w[ow];
      const float along_w = s.weight_w[ow];
      value = lerp<T>(lerp<T>(load(low_h, low_w), load(low_h, high_w), along_w),
                      lerp<T>(load(high_h, low_w), load(high_h, high_w), along_w), s.weight_h[oh]);
    } else {
      value = low_h < 0 || low_w < 0 ? all_lanes<T>(s.constant) : load(low_h, low_w);
    }
    store_channels(y + at.image * s.y.image + at.pixel * s.y.pixel, at.channel, s.vectors.C, value);
  }
}

// ----------------------------------------------------------------------------------------------------- pixel_shuffle

struct PixelShuffleArgs {
  PixelVectors vectors;  // of y
  int64_t W, factor;     // W of x
  Strides x, y;
};

template <class T>
__global__ void __launch_bounds__(block_threads)
    pixel_shuffle_nhwc_kernel(const __grid_constant__ PixelShuffleArgs s, const T* x, T* y) {
  wait_for_earlier_kernel();
  const int64_t r = s.factor;
  for (int64_t item = first_item(); item < s.vectors.count; item += item_stride()) {
    const PixelVector at = s.vectors.at(item);
    const int64_t oh = s.vectors.row(at.pixel), ow = at.pixel - oh * s.vectors.width, h = oh / r, w = ow / r;
    const T* pixel = x + at.image * s.x.image + (h * s.W + w) * s.x.pixel + (oh - h * r) * r + (ow - w * r);
    Lanes<T> value;
    TESELA_UNROLL
    for (int i = 0; i < vector_lanes<T>; ++i) {
      value.lane[i] = at.channel + i < s.vectors.C ? as_float(pixel[(at.channel + i) * r * r]) : 0.0f;
    }
    store_lanes(y + at.image * s.y.image + at.pixel * s.y.pixel + at.channel, value);
  }
}

}  // namespace

// --------------------------------------------------------------------------------------------------------- planning

TensorId append_concat_nhwc(Program& program, const std::vector<TensorId>& parts, const Dims& whole) {
  const TensorId joined = program.joined(parts, whole);
  if (joined >= 0) return joined;
  const TensorSpec y = spec_like(program, parts[0], whole);
  std::vector<Part> copied;
  int64_t offset = 0;
  bool vectors = true;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t C = program.spec(parts[i]).dims[1], lanes = i + 1 == parts.size() ? y.lanes() - offset : C;
    copied.push_back({C, lanes, offset});
    vectors = vectors && C % channel_octet == 0;
    offset += C;
  }
  const int64_t bytes = static_cast<int64_t>(bytes_of(y.dtype));
  const auto run = [=, copied = std::move(copied)](const Operand* in, const Operand* out, void* stream) {
    for (size_t i = 0; i < copied.size(); ++i) {
      const auto copy = vectors ? copy_part<Stored<float>> : bytes == 2 ? copy_part<uint16_t> : copy_part<uint32_t>;
      copy(copied[i], whole[0], whole[2] * whole[3], vectors ? int64_t{16} / bytes : 1, in[i], out[0], stream);
    }
  };
  return append(program, "concat, channels last", parts, {y}, 0, 0, run)[0];
}

TensorId append_resample2d_nhwc(Program& program, TensorId x, Pair size, bool bilinear, DeviceBuffer places,
                                DeviceBuffer weights, float constant) {
  const Dims dims = program.spec(x).dims;
  const auto [OH, OW] = size;
  const TensorSpec y = spec_like(program, x, {dims[0], dims[1], OH, OW});
  const double flops = bilinear ? 6.0 * static_cast<double>(element_count(y.dims, "resample2d")) : 0.0;
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(y.dims, vector_lanes<T>);
    const int64_t height = OH, width = OW;
    auto run = [=, IW = dims[3], places = std::move(places), weights = std::move(weights)](
                   const Operand* in, const Operand* out, void* stream) {
      const int64_t* at = places.indices();
      const float* weight = weights.floats();
      const ResampleArgs args{vectors,
                              IW,
                              at,
                              at + height + width,
                              at + height,
                              at + height + width + height,
                              weight,
                              weight + height,
                              constant,
                              strides_of(in[0]),
                              strides_of(out[0])};
      launch(bilinear ? resample2d_nhwc_kernel<T, true> : resample2d_nhwc_kernel<T, false>, grid_over(vectors.count),
             stream, args, in[0].as<T>(), out[0].as<T>());
    };
    return append(program, bilinear ? "bilinear, channels last" : "copy, channels last", {x}, {y}, 0, flops,
                  std::move(run))[0];
  });
}

TensorId append_pixel_shuffle_nhwc(Program& program, TensorId x, int64_t factor) {
  const Dims dims = program.spec(x).dims;
  const TensorSpec y = spec_like(program, x, pixel_shuffle_dims(dims, factor));
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const PixelVectors vectors(y.dims, vector_lanes<T>);
    const auto run = [=, W = dims[3]](const Operand* in, const Operand* out, void* stream) {
      const PixelShuffleArgs args{vectors, W, factor, strides_of(in[0]), strides_of(out[0])};
      launch(pixel_shuffle_nhwc_kernel<T>, grid_over(vectors.count), stream, args, in[0].as<T>(), out[0].as<T>());
    };
    return append(program, "gather, channels last", {x}, {y}, 0, 0, run)[0];
  });
}

}  // namespace tesela::TESELA_DEVICE
