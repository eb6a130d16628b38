// The part of a mask that depends on a lexeme's state alone, found by walking the trie.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "automaton.h"
#include "regions.h"
#include "vocabulary.h"

namespace grammar {

constexpr int32_t kKeepPartNodes = 512;  // walks shorter than this are not worth remembering
constexpr int32_t kImpure = -1;
constexpr int32_t kUnseen = INT32_MAX;  // no state has this number
constexpr int32_t kBulkNodes = 4;        // subtrees smaller than this are walked, not looked through

// Finds the parts of one automaton's states. Where a walk would make too many states it leaves out
// long tokens: what is allowed is right, and every text can still be spelled.
class MaskParts {
 public:
  MaskParts(Vocabulary* vocabulary, Automaton* automaton)
      : vocabulary_(*vocabulary), automaton_(*automaton) {}

  // Allows in `row` the tokens of a state's part. Returns its crossings, those of the kept part or
  // `crossings`, which are then put there; where they are not wanted there may be some or none.
  const Crossings* add(int32_t state, bool want_crossings, MaskRow* row, Crossings* crossings) {
    automaton_.limit_walk();
    want_crossings_ = want_crossings;
    state = representative(state);
    LexemeState* lexeme = automaton_.at(state);
    if (!is_kept(*lexeme)) {
      if (row->is_blank() && lexeme->usual_next == kDead && usable_loop(*lexeme) == nullptr) {
        const int32_t visited = walk_all(state, nullptr, row->words(), crossings);
        if (visited < kKeepPartNodes) return crossings;
        const int32_t* words = row->words();
        MaskPart part{std::make_shared<const Row>(words, words + vocabulary_.row_words),
                      std::move(*crossings), want_crossings};
        return &keep(lexeme, std::move(part))->crossings;
      }
      MaskPart scratch;
      const MaskPart* part = of(state, &scratch);
      if (part == &scratch) {
        row->add(scratch.row);
        *crossings = std::move(scratch.crossings);
        return crossings;
      }
    }
    row->add(lexeme->part->row);
    return &lexeme->part->crossings;
  }

 private:
  bool is_kept(const LexemeState& lexeme) const {
    return lexeme.part && lexeme.part->epoch == vocabulary_.epoch &&
           (lexeme.part->has_crossings || !want_crossings_);
  }

  // A state with the same part: the far form, where no token is as long as the counts.
  int32_t representative(int32_t state) {
    const int32_t far = automaton_.far(state, kFarLevel);
    return automaton_.agreed(state, far) >= vocabulary_.max_token_len ? far : state;
  }

  // The loop that a state is in, if what it skips need not be known. (Where a lexeme may end at any
  // character of it, all of these are crossings.)
  const Loop* usable_loop(const LexemeState& lexeme) const {
    return lexeme.loop && !(lexeme.loop->may_end && want_crossings_) ? lexeme.loop : nullptr;
  }

  // Whether all texts over the alphabet of a loop may come after a state of it.
  bool is_in_loop(const LexemeState* state, const Loop* loop) const {
    return state->loop == loop && state->limit == INT32_MAX;
  }

  // The part of a representative state, kept with it or put in `scratch`.
  const MaskPart* of(int32_t state, MaskPart* scratch) {
    LexemeState* lexeme = automaton_.at(state);
    if (is_kept(*lexeme)) return lexeme->part.get();
    Row row;
    int32_t visited;
    const Loop* loop = usable_loop(*lexeme);
    int32_t base = base_of(state);
    const bool differs_little = loop && is_in_loop(lexeme, loop) && is_in_loop(automaton_.at(base), loop);
    if (loop && !loop->is_cut && !differs_little) base = kDead;
    if (base == kDead && (!loop || loop->is_cut) && lexeme->usual_next != kDead) {
      if (!lexeme->region_sought && automaton_.may_visit(kUnseen))
        RegionSearch(&automaton_, state, !want_crossings_).run();
      loop = usable_loop(*lexeme);
    }
    if (base != kDead) {
      MaskPart unused;
      const MaskPart* near = of(base, &unused);
      row = *near->row;
      scratch->crossings = near->crossings;
      visited = walk_difference(state, base, row.data(), &scratch->crossings);
    } else if (loop) {
      row = vocabulary_.spelled(loop->alphabet, lexeme->limit);
      visited = walk_all(state, loop, row.data(), &scratch->crossings);
    } else {
      row.assign(vocabulary_.row_words, 0);
      visited = walk_all(state, nullptr, row.data(), &scratch->crossings);
    }
    scratch->row = std::make_shared<const Row>(std::move(row));
    scratch->has_crossings = want_crossings_;
    return visited < kKeepPartNodes ? scratch : keep(lexeme, std::move(*scratch));
  }

