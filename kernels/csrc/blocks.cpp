#include "blocks.h"

#include <algorithm>

#include "scratch.h"

namespace {

constexpr int LOW_BITS = 4;
constexpr long ROWS_TO_UNPACK = 6;  // from here on it pays to write the panel's bytes out first

INLINE f32x16 load_halves(const char* p) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_cvtph_ps(load_as<__m256i>(p));
#else
  u32x16 bits = __builtin_convertvector(load_as<u16x16>(p), u32x16);
  f32x16 magnitude = (f32x16)((bits & 0x7fff) << 13) * 0x1p112f;  // also right for subnormals
  return (f32x16)((u32x16)magnitude | (bits & 0x8000) << 16);
#endif
}

// One block of a panel, in memory.
template <int HIGH_BITS, int BLOCK>
class PackedBlock {
 public:
  static constexpr int BITS = LOW_BITS + HIGH_BITS;
  static constexpr int GROUPS = BLOCK / GROUP_BYTES;

  PackedBlock(const BlockFormat& format, const char* panel, const char*, long index)
      : block_(panel + index * format.block_bytes()),
        low_(block_ + (format.has_minimum ? 2 : 1) * PANEL * 2),
        high_(low_ + PANEL * BLOCK * LOW_BITS / 8) {}

  // Of 16 columns.
  f32x16 scales(int half) const { return load_halves(block_ + half * 32); }
  f32x16 minimums(int half) const { return load_halves(block_ + PANEL * 2 + half * 32); }

  // The values of four k for 16 columns, as the bytes of 16 lanes.
  INLINE u32x16 values(int group, int half) const {
    u32x16 low = bits_of<LOW_BITS>(low_, group, half);
    if constexpr (HIGH_BITS == 0)
      return low;
    else
      return low | bits_of<HIGH_BITS>(high_, group, half) << LOW_BITS;
  }

 private:
  template <int BITS_OF_PLANE>
  static INLINE u32x16 bits_of(const char* plane, int group, int half) {
    constexpr int GROUPS_OF_BYTE = 8 / BITS_OF_PLANE;
    constexpr uint32_t MASK = ((1u << BITS_OF_PLANE) - 1) * 0x01010101u;
    u32x16 packed = load_as<u32x16>(plane + (group / GROUPS_OF_BYTE * 2 + half) * 64);
    return (packed >> (group % GROUPS_OF_BYTE * BITS_OF_PLANE)) & MASK;
  }

  const char* block_;
  const char* low_;
  const char* high_;
};

// The same block, its values written out as in panel.h.
template <int HIGH_BITS, int BLOCK>
class UnpackedBlock : public PackedBlock<HIGH_BITS, BLOCK> {
 public:
  UnpackedBlock(const BlockFormat& format, const char* panel, const char* unpacked, long index)
      : PackedBlock<HIGH_BITS, BLOCK>(format, panel, nullptr, index),
        values_(unpacked + index * BLOCK / GROUP_BYTES * PANEL_ROW) {}

  INLINE u32x16 values(int group, int half) const {
    return load_as<u32x16>(values_ + group * PANEL_ROW + half * 64);
  }

 private:
  const char* values_;
};

template <int HIGH_BITS, int BLOCK>
void unpack_panel(const BlockFormat& format, const char* panel, long blocks, char* out) {
  using Block = PackedBlock<HIGH_BITS, BLOCK>;
  for (long b = 0; b < blocks; b++) {
    Block block(format, panel, nullptr, b);
#pragma GCC unroll 8
    for (int group = 0; group < Block::GROUPS; group++, out += PANEL_ROW)
      for (int half = 0; half < 2; half++) store_as(out + half * 64, block.values(group, half));
  }
}

