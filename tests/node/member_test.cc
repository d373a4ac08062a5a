// A member's behaviour, told by real members in the simulator's world.
#include <gtest/gtest.h>

#include <algorithm>

#include "proto/rpc.pb.h"
#include "world/wire.h"
#include "world/world.h"

namespace leeward::node {
namespace {

using sim::World;
using sim::WorldOptions;

constexpr NodeId kOne{1}, kTwo{2}, kThree{3};

struct Fixture : testing::Test {
  void make(WorldOptions o = {}) { world = std::make_unique<World>(std::move(o)); }
  World& w() { return *world; }

  void start(std::initializer_list<NodeId> ids) {
    for (const auto id : ids) w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  }
  void start_all() {
    for (const auto id : w().ids()) w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  }
  Outcome put(NodeId id, const std::string& key, const std::string& value) {
    auto put = w().put(id, key, value);
    EXPECT_TRUE(w().run_until([&] { return put->ended; })) << w().checkers.breach();
    return put->outcome;
  }
  void puts(int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(put(*w().leader(), "key" + std::to_string(i % 10), std::string(100, 'v')).end, Outcome::End::kApplied);
  }
  NodeId follower() {
    for (const auto id : w().ids())
      if (id != *w().leader() && w().member(id)) return id;
    return {};
  }
  template <class T>
  struct Answer {
    std::optional<Result<T>> result;
  };
  Result<void> admit(NodeId through, NodeId id) {
    auto answer = std::make_shared<Answer<void>>();
    w().member(through)->admit(id, w().client_loop(), [answer](Result<void> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  Result<std::int64_t> keep_alive(NodeId through, std::int64_t id) {
    auto answer = std::make_shared<Answer<std::int64_t>>();
    w().member(through)->keep_alive(id, w().client_loop(), [answer](Result<std::int64_t> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  Outcome grant(NodeId through, std::int64_t id, std::int64_t ttl) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl);
    auto outcome = std::make_shared<std::optional<Outcome>>();
    Command command;
    command.op = Op::kLeaseGrant;
    command.request = Bytes(request.SerializeAsString());
    w().member(through)->propose(std::move(command), std::nullopt, w().client_loop(),
                                 [outcome](Outcome o) { *outcome = std::move(o); });
    EXPECT_TRUE(w().run_until([&] { return outcome->has_value(); })) << w().checkers.breach();
    return **outcome;
  }
  bool admitted(NodeId id) { return w().member(id) && w().member(id)->status().admitted; }

  std::unique_ptr<World> world;
};

using Start = Fixture;

TEST_F(Start, ASingleNodeBeginsAlone) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  start_all();
  EXPECT_EQ(put(kOne, "a", "b").end, Outcome::End::kApplied);
  w().crash(kOne);
  w().start(kOne);
  EXPECT_TRUE(w().run_until([&] { return w().peek(kOne, "a") == "b"; }));
}

TEST_F(Start, OneOfThreeWaitsAndSaysForWhom) {
  make();
  w().start(kOne);
  w().run_for(5s);
  EXPECT_FALSE(w().leader());
  EXPECT_EQ(w().member(kOne)->status().state, MemberState::kWaiting);
  EXPECT_NE(w().member(kOne)->status().waiting_for.find("node 2"), std::string::npos);
}

TEST_F(Start, ALateStarterIsAdmittedWhenItKnocks) {
  make();
  start({kOne, kTwo});
  puts(5);
  w().run_for(2s);
  w().start(kThree);
  ASSERT_TRUE(w().run_until([&] { return admitted(kThree); })) << w().checkers.breach();
  EXPECT_TRUE(w().member(kThree)->membership().is_voter(kThree));
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Start, AWipedMemberFollowsWithoutAVoteUntilItIsAdmitted) {
  make();
  start_all();
  puts(20);
  w().run_for(1s);
  const auto wiped = follower();
  w().wipe(wiped);
  w().start(wiped);
  ASSERT_TRUE(w().run_until([&] {
    return w().member(wiped)->state().applied().point.index == w().member(*w().leader())->state().applied().point.index;
  })) << w().checkers.breach();
  w().run_for(5s);
  EXPECT_FALSE(admitted(wiped));
  EXPECT_NE(w().member(wiped)->status().waiting_for.find("member admit"), std::string::npos);
  EXPECT_FALSE(w().member(*w().leader())->membership().is_voter(wiped));
  EXPECT_EQ(put(wiped, "through the learner", "v").end, Outcome::End::kApplied);

  const auto result = admit(follower(), wiped);
  EXPECT_TRUE(result.ok()) << result.error().message;
  ASSERT_TRUE(w().run_until([&] { return admitted(wiped); })) << w().checkers.breach();
  EXPECT_TRUE(w().member(wiped)->membership().is_voter(wiped));
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Start, TheLeaderWipedComesBackAsALearner) {
  make();
  start_all();
  puts(5);
  w().run_for(1s);
  const auto wiped = *w().leader();
  w().wipe(wiped);
  w().start(wiped);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != wiped; }));
  w().run_for(5s);
  EXPECT_FALSE(admitted(wiped));
  const auto result = admit(*w().leader(), wiped);
  EXPECT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Start, StandbysTakeTheLineageOfTheActiveListAndWritesAreRefusedThere) {
  WorldOptions o;
  o.standbys = 3;
  make(o);
  start_all();
  const NodeId standby(4);
  ASSERT_TRUE(w().run_until([&] { return w().member(standby)->lineage().known(); })) << w().checkers.breach();
  EXPECT_EQ(w().member(standby)->lineage(), w().member(kOne)->lineage());
  EXPECT_NE(w().member(standby)->group(), w().member(kOne)->group());
  EXPECT_EQ(w().member(standby)->role(), GroupRole::kStandby);
  const auto outcome = put(standby, "a", "b");
  EXPECT_EQ(outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(outcome.error.code, Code::kUnavailable);
  EXPECT_NE(outcome.error.message.find("standby"), std::string::npos);
}

TEST_F(Start, ActiveMembersWaitForAMajorityOfTheStandbyListToo) {
  WorldOptions o;
  o.standbys = 3;
  make(o);
  for (const auto id : {kOne, kTwo, kThree}) w().start(id);
  w().run_for(5s);
  EXPECT_FALSE(w().leader());
  w().start(NodeId(4));
  w().start(NodeId(5));
  EXPECT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
}

TEST_F(Start, ARegionOnEmptyDisksDoesNotBeginASecondLife) {
  WorldOptions o;
  o.standbys = 3;
  make(o);
  start_all();
  ASSERT_TRUE(w().run_until([&] { return w().member(NodeId(4))->lineage().known(); }));
  for (const auto id : {kOne, kTwo, kThree}) {
    w().wipe(id);
    w().start(id);
  }
  w().run_for(10s);
  EXPECT_FALSE(w().leader());
  EXPECT_NE(w().member(kOne)->status().waiting_for.find("lineage"), std::string::npos)
      << w().member(kOne)->status().waiting_for;
}

// The disk of the same node of another cluster of the same name.
void exchange_disk(World& into, World& from, NodeId id) {
  into.wipe(id);
  auto& disk = into.disk(id);
  for (const auto& path : from.disk(id).files()) {
    ASSERT_TRUE(disk.make_dirs(path.substr(0, path.rfind('/'))).ok());
    auto file = disk.open(path, OpenMode::kCreateOrOpen);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->write(0, from.disk(id).contents(path)).ok());
  }
  into.disk(id).crash(1, test::MemoryDisk::Tear::kKeepAll);
}

TEST_F(Start, ADirectoryOfAnotherLineageEndsTheProcessWhenAMajorityOfItsListSaysSo) {
  WorldOptions o;
  o.seed = 99;
  World other(o);
  for (const auto id : other.ids()) other.start(id);
  ASSERT_TRUE(other.run_until([&] { return other.member(kThree)->status().admitted; }));
  other.stop(kThree);
  make();
  start_all();
  puts(5);
  exchange_disk(w(), other, kThree);
  const auto alone = w().leader() == kOne ? kTwo : kOne;
  w().crash(alone);
  w().start(kThree);
  w().run_for(3s);
  ASSERT_TRUE(w().running(kThree)) << "one of three is no majority";
  EXPECT_NE(w().member(kThree)->status().waiting_for.find("is of another lineage"), std::string::npos)
      << w().member(kThree)->status().waiting_for;
  w().start(alone);
  EXPECT_TRUE(w().run_until([&] { return !w().running(kThree) && w().leader(); })) << w().checkers.breach();
  puts(5);
  EXPECT_EQ(w().checkers.breach(), "");
}

TEST_F(Start, OtherListsAreNotCountedAsAnAnswer) {
  make();
  w().adjust = [](MemberOptions& m) {
    if (m.self == kThree) m.nodes[0].region = "elsewhere";
  };
  w().start(kOne);
  w().start(kThree);
  w().run_for(5s);
  EXPECT_FALSE(w().leader());
  w().start(kTwo);
  EXPECT_TRUE(w().run_until([&] { return w().leader().has_value(); }));
}

TEST_F(Start, ADirectoryOfAnotherClusterOrNodeIsRefused) {
  make();
  start_all();
  w().crash(kOne);
  w().adjust = [](MemberOptions& m) { m.cluster_name = "other"; };
  w().start(kOne);
  EXPECT_NE(w().open_error(kOne).find("belongs to the cluster 'sim'"), std::string::npos) << w().open_error(kOne);
  w().adjust = [](MemberOptions& m) { m.self = kTwo; };
  w().start(kOne);
  EXPECT_NE(w().open_error(kOne).find("belongs to node 1"), std::string::npos) << w().open_error(kOne);
}

TEST_F(Start, ADirectoryInUseIsRefused) {
  make();
  ASSERT_TRUE(w().disk(kOne).make_dirs("/data").ok());
  auto lock = w().disk(kOne).lock("/data");
  ASSERT_TRUE(lock.ok());
  w().start(kOne);
  EXPECT_NE(w().open_error(kOne), "");
}

using Writes = Fixture;

TEST_F(Writes, AFollowerForwardsAndAnswersFromItsOwnApply) {
  make();
  start_all();
  const auto id = follower();
  ASSERT_EQ(put(id, "a", "b").end, Outcome::End::kApplied);
  EXPECT_EQ(w().peek(id, "a"), "b");
}

TEST_F(Writes, WhatIsPastItsDeadlineIsNotProposed) {
  make();
  start_all();
  auto late = w().put(*w().leader(), "a", "b", Duration(-1));
  ASSERT_TRUE(w().run_until([&] { return late->ended; }));
  EXPECT_EQ(late->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(late->outcome.error.code, Code::kDeadline);
  w().run_for(1s);
  EXPECT_EQ(w().peek(*w().leader(), "a"), std::nullopt);
}

TEST_F(Writes, WithoutAQuorumTheEndIsUnknownAndOfALeaderlessOneNotApplied) {
  make();
  start_all();
  w().run_for(500ms);
  const auto leader = *w().leader();
  w().network.isolate(leader, w().ids());
  auto put = w().put(leader, "a", "b");
  ASSERT_TRUE(w().run_until([&] { return put->ended; }));
  EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown);
  EXPECT_NE(put->outcome.error.message.find("possibly due to previous leader failure"), std::string::npos)
      << put->outcome.error.message;
  auto next = w().put(leader, "c", "d");
  ASSERT_TRUE(w().run_until([&] { return next->ended; }));
  EXPECT_EQ(next->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(next->outcome.error.message, "etcdserver: no leader");
}

// The frame to a leader that died is lost; the next leader's first entry tells.
TEST_F(Writes, AWriteForwardedToADeadLeaderIsRefusedForCertainSoon) {
  make();
  start_all();
  w().run_for(500ms);
  const auto old = *w().leader();
  const auto id = follower();
  w().network.tamper = [&](NodeId from, NodeId to, Lane, Bytes bytes) {
    return from == old || to == old ? Bytes() : bytes;
  };
  auto put = w().put(id, "a", "b");
  w().run_for(50ms);
  w().crash(old);
  w().network.tamper = nullptr;
  ASSERT_TRUE(w().run_until([&] { return put->ended; }, 4s)) << w().checkers.breach();
  EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(put->outcome.error.message, "etcdserver: leader changed");
}

TEST_F(Writes, MoreThanMayWaitIsRefused) {
  make();
  w().adjust = [](MemberOptions& m) { m.limits.waiting_bytes = 10'000; };
  start_all();
  const auto leader = *w().leader();
  std::vector<std::shared_ptr<World::Put>> all;
  for (int i = 0; i < 20; ++i) all.push_back(w().put(leader, "k" + std::to_string(i), std::string(1000, 'v')));
  ASSERT_TRUE(w().run_until([&] { return std::all_of(all.begin(), all.end(), [](auto& p) { return p->ended; }); }));
  int refused = 0;
  for (auto& p : all) {
    if (p->outcome.end == Outcome::End::kApplied) continue;
    ++refused;
    EXPECT_EQ(p->outcome.error, (Error{Code::kOverloaded, "etcdserver: too many requests"}));
  }
  EXPECT_GT(refused, 5);
  EXPECT_LT(refused, 15);
}

TEST_F(Writes, ALeaderWhoseDiskHangsStepsDown) {
  make();
  start_all();
  w().run_for(500ms);
  const auto old = *w().leader();
  w().hang_disk(old, true);
  auto pending = w().put(old, "a", "b");
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s)) << w().checkers.breach();
  w().hang_disk(old, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Writes, AFullDiskRefusesWritesKeepsReadsAndRecovers) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  start_all();
  puts(3);
  w().disk(kOne).refuse_writes("/wal");
  auto stuck = w().put(kOne, "a", "b");
  w().run_for(1s);
  EXPECT_EQ(put(kOne, "c", "d").error.code, Code::kNoSpace);
  EXPECT_TRUE(w().member(kOne)->status().disk_full);
  EXPECT_EQ(w().peek(kOne, "key1"), std::string(100, 'v'));
  w().disk(kOne).refuse_writes("");
  ASSERT_TRUE(w().run_until([&] { return stuck->ended; }, 10s)) << w().checkers.breach();
  EXPECT_EQ(stuck->outcome.end, Outcome::End::kApplied);
  EXPECT_EQ(put(kOne, "c", "d").end, Outcome::End::kApplied);
}

TEST_F(Writes, ALeaderWhoseStateIsFullGivesItsLeadershipUpAndSaysWhatItCannotDo) {
  make();
  start_all();
  puts(3);
  w().run_for(1s);
  const auto full = *w().leader();
  w().disk(full).refuse_writes("/data/state-");
  std::vector<std::shared_ptr<World::Put>> under_way;
  const auto stepped_down = [&] {
    if (w().leader() == full) under_way.push_back(w().put(full, "key", std::string(1000, 'v')));
    return w().leader() && *w().leader() != full;
  };
  ASSERT_TRUE(w().run_until([&] { w().run_for(100ms); return stepped_down(); }, 20s)) << w().checkers.breach();
  ASSERT_TRUE(w().member(full)->status().disk_full);
  puts(5);
  EXPECT_EQ(put(full, "there", "v").error.code, Code::kNoSpace) << "it would not see the end of it";
  auto answered = std::make_shared<std::optional<Result<void>>>();
  w().member(full)->read_barrier(std::nullopt, w().client_loop(), [answered](Result<void> r) { *answered = r; });
  ASSERT_TRUE(w().run_until([&] { return answered->has_value(); }));
  EXPECT_NE((**answered).error().message.find("serializable"), std::string::npos) << (**answered).error().message;
  w().disk(full).refuse_writes("");
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
  EXPECT_EQ(put(full, "there", "v").end, Outcome::End::kApplied);
}

TEST_F(Writes, TheReserveIsGivenToAStateThatIsFull) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  w().adjust = [](MemberOptions& m) { m.storage.reserve_bytes = 64_KiB; };
  start_all();
  puts(3);
  w().run_for(1s);
  ASSERT_TRUE(w().disk(kOne).exists("/data/reserve"));
  w().disk(kOne).refuse_writes("/data/state-");
  std::vector<std::shared_ptr<World::Put>> under_way;
  ASSERT_TRUE(w().run_until([&] {
    under_way.push_back(w().put(kOne, "key", std::string(1000, 'v')));
    w().run_for(100ms);
    return !w().disk(kOne).exists("/data/reserve");
  }, 20s));
  w().run_for(31s);
  EXPECT_FALSE(w().disk(kOne).exists("/data/reserve")) << "not before the state has what it needs";
  w().disk(kOne).refuse_writes("");
  EXPECT_TRUE(w().run_until([&] { return w().disk(kOne).exists("/data/reserve"); }, 60s));
}

TEST_F(Start, ADirectoryWhoseSuperblockIsGoneIsRefusedAndNotMadeNew) {
  make();
  start_all();
  w().stop(kOne);
  for (const auto& path : w().disk(kOne).files())
    if (path.find("superblock") != std::string::npos) ASSERT_TRUE(w().disk(kOne).remove(path).ok());
  for (int i = 0; i < 2; ++i) {
    w().start(kOne);
    EXPECT_FALSE(w().running(kOne));
    EXPECT_NE(w().open_error(kOne).find("there is no superblock"), std::string::npos) << w().open_error(kOne);
  }
}

// Two lives of one cluster that differ in one write: the same lineage, and the
// same place by index and term. The log of one beside the state of the other.
TEST_F(Start, AStateOfAnotherHistoryThanTheLogIsRefused) {
  const auto live = [this](const std::string& value) {
    WorldOptions o;
    o.primaries = 1;
    make(o);
    start_all();
    EXPECT_EQ(put(kOne, "key", value).end, Outcome::End::kApplied);
    w().run_for(1s);
    w().stop(kOne);
  };
  live("one");
  std::map<Path, std::string> log;
  for (const auto& path : w().disk(kOne).files())
    if (path.starts_with("/wal/")) log[path] = w().disk(kOne).contents(path);
  ASSERT_FALSE(log.empty());
  for (const std::string value : {"one", "two"}) {
    live(value);
    for (const auto& [path, bytes] : log) w().disk(kOne).overwrite(path, 0, bytes);
    w().start(kOne);
    EXPECT_EQ(w().running(kOne), value == "one") << w().open_error(kOne);
  }
  EXPECT_NE(w().open_error(kOne).find("log and state differ"), std::string::npos) << w().open_error(kOne);
}

using Snapshot = Fixture;

TEST_F(Snapshot, AMemberTooFarBehindGetsOne) {
  make();
  start_all();
  const auto late = follower();
  w().crash(late);
  puts(1200);
  w().run_for(3s);
  ASSERT_GT(w().member(*w().leader())->log().base().index, Index(100));
  w().start(late);
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
  EXPECT_GE(w().member(late)->probe().snapshots_received.get(), 1u);
  w().run_for(3s);
  std::set<std::string> states;
  for (const auto& path : w().disk(late).files())
    if (path.starts_with("/data/state-")) states.insert(path.substr(0, path.find('/', 6)));
  EXPECT_EQ(states.size(), 1u);  // the one before is gone
}

// The next leader has another checkpoint: what it offers is taken, whatever is
// still awaited of one who will never answer.
TEST_F(Snapshot, AMemberWhoseSenderIsGoneForGoodTakesThatOfTheNextLeader) {
  make();
  w().adjust = [](node::MemberOptions& m) { m.storage.checkpoint_interval = 100 + 37 * m.self.value(); };
  start_all();
  const auto late = follower();
  w().crash(late);
  puts(1200);
  w().run_for(3s);
  const auto gone = *w().leader();
  w().network.tamper = [](NodeId, NodeId, Lane lane, Bytes bytes) -> Bytes {
    const auto frame = decode_frame(bytes);
    return lane == Lane::kBulk && frame.ok() && frame->header.type == FrameType::kSnapshotChunk ? Bytes() : bytes;
  };
  w().start(late);
  const auto fetches = [&] {
    const auto members = w().member(late)->status().members;
    return std::any_of(members.begin(), members.end(),
                       [&](const auto& m) { return m.id == late && m.state == MemberState::kSnapshot; });
  };
  ASSERT_TRUE(w().run_until(fetches)) << w().checkers.breach();
  w().crash(gone);
  w().network.tamper = nullptr;
  EXPECT_TRUE(w().run_until([&] { return w().member(late)->probe().snapshots_received.get() > 0; }, 60s))
      << w().checkers.breach() << w().standing();
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
}

// A large state takes long to be checked, and a slow disk to take it.
TEST_F(Snapshot, OneIsNotGivenUpWhileTheDiskIsBusyWithIt) {
  make();
  start_all();
  const auto late = follower();
  w().crash(late);
  puts(1200);
  w().run_for(3s);
  int begun = 0;
  w().network.tamper = [&](NodeId from, NodeId, Lane lane, Bytes bytes) -> Bytes {
    const auto frame = decode_frame(bytes);
    if (from != late || lane != Lane::kBulk || !frame.ok() || frame->header.type != FrameType::kSnapshotFetch) return bytes;
    const auto fetch = decode_snapshot_fetch(frame->body);
    if (fetch.ok() && fetch->file == 0 && fetch->offset == 0) ++begun;
    return bytes;
  };
  w().start(late);
  ASSERT_TRUE(w().run_until([&] { return begun > 0; })) << w().checkers.breach();
  w().hang_disk(late, true);
  w().run_for(30s);
  w().hang_disk(late, false);
  EXPECT_TRUE(w().run_until([&] { return w().member(late)->probe().snapshots_received.get() > 0; }, 10s))
      << w().checkers.breach();
  EXPECT_EQ(begun, 1);
  w().network.tamper = nullptr;
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Snapshot, ALateStarterThatBeginsWithOneKnowsItsGroup) {
  make();
  start({kOne, kTwo});
  puts(1200);
  w().run_for(3s);
  w().start(kThree);
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
  EXPECT_GE(w().member(kThree)->probe().snapshots_received.get(), 1u);
  EXPECT_EQ(w().member(kThree)->cluster_id(), w().member(kOne)->cluster_id());
  EXPECT_TRUE(w().run_until([&] { return admitted(kThree); }));
  w().crash(kThree);
  w().start(kThree);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Snapshot, ACheckpointThatACrashRemovedInPartIsNotOffered) {
  WorldOptions o;
  o.checkpoint_interval = 60;
  o.retain_log_bytes = 4096;
  make(o);
  start_all();
  const auto late = follower();
  w().crash(late);
  puts(300);
  w().run_for(2s);
  std::size_t cut = 0;
  for (const NodeId id : {kOne, kTwo, kThree}) {
    if (id == late) continue;
    w().crash(id);
    std::set<std::string> directories;
    for (const auto& path : w().disk(id).files())
      if (const auto at = path.find("/leeward-manifest"); at != std::string::npos) directories.insert(path.substr(0, at));
    for (const auto& directory : directories)
      for (const auto& path : w().disk(id).files())
        if (path.starts_with(directory + "/") && !path.ends_with("/leeward-manifest")) {
          ASSERT_TRUE(w().disk(id).remove(path).ok());
          ++cut;
          break;
        }
  }
  EXPECT_GE(cut, 2u);
  start_all();
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Snapshot, ACrashAtAnyInstantOfItsInstallationRecovers) {
  std::uint64_t installed = 0;
  for (std::uint64_t operations = 1; operations < 120; operations += 3) {
    WorldOptions o;
    o.seed = operations;
    o.checkpoint_interval = 60;
    o.retain_log_bytes = 4096;
    make(o);
    start_all();
    const auto late = follower();
    w().crash(late);
    puts(300);
    w().run_for(2s);
    w().start(late);
    w().disk(late).power_off_after(operations);
    w().run_for(3s);
    if (auto* m = w().member(late)) installed += m->probe().snapshots_received.get();
    if (w().running(late)) w().crash(late);
    w().start(late);
    ASSERT_TRUE(w().settle()) << "after " << operations << " operations: " << w().checkers.breach();
    installed += w().member(late)->probe().snapshots_received.get();
  }
  EXPECT_GT(installed, 10u);
}

// A snapshot that is being fetched, and another leader's entries that reach
// past it: node 2 keeps its whole log.
struct Overtaken : Fixture {
  void begin(std::uint64_t seed) {
    WorldOptions o;
    o.seed = seed;
    o.checkpoint_interval = 60;
    o.retain_log_bytes = 4096;
    make(o);
    w().adjust = [](MemberOptions& m) {
      if (m.self == kTwo) m.storage.checkpoint_interval = 1'000'000;
    };
    start({kOne, kTwo, kThree});
    auto lead = [&] {
      if (const auto l = w().leader(); l && *l != kOne) static_cast<Group*>(w().member(*l))->transfer_leadership(kOne);
      return w().leader() == kOne;
    };
    ASSERT_TRUE(w().run_until(lead)) << w().checkers.breach();
    w().crash(kThree);
    puts(300);
    w().run_for(2s);
    ASSERT_EQ(w().leader(), kOne);
    w().start(kThree);
  }
  // Until the received files are checked. The first sync after they were laid
  // out is that of the check.
  Instant run_until_checked() {
    bool laid_out = false;
    auto syncs = w().disk(kThree).syncs();
    EXPECT_TRUE(w().run_until(
        [&] {
          if (laid_out) return w().disk(kThree).syncs() > syncs;
          for (const auto& path : w().disk(kThree).files())
            laid_out |= path.starts_with("/data/state-") && !path.starts_with("/data/state-1/");
          syncs = w().disk(kThree).syncs();
          return false;
        },
        10s))
        << w().checkers.breach();
    return w().scheduler.now();
  }
  Bytes append_of_the_rest() {
    auto* three = w().member(kThree);
    const auto end = three->last();
    const auto& whole = w().member(kTwo)->log();
    std::vector<Entry> entries;
    while (end.index + entries.size() < whole.last().index) {
      auto more = whole.read(end.index + entries.size() + 1, whole.last().index + 1, 16_MiB);
      EXPECT_TRUE(more.ok());
      if (!more.ok()) break;
      for (auto& e : *more) entries.push_back(std::move(e));
    }
    sim::RaftFrame append;
    append.header = {FrameType::kRaft, three->lineage(), three->group(), w().member(kOne)->next_origin().incarnation,
                     Epoch(1)};
    append.message.type = raft::MessageType::kAppend;
    append.message.from = kOne;
    append.message.to = kThree;
    append.message.term = three->term();
    append.message.index = end.index;
    append.message.log_term = end.term;
    append.message.log_hash = end.position.hash;
    append.message.commit = three->committed().index;  // what it is given may be committed by its very answer
    append.message.entries = std::move(entries);
    return sim::to_bytes(append);
  }
};

TEST_F(Overtaken, EntriesThatArriveAsASnapshotIsCompleteAreNotResetAway) {
  int overtaken = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    begin(seed);
    if (HasFailure()) return;
    const auto checked = run_until_checked();
    for (const auto before : {60us, 40us, 20us, 5us}) {
      begin(seed);  // the same again, up to here
      if (HasFailure()) return;
      w().run_for(checked - before - w().scheduler.now());
      w().network.weather.delay_low = w().network.weather.delay_high = Duration(0);
      w().network.carry(kOne, kThree, Lane::kConsensus, append_of_the_rest());
      Index reached;
      bool fell_back = false;
      w().run_until(
          [&] {
            const auto end = w().member(kThree)->last().index;
            fell_back |= end < reached;
            reached = std::max(reached, end);
            return fell_back;
          },
          100ms);
      ASSERT_FALSE(fell_back) << "seed " << seed << ": acknowledged entries were dropped";
      overtaken += w().member(kThree)->probe().snapshots_received.get() == 0 ? 1 : 0;
      ASSERT_TRUE(w().settle()) << "seed " << seed << ": " << w().checkers.breach();
      w().run_for(3s);
      std::set<std::string> states;
      for (const auto& path : w().disk(kThree).files())
        if (path.starts_with("/data/state-")) states.insert(path.substr(0, path.find('/', 6)));
      EXPECT_EQ(states.size(), 1u) << "the files of the refused snapshot are still there";
    }
  }
  EXPECT_GT(overtaken, 0);
}

