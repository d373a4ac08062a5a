// A planned switchover, and what takes it back: real members of two regions in
// the simulator, with clients that know both regions' endpoints.
#include "standby/switchover.h"

#include <gtest/gtest.h>

#include "proto/rpc.pb.h"
#include "standby/forwarding.h"
#include "story.h"
#include "support/sanitized.h"

namespace leeward::standby {
namespace {

using node::Outcome;

// Clients that write without a pause, each at one node until that says, in the
// words on which etcd's client goes to its next endpoint, that it should.
class Writers {
 public:
  Writers(Story& s, std::vector<NodeId> at, int each = 2) : s_(s) {
    for (const auto id : at)
      for (int i = 0; i < each; ++i) writers_.push_back({static_cast<int>(writers_.size()), id});
    for (auto& w : writers_) next(w);
  }
  void stop() { run_ = false; }
  bool idle() const { return std::all_of(writers_.begin(), writers_.end(), [](const Writer& w) { return !w.put; }); }
  // Runs some time; each time a put ends the next one begins.
  bool run_until(const std::function<bool()>& done, Duration limit = 30s) {
    return s_.world.run_until([&] { look(); return done(); }, limit);
  }
  void look() {
    for (auto& w : writers_) {
      if (!w.put) continue;
      if (!w.put->ended) {
        longest = std::max(longest, s_.world.scheduler.now() - w.begun);
        // Its node died with it: nobody will ever answer.
        if (w.starts != starts[w.at]) next(w, true);
        continue;
      }
      const auto& o = w.put->outcome;
      if (o.end == Outcome::End::kApplied) {
        kept[w.key] = w.value;
        ++applied;
      } else if (o.end == Outcome::End::kNotApplied && o.error.message == kTryNextEndpoint) {
        ++moved;
        w.at = NodeId(w.at.value() % 6 + 1);
      } else {
        if (o.end == Outcome::End::kUnknown) ++unknown;
        errors.push_back("node " + std::to_string(w.at.value()) + ": " + o.error.message);
      }
      next(w, o.end == Outcome::End::kUnknown);
    }
  }
  std::string first_error() const { return errors.empty() ? "" : errors.front(); }

  std::map<std::string, std::string> kept;  // acknowledged: the newest value of each key
  std::map<NodeId, int> starts;             // to be raised by who kills a node
  std::vector<std::string> errors;
  std::size_t unknown = 0;  // of them: it may have been done
  int applied = 0, moved = 0;
  Duration longest{};

 private:
  struct Writer {
    int id = 0;
    NodeId at;
    int n = 0, starts = 0;
    std::string key, value;
    Instant begun{};
    std::shared_ptr<sim::World::Put> put;
  };
  // A put of which nobody knows may come after the next one: that has another key.
  void next(Writer& w, bool unknown = false) {
    w.put = nullptr;
    if (unknown) w.n += 3 - w.n % 3;
    if (!run_) return;
    while (!s_.world.running(w.at)) {
      w.at = NodeId(w.at.value() % 6 + 1);
      if (std::none_of(starts_all().begin(), starts_all().end(), [&](NodeId id) { return s_.world.running(id); })) return;
    }
    w.starts = starts[w.at];
    w.key = "w" + std::to_string(w.id) + "-" + std::to_string(w.n / 3);
    w.value = std::to_string(w.id) + "/" + std::to_string(w.n++);
    w.begun = s_.world.scheduler.now();
    w.put = s_.world.client_put(w.at, w.key, w.value);
  }
  std::vector<NodeId> starts_all() const { return s_.world.ids(); }

