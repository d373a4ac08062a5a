// The stream over real members (raft, wal, kv, node) of two regions, in the
// simulator: crashes lose what was not synced, disks are replaced, frames are
// lost and late.
#include <gtest/gtest.h>

#include <cstdlib>

#include "node/frames.h"
#include "ports/manifest.h"
#include "standby/messages.h"
#include "standby/replication.h"
#include "tests/support/sanitized.h"
#include "world/world.h"

namespace leeward::standby {
namespace {

struct Regions2 {
  explicit Regions2(std::uint64_t seed, std::uint64_t retain_log_bytes = 64_MiB, std::uint64_t checkpoint_interval = 200)
      : world(options(seed, retain_log_bytes, checkpoint_interval)) {}

  sim::WorldOptions options(std::uint64_t seed, std::uint64_t retain_log_bytes, std::uint64_t checkpoint_interval) {
    sim::WorldOptions o;
    o.seed = seed;
    o.standbys = 3;
    o.retain_log_bytes = retain_log_bytes;
    o.checkpoint_interval = checkpoint_interval;
    o.log_to_stderr = std::getenv("LEEWARD_VERBOSE") != nullptr;
    o.stream = true;
    return o;
  }
  bool start() {
    for (const auto id : world.ids()) world.start(id);
    return world.run_until([&] { return world.leader().has_value(); });
  }
  node::Member* standby_leader() {
    const auto id = world.leader(GroupRole::kStandby);
    return id ? world.member(*id) : nullptr;
  }
  bool caught_up() { return world.caught_up(); }
  std::string standing() { return world.standing(); }
  // After a torment: a disk whose power is to fail soon may end its node even now.
  bool comes_together(Duration limit) {
    return world.run_until(
        [&] {
          for (const auto id : world.ids())
            if (!world.running(id)) world.start(id);
          return caught_up();
        },
        limit);
  }
  void expect_equal_states() {
    const auto first = world.member(NodeId(1))->state().applied();
    for (const auto id : world.ids()) {
      const auto state = world.member(id)->state().applied();
      EXPECT_EQ(state.state_hash, first.state_hash) << id.value();
      EXPECT_EQ(state.revision, first.revision) << id.value();
    }
  }

  sim::World world;
};

TEST(Members, AStandbyGroupTakesLineageAndHistoryFromThePrimary) {
  Regions2 r(1);
  ASSERT_TRUE(r.start()) << r.world.checkers.breach();
  for (int i = 0; i < 100; ++i) {
    auto put = r.world.put(*r.world.leader(), "k" + std::to_string(i), "v" + std::to_string(i));
    ASSERT_TRUE(r.world.run_until([&] { return put->ended; })) << r.world.checkers.breach();
  }
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.world.checkers.breach();
  for (std::uint64_t id : {4, 5, 6}) EXPECT_EQ(r.world.peek(NodeId(id), "k99"), "v99");
  r.expect_equal_states();
  // Armed and eligible, as the members' own status says.
  auto all_ok = [&] {
    for (std::uint64_t id : {4, 5, 6}) {
      const auto status = r.world.member(NodeId(id))->status();
      if (status.armed_region != "west" || !status.primary_heard || !eligible(status.group_eligibility)) return false;
      for (const auto& m : status.members)
        if (m.id == NodeId(id) && !eligible(m.eligibility)) return false;
    }
    return true;
  };
  EXPECT_TRUE(r.world.run_until(all_ok, 10s));
  for (const auto& m : r.world.member(NodeId(4))->status().members)
    for (const auto& c : m.id == NodeId(4) ? m.eligibility : std::vector<NamedCheck>{}) EXPECT_TRUE(c.ok) << m.id.value() << " " << c.check << ": " << c.detail;
  const auto followers = r.world.member(*r.world.leader())->status().followers;
  ASSERT_EQ(followers.size(), 1u);
  EXPECT_TRUE(followers[0].armed);
}

TEST(Members, AStandbyRefusesWritesOfItsOwn) {
  Regions2 r(2);
  ASSERT_TRUE(r.start());
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up(); }, 20s));
  auto put = r.world.put(r.standby_leader()->self(), "k", "v");
  ASSERT_TRUE(r.world.run_until([&] { return put->ended; }));
  EXPECT_EQ(put->outcome.end, node::Outcome::End::kNotApplied);
}

