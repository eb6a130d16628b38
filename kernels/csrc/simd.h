// Vectors of sixteen lanes through the compiler's vector extension: one source for AVX-512, AVX2
// and plain machines, with intrinsics only where an instruction has no other spelling.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

constexpr int LANES = 16;

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef uint16_t u16x32 __attribute__((vector_size(64)));

// Vectors of a few lanes, for what would leave most of sixteen empty.
template <int N>
struct Narrow;
template <>
struct Narrow<4> {
  typedef float Floats __attribute__((vector_size(16)));
  typedef uint32_t Groups __attribute__((vector_size(16)));
};
template <>
struct Narrow<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef uint32_t Groups __attribute__((vector_size(32)));
};

struct bf16 {
  uint16_t bits;
};

template <class V>
INLINE V load_as(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));
  return v;
}

template <class V>
INLINE void store_as(void* p, V v) {
  std::memcpy(p, &v, sizeof(V));
}

INLINE f32x16 splat(float x) { return x - f32x16{}; }
INLINE u32x16 splat(uint32_t x) { return x - u32x16{}; }

INLINE float to_float(float x) { return x; }
INLINE float to_float(bf16 x) {
  uint32_t bits = uint32_t(x.bits) << 16;
  return load_as<float>(&bits);
}

INLINE void from_float(float x, float* out) { *out = x; }
INLINE void from_float(float x, bf16* out) {  // round to nearest, ties to even; NaN stays NaN
  uint32_t bits = load_as<uint32_t>(&x);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  out->bits = uint16_t(x == x ? rounded : (bits >> 16) | 0x40);
}

INLINE f32x16 load(const float* p) { return load_as<f32x16>(p); }
INLINE f32x16 load(const bf16* p) {
  return (f32x16)(__builtin_convertvector(load_as<u16x16>(p), u32x16) << 16);
}

INLINE void store(float* p, f32x16 v) { store_as(p, v); }
INLINE void store(bf16* p, f32x16 v) {
#if defined(__AVX512BF16__)
  store_as(p, _mm512_cvtneps_pbh((__m512)v));
#else
  u32x16 bits = (u32x16)v;
  u32x16 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  u32x16 is_number = (u32x16)(v == v);
  u32x16 kept = (rounded & is_number) | (((bits >> 16) | 0x40) & ~is_number);
  store_as(p, __builtin_convertvector(kept, u16x16));
#endif
}

// Bytes to lanes and back; the compiler on its own would go through scalars.
INLINE i32x16 widen(i8x16 bytes) {
#if defined(__AVX512F__)
  return (i32x16)_mm512_cvtepi8_epi32((__m128i)bytes);
#else
  return __builtin_convertvector(bytes, i32x16);
#endif
}
INLINE i8x16 narrow(i32x16 numbers) {
#if defined(__AVX512F__)
  return (i8x16)_mm512_cvtepi32_epi8((__m512i)numbers);
#else
  return __builtin_convertvector(numbers, i8x16);
#endif
}
INLINE i8x16 narrow(f32x16 whole_numbers) {
  return narrow(__builtin_convertvector(whole_numbers, i32x16));
}

// Lanes from n on are zero.
template <class T>
INLINE f32x16 load_part(const T* p, long n) {
  T padded[LANES] = {};
  std::memcpy(padded, p, n * sizeof(T));
  return load(padded);
}

template <class T>
INLINE void store_part(T* p, f32x16 v, long n) {
  T padded[LANES];
  store(padded, v);
  std::memcpy(p, padded, n * sizeof(T));
}

INLINE f32x16 max(f32x16 a, f32x16 b) {
#if defined(__AVX512F__)
  return (f32x16)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return a > b ? a : b;
#endif
}

// Bit i is set where lane i of a comparison's result is true.
INLINE uint32_t lane_bits(i32x16 truth) {
#if defined(__AVX512DQ__)
  return _mm512_movepi32_mask((__m512i)truth);
#else
  uint32_t bits = 0;
  for (int i = 0; i < LANES; i++) bits |= (uint32_t(truth[i]) >> 31) << i;
  return bits;
#endif
}

INLINE float sum(f32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);  // the same tree as below
#endif
  float lanes[LANES];
  store(lanes, v);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  return lanes[0];
}

INLINE float max(f32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#endif
  float lanes[LANES];
  store(lanes, v);
  for (int width = LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  return lanes[0];
}

// e^r for |r| <= ln 2 / 2, as a Taylor polynomial of degree six.
INLINE f32x16 exp_near_zero(f32x16 r) {
  f32x16 p = splat(1.0f / 720);
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}

// e^x to about two units in the last place: x = n ln 2 + r. What is below e^-87 may be given as 0,
// what is above e^88 as any number from there on.
INLINE f32x16 exp(f32x16 x) {
  const float log2_e = 1.44269504f, ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
#if defined(__AVX512F__)
  f32x16 held = max(x, splat(-110.0f));  // e^-110 is 0, and minus infinity would give no number
  f32x16 n = (f32x16)_mm512_roundscale_ps((__m512)(held * log2_e), _MM_FROUND_TO_NEAREST_INT);
  f32x16 r = held - n * ln2_high - n * ln2_low;
  return (f32x16)_mm512_scalef_ps((__m512)exp_near_zero(r), (__m512)n);
#else
  f32x16 held = x < 88.0f ? x : splat(88.0f);
  held = held > -87.0f ? held : splat(-87.0f);
  const f32x16 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  f32x16 n = held * log2_e + magic;
  i32x16 exponent = (i32x16)n - (i32x16)magic;
  n = n - magic;
  f32x16 r = held - n * ln2_high - n * ln2_low;
  f32x16 scaled = (f32x16)((i32x16)exp_near_zero(r) + (exponent << 23));
  return x > -87.0f ? scaled : f32x16{};
#endif
}

// The nearest whole number, of ties the even one, for |x| below 2^22.
INLINE f32x16 round_to_whole(f32x16 x) {
  const f32x16 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it leaves no room for a fraction
  return (x + magic) - magic;
}

INLINE f32x16 sigmoid(f32x16 x) { return 1.0f / (1.0f + exp(-x)); }

INLINE f32x16 silu(f32x16 x) { return x * sigmoid(x); }

INLINE f32x16 gelu_tanh(f32x16 x) {  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u)
  f32x16 u = 0.797884561f * (x + 0.044715f * x * x * x);
  return x * sigmoid(2.0f * u);
}