  Story& s_;
  std::vector<Writer> writers_;
  bool run_ = true;
};

struct Asked {
  std::optional<Result<SwitchoverRecord>> answer;
};
std::shared_ptr<Asked> switch_over(Story& s, NodeId at, std::string to = "") {
  auto asked = std::make_shared<Asked>();
  s.world.stream(at)->handover().switchover({std::move(to), "ada", "a rehearsal"}, s.world.client_loop(),
                                            [asked](Result<SwitchoverRecord> r) { asked->answer = std::move(r); });
  return asked;
}
using State = std::optional<Result<HandoverState>>;
std::shared_ptr<State> take_back(Story& s, NodeId at) {
  auto asked = std::make_shared<State>();
  s.world.stream(at)->handover().abort(s.world.client_loop(), [asked](Result<HandoverState> r) { *asked = std::move(r); });
  return asked;
}
std::shared_ptr<State> arm(Story& s, NodeId at, std::string to = "") {
  auto asked = std::make_shared<State>();
  s.world.stream(at)->handover().arm(std::move(to), s.world.client_loop(), [asked](Result<HandoverState> r) { *asked = std::move(r); });
  return asked;
}
std::shared_ptr<State> disarm(Story& s, NodeId at, bool force = false) {
  auto asked = std::make_shared<State>();
  s.world.stream(at)->handover().disarm(force, s.world.client_loop(), [asked](Result<HandoverState> r) { *asked = std::move(r); });
  return asked;
}

// Fenced first, and following in a moment.
bool handed_over(Story& s) {
  return std::all_of(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) {
    auto* m = s.world.member(id);
    return m && (m->role() == GroupRole::kFenced || m->role() == GroupRole::kStandby);
  });
}
void cut_regions(Story& s) {
  s.world.network.cut_regions("east", "west");
  s.world.network.cut_regions("west", "east");
}
bool ready(Story& s) {
  if (!s.ready()) return false;
  s.puts(*s.world.leader(), 20);
  // Until the state hashes were compared, and the reports of that are here.
  s.world.run_for(2s);
  return s.world.run_until([&] { return s.world.caught_up(); }, 20s);
}
std::vector<region::EpochChange> changes(Story& s, NodeId id) {
  std::vector<region::EpochChange> out;
  for (const auto& entry : s.world.member(id)->state().region_entries())
    if (entry.kind == EntryKind::kEpochChange) out.push_back(*region::decode_epoch_change(entry.payload.view()));
  return out;
}

void expect_kept(Story& s, const Writers& w, NodeId at) {
  for (const auto& [key, value] : w.kept) {
    const auto found = s.world.peek(at, key);
    ASSERT_TRUE(found) << key << " is lost at node " << at.value() << s.why();
    EXPECT_EQ(*found, value) << key << " at node " << at.value() << s.why();
  }
}

// --- it is done ---

TEST(Switchover, NoWriteIsRefusedAndNoneIsLost) {
  for (std::uint64_t seed = 1; seed <= (test::kSanitized ? 2u : 6u); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Story s(seed);
    ASSERT_TRUE(ready(s)) << s.why();
    Writers w(s, s.world.ids());
    ASSERT_TRUE(w.run_until([&] { return w.applied > 100; })) << s.why();
    const auto before = w.applied;
    const auto asked = switch_over(s, *s.world.leader());
    ASSERT_TRUE(w.run_until([&] { return asked->answer.has_value(); }, 10s)) << s.why();
    ASSERT_TRUE(asked->answer->ok()) << asked->answer->error().message;
    const auto& record = **asked->answer;
    EXPECT_EQ(record.epoch, Epoch(2));
    EXPECT_EQ(record.region, "west");
    EXPECT_EQ(record.leader, *s.leader());
    EXPECT_EQ(record.first_revision.value(), record.fork_revision.value() + 1);
    ASSERT_EQ(record.steps.size(), 3u);
    EXPECT_LT(record.paused, 1s);
    ASSERT_TRUE(w.run_until([&] { return handed_over(s) && s.all_turned() && w.applied > before + 100; })) << s.why();
    w.stop();
    ASSERT_TRUE(w.run_until([&] { return w.idle(); })) << s.why();
    EXPECT_TRUE(w.errors.empty()) << w.errors.size() << ", the first: " << w.first_error();
    EXPECT_LT(w.longest, 1500ms);
    s.world.run_for(1s);
    for (const auto id : kStandbys) expect_kept(s, w, id);
    const auto kept = changes(s, NodeId(4));
    ASSERT_EQ(kept.size(), 1u);
    EXPECT_EQ(kept[0].ending, region::Ending::kSealed);
    EXPECT_EQ(kept[0].by, "ada");
    EXPECT_EQ(kept[0].reason, "a rehearsal");
    EXPECT_EQ(kept[0].announced, region::Loss{});
    // The old one had all of it, and follows.
    ASSERT_TRUE(s.world.settle()) << s.why();
    for (const auto id : kPrimaries) {
      EXPECT_EQ(s.world.member(id)->role(), GroupRole::kStandby);
      EXPECT_TRUE(s.world.member(id)->regions()->control().ledgers.empty());
      expect_kept(s, w, id);
    }
  }
}

// Its leader raises it again, should it still be so.
TEST(Switchover, AnAlarmEndsWithTheEpochThatRaisedIt) {
  Story s(7);
  ASSERT_TRUE(ready(s)) << s.why();
  auto raised = std::make_shared<std::optional<Result<bool>>>();
  s.world.member(*s.world.leader())->alarm(NodeId(1), true, s.world.client_loop(), [raised](Result<bool> r) { *raised = std::move(r); });
  ASSERT_TRUE(s.world.run_until([&] { return s.world.member(NodeId(2))->status().over_quota.size() == 1; })) << s.why();
  const auto there = switch_over(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return there->answer.has_value(); }, 10s)) << s.why();
  ASSERT_TRUE(there->answer->ok()) << there->answer->error().message;
  ASSERT_TRUE(s.world.run_until([&] {
    return std::all_of(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) {
      return s.world.member(id)->role() == GroupRole::kStandby && s.world.member(id)->status().over_quota.empty();
    });
  }, 30s)) << s.why();
}

