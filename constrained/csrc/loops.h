// What a language may repeat: characters that can come in any number, or up to a limit.
//
// In `[a-z]{0,9}"` any nine letters may come, whatever they are, so a walk of the trie need only
// look at tokens with something else in them: here, with a quote.

#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "characters.h"
#include "language.h"

namespace grammar {

constexpr int32_t kNoLimit = INT32_MAX;

// From a state with a loop and a limit, any text over the alphabet may come that is no longer.
struct Loop {
  Characters alphabet;
  Characters exits;     // what else may come after such a text, or instead
  bool may_end;         // whether such a text may be all
  bool is_cut = false;  // characters that are repeated, but may come next as well, are among the exits
  bool is_region = false;  // found by trying: beyond the limit more of the alphabet may come
};

// The loops of languages that begin with a repeated set of characters.
class Loops {
 public:
  explicit Loops(Languages* languages) : languages_(*languages) {}

  // The loop of a language and the most characters it may still take; null where it has none.
  std::pair<const Loop*, int32_t> of(Node node) {
    const Node endless = languages_.without_exceptions(node);
    if (endless != node) {  // some texts are out, but each can go on to others that are not
      const auto [loop, limit] = of(endless);
      return {limit == INT32_MAX ? loop : nullptr, limit};
    }
    const Languages::Repeated repeated = languages_.repeated_first(node);
    if (repeated.part == kNothing) return {nullptr, 0};
    const auto key = static_cast<uint64_t>(repeated.part) << 32 | static_cast<uint32_t>(repeated.rest);
    if (repeated.is_last && !known_.count(key)) return {nullptr, 0};
    std::unique_ptr<Loop>& known = known_[key];
    if (!known) known = std::make_unique<Loop>(between(repeated.part, repeated.rest));
    return {known->alphabet.empty() ? nullptr : known.get(), repeated.most};
  }

 private:
  struct Beginnings {
    Characters whole;  // characters that are texts of the language and never only begin one
    Characters all;    // that may come first
  };

  // What follows the first byte of a character: more bytes, the next one from a range.
  struct Rest {
    Node node = kUnknownNode;
    uint8_t least = 0, greatest = 0;
    int8_t pending = kStray;
    bool operator==(const Rest& o) const {
      return node == o.node && least == o.least && greatest == o.greatest && pending == o.pending;
    }
  };

  Loop between(Node part, Node rest) {
    const Beginnings& repeated = beginnings(part);
    const Beginnings& next = beginnings(rest);
    Loop loop{repeated.whole, repeated.all, languages_.nullable(rest),
              repeated.whole.meets(next.all)};
    loop.alphabet.remove(next.all);
    loop.exits.add(next.all);
    loop.exits.remove(loop.alphabet);
    return loop;
  }

  const Beginnings& beginnings(Node node) {
    const auto [found, fresh] = beginnings_.try_emplace(node);
    if (!fresh) return found->second;
    Beginnings result;
    Rest recent;
    bool recent_is_any = false;
    for (int byte = 0; byte < 256; ++byte) {
      const auto first = static_cast<uint8_t>(byte);
      const Node next = languages_.derivative(node, first);
      if (next == kNothing) continue;
      result.all.add(first);
      const Rest rest{next, least_second(first), greatest_second(first), bytes_after_lead(first)};
      if (!(rest == recent)) recent_is_any = takes_any(rest);
      recent = rest;
      if (recent_is_any) result.whole.add(first);
    }
    return beginnings_[node] = result;
  }

  // Whether a language is that of all ends of a character.
  bool takes_any(const Rest& rest) {
    if (rest.pending <= 0) return rest.pending == 0 && rest.node == kEpsilon;
    Node known = kUnknownNode;  // a node that is right
    for (int byte = 0; byte < 256; ++byte) {
      const Node next = languages_.derivative(rest.node, static_cast<uint8_t>(byte));
      if (byte < rest.least || byte > rest.greatest) {
        if (next != kNothing) return false;
      } else if (next != known) {
        if (!takes_any({next, 0x80, 0xBF, static_cast<int8_t>(rest.pending - 1)})) return false;
        known = next;
      }
    }
    return true;
  }

  Languages& languages_;
  std::unordered_map<uint64_t, std::unique_ptr<Loop>> known_;  // by what is repeated and the rest
  std::unordered_map<Node, Beginnings> beginnings_;
};

}  // namespace grammar
