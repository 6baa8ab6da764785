// gather: y[o, i, inner] = x[o, indices[i], inner], negative indices counted from the end.
//
// One thread per element of y, which it copies as a word of its size. Of bad indices the first is noted (all bits set:
// none), and reported when the run is done, for which it waits. Limits: any sizes. Not measured on a GPU yet.

#include "../arrays.h"
#include "backend.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct GatherArgs {
  int64_t elements, size, indices, inner;
};

template <class Word>
__global__ void __launch_bounds__(block_threads)
    gather_kernel(GatherArgs s, const void* x, const int64_t* indices, void* y, unsigned long long* first_bad) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.elements; item += item_stride()) {
    const int64_t slice = item / s.inner, i = slice % s.indices, index = indices[i];
    if (index < -s.size || index >= s.size) {
      atomicMin(first_bad, static_cast<unsigned long long>(i));
      continue;
    }
    const int64_t from = slice / s.indices * s.size + (index < 0 ? index + s.size : index);
    static_cast<Word*>(y)[item] = static_cast<const Word*>(x)[from * s.inner + item % s.inner];
  }
}

}  // namespace

TensorId DeviceBackend::gather(Program& program, TensorId x, TensorId indices, int64_t axis) const {
  x = program.in_layout(x, Layout::plain);
  indices = program.in_layout(indices, Layout::plain);
  const GatherLoops loops = gather_loops(program.spec(x), program.spec(indices), axis);
  const GatherArgs args{loops.outer * loops.indices * loops.inner, loops.size, loops.indices, loops.inner};
  const size_t bytes = bytes_of(loops.y.dtype);
  auto* kernel = bytes == 1 ? gather_kernel<uint8_t> : bytes == 4 ? gather_kernel<uint32_t> : gather_kernel<uint64_t>;
  const auto run = [=](const Operand* in, const Operand* out, void* stream) {
    auto* first_bad = out[1].as<unsigned long long>();
    clear(first_bad, 0xff, sizeof *first_bad, stream);
    launch(kernel, grid_over(args.elements), stream, args, in[0].data, in[1].indices(), out[0].data, first_bad);
  };
  const auto noted = [=, this](const Operand* in, const Operand* out, void* stream) {
    int64_t bad = 0, index = 0;
    download(&bad, out[1].data, sizeof bad, stream);
    wait(stream);
    if (bad < 0) return;
    download(&index, in[1].indices() + bad, sizeof index, stream);
    wait(stream);
    refuse_index(index, bad, args.size);
  };
  return append(program, "gather", {x, indices}, {loops.y, plain_spec({1}, DType::int64)}, 0, 0, run, noted)[0];
}

}  // namespace tesela::TESELA_DEVICE
