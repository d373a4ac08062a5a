// The way back of a region that was primary, or is ahead of a fork:
// standby/PROTOCOL.md, "The way back".
#include "region/ledger.h"
#include "story.h"

namespace leeward::standby {
namespace {

using node::Outcome;

struct Follow : ::testing::Test {
  static void cut(Story& s) {
    for (const auto a : kPrimaries) s.world.network.isolate(a, kStandbys);
  }
  static GroupRole role(Story& s, NodeId id) {
    auto* m = s.world.member(id);
    return m ? m->role() : GroupRole::kUnknown;
  }
  static bool all(Story& s, const std::vector<NodeId>& ids, GroupRole wanted) {
    return std::all_of(ids.begin(), ids.end(), [&](NodeId id) { return role(s, id) == wanted; });
  }
  // Writes that the old primary acknowledges and nobody else ever hears of.
  static void lose_writes(Story& s, int count) {
    cut(s);
    s.puts(*s.world.leader(), count);
  }
  static void promote_and_heal(Story& s) {
    ASSERT_TRUE(s.promote()) << s.why();
    s.puts(*s.leader(), 7);
    s.world.network.heal();
    ASSERT_TRUE(s.world.run_until([&] { return all(s, kPrimaries, GroupRole::kFenced); }, 10s)) << s.why();
  }
  // An operator says so to whoever leads, as often as it takes.
  static bool rejoined(Story& s, Duration limit = 20s) {
    return s.world.run_until(
        [&] {
          for (const auto id : kPrimaries)
            if (!s.world.running(id)) s.world.start(id);
          if (const auto leader = s.world.leader(); leader && role(s, *leader) == GroupRole::kFenced)
            s.world.stream(*leader)->rejoin();
          return all(s, kPrimaries, GroupRole::kStandby) && s.world.caught_up();
        },
        limit);
  }
  // What the newest promotion lost, as that member's history has it.
  static std::optional<KnownLoss> measured(Story& s, NodeId id) {
    const auto status = s.world.stream(id)->recovery().status();
    return status.ok() && !status->history.empty() ? status->history.back().measured : std::nullopt;
  }
  static bool all_measured(Story& s) {
    const auto knows = [&](NodeId id) { return measured(s, id).has_value(); };
    return s.world.run_until([&] { return std::all_of(kStandbys.begin(), kStandbys.end(), knows) && std::all_of(kPrimaries.begin(), kPrimaries.end(), knows); }, 10s);
  }
  static std::vector<std::string> values_in_ledger(Story& s, NodeId id) {
    std::vector<std::string> values;
    auto* m = s.world.member(id);
    for (const auto& ledger : m->regions()->control().ledgers) {
      auto reader = region::LedgerReader::open(s.world.disk(id), region::ledger_path("/data", ledger));
      if (!reader.ok()) {  // it came by a snapshot: others of its group have it
        EXPECT_EQ(reader.error().code, Code::kNotFound) << reader.error().message;
        return {};
      }
      EXPECT_EQ(reader->head().ledger, ledger);
      for (;;) {
        auto entry = reader->next();
        if (!entry.ok()) {
          ADD_FAILURE() << entry.error().message;
          return values;
        }
        if (!*entry) break;
        if ((*entry)->kind != EntryKind::kWrites) continue;
        const auto commands = decode_payload((*entry)->payload.view(), (*entry)->writes);
        for (const auto& c : *commands) values.emplace_back(c.request);
      }
    }
    return values;
  }

