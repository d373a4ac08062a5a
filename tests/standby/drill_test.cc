// A drill at a member of the standby region: real members in the simulator, the
// fork opened beside on the same disk.
#include "standby/drill.h"

#include <gtest/gtest.h>

#include "kv/state_machine.h"
#include "kv/stores.h"
#include "story.h"
#include "wal/log_store.h"
#include "wal/superblock.h"

namespace leeward::standby {
namespace {

const Path kForkData = "/data/drill", kForkLog = "/wal/drill-log";

// Nobody: what the fork says is a failure.
class NoLink final : public PeerLink {
 public:
  void set_handler(Handler) override {}
  void set_peers(std::vector<PeerAddress> peers) override { EXPECT_TRUE(peers.size() <= 1); }
  bool send(NodeId to, Lane, std::vector<Bytes>) override {
    ADD_FAILURE() << "the fork dials node " << to.value();
    return false;
  }
  std::size_t queued(NodeId, Lane) const override { return 0; }
  bool connected(NodeId) const override { return false; }
};

// The fork as a member in the simulator, on loops of its own.
struct ForkMember {
  ForkMember(sim::World& w, NodeId at, const Path& data, const Path& log, bool rehearsal)
      : world(w),
        id(at),
        core(w.scheduler, w.dice, &w.clock(at), 5us, 50us),
        wal(w.scheduler, w.dice, &w.clock(at), 100us, 3ms),
        apply(w.scheduler, w.dice, &w.clock(at), 5us, 2ms),
        files(w.scheduler, w.dice, &w.clock(at), 100us, 50ms),
        random(w.dice.next()) {
    node::MemberPorts ports{w.clock(id), w.disk(id), core, wal, apply, files, random, link, nolog, {}, {}, {}, {}};
    ports.open_state = [this](const Path& dir) -> Result<std::unique_ptr<StateMachine>> {
      auto store = kv::open_memory_store(world.disk(id), dir, {.flush_every = 20});
      if (!store.ok()) return store.error();
      auto state = kv::MvccStateMachine::open(std::move(*store), world.disk(id), world.clock(id), nolog);
      if (!state.ok()) return state.error();
      return std::unique_ptr<StateMachine>(std::move(*state));
    };
    ports.open_log = [this](const Path& dir, Incarnation owner, bool) -> Result<std::unique_ptr<LogStore>> {
      wal::LogOptions o;
      o.owner = owner;
      o.segment_bytes = 64_KiB;
      auto opened = wal::SegmentedLog::open(world.disk(id), random, dir, o);
      if (!opened.ok()) return opened.error();
      return std::unique_ptr<LogStore>(std::move(*opened));
    };
    ports.open_superblock = [this](const Path& dir, const SuperblockData*) -> Result<std::unique_ptr<Superblock>> {
      auto found = wal::SuperblockFile::open(world.disk(id), dir);
      if (!found.ok()) return found.error();
      return std::unique_ptr<Superblock>(std::move(*found));
    };
    ports.fatal = [](const Error& e) { ADD_FAILURE() << "the fork: " << e.message; };
    node::MemberOptions o;
    o.self = id;
    o.cluster_name = "sim";
    o.nodes = {{id, "fork", "west", "", "127.0.0.1:1", "", GroupRole::kPrimary}};
    o.data_dir = data;
    o.wal_dir = log;
    o.snapshot_dir = data + "/snapshots";
    o.rehearsal = rehearsal;
    opened = node::Member::open(std::move(ports), std::move(o));
  }
  ~ForkMember() {
    rehearsal.reset();
    stream.reset();
  }

  sim::World& world;
  NodeId id;
  sim::SimExecutor core, wal, apply, files;
  sim::Dice random;
  NoLink link;
  NullLog nolog;
  Result<std::unique_ptr<node::Member>> opened = Error{Code::kNotFound, ""};
  std::unique_ptr<Replication> stream;
  std::unique_ptr<Rehearsal> rehearsal;
};

class SimStage final : public Stage {
 public:
  SimStage(sim::World& world, NodeId id) : world_(world), id_(id) {}