// It turns from primary to standby while its log is applied again, and nobody
// confirms to a standby what was asked of a primary.
TEST(Switchover, AReadAtAMemberThatWasAwayEndsWhenItsLogSaysThatItFollows) {
  Story s(8);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto away = kPrimaries[0] == *s.world.leader() ? kPrimaries[1] : kPrimaries[0];
  s.world.kill(away);
  s.world.run_for(1s);
  const auto there = switch_over(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return there->answer.has_value(); }, 10s)) << s.why();
  ASSERT_TRUE(there->answer->ok()) << there->answer->error().message;
  s.puts(*s.leader(), 50);
  s.world.start(away);
  struct Read {
    Instant begun{};
    std::optional<Duration> took;
  };
  std::vector<std::shared_ptr<Read>> reads;
  for (int i = 0; i < 200; ++i) {
    auto read = std::make_shared<Read>();
    read->begun = s.world.scheduler.now();
    reads.push_back(read);
    s.world.member(away)->read_barrier(std::nullopt, s.world.client_loop(),
                                       [read, &s](Result<void>) { read->took = s.world.scheduler.now() - read->begun; });
    s.world.run_for(10ms);
  }
  ASSERT_TRUE(s.world.run_until([&] { return std::all_of(reads.begin(), reads.end(), [](const auto& r) { return r->took.has_value(); }); }, 30s));
  for (const auto& read : reads) EXPECT_LT(*read->took, 4s);
}

TEST(Switchover, ReadsAndKeepAlivesWaitToo) {
  Story s(11);
  ASSERT_TRUE(ready(s)) << s.why();
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(7);
  grant.set_ttl(20);
  bool granted = false;
  Command command;
  command.op = Op::kLeaseGrant;
  command.request = Bytes(grant.SerializeAsString());
  s.world.service(*s.world.leader())->propose(std::move(command), std::nullopt, s.world.client_loop(), [&](Outcome) { granted = true; });
  ASSERT_TRUE(s.world.run_until([&] { return granted && s.world.caught_up(); })) << s.why();
  cut_regions(s);
  const auto asked = switch_over(s, *s.world.leader());
  s.world.run_for(300ms);
  EXPECT_TRUE(s.world.member(NodeId(1))->sealed());
  std::vector<std::shared_ptr<sim::World::Read>> reads;
  std::vector<std::shared_ptr<std::optional<Result<std::int64_t>>>> alive;
  for (const auto id : kPrimaries) {
    EXPECT_FALSE(s.world.service(id)->read_now());
    reads.push_back(s.world.read(id, "k19"));
    alive.push_back(std::make_shared<std::optional<Result<std::int64_t>>>());
    s.world.service(id)->keep_alive(7, s.world.client_loop(), [a = alive.back()](Result<std::int64_t> r) { *a = std::move(r); });
  }
  s.world.run_for(1s);
  for (const auto& read : reads) EXPECT_FALSE(read->ended);
  for (const auto& a : alive) EXPECT_FALSE(a->has_value());
  s.world.network.heal_regions();
  ASSERT_TRUE(s.world.run_until([&] {
    return asked->answer && std::all_of(reads.begin(), reads.end(), [](auto& r) { return r->ended; }) &&
           std::all_of(alive.begin(), alive.end(), [](auto& a) { return a->has_value(); });
  }, 5s)) << s.why();
  EXPECT_TRUE(asked->answer->ok()) << asked->answer->error().message;
  // Reads have an error that clients repeat elsewhere; keep-alives are passed on.
  for (const auto& read : reads) EXPECT_EQ(read->confirmed.error().code, Code::kUnavailable);
  for (const auto& a : alive) {
    ASSERT_TRUE((*a)->ok()) << (*a)->error().message;
    EXPECT_EQ(***a, 20);
  }
}

TEST(Switchover, WhoDoesNotLeadNamesWhoDoesAndAStandbySaysThatItFollows) {
  Story s(12);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto leader = *s.world.leader();
  for (const auto id : s.world.ids()) {
    if (id == leader) continue;
    const auto asked = switch_over(s, id);
    ASSERT_TRUE(s.world.run_until([&] { return asked->answer.has_value(); }));
    ASSERT_FALSE(asked->answer->ok());
    EXPECT_EQ(asked->answer->error().code, Code::kUnavailable) << "certainly not begun";
    const std::string named = id.value() <= 3 ? "node " + std::to_string(leader.value()) + " leads" : "this region follows";
    EXPECT_NE(asked->answer->error().message.find(named), std::string::npos) << asked->answer->error().message;
  }
  EXPECT_FALSE(s.world.member(leader)->sealed());
}

