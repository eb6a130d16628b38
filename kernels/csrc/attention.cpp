// Flash attention (Dao et al. 2022, algorithm 1) over gathered KV blocks, split along the keys as in
// Flash-Decoding. Keys and values are packed into panels so that the inner loops are those of panel.h.
// Blocks and splits lie at absolute positions and are merged in order, so a query's result depends
// neither on the batch it is in nor on how its prompt was cut into chunks.

#include "attention.h"

#include <algorithm>

#include "cache_rows.h"
#include "elementwise.h"
#include "scratch.h"

namespace {

constexpr long BLOCK = 128;     // keys whose scores are held at once
constexpr long SPLIT = 512;     // keys of one partial result
constexpr long TILE_QUERIES = 48;  // rows of a tile: tokens times query heads of a KV head

constexpr float MINUS_INFINITY = -std::numeric_limits<float>::infinity();

long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

// An unfinished softmax-weighted sum for each row: its largest score, the sum of its weights, and the
// weighted values.
struct Partial {
  float* data;
  long rows;
  long width;  // head_dim rounded up to whole panels

  static long floats(long rows, long width) { return round_up(rows * (width + 2), LANES); }

  float* values(long row) { return data + row * width; }
  float& largest(long row) { return data[rows * width + row]; }
  float& weight(long row) { return data[rows * (width + 1) + row]; }

  void clear() {
    std::fill(data, data + rows * (width + 1), 0.0f);
    std::fill(&largest(0), &largest(0) + rows, MINUS_INFINITY);
    std::fill(&weight(0), &weight(0) + rows, 0.0f);
  }
};

// What to multiply exponentials relative to `old_largest` by to make them relative to `largest`.
float rescale(float old_largest, float largest) {
  return old_largest == MINUS_INFINITY ? 0.0f : std::exp(old_largest - largest);
}

void merge(Partial& into, Partial& from) {
  for (long r = 0; r < into.rows; r++) {
    float largest = std::fmax(into.largest(r), from.largest(r));
    float keep = rescale(into.largest(r), largest), add = rescale(from.largest(r), largest);
    for (long i = 0; i < into.width; i += LANES) {
      float* values = into.values(r) + i;
      store(values, load(values) * keep + load(from.values(r) + i) * add);
    }
    into.weight(r) = into.weight(r) * keep + from.weight(r) * add;
    into.largest(r) = largest;
  }
}

// A tile of queries of one request under one KV head, and everything its inner loops need.
template <class Kind, class T>
class TileAttention {
  using Element = typename Kind::Element;

 public:
  TileAttention(const AttentionBatch& batch, const AttentionLayer& layer, const AttentionTile& tile)
      : layer_(layer), tile_(tile) {
    long extend_len = batch.query_start[tile.request + 1] - batch.query_start[tile.request];
    first_row_ = batch.query_start[tile.request] + tile.first;
    first_position_ = batch.seq_lens[tile.request] - extend_len + tile.first;
    slots_ = batch.req_to_token + batch.req_pool_indices[tile.request] * batch.max_context;
    rows_ = tile.tokens * layer.group();
    width_ = round_up(layer.head_dim, PANEL);
    groups_ = (layer.head_dim + Kind::PER_GROUP - 1) / Kind::PER_GROUP;
  }

  long rows() const { return rows_; }
  long width() const { return width_; }
  long end_key() const { return first_position_ + tile_.tokens; }
  long first_key() const {
    return layer_.window > 0 ? std::max(0L, first_position_ - layer_.window + 1) : 0;
  }
  long first_split() const { return first_key() / SPLIT; }
  long end_split() const { return (end_key() + SPLIT - 1) / SPLIT; }

  void load_queries(const T* q, long q_stride) {
    long padded = groups_ * Kind::PER_GROUP;
    queries_ = scratch<Element>(SCRATCH_QUERY, rows_ * padded);
    for (long t = 0; t < tile_.tokens; t++)
      for (long g = 0; g < layer_.group(); g++) {
        const T* source = q + (first_row_ + t) * q_stride + head(g) * layer_.head_dim;
        Element* target = queries_ + (t * layer_.group() + g) * padded;
        convert_row(source, target, layer_.head_dim);
        if (padded > layer_.head_dim) from_float(0.0f, target + layer_.head_dim);
      }
  }

  // The attention over the keys of one split.
  void run_split(long split, Partial& partial) {
    partial.clear();
    long begin = std::max(split * SPLIT, first_key() / BLOCK * BLOCK);
    long end = std::min((split + 1) * SPLIT, end_key());
    for (long block = begin; block < end; block += BLOCK)
      run_block(block, std::min(BLOCK, end - block), partial);
  }

  void write(Partial& partial, T* out) {
    for (long t = 0; t < tile_.tokens; t++)
      for (long g = 0; g < layer_.group(); g++) {
        long row = t * layer_.group() + g;
        T* target = out + ((first_row_ + t) * layer_.num_heads + head(g)) * layer_.head_dim;
        float inverse = 1.0f / partial.weight(row);
        for_lanes(layer_.head_dim, [&](long i, int n) {
          store_lanes(target + i, load(partial.values(row) + i) * inverse, n);
        });
      }
  }

