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

  long extend_len(long request) const { return query_start[request + 1] - query_start[request]; }
  long prefix_len(long request) const { return seq_lens[request] - extend_len(request); }
  const int32_t* slots(long request) const {
    return req_to_token + req_pool_indices[request] * max_context;
  }
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

// Consecutive new tokens of one request.
struct QueryRun {
  long request;
  long first;  // of the request's new tokens
  long tokens;
};

// Queries that attend to the same keys in one go, under some consecutive KV heads: a stretch of one
// request, or of several that share the slots of a prefix.
struct AttentionTile {
  std::vector<QueryRun> runs;
  long first_head;
  long num_heads;
  long first_split;
  long end_key;

  long tokens() const {
    long sum = 0;
    for (const auto& run : runs) sum += run.tokens;
    return sum;
  }
};

// How a batch is cut into tiles. The same for all layers.
//   Few tiles with long contexts leave threads idle: then the keys of each tile are shared out too.
//   Requests that share the slots of a prefix attend to it together (as in cascade inference, Ye et
//   al. 2024), so that its keys are read and packed once for all of them; each goes on from there.
class AttentionPlan {
 public:
  AttentionPlan(const AttentionBatch& batch, const AttentionLayer& layer, int threads);

  const AttentionBatch& batch() const { return batch_; }
  const std::vector<AttentionTile>& tiles() const { return tiles_; }
  const std::vector<AttentionTile>& shared_tiles() const { return shared_tiles_; }
  bool shares_keys() const { return splits_ > 1; }
  long splits() const { return splits_; }  // of the longest request, if keys are shared out

  // Floats of shared memory that attend() needs for unfinished results.
  size_t partial_floats(const AttentionLayer& layer) const;

 private:
  void add_tiles(long request, const AttentionLayer& layer, long heads, long first_split);
  void share_prefixes(const AttentionLayer& layer);
  void add_shared_tiles(const std::vector<long>& requests, long splits, const AttentionLayer& layer);

  AttentionBatch batch_;
  std::vector<AttentionTile> tiles_, shared_tiles_;
  long splits_ = 1;
};

// One layer's attention, by all threads of the team. T is the element type of q and out.
//   q: rows of num_heads * head_dim, q_stride elements apart.  out: the same, dense.
//   partials: plan.partial_floats(layer) floats, 64-byte aligned, shared by the team.
template <class T>
void attend(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
            long q_stride, T* out, float* partials);
