// A replicated log to read: what the consensus core, the stream source and the
// offline tools need of it. ports/log_store.h adds the writing side.
#pragma once

#include <vector>

#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"

namespace leeward {

// Raft's persistent state (paper, figure 2); commit is only a hint.
struct HardState {
  Term term;
  NodeId vote;  // 0: nobody
  Index commit;
  bool operator==(const HardState&) const = default;
};

// A place in the log, with the history's position there.
struct LogPoint {
  Index index;
  Term term;
  Position position;
  bool operator==(const LogPoint&) const = default;
};

// Thread rule: that of the implementation.
class LogView {
 public:
  virtual ~LogView() = default;

  // The entry before the first one kept: what a snapshot or a released prefix
  // ends at. Index 0 for a log from the beginning.
  virtual LogPoint base() const = 0;
  virtual LogPoint last() const = 0;  // == base() when empty

  // Entries [from, to), fewer when they exceed max_bytes (payload and envelope)
  // but never none if there is one. Errors: kCompacted at or below base,
  // kNotFound beyond last, kCorrupt, kIo.
  virtual Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const = 0;
  // Term and position at `index`, base().index <= index <= last().index.
  virtual Result<LogPoint> point(Index index) const = 0;
};

// The last point within [from, upto] whose history index is at most `index`.
// Control entries do not move the history index, so it is searched for; no
// kFollow may stand in (from, upto]. Errors: kCompacted when the log, or that
// part of it, begins above it, and those of LogView.
Result<LogPoint> last_point_at(const LogView& log, HistoryIndex index, Index from, Index upto);

}  // namespace leeward
