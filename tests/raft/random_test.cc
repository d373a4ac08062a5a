// A cluster under random faults, checked after each step. Every run prints its
// seed when it fails: LEEWARD_SEED=n replays it, LEEWARD_RUNS=n runs more.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/check.h"
#include "cluster.h"
#include "tests/support/sanitized.h"

namespace leeward::raft::test {
namespace {

std::uint64_t current_seed = 0;

// The shipped build runs all of them; under a sanitizer each takes far longer.
constexpr std::uint64_t kRuns = leeward::test::kSanitized ? 5 : 100;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  bool chance(unsigned percent) { return below(100) < percent; }
  template <class C>
  auto& pick(C& items) { return items[below(items.size())]; }

 private:
  std::uint64_t state_;
};

// What must hold over the whole group (paper, figure 3), kept up step by step.
class Checker {
 public:
  void leads(Term term, NodeId id) {
    const auto [at, fresh] = leaders_.emplace(term, id);
    EXPECT_EQ(at->second, id) << "two leaders in term " << term.value();
  }

  // Log matching: an entry's index and term name its content and what precedes it.
  void appended(const Entry& entry, const LogPoint& before) {
    const auto key = std::pair(entry.index, entry.term);
    const auto [at, fresh] = entries_.emplace(key, Known{entry, before});
    EXPECT_TRUE(fresh || (at->second.entry == entry && at->second.before == before))
        << "two entries at " << entry.index.value() << " of term " << entry.term.value();
  }

  // State machine safety.
  void applied(const Entry& entry) {
    const auto [at, fresh] = committed_.emplace(entry.index, entry);
    EXPECT_EQ(at->second, entry) << "two entries applied at " << entry.index.value();
  }

  Index committed() const { return committed_.empty() ? Index() : committed_.rbegin()->first; }
  const Entry* entry(Index index) const {
    const auto at = committed_.find(index);
    return at == committed_.end() ? nullptr : &at->second;
  }

 private:
  struct Known {
    Entry entry;
    LogPoint before;
  };
  std::map<Term, NodeId> leaders_;
  std::map<std::pair<Index, Term>, Known> entries_;
  std::map<Index, Entry> committed_;
};

class RandomRun {
 public:
  RandomRun(std::uint64_t seed, int size) : dice_(seed) {
    Membership first;
    for (int id = 1; id <= size; ++id) first.voters.insert(NodeId(static_cast<std::uint64_t>(id)));
    for (int id = 1; id <= size + 1; ++id) add(NodeId(static_cast<std::uint64_t>(id)), id <= size ? first : Membership{});
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      act();
      check();
    }
    if (!::testing::Test::HasFailure()) settle();
  }

  std::uint64_t trace() const { return trace_; }
  std::size_t elections() const { return elections_; }
  Index committed() const { return checker_.committed(); }
  std::map<std::string, int> tally;

 private:
  struct PendingSnapshot {
    NodeId from, to;
    Index beyond;
  };

  void add(NodeId id, const Membership& membership) {
    Options options;
    options.id = id;
    options.seed = dice_.next();
    options.vote_wait = false;
    options.max_append_bytes = 600;
    options.max_inflight_bytes = 4000;
    options.max_uncommitted_bytes = 20000;
    Member& m = cluster_.add(options, membership);
    m.disk_held = true;
    // Margin of the lease: a tenth; the clocks take four fifths of it.
    m.clock_rate = 0.96 + 0.01 * static_cast<double>(dice_.below(9));
  }

  Cluster::Observer observer() {
    Cluster::Observer o;
    o.sent = [this](const Message& m) {
      std::string frame;
      encode(m, frame);
      note(frame);
    };
    o.appended = [this](NodeId id, const std::vector<Entry>& entries) { on_appended(id, entries); };
    o.applied = [this](NodeId id, const Entry& e) {
      note("apply " + std::to_string(id.value()) + " " + std::to_string(e.index.value()));
      checker_.applied(e);
    };
    o.read = [this](NodeId, const ReadState& r) { on_read(r); };
    o.snapshot_needed = [this](NodeId id, const Ready::SnapshotNeed& need) {
      snapshots_.push_back({id, need.to, need.beyond});
    };
    return o;
  }