  void rehearse(const node::Forked& fork, Function<void(Rehearsed)> done) override {
    ++rehearsals;
    forked = fork;
    done_ = std::move(done);
    rehearsed_ = {};
    if (damage) damage();
    if (never_ends) return;
    member = std::make_unique<ForkMember>(world_, id_, fork.data_dir, fork.wal_dir, true);
    if (!member->opened.ok()) {
      rehearsed_.checks.push_back({"log", false, {}, member->opened.error().message});
      return end();
    }
    auto& m = **member->opened;
    member->stream = std::make_unique<Replication>(m, ReplicationOptions{});
    // As the daemon's process tells it: line by line.
    const auto tell = [this](const std::string& line) { EXPECT_TRUE(take_line(line.substr(0, line.size() - 1), rehearsed_).ok()) << line; };
    member->rehearsal = std::make_unique<Rehearsal>(
        Rehearsal::Parts{m, m, member->stream->recovery(), member->files}, RehearsalOptions{},
        Rehearsal::Told{[tell](const DrillCheck& c) { tell(line_of(c)); },
                        [tell](const LogPoint& end, const Hash& hash) { tell(line_of(end, hash)); },
                        [tell](Duration rto, Epoch epoch) { tell(line_of(rto, epoch)); }, [this] { end(); }});
    const auto log_end = m.log().last();
    m.start();
    member->core.post([this, log_end] {
      member->stream->start();
      member->rehearsal->begin(log_end);
    });
  }
  void cancel(const std::string& why) override {
    rehearsed_.broken = why;
    end();
  }

  int rehearsals = 0;
  bool never_ends = false;
  std::function<void()> damage;             // before the fork is opened
  std::function<void(Rehearsed&)> alter;    // what it told
  node::Forked forked;
  std::unique_ptr<ForkMember> member;

 private:
  void end() {
    world_.scheduler.after(1ms, [this] {
      if (member && member->opened.ok()) served = (*member->opened)->role();
      member.reset();
      if (alter) alter(rehearsed_);
      auto done = std::move(done_);
      done(std::move(rehearsed_));
    });
  }

  sim::World& world_;
  NodeId id_;
  Function<void(Rehearsed)> done_;
  Rehearsed rehearsed_;

 public:
  GroupRole served = GroupRole::kUnknown;
};

class DrillTest : public ::testing::Test {
 protected:
  void make(std::uint64_t seed, sim::WorldOptions o = {}) {
    if (o.standbys == 0) o = options(seed);
    r_ = std::make_unique<Story>(std::move(o));
    ASSERT_TRUE(r_->ready()) << r_->why();
    r_->puts(*r_->world.leader(), 60);
    ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up(); }, 20s)) << r_->why();
    at_ = r_->followers()[0];
    place(at_);
  }
  void place(NodeId id) {
    drill_.reset();
    stage_ = std::make_unique<SimStage>(r_->world, id);
    DrillOptions o;
    o.fork = {1_KiB, 1_KiB};
    drill_ = std::make_unique<Drill>(*r_->world.member(id), *stage_, o, [this, id]() -> std::optional<Duration> {
      return r_->world.stream(id)->pinger().meter().lag(r_->world.member(id)->state().applied().point.position, r_->world.clock(id).now()).high;
    });
  }
  void TearDown() override { drill_.reset(); }
  struct Asked {
    std::optional<Result<DrillReport>> answer;
  };
  std::shared_ptr<Asked> ask() {
    auto asked = std::make_shared<Asked>();
    drill_->drill(r_->world.client_loop(), [asked](Result<DrillReport> r) { asked->answer = std::move(r); });
    return asked;
  }
  Result<DrillReport> drill() {
    const auto asked = ask();
    EXPECT_TRUE(r_->world.run_until([&] { return asked->answer.has_value(); }, 120s)) << r_->why();
    return asked->answer ? *asked->answer : Result<DrillReport>(Error{Code::kDeadline, "no answer"});
  }
  std::string refusal() {
    const auto result = drill();
    return result.ok() ? "drilled" : result.error().code == Code::kRefused ? result.error().message : "not refused: " + result.error().message;
  }
  bool nothing_left(NodeId id) {
    for (const auto& path : r_->world.disk(id).files())
      if (path.starts_with(kForkData) || path.starts_with(kForkLog)) return false;
    return true;
  }
  static std::string text(const DrillReport& report) {
    std::string out;
    for (const auto& c : report.checks) out += c.name + (c.ok ? " ok: " : " FAILED: ") + c.detail + "\n";
    return out;
  }
  static std::vector<std::string> names(const DrillReport& report) {
    std::vector<std::string> out;
    for (const auto& c : report.checks) out.push_back(c.name);
    return out;
  }

  std::unique_ptr<Story> r_;
  NodeId at_;
  std::unique_ptr<SimStage> stage_;
  std::unique_ptr<Drill> drill_;
};

