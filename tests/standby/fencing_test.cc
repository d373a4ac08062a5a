// What becomes of a primary when another region has begun a newer epoch:
// standby/PROTOCOL.md, "Fencing".
#include "story.h"

namespace leeward::standby {
namespace {

using node::Outcome;

struct Fencing : ::testing::Test {
  static bool serves(Story& s, NodeId id) {
    auto* m = s.world.member(id);
    return m && m->role() == GroupRole::kPrimary;
  }
  static bool fenced(Story& s, NodeId id) {
    auto* m = s.world.member(id);
    return m && m->role() == GroupRole::kFenced;
  }
  static bool all_fenced(Story& s) {
    return std::all_of(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) { return fenced(s, id); });
  }
  // In the group's log, so that a member that was told nothing knows it too.
  static bool committed(Story& s) { return s.world.checkers.regions(GroupRole::kPrimary).role() == GroupRole::kFenced; }
  // The links between the two regions, but those of `spared`.
  static void cut(Story& s, NodeId spared = {}) {
    for (const auto a : kPrimaries)
      if (a != spared) s.world.network.isolate(a, kStandbys);
  }
};

TEST_F(Fencing, AnOldPrimaryThatIsHeardStopsServingAndItsLogSaysSo) {
  Story s(1);
  ASSERT_TRUE(s.ready()) << s.why();
  s.puts(kPrimaries[0], 5);
  ASSERT_TRUE(s.promote()) << s.why();
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  for (const auto id : kPrimaries) {
    auto put = s.world.client_put(id, "late", "v");
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; })) << s.why();
    EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
    EXPECT_EQ(put->outcome.error.code, Code::kUnavailable);
    EXPECT_FALSE(s.world.member(id)->read_now());
    const auto status = s.world.member(id)->status();
    EXPECT_EQ(status.newest_epoch, Epoch(2));
    EXPECT_EQ(status.epoch, Epoch(1));
  }
  s.puts(*s.leader(), 5);
}

TEST_F(Fencing, ItOutlivesARestartOfEveryMemberWithTheLinkDown) {
  Story s(2);
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.promote()) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  cut(s);
  for (const auto id : kPrimaries) s.world.crash(id);
  for (const auto id : kPrimaries) s.world.start(id);
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s); }, 1s)) << s.why();
  s.world.run_for(5s);
  EXPECT_TRUE(all_fenced(s)) << s.why();
}

// Its own group is cut off: no log holds it yet, only this member's superblock.
TEST_F(Fencing, AMemberThatAloneWasToldRemembersItOverARestart) {
  Story s(7);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto told = kPrimaries[1];
  s.world.network.heal();
  cut(s, told);
  s.world.network.isolate(told, kPrimaries);
  ASSERT_TRUE(s.world.run_until([&] { return fenced(s, told); }, 5s)) << s.why();
  s.world.run_for(100ms);
  s.world.crash_hard(told);
  cut(s);
  s.world.start(told);
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, told); }, 1s)) << s.why();
  s.world.run_for(1s);
  EXPECT_TRUE(serves(s, kPrimaries[0]));
}

// One member is told; what it says to its own group tells the others.
TEST_F(Fencing, WhoIsToldTellsItsGroup) {
  for (const auto told : kPrimaries) {
    Story s(3);
    ASSERT_TRUE(s.ready()) << s.why();
    cut(s);
    ASSERT_TRUE(s.promote()) << s.why();
    s.puts(kPrimaries[0], 3);  // it cannot know
    s.world.network.heal();
    cut(s, told);
    EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  }
}

TEST_F(Fencing, AWriteUnderWayEndsAsUnknownAndItsClientIsToldAtOnce) {
  Story s(4);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto leader = *s.world.leader();
  // The leader's followers are gone: what it proposes cannot be committed.
  for (const auto id : kPrimaries)
    if (id != leader) s.world.network.isolate(id, kPrimaries);
  auto put = s.world.client_put(leader, "k", "v");
  s.world.run_for(100ms);
  ASSERT_FALSE(put->ended);
  s.world.network.heal();
  for (const auto id : kPrimaries)
    if (id != leader) s.world.network.isolate(id, kPrimaries);
  ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 1s)) << s.why();
  EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown);
}

