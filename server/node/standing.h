// What an operator did to one member (README.md, "Paused and isolated"). It is
// of this member's directory, so it stands in the superblock: it holds before
// the log is read, without a quorum, and goes with the disk that it is about.
// Plain values.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"

namespace leeward::node {

struct Standing {
  enum class Kind : unsigned char { kNone = 0, kPaused = 1, kIsolated = 2 };
  static constexpr std::size_t kMaxReason = 200;

  Kind kind = Kind::kNone;
  std::string reason;  // of an isolation, one line

  bool is_isolated() const { return kind == Kind::kIsolated; }
  bool operator==(const Standing&) const = default;
};

// Of the records in SuperblockData::extra; kNone when there is none.
Standing standing_in(const std::string& extra);
void set_standing(std::string& extra, const Standing& standing);

// Errors: kInvalid (empty, longer than kMaxReason, more than a line).
Result<void> check_reason(const std::string& reason);

}  // namespace leeward::node
