// What the planners of conv2d's algorithms share.

#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "contraction.h"

namespace tesela::cpu {

struct Conv2dRequest {
  const Conv2dShape& s;
  const float* weight;
  const float* bias;
  ActivationSpec activation;
};

struct Tap {
  int32_t h, w;    // offset of the input pixel
  int64_t kh, kw;  // of the weight
};

// Output pixels that see the same taps: all of a convolution, one residue class modulo the stride of a transposed one.
struct Phase {
  int64_t offset_h, offset_w, rows_h, rows_w;
  std::vector<Tap> taps;
};
std::vector<Phase> phases_of(const Conv2dShape& s);

// Any taps, groups and strides; 1x1 kernels of stride 1 read x in place.
// A gate, which is an input after the residual, asks for the latter.
std::unique_ptr<Plan> plan_direct(const Conv2dRequest& r, const TensorSpec& x, const TensorSpec& y, bool has_residual,
                                  bool bfloat16 = false, bool has_gate = false);

// A run of output panels that read the same blocks of input channels: all of them without groups.
struct ChannelRun {
  int64_t panel, panels, ic_block, ic_blocks;
};
std::vector<ChannelRun> channel_runs(const Conv2dShape& s);

// One panel of packed weights, (taps, ic_count, 16): zero in the lanes without a channel and for the input channels of
// other groups.
void pack_panel(float* to, const Conv2dRequest& r, const std::vector<Tap>& taps, int64_t ic_begin, int64_t ic_count,
                int64_t panel);

ContractionArgs conv2d_args(const Conv2dRequest& r, const TensorSpec& x, const TensorSpec& y);

// Whether there are so few input channels that blocks of 16 would be mostly zeros; x may then be plain.
bool is_stem(const Conv2dShape& s);
std::unique_ptr<Plan> plan_stem(const Conv2dRequest& r, const TensorSpec& x, const TensorSpec& y, bool has_residual);

// Whether a transposed convolution of single pixels writes a panel for each output pixel, as one product.
bool is_product_of_pixels(const Conv2dRequest& r, const TensorSpec& y);
std::unique_ptr<Plan> plan_product_of_pixels(const Conv2dRequest& r, const TensorSpec& x, bool has_residual);

// Whether the phases of a transposed convolution are fewer products as channels of one convolution.
bool joins_phases(const Conv2dShape& s);

// Whether groups share blocks of channels: depthwise, and any group that does not fill whole blocks.
bool is_grouped(const Conv2dShape& s);
// Whether each group is one vector, which plan_grouped does better than direct sums, but Winograd better still.
bool is_grouped_by_vector(const Conv2dShape& s);
std::unique_ptr<Plan> plan_grouped(const Conv2dRequest& r, const TensorSpec& x, const TensorSpec& y, bool has_residual);

// The F(m, r) that is estimated to be the fastest, or null where direct sums are or none applies. direct_rate: products
// of direct sums in the time of one in float32.
struct MinimalFilter;
const MinimalFilter* minimal_filter(const Conv2dShape& s, double direct_rate);
std::unique_ptr<Plan> plan_winograd(const Conv2dRequest& request, const MinimalFilter& f, const TensorSpec& x,
                                    const TensorSpec& y, bool has_residual);

}  // namespace tesela::cpu
