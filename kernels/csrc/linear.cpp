#include "linear.h"

#include <sys/mman.h>

#include <algorithm>

#include "cache_rows.h"

namespace {

constexpr uintptr_t PAGE_BYTES = 4096;
constexpr long ROWS_QUANTIZED_AT_ONCE = 16;

void add_bias(f32x16* sums, long rows, const float* bias) {
  f32x16 low = load(bias), high = load(bias + LANES);
  for (long r = 0; r < rows; r++) {
    sums[2 * r] += low;
    sums[2 * r + 1] += high;
  }
}

template <class T>
void apply(const LinearWeight& weight, const Rows& x, T* out, long out_stride, int threads) {
  long panels = weight.num_panels();
  parallel_for(threads, panels, panel_grain(panels, threads), [&](long begin, long end) {
    for (long panel = begin; panel < end; panel++)
      for_each_chunk(weight, x, panel, [&](long row, long rows, const f32x16* sums) {
        store_sums(sums, rows, panel, weight.out_features, out + row * out_stride, out_stride);
      });
  });
}

}  // namespace

void multiply_panel_of(const LinearWeight& weight, const Rows& x, long panel, f32x16* out) {
  const char* data = weight.panels + panel * weight.panel_bytes();
  switch (weight.kind) {
    case WEIGHT_FLOAT32:
      multiply_panel<Float32Kind>(x.data, x.stride, x.count, data, weight.groups(), out);
      break;
    case WEIGHT_BFLOAT16:
      multiply_panel<BFloat16Kind>(x.data, x.stride, x.count, data, weight.groups(), out);
      break;
    case WEIGHT_BLOCKS:
      if (x.steps != nullptr)
        multiply_block_panel(weight.format, x.bytes(), x.count, data, out);
      else
        multiply_block_panel(weight.format, x.data, x.stride, x.count, data, weight.in_features, out);
      break;
    case WEIGHT_INT8:
      multiply_int8_panel(x.bytes(), x.count, data, out);
      break;
  }
  if (weight.bias != nullptr) add_bias(out, x.count, weight.bias + panel * PANEL);
}

// Asks for huge pages before the memory is first touched; that they may be refused does no harm, nor
// does it that what else lies in the first and the last page gets them too.
EXPORT void advise_huge_pages(char* start, long bytes) {
  uintptr_t page = uintptr_t(start) / PAGE_BYTES * PAGE_BYTES;
  madvise(reinterpret_cast<void*>(page), uintptr_t(start) + bytes - page, MADV_HUGEPAGE);
}

// Rearranges rows [out_features, row_bytes] of 2- or 4-byte elements into panels, as keys are; what is
// missing at the edges becomes 0.
EXPORT void pack_panels(const char* rows, long out_features, long row_bytes, char* panels,
                        int threads) {
  long groups = (row_bytes + GROUP_BYTES - 1) / GROUP_BYTES;
  long num_panels = (out_features + PANEL - 1) / PANEL;
  parallel_for(threads, num_panels, 1, [&](long begin, long end) {
    for (long panel = begin; panel < end; panel++) {
      long width = row_bytes / long(sizeof(bf16)), column = panel * PANEL;
      auto first = reinterpret_cast<const bf16*>(rows) + column * width;
      pack_keys<BFloat16Kind>({first, width, IN_ORDER<PANEL>.slots}, out_features - column, width,
                              panels + panel * groups * PANEL_ROW);
    }
  });
}

// values [out_features, in_features]; scales and minimums [out_features, in_features / block].
EXPORT void pack_blocks(const BlockFormat* format, const uint8_t* values, const uint16_t* scales,
                        const uint16_t* minimums, long out_features, long in_features, char* panels,
                        int threads) {
  long num_panels = (out_features + PANEL - 1) / PANEL, blocks = in_features / format->block;
  parallel_for(threads, num_panels, 1, [&](long begin, long end) {
    for (long panel = begin; panel < end; panel++) {
      long column = panel * PANEL, columns = std::min<long>(PANEL, out_features - column);
      pack_block_panel(*format, values + column * in_features, scales + column * blocks,
                       minimums == nullptr ? nullptr : minimums + column * blocks, columns,
                       in_features, panels + panel * blocks * format->block_bytes());
    }
  });
}

// values [out_features, in_features], scales [out_features].
EXPORT void pack_int8(const int8_t* values, const float* scales, long out_features,
                      long in_features, char* panels, int threads) {
  long num_panels = (out_features + PANEL - 1) / PANEL;
  parallel_for(threads, num_panels, 1, [&](long begin, long end) {
    for (long panel = begin; panel < end; panel++) {
      long column = panel * PANEL, columns = std::min<long>(PANEL, out_features - column);
      pack_int8_panel(values + column * in_features, scales + column, columns, in_features,
                      panels + panel * int8_panel_bytes(in_features));
    }
  });
}

// out [rows, out_features] = x . weight; x in float32 for a float32 weight and in
// bf16 for all others, x_stride in 4-byte groups.
EXPORT void linear(const LinearWeight* weight, const uint32_t* x, long x_stride, long rows,
                   int out_dtype, void* out, long out_stride, int threads) {
  Rows input{x, x_stride, rows};
  if (RowFormat format = weight->row_format(rows); format.step > 0) {
    long width = weight->in_features;
    char* memory = scratch<char>(SCRATCH_BYTES, QuantizedRows::bytes(rows, width, format));
    QuantizedRows quantized(memory, rows, width, format);
    parallel_for(threads, rows, ROWS_QUANTIZED_AT_ONCE,
                 [&](long begin, long end) { quantized.fill(input, begin, end); });
    input = quantized.rows(rows);
  }
  if (out_dtype == FLOAT32)
    apply(*weight, input, static_cast<float*>(out), out_stride, threads);
  else
    apply(*weight, input, static_cast<bf16*>(out), out_stride, threads);
}
