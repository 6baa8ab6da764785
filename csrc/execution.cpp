// Running a program: the memory of each concurrent run, its steps in order, and images apart; on a device with memory
// of its own, arrays of either side, and the graph that its steps become.

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include "program.h"

namespace tesela {

// Memory and resolved addresses of one run at a time.
struct Program::Context {
  const Backend& backend;
  char* arena;
  size_t arena_bytes;
  char* scratch = nullptr;
  size_t scratch_bytes = 0;
  std::vector<Operand> operands;                            // of every tensor
  std::vector<std::vector<Operand>> inputs, outputs;        // of every step
  std::vector<Operand> given, asked;                        // the program's inputs and outputs
  std::vector<std::vector<std::unique_ptr<Context>>> each;  // of every step: of its program for one image, per worker
  // On a device with memory of its own:
  std::unique_ptr<DeviceRun> device;
  bool warm = false;                                                    // has run before
  std::vector<std::vector<Operand>> recorded_inputs, recorded_outputs;  // the addresses in the graph

  explicit Context(const Program& program)
      : backend(program.backend_),
        arena(static_cast<char*>(backend.allocate(std::max(program.arena_bytes_, alignment)))),
        arena_bytes(std::max(program.arena_bytes_, alignment)),
        operands(program.tensors_.size()),
        given(program.inputs_.size()),
        asked(program.outputs_.size()),
        each(program.steps_.size()),
        device(backend.device_run()) {
    for (const Step& step : program.steps_) {
      inputs.emplace_back(step.inputs.size());
      outputs.emplace_back(step.outputs.size());
    }
  }
  ~Context() {
    device.reset();
    backend.release(arena, arena_bytes);
    if (scratch) backend.release(scratch, scratch_bytes);
  }
  // Makes room for so many threads.
  void reserve(const Program& program, int threads) {
    const size_t bytes = program.scratch_bytes_ * static_cast<size_t>(threads);
    if (bytes > scratch_bytes) {
      if (scratch) backend.release(scratch, scratch_bytes);
      scratch = nullptr, scratch_bytes = 0;
      scratch = static_cast<char*>(backend.allocate(bytes));
      scratch_bytes = bytes;
    }
    for (size_t s = 0; s < each.size(); ++s) {
      const Program* one = program.steps_[s].each.get();
      if (one == nullptr) continue;
      while (each[s].size() < static_cast<size_t>(threads)) {
        each[s].push_back(std::make_unique<Context>(*one));
        each[s].back()->reserve(*one, 1);
      }
      each[s][0]->reserve(*one, threads);  // for images that all threads share
    }
  }
};

Program::Program(const Backend& backend, Accuracy accuracy, Precision precision, DType weight_storage)
    : backend_(backend), accuracy_(accuracy), precision_(precision), weight_storage_(weight_storage) {
  if (accuracy == Accuracy::strict && precision != Precision::float32) {
    throw ShapeError(std::string("precision: expected 'float32' with accuracy 'strict', which sums in float32, got '") +
                     name_of(precision) + "'");
  }
  if (!backend.computes_in(precision)) {
    throw ShapeError(std::string("precision: expected ") + backend.precisions() + " for device '" + backend.name() +
                     "', got '" + name_of(precision) + "'");
  }
  if (weight_storage != DType::float32 && !backend.stores_bfloat16_weights()) {
    throw ShapeError(std::string("weight_storage: expected 'float32' for device '") + backend.name() + "', got '" +
                     name_of(weight_storage) + "'");
  }
}
Program::~Program() = default;

Program::Context* Program::acquire(int threads) {
  Context* context = nullptr;
  {
    std::lock_guard lock(fork_mutex());
    if (!idle_.empty()) {
      context = idle_.back();
      idle_.pop_back();
    }
  }
  if (context == nullptr) {
    auto created = std::make_unique<Context>(*this);
    context = created.get();
    std::lock_guard lock(fork_mutex());
    contexts_.push_back(std::move(created));
    idle_.reserve(contexts_.size());
  }
  try {
    context->reserve(*this, threads);
  } catch (...) {
    release(context);
    throw;
  }
  return context;
}

void Program::release(Context* context) {
  std::lock_guard lock(fork_mutex());
  idle_.push_back(context);
}

// What a step has to refuse is in the data, an index that is none: the operator says which, this names the layer.
template <class Step, class Run>
static void in_layer(const Step& step, const Run& run) {
  try {
    run();
  } catch (const ShapeError& error) {
    if (step.name == step.op) throw;
    throw ShapeError("layer '" + step.name + "': " + error.what());
  }
}

void Program::execute(Context& context, Team& team, double* seconds, void* stream) {
  using clock = std::chrono::steady_clock;
  Execution execution;
  execution.stream = stream;
  execution.team = &team;
  execution.scratch = context.scratch;
  execution.scratch_stride = scratch_bytes_;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const auto start = seconds ? clock::now() : clock::time_point();
    if (steps_[s].each) {
      execute_each_image(context, s, team, seconds);
      if (seconds) seconds += steps_[s].each->step_count();
      continue;
    }
    in_layer(steps_[s], [&] { steps_[s].plan->run(context.inputs[s].data(), context.outputs[s].data(), execution); });
    if (seconds) {
      backend_.wait(execution.stream);
      *seconds++ += std::chrono::duration<double>(clock::now() - start).count();
    }
  }
}

