// Planning of convert, pixel_shuffle, copy and concat. Copies run on memcpy and need no kernel.

#include <cstring>

#include "planning.h"

namespace tesela::cpu {
namespace {

// memcpy in pieces: on some AMD processors longer ones use `rep movsb`, which is many times slower where
// the destination lies a few bytes further into its page than the source, as NumPy's memory does.
void copy_bytes(char* to, const char* from, int64_t bytes) {
  constexpr int64_t piece = 1024;
  for (; bytes > 0; to += piece, from += piece, bytes -= piece) {
    std::memcpy(to, from, static_cast<size_t>(std::min(bytes, piece)));
  }
}

// ----------------------------------------------------------------------------------------------------- plain copy

struct CopiedPart {  // rows of a dense tensor, to be found in the whole at y_offset + row * y_row_bytes
  int64_t row_bytes, y_offset;
  int64_t chunks;  // a row is cut into so many
  Units units;     // rows * chunks
  int64_t first_task;
};

struct CopyPlan final : Plan {
  static constexpr int64_t chunk_bytes = 32768;
  std::vector<CopiedPart> parts;
  int64_t y_row_bytes = 0, tasks = 0;

  void add(int64_t rows, int64_t row_bytes) {
    CopiedPart part{row_bytes, y_row_bytes, (row_bytes + chunk_bytes - 1) / chunk_bytes, {}, tasks};
    part.units = cut(rows * part.chunks, 2.0 * std::min(row_bytes, chunk_bytes) / sizeof(float));
    y_row_bytes += row_bytes;
    tasks += tasks_of(part.units);
    parts.push_back(part);
  }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    execution.team->run(tasks, [&](int64_t task, int) {
      size_t i = parts.size() - 1;
      while (parts[i].first_task > task) --i;
      const CopiedPart& part = parts[i];
      const char* x = static_cast<const char*>(inputs[i].data);
      char* y = static_cast<char*>(outputs[0].data) + part.y_offset;
      const int64_t begin = (task - part.first_task) * part.units.per_task;
      const int64_t end = std::min(begin + part.units.per_task, part.units.count);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t row = unit / part.chunks, first = unit % part.chunks * chunk_bytes;
        copy_bytes(y + row * y_row_bytes + first, x + row * part.row_bytes + first,
                   std::min(chunk_bytes, part.row_bytes - first));
      }
    });
  }
};

TensorId append_copy(Program& program, const char* algorithm, std::unique_ptr<CopyPlan> plan,
                     const std::vector<TensorId>& inputs, TensorSpec y) {
  plan->algorithm = algorithm;
  plan->bytes = 2 * payload(y);
  return program.append(std::move(plan), inputs, {std::move(y)})[0];
}

// ------------------------------------------------------------------------------------------------- blocked concat

struct LaneRun {  // neighbouring lanes of one block of the whole that come from one block of one part
  int64_t part, x_block, x_lane, y_lane, count;
};

// Channels of blocked tensors side by side. A task is a strip of pixels of one block of the whole. Parts that fill
// their blocks are copied as they are; others shift lanes, pixel by pixel, which is slow but needs no other layout.
struct BlockedConcatPlan final : Plan {
  static constexpr int64_t strip = 256;  // pixels
  std::vector<std::vector<LaneRun>> blocks;
  int64_t N, pixels, strips, plane_stride;

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    const int64_t y_blocks = static_cast<int64_t>(blocks.size());
    execution.team->run(N * y_blocks * strips, [&](int64_t task, int) {
      const int64_t n = task / strips / y_blocks, block = task / strips % y_blocks, first = task % strips * strip;
      const int64_t end = std::min(first + strip, pixels);
      float* y = outputs[0].floats() + n * outputs[0].image_stride + block * plane_stride;
      for (const LaneRun& run : blocks[block]) {
        const Operand& part = inputs[run.part];
        const float* x = part.floats() + n * part.image_stride + run.x_block * plane_stride;
        if (run.count == channel_block) {
          copy_bytes(reinterpret_cast<char*>(y + first * channel_block),
                     reinterpret_cast<const char*>(x + first * channel_block),
                     (end - first) * channel_block * static_cast<int64_t>(sizeof(float)));
          continue;
        }
        for (int64_t p = first; p < end; ++p) {
          for (int64_t i = 0; i < run.count; ++i) y[p * 16 + run.y_lane + i] = x[p * 16 + run.x_lane + i];
        }
      }
      const LaneRun& last = blocks[block].back();
      for (int64_t lane = last.y_lane + last.count; lane < channel_block; ++lane) {
        for (int64_t p = first; p < end; ++p) y[p * channel_block + lane] = 0.0f;
      }
    });
  }
};