using Retention = Fixture;

TEST_F(Retention, OneThatIsFarBehindDoesNotCostAnotherWhatItNeeds) {
  WorldOptions o;
  o.primaries = 1;
  o.checkpoint_interval = 60;
  o.retain_log_bytes = 512_KiB;
  make(o);
  start_all();
  auto& member = *w().member(kOne);
  member.retain("standby/dead", Index(1));
  Index needed;
  for (int i = 0; i < 400; ++i) {
    const auto applied = member.state().applied().point.index;
    if (applied > Index(40)) needed = applied - 40;  // 160 KiB
    member.retain("standby/live", needed);
    ASSERT_EQ(put(kOne, "key" + std::to_string(i), std::string(4_KiB, 'v')).end, Outcome::End::kApplied);
    w().run_for(50ms);
    ASSERT_LE(member.log().base().index, needed) << i;
  }
  EXPECT_GT(member.log().base().index, Index(100));  // the dead one does not fill the disk
}

std::vector<std::uint64_t> checkpoints_on_disk(World& w, NodeId id) {
  std::set<std::uint64_t> found;
  for (const auto& path : w.disk(id).files())
    if (const auto at = path.find("checkpoint-"); at != std::string::npos) found.insert(std::stoull(path.substr(at + 11, 20)));
  return {found.begin(), found.end()};
}

