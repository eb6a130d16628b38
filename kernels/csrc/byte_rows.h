// Rows quantised as they come to whole numbers of one or two signed bytes, with a scale for each step of
// some channels (one for a whole row would be set by its few outliers), and the products of such bytes
// with unsigned ones. The sums over a step are whole numbers, so that all levels of instructions agree.
//
// Of two bytes the second is an exact bfloat16's worth: rows are as good as they were. One byte alone is
// off by half a hundredth of a step's largest value.
#pragma once

#include "elementwise.h"

// How a layer takes its rows. step 0: as they are.
struct RowFormat {
  long step = 0;  // channels with one scale
  int bytes = 1;  // of a value
};

// What the bytes of a step of a row stand for.
struct RowStep {
  float scale;
  int32_t sum;  // of the whole numbers
  float total;  // of what they stand for: scale * sum
};

// Quantised rows, each of whole steps. Each step has its values' (high) bytes, then their low ones.
struct ByteRows {
  const int8_t* values;
  const RowStep* steps;
  long steps_per_row;

  ByteRows from(long row, long step_bytes) const {
    return {values + row * steps_per_row * step_bytes, steps + row * steps_per_row, steps_per_row};
  }
};

constexpr int HIGH_BYTE = 256;

// Quantises a row x [width] to whole steps of STEP channels; those beyond the row are 0.
template <int STEP, int BYTES, class T>
void quantize_row(const T* x, long width, int8_t* out, RowStep* steps) {
  constexpr int VECTORS = STEP / LANES;
  constexpr float LARGEST = BYTES == 1 ? 127.0f : 127.0f * HIGH_BYTE;
  for (long begin = 0; begin < width; begin += STEP, x += STEP, out += STEP * BYTES) {
    f32x16 v[VECTORS], largest{};
    for (int i = 0; i < VECTORS; i++) {
      long left = width - begin - i * LANES;
      v[i] = left >= LANES ? load(x + i * LANES) : left > 0 ? load_part(x + i * LANES, left) : f32x16{};
      largest = max(largest, max(v[i], -v[i]));
    }
    float scale = max(largest) / LARGEST, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    f32x16 total{};
    for (int i = 0; i < VECTORS; i++) {
      f32x16 rounded = round_to_whole(v[i] * inverse);
      total += rounded;
      i32x16 whole = __builtin_convertvector(rounded, i32x16);
      if constexpr (BYTES == 2) {
        i32x16 high = (whole + HIGH_BYTE / 2) >> 8;
        store_as(out + STEP + i * LANES, narrow(whole - high * HIGH_BYTE));
        whole = high;
      }
      store_as(out + i * LANES, narrow(whole));
    }
    int32_t whole_sum = int32_t(sum(total));
    *steps++ = {scale, whole_sum, scale * float(whole_sum)};
  }
}

#if defined(__AVX2__)
// The same on half a vector; without VNNI, pairs of products must fit into 16 bits.
template <int BITS>
INLINE __m256i add_products(__m256i acc, __m256i w, __m256i x) {
  auto add = [&](__m256i bytes, int16_t factor) {
    __m256i pairs = _mm256_maddubs_epi16(bytes, x);
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(factor)));
  };
  if constexpr (BITS < 8) {
    add(w, 1);
  } else {
    const __m256i low = _mm256_set1_epi8(0xf);
    add(_mm256_and_si256(w, low), 1);
    add(_mm256_and_si256(_mm256_srli_epi16(w, 4), low), 16);
  }
  return acc;
}
#endif

// acc += four unsigned bytes of w, below 2^BITS, times four signed ones of x
template <int BITS>
INLINE i32x16 add_products(i32x16 acc, u32x16 w, u32x16 x) {
#if defined(__AVX512VNNI__)
  return (i32x16)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, (__m512i)x);
#elif defined(__AVX2__)
  struct Halves {
    __m256i low, high;
  };
  auto a = load_as<Halves>(&acc), b = load_as<Halves>(&w), c = load_as<Halves>(&x);
  Halves sums = {add_products<BITS>(a.low, b.low, c.low), add_products<BITS>(a.high, b.high, c.high)};
  return load_as<i32x16>(&sums);
#else
  for (int byte = 0; byte < 4; byte++) {
    i32x16 factor = (i32x16)(x << (8 * (3 - byte))) >> 24;
    acc += (i32x16)((w >> (8 * byte)) & 0xff) * factor;
  }
  return acc;
#endif
}
