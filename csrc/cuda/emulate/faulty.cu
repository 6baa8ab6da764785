#include <map>

#include "../backend.h"
#include "../ptx.cuh"
#include "../reduce.cuh"
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

// Lane i holds the row i / 4 of a in full, so that a * b is 1 + 2 + ... wherever b is 1.
__global__ void mma_kernel(float* y) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, t = lane % 4;
  float c[4] = {0.0f, 0.0f, 0.0f, 100.0f};
  const uint32_t a[4] = {ptx::to_tf32(t + 1.0f), ptx::to_tf32(10.0f), ptx::to_tf32(t + 5.0f), ptx::to_tf32(10.0f)};
  const uint32_t b[2] = {ptx::to_tf32(1.0f), ptx::to_tf32(1.0f)};
  ptx::mma_m16n8k8_tf32(c, a, b);
  y[threadIdx.x] = threadIdx.x % 2 ? c[0] : c[3];
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
  };
  if (!kernels.count(name)) throw ShapeError("no faulty kernel '" + name + "'");
  std::vector<float> y(threads);
  const DeviceBuffer buffer = DeviceBuffer::of(y);
  launch(kernels.at(name), Grid{1, threads, sizeof(Row)}, nullptr, const_cast<float*>(buffer.floats()));
  std::copy_n(buffer.floats(), threads, y.data());
  return y;
}

}  // namespace tesela::TESELA_DEVICE
