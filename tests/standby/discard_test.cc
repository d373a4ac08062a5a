// The way back of a region that holds other history than its primary, in the same
// epoch: standby/PROTOCOL.md, "Where the histories differ below what their epochs say".
#include "region/ledger.h"
#include "story.h"

namespace leeward::standby {
namespace {

struct Discard : ::testing::Test {
  static std::string put_of(const std::string& key, const std::string& value) {
    const auto field = [](char tag, const std::string& v) { return std::string(1, tag) + static_cast<char>(v.size()) + v; };
    return field('\x0a', key) + field('\x12', value);
  }
  static Result<Index> plant(Story& s, EntryKind kind, std::uint32_t writes, std::string payload) {
    auto* m = s.world.member(*s.leader());
    raft::Proposal p;
    p.kind = kind;
    p.epoch = Epoch(1);
    p.writes = writes;
    p.payload = Bytes(std::move(payload));
    p.expected = extend(m->last().position, p.epoch, kind, writes, p.payload.view());
    return m->propose({&p, 1});
  }
  // Of a day that the primary, restored from a backup, knows nothing of. The link is down then.
  static void diverge(Story& s, int lost, int others) {
    s.link(false);
    s.world.run_for(1s);
    ASSERT_TRUE(s.leader());
    s.world.checkers.diverges(GroupRole::kStandby, s.world.member(*s.leader())->last());
    for (int i = 0; i < lost; ++i) {
      Command command;
      command.request = Bytes(put_of("lost", std::to_string(i)));
      ASSERT_TRUE(plant(s, EntryKind::kWrites, 1, encode_payload({command})).ok());
      s.world.run_for(2ms);
    }
    const auto end = s.world.member(*s.leader())->last().index;
    ASSERT_TRUE(s.world.run_until([&] { return all_applied(s, end); }, 10s)) << s.why();
    s.world.network.heal();
    s.world.run_for(1500ms);  // by lease the primary needs stamps for what comes
    s.puts(*s.world.leader(), others);
  }
  // What it found is what was planted.
  static void crash(Story& s, NodeId id) {
    s.world.crash(id);
    if (s.world.checkers.breach().ends_with("finds that the regions hold different histories")) (void)s.world.checkers.forgive();
  }
  static void shorten_logs(Story& s) {
    s.puts(*s.world.leader(), 400);
    const auto short_log = [&](NodeId id) { return s.world.member(id)->log().base().index > Index(); };
    ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up() && std::all_of(kStandbys.begin(), kStandbys.end(), short_log); }, 20s)) << s.why();
  }
  static void lose_checkpoints(Story& s, NodeId id) {
    crash(s, id);
    ASSERT_TRUE(s.world.disk(id).remove_all("/snapshots").ok());
    s.world.start(id);
    ASSERT_TRUE(s.world.run_until([&] { return s.world.member(id)->leader() != NodeId(); }, 20s)) << s.why();
  }
  static bool all_applied(Story& s, Index end) {
    return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return s.world.member(id) && s.world.member(id)->state().applied().point.index >= end; });
  }
  static const StreamClient* client(Story& s) { return s.leader() ? &s.world.stream(*s.leader())->client() : nullptr; }
  static bool stands_still(Story& s) {
    s.world.network.heal();
    return s.world.run_until([&] { return client(s) && client(s)->state() == StreamState::kDiverged && s.world.stream(*s.leader())->heard(s.world.clock(*s.leader()).now()); }, 20s);
  }
  using Answer = std::shared_ptr<std::optional<Result<RejoinRecord>>>;
  static Answer ask(Story& s, NodeId id, RejoinRequest request = {true, true, "ada"}) {
    auto answer = std::make_shared<std::optional<Result<RejoinRecord>>>();
    s.world.stream(id)->way_back().rejoin(std::move(request), s.world.client_loop(), [answer](Result<RejoinRecord> r) { *answer = std::move(r); });
    return answer;
  }
  static Result<RejoinRecord> discard(Story& s, NodeId id, RejoinRequest request = {true, true, "ada"}) {
    const auto answer = ask(s, id, std::move(request));
    if (!s.world.run_until([&] { return answer->has_value(); }, 60s)) return Error{Code::kDeadline, "no answer" + s.why()};
    return **answer;
  }
  static std::string refusal(Story& s, NodeId id, RejoinRequest request = {true, true, "ada"}) {
    const auto r = discard(s, id, std::move(request));
    if (r.ok()) return "done";
    return r.error().code == Code::kRefused ? r.error().message.substr(0, r.error().message.find(':')) : "not refused: " + r.error().message;
  }
  // An operator says so as often as it takes, to whoever leads; who is down is started.
  static bool discarded(Story& s, Duration limit = 90s) {
    Answer asked;
    return s.world.run_until(
        [&] {
          for (const auto id : kStandbys)
            if (!s.world.running(id)) s.world.start(id);
          if (const auto* c = client(s); c && c->state() == StreamState::kDiverged && (!asked || asked->has_value())) asked = ask(s, *s.leader());
          return followed(s) && s.world.caught_up();
        },
        limit);
  }
  static bool followed(Story& s) {
    return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) {
      auto* m = s.world.member(id);
      return m && m->regions() && m->regions()->control().followed_at > Index() && m->adoption().empty();
    });
  }
  static std::vector<std::string> in_ledger(Story& s, NodeId id) {
    std::vector<std::string> out;
    for (const auto& ledger : s.world.member(id)->regions()->control().ledgers) {
      auto reader = region::LedgerReader::open(s.world.disk(id), region::ledger_path("/data", ledger));
      if (!reader.ok()) return {};
      EXPECT_EQ(reader->head().ledger, ledger);
      for (auto entry = reader->next(); entry.ok() && *entry; entry = reader->next())
        if ((*entry)->kind == EntryKind::kWrites) {
          const auto commands = decode_payload((*entry)->payload.view(), (*entry)->writes);
          for (const auto& c : *commands) out.emplace_back(c.request);
        }
    }
    return out;
  }
  static std::vector<std::string> lost(int count) {
    std::vector<std::string> out;
    for (int i = 0; i < count; ++i) out.push_back(put_of("lost", std::to_string(i)));
    return out;
  }
  static void expect_one_history(Story& s) {
    ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 20s)) << s.why();
    for (const auto id : s.world.ids()) {
      EXPECT_FALSE(s.world.fatal(id)) << id.value() << ": " << s.world.fatal(id)->message;
      EXPECT_EQ(s.world.member(id)->state().applied().state_hash, s.world.member(kPrimaries[0])->state().applied().state_hash);
      EXPECT_EQ(s.world.peek(id, "lost"), s.world.peek(kPrimaries[0], "lost"));
    }
    EXPECT_EQ(s.world.checkers.breach(), "");
  }
};

