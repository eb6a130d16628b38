// How heads are written to the KV cache and read from it, where it holds eight bits (cache_format.py).
#pragma once

#include "elementwise.h"

constexpr long SCALE_BYTES = 4;

constexpr bool has_eight_bits(int cache_dtype) { return cache_dtype == INT8 || cache_dtype == FLOAT8; }

// Bytes of a head in a cache of eight bits.
constexpr long head_bytes(int cache_dtype, long head_dim) {
  return cache_dtype == INT8 ? head_dim + SCALE_BYTES : head_dim;
}

// To e4m3 and back: the exponent's bias is 7 instead of 127, and the smallest exponent's numbers are
// steps of 2^-9. Rounded to nearest, ties to even; what is above 448 becomes 448, NaN stays NaN.
INLINE i32x16 to_float8(f32x16 x) {
  const u32x16 sign = (u32x16)x & 0x80000000u;
  f32x16 size = (f32x16)((u32x16)x ^ sign);
  size = size < 448.0f ? size : splat(448.0f);
  u32x16 bits = (u32x16)size;
  u32x16 normal = ((bits + 0x7ffff + ((bits >> 20) & 1)) >> 20) - (120 << 3);
  u32x16 steps = (u32x16)(size + 16384.0f) - (u32x16)splat(16384.0f);  // the sum's unit is 2^-9
  u32x16 code = size < 0.015625f ? steps : normal;
  return (i32x16)((x == x ? code : splat(0x7fu)) | (sign >> 24));
}

INLINE f32x16 from_float8(i8x16 bytes) {
  u32x16 wide = (u32x16)widen(bytes), sign = wide & 0x80000000u, code = wide & 0x7fu;
  f32x16 normal = (f32x16)((code << 20) + (120u << 23));
  f32x16 steps = (f32x16)((code << 20) + (121u << 23)) - 0.015625f;
  f32x16 size = code < 8u ? steps : normal;
  size = code == 0x7fu ? splat(std::numeric_limits<float>::quiet_NaN()) : size;
  return (f32x16)((u32x16)size | sign);
}

template <class Convert>
INLINE void decode_lanes(const int8_t* row, long head_dim, bf16* out, Convert convert) {
  for_lanes(head_dim, [&](long i, int n) {
    i8x16 bytes{};
    std::memcpy(&bytes, row + i, n);
    store_lanes(out + i, convert(bytes), n);
  });
}

template <class T>
INLINE void encode_int8(const T* x, long head_dim, int8_t* out) {
  f32x16 largest{};
  for_lanes(head_dim, [&](long i, int n) {
    f32x16 v = load_lanes(x + i, n);
    largest = max(largest, max(v, -v));
  });
  float scale = max(largest) / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for_lanes(head_dim, [&](long i, int n) {
    i8x16 bytes = narrow(round_to_whole(load_lanes(x + i, n) * inverse));
    std::memcpy(out + i, &bytes, n);
  });
  store_as(out + head_dim, scale);
}

template <class T>
INLINE void encode_head(int cache_dtype, const T* x, long head_dim, int8_t* out) {
  if (cache_dtype == INT8) return encode_int8(x, head_dim, out);
  for_lanes(head_dim, [&](long i, int n) {
    i8x16 bytes = narrow(to_float8(load_lanes(x + i, n)));
    std::memcpy(out + i, &bytes, n);
  });
}

INLINE void decode_head(int cache_dtype, const int8_t* row, long head_dim, bf16* out) {
  if (cache_dtype == INT8) {
    float scale = load_as<float>(row + head_dim);
    decode_lanes(row, head_dim, out, [&](i8x16 bytes) {
      return __builtin_convertvector(widen(bytes), f32x16) * scale;
    });
  } else {
    decode_lanes(row, head_dim, out, [](i8x16 bytes) { return from_float8(bytes); });
  }
}

// Writes a token's heads [heads, head_dim] to its slot of a cache of any type.
template <class T>
INLINE void store_heads(const T* x, long heads, long head_dim, int cache_dtype, void* cache,
                        long slot) {
  if (has_eight_bits(cache_dtype)) {
    long row = head_bytes(cache_dtype, head_dim);
    int8_t* target = static_cast<int8_t*>(cache) + slot * heads * row;
    for (long h = 0; h < heads; h++)
      encode_head(cache_dtype, x + h * head_dim, head_dim, target + h * row);
    return;
  }
  with_dtype(cache_dtype, [&](auto zero) {
    using Cached = decltype(zero);
    long width = heads * head_dim;
    convert_row(x, static_cast<Cached*>(cache) + slot * width, width);
  });
}
