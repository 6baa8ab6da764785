#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "shape.h"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace tesela {
namespace {

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Flushes denormals to zero for as long as it lives: one of them costs as much as a hundred products.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }  // FTZ and DAZ
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

// Long enough to bridge the serial part between two steps, short enough to cost nothing between two runs.
constexpr auto spin_time = std::chrono::microseconds(100);

class Workers {
 public:
  ~Workers() { resize(0); }

  void run(int threads, int64_t tasks, TaskRef body) {
    resize(threads - 1);
    body_ = &body;
    for (int w = 0; w < threads; ++w) {
      shares_[w].next.store(tasks * w / threads, std::memory_order_relaxed);
      shares_[w].end = tasks * (w + 1) / threads;
    }
    inside_.fetch_and(~closed, std::memory_order_release);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    work(0);
    // No task is left to take: a worker that has not begun, because it sleeps or its core is busy, is not waited for.
    inside_.fetch_or(closed, std::memory_order_relaxed);
    const auto start = std::chrono::steady_clock::now();
    for (int spins = 0; inside_.load(std::memory_order_acquire) != closed; ++spins) {
      pause();
      // A worker that lost its core must be able to get this one.
      if (spins % 256 == 255 && std::chrono::steady_clock::now() - start > spin_time) std::this_thread::yield();
    }
  }

 private:
  void resize(int workers) {
    if (workers == static_cast<int>(threads_.size())) return;
    stop_.store(true, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
    shares_ = std::vector<Share>(static_cast<size_t>(workers) + 1);
    stop_.store(false, std::memory_order_relaxed);
    const uint32_t epoch = epoch_.load(std::memory_order_relaxed);
    try {
      for (int w = 1; w <= workers; ++w) threads_.emplace_back([this, w, epoch] { loop(w, epoch); });
    } catch (const std::system_error& error) {
      throw std::runtime_error("threads: expected " + std::to_string(workers + 1) +
                               ", the system grants no more than " + std::to_string(threads_.size() + 1) + " (" +
                               error.what() + "); ask for fewer by set_num_threads or TESELA_NUM_THREADS");
    }
  }

  void loop(int worker, uint32_t seen) {
    [[maybe_unused]] const FlushDenormals flush;
    for (;;) {
      wait(seen);
      seen = epoch_.load(std::memory_order_acquire);
      if (stop_.load(std::memory_order_relaxed)) return;
      if ((inside_.fetch_add(1, std::memory_order_acquire) & closed) == 0) work(worker);
      inside_.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait(uint32_t seen) {
    const auto start = std::chrono::steady_clock::now();
    for (int spins = 0; epoch_.load(std::memory_order_acquire) == seen; ++spins) {
      pause();
      if (spins % 64 == 63 && std::chrono::steady_clock::now() - start > spin_time) {
        epoch_.wait(seen, std::memory_order_acquire);
      }
    }
  }

  void work(int worker) {
    const TaskRef& body = *body_;
    const size_t count = shares_.size();
    for (size_t i = 0; i < count; ++i) {  // its own share, then what is left of the others'
      Share& share = shares_[(static_cast<size_t>(worker) + i) % count];
      for (;;) {
        const int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
        if (task >= share.end) break;
        body(task, worker);
      }
    }
  }

  // The tasks that one thread starts with: neighbours, and in the next step much the same part of the tensors.
  struct alignas(128) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::vector<std::thread> threads_;
  std::vector<Share> shares_;
  const TaskRef* body_ = nullptr;
  std::atomic<bool> stop_{false};
  // Written by every thread at different times: a cache line (and its prefetched neighbour) each.
  alignas(128) std::atomic<uint32_t> epoch_{0};
  // Workers between their first look for a task and their last, and a bit for whether one may still begin. Who comes
  // late adds and takes away one without touching a task, be it in the next run.
  static constexpr uint32_t closed = 1u << 31;
  alignas(128) std::atomic<uint32_t> inside_{closed};
};

struct Shared {
  std::mutex busy;
  Workers workers;
};

// Never destroyed: at exit a worker may sleep in it. Replaced, not repaired, in the child of a fork, whose copy has
// threads that do not exist and maybe a locked mutex.
Shared* shared = nullptr;
std::atomic<int> requested_threads{0};

Shared& shared_team() {
  std::lock_guard lock(fork_mutex());
  if (shared == nullptr) shared = new Shared;
  return *shared;
}

// 0 where the variable is not set, or begins with no number of threads. `rest` is what follows the number.
int threads_of_env(const char* name, const char** rest = nullptr) {
  const char* value = std::getenv(name);
  if (value == nullptr) return 0;
  char* end = nullptr;
  const long threads = std::strtol(value, &end, 10);
  if (rest) *rest = end;
  return end != value && threads > 0 && threads <= most_threads ? static_cast<int>(threads) : 0;
}

int own_env() {
  const char* rest = "";
  const int threads = threads_of_env("TESELA_NUM_THREADS", &rest);
  const char* value = std::getenv("TESELA_NUM_THREADS");
  if (value != nullptr && (threads == 0 || *rest != '\0')) {
    throw ShapeError("TESELA_NUM_THREADS: expected threads from 1 to " + std::to_string(most_threads) + ", got '" +
                     value + "'");
  }
  return threads;
}

// CPUs granted to one control group: quota / period of cpu.max (version 2) or cfs_quota_us (version 1); 0 if unlimited.
int quota_of(const std::string& group) {
  long quota = -1, period = 0;
  if (std::FILE* file = std::fopen((group + "/cpu.max").c_str(), "r")) {
    if (std::fscanf(file, "%ld %ld", &quota, &period) != 2) quota = -1;  // "max 100000"
    std::fclose(file);
  } else {
    const auto read = [&](const char* name, long& value) {
      if (std::FILE* f = std::fopen((group + name).c_str(), "r")) {
        if (std::fscanf(f, "%ld", &value) != 1) value = -1;
        std::fclose(f);
      }
    };
    read("/cpu.cfs_quota_us", quota);
    read("/cpu.cfs_period_us", period);
  }
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>((quota + period - 1) / period);
}

// The path of this process's group in a hierarchy: of lines "0::/path" and "4:cpu,cpuacct:/path", version 1's where it
// is.
std::string group_of_process(const std::string& membership, bool first_version) {
  std::string path = "/";
  if (std::FILE* file = std::fopen(membership.c_str(), "r")) {
    char line[4096];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      const std::string text(line, std::strcspn(line, "\n"));
      const size_t first = text.find(':'), second = text.find(':', first + 1);
      if (second == std::string::npos) continue;
      const std::string controllers = "," + text.substr(first + 1, second - first - 1) + ",";
      if (first_version ? controllers.find(",cpu,") != std::string::npos : controllers == ",,") {
        path = text.substr(second + 1);
      }
    }
    std::fclose(file);
  }
  return path;
}

}  // namespace

std::mutex& fork_mutex() {
  static std::mutex mutex;
#if defined(__linux__)
  static const int registered =
      pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(), shared = nullptr; });
  (void)registered;
