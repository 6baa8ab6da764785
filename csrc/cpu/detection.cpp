// What detectors end in: choosing boxes, and pooling the regions that they name. Plain layout, float32.
//
// non_max_suppression (NMS): each class of each image is a task. Its boxes are sorted by score, and one is chosen when
// its intersection over union with every box chosen before is at most the threshold.
// roi_align (He et al. 2017, arXiv:1703.06870): each region and channel is a task of its own; a bin is the mean (or
// maximum) of bilinear samples at regular places in it. Not measured: no network here uses them.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "planning.h"

namespace tesela::cpu {
namespace {

constexpr int64_t row_size = 3;  // image, class, box

// -------------------------------------------------------------------------------------------------------------- NMS

struct Box {
  float y1, x1, y2, x2;
  float area() const { return (y2 - y1) * (x2 - x1); }
};

Box box_at(const float* values, bool centred) {
  if (centred) {
    const float x = values[0], y = values[1], w = values[2] / 2, h = values[3] / 2;
    return {y - h, x - w, y + h, x + w};
  }
  return {std::min(values[0], values[2]), std::min(values[1], values[3]), std::max(values[0], values[2]),
          std::max(values[1], values[3])};
}

bool overlap(const Box& a, const Box& b, float threshold) {
  const float h = std::min(a.y2, b.y2) - std::max(a.y1, b.y1), w = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  if (!(h > 0 && w > 0) || !(a.area() > 0 && b.area() > 0)) return false;
  return h * w / (a.area() + b.area() - h * w) > threshold;
}

struct NonMaxSuppressionPlan final : Plan {
  Suppression rule;
  int64_t images, classes, boxes;

  // The boxes of one class of one image, chosen into rows, the rest of which are -1.
  void choose(const float* box, const float* score, int64_t image, int64_t of_class, int64_t* order,
              int64_t* rows) const {
    int64_t candidates = 0, chosen = 0;
    for (int64_t b = 0; b < boxes; ++b) {
      const bool passes = rule.has_score_threshold ? score[b] > rule.score_threshold : score[b] == score[b];
      if (passes) order[candidates++] = b;
    }
    std::sort(order, order + candidates,
              [&](int64_t i, int64_t j) { return score[i] > score[j] || (score[i] == score[j] && i < j); });
    for (int64_t c = 0; c < candidates && chosen < rule.most; ++c) {
      const Box candidate = box_at(box + order[c] * 4, rule.centred);
      bool stays = true;
      for (int64_t r = 0; stays && r < chosen; ++r) {
        const int64_t other = rows[r * row_size + 2];
        stays = !overlap(candidate, box_at(box + other * 4, rule.centred), rule.iou_threshold);
      }
      if (!stays) continue;
      int64_t* row = rows + chosen++ * row_size;
      row[0] = image, row[1] = of_class, row[2] = order[c];
    }
    std::fill(rows + chosen * row_size, rows + rule.most * row_size, int64_t{-1});
  }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    int64_t* rows = outputs[0].indices();
    execution.team->run(images * classes, [&](int64_t task, int worker) {
      choose(inputs[0].floats() + task / classes * boxes * 4, inputs[1].floats() + task * boxes, task / classes,
             task % classes, reinterpret_cast<int64_t*>(execution.scratch_of(worker)),
             rows + task * rule.most * row_size);
    });
    // Those of later classes move up to those of earlier ones.
    int64_t kept = 0;
    for (int64_t row = 0; row < images * classes * rule.most; ++row) {
      if (rows[row * row_size] < 0) continue;
      if (row != kept) {
        std::copy(rows + row * row_size, rows + (row + 1) * row_size, rows + kept * row_size);
        rows[row * row_size] = -1;
      }
      ++kept;
    }
    for (int64_t row = kept; row < images * classes * rule.most; ++row) {
      std::fill(rows + row * row_size, rows + (row + 1) * row_size, int64_t{-1});
    }
    outputs[1].indices()[0] = kept;
  }
};

// -------------------------------------------------------------------------------------------------------- roi_align

struct Sample {
  int64_t low, high;
  float weight;  // of high
  bool outside;
};

// Samples up to one element outside are those of the edge.
Sample sample_at(float at, int64_t size) {
  if (!(at >= -1.0f && at <= static_cast<float>(size))) return {0, 0, 0, true};
  at = std::max(at, 0.0f);
  const auto low = static_cast<int64_t>(at);
  if (low >= size - 1) return {size - 1, size - 1, 0, false};
  return {low, low + 1, at - static_cast<float>(low), false};
}

// Samples of every bin along one axis: `count` of them, at start + (bin + (i + 0.5) / count) * length.
struct Axis {
  float start, length;
  int64_t count;

