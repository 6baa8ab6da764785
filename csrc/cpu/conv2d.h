// What the planners of conv2d's algorithms share.

#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "contraction.h"

namespace tesela::cpu {

struct Tap {
  int32_t h, w;    // offset of the input pixel
  int64_t kh, kw;  // of the weight
};

// One way to compute a convolution, by the name that profile() shows.
struct Candidate {
  std::string algorithm;
  std::function<std::unique_ptr<Plan>(const Conv2dLayer&, const TensorSpec& x, const TensorSpec& y, bool residual)>
      plan;
  bool reads_plain = false;  // where x is
};
// All of them, the one with the best estimate first.
std::vector<Candidate> candidates_of(const Conv2dLayer& r, Accuracy accuracy, Precision precision);
// `of`: the convolution that the layer is, where that is another one.
TensorId append_candidate(Program& program, const Candidate& candidate, TensorId x, const Conv2dLayer& r,
                          TensorId residual, const Conv2dShape* of = nullptr);

// Output pixels that see the same taps: all of a convolution, one residue class modulo the stride of a transposed one.
struct Phase {
  int64_t offset_h, offset_w, rows_h, rows_w;
  std::vector<Tap> taps;
};
std::vector<Phase> phases_of(const Conv2dShape& s);

// Whether x is read in place. Planes of a few pixels give a tile too few rows; packing joins those of several images.
bool is_pointwise(const Conv2dShape& s);
// Whether Strassen's algorithm saves enough of a 1x1 convolution's products, and whether it comes before direct sums.
bool suits_strassen(const Conv2dShape& s);
bool prefers_strassen();
std::unique_ptr<Plan> plan_strassen(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual,
                                    bool has_gate = false);

// Any taps, groups and strides; 1x1 kernels of stride 1 read x in place.
// A gate, which is an input after the residual, asks for the latter.
std::unique_ptr<Plan> plan_direct(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual,
                                  bool bfloat16 = false, bool has_gate = false);

// A run of output panels that read the same blocks of input channels: all of them without groups.
struct ChannelRun {
  int64_t panel, panels, ic_block, ic_blocks;
};
std::vector<ChannelRun> channel_runs(const Conv2dShape& s);

// One panel of packed weights, (taps, ic_count, 16): zero in the lanes without a channel and for the input channels of
// other groups.
void pack_panel(float* to, const Conv2dLayer& r, const std::vector<Tap>& taps, int64_t ic_begin, int64_t ic_count,
                int64_t panel);

ContractionArgs conv2d_args(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y);

// Whether there are so few input channels that blocks of 16 would be mostly zeros; x may then be plain.
bool is_stem(const Conv2dShape& s);
std::unique_ptr<Plan> plan_stem(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual);

// Whether a strided convolution of few channels is estimated to be faster by Winograd's algorithm, as one of stride 1
// whose channels are the pixels that a stride passes over.
bool suits_space_to_depth(const Conv2dShape& s);

// Whether a transposed convolution of single pixels writes a panel for each output pixel, as one product.
bool is_product_of_pixels(const Conv2dLayer& r, const TensorSpec& y);
std::unique_ptr<Plan> plan_product_of_pixels(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y,
                                             bool has_residual);

// Whether the phases of a transposed convolution are fewer products as channels of one convolution.
bool joins_phases(const Conv2dShape& s);

// Whether groups share blocks of channels: depthwise, and any group that does not fill whole blocks.
bool is_grouped(const Conv2dShape& s);
// Whether each group is one vector, which plan_grouped does better than direct sums, but Winograd better still.
bool is_grouped_by_vector(const Conv2dShape& s);
const char* grouped_algorithm(const Conv2dShape& s);  // its name
bool is_depthwise(const Conv2dShape& s);
struct GroupedData {  // what GroupedArgs points to
  std::vector<GroupedPhase> phases;
  std::vector<int32_t> channels;
  PackedFloats weights, bias;
};
// All but how work is cut into tasks. `data` must outlive the result, and may be moved.
GroupedArgs grouped_args(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, GroupedData& data);
std::unique_ptr<Plan> plan_grouped(const Conv2dLayer& r, const TensorSpec& x, const TensorSpec& y, bool has_residual);

// F(m, r) on symmetric points that are exact in float32, the ones with the least error of those tried.
struct MinimalFilter {
  const char* name;
  int m, r, stride;
  std::vector<double> points;  // the finite ones
  WinogradKernel* Kernels::* kernel;

  // Pixels of a tile and sums of a product, along one axis; and matrices of weights. With stride 2 (kernels/
  // winograd_points.h), the taps 0 and 2 are F(3, 2) and all products with tap 1 have the same weight.
  int n() const { return (m - 1) * stride + r; }
  int matrices() const { return static_cast<int>(points.size()) + 1 + (stride > 1); }
};
// Every F(m, r) that applies and direct sums (null), the one that is estimated to be the fastest first. direct_rate:
// products of direct sums in the time of one in float32.
std::vector<const MinimalFilter*> filters_by_estimate(const Conv2dShape& s, double direct_rate);
// The one with the least cost for a stride of 1 whatever the channels, and that cost; that of direct sums. In products
// at the rate of the register tile.
std::pair<const MinimalFilter*, double> cheapest_filter(const Conv2dShape& s);
double direct_cost(const Conv2dShape& s);
std::unique_ptr<Plan> plan_winograd(const MinimalFilter& f, const Conv2dLayer& r, const TensorSpec& x,
                                    const TensorSpec& y, bool has_residual);

}  // namespace tesela::cpu
