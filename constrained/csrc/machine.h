// The machine of recursive transition networks, and the masks of its states.
//
// Does what machine.py does, for speed. It never calls back: where it meets a place or a captured
// text that it has not been given, it notes a need and returns, the caller supplies what is needed,
// and asks again.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "automaton.h"
#include "mask_parts.h"
#include "vocabulary.h"

namespace grammar {

constexpr int32_t kNeeds = -1;  // as a result: ask again after supplying the needs
constexpr size_t kMaxConfigurations = 64;
constexpr int32_t kUncaptured = -1;  // instead of a captured text: take the edge as it is
constexpr size_t kMaxForced = 4096;
constexpr int64_t kBytesPerTrieState = 160;  // by measurement

enum NeedKind : int32_t { kNeedPlace = 0, kNeedCaptured = 1, kNeedTargets = 2 };

struct Need {
  int32_t kind, first, second, third;
  bool operator==(const Need& o) const {
    return kind == o.kind && first == o.first && second == o.second && third == o.third;
  }
};

struct Target {
  int32_t place, value;
};

struct Edge {
  bool captures = false;
  bool is_known = true;  // otherwise its targets are asked for when they are needed
  std::vector<Target> targets;
};

struct Place {
  Automaton* automaton = nullptr;
  int32_t start = 0;
  int32_t also = kNone;  // the place of further edges out of the same state
  bool captures = false;
  bool may_refuse = false;  // a lexeme, for what it is, or because nothing follows it
  std::vector<Edge> edges;
};

struct Configuration {
  int32_t stack, place, lexeme, captured;  // place is kNone after the whole text
  bool operator==(const Configuration& o) const {
    return stack == o.stack && place == o.place && lexeme == o.lexeme && captured == o.captured;
  }
  bool operator<(const Configuration& o) const {
    if (stack != o.stack) return stack < o.stack;
    if (place != o.place) return place < o.place;
    if (lexeme != o.lexeme) return lexeme < o.lexeme;
    return captured < o.captured;
  }
};

using Configurations = std::vector<Configuration>;

struct ConfigurationsHash {
  size_t operator()(const Configurations& configurations) const {
    uint64_t hash = configurations.size();
    const auto mix = [&hash](int32_t first, int32_t second) {
      const uint64_t value = static_cast<uint64_t>(first) << 32 | static_cast<uint32_t>(second);
      hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
    };
    for (const Configuration& c : configurations) {
      mix(c.stack, c.place);
      mix(c.lexeme, c.captured);
    }
    return hash;
  }
};

// A state: the ways in which the text so far can be read, and what is known of those that follow.
struct MachineState {
  Configurations configurations;
  bool has_live = false;
  Bytes live;  // that may come next
  std::vector<std::pair<uint8_t, int32_t>> steps;  // states after bytes that came before
};

// The bytes that must come next, and the state after them: a chain of states as one edge.
struct Chain {
  std::string text;
  int32_t end;
};

class Machine : public MaskOwner {
 public:
  explicit Machine(std::shared_ptr<Vocabulary> vocabulary) : vocabulary_(std::move(vocabulary)) {
    stacks_.push_back({kNone, kNone});
    captures_.push_back({0, 0});
    number({});  // the dead state is number 0
  }

  ~Machine() {
    const std::lock_guard<std::mutex> guard(vocabulary_->mutex);
    vocabulary_->rows.forget(this);
  }

  std::mutex& mutex() { return vocabulary_->mutex; }

  Automaton* add_literals(const uint8_t* text, const int32_t* lengths, int32_t count) {
    tries_.push_back(std::make_unique<LiteralTrie>(text, lengths, count));
    trie_states_ += tries_.back()->num_states();
    return tries_.back().get();
  }

  void set_place(int32_t number, Automaton* automaton, int32_t start, int32_t also,
                 const int32_t* edges, int32_t num_edges) {
    Place& place = place_at(number);
    place.automaton = automaton;
    place.start = start;
    place.also = also;
    for (int32_t i = 0; i < num_edges; ++i) {
      Edge edge;
      edge.captures = *edges++ != 0;
      place.captures |= edge.captures;
      edge.is_known = *edges >= 0;
      edges = edge.is_known ? read_targets(edges, &edge.targets) : edges + 1;
      place.may_refuse |= edge.captures || (edge.is_known && edge.targets.empty());
      place.edges.push_back(std::move(edge));
    }
  }

