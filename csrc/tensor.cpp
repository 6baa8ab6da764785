#include "tensor.h"

#include <iterator>
#include <utility>

namespace tesela {
namespace {

struct Element {
  const char* name;
  size_t bytes;
};

constexpr Element elements_of[] = {{"float32", 4}, {"float64", 8}, {"int8", 1},    {"uint8", 1},   {"int32", 4},
                                   {"int64", 8},   {"bool", 1},    {"float16", 2}, {"bfloat16", 2}};  // as in DType
constexpr const char* precisions[] = {"float32", "tf32", "bfloat16", "float16"};

void expect_images(const Dims& dims) {
  if (dims.size() != 4) throw ShapeError("expected a tensor of shape (N, C, H, W), got " + to_string(dims));
}

}  // namespace

size_t bytes_of(DType dtype) { return elements_of[static_cast<size_t>(dtype)].bytes; }
const char* name_of(DType dtype) { return elements_of[static_cast<size_t>(dtype)].name; }

DType as_array(DType dtype) { return dtype == DType::float16 || dtype == DType::bfloat16 ? DType::float32 : dtype; }

DType dtype_named(const std::string& name) {
  for (size_t i = 0; i < static_cast<size_t>(DType::float16); ++i) {
    if (name == elements_of[i].name) return static_cast<DType>(i);
  }
  throw ShapeError("expected a dtype among float32, float64, int8, uint8, int32, int64 and bool, got '" + name + "'");
}

const char* name_of(Precision precision) { return precisions[static_cast<size_t>(precision)]; }

DType storage_of(Precision precision) {
  if (precision == Precision::bfloat16) return DType::bfloat16;
  return precision == Precision::float16 ? DType::float16 : DType::float32;
}

int64_t TensorSpec::elements() const {
  return layout == Layout::plain ? element_count(dims, "tensor") : dims[0] * image_stride;
}

double payload(const TensorSpec& spec) {
  double bytes = static_cast<double>(bytes_of(spec.dtype));
  for (int64_t size : spec.dims) bytes *= static_cast<double>(size);
  return bytes;
}

TensorSpec plain_spec(Dims dims, DType dtype) { return {std::move(dims), dtype}; }

TensorSpec blocked_spec(Dims dims) {
  expect_images(dims);
  element_count({dims[0], dims[1] + channel_block, dims[2] + 1, dims[3] + 1}, "tensor");
  TensorSpec spec{std::move(dims), DType::float32, Layout::blocked};
  const int64_t plane = spec.dims[2] * spec.dims[3] * channel_block;
  // 1024 floats are one page, the period at which addresses share an L1 set.
  spec.plane_stride = plane + (plane % 1024 == 0 ? channel_block : 0);
  spec.image_stride = spec.plane_stride * spec.blocks();
  return spec;
}

TensorSpec channels_last_spec(Dims dims, DType dtype) {
  expect_images(dims);
  element_count({dims[0], dims[1] + channel_octet, dims[2], dims[3]}, "tensor");
  TensorSpec spec{std::move(dims), dtype, Layout::channels_last};
  spec.pixel_stride = spec.lanes();
  spec.image_stride = spec.dims[2] * spec.dims[3] * spec.pixel_stride;
  return spec;
}

}  // namespace tesela
