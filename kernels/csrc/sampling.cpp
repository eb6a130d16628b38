// Token bitmasks, and sampling without sorting the vocabulary: tokens fall into buckets by weight,
// every filter keeps a prefix of the descending order, and only the bucket in which a prefix ends is
// sorted.

#include <algorithm>
#include <vector>

#include "export.h"
#include "scratch.h"
#include "simd.h"
#include "team.h"

namespace {

// Weights lie in [0, 1]. Bucket 0 is for those below TAIL, which are most tokens and little mass; of
// the others a bucket holds those that agree in exponent and four bits of mantissa.
constexpr float TAIL = 0x1p-17f;
constexpr int BUCKET_SHIFT = 23 - 4;
constexpr long TAIL_BITS = (127L - 17) << 4;
constexpr long NUM_BUCKETS = (127L << 4) - TAIL_BITS + 2;

long bucket_of(float weight) {
  return weight < TAIL ? 0 : (load_as<int32_t>(&weight) >> BUCKET_SHIFT) - TAIL_BITS + 1;
}

// The smallest weight of a bucket; tokens without any weight are in none.
float smallest_of(long bucket) {
  if (bucket == 0) return std::numeric_limits<float>::denorm_min();
  int32_t bits = int32_t((bucket - 1 + TAIL_BITS) << BUCKET_SHIFT);
  return load_as<float>(&bits);
}

struct Bucket {
  double mass;
  long count;
};

// The first tokens of the descending order, and the last of them where it is known.
struct Prefix {
  long count;
  double mass;
  long last;
};

// One row's tokens in descending order of logits, ties by lower id, without being sorted.
class DescendingTokens {
 public:
  DescendingTokens(const float* logits, long vocab_size, float temperature)
      : logits_(logits), vocab_size_(vocab_size) {
    weights_ = scratch<float>(SCRATCH_WEIGHTS, vocab_size + LANES);
    buckets_ = scratch<Bucket>(SCRATCH_BUCKETS, NUM_BUCKETS);
    std::fill(buckets_, buckets_ + NUM_BUCKETS, Bucket{0.0, 0});
    weigh(temperature);
  }

  Prefix all() const { return {vocab_size_, mass_, -1}; }

  Prefix at_least(float weight) const {
    Prefix prefix{0, 0.0, -1};
    for_each_between(weight, 2.0f, [&](long token) {
      prefix.count++;
      prefix.mass += weights_[token];
    });
    return prefix;
  }

  // The shortest prefix, of one token at least, for which enough(prefix) holds; all tokens that
  // have any weight if it never does. `enough` must not turn false again as the prefix grows.
  template <class Enough>
  Prefix shortest(Enough enough) {
    Prefix prefix{0, 0.0, -1};
    for (long b = NUM_BUCKETS - 1; b >= 0; b--) {
      if (buckets_[b].count == 0) continue;
      Prefix after{prefix.count + buckets_[b].count, prefix.mass + buckets_[b].mass, -1};
      if (!enough(after) && b > lowest_) {
        prefix = after;
        continue;
      }
      for (int32_t token : sorted(b)) {
        prefix = {prefix.count + 1, prefix.mass + weights_[token], token};
        if (enough(prefix)) return prefix;
      }
    }
    return prefix;
  }

 private:
  // weight = e^((logit - largest logit) / temperature)
  void weigh(float temperature) {
    f32x16 largest = splat(-std::numeric_limits<float>::infinity());
    for_vectors([&](f32x16 logits, long) { largest = max(largest, logits); });
    float top = max(largest);
    float inverse = float(1.0 / double(temperature));
    f32x16 tail{};
    for_vectors([&](f32x16 logits, long i) {
      f32x16 weights = exp((logits - top) * inverse);
      store(weights_ + i, weights);
      tail += weights < TAIL ? weights : f32x16{};
    });
    buckets_[0] = {sum(tail), vocab_size_};
    for_each_between(TAIL, 2.0f, [&](long token) {
      Bucket& bucket = buckets_[bucket_of(weights_[token])];
      bucket.mass += weights_[token];
      bucket.count++;
      buckets_[0].count--;
    });
    if (buckets_[0].mass == 0) buckets_[0].count = 0;
    for (long b = NUM_BUCKETS - 1; b >= 0; b--) {
      mass_ += buckets_[b].mass;
      if (buckets_[b].count > 0) lowest_ = b;
    }
  }

  // Calls body(token) for every token whose weight lies in [low, high), by ascending id.
  template <class Body>
  void for_each_between(float low, float high, Body body) const {
    for (long i = 0; i < vocab_size_; i += LANES) {
      f32x16 weights = load(weights_ + i);
      uint32_t bits = lane_bits(weights >= low) & lane_bits(weights < high);
      for (; bits != 0; bits &= bits - 1) body(i + __builtin_ctz(bits));
    }
  }

