#include "int8.h"

#include <algorithm>

namespace {

// sum + what the products of a step stand for
INLINE f32x16 add_step(f32x16 sum, i32x16 products, float scale) {
  return sum + __builtin_convertvector(products, f32x16) * scale;
}

template <int ROWS>
void multiply_rows(const ByteRows& x, const char* panel, f32x16* out) {
  auto groups = reinterpret_cast<const uint32_t*>(x.values);
  const long steps = x.steps_per_row;
  f32x16 sums[ROWS][2] = {};
  for (long s = 0; s < steps; s++, panel += INT8_STEP_GROUPS * PANEL_ROW) {
    i32x16 products[ROWS][2];
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
      products[r][0] = products[r][1] = i32x16{} - INT8_OFFSET * x.steps[r * steps + s].sum;
    for (long g = 0; g < INT8_STEP_GROUPS; g++) {
      const char* row = panel + g * PANEL_ROW;
      u32x16 low = load_as<u32x16>(row), high = load_as<u32x16>(row + 64);
#pragma GCC unroll 4
      for (int r = 0; r < ROWS; r++) {
        u32x16 xs = splat(groups[(r * steps + s) * INT8_STEP_GROUPS + g]);
        products[r][0] = add_products<8>(products[r][0], low, xs);
        products[r][1] = add_products<8>(products[r][1], high, xs);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++)
      for (int half = 0; half < 2; half++)
        sums[r][half] = add_step(sums[r][half], products[r][half], x.steps[r * steps + s].scale);
  }
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; r++)
    for (int half = 0; half < 2; half++) store_as(out + 2 * r + half, sums[r][half]);
}

// Four rows at a time: with their weights they still fit into the registers.
void multiply_on_vectors(const ByteRows& x, long rows, const char* panel, f32x16* out) {
  long r = 0;
  for (; r + 4 <= rows; r += 4) multiply_rows<4>(x.from(r, INT8_STEP), panel, out + 2 * r);
  for (; r + 2 <= rows; r += 2) multiply_rows<2>(x.from(r, INT8_STEP), panel, out + 2 * r);
  for (; r < rows; r++) multiply_rows<1>(x.from(r, INT8_STEP), panel, out + 2 * r);
}

#if defined(__AMX_INT8__)

constexpr long ROWS_FOR_TILES = 4;  // fewer are limited by memory, which vectors read faster

struct Int8Tiles {
  template <bool SECOND_ROWS>
  static INLINE void multiply() {
    _tile_dpbsud(RESULT_00, ROWS_0, COLUMNS_0);
    _tile_dpbsud(RESULT_01, ROWS_0, COLUMNS_1);
    if constexpr (SECOND_ROWS) {
      _tile_dpbsud(RESULT_10, ROWS_1, COLUMNS_0);
      _tile_dpbsud(RESULT_11, ROWS_1, COLUMNS_1);
    }
  }
};

void multiply_rows_on_tiles(const ByteRows& x, long count, const char* panel, f32x16* out) {
  TilesInUse tiles(count);
  auto multiply = count > TILE_SIDE ? multiply_tiles_of_rows<Int8Tiles, true>
                                    : multiply_tiles_of_rows<Int8Tiles, false>;
  auto groups = reinterpret_cast<const uint32_t*>(x.values);
  i32x16 products[2 * TILE_SIDE][2];
  const long steps = x.steps_per_row;
  for (long s = 0; s < steps; s++) {
    multiply(groups + s * INT8_STEP_GROUPS, steps * INT8_STEP_GROUPS,
             panel + s * INT8_STEP_GROUPS * PANEL_ROW, PANEL_ROW, 1,
             reinterpret_cast<char*>(products));
    asm volatile("" ::: "memory");  // the compiler does not know that the tiles were stored
    for (long r = 0; r < count; r++) {
      const RowStep& step = x.steps[r * steps + s];
      for (int half = 0; half < 2; half++) {
        f32x16& sum = out[2 * r + half];
        sum = add_step(sum, products[r][half] - INT8_OFFSET * step.sum, step.scale);
      }
    }
  }
}

void add_all_steps(const ByteRows& x, long rows, const char* panel, f32x16* out) {
  if (rows < ROWS_FOR_TILES) {
    multiply_on_vectors(x, rows, panel, out);
    return;
  }
  std::fill(out, out + 2 * rows, f32x16{});
  for (long r = 0; r < rows; r += 2 * TILE_SIDE)
    multiply_rows_on_tiles(x.from(r, INT8_STEP), std::min<long>(2 * TILE_SIDE, rows - r), panel,
                           out + 2 * r);
}

#else

void add_all_steps(const ByteRows& x, long rows, const char* panel, f32x16* out) {
  multiply_on_vectors(x, rows, panel, out);
}

#endif

}  // namespace

void pack_int8_panel(const int8_t* values, const float* scales, long columns, long in_features,
                     char* panel) {
  std::memset(panel, 0, int8_panel_bytes(in_features));
  char* end = panel + int8_steps(in_features) * INT8_STEP_GROUPS * PANEL_ROW;
  for (long c = 0; c < columns; c++) {
    const int8_t* column = values + c * in_features;
    for (long k = 0; k < in_features; k++)
      panel[k / GROUP_BYTES * PANEL_ROW + c * GROUP_BYTES + k % GROUP_BYTES] =
          char(column[k] + INT8_OFFSET);
    store_as(end + c * 4, scales[c]);
  }
}

void multiply_int8_panel(const ByteRows& x, long rows, const char* panel, f32x16* out) {
  add_all_steps(x, rows, panel, out);
  const char* end = panel + x.steps_per_row * INT8_STEP_GROUPS * PANEL_ROW;
  f32x16 low = load_as<f32x16>(end), high = load_as<f32x16>(end + 64);
  for (long r = 0; r < rows; r++) {
    out[2 * r] *= low;
    out[2 * r + 1] *= high;
  }
}
