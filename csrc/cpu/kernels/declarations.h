// Every kernel of the table, one prototype each.

#pragma once

#include "../kernels.h"

namespace tesela::TESELA_ISA {

cpu::ContractionKernel conv2d_pointwise, conv2d_strassen, conv2d_direct, conv2d_stem;
cpu::ContractionKernel gemm_rows, gemm_columns, gemm_few_rows, linear_bfloat16;
cpu::ContractionKernel conv2d_products_bfloat16, linear_products_bfloat16;
cpu::WinogradKernel conv2d_winograd_2_3, conv2d_winograd_3_2, conv2d_winograd_4_2, conv2d_winograd_4_3;
cpu::WinogradKernel conv2d_winograd_3_4, conv2d_winograd_2_5, conv2d_winograd_3_5, conv2d_winograd_3_3_strided;
void winograd_weights(const cpu::WinogradWeightsArgs&, const cpu::WinogradLane* lane, float* panel);
void gemm_pack_panel(const cpu::PackPanelArgs&, const float* b, float* packed, int64_t panel);
void conv2d_depthwise(const cpu::GroupedArgs&, const cpu::ContractionOperands&, int64_t task);
void conv2d_grouped(const cpu::GroupedArgs&, const cpu::ContractionOperands&, int64_t task);
void conv2d_pointwise_depthwise(const cpu::PointwiseDepthwiseArgs&, const cpu::ContractionOperands&, int64_t task);
void max_pool2d(const cpu::MaxPool2dArgs&, const cpu::MapOperands&, int64_t task);
void max_pool2d_indices(const cpu::MaxPool2dArgs&, const cpu::MaxPool2dIndicesOperands&, int64_t task);
void max_pool2d_bands(const cpu::MaxPool2dArgs&, const cpu::MapOperands&, int64_t task);
void max_pool2d_rows(const cpu::MaxPool2dArgs&, const cpu::MapOperands&, int64_t task);
void avg_pool2d(const cpu::AvgPool2dArgs&, const cpu::MapOperands&, int64_t task);
void avg_pool2d_bands(const cpu::AvgPool2dArgs&, const cpu::MapOperands&, int64_t task);
void avg_pool2d_rows(const cpu::AvgPool2dArgs&, const cpu::MapOperands&, int64_t task);
void elementwise(const cpu::ElementwiseArgs&, const cpu::ElementwiseOperands&, int64_t task);
void local_response_norm(const cpu::LocalResponseNormArgs&, const cpu::MapOperands&, int64_t task);
void softmax_rows(const cpu::SoftmaxArgs&, const cpu::MapOperands&, int64_t task);
void softmax_columns(const cpu::SoftmaxArgs&, const cpu::MapOperands&, int64_t task);
void resample2d_copy(const cpu::Resample2dArgs&, const cpu::MapOperands&, int64_t task);
void resample2d_bilinear(const cpu::Resample2dArgs&, const cpu::MapOperands&, int64_t task);
void space_to_depth(const cpu::SpaceToDepthArgs&, const cpu::MapOperands&, int64_t task);
void plain_to_blocked(const cpu::ConvertArgs&, const cpu::MapOperands&, int64_t task);
void blocked_to_plain(const cpu::ConvertArgs&, const cpu::MapOperands&, int64_t task);
void pixel_shuffle(const cpu::PixelShuffleArgs&, const cpu::MapOperands&, int64_t task);

}  // namespace tesela::TESELA_ISA
