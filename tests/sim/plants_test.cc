// Bugs planted behind the ports: each must be found, and the same run without
// the bug must hold. A checker that cannot fail proves nothing.
#include <gtest/gtest.h>

#include "standby/messages.h"
#include "world/plants.h"
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

// --- the chain hash ignored ---

// One append comes with a payload that its hash does not cover. The bug is a
// follower that goes by the hashes of what it has instead: so the wire gives it
// those it would find right.
void a_payload_changes_on_the_wire(World& w) {
  start_group(w);
  w.run_for(500ms);
  const auto leader = *w.leader();
  const auto follower = leader == NodeId(1) ? NodeId(2) : NodeId(1);
  const bool unchecked = w.options().plants.append_unchecked;
  bool changed = false;
  std::map<Index, Position> own;  // what the follower then has
  w.network.tamper = [&, unchecked](NodeId from, NodeId to, Lane lane, Bytes bytes) -> Bytes {
    auto raft = raft_frame(lane, bytes);
    if (!raft || from != leader || to != follower || raft->message.type != raft::MessageType::kAppend) return bytes;
    auto& m = raft->message;
    const auto known = own.find(m.index);
    auto before = known != own.end() ? known->second : w.member(leader)->log().point(m.index)->position;
    if (unchecked) m.log_hash = before.hash;
    for (auto& e : m.entries) {
      if (e.kind == EntryKind::kWrites && !std::exchange(changed, true)) e.payload = with_last_bit_flipped(e.payload);
      if (unchecked) e.position = is_history(e.kind) ? extend(before, e.epoch, e.kind, e.writes, e.payload.view()) : before;
      own[e.index] = before = e.position;
    }
    return to_bytes(*raft);
  };
  for (int i = 0; i < 5; ++i) put(w, leader, "key", "value" + std::to_string(i));
  w.run_for(1s);
  EXPECT_TRUE(changed);
  w.network.tamper = nullptr;
  w.crash(follower);  // it says what it found, and does not campaign, until it is started anew
  w.settle();
}

TEST(PlantedBugs, AFollowerThatIgnoresTheChainHashHoldsAnotherEntry) {
  expect_caught(a_payload_changes_on_the_wire, [](Plants& p) { p.append_unchecked = true; }, "I2");
}

TEST(PlantedBugs, ALogThatIgnoresTheChainHashReadsAnotherEntry) {
  expect_caught(
      [](World& w) {
        start_group(w);
        const auto leader = *w.leader();
        for (int i = 0; i < 10; ++i) put(w, leader, "key" + std::to_string(i), "v");
        w.run_for(500ms);
        for (const auto id : w.ids()) w.crash(id);
        w.settle();
      },
      [](Plants& p) { p.log_unchecked = true; }, "I2");
}

WorldOptions two_regions() {
  WorldOptions o;
  o.standbys = 3;
  o.stream = true;
  return o;
}

void start_regions(World& w) {
  start_group(w);
  const auto followed = [&] { return w.leader(GroupRole::kStandby) && w.checkers.armed() && w.caught_up(); };
  EXPECT_TRUE(w.run_until(followed, 20s)) << w.checkers.breach() << w.standing();
}

TEST(PlantedBugs, AFollowingGroupThatIgnoresTheChainHashHoldsAnotherHistory) {
  expect_caught(
      [](World& w) {
        start_regions(w);
        bool changed = false;
        w.network.corrupts = true;
        w.network.tamper = [&](NodeId, NodeId, Lane lane, Bytes bytes) -> Bytes {
          if (lane != Lane::kStream || changed) return bytes;
          auto frame = standby::decode(bytes);
          auto* entries = frame.ok() ? std::get_if<standby::Entries>(&frame->body) : nullptr;
          if (!entries || entries->entries[0].kind != EntryKind::kWrites) return bytes;
          changed = true;
          entries->entries[0].payload = with_last_bit_flipped(entries->entries[0].payload);
          return standby::encode(frame->header, frame->body);
        };
        put(w, *w.leader(), "key", "value");
        w.run_for(3s);
        EXPECT_TRUE(changed);
        w.network.tamper = nullptr;
        w.settle();
      },
      [](Plants& p) { p.stream_unchecked = true; }, "I2", two_regions());
}

// --- two regions ---

TEST(PlantedBugs, ASourceThatStreamsWhatIsNotCommittedIsSeenAtTheStandby) {
  expect_caught(
      [](World& w) {
        start_regions(w);
        // The source has an entry that the leader cannot commit: nobody hears that it has.
        const auto source_now = [&] { return w.stream(*w.leader(GroupRole::kStandby))->client().source(); };
        if (source_now() == *w.leader()) w.member(*w.leader())->give_up_leadership();
        EXPECT_TRUE(w.run_until([&] { return w.leader() && w.leader(GroupRole::kStandby) && source_now() && source_now() != *w.leader(); }));
        const auto leader = *w.leader(), source = source_now();
        for (const auto id : {NodeId(1), NodeId(2), NodeId(3)})
          if (id != leader && id != source) w.crash(id);
        w.network.tamper = [source](NodeId from, NodeId, Lane lane, Bytes bytes) -> Bytes {
          const auto raft = raft_frame(lane, bytes);
          return raft && from == source && raft->message.type == raft::MessageType::kAppendReply ? Bytes() : bytes;
        };
        w.put(leader, "key", "value");
        w.run_for(500ms);
        w.network.tamper = nullptr;
        w.settle();
      },
      [](Plants& p) { p.streamed_before_commit = true; }, "the primary has committed up to", two_regions());
}

TEST(PlantedBugs, AnAnswerWithoutARoundHidesHowFarAStandbyIsBehind) {
  expect_caught(
      [](World& w) {
        start_regions(w);
        // An old leader that takes long to notice is all that the standbys hear.
        const auto old = *w.leader();
        w.clock(old).set_rate(0.05);
        for (const auto id : w.ids()) {
          if (id == old || id > NodeId(3)) continue;
          w.network.isolate(id, {old, NodeId(4), NodeId(5), NodeId(6)});
        }
        EXPECT_TRUE(w.run_until([&] { return w.leader() && *w.leader() != old; }));
        put(w, *w.leader(), "key", "value");
        w.run_for(1s);
        w.settle();
      },
      [](Plants& p) { p.answered_without_round = true; }, "s at most", two_regions());
}

TEST(PlantedBugs, AStandbyThatAppliesOtherBytesThanItsLogHoldsDiffers) {
  auto o = two_regions();
  o.primaries = 1;  // the second node is a standby
  expect_caught(
      [](World& w) {
        start_regions(w);
        put(w, *w.leader(), "key", "value");
        w.run_for(1s);
      },
      [](Plants& p) { p.other_bytes_applied = true; }, "I4", o);
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
