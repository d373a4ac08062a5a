// Bugs planted behind the ports: each must be found, and the same run without
// the bug must hold. A checker that cannot fail proves nothing.
#include <gtest/gtest.h>

#include "world/wire.h"
#include "world/world.h"

namespace leeward::sim {
namespace {

// Runs `story` with the bug and without; only the first may break.
void expect_caught(const std::function<void(World&)>& story, const std::function<void(Plants&)>& plant,
                   const std::string& by, WorldOptions base = {}) {
  {
    World sound(base);
    story(sound);
    EXPECT_EQ(sound.checkers.breach(), "") << "without the bug";
  }
  plant(base.plants);
  World broken(base);
  story(broken);
  EXPECT_NE(broken.checkers.breach(), "") << "the bug was not found";
  testing::Test::RecordProperty("breach", broken.checkers.breach());
  EXPECT_NE(broken.checkers.breach().find(by), std::string::npos) << broken.checkers.breach();
}

void start_group(World& w) {
  for (const auto id : w.ids()) w.start(id);
  EXPECT_TRUE(w.run_until([&] { return w.leader().has_value(); })) << w.checkers.breach();
}

void put(World& w, NodeId id, const std::string& key, const std::string& value) {
  auto put = w.put(id, key, value);
  w.run_until([&] { return put->ended; });
}

// The same story by one seed after another, until the bug shows.
void expect_some_seed_catches(const std::function<void(World&)>& story, const std::function<void(Plants&)>& plant,
                              const std::string& by, int seeds) {
  bool found = false;
  for (int seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    WorldOptions o;
    o.seed = static_cast<std::uint64_t>(seed);
    World sound(o);
    story(sound);
    EXPECT_EQ(sound.checkers.breach(), "") << "without the bug, seed " << seed;
    if (found) continue;
    plant(o.plants);
    World broken(o);
    story(broken);
    if (broken.checkers.breach().empty()) continue;
    testing::Test::RecordProperty("breach", broken.checkers.breach());
  EXPECT_NE(broken.checkers.breach().find(by), std::string::npos) << broken.checkers.breach();
    testing::Test::RecordProperty("breach", broken.checkers.breach());
    found = true;
  }
  EXPECT_TRUE(found) << "the bug was not found in " << seeds << " runs";
}

TEST(PlantedBugs, FsyncLeftOutLosesAcknowledgedWrites) {
  expect_caught(
      [](World& w) {
        start_group(w);
        // The first start is over: what follows is written, and "synced".
        w.run_for(2s);
        for (const auto id : w.ids()) w.disk(id).ignore_syncs(w.options().plants.fsync_left_out);
        for (int i = 0; i < 20; ++i) put(w, *w.leader(), "key" + std::to_string(i), "v");
        for (const auto id : w.ids()) {
          w.disk(id).ignore_syncs(false);
          w.crash_hard(id);
        }
        w.settle();
      },
      [](Plants& p) { p.fsync_left_out = true; }, "I3");
}

// Two that cannot hear one another ask the third in the same term. It votes for
// one, restarts, and only then hears the other one's question.
void two_candidates_of_a_term(World& w) {
  start_group(w);
  w.run_for(500ms);
  const auto voter = *w.leader();
  struct Asked {
    Bytes frame;
    Term term;
    Instant at;
  };
  std::map<NodeId, Asked> asked;
  bool hold = true;
  w.network.tamper = [&](NodeId from, NodeId to, Lane lane, Bytes bytes) -> Bytes {
    const auto raft = raft_frame(lane, bytes);
    if (!raft || !hold) return bytes;
    if (from == voter && raft->message.type == raft::MessageType::kPreVote) return {};
    if (to != voter || raft->message.type != raft::MessageType::kVote) return bytes;
    asked[from] = {bytes, raft->message.term, w.scheduler.now()};
    return {};
  };
  std::vector<NodeId> others;
  for (const auto id : w.ids())
    if (id != voter) others.push_back(id);
  w.network.cut(others[0], others[1]);
  w.network.cut(others[1], others[0]);
  w.crash(voter);
  w.start(voter);
  auto both = [&] {
    if (asked.size() < 2) return false;
    const auto &a = asked[others[0]], &b = asked[others[1]];
    return a.term == b.term && w.scheduler.now() - std::min(a.at, b.at) < 900ms;
  };
  auto deliver = [&](NodeId from) {
    hold = false;
    w.network.carry(from, voter, Lane::kConsensus, asked[from].frame);
    hold = true;
  };
  if (w.run_until(both, 20s)) {
    const auto first = asked[others[0]].at < asked[others[1]].at ? others[0] : others[1];
    const auto second = first == others[0] ? others[1] : others[0];
    deliver(first);
    w.run_until([&] { return w.member(first)->leads(); }, 100ms);
    w.crash(voter);
    w.network.isolate(first, w.ids());
    w.start(voter);
    w.run_for(1050ms);  // until it may vote again
    deliver(second);
    w.run_for(500ms);
  }
  w.network.tamper = nullptr;
  w.settle();
}

TEST(PlantedBugs, AVoteThatIsNotPersistedMakesTwoLeadersOfATerm) {
  expect_some_seed_catches(two_candidates_of_a_term, [](Plants& p) { p.vote_not_persisted = true; }, "I1", 60);
}

// Raft's paper, figure 8: an entry of an older term on a majority may still be
// overwritten, so it must not be committed by counting. Entries of the leader's
// own term are kept from the wire; the bug is a commit index that does not care.
void an_older_entry_comes_to_a_majority(World& w) {
  start_group(w);
  w.run_for(500ms);
  const auto first = *w.leader();
  std::vector<NodeId> others;
  for (const auto id : w.ids())
    if (id != first) others.push_back(id);
  auto leads = [&](NodeId id) { return w.member(id) && w.member(id)->leads(); };
  // (a) The first leader holds an entry alone, and dies.
  w.network.isolate(first, w.ids());
  w.put(first, "key", "older");
  w.run_for(50ms);
  w.crash(first);
  // (b) Another one is elected and dies with an entry of its own.
  if (!w.run_until([&] { return leads(others[0]) || leads(others[1]); }, 20s)) return;
  const auto second = leads(others[0]) ? others[0] : others[1];
  const auto third = second == others[0] ? others[1] : others[0];
  w.network.isolate(second, w.ids());
  w.run_for(20ms);
  w.crash(second);
  // (c) The first one leads again and brings its old entry to the third.
  w.network.heal();
  Index match;
  const bool counts_any_term = w.options().plants.older_term_committed;
  w.network.tamper = [&, counts_any_term](NodeId from, NodeId, Lane lane, Bytes bytes) -> Bytes {
    auto raft = raft_frame(lane, bytes);
    if (!raft) return bytes;
    auto& m = raft->message;
    if (from == third && m.type == raft::MessageType::kAppendReply && !m.reject) match = std::max(match, m.index);
    if (from != first) return bytes;
    std::erase_if(m.entries, [&](const Entry& e) { return e.term == m.term; });
    if (counts_any_term) m.commit = std::max(m.commit, match);
    return to_bytes(*raft);
  };
  const auto stood = w.member(third)->last().index;
  w.start(first);
  w.run_until([&] { return w.member(third)->last().index > stood; }, 20s);
  w.run_for(300ms);
  w.crash(first);
  w.network.tamper = nullptr;
  // (d) The second one comes back and overwrites it.
  w.start(second);
  w.run_for(5s);
  w.settle();
}

TEST(PlantedBugs, AnEntryOfAnOlderTermCommittedByCountingIsLost) {
  expect_some_seed_catches(an_older_entry_comes_to_a_majority, [](Plants& p) { p.older_term_committed = true; }, "I3", 10);
}

TEST(PlantedBugs, AnAcknowledgementBeforeTheQuorumHasItIsLost) {
  expect_caught(
      [](World& w) {
        start_group(w);
        const auto leader = *w.leader();
        for (int i = 0; i < 5; ++i) put(w, leader, "key" + std::to_string(i), "v");
        w.crash(leader);
        w.run_for(5s);
        w.settle();
      },
      [](Plants& p) { p.acknowledged_before_quorum = true; }, "I3");
}

TEST(PlantedBugs, ACheckpointWithoutItsLogDoesNotOpen) {
  expect_some_seed_catches(
      [](World& w) {
        start_group(w);
        const auto leader = *w.leader();
        w.start_clients();
        // The log gives up its beginning: what is not in the state must stay.
        w.run_until([&] { return w.member(leader)->log().base().index > Index(0); });
        for (const auto id : w.ids()) w.crash(id);
        w.settle();
      },
      [](Plants& p) { p.checkpoint_without_log = true; }, "does not open", 10);
}

TEST(PlantedBugs, AMemberThatAppliesOtherBytesThanItsLogHoldsDiffers) {
  expect_caught(
      [](World& w) {
        start_group(w);
        put(w, *w.leader(), "key", "value");
        w.run_for(1s);
      },
      [](Plants& p) { p.other_bytes_applied = true; }, "I4");
}

TEST(PlantedBugs, AReadByALeaseThatOutlivedItsTermIsStale) {
  expect_caught(
      [](World& w) {
        start_group(w);
        const auto old = *w.leader();
        put(w, old, "key", "first");
        w.run_for(500ms);
        // A clock that lags by far more than the margin of a lease allows.
        if (w.options().plants.stale_lease_read) w.clock(old).set_rate(0.05);
        w.network.isolate(old, w.ids());
        EXPECT_TRUE(w.run_until([&] { return w.leader() && *w.leader() != old; }));
        put(w, *w.leader(), "key", "second");
        w.read(old, "key");
        w.run_for(1s);
      },
      [](Plants& p) { p.stale_lease_read = true; }, "stale read");
}

}  // namespace
}  // namespace leeward::sim