TEST(Members, FollowThroughCrashesOfBothRegions) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Regions2 r(seed);
    ASSERT_TRUE(r.world.torment(12s)) << r.world.checkers.breach();
    ASSERT_TRUE(r.comes_together(60s)) << r.world.checkers.breach() << r.standing();
    r.expect_equal_states();
  }
}

// The right index is not enough: what a frame says it follows is compared as a
// whole.
TEST(Members, AFrameOfAnotherHistoryIsNotTaken) {
  Regions2 r(3);
  ASSERT_TRUE(r.start());
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up() && r.world.checkers.armed(); }, 20s));
  auto* leader = r.standby_leader();
  const auto& probe = r.world.stream(leader->self())->probe();
  const auto reconnects = probe.reconnects.get(), received = probe.entries_received.get();
  int changed = 0;
  r.world.network.tamper = [&](NodeId, NodeId, Lane lane, Bytes bytes) -> Bytes {
    auto frame = lane == Lane::kStream ? decode(bytes) : Result<Frame>(Error{Code::kInvalid, ""});
    auto* entries = frame.ok() ? std::get_if<Entries>(&frame->body) : nullptr;
    if (!entries) return bytes;
    ++changed;
    entries->before.hash.bytes[0] ^= 1;
    return encode(frame->header, frame->body);
  };
  auto put = r.world.put(*r.world.leader(), "k", "v");
  r.world.run_for(500ms);
  EXPECT_GT(changed, 0);
  EXPECT_GT(probe.reconnects.get(), reconnects);
  EXPECT_EQ(probe.entries_received.get(), received);
  r.world.network.tamper = nullptr;
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.standing();
}

// --- Adopt ---

const std::vector<NodeId> kStandbys{NodeId(4), NodeId(5), NodeId(6)};

std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Two regions whose primary keeps little log, and a standby region that has
// been away for longer than that.
struct LeftBehind : Regions2 {
  explicit LeftBehind(std::uint64_t seed) : Regions2(seed, 4_KiB, 60) {}

  void puts(int count) {
    for (int i = 0; i < count; ++i) {
      auto put = world.put(*world.leader(), "k" + std::to_string(written % 20), std::to_string(written) + std::string(60, 'v'));
      ASSERT_TRUE(world.run_until([&] { return put->ended; })) << world.checkers.breach();
      ASSERT_EQ(put->outcome.end, node::Outcome::End::kApplied);
      ++written;
    }
  }
  // Whatever `leave` does to the standbys, the primaries' logs begin above them then.
  void fall_behind(const std::function<void(NodeId)>& leave) {
    ASSERT_TRUE(start()) << world.checkers.breach();
    puts(20);
    ASSERT_TRUE(world.run_until([&] { return standby_leader() && caught_up(); }, 30s)) << world.checkers.breach();
    const auto end = world.member(NodeId(4))->state().applied().point.position.index;
    for (const auto id : kStandbys) leave(id);
    puts(400);
    world.run_for(3s);
    for (const auto id : {NodeId(1), NodeId(2), NodeId(3)})
      ASSERT_GT(world.member(id)->log().base().position.index, end) << "node " << id.value();
  }
  // The primaries alone, until their logs no longer reach to the beginning.
  void begin_without_standbys() {
    world.adjust = [](node::MemberOptions& o) {
      if (o.self <= NodeId(3)) o.bootstrap = node::BootstrapMode::kForce;  // asks no standby whether it is there
    };
    for (std::uint64_t id : {1, 2, 3}) world.start(NodeId(id));
    ASSERT_TRUE(world.run_until([&] { return world.leader().has_value(); })) << world.checkers.breach();
    puts(400);
    world.run_for(3s);
    for (std::uint64_t id : {1, 2, 3}) ASSERT_GT(world.member(NodeId(id))->log().base().position.index, HistoryIndex(0));
  }
  void start_standbys() {
    for (const auto id : kStandbys)
      if (!world.running(id)) world.start(id);
  }
  std::vector<std::string> paths(NodeId id, const std::string& prefix) {
    std::vector<std::string> found;
    for (const auto& path : world.disk(id).files())
      if (path.starts_with(prefix)) found.push_back(path);
    return found;
  }
  std::size_t states(NodeId id) {
    std::set<std::string> names;
    for (const auto& path : paths(id, "/data/state-")) names.insert(path.substr(0, path.find('/', 6)));
    return names.size();
  }
  int adopts(NodeId id) {
    auto* m = world.member(id);
    int found = 0;
    for (auto i = m->log().base().index + 1; i <= m->log().last().index;) {
      auto entries = m->log().read(i, m->log().last().index + 1, 1_MiB);
      if (!entries.ok() || entries->empty()) break;
      for (const auto& e : *entries) found += e.kind == EntryKind::kAdopt ? 1 : 0;
      i = entries->back().index + 1;
    }
    return found;
  }
  int written = 0;
};

