// conv2d, unit-stride conv_transpose2d and linear by wgmma, fed by TMA: sm_90a.
//
//   y[pixel, oc] = activation(gate[n, oc] * (bias[oc] + sum over kh, kw, ic of w[oc, kh, kw, ic] *
//                             x[n, oh*SH - PT + kh*DH, ow*SW - PL + kw*DW, ic]) + residual[pixel, oc])
//
// Tensors are channels_last. Rows of the product are pixels (n, oh, ow), columns output channels, the summed index is
// (kh, kw, ic), a tap's channels padded to 128 bytes. TMA's im2col mode brings 128 bytes of BM pixels under a tap with
// one instruction, zeros for padding; weights are packed when planned, (OC, KH, KW, IC/G padded), and come as rows.
// Blocks are persistent: each takes tile after tile (wgmma_tile.h). One thread issues copies through a ring of stages,
// two warpgroups multiply what has arrived and apply bias, gate, residual and activation to their sums in registers.
// Where tiles are fewer than SMs the summed index is split; the parts go to memory as float32, and a second kernel adds
// them in their order. Groups have a tensor map of x each and share a launch. bfloat16, float16; tf32 of activations
// that are not rounded but cut; float32 as three products of tf32. Limits: those of im2col.h; up to 4 groups, of
// channels that are multiples of 16 bytes and of 8. Not measured on a GPU yet.

#include "conv2d_product.cuh"
#include "conv2d_wgmma.cuh"
#include "select.h"
#include "tensor_map.h"

namespace tesela::TESELA_DEVICE {
namespace {

template <class Tile, class T>
__global__ void __launch_bounds__(wgmma_threads, 1)
    conv2d_wgmma_kernel(const __grid_constant__ WgmmaArgs s, const __grid_constant__ WgmmaMaps maps,
                        const EpilogueOperands<T> p) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  auto& memory = shared_memory<WgmmaMemory<Tile>>();
  static_assert(sizeof memory <= wgmma_shared_bytes);
  // By a shuffle, for the compiler to know that all lanes agree.
  const int warpgroup = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / warpgroup_threads, 0);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::stages; ++stage) {
      ptx::mbarrier_init(&memory.full[stage], 1);
      ptx::mbarrier_init(&memory.empty[stage], wgmma_consumers * warpgroup_threads / 32);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  Ring<Tile::stages> ring;
  if (warpgroup == 0) {
    ptx::registers_down_to<producer_registers>();
    if (threadIdx.x != 0) return;
    ptx::prefetch_tensor_map(&maps.w);
    for (int group = 0; group < s.epilogue.groups; ++group) ptx::prefetch_tensor_map(&maps.x[group]);
    int loaded = load_first_weights<Tile>(s, maps, place_of(s.tiles, blockIdx.x), memory);
    wait_for_earlier_kernel();
    for (int64_t tile = blockIdx.x; tile < s.tiles.count(); tile += gridDim.x) {
      produce<Tile>(s, maps, place_of(s.tiles, tile), memory, ring, loaded);
    }
  } else {
    ptx::registers_up_to<consumer_registers>();
    wait_for_earlier_kernel();
    const int consumer = warpgroup - 1;
    const int m0 = consumer % Tile::consumers_m * Tile::rows * 64, n0 = consumer / Tile::consumers_m * Tile::columns;
    for (int64_t tile = blockIdx.x; tile < s.tiles.count(); tile += gridDim.x) {
      const TilePlace at = place_of(s.tiles, tile);
      const int steps = static_cast<int>(first_step(s.steps, s.tiles.splits, at.split + 1) -
                                         first_step(s.steps, s.tiles.splits, at.split));
      WgmmaSums<Tile> sum;
      consume<Tile>(steps, memory, ring, m0, n0, sum);
      store<Tile>(s, p, at, m0, n0, sum, memory);
    }
  }
#endif
}

// --------------------------------------------------------------------------------------------------------- planning

float rounded_to_tf32(float x) {  // ties away from zero, as cvt.rna does
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits & 0x7f800000) == 0x7f800000 ? x : std::bit_cast<float>((bits + 0x1000) & ~0x1fffu);
}

// (OC, IC/G, KH, KW) -> (OC, KH, KW, IC/G to a multiple of BK), of split the rounding's remainders after it.
template <class Tile, class T>
std::vector<T> pack_weights(const Conv2dShape& s, const float* weight, bool flipped) {
  const int64_t channels = s.IC / s.G, taps = s.KH * s.KW, padded = ceil_div(channels, Tile::BK) * Tile::BK;
  const int64_t half = s.OC * taps * padded;
  std::vector<T> packed(static_cast<size_t>(half * (Tile::split ? 2 : 1)));
  for (int64_t oc = 0; oc < s.OC; ++oc) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      T* to = packed.data() + (oc * taps + (flipped ? taps - 1 - tap : tap)) * padded;
      for (int64_t ic = 0; ic < channels; ++ic) {
        const float x = weight[(oc * channels + ic) * taps + tap];
        const float rounded = Tile::type == MmaType::tf32 ? rounded_to_tf32(x) : x;
        to[ic] = as_stored<T>(rounded);
        if (Tile::split) to[half + ic] = as_stored<T>(std::isfinite(x) ? rounded_to_tf32(x - rounded) : 0.0f);
      }
    }
  }
  return packed;
}

