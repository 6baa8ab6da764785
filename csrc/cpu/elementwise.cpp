// Planning of activations, prelu, channel_affine and binary: every case becomes rows of neighbouring floats.
//
// A blocked input stays blocked, a plain one plain, so that these operators add no conversion of their own.

#include "planning.h"

namespace tesela::cpu {
namespace {

constexpr int64_t piece_floats = 2048;  // 8 KB of y, in L1 for the second sweep of an activation

struct ElementwiseData {  // what ElementwiseArgs points to
  std::vector<int64_t> sizes, y_strides, x_strides, b_strides;
  PackedFloats b, c;
};

// The operation but for its geometry. Parameters b and c, or the tensor b, or neither.
struct Operation {
  Elementwise op;
  ActivationSpec activation;
  TensorId x;
  TensorId b_tensor = -1;
  PackedFloats b = {}, c = {};
};

struct Rows {  // of ElementwiseArgs
  std::vector<int64_t> sizes, y_strides, x_strides, b_strides;
  int64_t inner = 1;
  Spread spread = Spread::one;
  int64_t last_block_lanes = channel_block;
  bool b_has_images = false;  // the tensor b has as many images as x
};

TensorId append_rows(Program& program, const char* algorithm, Operation operation, Rows rows, TensorSpec y) {
  ElementwiseData data{std::move(rows.sizes),     std::move(rows.y_strides), std::move(rows.x_strides),
                       std::move(rows.b_strides), std::move(operation.b),    std::move(operation.c)};
  ElementwiseArgs args{};
  args.op = operation.op;
  args.spread = rows.spread;
  args.activation = operation.activation;
  args.rank = static_cast<int64_t>(data.sizes.size());
  args.sizes = data.sizes.data();
  args.y_strides = data.y_strides.data();
  args.x_strides = data.x_strides.data();
  args.b_strides = data.b_strides.data();
  args.inner = rows.inner;
  args.piece = piece_floats;
  args.pieces = (rows.inner + piece_floats - 1) / piece_floats;
  args.last_block_lanes = rows.last_block_lanes;
  int64_t count = args.pieces;
  for (int64_t size : data.sizes) count *= size;
  args.units = cut(count, 2 * std::min(rows.inner, piece_floats));

  std::vector<TensorId> inputs{operation.x};
  if (operation.b_tensor >= 0) inputs.push_back(operation.b_tensor);
  const float *b_data = data.b.data(), *c_data = data.c.data();
  const bool b_is_tensor = operation.b_tensor >= 0, b_has_images = rows.b_has_images;
  const auto bind = [=](const Operand* in, const Operand* out, float*) {
    const float* b = b_is_tensor ? in[1].floats() : b_data;
    return ElementwiseOperands{in[0].floats(),      b,
                               c_data ? c_data : b, out[0].floats(),
                               in[0].image_stride,  b_has_images ? in[1].image_stride : 0,
                               out[0].image_stride};
  };
  const size_t weight_bytes = data.b.bytes() + data.c.bytes();
  auto plan = make_plan(algorithm, args, std::move(data), kernels().elementwise, bind, tasks_of(args.units));
  plan->bytes = payload(y) + static_cast<double>(weight_bytes);
  for (TensorId id : inputs) plan->bytes += payload(program.spec(id));
  plan->flops = payload(y) / 4 * (args.op == Elementwise::identity ? 0 : args.op == Elementwise::affine ? 2 : 1);
  plan->weight_bytes = weight_bytes;
  return program.append(std::move(plan), inputs, {std::move(y)})[0];
}

// x is blocked and as large as y. b_plane_stride: from one block of b to the next, 0 where all blocks share b.
TensorId append_blocked(Program& program, Operation operation, Spread spread, int64_t b_plane_stride,
                        bool b_has_images) {
  const TensorSpec x = program.spec(operation.x);
  TensorSpec y = blocked_spec(x.dims);
  Rows rows;
  rows.sizes = {x.dims[0], x.blocks()};
  rows.y_strides = {0, y.plane_stride};
  rows.x_strides = {0, x.plane_stride};
  rows.b_strides = {0, b_plane_stride};
  rows.inner = x.dims[2] * x.dims[3] * channel_block;
  rows.spread = spread;
  rows.last_block_lanes = last_block_lanes(x);
  rows.b_has_images = b_has_images;
  return append_rows(program, "blocked", std::move(operation), std::move(rows), std::move(y));
}

// Strides of a dense tensor of `dims` seen as one of `rank` dimensions that broadcasts: 0 where its size is 1.
std::vector<int64_t> broadcast_strides(const Dims& dims, size_t rank) {
  std::vector<int64_t> strides(rank, 0);
  int64_t stride = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t size = dims[dims.size() - 1 - i];
    if (size != 1) strides[rank - 1 - i] = stride;
    stride *= size;
  }
  return strides;
}

// x and b lie in y's dimensions with the given strides. Dimensions of size 1 go, neighbours that can be walked as one
// are merged, and the last becomes the row. Dense operands have stride 0 or 1 there, and x or b has 1.
TensorId append_plain(Program& program, Operation operation, const Dims& dims, std::vector<int64_t> x_strides,
                      std::vector<int64_t> b_strides) {
  const std::vector<int64_t> y_strides = broadcast_strides(dims, dims.size());
  Rows rows;  // innermost first, until the end
  for (size_t d = dims.size(); d-- > 0;) {
    if (dims[d] == 1) continue;
    if (!rows.sizes.empty() && x_strides[d] == rows.x_strides.back() * rows.sizes.back() &&
        b_strides[d] == rows.b_strides.back() * rows.sizes.back()) {
      rows.sizes.back() *= dims[d];
      continue;
    }
    rows.sizes.push_back(dims[d]);
    rows.y_strides.push_back(y_strides[d]);
    rows.x_strides.push_back(x_strides[d]);
    rows.b_strides.push_back(b_strides[d]);
  }
  if (!rows.sizes.empty()) {
    if (rows.x_strides.front() == 0) {  // add and mul: the other operand is the one with a value for each
      std::swap(rows.x_strides, rows.b_strides);
      std::swap(operation.x, operation.b_tensor);
    }
    rows.inner = rows.sizes.front();
    rows.spread = rows.b_strides.front() == 1 ? Spread::each : Spread::one;
    for (auto* list : {&rows.sizes, &rows.y_strides, &rows.x_strides, &rows.b_strides}) {
      list->erase(list->begin());
      std::reverse(list->begin(), list->end());
    }
  }
  return append_rows(program, "plain", std::move(operation), std::move(rows), plain_spec(dims));
}

// b and c hold one value a channel, or b a single one.
TensorId append_per_channel(Program& program, Operation operation, bool single) {
  const TensorSpec x = program.spec(operation.x);
  if (x.layout == Layout::blocked) {
    const Spread spread = single ? Spread::one : Spread::lanes;
    return append_blocked(program, std::move(operation), spread, single ? 0 : channel_block, false);
  }
  std::vector<int64_t> strides(x.dims.size(), 0);
  if (!single) strides[1] = 1;
  return append_plain(program, std::move(operation), x.dims, broadcast_strides(x.dims, x.dims.size()), strides);
}

}  // namespace

