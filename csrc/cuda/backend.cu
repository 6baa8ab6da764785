// The device itself: is there one, and copies between it and the host.

#include <unistd.h>

#include "backend.h"
#include "device.h"
#include "stream.h"

namespace tesela::TESELA_DEVICE {

const Backend& backend() {
  static const DeviceBackend device;
  return device;
}

#ifdef __CUDACC__
namespace {

// How much shared memory it has tells whether it was compiled as the kernels with wgmma were.
constexpr size_t wgmma_mark = 4096;
__global__ void probe_kernel() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ volatile int mark[wgmma_mark / sizeof(int)];
  mark[threadIdx.x] = 0;
#endif
}

// All files are compiled for the same architectures, so what is true of this kernel is true of all.
const cudaFuncAttributes& compiled() {
  static const cudaFuncAttributes attributes = [] {
    const DeviceScope scope;
    cudaFuncAttributes probed;
    check(cudaFuncGetAttributes(&probed, probe_kernel), "kernel");
    return probed;
  }();
  return attributes;
}

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string gpu_name() {
  cudaDeviceProp gpu{};
  cudaGetDeviceProperties(&gpu, 0);
  return std::string(gpu.name) + " (compute capability " + std::to_string(gpu.major) + "." + std::to_string(gpu.minor) +
         ")";
}

}  // namespace

std::string obstacle() {
  static const pid_t first = getpid();
  if (getpid() != first) {
    return "the driver was used before this process was forked, and does not work in it; start it by 'spawn'";
  }
  int driver = 0, count = 0;
  cudaDriverGetVersion(&driver);
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (driver == 0) return "no NVIDIA driver is installed; this build needs one for CUDA " + version(CUDART_VERSION);
  // From 12.3 on a driver tells of captured kernels that overlap, and takes arguments of more than 4096 bytes.
  constexpr int least_driver = 12030;
  if (error == cudaErrorInsufficientDriver || driver < least_driver) {
    const int needed = std::max(error == cudaErrorInsufficientDriver ? CUDART_VERSION / 1000 * 1000 : 0, least_driver);
    return "the NVIDIA driver serves CUDA " + version(driver) + ", this build needs " + version(needed);
  }
  if (error == cudaErrorNoDevice || count == 0) return "the NVIDIA driver finds no GPU";
  if (error != cudaSuccess) return std::string("the NVIDIA driver reports: ") + cudaGetErrorString(error);
  const DeviceScope scope;
  cudaFuncAttributes attributes;
  const cudaError_t loaded = cudaFuncGetAttributes(&attributes, probe_kernel);
  switch (loaded) {
    case cudaSuccess:
      return "";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
      return "this build has no kernels for " + gpu_name() + ", only for " TESELA_CUDA_ARCHITECTURES;
    case cudaErrorUnsupportedPtxVersion:
      return "for " + gpu_name() + " the NVIDIA driver has to translate kernels, which takes one for CUDA " +
             version(CUDART_VERSION) + "; it serves " + version(driver);
    default:
      return std::string("the NVIDIA driver reports: ") + cudaGetErrorString(loaded);
  }
}

bool mma_is_compiled() { return compiled().ptxVersion >= 80; }
bool wgmma_is_compiled() { return compiled().sharedSizeBytes >= wgmma_mark; }
bool kernels_overlap() { return compiled().ptxVersion >= 90; }

const char* DeviceBackend::name() const { return "cuda"; }
std::string DeviceBackend::hardware() const { return gpu_name(); }
#else
namespace {

int capability() {  // the major one
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_ordinal), "device attribute");
  return major;
}

}  // namespace

std::string obstacle() { return ""; }
bool mma_is_compiled() { return capability() >= 8; }
bool wgmma_is_compiled() { return capability() == 9; }
bool kernels_overlap() { return capability() >= 9; }
const char* DeviceBackend::name() const { return "emulator"; }
std::string DeviceBackend::hardware() const { return name(); }
#endif

// The formats are those of mma.sync on sm_80.
bool DeviceBackend::computes_in(Precision precision) const {
  return precision == Precision::float32 || mma_is_compiled();
}

// ----------------------------------------------------------------------------------------------------------- copies

void DeviceBackend::upload(void* to, const void* from, size_t bytes, void* stream) const {
  const DeviceScope scope;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(stream)), "copy to the device");
}

void DeviceBackend::download(void* to, const void* from, size_t bytes, void* stream) const {
  const DeviceScope scope;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(stream)), "copy from the device");
}

void DeviceBackend::transfer(void* to, const void* from, size_t bytes, void* stream) const {
  const DeviceScope scope;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(stream)), "copy on the device");
}

void DeviceBackend::wait(void* stream) const {
  const DeviceScope scope;
  check(cudaStreamSynchronize(stream_of(stream)), "kernel");
}

}  // namespace tesela::TESELA_DEVICE