TEST_F(DrillTest, TheForkIsPromotedWhileTheStandbyFollowsOn) {
  make(1);
  const auto asked = ask();
  int written = 0;
  while (!asked->answer && written < 500) {
    r_->puts(*r_->world.leader(), 1);
    if (HasFatalFailure()) return;
    ++written;
  }
  ASSERT_TRUE(asked->answer && asked->answer->ok()) << asked->answer->error().message;
  const auto& report = **asked->answer;
  EXPECT_TRUE(report.passed()) << text(report);
  EXPECT_EQ(names(report), (std::vector<std::string>{"fork", "apply", "state", "promote", "write", "read", "sample", "hash", "follow"}));
  EXPECT_EQ(stage_->served, GroupRole::kPrimary);
  EXPECT_EQ(report.epoch, Epoch(2));
  EXPECT_EQ(report.node, at_);
  EXPECT_EQ(report.region, "west");
  ASSERT_TRUE(report.rto && report.standby_lag) << text(report);
  EXPECT_GE(*report.rto, 300ms) << "the survey alone";
  EXPECT_LT(*report.standby_lag, 2s);
  EXPECT_GT(written, 3) << "the primary was written to meanwhile";
  EXPECT_TRUE(nothing_left(at_));
  // Nothing of it reached anybody.
  for (const auto id : r_->world.ids()) EXPECT_EQ(r_->world.member(id)->epoch(), Epoch(1));
  EXPECT_EQ(r_->world.member(at_)->role(), GroupRole::kStandby);
  ASSERT_TRUE(r_->world.settle()) << r_->why();
}

TEST_F(DrillTest, TheForkHasALineageOfItsOwnAndIsAlone) {
  make(2);
  std::optional<NodeStatus> seen;
  stage_->damage = [&] {
    const auto superblock = wal::read_superblock(r_->world.disk(at_), kForkData);
    ASSERT_TRUE(superblock.ok() && superblock->current >= 0);
    const auto& data = superblock->copies[static_cast<std::size_t>(superblock->current)].data;
    EXPECT_NE(data.lineage, r_->world.member(at_)->lineage());
    EXPECT_EQ(data.lineage, stage_->forked.lineage);
    EXPECT_TRUE(data.lineage.known());
  };
  const auto asked = ask();
  ASSERT_TRUE(r_->world.run_until([&] {
    if (stage_->member && stage_->member->opened.ok() && (*stage_->member->opened)->role() == GroupRole::kPrimary)
      seen = (*stage_->member->opened)->status();
    return asked->answer.has_value();
  }, 120s));
  ASSERT_TRUE(seen);
  ASSERT_EQ(seen->members.size(), 1u);
  EXPECT_EQ(seen->lineage, stage_->forked.lineage);
  EXPECT_TRUE((*asked->answer)->passed()) << text(**asked->answer);
}

TEST_F(DrillTest, WhatTheMemberItselfHoldsIsNotTouched) {
  make(3);
  // Cut off, so that it writes nothing itself: all that changes would be the fork's doing.
  r_->cut_off(at_);
  r_->world.run_for(1s);
  const auto held = [&] {
    std::map<Path, std::string> out;
    for (const auto& path : r_->world.disk(at_).files())
      if (path.starts_with("/wal/log-") || path == "/data/superblock") out[path] = r_->world.disk(at_).contents(path);
    return out;
  };
  std::map<Path, std::string> before;
  stage_->damage = [&] { before = held(); };
  const auto asked = ask();
  std::map<Path, std::string> after;
  ASSERT_TRUE(r_->world.run_until([&] {
    if (stage_->served == GroupRole::kPrimary && after.empty()) after = held();
    return asked->answer.has_value();
  }, 120s));
  EXPECT_GT(before.size(), 1u);
  EXPECT_EQ(after, before);
  const auto& report = **asked->answer;
  EXPECT_TRUE(report.passed()) << text(report);
  EXPECT_GE(report.standby_lag, 1s) << "a standby that is cut off says how long";
}

