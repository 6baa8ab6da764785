// A compiled network: planned steps over one block of memory.
//
// Built once: declare inputs, let a Backend append steps, name the outputs, finish(). Then run() walks the list. It
// allocates nothing (the first run on an additional thread makes that thread's arena), knows no shapes, and may be
// called from several threads at once.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "plan.h"
#include "tensor.h"

namespace tesela {

// How far an algorithm may round beyond direct sums in float32: not at all, or about twice as much.
enum class Accuracy : uint8_t { strict, standard };

struct StepReport {  // one row of profile()
  std::string name, op, algorithm;
  double flops, bytes, seconds;
};

class Program {
 public:
  static constexpr size_t alignment = 64;  // bytes, of every tensor in the arena
  // Arrays of a device that lie at no multiple of this are copied: kernels read 16 bytes at once.
  static constexpr size_t device_alignment = 16;

  // weight_storage: float32, or bfloat16 for the weights of fully connected layers, whatever the products are made of.
  // ShapeError where the backend does not compute in that precision or store weights so.
  Program(const Backend& backend, Accuracy accuracy, Precision precision = Precision::float32,
          DType weight_storage = DType::float32);
  ~Program();

  const Backend& backend() const { return backend_; }
  Accuracy accuracy() const { return accuracy_; }
  Precision precision() const { return precision_; }
  DType weight_storage() const { return weight_storage_; }
  const TensorSpec& spec(TensorId id) const { return tensors_.at(static_cast<size_t>(id)).spec; }

  const std::vector<TensorId>& inputs() const { return inputs_; }
  const std::vector<TensorId>& outputs() const { return outputs_; }
  // ShapeError unless a run is given so many arrays.
  void expect_counts(size_t inputs, size_t outputs) const;

  TensorId input(Dims dims, DType dtype = DType::float32);
  // A tensor of the program whose elements are known now; copied.
  TensorId constant(Dims dims, DType dtype, const void* data);

  // Appends a step that runs `each` for every image and returns its outputs, one image after the other in one tensor.
  // `each` is finished, has one image where `inputs` have several, and is of this program's device, whose memory is the
  // host's. Threads take an image each, without a barrier between steps, so that one image's activations stay in
  // caches.
  std::vector<TensorId> append_each_image(std::shared_ptr<Program> each, const std::vector<TensorId>& inputs);

  // Appends a planned step and returns its output tensors. Called by backends.
  std::vector<TensorId> append(std::unique_ptr<Plan> plan, const std::vector<TensorId>& inputs,
                               std::vector<TensorSpec> outputs);
  // `name` (layer) and `op` label the steps appended from now on. algorithm: what they take where there is a choice;
  // "": what is estimated to be the fastest.
  void set_label(std::string name, std::string op, std::string algorithm = {});
  // Which of a backend's candidates for a step to take: its first, unless another was asked for. ShapeError where that
  // is none of them.
  size_t choose(std::vector<std::string> algorithms);
  const std::vector<std::string>& candidates() const { return candidates_; }  // of the step labelled last

  // The same elements in the asked layout; appends a conversion the first time one is needed. None where they lie alike
  // in both: float32, one pixel, whole octets of channels.
  TensorId in_layout(TensorId id, Layout layout);
  // Whether that takes no step: it lies so, or an earlier step has asked for it.
  bool lies_in(TensorId id, Layout layout) const;
  // The same elements under other sizes; no step but the one that makes them plain, which maps of one pixel with
  // channels last do not need to be rows of a matrix, nor the rows to be maps.
  TensorId reshaped(TensorId id, Dims dims);
  // Lets the parts, all blocked or all channels_last, be written in place as channel ranges of one tensor, or returns
  // -1 when they cannot: a part whose channels do not fill whole blocks (octets), that is no arena tensor, or that
  // already is a part elsewhere.
  TensorId joined(const std::vector<TensorId>& parts, const Dims& whole);

