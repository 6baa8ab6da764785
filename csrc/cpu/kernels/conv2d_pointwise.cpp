// conv2d, 1x1, stride 1, no padding: y[n, oc, p] = sum over ic of x[n, ic, p] * w[oc, ic].
//
// A blocked plane is already the packed form that the register tile wants (contraction.h), so x is read in place: 16
// products of neighbouring pixels are contiguous and the next 16 are one plane further. Tasks are ranges of pixels of
// one image times ranges of output panels.
//
// Measured: 7 layers at 0 to 86 % of the ceiling, median 72 %;
// AMD EPYC, avx512, 2 threads, 2026-11-28; docs/performance.md.

#include "contraction.h"

namespace tesela::TESELA_ISA {
namespace {

struct Pointwise : BlockedRows {
  const ContractionArgs& args;
  const Contraction& problem;
  const ContractionOperands& io;
  int64_t row_begin;

  void place(int64_t count, TileRow* rows) const { place_pixels(args, problem, io, row_begin, count, rows); }
};

}  // namespace

void conv2d_pointwise(const ContractionArgs& args, const ContractionOperands& io, int64_t index) {
  const ContractionTask& task = args.tasks[index];
  const Contraction& problem = args.problems[task.problem];
  const Pixel first(problem, task.row_begin);
  const float* x = io.x + first.image * io.x_image_stride + problem.ic_block * args.x_plane_stride +
                   (first.h * args.IW + first.w) * 16;
  Pointwise source{{x, args.x_plane_stride}, args, problem, io, task.row_begin};
  contract(args, problem, task, io, source, reinterpret_cast<TileRow*>(io.scratch));
}

}  // namespace tesela::TESELA_ISA
