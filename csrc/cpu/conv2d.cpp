// Planning of conv2d and conv_transpose2d: which kernel, how the weights are packed, how work is cut into tasks.

#include "conv2d.h"

#include "../half.h"
#include "planning.h"

namespace tesela::cpu {

std::vector<Phase> phases_of(const Conv2dShape& s) {
  std::vector<Phase> phases;
  if (!s.transposed) {
    Phase phase{0, 0, s.OH, s.OW, {}};
    for (int64_t kh = 0; kh < s.KH; ++kh) {
      for (int64_t kw = 0; kw < s.KW; ++kw) {
        phase.taps.push_back({static_cast<int32_t>(kh * s.DH - s.PT), static_cast<int32_t>(kw * s.DW - s.PL), kh, kw});
      }
    }
    phases.push_back(std::move(phase));
    return phases;
  }
  // y[oh] takes x[ih] * w[kh] where oh + PT = ih * SH + kh * DH: for oh = offset + i * SH the quotient
  // (offset + PT - kh * DH) / SH must be whole, and ih = i + that quotient.
  for (int64_t h = 0; h < std::min(s.SH, s.OH); ++h) {
    for (int64_t w = 0; w < std::min(s.SW, s.OW); ++w) {
      Phase phase{h, w, ceil_div(s.OH - h, s.SH), ceil_div(s.OW - w, s.SW), {}};
      for (int64_t kh = 0; kh < s.KH; ++kh) {
        for (int64_t kw = 0; kw < s.KW; ++kw) {
          const int64_t from_h = h + s.PT - kh * s.DH, from_w = w + s.PL - kw * s.DW;
          if (from_h % s.SH == 0 && from_w % s.SW == 0) {
            phase.taps.push_back({static_cast<int32_t>(from_h / s.SH), static_cast<int32_t>(from_w / s.SW), kh, kw});
          }
        }
      }
      phases.push_back(std::move(phase));
    }
  }
  return phases;
}

void pack_panel(float* to, const Conv2dLayer& r, const std::vector<Tap>& taps, int64_t ic_begin, int64_t ic_count,
                int64_t panel) {
  const Conv2dShape& s = r.s;
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G;
  std::fill_n(to, static_cast<int64_t>(taps.size()) * ic_count * 16, 0.0f);
  for (int64_t j = 0; j < channel_block && panel * channel_block + j < s.OC; ++j) {
    const int64_t oc = panel * channel_block + j, group = oc / ocs;
    const int64_t end = std::min(ic_begin + ic_count, (group + 1) * ics);
    for (int64_t ic = std::max(ic_begin, group * ics); ic < end; ++ic) {
      const int64_t kernel = s.transposed ? ic * ocs + oc % ocs : oc * ics + ic % ics;
      for (size_t t = 0; t < taps.size(); ++t) {
        to[(static_cast<int64_t>(t) * ic_count + ic - ic_begin) * 16 + j] =
            r.weight[(kernel * s.KH + taps[t].kh) * s.KW + taps[t].kw];
      }
    }
  }
}

ContractionArgs conv2d_args(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y) {
  const Conv2dShape& s = r.s;
  ContractionArgs args{};
  args.IH = s.IH, args.IW = s.IW, args.IC = s.IC;
  args.stride_h = s.transposed ? 1 : s.SH, args.stride_w = s.transposed ? 1 : s.SW;
  args.step_h = s.transposed ? s.SH : 1, args.step_w = s.transposed ? s.SW : 1;
  args.x_plane_stride = x.plane_stride;
  args.OW = s.OW;
  args.y_pixel_stride = channel_block;
  args.y_plane_stride = y.plane_stride;
  args.total_panels = y.blocks();
  args.last_panel_lanes = s.OC - (y.blocks() - 1) * channel_block;
  args.kc = sliced_kc();
  args.scale = args.residual_scale = 1.0f;
  args.activation = r.activation;
  return args;
}

// ------------------------------------------------------------------------------------------- pointwise and direct

// One panel of weights in bfloat16 from one in float32: of 32 products of a tap, the first 16 and the last 16 in the
// low and the high halves of 16 units.
static void to_pairs(const float* from, float* to, int64_t units) {
  auto* halves = reinterpret_cast<bfloat16*>(to);
  for (int64_t unit = 0; unit < units; ++unit, halves += 32) {
    const float* low = from + (unit / 16 * 32 + unit % 16) * 16;
    for (int64_t j = 0; j < 16; ++j) {
      halves[2 * j] = as_stored<bfloat16>(low[j]);
      halves[2 * j + 1] = as_stored<bfloat16>(low[256 + j]);
    }
  }
}

bool is_pointwise(const Conv2dShape& s) {
  return !s.transposed && s.KH == 1 && s.KW == 1 && s.SH == 1 && s.SW == 1 && s.PT + s.PB + s.PL + s.PR == 0 &&
         (s.N == 1 || s.OH * s.OW >= 2 * kernels().tile_rows);
}

static const char* direct_algorithm(const Conv2dShape& s, bool bfloat16) {
  return bfloat16 ? "direct bfloat16" : is_pointwise(s) ? "pointwise" : "direct";
}

std::unique_ptr<Plan> plan_direct(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual,
                                  bool bfloat16, bool has_gate) {
  const Conv2dShape& s = r.s;
  const bool pointwise = !bfloat16 && is_pointwise(s);
  ContractionArgs args = conv2d_args(r, x, y);
  ContractionData data;
  const std::vector<Phase> phases = phases_of(s);
  const std::vector<ChannelRun> runs = channel_runs(s);
  size_t floats = 0;
  for (const Phase& phase : phases) {
    for (const ChannelRun& run : runs) {
      floats += phase.taps.size() * (bfloat16 ? ceil_div(run.ic_blocks, 2) : run.ic_blocks) * 16 * 16 * run.panels;
    }
  }
  data.weights = PackedFloats(floats);
  data.bias = padded_channels(r.bias, s.OC);
  float* to = data.weights.data();
  int64_t longest = 0;
  const int64_t problem_count = static_cast<int64_t>(phases.size() * runs.size()), threads = planning_threads();
  for (const Phase& phase : phases) {
    std::vector<int32_t> offsets;
    for (const Tap& tap : phase.taps) offsets.insert(offsets.end(), {tap.h, tap.w});
    data.taps.push_back(std::move(offsets));
    for (const ChannelRun& run : runs) {
      Contraction problem{};
      problem.w = to;
      // A packed slice is whole blocks, lanes without a channel included; read in place, those are left out.
      const int64_t inputs = pointwise  ? std::min(run.ic_blocks * 16, s.IC - run.ic_block * 16)
                             : bfloat16 ? round_up(run.ic_blocks * 16, 32)
                                        : run.ic_blocks * 16;
      problem.k = static_cast<int64_t>(phase.taps.size()) * inputs / (bfloat16 ? 2 : 1);
      problem.panel_stride = problem.k * 16;
      problem.panel = run.panel, problem.panels = run.panels;
      problem.ic_block = run.ic_block, problem.ic_blocks = run.ic_blocks;
      problem.taps = data.taps.back().data();
      problem.n_taps = static_cast<int64_t>(phase.taps.size());
      problem.rows_h = phase.rows_h, problem.rows_w = phase.rows_w;
      problem.offset_h = phase.offset_h, problem.offset_w = phase.offset_w;
      std::vector<float> wide(static_cast<size_t>(bfloat16 ? 2 * problem.panel_stride * threads : 0));
      parallel_for(run.panels, [&](int64_t panel, int worker) {
        float* packed = to + panel * problem.panel_stride;
        float* into = bfloat16 ? wide.data() + 2 * problem.panel_stride * worker : packed;
        pack_panel(into, r, phase.taps, run.ic_block * 16, inputs, run.panel + panel);
        if (bfloat16) to_pairs(into, packed, problem.k);
      });
      to += run.panels * problem.panel_stride;
      const int64_t plane = phase.rows_h * phase.rows_w, rows = s.N * plane;
      const int64_t task_rows = rows_per_task(rows, run.panels, problem_count, threads);
      const int64_t unit = pointwise ? plane : rows;
      const int64_t parts =
          panel_parts(rows / std::max<int64_t>(unit, 1) * ceil_div(unit, task_rows), run.panels, threads);
      append_tasks(data.tasks, static_cast<int32_t>(data.problems.size()), rows, unit, task_rows, run.panels, parts);
      data.problems.push_back(problem);
      longest = std::max(longest, std::min(rows, task_rows));
    }
  }
  // One tile of rows has no use for weights that stay in L1: let it stream them in one pass.
  if (longest <= kernels().tile_rows) args.kc = std::max<int64_t>(round_up(s.IC, 16) * s.KH * s.KW, 16);
  auto plan = plan_contraction(direct_algorithm(s, bfloat16), args, std::move(data),
                               bfloat16    ? kernels().conv2d_products_bfloat16
                               : pointwise ? kernels().conv2d_pointwise
                                           : kernels().conv2d_direct,
                               has_residual, has_gate);
  plan->scratch_bytes = contraction_scratch(longest, pointwise ? 0 : args.kc);
  return plan;
}

std::vector<ChannelRun> channel_runs(const Conv2dShape& s) {
  const int64_t ics = s.IC / s.G, ocs = s.OC / s.G, panels = ceil_div(s.OC, channel_block);
  std::vector<ChannelRun> runs;
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t first_group = panel * channel_block / ocs;
    const int64_t last_group = (std::min(s.OC, (panel + 1) * channel_block) - 1) / ocs;
    const int64_t begin = first_group * ics / channel_block;
    const int64_t end = ceil_div((last_group + 1) * ics, channel_block);
    if (!runs.empty() && runs.back().ic_block == begin && runs.back().ic_blocks == end - begin) {
      ++runs.back().panels;
    } else {
      runs.push_back({panel, 1, begin, end - begin});
    }
  }
  return runs;
}