  // The region that serves is lost with some writes; the other one takes over, and it
  // comes back. The groups are named by what they began as.
  static void there_and_back(Story& s, GroupRole& serving, GroupRole& waiting) {
    const auto& old = serving == GroupRole::kPrimary ? kPrimaries : kStandbys;
    const auto& next = serving == GroupRole::kPrimary ? kStandbys : kPrimaries;
    ASSERT_TRUE(s.world.run_until([&] { return s.world.leader(waiting) && s.world.checkers.regions(waiting).armed() && s.world.caught_up(); }, 30s))
        << s.why();
    s.puts(*s.world.leader(serving), 5);
    ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 10s)) << s.why();
    cut(s);
    s.puts(*s.world.leader(serving), 4);
    const auto epoch = s.world.member(old[0])->epoch();
    ASSERT_TRUE(s.world.run_until(
        [&] {
          const auto leader = s.world.leader(waiting);
          if (leader && role(s, *leader) == GroupRole::kStandby) (void)s.world.propose(*leader, s.world.change_at(*leader));
          return all(s, next, GroupRole::kPrimary);
        },
        20s))
        << s.why();
    s.puts(*s.world.leader(waiting), 3);
    s.world.network.heal();
    ASSERT_TRUE(s.world.run_until(
        [&] {
          if (const auto leader = s.world.leader(serving); leader && role(s, *leader) == GroupRole::kFenced)
            s.world.stream(*leader)->rejoin();
          return all(s, old, GroupRole::kStandby) && s.world.caught_up();
        },
        30s))
        << s.why();
    EXPECT_EQ(s.world.member(next[0])->epoch(), epoch + 1);
    std::swap(serving, waiting);
  }
};

TEST_F(Follow, AnOldPrimaryPutsAsideWhatItAloneHoldsAndFollows) {
  Story s(1);
  ASSERT_READY(s);
  lose_writes(s, 9);
  promote_and_heal(s);
  s.world.run_for(10s);
  ASSERT_TRUE(all(s, kPrimaries, GroupRole::kFenced)) << "nobody has told it to" << s.why();
  ASSERT_TRUE(rejoined(s)) << s.why();
  for (const auto id : kPrimaries) {
    EXPECT_EQ(values_in_ledger(s, id).size(), 9u);
    EXPECT_TRUE(s.world.member(id)->regions()->control().ledgers[0].complete());
    EXPECT_EQ(s.epochs(id), s.epochs(kStandbys[0]));
    EXPECT_EQ(s.world.member(id)->state().applied().state_hash, s.world.member(kStandbys[0])->state().applied().state_hash);
  }
  // The promotion's record tells what it lost, in both regions.
  ASSERT_TRUE(all_measured(s)) << s.why();
  const auto ledger = s.world.member(kPrimaries[0])->regions()->control().ledgers[0];
  for (const auto& ids : {kPrimaries, kStandbys})
    for (const auto id : ids)
      EXPECT_EQ(measured(s, id), (KnownLoss{9, ledger.to.index.value() - ledger.from.index.value(), ledger.to.bytes - ledger.from.bytes}));
  s.puts(*s.leader(), 5);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.member(kPrimaries[0])->status().primary_heard; }, 5s)) << s.why();
  s.puts(kPrimaries[0], 5);  // passed on
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 10s)) << s.why();
}

// Each region has its own history behind the fork, and they are not to be compared.
TEST_F(Follow, AFencedRegionThatHoldsOtherHistoryIsNotTakenForADamagedOne) {
  Story s(5);
  ASSERT_READY(s);
  lose_writes(s, 9);
  ASSERT_TRUE(s.promote()) << s.why();
  s.puts(*s.leader(), 30);
  s.world.network.heal();
  ASSERT_TRUE(s.world.run_until([&] { return all(s, kPrimaries, GroupRole::kFenced); }, 10s)) << s.why();
  s.world.run_for(3s);
  std::optional<Result<PromotionPlan>> plan;  // asks the primary how far it is, and tells it the own hash
  s.world.stream(*s.world.leader())->recovery().plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
  ASSERT_TRUE(s.world.run_until([&] { return plan.has_value(); }, 20s)) << s.why();
  for (const auto id : kStandbys) EXPECT_EQ(s.world.stream(id)->probe().hash_different.get(), 0u) << id.value();
  ASSERT_TRUE(rejoined(s)) << s.why();
  std::uint64_t equal = 0;
  for (const auto id : kStandbys) {
    EXPECT_EQ(s.world.stream(id)->probe().hash_different.get(), 0u) << id.value();
    equal += s.world.stream(id)->probe().hash_equal.get();
  }
  s.puts(*s.leader(), 5);
  s.world.run_for(2s);
  std::uint64_t later = 0;
  for (const auto id : kStandbys) later += s.world.stream(id)->probe().hash_equal.get();
  EXPECT_GT(later, equal) << "from when it follows they are";
}

