#include "standby/hashes.h"

#include <algorithm>

namespace leeward::standby {

void HashHistory::record(HashPoint point) {
  if (!points_.empty() && point == points_.back()) return;
  if (!points_.empty() && point.index <= points_.back().index) points_.clear();
  points_.push_back(point);
  if (points_.size() > kKept) points_.pop_front();
}

std::optional<Hash> HashHistory::at(HistoryIndex index) const {
  const auto it = std::lower_bound(points_.begin(), points_.end(), index,
                                   [](const HashPoint& p, HistoryIndex i) { return p.index < i; });
  if (it == points_.end() || it->index != index) return std::nullopt;
  return it->hash;
}

std::vector<HashPoint> HashHistory::newest() const {
  std::vector<HashPoint> out;
  for (auto it = points_.rbegin(); it != points_.rend() && out.size() < kTold; ++it) out.push_back(*it);
  return out;
}

HashHistory::Comparison HashHistory::compare(const std::vector<HashPoint>& told) const {
  for (const auto& point : told)
    if (const auto own = at(point.index))
      return {*own == point.hash ? HashVerdict::kEqual : HashVerdict::kDifferent, point.index};
  return {};
}

}  // namespace leeward::standby
