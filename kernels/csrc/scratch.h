// Buffers that each thread keeps and reuses, 64-byte aligned, one a purpose.
#pragma once

#include <cstdlib>
#include <new>

enum ScratchUse {
  SCRATCH_SUMS,
  SCRATCH_PANEL,
  SCRATCH_NORMED,
  SCRATCH_GATES,
  SCRATCH_STACK,
  SCRATCH_QUERY,
  SCRATCH_COLUMNS,
  SCRATCH_KEYS,
  SCRATCH_VALUES,
  SCRATCH_KEY_BLOCK,
  SCRATCH_VALUE_BLOCK,
  SCRATCH_SCORES,
  SCRATCH_PROBS,
  SCRATCH_RESCALES,
  SCRATCH_TOKENS,
  SCRATCH_TOTAL,
  SCRATCH_SPLIT,
  SCRATCH_SHARED_PARTIALS,
  SCRATCH_WEIGHTS,
  SCRATCH_BYTES,
  SCRATCH_BUCKETS,
  SCRATCH_USES,
};

class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  ScratchBuffer(const ScratchBuffer&) = delete;
  ScratchBuffer& operator=(const ScratchBuffer&) = delete;
  ~ScratchBuffer() { std::free(data_); }

  void* reserve(size_t bytes) {
    if (bytes <= size_) return data_;
    std::free(data_);
    size_ = (bytes + 4095) / 4096 * 4096;
    data_ = std::aligned_alloc(64, size_);
    if (data_ == nullptr) throw std::bad_alloc();
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Room for `count` elements; what it held before is lost when it grows.
template <class T>
T* scratch(ScratchUse use, size_t count) {
  thread_local ScratchBuffer buffers[SCRATCH_USES];
  return static_cast<T*>(buffers[use].reserve(count * sizeof(T)));
}
