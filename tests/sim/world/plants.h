// Bugs behind the ports; see Plants in world.h.
#pragma once

#include "node/state_handle.h"
#include "ports/log_store.h"

namespace leeward::sim {

// A log that passes everything on; plants override one thing.
class LogWrapper : public LogStore {
 public:
  explicit LogWrapper(std::unique_ptr<LogStore> log) : log_(std::move(log)) {}
  LogPoint base() const override { return log_->base(); }
  LogPoint last() const override { return log_->last(); }
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max) const override {
    return log_->read(from, to, max);
  }
  Result<LogPoint> point(Index index) const override { return log_->point(index); }
  HardState hard_state() const override { return log_->hard_state(); }
  Result<void> append(std::span<const Entry> entries) override { return log_->append(entries); }
  Result<void> set_hard_state(const HardState& state) override { return log_->set_hard_state(state); }
  Result<void> sync() override { return log_->sync(); }
  Result<void> release(Index index) override { return log_->release(index); }
  Result<void> reset(const LogPoint& point) override { return log_->reset(point); }
  std::uint64_t bytes() const override { return log_->bytes(); }

 protected:
  std::unique_ptr<LogStore> log_;
};

// Keeps the term and forgets for whom it voted in it.
class ForgetsVotes final : public LogWrapper {
 public:
  using LogWrapper::LogWrapper;
  Result<void> set_hard_state(const HardState& state) override {
    return log_->set_hard_state({state.term, NodeId(), state.commit});
  }
};

// Drops the log as soon as it is asked to drop anything, whatever a restart
// would still have to replay.
class DropsTooMuch final : public LogWrapper {
 public:
  using LogWrapper::LogWrapper;
  Result<void> release(Index) override { return log_->reset(log_->last()); }
};

// Applies another value than the entry holds, and does not notice.
class AppliesOtherBytes final : public node::StateHandle {
 public:
  using StateHandle::StateHandle;
  Result<void> apply(std::span<const Entry> entries, const std::function<bool(std::size_t, std::size_t)>& wanted,
                     const std::function<void(std::size_t, std::size_t, CommandResult)>& result) override {
    std::vector<Entry> changed(entries.begin(), entries.end());
    for (auto& e : changed) {
      if (e.kind != EntryKind::kWrites || e.payload.empty()) continue;
      std::string payload(e.payload.view());
      payload.back() ^= 1;
      e.payload = Bytes(std::move(payload));
    }
    return StateHandle::apply(changed, wanted, result);
  }
};

}  // namespace leeward::sim
