// The emulator behind cuda_runtime.h: fibers, barriers, memory, and the checks.

#include <ucontext.h>

#include <algorithm>
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

// ----------------------------------------------------------------------------------------------------- on the host

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
