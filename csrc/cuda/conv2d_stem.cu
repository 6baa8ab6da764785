// The taps of a convolution with few input channels as channels of their own, made of the plain input in the place of
// its conversion to channels last.
//
//   y[n, h, ow, (r * KW + kw) * IC + ic] = x[n, ic, h * step - before + r * DH, ow * SW - PL + kw * DW]
//
// A pixel of 3 channels fills 6 of 16 bytes, and a tap of it 6 of wgmma's 128, so that tensor cores would multiply
// mostly zeros. A pixel of y holds all that an output's window has in one row of x (R = 1, h is x's row), or the whole
// window (R = KH, h is y's row), and what follows is an ordinary convolution of KH x 1 taps along H, or of 1 x 1
// (conv2d_mma.cu, conv2d_wgmma.cu), with its weights in the same order. What lies outside of x is stored as zero, and
// so are channels up to a multiple of 8; nothing that is no part of a window enters its pixel, so that a NaN or an
// infinity reaches the outputs that meet it and no others. (Blocks of space to depth would not keep that: where the
// filter is no multiple of the stride they hold elements beyond it, to be multiplied by weights of zero.)
//
// A block has a stretch of up to 64 pixels of a row. The rows of x that they meet go through shared memory, padding
// included: neighbouring threads read neighbouring elements of x once, and write 16 bytes each, one after the other;
// between the two a table says where a channel's tap lies. Rounding is that of convert.cu.
// Limits: one group of less than 8 channels; what a stretch of 8 pixels meets, in 32 KB. Not measured on a GPU yet.

#include "conv2d_stem.h"
#include "dependent.cuh"
#include "divisor.h"
#include "vectors.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int most_staged = (32 << 10) / sizeof(float);
constexpr int64_t most_stretch = 64, fewest_stretch = 8;

struct StagedLines {
  float at[most_staged];
};

struct StemArgs {
  int IC, IH, IW, H, OW;
  int step, before, DH;  // row of x: h * step - before + r * DH
  int SW, PL;            // its first column: ow * SW - PL
  int stretch, segment;  // pixels of a block, columns of x that they meet
  int lines, vectors;    // R * IC; of a pixel of y
  int64_t stretches, blocks;
  Divisor by_stretches, by_rows, by_segment, by_channels, by_vectors;
};

// places: of each channel of y, from a pixel's first column; negative beyond the last.
template <class T>
__global__ void __launch_bounds__(block_threads)
    conv2d_stem_kernel(const __grid_constant__ StemArgs s, const float* x, const int32_t* places, T* y,
                       int64_t image_stride, int64_t pixel_stride) {
  wait_for_earlier_kernel();
  constexpr int V = vector_lanes<T>;
  auto& staged = shared_memory<StagedLines>().at;
  for (int64_t block = blockIdx.x; block < s.blocks; block += gridDim.x) {
    const int64_t row = s.by_stretches.quotient(block), n = s.by_rows.quotient(row);
    const int h = static_cast<int>(row - n * s.H);
    const int ow0 = static_cast<int>(block - row * s.stretches) * s.stretch;
    const int ih0 = h * s.step - s.before, iw0 = ow0 * s.SW - s.PL;
    const float* image = x + n * s.IC * s.IH * s.IW;
    for (int e = static_cast<int>(threadIdx.x); e < s.lines * s.segment; e += block_threads) {
      const auto line = static_cast<int>(s.by_segment.quotient(e)), r = static_cast<int>(s.by_channels.quotient(line));
      const int ih = ih0 + r * s.DH, iw = iw0 + e - line * s.segment;
      const bool inside = ih >= 0 && ih < s.IH && iw >= 0 && iw < s.IW;
      staged[e] = inside ? image[(int64_t{line - r * s.IC} * s.IH + ih) * s.IW + iw] : 0.0f;
    }
    __syncthreads();
    const int pixels = s.OW - ow0 < s.stretch ? s.OW - ow0 : s.stretch;
    T* to = y + n * image_stride + (int64_t{h} * s.OW + ow0) * pixel_stride;
    for (int e = static_cast<int>(threadIdx.x); e < pixels * s.vectors; e += block_threads) {
      const auto pixel = static_cast<int>(s.by_vectors.quotient(e));
      const int channel = (e - pixel * s.vectors) * V;
      Lanes<T> lanes;
      TESELA_UNROLL
      for (int i = 0; i < V; ++i) {
        const int place = places[channel + i];
        lanes.lane[i] = place >= 0 ? staged[place + pixel * s.SW] : 0.0f;
      }
      store_lanes(to + pixel * pixel_stride + channel, lanes);
    }
    __syncthreads();
  }
}

// --------------------------------------------------------------------------------------------------------- planning

int64_t segment_of(const Conv2dShape& s, int64_t stretch) { return (stretch - 1) * s.SW + (s.KW - 1) * s.DW + 1; }
int64_t rows_of(const Conv2dShape& s, Stem stem) { return stem == Stem::windows ? s.KH : 1; }

