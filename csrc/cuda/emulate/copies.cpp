// Asynchronous copies: cp.async, and TMA's with the barriers that count its bytes.
//
// A copy reads its source and writes its destination both when it is issued and when it arrives, as far as races are
// concerned: it may happen at any time between. Meanwhile its destination is NaN.

#include <algorithm>
#include <cstring>

#include "machine.h"
#include "ptx.h"

namespace emulated {

namespace {

constexpr unsigned shared_window = 1024;  // the address of a block's first byte: sm_90 keeps the bytes below
constexpr int64_t most_transactions = (1 << 20) - 1;
constexpr size_t swizzled_row = 128, swizzle_period = 1024;

CopyGroups& own_copies() { return block->thread[static_cast<size_t>(current_thread())].copies; }

}  // namespace

// --------------------------------------------------------------------------------------------------------- cp.async

void ptx::copy_async(void* to, const void* from, size_t size, int bytes) {
  {
    const OutsideKernel outside;
    if (reinterpret_cast<uintptr_t>(to) % size || (bytes > 0 && reinterpret_cast<uintptr_t>(from) % size)) {
      fail("an asynchronous copy of " + std::to_string(size) + " bytes at an address that is no multiple of them");
    }
    if (bytes < 0 || static_cast<size_t>(bytes) > size) fail("an asynchronous copy of more bytes than its size");
  }
  if (bytes > 0) check_access(from, static_cast<size_t>(bytes), false);
  check_access(to, size, true);
  const OutsideKernel outside;
  std::memset(to, 0xff, size);  // NaN
  CopyGroups& groups = own_copies();
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, size, bytes});
}

