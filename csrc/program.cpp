#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

namespace tesela {
namespace {

constexpr size_t alignment = 64;

size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

// Memory and resolved addresses of one run at a time.
struct Program::Context {
  const Backend& backend;
  char* arena;
  size_t arena_bytes;
  char* scratch = nullptr;
  size_t scratch_bytes = 0;
  std::vector<Operand> operands;                      // of every tensor
  std::vector<std::vector<Operand>> inputs, outputs;  // of every step

  Context(const Backend& b, size_t bytes)
      : backend(b), arena(static_cast<char*>(b.allocate(bytes))), arena_bytes(bytes) {}
  ~Context() {
    backend.release(arena, arena_bytes);
    if (scratch) backend.release(scratch, scratch_bytes);
  }
  void reserve_scratch(size_t bytes) {
    if (bytes <= scratch_bytes) return;
    if (scratch) backend.release(scratch, scratch_bytes);
    scratch = nullptr, scratch_bytes = 0;
    scratch = static_cast<char*>(backend.allocate(bytes));
    scratch_bytes = bytes;
  }
};

Program::Program(const Backend& backend, Accuracy accuracy) : backend_(backend), accuracy_(accuracy) {}
Program::~Program() = default;

// ------------------------------------------------------------------------------------------------------ building

TensorId Program::input(Dims dims, DType dtype) {
  element_count(dims, "input");
  Tensor tensor;
  tensor.spec = plain_spec(std::move(dims), dtype);
  tensor.home = Home::input;
  tensor.index = static_cast<int>(inputs_.size());
  const TensorId id = static_cast<TensorId>(tensors_.size());
  tensor.storage = id;
  tensors_.push_back(std::move(tensor));
  inputs_.push_back(id);
  return id;
}

TensorId Program::constant(const void* values, Dims dims, DType dtype) {
  Tensor tensor;
  tensor.spec = plain_spec(std::move(dims), dtype);
  const size_t bytes = tensor.spec.bytes();
  constants_.emplace_back(backend_, std::max(aligned(bytes), alignment));
  if (backend_.memory_is_host()) {
    if (bytes > 0) std::memcpy(constants_.back().data, values, bytes);
  } else {
    backend_.upload(constants_.back().data, values, bytes, nullptr);
    backend_.wait(nullptr);
  }
  tensor.home = Home::constant;
  tensor.index = static_cast<int>(constants_.size()) - 1;
  const TensorId id = static_cast<TensorId>(tensors_.size());
  tensor.storage = id;
  tensors_.push_back(std::move(tensor));
  return id;
}

std::vector<TensorId> Program::append(std::unique_ptr<Plan> plan, const std::vector<TensorId>& inputs,
                                      std::vector<TensorSpec> outputs) {
  Step step{name_, op_, std::move(plan), inputs, {}};
  for (TensorSpec& spec : outputs) {
    Tensor tensor;
    tensor.spec = std::move(spec);
    const TensorId id = static_cast<TensorId>(tensors_.size());
    tensor.storage = id;
    tensors_.push_back(std::move(tensor));
    step.outputs.push_back(id);
  }
  scratch_bytes_ = std::max(scratch_bytes_, aligned(step.plan->scratch_bytes));
  steps_.push_back(std::move(step));
  return steps_.back().outputs;
}

TensorId Program::in_layout(TensorId id, Layout layout) {
  if (tensors_[id].spec.layout == layout) return id;
  if (tensors_[id].converted < 0) {
    const TensorId converted = backend_.convert(*this, id, layout);
    tensors_[id].converted = converted;
    tensors_[converted].converted = id;
  }
  return tensors_[id].converted;
}

TensorId Program::reshaped(TensorId id, Dims dims) {
  id = in_layout(id, Layout::plain);
  if (tensors_[id].spec.dims == dims) return id;
  Tensor tensor;
  tensor.spec = plain_spec(std::move(dims), tensors_[id].spec.dtype);
  tensor.storage = id;
  tensors_.push_back(std::move(tensor));
  return static_cast<TensorId>(tensors_.size()) - 1;
}

TensorId Program::joined(const std::vector<TensorId>& parts, const Dims& whole) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = tensors_[parts[i]];
    const bool fills_blocks = i + 1 == parts.size() || part.spec.dims[1] % channel_block == 0;
    if (part.spec.layout != Layout::blocked || part.home != Home::arena || part.storage != parts[i] || !fills_blocks) {
      return -1;
    }
    if (std::count(parts.begin(), parts.end(), parts[i]) != 1) return -1;
    for (const Tensor& tensor : tensors_) {  // already the whole of other parts
      if (&tensor != &part && tensor.storage == parts[i]) return -1;
    }
  }
  Tensor tensor;
  tensor.spec = blocked_spec(whole);
  const TensorId id = static_cast<TensorId>(tensors_.size());
  tensor.storage = id;
  int64_t block = 0;
  for (TensorId part_id : parts) {
    Tensor& part = tensors_[part_id];
    part.storage = id;
    part.element_offset = block * tensor.spec.plane_stride;
    part.spec.image_stride = tensor.spec.image_stride;
    block += part.spec.blocks();
  }
  tensors_.push_back(std::move(tensor));
  return id;
}

