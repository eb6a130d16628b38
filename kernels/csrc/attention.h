// Causal attention over a paged KV cache for batches that mix decoding and extending requests.
#pragma once

#include <vector>

#include "export.h"
#include "simd.h"
#include "team.h"

// The requests of a step; pointers as documented in ops/paged_attention.py.
struct AttentionBatch {
  const int32_t* req_to_token;
  long max_context;
  const int32_t* req_pool_indices;
  const int32_t* seq_lens;
  const int32_t* query_start;
  long num_requests;
};

// One layer's heads and cache.
struct AttentionLayer {
  int cache_dtype;
  const void* k_cache;  // [slots, num_kv_heads, head_dim]
  const void* v_cache;
  long num_heads;
  long num_kv_heads;
  long head_dim;
  float scale;
  long window;     // 0: none
  float soft_cap;  // 0: none

  long group() const { return num_heads / num_kv_heads; }
};

// Some consecutive queries of one request under one KV head.
struct AttentionTile {
  long request;
  long kv_head;
  long first;  // of the request's new tokens
  long tokens;
};

// How a batch is cut into tiles, and whether the keys of each tile are shared out too, which pays
// when a few requests with long contexts leave threads without a tile. The same for all layers.
class AttentionPlan {
 public:
  AttentionPlan(const AttentionBatch& batch, const AttentionLayer& layer, int threads);

  const AttentionBatch& batch() const { return batch_; }
  const std::vector<AttentionTile>& tiles() const { return tiles_; }
  bool shares_keys() const { return splits_ > 1; }
  long splits() const { return splits_; }  // of the longest request, if keys are shared out

  // Floats of shared memory that attend() needs for its partial results.
  size_t partial_floats(const AttentionLayer& layer) const;

 private:
  AttentionBatch batch_;
  std::vector<AttentionTile> tiles_;
  long splits_ = 1;
};

// One layer's attention, by all threads of the team. T is the element type of q and out.
//   q: rows of num_heads * head_dim, q_stride elements apart.  out: the same, dense.
//   partials: plan.partial_floats(layer) floats, 64-byte aligned, shared by the team.
template <class T>
void attend(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
            long q_stride, T* out, float* partials);
