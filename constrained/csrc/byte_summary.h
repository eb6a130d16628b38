// Sets of bytes, coarse beyond ASCII, that tell quickly whether two sets may have one in common.

#pragma once

#include <cstdint>

namespace grammar {

struct ByteSummary {
  uint64_t words[3] = {};  // ASCII by byte; the rest two bytes a bit

  void add(uint8_t byte) {
    if (byte < 128)
      words[byte >> 6] |= 1ull << (byte & 63);
    else
      words[2] |= 1ull << ((byte - 128) >> 1);
  }
  void add(const ByteSummary& other) {
    for (int i = 0; i < 3; ++i) words[i] |= other.words[i];
  }
  bool disjoint(const ByteSummary& other) const {
    return !((words[0] & other.words[0]) | (words[1] & other.words[1]) |
             (words[2] & other.words[2]));
  }
};

}  // namespace grammar