// The steps one by one the first time, which also loads their kernels; by a graph from the second time on.
void Program::launch(Context& context, void* stream) {
  Team none(1);
  if (!context.warm) {
    execute(context, none, nullptr, stream);
    context.warm = true;
    return;
  }
  const auto run = [&](size_t s, void* target) {
    Execution execution;
    execution.stream = target;
    steps_[s].plan->run(context.inputs[s].data(), context.outputs[s].data(), execution);
  };
  const auto moved = [](const std::vector<Operand>& now, const std::vector<Operand>& then) {
    return !std::equal(now.begin(), now.end(), then.begin(),
                       [](const Operand& a, const Operand& b) { return a.data == b.data; });
  };
  bool fits = context.device->recorded();
  for (size_t s = 0; fits && s < steps_.size(); ++s) {
    if (moved(context.inputs[s], context.recorded_inputs[s]) ||
        moved(context.outputs[s], context.recorded_outputs[s])) {
      fits = context.device->change(s, run);
    }
  }
  if (!fits) context.device->record(steps_.size(), run);
  context.recorded_inputs = context.inputs, context.recorded_outputs = context.outputs;
  context.device->launch();
}

// Every thread takes one image after the other; those left when no full round remains are shared by all. A task must
// not throw: what the first of the refused images has to say is thrown when all are done.
void Program::execute_each_image(Context& context, size_t s, Team& team, double* seconds) {
  Program& each = *steps_[s].each;
  const int64_t images = spec(steps_[s].inputs[0]).dims[0], apart = images / team.size() * team.size();
  const auto of_image = [&](const std::vector<TensorId>& ids, const std::vector<Operand>& whole, int64_t image,
                            std::vector<Operand>& to) {
    for (size_t i = 0; i < ids.size(); ++i) {
      const TensorSpec& all = spec(ids[i]);
      const int64_t stride = all.layout == Layout::plain ? all.elements() / images : whole[i].image_stride;
      to[i] = whole[i];
      to[i].data = whole[i].as<char>() + image * stride * static_cast<int64_t>(bytes_of(all.dtype));
    }
  };
  const auto run = [&](int64_t image, int worker, Team& by, double* spent) {
    Context& own = *context.each[s][static_cast<size_t>(worker)];
    of_image(steps_[s].inputs, context.inputs[s], image, own.given);
    of_image(steps_[s].outputs, context.outputs[s], image, own.asked);
    each.bind(own);
    each.execute(own, by, spent, nullptr);
  };
  std::mutex failing;
  int64_t failed = images;
  std::exception_ptr error;
  const auto try_to_run = [&](int64_t image, int worker, Team& by, double* spent) {
    try {
      run(image, worker, by, spent);
    } catch (...) {
      std::lock_guard lock(failing);
      if (image < failed) failed = image, error = std::current_exception();
    }
  };
  const size_t count = each.step_count();
  std::vector<double> spent(seconds ? count * static_cast<size_t>(team.size()) : 0);  // by each worker
  team.run(apart, [&](int64_t image, int worker) {
    Team alone(1);
    try_to_run(image, worker, alone, seconds ? spent.data() + static_cast<size_t>(worker) * count : nullptr);
  });
  for (size_t i = 0; i < spent.size(); ++i) seconds[i % count] += spent[i] / team.size();
  for (int64_t image = apart; image < images; ++image) try_to_run(image, 0, team, seconds);
  try {
    if (error) std::rethrow_exception(error);
  } catch (const ShapeError& refused) {
    throw ShapeError("image " + std::to_string(failed) + " by itself: " + refused.what());
  }
}

