// The emulator behind cuda_runtime.h: fibers, barriers, memory, and the checks.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace emulated {

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t most_shared_bytes = 227 << 10;  // what a block of sm_90 may ask for
constexpr size_t stack_bytes = 64 << 10;
constexpr int most_threads = 1024;

std::string text(const dim3& at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

// ---------------------------------------------------------------------------------------------------- device memory

std::mutex memory_mutex;
std::map<uintptr_t, size_t> allocations;  // start -> bytes

bool in_device_memory(uintptr_t address, size_t bytes) {
  const std::lock_guard lock(memory_mutex);
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

// ------------------------------------------------------------------------------------------------------------ block

// Who touched a word of shared memory last, and when: a barrier of the block starts a new `epoch`, one of the warp a
// new `warp_epoch`.
struct Touch {
  uint32_t epoch = 0, warp_epoch = 0;
  int thread = -1, warp = -1;  // -2: several
};
struct Word {
  Touch write, read;
};

struct Barrier {
  std::vector<int> waiting;  // fibers
  unsigned mask = 0;         // of a warp's barrier
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  int thread = -1;
};

struct Copy {  // asynchronous, not done yet
  float* to;
  const float* from;
  size_t size;
  int bytes;
};
using CopyGroups = std::vector<std::vector<Copy>>;  // of one thread; the last one is not committed yet

struct Block {
  void (*run)(void*);
  void* arguments;
  dim3 at, size, grid;
  int threads;
  size_t shared_bytes;

  std::vector<int> order;  // in which threads begin
  size_t begun = 0;
  int finished = 0;
  std::vector<int> ready, idle;  // fibers
  Barrier barrier;
  std::vector<Barrier> warp_barriers;
  uint32_t epoch = 1;
  std::vector<uint32_t> warp_epochs;
  std::vector<Word> words;
  std::vector<CopyGroups> copies;  // of each thread
  std::string failure;
};

alignas(1024) char shared_bytes_of_block[most_shared_bytes];
alignas(16) char lanes[most_threads][16];  // what each thread shows in a shuffle
std::mutex launch_mutex;
std::vector<std::unique_ptr<Fiber>> fibers;
ucontext_t scheduler;
Block* block = nullptr;
int current = -1;  // fiber

// Whether this thread's accesses are those of a kernel. The linker may have given everyone the instrumented copies of
// what the standard library inlines, so that the emulator's own accesses and other threads' are reported too.
thread_local bool in_kernel = false;
struct OutsideKernel {
  const bool before = std::exchange(in_kernel, false);
  ~OutsideKernel() { in_kernel = before; }
};

void become(int thread) {
  fibers[current]->thread = thread;
  const unsigned t = static_cast<unsigned>(thread);
  threadIdx = {t % block->size.x, t / block->size.x % block->size.y, t / block->size.x / block->size.y};
  blockIdx = block->at;
  blockDim = block->size;
  gridDim = block->grid;
}

// Ends the block, from outside of the kernel. The fibers are left where they are: what lies on their stacks needs no
// destructor.
void fail(const std::string& what) {
  block->failure = "emulator: block " + text(blockIdx) + ", thread " + text(threadIdx) + ": " + what;
  setcontext(&scheduler);
}

// A fiber takes threads that have not begun until there are none: only a thread that waits costs another fiber.
void fiber_main() {
  for (;;) {
    while (block->begun < block->order.size()) {
      become(block->order[block->begun++]);
      in_kernel = true;
      block->run(block->arguments);
      in_kernel = false;
      for (const auto& group : block->copies[static_cast<size_t>(fibers[current]->thread)]) {
        if (!group.empty()) fail("the thread ends with an asynchronous copy that it never waited for");
      }
      ++block->finished;
    }
    block->idle.push_back(current);
    swapcontext(&fibers[current]->context, &scheduler);
  }
}

int fresh_fiber() {
  if (!block->idle.empty()) {
    const int fiber = block->idle.back();
    block->idle.pop_back();
    return fiber;
  }
  for (size_t i = 0; i < fibers.size(); ++i) {
    if (fibers[i]->thread < 0) return static_cast<int>(i);
  }
  fibers.push_back(std::make_unique<Fiber>());
  return static_cast<int>(fibers.size()) - 1;
}

void prepare(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = stack_bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
}

void resume(int fiber) {
  current = fiber;
  if (fibers[fiber]->thread >= 0) become(fibers[fiber]->thread);
  swapcontext(&scheduler, &fibers[fiber]->context);
}

void wait_at(Barrier& barrier, int expected, uint32_t& epoch) {
  barrier.waiting.push_back(current);
  if (static_cast<int>(barrier.waiting.size()) == expected) {
    ++epoch;
    block->ready.insert(block->ready.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier.waiting.clear();
  }
  swapcontext(&fibers[current]->context, &scheduler);
}

std::string deadlock() {
  std::string where = "emulator: block " + text(block->at) + ": deadlock: ";
  int at_warp_barriers = 0;
  for (const Barrier& barrier : block->warp_barriers) at_warp_barriers += static_cast<int>(barrier.waiting.size());
  return where + std::to_string(block->barrier.waiting.size()) + " of " + std::to_string(block->threads) +
         " threads wait at __syncthreads, " + std::to_string(at_warp_barriers) + " at a shuffle or __syncwarp, " +
         std::to_string(block->finished) + " have ended";
}

void run_block(std::mt19937* random) {
  std::memset(shared_bytes_of_block, 0xff, block->shared_bytes);  // NaN
  for (int i = 0; i < block->threads; ++i) block->order.push_back(i);
  if (random) std::shuffle(block->order.begin(), block->order.end(), *random);
  for (auto& fiber : fibers) fiber->thread = -1;
  while (block->finished < block->threads && block->failure.empty()) {
    if (block->begun < block->order.size() && (!random || block->ready.empty() || (*random)() % 2)) {
      const int fiber = fresh_fiber();
      if (fibers[fiber]->thread < 0) prepare(*fibers[fiber]);
      resume(fiber);
    } else if (!block->ready.empty()) {
      const size_t pick = random ? (*random)() % block->ready.size() : 0;
      const int fiber = block->ready[pick];
      block->ready.erase(block->ready.begin() + static_cast<std::ptrdiff_t>(pick));
      resume(fiber);
    } else {
      block->failure = deadlock();
    }
  }
}

// ------------------------------------------------------------------------------------------------------------ races

void check_race(size_t byte, size_t bytes, bool write) {
  const int thread = fibers[current]->thread, warp = thread / warpSize;
  const uint32_t warp_epoch = block->warp_epochs[warp];
  const auto meets = [&](const Touch& touch) {
    return touch.epoch == block->epoch && touch.thread != thread &&
           !(touch.warp == warp && touch.warp_epoch < warp_epoch);
  };
  for (size_t w = byte / 4; w <= (byte + bytes - 1) / 4; ++w) {
    Word& word = block->words[w];
    if (meets(word.write) || (write && meets(word.read))) {
      fail(std::string("race: it ") + (write ? "writes" : "reads") + " byte " + std::to_string(byte) +
           " of shared memory, which another thread " + (meets(word.write) ? "wrote" : "read") +
           " since the last barrier");
    }
    Touch& touch = write ? word.write : word.read;
    const bool joins = !write && touch.epoch == block->epoch;
    touch = {block->epoch, warp_epoch, joins && touch.thread != thread ? -2 : thread,
             joins && touch.warp != warp ? -2 : warp};
  }
}

void check_access(const void* address, size_t bytes, bool write, bool ordered) {
  if (!in_kernel) return;
  const OutsideKernel outside;
  const auto at = reinterpret_cast<uintptr_t>(address);
  const auto within = [&](const void* start, size_t size) {
    const auto first = reinterpret_cast<uintptr_t>(start);
    return at >= first && at + bytes <= first + size;
  };
  if (within(fibers[current]->stack.get(), stack_bytes)) return;
  if (within(shared_bytes_of_block, block->shared_bytes)) {
    if (!ordered) check_race(at - reinterpret_cast<uintptr_t>(shared_bytes_of_block), bytes, write);
    return;
  }
  for (const dim3* builtin : {&threadIdx, &blockIdx, &blockDim, &gridDim}) {
    if (!write && within(builtin, sizeof(dim3))) return;
  }
  if (!in_device_memory(at, bytes)) {
    fail(std::string(write ? "write" : "read") + " of " + std::to_string(bytes) +
         " bytes that are neither in shared memory, nor in device memory, nor the thread's own");
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------- inside a kernel

void* shared_memory() { return shared_bytes_of_block; }
int lane_id() { return fibers[current]->thread % warpSize; }
void check_atomic(const void* address, size_t bytes) { check_access(address, bytes, true, true); }

void __syncthreads() {
  const OutsideKernel outside;
  wait_at(block->barrier, block->threads, block->epoch);
}

void __syncwarp(unsigned mask) {
  const OutsideKernel outside;
  const int thread = fibers[current]->thread, warp = thread / warpSize;
  const int lanes_of_warp = std::min(block->threads - warp * warpSize, warpSize);
  if (lanes_of_warp < warpSize) mask &= (1u << lanes_of_warp) - 1;
  Barrier& barrier = block->warp_barriers[warp];
  if (!(mask >> thread % warpSize & 1)) fail("a shuffle or __syncwarp whose mask leaves out the calling lane");
  if (!barrier.waiting.empty() && barrier.mask != mask) fail("lanes of one warp meet with different masks");
  barrier.mask = mask;
  wait_at(barrier, __builtin_popcount(mask), block->warp_epochs[warp]);
}

void exchange(unsigned mask, void* value, size_t bytes, int lane) {
  const OutsideKernel outside;
  const int thread = fibers[current]->thread, source = thread / warpSize * warpSize + lane;
  if (source >= block->threads || !(mask >> lane & 1)) fail("a shuffle reads from a lane that takes no part in it");
  std::memcpy(lanes[thread], value, bytes);
  __syncwarp(mask);
  std::memcpy(value, lanes[source], bytes);
  __syncwarp(mask);
}

// A copy reads its source and writes its destination both when it is issued and when it is waited for, as far as races
// are concerned: it may happen at any time between.
void ptx::copy_async(float* to, const float* from, size_t size, int bytes) {
  {
    const OutsideKernel outside;
    if (reinterpret_cast<uintptr_t>(to) % size || (bytes > 0 && reinterpret_cast<uintptr_t>(from) % size)) {
      fail("an asynchronous copy of " + std::to_string(size) + " bytes at an address that is no multiple of them");
    }
    if (bytes < 0 || static_cast<size_t>(bytes) > size) fail("an asynchronous copy of more bytes than its size");
  }
  if (bytes > 0) check_access(from, static_cast<size_t>(bytes), false, false);
  check_access(to, size, true, false);
  const OutsideKernel outside;
  std::memset(to, 0xff, size);  // NaN
  CopyGroups& groups = block->copies[static_cast<size_t>(fibers[current]->thread)];
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, size, bytes});
}

void ptx::cp_async_commit() {
  const OutsideKernel outside;
  CopyGroups& groups = block->copies[static_cast<size_t>(fibers[current]->thread)];
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void ptx::wait_for_copies(size_t keep) {
  CopyGroups done;
  {
    const OutsideKernel outside;
    CopyGroups& groups = block->copies[static_cast<size_t>(fibers[current]->thread)];
    if (groups.size() <= keep + 1) return;
    const auto end = groups.end() - static_cast<std::ptrdiff_t>(keep + 1);
    done.assign(groups.begin(), end);
    groups.erase(groups.begin(), end);
  }
  for (const auto& group : done) {
    for (const Copy& copy : group) {
      check_access(copy.to, copy.size, true, false);
      const OutsideKernel outside;
      std::memset(copy.to, 0, copy.size);
      std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
  }
}

uint32_t ptx::to_tf32(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7f800000) == 0x7f800000) return bits;  // infinity and NaN
  return (bits + 0x1000) & ~0x1fffu;
}

// Lanes show their fragments to each other. Where an element is follows the tables of the PTX ISA from the element's
// side, apart from fragments.h, which says the same from the lane's side. Products are exact, their sum with c is
// rounded toward zero, as tensor cores do.
void ptx::mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static uint32_t shown[most_threads][6];
  const OutsideKernel outside;
  const int thread = fibers[current]->thread, warp = thread / warpSize * warpSize, lane = thread % warpSize;
  if (warp + warpSize > block->threads) fail("mma in a warp of fewer than 32 threads");
  std::memcpy(shown[thread], a, sizeof a);
  std::memcpy(shown[thread] + 4, b, sizeof b);
  __syncwarp();
  const auto number = [](uint32_t bits) { return static_cast<double>(__builtin_bit_cast(float, bits & ~0x1fffu)); };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + (i & 1);
    double sum = c[i];
    for (int k = 0; k < 8; ++k) {
      const uint32_t from_a = shown[warp + row % 8 * 4 + k % 4][(row >= 8 ? 1 : 0) + (k >= 4 ? 2 : 0)];
      const uint32_t from_b = shown[warp + column * 4 + k % 4][4 + (k >= 4 ? 1 : 0)];
      sum += number(from_a) * number(from_b);
    }
    float rounded = static_cast<float>(sum);
    if (std::abs(static_cast<double>(rounded)) > std::abs(sum)) rounded = std::nextafter(rounded, 0.0f);
    c[i] = rounded;
  }
  __syncwarp();
}

// ----------------------------------------------------------------------------------------------------- on the host

// TESELA_EMULATOR_CAPABILITY: the major compute capability to stand for, 9 without it.
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const char* capability = std::getenv("TESELA_EMULATOR_CAPABILITY");
  *value = attribute == cudaDevAttrMultiProcessorCount ? 132 : capability ? std::atoi(capability) : 9;
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "out of memory"; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = nullptr;
  if (posix_memalign(memory, 256, std::max<size_t>(bytes, 1)) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);  // NaN
  const std::lock_guard lock(memory_mutex);
  allocations[reinterpret_cast<uintptr_t>(*memory)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  {
    const std::lock_guard lock(memory_mutex);
    allocations.erase(reinterpret_cast<uintptr_t>(memory));
  }
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

void run_grid(const cudaLaunchConfig_t& config, void (*thread)(void*), void* arguments) {
  const dim3 grid = config.gridDim, size = config.blockDim;
  const int threads = static_cast<int>(size.x * size.y * size.z);
  if (threads < 1 || threads > most_threads || config.dynamicSmemBytes > most_shared_bytes) {
    throw std::runtime_error("emulator: " + std::to_string(threads) + " threads with " +
                             std::to_string(config.dynamicSmemBytes) + " bytes of shared memory do not fit a block");
  }
  const char* seed_text = std::getenv("TESELA_EMULATOR_SEED");
  const unsigned seed = seed_text ? static_cast<unsigned>(std::strtoul(seed_text, nullptr, 10)) : 0;  // 0: in order
  std::mt19937 random(seed);
  std::vector<uint64_t> order(uint64_t{grid.x} * grid.y * grid.z);
  for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  if (seed) std::shuffle(order.begin(), order.end(), random);

  const std::lock_guard lock(launch_mutex);
  for (uint64_t i : order) {
    Block here{};
    here.run = thread, here.arguments = arguments;
    here.at = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
               static_cast<unsigned>(i / grid.x / grid.y)};
    here.size = size, here.grid = grid;
    here.threads = threads;
    here.shared_bytes = config.dynamicSmemBytes;
    here.warp_barriers.resize((threads + warpSize - 1) / warpSize);
    here.warp_epochs.assign(here.warp_barriers.size(), 1);
    here.words.resize((here.shared_bytes + 3) / 4);
    here.copies.resize(static_cast<size_t>(threads));
    block = &here;
    run_block(seed ? &random : nullptr);
    block = nullptr;
    if (!here.failure.empty()) throw std::runtime_error(here.failure);
  }
}

}  // namespace emulated

// ------------------------------------------------------------------------- what -fsanitize=thread calls, see the
// header

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define EMULATED_ACCESS(bytes)                                                                               \
  void __tsan_read##bytes(void* address) { emulated::check_access(address, bytes, false, false); }           \
  void __tsan_write##bytes(void* address) { emulated::check_access(address, bytes, true, false); }           \
  void __tsan_unaligned_read##bytes(void* address) { emulated::check_access(address, bytes, false, false); } \
  void __tsan_unaligned_write##bytes(void* address) { emulated::check_access(address, bytes, true, false); }
EMULATED_ACCESS(1)
EMULATED_ACCESS(2)
EMULATED_ACCESS(4)
EMULATED_ACCESS(8)
EMULATED_ACCESS(16)
void __tsan_read_range(void* address, size_t bytes) { emulated::check_access(address, bytes, false, false); }
void __tsan_write_range(void* address, size_t bytes) { emulated::check_access(address, bytes, true, false); }
unsigned char __tsan_atomic8_load(const volatile unsigned char* guard, int order) {  // of a static local on the host
  return __atomic_load_n(guard, order == __ATOMIC_RELAXED ? __ATOMIC_RELAXED : __ATOMIC_ACQUIRE);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