int64_t stretch_of(const Conv2dShape& s, Stem stem) {
  int64_t stretch = std::min(most_stretch, s.OW);
  while (stretch > fewest_stretch && rows_of(s, stem) * s.IC * segment_of(s, stretch) > most_staged) stretch /= 2;
  return stretch;
}

}  // namespace

bool conv2d_fits_stem(const Conv2dShape& s) {
  constexpr int64_t most = int64_t{1} << 29;
  const int64_t reach_h = s.IH + s.PT + s.PB + s.KH * s.DH + s.SH, reach_w = s.IW + s.PL + s.PR + s.KW * s.DW + s.SW;
  return !s.transposed && s.G == 1 && s.IC > 0 && s.IC < channel_octet && s.KH * s.KW > 1 && s.OW > 0 &&
         reach_h < most && reach_w < most && s.KH < most_staged && s.KW < most_staged &&
         s.KH * s.IC * segment_of(s, std::min(fewest_stretch, s.OW)) <= most_staged;
}

Conv2dShape after_stem(const Conv2dShape& s, Stem stem) {
  if (stem == Stem::none) return s;
  Conv2dShape t = s;
  t.IC = rows_of(s, stem) * s.KW * s.IC, t.IW = s.OW;
  t.KW = t.SW = t.DW = 1, t.PL = t.PR = 0;
  if (stem == Stem::windows) t.IH = s.OH, t.KH = t.SH = t.DH = 1, t.PT = t.PB = 0;
  return t;
}

std::vector<float> weights_after_stem(const Conv2dShape& s, Stem stem, const float* weight) {
  const Conv2dShape t = after_stem(s, stem);
  std::vector<float> packed(static_cast<size_t>(s.OC * t.IC * t.KH));
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    for (int64_t ic = 0; ic < s.IC; ++ic) {
      for (int64_t kh = 0; kh < s.KH; ++kh) {
        for (int64_t kw = 0; kw < s.KW; ++kw) {
          const int64_t r = stem == Stem::windows ? kh : 0, tap = stem == Stem::windows ? 0 : kh;
          packed[static_cast<size_t>((oc * t.IC + (r * s.KW + kw) * s.IC + ic) * t.KH + tap)] = *weight++;
        }
      }
    }
  }
  return packed;
}

TensorId append_stem(Program& program, TensorId x, const Conv2dShape& s, Stem stem) {
  const Conv2dShape t = after_stem(s, stem);
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const bool windows = stem == Stem::windows;
  const int64_t stretch = stretch_of(s, stem), segment = segment_of(s, stretch), stretches = ceil_div(s.OW, stretch);
  const TensorSpec y = channels_last_spec({s.N, t.IC, t.IH, t.IW}, storage_of(program.precision()));
  std::vector<int32_t> places(static_cast<size_t>(y.lanes()), -1);
  for (int64_t channel = 0; channel < t.IC; ++channel) {
    const int64_t ic = channel % s.IC, kw = channel / s.IC % s.KW, r = channel / s.IC / s.KW;
    places[static_cast<size_t>(channel)] = static_cast<int32_t>((r * s.IC + ic) * segment + kw * s.DW);
  }
  return with_stored_type(y.dtype, [&](auto stored) {
    using T = decltype(stored);
    const int64_t vectors = y.lanes() / vector_lanes<T>;
    const StemArgs args{narrow(s.IC),
                        narrow(s.IH),
                        narrow(s.IW),
                        narrow(t.IH),
                        narrow(s.OW),
                        narrow(windows ? s.SH : 1),
                        narrow(windows ? s.PT : 0),
                        narrow(s.DH),
                        narrow(s.SW),
                        narrow(s.PL),
                        narrow(stretch),
                        narrow(segment),
                        narrow(rows_of(s, stem) * s.IC),
                        narrow(vectors),
                        stretches,
                        s.N * t.IH * stretches,
                        Divisor(stretches),
                        Divisor(t.IH),
                        Divisor(segment),
                        Divisor(s.IC),
                        Divisor(vectors)};
    DeviceBuffer table = DeviceBuffer::of(places);
    const size_t table_bytes = table.bytes();
    const Grid grid{args.blocks, block_threads, static_cast<size_t>(args.lines * args.segment) * sizeof(float)};
    auto run = [=, table = std::move(table)](const Operand* in, const Operand* out, void* stream) {
      launch(conv2d_stem_kernel<T>, grid, stream, args, in[0].floats(), static_cast<const int32_t*>(table.data()),
             out[0].as<T>(), out[0].image_stride, out[0].pixel_stride);
    };
    return append(program, windows ? "windows to channels" : "rows of taps to channels",
                  {program.in_layout(x, Layout::plain)}, {y}, table_bytes, 0, std::move(run))[0];
  });
}

}  // namespace tesela::TESELA_DEVICE
