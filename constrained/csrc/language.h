// Regular languages of byte strings: hash-consed nodes, their derivatives, and what these decide.
//
// Does what regex_tree.py and derivatives.py do, for speed; the sources of the method are named
// there. A node is a number. Literals and lists of words are tables (explicit automata).

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace grammar {

using Node = int32_t;
using Key = std::vector<int32_t>;

constexpr Node kNothing = 0, kEpsilon = 1, kAnything = 2;
constexpr Node kUnknownNode = -1;
constexpr int32_t kUnbounded = -1;
constexpr size_t kUsualNodes = 1 << 18;
constexpr int kFarLevel = 0, kNearLevel = 1;
constexpr int32_t kSmallCounts[] = {16, 3};
constexpr int32_t kFarCount = 1 << 24;  // what a minimum is in a far form
constexpr int32_t kNoCounts = INT32_MAX;
constexpr size_t kMaxSearchedNodes = 20'000;
constexpr size_t kMaxWordLength = 5'000;  // of words that are counted

enum class Kind : int32_t { kTable, kByteSet, kConcat, kAlternation, kIntersection, kComplement, kRepeat };
enum class Emptiness : int8_t { kUnknown, kEmpty, kInhabited, kTooHard };

struct KeyHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = key.size();
    for (const int32_t value : key)
      hash = (hash ^ static_cast<uint32_t>(value)) * 0x9e3779b97f4a7c15ull + (hash >> 29);
    return hash ^ hash >> 32;
  }
};

// A partition of the bytes. Bytes of one class have the same derivative.
struct ByteClasses {
  std::array<uint8_t, 256> of;
  int32_t count;
  std::array<uint8_t, 256> first;  // the least byte of each class
  std::array<uint16_t, 256> size;  // of each class
  int32_t number;  // among those that are kept
};

// An explicit deterministic automaton, its transitions sorted by state.
struct Table {
  std::vector<int32_t> begin;  // per state, where its transitions begin; one more at the end
  std::vector<uint8_t> bytes;
  std::vector<int32_t> targets;
  std::vector<uint8_t> accepting;
  std::vector<uint8_t> alive;  // per state, whether an accepting one can be reached
  bool is_acyclic = true;      // surely, as all transitions lead to later states

  // Fills `alive`, from the accepting states backwards.
  void note_alive() {
    std::vector<std::vector<int32_t>> sources(accepting.size());
    std::vector<int32_t> reached;
    for (size_t state = 0; state < accepting.size(); ++state) {
      if (accepting[state]) reached.push_back(static_cast<int32_t>(state));
      for (int32_t i = begin[state]; i < begin[state + 1]; ++i) {
        sources[targets[i]].push_back(static_cast<int32_t>(state));
        is_acyclic &= targets[i] > static_cast<int32_t>(state);
      }
    }
    alive = accepting;
    for (size_t at = 0; at < reached.size(); ++at) {
      for (const int32_t source : sources[reached[at]]) {
        if (alive[source]) continue;
        alive[source] = 1;
        reached.push_back(source);
      }
    }
  }

  bool same(const Table& o) const {
    return begin == o.begin && bytes == o.bytes && targets == o.targets && accepting == o.accepting;
  }

  size_t hash() const {
    Key key(targets);
    key.insert(key.end(), begin.begin(), begin.end());
    key.insert(key.end(), bytes.begin(), bytes.end());
    key.insert(key.end(), accepting.begin(), accepting.end());
    return KeyHash()(key);
  }

  int32_t next(int32_t state, uint8_t byte) const {
    for (int32_t i = begin[state]; i < begin[state + 1]; ++i)
      if (bytes[i] == byte) return targets[i];
    return -1;
  }
};

class Languages {
 public:
  Languages() {
    numbers_.reserve(kUsualNodes);  // for to grow takes long
    unique(Kind::kAlternation, {}, false, Emptiness::kEmpty);
    add_table({{0, 0}, {}, {}, {1}, {}, true});
    unique(Kind::kTable, {0, 0}, true, Emptiness::kInhabited);
    unique(Kind::kComplement, {kNothing}, true, Emptiness::kInhabited);
  }

  size_t num_nodes() const { return nodes_.size(); }
  int32_t depth(Node node) const { return nodes_[node].depth; }
  bool nullable(Node node) const { return nodes_[node].nullable; }

