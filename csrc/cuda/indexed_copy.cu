// indexed_copy: y[i, j, ...] = x[base + place_0(i) + place_1(j) + ...], or `fill` where a place is absent.
//
// One thread per element of y, which it copies as a word of its size. place(i) is i * stride, or an entry of a table in
// device memory. Every place was checked when the step was planned. Limits: any sizes. A transposition reads or writes
// with gaps between neighbouring threads. Not measured on a GPU yet.

#include <cstring>

#include "../arrays.h"
#include "loops.h"

namespace tesela::TESELA_DEVICE {
namespace {

struct IndexedCopyArgs {
  Loops<1> loops;
  int64_t base;
  const int64_t* tables[most_loops];  // of each loop, or null
};

template <class Word>
__global__ void __launch_bounds__(block_threads)
    indexed_copy_kernel(const __grid_constant__ IndexedCopyArgs s, const void* x, void* y, Word fill) {
  wait_for_earlier_kernel();
  for (int64_t item = first_item(); item < s.loops.steps; item += item_stride()) {
    int64_t rest = item, at = s.base;
    bool present = true;
    for (int d = 0; d < s.loops.rank; ++d) {
      const int64_t quotient = s.loops.by_size[d].quotient(rest), i = rest - quotient * s.loops.sizes[d];
      const int64_t place = s.tables[d] ? s.tables[d][i] : i * s.loops.strides[0][d];
      present = present && !(s.tables[d] && place < 0);
      at += place;
      rest = quotient;
    }
    static_cast<Word*>(y)[item] = present ? static_cast<const Word*>(x)[at] : fill;
  }
}

template <class Word>
TensorId append_indexed_copy(Program& program, TensorId x, const IndexedCopy& copy) {
  IndexedCopyLoops planned = indexed_copy_loops(program.spec(x), copy);
  std::vector<int64_t> sizes, strides, entries;
  for (size_t d = planned.axes.size(); d-- > 0;) {
    sizes.push_back(planned.axes[d].size);
    strides.push_back(planned.axes[d].stride);
    entries.insert(entries.end(), planned.axes[d].table.begin(), planned.axes[d].table.end());
  }
  IndexedCopyArgs args{loops_over<1>("indexed_copy", sizes, {strides}), copy.base, {}};
  DeviceBuffer tables = entries.empty() ? DeviceBuffer() : DeviceBuffer::of(entries);
  const int64_t* table = tables.indices();
  for (size_t d = 0; d < sizes.size(); ++d) {
    const size_t count = planned.axes[sizes.size() - 1 - d].table.size();
    args.tables[d] = count > 0 ? table : nullptr;
    table += count;
  }
  Word fill;
  std::memcpy(&fill, copy.fill.data(), sizeof fill);
  auto run = [=, tables = std::move(tables)](const Operand* in, const Operand* out, void* stream) {
    launch(indexed_copy_kernel<Word>, grid_over(args.loops.steps), stream, args, in[0].data, out[0].data, fill);
  };
  return append(program, "indexed", {x}, {std::move(planned.y)}, 0, 0, std::move(run))[0];
}

}  // namespace

TensorId DeviceBackend::indexed_copy(Program& program, TensorId x, const IndexedCopy& copy) const {
  x = program.in_layout(x, Layout::plain);
  const size_t bytes = bytes_of(program.spec(x).dtype);
  return bytes == 1   ? append_indexed_copy<uint8_t>(program, x, copy)
         : bytes == 4 ? append_indexed_copy<uint32_t>(program, x, copy)
                      : append_indexed_copy<uint64_t>(program, x, copy);
}

}  // namespace tesela::TESELA_DEVICE
