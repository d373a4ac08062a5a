// Reads segments front to back: replay at open, and the offline tools. Judges
// where a segment ends by the table in FORMAT.md. Internal to wal; no thread
// rule beyond that of the File.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ports/disk.h"
#include "wal/format.h"

namespace leeward::wal {

// What is wrong, and where.
struct Fault {
  enum class Kind { kDamage, kTornTail };
  Kind kind = Kind::kDamage;
  Path file;
  std::uint64_t offset = 0;
  std::string what;
  Code code = Code::kCorrupt;
  bool mends = false;  // the next start puts it right; nothing acknowledged depends on it
  Error error() const { return {code, file + " at offset " + std::to_string(offset) + ": " + what}; }
};

// Where an entry's record lies.
struct Location {
  std::uint64_t segment = 0;
  std::uint32_t offset = 0;  // of the record's head
  std::uint32_t length = 0;  // of its payload
};

// The log's state as the records tell it, each checked against the one before.
struct Replay {
  LogPoint base, last;
  HardState hard_state;
  std::deque<Location> index;  // of entries base + 1 .. last

  void restart(const SegmentHeader& header);
  // What is wrong with a segment that follows; nullopt: nothing.
  std::optional<std::string> follow(const SegmentHeader& header) const;
  std::optional<std::string> take(const Record& record, const Location& where);
  // Called for each entry taken, when set.
  std::function<void(const Entry&, const Location&)> on_entry;

 private:
  std::optional<std::string> take_entry(const Record& record, const Location& where);
  std::optional<std::string> take_cut(const Record& record);
};

enum class Depth { kHeads, kAll };

struct ScanEnd {
  enum class Kind { kSealed, kOpen, kTorn };
  Kind kind = Kind::kOpen;
  std::uint64_t offset = 0;         // where the next batch would stand
  std::uint64_t next_sequence = 1;
  std::uint64_t dirty_end = 0;      // kTorn: nothing but zeros from here on
  bool torn_head = false;  // kTorn: the head of the torn batch is there
  // kTorn: the first sector that is not zero and is no part of a torn batch with
  // its head. A batch whose head was lost leaves such, and so does a flipped bit.
  std::optional<std::uint64_t> stray;
  std::uint64_t batches = 0;
  std::optional<Fault> fault;       // the first one; the rest then says how far it came
};

// `last`: no segment follows. Errors: kIo.
Result<ScanEnd> scan_segment(const File& file, const Path& path, const SegmentHeader& header, bool last, Depth depth,
                             Replay& replay);

// Reads and checks the header of segment `number`. Errors: kCorrupt, kNewerFormat, kIo, with the file's name.
Result<SegmentHeader> read_header(const File& file, const Path& path, std::uint64_t number);

// Numbers of the segments in a directory, rising. Errors: kNotFound, kIo.
Result<std::vector<std::uint64_t>> list_segments(Disk& disk, const Path& directory);

}  // namespace leeward::wal
