// The machine of recursive transition networks, and its walk of a vocabulary's trie.
//
// Does what machine.py does, with the same numbering of rows and labels, for speed. It never calls
// back: where it meets a row, a place or a captured text that it has not been given, it notes a
// need and returns, the caller supplies what is needed, and asks again.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace {

constexpr int32_t kDead = 0;
constexpr int32_t kNone = -1;       // end of frame, no nested value, finished
constexpr int32_t kNeeds = -1;      // as a result: ask again after supplying the needs
constexpr size_t kMaxConfigurations = 64;
constexpr int32_t kKeepPartNodes = 512;   // walks shorter than this are not worth remembering
constexpr int32_t kManyBytes = -2;
constexpr int32_t kUncaptured = -1;       // instead of a captured text: take the edge as it is

enum NeedKind : int32_t { kNeedPlace = 0, kNeedRow = 1, kNeedCaptured = 2 };

struct Need {
  int32_t kind, first, second, third;
  bool operator==(const Need& o) const {
    return kind == o.kind && first == o.first && second == o.second && third == o.third;
  }
};

struct Vocabulary {
  std::vector<uint8_t> bytes;
  std::vector<int32_t> skip, tokens, order, parent;
  int32_t row_words = 0;
  int64_t part_bytes = 0, max_part_bytes = 0;
  int64_t epoch = 0;  // parts of an older epoch have been given up
  std::mutex mutex;

  void allow_tokens_at(int32_t node, int32_t* row) const {
    for (int32_t i = tokens[node]; i < tokens[node + 1]; ++i) {
      const uint32_t token = static_cast<uint32_t>(order[i]);
      row[token >> 5] |= static_cast<int32_t>(1u << (token & 31));
    }
  }
  bool has_children(int32_t node) const { return skip[node] > node + 1; }
};

// A place in the trie where a lexeme may end and the token goes on.
struct Crossing {
  int32_t node, lexeme;
};

// The part of a mask that depends on the lexeme alone: tokens that do not pass its end.
struct MaskPart {
  std::vector<int32_t> row;
  std::vector<Crossing> crossings;
  int64_t epoch = 0;
};

struct LexemeState {
  std::array<int32_t, 256> next;
  std::vector<int32_t> labels;
  int32_t only_byte = kNone;  // the one byte that may come, kNone or kManyBytes
  int32_t mask_state = 0;     // a state that admits the same tokens
  int32_t usual_next = kDead; // the state that most bytes lead to
  std::unique_ptr<MaskPart> part;
};

struct Automaton {
  std::vector<std::unique_ptr<LexemeState>> states;

  const LexemeState* at(int32_t state) const {
    return static_cast<size_t>(state) < states.size() ? states[state].get() : nullptr;
  }
};

struct Target {
  int32_t place, value;
};

struct Edge {
  bool captures = false;
  std::vector<Target> targets;
};

struct Place {
  Automaton* automaton = nullptr;
  int32_t start = 0;
  int32_t also = kNone;  // the place of further edges out of the same state
  bool captures = false;
  std::vector<Edge> edges;
};

struct Configuration {
  int32_t stack, place, lexeme, captured;
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

uint64_t mixed(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash;
}

struct ConfigurationsHash {
  size_t operator()(const Configurations& configurations) const {
    uint64_t hash = configurations.size();
    for (const Configuration& c : configurations) {
      hash = mixed(hash, static_cast<uint64_t>(c.stack) << 32 | static_cast<uint32_t>(c.place));
      hash = mixed(hash, static_cast<uint64_t>(c.lexeme) << 32 | static_cast<uint32_t>(c.captured));
    }
    return hash;
  }
};

class Machine {
 public:
  explicit Machine(Vocabulary* vocabulary) : vocabulary_(vocabulary) {
    stacks_.push_back({kNone, kNone});
    captures_.push_back({0, 0});
    number({});  // the dead state is number 0
  }

