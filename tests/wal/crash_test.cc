// Crashes and kills at any call of the disk, over many seeds: what sync()
// acknowledged is there afterwards, nothing else is but a prefix of what was
// handed in after it.
#include <cstdlib>

#include "chain.h"

namespace leeward::wal {
namespace {

using test::MemoryDisk;

class Workload {
 public:
  explicit Workload(std::uint64_t seed, bool honest = true) : seed_(seed), random_(seed), salts_(seed + 1) {
    EXPECT_TRUE(disk_.make_dirs("/data").ok());
    disk_.ignore_syncs(!honest);
    options_ = small_options();
    options_.segment_bytes = 4096u << random_.below(4);
    options_.batch_bytes = random_.below(2) == 0 ? 1500 : 1 << 20;
    options_.cache_bytes = random_.below(3) * 3000;
  }

  // One life of the process, to its crash, and what the next one finds.
  void live_and_die() {
    ++life_;
    disk_.power_off_after(random_.below(120));
    auto opened = SegmentedLog::open(disk_, salts_, kDirectory, options_);
    if (opened.ok()) {
      check_recovered(**opened);
      if (::testing::Test::HasFailure()) return;
      for (int i = 0; i < 60 && disk_.powered(); ++i) step(**opened);
      opened->reset();
    } else {
      ASSERT_FALSE(disk_.powered()) << where() << opened.error().message;
    }
    const std::uint64_t fate = random_.below(8);
    if (fate == 0) {
      disk_.kill();
    } else {
      disk_.crash(random_.next());
    }
    disk_.set_capacity(UINT64_MAX);
    disk_.refuse_writes("");
    check_offline();
  }

  void check_last_life() {
    auto log = SegmentedLog::open(disk_, salts_, kDirectory, options_);
    ASSERT_TRUE(log.ok()) << where() << log.error().message;
    check_recovered(**log);
    if (!disk_.exists("/data/superblock")) {
      ASSERT_TRUE(SuperblockFile::create(disk_, "/data", {.incarnation = small_options().owner}).ok());
    }
    const auto report = verify(disk_, "/data", kDirectory, true);
    ASSERT_TRUE(report.ok()) << where() << report.error().message;
    // A life that ended between two segments, and then wrote nothing, leaves a sealed one last.
    for (const auto& fault : report->faults) EXPECT_EQ(fault.code, Code::kNotFound) << where() << fault.error().message;
    EXPECT_EQ(report->last, (*log)->last());
  }

 private:
  std::string where() const { return "seed " + std::to_string(seed_) + ", life " + std::to_string(life_) + ": "; }

  void step(SegmentedLog& log) {
    switch (random_.below(12)) {
      case 0: case 1: case 2: case 3: return append(log);
      case 4: return overwrite(log);
      case 5: return set_hard_state(log);
      case 6: return release(log);
      case 7: return change_space();
      case 8: return random_.below(6) == 0 ? reset(log) : sync(log);
      default: return sync(log);
    }
  }

  std::vector<Entry> make(LogPoint before, int count) {
    std::vector<Entry> entries;
    for (int i = 0; i < count; ++i) {
      const std::size_t size = random_.below(10) == 0 ? random_.below(6000) : random_.below(300);
      // Zeros in payloads look like sectors that were never written.
      std::string payload(size, random_.below(3) == 0 ? '\0' : static_cast<char>(random_.below(256)));
      entries.push_back(entry_after(before, term_, std::move(payload), random_.below(5) == 0 ? EntryKind::kNoop : EntryKind::kWrites));
      before = point_of(entries.back());
    }
    return entries;
  }

