// The register tiles of float32, for the loops of contraction.h.

#include "tile.h"

namespace tesela::TESELA_ISA {

extern TileFunction* const packed_tiles[14][3] = TESELA_ALL_TILES(Float32Products);
extern TileFunction* const gathered_tiles[14][3] = TESELA_ALL_TILES(GatheredProducts);

}  // namespace tesela::TESELA_ISA