TEST_F(Retention, TheCheckpointThatARewindWouldNeedStays) {
  WorldOptions o;
  o.primaries = 1;
  o.checkpoint_interval = 60;
  o.retain_log_bytes = 100_MiB;
  make(o);
  start_all();
  auto& member = *w().member(kOne);
  EXPECT_EQ(member.status().rewindable, std::nullopt) << "nobody follows";
  puts(100);
  const auto held = member.state().applied().point.index;
  member.retain("standby/west", held);
  for (int i = 0; i < 10; ++i) {
    puts(60);
    w().run_for(1500ms);
  }
  auto kept = checkpoints_on_disk(w(), kOne);
  ASSERT_EQ(kept.size(), 4U) << "three, and the one for the rewind";
  EXPECT_LE(kept[0], held.value());
  EXPECT_GT(kept[1], held.value() + 240) << "those between are of no use";
  EXPECT_LE(member.log().base().index.value(), kept[0]);
  EXPECT_EQ(member.status().rewindable, true);

  member.retain("standby/west", member.state().applied().point.index);
  w().run_for(3s);
  EXPECT_EQ(checkpoints_on_disk(w(), kOne).size(), 3U) << "it moves on with what is held";
  EXPECT_EQ(member.status().rewindable, true);
}

TEST_F(Retention, ARewindThatTheBudgetHasCutOffIsSaidAndItsCheckpointGoes) {
  WorldOptions o;
  o.primaries = 1;
  o.checkpoint_interval = 60;
  o.retain_log_bytes = 4096;
  make(o);
  start_all();
  auto& member = *w().member(kOne);
  puts(100);
  member.retain("standby/dead", member.state().applied().point.index);
  for (int i = 0; i < 10; ++i) {
    puts(60);
    w().run_for(1500ms);
  }
  EXPECT_EQ(member.status().rewindable, false);
  EXPECT_LE(checkpoints_on_disk(w(), kOne).size(), 3U);
}

