// What Python calls: vocabularies, languages, automata and machines behind a C interface.

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "automaton.h"
#include "language.h"
#include "machine.h"
#include "vocabulary.h"

namespace {

using namespace grammar;
using Guard = std::lock_guard<std::mutex>;
using SharedVocabulary = std::shared_ptr<Vocabulary>;

constexpr int32_t kMaxDepth = 2000;  // of nodes; derivatives are taken by recursion

// Languages, with the automaton over them, for several threads.
struct LanguageStore {
  explicit LanguageStore(SharedVocabulary of) : vocabulary(std::move(of)) {}

  SharedVocabulary vocabulary;  // whose masks the automaton makes; null where it makes none
  std::mutex own_mutex;
  LanguageAutomaton automaton;

  std::mutex& mutex() { return vocabulary ? vocabulary->mutex : own_mutex; }
};

enum Record : int32_t {
  kByteSetRecord, kWordsRecord, kTableRecord, kConcatRecord, kAlternationRecord,
  kIntersectionRecord, kComplementRecord, kRepeatRecord,
};

// Reads the nodes that native_languages.py writes.
class RecordReader {
 public:
  RecordReader(Languages* languages, const int32_t* data) : languages_(*languages), data_(data) {}

  Node read() {
    const auto record = static_cast<Record>(*data_++);
    switch (record) {
      case kByteSetRecord:
        data_ += 8;
        return add(languages_.byte_set(data_ - 8));
      case kWordsRecord:
        return add(words());
      case kTableRecord: {
        const int32_t state = *data_++;
        return add(languages_.table_state(table(), state));
      }
      case kConcatRecord: {
        const Node first = node(), rest = node();
        return add(languages_.concat(first, rest));
      }
      case kAlternationRecord:
        return add(languages_.alternate(nodes()));
      case kIntersectionRecord:
        return add(languages_.intersect(nodes()));
      case kComplementRecord:
        return add(languages_.complement(node()));
      case kRepeatRecord: {
        const Node part = node();
        const int32_t minimum = *data_++, maximum = *data_++;
        return add(languages_.repeat(part, minimum, maximum));
      }
    }
    return kNothing;
  }

 private:
  Node add(Node made) {
    read_.push_back(made);
    return made;
  }

  // A reference to a node: its number, or -1 - n for the n-th of these records.
  Node node() {
    const int32_t reference = *data_++;
    return reference >= 0 ? reference : read_[-1 - reference];
  }

  Key nodes() {
    Key found(*data_++);
    for (Node& item : found) item = node();
    return found;
  }

  Node words() {
    std::vector<std::vector<uint8_t>> texts(*data_++);
    std::vector<std::pair<const uint8_t*, int32_t>> views;
    for (auto& text : texts) {
      const int32_t length = *data_++;
      text.assign(data_, data_ + length);
      data_ += length;
      views.push_back({text.data(), length});
    }
    return languages_.words(views);
  }

  // States, then for each whether it accepts, the number of its transitions, and these.
  int32_t table() {
    Table made;
    for (int32_t states = *data_++; states > 0; --states) {
      made.accepting.push_back(static_cast<uint8_t>(*data_++));
      made.begin.push_back(static_cast<int32_t>(made.bytes.size()));
      for (int32_t count = *data_++; count > 0; --count) {
        made.bytes.push_back(static_cast<uint8_t>(*data_++));
        made.targets.push_back(*data_++);
      }
    }
    made.begin.push_back(static_cast<int32_t>(made.bytes.size()));
    return languages_.add_table(std::move(made));
  }

  Languages& languages_;
  const int32_t* data_;
  std::vector<Node> read_;
};

SharedVocabulary shared(void* vocabulary) {
  return vocabulary == nullptr ? nullptr : *static_cast<SharedVocabulary*>(vocabulary);
}

LanguageStore* store_of(void* languages) { return static_cast<LanguageStore*>(languages); }

Machine* machine_of(void* machine) { return static_cast<Machine*>(machine); }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void* vocabulary_new(const uint8_t* bytes, const int32_t* skip, const int32_t* tokens,
                     int32_t num_nodes, const int32_t* order, int32_t num_tokens,
                     int32_t row_words) {
  auto vocabulary = std::make_shared<Vocabulary>(row_words);
  vocabulary->set_trie(bytes, skip, tokens, num_nodes, order, num_tokens);
  return new SharedVocabulary(std::move(vocabulary));
}

// The bytes of every token id one after another, where each begins, and which end the output.
void vocabulary_set_tokens(void* vocabulary, const uint8_t* text, const int32_t* begin,
                           int32_t num_tokens, const int32_t* eos_tokens, int32_t num_eos) {
  Vocabulary& v = *shared(vocabulary);
  v.text.assign(text, text + begin[num_tokens]);
  v.text_begin.assign(begin, begin + num_tokens + 1);
  v.eos_tokens.assign(eos_tokens, eos_tokens + num_eos);
}

void vocabulary_set_limits(void* vocabulary, int64_t max_part_bytes, int64_t max_row_bytes) {
  Vocabulary& v = *shared(vocabulary);
  v.max_part_bytes = max_part_bytes;
  v.rows.max_bytes = max_row_bytes;
}

void vocabulary_free(void* vocabulary) { delete static_cast<SharedVocabulary*>(vocabulary); }

// Args: vocabulary: whose masks the automaton of the languages makes, or null.
void* languages_new(void* vocabulary) { return new LanguageStore(shared(vocabulary)); }

void languages_free(void* languages) { delete store_of(languages); }

void* languages_automaton(void* languages) {
  return static_cast<Automaton*>(&store_of(languages)->automaton);
}

// Adds nodes and writes their numbers; 0 where one is nested too deeply.
int32_t languages_add(void* languages, const int32_t* data, int32_t num_records, int32_t* out) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  Languages& all = store->automaton.languages;
  RecordReader reader(&all, data);
  for (int32_t i = 0; i < num_records; ++i) {
    out[i] = reader.read();
    if (all.depth(out[i]) > kMaxDepth) return 0;
  }
  return 1;
}