  void take(SegmentedLog& log, const std::vector<Entry>& entries) {
    const auto done = log.append(entries);
    if (!done.ok()) return expect_power_off(done.error());
    now_.append(entries);
    ASSERT_TRUE(holds(log, now_)) << where();
  }
  void append(SegmentedLog& log) { take(log, make(now_.last(), 1 + static_cast<int>(random_.below(6)))); }
  void overwrite(SegmentedLog& log) {
    if (now_.last().index <= committed_) return;
    term_ = term_ + 1;
    const Index at = committed_ + 1 + random_.below(now_.last().index - committed_);
    if (at <= now_.base.index) return;
    take(log, make(now_.point(at - 1), 1 + static_cast<int>(random_.below(4))));
  }
  void set_hard_state(SegmentedLog& log) {
    const HardState next{term_, NodeId(1 + random_.below(3)), committed_};
    const auto done = log.set_hard_state(next);
    if (!done.ok()) return expect_power_off(done.error());
    now_.hard_state = next;
    EXPECT_EQ(log.hard_state(), next);
  }
  void sync(SegmentedLog& log) {
    attempts_.push_back(now_);
    const auto done = log.sync();
    if (!done.ok()) {
      if (done.error().code == Code::kNoSpace) return;  // may be in the files in part, is not acknowledged
      return expect_power_off(done.error());
    }
    attempts_.clear();
    acknowledged_ = now_;
    if (random_.below(2) == 0) committed_ = std::max(committed_, now_.last().index - random_.below(1 + std::min<std::uint64_t>(5, now_.last().index - std::max(committed_, now_.base.index))));
  }
  void release(SegmentedLog& log) {
    if (committed_ <= now_.base.index) return;
    released_ = std::max(released_, now_.base.index + random_.below(1 + (committed_ - now_.base.index)));
    const auto done = log.release(released_);
    if (!done.ok()) return expect_power_off(done.error());
    ASSERT_LE(log.base().index, released_) << where();
    follow_base(log.base());
    ASSERT_TRUE(holds(log, now_)) << where();
  }
  void reset(SegmentedLog& log) {
    LogPoint point{now_.last().index + random_.below(20), term_, now_.last().position};
    point.position.index = point.position.index + 3;
    resetting_ = point;
    const auto done = log.reset(point);
    if (!done.ok()) {
      if (done.error().code == Code::kNoSpace) return resetting_.reset();
      return expect_power_off(done.error());
    }
    after_reset(point, now_.hard_state);
    ASSERT_TRUE(holds(log, now_)) << where();
  }
  void after_reset(const LogPoint& point, const HardState& state) {
    now_ = Model{point, {}, state};
    acknowledged_ = now_;
    committed_ = released_ = point.index;
    resetting_.reset();
    attempts_.clear();
  }
  void change_space() {
    disk_.refuse_writes(random_.below(3) == 0 ? "wal" : "", random_.below(6));
    disk_.set_capacity(random_.below(3) == 0 ? 30000 + random_.below(60000) : UINT64_MAX);
  }

  void expect_power_off(const Error& error) { ASSERT_FALSE(disk_.powered()) << where() << error.message; }

  void follow_base(const LogPoint& base) {
    ASSERT_EQ(now_.point(base.index), base) << where();
    now_.move_base(base);
    acknowledged_.move_base(base);
    for (Model& attempt : attempts_) attempt.move_base(base);
  }

  // Sets both models to what the log holds, if that is allowed.
  void check_recovered(SegmentedLog& log) {
    if (resetting_ && log.base() == *resetting_) {
      ASSERT_EQ(log.last(), *resetting_) << where();
      after_reset(*resetting_, log.hard_state());
      return;
    }
    resetting_.reset();
    const LogPoint base = log.base();
    ASSERT_LE(base.index, released_) << where() << "the base moved beyond what was released";
    ASSERT_GE(base.index, acknowledged_.base.index > base.index ? base.index : acknowledged_.base.index) << where();
    Model found = read_all(log);
    // A sync that failed or was cut off may have come as far as any of its batches.
    bool allowed = matches(found, acknowledged_) && same_vote(found, acknowledged_);
    for (const Model& attempt : attempts_)
      allowed |= is_prefix_beyond(found, attempt, acknowledged_) && (same_vote(found, attempt));
    ASSERT_TRUE(allowed) << where() << "the log holds " << base.index.value() << " to " << found.last().index.value()
                         << ", term " << found.hard_state.term.value() << "; acknowledged was up to "
                         << acknowledged_.last().index.value() << ", term " << acknowledged_.hard_state.term.value()
                         << "; attempts since: " << attempts_.size();
    ASSERT_LE(found.hard_state.commit, std::max(found.last().index, found.base.index)) << where();
    now_ = acknowledged_ = found;
    attempts_.clear();
    committed_ = std::min(std::max(committed_, base.index), now_.last().index);
  }

  Model read_all(const SegmentedLog& log) {
    Model model{log.base(), {}, log.hard_state()};
    for (Index next = log.base().index + 1; next <= log.last().index;) {
      const auto read = log.read(next, log.last().index + 1, 100000);
      EXPECT_TRUE(read.ok()) << where() << (read.ok() ? "" : read.error().message);
      if (!read.ok()) break;
      for (const auto& e : *read) model.entries.emplace(e.index, e);
      next = next + read->size();
    }
    return model;
  }

