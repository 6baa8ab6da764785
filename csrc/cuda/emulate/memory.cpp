// The checks of every access: is it somewhere that was allocated, and does it race.

#include <algorithm>

#include "machine.h"
#include "ptx.h"

namespace emulated {

alignas(1024) char shared_bytes_of_block[most_shared_bytes];

namespace {

bool is_within(const void* address, size_t bytes, const void* start, size_t size) {
  const auto at = reinterpret_cast<uintptr_t>(address), first = reinterpret_cast<uintptr_t>(start);
  return at >= first && at + bytes <= first + size;
}

// ------------------------------------------------------------------------------------------------------------ races

[[noreturn]] void fail_race(size_t byte, bool write, bool met_write) {
  fail(std::string("race: it ") + (write ? "writes" : "reads") + " byte " + std::to_string(byte) +
       " of shared memory, which another thread " + (met_write ? "wrote" : "read") + " with no barrier between");
}

bool readers_happened_before(const Word& word, int thread) {
  if (word.readers < 0) return happened_before(word.read, thread);
  const auto& steps = block->readers[static_cast<size_t>(word.readers)];
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] > 0 && !happened_before({static_cast<int>(i), steps[i]}, thread)) return false;
  }
  return true;
}

void note_read(Word& word, const Touch& now) {
  if (word.readers < 0 && happened_before(word.read, now.agent)) {
    word.read = now;
    return;
  }
  if (word.readers < 0) {
    if (block->free_readers.empty()) {
      word.readers = static_cast<int>(block->readers.size());
      block->readers.emplace_back(agents());
    } else {
      word.readers = block->free_readers.back();
      block->free_readers.pop_back();
      std::ranges::fill(block->readers[static_cast<size_t>(word.readers)], 0u);
    }
    block->readers[static_cast<size_t>(word.readers)][static_cast<size_t>(word.read.agent)] = word.read.step;
  }
  block->readers[static_cast<size_t>(word.readers)][static_cast<size_t>(now.agent)] = now.step;
}

void note_write(Word& word, const Touch& now) {
  word.write = now;
  word.read = {};
  if (word.readers >= 0) block->free_readers.push_back(word.readers);
  word.readers = -1;
}

// By the current thread, or a copy of its.
void check_race(size_t byte, size_t bytes, bool write, const Touch& now) {
  const int thread = current_thread();
  for (size_t w = byte / 4; w <= (byte + bytes - 1) / 4; ++w) {
    Word& word = block->words[w];
    if (!happened_before(word.write, thread)) fail_race(byte, write, true);
    if (write && !readers_happened_before(word, thread)) fail_race(byte, write, false);
    write ? note_write(word, now) : note_read(word, now);
  }
}

Touch touch_now() {
  const int thread = current_thread();
  return {thread, block->thread[static_cast<size_t>(thread)].step};
}

}  // namespace

bool in_shared_memory(const void* address, size_t bytes) {
  return is_within(address, bytes, shared_bytes_of_block, block->shared_bytes);
}

size_t shared_offset(const void* address) {
  return static_cast<size_t>(static_cast<const char*>(address) - shared_bytes_of_block);
}

void check_access(const void* address, size_t bytes, bool write, bool ordered) {
  if (!in_kernel) return;
  const OutsideKernel outside;
  if (in_shared_memory(address, bytes)) {
    if (!ordered) check_race(shared_offset(address), bytes, write, touch_now());
    return;
  }
  if (is_within(address, bytes, stack_of_current(), stack_bytes)) return;
  for (const dim3* builtin : {&threadIdx, &blockIdx, &blockDim, &gridDim}) {
    if (!write && is_within(address, bytes, builtin, sizeof(dim3))) return;
  }
  if (!in_device_memory(address, bytes, write)) {
    fail(std::string(write ? "write" : "read") + " of " + std::to_string(bytes) +
         " bytes that are neither in shared memory, nor in device memory, nor the thread's own");
  }
  check_waited(address, write);
}

void check_waited(const void* address, bool write) {
  if (!block->early || block->thread[static_cast<size_t>(current_thread())].waited) return;
  if (write) fail("a write of device memory that the kernel launched before may still use");
  if (kernels_write_to(address)) fail("a read of device memory that the kernel launched before may still write");
}

void check_bulk_write(const void* address, size_t bytes) {
  const int thread = current_thread();
  const uint32_t step = ++block->thread[static_cast<size_t>(thread)].bulk_copies;
  check_race(shared_offset(address), bytes, true, {block->threads + thread, step});
}

void check_asynchronous_read(const void* address, size_t bytes) {
  const size_t byte = shared_offset(address);
  check_race(byte, bytes, false, touch_now());
  for (size_t w = byte / 4; w <= (byte + bytes - 1) / 4; ++w) {
    const Touch& from = block->words[w].write;
    if (from.agent >= 0 && from.agent < block->threads &&
        from.step > block->thread[static_cast<size_t>(from.agent)].fenced) {
      fail("an asynchronous read of byte " + std::to_string(byte) +
           " of shared memory, which a thread wrote without a fence.proxy.async after it");
    }
  }
}

void ptx::prefetch_to_l2(const void* line) { check_access(line, 1, false); }

void* shared_memory() { return shared_bytes_of_block; }
void check_atomic(const void* address, size_t bytes) { check_access(address, bytes, true, true); }

}  // namespace emulated

// ------------------------------------------------------------------------- what -fsanitize=thread calls, see
// cuda_runtime.h

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define EMULATED_ACCESS(bytes)                                                                        \
  void __tsan_read##bytes(void* address) { emulated::check_access(address, bytes, false); }           \
  void __tsan_write##bytes(void* address) { emulated::check_access(address, bytes, true); }           \
  void __tsan_unaligned_read##bytes(void* address) { emulated::check_access(address, bytes, false); } \
  void __tsan_unaligned_write##bytes(void* address) { emulated::check_access(address, bytes, true); }
EMULATED_ACCESS(1)
EMULATED_ACCESS(2)
EMULATED_ACCESS(4)
EMULATED_ACCESS(8)
EMULATED_ACCESS(16)
void __tsan_read_range(void* address, size_t bytes) { emulated::check_access(address, bytes, false); }
void __tsan_write_range(void* address, size_t bytes) { emulated::check_access(address, bytes, true); }
unsigned char __tsan_atomic8_load(const volatile unsigned char* guard, int order) {  // of a static local on the host
  return __atomic_load_n(guard, order == __ATOMIC_RELAXED ? __ATOMIC_RELAXED : __ATOMIC_ACQUIRE);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
