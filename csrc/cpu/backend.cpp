#include "backend.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tesela {

#define TESELA_DECLARE_TABLE(isa)    \
  namespace isa {                    \
  extern const cpu::Kernels kernels; \
  }
TESELA_DECLARE_TABLE(generic)
#ifdef TESELA_HAVE_AVX2
TESELA_DECLARE_TABLE(avx2)
#endif
#ifdef TESELA_HAVE_AVX512
TESELA_DECLARE_TABLE(avx512)
#endif

namespace cpu {
namespace {

// Every build of the kernels, narrowest first, with what it asks of the CPU and, through XCR0, of the system.
struct Build {
  const Kernels* kernels;
  bool (*supported)();
};

constexpr Build builds[] = {
    {&generic::kernels, [] { return true; }},
#ifdef TESELA_HAVE_AVX2
    {&avx2::kernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
#ifdef TESELA_HAVE_AVX512
#ifdef TESELA_SIMDE  // AVX-512 code whose intrinsics are emulated: for tests
    {&avx512::kernels, [] { return true; }},
#else
    {&avx512::kernels,
     [] {
       return __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq");
     }},
#endif
#endif
};

const char* const isa_names[] = {"generic", "avx2", "avx512"};

int rank_of(const char* isa) {
  for (int i = 0; i < 3; ++i) {
    if (std::strcmp(isa, isa_names[i]) == 0) return i;
  }
  return -1;
}

const Kernels* widest(const char* limit) {
  const Kernels* best = &generic::kernels;
  for (const Build& build : builds) {
    if (rank_of(build.kernels->isa) <= rank_of(limit) && build.supported()) best = build.kernels;
  }
  return best;
}

std::atomic<const Kernels*> selected{nullptr};

}  // namespace

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Build& build : builds) names.push_back(build.kernels->isa);
  return names;
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const Build& build : builds) {
    if (build.supported()) names.push_back(build.kernels->isa);
  }
  return names;
}

void set_max_isa(const std::string& isa) {
  if (rank_of(isa.c_str()) < 0) throw ShapeError("max_isa: expected 'generic', 'avx2' or 'avx512', got '" + isa + "'");
  selected.store(widest(isa.c_str()));
}

const Kernels& kernels() {
  if (const Kernels* table = selected.load()) return *table;
  const char* limit = std::getenv("TESELA_MAX_ISA");
  if (limit != nullptr && rank_of(limit) < 0) {
    throw ShapeError(std::string("TESELA_MAX_ISA: expected generic, avx2 or avx512, got '") + limit + "'");
  }
  const Kernels* table = widest(limit ? limit : "avx512");
  selected.store(table);
  return *table;
}

const char* selected_isa() { return kernels().isa; }

bool has_bfloat16_products() {
#if defined(__x86_64__)
  return kernels().conv2d_products_bfloat16 != nullptr && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

// ------------------------------------------------------------------------------------------------------- memory

namespace {

constexpr size_t huge_page = size_t{2} << 20;

void* allocate_aligned(size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, bytes >= huge_page ? huge_page : 64, bytes) != 0) throw std::bad_alloc();
#if defined(__linux__)
  // Fewer TLB misses on weights and activations that are streamed; refused quietly where the system has no such pages.
  if (bytes >= huge_page) madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
  return memory;
}

}  // namespace

void* CpuBackend::allocate(size_t bytes) const { return allocate_aligned(bytes); }
void CpuBackend::release(void* memory, size_t) const { std::free(memory); }

PackedFloats::PackedFloats(size_t count) : count_(count) {
  if (count > std::numeric_limits<size_t>::max() / sizeof(float)) throw std::bad_alloc();
  data_.reset(static_cast<float*>(allocate_aligned(std::max<size_t>(bytes(), 64))));
}

void PackedFloats::Free::operator()(float* p) const { std::free(p); }

PackedFloats padded_channels(const float* values, int64_t count) {
  if (values == nullptr) return {};
  PackedFloats padded(static_cast<size_t>((count + channel_block - 1) / channel_block * channel_block));
  std::fill(std::copy_n(values, count, padded.data()), padded.data() + padded.bytes() / sizeof(float), 0.0f);
  return padded;
}

}  // namespace cpu
}  // namespace tesela
