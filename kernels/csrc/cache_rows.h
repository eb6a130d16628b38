// Rows of the KV cache, gathered by slot and packed into the panels of panel.h.
#pragma once

#include <algorithm>

#include "panel.h"

INLINE u32x16 load_bytes(const char* p, long bytes) {
  u32x16 v{};
  std::memcpy(&v, p, bytes);
  return v;
}

// Transposes 16 vectors of 16 lanes: four rounds that interleave vector i with vector i + 8.
INLINE void transpose(u32x16 (&m)[LANES]) {
  const u32x16 low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  const u32x16 high = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
#pragma GCC unroll 4
  for (int round = 0; round < 4; round++) {
    u32x16 next[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
      next[2 * i] = __builtin_shuffle(m[i], m[i + 8], low);
      next[2 * i + 1] = __builtin_shuffle(m[i], m[i + 8], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) m[i] = next[i];
  }
}

// The rows of one KV head in the slots of some consecutive positions.
template <class Element>
struct CacheRows {
  const Element* cache;  // already at the head
  long slot_stride;
  const int32_t* slots;

  const Element* operator[](long i) const { return cache + slots[i] * slot_stride; }
};

// Slots of rows that lie in order.
template <int COUNT>
struct InOrder {
  int32_t slots[COUNT];
  constexpr InOrder() : slots() {
    for (int i = 0; i < COUNT; i++) slots[i] = i;
  }
};
template <int COUNT>
constexpr InOrder<COUNT> IN_ORDER;

// Reads a byte of every cache line of some rows, in the order of memory, and so brings them
// near: three times as fast as prefetching, or as reading one head's part of each row, because the
// hardware foresees what is read in order and nothing else.
template <class Element>
INLINE void touch_rows(const CacheRows<Element>& rows, long tokens, long width) {
  for (long i = 0; i < tokens; i++)
    for (long byte = 0; byte < width * long(sizeof(Element)); byte += 64) {
      char c = reinterpret_cast<const char*>(rows[i])[byte];
      asm volatile("" : : "r"(c));
    }
}

// Up to 32 keys become the columns of a panel along the head's channels; missing keys become 0.
template <class Kind>
void pack_keys(const CacheRows<typename Kind::Element>& rows, long keys, long head_dim, char* panel) {
  long row_bytes = head_dim * sizeof(typename Kind::Element);
  for (int half = 0; half < 2; half++, panel += 64) {
    const char* row[LANES];
    int present = int(std::max(0L, std::min<long>(LANES, keys - half * LANES)));
    for (int i = 0; i < present; i++) row[i] = reinterpret_cast<const char*>(rows[half * LANES + i]);
    for (long offset = 0; offset < row_bytes; offset += 64) {
      u32x16 block[LANES];
      if (present == LANES && row_bytes - offset >= 64)
        for (int i = 0; i < LANES; i++) block[i] = load_as<u32x16>(row[i] + offset);
      else
        for (int i = 0; i < LANES; i++)
          block[i] = i < present ? load_bytes(row[i] + offset, std::min(64L, row_bytes - offset))
                                 : u32x16{};
      transpose(block);
      long groups = std::min<long>(LANES, (row_bytes - offset + GROUP_BYTES - 1) / GROUP_BYTES);
      for (int g = 0; g < groups; g++)
        store_as(panel + (offset / GROUP_BYTES + g) * PANEL_ROW, block[g]);
    }
  }
}

// Channels [column, column + 32) of the values become a panel along the keys.
inline void pack_values(Float32Kind, const CacheRows<float>& rows, long keys, long column, long head_dim,
                 char* panel) {
  long bytes = std::min<long>(PANEL, head_dim - column) * sizeof(float);
  if (bytes < PANEL_ROW) std::memset(panel, 0, keys * PANEL_ROW);
  for (long i = 0; i < keys; i++) std::memcpy(panel + i * PANEL_ROW, rows[i] + column, bytes);
}

// Interleaves the first sixteen channels of two rows; 16 more, the others.
const u16x32 PAIRS_LOW = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                          8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};

INLINE u16x32 load_channels(const bf16* row, long channels) {
  u16x32 v{};
  std::memcpy(&v, row, channels * sizeof(bf16));
  return v;
}

inline void pack_values(BFloat16Kind, const CacheRows<bf16>& rows, long keys, long column, long head_dim,
                 char* panel) {
  bool whole = head_dim - column >= PANEL;
  long channels = whole ? PANEL : head_dim - column;
  for (long i = 0; i < keys; i += 2, panel += PANEL_ROW) {
    const bf16* row = rows[i] + column;
    u16x32 even = whole ? load_as<u16x32>(row) : load_channels(row, channels);
    u16x32 odd{};
    if (i + 1 < keys) {
      row = rows[i + 1] + column;
      odd = whole ? load_as<u16x32>(row) : load_channels(row, channels);
    }
    store_as(panel, __builtin_shuffle(even, odd, PAIRS_LOW));
    store_as(panel + 64, __builtin_shuffle(even, odd, PAIRS_LOW + 16));
  }
}
