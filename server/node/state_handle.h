// The state machine as readers see it: one object for the life of the member,
// whose contents are exchanged when a snapshot is installed.
//
// What a reader holds (a range, a copy, a watch) keeps the state it was opened on
// alive. A watch goes over to the new state by itself, at the next revision it
// has not handed out; where that one is compacted there, it ends as etcd's do.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "ports/state_machine.h"

namespace leeward::node {

class StateHandle : public StateMachine {
 public:
  explicit StateHandle(std::shared_ptr<StateMachine> state) : state_(std::move(state)) {}

  // Core loop. Wakes every watcher. `taken_back_to`: what the old state holds
  // above that revision is no history any more, and no gap of revisions says so:
  // watches that are beyond it end as compacted.
  void exchange(std::shared_ptr<StateMachine> state, std::optional<Revision> taken_back_to = std::nullopt);
  std::shared_ptr<StateMachine> current() const;

  Result<void> apply(std::span<const Entry> entries, const std::function<bool(std::size_t, std::size_t)>& wanted,
                     const std::function<void(std::size_t, std::size_t, CommandResult)>& result) override {
    return current()->apply(entries, wanted, result);
  }
  void set_group_state(std::string bytes) override { current()->set_group_state(std::move(bytes)); }
  std::string group_state() const override { return current()->group_state(); }
  Result<void> flush() override { return current()->flush(); }
  Result<void> verify() const override { return current()->verify(); }
  Result<Manifest> checkpoint(const std::string& directory) override { return current()->checkpoint(directory); }
  Result<bool> compact_step(std::size_t max) override { return current()->compact_step(max); }
  AppliedState applied() const override { return current()->applied(); }
  Index durable() const override { return current()->durable(); }
  std::vector<RegionEntry> region_entries() const override { return current()->region_entries(); }
  Hash state_hash() const override { return current()->state_hash(); }
  std::optional<Hash> state_hash_at(HistoryIndex index) const override { return current()->state_hash_at(index); }
  Result<std::unique_ptr<RangeReply>> range(std::string_view request) override;
  Result<CommandResult> read_only_txn(std::string_view request) override { return current()->read_only_txn(request); }
  Result<KvHash> hash_kv(Revision revision) override { return current()->hash_kv(revision); }
  Result<std::unique_ptr<StateCopy>> copy(const CopyNote& note) const override;
  std::vector<LeaseInfo> leases() const override { return current()->leases(); }
  std::optional<LeaseInfo> lease(std::int64_t id) const override { return current()->lease(id); }
  std::vector<std::string> lease_keys(std::int64_t id) const override { return current()->lease_keys(id); }
  Result<std::unique_ptr<Watcher>> watch(const WatchRequest& request, std::function<void()> ready) override;
  bool grows(Op op, std::string_view request) const override { return current()->grows(op, request); }
  std::uint64_t db_bytes() const override { return current()->db_bytes(); }
  std::uint64_t db_bytes_in_use() const override { return current()->db_bytes_in_use(); }
  std::uint64_t key_count() const override { return current()->key_count(); }
  std::uint64_t watcher_count() const override { return current()->watcher_count(); }
  std::uint64_t watch_backlog() const override { return current()->watch_backlog(); }
  Result<void> defragment() override { return current()->defragment(); }

 private:
  // How often something was taken back, and to the lowest revision since the n-th time.
  std::size_t times_back() const;
  std::optional<Revision> back_to_since(std::size_t n) const;

  class RangeOnState;
  class CopyOnState;
  class WatchOnState;
  static constexpr std::size_t kWakesKept = 64;

  mutable std::mutex mutex_;
  std::shared_ptr<StateMachine> state_;
  std::vector<std::weak_ptr<std::function<void()>>> wake_;  // of live watchers; some have ended
  std::size_t forget_at_ = kWakesKept;
  std::vector<Revision> back_to_;  // each taken_back_to
};

}  // namespace leeward::node