  void set_targets(int32_t place, int32_t label, const int32_t* targets) {
    Edge& edge = places_[place].edges[label];
    edge.targets.clear();
    read_targets(targets, &edge.targets);
    edge.is_known = true;
  }

  void set_captured(int32_t place, int32_t label, int32_t captured, const int32_t* targets) {
    read_targets(targets, &captured_targets_[pair_key(place, label)][captured]);
  }

  int32_t enter_start(int32_t place) {
    Configurations start;
    return enter(0, place, &start) ? number(std::move(start)) : kNeeds;
  }

  int32_t advance(int32_t state, const uint8_t* text, int32_t length) {
    for (int32_t i = 0; i < length && state != kDead; ++i) {
      state = step(state, text[i]);
      if (state == kNeeds) return kNeeds;
    }
    return state;
  }

  int32_t advance_token(int32_t state, int32_t token) {
    const int32_t begin = vocabulary_->text_begin[token];
    const int32_t length = vocabulary_->text_begin[token + 1] - begin;
    return length == 0 ? kDead : advance(state, vocabulary_->text.data() + begin, length);
  }

  bool accepting(int32_t state) const {
    for (const Configuration& c : states_[state].configurations)
      if (c.place == kNone) return true;
    return false;
  }

  // Writes the bytes that must come next; returns how many, or kNeeds.
  int32_t forced(int32_t state, uint8_t* out) {
    const auto known = chains_.find(state);
    if (known != chains_.end()) return copy_text(known->second, out);
    Chain chain{"", state};
    while (chain.text.size() < kMaxForced && !accepting(chain.end)) {
      const int32_t byte = only_byte(chain.end);
      if (byte == kManyBytes) break;
      const int32_t next = step(chain.end, static_cast<uint8_t>(byte));
      if (next == kNeeds) return kNeeds;
      chain.text.push_back(static_cast<char>(byte));
      chain.end = next;
    }
    return copy_text(chains_[state] = std::move(chain), out);
  }

  // Whether the text is complete, and nothing may follow.
  bool finished(int32_t state) const {
    if (!accepting(state)) return false;
    for (const Configuration& c : states_[state].configurations)
      if (c.place != kNone && lexeme_of(c)->only_byte != kNoByte) return false;
    return true;
  }