  void note(std::string_view what) {
    for (char c : what) trace_ = (trace_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }

  // Entries of one Ready follow one another; what is before them is in a write
  // under way or stored.
  void on_appended(NodeId id, const std::vector<Entry>& entries) {
    const auto before = point(id, entries.front().index - 1);
    ASSERT_TRUE(before) << "a gap before " << entries.front().index.value();
    LogPoint previous = *before;
    for (const Entry& e : entries) {
      EXPECT_TRUE(chains(previous.position, e));
      checker_.appended(e, previous);
      previous = {e.index, e.term, e.position};
    }
  }

  // The member's log at `index`, as its core handed it out.
  std::optional<LogPoint> point(NodeId id, Index index) {
    Member& m = cluster_.at(id);
    for (auto write = m.writes.rbegin(); write != m.writes.rend(); ++write) {
      if (write->entries.empty() || write->entries.front().index > index) continue;
      if (write->entries.back().index < index) return {};  // cut off by this write
      const Entry& e = write->entries[index - write->entries.front().index];
      return LogPoint{e.index, e.term, e.position};
    }
    auto stored = m.log.point(index);
    if (!stored) return {};
    return *stored;
  }

  void on_read(const ReadState& r) {
    const auto at = reads_.find(r.context);
    ASSERT_NE(at, reads_.end()) << "a read answered twice or never asked";
    note("read " + std::to_string(r.context) + (r.ok ? " ok " : " no ") + std::to_string(r.index.value()));
    if (r.ok) {
      EXPECT_GE(r.index, at->second.committed) << "a stale read";
      ++tally["reads confirmed"];
    }
    reads_.erase(at);
  }

  std::vector<NodeId> running() {
    std::vector<NodeId> up;
    for (NodeId id : cluster_.ids()) {
      if (cluster_.up(id) && !cluster_.at(id).suspended) up.push_back(id);
    }
    return up;
  }

  // The one of the highest term, 0 when there is none.
  NodeId leader() {
    NodeId leads;
    for (NodeId id : running()) {
      if (cluster_.core(id).role() != Role::kLeader) continue;
      if (!leads || cluster_.core(id).term() > cluster_.core(leads).term()) leads = id;
    }
    return leads;
  }

  bool blocked(NodeId a, NodeId b) const { return cut_.contains({a, b}); }

  void act() {
    const auto dice = dice_.below(1000);
    if (dice < 500) {
      for (auto more = dice_.below(5); more > 0; --more) deliver();
      return deliver();
    }
    if (dice < 650) return let_time_pass(Duration(1ms) * static_cast<int>(dice_.below(90)));
    auto up = running();
    if (up.empty()) return restart();
    NodeId id = dice_.pick(up);
    if (const NodeId leads = leader(); leads && dice_.chance(40)) id = leads;
    if (dice < 800) return cluster_.sync_one(id);
    if (dice < 900) return propose(id);
    if (dice < 935) return read(id);
    if (dice < 938) return crash(id);
    if (dice < 950) return restart();
    if (dice < 954) return partition();
    if (dice < 960) return cut_.clear();
    if (dice < 975) return change_membership(id);
    if (dice < 980) return transfer(id);
    if (dice < 982) return cluster_.core(id).step_down(cluster_.clock(id));
    if (dice < 986) return suspend(id);
    if (dice < 990) return release_log(id);
    if (dice < 994) return cluster_.core(id).unreachable(dice_.pick(up));
    install_snapshot();
  }

  void deliver() {
    auto& network = cluster_.network();
    if (network.empty()) return;
    while (network.size() > 300) network.erase(network.begin() + static_cast<std::ptrdiff_t>(dice_.below(network.size())));
    // Mostly in order, sometimes not.
    const std::size_t at = dice_.chance(80) ? 0 : dice_.below(std::min<std::size_t>(network.size(), 20));
    Message m = network[at];
    if (!dice_.chance(2)) network.erase(network.begin() + static_cast<std::ptrdiff_t>(at));  // else delivered twice
    if (dice_.chance(3) || blocked(m.from, m.to)) return;
    cluster_.deliver(std::move(m));
  }

  void let_time_pass(Duration d) {
    cluster_.advance(d);
    for (NodeId id : running()) {
      if (cluster_.core(id).next_tick() <= cluster_.clock(id)) cluster_.core(id).tick(cluster_.clock(id));
    }
  }

  void propose(NodeId id) {
    std::vector<Proposal> batch(1 + dice_.below(3));
    for (Proposal& p : batch) {
      p.writes = 1;
      p.epoch = Epoch(1);
      p.payload = Bytes(std::string(1 + dice_.below(200), static_cast<char>('a' + dice_.below(26))));
    }
    (void)cluster_.core(id).propose(cluster_.clock(id), batch);  // refused when not leader
  }

  void read(NodeId id) {
    Core& core = cluster_.core(id);
    if (const auto index = core.lease_read(cluster_.clock(id))) {
      EXPECT_GE(*index, checker_.committed()) << "a stale lease read at " << id.value();
      ++tally["lease reads"];
    }
    reads_[++next_read_] = {id, checker_.committed()};
    core.read_index(cluster_.clock(id), next_read_, next_read_ % 3 != 0);
  }

  void crash(NodeId id) {
    cluster_.crash(id);
    std::erase_if(reads_, [&](const auto& r) { return r.second.at == id; });
    ++tally["crashes"];
  }

  void restart() {
    for (NodeId id : cluster_.ids()) {
      if (!cluster_.up(id) && dice_.chance(80)) {
        cluster_.at(id).options.seed = dice_.next();
        cluster_.start(id, true);
      } else if (cluster_.at(id).suspended) {
        cluster_.at(id).suspended = false;
      }
    }
  }

  void partition() {
    cut_.clear();
    std::set<NodeId> side;
    if (const NodeId leads = leader(); leads && dice_.chance(50)) {
      side.insert(leads);
    } else {
      for (NodeId id : cluster_.ids()) {
        if (dice_.chance(40)) side.insert(id);
      }
    }
    const bool one_way = dice_.chance(25);
    for (NodeId a : cluster_.ids()) {
      for (NodeId b : cluster_.ids()) {
        if (side.contains(a) == side.contains(b)) continue;
        if (!one_way || side.contains(a)) cut_.insert({a, b});
      }
    }
  }

  void suspend(NodeId id) {
    cluster_.at(id).suspended = true;
    ++tally["suspensions"];
  }

  void transfer(NodeId id) {
    auto ids = cluster_.ids();
    if (cluster_.core(id).transfer_leadership(cluster_.clock(id), dice_.pick(ids)).ok()) ++tally["transfers"];
  }

  void release_log(NodeId id) {
    Member& m = cluster_.at(id);
    const auto applied = m.applied.point.index.value();
    if (applied > 5) m.log.release(Index(applied - dice_.below(5)));
  }

  void install_snapshot() {
    if (snapshots_.empty()) return;
    const PendingSnapshot need = snapshots_.front();
    snapshots_.pop_front();
    if (!cluster_.up(need.from)) return;
    if (cluster_.at(need.from).suspended) return snapshots_.push_back(need);
    Core& source = cluster_.core(need.from);
    const Snapshot snapshot = cluster_.at(need.from).applied;
    const bool reachable = cluster_.up(need.to) && !cluster_.at(need.to).suspended && !blocked(need.from, need.to);
    if (reachable && cluster_.install(need.to, snapshot)) ++tally["snapshots"];
    source.snapshot_sent(cluster_.clock(need.from), need.to, reachable, snapshot.point.index);
  }

  void change_membership(NodeId id) {
    Core& core = cluster_.core(id);
    if (core.role() != Role::kLeader) return;
    Proposal p;
    p.kind = EntryKind::kMembership;
    p.payload = Bytes(encode(next_membership(core.membership())));
    if (core.propose(cluster_.clock(id), {&p, 1}).ok()) ++tally["membership changes"];
  }

  Membership next_membership(Membership m) {
    if (m.joint()) {
      m.learners.insert(m.learners_next.begin(), m.learners_next.end());
      m.learners_next.clear();
      m.outgoing.clear();
      return m;
    }
    auto ids = cluster_.ids();
    const NodeId id = dice_.pick(ids);
    if (dice_.chance(30)) {  // several at once
      m.outgoing = m.voters;
      for (NodeId each : ids) {
        if (!dice_.chance(40)) continue;
        if (m.voters.erase(each)) {
          if (dice_.chance(50)) m.learners_next.insert(each);
        } else {
          m.voters.insert(each);
          m.learners.erase(each);
        }
      }
      return m;
    }
    if (m.learners.erase(id) || !m.voters.contains(id)) {
      (dice_.chance(50) ? m.voters : m.learners).insert(id);
    } else {
      m.voters.erase(id);
    }
    return m;
  }

  void check() {
    for (NodeId id : running()) cluster_.drain(id);
    for (NodeId id : running()) {
      Core& core = cluster_.core(id);
      if (core.role() != Role::kLeader) continue;
      checker_.leads(core.term(), id);
      if (led_.insert({core.term(), id}).second) complete(id);
    }
  }

  // Leader completeness: a new leader's log holds all that was committed.
  void complete(NodeId id) {
    ++elections_;
    note("leader " + std::to_string(id.value()));
    const Index newest = checker_.committed();
    if (newest == Index()) return;
    const auto here = point(id, newest);
    ASSERT_TRUE(here) << "leader " << id.value() << " lacks committed entry " << newest.value();
    EXPECT_EQ(here->term, checker_.entry(newest)->term);
  }

  // Faults end: the group must come together again.
  void settle() {
    cut_.clear();
    for (NodeId id : cluster_.ids()) {
      cluster_.at(id).suspended = false;
      cluster_.at(id).disk_held = false;
      if (!cluster_.up(id)) cluster_.start(id, true);
    }
    bool done = false;
    for (int i = 0; i < 4000 && !done && !::testing::Test::HasFailure(); ++i) {
      let_time_pass(10ms);
      check();
      while (!cluster_.network().empty()) {
        Message m = std::move(cluster_.network().front());
        cluster_.network().pop_front();
        cluster_.deliver(std::move(m));
        check();
      }
      install_snapshot();
      if (i % 100 == 99) {
        for (NodeId id : running()) propose(id);
      }
      done = i > 1000 && converged();
    }
    EXPECT_TRUE(done) << "the group does not come together again\n" << describe();
    EXPECT_TRUE(reads_.empty()) << reads_.size() << " reads were never answered";
  }

  static std::string list(const std::set<NodeId>& ids) {
    std::string text;
    for (NodeId id : ids) text += " " + std::to_string(id.value());
    return text;
  }

  std::string describe() {
    std::string text;
    for (NodeId id : running()) {
      const Status s = cluster_.core(id).status();
      text += std::to_string(id.value()) + " " + name(s.role) + " term " + std::to_string(s.term.value()) + " leader " +
              std::to_string(s.leader.value()) + " commit " + std::to_string(s.commit.value()) + " last " +
              std::to_string(s.last.value()) + " voters" + list(s.membership.voters) + " outgoing" +
              list(s.membership.outgoing) + " learners" + list(s.membership.learners) + (s.fault ? " " + *s.fault : "");
      for (const auto& p : s.peers) {
        text += " [" + std::to_string(p.id.value()) + " match " + std::to_string(p.match.value()) + " next " +
                std::to_string(p.next.value()) + (p.active ? "" : " silent") + (p.snapshot ? " snapshot" : "") + "]";
      }
      text += "\n";
    }
    return text;
  }

  bool converged() {
    NodeId leader;
    for (NodeId id : running()) {
      if (cluster_.core(id).status().leader_ready) leader = id;
    }
    if (!leader || cluster_.core(leader).commit() != cluster_.core(leader).last().index) return false;
    const Index end = cluster_.core(leader).last().index;
    for (NodeId id : cluster_.ids()) {
      if (cluster_.core(leader).membership().contains(id) && cluster_.at(id).applied.point.index != end) return false;
    }
    return true;
  }

  struct AskedRead {
    NodeId at;
    Index committed;
  };

  Dice dice_;
  Cluster cluster_{observer()};
  Checker checker_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::set<std::pair<Term, NodeId>> led_;
  std::deque<PendingSnapshot> snapshots_;
  std::map<std::uint64_t, AskedRead> reads_;
  std::uint64_t next_read_ = 0;
  std::size_t elections_ = 0;
  std::uint64_t trace_ = 0xcbf29ce484222325u;
};

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Random : public ::testing::Test {
 protected:
  void SetUp() override {
    set_check_handler([](const char*, int, const char*) {
      std::fprintf(stderr, "replay with LEEWARD_SEED=%llu\n", static_cast<unsigned long long>(current_seed));
    });
  }
};

TEST_F(Random, NothingCommittedIsLostUnderAnyFault) {
  const std::uint64_t first = number("LEEWARD_SEED", 1);
  const std::uint64_t runs = number("LEEWARD_RUNS", std::getenv("LEEWARD_SEED") ? 1 : kRuns);
  std::map<std::string, int> tally;
  std::size_t elections = 0;
  for (std::uint64_t seed = first; seed < first + runs; ++seed) {
    current_seed = seed;
    SCOPED_TRACE("replay with LEEWARD_SEED=" + std::to_string(seed));
    RandomRun run(seed, seed % 2 ? 3 : 5);
    run.run(8000);
    if (HasFailure()) return;
    for (const auto& [what, count] : run.tally) tally[what] += count;
    elections += run.elections();
    tally["committed"] += static_cast<int>(run.committed().value());
  }
  for (const auto& [what, count] : tally) std::printf("%s: %d\n", what.c_str(), count);
  std::printf("elections: %zu\n", elections);
  if (runs < 20) return;
  for (const char* what : {"committed", "crashes", "lease reads", "membership changes", "reads confirmed", "snapshots",
                           "suspensions", "transfers"}) {
    EXPECT_GT(tally[what], 10) << "the runs do not reach: " << what;
  }
}

TEST_F(Random, TheSameSeedGivesTheSameTrace) {
  current_seed = 7;
  RandomRun first(7, 3), second(7, 3), other(8, 3);
  first.run(2000);
  second.run(2000);
  other.run(2000);
  EXPECT_EQ(first.trace(), second.trace());
  EXPECT_NE(first.trace(), other.trace());
}

}  // namespace
}  // namespace leeward::raft::test