std::vector<Candidate> candidates_of(const Conv2dLayer& r, Accuracy accuracy, Precision precision) {
  const Conv2dShape& s = r.s;
  const bool bfloat16 = precision == Precision::bfloat16;
  std::vector<Candidate> all;
  // Most special first; the last takes every shape.
  if (is_grouped(s)) all.push_back({grouped_algorithm(s), plan_grouped});
  if (is_product_of_pixels(r, blocked_spec(s.y_dims()))) all.push_back({"product of pixels", plan_product_of_pixels});
  if (is_stem(s)) all.push_back({"stem", plan_stem, true});
  // Fewer channels than half a block: most products would be with zeros.
  if (!all.empty() && s.IC / s.G < channel_block / 2) return all;
  const std::vector<const MinimalFilter*> filters = accuracy == Accuracy::strict
                                                        ? std::vector<const MinimalFilter*>{nullptr}
                                                        : filters_by_estimate(s, bfloat16 ? 2.0 : 1.0);
  for (const MinimalFilter* filter : filters) {
    if (filter) {
      all.push_back({filter->name, [filter](const auto&... to) { return plan_winograd(*filter, to...); }});
      continue;
    }
    if (is_grouped_by_vector(s)) all.push_back({grouped_algorithm(s), plan_grouped});
    all.push_back(
        {direct_algorithm(s, bfloat16), [bfloat16](const auto&... to) { return plan_direct(to..., bfloat16); }});
    if (accuracy != Accuracy::strict && !bfloat16 && suits_strassen(s)) {
      const Candidate strassen{"strassen", [](const auto&... to) { return plan_strassen(to...); }};
      all.insert(all.end() - prefers_strassen(), strassen);
    }
  }
  return all;
}

