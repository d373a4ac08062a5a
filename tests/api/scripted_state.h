// A state machine that answers what the test says: for what the services do
// around it. The behaviour of etcd's store itself is tested over the real one.
#pragma once

#include <deque>
#include <set>

#include "ports/state_machine.h"

namespace leeward::api::test {

// What the test holds of one watch.
struct ScriptedWatch {
  WatchRequest request;
  std::function<void()> ready;
  std::deque<WatchEvents> events;
  Revision synced;
  int polls = 0, looks = 0;
  bool alive = true;
};

class ScriptedState final : public StateMachine {
 public:
  ScriptedState() { info.revision = Revision(10), info.epoch = Epoch(1), info.point.term = Term(3); }

  Result<void> apply(std::span<const Entry>, const std::function<bool(std::size_t, std::size_t)>&,
                     const std::function<void(std::size_t, std::size_t, CommandResult)>& result) override {
    result(0, 0, next);
    return {};
  }
  void set_group_state(std::string) override {}
  std::string group_state() const override { return {}; }
  Result<void> flush() override { return {}; }
  Result<Manifest> checkpoint(const std::string&) override { return Manifest{}; }
  AppliedState applied() const override { return info; }
  Index durable() const override { return {}; }
  Hash state_hash() const override { return {}; }

  struct Reply final : RangeReply {
    std::string bytes;
    std::size_t at = 0;
    std::uint64_t size() const override { return bytes.size(); }
    Revision revision() const override { return Revision(10); }
    Result<Bytes> next(std::size_t max) override {
      std::string piece = bytes.substr(at, max);
      at += piece.size();
      return Bytes(std::move(piece));
    }
  };
  Result<std::unique_ptr<RangeReply>> range(std::string_view) override {
    ++ranges;
    if (range_failure) return *range_failure;
    auto reply = std::make_unique<Reply>();
    reply->bytes = range_response;
    return std::unique_ptr<RangeReply>(std::move(reply));
  }
  Result<CommandResult> read_only_txn(std::string_view) override {
    ++reads;
    return next;
  }
  Result<KvHash> hash_kv(Revision revision) override { return KvHash{99, revision, Revision(2)}; }
  std::vector<LeaseInfo> leases() const override { return {}; }
  std::optional<LeaseInfo> lease(std::int64_t) const override { return {}; }
  std::vector<std::string> lease_keys(std::int64_t) const override { return {}; }

  struct ScriptedWatcher final : Watcher {
    explicit ScriptedWatcher(std::shared_ptr<ScriptedWatch> w) : watch(std::move(w)) {}
    ~ScriptedWatcher() override { watch->alive = false; }
    std::optional<WatchEvents> poll(std::size_t) override {
      ++watch->polls;
      if (watch->events.empty()) return std::nullopt;
      WatchEvents next = std::move(watch->events.front());
      watch->events.pop_front();
      watch->synced = std::max(watch->synced, next.revision);
      return next;
    }
    Revision synced() const override {
      ++watch->looks;
      return watch->synced;
    }
    std::shared_ptr<ScriptedWatch> watch;
  };
  Result<std::unique_ptr<Watcher>> watch(const WatchRequest& request, std::function<void()> ready) override {
    if (watch_failure) return *watch_failure;
    auto made = std::make_shared<ScriptedWatch>();
    made->request = request;
    made->ready = std::move(ready);
    made->synced = info.revision;
    watches.push_back(made);
    return std::unique_ptr<Watcher>(std::make_unique<ScriptedWatcher>(made));
  }
  bool grows(Op, std::string_view) const override { return false; }
  std::uint64_t db_bytes() const override { return 4096; }
  std::uint64_t db_bytes_in_use() const override { return 1024; }
  std::uint64_t key_count() const override { return 3; }
  std::uint64_t watcher_count() const override { return watches.size(); }
  std::uint64_t watch_backlog() const override { return 0; }
  Result<void> defragment() override { return {}; }

  AppliedState info = [] {
    AppliedState begun;
    begun.point.index = Index(1);
    return begun;
  }();
  CommandResult next;
  std::string range_response;
  std::optional<Error> range_failure, watch_failure;
  std::vector<std::shared_ptr<ScriptedWatch>> watches;
  int ranges = 0, reads = 0;
};

}  // namespace leeward::api::test
