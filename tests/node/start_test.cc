// How a member starts, and when it may take part in its group.
#include "node/frames.h"
#include "support.h"

namespace leeward::node {
namespace {

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
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_FALSE(*result) << "it was not admitted before";
  ASSERT_TRUE(w().run_until([&] { return admitted(wiped); })) << w().checkers.breach();
  EXPECT_TRUE(w().member(wiped)->membership().is_voter(wiped));
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// A vote that nobody casts may leave a group that still worked without a quorum.
TEST_F(Start, AWipedMemberThatIsDownAgainIsNotAdmitted) {
  make();
  start_all();
  puts(5);
  w().run_for(1s);
  const auto wiped = follower();
  w().wipe(wiped);
  w().start(wiped);
  ASSERT_TRUE(w().run_until([&] { return !w().member(*w().leader())->membership().is_voter(wiped); })) << w().checkers.breach();
  w().run_for(3s);
  w().crash(wiped);
  for (const auto after : {100ms, 3000ms, 10000ms}) {
    w().run_for(after);
    const auto result = admit(*w().leader(), wiped);
    ASSERT_FALSE(result.ok()) << after.count();
    EXPECT_NE(result.error().message.find("does not answer"), std::string::npos) << result.error().message;
  }
  EXPECT_FALSE(w().member(*w().leader())->membership().is_voter(wiped));
}

// With one voter down the new one's own answers are needed for its vote to be there.
TEST_F(Start, AWipedMemberIsAdmittedWhereTheGroupNeedsItForAMajority) {
  make({.primaries = 5});
  start_all();
  puts(5);
  w().run_for(1s);
  std::vector<NodeId> others;
  for (const auto id : w().ids())
    if (id != *w().leader()) others.push_back(id);
  for (const auto wiped : {others[0], others[1]}) {
    w().wipe(wiped);
    w().start(wiped);
    ASSERT_TRUE(w().run_until([&] { return !w().member(*w().leader())->membership().is_voter(wiped); })) << w().checkers.breach();
  }
  w().run_for(1s);
  w().crash(others[2]);  // two of three voters are left; of four, three are needed
  w().run_for(3s);
  const auto result = admit(*w().leader(), others[0]);
  EXPECT_TRUE(result.ok()) << result.error().message;
  puts(3);
}

// What its former life had acknowledged is no measure of what it holds.
TEST_F(Start, AWipedMemberIsAdmittedOnlyByWhatItHoldsItself) {
  for (std::uint64_t seed = 50; seed < 54; ++seed) {
    SCOPED_TRACE(seed);
    make({.seed = seed});
    start_all();
    puts(30);
    w().run_for(1s);
    const auto leader = *w().leader();
    const auto wiped = follower();
    w().wipe(wiped);
    w().start(wiped);
    // In the very moment of the demotion.
    ASSERT_TRUE(w().run_until([&] { return !w().member(leader)->membership().is_voter(wiped); })) << w().checkers.breach();
    EXPECT_FALSE(admit(leader, wiped).ok()) << "nothing of it is known yet";
    ASSERT_TRUE(w().run_until([&] { return admit(*w().leader(), wiped).ok(); })) << w().checkers.breach();
    ASSERT_TRUE(w().run_until([&] { return admitted(wiped); })) << w().checkers.breach();
    EXPECT_TRUE(w().settle()) << w().checkers.breach();
  }
}

// A client would wait here for what others could give it at once.
TEST_F(Start, WhoTakesPartInNoGroupForLongSendsClientsOn) {
  make();
  w().start(kOne);
  const auto first = put(kOne, "k", "v");
  EXPECT_EQ(first.end, Outcome::End::kNotApplied) << "nobody came while it waited";
  const auto before = w().scheduler.now();
  const auto second = put(kOne, "k", "v");
  EXPECT_EQ(second.end, Outcome::End::kNotApplied);
  EXPECT_EQ(second.error.message, kTryNextEndpoint);
  std::optional<Result<void>> read;
  w().member(kOne)->read_barrier(std::nullopt, w().client_loop(), [&](Result<void> r) { read = std::move(r); });
  ASSERT_TRUE(w().run_until([&] { return read.has_value(); }));
  EXPECT_FALSE(read->ok());
  EXPECT_LT(w().scheduler.now() - before, 1s);
  w().start(kTwo);
  w().start(kThree);
  ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  EXPECT_EQ(put(kOne, "k", "v").end, Outcome::End::kApplied);
}

// Whoever asks as soon as it is a learner is told to wait, or is done: it never gets
// half of it, nor hears that a member that has just spoken was not heard.
TEST_F(Start, AWipedMemberThatHasJustComeIsAdmittedInOnePiece) {
  for (std::uint64_t seed = 60; seed < 70; ++seed) {
    SCOPED_TRACE(seed);
    make({.seed = seed});
    start_all();
    puts(3);
    w().run_for(1s);
    const auto leader = *w().leader();
    const auto wiped = follower();
    w().wipe(wiped);
    w().run_for(4s);
    w().start(wiped);
    ASSERT_TRUE(w().run_until([&] { return !w().member(leader)->membership().is_voter(wiped); })) << w().checkers.breach();
    std::set<std::string> said;
    ASSERT_TRUE(w().run_until([&] {
      const auto result = admit(*w().leader(), wiped);
      if (!result.ok()) said.insert(result.error().message);
      return result.ok();
    })) << w().checkers.breach();
    for (const auto& message : said) {
      EXPECT_EQ(message.find("has not been heard"), message.npos) << message;
      EXPECT_EQ(message.find("has no vote yet"), message.npos) << message;
    }
  }
}

TEST_F(Start, ALifeThatEndedIsNotTakenForTheOneThatComesNext) {
  make();
  start_all();
  puts(5);
  w().run_for(2s);
  const auto wiped = follower();
  w().wipe(wiped);
  w().run_for(100ms);
  w().start(wiped);
  for (int i = 0; i < 20; ++i) {
    const auto result = admit(*w().leader(), wiped);
    if (!result.ok()) {
      w().run_for(50ms);
      continue;
    }
    if (*result) ADD_FAILURE() << "admitted already, said of a member with empty storage";
    break;
  }
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

TEST_F(Start, AdmittingWhoIsAdmittedSucceedsSaysSoAndChangesNothing) {
  make();
  start_all();
  puts(3);
  ASSERT_TRUE(w().run_until([&] { return admitted(kOne) && admitted(kTwo) && admitted(kThree); })) << w().checkers.breach();
  w().run_for(1s);
  const auto end = w().member(*w().leader())->log().last().index;
  for (const auto through : {*w().leader(), follower()})
    for (const auto id : w().ids()) {
      const auto result = admit(through, id);
      ASSERT_TRUE(result.ok()) << id.value() << ": " << result.error().message;
      EXPECT_TRUE(*result) << id.value();
    }
  EXPECT_EQ(w().member(*w().leader())->log().last().index, end);
}

// What stands in a log alone may never be committed.
TEST_F(Start, AVoteThatIsNotCommittedIsNotCalledGiven) {
  make();
  start_all();
  puts(3);
  const auto wiped = follower();
  w().wipe(wiped);
  w().start(wiped);
  const auto leader = *w().leader();
  ASSERT_TRUE(w().run_until([&] { return w().member(leader)->membership().learners.contains(wiped); })) << w().checkers.breach();
  ASSERT_TRUE(w().run_until([&] { return w().member(wiped)->state().applied().point.index == w().member(leader)->state().applied().point.index; }));
  w().run_for(1s);
  for (const auto id : w().ids())
    if (id != leader && id != wiped) w().crash(id);
  std::vector<std::shared_ptr<Answer<bool>>> answers;
  for (int i = 0; i < 4; ++i) {
    answers.push_back(std::make_shared<Answer<bool>>());
    w().member(leader)->admit(wiped, w().client_loop(), [answer = answers.back()](Result<bool> r) { answer->result = r; });
    w().run_for(150ms);
  }
  for (const auto& answer : answers)
    if (answer->result) { EXPECT_FALSE(answer->result->ok()) << "nothing can be committed"; }
  EXPECT_TRUE(w().run_until([&] { return std::all_of(answers.begin(), answers.end(), [](const auto& a) { return a->result.has_value(); }); }));
  for (const auto& answer : answers) EXPECT_FALSE(answer->result->ok());
}

TEST_F(Start, OneThatIsNotHeardIsNotCalledAdmittedAndIsToBeStartedFirst) {
  make();
  start({kOne, kTwo});
  puts(3);
  const auto never = admit(kOne, kThree);
  ASSERT_FALSE(never.ok());
  EXPECT_NE(never.error().message.find("start it first"), std::string::npos) << never.error().message;
  w().start(kThree);
  ASSERT_TRUE(w().run_until([&] { return admitted(kThree); })) << w().checkers.breach();
  w().run_for(1s);
  const auto not_heard = [&] {
    const auto down = admit(kOne, kThree);
    ASSERT_FALSE(down.ok()) << "its disk may be empty by now";
    EXPECT_EQ(down.error().code, Code::kUnavailable);
    EXPECT_NE(down.error().message.find("has not been heard"), std::string::npos) << down.error().message;
    EXPECT_NE(down.error().message.find("/readyz"), std::string::npos) << down.error().message;
  };
  w().crash(kThree);
  w().run_for(5s);  // its leader heard the life before
  not_heard();
  for (const auto id : {kOne, kTwo}) w().crash(id);
  start({kOne, kTwo});  // neither has heard of the third since
  puts(1);              // its leader has applied what the log holds
  not_heard();
  w().start(kThree);
  ASSERT_TRUE(w().run_until([&] { return admitted(kThree); })) << w().checkers.breach();
  w().run_for(1s);
  const auto back = admit(kOne, kThree);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_TRUE(*back);
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

// A region that was down as a whole serves when the armed one has answered: until
// then no member of it looks as if it did.
TEST_F(Start, WhileItsLeaderWaitsToServeNoMemberSaysThatTheRegionServes) {
  WorldOptions o;
  o.standbys = 3;
  o.stream = true;
  make(o);
  w().adjust = [](MemberOptions& m) { m.limits.start_wait = 10s; };
  start_all();
  puts(3);
  const auto primaries = {kOne, kTwo, kThree};
  ASSERT_TRUE(w().run_until([&] {
    for (const auto id : primaries)
      if (w().member(id)->status().armed_region.empty()) return false;
    return true;
  })) << w().standing();
  w().lose(GroupRole::kStandby);
  for (const auto id : primaries) w().crash(id);
  for (const auto id : primaries) w().start(id);
  ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); }, 8s));
  w().run_for(1s);
  for (const auto id : primaries) {
    const auto status = w().member(id)->status();
    EXPECT_TRUE(status.start_wait) << id.value();
    EXPECT_STREQ(dr_state(status), "start_wait") << id.value();
    EXPECT_NE(status.waiting_for.find("armed"), std::string::npos) << id.value() << ": " << status.waiting_for;
  }
  ASSERT_TRUE(w().run_until([&] {
    for (const auto id : primaries)
      if (const auto status = w().member(id)->status(); status.start_wait || !status.waiting_for.empty()) return false;
    return true;
  }, 15s));
  puts(1);
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

// node.snapshot_dir named a place where something else lies: it stays as it is.
TEST_F(Start, CheckpointsOfAnotherClusterAreRefusedAndStay) {
  WorldOptions o;
  o.checkpoint_interval = 20;
  o.seed = 99;
  World other(o);
  for (const auto id : other.ids()) other.start(id);
  ASSERT_TRUE(other.run_until([&] { return other.leader().has_value(); }));
  for (int i = 0; i < 60; ++i) {
    auto put = other.put(*other.leader(), "key", "theirs");
    ASSERT_TRUE(other.run_until([&] { return put->ended; }));
  }
  const auto theirs = [](World& world) {
    std::vector<std::string> out;
    for (const auto& path : world.disk(kOne).files())
      if (path.find("/checkpoint-") != std::string::npos) out.push_back(path);
    return out;
  };
  ASSERT_TRUE(other.run_until([&] { return !theirs(other).empty(); }));
  other.run_for(1s);
  other.stop(kOne);

  make();
  start_all();
  puts(100);
  w().run_for(1s);
  w().stop(kOne);
  const auto files = theirs(other);
  for (const auto& path : files) {
    ASSERT_TRUE(w().disk(kOne).make_dirs(path.substr(0, path.rfind('/'))).ok());
    auto file = w().disk(kOne).open(path, OpenMode::kCreateOrOpen);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->write(0, other.disk(kOne).contents(path)).ok());
  }
  w().disk(kOne).crash(1, test::MemoryDisk::Tear::kKeepAll);
  w().start(kOne);
  EXPECT_FALSE(w().running(kOne));
  EXPECT_NE(w().open_error(kOne).find("is of another cluster or node"), std::string::npos) << w().open_error(kOne);
  EXPECT_NE(w().open_error(kOne).find("node.snapshot_dir"), std::string::npos) << w().open_error(kOne);
  for (const auto& path : files) EXPECT_EQ(w().disk(kOne).contents(path), other.disk(kOne).contents(path)) << path;