  // A state whose mask is almost this one's and is likely to be known: a far form, or the state
  // that most bytes lead to if it loops on most bytes. kDead where there is none.
  int32_t base_of(int32_t state) {
    const int32_t usual = automaton_.at(state)->usual_next;
    if (usual == kDead) return kDead;
    for (const int level : {kFarLevel, kNearLevel}) {
      const int32_t far = representative(automaton_.far(state, level));
      if (far != state) return far;
    }
    const bool loops = usual != state && automaton_.at(usual)->usual_next == usual;
    return loops ? usual : kDead;
  }

  // A state on the way through the trie.
  struct Step {
    const LexemeState* state;
    int32_t taken;  // characters of the loop's alphabet that came before it, or kImpure
  };

  // Takes a byte more, to a state with many ways on.
  static Step after(const Step& step, const TrieNode& at, const LexemeState* reached, const Loop* loop) {
    if (step.taken == kImpure || is_continuation(at.byte)) return {reached, step.taken};
    return {reached, loop->alphabet.has(at.byte) ? step.taken + 1 : kImpure};
  }

  // Whether the tokens below a node are in the row already, as far as they are allowed.
  bool is_known(const Step& step, const Loop* loop, int32_t limit, int32_t node) const {
    if (step.taken == kImpure || loop->exits.meets(vocabulary_.characters[node])) return false;
    return !loop->is_region || step.taken + vocabulary_.num_characters[node] <= limit;
  }

  // Walks the whole trie. Only the ways that live are looked at, for most states have few; of
  // tokens over the alphabet of `loop`, which are in the row already, only what else they begin.
  int32_t walk_all(int32_t state, const Loop* loop, int32_t* row, Crossings* crossings) {
    const Vocabulary& v = vocabulary_;
    const Step start{automaton_.at(state), loop ? 0 : kImpure};
    const int32_t limit = start.state->limit;
    int32_t visited = 0;
    for (int32_t byte = 0; byte < 256; ++byte) {
      const int32_t next = start.state->after(static_cast<uint8_t>(byte));
      const int32_t node = v.by_first[byte];
      if (next == kDead || node == kNone) continue;
      ++visited;
      if (is_known(start, loop, limit, node)) continue;
      v.allow_tokens_at(node, row);
      if (!v.has_children(node) || !automaton_.may_visit(next)) continue;
      const LexemeState* reached = automaton_.at(next);
      const Step step = after(start, v.nodes[node], reached, loop);
      if (want_crossings_ && !reached->labels.empty()) (*crossings)[next].push_back({node, node + 1});
      if (reached->only_byte == kManyBytes)
        visited += walk(step, loop, limit, node + 1, v.skip(node), row, crossings);
      if (reached->only_byte < 0) continue;
      const int32_t child = v.by_two[byte << 8 | reached->only_byte];
      if (child != kNone) visited += walk(step, loop, limit, child, v.skip(child), row, crossings);
    }
    return visited;
  }

  // Walks the nodes [first, last), subtrees of one node; returns how many it visited.
  int32_t walk(const Step& start, const Loop* loop, int32_t limit, int32_t first, int32_t last,
               int32_t* row, Crossings* crossings) {
    const Vocabulary& v = vocabulary_;
    if (first == last) return 0;
    const int32_t top = v.nodes[first].depth;
    const std::unique_ptr<Step[]> path(new Step[v.max_token_len - top + 1]);  // before each byte
    path[0] = start;
    int32_t visited = 0;
    for (int32_t node = first; node < last; ++visited) {
      const TrieNode& at = v.nodes[node];
      const Step& step = path[at.depth - top];
      if (is_known(step, loop, limit, node)) {
        node = at.skip;
        continue;
      }
      const int32_t next = step.state->after(at.byte);
      if (next == kDead) {
        node = at.skip;
        continue;
      }
      if (at.skip == node + 1 || !automaton_.may_visit(next)) {
        v.allow_tokens_at(node, row);
        node = at.skip;
        continue;
      }
      if (step.taken == kImpure && at.skip - node > kBulkNodes && loops_through(*step.state, node)) {
        v.allow_tokens_from(node, row);
        node = at.skip;
        continue;
      }
      v.allow_tokens_at(node, row);
      const LexemeState* reached = automaton_.at(next);
      if (want_crossings_ && !reached->labels.empty()) (*crossings)[next].push_back({node, node + 1});
      path[at.depth - top + 1] = after(step, at, reached, loop);
      node = reached->only_byte == kNoByte ? at.skip : node + 1;
    }
    return visited;
  }