TensorId CpuBackend::activation(Program& program, TensorId x, ActivationSpec spec) const {
  return append_per_channel(program, {Elementwise::identity, spec, x}, true);
}

TensorId CpuBackend::prelu(Program& program, TensorId x, const float* slope, int64_t slopes) const {
  Operation operation{Elementwise::prelu, {}, x};
  operation.b = padded_channels(slope, slopes);
  return append_per_channel(program, std::move(operation), slopes == 1);
}

TensorId CpuBackend::channel_affine(Program& program, TensorId x, const float* scale, const float* shift,
                                    ActivationSpec spec) const {
  const int64_t channels = program.spec(x).dims[1];
  Operation operation{Elementwise::affine, spec, x};
  operation.b = padded_channels(scale, channels);
  operation.c = padded_channels(shift, channels);
  return append_per_channel(program, std::move(operation), false);
}

TensorId CpuBackend::binary(Program& program, Binary kind, TensorId x, TensorId y, ActivationSpec spec) const {
  const Elementwise op = kind == Binary::add ? Elementwise::add : Elementwise::mul;
  const Dims dims = broadcast_dims(kind == Binary::add ? "add" : "mul", program.spec(x).dims, program.spec(y).dims);
  const auto is_whole = [&](TensorId id) {
    return program.spec(id).layout == Layout::blocked && program.spec(id).dims == dims;
  };
  if (!is_whole(x) && is_whole(y)) std::swap(x, y);
  if (is_whole(x)) {
    Dims other = program.spec(y).dims;
    if (other == dims) {
      y = program.in_layout(y, Layout::blocked);
      return append_blocked(program, {op, spec, x, y}, Spread::each, program.spec(y).plane_stride, true);
    }
    if (element_count(other, "binary") == 1) {
      y = program.in_layout(y, Layout::plain);
      return append_blocked(program, {op, spec, x, y}, Spread::one, 0, false);
    }
    other.insert(other.begin(), dims.size() - other.size(), 1);
    if ((other[0] == 1 || other[0] == dims[0]) && other[1] == dims[1] && other[2] == 1 && other[3] == 1) {
      if (program.spec(y).dims.size() < 4) y = program.reshaped(y, other);
      y = program.in_layout(y, Layout::blocked);
      return append_blocked(program, {op, spec, x, y}, Spread::lanes, program.spec(y).plane_stride,
                            other[0] == dims[0]);
    }
  }
  x = program.in_layout(x, Layout::plain);
  y = program.in_layout(y, Layout::plain);
  const std::vector<int64_t> x_strides = broadcast_strides(program.spec(x).dims, dims.size());
  const std::vector<int64_t> y_strides = broadcast_strides(program.spec(y).dims, dims.size());
  return append_plain(program, {op, spec, x, y}, dims, x_strides, y_strides);
}

}  // namespace tesela::cpu
