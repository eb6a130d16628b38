// Weights in blocks of a few bits with a scale each (and a minimum in some formats), multiplied as
// they are: w = scale * q + minimum, or scale * (q - offset), times rows of two bytes a value (byte_rows.h)
// whose steps are the blocks.
//
// A value's bits lie in one or two planes: its low four bits, and the rest. A byte of a plane holds the
// bits of one column's values in consecutive groups of four k, so that one shift and one mask give 64
// bytes just as a dot product of bytes takes them.
//
// A panel is, for each block along k: 32 scales (fp16), 32 minimums (fp16, if the format has them),
// then plane after plane.
#pragma once

#include <limits>

#include "byte_rows.h"
#include "panel.h"

struct BlockFormat {
  int block;        // values with one scale: 16 or 32
  int high_bits;    // of a value beyond the low four: 0, 1, 2 or 4
  int has_minimum;  // else `offset` is subtracted from every value
  int offset;

  long block_bytes() const {
    return (has_minimum ? 2 : 1) * PANEL * 2 + PANEL * block * (4 + high_bits) / 8;
  }
};

// From here on it pays to write a panel out in bf16, and to take rows of bf16.
#if defined(__AMX_BF16__)
constexpr long ROWS_IN_BF16 = 16;
#else
constexpr long ROWS_IN_BF16 = std::numeric_limits<long>::max();
#endif

// Packs q [PANEL or fewer columns, in_features] of one panel.
//   values: rows of in_features entries.
//   scales, minimums: rows of in_features / block fp16 entries; minimums may be null.
void pack_block_panel(const BlockFormat& format, const uint8_t* values, const uint16_t* scales,
                      const uint16_t* minimums, long columns, long in_features, char* panel);

// out[r][0:32] = x[r] . panel, for rows in steps of a block.
void multiply_block_panel(const BlockFormat& format, const ByteRows& x, long rows, const char* panel,
                          f32x16* out);

// The same for bf16 rows x, x_stride groups apart.
void multiply_block_panel(const BlockFormat& format, const uint32_t* x, long x_stride, long rows,
                          const char* panel, long in_features, f32x16* out);