  static bool same_vote(const Model& a, const Model& b) {
    return a.hard_state.term == b.hard_state.term && a.hard_state.vote == b.hard_state.vote;
  }
  // Equal where both have entries, and the same end.
  static bool matches(const Model& found, const Model& expected) {
    if (found.last() != expected.last()) return false;
    for (const auto& [index, entry] : expected.entries)
      if (index > found.base.index && found.entries.at(index) != entry) return false;
    return true;
  }
  // `found` is a prefix of `next` that keeps all that `next` has in common with `old`.
  static bool is_prefix_beyond(const Model& found, const Model& next, const Model& old) {
    for (const auto& [index, entry] : found.entries) {
      const auto expected = next.entries.find(index);
      if (index > next.base.index && (expected == next.entries.end() || expected->second != entry)) return false;
    }
    for (const auto& [index, entry] : old.entries) {
      const auto kept = next.entries.find(index);
      if (kept == next.entries.end() || kept->second != entry) break;
      if (index > found.last().index) return false;
    }
    return true;
  }

  void check_offline() {
    if (!disk_.exists(kDirectory)) return;
    const auto report = verify(disk_, "/data", kDirectory, true);
    if (!report.ok()) return;  // not even a log yet
    for (const auto& fault : report->faults) {
      const bool expected = fault.code == Code::kNotFound || fault.kind == Fault::Kind::kTornTail || fault.mends;
      EXPECT_TRUE(expected) << where() << fault.error().message;
    }
  }

  std::uint64_t seed_;
  int life_ = 0;
  os::SeededRandom random_, salts_;
  MemoryDisk disk_;
  LogOptions options_;
  Model now_, acknowledged_;
  Term term_{1};
  Index committed_, released_;
  std::vector<Model> attempts_;   // what each sync since the last acknowledged one was to make durable
  std::optional<LogPoint> resetting_;
};

void run_lives(std::uint64_t seed, int lives) {
  Workload workload(seed);
  for (int i = 0; i < lives && !::testing::Test::HasFailure(); ++i) workload.live_and_die();
  if (!::testing::Test::HasFailure()) workload.check_last_life();
}

TEST(LogCrash, WhatSyncAcknowledgedSurvivesCrashesAtAnyCall) {
  const char* runs = std::getenv("LEEWARD_WAL_SEEDS");
  const std::uint64_t seeds = runs != nullptr ? std::strtoull(runs, nullptr, 10) : 1500 / kEvery;
  for (std::uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) run_lives(seed, 6);
}

// The test above must be able to fail: a disk that only pretends to sync loses writes.
TEST(LogCrash, ADiskThatOnlyPretendsToSyncIsCaught) {
  int lost = 0;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    MemoryDisk disk;
    os::SeededRandom salts(seed);
    ASSERT_TRUE(disk.make_dirs("/data").ok());
    auto log = open_log(disk, salts);
    disk.ignore_syncs(true);
    ASSERT_TRUE(log->append(entries_after({}, Term(1), 3)).ok());
    ASSERT_TRUE(log->sync().ok());
    disk.crash(seed, MemoryDisk::Tear::kLoseAll);
    disk.ignore_syncs(false);
    lost += open_log(disk, salts)->last().index != Index(3);
  }
  EXPECT_EQ(lost, 50);
}

// The kill case: what a killed process wrote and never synced is found in the
// page cache; once open() has shown it, it must survive a crash too.
TEST(LogCrash, WhatOpenShowedAfterAKillIsDurable) {
  for (std::uint64_t cut = 1; cut < 40; ++cut) {
    MemoryDisk disk;
    os::SeededRandom salts(cut);
    ASSERT_TRUE(disk.make_dirs("/data").ok());
    auto log = open_log(disk, salts);
    disk.power_off_after(cut);
    for (int i = 0; i < 40 && disk.powered(); ++i) {
      ASSERT_TRUE(log->append(entries_after(log->last(), Term(1), 2, 700)).ok());
      (void)log->sync();  // the one that fails is the point
    }
    disk.kill();
    const LogPoint shown = open_log(disk, salts)->last();
    disk.crash(cut, MemoryDisk::Tear::kLoseAll);
    EXPECT_EQ(open_log(disk, salts)->last(), shown) << "cut " << cut;
  }
}

}  // namespace
}  // namespace leeward::wal
