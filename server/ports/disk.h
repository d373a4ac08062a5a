// Files as the core sees them. Calls block: they belong on the wal loop, on
// start, or on reads of what is surely in the page cache.
//
// What a crash leaves: data written since the last sync() of a file may be
// there in part, in any order of sectors, or not at all; a created, renamed or
// removed name is sure only after sync_dir() of its directory. After a failed
// sync() nothing about the file may be believed: the process must stop.
// Errors: kIo, kNoSpace, kNotFound, kExists, kInUse.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace leeward {

using Path = std::string;

class File {
 public:
  virtual ~File() = default;
  // Appends up to `size` bytes at `offset` to `out`; fewer only at the end of the file.
  virtual Result<std::size_t> read(std::uint64_t offset, std::size_t size, std::string& out) const = 0;
  virtual Result<void> write(std::uint64_t offset, std::string_view data) = 0;
  virtual Result<void> sync() = 0;  // fdatasync
  virtual Result<std::uint64_t> size() const = 0;
  // How many names the file has, in whichever directories (Disk::link).
  virtual Result<std::uint64_t> links() const = 0;
  virtual Result<void> truncate(std::uint64_t size) = 0;
  // Reserves space so that later writes within it cannot fail with kNoSpace;
  // the new range reads as zeros.
  virtual Result<void> allocate(std::uint64_t size) = 0;
};

enum class OpenMode { kRead, kReadWrite, kCreate /* must not exist */, kCreateOrOpen };

struct DiskSpace {
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
};

// Held while alive; the lock goes with the process.
class DirectoryLock {
 public:
  virtual ~DirectoryLock() = default;
};

class Disk {
 public:
  virtual ~Disk() = default;
  virtual Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) = 0;
  virtual Result<void> rename(const Path& from, const Path& to) = 0;
  virtual Result<void> link(const Path& from, const Path& to) = 0;
  virtual Result<void> remove(const Path& path) = 0;         // a file or an empty directory
  virtual Result<void> remove_all(const Path& path) = 0;     // a tree; missing is fine
  virtual Result<void> make_dirs(const Path& path) = 0;      // existing is fine
  virtual Result<std::vector<std::string>> list(const Path& directory) = 0;  // names, sorted
  virtual bool exists(const Path& path) = 0;
  virtual Result<void> sync_dir(const Path& directory) = 0;
  virtual Result<DiskSpace> space(const Path& path) = 0;
  // kInUse names the process that holds it.
  virtual Result<std::unique_ptr<DirectoryLock>> lock(const Path& directory) = 0;
};

}  // namespace leeward