// A snapshot is whole on the disk; at this instant an append arrives that
// reaches beyond it, whose commit index is behind. The core has taken it, the
// log has not: what is acknowledged must not be cut off by the installation.
TEST_F(Snapshot, WhatIsAcknowledgedWhileOneArrivesStays) {
  NodeId leader, late, other;
  const auto begin = [&] {
    WorldOptions o;
    o.checkpoint_interval = 60;
    make(o);
    w().adjust = [](node::MemberOptions& m) {
      m.storage.retain_log_bytes = m.self == kThree ? 100_MiB : 4096;
      if (m.self == kThree) m.storage.checkpoint_interval = 1000000;
    };
    start({kOne, kTwo});
    leader = *w().leader();
    late = leader == kOne ? kTwo : kOne;
    other = kThree;
    w().start(other);
    w().run_for(1s);
    w().crash(late);
    puts(325);
    w().run_for(2s);
    w().start(late);
    w().run_for(25ms);
    puts(8);  // after the snapshot
  };
  begin();
  ASSERT_EQ(*w().leader(), leader);
  std::vector<Instant> busy;  // when the disk did much at once: checking the files, then installing them
  auto operations = w().disk(late).operations();
  ASSERT_TRUE(w().run_until([&] {
    const auto now = w().disk(late).operations();
    if (now >= operations + 3) busy.push_back(w().scheduler.now());
    operations = now;
    return w().member(late)->probe().snapshots_received.get() > 0;
  }));
  ASSERT_GE(busy.size(), 2u);
  const auto checked = busy[busy.size() - 2];
  bool beyond = false;
  for (Duration before = -20us; before <= 60us; before += 4us) {
    begin();
    w().run_for(checked - before - w().scheduler.now());
    auto& m = *w().member(late);
    const auto from = m.last();
    const auto end = w().member(other)->last().index;
    std::vector<Entry> entries;
    for (auto next = from.index + 1; next <= end;) {
      auto some = w().member(other)->log().read(next, end + 1, 100_MiB);
      ASSERT_TRUE(some.ok());
      next = next + some->size();
      entries.insert(entries.end(), some->begin(), some->end());
    }
    sim::RaftFrame frame;
    frame.header = {node::FrameType::kRaft, m.lineage(), m.group(), w().member(leader)->next_origin().incarnation, Epoch()};
    frame.message.type = raft::MessageType::kAppend;
    frame.message.from = leader;
    frame.message.to = late;
    frame.message.term = w().member(leader)->term();
    frame.message.index = from.index;
    frame.message.log_term = from.term;
    frame.message.log_hash = from.position.hash;
    frame.message.entries = std::move(entries);
    Index acknowledged;
    w().network.tamper = [&](NodeId sender, NodeId, Lane lane, Bytes bytes) -> Bytes {
      const auto raft = sim::raft_frame(lane, bytes);
      if (sender == late && raft && raft->message.type == raft::MessageType::kAppendReply && !raft->message.reject)
        acknowledged = std::max(acknowledged, raft->message.index);
      return sender == leader && raft && raft->message.commit.value() != 0 ? Bytes() : bytes;
    };
    w().network.weather.delay_low = w().network.weather.delay_high = 0us;
    w().network.carry(leader, late, Lane::kConsensus, to_bytes(frame));
    w().network.weather = {};
    w().run_for(100ms);
    EXPECT_GE(w().member(late)->last().index.value(), acknowledged.value()) << to_ms(before) << " ms before the check ended";
    beyond = beyond || acknowledged == end;
    w().network.tamper = nullptr;
    ASSERT_TRUE(w().settle()) << w().checkers.breach();
  }
  EXPECT_TRUE(beyond);
}

