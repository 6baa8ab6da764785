// The thread team: a caller and its workers share out the tasks of one step at a time.
//
// Workers spin for a bounded time between steps (a barrier costs about a microsecond then) and sleep on a futex after
// that, so an idle process uses no CPU. Each thread begins with a share of neighbouring tasks, and so finds in its
// caches what it wrote in the step before; one that is done takes from the others' shares, one task at a time: on a
// virtual machine a core may lose its time slice, and a fixed split would wait for it. A step ends with its last task,
// whether or not every worker has come. Which thread runs a task never changes a result.
//
// One team serves the whole process. A second caller that arrives while it is busy runs its tasks on its own thread.
// After fork() the child starts with a fresh team on first use.

#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace tesela {

// A borrowed callable void(int64_t task, int worker): two words, no allocation.
class TaskRef {
 public:
  template <class F>
  TaskRef(const F& f)  // NOLINT: implicit on purpose, like a function argument
      : object_(&f),
        call_([](const void* o, int64_t task, int worker) { (*static_cast<const F*>(o))(task, worker); }) {}
  void operator()(int64_t task, int worker) const { call_(object_, task, worker); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t, int);
};

// The right to use up to `threads` threads until destroyed. Worker numbers run from 0 (the caller) to size() - 1.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }
  void run(int64_t tasks, TaskRef body);  // returns when every task has run

 private:
  int size_;
  bool owns_workers_;
};

// Threads that what is planned on this thread will run on: what was set here, else num_threads(). 0 unsets it.
int planning_threads();
void set_planning_threads(int threads);
// body(i, worker) for each i below count, on as many threads: the packing of weights.
void parallel_for(int64_t count, TaskRef body);

// Held while a process forks, so that the child never finds it locked by a thread that it does not have: for what a run
// locks for a moment.
std::mutex& fork_mutex();

// CPUs granted by the control groups of this process, its own and those around it: the least; 0 if unlimited.
int cgroup_quota(const std::string& root, const std::string& membership);
int available_threads();  // CPUs this process may use: affinity mask and cgroup quota
constexpr int most_threads = 4096;
// set_num_threads, else TESELA_NUM_THREADS, else OMP_NUM_THREADS, else available. ShapeError where TESELA_NUM_THREADS
// is no number of threads.
int num_threads();
void set_num_threads(int threads);

}  // namespace tesela
