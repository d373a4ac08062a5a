// Members that an operator has paused or isolated.
#include <gtest/gtest.h>

#include "node/standing.h"
#include "support.h"

namespace leeward::node {
namespace {

using Kind = StandingChange::Kind;

struct StandingStory : Fixture {
  Result<void> change(NodeId id, StandingChange what) {
    auto answer = std::make_shared<Answer<void>>();
    w().member(id)->change_standing(std::move(what), w().client_loop(), [answer](Result<void> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); }, 20s)) << w().checkers.breach();
    return answer->result.value_or(Error{Code::kDeadline, "no answer"});
  }
  Result<void> pause(NodeId id, bool force = false) { return change(id, {Kind::kPause, "", force}); }
  Result<void> isolate(NodeId id, bool force = false) { return change(id, {Kind::kIsolate, "its disk is slow", force}); }
  MemberStatus status_of(NodeId id, NodeId as_told_by) {
    for (const auto& m : w().member(as_told_by)->status().members)
      if (m.id == id) return m;
    return {};
  }
  bool isolated(NodeId id) { return status_of(id, id).state == MemberState::kIsolated; }
  bool all_healthy() {
    for (const auto id : w().ids())
      for (const auto other : w().ids())
        if (!status_of(other, id).healthy) return false;
    return true;
  }
  void begin() {
    make();
    start_all();
    puts(20);
    ASSERT_TRUE(w().run_until([&] { return all_healthy(); }));
  }
  // A leader is needed again and again, and this one may not be it.
  int lost_ = 0;
  void lose_leaders(NodeId id, Duration time) {
    for (const auto end = w().scheduler.now() + time; w().scheduler.now() < end;) {
      // In turn it hands over and dies; then this one's time may be the first to run out.
      if (const auto leader = w().leader(); leader) {
        ASSERT_NE(*leader, id);
        if (const bool dies = ++lost_ % 2 == 0; dies) {
          w().crash(*leader);
          w().run_for(2s);
          ASSERT_NE(w().leader(), id);
          w().start(*leader);
        } else {
          w().member(*leader)->give_up_leadership();
        }
      }
      w().run_for(300ms);
      ASSERT_EQ(w().checkers.breach(), "");
    }
  }
};

TEST(Standing, IsARecordBesideOthersInTheSuperblock) {
  std::string extra;
  extra += std::string("\x03") + "abc" + std::string("\x02") + "xy";
  const Standing isolated{Standing::Kind::kIsolated, "why not"};
  auto with = extra;
  set_standing(with, isolated);
  EXPECT_EQ(standing_in(with), isolated);
  EXPECT_TRUE(with.starts_with(extra));
  auto again = with;
  set_standing(again, {Standing::Kind::kPaused, ""});
  EXPECT_EQ(standing_in(again).kind, Standing::Kind::kPaused);
  set_standing(again, {});
  EXPECT_EQ(again, extra);
  EXPECT_EQ(standing_in(extra), Standing());
  EXPECT_EQ(standing_in("\xff\xff"), Standing());
  EXPECT_FALSE(check_reason("").ok());
  EXPECT_FALSE(check_reason("two\nlines").ok());
  EXPECT_FALSE(check_reason(std::string(201, 'x')).ok());
  EXPECT_TRUE(check_reason("disk /dev/sdb: 3 read errors").ok());
}

// As soon as everybody knows the leader, not when it reports the next time.
TEST_F(StandingStory, WhoKnowsALeaderIsCountedAsHealthyByTheOthersAtOnce) {
  for (int seed = 1; seed <= 6; ++seed) {
    WorldOptions o;
    o.seed = static_cast<std::uint64_t>(seed);
    make(o);
    start_all();
    ASSERT_TRUE(w().run_until([&] {
      for (const auto id : w().ids())
        if (!w().member(id)->status().leader) return false;
      return true;
    }));
    w().run_for(50ms);
    const auto paused = pause(*w().leader());
    EXPECT_TRUE(paused.ok()) << seed << ": " << paused.error().message;
  }
}