TEST(Adopt, ARegionThatTheLogDoesNotReachAdoptsAStateAndFollowsOn) {
  LeftBehind r(1);
  r.fall_behind([&](NodeId id) { r.world.crash(id); });
  if (::testing::Test::HasFatalFailure()) return;
  r.start_standbys();
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() != nullptr; }, 10s));
  const auto group = r.standby_leader()->group();
  std::set<std::string> shown;
  ASSERT_TRUE(r.world.run_until(
      [&] {
        for (const auto id : kStandbys) shown.insert(r.world.member(id)->status().stream_state);
        return r.caught_up();
      },
      60s))
      << r.world.checkers.breach();
  EXPECT_TRUE(std::any_of(shown.begin(), shown.end(), [](const auto& s) { return s.find("copy of state") != s.npos; }));
  r.expect_equal_states();
  std::uint64_t resyncs = 0;
  for (const auto id : kStandbys) {
    const auto& m = *r.world.member(id);
    EXPECT_EQ(m.role(), GroupRole::kStandby);
    EXPECT_EQ(m.group(), group);
    EXPECT_EQ(m.membership().voters.size(), 3u);
    EXPECT_EQ(m.probe().snapshots_received.get(), 1u) << id.value();
    EXPECT_EQ(r.adopts(id), 1) << id.value();
    resyncs += r.world.stream(id)->probe().resyncs_needed.get();
  }
  EXPECT_GE(resyncs, 1u);
  r.puts(30);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.world.checkers.breach();
  r.expect_equal_states();
  // Nobody needs the files nor the old states any more.
  EXPECT_TRUE(r.world.run_until(
      [&] {
        return std::all_of(kStandbys.begin(), kStandbys.end(),
                           [&](NodeId id) { return r.paths(id, "/data/adopt/").empty() && r.states(id) == 1; });
      },
      10s));
  // What was adopted is there after a restart, with the group's own place in its log.
  for (const auto id : kStandbys) r.world.crash(id);
  r.start_standbys();
  r.puts(5);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 30s)) << r.world.checkers.breach();
  r.expect_equal_states();
}

// Its log may hold the Adopt, and its disk nothing of what that needs.
TEST(Adopt, ALearnerIsInSyncOnlyWhenItHasAppliedTheNewestOne) {
  LeftBehind r(3);
  ASSERT_TRUE(r.start()) << r.world.checkers.breach();
  r.puts(20);
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up(); }, 30s)) << r.world.checkers.breach();
  const auto learner = r.world.join(GroupRole::kStandby);
  std::optional<Result<Index>> changed;
  const auto change = [&](node::MemberChange wanted) {
    changed.reset();
    r.standby_leader()->change_members(std::move(wanted), r.world.client_loop(), [&](Result<Index> done) { changed = std::move(done); });
    EXPECT_TRUE(r.world.run_until([&] { return changed.has_value(); })) << r.world.checkers.breach();
    return changed->ok() ? std::string() : changed->error().message;
  };
  ASSERT_EQ(change({.add = {learner}}), "");
  r.world.start(learner.id);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.standing();
  auto group = kStandbys;
  group.push_back(learner.id);
  for (const auto id : group) r.world.crash(id);
  r.puts(400);
  r.world.run_for(3s);
  r.world.network.tamper = [&](NodeId, NodeId to, Lane lane, Bytes frame) {
    return to == learner.id && lane == Lane::kBulk ? Bytes() : frame;
  };
  for (const auto id : group) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] {
    return r.standby_leader() && r.adopts(r.standby_leader()->self()) == 1 && r.adopts(learner.id) == 1 &&
           r.standby_leader()->state().applied().point.position.index > HistoryIndex(300);
  }, 60s)) << r.standing();
  r.world.run_for(2s);
  const auto why = change({.promote = {learner.id}});
  EXPECT_NE(why.find("in_sync: member 7 still waits for a copy of state"), std::string::npos) << why;
  r.world.network.tamper = nullptr;
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.standing();
  r.world.run_for(2s);
  EXPECT_EQ(change({.promote = {learner.id}}), "");
}