// It lags: its group commits the write, and it applies that after it was told of
// the other epoch, which may be without it.
TEST_F(Fencing, WhatAFencedMemberAppliesWithoutASealIsNotTold) {
  for (std::uint64_t seed = 8; seed < 11; ++seed) {
    Story s(seed);
    ASSERT_TRUE(s.ready()) << s.why();
    s.puts(*s.world.leader(), 3);
    const auto leader = *s.world.leader();
    const auto behind = leader == NodeId(3) ? NodeId(2) : NodeId(3);
    auto put = s.world.client_put(behind, "late", "v");
    ASSERT_TRUE(s.world.run_until([&] { return s.world.member(leader)->last().index > s.world.member(behind)->last().index; })) << s.why();
    s.world.network.cut(leader, behind);
    ASSERT_TRUE(s.promote()) << s.why();
    ASSERT_TRUE(s.world.run_until([&] { return fenced(s, behind); }, 5s)) << s.why();
    EXPECT_FALSE(put->ended);
    s.world.network.heal();
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 1s)) << s.why();
    EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown);
  }
}

TEST_F(Fencing, ThePromotedRegionIsNotFencedByItsOwnEpoch) {
  Story s(5);
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.promote()) << s.why();
  s.world.run_for(200ms);
  for (const auto id : kStandbys) {
    EXPECT_TRUE(serves(s, id));
    EXPECT_EQ(s.world.member(id)->status().newest_epoch, Epoch(2));
  }
}

TEST_F(Fencing, AFullDiskDelaysTheNoteAndNotTheEndOfServing) {
  Story s(6);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto full = kPrimaries[0];
  s.world.disk(full).refuse_writes("superblock");
  s.world.network.heal();
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, full); }, 3s)) << s.why();
  s.world.run_for(2s);
  ASSERT_TRUE(s.world.running(full));
  s.world.disk(full).refuse_writes("");
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  s.world.run_for(1s);
  cut(s);
  s.world.crash(full);
  s.world.start(full);
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, full); }, 1s)) << s.why();
}

// --- cold start ---

struct ColdStart : Fencing {
  static void restart(Story& s, const std::vector<NodeId>& ids) {
    for (const auto id : ids) s.world.crash(id);
    for (const auto id : ids) s.world.start(id);
  }
  // How a write ends that is sent to whoever leads.
  static std::optional<Outcome> written(Story& s) {
    const auto leader = s.world.leader();
    if (!leader) return std::nullopt;
    auto put = s.world.client_put(*leader, "k", "v");
    if (!s.world.run_until([&] { return put->ended; })) return std::nullopt;
    return put->outcome;
  }
  static bool serves_within(Story& s, Duration limit) {
    const auto until = s.world.scheduler.now() + limit;
    while (s.world.scheduler.now() < until) {
      if (const auto end = written(s); end && end->end == Outcome::End::kApplied) return true;
      s.world.run_for(20ms);
    }
    return false;
  }
};

// The whole region was down while the other one was promoted, and nobody can
// tell it so.
TEST_F(ColdStart, ARegionThatWasPromotedAwayDoesNotServeBeforeItKnows) {
  Story s(11);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  for (const auto id : kPrimaries) s.world.crash(id);
  ASSERT_TRUE(s.promote()) << s.why();
  for (const auto id : kPrimaries) s.world.start(id);
  EXPECT_FALSE(serves_within(s, 20s));
  const auto leader = s.world.leader();
  ASSERT_TRUE(leader) << s.why();
  EXPECT_TRUE(s.world.member(*leader)->status().start_wait);
  EXPECT_FALSE(s.world.member(*leader)->read_now());
  s.world.network.heal();
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s); }, 5s)) << s.why();
}

