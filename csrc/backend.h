// What a device must offer: the list of operators, each able to append its planned step(s) to a program.
//
// The shape has been checked by then (shape.h). A backend chooses layout and algorithm, packs the parameters and
// returns the tensor that holds the result. Adding an operator is one line here and one kernel per backend.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "activation.h"
#include "shape.h"
#include "tensor.h"

namespace tesela {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Program;
using TensorId = int;  // position in the program's table; -1 for none

// y[o] = sum of x over [begin[o], end[o]) divided by count[o], separably in h and w.
struct AveragingWindows {
  std::vector<int64_t> begin_h, end_h, count_h, begin_w, end_w, count_w;
  int64_t divisor_override = 0;  // when positive, replaces count_h * count_w
};

// One output coordinate is (1 - weight) * x[low] + weight * x[high]; low = -1 reads a constant instead.
struct Resampling {
  std::vector<int64_t> low_h, high_h, low_w, high_w;
  std::vector<float> weight_h, weight_w;  // empty: nothing to interpolate, only `low` is read
  float constant = 0.0f;
};

// ShapeError where the tables do not fit together, or a kernel that follows them would read outside of x (N, C, H, W).
void expect_inside(const AveragingWindows& windows, const Dims& x);
void expect_inside(const Resampling& resampling, const Dims& x);

// The places along one axis of the result: i * stride, or table[i], where -1 is absent.
struct CopyAxis {
  int64_t size, stride;
  std::vector<int64_t> table;
};

// y[i, j, ...] = x[base + place_0(i) + place_1(j) + ...], places in elements; `fill` (one element) where one is absent.
struct IndexedCopy {
  int64_t base;
  std::vector<CopyAxis> axes;
  std::vector<char> fill;
};

// Where and how regions of x are sampled, see CpuBackend::roi_align.
struct RoiAlignment {
  int64_t OH, OW;          // bins of one region
  int64_t sampling_ratio;  // samples of a bin along each axis; 0: one for each element of x that it covers
  float spatial_scale;     // from a region's coordinates to x's
  bool half_pixel, maximum;
};

// Which boxes of each class stay, see CpuBackend::non_max_suppression.
struct Suppression {
  int64_t most;  // boxes of one class of one image
  float iou_threshold, score_threshold;
  bool has_score_threshold;
  bool centred;  // boxes are (x, y, width, height) of their centre, not two corners (y, x, y, x)
};

// A convolution with its parameters, which are read during the call only; bias may be null.
struct Conv2dLayer {
  const Conv2dShape& s;
  const float* weight;
  const float* bias;
  ActivationSpec activation;
};

enum class Binary { add, mul };

// A stream of the device as its own runtime and DLPack number it: 1 (or 0) the legacy default, 2 the calling thread's,
// else an address.
using StreamHandle = uintptr_t;
inline constexpr StreamHandle thread_stream = 2;

// One run at a time over memory of a device: the stream it is on, its order after the run before, and a graph that
// launches all steps at once.
class DeviceRun {
 public:
  using Step = std::function<void(size_t step, void* stream)>;  // launches a step; `stream` is Execution::stream
  virtual ~DeviceRun() = default;                               // when the last run is done

  // Later work on `stream` comes after the run before. Returns what stands for it in Execution::stream.
  virtual void* begin(StreamHandle stream) = 0;
  virtual void end() noexcept = 0;  // what goes wrong here, the next begin() throws

  virtual bool recorded() const = 0;
  // Captures the steps in a graph, which takes the place of another.
  virtual void record(size_t steps, const Step& run) = 0;
  // Launches of this step get the arguments that it has now. False where it launches other kernels than were recorded.
  virtual bool change(size_t step, const Step& run) = 0;
  virtual void launch() = 0;
};

// Memory of a device outside of programs, in the order of streams: what a result lies in. Without bytes it is only the
// mark of when it was used last.
class DeviceMemory {
 public:
  void* const data;
  const size_t bytes;

  virtual ~DeviceMemory() = default;                   // released after its last use
  virtual void used(StreamHandle stream) = 0;          // by the work so far on `stream`
  virtual bool done() const = 0;                       // whether that work is
  virtual void before(StreamHandle stream) const = 0;  // later work on `stream` comes after it

 protected:
  DeviceMemory(void* memory, size_t size) : data(memory), bytes(size) {}
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;
  virtual std::string hardware() const { return name(); }  // what tells one from another that is faster
  virtual bool computes_in(Precision precision) const { return precision == Precision::float32; }
  virtual const char* precisions() const { return "'float32'"; }  // that it computes in, for errors
  virtual bool stores_bfloat16_weights() const { return false; }  // and multiplies them in float32

  virtual void* allocate(size_t bytes) const = 0;  // 64-byte aligned; throws std::bad_alloc or DeviceError
  virtual void release(void* memory, size_t bytes) const = 0;

  // Whether the host can use that memory. Where not, a run copies the host's arrays to the device and back. Copies are
  // in order with the kernels of `stream` (Execution::stream; null: the calling thread's own), and wait() returns when
  // all of it is done.
  virtual bool memory_is_host() const { return true; }
  virtual void upload(void* /*to*/, const void* /*from*/, size_t /*bytes*/, void* /*stream*/) const {}
  virtual void download(void* /*to*/, const void* /*from*/, size_t /*bytes*/, void* /*stream*/) const {}
  virtual void transfer(void* /*to*/, const void* /*from*/, size_t /*bytes*/, void* /*stream*/) const {}
  virtual void wait(void* /*stream*/) const {}
  // null where memory is the host's
  virtual std::unique_ptr<DeviceRun> device_run() const { return nullptr; }
  virtual std::unique_ptr<DeviceMemory> device_memory(size_t /*bytes*/, StreamHandle) const { return nullptr; }
  virtual void order(StreamHandle /*later*/, StreamHandle /*earlier*/) const {}  // work so far before what comes
  // DeviceError where the first or the last byte of `what` does not lie in this device's memory.
  virtual void expect_memory(const void* /*memory*/, size_t /*bytes*/, const std::string& /*what*/) const {}

