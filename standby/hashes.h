// State hashes after the last applied history entries, to compare with what
// another region says it has. Where entries are applied in batches, only the
// hash after a batch is known, so both sides tell several points and compare
// where they meet. Core loop.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "standby/messages.h"

namespace leeward::standby {

class HashHistory {
 public:
  static constexpr std::size_t kKept = 65536;
  static constexpr std::size_t kTold = 16;  // points in a frame

  // Points come in rising order of index; one at or below the last restarts
  // the history (another state was installed).
  void record(HashPoint point);
  std::optional<Hash> at(HistoryIndex index) const;
  // The newest points, newest first, at most kTold.
  std::vector<HashPoint> newest() const;

  struct Comparison {
    HashVerdict verdict = HashVerdict::kNotCompared;
    HistoryIndex index;
  };
  // Compares the newest of `told` that is known here; `told` is newest first.
  Comparison compare(const std::vector<HashPoint>& told) const;

 private:
  std::deque<HashPoint> points_;
};

}  // namespace leeward::standby
