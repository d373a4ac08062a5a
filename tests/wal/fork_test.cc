// A fork of a log: another log over the same bytes, that neither can harm.
#include "chain.h"

namespace leeward::wal {
namespace {

using test::MemoryDisk;

const Path kFork = "/data/fork";

class ForkTest : public ::testing::Test {
 protected:
  ForkTest() {
    EXPECT_TRUE(disk_.make_dirs("/data").ok());
    log_ = open_log(disk_, random_, small_options());
  }
  // In small batches: a segment that is larger than usual is never recycled.
  void add(SegmentedLog& log, int count, Term term = Term(1)) {
    for (; count > 0; count -= 5) {
      ASSERT_TRUE(log.append(entries_after(log.last(), term, 5, 440)).ok());
      ASSERT_TRUE(log.sync().ok());
    }
  }
  std::unique_ptr<SegmentedLog> open_fork() {
    auto log = SegmentedLog::open(disk_, random_, kFork, small_options());
    EXPECT_TRUE(log.ok()) << log.error().message;
    return log.ok() ? std::move(*log) : nullptr;
  }
  void fork() {
    EXPECT_TRUE(disk_.make_dirs(kFork).ok());
    auto copy = log_->fork(kFork);
    ASSERT_TRUE(copy.ok()) << copy.error().message;
    const auto done = (*copy)();
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  // Every segment's bytes, by name.
  std::map<Path, std::string> segments(const Path& directory) {
    std::map<Path, std::string> out;
    for (const auto& path : disk_.files())
      if (path.starts_with(directory + "/log-")) out[path.substr(directory.size())] = disk_.contents(path);
    return out;
  }
  static std::vector<Entry> all(const LogView& log) {
    std::vector<Entry> out;
    for (Index next = log.base().index + 1; next <= log.last().index; next = out.back().index + 1) {
      const auto read = log.read(next, log.last().index + 1, 1_MiB);
      EXPECT_TRUE(read.ok() && !read->empty()) << (read.ok() ? "" : read.error().message);
      if (!read.ok() || read->empty()) break;
      out.insert(out.end(), read->begin(), read->end());
    }
    return out;
  }

  MemoryDisk disk_;
  os::SeededRandom random_{1};
  std::unique_ptr<SegmentedLog> log_;
};

TEST_F(ForkTest, HoldsWhatWasSyncedAndNothingOfWhatCameLater) {
  add(*log_, 100);
  const HardState state{Term(3), NodeId(2), Index(90)};
  ASSERT_TRUE(log_->set_hard_state(state).ok());
  ASSERT_TRUE(log_->sync().ok());
  const auto held = all(*log_);
  fork();
  add(*log_, 50);
  const auto copy = open_fork();
  ASSERT_TRUE(copy);
  EXPECT_EQ(all(*copy), held);
  EXPECT_EQ(copy->hard_state(), state);
}

TEST_F(ForkTest, WhatIsWrittenWhileTheCopyIsMadeIsNotInIt) {
  add(*log_, 60);
  const auto held = all(*log_);
  ASSERT_TRUE(disk_.make_dirs(kFork).ok());
  auto copy = log_->fork(kFork);
  ASSERT_TRUE(copy.ok());
  // Enough for the segment that is to be copied to be released, and more.
  for (int i = 0; i < 40; ++i) {
    add(*log_, 5);
    ASSERT_TRUE(log_->release(log_->last().index - 1).ok());
  }
  ASSERT_TRUE((*copy)().ok());
  const auto opened = open_fork();
  ASSERT_TRUE(opened);
  EXPECT_EQ(all(*opened), held);
}

TEST_F(ForkTest, NeitherWritesIntoTheOthersSegments) {
  add(*log_, 100);
  fork();
  const auto parent = segments(kDirectory);
  auto copy = open_fork();
  // The fork goes another way, and lets go of all it shares; its segments are
  // never taken for new ones, for they are the parent's too.
  for (int i = 0; i < 60; ++i) {
    add(*copy, 5, Term(9));
    ASSERT_TRUE(copy->release(copy->last().index - 1).ok());
  }
  EXPECT_EQ(segments(kDirectory), parent);
  const auto held = all(*log_);
  copy.reset();
  log_.reset();
  log_ = open_log(disk_, random_, small_options());
  ASSERT_TRUE(log_);
  EXPECT_EQ(all(*log_), held);
}

TEST_F(ForkTest, TheLogGoesOnAndReleasesWithoutHarmToTheFork) {
  add(*log_, 100);
  fork();
  const auto shared = segments(kFork);
  for (int i = 0; i < 60; ++i) {
    add(*log_, 5);
    ASSERT_TRUE(log_->release(log_->last().index - 1).ok());
  }
  EXPECT_EQ(segments(kFork), shared);
  // Without the fork segments are used again.
  ASSERT_TRUE(disk_.remove_all(kFork).ok());
  for (int i = 0; i < 60; ++i) {
    add(*log_, 5);
    ASSERT_TRUE(log_->release(log_->last().index - 1).ok());
  }
  EXPECT_LE(log_->bytes(), 3 * small_options().segment_bytes);
  EXPECT_TRUE(disk_.exists(kDirectory + "/" + std::string(kSpareName)));
}

TEST_F(ForkTest, AFlippedBitOfASharedSegmentIsSeenByTheForkAtItsOpening) {
  add(*log_, 100);
  fork();
  disk_.flip(kDirectory + segments(kDirectory).begin()->first, 700, 1);
  auto copy = SegmentedLog::open(disk_, random_, kFork, small_options());
  ASSERT_FALSE(copy.ok());
  EXPECT_EQ(copy.error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace leeward::wal