// Resolves the operands of every step, given those of the program. Arrays that the steps cannot use where they lie have
// a place in the arena.
void Program::bind(Context& context, bool on_device) const {
  const auto used = [&](const Operand& array) {
    return backend_.memory_is_host() || (on_device && reinterpret_cast<uintptr_t>(array.data) % device_alignment == 0);
  };
  for (size_t id = 0; id < tensors_.size(); ++id) {
    const Tensor& tensor = tensors_[id];
    int64_t elements = 0;
    TensorId at = static_cast<TensorId>(id);
    for (; tensors_[at].storage != at; at = tensors_[at].storage) elements += tensors_[at].element_offset;
    const Tensor& storage = tensors_[at];
    char* base = context.arena + storage.arena_offset;
    if (storage.home == Home::constant) base = static_cast<char*>(constants_[storage.index]->data);
    if (storage.home == Home::input && used(context.given[storage.index])) {
      base = context.given[storage.index].as<char>();
    }
    if (storage.home == Home::output && used(context.asked[storage.index])) {
      base = context.asked[storage.index].as<char>();
    }
    context.operands[id] = {base + elements * static_cast<int64_t>(bytes_of(tensor.spec.dtype)),
                            tensor.spec.image_stride, tensor.spec.pixel_stride};
  }
  for (size_t s = 0; s < steps_.size(); ++s) {
    for (size_t i = 0; i < steps_[s].inputs.size(); ++i) context.inputs[s][i] = context.operands[steps_[s].inputs[i]];
    for (size_t i = 0; i < steps_[s].outputs.size(); ++i)
      context.outputs[s][i] = context.operands[steps_[s].outputs[i]];
  }
}

void Program::expect_counts(size_t inputs, size_t outputs) const {
  if (inputs == inputs_.size() && outputs == outputs_.size()) return;
  throw ShapeError("program: expected " + std::to_string(inputs_.size()) + " inputs and " +
                   std::to_string(outputs_.size()) + " outputs, got " + std::to_string(inputs) + " and " +
                   std::to_string(outputs));
}

void Program::run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads) {
  repeat({inputs, outputs}, threads, 1, nullptr);
}

void Program::run_on_device(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                            StreamHandle stream) {
  if (backend_.memory_is_host()) {
    throw DeviceError(std::string("program: it was planned for device '") + backend_.name() +
                      "', and its arrays lie on another");
  }
  repeat({inputs, outputs, true, stream}, 1, 1, nullptr);
}

std::vector<StepReport> Program::profile(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                                         int threads, int repeats) {
  std::vector<double> seconds(step_count(), std::numeric_limits<double>::infinity());
  repeat({inputs, outputs}, threads, repeats, &seconds);
  std::vector<StepReport> reports = steps();
  for (size_t s = 0; s < reports.size(); ++s) reports[s].seconds = seconds[s];
  return reports;
}

