#include "contraction.h"

namespace tesela::cpu {

// Of the panels: each is to be worth the reading of its rows.
static int64_t most_parts(int64_t panels) { return std::max<int64_t>(panels / 4, 1); }

int64_t rows_per_task(int64_t rows, int64_t panels, int64_t problems, int64_t threads) {
  const int64_t tile = kernels().tile_rows;
  const int64_t wanted_tasks = std::max<int64_t>(1, 4 * threads / std::max<int64_t>(problems, 1));
  const int64_t even = round_up(ceil_div(rows, wanted_tasks), tile);
  const int64_t tall = min_task_rows / tile * tile, most_tasks = problems * ceil_div(rows, tall) * most_parts(panels);
  return std::clamp(even, most_tasks >= threads ? tall : std::min(4 * tile, max_task_rows), max_task_rows);
}

int64_t panel_parts(int64_t row_tasks, int64_t panels, int64_t threads) {
  if (threads == 1 || row_tasks < 1) return 1;
  const int64_t most = most_parts(panels), wanted = std::clamp<int64_t>(2 * threads / row_tasks, 1, most);
  // Three tasks keep two threads as long as four do: the last thread may end a tenth later than it could.
  const auto longest = [&](int64_t parts) { return ceil_div(row_tasks * parts, threads) * ceil_div(panels, parts); };
  int64_t least = longest(1);
  for (int64_t parts = 2; parts <= most; ++parts) least = std::min(least, longest(parts));
  const auto fits = [&](int64_t parts) { return 10 * longest(parts) <= 11 * least; };
  if (fits(wanted)) return wanted;
  int64_t parts = 1;
  while (!fits(parts)) ++parts;
  return parts;
}

void append_tasks(std::vector<ContractionTask>& tasks, int32_t problem, int64_t rows, int64_t unit, int64_t task_rows,
                  int64_t panels, int64_t parts) {
  const int64_t units = ceil_div(rows, unit);
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t u = 0; u < units; ++u) {
      const int64_t size = std::min(unit, rows - u * unit), cuts = ceil_div(size, task_rows);
      for (int64_t cut = 0; cut < cuts; ++cut) {
        tasks.push_back({problem, static_cast<int32_t>(panels * part / parts),
                         static_cast<int32_t>(panels * (part + 1) / parts), u * unit + size * cut / cuts,
                         u * unit + size * (cut + 1) / cuts});
      }
    }
  }
}

size_t contraction_scratch(int64_t task_rows, int64_t kc) {
  return static_cast<size_t>(task_rows) * (16 + static_cast<size_t>(round_up(kc, 16)) * sizeof(float)) + 64;
}

std::unique_ptr<Plan> plan_contraction(const char* algorithm, ContractionArgs args, ContractionData data,
                                       ContractionKernel* kernel, bool has_residual, bool has_gate) {
  const size_t weight_bytes = data.weights.bytes() + data.bias.bytes();
  const int64_t tasks = static_cast<int64_t>(data.tasks.size());
  args.problems = data.problems.data();  // a moved vector keeps its memory
  args.tasks = data.tasks.data();
  args.bias = data.bias.data();
  auto plan = make_plan(algorithm, args, std::move(data), kernel, contraction_binding(has_residual, has_gate), tasks);
  plan->weight_bytes = weight_bytes;
  return plan;
}

}  // namespace tesela::cpu