void ptx::cp_async_commit() {
  const OutsideKernel outside;
  CopyGroups& groups = own_copies();
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void ptx::wait_for_copies(size_t keep) {
  CopyGroups done;
  {
    const OutsideKernel outside;
    CopyGroups& groups = own_copies();
    if (groups.size() <= keep + 1) return;
    const auto end = groups.end() - static_cast<std::ptrdiff_t>(keep + 1);
    done.assign(groups.begin(), end);
    groups.erase(groups.begin(), end);
  }
  for (const auto& group : done) {
    for (const Copy& copy : group) {
      check_access(copy.to, copy.size, true);
      const OutsideKernel outside;
      std::memset(copy.to, 0, copy.size);
      std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
  }
}

// -------------------------------------------------------------------------------------------------------- mbarriers

struct TransactionBarrier {
  Touch initialised;
  unsigned arrivals, pending, parity = 0;
  int64_t bytes = 0;  // expected and not there yet; below zero where they came first
  Knowledge knowledge;
  std::vector<int> waiting;  // fibers
};

struct BulkCopy {
  CUtensorMap map;
  char* to;
  size_t barrier, bytes;
  int at[4], offset[2];
  Knowledge knowledge;
};

struct TransactionBarriers {
  std::map<size_t, TransactionBarrier> barriers;  // by offset in shared memory
  std::vector<BulkCopy> copies;                   // that have not arrived
};

namespace {

TransactionBarriers& transactions() {
  if (!block->transactions) block->transactions = std::make_shared<TransactionBarriers>();
  return *block->transactions;
}

size_t barrier_at(const uint64_t* barrier) {
  if (!in_shared_memory(barrier, 8) || shared_offset(barrier) % 8)
    fail("an mbarrier that is not 8 bytes of shared memory");
  return shared_offset(barrier);
}

TransactionBarrier& known_barrier(const uint64_t* barrier) {
  const auto found = transactions().barriers.find(barrier_at(barrier));
  if (found == transactions().barriers.end() || !happened_before(found->second.initialised, current_thread())) {
    fail("an mbarrier that is not initialised, or by another thread with no barrier between");
  }
  return found->second;
}

void settle(TransactionBarrier& barrier) {
  if (barrier.pending > 0 || barrier.bytes != 0) return;
  barrier.parity ^= 1;
  barrier.pending = barrier.arrivals;
  wake(barrier.waiting);
}

void arrive(TransactionBarrier& barrier) {
  if (barrier.pending == 0) fail("more arrivals at an mbarrier than it was initialised for");
  barrier.knowledge = joined(barrier.knowledge, released(current_thread()));
  --barrier.pending;
}

}  // namespace

unsigned ptx::shared_address(const void* pointer) {
  const OutsideKernel outside;
  return shared_window + static_cast<unsigned>(shared_offset(pointer));
}

void ptx::mbarrier_init(uint64_t* barrier, unsigned arrivals) {
  check_access(barrier, 8, true);
  const OutsideKernel outside;
  if (arrivals < 1 || arrivals > most_transactions) fail("an mbarrier for " + std::to_string(arrivals) + " arrivals");
  const int thread = current_thread();
  transactions().barriers[barrier_at(barrier)] = {
      {thread, block->thread[static_cast<size_t>(thread)].step}, arrivals, arrivals, 0, 0, nullptr, {}};
}

void ptx::fence_proxy_async() {
  const OutsideKernel outside;
  Thread& own = block->thread[static_cast<size_t>(current_thread())];
  own.fenced = own.step++;
}
void ptx::fence_mbarrier_init() { fence_proxy_async(); }

void ptx::mbarrier_arrive(uint64_t* barrier) {
  const OutsideKernel outside;
  TransactionBarrier& at = known_barrier(barrier);
  arrive(at);
  settle(at);
}

void ptx::mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes) {
  const OutsideKernel outside;
  TransactionBarrier& at = known_barrier(barrier);
  at.bytes += bytes;
  if (at.bytes > most_transactions) fail("an mbarrier that expects more than 2^20 - 1 bytes");
  arrive(at);
  settle(at);
}

void ptx::mbarrier_wait(uint64_t* barrier, unsigned parity) {
  const OutsideKernel outside;
  for (;;) {
    TransactionBarrier& at = known_barrier(barrier);
    if (at.parity != (parity & 1)) break;
    at.waiting.push_back(current_fiber());
    suspend();
  }
  acquire(current_thread(), known_barrier(barrier).knowledge);
}

std::string waiting_at_transactions() {
  std::string text;
  for (const auto& [offset, at] : transactions().barriers) {
    if (at.waiting.empty()) continue;
    text += std::to_string(at.waiting.size()) + " at the mbarrier at byte " + std::to_string(offset) + " (" +
            std::to_string(at.pending) + " arrivals and " + std::to_string(at.bytes) + " bytes to come), ";
  }
  return text;
}

// -------------------------------------------------------------------------------------------------------------- TMA

namespace {

// Element by element in the order of the box: where it is in global memory, or null for a zero.
template <class Visit>
void walk(const BulkCopy& copy, Visit visit) {
  const CUtensorMap& map = copy.map;
  const auto row = [&](bool inside, int64_t place, int inner) {
    for (int i = 0; i < map.box[0]; ++i) {
      const bool there = inside && inner + i >= 0 && static_cast<uint32_t>(inner + i) < map.size[0];
      visit(there ? map.base + place + int64_t{inner + i} * map.element_bytes : nullptr);
    }
  };
  const auto within = [&](int at, int dimension) { return at >= 0 && static_cast<uint32_t>(at) < map.size[dimension]; };
  if (!map.im2col) {
    for (int j = 0; j < map.box[1]; ++j) {
      const int at = copy.at[1] + j;
      row(within(at, 1), at * static_cast<int64_t>(map.stride[0]), copy.at[0]);
    }
    return;
  }
  // Pixels w, h, n step through the bounding box; what is read lies at an offset from them.
  int w = copy.at[1], h = copy.at[2], n = copy.at[3];
  for (int pixel = 0; pixel < map.box[1]; ++pixel) {
    const int from_w = w + copy.offset[0], from_h = h + copy.offset[1];
    const int64_t place = from_w * static_cast<int64_t>(map.stride[0]) + from_h * static_cast<int64_t>(map.stride[1]) +
                          n * static_cast<int64_t>(map.stride[2]);
    row(within(from_w, 1) && within(from_h, 2) && within(n, 3), place, copy.at[0]);
    w += map.step[1];
    if (w < static_cast<int>(map.size[1]) + map.upper[0]) continue;
    w = map.lower[0], h += map.step[2];
    if (h < static_cast<int>(map.size[2]) + map.upper[1]) continue;
    h = map.lower[1], ++n;
  }
}

void issue(BulkCopy copy, uint64_t* barrier) {
  const CUtensorMap& map = copy.map;
  copy.barrier = barrier_at(barrier);
  TransactionBarrier& at = known_barrier(barrier);
  if (at.initialised.step > block->thread[static_cast<size_t>(at.initialised.agent)].fenced) {
    fail("an asynchronous copy with an mbarrier that was initialised without a fence after it");
  }
  copy.bytes = size_t{map.box[0]} * map.box[1] * map.element_bytes;
  if (!in_shared_memory(copy.to, copy.bytes) || shared_offset(copy.to) % (map.swizzled ? swizzle_period : 128)) {
    fail("a bulk copy to what is not shared memory at a multiple of " +
         std::to_string(map.swizzled ? swizzle_period : 128) + " bytes");
  }
  uint64_t span = map.size[0] * uint64_t{map.element_bytes};
  for (int i = 1; i < map.rank; ++i) span = std::max(span, map.stride[i - 1] * map.size[i]);
  if (span < 131072 && map.word[1] >> 21 & 1)
    fail("a tensor map below 131072 bytes with bit 21 of its second word set");
  check_waited(map.base, false);
  check_bulk_write(copy.to, copy.bytes);
  std::memset(copy.to, 0xff, copy.bytes);  // NaN
  const auto thread = static_cast<size_t>(current_thread());
  auto knowledge = std::make_shared<std::vector<uint32_t>>(*released(current_thread()));
  (*knowledge)[block->thread.size() + thread] = block->thread[thread].bulk_copies;
  copy.knowledge = std::move(knowledge);
  transactions().copies.push_back(std::move(copy));
}

}  // namespace

void ptx::tma_load_2d(void* to, const CUtensorMap* map, uint64_t* barrier, int c0, int c1) {
  const OutsideKernel outside;
  if (map->im2col || map->rank != 2) fail("a tiled copy of two coordinates by another kind of tensor map");
  issue({*map, static_cast<char*>(to), 0, 0, {c0, c1, 0, 0}, {0, 0}, nullptr}, barrier);
}

void ptx::tma_load_im2col(void* to, const CUtensorMap* map, uint64_t* barrier, int c, int w, int h, int n, int offset_w,
                          int offset_h) {
  const OutsideKernel outside;
  if (!map->im2col || map->rank != 4) fail("an im2col copy of four coordinates by another kind of tensor map");
  const auto starts_in_box = [&](int at, int i) {
    return at >= map->lower[i] && at < static_cast<int>(map->size[i + 1]) + map->upper[i];
  };
  if (!starts_in_box(w, 0) || !starts_in_box(h, 1)) fail("an im2col copy that starts outside of its bounding box");
  if (offset_w < 0 || offset_w > 255 || offset_h < 0 || offset_h > 255) fail("an im2col offset beyond 8 bits");
  issue({*map, static_cast<char*>(to), 0, 0, {c, w, h, n}, {offset_w, offset_h}, nullptr}, barrier);
}

size_t bulk_copies() { return block->transactions ? block->transactions->copies.size() : 0; }

void arrive_bulk_copy(size_t pick) {
  auto& copies = transactions().copies;
  const BulkCopy copy = std::move(copies[pick]);
  copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(pick));
  size_t linear = 0;
  const size_t base = shared_offset(copy.to), size = copy.map.element_bytes;
  walk(copy, [&](const char* from) {
    size_t to = base + linear;
    if (copy.map.swizzled) to ^= to / swizzled_row % 8 * 16;
    if (from && !in_device_memory(from, size)) {
      block->failure = "emulator: a bulk copy reads outside of device memory";
    } else if (from) {
      std::memcpy(shared_bytes_of_block + to, from, size);
    } else {
      std::memset(shared_bytes_of_block + to, 0, size);
    }
    linear += size;
  });
  TransactionBarrier& at = transactions().barriers.at(copy.barrier);
  at.knowledge = joined(at.knowledge, copy.knowledge);
  at.bytes -= static_cast<int64_t>(copy.bytes);
  settle(at);
}

