// Members that are too far behind for the log, and what the others keep for them.
#include <algorithm>

#include "support.h"
#include "world/wire.h"

namespace leeward::node {
namespace {

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

// How much of a snapshot is asked for, by whom.
struct Fetching : Fixture {
  std::uint64_t asked = 0, whole = 0;  // bytes; of the newest that was offered
  NodeId late;

  // `late` is away until only a snapshot helps; what it then asks for is counted.
  void make_late() {
    make();
    w().adjust = [](node::MemberOptions& m) { m.storage.chunk_bytes = 1_KiB; };
    start_all();
    late = follower();
    w().crash(late);
    puts(1200);
    w().run_for(3s);
    w().network.tamper = [this](NodeId from, NodeId to, Lane lane, Bytes bytes) -> Bytes {
      const auto frame = decode_frame(bytes);
      if (lane == Lane::kBulk && frame.ok()) count(from, to, *frame);
      return bytes;
    };
  }
  void count(NodeId from, NodeId to, const Frame& frame) {
    if (from == late && frame.header.type == FrameType::kSnapshotFetch) asked += decode_snapshot_fetch(frame.body)->length;
    if (to != late || frame.header.type != FrameType::kSnapshotOffer) return;
    whole = 0;
    const auto manifest = decode_manifest(frame.body.view());
    if (!manifest.ok()) return;
    for (const auto& f : manifest->files) whole += f.size;
  }
  bool received() { return w().run_until([&] { return w().member(late)->probe().snapshots_received.get() > 0; }); }
};

TEST_F(Fetching, GoesOnAfterARestartOfTheReceiver) {
  make_late();
  w().start(late);
  ASSERT_TRUE(w().run_until([&] { return asked > 0 && asked > whole / 2; })) << w().checkers.breach();
  w().kill(late);
  const auto before = asked;
  EXPECT_LT(before, whole);
  w().start(late);
  ASSERT_TRUE(received()) << w().checkers.breach();
  EXPECT_LT(asked, whole + 16_KiB) << "of " << whole << ", " << before << " before the restart";
  w().network.tamper = nullptr;
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
  w().run_for(1s);
  for (const auto& path : w().disk(late).files()) EXPECT_FALSE(path.starts_with("/data/incoming/")) << path;
}

TEST_F(Fetching, WhatAnInstallationLeftAtAKillGoesWithTheNextEntry) {
  make_late();
  w().start(late);
  ASSERT_TRUE(received()) << w().checkers.breach();
  const auto left = [&] {
    const auto files = w().disk(late).files();
    return std::count_if(files.begin(), files.end(), [](const auto& path) { return path.starts_with("/data/incoming/"); });
  };
  ASSERT_GT(left(), 0) << "it is removed a moment later";
  w().kill(late);
  w().network.tamper = nullptr;
  w().start(late);
  puts(3);
  EXPECT_TRUE(w().run_until([&] { return left() == 0; }, 5s));
  ASSERT_TRUE(w().settle()) << w().checkers.breach();
}

// What the next leader has differs; he who began goes on giving his.
TEST_F(Fetching, GoesOnUnderAnotherLeader) {
  make_late();
  const auto before = *w().leader();
  w().start(late);
  ASSERT_TRUE(w().run_until([&] { return asked > 0 && asked > whole / 2; })) << w().checkers.breach();
  const auto first = whole;
  NodeId other;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != late && id != before) other = id;
  static_cast<Group*>(w().member(before))->transfer_leadership(other);
  ASSERT_TRUE(received()) << w().checkers.breach();
  EXPECT_EQ(w().leader(), other);
  EXPECT_LT(asked, first + 16_KiB);
  w().network.tamper = nullptr;
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
  // Until the received files are checked, and a state is made of them.
  Instant run_until_laid_out() {
    EXPECT_TRUE(w().run_until(
        [&] {
          const auto files = w().disk(kThree).files();
          return std::any_of(files.begin(), files.end(), [](const auto& path) {
            return path.starts_with("/data/state-") && !path.starts_with("/data/state-1/");
          });
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
    const auto laid_out = run_until_laid_out();
    for (const auto before : {60us, 40us, 20us, 5us}) {
      begin(seed);  // the same again, up to here
      if (HasFailure()) return;
      w().run_for(laid_out - before - w().scheduler.now());
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

}  // namespace
}  // namespace leeward::node