// A follower that lags has not seen the end of what it passed on to its leader
// when it is told of the new epoch: what stands before the Seal is not lost.
TEST(Switchover, AMemberThatLagsTellsWhatItAppliesBeforeTheSeal) {
  for (std::uint64_t seed = 13; seed < 17; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Story s(seed);
    ASSERT_TRUE(ready(s)) << s.why();
    const auto leader = *s.world.leader();
    const auto behind = leader == NodeId(3) ? NodeId(2) : NodeId(3);
    auto put = s.world.client_put(behind, "late", "v");
    ASSERT_TRUE(s.world.run_until([&] { return s.world.member(leader)->last().index > s.world.member(behind)->last().index; })) << s.why();
    s.world.network.cut(leader, behind);
    const auto asked = switch_over(s, leader);
    ASSERT_TRUE(s.world.run_until([&] { return s.world.member(behind)->role() == GroupRole::kFenced; }, 5s)) << s.why();
    s.world.run_for(20ms);
    EXPECT_FALSE(put->ended);
    s.world.network.heal();
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 1s)) << s.why();
    EXPECT_EQ(put->outcome.end, Outcome::End::kApplied) << put->outcome.error.message;
    ASSERT_TRUE(s.world.run_until([&] { return s.all_turned(); }, 5s)) << s.why();
    EXPECT_EQ(s.world.peek(*s.leader(), "late"), "v");
  }
}

TEST(Switchover, ByLeaseItIsTheSame) {
  auto o = options(number("LEEWARD_SEED", 18));
  o.fence_lease = 1s;
  Story s(o);
  ASSERT_TRUE(ready(s)) << s.why();
  Writers w(s, s.world.ids());
  ASSERT_TRUE(w.run_until([&] { return w.applied > 100; })) << s.why();
  const auto before = w.applied;
  const auto asked = switch_over(s, *s.world.leader());
  ASSERT_TRUE(w.run_until([&] { return asked->answer && handed_over(s) && s.all_turned() && w.applied > before + 100; }, 20s)) << s.why();
  ASSERT_TRUE(asked->answer->ok()) << asked->answer->error().message;
  EXPECT_LT((*asked->answer)->paused, 500ms) << "no lease is waited for";
  w.stop();
  ASSERT_TRUE(w.run_until([&] { return w.idle(); })) << s.why();
  // Of what was under way at a member of the old primary it cannot tell.
  EXPECT_EQ(w.errors.size(), w.unknown) << "the first: " << w.first_error();
  EXPECT_LE(w.unknown, 12u);
  s.world.run_for(1s);  // another member may have applied the last ones first
  expect_kept(s, w, *s.leader());
}

// --- it is refused ---

std::string refusal(Story& s, std::string to = "") {
  const auto asked = switch_over(s, *s.world.leader(), std::move(to));
  if (!s.world.run_until([&] { return asked->answer.has_value(); }, 100ms)) return "begun";
  if (asked->answer->ok()) return "done";
  const auto& e = asked->answer->error();
  return e.code == Code::kRefused ? e.message.substr(0, e.message.find(':')) : "not refused: " + e.message;
}

TEST(SwitchoverRules, ARegionThatLagsOrDoesNotFollowTakesNothingOver) {
  Story s(21);
  ASSERT_TRUE(ready(s)) << s.why();
  EXPECT_EQ(refusal(s, "south"), "no_such_region");
  cut_regions(s);
  s.world.run_for(1500ms);
  for (int i = 0; i < 3; ++i) s.puts(*s.world.leader(), 1);
  s.world.run_for(1200ms);
  EXPECT_EQ(refusal(s), "lag");
  s.world.run_for(3s);
  EXPECT_EQ(refusal(s), "not_following");
  s.puts(*s.world.leader(), 1);
  EXPECT_FALSE(s.world.member(NodeId(1))->sealed());
}

TEST(SwitchoverRules, ARegionThatHasNotReportedOrIsNotWellTakesNothingOver) {
  Story s(22);
  ASSERT_TRUE(s.ready()) << s.why();
  EXPECT_EQ(refusal(s), "not_following") << "nobody over there has said a word yet";
  ASSERT_TRUE(ready(s)) << s.why();
  auto& group = *s.world.member(*s.world.leader());
  const auto armed = *armed_group(group.state());
  StandbyProbe probe;
  Outbox outbox(group, probe);
  Followers followers(group, outbox);
  followers.tick(group.clock().now(), survey(group));
  followers.told({armed.region, armed.group, group.committed().position, 0});
  std::vector<NamedCheck> checks;
  Switchover switchover(group, outbox, probe.promotions, followers, {}, [&] { return checks; });
  const auto refused = [&] {
    std::string why = "begun";
    switchover.begin({}, [&](Result<SwitchoverRecord> r) { why = r.ok() ? "done" : r.error().message; });
    return why.substr(0, why.find(':'));
  };
  for (const auto check : kChecks) checks.push_back({std::string(check), true, ""});
  for (auto& check : checks) {
    if (check.check == "armed" || check.check == "lag") continue;  // judged here
    check.ok = false;
    EXPECT_EQ(refused(), check.check);
    check.ok = true;
  }
  EXPECT_FALSE(group.sealed());
  EXPECT_EQ(refused(), "begun");
}