  // Convolution and transposed convolution: y = activation(conv(x) + bias + residual). Parameters are read during the
  // call only. bias may be null, residual -1.
  virtual TensorId conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias,
                          TensorId residual, ActivationSpec) const = 0;
  // y = activation(gate * (conv(x) + bias) + residual), gate (N, OC, 1, 1): as three steps where a backend has no
  // better.
  virtual TensorId gated_conv2d(Program&, TensorId x, const Conv2dShape&, const float* weight, const float* bias,
                                TensorId gate, TensorId residual, ActivationSpec) const;
  // A depthwise convolution of what a 1x1 convolution of stride 1 makes of x, bias and activation of each included: as
  // two steps where a backend has no better.
  virtual TensorId pointwise_depthwise_conv2d(Program&, TensorId x, const Conv2dLayer& pointwise,
                                              const Conv2dLayer& depthwise) const;
  // alpha * op(a) @ op(b) + beta * c, all tensors of the program; c has y's shape, is one row (c_is_row), or is -1.
  virtual TensorId gemm(Program&, TensorId a, TensorId b, TensorId c, const GemmShape&, float alpha, float beta,
                        bool trans_a, bool trans_b, bool c_is_row, ActivationSpec) const = 0;
  // x (M, K) @ weight (N, K)^T + bias: b is a parameter, packed once.
  virtual TensorId linear(Program&, TensorId x, const GemmShape&, const float* weight, const float* bias,
                          ActivationSpec) const = 0;
  // Returns y, and the indices (int64, plain) after it when asked for.
  virtual std::vector<TensorId> max_pool2d(Program&, TensorId x, const Pool2dShape&, bool with_indices) const = 0;
  virtual TensorId global_max_pool2d(Program&, TensorId x) const = 0;
  virtual TensorId avg_pool2d(Program&, TensorId x, const AveragingWindows&) const = 0;
  virtual TensorId max_unpool2d(Program&, TensorId x, TensorId indices, const Dims& y) const = 0;
  virtual TensorId activation(Program&, TensorId x, ActivationSpec) const = 0;
  virtual TensorId prelu(Program&, TensorId x, const float* slope,
                         int64_t slopes) const = 0;  // 1 slope or one a channel
  // y = x * scale[c] + shift[c], channel axis 1.
  virtual TensorId channel_affine(Program&, TensorId x, const float* scale, const float* shift,
                                  ActivationSpec) const = 0;
  virtual TensorId binary(Program&, Binary, TensorId x, TensorId y, ActivationSpec) const = 0;  // broadcasts
  // x / (k + alpha/size * sum of x^2 over channels [c - before, c + after])^beta
  virtual TensorId local_response_norm(Program&, TensorId x, int64_t before, int64_t after, float alpha, float beta,
                                       float k) const = 0;
  virtual TensorId softmax(Program&, TensorId x, int64_t dim, bool log) const = 0;
  virtual TensorId concat(Program&, const std::vector<TensorId>& parts, int64_t dim) const = 0;
  virtual TensorId resample2d(Program&, TensorId x, const Resampling&) const = 0;  // pad and upsample
  virtual TensorId pixel_shuffle(Program&, TensorId x, int64_t factor) const = 0;
  // Array operators: plain tensors of any rank and dtype, planned with arrays.h.
  virtual TensorId indexed_copy(Program&, TensorId x, const IndexedCopy&) const = 0;
  // An element-wise function by name (map_functions.h); operands broadcast and but for a condition agree in dtype.
  virtual TensorId map(Program&, const std::string& op, const std::vector<TensorId>& operands, DType y) const = 0;
  // A reduction by name (reductions.h); the reduced axes stay with size 1.
  virtual TensorId reduce(Program&, const std::string& op, TensorId x, const std::vector<int64_t>& axes,
                          bool select_last) const = 0;
  virtual TensorId gather(Program&, TensorId x, TensorId indices, int64_t axis) const = 0;  // indices int64
  // What detectors end in; a device without them refuses the network that asks.
  // Values and their int64 places: the k greatest along `axis`, or the smallest, in that order.
  virtual std::vector<TensorId> top_k(Program&, TensorId x, int64_t k, int64_t axis, bool largest) const;
  // boxes (N, B, 4), scores (N, C, B) -> rows of (image, class, box), int64, -1 where fewer were chosen; their number.
  virtual std::vector<TensorId> non_max_suppression(Program&, TensorId boxes, TensorId scores,
                                                    const Suppression&) const;
  // x (N, C, H, W), regions (R, 4) as x1 y1 x2 y2, images (R) int64 -> (R, C, OH, OW)
  virtual TensorId roi_align(Program&, TensorId x, TensorId regions, TensorId images, const RoiAlignment&) const;
  virtual TensorId copy(Program&, TensorId x) const = 0;  // plain to plain, a new tensor
  virtual TensorId convert(Program&, TensorId x, Layout layout) const = 0;
};

// Which Backend a name stands for. Throws DeviceError, naming what is there, when it cannot be had.
const Backend& backend_of(const std::string& device);
std::vector<std::string> devices();

}  // namespace tesela
