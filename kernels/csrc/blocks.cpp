#include "blocks.h"

#include <algorithm>

#include "scratch.h"

namespace {

constexpr int LOW_BITS = 4;
// From here on it pays to write the panel out in bf16 first.
#if defined(__AMX_BF16__)
constexpr long ROWS_TO_UNPACK = 4;
#else
constexpr long ROWS_TO_UNPACK = 12;
#endif

INLINE f32x16 load_halves(const char* p) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_cvtph_ps(load_as<__m256i>(p));
#else
  u32x16 bits = __builtin_convertvector(load_as<u16x16>(p), u32x16);
  f32x16 magnitude = (f32x16)((bits & 0x7fff) << 13) * 0x1p112f;  // also right for subnormals
  return (f32x16)((u32x16)magnitude | (bits & 0x8000) << 16);
#endif
}

// What a plane's bit patterns stand for, as bf16, repeated over the 32 entries of a lookup.
struct PlaneTable {
  PlaneTable(int bits, int first_bit, int offset) : bits(bits) {
    for (int i = 0; i < 32; i++) {
      bf16 number;
      from_float(float((i % (1 << bits)) * (1 << first_bit) - offset), &number);
      entries[i] = number.bits;
    }
  }

  int bits;
  u16x32 entries;
};

// The numbers of one pair of k for 16 columns: pair `index` of the packed lanes.
template <int BITS>
INLINE u32x16 lookup(const PlaneTable& table, u32x16 packed, int index) {
#if defined(__AVX512BW__)
  __m512i shifted = _mm512_srli_epi16((__m512i)packed, BITS * index);
  return (u32x16)_mm512_permutexvar_epi16(shifted, (__m512i)table.entries);
#else
  constexpr uint32_t mask = (1u << BITS) - 1;
  u32x16 result;
  u32x16 even = (packed >> (BITS * index)) & mask, odd = (packed >> (16 + BITS * index)) & mask;
  for (int lane = 0; lane < LANES; lane++)
    result[lane] = table.entries[even[lane]] | uint32_t(table.entries[odd[lane]]) << 16;
  return result;
#endif
}

// One block of a panel, in memory.
template <int HIGH_BITS, int BLOCK>
struct PanelBlock {
  static constexpr int PAIRS = BLOCK / 2;
  static constexpr int LOW_PAIRS = 16 / LOW_BITS;  // pairs in a 64-byte vector of a plane
  static constexpr int HIGH_PAIRS = HIGH_BITS ? 16 / HIGH_BITS : 1;

  const char* scales;
  const char* minimums;
  const char* low;
  const char* high;

  PanelBlock(const BlockFormat& format, const char* block)
      : scales(block),
        minimums(format.has_minimum ? block + PANEL * 2 : nullptr),
        low(block + (format.has_minimum ? 2 : 1) * PANEL * 2),
        high(low + PANEL * BLOCK * LOW_BITS / 8) {}

  u32x16 low_lanes(int pair, int half) const {
    return load_as<u32x16>(low + (pair / LOW_PAIRS * 2 + half) * 64);
  }
  u32x16 high_lanes(int pair, int half) const {
    return load_as<u32x16>(high + (pair / HIGH_PAIRS * 2 + half) * 64);
  }
};

struct Tables {
  explicit Tables(const BlockFormat& format)
      : low(LOW_BITS, 0, format.high_bits ? 0 : format.offset),
        high(format.high_bits, LOW_BITS, format.offset) {}

  PlaneTable low, high;
};

