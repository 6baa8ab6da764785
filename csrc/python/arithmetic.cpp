// The arithmetic inside CUDA kernels and their planning, as tests see it: indices, formats, tiles, tensor maps.

#include "cuda/fragments.h"
#include "cuda/im2col.h"
#include "cuda/loops.h"
#include "cuda/parity.h"
#include "cuda/pixels.h"
#include "cuda/product_tiles.h"
#include "cuda/select.h"
#include "cuda/tensor_map.h"
#include "cuda/wgmma_tile.h"
#include "cuda/windows.h"
#include "half.h"
#include "module.h"
#include "shape.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace tesela {

using namespace emulator;

namespace {

template <class T>
void define_storage(py::module_& m, const char* name) {
  const std::string dtype = name;
  m.def(("to_" + dtype).c_str(), [](const Floats& x) {
    py::array_t<uint16_t> bits(x.size());
    for (int64_t i = 0; i < x.size(); ++i) bits.mutable_data()[i] = as_stored<T>(x.data()[i]).bits;
    return bits;
  });
  m.def(("from_" + dtype).c_str(), [](const py::array_t<uint16_t, py::array::c_style>& bits) {
    Floats x(bits.size());
    for (int64_t i = 0; i < bits.size(); ++i) x.mutable_data()[i] = as_float(T{bits.data()[i]});
    return x;
  });
}

void define_counting(py::module_& m) {
  m.def("quotient", [](int64_t numerator, int64_t divisor) { return Divisor(divisor).quotient(numerator); });
  m.def("parity_taps", [](int64_t first, int64_t K, int64_t S, int64_t D, int64_t P) {
    std::vector<std::pair<int64_t, int64_t>> taps;
    for (const ParityTap& tap : parity_taps(first, K, S, D, P)) taps.emplace_back(tap.tap, tap.offset);
    return taps;
  });
  m.def("range_inside", [](int origin, int taps, int dilation, int size) {
    const Range range = range_inside(origin, taps, dilation, size);
    return std::array<int, 3>{range.first, range.count, range.step};
  });
  m.def("pixel_vectors", [](const Dims& dims, int64_t lanes) {
    const PixelVectors vectors(dims, lanes);
    std::vector<std::array<int64_t, 4>> all;
    for (int64_t item = 0; item < vectors.count; ++item) {
      const PixelVector at = vectors.at(item);
      all.push_back({at.image, vectors.row(at.pixel), at.pixel % vectors.width, at.channel});
    }
    return all;
  });
  m.def("places", [](const std::vector<int64_t>& sizes, const std::vector<std::vector<int64_t>>& strides) {
    const Loops<2> loops = loops_over<2>("places", sizes, strides);
    std::vector<std::array<int64_t, 2>> all;
    for (int64_t item = 0; item < loops.steps; ++item) {
      const Places<2> at = places_of(loops, item);
      all.push_back({at.of[0], at.of[1]});
    }
    return all;
  });
}

void define_fragments(py::module_& m) {
  const auto pair = [](const Element& e) { return std::pair(e.row, e.column); };
  m.def("a_element", [=](int lane, int i) { return pair(a_element(lane, i)); });
  m.def("b_element", [=](int lane, int i) { return pair(b_element(lane, i)); });
  m.def("c_element", [=](int lane, int i) { return pair(c_element(lane, i)); });
  m.def("wgmma_sum", [=](int thread, int i) { return pair(wgmma_sum(thread, i)); });
  m.def("a_chunk", [](int lane) { return std::pair(a_chunk(lane).row, a_chunk(lane).chunk); });
  m.def("b_chunk", [](int lane) { return std::pair(b_chunk(lane).row, b_chunk(lane).chunk); });
  m.def("swizzled_place", &swizzled_place);
  m.def("wgmma_descriptor", &wgmma_descriptor);
}

template <MmaType type, bool split, int BM, int BN>
void add_tile(py::list& tiles) {
  using Tile = WgmmaTile<type, split, BM, BN>;
  tiles.append(py::dict("BM"_a = int{Tile::BM}, "BN"_a = int{Tile::BN}, "BK"_a = int{Tile::BK}, "split"_a = split,
                        "bytes"_a = bytes_of(type), "consumers_m"_a = int{Tile::consumers_m},
                        "consumers_n"_a = int{Tile::consumers_n}, "rows"_a = int{Tile::rows},
                        "columns"_a = int{Tile::columns}, "stage_bytes"_a = int{Tile::stage_bytes},
                        "stages"_a = int{Tile::stages}, "registers"_a = int{Tile::registers}));
}

void define_tiles(py::module_& m) {
  m.def("tile_places", [](int64_t n_tiles, int64_t m_tiles, int64_t groups, int64_t splits) {
    const ProductTiles tiles = product_tiles(n_tiles, m_tiles, groups, splits);
    std::vector<std::array<int, 4>> all;
    for (int64_t tile = 0; tile < tiles.count(); ++tile) {
      const TilePlace at = place_of(tiles, tile);
      all.push_back({at.n, at.m, at.group, at.split});
    }
    return all;
  });
  m.def("first_step", &first_step);
  m.def("wgmma_tiles", [] {
    py::list tiles;
    add_tile<MmaType::bfloat16, false, 128, 128>(tiles);
    add_tile<MmaType::bfloat16, false, 128, 256>(tiles);
    add_tile<MmaType::float16, false, 128, 192>(tiles);
    add_tile<MmaType::float16, false, 256, 64>(tiles);
    add_tile<MmaType::bfloat16, false, 64, 128>(tiles);
    add_tile<MmaType::tf32, false, 128, 128>(tiles);
    add_tile<MmaType::tf32, false, 128, 256>(tiles);
    add_tile<MmaType::tf32, false, 64, 128>(tiles);
    add_tile<MmaType::tf32, true, 128, 128>(tiles);
    add_tile<MmaType::tf32, true, 64, 128>(tiles);
    return tiles;
  });
  m.def("choices",
        [](int64_t m, int64_t n, int64_t k, int64_t groups, int64_t taps, int precision, bool mma, bool wgmma) {
          std::vector<std::tuple<std::string, int, int, int, double>> all;
          for (const Choice& c :
               choices({m, n, k, groups, taps}, Accuracy::standard, static_cast<Precision>(precision), {mma, wgmma})) {
            const char* rung = c.rung == Rung::ffma ? "ffma" : c.rung == Rung::mma ? "mma" : "wgmma";
            all.emplace_back(rung, c.tile.BM, c.tile.BN, c.tile.splits, c.cycles);
          }
          return all;
        });
}

// -------------------------------------------------------------------------------------------------------- tensor maps

void define_tensor_maps(py::module_& m) {
  m.def("im2col_box", [](const Dims& x, const Dims& weight, Pair stride, Padding padding, Pair dilation) {
    const Conv2dShape s = conv2d_shape(x, weight, stride, padding, dilation, 1);
    const Im2colBox box = im2col_box(s);
    return py::make_tuple(fits_im2col(s), std::array<int, 2>{box.lower_h, box.lower_w},
                          std::array<int, 2>{box.upper_h, box.upper_w}, std::array<int, 2>{box.step_h, box.step_w});
  });
  // Whether the bit is set that small tensors must not have.
  m.def("tiled_map", [](uintptr_t address, int64_t rows, int64_t columns, int64_t stride, int box_rows) {
    const CUtensorMap map =
        tiled_map(reinterpret_cast<const void*>(address), MmaType::bfloat16, rows, columns, stride, box_rows);
    return (map.word[1] >> 21 & 1) != 0;
  });
  m.def("im2col_map", [](uintptr_t address, const Dims& x, int64_t pixel_stride, int64_t image_stride,
                         std::array<int, 2> lower, std::array<int, 2> upper, std::array<int, 2> step, int pixels) {
    const CUtensorMap map =
        im2col_map(reinterpret_cast<const void*>(address), MmaType::bfloat16, x[0], x[2], x[3], x[1],
                   {pixel_stride, image_stride}, {lower[1], lower[0], upper[1], upper[0], step[1], step[0]}, pixels);
    return (map.word[1] >> 21 & 1) != 0;
  });
}

}  // namespace

void define_arithmetic(py::module_& m) {
  define_storage<float16>(m, "float16");
  define_storage<bfloat16>(m, "bfloat16");
  define_counting(m);
  define_fragments(m);
  define_tiles(m);
  define_tensor_maps(m);
}

}  // namespace tesela