// The same story each time; the disk hangs at one instant after another around
// the installation, and the stop runs out of patience.
TEST_F(Snapshot, AStopOutOfTimeLeavesAnInstallationWhole) {
  const auto begin = [this] {
    WorldOptions o;
    o.checkpoint_interval = 60;
    o.retain_log_bytes = 4096;
    make(o);
    start_all();
    const auto late = follower();
    w().crash(late);
    puts(300);
    w().run_for(2s);
    w().start(late);
    return late;
  };
  auto late = begin();
  ASSERT_TRUE(w().run_until([&] { return w().member(late)->probe().snapshots_received.get() > 0; }));
  const auto installed = w().scheduler.now();
  for (Duration before = 0us; before < 6ms; before += 500us) {
    late = begin();
    w().run_for(installed - before - w().scheduler.now());
    w().hang_disk(late, true);
    auto down = std::make_shared<bool>(false);
    w().member(late)->stop([down] { *down = true; });
    w().run_for(9s);
    w().hang_disk(late, false);
    ASSERT_TRUE(w().run_until([&] { return *down; })) << w().checkers.breach();
    w().kill(late);
    w().start(late);
    ASSERT_TRUE(w().settle()) << to_ms(before) << " ms before its end: " << w().checkers.breach();
  }
}

using Stop = Fixture;