  // The number of a table. Equal ones are one, so that languages read from disk are those in use.
  int32_t add_table(Table table) {
    const size_t hash = table.hash();
    const auto [first, last] = table_numbers_.equal_range(hash);
    for (auto found = first; found != last; ++found)
      if (tables_[found->second].same(table)) return found->second;
    table.note_alive();
    tables_.push_back(std::move(table));
    const int32_t number = static_cast<int32_t>(tables_.size()) - 1;
    table_numbers_.emplace(hash, number);
    return number;
  }

  Node table_state(int32_t table, int32_t state) {
    const Table& t = tables_[table];
    const bool accepting = t.accepting[state];
    if (!t.alive[state]) return kNothing;
    if (t.begin[state] == t.begin[state + 1]) return kEpsilon;
    return unique(Kind::kTable, {table, state}, accepting, Emptiness::kInhabited);
  }

  // The finite language of some words.
  Node words(const std::vector<std::pair<const uint8_t*, int32_t>>& texts) {
    std::vector<std::vector<std::pair<uint8_t, int32_t>>> children(1);
    std::vector<uint8_t> accepting(1, 0);
    for (const auto& [text, length] : texts) {
      int32_t state = 0;
      for (int32_t i = 0; i < length; ++i) {
        const auto found = std::find_if(children[state].begin(), children[state].end(),
                                        [&](const auto& child) { return child.first == text[i]; });
        if (found != children[state].end()) {
          state = found->second;
          continue;
        }
        const int32_t next = static_cast<int32_t>(children.size());
        children[state].push_back({text[i], next});
        children.emplace_back();
        accepting.push_back(0);
        state = next;
      }
      accepting[state] = 1;
    }
    Table table;
    table.accepting = std::move(accepting);
    for (const auto& row : children) {
      table.begin.push_back(static_cast<int32_t>(table.bytes.size()));
      for (const auto& [byte, target] : row) {
        table.bytes.push_back(byte);
        table.targets.push_back(target);
      }
    }
    table.begin.push_back(static_cast<int32_t>(table.bytes.size()));
    return table_state(add_table(std::move(table)), 0);
  }

  Node byte_set(const int32_t* bits) {
    if (std::all_of(bits, bits + 8, [](int32_t word) { return word == 0; })) return kNothing;
    return unique(Kind::kByteSet, Key(bits, bits + 8), false, Emptiness::kInhabited);
  }

  Node concat(Node first, Node rest) {
    if (first == kNothing || rest == kNothing) return kNothing;
    if (first == kEpsilon) return rest;
    if (rest == kEpsilon) return first;
    const bool inhabited = known_inhabited(first) && known_inhabited(rest);
    return unique(Kind::kConcat, {first, rest}, nullable(first) && nullable(rest),
                  inhabited ? Emptiness::kInhabited : Emptiness::kUnknown);
  }

  Node alternate(const Key& options) {
    Key parts;
    std::array<int32_t, 8> bits{};
    bool any_bits = false;
    const auto add = [&](Node part) {
      if (kind(part) != Kind::kByteSet) {
        parts.push_back(part);
        return;
      }
      any_bits = true;
      for (int word = 0; word < 8; ++word) bits[word] |= args(part)[word];
    };
    for (const Node option : options) {
      if (option == kAnything) return kAnything;
      if (kind(option) == Kind::kAlternation)
        std::for_each(args(option).begin(), args(option).end(), add);
      else
        add(option);
    }
    if (any_bits) parts.push_back(byte_set(bits.data()));
    sort_unique(&parts);
    if (parts.size() == 1) return parts[0];
    const auto holds_empty = [this](Node part) { return nullable(part); };
    const auto inhabited = [this](Node part) { return known_inhabited(part); };
    const bool is_nullable = std::any_of(parts.begin(), parts.end(), holds_empty);
    const bool is_inhabited = std::any_of(parts.begin(), parts.end(), inhabited);
    return unique(Kind::kAlternation, std::move(parts), is_nullable,
                  is_inhabited ? Emptiness::kInhabited : Emptiness::kUnknown);
  }

