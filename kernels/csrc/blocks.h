// Weights in blocks of a few bits with a scale each (and a minimum in some formats), multiplied as
// they are: w = scale * q + minimum, or scale * (q - offset).
//
// A value's bits lie in one or two planes: its low four bits, and the rest. A plane packs each pair
// (k, k + 1) of 16 columns into 32-bit lanes, k in the low halves and k + 1 in the high ones, so that
// one shift and one table lookup give 32 bf16 numbers just as a dot product of pairs takes them.
//
// A panel is, for each block along k: 32 scales (fp16), 32 minimums (fp16, if the format has them),
// then plane after plane.
#pragma once

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

// Packs q [PANEL or fewer columns, in_features] of one panel.
//   values: rows of in_features entries.
//   scales, minimums: rows of in_features / block fp16 entries; minimums may be null.
void pack_block_panel(const BlockFormat& format, const uint8_t* values,
                      const uint16_t* scales, const uint16_t* minimums, long columns, long in_features, char* panel);

// out[r][0:32] = x[r] . panel for bf16 rows x, x_stride groups apart.
void multiply_block_panel(const BlockFormat& format, const uint32_t* x, long x_stride, long rows,
                          const char* panel, long in_features, f32x16* out);