TEST(SwitchoverRules, OneIsEnough) {
  Story s(23);
  ASSERT_TRUE(ready(s)) << s.why();
  cut_regions(s);
  const auto asked = switch_over(s, *s.world.leader());
  s.world.run_for(50ms);
  EXPECT_EQ(refusal(s), "sealed");
  s.world.network.heal_regions();
  ASSERT_TRUE(s.world.run_until([&] { return asked->answer.has_value(); }, 10s)) << s.why();
  EXPECT_TRUE(asked->answer->ok());
}

// --- it is taken back ---

TEST(SwitchoverAbort, WhatTakesTooLongIsTakenBackAndWhoWaitedIsServed) {
  Story s(31);
  ASSERT_TRUE(ready(s)) << s.why();
  Writers w(s, kPrimaries);
  ASSERT_TRUE(w.run_until([&] { return w.applied > 50; })) << s.why();
  cut_regions(s);
  const auto asked = switch_over(s, *s.world.leader());
  ASSERT_TRUE(w.run_until([&] { return s.world.member(NodeId(1))->sealed(); }, 1s)) << s.why();
  const auto begun = s.world.scheduler.now();
  ASSERT_FALSE(w.run_until([&] { return asked->answer.has_value(); }, 5100ms));
  const auto before = w.applied;
  s.world.network.heal_regions();
  ASSERT_TRUE(w.run_until([&] { return asked->answer.has_value(); }, 3s)) << s.why();
  ASSERT_FALSE(asked->answer->ok());
  EXPECT_NE(asked->answer->error().message.find("taken back"), std::string::npos) << asked->answer->error().message;
  ASSERT_TRUE(w.run_until([&] { return w.applied > before + 100; })) << s.why();
  w.stop();
  ASSERT_TRUE(w.run_until([&] { return w.idle(); })) << s.why();
  EXPECT_TRUE(w.errors.empty()) << w.errors.size() << ", the first: " << w.first_error();
  EXPECT_GE(w.longest, 5s);
  EXPECT_LT(s.world.scheduler.now() - begun, 20s);
  EXPECT_EQ(s.world.member(NodeId(1))->epoch(), Epoch(1));
  ASSERT_TRUE(s.world.settle()) << s.why();
  expect_kept(s, w, NodeId(5));
}

TEST(SwitchoverAbort, AnOperatorNeedNotWait) {
  Story s(32);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto none = take_back(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return none->has_value(); }));
  EXPECT_NE((*none)->error().message.find("not_sealed"), std::string::npos);
  cut_regions(s);
  const auto asked = switch_over(s, *s.world.leader());
  s.world.run_for(200ms);
  const auto back = take_back(s, *s.world.leader());
  s.world.run_for(500ms);
  EXPECT_FALSE(back->has_value()) << "nobody over there has said so";
  s.world.network.heal_regions();
  ASSERT_TRUE(s.world.run_until([&] { return back->has_value() && asked->answer; }, 5s)) << s.why();
  ASSERT_TRUE((*back)->ok()) << (*back)->error().message;
  EXPECT_EQ((**back)->state, "serving");
  EXPECT_FALSE(asked->answer->ok());
  s.puts(*s.world.leader(), 3);
  ASSERT_TRUE(s.world.settle()) << s.why();
  EXPECT_TRUE(changes(s, NodeId(4)).empty());
  // And then once more, to its end.
  s.world.run_for(2s);
  const auto again = switch_over(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return again->answer.has_value(); }, 10s)) << s.why();
  EXPECT_TRUE(again->answer->ok()) << again->answer->error().message;
}

// The change is in the other group's log: it has decided.
TEST(SwitchoverAbort, WhatHasBecomeAnEpochIsNotTakenBack) {
  Story s(33);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto leader = *s.world.leader();
  const auto asked = switch_over(s, leader);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.member(*s.leader())->role_at_end() == GroupRole::kPrimary; }, 5s)) << s.why();
  const auto back = take_back(s, leader);
  ASSERT_TRUE(s.world.run_until([&] { return back->has_value() && asked->answer; }, 5s)) << s.why();
  ASSERT_FALSE((*back)->ok());
  EXPECT_NE((*back)->error().message.find("activated"), std::string::npos) << (*back)->error().message;
  EXPECT_TRUE(asked->answer->ok());
}