TEST_F(DrillTest, IsRefusedWhereThereIsNothingToRehearseOrNoRoom) {
  make(4);
  stage_->never_ends = true;
  const auto first = ask();
  ASSERT_TRUE(r_->world.run_until([&] { return stage_->rehearsals == 1; }));
  EXPECT_EQ(refusal().substr(0, 10), "under_way:");
  stage_->cancel("enough");
  ASSERT_TRUE(r_->world.run_until([&] { return first->answer.has_value(); }));
  ASSERT_TRUE(first->answer->ok());
  EXPECT_FALSE((*first->answer)->passed());
  EXPECT_NE(text(**first->answer).find("enough"), std::string::npos);
  EXPECT_TRUE(nothing_left(at_));
  stage_->never_ends = false;

  r_->world.disk(at_).set_capacity(1);
  EXPECT_EQ(refusal().substr(0, 5), "disk:");
  EXPECT_TRUE(nothing_left(at_));
  r_->world.disk(at_).set_capacity(UINT64_MAX);
  EXPECT_EQ(stage_->rehearsals, 1) << "a refused one begins nothing";

  place(*r_->world.leader());
  EXPECT_EQ(refusal().substr(0, 5), "role:");
}

TEST_F(DrillTest, WhereNobodyLeadsItIsRefusedAndNotTakenForDamage) {
  make(6);
  for (const auto id : kStandbys)
    if (id != at_) r_->world.crash(id);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(at_)->leader() == NodeId(); }, 20s)) << r_->why();
  EXPECT_EQ(refusal().substr(0, 10), "no_quorum:");
}

TEST_F(DrillTest, AMemberOnAnEmptyDiskHasNothingToRehearse) {
  make(9);
  drill_.reset();
  r_->world.wipe(at_);
  r_->world.start(at_);
  place(at_);
  EXPECT_EQ(refusal().substr(0, 6), "state:") << "it waits for its group";
  r_->world.run_for(20s);
  EXPECT_EQ(refusal().substr(0, 6), "state:") << "it follows, and is not admitted";
  EXPECT_EQ(stage_->rehearsals, 0);
}

TEST_F(DrillTest, AKilledNodeRemovesAtItsNextStartWhatADrillLeft) {
  make(5);
  stage_->never_ends = true;
  const auto asked = ask();
  ASSERT_TRUE(r_->world.run_until([&] { return stage_->rehearsals == 1; }));
  EXPECT_FALSE(nothing_left(at_));
  drill_.reset();
  r_->world.kill(at_);
  EXPECT_FALSE(nothing_left(at_));
  r_->world.start(at_);
  ASSERT_TRUE(r_->world.member(at_)) << r_->world.open_error(at_);
  EXPECT_TRUE(nothing_left(at_));
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up(); }, 30s)) << r_->why();
  place(at_);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(at_)->leader() != NodeId(); }, 20s)) << r_->why();
  const auto again = drill();
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->passed()) << text(*again);
}

TEST_F(DrillTest, OneFlippedBitInTheLogFailsTheDrillAndNamesIt) {
  make(6);
  stage_->damage = [&] {
    Path first;
    for (const auto& path : r_->world.disk(at_).files())
      if (first.empty() && path.starts_with(kForkLog + "/log-")) first = path;
    r_->world.disk(at_).flip(first, 700, 4);
  };
  const auto report = drill();
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report->passed());
  EXPECT_EQ(report->checks[1].name, "log") << text(*report);
  EXPECT_FALSE(report->checks[1].ok);
  EXPECT_TRUE(nothing_left(at_));
  EXPECT_EQ(r_->world.member(at_)->status().drill.count, 0u) << "only one that passed counts";
}

TEST_F(DrillTest, AForkThatIsNotWhatThisStandbyHoldsFailsTheDrill) {
  make(10);
  const auto failed = [&]() -> std::string {
    const auto report = drill();
    if (!report.ok() || report->passed()) return "none";
    for (const auto& c : report->checks)
      if (!c.ok) return c.name + ": " + c.detail;
    return "";
  };
  stage_->alter = [](Rehearsed& r) { r.state_hash.bytes[7] ^= 1; };
  EXPECT_NE(failed().find("hash: the state hash at"), std::string::npos);
  stage_->alter = [](Rehearsed& r) { r.end->position.hash.bytes[7] ^= 1; };
  EXPECT_NE(failed().find("hash: the chain hash at"), std::string::npos);
  stage_->alter = [](Rehearsed& r) { r.end->term = r.end->term + 1; };
  EXPECT_NE(failed().find("hash: the end of the log was replaced"), std::string::npos);
  stage_->alter = [](Rehearsed& r) { r.end->index = r.end->index + 100; };
  EXPECT_NE(failed().find("hash: the fork's log ends at"), std::string::npos);
  EXPECT_TRUE(nothing_left(at_));
  stage_->alter = {};
  EXPECT_EQ(failed(), "none");
}

