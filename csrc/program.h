// A compiled network: planned steps over one block of memory.
//
// Built once: declare inputs, let a Backend append steps, name the outputs, finish(). Then run() walks the list. It
// allocates nothing (the first run on an additional thread makes that thread's arena), knows no shapes, and may be
// called from several threads at once.

#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.h"
#include "plan.h"
#include "tensor.h"

namespace tesela {

// How far an algorithm may round beyond direct sums in float32: not at all, about twice as much, or as it likes.
enum class Accuracy : uint8_t { strict, standard, fast };

struct StepReport {  // one row of profile()
  std::string name, op, algorithm;
  double flops, bytes, seconds;
};

class Program {
 public:
  Program(const Backend& backend, Accuracy accuracy);
  ~Program();

  const Backend& backend() const { return backend_; }
  Accuracy accuracy() const { return accuracy_; }
  const TensorSpec& spec(TensorId id) const { return tensors_.at(static_cast<size_t>(id)).spec; }

  TensorId input(Dims dims, DType dtype = DType::float32);
  // A tensor that the program holds: the dense values are copied.
  TensorId constant(const void* values, Dims dims, DType dtype);

  // Appends a planned step and returns its output tensors. Called by backends.
  std::vector<TensorId> append(std::unique_ptr<Plan> plan, const std::vector<TensorId>& inputs,
                               std::vector<TensorSpec> outputs);
  // `name` (layer) and `op` label the steps appended from now on.
  void set_label(std::string name, std::string op) { name_ = std::move(name), op_ = std::move(op); }

  // The same elements in the asked layout; appends a conversion the first time one is needed.
  TensorId in_layout(TensorId id, Layout layout);
  // The same plain elements under other sizes; no step.
  TensorId reshaped(TensorId id, Dims dims);
  // Lets the parts be written in place as channel ranges of one blocked tensor, or returns -1 when they cannot:
  // a part whose channels do not fill whole blocks, that is no arena tensor, or that already is a part elsewhere.
  TensorId joined(const std::vector<TensorId>& parts, const Dims& whole);

  // Throws ShapeError, before anything is allocated, where arena and scratch of one thread need more than most_bytes.
  void finish(const std::vector<TensorId>& outputs, size_t most_bytes = SIZE_MAX);
  // inputs and outputs: dense plain buffers in the order of input() and finish().
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads);
  // Runs `repeats` times and reports the fastest time of each step.
  std::vector<StepReport> profile(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                                  int threads, int repeats);

  std::vector<StepReport> steps() const;  // seconds = 0
  size_t arena_bytes() const { return arena_bytes_; }
  size_t scratch_bytes() const { return scratch_bytes_; }  // per thread
  size_t weight_bytes() const;

 private:
  enum class Home : uint8_t { arena, input, output, constant };
  struct Tensor {
    TensorSpec spec;
    Home home = Home::arena;
    int index = -1;              // input, output: position in run()'s lists; constant: in constants_
    TensorId storage = -1;       // arena: the tensor whose memory this one lies in, itself as a rule
    int64_t element_offset = 0;  // inside `storage`
    size_t arena_offset = 0;     // bytes; of storage owners
    TensorId converted = -1;     // the same elements in the other layout, once asked for
  };
  struct Step {
    std::string name, op;
    std::unique_ptr<Plan> plan;
    std::vector<TensorId> inputs, outputs;
  };
  // Memory of the device.
  struct Block {
    const Backend* backend;
    void* data;
    size_t bytes;
    Block(const Backend& b, size_t n) : backend(&b), data(b.allocate(n)), bytes(n) {}
    Block(Block&& other) noexcept : backend(other.backend), data(other.data), bytes(other.bytes) {
      other.data = nullptr;
    }
    ~Block() {
      if (data) backend->release(data, bytes);
    }
  };
  struct Context;  // arena, scratch and resolved operands of one concurrent run

  TensorId owner(TensorId id) const;
  void place();
  Context* acquire(int threads);
  void release(Context* context);
  void bind(Context& context, const std::vector<const void*>& inputs, const std::vector<void*>& outputs) const;
  void execute(Context& context, int threads, std::vector<double>* seconds);
  void repeat(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads, int repeats,
              std::vector<double>* seconds);

  const Backend& backend_;
  const Accuracy accuracy_;
  std::vector<Tensor> tensors_;
  std::vector<Step> steps_;
  std::vector<Block> constants_;
  std::vector<TensorId> inputs_, outputs_;
  std::string name_, op_;
  size_t arena_bytes_ = 0, scratch_bytes_ = 0;
  bool finished_ = false;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Context>> contexts_;
  std::vector<Context*> idle_;
};

}  // namespace tesela