TEST(Adopt, ARegionThatBeginsEmptyAdoptsWhenTheLogNoLongerReachesToTheBeginning) {
  LeftBehind r(2);
  r.begin_without_standbys();
  if (::testing::Test::HasFatalFailure()) return;
  r.start_standbys();
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.world.checkers.breach();
  r.expect_equal_states();
  r.puts(10);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.world.checkers.breach();
}

// It may be of a history that ended below it since: only who serves the newest epoch can tell.
TEST(Adopt, WhatWasLentInAnOlderEpochIsNotAdoptedOnNobodysWord) {
  LeftBehind r(5);
  r.fall_behind([&](NodeId id) { r.world.crash(id); });
  if (::testing::Test::HasFatalFailure()) return;
  bool among_standbys = false, from_primaries = true;
  r.world.network.tamper = [&](NodeId from, NodeId to, Lane lane, Bytes frame) {
    const bool passes = from <= NodeId(3) ? from_primaries : to <= NodeId(3) || among_standbys;
    return lane == Lane::kBulk && !passes ? Bytes() : frame;
  };
  r.start_standbys();
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && !r.paths(r.standby_leader()->self(), "/data/adopt/held-").empty(); }, 60s)) << r.standing();
  r.world.run_for(2s);  // its leader alone has it whole
  from_primaries = false;
  const auto primary = *r.world.leader();
  auto change = r.world.change_at(primary, region::Ending::kForced);
  change.epoch = change.epoch + 1;  // drawn above all that are known
  ASSERT_TRUE(r.world.propose(primary, change).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.standby_leader()->newest_epoch() == change.epoch; }, 20s)) << r.standing();
  among_standbys = true;
  r.world.run_for(20s);
  for (const auto id : kStandbys) EXPECT_EQ(r.adopts(id), 0) << id.value();
  from_primaries = true;
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.standing();
  r.expect_equal_states();
  EXPECT_EQ(r.world.checkers.breach(), "");
}

TEST(Adopt, AMemberThatWasAwayFindsTheFilesAtTheOthers) {
  LeftBehind r(3);
  r.fall_behind([&](NodeId id) { r.world.crash(id); });
  if (::testing::Test::HasFatalFailure()) return;
  r.world.start(NodeId(4));
  r.world.start(NodeId(5));
  ASSERT_TRUE(r.world.run_until(
      [&] {
        const auto goal = r.world.member(NodeId(1))->state().applied().point.position;
        return r.world.member(NodeId(4))->state().applied().point.position == goal &&
               r.world.member(NodeId(5))->state().applied().point.position == goal;
      },
      60s))
      << r.world.checkers.breach();
  r.world.run_for(10s);
  EXPECT_FALSE(r.paths(NodeId(4), "/data/adopt/held-").empty());
  EXPECT_FALSE(r.paths(NodeId(5), "/data/adopt/held-").empty());
  // The primary is out of reach: the files can only come from its own group.
  for (std::uint64_t id : {1, 2, 3}) r.world.network.isolate(NodeId(id), kStandbys);
  r.world.start(NodeId(6));
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.world.checkers.breach();
  r.expect_equal_states();
  r.world.network.heal();
  EXPECT_TRUE(r.world.run_until(
      [&] {
        return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return r.paths(id, "/data/adopt/").empty(); });
      },
      20s));
}