  // Throws ShapeError, before anything is allocated, where arena and scratch of one thread need more than most_bytes.
  // Outputs become plain, but for those in `kept`, which another program will read.
  void finish(const std::vector<TensorId>& outputs, size_t most_bytes = SIZE_MAX,
              const std::vector<TensorId>& kept = {});
  // inputs and outputs: dense plain buffers in the order of input() and finish().
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads);
  // The same for arrays in the memory of the device, on a stream of the caller's. Returns before the work is done, but
  // where values may turn out to be wrong (an index, a divisor).
  void run_on_device(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, StreamHandle stream);
  // Runs `repeats` times and reports the fastest time of each step.
  std::vector<StepReport> profile(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                                  int threads, int repeats);
  // Seconds of one run, of `repeats` in a row after one that is not counted, without the copies to and from a device.
  double seconds(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads, int repeats);

  std::vector<StepReport> steps() const;  // of every image where they are run apart; seconds = 0
  size_t arena_bytes() const { return arena_bytes_; }
  size_t scratch_bytes() const { return scratch_bytes_ + each_bytes_; }  // per thread
  size_t weight_bytes() const;

 private:
  enum class Home : uint8_t { arena, input, output, constant };
  struct Tensor {
    TensorSpec spec;
    Home home = Home::arena;
    int index = -1;              // input or output: position in run()'s lists; constant: in constants_
    TensorId storage = -1;       // arena: the tensor whose memory this one lies in, itself as a rule
    int64_t element_offset = 0;  // inside `storage`
    size_t arena_offset = 0;     // bytes; of storage owners
    TensorId converted = -1;     // the same elements in the other layout, once asked for
  };
  struct Step {
    std::string name, op;
    std::unique_ptr<Plan> plan;
    std::vector<TensorId> inputs, outputs;
    std::shared_ptr<Program> each;  // instead of a plan: what to run for every image
  };
  struct Constant {
    const Backend& backend;
    size_t bytes;
    void* data;
    Constant(const Backend& backend, size_t bytes);
    ~Constant();
  };
  struct Context;  // arena, scratch and resolved operands of one concurrent run

  TensorId owner(TensorId id) const;
  void place();
  TensorId add_tensor(Tensor tensor);
  TensorId add_view(TensorId of, TensorSpec spec);  // of the same memory
  bool lies_alike(const TensorSpec& spec) const;    // plain and with channels last
  size_t step_count() const;                        // as steps() counts them
  Context* acquire(int threads);
  void release(Context* context);
  void bind(Context& context, bool on_device = false) const;
  // Adds to the seconds of each step, if asked for.
  void execute(Context& context, Team& team, double* seconds, void* stream);
  void launch(Context& context, void* stream);
  void throw_noted(Context& context, void* stream) const;
  void execute_each_image(Context& context, size_t step, Team& team, double* seconds);
  struct Arrays {
    const std::vector<const void*>& inputs;
    const std::vector<void*>& outputs;
    bool on_device = false;
    StreamHandle stream = thread_stream;
  };
  void repeat(const Arrays& arrays, int threads, int repeats, std::vector<double>* least, double* in_a_row = nullptr);

  const Backend& backend_;
  const Accuracy accuracy_;
  const Precision precision_;
  const DType weight_storage_;
  std::vector<Tensor> tensors_;
  std::vector<Step> steps_;
  std::vector<TensorId> inputs_, outputs_;
  std::vector<std::unique_ptr<Constant>> constants_;
  std::string name_, op_, algorithm_;
  std::vector<std::string> candidates_;
  size_t arena_bytes_ = 0, scratch_bytes_ = 0;
  size_t each_bytes_ = 0;  // per thread, for programs that run for each image
  bool finished_ = false;
  std::vector<std::unique_ptr<Context>> contexts_;
  std::vector<Context*> idle_;
};

}  // namespace tesela