  Node intersect(const Key& operands) {
    Key parts;
    for (const Node operand : operands) {
      if (operand == kNothing) return kNothing;
      if (operand == kAnything) continue;
      if (kind(operand) == Kind::kIntersection)
        parts.insert(parts.end(), args(operand).begin(), args(operand).end());
      else
        parts.push_back(operand);
    }
    sort_unique(&parts);
    if (parts.empty()) return kAnything;
    if (parts.size() == 1) return parts[0];
    for (const Node part : parts)
      if (kind(part) == Kind::kComplement &&
          std::binary_search(parts.begin(), parts.end(), args(part)[0]))
        return kNothing;
    const bool is_nullable =
        std::all_of(parts.begin(), parts.end(), [this](Node part) { return nullable(part); });
    if (std::binary_search(parts.begin(), parts.end(), kEpsilon))
      return is_nullable ? kEpsilon : kNothing;
    return unique(Kind::kIntersection, std::move(parts), is_nullable,
                  is_nullable ? Emptiness::kInhabited : Emptiness::kUnknown);
  }

  Node complement(Node part) {
    if (kind(part) == Kind::kComplement) return args(part)[0];
    const bool is_nullable = !nullable(part);
    return unique(Kind::kComplement, {part}, is_nullable,
                  is_nullable ? Emptiness::kInhabited : Emptiness::kUnknown);
  }

  Node repeat(Node part, int32_t minimum, int32_t maximum) {
    if (maximum == 0 || part == kEpsilon) return kEpsilon;
    if (part == kNothing) return minimum == 0 ? kEpsilon : kNothing;
    if (minimum == 1 && maximum == 1) return part;
    const bool is_nullable = minimum == 0 || nullable(part);
    return unique(Kind::kRepeat, {part, minimum, maximum}, is_nullable,
                  is_nullable || known_inhabited(part) ? Emptiness::kInhabited
                                                       : Emptiness::kUnknown);
  }

  // What may follow a byte.
  Node derivative(Node node, uint8_t byte) {
    const Key& a = args(node);
    switch (kind(node)) {
      case Kind::kTable: {
        const int32_t next = tables_[a[0]].next(a[1], byte);
        return next < 0 ? kNothing : table_state(a[0], next);
      }
      case Kind::kByteSet:
        return a[byte >> 5] >> (byte & 31) & 1 ? kEpsilon : kNothing;
      default:
        break;
    }
    const ByteClasses& partition = classes(node);
    std::vector<Node>& known = nodes_[node].derivatives;
    if (known.empty()) known.assign(partition.count, kUnknownNode);
    Node& result = known[partition.of[byte]];
    if (result == kUnknownNode) result = compound_derivative(node, byte);
    return result;
  }

  const ByteClasses& classes(Node node) {
    if (nodes_[node].classes == nullptr) {
      const ByteClasses* found = compute_classes(node);
      nodes_[node].classes = found;
    }
    return *nodes_[node].classes;
  }

  // Whether no text is in the language; kTooHard where that would take too long.
  Emptiness emptiness(Node node) {
    if (nodes_[node].empty == Emptiness::kUnknown) {
      const Emptiness found = emptiness_by_parts(node);
      nodes_[node].empty = found;
    }
    return nodes_[node].empty;
  }

  bool matches(Node node, const uint8_t* text, int32_t length) {
    for (int32_t i = 0; i < length; ++i) node = derivative(node, text[i]);
    return nullable(node);
  }

  // How many texts are in the language, counted up to a limit; -1 where that is too hard.
  int64_t count_words(Node node, int64_t limit) {
    std::unordered_map<Node, int64_t> counted;
    std::unordered_set<Node> path;
    return count_words(node, limit, &counted, &path);
  }

  // The counts above kSmallCounts[level] of a language have no end and no limit in its far form.
  // The two agree on texts that are shorter than `slack`, also on which of them can go on.
  Node far(Node node, int level) {
    const Entry& entry = nodes_[node];
    if (entry.slack[level] == kNoCounts || !entry.far_agrees) return node;
    if (entry.far[level] == kNothing) {
      const Node result = compute_far(node, level);
      nodes_[node].far[level] = result;
    }
    return nodes_[node].far[level];
  }

  // What a language begins with: a part, repeated up to so often, before the rest.
  struct Repeated {
    Node part, rest;
    int32_t most;
    bool is_last;  // the part comes once
  };

  // The part is kNothing where nothing is repeated, or what may be empty.
  Repeated repeated_first(Node node) {
    Node rest = kEpsilon;
    for (; kind(node) == Kind::kConcat; node = args(node)[0]) rest = concat(args(node)[1], rest);
    Repeated found{kNothing, rest, 1, true};
    if (kind(node) == Kind::kRepeat)
      found = {args(node)[0], rest, args(node)[2] == kUnbounded ? INT32_MAX : args(node)[2], false};
    else if (kind(node) == Kind::kByteSet || kind(node) == Kind::kAlternation)
      found.part = node;
    if (nullable(found.part)) found.part = kNothing;
    return found;
  }

