// Inside the emulator: the block that runs now, its threads, and who knows what of whom. Behind cuda_runtime.h and
// ptx.h.

#pragma once

#include <ucontext.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace emulated {

inline constexpr size_t most_shared_bytes = 227 << 10;  // what a block of sm_90 may ask for
inline constexpr size_t stack_bytes = 64 << 10;
inline constexpr int most_threads = 1024;

// --------------------------------------------------------------------------------------------------- what is ordered
// A thread counts its steps; a step ends where others may learn of what it did: at a barrier, a shuffle, an arrival.
// What a thread knows of another is up to which step all of it happened before now (a vector clock). The bulk copies
// that a thread issues count their own steps, as agent `threads + thread`, of which only an mbarrier tells.

size_t agents();
using Knowledge = std::shared_ptr<const std::vector<uint32_t>>;  // of each agent; null: of none

struct Touch {  // of a word of shared memory
  int agent = -1;
  uint32_t step = 0;
};
struct Word {
  Touch write, read;
  int readers = -1;  // in Block::readers, where several threads read that know nothing of each other
};

Knowledge joined(const Knowledge& a, const Knowledge& b);
// All that `thread` did and knows; its next step begins.
Knowledge released(int thread);
void acquire(int thread, const Knowledge& knowledge);
bool happened_before(const Touch& touch, int thread);

// ----------------------------------------------------------------------------------------------------------- threads

struct Barrier {
  std::vector<int> waiting;  // fibers
  unsigned mask = 0;         // of a warp's barrier
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[stack_bytes]};
  int thread = -1;
};

struct Copy {  // cp.async, not done yet
  void* to;
  const void* from;
  size_t size;
  int bytes;
};
using CopyGroups = std::vector<std::vector<Copy>>;  // of one thread; the last one is not committed yet

// Known to one file each: mbarriers and bulk copies (copies.cpp), products of warpgroups (tensor_cores.cpp).
struct TransactionBarriers;
struct Warpgroups;

struct Thread {
  uint32_t step = 1;
  uint32_t bulk_copies = 0;
  bool waited = false;  // for the kernel launched before
  uint32_t fenced = 0;  // the last step whose writes are visible to asynchronous copies and products
  Knowledge knowledge;
  CopyGroups copies;
};

struct Block {
  void (*run)(void*);
  void* arguments;
  dim3 at, size, grid;
  int threads;
  size_t shared_bytes;
  bool early;  // launched before the kernel before it has ended

  std::vector<int> order;  // in which threads begin
  size_t begun = 0;
  int finished = 0;
  std::vector<int> ready, idle;  // fibers
  std::vector<Thread> thread;
  Barrier barrier;
  std::vector<Barrier> warp_barriers;
  std::vector<Word> words;
  std::vector<std::vector<uint32_t>> readers;  // steps of each agent, 0 where it did not read
  std::vector<int> free_readers;
  std::vector<int> registers;  // of each warp, where setmaxnreg said so
  std::shared_ptr<TransactionBarriers> transactions;
  std::shared_ptr<Warpgroups> warpgroups;
  std::string failure;
};

extern Block* block;
extern char shared_bytes_of_block[most_shared_bytes];

// Whether this thread's accesses are those of a kernel. The linker may have given everyone the instrumented copies of
// what the standard library inlines, so that the emulator's own accesses and other threads' are reported too.
extern thread_local bool in_kernel;
struct OutsideKernel {
  const bool before = std::exchange(in_kernel, false);
  ~OutsideKernel() { in_kernel = before; }
};

int current_fiber();
int current_thread();
const void* stack_of_current();
// Ends the block, from inside a kernel. The fibers are left where they are: what lies on their stacks needs no
// destructor.
[[noreturn]] void fail(const std::string& what);
// Lets others run until something puts this fiber among those that are ready.
void suspend();
void wake(std::vector<int>& waiting);

// ------------------------------------------------------------------------------------------------------------ memory

// An access by `thread` to shared or device memory or its stack. `ordered`: not searched for races.
void check_access(const void* address, size_t bytes, bool write, bool ordered = false);
// The same by a bulk copy that this thread issues, and by an asynchronous product.
void check_bulk_write(const void* address, size_t bytes);
void check_asynchronous_read(const void* address, size_t bytes);
bool in_shared_memory(const void* address, size_t bytes);
size_t shared_offset(const void* address);
// What an earlier kernel may write is not to be touched before it has been waited for.
void check_waited(const void* address, bool write);

// --------------------------------------------------------------------------------------- asynchronous things under way

size_t bulk_copies();
void arrive_bulk_copy(size_t pick);     // of bulk_copies(), the oldest first
std::string waiting_at_transactions();  // for a deadlock's report
void check_end_of_thread();             // nothing it started is left
void check_end_of_block();

}  // namespace emulated