// The link is whole, and nobody leads the armed region, which alone could say what it did: a
// member of it that is behind would answer old reads by the word of a primary that is none.
TEST_F(ColdStart, UntilItServesNoReadOfAnotherRegionGoesByItsWord) {
  Story s(21);
  ASSERT_TRUE(s.ready()) << s.why();
  s.puts(*s.world.leader(), 5);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 10s)) << s.why();
  for (const auto id : kPrimaries) s.world.crash(id);
  s.world.crash(kStandbys[0]);
  s.world.crash(kStandbys[1]);
  s.world.run_for(10s);
  for (const auto id : kPrimaries) s.world.start(id);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader() && s.world.member(*s.world.leader())->cold_question() != 0; }, 10s)) << s.why();
  s.world.run_for(2s);
  ASSERT_NE(s.world.member(*s.world.leader())->cold_question(), 0u);
  EXPECT_FALSE(s.world.member(kStandbys[2])->status().primary_heard);
  auto read = s.world.read(kStandbys[2], "k1");
  ASSERT_TRUE(s.world.run_until([&] { return read->ended; }, 20s));
  EXPECT_FALSE(read->confirmed.ok()) << "confirmed by a region that may have been promoted away";
}

// Nor does it answer what was asked while nobody led.
TEST_F(ColdStart, WhatCameBeforeTheElectionIsNotServedEither) {
  for (std::uint64_t seed = 12; seed < 18; ++seed) {
    Story s(seed);
    ASSERT_TRUE(s.ready()) << s.why();
    cut(s);
    for (const auto id : kPrimaries) s.world.crash(id);
    ASSERT_TRUE(s.promote()) << s.why();
    for (const auto id : kPrimaries) s.world.start(id);
    std::vector<std::shared_ptr<sim::World::Put>> puts;
    std::vector<std::shared_ptr<sim::World::Read>> reads;
    for (int i = 0; i < 200; ++i) {
      for (const auto id : kPrimaries) {
        puts.push_back(s.world.client_put(id, "early" + std::to_string(i), "v"));
        reads.push_back(s.world.read(id, "k1"));
      }
      s.world.run_for(20ms);
    }
    ASSERT_TRUE(s.world.leader()) << s.why();
    s.world.run_for(5s);
    for (const auto& put : puts) ASSERT_FALSE(put->ended && put->outcome.end == Outcome::End::kApplied) << s.why();
    for (const auto& read : reads) ASSERT_FALSE(read->ended && read->confirmed.ok()) << s.why();
  }
}

// A client that has both regions in its list is not held up: whoever it asks
// says at once that another one is to be asked.
TEST_F(ColdStart, EveryMemberSendsItsClientsElsewhereAtOnce) {
  Story s(17);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  for (const auto id : kPrimaries) s.world.crash(id);
  for (const auto id : kPrimaries) s.world.start(id);
  // What comes before there is a leader waits for one, and no longer.
  std::vector<std::shared_ptr<sim::World::Read>> reads;
  std::vector<std::shared_ptr<sim::World::Put>> puts;
  for (const auto id : kPrimaries) reads.push_back(s.world.read(id, "k")), puts.push_back(s.world.client_put(id, "k", "v"));
  s.world.run_for(10ms);
  for (const auto& put : puts) ASSERT_FALSE(put->ended);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value(); }, 10s)) << s.why();
  s.world.run_for(200ms);
  for (const auto& read : reads) EXPECT_TRUE(read->ended && !read->confirmed.ok());
  for (const auto& put : puts) EXPECT_TRUE(put->ended && put->outcome.end == Outcome::End::kNotApplied);
  for (const auto id : kPrimaries) {
    EXPECT_TRUE(s.world.member(id)->status().start_wait) << id.value();
    const auto read = s.world.read(id, "k");
    const auto put = s.world.client_put(id, "k", "v");
    s.world.run_for(200ms);
    ASSERT_TRUE(read->ended && put->ended) << id.value();
    EXPECT_EQ(read->confirmed.error().code, Code::kUnavailable);
    EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
    EXPECT_EQ(put->outcome.error.message, node::kTryNextEndpoint);
  }
  s.world.network.heal();
  EXPECT_TRUE(serves_within(s, 5s)) << s.why();
}

TEST_F(ColdStart, WithTheArmedRegionsWordItServesAtOnce) {
  Story s(12);
  ASSERT_TRUE(s.ready()) << s.why();
  restart(s, kPrimaries);
  EXPECT_TRUE(serves_within(s, 5s)) << s.why();
}

// Nobody answers: after dr.start_wait an operator's patience counts.
TEST_F(ColdStart, WithoutItServesAfterTheWait) {
  Story s(13);
  s.world.adjust = [](node::MemberOptions& o) { o.limits.start_wait = 10s; };
  ASSERT_TRUE(s.ready()) << s.why();
  s.world.lose(GroupRole::kStandby);
  restart(s, kPrimaries);
  EXPECT_FALSE(serves_within(s, 9s));
  EXPECT_TRUE(serves_within(s, 5s)) << s.why();
}