TEST_F(Follow, WithNothingToPutAsideItsStateStaysAsItIs) {
  Story s(2);
  ASSERT_READY(s);
  cut(s);
  promote_and_heal(s);
  s.world.run_for(5s);
  ASSERT_TRUE(all(s, kPrimaries, GroupRole::kFenced)) << "nobody has told it to" << s.why();
  ASSERT_TRUE(rejoined(s)) << s.why();
  for (const auto id : kPrimaries) EXPECT_TRUE(s.world.member(id)->regions()->control().ledgers.empty());
}

// It was planned, and all of it was handed over.
TEST_F(Follow, AfterASealItFollowsByItself) {
  Story s(4);
  ASSERT_READY(s);
  const auto armed = s.world.checkers.regions(GroupRole::kStandby).armed();
  ASSERT_TRUE(s.world.propose(*s.world.leader(), EntryKind::kSeal, Epoch(1),
                              region::encode(region::Seal{77, armed->group, armed->arming})).ok());
  ASSERT_TRUE(s.world.run_until(
      [&] {
        const auto leader = s.leader();
        if (leader && role(s, *leader) == GroupRole::kStandby)
          (void)s.world.propose(*leader, s.world.change_at(*leader, region::Ending::kSealed));
        return all(s, kPrimaries, GroupRole::kStandby) && s.world.caught_up();
      },
      20s))
      << s.why();
  EXPECT_TRUE(all(s, kStandbys, GroupRole::kPrimary));
  for (const auto id : kPrimaries) EXPECT_TRUE(s.world.member(id)->regions()->control().ledgers.empty());
  s.puts(*s.leader(), 3);
  ASSERT_TRUE(all_measured(s)) << s.why();
  EXPECT_EQ(measured(s, kPrimaries[0]), KnownLoss{});
}

// At whatever step: what a crash leaves is begun again, and nobody is lost.
TEST_F(Follow, MembersThatCrashInTheMiddleGoOnFromThere) {
  const auto seed = number("LEEWARD_SEED", 10);
  for (auto at = seed; at < seed + number("LEEWARD_RUNS", 8); ++at) {
    SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(at) + " LEEWARD_RUNS=1");
    Story s(at);
    ASSERT_READY(s);
    lose_writes(s, 30);
    promote_and_heal(s);
    if (HasFatalFailure()) return;
    s.world.stream(*s.world.leader())->rejoin();
    const auto until = s.world.scheduler.now() + 1s;
    while (s.world.scheduler.now() < until) {
      s.world.run_for(s.world.dice.between(0ms, 40ms));
      const auto victim = kPrimaries[s.world.dice.below(kPrimaries.size())];
      if (s.world.running(victim))
        s.world.crash(victim);
      else
        s.world.start(victim);
      if (const auto leader = s.world.leader()) s.world.stream(*leader)->rejoin();
    }
    ASSERT_TRUE(rejoined(s, 60s)) << s.why();
    int whole = 0;
    for (const auto id : kPrimaries) whole += values_in_ledger(s, id).size() == 30 ? 1 : 0;
    EXPECT_GE(whole, 2);
    ASSERT_EQ(s.world.checkers.breach(), "");
  }
}

