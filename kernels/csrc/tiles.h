// The product of panel.h on the tile registers of Intel AMX: 16 rows times 16 columns over 16 groups of
// k in one instruction. A panel already lies as a tile register wants it.
#pragma once

#include "simd.h"

#if defined(__AMX_BF16__)

#include <initializer_list>

constexpr int TILE_SIDE = 16;  // rows and columns of a result, and groups of k, in one register
constexpr int TILE_ROW = 64;   // bytes

constexpr int PREFETCH_BYTES = 512;  // ahead of what is read: the hardware alone is a fifth slower

// The registers, by number: results of two times 16 rows and two times 16 columns, and what is
// multiplied. The intrinsics paste them into the instruction, so they are macros.
#define RESULT_00 0
#define RESULT_01 1
#define RESULT_10 2
#define RESULT_11 3
#define ROWS_0 4
#define ROWS_1 5
#define COLUMNS_0 6
#define COLUMNS_1 7

// Tells the processor how many rows each register has, and of how many bytes. Held while registers
// are in use: a thread that is switched out with tiles in use costs 8 KiB of memory traffic.
class TilesInUse {
 public:
  explicit TilesInUse(long rows) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    auto set = [&](std::initializer_list<int> tiles, long count) {
      for (int tile : tiles) {
        shapes.rows[tile] = uint8_t(count);
        shapes.row_bytes[tile] = count > 0 ? TILE_ROW : 0;
      }
    };
    long first = rows < TILE_SIDE ? rows : TILE_SIDE;
    set({RESULT_00, RESULT_01, ROWS_0}, first);
    set({RESULT_10, RESULT_11, ROWS_1}, rows - first);
    set({COLUMNS_0, COLUMNS_1}, TILE_SIDE);
    _tile_loadconfig(&shapes);
  }
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
  ~TilesInUse() { _tile_release(); }
};

// Rows of bf16 pairs. Its sums over the even and the odd k of a step are kept apart until the end of
// the step, which is the order of the instruction, and few_rows_of_tiles() keeps to it.
struct BFloat16Tiles {
  template <bool SECOND_ROWS>
  static INLINE void multiply() {
    _tile_dpbf16ps(RESULT_00, ROWS_0, COLUMNS_0);
    _tile_dpbf16ps(RESULT_01, ROWS_0, COLUMNS_1);
    if constexpr (SECOND_ROWS) {
      _tile_dpbf16ps(RESULT_10, ROWS_1, COLUMNS_0);
      _tile_dpbf16ps(RESULT_11, ROWS_1, COLUMNS_1);
    }
  }
};

template <class Tiles, bool SECOND_ROWS>
void multiply_tiles_of_rows(const uint32_t* x, long x_stride, const char* panel, long panel_row,
                            long steps, char* out) {
  const long row_bytes = x_stride * 4;
  const uint32_t* second = x + TILE_SIDE * x_stride;
  _tile_zero(RESULT_00);
  _tile_zero(RESULT_01);
  if constexpr (SECOND_ROWS) {
    _tile_zero(RESULT_10);
    _tile_zero(RESULT_11);
  }
  for (long s = 0; s < steps; s++, panel += TILE_SIDE * panel_row) {
    _tile_loadd(COLUMNS_0, panel, panel_row);
    _tile_loadd(COLUMNS_1, panel + TILE_ROW, panel_row);
    _tile_loadd(ROWS_0, x + s * TILE_SIDE, row_bytes);
    if constexpr (SECOND_ROWS) _tile_loadd(ROWS_1, second + s * TILE_SIDE, row_bytes);
    Tiles::template multiply<SECOND_ROWS>();
  }
  _tile_stored(RESULT_00, out, panel_row);
  _tile_stored(RESULT_01, out + TILE_ROW, panel_row);
  if constexpr (SECOND_ROWS) {
    _tile_stored(RESULT_10, out + TILE_SIDE * panel_row, panel_row);
    _tile_stored(RESULT_11, out + TILE_SIDE * panel_row + TILE_ROW, panel_row);
  }
}

// out[r] = x[r] . panel, over `steps` times 16 groups; rows of x are x_stride groups apart, those of the
// panel and of out panel_row bytes.
template <class Tiles>
void multiply_on_tiles(const uint32_t* x, long x_stride, long rows, const char* panel, long panel_row,
                       long steps, char* out) {
  asm volatile("" ::: "memory");  // the compiler does not know that the intrinsics touch memory
  while (rows > 0) {
    long count = rows < 2 * TILE_SIDE ? rows : 2 * TILE_SIDE;
    TilesInUse tiles(count);
    auto multiply = count > TILE_SIDE ? multiply_tiles_of_rows<Tiles, true>
                                      : multiply_tiles_of_rows<Tiles, false>;
    multiply(x, x_stride, panel, panel_row, steps, out);
    rows -= count;
    x += count * x_stride;
    out += count * panel_row;
  }
  asm volatile("" ::: "memory");
}

// The same numbers, bit for bit, from plain vectors. They read memory faster than tile registers do,
// and with few rows that is what counts.
template <int ROWS>
void few_rows_of_tiles(const uint32_t* x, long x_stride, const char* panel, long steps, f32x16* out) {
  constexpr int PANEL_BYTES = 2 * TILE_ROW;
  const u32x16 odd_half = splat(0xffff0000u);
  f32x16 acc[ROWS][2] = {};
  for (long s = 0; s < steps; s++, x += TILE_SIDE) {
    f32x16 even[ROWS][2] = {}, odd[ROWS][2] = {};
#pragma GCC unroll 16
    for (int g = 0; g < TILE_SIDE; g++, panel += PANEL_BYTES) {
      __builtin_prefetch(panel + PREFETCH_BYTES);
      __builtin_prefetch(panel + PREFETCH_BYTES + TILE_ROW);
      u32x16 w[2] = {load_as<u32x16>(panel), load_as<u32x16>(panel + TILE_ROW)};
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++) {
        u32x16 xs = splat(x[r * x_stride + g]);
        for (int half = 0; half < 2; half++) {
          even[r][half] += (f32x16)(w[half] << 16) * (f32x16)(xs << 16);
          odd[r][half] += (f32x16)(w[half] & odd_half) * (f32x16)(xs & odd_half);
        }
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int half = 0; half < 2; half++) acc[r][half] += even[r][half] + odd[r][half];
  }
  for (int r = 0; r < ROWS; r++)
    for (int half = 0; half < 2; half++) out[2 * r + half] = acc[r][half];
}

#endif