static TensorId append_conv2d(Program& program, std::unique_ptr<Plan> plan, const std::vector<TensorId>& inputs,
                              const Conv2dShape& s, const TensorSpec& y) {
  plan->flops = s.flops();
  plan->bytes = payload(y) + 4.0 * static_cast<double>(s.IC) / s.G * s.OC * s.KH * s.KW;
  for (TensorId id : inputs) plan->bytes += payload(program.spec(id));
  return program.append(std::move(plan), inputs, {y})[0];
}

TensorId append_candidate(Program& program, const Candidate& candidate, TensorId x, const Conv2dLayer& r,
                          TensorId residual, const Conv2dShape* of) {
  std::vector<TensorId> inputs{candidate.reads_plain ? x : program.in_layout(x, Layout::blocked)};
  if (residual >= 0) inputs.push_back(program.in_layout(residual, Layout::blocked));
  const TensorSpec y = blocked_spec(r.s.y_dims());
  auto plan = candidate.plan(r, program.spec(inputs[0]), y, residual >= 0);
  plan->algorithm = candidate.algorithm;
  return append_conv2d(program, std::move(plan), inputs, of ? *of : r.s, y);
}

TensorId CpuBackend::conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight, const float* bias,
                            TensorId residual, ActivationSpec activation) const {
  const Conv2dLayer request{s, weight, bias, activation};
  const std::vector<Candidate> candidates = candidates_of(request, program.accuracy(), program.precision());
  std::vector<std::string> algorithms;
  if (program.accuracy() != Accuracy::strict && residual < 0 && joins_phases(s)) algorithms.push_back("joined phases");
  if (program.accuracy() != Accuracy::strict && program.precision() == Precision::float32 && suits_space_to_depth(s)) {
    algorithms.push_back("space to depth");
  }
  const size_t others = algorithms.size();
  for (const Candidate& candidate : candidates) algorithms.push_back(candidate.algorithm);
  const size_t chosen = program.choose(std::move(algorithms));
  if (chosen < others) {
    return s.transposed ? conv_transpose2d_joined(program, x, s, weight, bias, activation)
                        : conv2d_space_to_depth(program, x, request, residual);
  }
  return append_candidate(program, candidates[chosen - others], x, request, residual);
}

TensorId CpuBackend::gated_conv2d(Program& program, TensorId x, const Conv2dShape& s, const float* weight,
                                  const float* bias, TensorId gate, TensorId residual,
                                  ActivationSpec activation) const {
  if (!is_pointwise(s) || is_grouped(s) || is_stem(s) || program.precision() != Precision::float32) {
    return Backend::gated_conv2d(program, x, s, weight, bias, gate, residual, activation);
  }
  std::vector<std::string> algorithms{direct_algorithm(s, false)};
  if (program.accuracy() != Accuracy::strict && suits_strassen(s)) {
    algorithms.insert(algorithms.end() - prefers_strassen(), "strassen");
  }
  const bool strassen = algorithms[program.choose(algorithms)] == "strassen";
  std::vector<TensorId> inputs{x};
  if (residual >= 0) inputs.push_back(residual);
  inputs.push_back(gate);
  for (TensorId& input : inputs) input = program.in_layout(input, Layout::blocked);
  const TensorSpec y = blocked_spec(s.y_dims());
  const Conv2dLayer request{s, weight, bias, activation};
  const TensorSpec& from = program.spec(inputs[0]);
  auto plan = strassen ? plan_strassen(request, from, y, residual >= 0, true)
                       : plan_direct(request, from, y, residual >= 0, false, true);
  return append_conv2d(program, std::move(plan), inputs, s, y);
}

}  // namespace tesela::cpu