// The budget of the log took what lies between the common position and the
// oldest checkpoint: no member can go back, nor knows all that it puts aside.
TEST_F(Follow, AGroupWhoseLogBeginsAboveTheForkTakesACopyOfState) {
  Story s(options(11, 4_KiB, 60));
  ASSERT_READY(s);
  lose_writes(s, 400);
  s.world.run_for(3s);  // the log is released now and then
  promote_and_heal(s);
  ASSERT_TRUE(rejoined(s, 60s)) << s.why();
  const auto serves = s.world.member(kStandbys[0])->state().applied();
  int hold_it = 0;
  for (const auto id : kPrimaries) {
    auto* m = s.world.member(id);
    EXPECT_EQ(m->state().applied().state_hash, serves.state_hash);
    EXPECT_EQ(s.epochs(id), s.epochs(kStandbys[0]));
    ASSERT_EQ(m->regions()->control().ledgers.size(), 1u);
    const auto& ledger = m->regions()->control().ledgers[0];
    EXPECT_EQ(ledger.survived_at, HistoryIndex());
    EXPECT_FALSE(ledger.complete());
    EXPECT_GT(ledger.kept.index, ledger.from.index);
    const auto put_aside = values_in_ledger(s, id).size();
    if (put_aside == 0) continue;  // its own log began higher still
    EXPECT_EQ(put_aside, ledger.to.writes - ledger.kept.writes);
    ++hold_it;
  }
  EXPECT_GE(hold_it, 1);
  s.puts(*s.leader(), 5);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 10s)) << s.why();
  s.world.crash(kPrimaries[0]);
  s.world.start(kPrimaries[0]);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 10s)) << s.why();
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// Both regions began an epoch of their own, and both logs have dropped where: who
// goes back knows it as the beginning of the epoch that it alone has.
TEST_F(Follow, WhereNeitherLogReachesDownToTheForkItsEpochSaysWhatStoodThere) {
  Story s(options(12, 4_KiB, 60));
  ASSERT_READY(s);
  lose_writes(s, 5);
  ASSERT_TRUE(s.promote()) << s.why();
  s.puts(*s.leader(), 400);
  region::EpochChange change;
  ASSERT_TRUE(s.world.run_until([&] {
    if (all(s, kPrimaries, GroupRole::kPrimary) && s.world.member(kPrimaries[0])->epoch() == Epoch(3)) return true;
    const auto leader = s.world.leader();
    if (!leader || s.world.member(*leader)->epoch() != Epoch(1)) return false;
    change = s.world.change_at(*leader, region::Ending::kForced);
    change.epoch = Epoch(3);  // the operator knows of the second one
    (void)s.world.propose(*leader, change);
    return false;
  }, 10s)) << s.why();
  s.puts(*s.world.leader(), 400);
  s.world.run_for(3s);  // the logs are released now and then
  const auto fork = s.epochs(kStandbys[0]).back().fork.index;
  for (const auto id : s.world.ids()) ASSERT_GT(s.world.member(id)->log().base().position.index, fork);
  s.world.network.heal();
  ASSERT_TRUE(s.world.run_until([&] {
    if (const auto leader = s.leader(); leader && role(s, *leader) == GroupRole::kFenced) s.world.stream(*leader)->rejoin();
    return all(s, kStandbys, GroupRole::kStandby) && s.world.caught_up();
  }, 60s)) << s.why();
  for (const auto id : kStandbys) EXPECT_EQ(s.epochs(id), s.epochs(kPrimaries[0]));
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// The others could: the group takes a copy all the same, and nobody is left behind.
TEST_F(Follow, AMemberWhoseCheckpointsAreGoneGetsACopyOfState) {
  for (const bool leads : {false, true}) {
    SCOPED_TRACE(leads);
    Story s(options(12, 4_KiB, 60));
    ASSERT_READY(s);
    s.puts(*s.world.leader(), 400);
    ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up() && s.world.member(kPrimaries[0])->log().base().index > Index(); }, 20s)) << s.why();
    lose_writes(s, 9);
    promote_and_heal(s);
    if (HasFatalFailure()) return;
    auto victim = *s.world.leader();
    if (!leads) victim = kPrimaries[0] == victim ? kPrimaries[1] : kPrimaries[0];
    s.world.crash(victim);
    ASSERT_TRUE(s.world.disk(victim).remove_all("/snapshots").ok());
    s.world.start(victim);
    ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value() && s.world.member(victim)->leader(); }, 20s)) << s.why();
    const auto led_by_victim = [&] {  // a leader refuses to hand over to one that lags
      const auto leader = s.world.leader();
      if (leader && leader != victim) s.world.member(*leader)->transfer_leadership(victim);
      return leader == victim;
    };
    ASSERT_TRUE(!leads || s.world.run_until(led_by_victim, 20s)) << s.why();
    ASSERT_TRUE(rejoined(s, 60s)) << s.why();
    for (const auto id : kPrimaries) {
      EXPECT_EQ(s.world.member(id)->state().applied().state_hash, s.world.member(kStandbys[0])->state().applied().state_hash);
      EXPECT_EQ(values_in_ledger(s, id).size(), 9u) << "its log has it";
      EXPECT_TRUE(s.world.member(id)->regions()->control().ledgers[0].complete());
    }
    EXPECT_EQ(s.world.checkers.breach(), "");
  }
}

