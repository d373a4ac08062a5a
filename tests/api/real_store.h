// The real state machine in memory.
#pragma once

#include <memory>

#include "kv/state_machine.h"
#include "kv/stores.h"
#include "ports/disk.h"

namespace leeward::api::test {

// The memory store asks only whether there is an image of it.
class NoDisk final : public Disk {
 public:
  Result<std::unique_ptr<File>> open(const Path&, OpenMode) override { return none(); }
  Result<void> rename(const Path&, const Path&) override { return none(); }
  Result<void> link(const Path&, const Path&) override { return none(); }
  Result<void> remove(const Path&) override { return none(); }
  Result<void> remove_all(const Path&) override { return {}; }
  Result<void> make_dirs(const Path&) override { return {}; }
  Result<std::vector<std::string>> list(const Path&) override { return std::vector<std::string>(); }
  bool exists(const Path&) override { return false; }
  Result<void> sync_dir(const Path&) override { return {}; }
  Result<DiskSpace> space(const Path&) override { return DiskSpace{}; }
  Result<std::unique_ptr<DirectoryLock>> lock(const Path&) override { return none(); }

 private:
  static Error none() { return Error{Code::kNotFound, "there is no disk here"}; }
};

inline std::unique_ptr<leeward::kv::MvccStateMachine> open_state_machine(Disk& disk, const Clock& clock, Log& log) {
  auto store = leeward::kv::open_memory_store(disk, "/state");
  if (!store.ok()) return nullptr;
  auto opened = leeward::kv::MvccStateMachine::open(std::move(*store), disk, clock, log);
  return opened.ok() ? std::move(*opened) : nullptr;
}

}  // namespace leeward::api::test
