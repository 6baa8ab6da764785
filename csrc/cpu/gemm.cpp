// Planning of gemm and linear.

#include <limits>

#include "../half.h"
#include "contraction.h"

namespace tesela::cpu {
namespace {

ContractionArgs matrix_args(const GemmShape& s, int64_t lda, ActivationSpec activation) {
  ContractionArgs args{};
  args.lda = lda;
  args.y_pixel_stride = s.N;
  args.y_plane_stride = channel_block;
  args.total_panels = ceil_div(s.N, channel_block);
  args.last_panel_lanes = s.N - (args.total_panels - 1) * channel_block;
  args.plain_output = true;
  args.kc = default_kc;
  args.scale = 1.0f;
  args.residual_scale = 1.0f;
  args.activation = activation;
  return args;
}

// Problem, tasks and slice length of a product; returns the rows of a task.
int64_t cut(const GemmShape& s, ContractionArgs& args, ContractionData& data) {
  Contraction problem{};
  problem.k = s.K;
  problem.panel_stride = s.K * 16;
  problem.panels = args.total_panels;
  problem.w = data.weights.data();
  const int64_t task_rows =
      std::min(rows_per_task(s.M, problem.panels, 1, planning_threads()), std::max<int64_t>(s.M, 1));
  if (s.M <= kernels().tile_rows) args.kc = std::max<int64_t>(round_up(s.K, 16), 16);
  if (s.M > 0) {
    const int64_t parts = panel_parts(ceil_div(s.M, task_rows), problem.panels, planning_threads());
    append_tasks(data.tasks, 0, s.M, s.M, task_rows, problem.panels, parts);
  }
  data.problems.push_back(problem);
  return task_rows;
}

double bytes_of(const GemmShape& s) { return 4.0 * (1.0 * s.M * s.K + 1.0 * s.K * s.N + 1.0 * s.M * s.N); }

// Rows of a product for which packing b costs more than reading it where it lies: packing wins from 8 on.
constexpr int64_t few_rows = 4;

// Tasks of a product whose b is packed while it runs: so many parts of the rows x so many of the panels that the last
// thread is done earliest, by estimate. Each task packs its own rows and panels, so a finer cut packs more.
void cut_to_pack(const GemmShape& s, ContractionArgs& args, ContractionData& data) {
  constexpr double packed_element = 16;  // costs as much as so many products
  constexpr double late = 0.125;         // of a task that the last one may be late by: a core may lose its time slice
  const int64_t threads = planning_threads(), most = threads > 1 ? 8 * threads : 1;
  const int64_t panels = args.total_panels;
  int64_t row_parts = 1, parts = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t r = 1; r <= std::min(most, s.M); ++r) {
    for (int64_t p = 1; p <= std::min(most / r, panels); ++p) {
      const double rows = ceil_div(s.M, r), columns = ceil_div(panels, p) * channel_block;
      const double blocks = ceil_div(ceil_div(panels, p), args.block_panels);
      const double task = rows * columns + packed_element * (columns + blocks * rows);
      const double time = (ceil_div(r * p, threads) + late) * task;
      if (time < least) least = time, row_parts = r, parts = p;
    }
  }
  Contraction problem{};
  problem.k = s.K;
  problem.panels = panels;
  data.problems.push_back(problem);
  const int64_t task_rows = std::max<int64_t>(ceil_div(s.M, row_parts), 1);
  append_tasks(data.tasks, 0, s.M, std::max<int64_t>(s.M, 1), task_rows, panels, parts);
  const int64_t row_blocks = ceil_div(task_rows, max_task_rows);
  args.block_rows = ceil_div(task_rows, row_blocks);
  args.block_panels = std::min(args.block_panels, std::max<int64_t>(ceil_div(panels, parts), 1));
}

}  // namespace

// Weights in bfloat16, two to a unit (kernels/bfloat16_rows.h); their products in bfloat16 too, or in float32.
static TensorId linear_bfloat16(Program& program, TensorId x, const GemmShape& s, const float* weight,
                                const float* bias, ActivationSpec activation, bool products) {
  ContractionArgs args = matrix_args(s, s.K, activation);
  ContractionData data;
  const int64_t units = round_up(s.K, 32) / 2;
  data.weights = PackedFloats(static_cast<size_t>(args.total_panels * units * 16));
  data.bias = padded_channels(bias, s.N);
  auto* halves = reinterpret_cast<bfloat16*>(data.weights.data());
  parallel_for(args.total_panels, [&](int64_t panel, int) {
    std::fill_n(data.weights.data() + panel * units * 16, units * 16, 0.0f);
    for (int64_t begin = 0; begin < s.K; begin += 32) {  // a block at a time: its cache lines are written whole
      const int64_t end = std::min(begin + 32, s.K);
      for (int64_t n = panel * 16; n < std::min(panel * 16 + 16, s.N); ++n) {
        bfloat16* block = halves + (panel * units + begin / 2) * 32 + n % 16 * 2;
        for (int64_t k = begin; k < end; ++k) {
          block[k % 16 * 32 + k % 32 / 16] = as_stored<bfloat16>(weight[n * s.K + k]);
        }
      }
    }
  });
  const int64_t task_rows = cut({s.M, s.N, units}, args, data), kc = args.kc;
  auto plan = plan_contraction(products ? "gemm bfloat16" : "gemm bfloat16 weights", args, std::move(data),
                               products ? kernels().linear_products_bfloat16 : kernels().linear_bfloat16, false);
  plan->scratch_bytes = contraction_scratch(task_rows, 2 * kc);
  plan->flops = s.flops(), plan->bytes = bytes_of(s) - 2.0 * s.K * s.N;
  return program.append(std::move(plan), {program.in_layout(x, Layout::plain)}, {plain_spec({s.M, s.N})})[0];
}

