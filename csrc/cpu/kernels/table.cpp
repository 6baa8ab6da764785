// The table of one instruction set.

#include "contraction.h"

namespace tesela::TESELA_ISA {

#define TESELA_TEXT_OF(name) #name
#define TESELA_TEXT(name) TESELA_TEXT_OF(name)

extern const cpu::Kernels kernels;
constexpr cpu::Kernels kernels = {
    .isa = TESELA_TEXT(TESELA_ISA),
    .lanes = lanes,
    .tile_rows = max_rows,
    .tile_panels = tile_panels(max_rows),
    .conv2d_pointwise = conv2d_pointwise,
    .conv2d_strassen = conv2d_strassen,
    .conv2d_direct = conv2d_direct,
    .conv2d_stem = conv2d_stem,
    .conv2d_winograd_2_3 = conv2d_winograd_2_3,
    .conv2d_winograd_3_2 = conv2d_winograd_3_2,
    .conv2d_winograd_4_2 = conv2d_winograd_4_2,
    .conv2d_winograd_4_3 = conv2d_winograd_4_3,
    .conv2d_winograd_3_4 = conv2d_winograd_3_4,
    .conv2d_winograd_2_5 = conv2d_winograd_2_5,
    .conv2d_winograd_3_5 = conv2d_winograd_3_5,
    .conv2d_winograd_3_3_strided = conv2d_winograd_3_3_strided,
    .winograd_weights = winograd_weights,
    .gemm_rows = gemm_rows,
    .gemm_columns = gemm_columns,
    .gemm_few_rows = gemm_few_rows,
    .gemm_pack_panel = gemm_pack_panel,
    .linear_bfloat16 = linear_bfloat16,
#ifdef TESELA_BFLOAT16_PRODUCTS
    .conv2d_products_bfloat16 = conv2d_products_bfloat16,
    .linear_products_bfloat16 = linear_products_bfloat16,
#else
    .conv2d_products_bfloat16 = nullptr,
    .linear_products_bfloat16 = nullptr,
#endif
    .conv2d_depthwise = conv2d_depthwise,
    .conv2d_grouped = conv2d_grouped,
    .conv2d_pointwise_depthwise = conv2d_pointwise_depthwise,
    .max_pool2d = max_pool2d,
    .max_pool2d_indices = max_pool2d_indices,
    .max_pool2d_bands = max_pool2d_bands,
    .max_pool2d_rows = max_pool2d_rows,
    .avg_pool2d = avg_pool2d,
    .avg_pool2d_bands = avg_pool2d_bands,
    .avg_pool2d_rows = avg_pool2d_rows,
    .elementwise = elementwise,
    .local_response_norm = local_response_norm,
    .softmax_rows = softmax_rows,
    .softmax_columns = softmax_columns,
    .resample2d_copy = resample2d_copy,
    .resample2d_bilinear = resample2d_bilinear,
    .space_to_depth = space_to_depth,
    .plain_to_blocked = plain_to_blocked,
    .blocked_to_plain = blocked_to_plain,
    .pixel_shuffle = pixel_shuffle,
};

}  // namespace tesela::TESELA_ISA