  Axis(float from, float to, int64_t bins, const RoiAlignment& how) {
    const float offset = how.half_pixel ? 0.5f : 0.0f;
    start = from * how.spatial_scale - offset;
    float extent = to * how.spatial_scale - offset - start;
    if (!how.half_pixel) extent = std::max(extent, 1.0f);
    length = extent / static_cast<float>(bins);
    // A region that is no number, or beyond any image, has no samples.
    const float own = std::ceil(length);
    count = how.sampling_ratio > 0 ? how.sampling_ratio : own > 0 && own < 1e6f ? static_cast<int64_t>(own) : 0;
  }
  Sample at(int64_t bin, int64_t i, int64_t size) const {
    const float place = (static_cast<float>(i) + 0.5f) * length / static_cast<float>(count);
    return sample_at(start + static_cast<float>(bin) * length + place, size);
  }
};

struct RoiAlignPlan final : Plan {
  RoiAlignment how;
  int64_t images, C, H, W, regions;

  float bin(const float* x, const Axis& h, const Axis& w, int64_t oh, int64_t ow) const {
    float sum = 0, most = 0;
    for (int64_t i = 0; i < h.count; ++i) {
      const Sample y = h.at(oh, i, H);
      for (int64_t j = 0; j < w.count; ++j) {
        const Sample z = w.at(ow, j, W);
        float corners[4] = {};
        if (!y.outside && !z.outside) {
          corners[0] = (1 - y.weight) * (1 - z.weight) * x[y.low * W + z.low];
          corners[1] = (1 - y.weight) * z.weight * x[y.low * W + z.high];
          corners[2] = y.weight * (1 - z.weight) * x[y.high * W + z.low];
          corners[3] = y.weight * z.weight * x[y.high * W + z.high];
        }
        // The maximum is over weighted corners, as the standard's own.
        const float largest = *std::max_element(corners, corners + 4);
        most = i == 0 && j == 0 ? largest : std::max(most, largest);
        sum += corners[0] + corners[1] + corners[2] + corners[3];
      }
    }
    return how.maximum ? most : sum / static_cast<float>(std::max<int64_t>(h.count * w.count, 1));
  }

  void run(const Operand* inputs, const Operand* outputs, const Execution& execution) const override {
    constexpr int64_t none = std::numeric_limits<int64_t>::max();
    const int64_t* image = inputs[2].indices();
    std::atomic<int64_t> bad{none};
    execution.team->run(regions * C, [&](int64_t task, int) {
      const int64_t r = task / C;
      if (image[r] < 0 || image[r] >= images) {
        int64_t seen = bad.load();
        while (r < seen && !bad.compare_exchange_weak(seen, r)) {
        }
        return;
      }
      const float* region = inputs[1].floats() + r * 4;
      const Axis w(region[0], region[2], how.OW, how), h(region[1], region[3], how.OH, how);
      const float* x = inputs[0].floats() + (image[r] * C + task % C) * H * W;
      float* y = outputs[0].floats() + task * how.OH * how.OW;
      for (int64_t oh = 0; oh < how.OH; ++oh) {
        for (int64_t ow = 0; ow < how.OW; ++ow) *y++ = bin(x, h, w, oh, ow);
      }
    });
    if (bad.load() == none) return;
    throw ShapeError("roi_align: region " + std::to_string(bad.load()) + " is of image " +
                     std::to_string(image[bad.load()]) + " of a batch of " + std::to_string(images));
  }
};

}  // namespace

std::vector<TensorId> CpuBackend::non_max_suppression(Program& program, TensorId boxes, TensorId scores,
                                                      const Suppression& rule) const {
  boxes = program.in_layout(boxes, Layout::plain);
  scores = program.in_layout(scores, Layout::plain);
  const Dims dims = program.spec(scores).dims;
  auto plan = std::make_unique<NonMaxSuppressionPlan>();
  plan->algorithm = "greedy";
  plan->rule = rule;
  plan->images = dims[0], plan->classes = dims[1], plan->boxes = dims[2];
  plan->scratch_bytes = static_cast<size_t>(dims[2]) * sizeof(int64_t);
  const int64_t rows = element_count({dims[0], dims[1], rule.most}, "non_max_suppression output");
  TensorSpec chosen = plain_spec({rows, row_size}, DType::int64);
  plan->bytes = payload(program.spec(boxes)) + payload(program.spec(scores)) + payload(chosen);
  return program.append(std::move(plan), {boxes, scores}, {std::move(chosen), plain_spec({1}, DType::int64)});
}

TensorId CpuBackend::roi_align(Program& program, TensorId x, TensorId regions, TensorId images,
                               const RoiAlignment& how) const {
  x = program.in_layout(x, Layout::plain);
  regions = program.in_layout(regions, Layout::plain);
  const Dims dims = program.spec(x).dims;
  auto plan = std::make_unique<RoiAlignPlan>();
  plan->algorithm = "bilinear";
  plan->how = how;
  plan->images = dims[0], plan->C = dims[1], plan->H = dims[2], plan->W = dims[3];
  plan->regions = program.spec(regions).dims[0];
  TensorSpec y = plain_spec({plan->regions, dims[1], how.OH, how.OW});
  plan->bytes = payload(program.spec(x)) + payload(y);
  return program.append(std::move(plan), {x, regions, images}, {std::move(y)})[0];
}

}  // namespace tesela::cpu
