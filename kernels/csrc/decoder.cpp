// A whole stack of decoder layers in one parallel region: at one token a step, a call for each op
// would cost as much as the arithmetic. The residual stream stays in float32.

#include <algorithm>
#include <utility>

#include "attention.h"
#include "cache_store.h"
#include "elementwise.h"
#include "linear.h"

// Filled by Python (library.py), which keeps the memory alive. Norm weights are float32; those that
// a model does not have are null.
struct DecoderLayer {
  LinearWeight qkv;
  LinearWeight output;
  LinearWeight gate_up;
  LinearWeight down;
  const float* attention_norm;
  const float* q_norm;
  const float* k_norm;
  const float* post_attention_norm;
  const float* mlp_norm;
  const float* post_mlp_norm;
  const float* cos_sin;
  long rot_dim;
  long window;  // 0: none
};

struct DecoderStack {
  int dtype;  // of activations
  int activation;
  long num_layers;
  const DecoderLayer* layers;
  const float* final_norm;
  float eps;
  float scale;
  float soft_cap;  // 0: none
  long hidden_size;
  long intermediate_size;  // a multiple of 32
  long num_heads;
  long num_kv_heads;
  long head_dim;

  long qkv_size() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
};

struct DecoderStep {
  long tokens;
  const void* hidden;        // [tokens, hidden_size]
  const int64_t* positions;  // [tokens]
  const int64_t* slots;      // [tokens]
  int cache_dtype;
  void* const* k_caches;  // of each layer
  void* const* v_caches;
  const AttentionBatch* batch;
  void* out;  // [tokens, hidden_size]
};

namespace {

constexpr long ROWS_NORMED_TWICE = 4;  // so few rows each thread norms for itself: one phase less
constexpr long TOKENS_AT_ONCE = 4;

// What the layers of one step write, shared by the team.
template <class T>
struct Buffers {
  Buffers(const DecoderStack& stack, long tokens, size_t partial_floats) {
    size_t next = 0;
    auto reserve = [&](size_t bytes) { return std::exchange(next, next + (bytes + 63) / 64 * 64); };
    size_t at_residual = reserve(tokens * stack.hidden_size * sizeof(float));
    size_t at_update = reserve(tokens * stack.hidden_size * sizeof(float));
    size_t at_normed = reserve(tokens * stack.hidden_size * sizeof(T));
    size_t at_qkv = reserve(tokens * stack.qkv_size() * sizeof(T));
    size_t at_attended = reserve(tokens * stack.num_heads * stack.head_dim * sizeof(T));
    size_t at_inner = reserve(tokens * stack.intermediate_size * sizeof(T));
    long widest = std::max({stack.hidden_size, stack.num_heads * stack.head_dim, stack.intermediate_size});
    size_t at_quantized = reserve(QuantizedRows::most_bytes(tokens, widest));
    size_t at_partials = reserve(partial_floats * sizeof(float));
    char* memory = scratch<char>(SCRATCH_STACK, next);
    residual = reinterpret_cast<float*>(memory + at_residual);
    update = reinterpret_cast<float*>(memory + at_update);
    normed = reinterpret_cast<T*>(memory + at_normed);
    qkv = reinterpret_cast<T*>(memory + at_qkv);
    attended = reinterpret_cast<T*>(memory + at_attended);
    inner = reinterpret_cast<T*>(memory + at_inner);
    quantized = memory + at_quantized;
    partials = reinterpret_cast<float*>(memory + at_partials);
  }

  float* residual;  // [tokens, hidden_size]
  float* update;    // [tokens, hidden_size], a block's output before its own norm
  T* normed;        // [tokens, hidden_size]
  T* qkv;           // [tokens, qkv_size]
  T* attended;      // [tokens, num_heads * head_dim]
  T* inner;         // [tokens, intermediate_size]
  char* quantized;  // the input of a layer with quantised weights
  float* partials;
};

// One thread's way through the stack.
template <class T>
class StackThread {
 public:
  StackThread(Team& team, const DecoderStack& stack, const DecoderStep& step,
              const AttentionPlan& plan, const Buffers<T>& buffers)
      : team_(team), stack_(stack), step_(step), plan_(plan), buffers_(buffers) {}

