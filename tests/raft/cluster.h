// Members of a Raft group in memory: their cores, disks that lose what was not
// synced, and a network that keeps messages until they are delivered. It does
// for each core what a node does with its Ready.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "raft/core.h"

namespace leeward::raft::test {

// A stored log that shows only what was written to it.
class MemoryLog final : public LogView {
 public:
  LogPoint base() const override { return base_; }
  LogPoint last() const override;
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const override;
  Result<LogPoint> point(Index index) const override;

  void append(const std::vector<Entry>& entries);
  void release(Index index);
  void reset(const LogPoint& point);
  Entry& at(Index index) { return entries_[index - base_.index - 1]; }

  mutable std::size_t reads = 0;

 private:
  LogPoint base_;
  std::deque<Entry> entries_;
};

struct Snapshot {
  LogPoint point;
  Membership membership;
};

struct Member {
  Options options;
  Membership first_membership;
  // What survives a crash.
  MemoryLog log;
  HardState hard_state;
  Snapshot applied;  // state, with the membership as of it
  std::vector<Entry> history;  // every entry applied here, in order
  // What does not.
  std::unique_ptr<Core> core;
  struct Write {
    std::uint64_t token;
    std::vector<Entry> entries;
    std::optional<HardState> hard_state;
    std::vector<Message> after;
  };
  std::deque<Write> writes;
  bool disk_held = false;
  double clock_rate = 1;  // of its own clock
  bool suspended = false;
};

class Cluster {
 public:
  // Told of everything that happens; may be empty.
  struct Observer {
    std::function<void(const Message&)> sent;
    std::function<void(NodeId, const std::vector<Entry>&)> appended;
    std::function<void(NodeId, const Entry&)> applied;
    std::function<void(NodeId, const ReadState&)> read;
    std::function<void(NodeId)> role_changed;
    std::function<void(NodeId, const Ready::SnapshotNeed&)> snapshot_needed;
  };

  explicit Cluster(Observer observer) : observer_(std::move(observer)) {}

  Member& add(Options options, Membership membership);
  Member& at(NodeId id) { return members_.at(id); }
  Core& core(NodeId id) { return *at(id).core; }
  bool up(NodeId id) { return members_.contains(id) && at(id).core; }
  std::vector<NodeId> ids() const;

  Instant now() const { return now_; }
  // The time on the member's own clock.
  Instant clock(NodeId id);
  void advance(Duration d) { now_ += d; }

  // Does what the member's Readys say until there is none left.
  void drain(NodeId id);
  // One write of its disk becomes durable.
  void sync_one(NodeId id);
  void crash(NodeId id);
  void start(NodeId id, bool vote_wait);
  // The member installs `snapshot` as a node does; false when it wants none.
  bool install(NodeId id, const Snapshot& snapshot);

  std::deque<Message>& network() { return network_; }
  void deliver(Message message);

 private:
  void send(std::vector<Message>& messages);
  void apply(NodeId id, Member& member, std::vector<Entry>& committed);

  Observer observer_;
  Instant now_{1s};
  std::map<NodeId, Member> members_;
  std::deque<Message> network_;
};

}  // namespace leeward::raft::test