  // An intersection: its only part that may have more, if the others are
  // complements of what surely has finitely many; else the language itself.
  Node without_exceptions(Node node) const {
    if (kind(node) != Kind::kIntersection) return node;
    Node found = kNothing;
    for (const Node part : args(node)) {
      if (kind(part) == Kind::kComplement && is_finite(args(part)[0])) continue;
      if (found != kNothing) return node;
      found = part;
    }
    return found == kNothing ? node : found;
  }

  // The least count above kSmallCounts[level], kNoCounts if there is none.
  int32_t slack(Node node, int level) const { return nodes_[node].slack[level]; }

 private:
  struct Entry {
    Key args;  // what it is made of
    Kind kind;
    bool nullable;
    Emptiness empty;
    int32_t depth;  // of the recursion that takes its derivative
    std::array<int32_t, 2> slack{kNoCounts, kNoCounts};
    std::array<Node, 2> far{};  // kNothing where it has not been asked for
    bool far_agrees = true;  // no count is in a complement or an intersection, where texts may fall out
    const ByteClasses* classes = nullptr;
    std::vector<Node> derivatives;  // by class of bytes
  };

  Kind kind(Node node) const { return nodes_[node].kind; }
  const Key& args(Node node) const { return nodes_[node].args; }
  // Whether a language surely has finitely many texts.
  bool is_finite(Node node) const {
    switch (kind(node)) {
      case Kind::kTable:
        return tables_[args(node)[0]].is_acyclic;
      case Kind::kByteSet:
        return true;
      case Kind::kAlternation:
        return std::all_of(args(node).begin(), args(node).end(),
                           [this](Node part) { return is_finite(part); });
      default:
        return false;
    }
  }
  bool known_inhabited(Node node) const { return nodes_[node].empty == Emptiness::kInhabited; }

  Node unique(Kind kind, Key args, bool is_nullable, Emptiness empty) {
    args.push_back(static_cast<int32_t>(kind));
    const auto [found, fresh] = numbers_.emplace(args, static_cast<Node>(nodes_.size()));
    if (!fresh) return found->second;
    args.pop_back();
    Entry entry;
    entry.args = std::move(args);
    entry.kind = kind;
    entry.nullable = is_nullable;
    entry.empty = empty;
    entry.depth = depth_of(kind, entry.args);
    note_counts(&entry);
    nodes_.push_back(std::move(entry));
    return found->second;
  }

  void note_counts(Entry* entry) const {
    if (entry->kind == Kind::kTable || entry->kind == Kind::kByteSet) return;
    const size_t num_parts = entry->kind == Kind::kRepeat ? 1 : entry->args.size();
    const bool is_boolean =
        entry->kind == Kind::kIntersection || entry->kind == Kind::kComplement;
    for (size_t i = 0; i < num_parts; ++i) {
      const Entry& part = nodes_[entry->args[i]];
      entry->far_agrees &= part.far_agrees && !(is_boolean && part.slack[kNearLevel] != kNoCounts);
      for (const int level : {kFarLevel, kNearLevel})
        entry->slack[level] = std::min(entry->slack[level], part.slack[level]);
    }
    if (entry->kind != Kind::kRepeat) return;
    for (const int level : {kFarLevel, kNearLevel})
      for (const int32_t count : {entry->args[1], entry->args[2]})
        if (count > kSmallCounts[level])
          entry->slack[level] = std::min(entry->slack[level], count);
  }

  int32_t depth_of(Kind kind, const Key& args) const {
    size_t count = args.size();
    if (kind == Kind::kTable || kind == Kind::kByteSet) count = 0;
    if (kind == Kind::kRepeat || (kind == Kind::kConcat && !nullable(args[0]))) count = 1;
    int32_t deepest = 0;
    for (size_t i = 0; i < count; ++i) deepest = std::max(deepest, nodes_[args[i]].depth);
    return deepest + 1;
  }

  static void sort_unique(Key* parts) {
    std::sort(parts->begin(), parts->end());
    parts->erase(std::unique(parts->begin(), parts->end()), parts->end());
  }

