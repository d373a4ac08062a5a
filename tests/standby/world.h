// Two or more regions of fake Raft groups in one thread and one virtual time,
// with the real stream between them. The groups replicate, commit, elect and
// crash by simple rules; what is tested is standby, not raft.
//
// Everything is deterministic: events run in order of (time, sequence), chance
// comes from the world's seed.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/check.h"
#include "node/group.h"
#include "standby/replication.h"

namespace leeward::standby::testing {

class World;

// Events of one process; those of an earlier life never run.
class FakeLoop final : public Executor {
 public:
  explicit FakeLoop(World& world) : world_(world) {}
  void post(Callback callback) override { after(Duration{}, std::move(callback)); }
  TimerId after(Duration delay, Callback callback) override;
  void cancel(TimerId timer) override { pending_.erase(timer); }
  bool on_loop() const override { return true; }
  void clear() { pending_.clear(); }
  void run(TimerId id) {
    const auto it = pending_.find(id);
    if (it == pending_.end()) return;
    if (frozen) {
      held_.push_back(id);
      return;
    }
    auto callback = std::move(it->second);
    pending_.erase(it);
    callback();
  }
  // A stopped process (SIGSTOP): what is due waits until it goes on.
  void thaw() {
    frozen = false;
    for (const auto id : std::exchange(held_, {})) run(id);
  }
  bool frozen = false;

 private:
  World& world_;
  std::map<TimerId, Callback> pending_;
  std::vector<TimerId> held_;
};

class FakeClock final : public Clock {
 public:
  explicit FakeClock(World& world, Duration offset) : world_(world), offset_(offset) {}
  Instant now() const override;
  WallTime wall() const override { return WallTime(now().time_since_epoch()); }

 private:
  World& world_;
  Duration offset_;  // clocks of different machines have nothing in common
};

class FakeState final : public StateMachine {
 public:
  Result<void> apply(std::span<const Entry> entries, const std::function<bool(std::size_t, std::size_t)>&,
                     const std::function<void(std::size_t, std::size_t, CommandResult)>&) override {
    for (const auto& e : entries) {
      state.point = {e.index, e.term, e.position};
      if (!is_history(e.kind)) continue;
      std::string bytes(reinterpret_cast<const char*>(state.state_hash.bytes.data()), 32);
      bytes.append(e.payload.view());
      if (corrupt) bytes += "rot";
      state.state_hash = sha256(bytes);
      hashes[e.position.index] = state.state_hash;
      if (e.kind == EntryKind::kWrites) continue;
      std::erase_if(regions, [&](const RegionEntry& r) { return r.kind == e.kind; });
      regions.push_back({e.kind, e.epoch, e.position.index, e.payload});
    }
    return {};
  }
  void set_group_state(std::string) override {}
  std::string group_state() const override { return {}; }
  Result<void> flush() override { return {}; }
  Result<Manifest> checkpoint(const std::string&) override { return Error{Code::kUnimplemented, ""}; }
  AppliedState applied() const override { return state; }
  std::vector<RegionEntry> region_entries() const override { return regions; }
  Index durable() const override { return state.point.index; }
  Hash state_hash() const override { return state.state_hash; }
  std::optional<Hash> state_hash_at(HistoryIndex index) const override {
    const auto it = hashes.find(index);
    return it == hashes.end() ? std::nullopt : std::optional(it->second);
  }
  Result<std::unique_ptr<RangeReply>> range(std::string_view) override { return Error{Code::kUnimplemented, ""}; }
  Result<CommandResult> read_only_txn(std::string_view) override { return Error{Code::kUnimplemented, ""}; }
  Result<KvHash> hash_kv(Revision) override { return Error{Code::kUnimplemented, ""}; }
  std::vector<LeaseInfo> leases() const override { return {}; }
  std::optional<LeaseInfo> lease(std::int64_t) const override { return {}; }
  std::vector<std::string> lease_keys(std::int64_t) const override { return {}; }
  Result<std::unique_ptr<Watcher>> watch(const WatchRequest&, std::function<void()>) override {
    return Error{Code::kUnimplemented, ""};
  }
  bool grows(Op, std::string_view) const override { return false; }
  std::uint64_t db_bytes() const override { return 0; }
  std::uint64_t db_bytes_in_use() const override { return 0; }
  std::uint64_t key_count() const override { return 0; }
  std::uint64_t watcher_count() const override { return 0; }
  std::uint64_t watch_backlog() const override { return 0; }
  Result<void> defragment() override { return {}; }