  void run() {
    long width = stack_.hidden_size;
    team_.share(step_.tokens, TOKENS_AT_ONCE, [&](long begin, long end) {
      convert_row(static_cast<const T*>(step_.hidden) + begin * width,
                  buffers_.residual + begin * width, (end - begin) * width);
    });
    for (long i = 0; i < stack_.num_layers; i++) {
      run_attention(stack_.layers[i], step_.k_caches[i], step_.v_caches[i]);
      run_mlp(stack_.layers[i]);
    }
    team_.share(step_.tokens, TOKENS_AT_ONCE, [&](long begin, long end) {
      for (long t = begin; t < end; t++)
        norm_row(residual(t), stack_.final_norm, stack_.eps, width,
                 static_cast<T*>(step_.out) + t * width);
    });
  }

 private:
  float* residual(long token) const { return buffers_.residual + token * stack_.hidden_size; }

  Rows rows(const T* data, long width) const {
    return {reinterpret_cast<const uint32_t*>(data), width * long(sizeof(T)) / GROUP_BYTES,
            step_.tokens};
  }

  Rows normed(const float* weight) {
    long width = stack_.hidden_size;
    bool alone = step_.tokens <= ROWS_NORMED_TWICE;
    T* out = alone ? scratch<T>(SCRATCH_NORMED, step_.tokens * width) : buffers_.normed;
    auto norm_rows = [&](long begin, long end) {
      for (long t = begin; t < end; t++)
        norm_row(residual(t), weight, stack_.eps, width, out + t * width);
    };
    if (alone)
      norm_rows(0, step_.tokens);
    else
      team_.share(step_.tokens, TOKENS_AT_ONCE, norm_rows);
    return rows(out, width);
  }

  // What a layer with this weight takes in the place of x.
  Rows input_of(const LinearWeight& weight, const Rows& x) {
    long width = weight.in_features;
    RowFormat format = weight.row_format(x.count);
    if (format.step == 0) return x;
    bool alone = x.count <= ROWS_NORMED_TWICE;
    char* memory = alone ? scratch<char>(SCRATCH_BYTES, QuantizedRows::bytes(x.count, width, format))
                         : buffers_.quantized;
    QuantizedRows quantized(memory, x.count, width, format);
    auto fill = [&](long begin, long end) { quantized.fill(x, begin, end); };
    if (alone)
      fill(0, x.count);
    else
      team_.share(x.count, TOKENS_AT_ONCE, fill);
    return quantized.rows(x.count);
  }

  template <class Consume>
  void share_panels(const LinearWeight& weight, const Rows& rows, Consume consume) {
    Rows x = input_of(weight, rows);
    long panels = weight.num_panels();
    team_.share(panels, panel_grain(panels, team_.size()), [&](long begin, long end) {
      for (long panel = begin; panel < end; panel++)
        for_each_chunk(weight, x, panel, [&](long row, long count, const f32x16* sums) {
          consume(panel, row, count, sums);
        });
    });
  }

  void run_attention(const DecoderLayer& layer, void* k_cache, void* v_cache) {
    long qkv_size = stack_.qkv_size();
    Rows x = normed(layer.attention_norm);
    share_panels(layer.qkv, x, [&](long panel, long row, long count, const f32x16* sums) {
      store_sums(sums, count, panel, qkv_size, buffers_.qkv + row * qkv_size, qkv_size);
    });
    team_.share(step_.tokens, TOKENS_AT_ONCE, [&](long begin, long end) {
      for (long t = begin; t < end; t++) place_heads(layer, t, k_cache, v_cache);
    });
    AttentionLayer heads{step_.cache_dtype,   k_cache,         v_cache,
                         stack_.num_heads,    stack_.num_kv_heads, stack_.head_dim,
                         stack_.scale,        layer.window,    stack_.soft_cap};
    attend(team_, plan_, heads, buffers_.qkv, qkv_size, buffers_.attended, buffers_.partials);
    add_projection(layer.output, rows(buffers_.attended, stack_.num_heads * stack_.head_dim),
                   layer.post_attention_norm);
  }