  // Writes the tokens that may come next, the end of the text among them; returns 0 or kNeeds.
  int32_t fill(int32_t state, int32_t* words) {
    if (vocabulary_->rows.copy(*this, state, words)) return 0;
    MaskRow row(words, vocabulary_->row_words);
    bool complete = true;
    const Configurations& all = states_[state].configurations;
    std::vector<const Configuration*> alike;
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].place == kNone || !alike_before(all, i, &alike)) continue;
      complete &= fill_alike(alike, &row);
    }
    if (!complete) return kNeeds;
    if (accepting(state))
      for (const int32_t token : vocabulary_->eos_tokens) Vocabulary::allow(token, row.words());
    vocabulary_->rows.keep(this, state, &row);
    return 0;
  }

  int32_t take_needs(int32_t* out, int32_t capacity) {
    const int32_t count = std::min<int32_t>(capacity, static_cast<int32_t>(needs_.size()));
    std::memcpy(out, needs_.data(), sizeof(Need) * count);
    needs_.clear();
    return count;
  }

  int32_t captured_text(int32_t captured, uint8_t* out, int32_t capacity) const {
    int32_t length = 0;
    for (int32_t node = captured; node != 0; node = captures_[node].first) ++length;
    if (length > capacity) return length;
    for (int32_t node = captured, at = length; node != 0; node = captures_[node].first)
      out[--at] = static_cast<uint8_t>(captures_[node].second);
    return length;
  }

  int64_t memory_bytes() const {
    return static_cast<int64_t>(states_.size()) * 192 + num_steps_ * 12 +
           static_cast<int64_t>(stacks_.size() + captures_.size()) * 56 +
           trie_states_ * kBytesPerTrieState +
           vocabulary_->rows.bytes_of(*this);
  }

 private:
  Place& place_at(int32_t number) {
    if (static_cast<size_t>(number) >= places_.size()) places_.resize(number + 1);
    return places_[number];
  }

  static const int32_t* read_targets(const int32_t* data, std::vector<Target>* targets) {
    for (int32_t count = *data++; count > 0; --count, data += 2)
      targets->push_back({data[0], data[1]});
    return data;
  }

  static uint64_t pair_key(int32_t first, int32_t second) {
    return static_cast<uint64_t>(first) << 32 | static_cast<uint32_t>(second);
  }

  static int32_t copy_text(const Chain& chain, uint8_t* out) {
    std::memcpy(out, chain.text.data(), chain.text.size());
    return static_cast<int32_t>(chain.text.size());
  }

  void need(int32_t kind, int32_t first, int32_t second = 0, int32_t third = 0) {
    const Need found{kind, first, second, third};
    if (std::find(needs_.begin(), needs_.end(), found) == needs_.end()) needs_.push_back(found);
  }

  // The place of a configuration was known when it was entered.
  const LexemeState* lexeme_of(const Configuration& c) const {
    return places_[c.place].automaton->at(c.lexeme);
  }

  int32_t number(Configurations configurations) {
    std::sort(configurations.begin(), configurations.end());
    configurations.erase(std::unique(configurations.begin(), configurations.end()),
                         configurations.end());
    if (configurations.size() > kMaxConfigurations) configurations.resize(kMaxConfigurations);
    const auto found = numbers_.find(configurations);
    if (found != numbers_.end()) return found->second;
    const int32_t number = static_cast<int32_t>(states_.size());
    numbers_.emplace(configurations, number);
    states_.emplace_back().configurations = std::move(configurations);
    return number;
  }

  int32_t push(int32_t below, int32_t place) {
    const auto [found, fresh] =
        stack_numbers_.emplace(pair_key(below, place), static_cast<int32_t>(stacks_.size()));
    if (fresh) stacks_.push_back({below, place});
    return found->second;
  }

  int32_t captured_with(int32_t captured, uint8_t byte) {
    const uint64_t key = static_cast<uint64_t>(captured) << 8 | byte;
    const auto [found, fresh] =
        capture_numbers_.emplace(key, static_cast<int32_t>(captures_.size()));
    if (fresh) captures_.push_back({captured, byte});
    return found->second;
  }

  // The configurations at the beginning of a state; false where something is needed.
  bool enter(int32_t stack, int32_t number, Configurations* out) {
    bool complete = true;
    while (number != kNone) {
      const Place& place = place_at(number);
      if (place.automaton == nullptr) {
        need(kNeedPlace, number);
        return false;
      }
      const Configuration configuration{stack, number, place.start, 0};
      out->push_back(configuration);
      complete &= follow(configuration, lexeme_of(configuration)->labels, out);
      number = place.also;
    }
    return complete;
  }

  // The configurations after the lexemes that end here.
  bool follow(const Configuration& c, const std::vector<int32_t>& labels, Configurations* out) {
    bool complete = true;
    for (const int32_t label : labels) {
      const Edge& edge = places_[c.place].edges[label];
      const std::vector<Target>* targets = &edge.targets;
      if (!edge.is_known) {
        need(kNeedTargets, c.place, label);
        complete = false;
        continue;
      }
      if (edge.captures && c.captured != kUncaptured) {
        const auto& known = captured_targets_[pair_key(c.place, label)];
        const auto found = known.find(c.captured);
        if (found == known.end()) {
          need(kNeedCaptured, c.place, label, c.captured);
          complete = false;
          continue;
        }
        targets = &found->second;
      }
      for (const Target& target : *targets) complete &= follow_target(c.stack, target, out);
    }
    return complete;
  }

  bool follow_target(int32_t stack, const Target& target, Configurations* out) {
    if (target.place != kNone) {
      if (target.value == kNone) return enter(stack, target.place, out);
      return enter(push(stack, target.place), target.value, out);
    }
    const auto [below, place] = stacks_[stack];
    if (place != kNone) return enter(below, place, out);
    out->push_back({0, kNone, 0, 0});
    return true;
  }

  int32_t step(int32_t number_before, uint8_t byte) {
    MachineState& state = states_[number_before];
    if (!live(&state).has(byte)) return kDead;
    for (const auto& [known, after] : state.steps)
      if (known == byte) return after;
    Configurations following;
    bool complete = true;
    for (const Configuration& c : state.configurations)
      if (c.place != kNone) complete &= advance_configuration(c, byte, &following);
    if (!complete) return kNeeds;
    const int32_t after = number(std::move(following));
    state.steps.push_back({byte, after});
    ++num_steps_;
    return after;
  }

  // Whether a byte may come, as told without going on to what follows the lexeme.
  bool surely_live(int32_t number_before, uint8_t byte) {
    MachineState& state = states_[number_before];
    if (!live(&state).has(byte)) return false;
    for (const Configuration& c : state.configurations)
      if (c.place != kNone && !places_[c.place].may_refuse && lexeme_of(c)->after(byte) != kDead)
        return true;
    return false;
  }

  const Bytes& live(MachineState* state) const {
    if (state->has_live) return state->live;
    for (const Configuration& c : state->configurations)
      if (c.place != kNone) state->live.add(lexeme_of(c)->live());
    state->has_live = true;
    return state->live;
  }

  bool advance_configuration(const Configuration& c, uint8_t byte, Configurations* out) {
    const Place& place = places_[c.place];
    const int32_t next = place.automaton->at(c.lexeme)->after(byte);
    if (next == kDead) return true;
    const LexemeState* reached = place.automaton->at(next);
    const int32_t captured = place.captures ? captured_with(c.captured, byte) : 0;
    const Configuration configuration{c.stack, c.place, next, captured};
    if (reached->only_byte != kNoByte) out->push_back(configuration);
    return follow(configuration, reached->labels, out);
  }

  int32_t only_byte(int32_t state) const {
    int32_t byte = kManyBytes;
    for (const Configuration& c : states_[state].configurations) {
      const int32_t only = lexeme_of(c)->only_byte;
      if (only < 0 || (byte != kManyBytes && only != byte)) return kManyBytes;
      byte = only;
    }
    return byte;
  }

  // Whether two are in the same state of a lexeme, which then allows the same tokens before its end.
  bool are_alike(const Configuration& first, const Configuration& second) const {
    const Place &one = places_[first.place], &other = places_[second.place];
    return first.lexeme == second.lexeme && one.automaton == other.automaton && !one.captures &&
           !other.captures;
  }

  // Collects the configurations that are like the i-th; false where an earlier one is.
  bool alike_before(const Configurations& all, size_t i,
                    std::vector<const Configuration*>* alike) const {
    alike->assign(1, &all[i]);
    for (size_t j = 0; j < all.size(); ++j) {
      if (j == i || all[j].place == kNone || !are_alike(all[i], all[j])) continue;
      if (j < i) return false;
      alike->push_back(&all[j]);
    }
    return true;
  }

  bool fill_alike(const std::vector<const Configuration*>& alike, MaskRow* row) {
    Crossings scratch;
    MaskParts parts(vocabulary_.get(), places_[alike[0]->place].automaton);
    const auto ends = [this](const Configuration* c) { return ends_text(*c); };
    const bool want_crossings = !std::all_of(alike.begin(), alike.end(), ends);
    const Crossings* crossings = parts.add(alike[0]->lexeme, want_crossings, row, &scratch);
    bool complete = true;
    if (!want_crossings) return true;
    for (const auto& [lexeme, ranges] : *crossings)
      complete &= cross(alike, lexeme, ranges, row->words());
    return complete;
  }

  // Whether nothing but the end follows the lexemes of a configuration, whichever they are.
  bool ends_text(const Configuration& c) const {
    if (stacks_[c.stack].second != kNone) return false;
    for (const Edge& edge : places_[c.place].edges) {
      if (edge.captures || !edge.is_known) return false;
      for (const Target& target : edge.targets)
        if (target.place != kNone) return false;
    }
    return true;
  }

  // The tokens that go on after the lexeme, by walking below nodes from the state that follows.
  bool cross(const std::vector<const Configuration*>& alike, int32_t lexeme,
             const std::vector<Nodes>& ranges, int32_t* row) {
    Configurations following;
    bool complete = true;
    for (const Configuration* c : alike) {
      const Configuration ended{c->stack, c->place, lexeme, kUncaptured};
      complete &= follow(ended, lexeme_of(ended)->labels, &following);
    }
    if (!complete) return false;
    const auto is_done = [](const Configuration& after) { return after.place == kNone; };
    if (std::all_of(following.begin(), following.end(), is_done)) return true;
    const int32_t state = number(std::move(following));
    const bool captures = places_[alike[0]->place].captures;
    for (const auto& [first, last] : ranges) {
      for (int32_t node = first; node < last; ++node) {
        if (!vocabulary_->has_children(node)) continue;
        complete &= captures ? fill_captured(*alike[0], lexeme, node, state, row)
                             : walk_below(state, node, row);
      }
    }
    return complete;
  }

  // What was captured forbids more, so what state `uncaptured` leaves out is out. Few are left.
  bool fill_captured(const Configuration& c, int32_t lexeme, int32_t node, int32_t uncaptured,
                     int32_t* row) {
    bool any = false;
    if (!walk_below(uncaptured, node, nullptr, &any)) return false;
    if (!any) return true;
    const Configuration captured{c.stack, c.place, lexeme, captured_to(c.captured, node)};
    Configurations following;
    return follow(captured, lexeme_of(captured)->labels, &following) &&
           walk_below(number(std::move(following)), node, row);
  }

  int32_t captured_to(int32_t captured, int32_t node) {
    if (node == kNone) return captured;
    return captured_with(captured_to(captured, vocabulary_->parent[node]),
                         vocabulary_->byte(node));
  }

  // Walks the trie below a node, from a state there. Without a row it only says whether it found any.
  bool walk_below(int32_t start, int32_t node, int32_t* row, bool* any = nullptr) {
    const Vocabulary& v = *vocabulary_;
    const int32_t last = v.skip(node);
    open_.assign(1, {last, start});
    bool complete = true;
    for (++node; node < last;) {
      while (node >= open_.back().first) open_.pop_back();
      const bool is_leaf = !v.has_children(node);
      if (is_leaf && surely_live(open_.back().second, v.byte(node))) {
        if (row) v.allow_tokens_at(node, row);
        if (any) *any = true;
        ++node;
        continue;
      }
      const int32_t state = step(open_.back().second, v.byte(node));
      if (state == kDead || state == kNeeds) {
        complete &= state == kDead;
        node = v.skip(node);
        continue;
      }
      if (row) v.allow_tokens_at(node, row);
      if (any) *any |= v.nodes[node].first_token < v.nodes[node + 1].first_token;
      open_.push_back({v.skip(node), state});
      ++node;
    }
    return complete;
  }

  std::shared_ptr<Vocabulary> vocabulary_;
  std::vector<std::unique_ptr<LiteralTrie>> tries_;
  int64_t trie_states_ = 0, num_steps_ = 0;
  std::deque<Place> places_;
  std::vector<std::pair<int32_t, int32_t>> stacks_;  // what is below, place to return to
  std::unordered_map<uint64_t, int32_t> stack_numbers_;
  std::vector<std::pair<int32_t, int32_t>> captures_;  // text before, last byte
  std::unordered_map<uint64_t, int32_t> capture_numbers_;
  std::unordered_map<uint64_t, std::unordered_map<int32_t, std::vector<Target>>> captured_targets_;
  std::deque<MachineState> states_;  // grows without moving what is in it
  std::unordered_map<Configurations, int32_t, ConfigurationsHash> numbers_;
  std::unordered_map<int32_t, Chain> chains_;
  std::vector<Need> needs_;
  std::vector<std::pair<int32_t, int32_t>> open_;  // where subtrees end, and the state in them
};

}  // namespace grammar