TEST_F(Discard, WhatOnlyTheRegionHoldsIsInItsLedgerAndItFollows) {
  for (const auto& [lost_writes, others] : {std::pair{9, 30}, {30, 9}}) {  // beyond its end, and below
    SCOPED_TRACE(others);
    Story s(31);
    ASSERT_READY(s);
    const auto common = s.world.member(*s.leader())->last().position;
    EXPECT_EQ(refusal(s, *s.leader()), "not_diverged");
    ASSERT_NO_FATAL_FAILURE(diverge(s, lost_writes, others));
    ASSERT_TRUE(stands_still(s)) << s.why();
    EXPECT_EQ(refusal(s, *s.world.leader()), "primary");
    EXPECT_EQ(refusal(s, *s.leader(), {true, false, "ada"}), "accept_data_loss");
    EXPECT_EQ(refusal(s, *s.leader(), {false, true, "ada"}), "diverged");
    s.world.run_for(5s);
    EXPECT_TRUE(s.world.member(*s.leader())->regions()->control().ledgers.empty()) << "nobody has said so";
    const auto done = discard(s, *s.leader());
    ASSERT_TRUE(done.ok()) << done.error().message << s.why();
    EXPECT_TRUE(done->changed);
    ASSERT_EQ(done->ledgers.size(), 1u);
    EXPECT_EQ(done->ledgers[0].from, common) << "the highest that is common";
    EXPECT_EQ(done->ledgers[0].writes(), static_cast<std::uint64_t>(lost_writes));
    ASSERT_TRUE(s.world.run_until([&] { return followed(s); }, 20s)) << s.why();
    ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
    for (const auto id : kStandbys) EXPECT_EQ(in_ledger(s, id), lost(lost_writes));
    EXPECT_EQ(refusal(s, *s.leader()), "not_diverged");
    // It is a standby like any other: armed still, and it takes over.
    ASSERT_TRUE(s.world.run_until([&] { return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return s.world.stream(id)->pinger().verdict() == HashVerdict::kEqual; }); }, 5s)) << s.why();
    EXPECT_TRUE(s.world.checkers.regions(GroupRole::kStandby).armed());
    ASSERT_TRUE(s.promote()) << s.why();
    s.expect_it_serves();
  }
}

