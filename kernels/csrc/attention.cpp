// Flash attention (Dao et al. 2022, algorithm 1) over gathered KV blocks, split along the keys as in
// Flash-Decoding. Keys and values are packed into panels so that the inner loops are those of panel.h.
// Blocks and splits lie at absolute positions and are merged in order, so a query's result depends
// neither on the batch it is in nor on how its prompt was cut into chunks.

#include "attention.h"

#include <algorithm>

#include "cache_rows.h"
#include "cache_store.h"
#include "elementwise.h"
#include "few_queries.h"
#include "scratch.h"

namespace {

constexpr long BLOCK = 128;     // keys whose scores are held at once
constexpr long SPLIT = 256;     // keys of one partial result
constexpr long TILE_QUERIES = 48;  // rows of a tile: tokens times query heads of a KV head
constexpr long TILE_HEAD_ROWS = 64;  // rows of a tile under all its KV heads, if it has several

constexpr float MINUS_INFINITY = -std::numeric_limits<float>::infinity();

long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

// An unfinished softmax-weighted sum for each row: the weighted values, and behind them the largest
// score and the sum of the weights.
struct Partial {
  float* data;
  long rows;
  long width;  // head_dim rounded up to whole panels

  static long row_floats(long width) { return width + LANES; }

  float* row(long i) const { return data + i * row_floats(width); }
  float* values(long i) const { return row(i); }
  float& largest(long i) const { return row(i)[width]; }
  float& weight(long i) const { return row(i)[width + 1]; }