int32_t languages_emptiness(void* languages, int32_t node) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  return static_cast<int32_t>(store->automaton.languages.emptiness(node));
}

int32_t languages_matches(void* languages, int32_t node, const uint8_t* text, int32_t length) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  return store->automaton.languages.matches(node, text, length);
}

int64_t languages_count_words(void* languages, int32_t node, int64_t limit) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  return store->automaton.languages.count_words(node, limit);
}

int32_t languages_after(void* languages, int32_t state, const uint8_t* text, int32_t length) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  for (int32_t i = 0; i < length; ++i) state = store->automaton.at(state)->after(text[i]);
  return state;
}

// Walks the trie for the part of a mask, so that the first request need not.
void languages_prepare(void* languages, int32_t state) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  Row words(store->vocabulary->row_words);
  MaskRow row(words.data(), store->vocabulary->row_words);
  Crossings crossings;
  MaskParts(store->vocabulary.get(), &store->automaton).add(state, true, &row, &crossings);
}

int64_t languages_num_nodes(void* languages) {
  LanguageStore* store = store_of(languages);
  const Guard guard(store->mutex());
  return static_cast<int64_t>(store->automaton.languages.num_nodes());
}

void* machine_new(void* vocabulary) { return new Machine(shared(vocabulary)); }

void machine_free(void* machine) { delete machine_of(machine); }

// An automaton over some literals, which the machine keeps.
void* machine_add_literals(void* machine, const uint8_t* text, const int32_t* lengths,
                           int32_t num_literals) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->add_literals(text, lengths, num_literals);
}

void machine_set_place(void* machine, int32_t place, void* automaton, int32_t start,
                       int32_t also, const int32_t* edges, int32_t num_edges) {
  const Guard guard(machine_of(machine)->mutex());
  machine_of(machine)->set_place(place, static_cast<Automaton*>(automaton), start, also, edges,
                                 num_edges);
}

// Args: targets: how many, then the place and the nested place of each.
void machine_set_targets(void* machine, int32_t place, int32_t label, const int32_t* targets) {
  const Guard guard(machine_of(machine)->mutex());
  machine_of(machine)->set_targets(place, label, targets);
}

void machine_set_captured(void* machine, int32_t place, int32_t label, int32_t captured,
                          const int32_t* targets) {
  const Guard guard(machine_of(machine)->mutex());
  machine_of(machine)->set_captured(place, label, captured, targets);
}

int32_t machine_start(void* machine, int32_t place) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->enter_start(place);
}

int32_t machine_advance(void* machine, int32_t state, const uint8_t* text, int32_t length) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->advance(state, text, length);
}

int32_t machine_advance_token(void* machine, int32_t state, int32_t token) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->advance_token(state, token);
}

int32_t machine_accepting(void* machine, int32_t state) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->accepting(state);
}

int32_t machine_finished(void* machine, int32_t state) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->finished(state);
}

// Args: out: room for 4096 bytes.
int32_t machine_forced(void* machine, int32_t state, uint8_t* out) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->forced(state, out);
}

int32_t machine_fill(void* machine, int32_t state, int32_t* row) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->fill(state, row);
}

// The masks of a batch, all of one vocabulary; returns how many were filled before one needs.
int32_t machines_fill(void* const* machines, const int32_t* states, int32_t* const* rows,
                      int32_t count) {
  if (count == 0) return 0;
  const Guard guard(machine_of(machines[0])->mutex());
  for (int32_t i = 0; i < count; ++i)
    if (machine_of(machines[i])->fill(states[i], rows[i]) == kNeeds) return i;
  return count;
}

int32_t machine_take_needs(void* machine, int32_t* out, int32_t capacity) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->take_needs(out, capacity);
}

int32_t machine_captured_text(void* machine, int32_t captured, uint8_t* out, int32_t capacity) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->captured_text(captured, out, capacity);
}

int64_t machine_memory_bytes(void* machine) {
  const Guard guard(machine_of(machine)->mutex());
  return machine_of(machine)->memory_bytes();
}

}  // extern "C"
#pragma GCC visibility pop
