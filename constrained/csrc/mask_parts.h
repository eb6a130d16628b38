// The part of a mask that depends on a lexeme's state alone, found by walking the trie.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "automaton.h"
#include "vocabulary.h"

namespace grammar {

constexpr int32_t kKeepPartNodes = 512;  // walks shorter than this are not worth remembering

// Finds the parts of one automaton's states.
class MaskParts {
 public:
  MaskParts(Vocabulary* vocabulary, Automaton* automaton)
      : vocabulary_(*vocabulary), automaton_(*automaton) {}

  // The part of a state, kept with it or put in `scratch`.
  const MaskPart* of(int32_t state, MaskPart* scratch) {
    const int32_t far = automaton_.far(state, kFarLevel);
    if (automaton_.alike(state, far, vocabulary_.max_token_len, kFarLevel)) state = far;
    LexemeState* lexeme = automaton_.at(state);
    if (lexeme->part && lexeme->part->epoch == vocabulary_.epoch) return lexeme->part.get();
    const auto [base, level] = base_of(state);
    int32_t visited;
    if (base != kDead) {
      MaskPart unused;
      *scratch = *of(base, &unused);
      visited = walk_difference(state, base, level, scratch);
    } else {
      scratch->row.assign(vocabulary_.row_words, 0);
      scratch->crossings.clear();
      visited = walk(state, 0, vocabulary_.num_nodes(), scratch->row.data(), &scratch->crossings);
    }
    return visited < kKeepPartNodes ? scratch : keep(lexeme, std::move(*scratch));
  }

 private:
  struct Base {
    int32_t state;
    int level;  // of the far form that the states are compared in
  };

  // A state whose mask is almost this one's and is likely to be known: a far form, or the state
  // that most bytes lead to if it loops on most bytes. kDead where there is none.
  Base base_of(int32_t state) {
    const int32_t usual = automaton_.at(state)->usual_next;
    if (usual == kDead) return {kDead, kFarLevel};
    for (const int level : {kFarLevel, kNearLevel}) {
      const int32_t far = automaton_.far(state, level);
      if (far != state) return {far, level};
    }
    const bool loops = usual != state && automaton_.at(usual)->usual_next == usual;
    return {loops ? usual : kDead, kFarLevel};
  }

  // Walks the nodes [first, last) within one lexeme; returns how many it visited.
  int32_t walk(int32_t state, int32_t first, int32_t last, int32_t* row,
               std::vector<Crossing>* crossings) {
    const Vocabulary& v = vocabulary_;
    struct Open {
      int32_t end;
      const LexemeState* lexeme;
    };
    std::vector<Open> open{{last, automaton_.at(state)}};
    int32_t visited = 0;
    for (int32_t node = first; node < last;) {
      while (node >= open.back().end) open.pop_back();
      ++visited;
      const int32_t next = open.back().lexeme->after(v.bytes[node]);
      if (next == kDead) {
        node = v.skip[node];
        continue;
      }
      v.allow_tokens_at(node, row);
      if (!v.has_children(node)) {
        ++node;
        continue;
      }
      const LexemeState* reached = automaton_.at(next);
      if (!reached->labels.empty()) crossings->push_back({node, next});
      open.push_back({v.skip[node], reached});
      node = reached->only_byte == kNoByte ? v.skip[node] : node + 1;
    }
    return visited;
  }

  // Turns the part of state `base` into that of `state`, by walking only where they differ.
  int32_t walk_difference(int32_t state, int32_t base, int level, MaskPart* part) {
    const Vocabulary& v = vocabulary_;
    struct Open {
      int32_t end;
      const LexemeState *mine, *base;
    };
    std::vector<Open> open{{v.num_nodes(), automaton_.at(state), automaton_.at(base)}};
    std::vector<std::pair<int32_t, int32_t>> changed;  // ranges of nodes, ascending
    std::vector<Crossing> added;
    int32_t visited = 0;
    for (int32_t node = 0; node < v.num_nodes();) {
      while (node >= open.back().end) open.pop_back();
      ++visited;
      const int32_t next = open.back().mine->after(v.bytes[node]);
      const int32_t base_next = open.back().base->after(v.bytes[node]);
      if (automaton_.alike(next, base_next, v.height[node], level)) {
        node = v.skip[node];
        continue;
      }
      if (next == kDead) {
        v.forbid_tokens_below(node, part->row.data());
        changed.push_back({node, v.skip[node]});
        node = v.skip[node];
        continue;
      }
      v.allow_tokens_at(node, part->row.data());
      changed.push_back({node, node + 1});
      const LexemeState* reached = automaton_.at(next);
      if (!reached->labels.empty() && v.has_children(node)) added.push_back({node, next});
      if (base_next == kDead) {
        visited += walk(next, node + 1, v.skip[node], part->row.data(), &added);
        node = v.skip[node];
        continue;
      }
      open.push_back({v.skip[node], reached, automaton_.at(base_next)});
      ++node;
    }
    replace_crossings(changed, added, part);
    return visited;
  }

  // Drops the crossings in the changed ranges and adds others.
  static void replace_crossings(const std::vector<std::pair<int32_t, int32_t>>& changed,
                                const std::vector<Crossing>& added, MaskPart* part) {
    std::vector<Crossing> kept;
    size_t at = 0;
    for (const Crossing& crossing : part->crossings) {
      while (at < changed.size() && changed[at].second <= crossing.node) ++at;
      if (at == changed.size() || crossing.node < changed[at].first) kept.push_back(crossing);
    }
    kept.insert(kept.end(), added.begin(), added.end());
    part->crossings = std::move(kept);
  }

  const MaskPart* keep(LexemeState* lexeme, MaskPart part) {
    const int64_t size = static_cast<int64_t>(part.row.size()) * 4 +
                         static_cast<int64_t>(part.crossings.size() * sizeof(Crossing));
    if (vocabulary_.part_bytes + size > vocabulary_.max_part_bytes) {
      ++vocabulary_.epoch;  // start afresh; parts in use are rebuilt
      vocabulary_.part_bytes = 0;
    }
    vocabulary_.part_bytes += size;
    part.epoch = vocabulary_.epoch;
    lexeme->part = std::make_unique<MaskPart>(std::move(part));
    return lexeme->part.get();
  }

  Vocabulary& vocabulary_;
  Automaton& automaton_;
};

}  // namespace grammar
