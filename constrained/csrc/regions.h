// States among which any text over an alphabet moves, as those of `.*bold.*` before the match.

#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "automaton.h"
#include "characters.h"

namespace grammar {

constexpr size_t kMaxRegionStates = 48;
constexpr int kMaxRegionRounds = 8;
constexpr int32_t kLeastLimit = 12;  // of the length of texts

// Looks for the region of a state: the states that texts over an alphabet lead to from it, which
// are all alive. As many characters are taken for the alphabet as can be. Where texts of more than
// a few characters die, or lead to too many states, the region is that of shorter ones.
class RegionSearch {
 public:
  // Args: may_end: whether texts may end in the region.
  RegionSearch(Automaton* automaton, int32_t state, bool may_end)
      : automaton_(*automaton), start_(state), may_end_(may_end) {}

  // Gives the state the loop that is found, or none.
  void run() {
    automaton_.at(start_)->region_sought = true;
    alphabet_ = live(start_);
    alphabet_.remove_strays();
    for (int round = 0; round < kMaxRegionRounds && !alphabet_.empty(); ++round) {
      follow_all();
      if (bad_.empty()) break;
      alphabet_.remove(bad_);
    }
    if (bad_.empty() && !alphabet_.empty() && limit_ >= kLeastLimit) found();
  }

 private:
  struct Member {
    int32_t state;
    int32_t distance;  // characters that lead to it
  };

  Characters live(int32_t state) {
    Characters result;
    const Bytes& bytes = automaton_.at(state)->live();
    for (int byte = 0; byte < 256; ++byte)
      if (bytes.has(static_cast<uint8_t>(byte))) result.add(static_cast<uint8_t>(byte));
    return result;
  }

  void found() {
    Loop region{alphabet_, {}, false, false, true};
    for (const Member& member : members_) {
      region.exits.add(live(member.state));
      region.may_end |= !automaton_.at(member.state)->labels.empty();
    }
    region.exits.remove(alphabet_);
    LexemeState* state = automaton_.at(start_);
    state->loop = automaton_.keep(region);
    state->limit = limit_;
  }

  // Visits the states that the alphabet leads to, and notes which characters should not be in it.
  void follow_all() {
    members_.assign(1, {start_, 0});
    bad_ = {};
    limit_ = INT32_MAX;
    for (size_t i = 0; i < members_.size() && members_[i].distance < limit_; ++i) {
      const Member from = members_[i];
      if (members_.size() > kMaxRegionStates) limit_ = from.distance;
      Rest known;
      bool known_is_good = false;
      for (int byte = 0; byte <= kLastLead && from.distance < limit_; ++byte) {
        const auto first = static_cast<uint8_t>(byte);
        const int8_t pending = bytes_after_lead(first);
        if (pending == kStray || !alphabet_.has(first)) continue;
        const int32_t next = automaton_.at(from.state)->after(first);
        const Rest rest{next, least_second(first), greatest_second(first), pending};
        if (!(rest == known)) known_is_good = follow(rest, from.distance + 1);
        known = rest;
        if (known_is_good) continue;
        if (from.distance >= kLeastLimit)
          limit_ = from.distance;
        else
          bad_.add(first);
      }
    }
  }

  // A state in a character, of which so many bytes are missing, the next one from a range.
  struct Rest {
    int32_t state = kDead;
    uint8_t least = 0, greatest = 0;
    int8_t pending = kStray;
    bool operator==(const Rest& o) const {
      return state == o.state && least == o.least && greatest == o.greatest && pending == o.pending;
    }
  };

  // Whether all ends of a character lead to states that may be of the region, which are noted.
  bool follow(const Rest& rest, int32_t distance) {
    if (rest.pending == 0) return admit(rest.state, distance);
    if (rest.state == kDead) return false;
    const LexemeState* at = automaton_.at(rest.state);
    int32_t known = kDead;
    for (int byte = 0; byte < 256; ++byte) {
      const int32_t next = at->after(static_cast<uint8_t>(byte));
      if (byte < rest.least || byte > rest.greatest) {
        if (next != kDead) return false;
      } else if (next != known || next == kDead) {
        const auto pending = static_cast<int8_t>(rest.pending - 1);
        if (!follow({next, 0x80, 0xBF, pending}, distance)) return false;
        known = next;
      }
    }
    return true;
  }

  bool admit(int32_t state, int32_t distance) {
    if (state == kDead) return false;
    const auto is_it = [state](const Member& member) { return member.state == state; };
    if (std::any_of(members_.begin(), members_.end(), is_it)) return true;
    const LexemeState* at = automaton_.at(state);
    if (!may_end_ && !at->labels.empty()) return false;
    int32_t wanted = 0, dead = 0;
    for (int byte = 0; byte < 128; ++byte) {
      if (!alphabet_.has(static_cast<uint8_t>(byte))) continue;
      ++wanted;
      dead += at->after(static_cast<uint8_t>(byte)) == kDead;
    }
    if (dead * 4 > wanted) return false;  // rather leave out what leads here
    members_.push_back({state, distance});
    return true;
  }

  Automaton& automaton_;
  int32_t start_;
  bool may_end_;
  Characters alphabet_, bad_;
  std::vector<Member> members_;
  int32_t limit_ = 0;
};

}  // namespace grammar