// It heard the leader before, and could not have been left out of anything since.
TEST_F(ColdStart, AMemberThatKeptRunningVouchesForItsGroup) {
  Story s(14);
  ASSERT_TRUE(s.ready()) << s.why();
  s.world.lose(GroupRole::kStandby);
  restart(s, {kPrimaries[0], kPrimaries[1]});
  EXPECT_TRUE(serves_within(s, 5s)) << s.why();
}

// Two leaders in a row that did not serve vouch for nobody.
TEST_F(ColdStart, ALeaderThatDoesNotServeIsNotHeard) {
  Story s(15);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  for (const auto id : kPrimaries) s.world.crash(id);
  ASSERT_TRUE(s.promote()) << s.why();
  for (const auto id : kPrimaries) s.world.start(id);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value(); }, 10s)) << s.why();
    restart(s, {*s.world.leader()});
    EXPECT_FALSE(serves_within(s, 3s));
  }
}

// An answer to an earlier process, or of a group that is not the armed one.
TEST_F(ColdStart, AnotherQuestionsAnswerDoesNotCount) {
  Story s(16);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  restart(s, kPrimaries);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader() && s.world.member(*s.world.leader())->cold_question() != 0; }, 10s)) << s.why();
  auto* leader = s.world.member(*s.world.leader());
  const auto question = leader->cold_question();
  leader->cold_answer(question + 1, Epoch(1));
  leader->cold_answer(question, Epoch(2));
  EXPECT_EQ(leader->cold_question(), question);
  leader->cold_answer(question, Epoch(1));
  EXPECT_EQ(leader->cold_question(), 0u);
}

// --- lease mode ---

struct LeaseMode : Fencing {
  static sim::WorldOptions leased(std::uint64_t seed) {
    auto o = options(seed);
    o.fence_lease = 1s;
    return o;
  }
  static bool needs_stamps(Story& s) {
    const auto leader = s.world.leader();
    return leader && s.world.member(*leader)->stamp_wanted().has_value();
  }
  // By whatever is to be forced; nullopt: no answer yet.
  using Answer = std::shared_ptr<std::optional<Result<PromotionRecord>>>;
  static Answer ask_promotion(Story& s, NodeId id) {
    std::optional<Result<PromotionPlan>> plan;
    s.world.stream(id)->recovery().plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
    auto answer = std::make_shared<std::optional<Result<PromotionRecord>>>();
    if (!s.world.run_until([&] { return plan.has_value(); }, 5s) || !plan->ok()) return answer;
    PromotionRequest request{(*plan)->digest, true, "ada", "the region burns"};
    for (const auto& refusal : (*plan)->refusals) request.force.push_back(refusal.rule);
    s.world.stream(id)->recovery().promote(std::move(request), s.world.client_loop(), [answer](Result<PromotionRecord> r) { *answer = std::move(r); });
    return answer;
  }
  static bool promote(Story& s) {
    const auto id = *s.leader();
    const auto answer = ask_promotion(s, id);
    return s.world.run_until([&] { return answer->has_value(); }, 10s) && (*answer)->ok() &&
           s.world.run_until([&] { return s.world.member(id)->role() == GroupRole::kPrimary; }, 5s);
  }
  static bool cut_stands(Story& s) { return s.world.checkers.regions(GroupRole::kStandby).control().cut.has_value(); }
  // Whether a write sent to this member is acknowledged before `limit`.
  static bool acknowledged(Story& s, NodeId id, Duration limit) {
    auto put = s.world.client_put(id, "k", "v");
    s.world.run_until([&] { return put->ended; }, limit);
    return put->ended && put->outcome.end == Outcome::End::kApplied;
  }
};

TEST_F(LeaseMode, WithTheLinkUpEveryMemberAcknowledges) {
  Story s(leased(21));
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return needs_stamps(s); })) << s.why();
  s.world.run_for(1s);
  for (int i = 0; i < 3; ++i)
    for (const auto id : kPrimaries) EXPECT_TRUE(acknowledged(s, id, 1s)) << id.value() << s.why();
}

