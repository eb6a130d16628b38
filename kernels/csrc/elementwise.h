// One row at a time: the bodies of the elementwise ops, shared with the fused decoder.
#pragma once

#include "export.h"
#include "simd.h"

enum Activation : int { SILU = 0, GELU_TANH = 1 };

// Calls body with a value of the element type that dtype names.
template <class Body>
INLINE void with_dtype(int dtype, Body body) {
  if (dtype == FLOAT32)
    body(float{});
  else
    body(bf16{});
}

template <class Body>
INLINE void with_dtypes(int first, int second, Body body) {
  with_dtype(first, [&](auto a) { with_dtype(second, [&](auto b) { body(a, b); }); });
}

// Calls body(i, lanes) over [0, width): whole vectors, then what is left.
template <class Body>
INLINE void for_lanes(long width, Body body) {
  long i = 0;
  for (; i + LANES <= width; i += LANES) body(i, LANES);
  if (i < width) body(i, int(width - i));
}

template <class T>
INLINE f32x16 load_lanes(const T* p, int lanes) {
  return lanes == LANES ? load(p) : load_part(p, lanes);
}

template <class T>
INLINE void store_lanes(T* p, f32x16 v, int lanes) {
  if (lanes == LANES)
    store(p, v);
  else
    store_part(p, v, lanes);
}

template <class T>
INLINE void add_row(const T* x, T* total, long width) {
  for_lanes(width, [&](long i, int n) {
    store_lanes(total + i, load_lanes(total + i, n) + load_lanes(x + i, n), n);
  });
}

// out = x / rms(x) * weight
template <class In, class Weight, class Out>
INLINE void norm_row(const In* x, const Weight* weight, float eps, long width, Out* out) {
  f32x16 squares{};
  for_lanes(width, [&](long i, int n) {
    f32x16 v = load_lanes(x + i, n);
    squares += v * v;
  });
  float inverse = 1.0f / std::sqrt(sum(squares) / float(width) + eps);
  for_lanes(width, [&](long i, int n) {
    store_lanes(out + i, load_lanes(x + i, n) * inverse * load_lanes(weight + i, n), n);
  });
}

// Turns channel i with channel i + rot_dim / 2 by the angle whose cosines and sines are given.
template <class T>
INLINE void rotate_head(T* head, const float* cos_sin, long rot_dim) {
  long half = rot_dim / 2;
  for_lanes(half, [&](long i, int n) {
    f32x16 cos = load_lanes(cos_sin + i, n), sin = load_lanes(cos_sin + half + i, n);
    f32x16 first = load_lanes(head + i, n), second = load_lanes(head + half + i, n);
    store_lanes(head + i, first * cos - second * sin, n);
    store_lanes(head + half + i, second * cos + first * sin, n);
  });
}

INLINE f32x16 gate_lanes(int activation, f32x16 gate, f32x16 up) {
  return (activation == SILU ? silu(gate) : gelu_tanh(gate)) * up;
}

template <class T>
INLINE void gate_row(int activation, const T* gate, const T* up, long width, T* out) {
  for_lanes(width, [&](long i, int n) {
    f32x16 result = gate_lanes(activation, load_lanes(gate + i, n), load_lanes(up + i, n));
    store_lanes(out + i, result, n);
  });
}

template <class From, class To>
INLINE void convert_row(const From* x, To* out, long width) {
  for_lanes(width, [&](long i, int n) { store_lanes(out + i, load_lanes(x + i, n), n); });
}