// A few rows: sums over a block first, then times its scale.
template <int HIGH_BITS, int BLOCK, int ROWS>
void multiply_rows(const BlockFormat& format, const Tables& tables, const uint32_t* x,
                   long x_stride, const char* panel, long blocks, f32x16* out) {
  using Block = PanelBlock<HIGH_BITS, BLOCK>;
  const u32x16 ones = splat(0x3f803f80u);  // a pair of 1.0
  f32x16 acc[ROWS][2] = {};
  for (long b = 0; b < blocks; b++, panel += format.block_bytes(), x += Block::PAIRS) {
    Block block(format, panel);
    f32x16 sums[ROWS][2] = {}, x_sums[ROWS] = {};
#pragma GCC unroll 16
    for (int pair = 0; pair < Block::PAIRS; pair++) {
      u32x16 low[2], high[2];
      for (int half = 0; half < 2; half++) {
        low[half] =
            lookup<LOW_BITS>(tables.low, block.low_lanes(pair, half), pair % Block::LOW_PAIRS);
        if constexpr (HIGH_BITS > 0)
          high[half] = lookup<HIGH_BITS>(tables.high, block.high_lanes(pair, half),
                                         pair % Block::HIGH_PAIRS);
      }
      for (int r = 0; r < ROWS; r++) {
        u32x16 xs = splat(x[r * x_stride + pair]);
        for (int half = 0; half < 2; half++) {
          sums[r][half] = BFloat16Kind::mac(sums[r][half], low[half], xs);
          if constexpr (HIGH_BITS > 0)
            sums[r][half] = BFloat16Kind::mac(sums[r][half], high[half], xs);
        }
        if (format.has_minimum) x_sums[r] = BFloat16Kind::mac(x_sums[r], ones, xs);
      }
    }
    for (int half = 0; half < 2; half++) {
      f32x16 scale = load_halves(block.scales + half * 32);
      for (int r = 0; r < ROWS; r++) acc[r][half] += sums[r][half] * scale;
      if (format.has_minimum) {
        f32x16 minimum = load_halves(block.minimums + half * 32);
        for (int r = 0; r < ROWS; r++) acc[r][half] += x_sums[r] * minimum;
      }
    }
  }
  for (int r = 0; r < ROWS; r++) {
    out[2 * r] = acc[r][0];
    out[2 * r + 1] = acc[r][1];
  }
}

INLINE u32x16 round_pairs(f32x16 even, f32x16 odd) {
#if defined(__AVX512BF16__)
  const u16x32 interleave = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  __m512i numbers = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
  return (u32x16)_mm512_permutexvar_epi16((__m512i)interleave, numbers);
#else
  bf16 rounded[2][LANES];
  store(rounded[0], even);
  store(rounded[1], odd);
  return __builtin_convertvector(load_as<u16x16>(rounded[0]), u32x16) |
         __builtin_convertvector(load_as<u16x16>(rounded[1]), u32x16) << 16;
#endif
}

// Writes the panel out as bf16 pairs, as panel.h multiplies them.
template <int HIGH_BITS, int BLOCK>
void unpack_panel(const BlockFormat& format, const Tables& tables, const char* panel, long blocks,
                  char* out) {
  using Block = PanelBlock<HIGH_BITS, BLOCK>;
  const u32x16 odd_half = splat(0xffff0000u);
  for (long b = 0; b < blocks; b++, panel += format.block_bytes()) {
    Block block(format, panel);
    for (int half = 0; half < 2; half++) {
      f32x16 scale = load_halves(block.scales + half * 32);
      f32x16 minimum = format.has_minimum ? load_halves(block.minimums + half * 32) : f32x16{};
#pragma GCC unroll 16
      for (int pair = 0; pair < Block::PAIRS; pair++) {
        u32x16 low =
            lookup<LOW_BITS>(tables.low, block.low_lanes(pair, half), pair % Block::LOW_PAIRS);
        f32x16 even = (f32x16)(low << 16), odd = (f32x16)(low & odd_half);
        if constexpr (HIGH_BITS > 0) {
          u32x16 high = lookup<HIGH_BITS>(tables.high, block.high_lanes(pair, half),
                                          pair % Block::HIGH_PAIRS);
          even += (f32x16)(high << 16);
          odd += (f32x16)(high & odd_half);
        }
        store_as(out + (b * Block::PAIRS + pair) * PANEL_ROW + half * 64,
                 round_pairs(even * scale + minimum, odd * scale + minimum));
      }
    }
  }
}