void check_end_of_block() {
  if (bulk_copies() > 0) block->failure = "emulator: a block ends with a bulk copy under way";
  size_t registers = 0;
  for (int each : block->registers) registers += static_cast<size_t>(each) * warpSize;
  if (registers > 65536) block->failure = "emulator: setmaxnreg gives a block more than 65536 registers";
}

void ptx::set_registers(int count) {
  const OutsideKernel outside;
  if (count < 24 || count > 256 || count % 8) fail("setmaxnreg to no multiple of 8 from 24 to 256");
  block->registers.resize(block->warp_barriers.size());
  block->registers[static_cast<size_t>(current_thread() / warpSize)] = count;
}

// ------------------------------------------------------------------------------------------------------ on the host

namespace {

CUresult encode(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* size,
                const cuuint64_t* stride, const cuuint32_t* step, CUtensorMapSwizzle swizzle, cuuint32_t inner,
                cuuint32_t outer) {
  *map = {};
  map->word[1] = uint64_t{1} << 21;
  map->base = static_cast<const char*>(base);
  map->rank = static_cast<uint8_t>(rank);
  map->element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  map->swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  map->box[0] = static_cast<uint16_t>(inner), map->box[1] = static_cast<uint16_t>(outer);
  bool good = reinterpret_cast<uintptr_t>(base) % 16 == 0 && reinterpret_cast<uintptr_t>(map) % 64 == 0 && inner > 0 &&
              outer > 0 && (!map->swizzled || inner * map->element_bytes <= swizzled_row) &&
              inner * map->element_bytes % 16 == 0;
  for (cuuint32_t i = 0; i < rank; ++i) {
    map->size[i] = static_cast<uint32_t>(size[i]);
    map->step[i] = static_cast<uint8_t>(step[i]);
    good = good && size[i] > 0 && size[i] < uint64_t{1} << 32 && step[i] >= 1 && step[i] <= 8;
    if (i == 0) continue;
    map->stride[i - 1] = stride[i - 1];
    good = good && stride[i - 1] % 16 == 0 && stride[i - 1] < uint64_t{1} << 40;
  }
  return good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                const cuuint64_t* size, const cuuint64_t* stride, const cuuint32_t* box,
                                const cuuint32_t* step, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (rank != 2 || box[0] > 256 || box[1] > 256 || step[0] != 1 || step[1] != 1) return CUDA_ERROR_INVALID_VALUE;
  return encode(map, type, rank, base, size, stride, step, swizzle, box[0], box[1]);
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* base,
                                 const cuuint64_t* size, const cuuint64_t* stride, const int* lower, const int* upper,
                                 cuuint32_t channels, cuuint32_t pixels, const cuuint32_t* step, CUtensorMapInterleave,
                                 CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (rank != 4 || channels > 256 || pixels > 1024) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = encode(map, type, rank, base, size, stride, step, swizzle, channels, pixels);
  map->im2col = 1;
  for (int i = 0; i < 2; ++i) {  // w, then h, as everywhere
    map->lower[i] = static_cast<int8_t>(lower[i]), map->upper[i] = static_cast<int8_t>(upper[i]);
    if (map->lower[i] != lower[i] || map->upper[i] != upper[i] ||
        static_cast<int64_t>(size[i + 1]) + upper[i] <= lower[i]) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return result;
}

}  // namespace emulated
