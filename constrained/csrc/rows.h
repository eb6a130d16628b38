// Mask rows: one being made, and those kept of states that were asked for before.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>
#include <memory>
#include <utility>
#include <vector>

namespace grammar {

constexpr size_t kFewWords = 256;
constexpr int32_t kBlockWords = 16;  // looked at together

using Row = std::vector<int32_t>;
using SharedRow = std::shared_ptr<const Row>;

// A row being made in memory of the caller, which is written when something is first put there.
class MaskRow {
 public:
  MaskRow(int32_t* words, int32_t num_words) : words_(words), num_words_(num_words) {}

  int32_t* words() {
    if (is_blank_) std::memset(words_, 0, sizeof(int32_t) * num_words_);
    is_blank_ = false;
    return words_;
  }
  void add(const SharedRow& row) {
    if (is_blank_) {
      std::memcpy(words_, row->data(), sizeof(int32_t) * num_words_);
      base_ = row;
      is_blank_ = false;
      return;
    }
    for (int32_t i = 0; i < num_words_; ++i) words_[i] |= (*row)[i];
  }
  // The row that was put there first, as most of this one is; null if there was none.
  const SharedRow& base() const { return base_; }
  bool is_blank() const { return is_blank_; }

 private:
  int32_t* words_;
  int32_t num_words_;
  bool is_blank_ = true;
  SharedRow base_;
};

class MaskOwner;

// The mask of one state of one grammar: another row, or zeros, and the words that differ from it.
struct KeptRow {
  MaskOwner* owner;
  int32_t state;
  SharedRow base;
  int64_t own_bytes;  // of the base, if nobody else has it
  std::vector<std::pair<int32_t, int32_t>> changes;  // index and word

  int64_t size() const { return static_cast<int64_t>(changes.size() * 8) + own_bytes + 128; }
};

using KeptRowList = std::list<KeptRow>;  // most recently used first

// Whatever has states with masks; knows which of them are kept.
class MaskOwner {
 public:
  std::vector<KeptRowList::iterator> kept_rows;  // by state; the list's end where it is not kept
};

// The kept rows of all grammars of a vocabulary, within a number of bytes.
class KeptRows {
 public:
  int64_t max_bytes = 0;

  explicit KeptRows(int32_t num_words) : num_words_(num_words) {}

  // Writes the mask of a state; false where it is not kept.
  bool copy(const MaskOwner& owner, int32_t state, int32_t* words) {
    if (static_cast<size_t>(state) >= owner.kept_rows.size()) return false;
    const KeptRowList::iterator kept = owner.kept_rows[state];
    if (kept == rows_.end()) return false;
    rows_.splice(rows_.begin(), rows_, kept);
    if (kept->base)
      std::memcpy(words, kept->base->data(), sizeof(int32_t) * num_words_);
    else
      std::memset(words, 0, sizeof(int32_t) * num_words_);
    for (const auto& [index, word] : kept->changes) words[index] = word;
    return true;
  }

  void keep(MaskOwner* owner, int32_t state, MaskRow* row) {
    const int32_t* words = row->words();
    KeptRow kept{owner, state, row->base(), 0, {}};
    const int32_t* base = kept.base ? kept.base->data() : nullptr;
    const auto change = [=](int32_t i) { return words[i] ^ base[i]; };
    const auto word = [=](int32_t i) { return words[i]; };
    if (!(base ? find_changes(words, change, &kept.changes)
               : find_changes(words, word, &kept.changes))) {
      kept.base = std::make_shared<const Row>(words, words + num_words_);
      kept.own_bytes = static_cast<int64_t>(num_words_) * 4;
      kept.changes = {};
    }
    bytes_ += kept.size();
    rows_.push_front(std::move(kept));
    if (static_cast<size_t>(state) >= owner->kept_rows.size())
      owner->kept_rows.resize(state + state / 2 + 1, rows_.end());
    owner->kept_rows[state] = rows_.begin();
    while (bytes_ > max_bytes && rows_.size() > 1) drop(std::prev(rows_.end()));
  }

  void forget(MaskOwner* owner) {
    for (const KeptRowList::iterator row : owner->kept_rows)
      if (row != rows_.end()) drop(row);
    owner->kept_rows.clear();
  }
  void forget_all() {
    while (!rows_.empty()) drop(rows_.begin());
  }
  int64_t bytes_of(const MaskOwner& owner) const {
    int64_t total = 0;
    for (const KeptRowList::iterator row : owner.kept_rows)
      if (row != rows_.end()) total += row->size();
    return total;
  }

 private:
  void drop(KeptRowList::iterator row) {
    bytes_ -= row->size();
    row->owner->kept_rows[row->state] = rows_.end();
    rows_.erase(row);
  }

  // The words that differ from those of a base; false where they are many.
  template <typename Change>
  bool find_changes(const int32_t* words, const Change& change,
                    std::vector<std::pair<int32_t, int32_t>>* changes) const {
    for (int32_t first = 0; first < num_words_; first += kBlockWords) {
      const int32_t last = std::min(first + kBlockWords, num_words_);
      int32_t differs = 0;
      for (int32_t i = first; i < last; ++i) differs |= change(i);
      if (differs == 0) continue;
      for (int32_t i = first; i < last; ++i)
        if (change(i) != 0) changes->push_back({i, words[i]});
      if (changes->size() > kFewWords) return false;
    }
    return true;
  }

  KeptRowList rows_;
  int32_t num_words_;
  int64_t bytes_ = 0;
};

}  // namespace grammar
