// What `leewardctl storage` does on a stopped directory: looks, and changes
// nothing. The caller holds the directory's lock.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ports/disk.h"
#include "wal/scan.h"
#include "wal/superblock.h"

namespace leeward::wal {

struct VerifyReport {
  // Damage, in the order in which it was found: the first of each segment, and
  // each copy of the superblock. A torn tail is listed with its own kind: after
  // a crash it is expected and cut by the next start, after a graceful stop it
  // is damage.
  std::vector<Fault> faults;
  std::uint64_t segments = 0;
  std::uint64_t batches = 0;
  std::uint64_t entries = 0;  // kAll only
  LogPoint base, last;        // kAll only: as far as the log is sound
  HardState hard_state;
  std::optional<Incarnation> owner;  // as two copies of the superblock say
  bool sound() const { return faults.empty(); }
};

// Checks superblock and log, and that they are of one node (kLineage). `full_scan` reads every byte that is in use, and
// that the rest is zero, and recomputes checksums and chain; without it only
// headers and batch heads are looked at. `each`, with a full scan, is shown every
// entry; an index that was overwritten comes again. Errors: kIo, kNotFound (neither file
// there); damage is not an error but in the report.
Result<VerifyReport> verify(Disk& disk, const Path& data_directory, const Path& log_directory, bool full_scan,
                            const std::function<void(const Entry&)>& each = {});

// The four copies, one paragraph each, and which one counts.
Result<std::string> dump_superblock(Disk& disk, const Path& data_directory);

struct DumpedEntry {
  const Entry& entry;
  const Path& file;
  std::uint64_t offset;
};
// Calls `each` for entries of the log in [from, to), as they stand in the files;
// an index that was overwritten comes again. Ends with the first damage as an
// error, after the entries before it. Errors: kNotFound, kCorrupt, kNewerFormat, kIo.
Result<void> dump_log(Disk& disk, const Path& log_directory, Index from, Index to,
                      const std::function<void(const DumpedEntry&)>& each);

}  // namespace leeward::wal
