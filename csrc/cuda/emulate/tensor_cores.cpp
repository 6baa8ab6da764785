// Tensor cores: mma of a warp, and wgmma of a warpgroup, which reads shared memory through descriptors while its
// threads go on, and whose sums are NaN until they have waited for them.
//
// Products are exact. Each block of them is summed as the hardware does it, with the accumulator: all are cut where the
// largest of them ends, a bit or two below float32, and their sum is cut to float32. For mma that is an A100, for wgmma
// an H100, as modelled bit by bit in Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor Cores" (arXiv:2512.07004);
// Hopper's mma cuts less. Where an element is follows the tables of the PTX ISA from the element's side, apart from
// fragments.h, which says the same from the lane's side.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "machine.h"
#include "ptx.h"

namespace emulated {

using tesela::MmaType;

namespace {

constexpr int warpgroup = 128;  // threads
constexpr int rows = 64;        // of a warpgroup's product

float toward_zero(double sum) {
  const float rounded = static_cast<float>(sum);
  return std::abs(static_cast<double>(rounded)) > std::abs(sum) ? std::nextafter(rounded, 0.0f) : rounded;
}

struct Adder {
  int block_of_16_bits, block_of_tf32;  // products that are added at once
  int extra;                            // bits that are kept below float32's 24
  int least_exponent;
  int block(MmaType type) const { return type == MmaType::tf32 ? block_of_tf32 : block_of_16_bits; }
};
constexpr Adder a100{8, 4, 1, -132}, h100{16, 8, 2, -133};

// Of zero far below the least, of an infinity or NaN so large that it shows even where it meets a zero.
int exponent_of(double x) {
  const int biased = static_cast<int>(__builtin_bit_cast(uint64_t, x) >> 52 & 0x7ff);
  return biased == 0x7ff ? 4096 : biased - 1023;
}
double power_of_two(int exponent) { return __builtin_bit_cast(double, static_cast<uint64_t>(exponent + 1023) << 52); }

// sums[j] += a[i] * b[i, j], in blocks of i.
void add_products(MmaType type, const Adder& adder, const double* a, const double* b, int count, int n, float* sums) {
  constexpr int most_n = 256, special = 300;  // an exponent beyond: infinity or NaN takes part
  int largest[most_n];
  double total[most_n], kept[most_n];
  const int block = adder.block(type);
  for (int first = 0; first < count; first += block) {
    for (int j = 0; j < n; ++j) largest[j] = std::max(adder.least_exponent, exponent_of(static_cast<double>(sums[j])));
    for (int i = first; i < first + block; ++i) {
      const int exponent = exponent_of(a[i]);
      for (int j = 0; j < n; ++j) largest[j] = std::max(largest[j], exponent + exponent_of(b[i * n + j]));
    }
    if (std::any_of(largest, largest + n, [](int exponent) { return exponent >= special; })) {
      for (int i = first; i < first + block; ++i) {
        for (int j = 0; j < n; ++j) sums[j] += static_cast<float>(a[i] * b[i * n + j]);
      }
      continue;
    }
    for (int j = 0; j < n; ++j) {
      kept[j] = power_of_two(23 + adder.extra - largest[j]);
      total[j] = static_cast<int32_t>(static_cast<double>(sums[j]) * kept[j]);
    }
    for (int i = first; i < first + block; ++i) {
      for (int j = 0; j < n; ++j) total[j] += static_cast<int32_t>(a[i] * b[i * n + j] * kept[j]);
    }
    for (int j = 0; j < n; ++j) sums[j] = toward_zero(total[j] / kept[j]);
  }
}

double value_at(MmaType type, const void* at) {
  uint32_t word = 0;
  std::memcpy(&word, at, type == MmaType::tf32 ? 4 : 2);
  // The 13 lowest bits of tf32 are not looked at.
  if (type == MmaType::tf32) return static_cast<double>(__builtin_bit_cast(float, word & ~0x1fffu));
  if (type == MmaType::bfloat16) return static_cast<double>(__builtin_bit_cast(float, word << 16));
  const int exponent = static_cast<int>(word >> 10 & 31), fraction = static_cast<int>(word & 1023);
  const double magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                           : exponent == 0 ? std::ldexp(fraction, -24)
                                           : std::ldexp(fraction + 1024, exponent - 25);
  return word >> 15 & 1 ? -magnitude : magnitude;
}

// The addresses of 32 bytes of each of `count` rows, by a descriptor for rows of 128 swizzled bytes, 8 rows a period.
std::vector<size_t> rows_at(uint64_t descriptor, int count) {
  const auto field = [&](int from, int bits) { return descriptor >> from & ((uint64_t{1} << bits) - 1); };
  const size_t start = field(0, 14) << 4, stride = field(32, 14) << 4;
  if (field(62, 2) != 1) fail("a matrix descriptor without the swizzle of 128 bytes, the only one that is emulated");
  if (field(49, 3) != 0 || field(14, 2) != 0 || field(30, 2) != 0 || field(46, 3) != 0 || field(52, 10) != 0) {
    fail("a matrix descriptor with a base offset or bits that have no meaning");
  }
  if (stride < 1024 || stride % 1024)
    fail("a matrix descriptor whose groups of 8 rows are not multiples of 1024 bytes apart");
  const unsigned window = ptx::shared_address(shared_bytes_of_block);
  std::vector<size_t> places;
  for (int row = 0; row < count; ++row) {
    for (size_t chunk = 0; chunk < 32; chunk += 16) {
      size_t address = start + static_cast<size_t>(row / 8) * stride + static_cast<size_t>(row % 8) * 128 + chunk;
      address ^= address / 128 % 8 * 16;
      if (address < window || address + 16 > window + block->shared_bytes) fail("a matrix beyond shared memory");
      places.push_back(address - window);
    }
  }
  return places;
}

}  // namespace

// --------------------------------------------------------------------------------------------------------------- mma

uint32_t ptx::to_tf32(float x) {
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7f800000) == 0x7f800000) return bits;  // infinity and NaN
  return (bits + 0x1000) & ~0x1fffu;
}