double Program::seconds(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads,
                        int repeats) {
  double seconds = 0;
  repeat({inputs, outputs}, threads, repeats, nullptr, &seconds);
  return seconds;
}

// least: of each step, over the repeats. in_a_row: of a run, when all repeats follow each other without a wait.
void Program::repeat(const Arrays& arrays, int threads, int repeats, std::vector<double>* least, double* in_a_row) {
  const auto& [inputs, outputs, on_device, handle] = arrays;
  if (!finished_) throw std::logic_error("program: run() before finish()");
  expect_counts(inputs.size(), outputs.size());
  if (threads < 1) throw ShapeError("program: expected threads of at least 1, got " + std::to_string(threads));
  if (repeats < 1) throw ShapeError("program: expected repeats of at least 1, got " + std::to_string(repeats));
  struct Lease {
    Program& program;
    Context* context;
    ~Lease() { program.release(context); }
  } lease{*this, acquire(threads)};
  Context& context = *lease.context;
  for (size_t i = 0; i < inputs.size(); ++i) context.given[i] = {const_cast<void*>(inputs[i]), 0};
  for (size_t i = 0; i < outputs.size(); ++i) context.asked[i] = {outputs[i], 0};
  bind(context, on_device);

  struct OnStream {
    const Backend& backend;
    DeviceRun* run;
    void* stream;
    bool waits;  // for copies from and to arrays of the host, which are not ours after an error either
    OnStream(const Context& of, StreamHandle at, bool host)
        : backend(of.backend), run(of.device.get()), stream(run ? run->begin(at) : nullptr), waits(run && host) {}
    ~OnStream() {
      try {
        if (waits) backend.wait(stream);
      } catch (...) {  // the error under way says enough
      }
      if (run) run->end();
    }
  } on{context, handle, !on_device};
  const auto copied = [&](TensorId id, const void* array) { return context.operands[id].data != array; };
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!copied(inputs_[i], inputs[i])) continue;
    const auto copy = on_device ? &Backend::transfer : &Backend::upload;
    (backend_.*copy)(context.operands[inputs_[i]].data, inputs[i], spec(inputs_[i]).bytes(), on.stream);
  }
  const auto once = [&](double* seconds) {
    Team team(threads);
    if (context.device && seconds == nullptr) {
      launch(context, on.stream);
    } else {
      execute(context, team, seconds, on.stream);
    }
  };
  using clock = std::chrono::steady_clock;
  auto start = clock::now();
  if (in_a_row) {
    for (int i = 0; i < (context.device ? 2 : 1); ++i) once(nullptr);
    backend_.wait(on.stream);
    start = clock::now();
  }
  for (int i = 0; i < repeats; ++i) {
    if (least == nullptr) {
      once(nullptr);
      continue;
    }
    std::vector<double> seconds(least->size());
    once(seconds.data());
    for (size_t s = 0; s < seconds.size(); ++s) (*least)[s] = std::min((*least)[s], seconds[s]);
  }
  if (in_a_row) {
    backend_.wait(on.stream);
    *in_a_row = std::chrono::duration<double>(clock::now() - start).count() / repeats;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!copied(outputs_[i], outputs[i])) continue;
    const auto copy = on_device ? &Backend::transfer : &Backend::download;
    (backend_.*copy)(outputs[i], context.operands[outputs_[i]].data, spec(outputs_[i]).bytes(), on.stream);
  }
  if (std::exchange(on.waits, false)) backend_.wait(on.stream);
  throw_noted(context, on.stream);
}

// Waits for the run where a step may have noted an error, and throws the first.
void Program::throw_noted(Context& context, void* stream) const {
  Execution execution;
  execution.stream = stream;
  for (size_t s = 0; s < steps_.size(); ++s) {
    if (!steps_[s].plan || !steps_[s].plan->notes_errors()) continue;
    backend_.wait(stream);
    in_layer(steps_[s],
             [&] { steps_[s].plan->throw_noted(context.inputs[s].data(), context.outputs[s].data(), execution); });
  }
}

}  // namespace tesela
