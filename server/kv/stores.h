// The two stores behind ports/store.h. Wiring opens the first, the simulator
// the second; one suite of tests drives both with the same operations.
#pragma once

#include <cstdint>
#include <memory>

#include "base/units.h"
#include "ports/disk.h"
#include "ports/probe.h"
#include "ports/store.h"

namespace leeward::kv {

struct RocksDbOptions {
  std::size_t write_buffer = 16_MiB;  // a family; one full flushes all
  std::size_t block_cache = 32_MiB;   // shared by all families
  int background_jobs = 2;
  int max_open_files = 512;  // of its tables; the others are opened as they are read
  Histogram* flush_duration = nullptr;  // takes how long each flush took, its own and ours; outlives the store
  bool create = true;      // false: kNotFound when there is none
  bool read_only = false;  // for tools on a stopped directory or a checkpoint
};

// RocksDB without its own log: what was not flushed is lost in a crash, whole
// batches from the end. Uses the file system itself, not the Disk port.
// Errors: kInUse, kCorrupt, kIo, kNoSpace, kNotFound.
Result<std::unique_ptr<Store>> open_rocksdb_store(const Path& directory, const RocksDbOptions& options = {});

struct MemoryStoreOptions {
  // Flush by itself after so many batches, as RocksDB does when a buffer is
  // full; 0: only when told.
  std::uint64_t flush_every = 0;
};

// Ordered maps in memory; flush() writes them whole as one file through
// `disk`, which must outlive the store. Dropping the store without flush() is
// a crash. Errors: those of Disk, kCorrupt, kNewerFormat.
Result<std::unique_ptr<Store>> open_memory_store(Disk& disk, const Path& directory,
                                                 const MemoryStoreOptions& options = {});

}  // namespace leeward::kv
