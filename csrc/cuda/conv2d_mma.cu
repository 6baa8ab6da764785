// conv2d, conv_transpose2d and linear by mma.sync, fed by cp.async: sm_80 and up.
//
//   y[pixel, oc] = activation(gate[n, oc] * (bias[oc] + sum over taps and ic of
//                             x[n, qh * SH + tap_h, qw * SW + tap_w, ic] * w[oc, tap, ic]) + residual[pixel, oc])
//
// Tensors are channels_last. Rows of the product (mma_tile.cuh) are pixels, columns output channels, the summed index
// is (tap, ic), where a tap's channels are padded to 16 bytes only, so that a tile of 128 bytes may hold several taps.
// A table says where the input under a tap lies from a pixel's; a thread keeps its rows' pixels and goes along the
// table, its copies bring zeros for padding. Weights are packed when planned, (G, OC/G, taps, IC/G), a row a multiple
// of 128 bytes. A transposed convolution is one convolution of stride 1 for each class of outputs that are equal modulo
// the stride (parity.h), with its own taps and weights, all in one launch, those with most taps first. Where tiles are
// few the summed index is split (sum_of_parts.cu). bfloat16, float16, tf32; float32 as three products of tf32. Limits:
// up to 16 classes; groups of channels that are multiples of 16 bytes and of 8. Not measured on a GPU yet.

#include "conv2d_product.cuh"
#include "mma_tile.cuh"
#include "parity.h"
#include "product_tiles.h"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int64_t most_classes = 16;
constexpr int nowhere = INT32_MIN / 2;  // a row that no image has, also after adding a tap's, which may be there too
constexpr int64_t most_reach = int64_t{1} << 29;

struct alignas(16) Tap {
  int32_t offset, h, w, unused;  // from a pixel's own place: pixels, rows, columns
};

// Outputs that meet the same taps. Coordinates within the class are (qh, qw).
struct ConvClass {
  int first_h, first_w;  // in y
  int QH, QW;
  int64_t rows;    // N * QH * QW
  int64_t weight;  // where its first row begins; each has `steps` tiles
  int first_tap, steps;
  int64_t first_block;
  ProductTiles tiles;
  Divisor by_plane, by_width;  // QH * QW, QW
};

struct ConvMmaArgs {
  int IH, IW, OH, OW;
  int SH, SW;              // from one (qh, qw) to the next, in x
  int step_h, step_w;      // the same in y
  int channels, granules;  // IC/G, and that in 16 bytes
  Divisor by_granules;
  bool dense;  // the pixels of the only class are those of y
  int64_t blocks;
  Epilogue epilogue;
  int classes;
  ConvClass of[most_classes];
};

template <class T>
struct ConvMmaOperands {
  const T* x;
  int64_t image_stride, pixel_stride;
  const T* w;
  const Tap* taps;
  EpilogueOperands<T> end;
};

struct ClassPixel {
  int64_t n;
  int qh, qw;
};
[[maybe_unused]] __device__ ClassPixel class_pixel(const ConvClass& c, int64_t row) {
  const int64_t n = c.by_plane.quotient(row), at = row - n * c.QH * c.QW, qh = c.by_width.quotient(at);
  return {n, static_cast<int>(qh), static_cast<int>(at - qh * c.QW)};
}

// What one thread copies of tile after tile.
template <class Tile, class T>
struct ConvCopies {
  static constexpr int a_rows = Tile::BM / rows_at_once<Tile>, b_rows = Tile::BN / rows_at_once<Tile>;

  const ConvMmaArgs& s;
  const T* weight;
  int64_t pixel_stride, weight_stride;
  const T* pixel[a_rows];  // in x, under no tap
  int h[a_rows], w[a_rows];
  int channels_left;  // of the group, from this thread's first row of weights on
  int granule;        // of the tap
  const Tap* next;
  Tap tap;

