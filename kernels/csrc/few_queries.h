// The two products of attention for a few queries, with keys and values where they lie in the cache:
// packing them, as cache_rows.h does, would cost more than multiplying. For the scores the queries
// are the lanes of a narrow vector and keys are broadcast; for the sums of values the lanes are channels.
// Every sum runs in the order of panel.h, so a result has the same bits with few queries or many.
#pragma once

#include "cache_rows.h"

#if defined(__AMX_BF16__)
constexpr long FEW_QUERIES = 0;  // the tiles' order of sums has its own way for few rows
#else
constexpr long FEW_QUERIES = 8;
#endif

constexpr int KEYS_AT_ONCE = 8;  // whose addresses fit into the registers

// Lanes for this many queries.
constexpr long few_lanes(long queries) { return queries <= 4 ? 4 : 8; }

// Queries [rows, groups] side by side: columns [groups][few_lanes(rows)], other lanes 0.
inline void set_columns(const uint32_t* queries, long rows, long groups, uint32_t* columns) {
  long lanes = few_lanes(rows);
  std::memset(columns, 0, groups * lanes * sizeof(uint32_t));
  for (long r = 0; r < rows; r++)
    for (long g = 0; g < groups; g++) columns[g * lanes + r] = queries[r * groups + g];
}

// products[key][0:WIDTH] = key . queries
template <class Kind, int WIDTH>
INLINE void score_keys(const uint32_t* columns, const uint32_t* const* keys, long groups,
                       float* products) {
  using Floats = typename Narrow<WIDTH>::Floats;
  using Groups = typename Narrow<WIDTH>::Groups;
  Floats acc[KEYS_AT_ONCE] = {};
  for (long g = 0; g < groups; g++) {
    auto queries = load_as<Groups>(columns + g * WIDTH);
#pragma GCC unroll 8
    for (int k = 0; k < KEYS_AT_ONCE; k++)
      acc[k] = Kind::mac(acc[k], queries, keys[k][g] - Groups{});
  }
#pragma GCC unroll 8
  for (int k = 0; k < KEYS_AT_ONCE; k++) store_as(products + k * WIDTH, acc[k]);
}

// From sixteen keys of WIDTH lanes to WIDTH rows of sixteen: each round sets what lies at even places
// before what lies at odd ones.
template <int WIDTH>
INLINE void turn(const float* products, f32x16 (&rows)[WIDTH]) {
  const u32x16 even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  for (int i = 0; i < WIDTH; i++) rows[i] = load(products + i * LANES);
#pragma GCC unroll 3
  for (int round = 1; round < WIDTH; round *= 2) {
    f32x16 next[WIDTH];
#pragma GCC unroll 4
    for (int i = 0; i < WIDTH / 2; i++) {
      next[i] = __builtin_shuffle(rows[2 * i], rows[2 * i + 1], even);
      next[i + WIDTH / 2] = __builtin_shuffle(rows[2 * i], rows[2 * i + 1], even + 1);
    }
#pragma GCC unroll 8
    for (int i = 0; i < WIDTH; i++) rows[i] = next[i];
  }
}

template <class Kind, int WIDTH>
void score_panel(const uint32_t* columns, long rows, const CacheRows<typename Kind::Element>& cache,
                 long keys, long groups, f32x16* scores) {
  for (long half = 0; half < 2; half++) {
    alignas(64) float products[LANES * WIDTH];
    f32x16 turned[WIDTH] = {};
    long begin = half * LANES, present = std::min<long>(LANES, keys - begin);
    for (long first = 0; first < present; first += KEYS_AT_ONCE) {
      const uint32_t* key[KEYS_AT_ONCE];
      for (long k = 0; k < KEYS_AT_ONCE; k++)  // what is missing is masked later
        key[k] = reinterpret_cast<const uint32_t*>(cache[begin + std::min(first + k, present - 1)]);
      score_keys<Kind, WIDTH>(columns, key, groups, products + first * WIDTH);
    }
    if (present > 0) {
      if (present <= KEYS_AT_ONCE)
        std::memset(products + KEYS_AT_ONCE * WIDTH, 0, sizeof(products) / 2);
      turn<WIDTH>(products, turned);
    }
    for (long r = 0; r < rows; r++) scores[2 * r + half] = turned[r];
  }
}

// scores[row][0:32] = query . key for up to 32 keys; those of missing keys are any numbers.
//   columns: of set_columns().  Rows of the cache must be whole groups.
template <class Kind>
void score_few(const uint32_t* columns, long rows, const CacheRows<typename Kind::Element>& cache,
               long keys, long groups, f32x16* scores) {
  if (few_lanes(rows) == 4)
    score_panel<Kind, 4>(columns, rows, cache, keys, groups, scores);
  else
    score_panel<Kind, 8>(columns, rows, cache, keys, groups, scores);
}

// 32 channels of the keys of one group, as a row of a panel.
struct ValueGroup {
  u32x16 low, high;
};

INLINE ValueGroup load_values(Float32Kind, const CacheRows<float>& cache, long key, long, long column,
                              long channels) {
  float padded[PANEL] = {};
  const float* row = cache[key] + column;
  if (channels < PANEL) row = static_cast<float*>(std::memcpy(padded, row, channels * sizeof(float)));
  return {load_as<u32x16>(row), load_as<u32x16>(row + LANES)};
}

INLINE ValueGroup load_values(BFloat16Kind, const CacheRows<bf16>& cache, long key, long keys,
                              long column, long channels) {
  auto load_row = [&](long i) {
    const bf16* row = cache[i] + column;
    return channels == PANEL ? load_as<u16x32>(row) : load_channels(row, channels);
  };
  u16x32 even = load_row(key), odd = key + 1 < keys ? load_row(key + 1) : u16x32{};
  return {(u32x16)__builtin_shuffle(even, odd, PAIRS_LOW),
          (u32x16)__builtin_shuffle(even, odd, PAIRS_LOW + 16)};
}

template <class Kind, int ROWS>
void mix_rows(const uint32_t* weights, long stride, const CacheRows<typename Kind::Element>& cache,
              long keys, long column, long channels, f32x16* out) {
  f32x16 acc[ROWS][2] = {};
  for (long key = 0; key < keys; key += Kind::PER_GROUP) {
    ValueGroup values = load_values(Kind{}, cache, key, keys, column, channels);
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; r++) {
      u32x16 weight = splat(weights[r * stride + key / Kind::PER_GROUP]);
      acc[r][0] = Kind::mac(acc[r][0], values.low, weight);
      acc[r][1] = Kind::mac(acc[r][1], values.high, weight);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; r++) {
    out[2 * r] = acc[r][0];
    out[2 * r + 1] = acc[r][1];
  }
}

// out[row][0:32] = the sum over keys of weight times value, of channels [column, column + 32).
//   weights: rows of groups of keys, `stride` groups apart; those of a missing last key must be 0.
template <class Kind>
void mix_few(const uint32_t* weights, long stride, long rows,
             const CacheRows<typename Kind::Element>& cache, long keys, long column, long head_dim,
             f32x16* out) {
  long channels = std::min<long>(PANEL, head_dim - column);
  for (; rows > 0; rows -= 4, weights += 4 * stride, out += 8) {
    auto mix = rows == 1   ? mix_rows<Kind, 1>
               : rows == 2 ? mix_rows<Kind, 2>
               : rows == 3 ? mix_rows<Kind, 3>
                           : mix_rows<Kind, 4>;
    mix(weights, stride, cache, keys, column, channels, out);
  }
}