  template <class Body>
  void for_vectors(Body body) {
    long i = 0;
    for (; i + LANES <= vocab_size_; i += LANES) body(load(logits_ + i), i);
    if (i == vocab_size_) return;
    float tail[LANES];
    std::fill(tail, tail + LANES, -std::numeric_limits<float>::infinity());
    std::copy(logits_ + i, logits_ + vocab_size_, tail);
    body(load(tail), i);
  }

  const std::vector<int32_t>& sorted(long bucket) {
    if (bucket == sorted_bucket_) return sorted_;
    sorted_.clear();
    float end = bucket + 1 < NUM_BUCKETS ? smallest_of(bucket + 1) : 2.0f;
    for_each_between(smallest_of(bucket), end,
                     [&](long token) { sorted_.push_back(int32_t(token)); });
    std::sort(sorted_.begin(), sorted_.end(), [&](int32_t a, int32_t b) {
      return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
    });
    sorted_bucket_ = bucket;
    return sorted_;
  }

  const float* logits_;
  long vocab_size_;
  float* weights_;
  Bucket* buckets_;
  double mass_ = 0;
  long lowest_ = 0;
  long sorted_bucket_ = -1;
  std::vector<int32_t> sorted_;
};

struct Filters {
  float temperature;
  long top_k;
  float top_p;
  float min_p;
};

long sample_row(const float* logits, long vocab_size, const Filters& filters, double uniform) {
  DescendingTokens tokens(logits, vocab_size, filters.temperature);
  Prefix kept = tokens.all();
  if (filters.top_k < vocab_size)
    kept = tokens.shortest([&](const Prefix& p) { return p.count >= filters.top_k; });
  if (filters.top_p < 1) {
    double nucleus = double(filters.top_p) * kept.mass;
    kept = tokens.shortest(
        [&](const Prefix& p) { return p.count >= kept.count || p.mass >= nucleus; });
  }
  if (filters.min_p > 0) {
    Prefix likely = tokens.at_least(filters.min_p);
    if (likely.count < kept.count) kept = likely;
  }
  double target = uniform * kept.mass;
  return tokens
      .shortest([&](const Prefix& p) { return p.count >= kept.count || p.mass > target; })
      .last;
}

long largest_of_row(const float* logits, long vocab_size) {
  const long whole = vocab_size / LANES * LANES;
  f32x16 largest_lanes = splat(-std::numeric_limits<float>::infinity());
  for (long i = 0; i < whole; i += LANES) largest_lanes = max(largest_lanes, load(logits + i));
  float largest = max(largest_lanes);
  for (long i = whole; i < vocab_size; i++) largest = std::max(largest, logits[i]);
  for (long i = 0; i < whole; i += LANES)
    if (uint32_t bits = lane_bits(load(logits + i) == largest)) return i + __builtin_ctz(bits);
  return std::find(logits + whole, logits + vocab_size, largest) - logits;
}

void mask_row(float* logits, long vocab_size, const uint32_t* words) {
  const u32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const f32x16 forbidden = splat(-std::numeric_limits<float>::infinity());
  long i = 0;
  for (; i + LANES <= vocab_size; i += LANES) {
    u32x16 bits = (splat(words[i / 32] >> (i % 32)) >> lane) & 1;
    store(logits + i, bits != 0 ? load(logits + i) : forbidden);
  }
  for (; i < vocab_size; i++)
    if (((words[i / 32] >> (i % 32)) & 1) == 0) logits[i] = forbidden[0];
}

}  // namespace

EXPORT void argmax(const float* logits, long logits_stride, long rows, long vocab_size, int64_t* ids,
                   int threads) {
  parallel_for(threads, rows, 1, [&](long begin, long end) {
    for (long r = begin; r < end; r++)
      ids[r] = largest_of_row(logits + r * logits_stride, vocab_size);
  });
}

EXPORT void sample(const float* logits, long logits_stride, long rows, long vocab_size,
                   const float* temperatures, const int32_t* top_ks, const float* top_ps,
                   const float* min_ps, const double* uniforms, int64_t* ids, int threads) {
  parallel_for(threads, rows, 1, [&](long begin, long end) {
    for (long r = begin; r < end; r++) {
      Filters filters{temperatures[r], top_ks[r], top_ps[r], min_ps[r]};
      ids[r] = sample_row(logits + r * logits_stride, vocab_size, filters, uniforms[r]);
    }
  });
}

EXPORT void apply_token_bitmask(float* logits, long logits_stride, long vocab_size,
                                const uint32_t* bitmask, long bitmask_stride, const int64_t* rows,
                                long num_rows, int threads) {
  parallel_for(threads, num_rows, 4, [&](long begin, long end) {
    for (long i = begin; i < end; i++)
      mask_row(logits + rows[i] * logits_stride, vocab_size, bitmask + i * bitmask_stride);
  });
}