  AppliedState state;
  std::vector<RegionEntry> regions;
  std::map<HistoryIndex, Hash> hashes;
  bool corrupt = false;
};

class FakeLog final : public LogView {
 public:
  LogPoint base() const override { return base_; }
  LogPoint last() const override { return entries.empty() ? base_ : at(entries.back()); }
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const override {
    if (from <= base_.index) return Error{Code::kCompacted, "compacted"};
    std::vector<Entry> out;
    std::size_t bytes = 0;
    for (Index i = from; i < to && i <= last().index; ++i) {
      const auto& e = entries[i - base_.index - 1];
      bytes += e.payload.size() + e.envelope.size();
      if (!out.empty() && bytes > max_bytes) break;
      out.push_back(e);
    }
    return out;
  }
  Result<LogPoint> point(Index i) const override {
    if (i < base_.index) return Error{Code::kCompacted, "compacted"};
    if (i > last().index) return Error{Code::kNotFound, "beyond"};
    return i == base_.index ? base_ : at(entries[i - base_.index - 1]);
  }
  void release(Index upto) {
    while (!entries.empty() && entries.front().index <= upto) {
      base_ = at(entries.front());
      entries.erase(entries.begin());
    }
  }
  static LogPoint at(const Entry& e) { return {e.index, e.term, e.position}; }

  std::vector<Entry> entries;

 private:
  LogPoint base_;
};

class FakeRegion;

class FakeMember final : public node::Group {
 public:
  FakeMember(World& world, FakeRegion& region, NodeId id);
  ~FakeMember() override { replication.reset(); }

  Executor& loop() override { return loop_; }
  Clock& clock() override { return clock_; }
  Log& logger() override { return logger_; }
  std::uint64_t random() override;
  PeerLink& link() override { return *link_; }
  void on_frames(Lane, PeerLink::Handler handler) override { handler_ = std::move(handler); }
  void observe(node::GroupObserver* observer) override { observer_ = observer; }
  void unobserve(node::GroupObserver*) override { observer_ = nullptr; }
  void extend_status(node::StatusExtension* extension) override { extension_ = extension; }

  NodeId self() const override { return id_; }
  Lineage lineage() const override { return lineage_; }
  GroupId group() const override;
  Epoch epoch() const override { return Epoch(1); }
  GroupRole role() const override;
  bool is_leader() const override;
  NodeId leader() const override;
  Term term() const override;
  const raft::Membership& membership() const override;
  std::vector<node::Node> topology() const override;
  const LogView& log() const override { return log_; }
  LogPoint last() const override { return log_.last(); }
  LogPoint committed() const override { return log_.point(commit_).value(); }
  StateMachine& state() override { return state_; }
  Result<Index> propose(std::span<const raft::Proposal> proposals) override;
  void confirm(Function<void(Result<Index>)> done) override;
  void transfer_leadership(NodeId to) override;
  Index leapt() const override { return leapt_at; }
  bool stands_aside() const override { return aside; }
  const region::State* regions() const override { return told ? &*told : nullptr; }
  const region::State* regions_of_log() override { return regions(); }
  void retain(std::string_view holder, Index index) override { retained[std::string(holder)] = index; }

  // The process: its stream parts live and die with it.
  void start();
  void crash();
  bool alive() const { return replication != nullptr; }
  void deliver(NodeId from, Bytes frame) {
    if (handler_) handler_(from, Lane::kStream, std::move(frame));
  }
  // Appends what the leader's log has, dropping what it does not.
  void take_log(const FakeLog& leader);
  void learn_commit(Index commit);
  void role_changed() {
    if (observer_) observer_->role_changed();
  }
  MemberStatus report();
  NodeStatus status();

  std::unique_ptr<Replication> replication;
  std::map<std::string, Index> retained;
  ReplicationOptions options;
  Index commit_;
  FakeLog log_;
  FakeState state_;
  FakeLoop loop_;
  bool lan_cut = false;  // its own group does not reach it
  bool busy = false;  // refuses proposals, as a group whose disk hangs
  bool aside = false;
  Index leapt_at;
  std::optional<region::State> told;  // what its log says about regions
  std::vector<region::Follow> follows;  // proposed here; nobody goes back
  Lineage lineage_;

 private:
  World& world_;
  FakeRegion& region_;
  NodeId id_;
  FakeClock clock_;
  NullLog logger_;
  std::unique_ptr<PeerLink> link_;
  PeerLink::Handler handler_;
  node::GroupObserver* observer_ = nullptr;
  node::StatusExtension* extension_ = nullptr;
};

class FakeRegion {
 public:
  FakeRegion(World& world, std::string name, GroupRole role, GroupId group, std::vector<NodeId> ids);

  FakeMember& member(NodeId id) { return *members.at(id); }
  FakeMember* leader() { return leader_ ? members.at(leader_).get() : nullptr; }
  bool quorum() const;
  void elect(NodeId id);
  void elect_best();  // of those alive, if they are a majority
  void replicate_soon();
  // One write through the leader; false when there is none.
  bool write(std::string payload);

  std::string name;
  GroupRole role;
  GroupId group;
  std::map<NodeId, std::unique_ptr<FakeMember>> members;
  raft::Membership membership;
  NodeId leader_;
  Term term_;
  Index ready_;  // the leader's no-op
  Duration lan = 1ms;
  bool stuck = false;  // entries reach the members, and nothing is committed