void Program::finish(const std::vector<TensorId>& outputs, size_t most_bytes) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    TensorId id = in_layout(outputs[i], Layout::plain);
    // A result that is an input, shares another's memory or was named twice needs a buffer of its own.
    bool shared = tensors_[id].home != Home::arena || tensors_[id].storage != id;
    for (const Tensor& tensor : tensors_) shared = shared || (&tensor != &tensors_[id] && tensor.storage == id);
    if (shared) {
      set_label("output", "copy");
      id = backend_.copy(*this, id);
    }
    tensors_[id].home = Home::output;
    tensors_[id].index = static_cast<int>(i);
    outputs_.push_back(id);
  }
  place();
  if (arena_bytes_ > most_bytes || scratch_bytes_ > most_bytes - arena_bytes_) {
    throw ShapeError("program: expected activations of at most " + std::to_string(most_bytes) + " bytes, got " +
                     std::to_string(arena_bytes_) + " and " + std::to_string(scratch_bytes_) + " of scratch");
  }
  finished_ = true;
  release(acquire(1));  // the first run finds its arena in place
}

TensorId Program::owner(TensorId id) const {
  while (tensors_[id].storage != id) id = tensors_[id].storage;
  return id;
}

// Gives every arena tensor an address such that tensors that live at the same time do not overlap: largest first, each
// at the lowest place that is free for its whole life.
void Program::place() {
  constexpr int never = std::numeric_limits<int>::max();
  std::vector<int> first(tensors_.size(), never), last(tensors_.size(), -1);
  for (int s = 0; s < static_cast<int>(steps_.size()); ++s) {
    for (const auto* ids : {&steps_[s].inputs, &steps_[s].outputs}) {
      for (TensorId id : *ids) {
        first[owner(id)] = std::min(first[owner(id)], s);
        last[owner(id)] = std::max(last[owner(id)], s);
      }
    }
  }
  std::vector<TensorId> order;
  for (TensorId id = 0; id < static_cast<TensorId>(tensors_.size()); ++id) {
    if (tensors_[id].home == Home::arena && tensors_[id].storage == id && last[id] >= 0) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](TensorId a, TensorId b) { return tensors_[a].spec.bytes() > tensors_[b].spec.bytes(); });
  std::vector<TensorId> placed;  // by address
  for (TensorId id : order) {
    const size_t bytes = aligned(tensors_[id].spec.bytes());
    size_t offset = 0;
    for (TensorId other : placed) {
      if (last[other] < first[id] || last[id] < first[other]) continue;
      if (offset + bytes <= tensors_[other].arena_offset) break;
      offset = std::max(offset, tensors_[other].arena_offset + aligned(tensors_[other].spec.bytes()));
    }
    tensors_[id].arena_offset = offset;
    arena_bytes_ = std::max(arena_bytes_, offset + bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), id,
                         [&](TensorId a, TensorId b) { return tensors_[a].arena_offset < tensors_[b].arena_offset; }),
        id);
  }
  if (backend_.memory_is_host()) return;
  for (const auto* ids : {&inputs_, &outputs_}) {  // the device's copies of the caller's arrays
    for (TensorId id : *ids) {
      tensors_[id].arena_offset = arena_bytes_;
      arena_bytes_ += aligned(tensors_[id].spec.bytes());
    }
  }
}

size_t Program::weight_bytes() const {
  size_t bytes = 0;
  for (const Block& block : constants_) bytes += block.bytes;
  for (const Step& step : steps_) bytes += step.plan->weight_bytes;
  return bytes;
}

std::vector<StepReport> Program::steps() const {
  std::vector<StepReport> reports;
  for (const Step& step : steps_) {
    reports.push_back({step.name, step.op, step.plan->algorithm, step.plan->flops, step.plan->bytes, 0.0});
  }
  return reports;
}

// ------------------------------------------------------------------------------------------------------- running