  void clear() const {
    std::fill(data, row(rows), 0.0f);
    for (long i = 0; i < rows; i++) largest(i) = MINUS_INFINITY;
  }
};

// What to multiply exponentials relative to `old_largest` by to make them relative to `largest`.
float rescale(float old_largest, float largest) {
  return old_largest == MINUS_INFINITY ? 0.0f : std::exp(old_largest - largest);
}

void merge(const Partial& into, const Partial& from) {
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

// The queries of a tile, and everything its inner loops need.
template <class Kind, class T>
class TileAttention {
  using Element = typename Kind::Element;

 public:
  TileAttention(const AttentionBatch& batch, const AttentionLayer& layer, const AttentionTile& tile)
      : layer_(layer), tile_(tile), slots_(batch.slots(tile.runs[0].request)) {
    tokens_ = scratch<Token>(SCRATCH_TOKENS, tile.tokens());
    Token* next = tokens_;
    for (const auto& run : tile.runs)
      for (long t = run.first; t < run.first + run.tokens; t++)
        *next++ = {batch.query_start[run.request] + t, batch.prefix_len(run.request) + t};
    num_tokens_ = next - tokens_;
    rows_ = num_tokens_ * layer.group();
    width_ = round_up(layer.head_dim, PANEL);
    groups_ = (layer.head_dim + Kind::PER_GROUP - 1) / Kind::PER_GROUP;
    few_ = rows_ <= FEW_QUERIES && layer.head_dim % Kind::PER_GROUP == 0;
  }

  long first_split() const { return std::max(tile_.first_split, first_key() / SPLIT); }
  long end_split() const { return (tile_.end_key + SPLIT - 1) / SPLIT; }

  // The unfinished sums of one of the tile's heads, where `data` holds those of all of them.
  Partial partial(float* data, long head) const {
    return {data + head * rows_ * Partial::row_floats(width_), rows_, width_};
  }
  Partial partials(float* data) const { return {data, rows_ * tile_.num_heads, width_}; }
  long partial_floats() const { return rows_ * tile_.num_heads * Partial::row_floats(width_); }

  void load_queries(const T* q, long q_stride) {
    long padded = groups_ * Kind::PER_GROUP;
    queries_ = scratch<Element>(SCRATCH_QUERY, rows_ * tile_.num_heads * padded);
    Element* target = queries_;
    for (long h = 0; h < tile_.num_heads; h++)
      for (long r = 0; r < rows_; r++, target += padded) {
        convert_row(q + token(r).row * q_stride + head(h, r) * layer_.head_dim, target,
                    layer_.head_dim);
        if (padded > layer_.head_dim) from_float(0.0f, target + layer_.head_dim);
      }
    if (!few_) return;
    columns_ = scratch<uint32_t>(SCRATCH_COLUMNS, tile_.num_heads * groups_ * few_lanes(rows_));
    for (long h = 0; h < tile_.num_heads; h++)
      set_columns(queries(h), rows_, groups_, columns_ + h * groups_ * few_lanes(rows_));
  }

  // The attention over the keys of one split.
  void run_split(long split, float* data) {
    partials(data).clear();
    long begin = std::max(split * SPLIT, first_key() / BLOCK * BLOCK);
    long end = std::min((split + 1) * SPLIT, tile_.end_key);
    for (long block = begin; block < end; block += BLOCK)
      run_block(block, std::min(BLOCK, end - block), data);
  }

  // Where the unfinished sums of a row are kept between a shared prefix and what follows it.
  float* kept(float* data, long total_tokens, long h, long row) const {
    long token_row = ((tile_.first_head + h) * total_tokens + token(row).row) * layer_.group();
    return data + (token_row + row % layer_.group()) * Partial::row_floats(width_);
  }

  void write(float* data, T* out) const {
    for (long h = 0; h < tile_.num_heads; h++) {
      Partial sums = partial(data, h);
      for (long r = 0; r < rows_; r++) {
        T* target = out + (token(r).row * layer_.num_heads + head(h, r)) * layer_.head_dim;
        float inverse = 1.0f / sums.weight(r);
        for_lanes(layer_.head_dim, [&](long i, int n) {
          store_lanes(target + i, load(sums.values(r) + i) * inverse, n);
        });
      }
    }
  }

  long rows() const { return rows_; }
  long num_heads() const { return tile_.num_heads; }
  size_t row_bytes() const { return Partial::row_floats(width_) * sizeof(float); }

 private:
  struct Token {
    long row;  // of the step
    long position;
  };

  const Token& token(long row) const { return tokens_[row / layer_.group()]; }
  long head(long h, long row) const {
    return (tile_.first_head + h) * layer_.group() + row % layer_.group();
  }
  long first_key() const {
    if (layer_.window == 0) return 0;
    long first = tokens_[0].position;
    for (long t = 1; t < num_tokens_; t++) first = std::min(first, tokens_[t].position);
    return std::max(0L, first - layer_.window + 1);
  }

  // The rows of a block of keys, under the tile's first head; those of a cache of eight bits are decoded.
  CacheRows<Element> open_block(const void* cache, long block, long keys, ScratchUse use) const {
    long head_dim = layer_.head_dim, first_head = tile_.first_head;
    const int32_t* slots = slots_ + block;
    if (!has_eight_bits(layer_.cache_dtype)) {
      auto at_head = static_cast<const Element*>(cache) + first_head * head_dim;
      return {at_head, layer_.num_kv_heads * head_dim, slots};
    }
    bf16* decoded = scratch<bf16>(use, BLOCK * tile_.num_heads * head_dim);
    long row = head_bytes(layer_.cache_dtype, head_dim);
    for (long i = 0; i < keys; i++) {
      auto source = static_cast<const int8_t*>(cache) +
                    (slots[i] * layer_.num_kv_heads + first_head) * row;
      for (long h = 0; h < tile_.num_heads; h++)
        decode_head(layer_.cache_dtype, source + h * row, head_dim,
                    decoded + (i * tile_.num_heads + h) * head_dim);
    }
    return {reinterpret_cast<const Element*>(decoded), tile_.num_heads * head_dim, IN_ORDER<BLOCK>.slots};
  }

  // One head's part of a block's rows, from one of its keys on.
  CacheRows<Element> rows_of(const CacheRows<Element>& block, long h, long key) const {
    return {block.cache + h * layer_.head_dim, block.slot_stride, block.slots + key};
  }

  const uint32_t* queries(long h) const {
    return reinterpret_cast<const uint32_t*>(queries_) + h * rows_ * groups_;
  }
  f32x16* scores(long h) { return scores_ + h * (BLOCK / LANES) * rows_; }

  void run_block(long block, long keys, float* data) {
    keys_ = open_block(layer_.k_cache, block, keys, SCRATCH_KEY_BLOCK);
    values_ = open_block(layer_.v_cache, block, keys, SCRATCH_VALUE_BLOCK);
    score(keys);
    long panels = (keys + PANEL - 1) / PANEL;
    float* rescales = scratch<float>(SCRATCH_RESCALES, rows_);
    Element* probs = scratch<Element>(SCRATCH_PROBS, rows_ * BLOCK);
    for (long h = 0; h < tile_.num_heads; h++) {
      Partial sums = partial(data, h);
      for (long r = 0; r < rows_; r++)
        rescales[r] = softmax_row(scores(h), r, block, panels, probs + r * BLOCK, sums);
      add_values(h, keys, probs, rescales, sums);
    }
  }

  // scores(h)[panel][row][0:32] = q . k, for the panels of this block.
  void score(long keys) {
    char* packed = scratch<char>(SCRATCH_KEYS, groups_ * PANEL_ROW);
    scores_ = scratch<f32x16>(SCRATCH_SCORES, tile_.num_heads * (BLOCK / LANES) * rows_);
    touch(keys);
    for (long first = 0; first < keys; first += PANEL) {
      long present = std::min<long>(PANEL, keys - first);
      for (long h = 0; h < tile_.num_heads; h++) {
        auto rows = rows_of(keys_, h, first);
        f32x16* out = scores(h) + first / PANEL * rows_ * 2;
        if (few_) {
          auto columns = columns_ + h * groups_ * few_lanes(rows_);
          score_few<Kind>(columns, rows_, rows, present, groups_, out);
        } else {
          pack_keys<Kind>(rows, present, layer_.head_dim, packed);
          multiply_panel<Kind>(queries(h), groups_, rows_, packed, groups_, out);
        }
      }
    }
  }

  // Brings the block's keys near, and its values: the longer the run, the better it is foreseen.
  void touch(long keys) const {
    if (has_eight_bits(layer_.cache_dtype)) return;  // decoding has read them
    long width = tile_.num_heads * layer_.head_dim;
    touch_rows(rows_of(keys_, 0, 0), keys, width);
    touch_rows(rows_of(values_, 0, 0), keys, width);
  }

  // Turns a row's scores into weights relative to its largest score so far, and returns what its
  // former sums must be multiplied by.
  float softmax_row(f32x16* scores_of_head, long row, long block, long panels, Element* probs,
                    const Partial& partial) {
    long position = token(row).position;
    long begin = layer_.window > 0 ? position - layer_.window + 1 - block : 0;
    long end = position + 1 - block;  // keys [begin, end) of the block are visible
    f32x16 largest = splat(MINUS_INFINITY);
    for (long i = 0; i < 2 * panels; i++) {
      f32x16& scores = scores_of_head[(i / 2 * rows_ + row) * 2 + i % 2];
      scores = mask(adjust(scores), begin - i * LANES, end - i * LANES);
      largest = max(largest, scores);
    }
    float old_largest = partial.largest(row);
    float new_largest = std::fmax(old_largest, max(largest));
    float base = new_largest == MINUS_INFINITY ? 0.0f : new_largest;
    f32x16 weight{};
    for (long i = 0; i < 2 * panels; i++) {
      f32x16 weights = exp(scores_of_head[(i / 2 * rows_ + row) * 2 + i % 2] - base);
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

  void add_values(long h, long keys, const Element* probs, const float* rescales,
                  const Partial& partial) {
    long used_groups = (keys + Kind::PER_GROUP - 1) / Kind::PER_GROUP;
    long key_groups = round_up(used_groups, Kind::STEP);  // whatever later keys the block will have
    char* packed = scratch<char>(SCRATCH_VALUES, BLOCK * PANEL_ROW);
    f32x16* sums = scratch<f32x16>(SCRATCH_SUMS, rows_ * 2);
    auto weights = reinterpret_cast<const uint32_t*>(probs);
    for (long column = 0; column < width_; column += PANEL) {
      auto rows = rows_of(values_, h, 0);
      if (few_) {
        mix_few<Kind>(weights, BLOCK / Kind::PER_GROUP, rows_, rows, keys, column, layer_.head_dim,
                      sums);
      } else {
        pack_values(Kind{}, rows, keys, column, layer_.head_dim, packed);
        std::memset(packed + used_groups * PANEL_ROW, 0, (key_groups - used_groups) * PANEL_ROW);
        multiply_panel<Kind>(weights, BLOCK / Kind::PER_GROUP, rows_, packed, key_groups, sums);
      }
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
  Token* tokens_;
  long num_tokens_, rows_, width_, groups_;
  bool few_;
  Element* queries_ = nullptr;
  uint32_t* columns_ = nullptr;  // the queries again, where they are few
  f32x16* scores_ = nullptr;
  CacheRows<Element> keys_{}, values_{};  // of the block at hand
};

long tile_tokens(const AttentionLayer& layer) {
  return std::max(1L, TILE_QUERIES / layer.group());
}

// Under how many KV heads a tile is worked on at once: more where it has few rows, since the heads of
// a key lie side by side in memory.
long tile_heads(const AttentionLayer& layer, long tokens) {
  return std::clamp(TILE_HEAD_ROWS / (tokens * layer.group()), 1L, layer.num_kv_heads);
}

long partial_row_floats(const AttentionLayer& layer) {
  return Partial::row_floats(round_up(layer.head_dim, PANEL));
}

long partial_stride(const AttentionLayer& layer) {
  return tile_tokens(layer) * layer.group() * partial_row_floats(layer);
}

// Merges the splits of a tile from `split` on into `total`, in order.
template <class Kind, class T>
void add_splits(TileAttention<Kind, T>& tile, long split, float* total) {
  float* next = scratch<float>(SCRATCH_SPLIT, tile.partial_floats());
  for (; split < tile.end_split(); split++) {
    tile.run_split(split, next);
    merge(tile.partials(total), tile.partials(next));
  }
}

// The prefix that several requests share; their unfinished sums go to `kept`.
template <class Kind, class T>
void run_shared_tile(const AttentionPlan& plan, const AttentionLayer& layer,
                     const AttentionTile& description, const T* q, long q_stride, float* kept) {
  const AttentionBatch& batch = plan.batch();
  TileAttention<Kind, T> tile(batch, layer, description);
  tile.load_queries(q, q_stride);
  float* total = scratch<float>(SCRATCH_TOTAL, tile.partial_floats());
  tile.partials(total).clear();
  add_splits(tile, tile.first_split(), total);
  for (long h = 0; h < tile.num_heads(); h++)
    for (long r = 0; r < tile.rows(); r++)
      std::memcpy(tile.kept(kept, batch.query_start[batch.num_requests], h, r),
                  tile.partial(total, h).row(r), tile.row_bytes());
}

template <class Kind, class T>
void run_tile(const AttentionPlan& plan, const AttentionLayer& layer,
              const AttentionTile& description, const T* q, long q_stride, T* out, float* kept) {
  const AttentionBatch& batch = plan.batch();
  TileAttention<Kind, T> tile(batch, layer, description);
  tile.load_queries(q, q_stride);
  float* total = scratch<float>(SCRATCH_TOTAL, tile.partial_floats());
  tile.partials(total).clear();
  if (description.first_split > 0)
    for (long h = 0; h < tile.num_heads(); h++)
      for (long r = 0; r < tile.rows(); r++)
        std::memcpy(tile.partial(total, h).row(r),
                    tile.kept(kept, batch.query_start[batch.num_requests], h, r), tile.row_bytes());
  add_splits(tile, tile.first_split(), total);
  tile.write(total, out);
}

// Few tiles: their splits are shared out, and merged afterwards.
template <class Kind, class T>
void run_splits(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
                long q_stride, T* out, float* partials) {
  const auto& tiles = plan.tiles();
  long stride = partial_stride(layer);
  auto partial_of = [&](long tile, long split) {
    return partials + (tile * plan.splits() + split) * stride;
  };
  team.share(long(tiles.size()) * plan.splits(), 1, [&](long unit, long) {
    long i = unit / plan.splits(), split = unit % plan.splits();
    TileAttention<Kind, T> tile(plan.batch(), layer, tiles[i]);
    if (split < tile.first_split() || split >= tile.end_split()) return;
    tile.load_queries(q, q_stride);
    tile.run_split(split, partial_of(i, split));
  });
  team.share(long(tiles.size()), 1, [&](long i, long) {
    TileAttention<Kind, T> tile(plan.batch(), layer, tiles[i]);
    float* total = scratch<float>(SCRATCH_TOTAL, tile.partial_floats());
    tile.partials(total).clear();
    for (long split = tile.first_split(); split < tile.end_split(); split++)
      merge(tile.partials(total), tile.partials(partial_of(i, split)));
    tile.write(total, out);
  });
}

template <class Kind, class T>
void attend_kind(Team& team, const AttentionPlan& plan, const AttentionLayer& layer, const T* q,
                 long q_stride, T* out, float* partials) {
  if (plan.shares_keys()) {
    run_splits<Kind>(team, plan, layer, q, q_stride, out, partials);
    return;
  }
  const auto &shared = plan.shared_tiles(), &tiles = plan.tiles();
  team.share(long(shared.size()), 1, [&](long i, long) {
    run_shared_tile<Kind>(plan, layer, shared[i], q, q_stride, partials);
  });
  team.share(long(tiles.size()), 1, [&](long i, long) {
    run_tile<Kind>(plan, layer, tiles[i], q, q_stride, out, partials);
  });
}

// How many whole splits before their new tokens two requests keep in the same slots.
long common_splits(const AttentionBatch& batch, long a, long b) {
  long most = std::min(batch.prefix_len(a), batch.prefix_len(b)) / SPLIT, common = 0;
  const int32_t *slots = batch.slots(a), *other = batch.slots(b);
  while (common < most && std::equal(slots + common * SPLIT, slots + (common + 1) * SPLIT,
                                     other + common * SPLIT))
    common++;
  return common;
}

}  // namespace

AttentionPlan::AttentionPlan(const AttentionBatch& batch, const AttentionLayer& layer, int threads)
    : batch_(batch) {
  long longest = 0, num_tiles = 0;
  for (long b = 0; b < batch.num_requests; b++) {
    longest = std::max<long>(longest, batch.seq_lens[b]);
    num_tiles += (batch.extend_len(b) + tile_tokens(layer) - 1) / tile_tokens(layer);
  }
  bool few = num_tiles * layer.num_kv_heads < 4 * threads;
  if (few || num_tiles < 4 * threads) {
    if (few && threads > 1) splits_ = (longest + SPLIT - 1) / SPLIT;
    for (long b = 0; b < batch.num_requests; b++) add_tiles(b, layer, 1, 0);
    return;
  }
  share_prefixes(layer);
}

void AttentionPlan::add_tiles(long request, const AttentionLayer& layer, long heads,
                              long first_split) {
  long extend_len = batch_.extend_len(request), most = tile_tokens(layer);
  for (long first = 0; first < extend_len; first += most) {
    long tokens = std::min(most, extend_len - first);
    long end_key = batch_.prefix_len(request) + first + tokens;
    for (long head = 0; head < layer.num_kv_heads; head += heads)
      tiles_.push_back({{{request, first, tokens}},
                        head,
                        std::min(heads, layer.num_kv_heads - head),
                        first_split,
                        end_key});
  }
}

// Each group of requests has a first one; another joins it where it shares at least half of what
// the group shares so far.
void AttentionPlan::share_prefixes(const AttentionLayer& layer) {
  struct Group {
    long splits;
    std::vector<long> requests;
  };
  std::vector<Group> groups;
  for (long b = 0; b < batch_.num_requests; b++) {
    bool joined = false;
    for (auto& group : groups) {
      long common = std::min(group.splits, common_splits(batch_, group.requests[0], b));
      if (common == 0 || common * 2 < group.splits) continue;
      group.splits = common;
      group.requests.push_back(b);
      joined = true;
      break;
    }
    if (!joined) groups.push_back({batch_.prefix_len(b) / SPLIT, {b}});
  }
  for (const auto& group : groups) {
    long splits = group.requests.size() > 1 ? group.splits : 0;
    if (splits > 0) add_shared_tiles(group.requests, splits, layer);
    for (long b : group.requests)
      add_tiles(b, layer, tile_heads(layer, std::min(batch_.extend_len(b), tile_tokens(layer))),
                splits);
  }
}

void AttentionPlan::add_shared_tiles(const std::vector<long>& requests, long splits,
                                     const AttentionLayer& layer) {
  std::vector<QueryRun> runs;
  long room = tile_tokens(layer);
  auto finish = [&] {
    for (long head = 0; head < layer.num_kv_heads && !runs.empty(); head++)
      shared_tiles_.push_back({runs, head, 1, 0, splits * SPLIT});
    runs.clear();
    room = tile_tokens(layer);
  };
  for (long b : requests)
    for (long first = 0, end = batch_.extend_len(b); first < end;) {
      long tokens = std::min(room, end - first);
      runs.push_back({b, first, tokens});
      first += tokens;
      room -= tokens;
      if (room == 0) finish();
    }
  finish();
}

size_t AttentionPlan::partial_floats(const AttentionLayer& layer) const {
  if (shares_keys()) return tiles_.size() * splits_ * partial_stride(layer);
  if (shared_tiles_.empty()) return 0;
  return batch_.query_start[batch_.num_requests] * layer.num_heads * partial_row_floats(layer);
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