TEST_F(Discard, IsRefusedWhileNoPrimaryIsHeard) {
  Story s(32);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 5, 9));
  ASSERT_TRUE(stands_still(s)) << s.why();
  s.link(false);
  s.world.run_for(10s);
  EXPECT_EQ(refusal(s, *s.leader()), "primary_silent");
  s.world.network.heal();
  ASSERT_TRUE(discarded(s)) << s.why();
}

// What was heard of the primary was heard of by a group that stood elsewhere.
TEST_F(Discard, TheLagIsMeasuredAnew) {
  Story s(33);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 30, 60));
  ASSERT_TRUE(stands_still(s)) << s.why();
  const auto leader = *s.leader();
  ASSERT_TRUE(s.world.run_until([&] { return s.world.stream(leader)->pinger().verdict() == HashVerdict::kDifferent; }, 5s)) << s.why();
  (void)ask(s, leader);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.member(leader)->regions()->control().followed_at > Index(); }, 20s)) << s.why();
  s.link(false);
  s.world.run_for(100ms);
  EXPECT_FALSE(s.world.stream(leader)->pinger().meter().newest());
  EXPECT_EQ(s.world.stream(leader)->pinger().verdict(), HashVerdict::kNotCompared);
}

// Nor does that silence make its leader give way to another one.
TEST_F(Discard, TheLeaderStaysOverALongLink) {
  auto o = options(43);
  o.wan.delay_low = 150ms;
  o.wan.delay_high = 160ms;
  Story s(o);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 9, 30));
  ASSERT_TRUE(stands_still(s)) << s.why();
  s.world.run_for(5s);
  const auto leader = *s.leader();
  const auto term = s.world.member(leader)->term();
  const auto done = discard(s, leader);
  ASSERT_TRUE(done.ok()) << done.error().message << s.why();
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  EXPECT_EQ(s.leader(), leader);
  EXPECT_EQ(s.world.member(leader)->term(), term);
}

// --- where the search begins ---

// What stands before an Adopt leads to another state, and history indices jump there.
TEST_F(Discard, TheSearchBeginsBehindAnAdopt) {
  Story s(options(34, 4_KiB, 60));
  ASSERT_TRUE(s.ready()) << s.why();
  s.puts(*s.world.leader(), 20);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 20s)) << s.why();
  s.link(false);
  s.puts(*s.world.leader(), 600);
  s.world.run_for(3s);
  s.world.network.heal();
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up() && s.world.checkers.adoptions() > 0; }, 60s)) << s.why();
  auto* m = s.world.member(*s.leader());
  const auto adopted = m->log().point(m->leapt());
  ASSERT_TRUE(adopted.ok());
  ASSERT_LT(m->log().base().index, m->leapt()) << "its log reaches below still";
  const auto common = m->last().position;
  ASSERT_NO_FATAL_FAILURE(diverge(s, 8, 3));
  ASSERT_TRUE(stands_still(s)) << s.why();
  ASSERT_TRUE(discarded(s)) << s.why();
  const auto ledgers = s.world.member(*s.leader())->regions()->control().ledgers;
  ASSERT_EQ(ledgers.size(), 1u);
  EXPECT_EQ(ledgers[0].from, common);
  EXPECT_GE(ledgers[0].from.index, adopted->position.index);
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
}