  // A node that has nothing yet, and a wrong place: theirs are no leftovers of its own.
  w().wipe(kTwo);
  for (const auto& path : files) {
    ASSERT_TRUE(w().disk(kTwo).make_dirs(path.substr(0, path.rfind('/'))).ok());
    auto file = w().disk(kTwo).open(path, OpenMode::kCreateOrOpen);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->write(0, other.disk(kOne).contents(path)).ok());
  }
  w().disk(kTwo).crash(1, test::MemoryDisk::Tear::kKeepAll);
  w().start(kTwo);
  EXPECT_FALSE(w().running(kTwo));
  EXPECT_NE(w().open_error(kTwo).find("node.snapshot_dir"), std::string::npos) << w().open_error(kTwo);
  for (const auto& path : files) EXPECT_EQ(w().disk(kTwo).contents(path), other.disk(kOne).contents(path)) << path;
}

// A second process under an id whose member is there: it takes nobody's vote.
TEST_F(Start, WhoCallsItselfAsALivingMemberDoesNotTakeItsVote) {
  make();
  start_all();
  puts(5);
  const auto leader = *w().leader(), twin = follower();
  const auto knocks = [&](int times, Duration wait = 200ms) {
    for (int i = 0; i < times; ++i) {
      FrameHeader header;
      header.type = FrameType::kKnock;
      header.incarnation = Incarnation(4711);
      Knock knock;
      knock.cluster_name = "sim";
      w().network.carry(twin, leader, Lane::kControl, Bytes(encode_header(header) + encode(knock)));
      w().run_for(wait);
    }
  };
  knocks(50);
  EXPECT_TRUE(w().member(leader)->membership().is_voter(twin));
  // Nor by an operator whom its log sends for that; the leader hears now one and now the other.
  int refused = 0;
  for (int i = 0; i < 50; ++i) {
    knocks(1, Duration(100us) * i);
    const auto result = admit(leader, twin);
    const bool of_two = !result.ok() && result.error().message.find("another one speaks too") != std::string::npos;
    EXPECT_TRUE(of_two || (result.ok() && *result));
    refused += of_two;
  }
  EXPECT_GT(refused, 0);
  EXPECT_TRUE(admitted(twin));
  // Where the member itself is silent, it may have come back with empty storage.
  w().crash(twin);
  knocks(50);
  EXPECT_FALSE(w().member(*w().leader())->membership().is_voter(twin));
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

TEST_F(Start, ADirectoryWhoseSuperblockIsGoneIsRefusedAndNotMadeNew) {
  make();
  start_all();
  w().stop(kOne);
  for (const auto& path : w().disk(kOne).files())
    if (path.find("superblock") != std::string::npos) {
      ASSERT_TRUE(w().disk(kOne).remove(path).ok());
    }
  ASSERT_TRUE(w().disk(kOne).sync_dir("/data").ok());  // a start that fails ends in a crash here
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

}  // namespace
}  // namespace leeward::node