Program::Context* Program::acquire(int threads) {
  Context* context = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      context = idle_.back();
      idle_.pop_back();
    }
  }
  if (context == nullptr) {
    auto created = std::make_unique<Context>(backend_, std::max<size_t>(arena_bytes_, alignment));
    created->operands.resize(tensors_.size());
    for (const Step& step : steps_) {
      created->inputs.emplace_back(step.inputs.size());
      created->outputs.emplace_back(step.outputs.size());
    }
    context = created.get();
    std::lock_guard lock(mutex_);
    contexts_.push_back(std::move(created));
    idle_.reserve(contexts_.size());
  }
  try {
    context->reserve_scratch(scratch_bytes_ * static_cast<size_t>(threads));
  } catch (...) {
    release(context);
    throw;
  }
  return context;
}

void Program::release(Context* context) {
  std::lock_guard lock(mutex_);
  idle_.push_back(context);
}

void Program::execute(Context& context, int threads, std::vector<double>* seconds) {
  using clock = std::chrono::steady_clock;
  Team team(threads);
  Execution execution;
  execution.team = &team;
  execution.scratch = context.scratch;
  execution.scratch_stride = scratch_bytes_;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const auto start = seconds ? clock::now() : clock::time_point();
    steps_[s].plan->run(context.inputs[s].data(), context.outputs[s].data(), execution);
    if (seconds) {
      backend_.wait(execution.stream);
      const double elapsed = std::chrono::duration<double>(clock::now() - start).count();
      (*seconds)[s] = std::min((*seconds)[s], elapsed);
    }
  }
}

void Program::bind(Context& context, const std::vector<const void*>& inputs, const std::vector<void*>& outputs) const {
  const bool in_place = backend_.memory_is_host();
  for (size_t id = 0; id < tensors_.size(); ++id) {
    const Tensor& tensor = tensors_[id];
    int64_t elements = 0;
    TensorId at = static_cast<TensorId>(id);
    for (; tensors_[at].storage != at; at = tensors_[at].storage) elements += tensors_[at].element_offset;
    const Tensor& storage = tensors_[at];
    char* base = context.arena + storage.arena_offset;
    if (in_place && storage.home == Home::input) base = static_cast<char*>(const_cast<void*>(inputs[storage.index]));
    if (in_place && storage.home == Home::output) base = static_cast<char*>(outputs[storage.index]);
    if (storage.home == Home::constant) base = static_cast<char*>(constants_[storage.index].data);
    context.operands[id] = {base + elements * static_cast<int64_t>(bytes_of(tensor.spec.dtype)),
                            tensor.spec.image_stride};
  }
  for (size_t s = 0; s < steps_.size(); ++s) {
    for (size_t i = 0; i < steps_[s].inputs.size(); ++i) context.inputs[s][i] = context.operands[steps_[s].inputs[i]];
    for (size_t i = 0; i < steps_[s].outputs.size(); ++i)
      context.outputs[s][i] = context.operands[steps_[s].outputs[i]];
  }
}

void Program::run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads) {
  repeat(inputs, outputs, threads, 1, nullptr);
}

std::vector<StepReport> Program::profile(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
                                         int threads, int repeats) {
  std::vector<double> seconds(steps_.size(), std::numeric_limits<double>::infinity());
  repeat(inputs, outputs, threads, repeats, &seconds);
  std::vector<StepReport> reports = steps();
  for (size_t s = 0; s < reports.size(); ++s) reports[s].seconds = seconds[s];
  return reports;
}

void Program::repeat(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, int threads,
                     int repeats, std::vector<double>* seconds) {
  if (!finished_) throw std::logic_error("program: run() before finish()");
  if (inputs.size() != inputs_.size() || outputs.size() != outputs_.size()) {
    throw ShapeError("program: expected " + std::to_string(inputs_.size()) + " inputs and " +
                     std::to_string(outputs_.size()) + " outputs, got " + std::to_string(inputs.size()) + " and " +
                     std::to_string(outputs.size()));
  }
  struct Lease {
    Program& program;
    Context* context;
    ~Lease() { program.release(context); }
  } lease{*this, acquire(threads)};
  bind(*lease.context, inputs, outputs);
  const bool in_place = backend_.memory_is_host();
  const auto operand = [&](TensorId id) { return lease.context->operands[id].data; };
  for (size_t i = 0; i < inputs.size() && !in_place; ++i) {
    backend_.upload(operand(inputs_[i]), inputs[i], spec(inputs_[i]).bytes(), nullptr);
  }
  for (int i = 0; i < repeats; ++i) execute(*lease.context, threads, seconds);
  for (size_t i = 0; i < outputs.size() && !in_place; ++i) {
    backend_.download(outputs[i], operand(outputs_[i]), spec(outputs_[i]).bytes(), nullptr);
  }
  backend_.wait(nullptr);
}

}  // namespace tesela
