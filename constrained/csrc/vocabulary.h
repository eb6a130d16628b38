// The tokens of a model as a trie, and the memory that masks of all grammars share.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "characters.h"
#include "rows.h"

namespace grammar {

constexpr int32_t kNone = -1;

constexpr int32_t kFewTokens = 2048;  // are cleared one by one
constexpr size_t kMaxSlices = 64;

// A node of the trie. Nodes are in preorder; the last one is beyond the trie.
struct TrieNode {
  int32_t skip;         // the first node after its subtree
  int32_t first_token;  // the tokens that end here are order[first_token, that of the next node)
  uint16_t depth;
  uint8_t byte;
  int8_t pending;       // the bytes that its character still needs after this one, or kStray
};

// The tokens that spell characters of a set and nothing else; the last one may be unfinished.
struct Slice {
  Characters alphabet;
  SharedRow row;
};

struct Vocabulary {
  std::vector<TrieNode> nodes;
  std::vector<int32_t> order, parent;
  std::vector<int32_t> height;  // per node, the bytes of the longest way down from it
  std::vector<Characters> characters;  // per node, those of the ways through it, from it on
  std::vector<uint16_t> num_characters;  // per node, how many there are on the longest of these ways
  std::vector<int32_t> by_first;   // per byte, the node it leads to from the root, or kNone
  std::vector<int32_t> by_two;     // per two bytes, the node they lead to, or kNone
  int32_t max_token_len = 0;
  std::vector<int32_t> eos_tokens;
  std::vector<uint8_t> text;        // the bytes of every token, one after another
  std::vector<int32_t> text_begin;  // per token id, and one more at the end
  int32_t row_words;
  int64_t part_bytes = 0, max_part_bytes = 0;
  int64_t epoch = 0;  // parts of an older epoch have been given up
  std::vector<Slice> slices;
  std::vector<int32_t> longest_first;  // tokens by their number of characters
  std::vector<int32_t> num_longer;     // per number of characters, the tokens with more
  std::vector<SharedRow> short_rows;   // per number of characters, the tokens with no more
  KeptRows rows;
  std::mutex mutex;  // held by whoever uses anything that belongs to this vocabulary

  explicit Vocabulary(int32_t words) : row_words(words), rows(words) {}

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
    for (int32_t i = nodes[node].first_token; i < nodes[skip(node)].first_token; ++i)
      forbid(order[i], row);
  }
  int32_t skip(int32_t node) const { return nodes[node].skip; }
  uint8_t byte(int32_t node) const { return nodes[node].byte; }
  bool has_children(int32_t node) const { return nodes[node].skip > node + 1; }
  int32_t num_nodes() const { return static_cast<int32_t>(nodes.size()) - 1; }

  // The tokens that are texts over an alphabet, at most so many characters long.
  Row spelled(const Characters& alphabet, int32_t max_characters) {
    Row row = *slice(alphabet);
    if (max_characters >= static_cast<int32_t>(num_longer.size())) return row;
    const int32_t longer = num_longer[max_characters];
    if (longer > kFewTokens) {
      const SharedRow& allowed = short_row(max_characters);
      for (int32_t i = 0; i < row_words; ++i) row[i] &= (*allowed)[i];
    } else {
      for (int32_t i = 0; i < longer; ++i) forbid(longest_first[i], row.data());
    }
    return row;
  }

  // Takes over the arrays of the trie (see vocabulary.py) and notes what follows from them.
  void set_trie(const uint8_t* bytes, const int32_t* skips, const int32_t* tokens,
                int32_t num_nodes, const int32_t* ordered, int32_t num_ordered) {
    order.assign(ordered, ordered + num_ordered);
    parent.resize(num_nodes);
    nodes.reserve(num_nodes + 1);
    by_first.assign(256, kNone);
    by_two.assign(256 * 256, kNone);
    std::vector<int32_t> path;
    for (int32_t node = 0; node < num_nodes; ++node) {
      while (!path.empty() && node >= skips[path.back()]) path.pop_back();
      parent[node] = path.empty() ? kNone : path.back();
      const auto depth = static_cast<uint16_t>(path.size());
      const TrieNode* above = path.empty() ? nullptr : &nodes[path.back()];
      nodes.push_back({skips[node], tokens[node], depth, bytes[node], pending(above, bytes[node])});
      if (depth == 0) by_first[bytes[node]] = node;
      if (depth == 1) by_two[bytes[path[0]] << 8 | bytes[node]] = node;
      path.push_back(node);
      max_token_len = std::max(max_token_len, static_cast<int32_t>(path.size()));
    }
    nodes.push_back({num_nodes + 1, tokens[num_nodes], 0, 0, 0});
    sum_up_subtrees();
    sort_by_length();
  }

