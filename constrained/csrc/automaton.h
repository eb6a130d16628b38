// Deterministic automata of lexemes: lazy ones over derivatives, and tries of literals.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "characters.h"
#include "language.h"
#include "loops.h"
#include "rows.h"

namespace grammar {

constexpr int32_t kDead = 0;
constexpr int32_t kNoByte = -1;     // nothing may come
constexpr int32_t kManyBytes = -2;
constexpr size_t kMaxNodes = 500'000;      // beyond, only the text itself makes new states
constexpr size_t kMaxNodesOfWalk = 60'000;
constexpr int32_t kUsualBytes = 48;  // a state that more bytes lead to is the usual one

// Nodes of the trie [first, last), at all of which a lexeme may end and a token may go on.
using Nodes = std::pair<int32_t, int32_t>;

// By the lexeme's state there.
using Crossings = std::unordered_map<int32_t, std::vector<Nodes>>;

// The part of a mask that depends on the lexeme alone: tokens that do not pass its end.
struct MaskPart {
  SharedRow row;
  Crossings crossings;
  bool has_crossings = true;  // false where they were not asked for
  int64_t epoch = 0;
};

struct LexemeState {
  const uint8_t* class_of;    // by byte
  std::vector<int32_t> next;  // by class
  std::vector<int32_t> labels;
  int32_t only_byte = kNoByte;   // the one byte that may come, kNoByte or kManyBytes
  int32_t usual_next = kDead;    // the state that most bytes lead to
  const Loop* loop = nullptr;
  int32_t limit = 0;             // how many characters of its loop may come, at least
  bool region_sought = false;    // whether it has been tried to find a loop over several states
  std::unique_ptr<MaskPart> part;

  int32_t after(uint8_t byte) const { return next[class_of[byte]]; }
  // Bytes that may come.
  const Bytes& live() const {
    if (has_live_) return live_;
    has_live_ = true;
    if (only_byte >= 0) live_.add(static_cast<uint8_t>(only_byte));
    if (only_byte != kManyBytes) return live_;
    for (int byte = 0; byte < 256; ++byte)
      if (after(static_cast<uint8_t>(byte)) != kDead) live_.add(static_cast<uint8_t>(byte));
    return live_;
  }

 private:
  mutable bool has_live_ = false;
  mutable Bytes live_;
};

// Where one byte is of class 1 and all others are of class 0.
struct SingleByteClasses {
  uint8_t of[256][256] = {};
  SingleByteClasses() {
    for (int byte = 0; byte < 256; ++byte) of[byte][byte] = 1;
  }
};

class Automaton {
 public:
  virtual ~Automaton() = default;

  LexemeState* at(int32_t state) {
    if (static_cast<size_t>(state) >= states_.size() || !states_[state]) make(state);
    return states_[state].get();
  }
  // A walk begins, which may make so many states and no more: a language may have any number.
  virtual void limit_walk() {}
  virtual bool may_visit(int32_t) const { return true; }
  // A state that agrees with this one on texts shorter than the counts in it; else the same.
  virtual int32_t far(int32_t state, int) { return state; }
  const Loop* keep(const Loop& loop) { return &loops_kept_.emplace_back(loop); }
  // How long the texts are that two states surely agree on; -1 where not even on the empty one.
  virtual int32_t agreed(int32_t first, int32_t second) { return first == second ? kNoCounts : -1; }

 protected:
  virtual void make(int32_t) {}  // puts a state that was not asked for before into `states_`

  std::vector<std::unique_ptr<LexemeState>> states_;
  std::deque<Loop> loops_kept_;
};

// The derivatives of languages as states; any number of languages can start in it.
class LanguageAutomaton : public Automaton {
 public:
  Languages languages;

  void limit_walk() override {
    max_nodes_ = std::min(languages.num_nodes() + kMaxNodesOfWalk, kMaxNodes);
  }
  bool may_visit(int32_t state) const override {
    return languages.num_nodes() < max_nodes_ ||
           (static_cast<size_t>(state) < states_.size() && states_[state]);
  }

  int32_t far(int32_t state, int level) override { return languages.far(state, level); }

