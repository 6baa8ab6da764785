// What convolutions on tensor cores plan alike (conv2d_mma.cu, conv2d_wgmma.cu): the types of a precision, and the
// tensors of what follows the sums.

#pragma once

#include <vector>

#include "conv2d.cuh"
#include "epilogue.cuh"

namespace tesela::TESELA_DEVICE {

// What is multiplied, whether as three products (split), and as what tensors are stored.
template <MmaType type_, bool split_, class T>
struct ProductType {
  static constexpr MmaType type = type_;
  static constexpr bool split = split_;
  using Stored = T;
};
template <class What>
auto with_product_type(Precision precision, const What& what) {
  switch (precision) {
    case Precision::bfloat16:
      return what(ProductType<MmaType::bfloat16, false, bfloat16>{});
    case Precision::float16:
      return what(ProductType<MmaType::float16, false, float16>{});
    case Precision::tf32:
      return what(ProductType<MmaType::tf32, false, float>{});
    case Precision::float32:
      break;
  }
  return what(ProductType<MmaType::tf32, true, float>{});
}

inline Epilogue epilogue_of(const Conv2dShape& s, int splits, ActivationSpec activation) {
  const int64_t channels = s.OC / s.G;
  return {s.N * s.OH * s.OW,
          static_cast<int>(channels),
          static_cast<int>(round_up(channels, channel_octet)),
          static_cast<int>(s.G),
          splits,
          Divisor(s.OH * s.OW),
          activation};
}

// inputs: x, and those of residual and gate that there are. outputs: y, and the parts of sums that are split.
struct ProductTensors {
  std::vector<TensorId> inputs;
  std::vector<TensorSpec> outputs;
  bool has_residual, has_gate;

  ProductTensors(Program& program, const ConvRequest& r, const Epilogue& epilogue)
      : has_residual(r.residual >= 0), has_gate(r.gate >= 0) {
    for (TensorId id : {r.x, r.residual, r.gate}) {
      if (id >= 0) inputs.push_back(program.in_layout(id, Layout::channels_last));
    }
    TensorSpec y = channels_last_spec(r.shape.y_dims(), storage_of(program.precision()));
    if (r.linear && y.dtype == DType::float32 && y.lanes() == r.shape.OC) {  // the plain matrix lies alike
      y = plain_spec({r.shape.N, r.shape.OC});
      y.pixel_stride = r.shape.OC;
    }
    outputs.push_back(std::move(y));
    if (epilogue.splits > 1) {
      outputs.push_back(plain_spec({epilogue.splits, epilogue.pixels, int64_t{epilogue.groups} * epilogue.lanes}));
    }
  }
};

template <class T>
EpilogueOperands<T> epilogue_operands(const ProductTensors& tensors, const float* bias, const Operand* in,
                                      const Operand* out) {
  EpilogueOperands<T> p{};
  const Operand* next = in + 1;
  p.bias = bias;
  if (tensors.has_residual) p.residual = next->as<T>(), p.residual_stride = next++->pixel_stride;
  if (tensors.has_gate) p.gate = next->as<T>(), p.gate_stride = next->image_stride;
  p.y = out[0].as<T>(), p.y_stride = out[0].pixel_stride;
  if (tensors.outputs.size() > 1) p.partial = out[1].floats();
  return p;
}

}  // namespace tesela::TESELA_DEVICE