// The leader that had the change is lost with it; the next one is told first
// that the Seal is not wanted any more.
TEST(SwitchoverAbort, AChangeThatWasLostWithItsLeaderIsTakenBack) {
  Story s(34);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto old = *s.leader();
  for (const auto id : s.followers()) {
    s.world.network.cut(old, id);
    s.world.network.cut(id, old);
  }
  const auto asked = switch_over(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return s.world.member(old)->role_at_end() == GroupRole::kPrimary; }, 5s)) << s.why();
  const auto back = take_back(s, *s.world.leader());
  s.world.run_for(200ms);
  s.world.crash_hard(old);
  ASSERT_TRUE(s.world.run_until([&] { return back->has_value(); }, 10s)) << s.why();
  ASSERT_TRUE((*back)->ok()) << (*back)->error().message;
  s.world.network.heal();
  s.world.start(old);
  s.puts(*s.world.leader(), 3);
  ASSERT_TRUE(s.world.settle()) << s.why();
  EXPECT_TRUE(changes(s, NodeId(4)).empty());
}

// --- arming by hand ---

bool armed(Story& s) { return armed_group(s.world.member(*s.world.leader())->state()).has_value(); }

TEST(ArmingByHand, WhoIsDisarmedHasResignedAndStaysSo) {
  Story s(41);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto off = disarm(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return off->has_value(); }, 5s)) << s.why();
  ASSERT_TRUE((*off)->ok()) << (*off)->error().message;
  EXPECT_TRUE((**off)->changed);
  EXPECT_EQ((**off)->armed_region, "");
  EXPECT_FALSE(s.world.checkers.regions(GroupRole::kStandby).control().resigned.empty()) << "by its own log";
  s.world.run_for(10s);
  EXPECT_FALSE(armed(s)) << "nobody is armed again by itself";
  EXPECT_EQ(refusal(s), "not_armed");
  // Nor by another leader.
  s.world.crash(*s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value(); }, 20s)) << s.why();
  s.world.run_for(5s);
  EXPECT_FALSE(armed(s));
  const auto again = disarm(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return again->has_value(); }, 5s)) << s.why();
  EXPECT_FALSE((**again)->changed);
  const auto on = arm(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return on->has_value(); }, 5s)) << s.why();
  ASSERT_TRUE((*on)->ok()) << (*on)->error().message;
  EXPECT_EQ((**on)->armed_region, "west");
  EXPECT_FALSE(armed_group(s.world.member(*s.world.leader())->state())->unguarded);
  ASSERT_TRUE(s.world.settle()) << s.why();
}

TEST(ArmingByHand, ADisarmingWithoutTheOtherRegionsWordDoesNothing) {
  Story s(42);
  ASSERT_TRUE(ready(s)) << s.why();
  cut_regions(s);
  const auto off = disarm(s, *s.world.leader());
  ASSERT_TRUE(s.world.run_until([&] { return off->has_value(); }, 15s)) << s.why();
  ASSERT_FALSE((*off)->ok());
  EXPECT_NE((*off)->error().message.find("--force"), std::string::npos) << (*off)->error().message;
  EXPECT_TRUE(armed(s));
}

TEST(ArmingByHand, AResignationThatALeaderDidNotLiveToHearIsFoundByTheNext) {
  Story s(43);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto leader = *s.world.leader();
  (void)disarm(s, leader);
  ASSERT_TRUE(s.world.run_until([&] { return !s.world.checkers.regions(GroupRole::kStandby).control().resigned.empty(); }, 5s)) << s.why();
  ASSERT_TRUE(armed(s)) << "it was told too soon: another seed";
  s.world.crash(leader);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader() && !armed(s); }, 20s)) << s.why();
  s.world.start(leader);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 20s)) << s.why();
}

TEST(ArmingByHand, ForcedItLeavesTheEpochUnguarded) {
  Story s(44);
  ASSERT_TRUE(ready(s)) << s.why();
  cut_regions(s);
  const auto off = disarm(s, *s.world.leader(), true);
  ASSERT_TRUE(s.world.run_until([&] { return off->has_value(); }, 5s)) << s.why();
  ASSERT_TRUE((*off)->ok()) << (*off)->error().message;
  s.world.network.heal_regions();
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up(); }, 20s)) << s.why();
  s.world.run_for(3s);
  EXPECT_FALSE(armed(s));
  const auto on = arm(s, *s.world.leader(), "west");
  ASSERT_TRUE(s.world.run_until([&] { return on->has_value(); }, 5s)) << s.why();
  ASSERT_TRUE((*on)->ok()) << (*on)->error().message;
  EXPECT_TRUE(armed_group(s.world.member(*s.world.leader())->state())->unguarded);
  s.world.run_for(200ms);
  EXPECT_TRUE(s.world.member(*s.world.leader())->status().unguarded);
  EXPECT_EQ(refusal(s), "unguarded");
}

std::string rule_of(Story& s, const std::shared_ptr<State>& asked) {
  const auto begun = s.world.scheduler.now();
  if (!s.world.run_until([&] { return asked->has_value(); }, 15s)) return "no answer";
  if ((*asked)->ok()) return "done";
  EXPECT_LT(s.world.scheduler.now() - begun, 5s) << "what is known at once is said at once";
  const auto& message = (*asked)->error().message;
  return (*asked)->error().code == Code::kRefused ? message.substr(0, message.find(':')) : "not refused: " + message;
}