TEST_F(Stop, ALeaderHandsOverAndLeavesACleanDirectory) {
  make();
  start_all();
  puts(3);
  const auto old = *w().leader();
  w().stop(old);
  EXPECT_EQ(w().checkers.breach(), "");
  EXPECT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 500ms));  // no election timeout
  w().start(old);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Stop, LeadershipMovesToWhomItIsTold) {
  make();
  start_all();
  w().run_for(500ms);
  const auto to = follower();
  auto answer = std::make_shared<std::optional<Result<void>>>();
  w().member(to)->transfer_leadership(to, w().client_loop(), [answer](Result<void> r) { *answer = r; });
  ASSERT_TRUE(w().run_until([&] { return answer->has_value(); })) << w().checkers.breach();
  EXPECT_TRUE((*answer)->ok()) << (*answer)->error().message;
  EXPECT_TRUE(w().run_until([&] { return w().leader() == to; }));
}

using Leases = Fixture;

TEST_F(Leases, ALeaseLivesByKeepAliveAndIsRevokedWithoutIt) {
  make();
  start_all();
  ASSERT_EQ(grant(follower(), 77, 5).end, Outcome::End::kApplied);
  for (int i = 0; i < 4; ++i) {
    w().run_for(3s);
    const auto ttl = keep_alive(follower(), 77);
    ASSERT_TRUE(ttl.ok()) << ttl.error().message;
    EXPECT_EQ(*ttl, 5);
  }
  w().run_for(8s);
  EXPECT_FALSE(w().member(kOne)->state().lease(77).has_value());
  const auto gone = keep_alive(kOne, 77);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, Code::kNotFound);
}