 private:
  long head(long g) const { return tile_.kv_head * layer_.group() + g; }

  CacheRows<Element> cache_rows(const void* cache, long key) const {
    long stride = layer_.num_kv_heads * layer_.head_dim;
    auto at_head = static_cast<const Element*>(cache) + tile_.kv_head * layer_.head_dim;
    return {at_head, stride, slots_ + key};
  }

  void run_block(long block, long keys, Partial& partial) {
    score(block, keys);
    long panels = (keys + PANEL - 1) / PANEL;
    float* rescales = scratch<float>(SCRATCH_RESCALES, rows_);
    Element* probs = scratch<Element>(SCRATCH_PROBS, rows_ * BLOCK);
    for (long r = 0; r < rows_; r++)
      rescales[r] = softmax_row(r, block, panels, probs + r * BLOCK, partial);
    add_values(block, keys, probs, rescales, partial);
  }

  // scores_[panel][row][0:32] = q . k, for the panels of this block.
  void score(long block, long keys) {
    char* packed = scratch<char>(SCRATCH_KEYS, groups_ * PANEL_ROW);
    scores_ = scratch<f32x16>(SCRATCH_SCORES, BLOCK / LANES * rows_);
    auto queries = reinterpret_cast<const uint32_t*>(queries_);
    for (long first = 0; first < keys; first += PANEL) {
      prefetch(block + first);
      pack_keys<Kind>(cache_rows(layer_.k_cache, block + first), std::min<long>(PANEL, keys - first),
                      layer_.head_dim, packed);
      multiply_panel<Kind>(queries, groups_, rows_, packed, groups_,
                           scores_ + first / PANEL * rows_ * 2);
    }
  }

  // The values that belong to the panel of keys at hand, and the next panel of keys.
  void prefetch(long key) const {
    prefetch_rows(cache_rows(layer_.v_cache, key), end_key() - key, layer_.head_dim);
    prefetch_rows(cache_rows(layer_.k_cache, key + PANEL), end_key() - key - PANEL,
                  layer_.head_dim);
  }

  // Turns a row's scores into weights relative to its largest score so far, and returns what its
  // former sums must be multiplied by.
  float softmax_row(long row, long block, long panels, Element* probs, Partial& partial) {
    long position = first_position_ + row / layer_.group();
    long begin = layer_.window > 0 ? position - layer_.window + 1 - block : 0;
    long end = position + 1 - block;  // keys [begin, end) of the block are visible
    f32x16 largest = splat(MINUS_INFINITY);
    for (long i = 0; i < 2 * panels; i++) {
      f32x16& scores = scores_[(i / 2 * rows_ + row) * 2 + i % 2];
      scores = mask(adjust(scores), begin - i * LANES, end - i * LANES);
      largest = max(largest, scores);
    }
    float old_largest = partial.largest(row);
    float new_largest = std::fmax(old_largest, max(largest));
    float base = new_largest == MINUS_INFINITY ? 0.0f : new_largest;
    f32x16 weight{};
    for (long i = 0; i < 2 * panels; i++) {
      f32x16 weights = exp(scores_[(i / 2 * rows_ + row) * 2 + i % 2] - base);
      weight += weights;
      store(probs + i * LANES, weights);
    }
    float factor = rescale(old_largest, base);
    partial.largest(row) = new_largest;
    partial.weight(row) = partial.weight(row) * factor + sum(weight);
    return factor;
  }

  f32x16 adjust(f32x16 scores) const {
    scores *= layer_.scale;
    if (layer_.soft_cap == 0) return scores;
    f32x16 twice = scores * (2.0f / layer_.soft_cap);  // tanh(x) = 2 sigmoid(2 x) - 1
    return layer_.soft_cap * (2.0f * sigmoid(twice) - 1.0f);
  }

  static INLINE f32x16 mask(f32x16 scores, long begin, long end) {
    if (begin <= 0 && end >= LANES) return scores;
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int low = int(std::max(0L, std::min<long>(begin, LANES)));
    int high = int(std::max(0L, std::min<long>(end, LANES)));
    return lane >= low && lane < high ? scores : splat(MINUS_INFINITY);
  }

  void add_values(long block, long keys, const Element* probs, const float* rescales,
                  Partial& partial) {
    long used_groups = (keys + Kind::PER_GROUP - 1) / Kind::PER_GROUP;
    long key_groups = round_up(used_groups, Kind::STEP);  // whatever later keys the block will have
    char* packed = scratch<char>(SCRATCH_VALUES, BLOCK * PANEL_ROW);
    f32x16* sums = scratch<f32x16>(SCRATCH_SUMS, rows_ * 2);
    auto weights = reinterpret_cast<const uint32_t*>(probs);
    for (long column = 0; column < width_; column += PANEL) {
      pack_values(Kind{}, cache_rows(layer_.v_cache, block), keys, column, layer_.head_dim, packed);
      std::memset(packed + used_groups * PANEL_ROW, 0, (key_groups - used_groups) * PANEL_ROW);
      multiply_panel<Kind>(weights, BLOCK / Kind::PER_GROUP, rows_, packed, key_groups, sums);
      for (long r = 0; r < rows_; r++)
        for (int half = 0; half < 2; half++) {
          float* values = partial.values(r) + column + half * LANES;
          store(values, load(values) * rescales[r] + sums[2 * r + half]);
        }
    }
  }

