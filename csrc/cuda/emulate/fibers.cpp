// Threads of a block as fibers, what orders them, and launches.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <stdexcept>

#include "machine.h"
#include "ptx.h"

namespace emulated {

dim3 threadIdx, blockIdx, blockDim, gridDim;
Block* block = nullptr;
thread_local bool in_kernel = false;

namespace {

alignas(16) char lanes[most_threads][16];  // what each thread shows in a shuffle
std::mutex launch_mutex;
std::vector<std::unique_ptr<Fiber>> fibers;
ucontext_t scheduler;
int current = -1;  // fiber

std::string text(const dim3& at) {
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
}

void become(int thread) {
  fibers[current]->thread = thread;
  const unsigned t = static_cast<unsigned>(thread);
  threadIdx = {t % block->size.x, t / block->size.x % block->size.y, t / block->size.x / block->size.y};
  blockIdx = block->at;
  blockDim = block->size;
  gridDim = block->grid;
}

// A fiber takes threads that have not begun until there are none: only a thread that waits costs another fiber.
void fiber_main() {
  for (;;) {
    while (block->begun < block->order.size()) {
      become(block->order[block->begun++]);
      in_kernel = true;
      block->run(block->arguments);
      in_kernel = false;
      check_end_of_thread();
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

// Everyone who met knows what all of them did and knew.
void share_knowledge(const std::vector<int>& met) {
  auto all = std::make_shared<std::vector<uint32_t>>(agents());
  Knowledge last;
  for (int fiber : met) {
    const Thread& thread = block->thread[static_cast<size_t>(fibers[fiber]->thread)];
    if (thread.knowledge == last || !thread.knowledge) continue;
    last = thread.knowledge;
    for (size_t i = 0; i < all->size(); ++i) (*all)[i] = std::max((*all)[i], (*last)[i]);
  }
  for (int fiber : met) {
    const auto t = static_cast<size_t>(fibers[fiber]->thread);
    (*all)[t] = block->thread[t].step++;
  }
  for (int fiber : met) block->thread[static_cast<size_t>(fibers[fiber]->thread)].knowledge = all;
}

void wait_at(Barrier& barrier, int expected) {
  barrier.waiting.push_back(current);
  if (static_cast<int>(barrier.waiting.size()) == expected) {
    share_knowledge(barrier.waiting);
    wake(barrier.waiting);
  }
  suspend();
}

std::string deadlock() {
  int at_warp_barriers = 0;
  for (const Barrier& barrier : block->warp_barriers) at_warp_barriers += static_cast<int>(barrier.waiting.size());
  return "emulator: block " + text(block->at) + ": deadlock: " + std::to_string(block->barrier.waiting.size()) +
         " of " + std::to_string(block->threads) + " threads wait at __syncthreads, " +
         std::to_string(at_warp_barriers) + " at a shuffle or __syncwarp, " + waiting_at_transactions() +
         std::to_string(block->finished) + " have ended";
}

// Bulk copies arrive as late as can be, or, in a shuffled order, at any time.
void run_block(std::mt19937* random) {
  std::memset(shared_bytes_of_block, 0xff, block->shared_bytes);  // NaN
  for (int i = 0; i < block->threads; ++i) block->order.push_back(i);
  if (random) std::shuffle(block->order.begin(), block->order.end(), *random);
  for (auto& fiber : fibers) fiber->thread = -1;
  while (block->finished < block->threads && block->failure.empty()) {
    if (random && bulk_copies() > 0 && (*random)() % 4 == 0) {
      arrive_bulk_copy((*random)() % bulk_copies());
    } else if (block->begun < block->order.size() && (!random || block->ready.empty() || (*random)() % 2)) {
      const int fiber = fresh_fiber();
      if (fibers[fiber]->thread < 0) prepare(*fibers[fiber]);
      resume(fiber);
    } else if (!block->ready.empty()) {
      const size_t pick = random ? (*random)() % block->ready.size() : 0;
      const int fiber = block->ready[pick];
      block->ready.erase(block->ready.begin() + static_cast<std::ptrdiff_t>(pick));
      resume(fiber);
    } else if (bulk_copies() > 0) {
      arrive_bulk_copy(0);
    } else {
      block->failure = deadlock();
    }
  }
  const auto waited = [](const Thread& thread) { return thread.waited; };
  if (block->failure.empty() && block->early && std::ranges::none_of(block->thread, waited)) {
    block->failure = "emulator: block " + text(block->at) + " never waits for the kernel launched before";
  }
  if (block->failure.empty()) check_end_of_block();
}

}  // namespace

// ------------------------------------------------------------------------------------------------------- what is
// ordered

size_t agents() { return 2 * block->thread.size(); }

Knowledge joined(const Knowledge& a, const Knowledge& b) {
  if (!a || !b || a == b) return a ? a : b;
  auto all = std::make_shared<std::vector<uint32_t>>(*a);
  for (size_t i = 0; i < all->size(); ++i) (*all)[i] = std::max((*all)[i], (*b)[i]);
  return all;
}

Knowledge released(int thread) {
  Thread& own = block->thread[static_cast<size_t>(thread)];
  auto all = own.knowledge ? std::make_shared<std::vector<uint32_t>>(*own.knowledge)
                           : std::make_shared<std::vector<uint32_t>>(agents());
  (*all)[static_cast<size_t>(thread)] = own.step++;
  return all;
}

void acquire(int thread, const Knowledge& knowledge) {
  Thread& own = block->thread[static_cast<size_t>(thread)];
  own.knowledge = joined(own.knowledge, knowledge);
}

bool happened_before(const Touch& touch, int thread) {
  if (touch.agent < 0 || touch.agent == thread) return true;
  const Knowledge& known = block->thread[static_cast<size_t>(thread)].knowledge;
  return known && (*known)[static_cast<size_t>(touch.agent)] >= touch.step;
}

// -------------------------------------------------------------------------------------------------------------- fibers

int current_fiber() { return current; }
int current_thread() { return fibers[current]->thread; }
const void* stack_of_current() { return fibers[current]->stack.get(); }

void fail(const std::string& what) {
  block->failure = "emulator: block " + text(blockIdx) + ", thread " + text(threadIdx) + ": " + what;
  setcontext(&scheduler);
  __builtin_unreachable();
}

void suspend() { swapcontext(&fibers[current]->context, &scheduler); }

void wake(std::vector<int>& waiting) {
  block->ready.insert(block->ready.end(), waiting.begin(), waiting.end());
  waiting.clear();
}

// ----------------------------------------------------------------------------------------------------- inside a kernel

void ptx::wait_for_earlier_grid() { block->thread[static_cast<size_t>(current_thread())].waited = true; }

int lane_id() { return current_thread() % warpSize; }

void __syncthreads() {
  const OutsideKernel outside;
  wait_at(block->barrier, block->threads);
}

void __syncwarp(unsigned mask) {
  const OutsideKernel outside;
  const int thread = current_thread(), warp = thread / warpSize;
  const int lanes_of_warp = std::min(block->threads - warp * warpSize, warpSize);
  if (lanes_of_warp < warpSize) mask &= (1u << lanes_of_warp) - 1;
  Barrier& barrier = block->warp_barriers[static_cast<size_t>(warp)];
  if (!(mask >> thread % warpSize & 1)) fail("a shuffle or __syncwarp whose mask leaves out the calling lane");
  if (!barrier.waiting.empty() && barrier.mask != mask) fail("lanes of one warp meet with different masks");
  barrier.mask = mask;
  wait_at(barrier, __builtin_popcount(mask));
}

void exchange(unsigned mask, void* value, size_t bytes, int lane) {
  const OutsideKernel outside;
  const int thread = current_thread(), source = thread / warpSize * warpSize + lane;
  if (source >= block->threads || !(mask >> lane & 1)) fail("a shuffle reads from a lane that takes no part in it");
  std::memcpy(lanes[thread], value, bytes);
  __syncwarp(mask);
  std::memcpy(value, lanes[source], bytes);
  __syncwarp(mask);
}

// -------------------------------------------------------------------------------------------------------------
// launches

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
    here.early = config.early;
    here.thread.resize(static_cast<size_t>(threads));
    here.warp_barriers.resize(static_cast<size_t>((threads + warpSize - 1) / warpSize));
    here.words.resize((here.shared_bytes + 3) / 4);
    block = &here;
    run_block(seed ? &random : nullptr);
    block = nullptr;
    if (!here.failure.empty()) throw std::runtime_error(here.failure);
  }
}

}  // namespace emulated