// A transposed convolution of stride 1 is a convolution with the taps in reverse order.
Conv2dShape as_forward(Conv2dShape s) {
  if (!s.transposed) return s;
  s.PT = (s.KH - 1) * s.DH - s.PT, s.PL = (s.KW - 1) * s.DW - s.PL;
  s.transposed = false;
  return s;
}

template <class Tile, class T>
TensorId append_tiles(Program& program, const ConvRequest& r, int splits) {
  const Conv2dShape s = as_forward(r.shape);
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  const Epilogue epilogue = epilogue_of(s, splits, r.activation);
  const int64_t channel_steps = ceil_div(s.IC / s.G, Tile::BK), steps = s.KH * s.KW * channel_steps;
  const WgmmaArgs args{narrow(s.OH),
                       narrow(s.OW),
                       narrow(s.KW),
                       narrow(s.SH),
                       narrow(s.SW),
                       narrow(s.DH),
                       narrow(s.DW),
                       narrow(s.PT),
                       narrow(s.PL),
                       narrow(channel_steps),
                       narrow(steps),
                       narrow(s.OC),
                       product_tiles(ceil_div(s.OC / s.G, Tile::BN), ceil_div(epilogue.pixels, Tile::BM), s.G, splits),
                       Divisor(s.OH * s.OW),
                       Divisor(s.OW),
                       epilogue};
  const std::vector<T> packed = pack_weights<Tile, T>(s, r.weight, r.shape.transposed);
  DeviceBuffer w = DeviceBuffer::of(packed), b = DeviceBuffer::of(r.bias, s.OC);
  const CUtensorMap w_map =
      tiled_map(w.data(), Tile::type, s.OC * (Tile::split ? 2 : 1), steps * Tile::BK, steps * Tile::BK, Tile::BN);
  const size_t weight_bytes = w.bytes() + b.bytes();
  const ProductTensors tensors(program, r, epilogue);
  const Grid grid{std::min<int64_t>(args.tiles.count(), device_attribute(cudaDevAttrMultiProcessorCount)),
                  wgmma_threads, sizeof(WgmmaMemory<Tile>)};
  auto run = [=, w = std::move(w), b = std::move(b)](const Operand* in, const Operand* out, void* stream) {
    const T* x = in[0].as<T>();
    WgmmaMaps maps;
    maps.w = w_map;
    for (int64_t g = 0; g < s.G; ++g) {
      maps.x[g] = im2col_map(x + g * (s.IC / s.G), Tile::type, s.N, s.IH, s.IW, s.IC / s.G,
                             {in[0].pixel_stride, in[0].image_stride}, im2col_box(s), Tile::BM);
    }
    const EpilogueOperands<T> operands = epilogue_operands<T>(tensors, b.floats(), in, out);
    launch(conv2d_wgmma_kernel<Tile, T>, grid, stream, args, maps, operands);
    if (splits > 1) launch_sum_of_parts(args.epilogue, operands, stream);
  };
  return append(program, Tile::split ? "wgmma 3xtf32" : "wgmma", tensors.inputs, tensors.outputs, weight_bytes,
                r.shape.flops(), std::move(run))[0];
}

template <class Type>
TensorId append_type(Program& program, const ConvRequest& r, const TileChoice& choice) {
  using T = typename Type::Stored;
  constexpr MmaType type = Type::type;
  constexpr bool split = Type::split;
  if (choice.BM == 64) return append_tiles<WgmmaTile<type, split, 64, 128>, T>(program, r, choice.splits);
  if constexpr (!split) {
    if (choice.BM == 256) return append_tiles<WgmmaTile<type, split, 256, 64>, T>(program, r, choice.splits);
    if (choice.BN == 256) return append_tiles<WgmmaTile<type, split, 128, 256>, T>(program, r, choice.splits);
    if (choice.BN == 192) return append_tiles<WgmmaTile<type, split, 128, 192>, T>(program, r, choice.splits);
  }
  return append_tiles<WgmmaTile<type, split, 128, 128>, T>(program, r, choice.splits);
}

}  // namespace

bool conv2d_fits_wgmma(const Conv2dShape& shape, Precision precision) {
  if (shape.transposed && (shape.SH > 1 || shape.SW > 1)) return false;
  const Conv2dShape s = as_forward(shape);
  const int64_t in_16_bytes = 16 / static_cast<int64_t>(bytes_of(storage_of(precision)));
  constexpr int64_t most = int64_t{1} << 30;
  return fits_im2col(s) && s.G <= most_wgmma_groups && s.OC < most && s.KH * s.KW * (s.IC / s.G + 64) < most &&
         (s.G == 1 || (s.IC / s.G % in_16_bytes == 0 && s.OC / s.G % channel_octet == 0));
}

TensorId append_conv2d_wgmma(Program& program, const ConvRequest& request, const TileChoice& choice) {
  return with_product_type(program.precision(),
                           [&](auto type) { return append_type<decltype(type)>(program, request, choice); });
}

}  // namespace tesela::TESELA_DEVICE