// The sums over block b in whole numbers. Few rows have registers for the sums of both bytes; many go
// through the block twice, the high bytes first.
template <class Block, int ROWS>
INLINE void sum_block(const Block& block, const uint32_t* x, long x_stride, i32x16 (&sums)[ROWS][2]) {
  constexpr int PASSES = ROWS > 2 ? 2 : 1, BYTES = 2 / PASSES;
  i32x16 low_bytes[BYTES == 2 ? ROWS : 1][2] = {};
#pragma GCC unroll 2
  for (int pass = 0; pass < PASSES; pass++) {
#pragma GCC unroll 8
    for (int g = 0; g < Block::GROUPS; g++) {
      u32x16 values[2] = {block.values(g, 0), block.values(g, 1)};
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          const uint32_t* groups = x + r * x_stride + pass * Block::GROUPS + g;
          sums[r][half] = add_products<Block::BITS>(sums[r][half], values[half], splat(groups[0]));
          if constexpr (BYTES == 2)
            low_bytes[r][half] = add_products<Block::BITS>(low_bytes[r][half], values[half],
                                                           splat(groups[Block::GROUPS]));
        }
    }
    if (pass > 0) return;
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
      for (int half = 0; half < 2; half++) {
        sums[r][half] *= HIGH_BYTE;
        if constexpr (BYTES == 2) sums[r][half] += low_bytes[r][half];
      }
  }
}

// Sums over a block first, in whole numbers, then times its scale and the rows'.
template <class Block, int ROWS>
void multiply_rows(const BlockFormat& format, const ByteRows& x, const char* panel,
                   const char* unpacked, f32x16* out) {
  const long blocks = x.steps_per_row, x_stride = blocks * 2 * Block::GROUPS;
  auto groups = reinterpret_cast<const uint32_t*>(x.values);
  f32x16 sums[ROWS][2] = {};
  for (long b = 0; b < blocks; b++, groups += 2 * Block::GROUPS) {
    Block block(format, panel, unpacked, b);
    i32x16 products[ROWS][2] = {};
    sum_block<Block, ROWS>(block, groups, x_stride, products);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
      f32x16 scales = block.scales(half);
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++) {
        const RowStep& step = x.steps[r * blocks + b];
        i32x16 whole = products[r][half] - format.offset * step.sum;
        sums[r][half] += __builtin_convertvector(whole, f32x16) * (scales * step.scale);
      }
      if (!format.has_minimum) continue;
      f32x16 minimums = block.minimums(half);
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++) sums[r][half] += minimums * x.steps[r * blocks + b].total;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; r++)
    for (int half = 0; half < 2; half++) store_as(out + 2 * r + half, sums[r][half]);
}

template <class Block>
void multiply_all_rows(const BlockFormat& format, const ByteRows& x, long rows, const char* panel,
                       const char* unpacked, f32x16* out) {
  auto multiply = [&](auto run, long first) {
    run(format, x.from(first, 2 * Block::GROUPS * GROUP_BYTES), panel, unpacked, out + 2 * first);
  };
  long r = 0;
  for (; r + 4 <= rows; r += 4) multiply(multiply_rows<Block, 4>, r);
  for (; r + 2 <= rows; r += 2) multiply(multiply_rows<Block, 2>, r);
  for (; r < rows; r++) multiply(multiply_rows<Block, 1>, r);
}