TEST_F(Leases, ANewLeaderStartsThemAtFullTime) {
  make();
  start_all();
  ASSERT_EQ(grant(*w().leader(), 5, 6).end, Outcome::End::kApplied);
  w().run_for(4s);
  const auto old = *w().leader();
  w().crash(old);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }));
  w().run_for(5s);
  EXPECT_TRUE(w().member(*w().leader())->state().lease(5).has_value());
  w().run_for(4s);
  EXPECT_FALSE(w().member(*w().leader())->state().lease(5).has_value());
}

TEST_F(Leases, OneRevokedAndGrantedAgainAtOnceBeginsAnew) {
  make();
  start_all();
  const auto leader = *w().leader();
  ASSERT_EQ(grant(leader, 9, 600).end, Outcome::End::kApplied);
  // Both in one entry: the state shows only what is left of them.
  etcdserverpb::LeaseRevokeRequest revoke;
  revoke.set_id(9);
  etcdserverpb::LeaseGrantRequest again;
  again.set_id(9);
  again.set_ttl(3);
  int applied = 0;
  for (auto& command : {Command{Op::kLeaseRevoke, Bytes(revoke.SerializeAsString()), {}, {}},
                        Command{Op::kLeaseGrant, Bytes(again.SerializeAsString()), {}, {}}})
    w().member(leader)->propose(command, std::nullopt, w().client_loop(),
                                [&applied](Outcome o) { applied += o.end == Outcome::End::kApplied; });
  ASSERT_TRUE(w().run_until([&] { return applied == 2; })) << w().checkers.breach();
  ASSERT_TRUE(w().member(leader)->state().lease(9).has_value());
  w().run_for(8s);
  EXPECT_FALSE(w().member(leader)->state().lease(9).has_value());
}

