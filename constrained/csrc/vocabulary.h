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

namespace grammar {

constexpr int32_t kNone = -1;

class MaskOwner;

// The mask of one state of one grammar.
struct CachedRow {
  MaskOwner* owner;
  int32_t state;
  std::vector<int32_t> row;
};

using CachedRows = std::list<CachedRow>;  // most recently used first

// Whatever has states with masks; knows which of them are kept.
class MaskOwner {
 public:
  std::unordered_map<int32_t, CachedRows::iterator> kept_rows;
};

// See vocabulary.py for the arrays of the trie.
struct Vocabulary {
  std::vector<uint8_t> bytes;
  std::vector<int32_t> skip, tokens, order, parent;
  std::vector<int32_t> height;  // per node, the bytes of the longest way down from it
  int32_t max_token_len = 0;
  std::vector<int32_t> eos_tokens;
  std::vector<uint8_t> text;        // the bytes of every token, one after another
  std::vector<int32_t> text_begin;  // per token id, and one more at the end
  int32_t row_words = 0;
  int64_t part_bytes = 0, max_part_bytes = 0;
  int64_t epoch = 0;  // parts of an older epoch have been given up
  CachedRows rows;
  size_t max_rows = 1;
  std::mutex mutex;  // held by whoever uses anything that belongs to this vocabulary

  static void allow(int32_t token, int32_t* row) {
    const uint32_t bit = static_cast<uint32_t>(token);
    row[bit >> 5] |= static_cast<int32_t>(1u << (bit & 31));
  }
  void allow_tokens_at(int32_t node, int32_t* row) const {
    for (int32_t i = tokens[node]; i < tokens[node + 1]; ++i) allow(order[i], row);
  }
  void forbid_tokens_below(int32_t node, int32_t* row) const {
    for (int32_t i = tokens[node]; i < tokens[skip[node]]; ++i) {
      const uint32_t bit = static_cast<uint32_t>(order[i]);
      row[bit >> 5] &= static_cast<int32_t>(~(1u << (bit & 31)));
    }
  }
  bool has_children(int32_t node) const { return skip[node] > node + 1; }
  int32_t num_nodes() const { return static_cast<int32_t>(bytes.size()); }

  // The kept mask of a state, or nullptr.
  const int32_t* kept_row(MaskOwner* owner, int32_t state) {
    const auto found = owner->kept_rows.find(state);
    if (found == owner->kept_rows.end()) return nullptr;
    rows.splice(rows.begin(), rows, found->second);
    return found->second->row.data();
  }
  void keep_row(MaskOwner* owner, int32_t state, const int32_t* row) {
    rows.push_front({owner, state, std::vector<int32_t>(row, row + row_words)});
    owner->kept_rows[state] = rows.begin();
    if (rows.size() > max_rows) {
      rows.back().owner->kept_rows.erase(rows.back().state);
      rows.pop_back();
    }
  }
  void forget_rows(MaskOwner* owner) {
    for (const auto& [state, row] : owner->kept_rows) rows.erase(row);
    owner->kept_rows.clear();
  }

  // Fills `parent` (that of each trie node, kNone below the root), `height`, `max_token_len`.
  void link() {
    parent.resize(skip.size());
    height.assign(skip.size(), 0);
    std::vector<int32_t> path;
    for (int32_t node = 0; node < num_nodes(); ++node) {
      while (!path.empty() && node >= skip[path.back()]) path.pop_back();
      parent[node] = path.empty() ? kNone : path.back();
      path.push_back(node);
      max_token_len = std::max(max_token_len, static_cast<int32_t>(path.size()));
    }
    for (int32_t node = num_nodes() - 1; node >= 0; --node)
      if (parent[node] != kNone) height[parent[node]] = std::max(height[parent[node]], height[node] + 1);
  }
};

}  // namespace grammar