 private:
  void replicate();
  World& world_;
  bool scheduled_ = false;
};

struct Wire {
  Duration delay = 1ms;
  std::uint64_t bandwidth = 0;  // bytes a second; 0: without limit
  bool cut = false;
  Instant free{};
  std::uint64_t queued = 0, carried = 0, in_flight = 0, max_in_flight = 0;
  std::uint64_t generation = 0;  // frames of an earlier one are lost
  struct Passing {
    Instant first, last;  // when its bytes come out
    std::uint64_t size;
  };
  std::deque<Passing> passing;
};

class World {
 public:
  explicit World(std::uint64_t seed = 1) : random_(seed * 0x9e3779b97f4a7c15ull | 1) {}

  FakeRegion& add(std::string name, GroupRole role, std::vector<std::uint64_t> ids) {
    std::vector<NodeId> nodes;
    for (const auto id : ids) nodes.push_back(NodeId(id));
    regions.push_back(std::make_unique<FakeRegion>(*this, name, role, GroupId(1000 + regions.size()), nodes));
    return *regions.back();
  }
  void start() {
    for (auto& r : regions) {
      for (auto& [id, m] : r->members) m->start();
      r->elect(r->members.begin()->first);
    }
  }

  Instant now() const { return now_; }
  std::uint64_t random() { return random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17, random_; }
  void at(Duration delay, std::function<void()> f) { events_.push({now_ + delay, sequence_++, std::move(f)}); }
  void run_for(Duration d) { run_until([] { return false; }, d); }
  bool run_until(const std::function<bool()>& done, Duration limit = 60s) {
    const auto end = now_ + limit;
    while (!done()) {
      if (events_.empty() || events_.top().at > end) {
        now_ = end;
        return done();
      }
      auto event = std::move(const_cast<Event&>(events_.top()));
      events_.pop();
      now_ = event.at;
      event.run();
    }
    return true;
  }

  FakeRegion& region_of(NodeId id) {
    for (auto& r : regions)
      if (r->members.contains(id)) return *r;
    LEEWARD_CHECK(false, "no such node");
    __builtin_unreachable();
  }
  bool known(NodeId id) const {
    return std::any_of(regions.begin(), regions.end(), [&](auto& r) { return r->members.contains(id); });
  }
  FakeMember& member(NodeId id) { return region_of(id).member(id); }
  FakeMember& member(std::uint64_t id) { return member(NodeId(id)); }

  Wire& wire(NodeId from, NodeId to) {
    auto [it, fresh] = wires_.try_emplace({from, to});
    if (fresh) it->second.delay = &region_of(from) == &region_of(to) ? Duration(1ms) : wan_delay;
    if (fresh && &region_of(from) != &region_of(to)) it->second.bandwidth = wan_bandwidth;
    return it->second;
  }
  // All wires from one region to another.
  void wan(FakeRegion& from, FakeRegion& to, const std::function<void(Wire&)>& change) {
    for (auto& [a, _] : from.members)
      for (auto& [b, __] : to.members) change(wire(a, b));
  }
  // Connections between two nodes break: what is under way is lost, unnoticed.
  void reset(NodeId a, NodeId b) {
    for (auto* w : {&wire(a, b), &wire(b, a)}) {
      ++w->generation;
      w->queued = w->in_flight = 0;
      w->free = now_;
    }
  }
  bool send(NodeId from, NodeId to, Bytes frame);
  std::size_t unfinished(NodeId from, NodeId to);  // of a frame on its way, what is out of the wire

  std::vector<std::unique_ptr<FakeRegion>> regions;
  Duration wan_delay = 30ms;
  std::uint64_t wan_bandwidth = 0;

 private:
  struct Event {
    Instant at;
    std::uint64_t sequence;
    std::function<void()> run;
    bool operator<(const Event& o) const { return std::tie(at, sequence) > std::tie(o.at, o.sequence); }
  };
  Instant now_{Duration(1h)};
  std::uint64_t sequence_ = 0;
  std::uint64_t random_;
  std::priority_queue<Event> events_;
  std::map<std::pair<NodeId, NodeId>, Wire> wires_;
};

// A primary region of nodes 1, 2, 3 and a standby region of nodes 4, 5, 6.
struct TwoRegions : World {
  explicit TwoRegions(std::uint64_t seed = 1, Duration delay = 30ms, std::uint64_t bandwidth = 0)
      : World(seed),
        east(add("east", GroupRole::kPrimary, {1, 2, 3})),
        west(add("west", GroupRole::kStandby, {4, 5, 6})) {
    wan_delay = delay;
    wan_bandwidth = bandwidth;
  }
  // The standby group has committed all that the primary has.
  bool caught_up() {
    auto *a = east.leader(), *b = west.leader();
    return a && b && a->committed().position == b->committed().position && b->replication->client().state() == StreamState::kStreaming;
  }
  FakeRegion& east;
  FakeRegion& west;
};

}  // namespace leeward::standby::testing