// Lanes show their fragments to each other.
void ptx::multiply_fragments(MmaType type, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  constexpr int most_k = 16, registers = 6;
  static float shown[most_threads][registers][2];  // the one or two numbers of each register
  const OutsideKernel outside;
  const int thread = current_thread(), warp = thread / warpSize * warpSize, lane = thread % warpSize;
  const int of_register = 4 / bytes_of(type), K = 8 * of_register;
  if (warp + warpSize > block->threads) fail("mma in a warp of fewer than 32 threads");
  for (int r = 0; r < registers; ++r) {
    const auto* bytes = reinterpret_cast<const char*>(r < 4 ? &a[r] : &b[r - 4]);
    for (int i = 0; i < of_register; ++i) {
      shown[thread][r][i] = static_cast<float>(value_at(type, bytes + i * bytes_of(type)));
    }
  }
  __syncwarp();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + (i & 1);
    double of_a[most_k], of_b[most_k];
    for (int k = 0; k < K && k < most_k; ++k) {
      const bool second = k >= K / 2;  // half of the summed index
      const int holder = k % (K / 2) / of_register, number = k % of_register;
      of_a[k] = shown[warp + row % 8 * 4 + holder][(row >= 8 ? 1 : 0) + (second ? 2 : 0)][number];
      of_b[k] = shown[warp + column * 4 + holder][4 + (second ? 1 : 0)][number];
    }
    add_products(type, a100, of_a, of_b, K, 1, &c[i]);
  }
  __syncwarp();
}

// Of a race with what a lane names, this lane is told.
void ptx::ldmatrix(uint32_t (&to)[4], const void* row) {
  static const char* named[most_threads];
  {
    const OutsideKernel outside;
    if (current_thread() / warpSize * warpSize + warpSize > block->threads) {
      fail("ldmatrix in a warp of fewer than 32 threads");
    }
    if (!in_shared_memory(row, 16) || shared_offset(row) % 16) {
      fail("ldmatrix from what is not 16 bytes of shared memory at a multiple of 16");
    }
  }
  check_access(row, 16, false);
  const OutsideKernel outside;
  const int thread = current_thread(), lane = thread % warpSize;
  named[thread] = static_cast<const char*>(row);
  __syncwarp();
  for (int i = 0; i < 4; ++i) std::memcpy(&to[i], named[thread - lane + i * 8 + lane / 4] + lane % 4 * 4, 4);
  __syncwarp();
}

// ------------------------------------------------------------------------------------------------------------- wgmma