// Again and again: an earlier Follow stands in the log.
TEST_F(Discard, TheSearchBeginsBehindAnEarlierFollow) {
  Story s(35);
  ASSERT_READY(s);
  for (std::size_t again = 1; again <= 3; ++again) {
    SCOPED_TRACE(again);
    ASSERT_NO_FATAL_FAILURE(diverge(s, 20, 7));
    ASSERT_TRUE(stands_still(s)) << s.why();
    ASSERT_TRUE(s.leader());
    const auto done = discard(s, *s.leader());
    ASSERT_TRUE(done.ok()) << done.error().message << s.why();
    ASSERT_EQ(done->ledgers.size(), again);
    EXPECT_EQ(done->ledgers.back().writes(), 20u);
    ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  }
}

// --- by lease ---

TEST_F(Discard, ByLeaseTheRegionGivesItsArmingUpFirst) {
  auto o = options(36);
  o.fence_lease = 1s;
  Story s(o);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 12, 5));
  ASSERT_TRUE(stands_still(s)) << s.why();
  EXPECT_EQ(refusal(s, *s.leader()), "lease");
  EXPECT_EQ(s.world.member(*s.leader())->regions()->control().followed_at, Index());
  s.puts(*s.world.leader(), 3);  // it needs this region's stamps, and gets them
  // Nor does the log take such an entry from anybody.
  const auto* log = s.world.member(*s.leader())->regions_of_log();
  const region::Follow follow{log->history().epochs, {}, {}, true};
  EXPECT_TRUE(refused_by(s.world.propose(*s.leader(), EntryKind::kFollow, Epoch(), region::encode(follow)), "armed by lease"));
  const auto primary = *s.world.leader();
  std::optional<Result<HandoverState>> disarmed;
  s.world.stream(primary)->handover().disarm(false, s.world.client_loop(), [&](Result<HandoverState> r) { disarmed = std::move(r); });
  ASSERT_TRUE(s.world.run_until([&] { return disarmed.has_value(); }, 20s)) << s.why();
  ASSERT_TRUE(disarmed->ok()) << disarmed->error().message;
  s.puts(primary, 3);
  ASSERT_TRUE(discarded(s)) << s.why();
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  s.puts(*s.world.leader(), 3);
  for (const auto id : kStandbys) EXPECT_EQ(in_ledger(s, id), lost(12));
}

// No primary waits for the stamps of an arming that it never made.
TEST_F(Discard, AnArmingThatOnlyItsOwnHistoryHoldsGoesWithIt) {
  Story s(37);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 3, 0));
  const auto* regions = s.world.member(*s.leader())->regions();
  const auto group = regions->control().group;
  ASSERT_TRUE(plant(s, EntryKind::kDisarmed, 0, region::encode(region::Disarmed{regions->armed_group()->arming, std::nullopt, true})).ok());
  ASSERT_TRUE(plant(s, EntryKind::kArmed, 0, region::encode(region::Armed{77, group, "west", region::FenceMode::kLease, 1s, true})).ok());
  s.world.run_for(100ms);
  s.puts(*s.world.leader(), 9);
  ASSERT_TRUE(stands_still(s)) << s.why();
  ASSERT_TRUE(s.world.member(*s.leader())->regions()->armed());
  const auto done = discard(s, *s.leader());
  ASSERT_TRUE(done.ok()) << done.error().message;
  const auto& resigned = s.world.member(*s.leader())->regions()->control().resigned;
  EXPECT_TRUE(std::any_of(resigned.begin(), resigned.end(), [](const auto& r) { return r.arming == 77; }));
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
}

// --- a promotion meanwhile ---

