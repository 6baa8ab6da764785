// The parts of sums that were split, as float32 in memory: their sum, in their order, and what follows it.
//
// One thread has 8 channels of a pixel. Not measured on a GPU yet.

#include "dependent.cuh"
#include "epilogue.cuh"

namespace tesela::TESELA_DEVICE {
namespace {

template <class T>
__global__ void __launch_bounds__(block_threads)
    sum_of_parts_kernel(const __grid_constant__ Epilogue s, const EpilogueOperands<T> p) {
  wait_for_earlier_kernel();
  const int64_t of_pixel = int64_t{s.groups} * s.lanes, part = s.pixels * of_pixel;
  for (int64_t item = first_item(); item < part / 8; item += item_stride()) {
    Octet sum{};
    for (int64_t split = 0; split < s.splits; ++split) {
      const Octet more = load_octet<float>(p.partial + split * part + item * 8);
      TESELA_UNROLL
      for (int i = 0; i < 8; ++i) sum.lane[i] += more.lane[i];
    }
    const int64_t pixel = item * 8 / of_pixel;
    const int lane = static_cast<int>(item * 8 - pixel * of_pixel), g = lane / s.lanes;
    finish(s, p, pixel, g, lane - g * s.lanes, sum);
  }
}

}  // namespace

template <class T>
void launch_sum_of_parts(const Epilogue& s, const EpilogueOperands<T>& operands, void* stream) {
  launch(sum_of_parts_kernel<T>, grid_over(s.pixels * s.groups * s.lanes / 8), stream, s, operands);
}

template void launch_sum_of_parts(const Epilogue&, const EpilogueOperands<float>&, void*);
template void launch_sum_of_parts(const Epilogue&, const EpilogueOperands<bfloat16>&, void*);
template void launch_sum_of_parts(const Epilogue&, const EpilogueOperands<float16>&, void*);

}  // namespace tesela::TESELA_DEVICE
