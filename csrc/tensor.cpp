#include "tensor.h"

#include <utility>

namespace tesela {

int64_t TensorSpec::elements() const {
  return layout == Layout::blocked ? dims[0] * image_stride : element_count(dims, "tensor");
}

TensorSpec plain_spec(Dims dims, DType dtype) { return {std::move(dims), dtype}; }

TensorSpec blocked_spec(Dims dims) {
  if (dims.size() != 4) throw ShapeError("expected a tensor of shape (N, C, H, W), got " + to_string(dims));
  element_count({dims[0], dims[1] + channel_block, dims[2] + 1, dims[3] + 1}, "tensor");
  TensorSpec spec{std::move(dims), DType::float32, Layout::blocked};
  const int64_t plane = spec.dims[2] * spec.dims[3] * channel_block;
  // 1024 floats are one page, the period at which addresses share an L1 set.
  spec.plane_stride = plane + (plane % 1024 == 0 ? channel_block : 0);
  spec.image_stride = spec.plane_stride * spec.blocks();
  return spec;
}

}  // namespace tesela
