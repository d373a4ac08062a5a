// Files of the machine. Any thread; one File is for one writer, and reads may
// run beside it.
#pragma once

#include <cstdint>

#include "ports/disk.h"

namespace leeward::os {

class PosixDisk final : public Disk {
 public:
  // kNever: what is synced is left to the kernel, and a power loss loses it. The
  // death of the process alone does not.
  enum class Syncs : std::uint8_t { kReal, kNever };
  explicit PosixDisk(Syncs syncs = Syncs::kReal) : syncs_(syncs) {}

  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override;
  Result<void> rename(const Path& from, const Path& to) override;
  Result<void> link(const Path& from, const Path& to) override;
  Result<void> remove(const Path& path) override;
  Result<void> remove_all(const Path& path) override;
  Result<void> make_dirs(const Path& path) override;
  Result<std::vector<std::string>> list(const Path& directory) override;
  bool exists(const Path& path) override;
  Result<void> sync_dir(const Path& directory) override;
  Result<DiskSpace> space(const Path& path) override;
  // Holds flock(2) on `directory`/LOCK, which names the holder's pid. On a
  // read-only mount without that file there is nothing to hold, and it succeeds.
  Result<std::unique_ptr<DirectoryLock>> lock(const Path& directory) override;

 private:
  const Syncs syncs_;
};

}  // namespace leeward::os