  std::mutex& mutex() { return vocabulary_->mutex; }

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
      edges = read_targets(edges, &edge.targets);
      place.edges.push_back(std::move(edge));
    }
  }

  void set_captured(int32_t place, int32_t label, int32_t captured, const int32_t* targets) {
    read_targets(targets, &captured_targets_[captured_key(place, label)][captured]);
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

  bool accepting(int32_t state) const {
    for (const Configuration& c : states_[state])
      if (c.place == kNone) return true;
    return false;
  }

  // Writes the bytes that must come next; returns how many, or kNeeds.
  int32_t forced(int32_t state, uint8_t* out, int32_t capacity) {
    int32_t length = 0;
    while (length < capacity && !accepting(state)) {
      const int32_t byte = only_byte(state);
      if (byte == kNeeds) return kNeeds;
      if (byte == kManyBytes) break;
      state = step(state, static_cast<uint8_t>(byte));
      if (state == kNeeds) return kNeeds;
      out[length++] = static_cast<uint8_t>(byte);
    }
    return length;
  }

  // 1: complete, and nothing may follow; 0: not so; kNeeds.
  int32_t finished(int32_t state) {
    if (!accepting(state)) return 0;
    for (const Configuration& c : states_[state]) {
      if (c.place == kNone) continue;
      const LexemeState* lexeme = lexeme_of(c);
      if (lexeme == nullptr) return kNeeds;
      if (lexeme->only_byte != kNone) return 0;
    }
    return 1;
  }

  // Writes the tokens that may come next; returns 0 or kNeeds.
  int32_t fill(int32_t state, int32_t* row) {
    std::memset(row, 0, sizeof(int32_t) * vocabulary_->row_words);
    const Configurations configurations = states_[state];
    bool complete = true;
    for (const Configuration& c : configurations)
      if (c.place != kNone) complete &= fill_configuration(c, row);
    return complete ? 0 : kNeeds;
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
    return static_cast<int64_t>(states_.size()) * 128 + static_cast<int64_t>(steps_.size()) * 48 +
           static_cast<int64_t>(stacks_.size() + captures_.size()) * 56;
  }

 private:
  Place& place_at(int32_t number) {
    if (static_cast<size_t>(number) >= places_.size()) places_.resize(number + 1);
    return places_[number];
  }

  static const int32_t* read_targets(const int32_t* data, std::vector<Target>* targets) {
    for (int32_t count = *data++; count > 0; --count, data += 2) targets->push_back({data[0], data[1]});
    return data;
  }

  static uint64_t captured_key(int32_t place, int32_t label) {
    return static_cast<uint64_t>(place) << 32 | static_cast<uint32_t>(label);
  }

  void need(int32_t kind, int32_t first, int32_t second = 0, int32_t third = 0) {
    const Need found{kind, first, second, third};
    if (std::find(needs_.begin(), needs_.end(), found) == needs_.end()) needs_.push_back(found);
  }

  const Place* known_place(int32_t number) {
    Place& place = place_at(number);
    if (place.automaton == nullptr) {
      need(kNeedPlace, number);
      return nullptr;
    }
    return &place;
  }

  const LexemeState* known_lexeme(const Place& place, int32_t number, int32_t lexeme) {
    const LexemeState* found = place.automaton->at(lexeme);
    if (found == nullptr) need(kNeedRow, number, lexeme);
    return found;
  }

  const LexemeState* lexeme_of(const Configuration& c) {
    const Place* place = known_place(c.place);
    return place == nullptr ? nullptr : known_lexeme(*place, c.place, c.lexeme);
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
    states_.push_back(std::move(configurations));
    return number;
  }

  int32_t push(int32_t below, int32_t place) {
    const uint64_t key = static_cast<uint64_t>(below) << 32 | static_cast<uint32_t>(place);
    const auto [found, fresh] = stack_numbers_.emplace(key, static_cast<int32_t>(stacks_.size()));
    if (fresh) stacks_.push_back({below, place});
    return found->second;
  }

  int32_t captured_with(int32_t captured, uint8_t byte) {
    const uint64_t key = static_cast<uint64_t>(captured) << 8 | byte;
    const auto [found, fresh] = capture_numbers_.emplace(key, static_cast<int32_t>(captures_.size()));
    if (fresh) captures_.push_back({captured, byte});
    return found->second;
  }

  // The configurations at the beginning of a state; false where something is needed.
  bool enter(int32_t stack, int32_t number, Configurations* out) {
    bool complete = true;
    while (number != kNone) {
      const Place* place = known_place(number);
      if (place == nullptr) return false;
      const Configuration configuration{stack, number, place->start, 0};
      const LexemeState* lexeme = known_lexeme(*place, number, place->start);
      if (lexeme != nullptr) {
        out->push_back(configuration);
        complete &= follow(configuration, lexeme->labels, out);
      } else {
        complete = false;
      }
      number = place->also;
    }
    return complete;
  }

  // The configurations after the lexemes that end here.
  bool follow(const Configuration& c, const std::vector<int32_t>& labels, Configurations* out) {
    bool complete = true;
    for (const int32_t label : labels) {
      const Edge* edge = &places_[c.place].edges[label];
      std::vector<Target> targets = edge->targets;
      if (edge->captures && c.captured != kUncaptured) {
        const auto& known = captured_targets_[captured_key(c.place, label)];
        const auto found = known.find(c.captured);
        if (found == known.end()) {
          need(kNeedCaptured, c.place, label, c.captured);
          complete = false;
          continue;
        }
        targets = found->second;
      }
      for (const Target& target : targets) complete &= follow_target(c.stack, target, out);
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

  int32_t step(int32_t state, uint8_t byte) {
    const uint64_t key = static_cast<uint64_t>(state) << 8 | byte;
    const auto known = steps_.find(key);
    if (known != steps_.end()) return known->second;
    const Configurations configurations = states_[state];
    Configurations following;
    bool complete = true;
    for (const Configuration& c : configurations)
      if (c.place != kNone) complete &= advance_configuration(c, byte, &following);
    if (!complete) return kNeeds;
    return steps_[key] = number(std::move(following));
  }

  bool advance_configuration(const Configuration& c, uint8_t byte, Configurations* out) {
    const LexemeState* lexeme = lexeme_of(c);
    if (lexeme == nullptr) return false;
    const int32_t next = lexeme->next[byte];
    if (next == kDead) return true;
    const Place& place = places_[c.place];
    const LexemeState* reached = known_lexeme(place, c.place, next);
    if (reached == nullptr) return false;
    const int32_t captured = place.captures ? captured_with(c.captured, byte) : 0;
    const Configuration configuration{c.stack, c.place, next, captured};
    if (reached->only_byte != kNone) out->push_back(configuration);
    return follow(configuration, reached->labels, out);
  }

  int32_t only_byte(int32_t state) {
    int32_t byte = kManyBytes;
    bool first = true;
    for (const Configuration& c : states_[state]) {
      const LexemeState* lexeme = lexeme_of(c);
      if (lexeme == nullptr) return kNeeds;
      if (lexeme->only_byte < 0 || (!first && lexeme->only_byte != byte)) return kManyBytes;
      byte = lexeme->only_byte;
      first = false;
    }
    return byte;
  }

  bool fill_configuration(const Configuration& c, int32_t* row) {
    if (known_place(c.place) == nullptr) return false;
    MaskPart scratch;
    const MaskPart* part = part_of(c, &scratch);
    if (part == nullptr) return false;
    for (int32_t i = 0; i < vocabulary_->row_words; ++i) row[i] |= part->row[i];
    return fill_crossings(c, *part, row);
  }

  // The tokens that go on after the lexeme, by walking the subtrees from the states that follow.
  bool fill_crossings(const Configuration& c, const MaskPart& part, int32_t* row) {
    const Place& place = places_[c.place];
    std::unordered_map<int32_t, int32_t> states;  // lexeme state -> state after it, uncaptured
    std::vector<int32_t> scratch;
    bool complete = true;
    for (const Crossing& crossing : part.crossings) {
      const auto [found, fresh] = states.emplace(crossing.lexeme, kNeeds);
      const std::vector<int32_t>& labels = place.automaton->at(crossing.lexeme)->labels;
      if (fresh) {
        Configurations following;
        if (follow({c.stack, c.place, crossing.lexeme, kUncaptured}, labels, &following))
          found->second = number(std::move(following));
      }
      if (found->second == kNeeds) {
        complete = false;
        continue;
      }
      const int32_t first = crossing.node + 1, last = vocabulary_->skip[crossing.node];
      if (!place.captures) {
        complete &= walk(found->second, first, last, row);
        continue;
      }
      // What was captured forbids more, so what it leaves out without is out. Few are left.
      scratch.assign(vocabulary_->row_words, 0);
      complete &= walk(found->second, first, last, scratch.data());
      if (std::all_of(scratch.begin(), scratch.end(), [](int32_t word) { return word == 0; })) continue;
      Configurations following;
      const Configuration captured{c.stack, c.place, crossing.lexeme,
                                   captured_to(c.captured, crossing.node)};
      if (follow(captured, labels, &following))
        complete &= walk(number(std::move(following)), first, last, row);
      else
        complete = false;
    }
    return complete;
  }

  int32_t captured_to(int32_t captured, int32_t node) {
    if (node == kNone) return captured;
    return captured_with(captured_to(captured, vocabulary_->parent[node]), vocabulary_->bytes[node]);
  }

  const MaskPart* part_of(const Configuration& c, MaskPart* scratch) {
    const LexemeState* lexeme = lexeme_of(c);
    if (lexeme == nullptr) return nullptr;
    if (lexeme->mask_state != c.lexeme)
      return part_of({c.stack, c.place, lexeme->mask_state, 0}, scratch);
    if (lexeme->part && lexeme->part->epoch == vocabulary_->epoch) return lexeme->part.get();
    const int32_t base = base_of(c, *lexeme);
    if (base == kNeeds) return nullptr;
    int32_t visited;
    if (base != kDead) {
      MaskPart unused;
      const MaskPart* base_part = part_of({c.stack, c.place, base, 0}, &unused);
      if (base_part == nullptr) return nullptr;
      *scratch = *base_part;
      visited = walk_difference(c, base, scratch);
    } else {
      scratch->row.assign(vocabulary_->row_words, 0);
      scratch->crossings.clear();
      visited = walk_lexeme(c, 0, static_cast<int32_t>(vocabulary_->bytes.size()), scratch);
    }
    if (visited == kNeeds) return nullptr;
    if (visited < kKeepPartNodes) return scratch;
    return keep_part(places_[c.place].automaton->states[c.lexeme].get(), std::move(*scratch));
  }

  // A state that loops on most bytes and that most bytes lead to from here: its mask is almost
  // this one's. kDead where there is none.
  int32_t base_of(const Configuration& c, const LexemeState& lexeme) {
    const int32_t base = lexeme.usual_next;
    if (base == kDead || base == c.lexeme) return kDead;
    const LexemeState* usual = known_lexeme(places_[c.place], c.place, base);
    if (usual == nullptr) return kNeeds;
    return usual->usual_next == base && usual->mask_state == base ? base : kDead;
  }

  // Turns the part of state `base` into that of `c.lexeme`, by walking only where they differ.
  int32_t walk_difference(const Configuration& c, int32_t base, MaskPart* part) {
    const Vocabulary& v = *vocabulary_;
    const Place& place = places_[c.place];
    struct Open {
      int32_t end, lexeme, base;
    };
    const int32_t num_nodes = static_cast<int32_t>(v.bytes.size());
    std::vector<Open> open{{num_nodes, c.lexeme, base}};
    std::vector<std::pair<int32_t, int32_t>> changed;  // ranges of nodes, ascending
    std::vector<Crossing> added;
    int32_t visited = 0;
    bool complete = true;
    for (int32_t node = 0; node < num_nodes;) {
      while (node >= open.back().end) open.pop_back();
      ++visited;
      const LexemeState* mine = known_lexeme(place, c.place, open.back().lexeme);
      const LexemeState* theirs = known_lexeme(place, c.place, open.back().base);
      if (mine == nullptr || theirs == nullptr) {
        complete = false;
        node = v.skip[node];
        continue;
      }
      const int32_t next = mine->next[v.bytes[node]], base_next = theirs->next[v.bytes[node]];
      if (next == base_next) {
        node = v.skip[node];
        continue;
      }
      if (next == kDead) {
        forbid_tokens(node, part->row.data());
        changed.push_back({node, v.skip[node]});
        node = v.skip[node];
        continue;
      }
      v.allow_tokens_at(node, part->row.data());
      changed.push_back({node, node + 1});
      const LexemeState* reached = known_lexeme(place, c.place, next);
      if (reached == nullptr) {
        complete = false;
        node = v.skip[node];
        continue;
      }
      if (!reached->labels.empty() && v.has_children(node)) added.push_back({node, next});
      if (base_next == kDead) {
        const int32_t inner = walk_lexeme({c.stack, c.place, next, 0}, node + 1, v.skip[node], part,
                                          &added);
        complete &= inner != kNeeds;
        visited += std::max(inner, 0);
        node = v.skip[node];
        continue;
      }
      open.push_back({v.skip[node], next, base_next});
      ++node;
    }
    if (!complete) return kNeeds;
    replace_crossings(changed, added, part);
    return visited;
  }

  void forbid_tokens(int32_t node, int32_t* row) const {
    const Vocabulary& v = *vocabulary_;
    for (int32_t i = v.tokens[node]; i < v.tokens[v.skip[node]]; ++i) {
      const uint32_t token = static_cast<uint32_t>(v.order[i]);
      row[token >> 5] &= static_cast<int32_t>(~(1u << (token & 31)));
    }
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

  const MaskPart* keep_part(LexemeState* lexeme, MaskPart part) {
    const int64_t size = static_cast<int64_t>(part.row.size()) * 4 +
                         static_cast<int64_t>(part.crossings.size() * sizeof(Crossing));
    if (vocabulary_->part_bytes + size > vocabulary_->max_part_bytes) {
      ++vocabulary_->epoch;  // start afresh; parts in use are rebuilt
      vocabulary_->part_bytes = 0;
    }
    vocabulary_->part_bytes += size;
    part.epoch = vocabulary_->epoch;
    lexeme->part = std::make_unique<MaskPart>(std::move(part));
    return lexeme->part.get();
  }

  // Walks the nodes [first, last) within one lexeme; returns how many it visited, or kNeeds.
  int32_t walk_lexeme(const Configuration& c, int32_t first, int32_t last, MaskPart* part) {
    return walk_lexeme(c, first, last, part, &part->crossings);
  }

  int32_t walk_lexeme(const Configuration& c, int32_t first, int32_t last, MaskPart* part,
                      std::vector<Crossing>* crossings) {
    const Vocabulary& v = *vocabulary_;
    const Place& place = places_[c.place];
    const LexemeState* start = known_lexeme(place, c.place, c.lexeme);
    if (start == nullptr) return kNeeds;
    struct Open {
      int32_t end;
      const LexemeState* lexeme;
    };
    std::vector<Open> open{{last, start}};
    int32_t visited = 0;
    bool complete = true;
    for (int32_t node = first; node < last;) {
      while (node >= open.back().end) open.pop_back();
      ++visited;
      const int32_t next = open.back().lexeme->next[v.bytes[node]];
      if (next == kDead) {
        node = v.skip[node];
        continue;
      }
      v.allow_tokens_at(node, part->row.data());
      if (!v.has_children(node)) {
        ++node;
        continue;
      }
      const LexemeState* reached = known_lexeme(place, c.place, next);
      if (reached == nullptr) {
        complete = false;
        node = v.skip[node];
        continue;
      }
      if (!reached->labels.empty()) crossings->push_back({node, next});
      open.push_back({v.skip[node], reached});
      node = reached->only_byte == kNone ? v.skip[node] : node + 1;
    }
    return complete ? visited : kNeeds;
  }

  // Walks the nodes [first, last) of the trie, subtrees of one node, from a state.
  bool walk(int32_t start, int32_t first, int32_t last, int32_t* row) {
    const Vocabulary& v = *vocabulary_;
    std::vector<std::pair<int32_t, int32_t>> open{{last, start}};
    bool complete = true;
    for (int32_t node = first; node < last;) {
      while (node >= open.back().first) open.pop_back();
      const int32_t state = step(open.back().second, v.bytes[node]);
      if (state == kDead || state == kNeeds) {
        complete &= state == kDead;
        node = v.skip[node];
        continue;
      }
      v.allow_tokens_at(node, row);
      open.push_back({v.skip[node], state});
      ++node;
    }
    return complete;
  }

  Vocabulary* vocabulary_;
  std::deque<Place> places_;  // grows without moving what is in it
  std::vector<std::pair<int32_t, int32_t>> stacks_;  // what is below, place to return to
  std::unordered_map<uint64_t, int32_t> stack_numbers_;
  std::vector<std::pair<int32_t, int32_t>> captures_;  // text before, last byte
  std::unordered_map<uint64_t, int32_t> capture_numbers_;
  std::unordered_map<uint64_t, std::unordered_map<int32_t, std::vector<Target>>> captured_targets_;
  std::vector<Configurations> states_;
  std::unordered_map<Configurations, int32_t, ConfigurationsHash> numbers_;
  std::unordered_map<uint64_t, int32_t> steps_;
  std::vector<Need> needs_;
};

// The parent of each trie node, kNone below the root.
std::vector<int32_t> parents(const std::vector<int32_t>& skip) {
  std::vector<int32_t> parent(skip.size()), path;
  for (int32_t node = 0; node < static_cast<int32_t>(skip.size()); ++node) {
    while (!path.empty() && node >= skip[path.back()]) path.pop_back();
    parent[node] = path.empty() ? kNone : path.back();
    path.push_back(node);
  }
  return parent;
}

// The state that most bytes lead to, kDead unless it is a good part of them.
int32_t most_frequent(const int32_t* next) {
  std::array<int32_t, 256> sorted;
  std::copy(next, next + 256, sorted.begin());
  std::sort(sorted.begin(), sorted.end());
  int32_t best = kDead;
  int best_run = 48;
  for (int first = 0; first < 256;) {
    int last = first;
    while (last < 256 && sorted[last] == sorted[first]) ++last;
    if (sorted[first] != kDead && last - first > best_run) {
      best = sorted[first];
      best_run = last - first;
    }
    first = last;
  }
  return best;
}

using Guard = std::lock_guard<std::mutex>;

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void* vocabulary_new(const uint8_t* bytes, const int32_t* skip, const int32_t* tokens,
                     int32_t num_nodes, const int32_t* order, int32_t num_tokens,
                     int32_t row_words, int64_t max_part_bytes) {
  auto* vocabulary = new Vocabulary;
  vocabulary->bytes.assign(bytes, bytes + num_nodes);
  vocabulary->skip.assign(skip, skip + num_nodes);
  vocabulary->tokens.assign(tokens, tokens + num_nodes + 1);
  vocabulary->order.assign(order, order + num_tokens);
  vocabulary->row_words = row_words;
  vocabulary->parent = parents(vocabulary->skip);
  vocabulary->max_part_bytes = max_part_bytes;
  return vocabulary;
}

void vocabulary_free(void* vocabulary) { delete static_cast<Vocabulary*>(vocabulary); }

void* automaton_new() { return new Automaton; }

void automaton_free(void* automaton) { delete static_cast<Automaton*>(automaton); }

void automaton_set_row(void* vocabulary, void* automaton, int32_t state, const int32_t* next,
                       const int32_t* labels, int32_t num_labels, int32_t mask_state) {
  Guard guard(static_cast<Vocabulary*>(vocabulary)->mutex);
  auto& states = static_cast<Automaton*>(automaton)->states;
  if (static_cast<size_t>(state) >= states.size()) states.resize(state + 1);
  if (states[state]) return;
  auto lexeme = std::make_unique<LexemeState>();
  std::copy(next, next + 256, lexeme->next.begin());
  lexeme->labels.assign(labels, labels + num_labels);
  lexeme->mask_state = mask_state;
  lexeme->usual_next = most_frequent(next);
  for (int32_t byte = 0; byte < 256; ++byte)
    if (next[byte] != kDead) lexeme->only_byte = lexeme->only_byte == kNone ? byte : kManyBytes;
  states[state] = std::move(lexeme);
}

// A trie of literals, whose indices are the labels; state 1 is its root.
void automaton_set_literals(void* vocabulary, void* automaton, const uint8_t* text,
                            const int32_t* lengths, int32_t num_literals) {
  Guard guard(static_cast<Vocabulary*>(vocabulary)->mutex);
  auto& states = static_cast<Automaton*>(automaton)->states;
  const auto add_state = [&states] {
    auto state = std::make_unique<LexemeState>();
    state->next.fill(kDead);
    state->mask_state = static_cast<int32_t>(states.size());
    states.push_back(std::move(state));
    return states.back()->mask_state;
  };
  add_state();
  add_state();
  for (int32_t literal = 0; literal < num_literals; ++literal) {
    int32_t state = 1;
    for (int32_t i = 0; i < lengths[literal]; ++i) {
      const uint8_t byte = *text++;
      int32_t next = states[state]->next[byte];
      if (next == kDead) {
        next = add_state();
        states[state]->next[byte] = next;
        states[state]->only_byte = states[state]->only_byte == kNone ? byte : kManyBytes;
      }
      state = next;
    }
    states[state]->labels.push_back(literal);
  }
}

void* machine_new(void* vocabulary) { return new Machine(static_cast<Vocabulary*>(vocabulary)); }

void machine_free(void* machine) { delete static_cast<Machine*>(machine); }

void machine_set_place(void* machine, int32_t place, void* automaton, int32_t start,
                       int32_t also, const int32_t* edges, int32_t num_edges) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  m->set_place(place, static_cast<Automaton*>(automaton), start, also, edges, num_edges);
}

void machine_set_captured(void* machine, int32_t place, int32_t label, int32_t captured,
                          const int32_t* targets) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  m->set_captured(place, label, captured, targets);
}

int32_t machine_start(void* machine, int32_t place) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->enter_start(place);
}

int32_t machine_advance(void* machine, int32_t state, const uint8_t* text, int32_t length) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->advance(state, text, length);
}

int32_t machine_accepting(void* machine, int32_t state) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->accepting(state);
}

int32_t machine_finished(void* machine, int32_t state) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->finished(state);
}

int32_t machine_forced(void* machine, int32_t state, uint8_t* out, int32_t capacity) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->forced(state, out, capacity);
}

int32_t machine_fill(void* machine, int32_t state, int32_t* row) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->fill(state, row);
}

int32_t machine_take_needs(void* machine, int32_t* out, int32_t capacity) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->take_needs(out, capacity);
}

int32_t machine_captured_text(void* machine, int32_t captured, uint8_t* out, int32_t capacity) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->captured_text(captured, out, capacity);
}

int64_t machine_memory_bytes(void* machine) {
  auto* m = static_cast<Machine*>(machine);
  Guard guard(m->mutex());
  return m->memory_bytes();
}

}  // extern "C"
#pragma GCC visibility pop