// "Done" would be taken for: nobody is armed from now on.
TEST(ArmingByHand, BeforeAnybodyIsArmedNobodyIsDisarmed) {
  Story s(46);
  for (const auto id : kPrimaries) s.world.start(id);
  for (const auto id : kStandbys) s.world.start(id);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader().has_value(); })) << s.why();
  ASSERT_FALSE(armed(s)) << "armed already: another seed";
  EXPECT_EQ(rule_of(s, disarm(s, *s.world.leader())), "not_armed");
  ASSERT_TRUE(s.world.run_until([&] { return armed(s); }, 30s)) << s.why();
  EXPECT_EQ(rule_of(s, disarm(s, *s.world.leader())), "done");
}

TEST(ArmingByHand, ForAGroupThatIsGoneNobodyIsAsked) {
  Story s(47);
  ASSERT_TRUE(ready(s)) << s.why();
  s.world.wipe_all(GroupRole::kStandby);
  for (const auto id : kStandbys) s.world.start(id);
  ASSERT_TRUE(s.world.run_until([&] { return s.world.leader() && s.leader() && s.world.caught_up(); }, 60s)) << s.why();
  s.world.run_for(2s);
  EXPECT_EQ(rule_of(s, disarm(s, *s.world.leader())), "begun_anew");
  EXPECT_EQ(rule_of(s, arm(s, *s.world.leader(), "west")), "begun_anew");
  EXPECT_EQ(refusal(s), "not_armed");
  EXPECT_EQ(rule_of(s, disarm(s, *s.world.leader(), true)), "done");
  EXPECT_EQ(rule_of(s, arm(s, *s.world.leader(), "west")), "done");
}

TEST(ArmingByHand, NamesTheRuleThatRefuses) {
  Story s(45);
  ASSERT_TRUE(ready(s)) << s.why();
  const auto leader = *s.world.leader();
  const auto rule = [&](const std::shared_ptr<State>& asked) {
    if (!s.world.run_until([&] { return asked->has_value(); }, 15s)) return std::string("no answer");
    if ((*asked)->ok()) return std::string("done");
    const auto& message = (*asked)->error().message;
    return (*asked)->error().code == Code::kRefused ? message.substr(0, message.find(':')) : "not refused: " + message;
  };
  EXPECT_EQ(rule(arm(s, leader, "north")), "no_such_region");
  EXPECT_EQ(rule(arm(s, leader, "east")), "no_such_region") << "itself";
  cut_regions(s);
  const auto first = disarm(s, leader);  // waits for the other region's word
  s.world.run_for(200ms);
  EXPECT_EQ(rule(arm(s, leader, "west")), "under_way");
  (void)rule(first);
  s.world.network.heal_regions();
  ASSERT_TRUE(s.world.run_until([&] { return s.world.caught_up() && rule(disarm(s, *s.world.leader())) == "done"; }, 60s)) << s.why();
  for (const auto id : kStandbys) s.world.crash(id);
  s.world.run_for(5s);
  EXPECT_EQ(rule(arm(s, *s.world.leader(), "west")), "not_following");
  EXPECT_EQ(rule(arm(s, *s.world.leader())), "not_following");
}

// --- whoever dies, and when ---

// Until one region serves and the other one does not, whatever it takes.
bool comes_to_rest(Story& s, Writers& w) {
  s.world.network.heal_regions();
  s.world.network.heal();
  const auto serves = [&](GroupRole group) {
    const auto id = s.world.leader(group);
    return id && s.world.member(*id)->role() == GroupRole::kPrimary && !s.world.member(*id)->sealed();
  };
  return w.run_until([&] {
    for (const auto id : s.world.ids())
      if (!s.world.running(id)) s.world.start(id);
    return (serves(GroupRole::kPrimary) && !serves(GroupRole::kStandby) && s.world.leader(GroupRole::kStandby)) ||
           (serves(GroupRole::kStandby) && handed_over(s) && s.all_turned());
  }, 60s);
}

// It ends as an epoch or in the one before, and never as both; nothing that was
// acknowledged is lost. True: as an epoch.
bool expect_one_end(Story& s, Writers& w) {
  const auto after = w.applied;
  EXPECT_TRUE(w.run_until([&] { return w.applied > after + 20; }, 60s)) << s.why() << w.first_error();
  const bool switched = s.all_turned();
  w.stop();
  EXPECT_TRUE(w.run_until([&] { return w.idle(); }, 60s)) << s.why();
  EXPECT_EQ(changes(s, NodeId(4)).size(), switched ? 1u : 0u);
  EXPECT_TRUE(s.world.settle()) << s.why();
  // A put that was not answered may have overwritten what was acknowledged: the
  // world's own books tell by revisions (settle); here, that nothing is older.
  for (const auto& [key, value] : w.kept) {
    const auto found = s.world.peek(NodeId(4), key);
    if (!found) {
      ADD_FAILURE() << key << " is lost";
      continue;
    }
    const auto number = [](const std::string& v) { return std::stoi(v.substr(v.find('/') + 1)); };
    EXPECT_GE(number(*found), number(value)) << key;
  }
  return switched;
}

