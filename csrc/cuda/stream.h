// What host code needs around streams: the device made current, streams by their numbers, events.

#pragma once

#include "../backend.h"
#include "launch.h"

namespace tesela::TESELA_DEVICE {

// tesela's device is the calling thread's current one within this scope; others may have chosen another. And a graph
// that another thread captures, as PyTorch does by default, forbids this one nothing.
class DeviceScope {
 public:
  DeviceScope() {
    if (cudaGetDevice(&before_) == cudaSuccess && before_ != device_ordinal) cudaSetDevice(device_ordinal);
    cudaThreadExchangeStreamCaptureMode(&mode_);
  }
  ~DeviceScope() {
    cudaThreadExchangeStreamCaptureMode(&mode_);
    if (before_ != device_ordinal) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = device_ordinal;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

inline cudaStream_t native(StreamHandle handle) {
  return handle == 0 ? cudaStreamLegacy : reinterpret_cast<cudaStream_t>(handle);
}

// DeviceError where the stream's owner captures a graph: tesela launches graphs of its own, and waits for them.
inline void expect_no_capture(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &status), "stream");
  if (status == cudaStreamCaptureStatusNone) return;
  throw DeviceError("stream: expected one that does not capture a graph; call tesela before or after the capture");
}

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaError_t record(cudaStream_t stream) { return cudaEventRecord(event_, stream); }
  cudaError_t before(cudaStream_t stream) const { return cudaStreamWaitEvent(stream, event_, 0); }
  void wait() const { cudaEventSynchronize(event_); }
  bool done() const { return cudaEventQuery(event_) == cudaSuccess; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace tesela::TESELA_DEVICE