template <int HIGH_BITS, int BLOCK>
void multiply(const BlockFormat& format, const ByteRows& x, long rows, const char* panel,
              f32x16* out) {
  if (rows < ROWS_TO_UNPACK) {
    multiply_all_rows<PackedBlock<HIGH_BITS, BLOCK>>(format, x, rows, panel, nullptr, out);
    return;
  }
  char* unpacked = scratch<char>(SCRATCH_PANEL, x.steps_per_row * BLOCK * PANEL);
  unpack_panel<HIGH_BITS, BLOCK>(format, panel, x.steps_per_row, unpacked);
  multiply_all_rows<UnpackedBlock<HIGH_BITS, BLOCK>>(format, x, rows, panel, unpacked, out);
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
void unpack_to_bf16(const BlockFormat& format, const char* panel, long blocks, char* out) {
  using Block = PackedBlock<HIGH_BITS, BLOCK>;
  for (long b = 0; b < blocks; b++, out += BLOCK / 2 * PANEL_ROW) {
    Block block(format, panel, nullptr, b);
    for (int half = 0; half < 2; half++) {
      f32x16 scales = block.scales(half);
      f32x16 minimums = format.has_minimum ? block.minimums(half) : f32x16{};
      for (int group = 0; group < Block::GROUPS; group++) {
        u32x16 values = block.values(group, half);
        auto number = [&](int k) {
          i32x16 value = (i32x16)((values >> (8 * k)) & 0xff) - format.offset;
          return __builtin_convertvector(value, f32x16) * scales + minimums;
        };
        char* pairs = out + 2 * group * PANEL_ROW + half * 64;
        store_as(pairs, round_pairs(number(0), number(1)));
        store_as(pairs + PANEL_ROW, round_pairs(number(2), number(3)));
      }
    }
  }
}

// Packs `bits` bits, from first_bit on, of one column's values of a block into a plane.
template <int BITS>
void pack_plane(const uint8_t* values, int block, int first_bit, long column, char* plane) {
  constexpr int GROUPS_OF_BYTE = 8 / BITS;
  constexpr uint32_t MASK = ((1u << BITS) - 1) * 0x01010101u;
  char* lane = plane + column * GROUP_BYTES;
  for (int k = 0; k < block; k += GROUPS_OF_BYTE * GROUP_BYTES, lane += PANEL_ROW) {
    uint32_t packed = 0;
    for (int i = 0; i < GROUPS_OF_BYTE; i++) {
      uint32_t group = load_as<uint32_t>(values + k + i * GROUP_BYTES);
      packed |= (group >> first_bit & MASK) << (i * BITS);
    }
    store_as(lane, packed);
  }
}

void pack_high_plane(int bits, const uint8_t* values, int block, long column, char* plane) {
  if (bits == 1) pack_plane<1>(values, block, LOW_BITS, column, plane);
  if (bits == 2) pack_plane<2>(values, block, LOW_BITS, column, plane);
  if (bits == 4) pack_plane<4>(values, block, LOW_BITS, column, plane);
}

// What a format's planes are made of, as the types of the functions above.
template <int HIGH, int VALUES>
struct Layout {
  static constexpr int HIGH_BITS = HIGH, BLOCK = VALUES;
};

template <class Body>
void with_layout(const BlockFormat& format, Body body) {
  if (format.high_bits == 0) body(Layout<0, 32>{});
  if (format.high_bits == 1) body(Layout<1, 32>{});
  if (format.high_bits == 2) body(Layout<2, 16>{});
  if (format.high_bits == 4) body(Layout<4, 32>{});
}

}  // namespace

void pack_block_panel(const BlockFormat& format, const uint8_t* values, const uint16_t* scales,
                      const uint16_t* minimums, long columns, long in_features, char* panel) {
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

void multiply_block_panel(const BlockFormat& format, const ByteRows& x, long rows, const char* panel,
                          f32x16* out) {
  with_layout(format, [&](auto layout) {
    using L = decltype(layout);
    multiply<L::HIGH_BITS, L::BLOCK>(format, x, rows, panel, out);
  });
}

void multiply_block_panel(const BlockFormat& format, const uint32_t* x, long x_stride, long rows,
                          const char* panel, long in_features, f32x16* out) {
  long groups = in_features / 2;
  char* unpacked = scratch<char>(SCRATCH_PANEL, groups * PANEL_ROW);
  with_layout(format, [&](auto layout) {
    using L = decltype(layout);
    unpack_to_bf16<L::HIGH_BITS, L::BLOCK>(format, panel, in_features / L::BLOCK, unpacked);
  });
  multiply_panel<BFloat16Kind>(x, x_stride, rows, unpacked, groups, out);
}