// What a promotion lost is worth as many copies as the group has members.
TEST_F(Follow, AMemberWithoutALedgersFileTakesItFromAnother) {
  Story s(options(21));
  ASSERT_READY(s);
  lose_writes(s, 1500);  // more than a piece holds
  promote_and_heal(s);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(rejoined(s, 60s)) << s.why();
  const auto ledger = s.world.member(kPrimaries[0])->regions()->control().ledgers.at(0);
  const auto path = region::ledger_path("/data", ledger);
  const auto whole = values_in_ledger(s, kPrimaries[0]);
  ASSERT_EQ(whole.size(), 1500u);
  // One member's file is damaged, in the middle: what it gives does not chain.
  auto file = s.world.disk(kPrimaries[0]).open(path, OpenMode::kReadWrite);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->write((*file)->size().value() - 100, "damage").ok());
  file->reset();
  const auto lacks = kPrimaries[1];
  s.world.crash(lacks);
  ASSERT_TRUE(s.world.disk(lacks).remove_all("/data/ledgers").ok());
  s.world.start(lacks);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.disk(lacks).exists(path); }, 60s)) << s.why();
  EXPECT_EQ(values_in_ledger(s, lacks), whole);
  // As does one with an empty disk.
  s.world.wipe(kPrimaries[2]);
  s.world.start(kPrimaries[2]);
  const auto knows = [&] {
    const auto* regions = s.world.member(kPrimaries[2])->regions();
    return regions && !regions->control().ledgers.empty();
  };
  ASSERT_TRUE(s.world.run_until(knows, 90s)) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return s.world.disk(kPrimaries[2]).exists(path); }, 5s)) << "at once, " << s.why();
  EXPECT_EQ(values_in_ledger(s, kPrimaries[2]), whole);
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// Its file still calls it a member of the primary; until the state is here it cannot
// know better, and what waited so long for the state is not to be answered from it.
TEST_F(Follow, AMemberOnAnEmptyDiskAnswersNoReadOfARegionThatHearsNoPrimary) {
  Story s(options(22, 4_KiB, 60));
  ASSERT_READY(s);
  lose_writes(s, 5);
  promote_and_heal(s);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(rejoined(s, 60s)) << s.why();
  s.puts(*s.leader(), 300);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 20s)) << s.why();
  s.world.run_for(2s);
  s.link(false);
  s.puts(*s.leader(), 20);  // what no member of the other region has
  const auto empty = kPrimaries[0] == s.world.leader() ? kPrimaries[1] : kPrimaries[0];
  s.world.wipe(empty);
  s.world.start(empty);
  std::vector<std::shared_ptr<std::optional<Result<void>>>> reads;
  const auto knows = [&] { return s.world.member(empty)->role() == GroupRole::kStandby; };
  for (int i = 0; i < 200 && !knows(); ++i) {
    reads.push_back(std::make_shared<std::optional<Result<void>>>());
    s.world.member(empty)->read_barrier(std::nullopt, s.world.client_loop(), [read = reads.back()](Result<void> r) { *read = std::move(r); });
    s.world.run_for(20ms);
  }
  ASSERT_TRUE(s.world.run_until(knows, 20s)) << s.why();
  s.world.run_for(10s);
  EXPECT_GT(reads.size(), 3u);
  for (const auto& read : reads) {
    ASSERT_TRUE(read->has_value());
    EXPECT_FALSE((*read)->ok());
  }
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// One of three could not go back and waits for a copy; the region that has it burns, and
// the others are promoted: no copy comes any more.
TEST_F(Follow, AMemberWithoutAStateWhoseGroupIsPromotedDoesNotLeadAndComesBackOnAnEmptyDisk) {
  Story s(options(12, 4_KiB, 60));
  ASSERT_READY(s);
  s.puts(*s.world.leader(), 400);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up() && s.world.member(kPrimaries[0])->log().base().index > Index(); }, 20s)) << s.why();
  lose_writes(s, 9);
  promote_and_heal(s);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value(); }, 20s)) << s.why();
  const auto victim = kPrimaries[0] == s.world.leader() ? kPrimaries[1] : kPrimaries[0];
  s.world.crash(victim);
  ASSERT_TRUE(s.world.disk(victim).remove_all("/snapshots").ok());
  s.world.start(victim);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader() && s.world.member(victim)->leader(); }, 20s)) << s.why();
  const auto waits = [&] {
    if (const auto leader = s.world.leader(); leader && role(s, *leader) == GroupRole::kFenced) s.world.stream(*leader)->rejoin();
    return s.world.leader() && s.world.member(*s.world.leader())->without_state().size() == 1;
  };
  ASSERT_TRUE(s.world.run_until(waits, 20s)) << s.why();
  for (const auto id : kStandbys) s.world.crash(id);
  s.world.run_for(15s);
  const auto leader = s.world.leader();
  ASSERT_TRUE(leader && *leader != victim) << s.why();
  std::optional<Result<PromotionPlan>> plan;
  s.world.stream(*leader)->recovery().plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
  ASSERT_TRUE(s.world.run_until([&] { return plan.has_value(); }, 20s));
  ASSERT_TRUE(plan->ok()) << plan->error().message;
  PromotionRequest request{(*plan)->digest, true, "ada", "the region burns"};
  for (const auto& refusal : (*plan)->refusals) request.force.push_back(refusal.rule);
  std::optional<Result<PromotionRecord>> done;
  s.world.stream(*leader)->recovery().promote(std::move(request), s.world.client_loop(), [&](Result<PromotionRecord> r) { done = std::move(r); });
  ASSERT_TRUE(s.world.run_until([&] { return done.has_value(); }, 30s));
  ASSERT_TRUE(done->ok()) << done->error().message;
  s.world.run_for(2s);
  EXPECT_NE(s.world.member(victim)->adoption().find("member admit"), std::string::npos) << s.world.member(victim)->adoption();
  s.world.member(*s.world.leader())->transfer_leadership(victim);
  s.world.run_for(5s);
  EXPECT_NE(s.world.leader(), victim);
  s.world.wipe(victim);
  s.world.start(victim);
  const auto admitted = [&] {
    if (const auto now = s.world.leader(); now && !s.world.member(victim)->status().admitted)
      s.world.member(*now)->admit(victim, s.world.client_loop(), [](Result<bool>) {});
    s.world.run_for(500ms);
    return s.world.member(victim)->status().admitted;
  };
  ASSERT_TRUE(s.world.run_until(admitted, 60s)) << s.why();
  ASSERT_TRUE(s.world.run_until([&] {
    return s.world.member(victim)->state().applied().state_hash == s.world.member(*s.world.leader())->state().applied().state_hash;
  }, 30s)) << s.why();
}

