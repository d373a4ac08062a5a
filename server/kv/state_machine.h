// The state machine: etcd's store of versioned keys, leases and watches over a
// Store. README.md has the layouts, the state hash and the invariants.
//
// Threads: as ports/state_machine.h says; what is added here belongs to the
// apply side unless it says otherwise. RangeReply and Watcher objects may
// outlive the state machine: they then answer with an error.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kv/applier.h"
#include "kv/view.h"
#include "kv/watch.h"
#include "ports/clock.h"
#include "ports/disk.h"
#include "ports/log.h"
#include "ports/state_machine.h"
#include "ports/store.h"

namespace leeward::kv {

struct StateMachineOptions {
  WatchOptions watch;
  std::size_t keep_bytes = 256_KiB;     // a range answer up to this is kept from the first pass
  Duration snapshot_idle_limit = 30s;   // a range whose client takes nothing for so long gives its snapshot up,
  Duration snapshot_limit = 10min;      // and one that is not taken whole by then
  std::size_t remembered_hashes = 65'536;
};

class MvccStateMachine final : public StateMachine {
 public:
  // `disk` is where checkpoint() finds the files that the store made. Errors:
  // those of the store, kNewerFormat.
  static Result<std::unique_ptr<MvccStateMachine>> open(std::unique_ptr<Store> store, Disk& disk, const Clock& clock,
                                                        Log& log, const StateMachineOptions& options = {});
  ~MvccStateMachine() override;

  Result<void> apply(std::span<const Entry> entries, const std::function<bool(std::size_t, std::size_t)>& wanted,
                     const std::function<void(std::size_t, std::size_t, CommandResult)>& result) override;
  void set_group_state(std::string bytes) override;
  std::string group_state() const override;
  Result<void> flush() override;
  Result<Manifest> checkpoint(const std::string& directory) override;
  Result<void> install(std::unique_ptr<Store> store) override;
  Result<bool> compact_step(std::size_t max) override;

  AppliedState applied() const override;
  Index durable() const override;
  Hash state_hash() const override;
  std::optional<Hash> state_hash_at(HistoryIndex index) const override;
  std::vector<RegionEntry> region_entries() const override;
  Result<std::unique_ptr<RangeReply>> range(std::string_view request) override;
  Result<CommandResult> read_only_txn(std::string_view request) override;
  Result<KvHash> hash_kv(Revision revision) override;
  Result<std::unique_ptr<StateCopy>> copy(const CopyNote& note) const override;
  std::vector<LeaseInfo> leases() const override;
  std::optional<LeaseInfo> lease(std::int64_t id) const override;
  std::vector<std::string> lease_keys(std::int64_t id) const override;
  Result<std::unique_ptr<Watcher>> watch(const WatchRequest& request, std::function<void()> ready) override;
  bool grows(Op op, std::string_view request) const override;
  std::uint64_t db_bytes() const override;
  std::uint64_t db_bytes_in_use() const override;
  std::uint64_t key_count() const override;
  std::uint64_t watcher_count() const override;
  std::uint64_t watch_backlog() const override;
  Result<void> defragment() override;

  Result<void> verify() const override;
  // The state hash computed anew from all rows: what state_hash() must equal.
  // Any thread; reads everything.
  Result<Hash> recompute_state_hash() const;

 private:
  MvccStateMachine(Disk& disk, const Clock& clock, Log& log, const StateMachineOptions& options);

  Result<void> load(std::unique_ptr<Store> store);
  Result<void> apply_entry(const Entry& entry, std::size_t e,
                           const std::function<bool(std::size_t, std::size_t)>& wanted);
  Result<void> check_follows(const Entry& entry) const;
  void remember_hash(const Numbers& numbers);
  void publish();
  void now_durable(Index index);
  Result<void> read_state(const Path& directory, Manifest& out) const;
  Result<StateFile> describe(const Path& directory, const std::string& name);

  Disk& disk_;
  const Clock& clock_;
  Log& log_;
  const StateMachineOptions options_;

  std::unique_ptr<Store> store_;
  std::unique_ptr<Applier> applier_;
  Numbers numbers_;  // of what is written
  std::string group_state_, stored_group_state_;
  std::int64_t swept_ = 0;  // compaction up to this revision is done in the rows too
  struct Answer {
    std::size_t entry, command;
    CommandResult result;
  };
  std::vector<Answer> answers_;
  std::mutex checkpoint_mutex_;
  std::map<std::string, StateFile> described_;  // under it; table files never change: hash each once

  std::shared_ptr<Published> published_;
  std::shared_ptr<WatchHub> hub_;
  std::atomic<std::uint64_t> durable_{0};
  mutable std::mutex hashes_mutex_;
  std::deque<std::pair<HistoryIndex, Hash>> hashes_;  // after recent history entries
};

}  // namespace leeward::kv
