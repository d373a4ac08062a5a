// What an apply batch has changed so far, over what the store holds: commands
// of one batch see each other's writes before anything is written.
//
// Core loop only. Iterators are void after the next change; they go forward.
#pragma once

#include <array>
#include <map>

#include "ports/store.h"

namespace leeward::kv {

class Overlay final : public StoreSnapshot {
 public:
  explicit Overlay(const Store& store) : store_(store) {}

  void put(Family family, std::string key, std::string value) {
    rows(family).insert_or_assign(std::move(key), std::move(value));
  }
  void remove(Family family, std::string key) { rows(family).insert_or_assign(std::move(key), std::nullopt); }

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override;
  std::unique_ptr<Iterator> iterate(Family family) const override;

  // Moves all changes to the end of `batch`.
  void drain(Batch& batch);
  void clear();

 private:
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;
  friend class OverlayIterator;
  Rows& rows(Family family) { return rows_[static_cast<std::size_t>(family)]; }
  const Rows& rows(Family family) const { return rows_[static_cast<std::size_t>(family)]; }

  const Store& store_;
  std::array<Rows, kFamilies> rows_;
};

}  // namespace leeward::kv
