// The ops that touch each element once: norms, rotary embedding, gated activations, KV store.

#include "elementwise.h"

#include "cache_store.h"
#include "export.h"
#include "team.h"

namespace {

constexpr long ROWS_TO_SHARE = 16;  // fewer rows are done sooner than another thread wakes

}  // namespace

EXPORT void rms_norm(int dtype, int weight_dtype, const void* x, long x_stride, const void* weight,
                     float eps, void* out, long rows, long width, int threads) {
  with_dtypes(dtype, weight_dtype, [&](auto zero, auto weight_zero) {
    using T = decltype(zero);
    using W = decltype(weight_zero);
    parallel_for(threads, rows, ROWS_TO_SHARE, [&](long begin, long end) {
      for (long r = begin; r < end; r++)
        norm_row((const T*)x + r * x_stride, (const W*)weight, eps, width, (T*)out + r * width);
    });
  });
}

EXPORT void add_rms_norm(int dtype, int weight_dtype, const void* x, long x_stride, void* residual,
                         long residual_stride, const void* weight, float eps, void* out, long rows,
                         long width, int threads) {
  with_dtypes(dtype, weight_dtype, [&](auto zero, auto weight_zero) {
    using T = decltype(zero);
    using W = decltype(weight_zero);
    parallel_for(threads, rows, ROWS_TO_SHARE, [&](long begin, long end) {
      for (long r = begin; r < end; r++) {
        T* sum_row = (T*)residual + r * residual_stride;
        add_row((const T*)x + r * x_stride, sum_row, width);
        norm_row(sum_row, (const W*)weight, eps, width, (T*)out + r * width);
      }
    });
  });
}

EXPORT void rotary(int dtype, void* x, long token_stride, long tokens, long heads, long head_dim,
                   const int64_t* positions, const float* cos_sin, long rot_dim, int threads) {
  with_dtype(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_for(threads, tokens, ROWS_TO_SHARE, [&](long begin, long end) {
      for (long t = begin; t < end; t++)
        for (long h = 0; h < heads; h++)
          rotate_head((T*)x + t * token_stride + h * head_dim, cos_sin + positions[t] * rot_dim,
                      rot_dim);
    });
  });
}

EXPORT void gated_activation(int dtype, int activation, const void* x, long x_stride, void* out,
                             long rows, long width, int threads) {
  with_dtype(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_for(threads, rows, ROWS_TO_SHARE, [&](long begin, long end) {
      for (long r = begin; r < end; r++) {
        const T* gate = (const T*)x + r * x_stride;
        gate_row(activation, gate, gate + width, width, (T*)out + r * width);
      }
    });
  });
}

EXPORT void store_kv(int dtype, int cache_dtype, const void* k, long k_stride, const void* v,
                     long v_stride, void* k_cache, void* v_cache, const int64_t* slots, long tokens,
                     long heads, long head_dim, int threads) {
  with_dtype(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_for(threads, tokens, 4 * ROWS_TO_SHARE, [&](long begin, long end) {
      for (long t = begin; t < end; t++) {
        store_heads((const T*)k + t * k_stride, heads, head_dim, cache_dtype, k_cache, slots[t]);
        store_heads((const T*)v + t * v_stride, heads, head_dim, cache_dtype, v_cache, slots[t]);
      }
    });
  });
}