namespace {

struct Wgmma {
  MmaType type;
  int n;
  uint64_t a, b;
  bool from_registers, accumulate;
  std::shared_ptr<Wgmma> before;  // that the same accumulators are of
  int issued = 0;
  bool done = false;
  std::array<float*, warpgroup> d{};
  std::array<const uint32_t*, warpgroup> a_registers{};
  std::array<bool, warpgroup / warpSize> has_read{};
  std::vector<float> sum;  // rows x n
  std::vector<std::pair<size_t, Touch>>
      sources;  // places in shared memory, and who had written there when it was issued
  std::vector<int> waiting;
};

struct OwnWgmmas {  // of one thread
  bool fenced = false;
  size_t issued = 0;
  std::vector<std::vector<std::shared_ptr<Wgmma>>> groups;  // the last one is not committed yet
};

}  // namespace

struct Warpgroups {
  std::vector<OwnWgmmas> own;
  std::vector<std::vector<std::shared_ptr<Wgmma>>> sequence;  // of each warpgroup
};

namespace {

Warpgroups& warpgroups() {
  if (!block->warpgroups) {
    block->warpgroups = std::make_shared<Warpgroups>();
    block->warpgroups->own.resize(static_cast<size_t>(block->threads));
    block->warpgroups->sequence.resize(static_cast<size_t>(block->threads / warpgroup));
  }
  return *block->warpgroups;
}
OwnWgmmas& own_wgmmas() { return warpgroups().own[static_cast<size_t>(current_thread())]; }

// Where thread t of a warpgroup holds its i-th sum.
size_t place_of_sum(int t, int i, int n) {
  const int row = t / warpSize * 16 + t % warpSize / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + t % 4 * 2 + i % 2;
  return static_cast<size_t>(row * n + column);
}

void note_sources(Wgmma& product) {
  const auto note = [&](uint64_t descriptor, int count) {
    for (size_t place : rows_at(descriptor, count)) product.sources.emplace_back(place, block->words[place / 4].write);
  };
  note(product.b, product.n);
  if (!product.from_registers) note(product.a, rows);
}

// The matrices as they are in shared memory, and in registers, at this moment.
void multiply(Wgmma& product) {
  if (product.done) return;
  for (const auto& [place, touch] : product.sources) {
    const Touch& now = block->words[place / 4].write;
    if (now.agent != touch.agent || now.step != touch.step) {
      fail("race: byte " + std::to_string(place) + " of shared memory was written while a wgmma read it");
    }
  }
  if (product.before) multiply(*product.before);
  const int n = product.n, k = product.type == MmaType::tf32 ? 8 : 16, bytes = 32 / k;
  std::vector<double> a(static_cast<size_t>(rows * k)), b(static_cast<size_t>(k * n));
  const auto gather = [&](uint64_t descriptor, int count, auto put) {
    const auto places = rows_at(descriptor, count);
    for (int row = 0; row < count; ++row) {
      for (int i = 0; i < k; ++i) {
        const size_t place =
            places[static_cast<size_t>(row * 2 + i * bytes / 16)] + static_cast<size_t>(i * bytes % 16);
        put(row, i, value_at(product.type, shared_bytes_of_block + place));
      }
    }
  };
  gather(product.b, n, [&](int row, int i, double x) { b[static_cast<size_t>(i * n + row)] = x; });
  if (!product.from_registers) {
    gather(product.a, rows, [&](int row, int i, double x) { a[static_cast<size_t>(row * k + i)] = x; });
  } else {  // a warp's 16 rows as in mma.m16n8k8, 4 bytes a column
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < k; ++i) {
        const int column = i * bytes / 4, lane = row % 8 * 4 + column % 4;
        const uint32_t* from = product.a_registers[static_cast<size_t>(row / 16 * warpSize + lane)];
        const auto* half = reinterpret_cast<const char*>(from + row % 16 / 8 + column / 4 * 2) + i * bytes % 4;
        a[static_cast<size_t>(row * k + i)] = value_at(product.type, half);
      }
    }
  }
  const std::vector<float>& initial = product.before ? product.before->sum : product.sum;
  std::vector<float> result(static_cast<size_t>(rows * n));
  if (product.accumulate) result = initial;
  for (int row = 0; row < rows; ++row) {
    add_products(product.type, h100, &a[static_cast<size_t>(row * k)], b.data(), k, n,
                 &result[static_cast<size_t>(row * n)]);
  }
  product.sum = std::move(result);
  product.before = nullptr;
  product.done = true;
}

// What a warp reads: its own rows of a, all of b.
void check_reads(const Wgmma& product, int warp) {
  const auto read = [&](uint64_t descriptor, int from, int to) {
    const auto places = rows_at(descriptor, to);
    for (size_t i = static_cast<size_t>(from) * 2; i < places.size(); ++i) {
      check_asynchronous_read(shared_bytes_of_block + places[i], 16);
    }
  };
  if (!product.from_registers) read(product.a, warp * 16, warp * 16 + 16);
  read(product.b, 0, product.n);
}

}  // namespace

