// What the planners of memory-bound operators share: cutting work into tasks, and steps of one input and one output.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "backend.h"

namespace tesela::cpu {

// Units of so many floats of traffic, about 32 KB to a task: some microseconds, well above the cost of handing it out,
// yet several tasks a thread from a megabyte on. The cut does not depend on the number of threads.
inline Units cut(int64_t count, double floats_per_unit) {
  constexpr double floats_per_task = 8192;
  constexpr int64_t most_tasks = 2048;
  const auto per_task = static_cast<int64_t>(floats_per_task / std::max(floats_per_unit, 1.0));
  return {count, std::max<int64_t>({per_task, count / most_tasks, 1})};
}

inline int64_t tasks_of(const Units& units) { return ceil_div(units.count, units.per_task); }

// Channels in the last block of a blocked tensor: 1 to 16.
inline int64_t last_block_lanes(const TensorSpec& spec) {
  return spec.dims[1] - std::max<int64_t>(spec.blocks() - 1, 0) * channel_block;
}

inline MapOperands map_operands(const Operand* inputs, const Operand* outputs, float* scratch) {
  return {inputs[0].floats(), outputs[0].floats(), inputs[0].image_stride, outputs[0].image_stride, scratch};
}

template <class Args, class Owned>
TensorId append_map(Program& program, const char* algorithm, Args args, Owned owned,
                    void (*kernel)(const Args&, const MapOperands&, int64_t), const Units& units, TensorId x,
                    TensorSpec y, size_t scratch_floats = 0, double flops = 0) {
  auto plan = make_plan(algorithm, args, std::move(owned), kernel, map_operands, tasks_of(units));
  plan->bytes = payload(program.spec(x)) + payload(y);
  plan->flops = flops;
  plan->scratch_bytes = scratch_floats * sizeof(float);
  return program.append(std::move(plan), {x}, {std::move(y)})[0];
}

struct Nothing {};  // `owned` of a plan whose arguments point nowhere

}  // namespace tesela::cpu
