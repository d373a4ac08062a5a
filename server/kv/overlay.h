// What an apply batch has changed so far, over what the store holds: commands
// of one batch see each other's writes before anything is written. Rows of
// head are remembered beyond the batch.
//
// Core loop only. Iterators are void after the next change; they go forward.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "base/units.h"
#include "kv/head_cache.h"
#include "ports/store.h"

namespace leeward::kv {

class Overlay final : public StoreSnapshot {
 public:
  explicit Overlay(const Store& store) : store_(store) {}

  void put(Family family, std::string key, std::string value) {
    rows(family).insert_or_assign(std::move(key), std::move(value));
  }
  void remove(Family family, std::string key) { rows(family).insert_or_assign(std::move(key), std::nullopt); }

  // Rows of head change through these alone. `digest`: of the record in `row`.
  void put_head(std::string key, std::string row, const Sum256& digest) {
    heads_.put(key, row, digest);
    put(Family::kHead, std::move(key), std::move(row));
  }
  void remove_head(std::string key) {
    heads_.erase(key);
    remove(Family::kHead, std::move(key));
  }
  // The digest of the record that head holds of a key, where it is known.
  const Sum256* head_digest(std::string_view key) const {
    const auto* known = heads_.find(key);
    return known ? &known->digest : nullptr;
  }
  // A row of hist, which has no other with its key.
  void append_hist(std::string key, std::string value) { hist_.emplace_back(std::move(key), std::move(value)); }

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  std::unique_ptr<Iterator> iterate(Family family) const override;

  // Moves all changes to the end of `batch`.
  void drain(Batch& batch);
  void clear();
  // What drain() gave away was not written: what is remembered of head is not in it.
  void forget_heads() { heads_.clear(); }

 private:
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;
  friend class OverlayIterator;
  Rows& rows(Family family) const { return rows_[static_cast<std::size_t>(family)]; }

  void sort_hist_in() const;

  static constexpr std::size_t kHeadsKept = 16_MiB;

  const Store& store_;
  mutable std::array<Rows, kFamilies> rows_;
  // Rarely read within the batch that writes them: in rows_ only once they are.
  mutable std::vector<std::pair<std::string, std::string>> hist_;
  HeadCache heads_{kHeadsKept};
};

}  // namespace leeward::kv
