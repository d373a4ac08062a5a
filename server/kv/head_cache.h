// Rows of head that were written lately, with the digests of their records: a
// write over one of them neither asks the store nor hashes the old record
// again.
//
// Core loop only. It holds what head holds or nothing: every change of a row
// of head goes through put() or erase(). Two generations: when the younger one
// is full the older one goes, so at most `bytes` (about) are held.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "kv/state_hash.h"

namespace leeward::kv {

class HeadCache {
 public:
  struct Entry {
    std::string row;
    Sum256 digest;  // hash_of_record of the record in it
  };

  explicit HeadCache(std::size_t bytes) : half_(bytes / 2) {}

  // Good until the next change.
  const Entry* find(std::string_view escaped) const {
    if (const auto it = young_.find(escaped); it != young_.end()) return &it->second;
    if (const auto it = old_.find(escaped); it != old_.end()) return &it->second;
    return nullptr;
  }

  void put(std::string_view escaped, std::string_view row, const Sum256& digest) {
    if (row.size() > half_ / 64) return erase(escaped);
    if (const auto it = young_.find(escaped); it != young_.end()) {
      held_ += row.size() - it->second.row.size();
      it->second.row.assign(row);
      it->second.digest = digest;
      return;
    }
    const std::size_t size = escaped.size() + row.size() + kOverhead;
    if (held_ + size > half_) {
      old_ = std::move(young_);
      young_.clear();
      held_ = 0;
    }
    held_ += size;
    young_.emplace(std::string(escaped), Entry{std::string(row), digest});
  }

  void erase(std::string_view escaped) {
    if (const auto it = old_.find(escaped); it != old_.end()) old_.erase(it);
    if (const auto it = young_.find(escaped); it != young_.end()) {
      held_ -= escaped.size() + it->second.row.size() + kOverhead;
      young_.erase(it);
    }
  }

  void clear() {
    old_.clear();
    young_.clear();
    held_ = 0;
  }

 private:
  static constexpr std::size_t kOverhead = 160;  // of an entry in the map
  struct HashOf {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };
  using Rows = std::unordered_map<std::string, Entry, HashOf, std::equal_to<>>;

  std::size_t half_;
  std::size_t held_ = 0;  // by young_
  Rows young_, old_;      // a row in both: young_'s counts
};

}  // namespace leeward::kv