// Its disk hangs, so what it concludes waits to be proposed; the next leader
// has begun the lease anew and may have told a client so.
TEST_F(Leases, WhatADeposedLeaderHeldExpiredIsNotRevokedByTheNext) {
  make();
  start_all();
  const auto old = *w().leader();
  ASSERT_EQ(grant(old, 5, 4).end, Outcome::End::kApplied);
  ASSERT_TRUE(w().run_until([&] { return w().member(old)->state().lease(5).has_value(); }));
  w().run_for(3900ms);
  w().hang_disk(old, true);
  std::vector<decltype(w().put(old, "", ""))> puts;
  for (int i = 0; i < 10; ++i) {
    puts.push_back(w().put(old, "fill" + std::to_string(i), "v"));
    w().run_for(5ms);
  }
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s)) << w().checkers.breach();
  w().run_for(2s);
  EXPECT_TRUE(w().member(*w().leader())->state().lease(5).has_value());
  w().hang_disk(old, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

using Status = Fixture;

TEST_F(Status, EachMemberKnowsTheOthers) {
  make();
  start_all();
  puts(3);
  w().run_for(2s);
  for (const auto id : w().ids()) {
    const auto status = w().member(id)->status();
    ASSERT_EQ(status.members.size(), 3u);
    for (const auto& m : status.members) {
      EXPECT_TRUE(m.healthy) << m.id.value();
      EXPECT_TRUE(m.admitted);
      EXPECT_EQ(m.state_hash, status.applied.state_hash);
    }
  }
  w().crash(follower());
  w().run_for(4s);
  int down = 0;
  for (const auto& m : w().member(*w().leader())->status().members) down += m.state == MemberState::kDown;
  EXPECT_EQ(down, 1);
}

}  // namespace
}  // namespace leeward::node