// It has gone back and has nothing to go back to: an epoch begun here nobody could apply.
TEST_F(Follow, AGroupThatWaitsForACopyOfStateIsNotPromotedAndGoesOnWhenItComes) {
  auto o = options(103, 4_KiB, 60);
  o.wan.delay_low = 100ms;
  o.wan.delay_high = 110ms;
  Story s(o);
  ASSERT_READY(s);
  lose_writes(s, 600);
  promote_and_heal(s);
  if (HasFatalFailure()) return;
  const auto waits = [&] {
    if (const auto leader = s.world.leader(); leader && s.world.member(*leader)->role() == GroupRole::kFenced) s.world.stream(*leader)->rejoin();
    return s.world.leader() && s.world.member(*s.world.leader())->without_state().size() > 1;
  };
  ASSERT_TRUE(s.world.run_until(waits, 20s)) << s.why();
  for (const auto id : kStandbys) s.world.crash(id);
  s.world.run_for(15s);
  std::optional<Result<PromotionPlan>> plan;
  s.world.stream(*s.world.leader())->recovery().plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
  ASSERT_TRUE(s.world.run_until([&] { return plan.has_value(); }, 20s));
  ASSERT_TRUE(plan->ok()) << plan->error().message;
  EXPECT_TRUE(std::any_of((*plan)->refusals.begin(), (*plan)->refusals.end(), [](const auto& r) { return r.rule == "no_state" && !r.forceable; }));
  for (const auto id : kStandbys) s.world.start(id);
  ASSERT_TRUE(s.world.run_until([&] { return s.leader() && s.world.caught_up(); }, 90s)) << s.why();
  EXPECT_EQ(s.world.checkers.breach(), "");
}

