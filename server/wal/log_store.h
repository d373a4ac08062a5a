// The Raft log and hard state of one member over segments on a Disk.
//
// Format, and what open() cuts and what it refuses: FORMAT.md.
// Threads: the LogView side is for any thread; all else belongs to the wal
// loop. After any failed call on the disk, kNoSpace excepted, the log is
// poisoned: every later writing call gives that first error, and the process
// must stop, for the page cache may hold what the disk does not.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "ports/disk.h"
#include "ports/log_store.h"
#include "ports/random.h"
#include "wal/scan.h"
#include "wal/segments.h"

namespace leeward::wal {

struct LogOptions {
  Incarnation owner;                        // of the data directory; a log of another one is refused
  std::uint64_t segment_bytes = 64_MiB;     // at most 1 GiB
  std::size_t cache_bytes = 64_MiB;         // recent entries in memory, beside unsynced ones
  std::size_t batch_bytes = 8_MiB;          // a larger sync is split
  // False: a directory without a log is kNotFound, not a new log. True until a
  // first start has come through: the superblock names the owner and so is made
  // before the log, with starts == 0, and `create` is just that.
  bool create = false;
};

class SegmentedLog final : public LogStore {
 public:
  // `disk` and `random` (salts) outlive the log. Replays all segments, cuts a
  // torn tail, makes what it found durable. Errors: kNotFound, kCorrupt (repair
  // needed; the text names file, offset and the last good entry), kLineage,
  // kNewerFormat, kNoSpace, kIo.
  static Result<std::unique_ptr<SegmentedLog>> open(Disk& disk, Random& random, Path directory, LogOptions options);

  LogPoint base() const override;
  LogPoint last() const override;
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const override;
  Result<LogPoint> point(Index index) const override;
  Result<std::vector<Entry>> read_stored(Index from, Index to, std::size_t max_bytes) const override;

  HardState hard_state() const override;
  // Nothing is taken unless all chain: kCorrupt; kInvalid for an index outside
  // (base, last + 1]. An empty span is nothing to do.
  Result<void> append(std::span<const Entry> entries) override;
  Result<void> set_hard_state(const HardState& state) override;
  Result<void> sync() override;
  Result<void> release(Index index) override;
  // What was buffered is dropped, but for the hard state.
  Result<void> reset(const LogPoint& point) override;
  Result<Function<Result<void>()>> fork(const Path& directory) override;
  std::uint64_t bytes() const override { return bytes_.load(std::memory_order_relaxed); }

  // How many bytes of a torn tail open() cut, for the start's log line.
  std::uint64_t torn_bytes_cut() const { return torn_bytes_cut_; }

 private:
  // A batch on its way: its bytes never change until they are on the disk.
  struct Frame {
    std::string bytes;
    std::uint64_t sequence = 0;
    bool seal = false;
    std::optional<LogPoint> cut;
    Index first;                       // of its entries
    std::vector<Location> entries;
    LogPoint end;                      // the log's end in the file after it
  };
  struct Plan {
    std::size_t entries = 0;
    std::size_t body_bytes = 0;
    std::uint32_t records = 0;
  };

  SegmentedLog(Disk& disk, Random& random, Path directory, LogOptions options);

  Result<void> recover();
  Result<void> load_segments(const std::vector<std::uint64_t>& numbers);
  Result<void> replay_segments();
  Result<void> finish_tail(const ScanEnd& end);
  Result<void> start_new();

  Result<void> checked(Result<void> result);
  bool dirty() const;
  Plan plan_frame() const;
  Result<void> make_room(std::size_t sectors);
  Result<void> seal();
  Result<void> rotate(bool reset, const LogPoint& point);
  void build_frame(const Plan& plan);
  Result<void> write_frame();
  void complete_frame();
  Index first_unwritten() const;
  void trim_cache();  // mutex held
  Result<void> drop_before(std::uint64_t segment);
  void count_bytes();

  Result<std::vector<Entry>> read_files(Index from,
                                        const std::vector<std::pair<std::shared_ptr<Segment>, Location>>& where) const;

  Disk& disk_;
  Path directory_;
  LogOptions options_;
  Segments files_;

  // Shared with readers, under mutex_. Written by the wal loop only, which
  // therefore reads it without.
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Segment>> segments_;
  LogPoint base_, last_;
  HardState hard_state_;
  std::deque<Location> index_;   // of the entries in files, base + 1 .. written_.index
  std::deque<Entry> cache_;      // the entries before last_; at least all that are not in files
  std::size_t cache_bytes_ = 0;

  // The wal loop's own.
  std::shared_ptr<Segment> active_;
  std::uint64_t offset_ = 0;          // where the next batch goes in it
  std::uint64_t next_sequence_ = 1;
  bool sealed_ = false;               // active_ is
  LogPoint written_;                  // the end of what is in files
  HardState written_hard_state_;
  Index unframed_{1};                 // first entry that is in no frame yet
  LogPoint before_unframed_;
  bool hard_state_dirty_ = false;
  std::optional<Frame> frame_;
  std::optional<Error> poison_;
  std::uint64_t torn_bytes_cut_ = 0;
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace leeward::wal