TensorId CpuBackend::linear(Program& program, TensorId x, const GemmShape& s, const float* weight, const float* bias,
                            ActivationSpec activation) const {
  const bool products = program.precision() == Precision::bfloat16;
  if (products || program.weight_storage() == DType::bfloat16) {
    return linear_bfloat16(program, x, s, weight, bias, activation, products);
  }
  ContractionArgs args = matrix_args(s, s.K, activation);
  ContractionData data;
  data.weights = PackedFloats(static_cast<size_t>(args.total_panels * s.K * 16));
  data.bias = padded_channels(bias, s.N);
  const PackPanelArgs pack{s.K, s.N, s.K, true};
  parallel_for(args.total_panels,
               [&](int64_t panel, int) { kernels().gemm_pack_panel(pack, weight, data.weights.data(), panel); });
  const int64_t task_rows = cut(s, args, data);
  const int64_t kc = args.kc;
  auto plan = plan_contraction("gemm", args, std::move(data), kernels().gemm_rows, false);
  plan->scratch_bytes = contraction_scratch(task_rows, kc);
  plan->flops = s.flops(), plan->bytes = bytes_of(s);
  return program.append(std::move(plan), {program.in_layout(x, Layout::plain)}, {plain_spec({s.M, s.N})})[0];
}

TensorId CpuBackend::gemm(Program& program, TensorId a, TensorId b, TensorId c, const GemmShape& s, float alpha,
                          float beta, bool trans_a, bool trans_b, bool c_is_row, ActivationSpec activation) const {
  a = program.in_layout(a, Layout::plain);
  b = program.in_layout(b, Layout::plain);
  ContractionArgs args = matrix_args(s, trans_a ? s.M : s.K, activation);

  args.b = {s.K, s.N, trans_b ? s.K : s.N, trans_b};
  ContractionData data;
  ContractionKernel* kernel;
  size_t scratch_bytes;
  if (s.M <= few_rows && !trans_b) {
    kernel = kernels().gemm_few_rows;
    args.a_row_stride = trans_a ? 1 : s.K, args.a_product_stride = trans_a ? s.M : 1;
    args.block_panels = 128;  // 8 KB of a row of b on end, as one page would have it, and sums that stay in L1 or L2
    const int64_t parts = std::clamp<int64_t>(args.total_panels / 4, 1, planning_threads());  // memory is the limit
    if (s.M > 0) append_tasks(data.tasks, 0, s.M, s.M, s.M, args.total_panels, parts);
    scratch_bytes = static_cast<size_t>(s.M * args.block_panels * channel_block) * sizeof(float);
  } else {
    kernel = trans_a ? kernels().gemm_columns : kernels().gemm_rows;
    args.kc = std::clamp<int64_t>(round_up(s.K, 16), 16, sliced_kc());
    args.block_panel_stride = args.kc * 16 + 16;  // no power of two: panels are written side by side
    args.block_panels = 32;                       // a megabyte at most, in L2
    cut_to_pack(s, args, data);
    scratch_bytes = contraction_scratch(args.block_rows, args.kc) +
                    static_cast<size_t>(args.block_panels * args.block_panel_stride) * sizeof(float);
  }
  args.scale = alpha;
  args.residual_scale = beta;
  args.problems = data.problems.data();
  args.tasks = data.tasks.data();
  const int64_t tasks = static_cast<int64_t>(data.tasks.size());
  const bool has_c = c >= 0;
  // A row of c is added to every row of y: its own rows are zero floats apart.
  args.residual_is_row = c_is_row;
  auto plan = make_plan(
      "gemm", args, std::move(data), kernel,
      [has_c](const Operand* inputs, const Operand* outputs, float* scratch) {
        return ContractionOperands{
            inputs[0].floats(), outputs[0].floats(), has_c ? inputs[2].floats() : nullptr, 0, 0, 0, scratch,
            inputs[1].floats()};
      },
      tasks);
  plan->scratch_bytes = scratch_bytes;
  plan->flops = s.flops(), plan->bytes = bytes_of(s);
  std::vector<TensorId> inputs{a, b};
  if (has_c) inputs.push_back(program.in_layout(c, Layout::plain));
  return program.append(std::move(plan), inputs, {plain_spec({s.M, s.N})})[0];
}

}  // namespace tesela::cpu
