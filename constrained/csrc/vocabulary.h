// The tokens of a model as a trie, and the memory that masks of all grammars share.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "byte_summary.h"

namespace grammar {

constexpr int32_t kNone = -1;

class MaskOwner;

constexpr size_t kFewWords = 256;

// The mask of one state of one grammar: its words, or where few are not zero, these only.
struct CachedRow {
  MaskOwner* owner;
  int32_t state;
  std::vector<int32_t> row;
  std::vector<std::pair<int32_t, int32_t>> few;  // index and word

  int64_t size() const { return static_cast<int64_t>(row.size() * 4 + few.size() * 8) + 128; }
};

using CachedRows = std::list<CachedRow>;  // most recently used first

// Whatever has states with masks; knows which of them are kept.
class MaskOwner {
 public:
  std::unordered_map<int32_t, CachedRows::iterator> kept_rows;
};

// A node of the trie. Nodes are in preorder; the last one is beyond the trie.
struct TrieNode {
  int32_t skip;         // the first node after its subtree
  int32_t first_token;  // the tokens that end here are order[first_token, that of the next node)
  uint16_t depth;
  uint8_t byte;
};

struct Vocabulary {
  std::vector<TrieNode> nodes;
  std::vector<int32_t> order, parent;
  std::vector<int32_t> height;  // per node, the bytes of the longest way down from it
  std::vector<ByteSummary> below;  // per node, the bytes of all ways down from it
  std::vector<int32_t> by_first;   // per byte, the node it leads to from the root, or kNone
  std::vector<int32_t> by_two;     // per two bytes, the node they lead to, or kNone
  int32_t max_token_len = 0;
  std::vector<int32_t> eos_tokens;
  std::vector<uint8_t> text;        // the bytes of every token, one after another
  std::vector<int32_t> text_begin;  // per token id, and one more at the end
  int32_t row_words = 0;
  int64_t part_bytes = 0, max_part_bytes = 0;
  int64_t epoch = 0;  // parts of an older epoch have been given up
  CachedRows rows;
  int64_t row_bytes = 0, max_row_bytes = 0;
  std::mutex mutex;  // held by whoever uses anything that belongs to this vocabulary

  static void allow(int32_t token, int32_t* row) {
    const uint32_t bit = static_cast<uint32_t>(token);
    row[bit >> 5] |= static_cast<int32_t>(1u << (bit & 31));
  }
  void allow_tokens_at(int32_t node, int32_t* row) const {
    for (int32_t i = nodes[node].first_token; i < nodes[node + 1].first_token; ++i)
      allow(order[i], row);
  }
  void allow_tokens_from(int32_t node, int32_t* row) const {
    for (int32_t i = nodes[node].first_token; i < nodes[skip(node)].first_token; ++i)
      allow(order[i], row);
  }
  void forbid_tokens_from(int32_t node, int32_t* row) const {
    for (int32_t i = nodes[node].first_token; i < nodes[skip(node)].first_token; ++i) {
      const uint32_t bit = static_cast<uint32_t>(order[i]);
      row[bit >> 5] &= static_cast<int32_t>(~(1u << (bit & 31)));
    }
  }
  int32_t skip(int32_t node) const { return nodes[node].skip; }
  uint8_t byte(int32_t node) const { return nodes[node].byte; }
  bool has_children(int32_t node) const { return nodes[node].skip > node + 1; }
  int32_t num_nodes() const { return static_cast<int32_t>(nodes.size()) - 1; }

  // Writes the kept mask of a state; false where it is not kept.
  bool copy_row(MaskOwner* owner, int32_t state, int32_t* row) {
    const auto found = owner->kept_rows.find(state);
    if (found == owner->kept_rows.end()) return false;
    const CachedRow& kept = *found->second;
    rows.splice(rows.begin(), rows, found->second);
    if (!kept.row.empty()) {
      std::memcpy(row, kept.row.data(), sizeof(int32_t) * row_words);
      return true;
    }
    std::memset(row, 0, sizeof(int32_t) * row_words);
    for (const auto& [index, word] : kept.few) row[index] = word;
    return true;
  }
  void keep_row(MaskOwner* owner, int32_t state, const int32_t* row) {
    rows.push_front({owner, state, {}, {}});
    CachedRow& kept = rows.front();
    for (int32_t i = 0; i < row_words && kept.few.size() <= kFewWords; ++i)
      if (row[i] != 0) kept.few.push_back({i, row[i]});
    if (kept.few.size() > kFewWords) {
      kept.few = {};
      kept.row.assign(row, row + row_words);
    }
    owner->kept_rows[state] = rows.begin();
    row_bytes += kept.size();
    while (row_bytes > max_row_bytes && rows.size() > 1) {
      row_bytes -= rows.back().size();
      rows.back().owner->kept_rows.erase(rows.back().state);
      rows.pop_back();
    }
  }
  void forget_rows(MaskOwner* owner) {
    for (const auto& [state, row] : owner->kept_rows) {
      row_bytes -= row->size();
      rows.erase(row);
    }
    owner->kept_rows.clear();
  }
  int64_t kept_bytes(const MaskOwner* owner) const {
    int64_t total = 0;
    for (const auto& [state, row] : owner->kept_rows) total += row->size();
    return total;
  }

  // Takes over the arrays of the trie (see vocabulary.py) and notes what follows from them.
  void set_trie(const uint8_t* bytes, const int32_t* skips, const int32_t* tokens,
                int32_t num_nodes) {
    parent.resize(num_nodes);
    height.assign(num_nodes, 0);
    below.resize(num_nodes);
    nodes.reserve(num_nodes + 1);
    by_first.assign(256, kNone);
    by_two.assign(256 * 256, kNone);
    std::vector<int32_t> path;
    for (int32_t node = 0; node < num_nodes; ++node) {
      while (!path.empty() && node >= skips[path.back()]) path.pop_back();
      parent[node] = path.empty() ? kNone : path.back();
      const auto depth = static_cast<uint16_t>(path.size());
      nodes.push_back({skips[node], tokens[node], depth, bytes[node]});
      if (depth == 0) by_first[bytes[node]] = node;
      if (depth == 1) by_two[bytes[path[0]] << 8 | bytes[node]] = node;
      path.push_back(node);
      max_token_len = std::max(max_token_len, static_cast<int32_t>(path.size()));
    }
    nodes.push_back({num_nodes + 1, tokens[num_nodes], 0, 0});
    for (int32_t node = num_nodes - 1; node >= 0; --node) {
      const int32_t above = parent[node];
      if (above == kNone) continue;
      height[above] = std::max(height[above], height[node] + 1);
      below[above].add(below[node]);
      below[above].add(bytes[node]);
    }
  }
};

}  // namespace grammar
