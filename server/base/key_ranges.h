// A set of keys that is asked often and holds many: what a transaction deletes.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace leeward {

// A set of keys as disjoint ranges [start, end); end "" is the end of all keys.
class KeyRanges {
 public:
  void add(std::string start, std::string end) {
    if (!end.empty() && end <= start) return;
    // Everything that overlaps or touches becomes one range.
    auto it = ranges_.upper_bound(start);
    if (it != ranges_.begin() && !before(std::prev(it)->second, start)) --it;
    while (it != ranges_.end() && (end.empty() || it->first <= end)) {
      start = std::min(start, it->first);
      if (before(end, it->second)) end = it->second;
      it = ranges_.erase(it);
    }
    ranges_.emplace(std::move(start), std::move(end));
  }
  void add(const KeyRanges& other) {
    for (const auto& [start, end] : other.ranges_) add(start, end);
  }
  bool contains(std::string_view key) const {
    auto it = ranges_.upper_bound(key);
    if (it == ranges_.begin()) return false;
    --it;
    return it->second.empty() || key < it->second;
  }

 private:
  // Ends, where "" is beyond everything.
  static bool before(std::string_view a, std::string_view b) { return !a.empty() && (b.empty() || a < b); }
  std::map<std::string, std::string, std::less<>> ranges_;
};

}  // namespace leeward