TEST_F(Follow, TenPromotionsAndReturnsInARowLeaveOneHistory) {
  Story s(3);
  ASSERT_READY(s);
  auto serving = GroupRole::kPrimary, waiting = GroupRole::kStandby;
  for (int cycle = 0; cycle < 10; ++cycle) {
    SCOPED_TRACE(cycle);
    ASSERT_NO_FATAL_FAILURE(there_and_back(s, serving, waiting));
  }
  for (const auto id : s.world.ids()) {
    EXPECT_EQ(s.epochs(id).size(), 10u);
    EXPECT_EQ(s.world.member(id)->state().applied().state_hash, s.world.member(NodeId(1))->state().applied().state_hash);
  }
  for (const auto& ids : {kPrimaries, kStandbys})
    for (const auto id : ids) EXPECT_EQ(values_in_ledger(s, id).size(), 20u);
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// The whole log is there, and yet it does not lead from its beginning to a place
// behind a Follow that took something back.
TEST_F(Follow, AnEarlierWayBackIsNotReplayed) {
  for (const bool space : {true, false}) {
    SCOPED_TRACE(space ? "a new checkpoint can be made" : "none can: it waits for a copy");
    Story s(23);
    ASSERT_READY(s);
    auto serving = GroupRole::kPrimary, waiting = GroupRole::kStandby;
    ASSERT_NO_FATAL_FAILURE(there_and_back(s, serving, waiting));
    const auto victim = kPrimaries[1];
    ASSERT_EQ(s.world.member(victim)->log().base().index, Index());
    s.world.crash(victim);
    ASSERT_TRUE(s.world.disk(victim).remove_all("/snapshots").ok());
    if (!space) s.world.disk(victim).refuse_writes("/snapshots");
    s.world.start(victim);
    for (int again = 0; again < 2; ++again) ASSERT_NO_FATAL_FAILURE(there_and_back(s, serving, waiting));
    EXPECT_EQ(values_in_ledger(s, victim).size(), 8u);
    for (const auto id : s.world.ids()) {
      EXPECT_FALSE(s.world.fatal(id)) << s.world.fatal(id)->message;
      EXPECT_EQ(s.world.member(id)->state().applied().state_hash, s.world.member(NodeId(1))->state().applied().state_hash);
    }
    EXPECT_EQ(s.world.checkers.breach(), "");
  }
}

}  // namespace
}  // namespace leeward::standby