 private:
  static void forbid(int32_t token, int32_t* row) {
    const uint32_t bit = static_cast<uint32_t>(token);
    row[bit >> 5] &= static_cast<int32_t>(~(1u << (bit & 31)));
  }

  static int8_t pending(const TrieNode* above, uint8_t byte) {
    if (!is_continuation(byte)) return bytes_after_lead(byte);
    if (above == nullptr || above->pending <= 0) return kStray;
    const bool is_second = !is_continuation(above->byte);
    if (is_second && (byte < least_second(above->byte) || byte > greatest_second(above->byte)))
      return kStray;
    return static_cast<int8_t>(above->pending - 1);
  }

  void sum_up_subtrees() {
    height.assign(num_nodes(), 0);
    characters.assign(num_nodes(), {});
    num_characters.assign(num_nodes(), 0);
    for (int32_t node = num_nodes() - 1; node >= 0; --node) {
      const TrieNode& at = nodes[node];
      const bool begins = !is_continuation(at.byte);
      if (begins || at.pending == kStray) characters[node].add(at.byte);
      if (begins) ++num_characters[node];
      const int32_t above = parent[node];
      if (above == kNone) continue;
      height[above] = std::max(height[above], height[node] + 1);
      num_characters[above] = std::max(num_characters[above], num_characters[node]);
      characters[above].add(characters[node]);
      if (begins && nodes[above].pending > 0) characters[above].add_strays();
    }
  }

  void sort_by_length() {
    std::vector<std::vector<int32_t>> by_length;
    std::vector<size_t> length(num_nodes());
    for (int32_t node = 0; node < num_nodes(); ++node) {
      length[node] = (parent[node] == kNone ? 0 : length[parent[node]]) + !is_continuation(nodes[node].byte);
      if (by_length.size() <= length[node]) by_length.resize(length[node] + 1);
      for (int32_t i = nodes[node].first_token; i < nodes[node + 1].first_token; ++i)
        by_length[length[node]].push_back(order[i]);
    }
    num_longer.resize(by_length.size());
    short_rows.resize(by_length.size());
    for (size_t characters = by_length.size(); characters-- > 0;) {
      num_longer[characters] = static_cast<int32_t>(longest_first.size());
      const std::vector<int32_t>& tokens = by_length[characters];
      longest_first.insert(longest_first.end(), tokens.begin(), tokens.end());
    }
  }

  const SharedRow& short_row(int32_t max_characters) {
    SharedRow& row = short_rows[max_characters];
    if (row) return row;
    Row allowed(row_words);
    for (size_t i = num_longer[max_characters]; i < longest_first.size(); ++i)
      allow(longest_first[i], allowed.data());
    return row = std::make_shared<const Row>(std::move(allowed));
  }

  SharedRow slice(const Characters& alphabet) {
    const auto same = [&](const Slice& slice) { return slice.alphabet == alphabet; };
    const auto found = std::find_if(slices.begin(), slices.end(), same);
    if (found != slices.end()) return found->row;
    Row row(row_words);
    for (int32_t node = 0; node < num_nodes();) {
      const TrieNode& at = nodes[node];
      const bool goes_on = is_continuation(at.byte);
      const bool fits = at.pending != kStray && goes_on == (parent[node] != kNone && nodes[parent[node]].pending > 0);
      const bool any = fits && (goes_on || alphabet.has(at.byte));
      const bool all = any && alphabet.contains(characters[node]);
      if (all)
        allow_tokens_from(node, row.data());
      else if (any)
        allow_tokens_at(node, row.data());
      node = any && !all ? node + 1 : at.skip;
    }
    if (slices.size() == kMaxSlices) slices.erase(slices.begin());
    slices.push_back({alphabet, std::make_shared<const Row>(std::move(row))});
    return slices.back().row;
  }
};

}  // namespace grammar