  // Norms and turns a token's query and key heads, and writes its keys and values to their slot.
  void place_heads(const DecoderLayer& layer, long token, void* k_cache, void* v_cache) {
    T* heads = buffers_.qkv + token * stack_.qkv_size();
    long head_dim = stack_.head_dim;
    for (long h = 0; h < stack_.num_heads + stack_.num_kv_heads; h++) {
      T* head = heads + h * head_dim;
      const float* norm = h < stack_.num_heads ? layer.q_norm : layer.k_norm;
      if (norm != nullptr) norm_row(head, norm, stack_.eps, head_dim, head);
      rotate_head(head, layer.cos_sin + step_.positions[token] * layer.rot_dim, layer.rot_dim);
    }
    long kv_size = stack_.num_kv_heads * head_dim;
    const T* k = heads + stack_.num_heads * head_dim;
    for (auto [heads_of, cache] : {std::pair(k, k_cache), std::pair(k + kv_size, v_cache)})
      store_heads(heads_of, stack_.num_kv_heads, head_dim, step_.cache_dtype, cache,
                  step_.slots[token]);
  }

  void run_mlp(const DecoderLayer& layer) {
    Rows x = input_of(layer.gate_up, normed(layer.mlp_norm));
    long inner = stack_.intermediate_size, panels = inner / PANEL;
    team_.share(panels, panel_grain(panels, team_.size()), [&](long begin, long end) {
      for (long panel = begin; panel < end; panel++) gate_panel(layer.gate_up, x, panel, panels);
    });
    add_projection(layer.down, rows(buffers_.inner, inner), layer.post_mlp_norm);
  }

  // 32 channels of activation(gate) * up; the gates' panels come first, then the ups'.
  void gate_panel(const LinearWeight& gate_up, const Rows& x, long panel, long panels) {
    long inner = stack_.intermediate_size;
    f32x16* gates = scratch<f32x16>(SCRATCH_GATES, 2 * x.count);
    for_each_chunk(gate_up, x, panel, [&](long row, long count, const f32x16* sums) {
      std::copy(sums, sums + 2 * count, gates + 2 * row);
    });
    for_each_chunk(gate_up, x, panels + panel, [&](long row, long count, const f32x16* sums) {
      for (long r = row; r < row + count; r++)
        for (int half = 0; half < 2; half++)
          store(buffers_.inner + r * inner + panel * PANEL + half * LANES,
                gate_lanes(stack_.activation, gates[2 * r + half], sums[2 * (r - row) + half]));
    });
  }

  // residual += norm(weight x), or without the norm where there is none.
  void add_projection(const LinearWeight& weight, const Rows& x, const float* norm) {
    long width = stack_.hidden_size;
    if (norm == nullptr) {
      share_panels(weight, x, [&](long panel, long row, long count, const f32x16* sums) {
        add_sums(sums, count, panel, width, residual(row), width);
      });
      return;
    }
    share_panels(weight, x, [&](long panel, long row, long count, const f32x16* sums) {
      store_sums(sums, count, panel, width, buffers_.update + row * width, width);
    });
    team_.share(step_.tokens, TOKENS_AT_ONCE, [&](long begin, long end) {
      for (long t = begin; t < end; t++) {
        float* update = buffers_.update + t * width;
        norm_row(update, norm, stack_.eps, width, update);
        add_row(update, residual(t), width);
      }
    });
  }

  Team& team_;
  const DecoderStack& stack_;
  const DecoderStep& step_;
  const AttentionPlan& plan_;
  const Buffers<T>& buffers_;
};

}  // namespace

EXPORT void decode_stack(const DecoderStack* stack, const DecoderStep* step, int threads) {
  AttentionLayer heads{step->cache_dtype, nullptr,         nullptr,      stack->num_heads,
                       stack->num_kv_heads, stack->head_dim, stack->scale, 0, stack->soft_cap};
  AttentionPlan plan(*step->batch, heads, threads);
  with_dtype(stack->dtype, [&](auto zero) {
    using T = decltype(zero);
    Buffers<T> buffers(*stack, step->tokens, plan.partial_floats(heads));
    parallel(threads,
             [&](Team& team) { StackThread<T>(team, *stack, *step, plan, buffers).run(); });
  });
}
