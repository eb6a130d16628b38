// Weights of eight bits with a scale for each column, times rows that are quantised to eight bits as they
// come, with a scale for each 64 channels: one for a whole row would be set by its few outliers.
// The sums over a step of 64 are whole numbers, so that all levels of instructions agree on them.
//
// A panel is laid out as in panel.h, four k to a group, and followed by its columns' scales. Its bytes
// are unsigned, 128 above the weight, because the instructions multiply unsigned by signed bytes.
#pragma once

#include <algorithm>

#include "elementwise.h"
#include "panel.h"

constexpr long INT8_STEP = 64;  // channels; rows and panels are filled up to whole steps
constexpr long INT8_STEP_GROUPS = INT8_STEP / GROUP_BYTES;
constexpr int INT8_OFFSET = 128;

inline long int8_steps(long in_features) { return (in_features + INT8_STEP - 1) / INT8_STEP; }

inline long int8_panel_bytes(long in_features) {
  return int8_steps(in_features) * INT8_STEP_GROUPS * PANEL_ROW + PANEL * long(sizeof(float));
}

// What the bytes of a step of a row stand for, and what the weights' offset adds to its products.
struct StepScale {
  float scale;
  int32_t excess;
};

// Quantised rows, each of `steps` whole steps.
struct Int8Rows {
  const int8_t* values;
  const StepScale* scales;
  long steps;
};

// Quantises a row x [width] to int8_steps(width) steps.
template <class T>
void quantize_row(const T* x, long width, int8_t* out, StepScale* scales) {
  for (long begin = 0; begin < width; begin += INT8_STEP, x += INT8_STEP, out += INT8_STEP) {
    long count = std::min(INT8_STEP, width - begin);
    f32x16 largest{};
    for_lanes(count, [&](long i, int n) {
      f32x16 v = load_lanes(x + i, n);
      largest = max(largest, max(v, -v));
    });
    float scale = max(largest) / 127.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    f32x16 total{};
    for_lanes(count, [&](long i, int n) {
      f32x16 rounded = round_to_whole(load_lanes(x + i, n) * inverse);
      i8x16 bytes = narrow(rounded);
      std::memcpy(out + i, &bytes, n);
      total += rounded;
    });
    std::fill(out + count, out + INT8_STEP, 0);
    *scales++ = {scale, INT8_OFFSET * int32_t(sum(total))};
  }
}

// values: rows of in_features entries, one for each column.
void pack_int8_panel(const int8_t* values, const float* scales, long columns, long in_features,
                     char* panel);

// out[r][0:32] = x[r] . panel
void multiply_int8_panel(const Int8Rows& x, long rows, const char* panel, f32x16* out);