TEST_F(StandingStory, AnIsolatedLeaderHandsOverAndNeverLeadsAgain) {
  begin();
  const auto id = *w().leader();
  ASSERT_TRUE(isolate(id).ok());
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != id; }));
  ASSERT_TRUE(w().run_until([&] { return isolated(id) && status_of(id, *w().leader()).state == MemberState::kIsolated; }));
  EXPECT_EQ(status_of(id, *w().leader()).standing_reason, "its disk is slow");
  EXPECT_FALSE(status_of(id, *w().leader()).healthy);
  lose_leaders(id, 10s);
  // It votes and has what the others have.
  puts(20);
  ASSERT_TRUE(w().run_until([&] { return w().member(id)->committed() == w().member(*w().leader())->committed(); }));
}

TEST_F(StandingStory, AnIsolatedMemberCountsForTheQuorum) {
  begin();
  const auto id = follower();
  ASSERT_TRUE(isolate(id).ok());
  NodeId other;
  for (const auto n : w().ids())
    if (n != id && n != *w().leader()) other = n;
  w().crash(other);
  EXPECT_EQ(put(*w().leader(), "a", "b").end, Outcome::End::kApplied);
}

TEST_F(StandingStory, NoLeadershipIsHandedToIt) {
  begin();
  const auto id = follower();
  ASSERT_TRUE(pause(id).ok());
  ASSERT_TRUE(w().run_until([&] { return status_of(id, *w().leader()).paused; }));
  auto answer = std::make_shared<Answer<void>>();
  w().member(*w().leader())->transfer_leadership(id, w().client_loop(), [answer](Result<void> r) { answer->result = r; });
  ASSERT_TRUE(w().run_until([&] { return answer->result.has_value(); }));
  ASSERT_FALSE(answer->result->ok());
  EXPECT_EQ(answer->result->error().code, Code::kInvalid);
  lose_leaders(id, 5s);
}

TEST_F(StandingStory, ItSurvivesARestart) {
  begin();
  const auto id = *w().leader();
  ASSERT_TRUE(isolate(id).ok());
  for (int i = 0; i < 2; ++i) {
    i == 0 ? w().crash(id) : w().stop(id);
    w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader() && isolated(id); }));
    EXPECT_EQ(status_of(id, id).standing_reason, "its disk is slow");
    lose_leaders(id, 4s);
  }
}

TEST_F(StandingStory, ASecondOneIsRefusedUnlessForced) {
  begin();
  const auto first = follower();
  ASSERT_TRUE(isolate(first).ok());
  ASSERT_TRUE(w().run_until([&] {
    for (const auto id : w().ids())
      if (status_of(first, id).state != MemberState::kIsolated) return false;
    return true;
  }));
  const auto second = *w().leader();
  for (const auto& refused : {pause(second), isolate(second)}) {
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kRefused);
    EXPECT_NE(refused.error().message.find("rule healthy_majority"), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().message.find("--force"), std::string::npos);
  }
  EXPECT_EQ(put(*w().leader(), "a", "b").end, Outcome::End::kApplied);
  EXPECT_TRUE(pause(second, true).ok());
  EXPECT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != second; }));
}

TEST_F(StandingStory, WithAMemberDownNoneIsPaused) {
  begin();
  w().crash(follower());
  w().run_for(4s);
  const auto refused = pause(*w().leader());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kRefused);
}

TEST_F(StandingStory, TheOnlyOneIsRefusedAndForcedItLeadsNothingUntilItRejoins) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  start_all();
  puts(5);
  EXPECT_FALSE(isolate(kOne).ok());
  ASSERT_TRUE(isolate(kOne, true).ok());
  w().run_for(5s);
  EXPECT_FALSE(w().leader());
  ASSERT_TRUE(change(kOne, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); }));
  puts(5);
}