TensorId append_blocked_concat(Program& program, const std::vector<TensorId>& parts, const Dims& whole) {
  TensorSpec y = blocked_spec(whole);
  auto plan = std::make_unique<BlockedConcatPlan>();
  plan->algorithm = "blocked";
  plan->bytes = 2 * payload(y);
  plan->N = whole[0];
  plan->pixels = whole[2] * whole[3];
  plan->strips = (plan->pixels + BlockedConcatPlan::strip - 1) / BlockedConcatPlan::strip;
  plan->plane_stride = y.plane_stride;  // depends on H and W only, so the parts have it too
  plan->blocks.resize(static_cast<size_t>(y.blocks()));
  int64_t at = 0;  // channel of the whole
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t channels = program.spec(parts[i]).dims[1];
    for (int64_t c = 0; c < channels;) {
      const int64_t x_lane = c % channel_block, y_lane = at % channel_block;
      const int64_t count = std::min({channels - c, channel_block - x_lane, channel_block - y_lane});
      plan->blocks[at / channel_block].push_back({static_cast<int64_t>(i), c / channel_block, x_lane, y_lane, count});
      c += count;
      at += count;
    }
  }
  return program.append(std::move(plan), parts, {std::move(y)})[0];
}

}  // namespace

TensorId CpuBackend::concat(Program& program, const std::vector<TensorId>& parts, int64_t dim) const {
  std::vector<Dims> dims;
  bool any_blocked = false;
  for (TensorId id : parts) {
    dims.push_back(program.spec(id).dims);
    any_blocked = any_blocked || program.spec(id).layout == Layout::blocked;
  }
  const Dims whole = concat_dims(dims, dim);
  dim = normalized_dim("concat", dim, static_cast<int64_t>(whole.size()));
  std::vector<TensorId> inputs = parts;
  if (any_blocked && dim == 1) {
    for (TensorId& id : inputs) id = program.in_layout(id, Layout::blocked);
    const TensorId joined = program.joined(inputs, whole);
    return joined >= 0 ? joined : append_blocked_concat(program, inputs, whole);
  }
  for (TensorId& id : inputs) id = program.in_layout(id, Layout::plain);
  const TensorSpec y = plain_spec(whole, program.spec(inputs[0]).dtype);
  int64_t rows = 1;
  for (int64_t d = 0; d < dim; ++d) rows *= whole[d];
  auto plan = std::make_unique<CopyPlan>();
  for (TensorId id : inputs) {
    plan->add(rows, rows > 0 ? static_cast<int64_t>(program.spec(id).bytes()) / rows : 0);
  }
  return append_copy(program, "plain", std::move(plan), inputs, y);
}

TensorId CpuBackend::copy(Program& program, TensorId x) const {
  x = program.in_layout(x, Layout::plain);
  const TensorSpec spec = program.spec(x);
  auto plan = std::make_unique<CopyPlan>();
  plan->add(1, static_cast<int64_t>(spec.bytes()));
  return append_copy(program, "plain", std::move(plan), {x}, spec);
}

TensorId CpuBackend::pixel_shuffle(Program& program, TensorId x, int64_t factor) const {
  x = program.in_layout(x, Layout::plain);
  const Dims dims = program.spec(x).dims;
  TensorSpec y = plain_spec(pixel_shuffle_dims(dims, factor));
  PixelShuffleArgs args{};
  args.H = dims[2], args.W = dims[3], args.factor = factor;
  args.rows = cut(y.dims[0] * y.dims[1] * y.dims[2], 2 * y.dims[3]);
  return append_map(program, "plain", args, Nothing{}, kernels().pixel_shuffle, args.rows, x, std::move(y));
}

TensorId CpuBackend::convert(Program& program, TensorId x, Layout layout) const {
  constexpr int64_t strip = 256;  // pixels: 16 KB read, 16 KB written
  const TensorSpec from = program.spec(x);
  const bool to_blocked = layout == Layout::blocked;
  TensorSpec y = to_blocked ? blocked_spec(from.dims) : plain_spec(from.dims);
  const TensorSpec& blocked = to_blocked ? y : from;
  ConvertArgs args{};
  args.C = from.dims[1];
  args.pixels = from.dims[2] * from.dims[3];
  args.blocks = blocked.blocks();
  args.plane_stride = blocked.plane_stride;
  args.strip = strip;
  args.strips = (args.pixels + strip - 1) / strip;
  args.units = cut(from.dims[0] * args.blocks * args.strips, 2 * std::min(args.pixels, strip) * channel_block);
  auto* kernel = to_blocked ? kernels().plain_to_blocked : kernels().blocked_to_plain;
  const char* algorithm = to_blocked ? "to blocked" : "to plain";
  return append_map(program, algorithm, args, Nothing{}, kernel, args.units, x, std::move(y));
}

}  // namespace tesela::cpu
