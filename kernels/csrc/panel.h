// The one matrix product everything is built on: rows of x times a packed panel of 32 columns.
//
// A panel holds, for each group of 4 bytes along k, 32 columns beside each other: 128 bytes a group.
// A group is one float, two bf16 or four int8. Packing makes the product the same loop for every
// kind: load 32 lanes of weights, broadcast 4 bytes of x, multiply and add. A row's sums run over k
// in one fixed order, so that its result does not depend on the rows that share the call.
#pragma once

#include "simd.h"
#include "tiles.h"

constexpr int PANEL = 32;
constexpr int GROUP_BYTES = 4;
constexpr int PANEL_ROW = PANEL * GROUP_BYTES;

#if defined(__AVX512F__)
constexpr int TILE_ROWS = 12;  // 24 accumulators, 2 weights and a broadcast of 32 registers
#else
constexpr int TILE_ROWS = 2;
#endif

// STEP: groups of k that are summed before they join the sum so far. A sum over fewer groups than a
// step may differ from one over zeros in their place.
struct Float32Kind {
  using Accumulator = f32x16;
  using Element = float;
  static constexpr int PER_GROUP = 1;
  static constexpr int STEP = 1;

  // For vectors of any width: acc + w * x, groups of k at a time.
  template <class Floats, class Groups>
  static INLINE Floats mac(Floats acc, Groups w, Groups x) {
    return acc + (Floats)w * (Floats)x;
  }
};

struct BFloat16Kind {
  using Accumulator = f32x16;
  using Element = bf16;
  static constexpr int PER_GROUP = 2;
#if defined(__AMX_BF16__)
  static constexpr int STEP = TILE_SIDE;
#else
  static constexpr int STEP = 1;
#endif

  template <class Floats, class Groups>
  static INLINE Floats mac(Floats acc, Groups w, Groups x) {
#if defined(__AVX512BF16__)
    if constexpr (sizeof(Floats) == 16)
      return (Floats)_mm_dpbf16_ps((__m128)acc, (__m128bh)w, (__m128bh)x);
    else if constexpr (sizeof(Floats) == 32)
      return (Floats)_mm256_dpbf16_ps((__m256)acc, (__m256bh)w, (__m256bh)x);
    else
      return (Floats)_mm512_dpbf16_ps((__m512)acc, (__m512bh)w, (__m512bh)x);
#else
    acc = acc + (Floats)(w << 16) * (Floats)(x << 16);
    return acc + (Floats)(w & 0xffff0000u) * (Floats)(x & 0xffff0000u);
#endif
  }
};

template <class Kind, int ROWS>
INLINE void multiply_tile(const uint32_t* x, long x_stride, const char* panel, long groups,
                          typename Kind::Accumulator* out) {
  typename Kind::Accumulator acc[ROWS][2] = {};
  for (long g = 0; g < groups; g++, panel += PANEL_ROW) {
    u32x16 w0 = load_as<u32x16>(panel), w1 = load_as<u32x16>(panel + 64);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
      u32x16 xs = splat(x[r * x_stride + g]);
      acc[r][0] = Kind::mac(acc[r][0], w0, xs);
      acc[r][1] = Kind::mac(acc[r][1], w1, xs);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < ROWS; r++) {
    store_as(out + 2 * r, acc[r][0]);
    store_as(out + 2 * r + 1, acc[r][1]);
  }
}

template <class Kind, int ROWS>
void multiply_tiles(const uint32_t*& x, long x_stride, long& rows, const char* panel, long groups,
                    typename Kind::Accumulator*& out) {
  for (; rows >= ROWS; rows -= ROWS, x += ROWS * x_stride, out += 2 * ROWS)
    multiply_tile<Kind, ROWS>(x, x_stride, panel, groups, out);
}

template <class Kind>
void multiply_on_vectors(const uint32_t* x, long x_stride, long rows, const char* panel, long groups,
                         typename Kind::Accumulator* out) {
  multiply_tiles<Kind, TILE_ROWS>(x, x_stride, rows, panel, groups, out);
  if constexpr (TILE_ROWS > 8) multiply_tiles<Kind, 8>(x, x_stride, rows, panel, groups, out);
  if constexpr (TILE_ROWS > 6) multiply_tiles<Kind, 6>(x, x_stride, rows, panel, groups, out);
  if constexpr (TILE_ROWS > 4) multiply_tiles<Kind, 4>(x, x_stride, rows, panel, groups, out);
  if constexpr (TILE_ROWS > 3) multiply_tiles<Kind, 3>(x, x_stride, rows, panel, groups, out);
  if constexpr (TILE_ROWS > 2) multiply_tiles<Kind, 2>(x, x_stride, rows, panel, groups, out);
  multiply_tiles<Kind, 1>(x, x_stride, rows, panel, groups, out);
}

// out[r][0:32] = x[r] . panel for each of the rows.
//   x: rows of `groups` 4-byte groups, x_stride groups apart.  out: 64-byte aligned, [rows][2].
template <class Kind>
void multiply_panel(const uint32_t* x, long x_stride, long rows, const char* panel, long groups,
                    typename Kind::Accumulator* out) {
  multiply_on_vectors<Kind>(x, x_stride, rows, panel, groups, out);
}

#if defined(__AMX_BF16__)

// Whole steps of 16 groups on tiles, what is left of k on vectors.
template <>
inline void multiply_panel<BFloat16Kind>(const uint32_t* x, long x_stride, long rows,
                                         const char* panel, long groups, f32x16* out) {
  long steps = groups / TILE_SIDE, left = groups % TILE_SIDE;
  if (rows == 1)
    few_rows_of_tiles<1>(x, x_stride, panel, steps, out);
  else if (rows == 2)
    few_rows_of_tiles<2>(x, x_stride, panel, steps, out);
  else
    multiply_on_tiles<BFloat16Tiles>(x, x_stride, rows, panel, PANEL_ROW, steps,
                                     reinterpret_cast<char*>(out));
  if (left == 0) return;
  f32x16 rest[2];
  for (long r = 0; r < rows; r++) {
    multiply_tile<BFloat16Kind, 1>(x + r * x_stride + steps * TILE_SIDE, x_stride,
                                   panel + steps * TILE_SIDE * PANEL_ROW, left, rest);
    out[2 * r] += rest[0];
    out[2 * r + 1] += rest[1];
  }
}

#endif