  Node compound_derivative(Node node, uint8_t byte) {
    const Key& a = args(node);
    Key parts;
    switch (kind(node)) {
      case Kind::kConcat: {
        const Node result = concat(derivative(a[0], byte), a[1]);
        return nullable(a[0]) ? alternate({result, derivative(a[1], byte)}) : result;
      }
      case Kind::kAlternation:
        for (const Node part : a) parts.push_back(derivative(part, byte));
        return alternate(parts);
      case Kind::kIntersection:
        for (const Node part : a) {
          parts.push_back(derivative(part, byte));
          if (parts.back() == kNothing) return kNothing;
        }
        return intersect(parts);
      case Kind::kComplement:
        return complement(derivative(a[0], byte));
      case Kind::kRepeat: {
        const Node first = derivative(a[0], byte);
        if (first == kNothing) return kNothing;
        const int32_t maximum = a[2] == kUnbounded ? kUnbounded : a[2] - 1;
        return concat(first, repeat(a[0], std::max(a[1] - 1, 0), maximum));
      }
      default:
        return kNothing;
    }
  }

  const ByteClasses* compute_classes(Node node) {
    const Key a = args(node);
    switch (kind(node)) {
      case Kind::kConcat:
        return nullable(a[0]) ? joint_classes(a) : &classes(a[0]);
      case Kind::kAlternation:
      case Kind::kIntersection:
        return joint_classes(a);
      case Kind::kComplement:
      case Kind::kRepeat:
        return &classes(a[0]);
      default:
        break;
    }
    std::array<int32_t, 256> labels{};
    if (kind(node) == Kind::kByteSet) {
      for (int byte = 0; byte < 256; ++byte) labels[byte] = a[byte >> 5] >> (byte & 31) & 1;
    } else {
      const Table& table = tables_[a[0]];
      for (int32_t i = table.begin[a[1]]; i < table.begin[a[1] + 1]; ++i)
        labels[table.bytes[i]] = table.targets[i] + 1;
    }
    return kept(numbered(labels));
  }

  const ByteClasses* joint_classes(const Key& parts) {
    std::vector<const ByteClasses*> partitions;
    for (const Node part : parts) partitions.push_back(&classes(part));
    std::sort(partitions.begin(), partitions.end());
    partitions.erase(std::unique(partitions.begin(), partitions.end()), partitions.end());
    if (partitions.empty()) return kept(numbered({}));
    if (partitions.size() == 1) return partitions[0];
    Key numbers;
    for (const ByteClasses* partition : partitions) numbers.push_back(partition->number);
    const ByteClasses*& known = joint_[numbers];
    if (known == nullptr) known = joint(partitions);
    return known;
  }

  const ByteClasses* joint(const std::vector<const ByteClasses*>& partitions) {
    std::array<int32_t, 256> labels{};
    int32_t count = 1;
    for (const ByteClasses* partition : partitions) {
      for (int byte = 0; byte < 256; ++byte) labels[byte] = labels[byte] * 256 + partition->of[byte];
      const ByteClasses joint = numbered(labels);
      for (int byte = 0; byte < 256; ++byte) labels[byte] = joint.of[byte];
      if ((count = joint.count) == 256) break;
    }
    return kept(numbered(labels));
  }

  // Classes of equal labels, numbered in the order of their least bytes.
  static ByteClasses numbered(const std::array<int32_t, 256>& labels) {
    ByteClasses result{};
    std::array<int32_t, 256> label_of{};
    int32_t recent = 0;
    for (int byte = 0; byte < 256; ++byte) {
      if (byte == 0 || labels[byte] != label_of[recent]) {
        recent = 0;
        while (recent < result.count && label_of[recent] != labels[byte]) ++recent;
        if (recent == result.count) {
          label_of[recent] = labels[byte];
          result.first[recent] = static_cast<uint8_t>(byte);
          ++result.count;
        }
      }
      ++result.size[recent];
      result.of[byte] = static_cast<uint8_t>(recent);
    }
    return result;
  }

  // The one copy of a partition, so that equal ones are compared by address.
  const ByteClasses* kept(const ByteClasses& classes) {
    Key key(64);
    std::memcpy(key.data(), classes.of.data(), 256);
    std::unique_ptr<ByteClasses>& found = partitions_[key];
    if (found) return found.get();
    found = std::make_unique<ByteClasses>(classes);
    found->number = static_cast<int32_t>(partitions_.size());
    return found.get();
  }