// What is wrong in a log that a majority holds stops whoever applies it.
TEST(Adopt, AnEntryWhoseManifestNamesAnotherPositionStopsTheMember) {
  LeftBehind r(7);
  ASSERT_TRUE(r.start());
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up() && r.world.checkers.armed(); }, 20s));
  for (std::uint64_t id : {1, 2, 3}) r.world.network.isolate(NodeId(id), kStandbys);
  r.puts(10);
  auto* leader = r.standby_leader();
  const auto named = r.world.member(*r.world.leader())->state().applied().point.position;
  Manifest manifest;
  manifest.id = "forged";
  manifest.files.push_back({"state", 1, sha256("what nobody has")});
  manifest.state = leader->state().applied();
  manifest.state.point.position = named;
  manifest.state.point.position.hash.bytes[0] ^= 1;
  raft::Proposal proposal;
  proposal.kind = EntryKind::kAdopt;
  proposal.payload = Bytes(leap_payload(named, leeward::encode(manifest)));
  const auto id = leader->self();
  leader->loop().post([leader, proposal] { EXPECT_TRUE(leader->propose({&proposal, 1}).ok()); });
  EXPECT_TRUE(r.world.run_until([&] { return !r.world.running(id); }, 10s)) << r.world.checkers.breach() << r.standing();
}

// The files are those that it names; the state in them is not the one it tells of.
TEST(Adopt, AStateThatIsNotTheOneAnnouncedIsNotTaken) {
  LeftBehind r(8);
  r.fall_behind([&](NodeId id) { r.world.crash(id); });
  if (::testing::Test::HasFatalFailure()) return;
  r.world.network.tamper = [&](NodeId, NodeId, Lane lane, Bytes bytes) -> Bytes {
    auto frame = node::decode_frame(bytes);
    if (lane != Lane::kBulk || !frame.ok() || frame->header.type != node::FrameType::kAdoptManifest) return bytes;
    auto manifest = decode_manifest(frame->body.view());
    EXPECT_TRUE(manifest.ok());
    manifest->state.state_hash.bytes[0] ^= 1;
    return Bytes(node::encode_header(frame->header) + leeward::encode(*manifest));
  };
  r.start_standbys();
  const auto one_stopped = [&] {
    return !std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return r.world.running(id); });
  };
  EXPECT_TRUE(r.world.run_until(one_stopped, 30s)) << r.world.checkers.breach() << r.standing();
  r.world.run_for(5s);
  for (const auto id : kStandbys) {
    const auto* m = r.world.member(id);
    EXPECT_TRUE(!m || m->probe().snapshots_received.get() == 0) << id.value();
  }
}

TEST(Adopt, APrimaryMemberThatIsDownDoesNotKeepARegionFromAdopting) {
  LeftBehind r(4);
  r.fall_behind([&](NodeId id) { r.world.crash(id); });
  if (::testing::Test::HasFatalFailure()) return;
  for (std::uint64_t id : {1, 2, 3})
    if (NodeId(id) != *r.world.leader()) {
      r.world.crash(NodeId(id));
      break;
    }
  r.start_standbys();
  ASSERT_TRUE(r.world.run_until(
      [&] {
        const auto goal = r.world.leader() ? r.world.member(*r.world.leader())->state().applied().point.position : Position();
        return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) {
          return r.world.member(id)->state().applied().point.position == goal;
        });
      },
      60s))
      << r.world.checkers.breach();
}

TEST(Adopt, AMemberThatInstalledASnapshotBeforeAdoptsToo) {
  LeftBehind r(6);
  ASSERT_TRUE(r.start()) << r.world.checkers.breach();
  r.puts(20);
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up(); }, 30s));
  const auto late = r.standby_leader()->self() == NodeId(6) ? NodeId(5) : NodeId(6);
  r.world.crash(late);
  r.puts(400);
  r.world.run_for(3s);
  r.world.start(late);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.world.checkers.breach();
  ASSERT_GE(r.world.member(late)->probe().snapshots_received.get(), 1u);
  for (const auto id : kStandbys) r.world.network.isolate(id, {NodeId(1), NodeId(2), NodeId(3)});
  r.puts(400);
  r.world.run_for(3s);
  r.world.network.heal();
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.standing();
  r.expect_equal_states();
  EXPECT_EQ(r.adopts(late), 1);
}

