// The files of a log: makes segments out of a spare that is zeros on the disk,
// and takes back released ones. wal loop only. Internal to wal.
#pragma once

#include <cstdint>
#include <memory>

#include "ports/disk.h"
#include "ports/random.h"
#include "wal/format.h"

namespace leeward::wal {

// Immutable but for its file's tail; shared with readers.
struct Segment {
  SegmentHeader header;
  Path path;
  std::unique_ptr<File> file;
  std::uint32_t seed = 0;  // of its checksums
};

class Segments {
 public:
  Segments(Disk& disk, Random& random, Path directory, std::uint64_t segment_bytes);

  // Makes the spare (not yet synced) ready for a segment with room for `needed` bytes beside
  // header and seal. Errors: kNoSpace (nothing changed; again later), kIo.
  Result<void> prepare(std::uint64_t needed);
  // Turns the prepared spare into the segment of that header (salt and size are
  // filled in), durable with its name when it returns.
  Result<std::shared_ptr<Segment>> create(SegmentHeader header);

  // Prepares ahead, `written` bytes of log having been written: a piece at a
  // time, so that no sync waits for a whole segment. Want of space is not an
  // error here: prepare() will tell.
  Result<void> prepare_ahead(std::uint64_t written);

  // Takes a released segment out of the log, durably: as the next spare, or
  // removed. Nobody else may hold it when `recycle`. One with another name
  // beside is of a fork too (LogStore::fork): removed here, never written.
  Result<void> retire(std::shared_ptr<Segment> segment, std::uint64_t used, bool recycle);

  // Throws a spare of an earlier process away.
  Result<void> discard_spare();
  std::uint64_t spare_bytes() const { return spare_.file ? spare_.bytes : 0; }

 private:
  struct Spare {
    std::unique_ptr<File> file;
    std::uint64_t bytes = 0;
    std::uint64_t zeroed = 0;     // zeros are written up to here
    std::uint64_t dirty_end = 0;  // and need to be up to here
    bool ready() const { return file && zeroed >= dirty_end; }
  };

  Result<void> begin_spare(std::uint64_t bytes);
  Result<void> zero_piece();
  Result<void> drop_spare();
  Path spare_path() const { return directory_ + "/" + std::string(kSpareName); }

  Disk& disk_;
  Random& random_;
  Path directory_;
  std::uint64_t segment_bytes_;  // whole pages
  std::uint64_t piece_;          // of zeros written at once
  Spare spare_;
  std::uint64_t debt_ = 0;  // bytes of zeros owed by prepare_ahead
};

}  // namespace leeward::wal
