// Linear layers over packed weights: what a weight looks like, and its product with rows of x.
#pragma once

#include "blocks.h"
#include "elementwise.h"
#include "export.h"
#include "int8.h"
#include "panel.h"
#include "scratch.h"
#include "team.h"

enum WeightKind : int { WEIGHT_FLOAT32 = 0, WEIGHT_BFLOAT16 = 1, WEIGHT_BLOCKS = 2, WEIGHT_INT8 = 3 };

// Filled by Python (library.py), which keeps the memory alive.
struct LinearWeight {
  int kind;
  long in_features;
  long out_features;
  const char* panels;  // [ceil(out / 32)] panels, 64-byte aligned
  const float* bias;   // [ceil(out / 32) * 32], or null
  BlockFormat format;  // of WEIGHT_BLOCKS

  long num_panels() const { return (out_features + PANEL - 1) / PANEL; }
  long groups() const {
    long per_group = kind == WEIGHT_FLOAT32 ? 1 : 2;
    return (in_features + per_group - 1) / per_group;
  }
  long panel_bytes() const {
    if (kind == WEIGHT_INT8) return int8_panel_bytes(in_features);
    if (kind == WEIGHT_BLOCKS) return in_features / format.block * format.block_bytes();
    return groups() * PANEL_ROW;
  }
  // What so many rows of input are quantised to first.
  RowFormat row_format(long rows) const {
    if (kind == WEIGHT_INT8) return {INT8_STEP, 1};
    if (kind == WEIGHT_BLOCKS && rows < ROWS_IN_BF16) return {format.block, 2};
    return {};
  }
};

// Rows of a layer's input, in the element type of the weight's kind, or quantised to bytes.
struct Rows {
  const uint32_t* data;
  long stride;  // in 4-byte groups
  long count;
  const RowStep* steps = nullptr;  // of bytes
  long steps_per_row = 0;

  Rows from(long row, long rows) const {
    auto steps_from = steps == nullptr ? nullptr : steps + row * steps_per_row;
    return {data + row * stride, stride, rows, steps_from, steps_per_row};
  }
  ByteRows bytes() const {
    return {reinterpret_cast<const int8_t*>(data), steps, steps_per_row};
  }
};

// Where rows are quantised to as a layer takes them.
class QuantizedRows {
 public:
  static long bytes(long rows, long width, RowFormat format) {
    long step_bytes = format.step * format.bytes + long(sizeof(RowStep));
    return rows * steps_of(width, format.step) * step_bytes;
  }

  // For any format: what the finest needs, for a width that fills steps of all.
  static long most_bytes(long rows, long width) {
    return bytes(rows, steps_of(width, INT8_STEP) * INT8_STEP, {LANES, 2});
  }

  QuantizedRows(char* memory, long rows, long width, RowFormat format)
      : format_(format),
        width_(width),
        steps_per_row_(steps_of(width, format.step)),
        values_(reinterpret_cast<int8_t*>(memory)),
        steps_(reinterpret_cast<RowStep*>(memory + rows * row_bytes())) {}

  // Rows of bf16, as every quantised layer takes them.
  void fill(const Rows& x, long begin, long end) const {
    auto quantize = format_.step == INT8_STEP ? quantize_row<INT8_STEP, 1, bf16>
                    : format_.step == 32      ? quantize_row<32, 2, bf16>
                                              : quantize_row<16, 2, bf16>;
    for (long r = begin; r < end; r++)
      quantize(reinterpret_cast<const bf16*>(x.data + r * x.stride), width_,
               values_ + r * row_bytes(), steps_ + r * steps_per_row_);
  }

  Rows rows(long count) const {
    return {reinterpret_cast<const uint32_t*>(values_), row_bytes() / GROUP_BYTES, count, steps_,
            steps_per_row_};
  }

 private:
  static long steps_of(long width, long step) { return (width + step - 1) / step; }
  long row_bytes() const { return steps_per_row_ * format_.step * format_.bytes; }

  RowFormat format_;
  long width_, steps_per_row_;
  int8_t* values_;
  RowStep* steps_;
};

constexpr long ROW_CHUNK = 96;  // rows whose results for one panel stay in the first-level cache

// How many panels one thread takes at a time: a few pieces a thread, so that a thread that is held
// up does not hold up the rest.
inline long panel_grain(long panels, int threads) {
  long grain = panels / (threads * 4);
  return grain > 1 ? grain : 1;
}

// out[r][0:32] = x[r] . panel + bias
void multiply_panel_of(const LinearWeight& weight, const Rows& x, long panel, f32x16* out);

// Calls consume(first_row, rows, sums) with the float sums [rows][2] of one panel, chunk by chunk.
template <class Consume>
void for_each_chunk(const LinearWeight& weight, const Rows& x, long panel, Consume consume) {
  f32x16* sums = scratch<f32x16>(SCRATCH_SUMS, 2 * ROW_CHUNK);
  for (long row = 0; row < x.count; row += ROW_CHUNK) {
    long rows = x.count - row < ROW_CHUNK ? x.count - row : ROW_CHUNK;
    multiply_panel_of(weight, x.from(row, rows), panel, sums);
    consume(row, rows, sums);
  }
}

// Calls body(row, column, lanes, sums) for every vector of one panel's sums that has columns.
template <class Body>
void for_each_vector(const f32x16* sums, long rows, long panel, long out_features, Body body) {
  for (int half = 0; half < 2; half++) {
    long column = panel * PANEL + half * LANES;
    long left = out_features - column;
    if (left <= 0) return;
    int lanes = left < LANES ? int(left) : LANES;
    for (long r = 0; r < rows; r++) body(r, column, lanes, sums[2 * r + half]);
  }
}

// out = sums, in the panel's columns of out [rows, out_stride].
template <class T>
void store_sums(const f32x16* sums, long rows, long panel, long out_features, T* out,
                long out_stride) {
  for_each_vector(sums, rows, panel, out_features, [&](long r, long column, int lanes, f32x16 v) {
    store_lanes(out + r * out_stride + column, v, lanes);
  });
}

// out += sums
inline void add_sums(const f32x16* sums, long rows, long panel, long out_features, float* out,
                     long out_stride) {
  for_each_vector(sums, rows, panel, out_features, [&](long r, long column, int lanes, f32x16 v) {
    float* target = out + r * out_stride + column;
    store_lanes(target, load_lanes(target, lanes) + v, lanes);
  });
}
