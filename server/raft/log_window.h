// The log as the core sees it: the stored log below, and above it what is not
// durable yet, with a bounded run of recent entries so that replication does
// not read the store in normal work.
//
// Durability: append() -> take_unwritten(token) -> persisted(token). A write
// that was under way when its entries were cut off counts only up to the cut,
// even if entries of the same index and term come back later.
//
// Invariants: entries of the window follow one another by index; everything
// above stable() is in the window; the store is read only at or below stable().
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/log_view.h"

namespace leeward::raft {

// What counts against the byte bounds: payload, envelope and the rest.
std::size_t weight(const Entry& entry);

class LogWindow {
 public:
  // `stored` outlives the window.
  LogWindow(const LogView& stored, std::size_t cache_bytes);

  LogPoint last() const;
  // The lowest point from which entries can still be read.
  LogPoint base() const;
  Index stable() const { return stable_; }

  // Nothing when `index` is below base(), beyond last() or unreadable.
  std::optional<LogPoint> point(Index index) const;
  // The term at `index`, 0 when there is no point().
  Term term(Index index) const;
  // The highest index at or below `index`, not below `floor`, whose term is at
  // most `term`: where a log that says (index, term) could meet this one.
  Index find_meeting(Index index, Term term, Index floor) const;

  // Entries [from, to), bounded by bytes but at least one. Errors: as LogView.
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const;
  // Weight of the entries above `index` that are in the window.
  std::size_t weight_above(Index index) const;

  void append(Entry entry);
  // Cuts `from` and everything after it.
  void truncate(Index from);
  // The log starts anew after `point`, which is durable.
  void restore(const LogPoint& point);

  bool has_unwritten() const { return written_ < last().index; }
  // Everything not handed out for writing yet, as part of write `token`.
  std::vector<Entry> take_unwritten(std::uint64_t token);
  // Write `token` and all before it are durable.
  void persisted(std::uint64_t token);

 private:
  struct Write {
    std::uint64_t token;
    Index last;
  };

  const Entry& at(Index index) const { return recent_[index - before_.index - 1]; }
  void trim();

  const LogView& stored_;
  const std::size_t cache_bytes_;
  LogPoint before_;  // the point just before recent_
  std::deque<Entry> recent_;
  std::size_t recent_bytes_ = 0;
  Index written_;
  Index stable_;
  std::deque<Write> writes_;
};

}  // namespace leeward::raft