void ptx::wgmma_issue(MmaType type, int n, float* d, const uint32_t* a, uint64_t a_descriptor, uint64_t b,
                      bool accumulate) {
  const OutsideKernel outside;
  const int thread = current_thread(), group = thread / warpgroup, t = thread % warpgroup;
  if ((group + 1) * warpgroup > block->threads) fail("wgmma in a warpgroup of fewer than 128 threads");
  OwnWgmmas& own = own_wgmmas();
  if (!own.fenced) fail("wgmma without a wgmma.fence before it");
  auto& sequence = warpgroups().sequence[static_cast<size_t>(group)];
  if (own.groups.empty()) own.groups.emplace_back();
  std::shared_ptr<Wgmma> before;
  for (const auto& each : own.groups) {
    for (const auto& product : each) {
      if (product->d[static_cast<size_t>(t)] == d) before = product;
    }
  }
  if (own.issued == sequence.size()) {
    sequence.push_back(std::make_shared<Wgmma>());
    Wgmma& fresh = *sequence.back();
    fresh.type = type, fresh.n = n, fresh.a = a_descriptor, fresh.b = b;
    fresh.from_registers = a != nullptr, fresh.accumulate = accumulate, fresh.before = before;
    if (!before) fresh.sum.resize(static_cast<size_t>(rows * n));
    note_sources(fresh);
  }
  const std::shared_ptr<Wgmma> product = sequence[own.issued++];
  if (product->type != type || product->n != n || product->a != a_descriptor || product->b != b ||
      product->from_registers != (a != nullptr) || product->accumulate != accumulate ||
      (product->done ? nullptr : product->before) != (product->done ? nullptr : before)) {
    fail("the threads of a warpgroup disagree about a wgmma");
  }
  for (int i = 0; i < n / 2; ++i) {
    if (!before) product->sum[place_of_sum(t, i, n)] = d[i];
    std::memset(d + i, 0xff, sizeof *d);
  }
  product->d[static_cast<size_t>(t)] = d;
  product->a_registers[static_cast<size_t>(t)] = a;
  own.groups.back().push_back(product);
  if (++product->issued == warpgroup) wake(product->waiting);
}

void ptx::wgmma_fence() {
  const OutsideKernel outside;
  own_wgmmas().fenced = true;
}

void ptx::wgmma_commit() {
  const OutsideKernel outside;
  OwnWgmmas& own = own_wgmmas();
  if (own.groups.empty()) own.groups.emplace_back();
  own.groups.emplace_back();
}

void ptx::wait_for_products(size_t keep) {
  const OutsideKernel outside;
  const int t = current_thread() % warpgroup, warp = t / warpSize;
  OwnWgmmas& own = own_wgmmas();
  own.fenced = false;
  while (own.groups.size() > keep + 1) {
    const auto group = own.groups.front();
    for (const auto& product : group) {
      if (product->issued < warpgroup) {
        product->waiting.push_back(current_fiber());
        suspend();
      }
      multiply(*product);
      if (!std::exchange(product->has_read[static_cast<size_t>(warp)], true)) check_reads(*product, warp);
    }
    own.groups.erase(own.groups.begin());
    for (const auto& product : group) {
      float* d = std::exchange(product->d[static_cast<size_t>(t)], nullptr);
      const auto is_newer = [&](const auto& other) { return other->d[static_cast<size_t>(t)] == d; };
      if (std::ranges::any_of(group, is_newer) ||
          std::ranges::any_of(own.groups, [&](const auto& each) { return std::ranges::any_of(each, is_newer); })) {
        continue;  // more of the same sums is under way
      }
      for (int i = 0; i < product->n / 2; ++i) d[i] = product->sum[place_of_sum(t, i, product->n)];
    }
  }
  __syncwarp();  // a warp waits together
}

void check_end_of_thread() {
  const Thread& own = block->thread[static_cast<size_t>(current_thread())];
  for (const auto& group : own.copies) {
    if (!group.empty()) fail("the thread ends with an asynchronous copy that it never waited for");
  }
  if (!block->warpgroups) return;
  for (const auto& group : own_wgmmas().groups) {
    if (!group.empty()) fail("the thread ends with a wgmma that it never waited for");
  }
}

}  // namespace emulated
