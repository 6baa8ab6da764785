// The activations that a step can apply, alone or fused into the operator before it.

#pragma once

#include <cstdint>

namespace tesela {

enum class Activation : int32_t { none, relu, relu6, leaky_relu, elu, sigmoid, tanh, hardswish, silu, gelu, gelu_tanh };

// parameter: negative_slope of leaky_relu, alpha of elu; unused otherwise.
struct ActivationSpec {
  Activation kind = Activation::none;
  float parameter = 0.0f;
};

}  // namespace tesela