#endif
  return mutex;
}

int cgroup_quota(const std::string& root, const std::string& membership) {
  int least = 0;
  for (const bool first_version : {false, true}) {
    const std::string top = first_version ? root + "/cpu" : root;
    std::string path = group_of_process(membership, first_version);
    for (;;) {
      const int quota = quota_of(top + path);
      if (quota > 0) least = least > 0 ? std::min(least, quota) : quota;
      if (path.empty() || path == "/") break;
      path.erase(path.rfind('/'));
    }
  }
  return least;
}

Team::Team(int threads) : size_(std::max(threads, 1)), owns_workers_(false) {
  if (size_ > 1) {
    owns_workers_ = shared_team().busy.try_lock();
    if (!owns_workers_) size_ = 1;
  }
}

Team::~Team() {
  if (owns_workers_) shared_team().busy.unlock();
}

void Team::run(int64_t tasks, TaskRef body) {
  [[maybe_unused]] const FlushDenormals flush;
  if (size_ > 1 && tasks > 1) {
    shared_team().workers.run(size_, tasks, body);
  } else {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
  }
}

namespace {
thread_local int planned_threads = 0;
}  // namespace

int planning_threads() { return planned_threads ? planned_threads : num_threads(); }
void set_planning_threads(int threads) { planned_threads = threads; }
void parallel_for(int64_t count, TaskRef body) { Team(planning_threads()).run(count, body); }

int available_threads() {
  int threads = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) threads = CPU_COUNT(&set);
  static const int quota = cgroup_quota(
      "/sys/fs/cgroup", "/proc/self/cgroup");  // read once: it is a file, and this is asked before every run
  if (quota > 0) threads = std::min(threads, quota);
#endif
  return std::max(threads, 1);
}

int num_threads() {
  if (const int threads = requested_threads.load()) return threads;
  if (const int threads = own_env()) return threads;
  // Not ours to refuse, and it may be a list: "4,2".
  if (const int threads = threads_of_env("OMP_NUM_THREADS")) return threads;
  return available_threads();
}

void set_num_threads(int threads) { requested_threads.store(threads); }

}  // namespace tesela
