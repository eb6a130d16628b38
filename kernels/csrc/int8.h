// Weights of eight bits with a scale for each column, times rows of bytes (byte_rows.h).
//
// A panel is laid out as in panel.h, four k to a group, and followed by its columns' scales. Its bytes
// are unsigned, 128 above the weight, because the instructions multiply unsigned by signed bytes.
#pragma once

#include "byte_rows.h"
#include "panel.h"

constexpr long INT8_STEP = 64;  // channels; rows and panels are filled up to whole steps
constexpr long INT8_STEP_GROUPS = INT8_STEP / GROUP_BYTES;
constexpr int INT8_OFFSET = 128;

inline long int8_steps(long in_features) { return (in_features + INT8_STEP - 1) / INT8_STEP; }

inline long int8_panel_bytes(long in_features) {
  return int8_steps(in_features) * INT8_STEP_GROUPS * PANEL_ROW + PANEL * long(sizeof(float));
}

// values: rows of in_features entries, one for each column.
void pack_int8_panel(const int8_t* values, const float* scales, long columns, long in_features,
                     char* panel);

// out[r][0:32] = x[r] . panel, for rows in steps of INT8_STEP
void multiply_int8_panel(const ByteRows& x, long rows, const char* panel, f32x16* out);
