// Bugs behind the ports; see Plants in world.h.
#pragma once

#include "node/group.h"
#include "node/group_state.h"
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

inline Bytes with_last_bit_flipped(const Bytes& payload) {
  std::string changed(payload.view());
  changed.back() ^= 1;
  return Bytes(std::move(changed));
}

// Reads of the disk other bytes than were written, and does not ask whether they
// chain.
class ReadsOffTheChain final : public LogWrapper {
 public:
  using LogWrapper::LogWrapper;
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max) const override {
    auto entries = log_->read(from, to, max);
    if (entries.ok())
      for (auto& e : *entries)
        if (e.kind == EntryKind::kWrites) e.payload = with_last_bit_flipped(e.payload);
    return entries;
  }
};

// A group that passes everything on, as the stream sees it; plants override one
// thing.
class GroupWrapper : public node::Group {
 public:
  explicit GroupWrapper(node::Group& group) : group_(group) {}
  Executor& loop() override { return group_.loop(); }
  Clock& clock() override { return group_.clock(); }
  Log& logger() override { return group_.logger(); }
  std::uint64_t random() override { return group_.random(); }
  PeerLink& link() override { return group_.link(); }
  void on_frames(Lane lane, PeerLink::Handler handler) override { group_.on_frames(lane, std::move(handler)); }
  void observe(node::GroupObserver* observer) override { group_.observe(observer); }
  void unobserve(node::GroupObserver* observer) override { group_.unobserve(observer); }
  void extend_status(node::StatusExtension* extension) override { group_.extend_status(extension); }
  NodeId self() const override { return group_.self(); }
  Lineage lineage() const override { return group_.lineage(); }
  GroupId group() const override { return group_.group(); }
  Epoch epoch() const override { return group_.epoch(); }
  GroupRole role() const override { return group_.role(); }
  GroupRole role_at_end() override { return group_.role_at_end(); }
  bool sealed() const override { return group_.sealed(); }
  bool is_leader() const override { return group_.is_leader(); }
  NodeId leader() const override { return group_.leader(); }
  Term term() const override { return group_.term(); }
  const raft::Membership& membership() const override { return group_.membership(); }
  std::vector<node::Node> topology() const override { return group_.topology(); }
  const LogView& log() const override { return group_.log(); }
  LogPoint last() const override { return group_.last(); }
  LogPoint committed() const override { return group_.committed(); }
  StateMachine& state() override { return group_.state(); }
  Result<Index> propose(std::span<const raft::Proposal> proposals) override { return group_.propose(proposals); }
  void confirm(Function<void(Result<Index>)> done) override { group_.confirm(std::move(done)); }
  void transfer_leadership(NodeId to) override { group_.transfer_leadership(to); }
  void retain(std::string_view holder, Index index) override { group_.retain(holder, index); }
  void adopt(std::span<const NodeId> sources) override { group_.adopt(sources); }
  std::string adoption() const override { return group_.adoption(); }

 protected:
  node::Group& group_;
};

// Takes for committed what merely stands in its log.
class CommitsTooEarly final : public GroupWrapper {
 public:
  using GroupWrapper::GroupWrapper;
  LogPoint committed() const override { return group_.log().last(); }
};

// Says that it leads without asking anybody.
class ConfirmsAlone final : public GroupWrapper {
 public:
  using GroupWrapper::GroupWrapper;
  void confirm(Function<void(Result<Index>)> done) override { done(committed().index); }
};

// Proposes what is received without the position that it came with.
class ProposesUnchecked final : public GroupWrapper {
 public:
  using GroupWrapper::GroupWrapper;
  Result<Index> propose(std::span<const raft::Proposal> proposals) override {
    std::vector<raft::Proposal> unchecked(proposals.begin(), proposals.end());
    auto end = group_.last().position;
    for (auto& p : unchecked) p.expected = end = extend(end, p.epoch, p.kind, p.writes, p.payload.view());
    return group_.propose(unchecked);
  }
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
      e.payload = with_last_bit_flipped(e.payload);
    }
    return StateHandle::apply(changed, wanted, result);
  }
};

// Takes its own group for armed, whatever the history says.
class ClaimsArmed final : public node::StateHandle {
 public:
  using StateHandle::StateHandle;
  std::vector<RegionEntry> region_entries() const override {
    auto entries = StateHandle::region_entries();
    const auto group = node::decode_group_state(group_state());
    if (!group.ok() || !group->started()) return entries;
    std::erase_if(entries, [](const RegionEntry& e) { return e.kind == EntryKind::kArmed; });
    const region::Armed forged{1, group->control.group, "west"};
    entries.push_back({EntryKind::kArmed, applied().epoch, applied().point.position.index, Bytes(region::encode(forged)), Revision()});
    return entries;
  }
};

}  // namespace leeward::sim
