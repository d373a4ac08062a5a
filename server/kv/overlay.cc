#include "kv/overlay.h"

#include <algorithm>

#include "base/check.h"

namespace leeward::kv {

// Merges the rows of the overlay with those of the store; at equal keys the
// overlay's counts.
class OverlayIterator final : public Iterator {
 public:
  OverlayIterator(const Overlay::Rows& rows, std::unique_ptr<Iterator> below)
      : rows_(rows), at_(rows.end()), below_(std::move(below)) {}

  void seek(std::string_view key) override {
    at_ = rows_.lower_bound(key);
    below_->seek(key);
    settle();
  }
  void next() override {
    if (from_overlay_) {
      if (below_->valid() && below_->key() == at_->first) below_->next();
      ++at_;
    } else {
      below_->next();
    }
    settle();
  }
  void seek_for_prev(std::string_view) override { LEEWARD_CHECK(false, "an overlay is read forward only"); }
  void prev() override { LEEWARD_CHECK(false, "an overlay is read forward only"); }
  bool valid() const override { return from_overlay_ || below_->valid(); }
  std::string_view key() const override { return from_overlay_ ? std::string_view(at_->first) : below_->key(); }
  std::string_view value() const override {
    return from_overlay_ ? std::string_view(*at_->second) : below_->value();
  }
  Result<void> status() const override { return below_->status(); }

 private:
  // Chooses the smaller of the two, past rows that the overlay has removed.
  void settle() {
    for (;;) {
      from_overlay_ = at_ != rows_.end() && (!below_->valid() || at_->first <= below_->key());
      if (!from_overlay_ || at_->second) return;
      if (below_->valid() && below_->key() == at_->first) below_->next();
      ++at_;
    }
  }

  const Overlay::Rows& rows_;
  Overlay::Rows::const_iterator at_;
  std::unique_ptr<Iterator> below_;
  bool from_overlay_ = false;
};

Result<std::optional<std::string>> Overlay::get(Family family, std::string_view key) const {
  if (family == Family::kHist) sort_hist_in();
  if (family == Family::kHead)
    if (const auto* known = heads_.find(key)) return std::optional<std::string>(known->row);
  const Rows& own = rows(family);
  if (const auto it = own.find(key); it != own.end()) return it->second;
  return store_.get(family, key);
}

std::unique_ptr<Iterator> Overlay::iterate(Family family) const {
  if (family == Family::kHist) sort_hist_in();
  return std::make_unique<OverlayIterator>(rows(family), store_.iterate(family));
}

void Overlay::sort_hist_in() const {
  for (auto& [key, value] : hist_) rows(Family::kHist).insert_or_assign(std::move(key), std::move(value));
  hist_.clear();
}

void Overlay::drain(Batch& batch) {
  // In the order of keys, as everything: the store inserts neighbours faster.
  std::sort(hist_.begin(), hist_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [key, value] : hist_) batch.put(Family::kHist, std::move(key), std::move(value));
  hist_.clear();
  for (int i = 0; i < kFamilies; ++i) {
    Rows& own = rows_[static_cast<std::size_t>(i)];
    while (!own.empty()) {
      auto node = own.extract(own.begin());
      if (node.mapped())
        batch.put(static_cast<Family>(i), std::move(node.key()), std::move(*node.mapped()));
      else
        batch.remove(static_cast<Family>(i), std::move(node.key()));
    }
  }
}

// What a batch changed that never came to be written is not in head.
void Overlay::clear() {
  if (!rows(Family::kHead).empty()) heads_.clear();
  hist_.clear();
  for (Rows& own : rows_) own.clear();
}

}  // namespace leeward::kv
