// Devices, their health, and memory.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "streams.h"

namespace emulated {

namespace {

constexpr int device_count = 2;

struct Allocation {
  size_t bytes;
  int device;
  bool written = false;  // by a kernel
};
std::map<uintptr_t, Allocation> allocations;
size_t allocated[device_count] = {};
thread_local int current_device = 0;
enum class Health { sound, failing, broken } health = Health::sound;

std::pair<const uintptr_t, Allocation>* allocation_of(uintptr_t address) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return nullptr;
  --after;
  return address < after->first + std::max<size_t>(after->second.bytes, 1) ? &*after : nullptr;
}

size_t total_memory() {
  const char* text = std::getenv("TESELA_EMULATOR_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t{1} << 40;
}

void release(void* memory) {
  const auto at = allocations.find(reinterpret_cast<uintptr_t>(memory));
  if (at == allocations.end()) return;
  allocated[at->second.device] -= at->second.bytes;
  allocations.erase(at);
  std::free(memory);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- devices

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unknown error";
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}

// TESELA_EMULATOR_CAPABILITY: the major compute capability to stand for, 9 without it.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const char* capability = std::getenv("TESELA_EMULATOR_CAPABILITY");
  *value = attribute == cudaDevAttrMultiProcessorCount ? 132 : capability ? std::atoi(capability) : 9;
  return cudaSuccess;
}

cudaError_t told(bool waits) {
  if (waits && health == Health::failing) health = Health::broken;
  return health == Health::broken ? cudaErrorLaunchFailure : cudaSuccess;
}

void break_device() {
  const std::lock_guard lock(mutex);
  health = Health::failing;
}

void repair_device() {
  const std::lock_guard lock(mutex);
  health = Health::sound;
}

// ----------------------------------------------------------------------------------------------------------- memory

bool in_device_memory(const void* memory, size_t bytes, bool written) {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const std::lock_guard lock(mutex);
  auto* of = allocation_of(address);
  if (of && written) of->second.written = true;
  return of && of->second.device == 0 && address + bytes <= of->first + of->second.bytes;
}

bool kernels_write_to(const void* address) {
  const std::lock_guard lock(mutex);
  const auto* of = allocation_of(reinterpret_cast<uintptr_t>(address));
  return of && of->second.written;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const std::lock_guard lock(mutex);
  *memory = nullptr;
  if (const cudaError_t error = told()) return error;
  if (captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (bytes > total_memory() - std::min(total_memory(), allocated[current_device])) return cudaErrorMemoryAllocation;
  if (posix_memalign(memory, 256, std::max<size_t>(bytes, 1)) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, 0xff, bytes);  // NaN
  allocations[reinterpret_cast<uintptr_t>(*memory)] = {bytes, current_device};
  allocated[current_device] += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const std::lock_guard lock(mutex);
  try {
    finish_all();
  } catch (...) {  // a kernel's fault; whoever waits for its stream gets no result
  }
  release(memory);
  return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t, cudaStream_t) {
  return cudaMalloc(memory, bytes);
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {{}, [memory] { release(memory); }});
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(mutex);
  *total = total_memory();
  *free = *total - std::min(*total, allocated[current_device]);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const std::lock_guard lock(mutex);
  const auto* of = allocation_of(reinterpret_cast<uintptr_t>(pointer));
  *attributes = {of ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, of ? of->second.device : -2};
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  if (kind != cudaMemcpyDeviceToDevice && captures > 0) return cudaErrorStreamCaptureUnsupported;
  if (kind == cudaMemcpyHostToDevice) {
    const auto* first = static_cast<const char*>(from);
    return enqueue(handle, {{}, [to, kept = std::vector<char>(first, first + bytes)] {
                              std::memcpy(to, kept.data(), kept.size());
                            }});
  }
  const cudaError_t error = enqueue(handle, {{}, [=] { std::memcpy(to, from, bytes); }});
  return error == cudaSuccess && kind == cudaMemcpyDeviceToHost ? cudaStreamSynchronize(handle) : error;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t handle) {
  const std::lock_guard lock(mutex);
  return enqueue(handle, {{}, [=] { std::memset(to, value, bytes); }});
}

}  // namespace emulated