TEST_F(Discard, APromotionThatPlannedMoreThanIsLeftIsRefused) {
  auto o = options(38);
  o.fence_lease = 1s;
  Story s(o);
  ASSERT_READY(s);
  const auto common = s.world.member(*s.leader())->last().position;
  ASSERT_NO_FATAL_FAILURE(diverge(s, 12, 5));
  ASSERT_TRUE(stands_still(s)) << s.why();
  s.world.run_for(1s);
  s.link(false);
  s.world.run_for(7s);
  const auto leader = *s.leader();
  auto& recovery = s.world.stream(leader)->recovery();
  std::optional<Result<PromotionPlan>> plan;
  recovery.plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
  ASSERT_TRUE(s.world.run_until([&] { return plan.has_value(); }, 10s) && plan->ok()) << s.why();
  PromotionRequest request{(*plan)->digest, true, "ada", "mine is right"};
  for (const auto& r : (*plan)->refusals) request.force.push_back(r.rule);
  EXPECT_EQ(request.force, std::vector<std::string>{"corruption"});
  std::optional<Result<PromotionRecord>> record;
  recovery.promote(std::move(request), s.world.client_loop(), [&](Result<PromotionRecord> r) { record = std::move(r); });
  const auto waits = [&] {
    const auto step = s.world.member(leader)->status().promotion;
    return step && step->step == PromotionStep::kLease;
  };
  ASSERT_TRUE(s.world.run_until(waits, 10s)) << s.why();
  // Another operator has the region go back, while the lease is waited out.
  auto* m = s.world.member(leader);
  const auto arming = m->regions_of_log()->armed()->arming;
  std::vector<raft::Proposal> proposals(2);
  proposals[0].kind = EntryKind::kResigned;
  proposals[0].payload = Bytes(region::encode(region::Resigned{arming, Epoch(1)}));
  proposals[1].kind = EntryKind::kFollow;
  proposals[1].payload = Bytes(region::encode(region::Follow{{}, common, common, true}));
  ASSERT_TRUE(m->propose(proposals).ok());
  ASSERT_TRUE(s.world.run_until([&] { return record.has_value(); }, 20s)) << s.why();
  ASSERT_FALSE(record->ok());
  EXPECT_EQ(record->error().code, Code::kRefused);
  EXPECT_NE(record->error().message.find("plan_changed: "), std::string::npos) << record->error().message;
  EXPECT_TRUE(s.epochs(leader).empty());
  s.world.network.heal();
  ASSERT_TRUE(s.world.run_until([&] { return followed(s); }, 20s)) << s.why();
}

// --- watches ---

struct DiscardWatches : Discard {
  static std::unique_ptr<Watcher> watch(Story& s, NodeId id, std::int64_t start) {
    WatchRequest request;
    request.key = "a";
    request.range_end = std::string(1, '\0');
    request.start = Revision(start);
    auto watcher = s.world.member(id)->state().watch(request, [] {});
    EXPECT_TRUE(watcher.ok());
    return std::move(*watcher);
  }
  // Takes all that there is; where it ended as compacted.
  static std::optional<Revision> drain(Watcher& w) {
    std::optional<Revision> compacted;
    for (auto events = w.poll(1_MiB); events; events = w.poll(1_MiB)) {
      if (events->compacted) compacted = events->compacted;
      EXPECT_EQ(events->cancel_reason, "");
    }
    return compacted;
  }
  struct Watches {
    std::unique_ptr<Watcher> told, behind, far, unread;
  };
  // As they are begun while the region stands still.
  static Watches begin(Story& s, NodeId id) {
    const auto at = s.world.member(id)->state().applied().revision.value();
    Watches w{watch(s, id, 1), watch(s, id, at + 1), watch(s, id, at + 1000), watch(s, id, 1)};
    EXPECT_FALSE(drain(*w.told));
    EXPECT_EQ(w.told->synced(), Revision(at));
    return w;
  }
  static void expect_ended(Watches& w, NodeId id) {
    EXPECT_TRUE(drain(*w.told)) << id.value();
    EXPECT_TRUE(drain(*w.behind)) << id.value();
    EXPECT_TRUE(drain(*w.far)) << id.value();
  }
};

TEST_F(DiscardWatches, ThatKnowMoreThanTheCommonPositionEndAsCompacted) {
  Story s(39);
  ASSERT_READY(s);
  const auto revision = s.world.member(*s.leader())->state().applied().revision;
  ASSERT_NO_FATAL_FAILURE(diverge(s, 12, 40));
  ASSERT_TRUE(stands_still(s)) << s.why();
  std::map<NodeId, Watches> watches;
  for (const auto id : kStandbys) watches.emplace(id, begin(s, id));
  ASSERT_TRUE(discarded(s)) << s.why();
  for (auto& [id, w] : watches) {
    expect_ended(w, id);
    EXPECT_FALSE(drain(*w.unread)) << "it was told of nothing";
    EXPECT_EQ(w.unread->synced(), s.world.member(id)->state().applied().revision);
  }
  auto again = watch(s, kStandbys[0], revision.value() + 1);
  EXPECT_FALSE(drain(*again));
}