template <int HIGH_BITS, int BLOCK>
void multiply(const BlockFormat& format, const uint32_t* x, long x_stride, long rows,
              const char* panel, long in_features, f32x16* out) {
  Tables tables(format);
  long blocks = in_features / BLOCK, groups = in_features / 2;
  if (rows >= ROWS_TO_UNPACK) {
    char* unpacked = scratch<char>(SCRATCH_PANEL, groups * PANEL_ROW);
    unpack_panel<HIGH_BITS, BLOCK>(format, tables, panel, blocks, unpacked);
    multiply_panel<BFloat16Kind>(x, x_stride, rows, unpacked, groups, out);
    return;
  }
  for (; rows >= 4; rows -= 4, x += 4 * x_stride, out += 8)
    multiply_rows<HIGH_BITS, BLOCK, 4>(format, tables, x, x_stride, panel, blocks, out);
  for (; rows >= 2; rows -= 2, x += 2 * x_stride, out += 4)
    multiply_rows<HIGH_BITS, BLOCK, 2>(format, tables, x, x_stride, panel, blocks, out);
  if (rows == 1)
    multiply_rows<HIGH_BITS, BLOCK, 1>(format, tables, x, x_stride, panel, blocks, out);
}

// Packs `bits` bits, from first_bit on, of one column's values of a block into a plane.
template <int BITS>
void pack_plane(const uint8_t* values, int block, int first_bit, long column, char* plane) {
  constexpr int PAIRS = 16 / BITS;
  constexpr uint32_t MASK = (1u << BITS) - 1;
  char* lane = plane + column * 4;
  for (int k = 0; k < block; k += 2 * PAIRS, lane += 2 * LANES * 4) {
    uint32_t packed = 0;
    for (int pair = 0; pair < PAIRS; pair++) {
      uint32_t even = values[k + 2 * pair] >> first_bit & MASK;
      uint32_t odd = values[k + 2 * pair + 1] >> first_bit & MASK;
      packed |= (even | odd << 16) << (pair * BITS);
    }
    store_as(lane, packed);
  }
}

void pack_high_plane(int bits, const uint8_t* values, int block, long column, char* plane) {
  if (bits == 1) pack_plane<1>(values, block, LOW_BITS, column, plane);
  if (bits == 2) pack_plane<2>(values, block, LOW_BITS, column, plane);
  if (bits == 4) pack_plane<4>(values, block, LOW_BITS, column, plane);
}

}  // namespace

void pack_block_panel(const BlockFormat& format, const uint8_t* values,
                      const uint16_t* scales, const uint16_t* minimums, long columns, long in_features, char* panel) {
  long blocks = in_features / format.block;
  std::memset(panel, 0, blocks * format.block_bytes());
  for (long b = 0; b < blocks; b++, panel += format.block_bytes()) {
    char* low = panel + (format.has_minimum ? 2 : 1) * PANEL * 2;
    char* high = low + PANEL * format.block * LOW_BITS / 8;
    for (long c = 0; c < columns; c++) {
      store_as(panel + c * 2, scales[c * blocks + b]);
      if (format.has_minimum) store_as(panel + (PANEL + c) * 2, minimums[c * blocks + b]);
      const uint8_t* block_values = values + c * in_features + b * format.block;
      pack_plane<LOW_BITS>(block_values, format.block, 0, c, low);
      pack_high_plane(format.high_bits, block_values, format.block, c, high);
    }
  }
}

void multiply_block_panel(const BlockFormat& format, const uint32_t* x, long x_stride, long rows,
                          const char* panel, long in_features, f32x16* out) {
  auto run = format.high_bits == 0   ? multiply<0, 32>
             : format.high_bits == 1 ? multiply<1, 32>
             : format.high_bits == 2 ? multiply<2, 16>
                                     : multiply<4, 32>;
  run(format, x, x_stride, rows, panel, in_features, out);
}