  const AttentionLayer& layer_;
  const AttentionTile& tile_;
  const int32_t* slots_;
  long first_row_, first_position_, rows_, width_, groups_;
  Element* queries_ = nullptr;
  f32x16* scores_ = nullptr;
};

long tile_tokens(const AttentionLayer& layer) {
  return std::max(1L, TILE_QUERIES / layer.group());
}

long partial_stride(const AttentionLayer& layer) {
  return Partial::floats(tile_tokens(layer) * layer.group(), round_up(layer.head_dim, PANEL));
}

template <class Kind, class T>
void run_tile(const AttentionBatch& batch, const AttentionLayer& layer,
              const AttentionTile& description, const T* q, long q_stride, T* out) {
  TileAttention<Kind, T> tile(batch, layer, description);
  tile.load_queries(q, q_stride);
  long stride = partial_stride(layer);
  float* memory = scratch<float>(SCRATCH_SPLITS, 2 * stride);
  Partial total{memory, tile.rows(), tile.width()};
  Partial next{memory + stride, tile.rows(), tile.width()};
  tile.run_split(tile.first_split(), total);
  for (long split = tile.first_split() + 1; split < tile.end_split(); split++) {
    tile.run_split(split, next);
    merge(total, next);
  }
  tile.write(total, out);
}

template <class Kind, class T>
void attend_kind(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
                 long q_stride, T* out, float* partials) {
  const auto& tiles = plan.tiles();
  if (!plan.shares_keys()) {
    team.share(long(tiles.size()), 1, [&](long i, long) {
      run_tile<Kind>(plan.batch(), layer, tiles[i], q, q_stride, out);
    });
    return;
  }

  long stride = partial_stride(layer);
  auto partial_at = [&](const TileAttention<Kind, T>& tile, long i, long split) {
    return Partial{partials + (i * plan.splits() + split) * stride, tile.rows(), tile.width()};
  };
  team.share(long(tiles.size()) * plan.splits(), 1, [&](long unit, long) {
    long i = unit / plan.splits(), split = unit % plan.splits();
    TileAttention<Kind, T> tile(plan.batch(), layer, tiles[i]);
    if (split < tile.first_split() || split >= tile.end_split()) return;
    tile.load_queries(q, q_stride);
    Partial partial = partial_at(tile, i, split);
    tile.run_split(split, partial);
  });
  team.share(long(tiles.size()), 1, [&](long i, long) {
    TileAttention<Kind, T> tile(plan.batch(), layer, tiles[i]);
    Partial total = partial_at(tile, i, tile.first_split());
    for (long split = tile.first_split() + 1; split < tile.end_split(); split++) {
      Partial next = partial_at(tile, i, split);
      merge(total, next);
    }
    tile.write(total, out);
  });
}

}  // namespace

AttentionPlan::AttentionPlan(const AttentionBatch& batch, const AttentionLayer& layer, int threads)
    : batch_(batch) {
  long longest = 0;
  for (long b = 0; b < batch.num_requests; b++) {
    longest = std::max<long>(longest, batch.seq_lens[b]);
    long extend_len = batch.query_start[b + 1] - batch.query_start[b];
    for (long first = 0; first < extend_len; first += tile_tokens(layer))
      for (long head = 0; head < layer.num_kv_heads; head++)
        tiles_.push_back({b, head, first, std::min(tile_tokens(layer), extend_len - first)});
  }
  if (threads > 1 && long(tiles_.size()) < 4 * threads) splits_ = (longest + SPLIT - 1) / SPLIT;
}

size_t AttentionPlan::partial_floats(const AttentionLayer& layer) const {
  return shares_keys() ? tiles_.size() * splits_ * partial_stride(layer) : 0;
}

template <class T>
void attend(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
            long q_stride, T* out, float* partials) {
  if (layer.cache_dtype == FLOAT32)
    attend_kind<Float32Kind>(team, plan, layer, q, q_stride, out, partials);
  else
    attend_kind<BFloat16Kind>(team, plan, layer, q, q_stride, out, partials);
}

template void attend<float>(Team&, const AttentionPlan&, const AttentionLayer&, const float*, long,
                            float*, float*);
template void attend<bf16>(Team&, const AttentionPlan&, const AttentionLayer&, const bf16*, long,
                           bf16*, float*);

EXPORT void paged_attention(const AttentionBatch* batch, const AttentionLayer* layer, int q_dtype,
                            const void* q, long q_stride, void* out, int threads) {
  AttentionPlan plan(*batch, *layer, threads);
  float* partials = scratch<float>(SCRATCH_SHARED_PARTIALS, plan.partial_floats(*layer));
  with_dtype(q_dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel(threads, [&](Team& team) {
      attend(team, plan, *layer, static_cast<const T*>(q), q_stride, static_cast<T*>(out), partials);
    });
  });
}