// The old primary keeps its majority, and nobody can tell it: it falls silent
// by itself before another region serves, whichever member is asked.
TEST_F(LeaseMode, NothingIsAcknowledgedOnceAnotherRegionServes) {
  for (const auto asked : kPrimaries) {
    Story s(leased(22));
    ASSERT_TRUE(s.ready()) << s.why();
    ASSERT_TRUE(s.world.run_until([&] { return needs_stamps(s); })) << s.why();
    s.world.run_for(1s);
    ASSERT_TRUE(acknowledged(s, asked, 1s)) << s.why();
    cut(s);
    EXPECT_TRUE(acknowledged(s, asked, 500ms)) << "the newest stamp is young still" << s.why();
    ASSERT_TRUE(promote(s)) << s.why();
    EXPECT_TRUE(serves(s, asked)) << "it was told nothing";
    EXPECT_FALSE(acknowledged(s, asked, 10s));
    EXPECT_FALSE(s.world.member(*s.world.leader())->read_now());
    s.puts(*s.leader(), 3);
  }
}

TEST_F(LeaseMode, WritesStopWithTheLinkAndGoOnWithIt) {
  Story s(leased(23));
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return needs_stamps(s); })) << s.why();
  s.world.run_for(1s);
  cut(s);
  s.world.run_for(1100ms);
  for (const auto id : kPrimaries) EXPECT_FALSE(acknowledged(s, id, 2s)) << id.value();
  for (const auto id : kPrimaries) {  // the other region may serve meanwhile
    const auto put = s.world.client_put(id, "k", "v");
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 1s)) << id.value();
    EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
    EXPECT_EQ(put->outcome.error.message, node::kTryNextEndpoint);
  }
  s.world.network.heal();
  s.world.run_for(1s);
  for (const auto id : kPrimaries) EXPECT_TRUE(acknowledged(s, id, 2s)) << id.value() << s.why();
}

TEST_F(LeaseMode, NoStampIsReturnedFromTheCutUntilThePromotionHasFailed) {
  Story s(leased(24));
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return needs_stamps(s); })) << s.why();
  s.world.run_for(1s);
  // While the primary lives, so that it shows whether it gets stamps.
  const auto first = *s.leader();
  const auto asked = ask_promotion(s, first);
  ASSERT_TRUE(s.world.run_until([&] { return cut_stands(s); }, 5s)) << s.why();
  s.world.run_for(600ms);
  EXPECT_FALSE(asked->has_value());
  const auto left = s.world.member(*s.world.leader())->status().fencing.remaining;
  ASSERT_TRUE(left);
  EXPECT_LT(*left, 450ms) << "the newest stamp is from before the Cut";
  s.world.crash(first);
  ASSERT_TRUE(s.world.run_until([&] { return s.leader() && *s.leader() != first && !cut_stands(s); }, 20s)) << s.why();
  s.world.run_for(1s);
  EXPECT_TRUE(acknowledged(s, *s.world.leader(), 2s)) << s.why();
  // And the lease is waited for in full by who begins again.
  s.world.start(first);
  s.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(promote(s)) << s.why();
  EXPECT_EQ(s.world.checkers.breach(), "");
}

TEST_F(LeaseMode, APromotionWhoseArmingEndsInTheWaitIsRefused) {
  Story s(leased(25));
  ASSERT_TRUE(s.ready()) << s.why();
  s.world.lose(GroupRole::kPrimary);
  s.world.run_for(6s);
  const auto leader = *s.leader();
  const auto asked = ask_promotion(s, leader);
  ASSERT_TRUE(s.world.run_until([&] { return cut_stands(s); }, 5s)) << s.why();
  const auto arming = s.world.checkers.regions(GroupRole::kStandby).armed()->arming;
  ASSERT_TRUE(s.world.propose(leader, EntryKind::kResigned, Epoch(), encode(region::Resigned{arming, Epoch(1)})).ok());
  ASSERT_TRUE(s.world.run_until([&] { return asked->has_value(); }, 20s)) << s.why();
  ASSERT_FALSE((*asked)->ok());
  EXPECT_EQ((*asked)->error().code, Code::kRefused) << (*asked)->error().message;
}

}  // namespace
}  // namespace leeward::standby