  // Only what intersections and complements leave must be searched for.
  Emptiness emptiness_by_parts(Node node) {
    switch (kind(node)) {
      case Kind::kConcat:  // a loop, for there may be many in a row
        for (;; node = args(node)[1]) {
          const Node part = kind(node) == Kind::kConcat ? args(node)[0] : node;
          const Emptiness found = emptiness(part);
          if (found != Emptiness::kInhabited || part == node) return found;
        }
      case Kind::kAlternation: {
        Emptiness result = Emptiness::kEmpty;
        for (const Node part : args(node)) {
          const Emptiness found = emptiness(part);
          if (found == Emptiness::kInhabited) return found;
          if (found == Emptiness::kTooHard) result = found;
        }
        return result;
      }
      case Kind::kRepeat:
        return emptiness(args(node)[0]);
      default:
        search(node);
        return nodes_[node].empty;
    }
  }

  // Looks, breadth first, for a way to a text, and notes what it finds out on the way.
  void search(Node node) {
    std::unordered_map<Node, Node> reached_from{{node, kNothing}};
    std::vector<Node> queue{node};
    for (size_t at = 0; at < queue.size(); ++at) {
      const Node current = queue[at];
      const ByteClasses& partition = classes(current);
      for (int32_t i = 0; i < partition.count; ++i) {
        const Node following = derivative(current, partition.first[i]);
        const Emptiness known = nodes_[following].empty;
        if (known == Emptiness::kInhabited) {
          for (Node step = current; step != kNothing; step = reached_from[step])
            nodes_[step].empty = Emptiness::kInhabited;
          return;
        }
        if (known != Emptiness::kEmpty && reached_from.emplace(following, current).second)
          queue.push_back(following);
      }
      if (queue.size() > kMaxSearchedNodes) {
        nodes_[node].empty = Emptiness::kTooHard;
        return;
      }
    }
    for (const Node reached : queue) nodes_[reached].empty = Emptiness::kEmpty;
  }

  int64_t count_words(Node node, int64_t limit, std::unordered_map<Node, int64_t>* counted,
                      std::unordered_set<Node>* path) {
    const Emptiness empty = emptiness(node);
    if (empty == Emptiness::kTooHard) return -1;
    if (empty == Emptiness::kEmpty) return 0;
    if (path->count(node)) return limit;  // a cycle on a way to an end: words without number
    if (path->size() > kMaxWordLength) return -1;
    const auto known = counted->find(node);
    if (known != counted->end()) return known->second;
    path->insert(node);
    int64_t total = nullable(node);
    const ByteClasses& partition = classes(node);
    for (int32_t i = 0; i < partition.count && total < limit; ++i) {
      const int64_t inner = count_words(derivative(node, partition.first[i]), limit, counted, path);
      if (inner < 0) return -1;
      total += partition.size[i] * inner;
    }
    path->erase(node);
    return (*counted)[node] = std::min(total, limit);
  }

  Node compute_far(Node node, int level) {
    Key a = args(node);
    switch (kind(node)) {
      case Kind::kRepeat: {
        const int32_t small = kSmallCounts[level];
        const int32_t maximum = a[2] > small ? kUnbounded : a[2];
        return repeat(far(a[0], level), a[1] > small ? kFarCount : a[1], maximum);
      }
      case Kind::kConcat: {  // a loop, for there may be many in a row
        std::vector<Node> firsts{a[0]};
        Node rest = a[1];
        for (; kind(rest) == Kind::kConcat; rest = args(rest)[1]) firsts.push_back(args(rest)[0]);
        Node result = far(rest, level);
        for (; !firsts.empty(); firsts.pop_back())
          result = concat(far(firsts.back(), level), result);
        return result;
      }
      default:
        for (Node& part : a) part = far(part, level);
        return alternate(a);
    }
  }

  std::deque<Entry> nodes_;  // grows without moving what is in it, and without a pause
  std::unordered_map<Key, Node, KeyHash> numbers_;
  std::vector<Table> tables_;
  std::unordered_multimap<size_t, int32_t> table_numbers_;  // by hash
  std::unordered_map<Key, std::unique_ptr<ByteClasses>, KeyHash> partitions_;
  std::unordered_map<Key, const ByteClasses*, KeyHash> joint_;  // by the numbers of partitions
};

}  // namespace grammar