TEST_F(StandingStory, APauseIsEndedByResumeAndAnIsolationByRejoin) {
  begin();
  const auto id = follower();
  ASSERT_TRUE(pause(id).ok());
  EXPECT_FALSE(change(id, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(pause(id).ok()) << "again: nothing to do";
  ASSERT_TRUE(change(id, {Kind::kResume, "", false}).ok());
  EXPECT_FALSE(w().member(id)->stands_aside());
  ASSERT_TRUE(isolate(id).ok());
  const auto refused = change(id, {Kind::kResume, "", false});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kRefused);
  puts(30);
  ASSERT_TRUE(change(id, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return !w().member(id)->stands_aside(); }));
  ASSERT_TRUE(w().run_until([&] { return status_of(id, *w().leader()).healthy; }));
  // It may lead again.
  ASSERT_TRUE(w().run_until(
      [&] {
        if (w().leader() && *w().leader() != id) w().member(*w().leader())->transfer_leadership(id);
        return w().leader() == id;
      },
      20s));
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(StandingStory, AnIsolationOverAPauseAndANewReasonAreTaken) {
  begin();
  const auto id = follower();
  ASSERT_TRUE(pause(id).ok());
  ASSERT_TRUE(isolate(id).ok());
  EXPECT_FALSE(pause(id).ok());
  ASSERT_TRUE(change(id, {Kind::kIsolate, "worse", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return status_of(id, id).standing_reason == "worse"; }));
  const auto none = change(id, {Kind::kIsolate, "", false});
  EXPECT_EQ(none.error().code, Code::kInvalid);
}

TEST_F(StandingStory, OneWhoseLogIsDamagedDoesNotRejoin) {
  begin();
  puts(800);
  const auto id = follower();
  ASSERT_TRUE(isolate(id).ok());
  // In all segments but the newest: nothing reads there by itself.
  auto& disk = w().disk(id);
  auto names = disk.list("/wal");
  ASSERT_TRUE(names.ok());
  std::erase_if(*names, [](const auto& name) { return !name.starts_with("log-"); });
  std::sort(names->begin(), names->end());
  ASSERT_GT(names->size(), 1u);
  names->pop_back();
  for (const auto& name : *names)
    for (std::uint64_t at = 4096; at < 60'000; at += 997) disk.flip("/wal/" + name, at, 0x10);
  ASSERT_TRUE(change(id, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return status_of(id, id).standing_reason.find("not sound") != std::string::npos; }))
      << status_of(id, id).standing_reason;
  EXPECT_TRUE(isolated(id));
  EXPECT_TRUE(w().member(id)->stands_aside());
}

// What another member reports differs from what this one held there.
TEST_F(StandingStory, OneWhoseStateIsNotTheOthersDoesNotRejoin) {
  begin();
  const auto id = follower();
  ASSERT_TRUE(isolate(id).ok());
  w().network.tamper = [id](NodeId, NodeId to, Lane lane, Bytes bytes) {
    if (to != id || lane != Lane::kControl) return bytes;
    const auto frame = decode_frame(bytes);
    if (!frame.ok() || frame->header.type != FrameType::kReport) return bytes;
    auto report = decode_report(frame->body);
    if (!report.ok()) return bytes;
    report->status.state_hash.bytes[0] ^= 1;
    return Bytes(encode_header(frame->header) + encode(*report));
  };
  w().run_for(1s);
  ASSERT_TRUE(change(id, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return status_of(id, id).standing_reason.find("state hash at history index") != std::string::npos; }));
  EXPECT_TRUE(isolated(id));
  w().network.tamper = {};
  w().run_for(1s);
  ASSERT_TRUE(change(id, {Kind::kRejoin, "", false}).ok());
  ASSERT_TRUE(w().run_until([&] { return !w().member(id)->stands_aside(); }));
}

TEST_F(StandingStory, AnOperationIsWholeThroughLostPower) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    WorldOptions o;
    o.seed = seed;
    make(o);
    start_all();
    puts(5);
    ASSERT_TRUE(w().run_until([&] { return all_healthy(); }));
    const auto id = follower();
    auto answered = std::make_shared<bool>(false);
    w().member(id)->change_standing({Kind::kIsolate, "x", false}, w().client_loop(), [answered](Result<void> r) { *answered = r.ok(); });
    w().run_for(Duration(seed * 300us));
    w().crash_hard(id);
    w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().member(id) && w().leader(); }));
    EXPECT_TRUE(!*answered || w().member(id)->stands_aside());
    ASSERT_TRUE(change(id, {w().member(id)->stands_aside() ? Kind::kRejoin : Kind::kIsolate, "y", true}).ok());
    EXPECT_EQ(w().checkers.breach(), "");
  }
}

}  // namespace
}  // namespace leeward::node
