// Planning of products of rows and panels: what conv2d, linear and gemm share (kernels/contraction.h).

#pragma once

#include <algorithm>
#include <vector>

#include "backend.h"

namespace tesela::cpu {

struct ContractionData {  // what ContractionArgs points to
  std::vector<Contraction> problems;
  std::vector<ContractionTask> tasks;
  std::vector<std::vector<int32_t>> taps;
  PackedFloats weights, bias;
};

// Products per slice: kc x 16 weights (16 KB) stay in half of a 32 KB L1 while the rows stream through the other half.
inline constexpr int64_t default_kc = 256;
// AVX-512's tiles are two panels wide and stream both from L2: longer slices, fewer passes over the sums.
inline int64_t sliced_kc() { return kernels().lanes == 16 ? 2 * default_kc : default_kc; }
// Rows per task: max_task_rows x default_kc packed floats take 192 KB, within half of a 512 KB L2.
inline constexpr int64_t max_task_rows = 192;
// Rows that weights are to be used for, once they are in L1: four of AVX-512's tiles, a plane of 7 x 7.
inline constexpr int64_t min_task_rows = 56;

// Rows of one task, given how many there are of one problem. Several tasks a thread, so that the last to finish is not
// late by much, but tall ones: each task reads all its weights again.
int64_t rows_per_task(int64_t rows, int64_t panels, int64_t problems, int64_t threads);

// Into how many parts to share out the panels when there are few tasks of rows, or the threads would not end together:
// each part packs its rows again.
int64_t panel_parts(int64_t row_tasks, int64_t panels, int64_t threads);

// Cuts `rows` (in stretches of `unit`, which no task may cross) x `parts` of the panels into tasks.
void append_tasks(std::vector<ContractionTask>& tasks, int32_t problem, int64_t rows, int64_t unit, int64_t task_rows,
                  int64_t panels, int64_t parts);

// Scratch of one task: its rows' places and the packed slice.
size_t contraction_scratch(int64_t task_rows, int64_t kc);

// Operands of a step whose inputs are x and, if it has them, the residual and the gate.
inline auto contraction_binding(bool has_residual, bool has_gate = false) {
  return [has_residual, has_gate](const Operand* inputs, const Operand* outputs, float* scratch) {
    const Operand residual = has_residual ? inputs[1] : Operand{nullptr, 0};
    const Operand gate = has_gate ? inputs[has_residual ? 2 : 1] : Operand{nullptr, 0};
    return ContractionOperands{
        inputs[0].floats(),      outputs[0].floats(),   residual.floats(), inputs[0].image_stride,
        outputs[0].image_stride, residual.image_stride, scratch,           nullptr,
        gate.floats(),           gate.image_stride};
  };
}

std::unique_ptr<Plan> plan_contraction(const char* algorithm, ContractionArgs args, ContractionData data,
                                       ContractionKernel* kernel, bool has_residual, bool has_gate = false);

}  // namespace tesela::cpu
