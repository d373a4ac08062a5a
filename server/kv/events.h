// The events of one main revision, encoded once and shared by all watchers.
// Immutable once published; any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "kv/layout.h"

namespace leeward::kv {

class Revisions {
 public:
  explicit Revisions(std::int64_t main) : main_(main) {}

  // Before publishing. `record` "" is a deletion; `previous` "" if there was none.
  void add(std::string_view key, std::string_view record, std::string_view previous);

  std::int64_t main() const { return main_; }
  std::size_t size() const { return events_.size(); }
  std::string_view key(std::size_t i) const;
  bool deletion(std::size_t i) const { return events_[i].deletion; }
  // Encoded `events` fields of a WatchResponse, i <= n < j, in that form.
  std::string_view encoded(std::size_t i, std::size_t j, bool with_previous) const;
  std::size_t bytes() const;  // held in memory, about

 private:
  struct Event {
    std::uint32_t end = 0;            // in plain_
    std::uint32_t key_at = 0, key_size = 0;  // in plain_
    std::uint32_t previous_end = 0;   // in previous_
    bool deletion = false;
  };
  void build_with_previous() const;

  std::int64_t main_;
  std::vector<Event> events_;
  std::string plain_, previous_;
  // Made when the first watcher asks for it.
  mutable std::once_flag once_;
  mutable std::string with_previous_;
  mutable std::vector<std::uint32_t> with_previous_ends_;
};

}  // namespace leeward::kv