TEST_F(DrillTest, AForkIsNoNodesDirectoryAndANodesDirectoryNoFork) {
  make(7);
  stage_->never_ends = true;
  const auto asked = ask();
  ASSERT_TRUE(r_->world.run_until([&] { return stage_->rehearsals == 1; }));
  const ForkMember wrong(r_->world, at_, kForkData, kForkLog, false);
  ASSERT_FALSE(wrong.opened.ok());
  EXPECT_EQ(wrong.opened.error().code, Code::kLineage);
  stage_->cancel("enough");
  ASSERT_TRUE(r_->world.run_until([&] { return asked->answer.has_value(); }));
  drill_.reset();
  r_->world.kill(at_);
  const ForkMember own(r_->world, at_, "/data", "/wal", true);
  ASSERT_FALSE(own.opened.ok());
  EXPECT_EQ(own.opened.error().code, Code::kLineage);
}

TEST_F(DrillTest, AllNodesOfAllRegionsComeToKnowTheNewestThatPassed) {
  make(8);
  const auto report = drill();
  ASSERT_TRUE(report.ok() && report->passed()) << (report.ok() ? text(*report) : report.error().message);
  const auto known = [&](std::uint64_t count) {
    return r_->world.run_until([&] {
      for (const auto id : r_->world.ids())
        if (!r_->world.member(id) || r_->world.member(id)->status().drill.count != count) return false;
      return true;
    }, 20s);
  };
  ASSERT_TRUE(known(1));
  const auto told = r_->world.member(NodeId(1))->status().drill;
  EXPECT_EQ(told.rto_us, static_cast<std::uint64_t>(*report->rto / 1us));
  for (const auto id : r_->world.ids()) EXPECT_EQ(r_->world.member(id)->status().drill, told);
  // It outlives every process.
  drill_.reset();
  for (const auto id : r_->world.ids()) r_->world.kill(id);
  for (const auto id : r_->world.ids()) r_->world.start(id);
  ASSERT_TRUE(known(1));
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up() && r_->leader(); }, 30s)) << r_->why();
  place(*r_->leader());  // a leader may drill too
  ASSERT_TRUE(drill().ok());
  EXPECT_TRUE(known(2));
}

TEST_F(DrillTest, InLeaseModeTheLeaseIsWaitedOut) {
  auto o = options(9);
  o.fence_lease = 2s;
  make(9, std::move(o));
  const auto report = drill();
  ASSERT_TRUE(report.ok() && report->passed()) << (report.ok() ? text(*report) : report.error().message);
  EXPECT_GE(*report->rto, 2s);
}

TEST(DrillLines, WhatIsToldByLinesIsTold) {
  Rehearsed told;
  const auto take = [&](std::string line) {
    EXPECT_EQ(line.back(), '\n');
    line.pop_back();
    return take_line(line, told);
  };
  LogPoint end;
  end.index = Index(70);
  end.term = Term(3);
  end.position = extend({}, Epoch(1), EntryKind::kWrites, 1, "x");
  const auto hash = extend({}, Epoch(1), EntryKind::kWrites, 1, "y").hash;
  ASSERT_TRUE(take(line_of(DrillCheck{"state", false, 1500us, "two\nlines\tand a tab"})).ok());
  ASSERT_TRUE(take(line_of(end, hash)).ok());
  ASSERT_TRUE(take(line_of(Duration(345ms), Epoch(7))).ok());
  ASSERT_EQ(told.checks.size(), 1u);
  EXPECT_EQ(told.checks[0].name, "state");
  EXPECT_FALSE(told.checks[0].ok);
  EXPECT_EQ(told.checks[0].took, 1500us);
  EXPECT_EQ(told.checks[0].detail, "two lines and a tab");
  EXPECT_EQ(told.end, end);
  EXPECT_EQ(told.state_hash, hash);
  EXPECT_EQ(told.rto, Duration(345ms));
  EXPECT_EQ(told.epoch, Epoch(7));
  EXPECT_TRUE(*take(last_line()));
  for (const char* line : {"", "nonsense", "end\t1", "check\ta\t1", "check\ta\t1\tx\t", "promoted\t1", "promoted\tx\t1"})
    EXPECT_FALSE(take_line(line, told).ok()) << line;
}

}  // namespace
}  // namespace leeward::standby
