// One tile of a convolution by wgmma, fed by TMA: the producer's side, the consumers' side, and what follows the sums.

#pragma once

#include "epilogue.cuh"
#include "product_tiles.h"
#include "ptx.cuh"
#include "tensor_map.h"
#include "wgmma_tile.h"

namespace tesela::TESELA_DEVICE {

inline constexpr int most_wgmma_groups = 4;

struct WgmmaMaps {
  CUtensorMap x[most_wgmma_groups];  // (N, IH, IW, IC/G) of each group
  CUtensorMap w;                     // (OC, KH * KW * IC/G padded), of split twice
};

struct WgmmaArgs {
  int OH, OW, KW, SH, SW, DH, DW, PT, PL;
  int channel_steps, steps;  // of a tap, of all
  int low_row;               // split: where w's second halves begin
  ProductTiles tiles;
  Divisor by_plane, by_width;  // OH * OW, OW
  Epilogue epilogue;
};

template <class Tile>
struct WgmmaMemory {
  alignas(swizzle_period) char a[Tile::stages][Tile::a_bytes];
  alignas(swizzle_period) char b[Tile::stages][Tile::stage_bytes - Tile::a_bytes];
  alignas(16) Staged staged[wgmma_consumers * warpgroup_threads / 32];
  uint64_t full[Tile::stages], empty[Tile::stages];
};

// Position in the ring of stages; producer and consumers count the same steps.
template <int stages>
struct Ring {
  int stage = 0;
  unsigned parity = 0;
  __device__ void advance() {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

// Of a stage that is free; the pixels' bytes are expected too.
template <class Tile>
__device__ void load_weights(const WgmmaArgs& s, const WgmmaMaps& maps, const TilePlace& at, WgmmaMemory<Tile>& memory,
                             int stage, int step) {
  const int row = at.group * s.epilogue.channels + at.n * Tile::BN;
  ptx::mbarrier_arrive_expect(&memory.full[stage], Tile::stage_bytes);
  ptx::tma_load_2d(memory.b[stage], &maps.w, &memory.full[stage], step * Tile::BK, row);
  if constexpr (Tile::split) {
    ptx::tma_load_2d(memory.b[stage] + Tile::b_bytes, &maps.w, &memory.full[stage], step * Tile::BK, s.low_row + row);
  }
}

// Those of the first tile, as far as there are stages, while an earlier kernel may still write the pixels: how many.
template <class Tile>
__device__ int load_first_weights(const WgmmaArgs& s, const WgmmaMaps& maps, const TilePlace& at,
                                  WgmmaMemory<Tile>& memory) {
  const int first = static_cast<int>(first_step(s.steps, s.tiles.splits, at.split));
  const int end = static_cast<int>(first_step(s.steps, s.tiles.splits, at.split + 1));
  int stage = 0;
  for (; stage < Tile::stages && first + stage < end; ++stage) load_weights(s, maps, at, memory, stage, first + stage);
  return stage;
}

// loaded: the stages that have their weights, from this step on.
template <class Tile>
__device__ void produce(const WgmmaArgs& s, const WgmmaMaps& maps, const TilePlace& at, WgmmaMemory<Tile>& memory,
                        Ring<Tile::stages>& ring, int& loaded) {
  const int64_t pixel = int64_t{at.m} * Tile::BM, n = s.by_plane.quotient(pixel), in_plane = pixel - n * s.OH * s.OW,
                oh = s.by_width.quotient(in_plane), ow = in_plane - oh * s.OW;
  const int h = static_cast<int>(oh) * s.SH - s.PT, w = static_cast<int>(ow) * s.SW - s.PL;
  const int first = static_cast<int>(first_step(s.steps, s.tiles.splits, at.split));
  const int end = static_cast<int>(first_step(s.steps, s.tiles.splits, at.split + 1));
  int tap = first / s.channel_steps, channel_step = first % s.channel_steps;
  int kh = tap / s.KW, kw = tap % s.KW;
  for (int step = first; step < end; ++step, ring.advance()) {
    const int stage = ring.stage;
    if (loaded > 0) {
      --loaded;
    } else {
      ptx::mbarrier_wait(&memory.empty[stage], ring.parity ^ 1);
      load_weights(s, maps, at, memory, stage, step);
    }
    ptx::tma_load_im2col(memory.a[stage], &maps.x[at.group], &memory.full[stage], channel_step * Tile::BK, w, h,
                         static_cast<int>(n), kw * s.DW, kh * s.DH);
    if (++channel_step < s.channel_steps) continue;
    channel_step = 0;
    if (++kw < s.KW) continue;
    kw = 0, ++kh;
  }
}

template <class Tile>
using WgmmaSums = float[Tile::rows][Tile::columns / 2];

// A warp has done with a stage.
template <class Tile>
__device__ void release(WgmmaMemory<Tile>& memory, int stage) {
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(&memory.empty[stage]);
}

template <class Tile>
__device__ void consume(int steps, WgmmaMemory<Tile>& memory, Ring<Tile::stages>& ring, int m0, int n0,
                        WgmmaSums<Tile>& sum) {
  int before = 0;
  for (int step = 0; step < steps; ++step, ring.advance()) {
    const int stage = ring.stage;
    ptx::mbarrier_wait(&memory.full[stage], ring.parity);
    const uint64_t a = wgmma_descriptor(ptx::shared_address(memory.a[stage] + m0 * swizzled_row));
    const uint64_t b = wgmma_descriptor(ptx::shared_address(memory.b[stage] + n0 * swizzled_row));
    TESELA_UNROLL
    for (int r = 0; r < Tile::rows; ++r) ptx::hold(sum[r]);
    ptx::wgmma_fence();
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) {
      TESELA_UNROLL
      for (int r = 0; r < Tile::rows; ++r) {
        ptx::wgmma<Tile::type, Tile::columns>(sum[r], a + r * (64 * swizzled_row >> 4) + k * wgmma_next_k,
                                              b + k * wgmma_next_k, step > 0 || k > 0);
      }
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<1>();  // the step before this one
    TESELA_UNROLL
    for (int r = 0; r < Tile::rows; ++r) ptx::hold(sum[r]);
    if (step > 0) release(memory, before);
    before = stage;
  }
  ptx::wgmma_wait<0>();
  TESELA_UNROLL
  for (int r = 0; r < Tile::rows; ++r) ptx::hold(sum[r]);
  release(memory, before);
}

// float32 by three products of tf32: a comes through registers, where it is split; w was split when it was packed. What
// tensor cores have summed, cutting toward zero as mma_tile.cuh has it, is added to ordinary sums after every step; in
// a step the small products come first, while their sums are small.
template <class Tile>
  requires Tile::split
__device__ void consume(int steps, WgmmaMemory<Tile>& memory, Ring<Tile::stages>& ring, int m0, int n0,
                        WgmmaSums<Tile>& sum) {
  static_assert(Tile::rows == 1);
  constexpr int sums = Tile::columns / 2;
  const int lane = static_cast<int>(threadIdx.x) % 32, m = m0 + static_cast<int>(threadIdx.x) % 128 / 32 * 16;
  float recent[sums];
  TESELA_UNROLL
  for (int i = 0; i < sums; ++i) sum[0][i] = 0.0f;
  for (int step = 0; step < steps; ++step, ring.advance()) {
    const int stage = ring.stage;
    ptx::mbarrier_wait(&memory.full[stage], ring.parity);
    uint32_t high[4][4], low[4][4];
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) {
      TESELA_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Element e = a_element(lane, i);
        const char* from = memory.a[stage] + swizzled_place(m + e.row, (k * 8 + e.column) * 4);
        const float x = *reinterpret_cast<const float*>(from);
        high[k][i] = ptx::to_tf32(x);
        low[k][i] = ptx::to_tf32(x - __uint_as_float(high[k][i]));
      }
    }
    const uint64_t b = wgmma_descriptor(ptx::shared_address(memory.b[stage] + n0 * swizzled_row));
    const uint64_t b_low = b + (Tile::b_bytes >> 4);
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) ptx::hold(high[k]), ptx::hold(low[k]);
    ptx::hold(recent);
    ptx::wgmma_fence();
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) {
      ptx::wgmma<MmaType::tf32, Tile::columns>(recent, low[k], b + k * wgmma_next_k, k > 0);
      ptx::wgmma<MmaType::tf32, Tile::columns>(recent, high[k], b_low + k * wgmma_next_k, true);
    }
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) {
      ptx::wgmma<MmaType::tf32, Tile::columns>(recent, high[k], b + k * wgmma_next_k, true);
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    ptx::hold(recent);
    TESELA_UNROLL
    for (int k = 0; k < 4; ++k) ptx::hold(high[k]), ptx::hold(low[k]);
    __syncwarp();  // all its lanes have read a
    release(memory, stage);
    TESELA_UNROLL
    for (int i = 0; i < sums; ++i) sum[0][i] += recent[i];
  }
}

// ------------------------------------------------------------------------------------------------------ after the sums

template <class Tile, class T>
__device__ void store(const WgmmaArgs& s, const EpilogueOperands<T>& p, const TilePlace& at, int m0, int n0,
                      const WgmmaSums<Tile>& sum, WgmmaMemory<Tile>& memory) {
  constexpr int chunks_of_row = Tile::columns / staged_columns;
  const int warp = static_cast<int>(threadIdx.x) / 32 - warpgroup_threads / 32;  // of the consumers
  turn_over<Tile::rows * chunks_of_row>(
      sum[0], memory.staged[warp], [&](int chunk, int row, int column, const Octet& x) {
        const int64_t pixel = int64_t{at.m} * Tile::BM + m0 + chunk / chunks_of_row * 64 + warp % 4 * 16 + row;
        const int channel = at.n * Tile::BN + n0 + chunk % chunks_of_row * staged_columns + column;
        if (pixel >= s.epilogue.pixels || channel >= s.epilogue.lanes) return;
        finish_part(s.epilogue, p, at.split, pixel, at.group, channel, x);
      });
}

}  // namespace tesela::TESELA_DEVICE
