// What `leewardctl storage` does with the state of a stopped node: looks, and
// changes nothing. The caller holds the directory's lock.
//
// A state directory is RocksDB's. Covered are: CURRENT, the manifest record by
// record, every table file by the CRC-32C of the whole file that the manifest
// keeps, and, with a full scan, the rows' own invariants (README.md) with the
// state hash computed anew. A checkpoint is covered by the SHA-256 of each of
// its files. What RocksDB writes and never reads back is listed as uncovered.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ports/disk.h"
#include "ports/manifest.h"
#include "ports/store.h"

namespace leeward::kv {

struct StateFault {
  Path file;
  std::uint64_t offset = 0;
  std::string what;
  Code code = Code::kCorrupt;
};

// Bytes that no check looks at, because nothing depends on them.
struct Uncovered {
  Path file;
  std::uint64_t bytes = 0;
  std::string why;
};

struct StateReport {
  std::vector<StateFault> faults;
  std::vector<Uncovered> uncovered;
  std::uint64_t files = 0, bytes = 0;        // looked at
  std::optional<AppliedState> state;         // what it holds, as far as it can be read
  std::uint64_t keys = 0, versions = 0, leases = 0;  // full scan only
  std::string group_state;                           // full scan only: node's to read
  bool sound() const { return faults.empty(); }
};

// Called on the way, each half a million rows: how many were looked at. A version and
// its change are two.
using RowsSeen = std::function<void(std::uint64_t rows)>;

// `full_scan` reads every byte and every row; without it: names, sizes and the
// manifest. Errors: kIo; damage is not an error but in the report.
Result<StateReport> verify_state(Disk& disk, const Path& directory, bool full_scan, const RowsSeen& seen = {});
Result<StateReport> verify_checkpoint(Disk& disk, const Path& directory, bool full_scan);

// What a start asks for before it believes a state: every byte of the files
// that the manifest names. RocksDB reads on without a table's properties when
// these are damaged, and may then answer wrongly. Errors: kCorrupt, kIo.
Result<void> check_files(Disk& disk, const Path& directory);

// The invariants between the rows of a store, and the numbers of its meta row
// against what the rows give. Faults name `where`.
Result<void> check_rows(const StoreSnapshot& rows, const Path& where, StateReport& report, const RowsSeen& seen = {});

// A table file as the store's manifest knows it.
struct TableFile {
  std::string name;
  std::uint64_t size = 0;
  std::optional<std::uint32_t> crc;  // of the whole file; none when it was written without
};
// All that are in use. Opens the directory without writing to it. Errors: kCorrupt, kIo.
Result<std::vector<TableFile>> table_files(const Path& directory);

}  // namespace leeward::kv
