// gemm of few rows: y[m, n] = activation(alpha * sum over k of a[m, k] * b[k, n] + beta * c[m, n]), b row-major.
//
// Every element of b takes part in few products, so packing it would cost more than they do. It is read where it lies,
// once: eight of its rows at a time, a block of columns on end, while those sixteen further on are asked for. Their
// products with a row of a are added to that row's sums, which stay in scratch, near enough; the eight values of a stay
// in registers. Products are summed in the order of k, one after the other, however columns are cut into tasks.
//
// Limits: any sizes; the planner takes it for at most as many rows as pay (cpu/gemm.cpp).
// Measured: docs/kernels/contraction.md.

#include "contraction.h"
#include "vector_math.h"

namespace tesela::TESELA_ISA {
namespace {

constexpr int depth = 8;                      // rows of b at a time
constexpr int abreast = lanes == 16 ? 2 : 1;  // rows of a at a time: their values fill half of the registers

struct Values {  // of a: (m, k) at m * row + k * product
  const float* a;
  int64_t row, product;
};

// sums[r, c] += a[r, i] * b[i, c] for i below `products` and c below `columns`.
template <int rows, int products, bool ask>
TESELA_INLINE void add_products(const Values& a, const float* b, int64_t ldb, int64_t columns, float* sums,
                                int64_t sums_stride) {
  vfloat value[rows][products];
  TESELA_UNROLL(2)
  for (int r = 0; r < rows; ++r) {
    TESELA_UNROLL(8)
    for (int i = 0; i < products; ++i) value[r][i] = set1(a.a[r * a.row + i * a.product]);
  }
  int64_t c = 0;
  for (; c + lanes <= columns; c += lanes) {
    vfloat sum[rows];
    TESELA_UNROLL(2)
    for (int r = 0; r < rows; ++r) sum[r] = load(sums + r * sums_stride + c);
    TESELA_UNROLL(8)
    for (int i = 0; i < products; ++i) {
      const vfloat from = load(b + i * ldb + c);
      if (ask) __builtin_prefetch(b + (2 * products + i) * ldb + c, 0, 2);  // to L2: L1 has no room for so much
      TESELA_UNROLL(2)
      for (int r = 0; r < rows; ++r) sum[r] = fma(value[r][i], from, sum[r]);
    }
    TESELA_UNROLL(2)
    for (int r = 0; r < rows; ++r) store(sums + r * sums_stride + c, sum[r]);
  }
  if (c == columns) return;
  TESELA_UNROLL(2)
  for (int r = 0; r < rows; ++r) {
    vfloat sum = load(sums + r * sums_stride + c);
    TESELA_UNROLL(8)
    for (int i = 0; i < products; ++i) {
      sum = fma(value[r][i], load_partial(b + i * ldb + c, static_cast<int>(columns - c)), sum);
    }
    store(sums + r * sums_stride + c, sum);
  }
}

template <int products>
TESELA_INLINE void add_rows(Values a, int64_t rows, const float* b, int64_t ldb, bool ask, int64_t columns, float* sums,
                            int64_t sums_stride) {
  int64_t m = 0;
  if (ask) {
    add_products<1, products, true>(a, b, ldb, columns, sums, sums_stride);
    m = 1;
  }
  for (; m + abreast <= rows; m += abreast) {
    add_products<abreast, products, false>({a.a + m * a.row, a.row, a.product}, b, ldb, columns, sums + m * sums_stride,
                                           sums_stride);
  }
  for (; m < rows; ++m) {
    add_products<1, products, false>({a.a + m * a.row, a.row, a.product}, b, ldb, columns, sums + m * sums_stride,
                                     sums_stride);
  }
}

void finish(const ContractionArgs& args, const ContractionOperands& io, int64_t row, int64_t first, int64_t columns,
            float* sums) {
  if (args.scale != 1.0f) {
    for (int64_t c = 0; c < columns; ++c) sums[c] *= args.scale;
  }
  if (io.residual) {
    const float* residual = io.residual + (args.residual_is_row ? 0 : row * args.y_pixel_stride) + first;
    for (int64_t c = 0; c < columns; ++c) sums[c] += args.residual_scale * residual[c];
  }
  activate(sums, io.y + row * args.y_pixel_stride + first, columns, args.activation);
}

}  // namespace

void gemm_few_rows(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const int64_t k = args.b.k, ldb = args.b.ldb, rows = task.row_end;
  const Values a{io.x, args.a_row_stride, args.a_product_stride};
  for (int64_t panel = task.panel_begin; panel < task.panel_end; panel += args.block_panels) {
    const int64_t first = panel * 16;
    const int64_t last = smaller<int64_t>(panel + args.block_panels, task.panel_end) * 16;
    const int64_t columns = smaller(last, args.b.columns) - first, stride = last - first;
    float* sums = io.scratch;
    for (int64_t i = 0; i < rows * stride; i += 16) {
      for (int v = 0; v < 16; v += lanes) store(sums + i + v, zero());
    }
    const float* b = io.b + first;
    int64_t i = 0;
    for (; i + depth <= k; i += depth) {
      add_rows<depth>({a.a + i * a.product, a.row, a.product}, rows, b + i * ldb, ldb, i + 3 * depth <= k, columns,
                      sums, stride);
    }
    for (; i < k; ++i) {
      add_rows<1>({a.a + i * a.product, a.row, a.product}, rows, b + i * ldb, ldb, false, columns, sums, stride);
    }
    for (int64_t m = 0; m < rows; ++m) finish(args, io, m, first, columns, sums + m * stride);
  }
}

}  // namespace tesela::TESELA_ISA