  __device__ ConvCopies(const ConvMmaArgs& args, const ConvMmaOperands<T>& p, const ConvClass& c, const TilePlace& at,
                        int first_step)
      : s(args), pixel_stride(p.pixel_stride), weight_stride(int64_t{c.steps} * Tile::BK) {
    TESELA_UNROLL
    for (int i = 0; i < a_rows; ++i) {
      const int64_t row = int64_t{at.m} * Tile::BM + copied_row() + i * rows_at_once<Tile>;
      const bool exists = row < c.rows;
      const ClassPixel q = class_pixel(c, exists ? row : 0);
      const int qh = q.qh * s.SH, qw = q.qw * s.SW;
      h[i] = exists ? qh : nowhere, w[i] = qw;
      pixel[i] = p.x + q.n * p.image_stride + (int64_t{qh} * s.IW + qw) * pixel_stride + int64_t{at.group} * s.channels;
    }
    const int row = at.n * Tile::BN + copied_row();
    channels_left = s.epilogue.channels - row;
    weight = p.w + c.weight + (int64_t{at.group} * s.epilogue.channels + row) * weight_stride +
             int64_t{first_step} * Tile::BK + copied_chunk() * vector_lanes<T>;
    const int first = first_step * chunks_of_row + copied_chunk();
    const auto taps_before = static_cast<int>(s.by_granules.quotient(first));
    granule = first - taps_before * s.granules;
    next = p.taps + c.first_tap + taps_before;
    tap = *next;
  }

  // The weights of the first tiles, a line of 128 bytes a thread and row, while an earlier kernel may still write x.
  __device__ void prefetch_weights(int steps) const {
    const T* line = weight + copied_chunk() * (Tile::BK - vector_lanes<T>);
    TESELA_UNROLL
    for (int i = 0; i < b_rows; ++i) {
      const int row = i * rows_at_once<Tile>;
      if (copied_chunk() < steps && row < channels_left) ptx::prefetch_to_l2(line + row * weight_stride);
    }
  }

  // Where a copy has no bytes nothing is read: its address may be anywhere.
  __device__ void operator()(MmaStage<Tile>& stage) {
    const int place = swizzled_place(copied_row(), copied_chunk() * 16);
    const int64_t from_pixel = tap.offset * pixel_stride + granule * vector_lanes<T>;
    TESELA_UNROLL
    for (int i = 0; i < a_rows; ++i) {
      const bool inside = static_cast<unsigned>(h[i] + tap.h) < static_cast<unsigned>(s.IH) &&
                          static_cast<unsigned>(w[i] + tap.w) < static_cast<unsigned>(s.IW);
      ptx::cp_async_16(stage.a + place + i * rows_at_once<Tile> * swizzled_row, pixel[i] + from_pixel, inside ? 16 : 0);
    }
    TESELA_UNROLL
    for (int i = 0; i < b_rows; ++i) {
      const int row = i * rows_at_once<Tile>;
      ptx::cp_async_16(stage.b + place + row * swizzled_row, weight + row * weight_stride,
                       row < channels_left ? 16 : 0);
    }
    weight += Tile::BK;
    granule += chunks_of_row;
    if (granule < s.granules) return;
    do {
      granule -= s.granules, ++next;
    } while (granule >= s.granules);
    tap = *next;
  }
};

template <class Tile, class T>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_of_sm)
    conv2d_mma_kernel(const __grid_constant__ ConvMmaArgs s, const __grid_constant__ ConvMmaOperands<T> p) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  auto& memory = shared_memory<MmaMemory<Tile>>();
  for (int64_t block = blockIdx.x; block < s.blocks; block += gridDim.x) {
    int of = s.classes - 1;
    while (s.of[of].first_block > block) --of;
    const ConvClass& c = s.of[of];
    const TilePlace at = place_of(c.tiles, block - c.first_block);
    const auto first = static_cast<int>(first_step(c.steps, s.epilogue.splits, at.split));
    const auto end = static_cast<int>(first_step(c.steps, s.epilogue.splits, at.split + 1));
    ConvCopies<Tile, T> copies(s, p, c, at, first);
    copies.prefetch_weights(end - first);
    wait_for_earlier_kernel();
    const MmaSums<Tile> sum = mma_product<Tile>(end - first, copies, memory);
    turn_over<Tile::WM / 16>(
        sum.at[0][0], memory.staged[threadIdx.x / 32], [&](int chunk, int row, int column, const Octet& x) {
          const int64_t m = int64_t{at.m} * Tile::BM + warp_row<Tile>() + chunk * 16 + row;
          const int channel = at.n * Tile::BN + warp_column<Tile>() + column;
          if (m >= c.rows || channel >= s.epilogue.lanes) return;
          int64_t pixel = m;
          if (!s.dense) {
            const ClassPixel q = class_pixel(c, m);
            pixel = (q.n * s.OH + c.first_h + q.qh * s.step_h) * s.OW + c.first_w + q.qw * s.step_w;
          }
          finish_part(s.epilogue, p.end, at.split, pixel, at.group, channel, x);
        });
    __syncthreads();  // before the next tile's copies
  }