// Its files are gone by then: the log alone would lead it to the entry and no further.
TEST(Adopt, AMemberWipedAfterwardsGetsASnapshotFromBehindTheEntry) {
  LeftBehind r(5);
  r.begin_without_standbys();
  if (::testing::Test::HasFatalFailure()) return;
  r.start_standbys();
  ASSERT_TRUE(r.world.run_until(
      [&] {
        // An arming that came later would be missed behind the cut below.
        return r.caught_up() && r.world.checkers.armed() &&
               std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return r.paths(id, "/data/adopt/").empty(); });
      },
      60s))
      << r.world.checkers.breach();
  const auto leader = r.standby_leader()->self();
  // Else the log could not lead there anyhow.
  ASSERT_EQ(r.standby_leader()->log().base().index, Index(0));
  const auto wiped = leader == NodeId(6) ? NodeId(5) : NodeId(6);
  // The primary may still have them: here it is out of reach.
  for (std::uint64_t id : {1, 2, 3}) r.world.network.isolate(NodeId(id), kStandbys);
  r.world.wipe(wiped);
  r.world.start(wiped);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.standing();
  r.world.network.heal();
  r.puts(10);
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.world.checkers.breach();
  r.expect_equal_states();
}

TEST(Adopt, ACrashAtAnyInstantRecovers) {
  std::uint64_t adopted = 0;
  for (std::uint64_t operations = 2; operations < 110; operations += test::kSanitized ? 35 : 7) {
    SCOPED_TRACE("after " + std::to_string(operations) + " operations");
    LeftBehind r(operations);
    r.fall_behind([&](NodeId id) { r.world.crash(id); });
    if (::testing::Test::HasFatalFailure()) return;
    r.start_standbys();
    const auto victim = kStandbys[operations % 3];
    r.world.disk(victim).power_off_after(operations);
    r.world.run_for(Duration(4s));
    if (r.world.running(victim)) r.world.crash(victim);
    ASSERT_TRUE(r.world.run_until(
        [&] {
          r.start_standbys();
          return r.caught_up();
        },
        60s))
        << r.world.checkers.breach();
    r.expect_equal_states();
    adopted += r.world.member(victim)->probe().snapshots_received.get();
    ASSERT_TRUE(r.world.settle()) << r.world.checkers.breach();
  }
  EXPECT_GT(adopted, test::kSanitized ? 0u : 3u);
}

TEST(Adopt, TheWholeRegionMayFailAgainAndAgainWhileItAdopts) {
  const auto first = number("LEEWARD_SEED", 1);
  const auto runs = number("LEEWARD_RUNS", std::getenv("LEEWARD_SEED") ? 1 : test::kSanitized ? 2 : 8);
  for (auto seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    LeftBehind r(seed);
    // In half of the runs one member loses its disk, too.
    const int wiped_at = seed % 2 ? static_cast<int>(r.world.dice.below(8)) : -1;
    r.fall_behind([&](NodeId id) { r.world.crash(id); });
    if (::testing::Test::HasFatalFailure()) return;
    for (int i = 0; i < 8; ++i) {
      r.start_standbys();
      r.world.run_for(r.world.dice.between(200ms, 2500ms));
      for (const auto id : kStandbys)
        if (r.world.running(id) && r.world.dice.chance(0.7)) r.world.dice.chance(0.5) ? r.world.crash(id) : r.world.kill(id);
      if (i == wiped_at) r.world.wipe(kStandbys[seed % 3]);
    }
    ASSERT_TRUE(r.world.run_until(
        [&] {
          r.start_standbys();
          return r.caught_up();
        },
        90s))
        << r.world.checkers.breach() << r.standing();
    r.expect_equal_states();
    ASSERT_TRUE(r.world.settle()) << r.world.checkers.breach() << r.standing();
  }
}

// LEEWARD_SEED and LEEWARD_RUNS: from that seed on, that many.
TEST(Adopt, AmongRandomFaultsOfBothRegions) {
  const auto first = number("LEEWARD_SEED", 11);
  const auto runs = number("LEEWARD_RUNS", std::getenv("LEEWARD_SEED") ? 1 : 3);
  for (auto seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Regions2 r(seed, 4_KiB, 40);
    ASSERT_TRUE(r.world.torment(15s)) << r.world.checkers.breach() << r.standing();
    ASSERT_TRUE(r.comes_together(90s)) << r.world.checkers.breach() << r.standing();
    r.expect_equal_states();
  }
}

}  // namespace
}  // namespace leeward::standby