void kill(Story& s, Writers& w, NodeId id) {
  ++w.starts[id];
  s.world.dice.chance(0.5) ? s.world.crash(id) : s.world.kill(id);
}

TEST(SwitchoverSteps, ALeaderOnEitherSideDiesAtAnyOfThem) {
  int switched = 0, not_switched = 0;
  for (const auto group : {GroupRole::kPrimary, GroupRole::kStandby}) {
    for (int step = 0; step < 24; step += test::kSanitized ? 12 : 3) {
      SCOPED_TRACE(std::string(name(group)) + " after " + std::to_string(step * 2) + " ms");
      Story s(200 + static_cast<std::uint64_t>(step));
      ASSERT_TRUE(ready(s)) << s.why();
      Writers w(s, s.world.ids(), 1);
      ASSERT_TRUE(w.run_until([&] { return w.applied > 20; })) << s.why();
      const auto asked = switch_over(s, *s.world.leader());
      const auto until = s.world.scheduler.now() + step * 2ms;
      w.run_until([&] { return s.world.scheduler.now() >= until; });
      if (const auto id = s.world.leader(group)) kill(s, w, *id);
      ASSERT_TRUE(comes_to_rest(s, w)) << s.why();
      (expect_one_end(s, w) ? switched : not_switched) += 1;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(switched, test::kSanitized ? 0 : 4);
  RecordProperty("switched", switched);
  RecordProperty("not_switched", not_switched);
}

TEST(SwitchoverSteps, TheLinkIsCutAtAnyOfThem) {
  int switched = 0, not_switched = 0;
  for (int step = 0; step < 24; step += test::kSanitized ? 12 : 3) {
    for (const auto away : {1s, 6s}) {
      SCOPED_TRACE("after " + std::to_string(step * 2) + " ms, for " + std::to_string(away / 1s) + " s");
      Story s(300 + static_cast<std::uint64_t>(step));
      ASSERT_TRUE(ready(s)) << s.why();
      Writers w(s, s.world.ids(), 1);
      ASSERT_TRUE(w.run_until([&] { return w.applied > 20; })) << s.why();
      const auto asked = switch_over(s, *s.world.leader());
      auto until = s.world.scheduler.now() + step * 2ms;
      w.run_until([&] { return s.world.scheduler.now() >= until; });
      cut_regions(s);
      until = s.world.scheduler.now() + away;
      w.run_until([&] { return s.world.scheduler.now() >= until; });
      ASSERT_TRUE(comes_to_rest(s, w)) << s.why();
      (expect_one_end(s, w) ? switched : not_switched) += 1;
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(switched, test::kSanitized ? 0 : 4);
  EXPECT_GT(not_switched, 0);
}

void torment(std::uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Story s(seed);
  ASSERT_TRUE(ready(s)) << s.why();
  auto& dice = s.world.dice;
  Writers w(s, s.world.ids(), 1);
  ASSERT_TRUE(w.run_until([&] { return w.applied > 20; })) << s.why();
  const auto pause = [&](Duration most) {
    const auto until = s.world.scheduler.now() + dice.between(Duration(0), most);
    w.run_until([&] { return s.world.scheduler.now() >= until; });
  };
  std::shared_ptr<Asked> asked;
  if (const auto leader = s.world.leader()) asked = switch_over(s, *leader);
  for (int i = static_cast<int>(dice.below(5)); i >= 0; --i) {
    pause(i % 2 ? 40ms : 400ms);
    const auto east = s.world.leader(), west = s.leader();
    switch (dice.below(7)) {
      case 0: if (east) kill(s, w, *east); break;
      case 1: if (west) kill(s, w, *west); break;
      case 2: cut_regions(s); break;
      case 3: s.world.network.heal_regions(); break;
      case 4: if (east) (void)take_back(s, *east); break;
      case 5: kill(s, w, NodeId(1 + dice.below(6))); break;
      default: if (east && !s.world.member(*east)->sealed()) (void)switch_over(s, *east);
    }
    for (const auto id : s.world.ids())
      if (!s.world.running(id) && dice.chance(0.5)) s.world.start(id);
  }
  pause(6s);
  ASSERT_TRUE(comes_to_rest(s, w)) << s.why();
  (void)expect_one_end(s, w);
}

TEST(SwitchoverTorment, ItEndsAsAnEpochOrInTheOneBefore) {
  const auto first = number("LEEWARD_SEED", 1000), runs = number("LEEWARD_RUNS", test::kSanitized ? 6 : 40);
  for (auto seed = first; seed < first + runs && !::testing::Test::HasFailure(); ++seed) torment(seed);
}

}  // namespace
}  // namespace leeward::standby
