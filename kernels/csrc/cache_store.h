// How heads are written to the KV cache and read from it, where it holds eight bits: the whole numbers
// of a head, and behind them their float scale (int8_cache.py).
#pragma once

#include "elementwise.h"

constexpr long SCALE_BYTES = 4;

template <class T>
INLINE void encode_head(const T* x, long head_dim, int8_t* out) {
  f32x16 largest{};
  for_lanes(head_dim, [&](long i, int n) {
    f32x16 v = load_lanes(x + i, n);
    largest = max(largest, max(v, -v));
  });
  float scale = max(largest) / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for_lanes(head_dim, [&](long i, int n) {
    f32x16 rounded = round_to_whole(load_lanes(x + i, n) * inverse);
    i8x16 bytes = narrow(rounded);
    std::memcpy(out + i, &bytes, n);
  });
  store_as(out + head_dim, scale);
}

INLINE void decode_head(const int8_t* row, long head_dim, bf16* out) {
  float scale = load_as<float>(row + head_dim);
  for_lanes(head_dim, [&](long i, int n) {
    i8x16 bytes{};
    std::memcpy(&bytes, row + i, n);
    store_lanes(out + i, widen(bytes) * scale, n);
  });
}

// Writes a token's heads [heads, head_dim] to its slot of a cache of any type.
template <class T>
INLINE void store_heads(const T* x, long heads, long head_dim, int cache_dtype, void* cache,
                        long slot) {
  if (cache_dtype == INT8) {
    long row = head_dim + SCALE_BYTES;
    int8_t* target = static_cast<int8_t*>(cache) + slot * heads * row;
    for (long h = 0; h < heads; h++) encode_head(x + h * head_dim, head_dim, target + h * row);
    return;
  }
  with_dtype(cache_dtype, [&](auto zero) {
    using Cached = decltype(zero);
    long width = heads * head_dim;
    convert_row(x, static_cast<Cached*>(cache) + slot * width, width);
  });
}
