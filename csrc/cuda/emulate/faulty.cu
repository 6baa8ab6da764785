#include <map>

#include "../backend.h"
#include "../device.h"
#include "../ptx.cuh"
#include "../reduce.cuh"
#include "../tensor_map.h"
#include "../vectors.cuh"
#include "faulty.h"

namespace tesela::TESELA_DEVICE {
namespace {

constexpr int threads = 64;

struct Row {
  float at[threads];
};

// Each thread passes its number to the next. This is how it should be.
__global__ void correct_kernel(float* y) {
  Row& row = shared_memory<Row>();
  row.at[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = row.at[(threadIdx.x + 1) % threads] + sum_over_lanes<warp_lanes>(1.0f);
}

__global__ void missing_barrier_kernel(float* y) {
  Row& row = shared_memory<Row>();
  row.at[threadIdx.x] = static_cast<float>(threadIdx.x);
  y[threadIdx.x] = row.at[(threadIdx.x + 1) % threads];
}

// The second round overwrites what slower threads have not read yet.
__global__ void missing_second_barrier_kernel(float* y) {
  Row& row = shared_memory<Row>();
  for (int round = 0; round < 2; ++round) {
    row.at[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    y[threadIdx.x] = row.at[(threadIdx.x + 1) % threads];
  }
}

__global__ void deadlock_kernel(float* y) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  y[threadIdx.x] = 0.0f;
}

__global__ void divergent_shuffle_kernel(float* y) {
  y[threadIdx.x] = threadIdx.x % 2 ? __shfl_xor_sync(~0u, 1.0f, 2) : 0.0f;
}

__global__ void uninitialized_kernel(float* y) { y[threadIdx.x] = shared_memory<Row>().at[threadIdx.x]; }

__global__ void out_of_bounds_kernel(float* y) { y[threadIdx.x + 1] = 0.0f; }

__global__ void shared_out_of_bounds_kernel(float* y) { y[threadIdx.x] = shared_memory<Row>().at[threadIdx.x + 1]; }

// Each thread copies its own element. This is how it should be.
__global__ void asynchronous_kernel(float* y) {
  Row& row = shared_memory<Row>();
  y[threadIdx.x] = static_cast<float>(threadIdx.x);
  ptx::cp_async_4(&row.at[threadIdx.x], &y[threadIdx.x], threadIdx.x % 2 ? 4 : 0);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  y[threadIdx.x] = row.at[threadIdx.x];
}

__global__ void missing_wait_kernel(float* y) {
  Row& row = shared_memory<Row>();
  ptx::cp_async_4(&row.at[threadIdx.x], &y[threadIdx.x], 0);
  ptx::cp_async_commit();
  y[threadIdx.x] = row.at[threadIdx.x];
  ptx::cp_async_wait<0>();
}

// Waits for all groups but the last, which is the only one.
__global__ void wrong_group_kernel(float* y) {
  Row& row = shared_memory<Row>();
  ptx::cp_async_4(&row.at[threadIdx.x], &y[threadIdx.x], 0);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  y[threadIdx.x] = row.at[threadIdx.x];
}

__global__ void unaligned_copy_kernel(float* y) {
  ptx::cp_async_16(&shared_memory<Row>().at[threadIdx.x % 4 + 1], y, 16);
}

// Launched before the kernel before has ended. This is how it should be.
__global__ void early_kernel(float* y) {
  ptx::wait_for_earlier_grid();
  y[threadIdx.x] = 1.0f;
}

__global__ void early_write_kernel(float* y) {
  y[threadIdx.x] = 1.0f;
  ptx::wait_for_earlier_grid();
}

__global__ void early_read_kernel(float* y) {
  const float before = y[threadIdx.x];
  ptx::wait_for_earlier_grid();
  y[threadIdx.x] = before;
}

// One thread waits for all, which is not enough.
__global__ void early_for_others_kernel(float* y) {
  if (threadIdx.x == 0) ptx::wait_for_earlier_grid();
  __syncthreads();
  y[threadIdx.x] = 1.0f;
}

__global__ void early_end_kernel(float*) {}

// Lane i holds the row i / 4 of a in full, so that a * b is 1 + 2 + ... wherever b is 1.
__global__ void mma_kernel(float* y) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, t = lane % 4;
  float c[4] = {0.0f, 0.0f, 0.0f, 100.0f};
  const uint32_t a[4] = {ptx::to_tf32(t + 1.0f), ptx::to_tf32(10.0f), ptx::to_tf32(t + 5.0f), ptx::to_tf32(10.0f)};
  const uint32_t b[2] = {ptx::to_tf32(1.0f), ptx::to_tf32(1.0f)};
  ptx::mma<MmaType::tf32>(c, a, b);
  y[threadIdx.x] = threadIdx.x % 2 ? c[0] : c[3];
}

// y = a * b^T of 16 bits, 16 x 16 from rows of 16, a[m][k] = (m + 2k) % 7, b[n][k] = (3n + k) % 5, by a warp.
struct FragmentRows {
  alignas(swizzle_period) char a[16 * swizzled_row];
  alignas(swizzle_period) char b[16 * swizzled_row];
};

template <MmaType type, class T>
__global__ void fragments_kernel(float* y) {
  FragmentRows& rows = shared_memory<FragmentRows>();
  const int lane = static_cast<int>(threadIdx.x);
  for (int word = lane; word < 16 * 8; word += warp_lanes) {
    for (int half = 0; half < 2; ++half) {
      const int row = word / 8, k = word % 8 * 2 + half, place = swizzled_place(row, k * 2);
      *reinterpret_cast<T*>(rows.a + place) = as_stored<T>(static_cast<float>((row + 2 * k) % 7));
      *reinterpret_cast<T*>(rows.b + place) = as_stored<T>(static_cast<float>((3 * row + k) % 5));
    }
  }
  __syncwarp();
  uint32_t a[4], b[4];
  ptx::ldmatrix(a, rows.a + swizzled_place(a_chunk(lane).row, a_chunk(lane).chunk * 16));
  ptx::ldmatrix(b, rows.b + swizzled_place(b_chunk(lane).row, b_chunk(lane).chunk * 16));
  for (int j = 0; j < 2; ++j) {
    float c[4] = {};
    const uint32_t of_columns[2] = {b[j * 2], b[j * 2 + 1]};
    ptx::mma<type>(c, a, of_columns);
    for (int i = 0; i < 4; ++i) {
      const Element at = c_element(lane, i);
      y[at.row * 16 + j * 8 + at.column] = c[i];
    }
  }
}

template <MmaType type, class T>
std::vector<float> run_fragments() {
  std::vector<float> y(16 * 16);
  const DeviceBuffer out = DeviceBuffer::of(y);
  launch(fragments_kernel<type, T>, Grid{1, warp_lanes, sizeof(FragmentRows)}, nullptr,
         const_cast<float*>(out.floats()));
  backend().download(y.data(), out.data(), out.bytes(), nullptr);
  return y;
}

__global__ void unaligned_matrix_kernel(float*) {
  uint32_t to[4];
  ptx::ldmatrix(to, &shared_memory<Row>().at[threadIdx.x % 32 + 1]);
}

// The first lane of a warp writes what another one names.
__global__ void matrix_race_kernel(float*) {
  Row& row = shared_memory<Row>();
  uint32_t to[4];
  if (threadIdx.x % 32 == 0) row.at[threadIdx.x + 4] = 0.0f;
  ptx::ldmatrix(to, &row.at[threadIdx.x / 32 * 32 + threadIdx.x % 8 * 4]);
}

// ---------------------------------------------------------------------------------------------------- TMA and wgmma
// y = a * b^T, 64 x 64 from 64 x 32, a[m][k] = (m + 2k) % 7, b[n][k] = (3n + k) % 5: one mbarrier, one warpgroup.

enum class Fault {
  none,
  no_fence_after_init,
  no_wait_for_copies,
  wrong_bytes,
  wrong_parity,
  overwritten_too_early,
  written_without_fence,
  bad_descriptor,
  no_wgmma_fence,
  no_wait_for_products,
  sums_read_too_early,
};

constexpr int side = 64, depth = 32;

struct Tiles {
  alignas(swizzle_period) float a[side * depth];
  alignas(swizzle_period) float b[side * depth];
  uint64_t full;
};

template <Fault fault>
__global__ void __launch_bounds__(128)
    product_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, float* y) {
  Tiles& tiles = shared_memory<Tiles>();
  const int t = static_cast<int>(threadIdx.x);
  if (t == 0) {
    ptx::mbarrier_init(&tiles.full, 1);
    if (fault != Fault::no_fence_after_init) ptx::fence_mbarrier_init();
  }
  __syncthreads();
  const auto load = [&] {
    ptx::mbarrier_arrive_expect(&tiles.full, sizeof tiles.a + sizeof tiles.b - (fault == Fault::wrong_bytes ? 16 : 0));
    ptx::tma_load_2d(tiles.a, &a, &tiles.full, 0, 0);
    ptx::tma_load_2d(tiles.b, &b, &tiles.full, 0, 0);
  };
  if (t == 0) load();
  if (fault != Fault::no_wait_for_copies) ptx::mbarrier_wait(&tiles.full, fault == Fault::wrong_parity ? 1 : 0);
  if (fault == Fault::written_without_fence && t == 1) tiles.b[0] = 0.0f;
  __syncthreads();
  float sum[side / 2] = {};
  const uint64_t in_a = wgmma_descriptor(ptx::shared_address(tiles.a)),
                 in_b = wgmma_descriptor(ptx::shared_address(tiles.b));
  if (fault != Fault::no_wgmma_fence) ptx::wgmma_fence();
  for (int k = 0; k < depth / 8; ++k) {
    ptx::wgmma<MmaType::tf32, side>(sum, (fault == Fault::bad_descriptor ? in_a << 2 >> 2 : in_a) + k * wgmma_next_k,
                                    in_b + k * wgmma_next_k, k > 0);
  }
  ptx::wgmma_commit();
  if (fault == Fault::overwritten_too_early) {
    __syncthreads();
    if (t == 0) load();
    ptx::mbarrier_wait(&tiles.full, 1);
  }
  const float early = sum[0];
  if (fault != Fault::no_wait_for_products) ptx::wgmma_wait<0>();
  if (fault == Fault::sums_read_too_early) sum[0] = early;
  for (int i = 0; i < side / 2; ++i) {
    const Element at = wgmma_sum(t, i);
    y[at.row * side + at.column] = sum[i];
  }
}

template <Fault fault>
std::vector<float> run_product() {
  std::vector<float> a(side * depth), b(side * depth);
  for (int i = 0; i < side * depth; ++i) {
    a[i] = static_cast<float>((i / depth + i % depth * 2) % 7);
    b[i] = static_cast<float>((i / depth * 3 + i % depth) % 5);
  }
  std::vector<float> y(side * side);
  const DeviceBuffer in_a = DeviceBuffer::of(a), in_b = DeviceBuffer::of(b), out = DeviceBuffer::of(y);
  const auto map = [](const DeviceBuffer& matrix) {
    return tiled_map(matrix.data(), MmaType::tf32, side, depth, depth, side);
  };
  launch(product_kernel<fault>, Grid{1, 128, sizeof(Tiles)}, nullptr, map(in_a), map(in_b),
         const_cast<float*>(out.floats()));
  backend().download(y.data(), out.data(), out.bytes(), nullptr);
  return y;
}

}  // namespace

