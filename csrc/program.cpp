#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <utility>

namespace tesela {
namespace {

size_t aligned(size_t bytes) { return (bytes + Program::alignment - 1) / Program::alignment * Program::alignment; }

bool is_one_pixel(const Dims& dims) { return dims.size() == 2 || (dims.size() == 4 && dims[2] == 1 && dims[3] == 1); }

}  // namespace

TensorId Program::input(Dims dims, DType dtype) {
  element_count(dims, "input");
  Tensor tensor;
  tensor.spec = plain_spec(std::move(dims), dtype);
  tensor.home = Home::input;
  tensor.index = static_cast<int>(inputs_.size());
  inputs_.push_back(add_tensor(std::move(tensor)));
  return inputs_.back();
}

// With memory of its own.
TensorId Program::add_tensor(Tensor tensor) {
  const TensorId id = static_cast<TensorId>(tensors_.size());
  tensor.storage = id;
  tensors_.push_back(std::move(tensor));
  return id;
}

TensorId Program::add_view(TensorId of, TensorSpec spec) {
  Tensor tensor;
  tensor.spec = std::move(spec);
  tensor.storage = of;
  tensors_.push_back(std::move(tensor));
  return static_cast<TensorId>(tensors_.size()) - 1;
}

bool Program::lies_alike(const TensorSpec& spec) const {
  return spec.dtype == DType::float32 && storage_of(precision_) == DType::float32 && is_one_pixel(spec.dims) &&
         spec.dims[1] % channel_octet == 0 &&
         (spec.layout == Layout::plain ? spec.dims.size() == 4 : spec.image_stride == spec.dims[1]);
}

Program::Constant::Constant(const Backend& b, size_t n) : backend(b), bytes(n), data(b.allocate(n)) {}
Program::Constant::~Constant() { backend.release(data, bytes); }

TensorId Program::constant(Dims dims, DType dtype, const void* data) {
  element_count(dims, "constant");
  Tensor tensor;
  tensor.spec = plain_spec(std::move(dims), dtype);
  tensor.home = Home::constant;
  tensor.index = static_cast<int>(constants_.size());
  const size_t bytes = tensor.spec.bytes();
  constants_.push_back(std::make_unique<Constant>(backend_, std::max(bytes, alignment)));
  if (backend_.memory_is_host()) {
    if (bytes > 0) std::memcpy(constants_.back()->data, data, bytes);
  } else {
    backend_.upload(constants_.back()->data, data, bytes, nullptr);
    backend_.wait(nullptr);
  }
  return add_tensor(std::move(tensor));
}

std::vector<TensorId> Program::append(std::unique_ptr<Plan> plan, const std::vector<TensorId>& inputs,
                                      std::vector<TensorSpec> outputs) {
  Step step{name_, op_, std::move(plan), inputs, {}, nullptr};
  for (TensorSpec& spec : outputs) {
    Tensor tensor;
    tensor.spec = std::move(spec);
    step.outputs.push_back(add_tensor(std::move(tensor)));
  }
  scratch_bytes_ = std::max(scratch_bytes_, aligned(step.plan->scratch_bytes));
  steps_.push_back(std::move(step));
  return steps_.back().outputs;
}

std::vector<TensorId> Program::append_each_image(std::shared_ptr<Program> each, const std::vector<TensorId>& inputs) {
  if (!each->finished_ || &each->backend_ != &backend_ || !backend_.memory_is_host() ||
      inputs.size() != each->inputs_.size() || inputs.empty()) {
    throw std::logic_error("program: a program for each image must be finished, of this device, with as many inputs");
  }
  const int64_t images = spec(inputs[0]).dims[0];
  Step step{name_, op_, nullptr, {}, {}, std::move(each)};
  for (size_t i = 0; i < inputs.size(); ++i) {
    Dims one = spec(inputs[i]).dims;
    if (one.empty() || one[0] != images || (one[0] = 1, one != step.each->spec(step.each->inputs_[i]).dims)) {
      throw ShapeError("program: expected input " + std::to_string(i) + " as " + std::to_string(images) +
                       " images of shape " + to_string(step.each->spec(step.each->inputs_[i]).dims) + ", got " +
                       to_string(spec(inputs[i]).dims));
    }
    step.inputs.push_back(in_layout(inputs[i], Layout::plain));
  }
  for (TensorId output : step.each->outputs_) {
    const TensorSpec& one = step.each->spec(output);
    Dims all = one.dims;
    all[0] = images;
    Tensor tensor;
    tensor.spec = one.layout == Layout::blocked ? blocked_spec(all) : plain_spec(all, one.dtype);
    step.outputs.push_back(add_tensor(std::move(tensor)));
  }
  each_bytes_ += step.each->arena_bytes_ + step.each->scratch_bytes_;
  steps_.push_back(std::move(step));
  return steps_.back().outputs;
}

void Program::set_label(std::string name, std::string op, std::string algorithm) {
  name_ = std::move(name), op_ = std::move(op), algorithm_ = std::move(algorithm);
  candidates_.clear();
}

size_t Program::choose(std::vector<std::string> algorithms) {
  if (!candidates_.empty()) return 0;  // of a layer that takes several steps, the first one's
  candidates_ = std::move(algorithms);
  if (algorithm_.empty()) return 0;
  std::string known;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if (candidates_[i] == algorithm_) return i;
    known += (i > 0 ? ", '" : "'") + candidates_[i] + "'";
  }
  throw ShapeError(op_ + ": expected algorithm as one of " + known + ", got '" + algorithm_ + "'");
}