#endif
}

// --------------------------------------------------------------------------------------------------------- planning

template <class T>
struct Packing {
  ConvMmaArgs args{};
  std::vector<Tap> taps;
  std::vector<T> weights;
};

// Along one axis: of the outputs first, first + S, ... of a transposed convolution, or of all of an ordinary one.
std::vector<ParityTap> taps_of(bool transposed, int64_t first, int64_t K, int64_t S, int64_t D, int64_t P) {
  if (transposed) return parity_taps(first, K, S, D, P);
  std::vector<ParityTap> taps;
  for (int64_t k = 0; k < K; ++k) taps.push_back({k, k * D - P});
  return taps;
}

// weight: (OC, IC/G, KH, KW)
template <class Tile, class T>
void add_class(Packing<T>& all, const Conv2dShape& s, const float* weight, int64_t first_h, int64_t first_w) {
  constexpr int granule = 16 / bytes_of(Tile::type);
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const int64_t step_h = all.args.step_h, step_w = all.args.step_w;
  const int64_t QH = ceil_div(s.OH - first_h, step_h), QW = ceil_div(s.OW - first_w, step_w);
  const auto taps_h = taps_of(s.transposed, first_h, s.KH, s.SH, s.DH, s.PT);
  const auto taps_w = taps_of(s.transposed, first_w, s.KW, s.SW, s.DW, s.PL);
  const int64_t channels = s.IC / s.G, padded = ceil_div(channels, granule) * granule;
  const auto taps = static_cast<int64_t>(taps_h.size() * taps_w.size());
  const int64_t steps = ceil_div(taps * padded, Tile::BK), rows = s.N * QH * QW;
  all.args.of[all.args.classes++] = {
      narrow(first_h),
      narrow(first_w),
      narrow(QH),
      narrow(QW),
      rows,
      static_cast<int64_t>(all.weights.size()),
      narrow(static_cast<int64_t>(all.taps.size())),
      narrow(steps),
      0,
      product_tiles(ceil_div(s.OC / s.G, Tile::BN), ceil_div(rows, Tile::BM), s.G, all.args.epilogue.splits),
      Divisor(QH * QW),
      Divisor(QW)};
  const size_t begin = all.weights.size(), row = static_cast<size_t>(steps * Tile::BK);
  all.weights.resize(begin + static_cast<size_t>(s.OC) * row);
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    const float* filters = weight + oc * channels * s.KH * s.KW;
    T* to = all.weights.data() + begin + static_cast<size_t>(oc) * row;
    for (const ParityTap& h : taps_h) {
      for (const ParityTap& w : taps_w) {
        const float* from = filters + h.tap * s.KW + w.tap;
        for (int64_t ic = 0; ic < channels; ++ic) to[ic] = as_stored<T>(from[ic * s.KH * s.KW]);
        to += padded;
      }
    }
  }
  for (const ParityTap& h : taps_h) {
    for (const ParityTap& w : taps_w) {
      all.taps.push_back({narrow(h.offset * s.IW + w.offset), narrow(h.offset), narrow(w.offset), 0});
    }
  }
  // A thread looks up to two tiles beyond the last tap, and finds zeros there.
  all.taps.insert(all.taps.end(), 2 * chunks_of_row, Tap{0, nowhere, 0, 0});
}