  // Whether all ways down through a node are texts of a state's loop.
  bool loops_through(const LexemeState& state, int32_t node) const {
    const Loop* loop = usable_loop(state);
    return loop && loop->alphabet.contains(vocabulary_.characters[node]) &&
           vocabulary_.num_characters[node] <= state.limit;
  }

  // Turns the part of state `base` into that of `state`, by walking only where they differ.
  int32_t walk_difference(int32_t state, int32_t base, int32_t* row, Crossings* crossings) {
    const Vocabulary& v = vocabulary_;
    struct Open {
      int32_t end, agreed;  // the two states agree on texts of up to so many bytes
      const LexemeState *mine, *base;
    };
    std::vector<Open> open{{v.num_nodes(), automaton_.agreed(state, base), automaton_.at(state),
                            automaton_.at(base)}};
    std::vector<Nodes> changed;  // ascending
    Crossings added;
    int32_t visited = 0;
    for (int32_t node = 0; node < v.num_nodes();) {
      while (node >= open.back().end) open.pop_back();
      if (v.height[node] < open.back().agreed) {
        node = v.skip(node);
        continue;
      }
      const Loop* loop = usable_loop(*open.back().mine);
      if (loop && is_in_loop(open.back().mine, loop) && is_in_loop(open.back().base, loop) &&
          !loop->exits.meets(v.characters[node])) {
        node = v.skip(node);
        continue;
      }
      ++visited;
      const int32_t next = open.back().mine->after(v.byte(node));
      const int32_t base_next = open.back().base->after(v.byte(node));
      const int32_t agreed = automaton_.agreed(next, base_next);
      if (v.height[node] <= agreed) {
        node = v.skip(node);
        continue;
      }
      if (next == kDead) {
        v.forbid_tokens_from(node, row);
        changed.push_back({node, v.skip(node)});
        node = v.skip(node);
        continue;
      }
      if (!automaton_.may_visit(next) || !automaton_.may_visit(base_next)) {
        v.forbid_tokens_from(node, row);
        v.allow_tokens_at(node, row);
        changed.push_back({node, v.skip(node)});
        node = v.skip(node);
        continue;
      }
      v.allow_tokens_at(node, row);
      changed.push_back({node, node + 1});
      const LexemeState* reached = automaton_.at(next);
      if (want_crossings_ && !reached->labels.empty() && v.has_children(node))
        added[next].push_back({node, node + 1});
      if (base_next == kDead) {
        visited += walk({automaton_.at(next), kImpure}, nullptr, 0, node + 1, v.skip(node),
                        row, &added);
        node = v.skip(node);
        continue;
      }
      open.push_back({v.skip(node), agreed, reached, automaton_.at(base_next)});
      ++node;
    }
    replace_crossings(changed, added, crossings);
    return visited;
  }

  // Drops the crossings in the changed ranges and adds others.
  static void replace_crossings(const std::vector<Nodes>& changed, const Crossings& added,
                                Crossings* crossings) {
    for (auto& [lexeme, ranges] : *crossings) {
      std::vector<Nodes> kept;
      size_t at = 0;
      for (auto [first, last] : ranges) {
        while (at < changed.size() && changed[at].second <= first) ++at;
        for (size_t i = at; i < changed.size() && changed[i].first < last; ++i) {
          if (changed[i].first > first) kept.push_back({first, changed[i].first});
          first = std::max(first, changed[i].second);
        }
        if (first < last) kept.push_back({first, last});
      }
      ranges = std::move(kept);
    }
    for (const auto& [lexeme, ranges] : added) {
      std::vector<Nodes>& all = (*crossings)[lexeme];
      all.insert(all.end(), ranges.begin(), ranges.end());
      std::sort(all.begin(), all.end());
    }
  }

  const MaskPart* keep(LexemeState* lexeme, MaskPart part) {
    int64_t size = static_cast<int64_t>(part.row->size()) * 4;
    for (const auto& [state, ranges] : part.crossings)
      size += 64 + static_cast<int64_t>(ranges.size() * sizeof(Nodes));
    if (vocabulary_.part_bytes + size > vocabulary_.max_part_bytes) {
      ++vocabulary_.epoch;  // start afresh; parts in use are rebuilt
      vocabulary_.rows.forget_all();  // for they hold parts
      vocabulary_.part_bytes = 0;
    }
    vocabulary_.part_bytes += size;
    part.epoch = vocabulary_.epoch;
    lexeme->part = std::make_unique<MaskPart>(std::move(part));
    return lexeme->part.get();
  }

  Vocabulary& vocabulary_;
  Automaton& automaton_;
  bool want_crossings_ = true;
};

}  // namespace grammar
