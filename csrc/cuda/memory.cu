// Memory of the device: what programs hold, what results lie in, and whether a pointer is one of it.

#include <atomic>

#include "backend.h"
#include "device.h"
#include "stream.h"

namespace tesela::TESELA_DEVICE {
namespace {

// Results come from a pool of tesela's own, which keeps what is given back: as quick as a launch.
#ifdef __CUDACC__
std::atomic<cudaMemPool_t> pool_in_use{nullptr};

cudaMemPool_t result_pool() {
  static const cudaMemPool_t pool = [] {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location = {cudaMemLocationTypeDevice, device_ordinal};
    cudaMemPool_t made = nullptr;
    check(cudaMemPoolCreate(&made, &properties), "memory pool");
    uint64_t kept = UINT64_MAX;
    check(cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &kept), "memory pool");
    return pool_in_use = made;
  }();
  return pool;
}
#else
cudaMemPool_t result_pool() { return nullptr; }
#endif

// Gives back what the pool keeps. What was freed in stream order counts as used until the host has waited for it.
void trim_results() {
  cudaStreamSynchronize(cudaStreamLegacy);
#ifdef __CUDACC__
  if (const cudaMemPool_t pool = pool_in_use) cudaMemPoolTrimTo(pool, 0);
#endif
}

std::string bytes_text(size_t bytes) { return std::to_string(bytes) + " bytes"; }

// Allocates by `take`, a second time after the pool has given back what it keeps.
template <class Take>
void* taken(size_t bytes, const Take& take) {
  void* memory = nullptr;
  cudaError_t error = take(&memory);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    trim_results();
    error = take(&memory);
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw DeviceError("device '" + std::string(backend().name()) + "' is out of memory: " + bytes_text(bytes) +
                      " were asked for, " + std::to_string(free) + " of " + bytes_text(total) + " are free");
  }
  check(error, "allocation");
  return memory;
}

class Memory final : public DeviceMemory {
 public:
  Memory(void* memory, size_t size) : DeviceMemory(memory, size) {}
  // The legacy stream comes after what blocking streams still do with it.
  ~Memory() override {
    if (!data) return;
    const DeviceScope scope;
    used_.before(cudaStreamLegacy);
    cudaFreeAsync(data, cudaStreamLegacy);
  }
  // After all other uses: two threads may use it on two streams, and the event holds one mark.
  void used(StreamHandle stream) override {
    const DeviceScope scope;
    check(used_.before(native(stream)), "stream");
    check(used_.record(native(stream)), "stream");
  }
  bool done() const override {
    const DeviceScope scope;
    return used_.done();
  }
  void before(StreamHandle stream) const override {
    const DeviceScope scope;
    expect_no_capture(native(stream));
    check(used_.before(native(stream)), "stream");
  }

 private:
  Event used_;
};

}  // namespace

void* DeviceBackend::allocate(size_t bytes) const {
  const DeviceScope scope;
  return taken(bytes, [=](void** memory) { return cudaMalloc(memory, bytes); });
}

void DeviceBackend::release(void* memory, size_t) const {
  const DeviceScope scope;
  cudaFree(memory);
}

std::unique_ptr<DeviceMemory> DeviceBackend::device_memory(size_t bytes, StreamHandle stream) const {
  const DeviceScope scope;
  expect_no_capture(native(stream));
  const auto take = [=](void** memory) {
    return cudaMallocFromPoolAsync(memory, bytes, result_pool(), native(stream));
  };
  auto memory = std::make_unique<Memory>(bytes ? taken(bytes, take) : nullptr, bytes);
  if (bytes) memory->used(stream);  // to be given back after it was taken, even if nothing uses it
  return memory;
}

void DeviceBackend::expect_memory(const void* memory, size_t bytes, const std::string& what) const {
  if (bytes == 0) return;
  const DeviceScope scope;
  const auto* first = static_cast<const char*>(memory);
  for (const char* place : {first, first + bytes - 1}) {
    cudaPointerAttributes attributes{};
    const cudaError_t error = cudaPointerGetAttributes(&attributes, place);
    if (error != cudaSuccess) cudaGetLastError();
    const bool known =
        error == cudaSuccess && (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
    if (known && (attributes.device == device_ordinal || attributes.type == cudaMemoryTypeManaged)) continue;
    throw DeviceError(what + ": expected " + bytes_text(bytes) + " in the memory of device '" + name() + "', GPU " +
                      std::to_string(device_ordinal) + ", got an address that is " +
                      (known            ? "GPU " + std::to_string(attributes.device) + "'s"
                       : place != first ? "outside of it before the end"
                                        : "the host's or nobody's"));
  }
}

DeviceBuffer::DeviceBuffer(const void* values, size_t bytes) : bytes_(bytes) {
  const Backend& device = backend();
  data_.reset(device.allocate(std::max<size_t>(bytes, 1)));
  device.upload(data_.get(), values, bytes, nullptr);
  device.wait(nullptr);
}

void DeviceBuffer::Free::operator()(void* memory) const {
  const DeviceScope scope;
  cudaFree(memory);
}

}  // namespace tesela::TESELA_DEVICE