  int32_t agreed(int32_t first, int32_t second) override {
    if (first == second) return kNoCounts;
    if (first == kDead || second == kDead) return -1;
    for (const int level : {kFarLevel, kNearLevel})
      if (languages.far(first, level) == languages.far(second, level))
        return std::min(languages.slack(first, level), languages.slack(second, level)) - 1;
    return -1;
  }

 private:
  void make(int32_t node) override {
    if (static_cast<size_t>(node) >= states_.size()) states_.resize(languages.num_nodes());
    auto state = std::make_unique<LexemeState>();
    const ByteClasses& classes = languages.classes(node);
    state->class_of = classes.of.data();
    state->next.resize(classes.count);
    if (languages.nullable(node)) state->labels.push_back(0);
    int32_t live_bytes = 0;
    for (int32_t i = 0; i < classes.count; ++i) {
      const Node next = languages.derivative(node, classes.first[i]);
      // What is too hard to tell counts as dead: some other way out is known to be alive.
      if (languages.emptiness(next) != Emptiness::kInhabited) continue;
      state->next[i] = next;
      live_bytes += classes.size[i];
      state->only_byte = live_bytes == 1 ? classes.first[i] : kManyBytes;
    }
    if (live_bytes > kUsualBytes) state->usual_next = usual_next(*state, classes);
    std::tie(state->loop, state->limit) = loops_.of(node);
    states_[node] = std::move(state);
  }

  // The state that most bytes lead to, if they are many; kDead otherwise.
  static int32_t usual_next(const LexemeState& state, const ByteClasses& classes) {
    int32_t most = kUsualBytes, usual = kDead;
    for (int32_t i = 0; i < classes.count; ++i) {
      if (state.next[i] == kDead || state.next[i] == usual) continue;
      int32_t bytes = 0;
      for (int32_t j = i; j < classes.count; ++j)
        if (state.next[j] == state.next[i]) bytes += classes.size[j];
      if (bytes <= most) continue;
      most = bytes;
      usual = state.next[i];
    }
    return usual;
  }

  Loops loops_{&languages};
  size_t max_nodes_ = kMaxNodes;
};

// A trie of literals, whose indices are the labels; state 1 is its root.
class LiteralTrie : public Automaton {
 public:
  LiteralTrie(const uint8_t* text, const int32_t* lengths, int32_t count) {
    add_state();
    add_state();
    for (int32_t literal = 0; literal < count; ++literal) {
      int32_t state = 1;
      for (int32_t i = 0; i < lengths[literal]; ++i) state = child(state, *text++);
      states_[state]->labels.push_back(literal);
    }
  }

  int64_t num_states() const { return static_cast<int64_t>(states_.size()); }

 private:
  int32_t add_state() {
    auto state = std::make_unique<LexemeState>();
    state->class_of = no_classes_.data();
    state->next.push_back(kDead);
    states_.push_back(std::move(state));
    return static_cast<int32_t>(states_.size()) - 1;
  }

  int32_t child(int32_t parent, uint8_t byte) {
    const int32_t known = states_[parent]->after(byte);
    if (known != kDead) return known;
    const int32_t added = add_state();
    LexemeState& state = *states_[parent];
    static const SingleByteClasses single;
    if (state.only_byte == kNoByte) {
      state.only_byte = byte;
      state.class_of = single.of[byte];
    } else {
      branch(&state, byte);
    }
    state.next.push_back(added);
    return added;
  }

  // Gives a state classes of its own, one more for this byte.
  void branch(LexemeState* state, uint8_t byte) {
    if (state->only_byte != kManyBytes) {
      own_classes_.push_back(std::make_unique<std::array<uint8_t, 256>>());
      own_classes_.back()->fill(0);
      (*own_classes_.back())[state->only_byte] = 1;
      state->class_of = own_classes_.back()->data();
      state->only_byte = kManyBytes;
    }
    const_cast<uint8_t*>(state->class_of)[byte] = static_cast<uint8_t>(state->next.size());
  }

  std::array<uint8_t, 256> no_classes_{};
  std::vector<std::unique_ptr<std::array<uint8_t, 256>>> own_classes_;
};

}  // namespace grammar
