// A disk in memory that loses what was not synced, for tests and the simulator.
//
// It keeps the promise of ports/disk.h and no more. At crash(seed):
//  - a file's data since its last sync() survives by sectors of 512 bytes, each
//    write's part of a sector on its own: present or not, later ones without
//    earlier ones. So does each change of its size.
//  - each create, rename, link or remove since the last sync_dir() of its
//    directory happened or not, on its own.
//  - files opened before the crash answer kIo for ever (their process is dead);
//    locks are gone.
// Directories themselves are durable at once. The same seed and the same calls
// give the same disk.
//
// Faults: power_off_after(n) lets n more changing calls through, the next one
// and all after it fail until crash(); a capacity gives kNoSpace; a sync that
// fails once; flipped bytes. Any thread (one lock); a deterministic user calls
// from one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ports/disk.h"

namespace leeward::test {

class MemoryDisk final : public Disk {
 public:
  static constexpr std::size_t kSector = 512;
  // How a crash treats what was not synced.
  enum class Tear { kRandom, kLoseAll, kKeepAll };

  MemoryDisk();
  ~MemoryDisk() override;

  // --- ports/disk.h ---
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
  Result<std::unique_ptr<DirectoryLock>> lock(const Path& directory) override;

  // --- crashes ---
  // Power goes and comes back: see above. Clears power_off_after and the sync fault.
  void crash(std::uint64_t seed, Tear tear = Tear::kRandom);
  // The process dies and the machine lives: the page cache keeps everything,
  // but nothing more becomes durable by it. Open files and locks end.
  void kill();
  // Changing calls: write, sync, truncate, allocate, create, rename, link, remove, sync_dir.
  void power_off_after(std::uint64_t operations);
  bool powered() const;
  std::uint64_t operations() const;  // changing calls so far
  std::uint64_t syncs() const;       // File::sync calls that succeeded

  // --- faults ---
  // Space for file sizes in all; writes within allocated space always fit.
  void set_capacity(std::uint64_t bytes);
  // The nth (1: next) sync of a file whose path (that by which it was opened) contains `part` fails with kIo.
  void fail_sync(std::string part, std::uint64_t nth = 1);
  // After `allowed` more, every write to a file whose path (likewise) contains
  // `part` gives kNoSpace, after putting down a part of its data; "" ends it.
  void refuse_writes(std::string part, std::uint64_t allowed = 0);
  // Syncs succeed and make nothing durable (a disk that lies; a fsync left out).
  void ignore_syncs(bool ignore);

  // --- looking and damaging, behind the backs of the tested code ---
  std::vector<Path> files() const;  // all paths, sorted
  std::string contents(const Path& path) const;  // "" when missing
  void overwrite(const Path& path, std::uint64_t offset, std::string_view data);  // durable at once
  void flip(const Path& path, std::uint64_t offset, std::uint8_t mask);

 private:
  struct Inode;
  struct NameChange;
  class MemoryFile;
  class MemoryLock;

  Result<void> changing(const Path& path);  // counts, or refuses when the power is off
  std::uint64_t used() const;
  Inode* find(const Path& path) const;
  void note(NameChange change);

  mutable std::mutex mutex_;
  std::map<Path, std::shared_ptr<Inode>> names_, durable_names_;
  std::vector<NameChange> pending_names_;
  std::set<Path> directories_;
  std::map<Path, std::shared_ptr<int>> locks_;
  std::uint64_t generation_ = 0;  // raised by crash(): older handles are dead
  std::uint64_t operations_ = 0;
  std::uint64_t syncs_ = 0;
  std::optional<std::uint64_t> power_off_at_;
  std::uint64_t capacity_ = UINT64_MAX;
  std::string sync_fault_, write_refused_;
  std::uint64_t sync_fault_in_ = 0;
  std::uint64_t writes_allowed_ = 0;
  bool ignore_syncs_ = false;
};

}  // namespace leeward::test