// Its revision may be beyond that of before: nothing in it tells that it went back.
TEST_F(DiscardWatches, EndAlsoWhereACopyOfStateComesInstead) {
  Story s(options(40, 4_KiB, 60));
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(shorten_logs(s));
  ASSERT_NO_FATAL_FAILURE(diverge(s, 9, 100));
  const auto victim = s.followers()[0];
  ASSERT_NO_FATAL_FAILURE(lose_checkpoints(s, victim));
  ASSERT_TRUE(stands_still(s)) << s.why();
  s.world.run_for(3s);
  auto w = begin(s, victim);
  const auto before = s.world.member(victim)->state().applied().revision;
  const auto adoptions = s.world.checkers.adoptions();
  ASSERT_TRUE(discarded(s)) << s.why();
  ASSERT_GT(s.world.checkers.adoptions(), adoptions) << "by a copy";
  EXPECT_GT(s.world.member(victim)->state().applied().revision, before);
  expect_ended(w, victim);
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  for (const auto id : kStandbys) EXPECT_EQ(in_ledger(s, id), lost(9)) << id.value();
}

TEST_F(DiscardWatches, EndAtAMemberThatWasCutOffAndComesBackByASnapshot) {
  Story s(41);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 12, 40));
  ASSERT_TRUE(stands_still(s)) << s.why();
  const auto victim = s.followers()[0];
  auto w = begin(s, victim);
  s.cut_off(victim);
  const auto done = discard(s, *s.leader());
  ASSERT_TRUE(done.ok()) << done.error().message << s.why();
  s.puts(*s.world.leader(), 20);
  s.world.run_for(2s);
  s.world.network.heal();
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  expect_ended(w, victim);
}

// --- whatever happens in the middle ---

TEST_F(Discard, MembersThatCrashInTheMiddleGoOnFromThere) {
  const auto seed = number("LEEWARD_SEED", 50);
  for (auto at = seed; at < seed + number("LEEWARD_RUNS", 8); ++at) {
    SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(at) + " LEEWARD_RUNS=1");
    const bool by_copy = at % 2 == 1;  // a member's checkpoints are gone
    Story s(by_copy ? options(at, 4_KiB, 60) : options(at));
    ASSERT_READY(s);
    if (by_copy) {
      ASSERT_NO_FATAL_FAILURE(shorten_logs(s));
    }
    ASSERT_NO_FATAL_FAILURE(diverge(s, 30, 20 + static_cast<int>(at % 3) * 10));
    if (by_copy) {
      ASSERT_NO_FATAL_FAILURE(lose_checkpoints(s, s.followers()[0]));
    }
    ASSERT_TRUE(stands_still(s)) << s.why();
    (void)ask(s, *s.leader());
    const auto until = s.world.scheduler.now() + 2s;
    while (s.world.scheduler.now() < until) {
      s.world.run_for(s.world.dice.between(0ms, 80ms));
      ASSERT_EQ(s.world.checkers.breach(), "");
      const auto victim = kStandbys[s.world.dice.below(kStandbys.size())];
      if (s.world.running(victim)) crash(s, victim);
      else s.world.start(victim);
      if (const auto* c = client(s); c && c->state() == StreamState::kDiverged) (void)ask(s, *s.leader());
    }
    ASSERT_TRUE(discarded(s)) << s.why();
    int whole = 0;
    for (const auto id : kStandbys) whole += in_ledger(s, id) == lost(30) ? 1 : 0;
    EXPECT_GE(whole, 2);
    ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
  }
}

TEST_F(Discard, APrimaryThatHoldsLessIsNamed) {
  Story s(42);
  ASSERT_READY(s);
  ASSERT_NO_FATAL_FAILURE(diverge(s, 12, 0));
  s.world.run_for(5s);
  const auto status = s.world.member(*s.leader())->status();
  EXPECT_NE(status.stream_state.find("12 entries"), std::string::npos) << status.stream_state;
  EXPECT_EQ(refusal(s, *s.leader()), "not_diverged");
  s.puts(*s.world.leader(), 1);
  ASSERT_TRUE(stands_still(s)) << s.why();
  ASSERT_TRUE(discarded(s)) << s.why();
  ASSERT_NO_FATAL_FAILURE(expect_one_history(s));
}

}  // namespace
}  // namespace leeward::standby
