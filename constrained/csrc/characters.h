// Sets of bytes, and of characters, beyond ASCII by their first bytes in UTF-8.

#pragma once

#include <cstdint>

namespace grammar {

constexpr uint8_t kFirstLead = 0xC2, kLastLead = 0xF4;
constexpr int8_t kStray = -1;  // of a byte that cannot stand there in UTF-8

inline bool is_continuation(uint8_t byte) { return byte >> 6 == 2; }

struct Bytes {
  uint64_t words[4] = {};

  void add(uint8_t byte) { words[byte >> 6] |= 1ull << (byte & 63); }
  void add(const Bytes& other) {
    for (int i = 0; i < 4; ++i) words[i] |= other.words[i];
  }
  bool has(uint8_t byte) const { return words[byte >> 6] >> (byte & 63) & 1; }
};

// The bytes that a character's first byte asks for; kStray where none begins with it.
inline int8_t bytes_after_lead(uint8_t byte) {
  if (byte < 0x80) return 0;
  if (byte < kFirstLead || byte > kLastLead) return kStray;
  return byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
}

// The least and the greatest second byte of a character.
inline uint8_t least_second(uint8_t lead) { return lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80; }
inline uint8_t greatest_second(uint8_t lead) {
  return lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
}

struct Characters {
  uint64_t words[3] = {};  // ASCII; then by first byte, and a bit for bytes that begin none

  static constexpr int kStrayBit = 63;

  // Adds the characters that begin with a byte, or what is no character.
  void add(uint8_t byte) {
    if (byte < 0x80)
      words[byte >> 6] |= 1ull << (byte & 63);
    else
      words[2] |= 1ull << (bytes_after_lead(byte) == kStray ? kStrayBit : byte - kFirstLead);
  }
  void add(const Characters& other) {
    for (int i = 0; i < 3; ++i) words[i] |= other.words[i];
  }
  void remove(const Characters& other) {
    for (int i = 0; i < 3; ++i) words[i] &= ~other.words[i];
  }
  void add_strays() { words[2] |= 1ull << kStrayBit; }
  void remove_strays() { words[2] &= ~(1ull << kStrayBit); }
  bool has(uint8_t byte) const {
    Characters one;
    one.add(byte);
    return meets(one);
  }
  bool meets(const Characters& other) const {
    return ((words[0] & other.words[0]) | (words[1] & other.words[1]) |
            (words[2] & other.words[2])) != 0;
  }
  bool contains(const Characters& other) const {
    return ((other.words[0] & ~words[0]) | (other.words[1] & ~words[1]) |
            (other.words[2] & ~words[2])) == 0;
  }
  bool empty() const { return (words[0] | words[1] | words[2]) == 0; }
  bool operator==(const Characters& other) const {
    return words[0] == other.words[0] && words[1] == other.words[1] && words[2] == other.words[2];
  }
};

}  // namespace grammar
