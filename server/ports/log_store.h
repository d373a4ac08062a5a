// The durable Raft log and hard state of one group's member. `wal` implements
// it over Disk; the record format is in wal/FORMAT.md.
//
// Threads: append, set_hard_state, sync, release and reset belong to the wal
// loop. The read side (LogView) may be called from any thread and sees
// everything appended, synced or not: recent entries come from memory, older
// ones from the page cache.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/function.h"
#include "base/log_view.h"

namespace leeward {

class LogStore : public LogView {
 public:
  virtual HardState hard_state() const = 0;

  // As read(), but of what the disk holds, past what is kept in memory, to find
  // out whether it holds it. Any thread. Empty where nothing is written yet.
  virtual Result<std::vector<Entry>> read_stored(Index from, Index to, std::size_t max_bytes) const {
    return read(from, to, max_bytes);
  }

  // Buffers entries. The first may overwrite: everything at and after its index
  // is void from then on. It must chain on the entry before it.
  virtual Result<void> append(std::span<const Entry> entries) = 0;
  virtual Result<void> set_hard_state(const HardState& state) = 0;
  // Makes all buffered durable: one write and one fdatasync. kNoSpace: nothing
  // of this batch counts, it stays buffered, call again later. Any other error
  // is final for the process.
  virtual Result<void> sync() = 0;

  // Entries up to and including `index` may be dropped; space is recycled by
  // whole segments.
  virtual Result<void> release(Index index) = 0;
  // Drops everything and starts after `point` (an installed snapshot). Durable
  // when it returns.
  virtual Result<void> reset(const LogPoint& point) = 0;

  // A copy of all that is synced, to be opened as a log of the same owner, in
  // `directory`: there, empty, on the same file system. The files that are not
  // written any more are linked by this call; what it returns copies the rest,
  // on any one thread, while the log is written on. Nothing of the copy is
  // synced. Errors, of both: kNoSpace, kIo; a log that cannot: kUnimplemented.
  virtual Result<Function<Result<void>()>> fork(const std::string& /*directory*/) {
    return Error{Code::kUnimplemented, "this log cannot be forked"};
  }

  virtual std::uint64_t bytes() const = 0;  // on disk
};

}  // namespace leeward