bool Program::lies_in(TensorId id, Layout layout) const {
  const TensorId other = tensors_[id].converted;
  return tensors_[id].spec.layout == layout || (other >= 0 && tensors_[other].spec.layout == layout);
}

TensorId Program::in_layout(TensorId id, Layout layout) {
  if (tensors_[id].spec.layout == layout) return id;
  if (tensors_[id].converted < 0) {
    const TensorSpec from = tensors_[id].spec;
    const TensorId converted =
        from.layout == Layout::blocked || layout == Layout::blocked || !lies_alike(from)
            ? backend_.convert(*this, id, layout)
            : add_view(id, layout == Layout::plain ? plain_spec(from.dims) : channels_last_spec(from.dims, from.dtype));
    tensors_[id].converted = converted;
    tensors_[converted].converted = id;
  }
  return tensors_[id].converted;
}

TensorId Program::reshaped(TensorId id, Dims dims) {
  const TensorSpec from = tensors_[id].spec;
  const bool rows =
      from.layout == Layout::channels_last && is_one_pixel(from.dims) && is_one_pixel(dims) && dims[1] == from.dims[1];
  if (!rows) id = in_layout(id, Layout::plain);
  if (from.dims == dims) return id;
  TensorSpec spec = rows ? from : plain_spec(dims, tensors_[id].spec.dtype);
  spec.dims = std::move(dims);
  return add_view(id, std::move(spec));
}

TensorId Program::joined(const std::vector<TensorId>& parts, const Dims& whole) {
  const TensorSpec first = spec(parts.at(0));
  const bool blocked = first.layout == Layout::blocked;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& part = tensors_[parts[i]];
    const bool fills = i + 1 == parts.size() || part.spec.dims[1] % (blocked ? channel_block : channel_octet) == 0;
    if (part.spec.layout != first.layout || part.spec.dtype != first.dtype || part.home != Home::arena ||
        part.storage != parts[i] || !fills) {
      return -1;
    }
    if (std::count(parts.begin(), parts.end(), parts[i]) != 1) return -1;
    for (const Tensor& tensor : tensors_) {  // already the whole of other parts
      if (&tensor != &part && tensor.storage == parts[i]) return -1;
    }
  }
  Tensor tensor;
  tensor.spec = blocked ? blocked_spec(whole) : channels_last_spec(whole, first.dtype);
  const TensorId id = static_cast<TensorId>(tensors_.size());
  tensor.storage = id;
  int64_t channel = 0;
  for (TensorId part_id : parts) {
    Tensor& part = tensors_[part_id];
    part.storage = id;
    part.element_offset = blocked ? channel / channel_block * tensor.spec.plane_stride : channel;
    part.spec.image_stride = tensor.spec.image_stride;
    part.spec.pixel_stride = tensor.spec.pixel_stride;
    channel += part.spec.dims[1];
  }
  tensors_.push_back(std::move(tensor));
  return id;
}

void Program::finish(const std::vector<TensorId>& outputs, size_t most_bytes, const std::vector<TensorId>& kept) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    TensorId id = outputs[i];
    const Tensor& given = tensors_[id];
    const bool keep = std::count(kept.begin(), kept.end(), id) > 0 && given.spec.layout != Layout::plain &&
                      given.home == Home::arena && given.storage == id;
    if (!keep) id = in_layout(id, Layout::plain);
    // A result that is an input, shares another's memory or was named twice needs a buffer of its own.
    bool shared = tensors_[id].home != Home::arena || tensors_[id].storage != id;
    for (const Tensor& tensor : tensors_) {
      shared = shared || (!keep && &tensor != &tensors_[id] && tensor.storage == id);
    }
    if (shared) {
      set_label("output", "copy");
      id = backend_.copy(*this, id);
    }
    tensors_[id].home = Home::output;
    tensors_[id].index = static_cast<int>(i);
    outputs_.push_back(id);
  }
  place();
  if (arena_bytes_ > most_bytes || scratch_bytes() > most_bytes - arena_bytes_) {
    throw ShapeError("program: expected activations of at most " + std::to_string(most_bytes) + " bytes, got " +
                     std::to_string(arena_bytes_) + " and " + std::to_string(scratch_bytes()) + " of scratch");
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
  for (const Step& step : steps_) {  // what an error is told from when the run is done
    if (!step.plan || !step.plan->notes_errors()) continue;
    for (TensorId id : {step.inputs.back(), step.outputs.back()}) last[owner(id)] = static_cast<int>(steps_.size());
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
  for (const Step& step : steps_) bytes += step.each ? step.each->weight_bytes() : step.plan->weight_bytes;
  for (const auto& constant : constants_) bytes += constant->bytes;
  return bytes;
}

std::vector<StepReport> Program::steps() const {
  std::vector<StepReport> reports;
  for (const Step& step : steps_) {
    if (step.each) {
      const auto images = static_cast<double>(spec(step.inputs[0]).dims[0]);
      for (StepReport report : step.each->steps()) {
        report.flops *= images, report.bytes *= images;
        reports.push_back(std::move(report));
      }
    } else {
      reports.push_back({step.name, step.op, step.plan->algorithm, step.plan->flops, step.plan->bytes, 0.0});
    }
  }
  return reports;
}

size_t Program::step_count() const {
  size_t count = 0;
  for (const Step& step : steps_) count += step.each ? step.each->step_count() : 1;
  return count;
}

}  // namespace tesela