std::vector<float> run_faulty(const std::string& name) {
  static const std::map<std::string, void (*)(float*)> kernels = {
      {"correct", correct_kernel},
      {"missing barrier", missing_barrier_kernel},
      {"missing second barrier", missing_second_barrier_kernel},
      {"deadlock", deadlock_kernel},
      {"divergent shuffle", divergent_shuffle_kernel},
      {"uninitialized", uninitialized_kernel},
      {"out of bounds", out_of_bounds_kernel},
      {"shared out of bounds", shared_out_of_bounds_kernel},
      {"asynchronous", asynchronous_kernel},
      {"missing wait", missing_wait_kernel},
      {"wrong group", wrong_group_kernel},
      {"unaligned copy", unaligned_copy_kernel},
      {"mma", mma_kernel},
      {"unaligned matrix", unaligned_matrix_kernel},
      {"matrix race", matrix_race_kernel},
      {"early", early_kernel},
      {"early write", early_write_kernel},
      {"early read", early_read_kernel},
      {"early for others", early_for_others_kernel},
      {"early end", early_end_kernel},
  };
  static const std::map<std::string, std::vector<float> (*)()> products = {
      {"fragments of bfloat16", run_fragments<MmaType::bfloat16, bfloat16>},
      {"fragments of float16", run_fragments<MmaType::float16, float16>},
      {"product", run_product<Fault::none>},
      {"no fence after init", run_product<Fault::no_fence_after_init>},
      {"no wait for copies", run_product<Fault::no_wait_for_copies>},
      {"wrong bytes", run_product<Fault::wrong_bytes>},
      {"wrong parity", run_product<Fault::wrong_parity>},
      {"overwritten too early", run_product<Fault::overwritten_too_early>},
      {"written without fence", run_product<Fault::written_without_fence>},
      {"bad descriptor", run_product<Fault::bad_descriptor>},
      {"no wgmma fence", run_product<Fault::no_wgmma_fence>},
      {"no wait for products", run_product<Fault::no_wait_for_products>},
      {"sums read too early", run_product<Fault::sums_read_too_early>},
  };
  if (products.count(name)) return products.at(name)();
  if (!kernels.count(name)) throw ShapeError("no faulty kernel '" + name + "'");
  std::vector<float> y(threads);
  const DeviceBuffer buffer = DeviceBuffer::of(y);
  const Grid grid{1, threads, sizeof(Row)};
  Target target{cudaStreamPerThread};
  if (name.starts_with("early")) launch(correct_kernel, grid, &target, const_cast<float*>(buffer.floats()));
  launch(kernels.at(name), grid, &target, const_cast<float*>(buffer.floats()));
  backend().download(y.data(), buffer.data(), buffer.bytes(), nullptr);
  return y;
}

}  // namespace tesela::TESELA_DEVICE