template <class Tile, class T>
Packing<T> pack(const ConvRequest& r, int splits) {
  const Conv2dShape& s = r.shape;
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  Packing<T> all;
  ConvMmaArgs& args = all.args;
  args.IH = narrow(s.IH), args.IW = narrow(s.IW), args.OH = narrow(s.OH), args.OW = narrow(s.OW);
  args.SH = narrow(s.transposed ? 1 : s.SH), args.SW = narrow(s.transposed ? 1 : s.SW);
  args.step_h = narrow(s.transposed ? s.SH : 1), args.step_w = narrow(s.transposed ? s.SW : 1);
  args.channels = narrow(s.IC / s.G), args.granules = narrow(ceil_div(args.channels, 16 / bytes_of(Tile::type)));
  args.by_granules = Divisor(args.granules);
  args.dense = args.step_h * args.step_w == 1;
  args.epilogue = epilogue_of(s, splits, r.activation);
  for (int64_t h = 0; h < std::min<int64_t>(args.step_h, s.OH); ++h) {
    for (int64_t w = 0; w < std::min<int64_t>(args.step_w, s.OW); ++w) add_class<Tile>(all, s, r.weight, h, w);
  }
  std::stable_sort(args.of, args.of + args.classes,
                   [](const ConvClass& a, const ConvClass& b) { return a.steps > b.steps; });
  for (int i = 0; i < args.classes; ++i) {
    args.of[i].first_block = args.blocks;
    args.blocks += args.of[i].tiles.count();
  }
  return all;
}

template <class Tile, class T>
TensorId append_tiles(Program& program, const ConvRequest& r, int splits) {
  const Packing<T> packing = pack<Tile, T>(r, splits);
  const ConvMmaArgs args = packing.args;
  DeviceBuffer w = DeviceBuffer::of(packing.weights), b = DeviceBuffer::of(r.bias, r.shape.OC),
               taps = DeviceBuffer::of(packing.taps);
  const size_t weight_bytes = w.bytes() + b.bytes();
  const ProductTensors tensors(program, r, args.epilogue);
  const Grid grid{args.blocks, Tile::threads, sizeof(MmaMemory<Tile>)};
  auto run = [=, w = std::move(w), b = std::move(b), taps = std::move(taps)](const Operand* in, const Operand* out,
                                                                             void* stream) {
    const EpilogueOperands<T> end = epilogue_operands<T>(tensors, b.floats(), in, out);
    const ConvMmaOperands<T> operands{in[0].as<T>(),
                                      in[0].image_stride,
                                      in[0].pixel_stride,
                                      static_cast<const T*>(w.data()),
                                      static_cast<const Tap*>(taps.data()),
                                      end};
    launch(conv2d_mma_kernel<Tile, T>, grid, stream, args, operands);
    if (splits > 1) launch_sum_of_parts(args.epilogue, end, stream);
  };
  return append(program, Tile::split ? "mma 3xtf32" : "mma", tensors.inputs, tensors.outputs, weight_bytes,
                r.shape.flops(), std::move(run))[0];
}

template <class Type>
TensorId append_type(Program& program, const ConvRequest& r, const TileChoice& choice) {
  using T = typename Type::Stored;
  constexpr MmaType type = Type::type;
  constexpr bool split = Type::split;
  if (choice.BM == 64) return append_tiles<MmaTile<type, split, 64, 64>, T>(program, r, choice.splits);
  if constexpr (!split) {
    if (choice.BN == 128) return append_tiles<MmaTile<type, split, 128, 128>, T>(program, r, choice.splits);
  }
  return append_tiles<MmaTile<type, split, 128, 64>, T>(program, r, choice.splits);
}

}  // namespace

bool conv2d_fits_mma(const Conv2dShape& s, Precision precision) {
  const int64_t granule = 16 / static_cast<int64_t>(bytes_of(storage_of(precision)));
  constexpr int64_t most = int64_t{1} << 30;
  const int64_t reach_h = std::max(s.IH + s.PT + s.PB, s.OH) * s.SH + s.KH * s.DH + std::abs(s.PT),
                reach_w = std::max(s.IW + s.PL + s.PR, s.OW) * s.SW + s.KW * s.DW + std::abs(s.PL);
  return (!s.transposed || s.SH * s.SW <= most_classes) && reach_h < most_reach && reach_w < most_reach &&
         (s.KH * s.DH + std::abs(s.PT)) * s.IW + reach_w < most && s.OC < most &&
         s.KH * s.KW * (s.IC / s.G + granule) < most && (s.KH * s.KW + most_classes) * chunks_of_row < most &&
         (s.G == 1 || (s.IC / s.G % granule == 0 && s.OC / s.G % channel_octet == 0));
}

TensorId append_conv2d_mma(Program& program, const ConvRequest& request, const TileChoice& choice) {
  return with_product_type(program.precision(),
                           [&](auto type) { return append_type<decltype(type)>(program, request, choice); });
}

}  // namespace tesela::TESELA_DEVICE
