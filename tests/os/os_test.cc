#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <thread>

#include "os/child_process.h"
#include "os/clock.h"
#include "os/exit_record.h"
#include "os/open_files.h"
#include "os/posix_disk.h"
#include "os/random.h"
#include "os/thread_executor.h"
#include "support/memory_disk.h"

namespace leeward::os {
namespace {

class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "/tmp/leeward-os-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TemporaryDirectory() { (void)PosixDisk().remove_all(path_); }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

TEST(SystemClock, NeverGoesBack) {
  SystemClock clock;
  Instant last = clock.now();
  for (int i = 0; i < 10000; ++i) {
    const Instant now = clock.now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(SeededRandom, GivesTheSameNumbersForTheSameSeed) {
  SeededRandom a(7), b(7), c(8);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const auto x = a.next();
    EXPECT_EQ(x, b.next());
    differs |= x != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(SystemRandom, DiffersBetweenTwo) {
  SystemRandom a, b;
  EXPECT_NE(a.next(), b.next());
}

TEST(ThreadExecutor, RunsCallbacksInTheOrderOfPosting) {
  std::vector<int> seen;
  ThreadExecutor loop;
  for (int i = 0; i < 1000; ++i) loop.post([&seen, i] { seen.push_back(i); });
  loop.start("test");
  for (int i = 1000; i < 2000; ++i) loop.post([&seen, i] { seen.push_back(i); });
  loop.stop();
  loop.join();
  ASSERT_EQ(seen.size(), 2000u);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(seen[i], i);
  EXPECT_EQ(loop.beats(), 2000u);
}

TEST(ThreadExecutor, LosesNothingThatManyThreadsPost) {
  std::uint64_t sum = 0;
  ThreadExecutor loop;
  loop.start("test");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) loop.post([&] { ++sum; });
    });
  for (auto& thread : threads) thread.join();
  loop.stop();
  loop.join();
  EXPECT_EQ(sum, 80000u);
}

TEST(ThreadExecutor, WakesForAPostWhileAsleep) {
  ThreadExecutor loop;
  loop.start("test");
  for (int i = 0; i < 200; ++i) {
    auto gate = std::make_shared<Gate>();  // open() may still be returning when wait() has
    loop.post([gate] { gate->open(); });
    ASSERT_TRUE(gate->wait());
  }
}

TEST(ThreadExecutor, RunsTimersInTheOrderOfTheirTimeAndNotEarly) {
  Gate gate;
  std::vector<int> order;
  const Instant start = SystemClock().now();
  Instant end{};
  ThreadExecutor loop;
  loop.post([&] {
    loop.after(40ms, [&] {
      order.push_back(2);
      end = SystemClock().now();
      gate.open();
    });
    loop.after(10ms, [&] { order.push_back(1); });
    const auto never = loop.after(20ms, [&] { order.push_back(99); });
    loop.cancel(never);
    loop.cancel(123456);
  });
  loop.start("test");
  ASSERT_TRUE(gate.wait());
  EXPECT_GE(end - start, 40ms);
  loop.stop();
  loop.join();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(ThreadExecutor, ATimerThatSetsItselfAgainDoesNotStarveTheInbox) {
  Gate gate;
  std::function<void()> again;
  ThreadExecutor loop;  // last, so that it ends before what its callbacks use
  again = [&] { loop.after(0ms, [&] { again(); }); };
  loop.post([&] { again(); });
  loop.start("test");
  loop.post([&] { gate.open(); });
  EXPECT_TRUE(gate.wait());
}

TEST(ThreadExecutor, KnowsItsOwnThread) {
  bool inside = false;
  ThreadExecutor loop;
  loop.post([&] { inside = loop.on_loop(); });
  loop.start("test");
  loop.stop();
  loop.join();
  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop.on_loop());
}

TEST(ThreadExecutor, SaysSinceWhenACallbackHasBeenRunning) {
  Gate running, release;
  ThreadExecutor loop;
  loop.start("test");
  loop.post([&] {
    running.open();
    release.wait();
  });
  ASSERT_TRUE(running.wait());
  EXPECT_TRUE(loop.busy_since().has_value());
  release.open();
  loop.stop();
  loop.join();
  EXPECT_FALSE(loop.busy_since().has_value());
}

TEST(ThreadExecutor, DropsWhatIsPostedAfterTheStop) {
  bool ran = false;
  ThreadExecutor loop;
  loop.start("test");
  loop.stop();
  loop.post([&] { ran = true; });
  loop.join();
  EXPECT_FALSE(ran);
}

// Both disks keep the same promises as long as nothing crashes.
class AnyDisk : public ::testing::TestWithParam<bool> {
 protected:
  AnyDisk() {
    if (GetParam()) {
      disk_ = std::make_unique<PosixDisk>();
      root_ = directory_.path();
    } else {
      disk_ = std::make_unique<test::MemoryDisk>();
      root_ = "/root";
      EXPECT_TRUE(disk_->make_dirs(root_).ok());
    }
  }
  std::unique_ptr<File> create(const Path& name, std::string_view data) {
    auto file = disk_->open(root_ + "/" + name, OpenMode::kCreate);
    EXPECT_TRUE(file.ok());
    EXPECT_TRUE((*file)->write(0, data).ok());
    return std::move(*file);
  }
  std::string read_all(const Path& name) {
    auto file = disk_->open(root_ + "/" + name, OpenMode::kRead);
    std::string data;
    EXPECT_TRUE(file.ok() && (*file)->read(0, 1 << 20, data).ok());
    return data;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Disk> disk_;
  Path root_;
};
INSTANTIATE_TEST_SUITE_P(Both, AnyDisk, ::testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "Posix" : "Memory"); });

TEST_P(AnyDisk, ReadsBackWhatWasWrittenAndStopsAtTheEnd) {
  auto file = create("f", "hello world");
  std::string out = "> ";
  auto n = file->read(6, 100, out);
  ASSERT_TRUE(n.ok());
  EXPECT_EQ(*n, 5u);
  EXPECT_EQ(out, "> world");
  EXPECT_EQ(*file->read(100, 5, out), 0u);
  EXPECT_EQ(*file->size(), 11u);
  EXPECT_TRUE(file->sync().ok());
}

TEST_P(AnyDisk, AllocatedSpaceReadsAsZerosAndKeepsWhatIsThere) {
  auto file = create("f", "abc");
  ASSERT_TRUE(file->allocate(4096).ok());
  EXPECT_EQ(*file->size(), 4096u);
  EXPECT_EQ(read_all("f"), "abc" + std::string(4093, '\0'));
  ASSERT_TRUE(file->allocate(10).ok());
  EXPECT_EQ(*file->size(), 4096u);
  ASSERT_TRUE(file->truncate(2).ok());
  EXPECT_EQ(read_all("f"), "ab");
}

TEST_P(AnyDisk, NamesAreCreatedRenamedLinkedAndRemoved) {
  create("a", "1");
  EXPECT_EQ(disk_->open(root_ + "/a", OpenMode::kCreate).error().code, Code::kExists);
  EXPECT_EQ(disk_->open(root_ + "/b", OpenMode::kRead).error().code, Code::kNotFound);
  ASSERT_TRUE(disk_->rename(root_ + "/a", root_ + "/b").ok());
  ASSERT_TRUE(disk_->link(root_ + "/b", root_ + "/c").ok());
  ASSERT_TRUE(disk_->make_dirs(root_ + "/d/e").ok());
  EXPECT_EQ(*disk_->list(root_), (std::vector<std::string>{"b", "c", "d"}));
  EXPECT_EQ(read_all("c"), "1");
  ASSERT_TRUE(disk_->remove(root_ + "/b").ok());
  EXPECT_FALSE(disk_->exists(root_ + "/b"));
  EXPECT_TRUE(disk_->exists(root_ + "/c"));
  EXPECT_EQ(disk_->remove(root_ + "/b").error().code, Code::kNotFound);
  ASSERT_TRUE(disk_->remove_all(root_ + "/d").ok());
  ASSERT_TRUE(disk_->remove_all(root_ + "/d").ok());
  EXPECT_FALSE(disk_->exists(root_ + "/d"));
  EXPECT_TRUE(disk_->sync_dir(root_).ok());
  EXPECT_EQ(disk_->list(root_ + "/none").error().code, Code::kNotFound);
  EXPECT_GT(disk_->space(root_)->total_bytes, 0u);
}

TEST_P(AnyDisk, ADirectoryIsLockedOnceAtATime) {
  auto lock = disk_->lock(root_);
  ASSERT_TRUE(lock.ok());
  const auto second = disk_->lock(root_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kInUse);
  lock->reset();
  EXPECT_TRUE(disk_->lock(root_).ok());
}

TEST(PosixDisk, ALockThatIsTakenNamesItsHolder) {
  TemporaryDirectory directory;
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    PosixDisk disk;
    auto lock = disk.lock(directory.path());
    (void)!::write(ready[1], "x", 1);
    ::pause();
    ::_exit(0);
  }
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  PosixDisk disk;
  auto refused = disk.lock(directory.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("process " + std::to_string(child) + " (os_test)"), std::string::npos)
      << refused.error().message;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(disk.lock(directory.path()).ok());  // the lock goes with the process
}

// A character device refuses to be synced: so it shows whether it was asked.
TEST(PosixDisk, OneThatIsNotToSyncAsksNoDisk) {
  const auto sync = [](PosixDisk disk) {
    auto file = disk.open("/dev/null", OpenMode::kReadWrite);
    return file.ok() ? (*file)->sync() : Result<void>(file.error());
  };
  EXPECT_FALSE(sync(PosixDisk()).ok());
  EXPECT_TRUE(sync(PosixDisk(PosixDisk::Syncs::kNever)).ok());
}

TEST(PosixDisk, ErrorsNameThePathAndTheReason) {
  auto file = PosixDisk().open("/nonexistent/file", OpenMode::kRead);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().message, "open /nonexistent/file: No such file or directory");
  auto full = PosixDisk().open("/dev/full", OpenMode::kReadWrite);
  ASSERT_TRUE(full.ok());
  const auto written = (*full)->write(0, "x");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, Code::kNoSpace);
}

TEST(MemoryDisk, ACrashLosesWhatWasNotSynced) {
  test::MemoryDisk disk;
  ASSERT_TRUE(disk.make_dirs("/d").ok());
  auto file = disk.open("/d/f", OpenMode::kCreate);
  ASSERT_TRUE((*file)->write(0, std::string(2048, 'a')).ok());
  ASSERT_TRUE((*file)->sync().ok());
  ASSERT_TRUE(disk.sync_dir("/d").ok());
  ASSERT_TRUE((*file)->write(512, std::string(512, 'b')).ok());
  ASSERT_TRUE(disk.rename("/d/f", "/d/g").ok());
  disk.crash(1, test::MemoryDisk::Tear::kLoseAll);
  EXPECT_EQ(disk.files(), (std::vector<Path>{"/d/f"}));
  EXPECT_EQ(disk.contents("/d/f"), std::string(2048, 'a'));
  EXPECT_FALSE((*file)->write(0, "x").ok());
}

TEST(MemoryDisk, ACrashTearsBySectorsAndByItsSeed) {
  std::set<std::string> outcomes;
  for (std::uint64_t seed = 0; seed < 64; ++seed) {
    std::string first;
    for (int round = 0; round < 2; ++round) {
      test::MemoryDisk disk;
      ASSERT_TRUE(disk.make_dirs("/d").ok());
      auto file = disk.open("/d/f", OpenMode::kCreate);
      ASSERT_TRUE((*file)->write(0, std::string(2048, 'a')).ok());
      ASSERT_TRUE((*file)->sync().ok());
      ASSERT_TRUE(disk.sync_dir("/d").ok());
      ASSERT_TRUE((*file)->write(0, std::string(2048, 'b')).ok());
      disk.crash(seed);
      const std::string after = disk.contents("/d/f");
      ASSERT_EQ(after.size(), 2048u);
      for (int sector = 0; sector < 4; ++sector)
        EXPECT_EQ(after.substr(sector * 512, 512), std::string(512, after[sector * 512]));
      if (round == 0) first = after;
      EXPECT_EQ(after, first) << "seed " << seed;
    }
    outcomes.insert(first);
  }
  EXPECT_GT(outcomes.size(), 8u);
}

class ExitRecordTest : public ::testing::Test {
 protected:
  std::unique_ptr<ExitRecord> start(int at_seconds) {
    auto record = ExitRecord::open(directory_.path() + "/exits", WallTime(std::chrono::seconds(at_seconds)));
    EXPECT_TRUE(record.ok()) << (record.ok() ? "" : record.error().message);
    return std::move(*record);
  }
  static std::pair<std::uint64_t, std::uint64_t> of(const ExitRecord& record, ExitReason reason) {
    const auto& entry = record.ended()[static_cast<std::size_t>(reason)];
    return {entry.count, entry.last_seconds};
  }
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  TemporaryDirectory directory_;
};

TEST_F(ExitRecordTest, AProcessThatSaidNothingWasKilled) {
  auto first = start(100);
  for (const ExitReason reason : {ExitReason::kClean, ExitReason::kSignal, ExitReason::kUnknown}) EXPECT_EQ(of(*first, reason), Pair(0, 0));
  first->alive(WallTime(std::chrono::seconds(150)));
  first.reset();
  EXPECT_EQ(of(*start(200), ExitReason::kUnknown), Pair(1, 150));
  EXPECT_EQ(of(*start(300), ExitReason::kUnknown), Pair(2, 200));
}

TEST_F(ExitRecordTest, TheLastWordIsCountedOnce) {
  auto first = start(100);
  first->ends(ExitReason::kSignal, WallTime(std::chrono::seconds(110)));
  first->ends(ExitReason::kClean, WallTime(std::chrono::seconds(120)));
  auto second = start(200);
  EXPECT_EQ(of(*second, ExitReason::kClean), Pair(1, 120));
  EXPECT_EQ(of(*second, ExitReason::kSignal), Pair(0, 0));
}

TEST_F(ExitRecordTest, NothingIsSaidAfterACrash) {
  auto first = start(100);
  first->ends_by(ExitReason::kAssertion);
  first->ends_by(ExitReason::kSignal);  // the abort that follows
  first->alive(WallTime(std::chrono::seconds(110)));
  first->ends(ExitReason::kClean, WallTime(std::chrono::seconds(120)));
  auto second = start(200);
  EXPECT_EQ(of(*second, ExitReason::kAssertion), Pair(1, 100));
  EXPECT_EQ(of(*second, ExitReason::kSignal), Pair(0, 0));
  EXPECT_EQ(of(*second, ExitReason::kClean), Pair(0, 0));
}

TEST_F(ExitRecordTest, AFileOfNoSenseIsBegunAnew) {
  start(100);
  const int file = ::open((directory_.path() + "/exits").c_str(), O_WRONLY);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::pwrite(file, "garbage", 7, 0), 7);
  ::close(file);
  EXPECT_EQ(of(*start(200), ExitReason::kUnknown), Pair(0, 0));
  EXPECT_EQ(of(*start(300), ExitReason::kUnknown), Pair(1, 200));
}

// Run by the tests below, in a process of its own.
TEST(ChildProcess, DISABLED_Says) {
  int files = 0;
  for (int fd = 3; fd < 1024; ++fd) files += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  std::printf("files %d, home %s\n", files, std::getenv("PATH") != nullptr ? "known" : "unknown");
}
TEST(ChildProcess, DISABLED_Waits) {
  std::printf("waits\n");
  std::fflush(stdout);
  end_with_parent();
  for (;;) ::pause();
}

std::vector<std::string> child(const char* test) {
  return {std::string("--gtest_filter=ChildProcess.DISABLED_") + test, "--gtest_also_run_disabled_tests"};
}

TEST(ChildProcess, TellsItsLinesAndHowItEndedAndInheritsNothing) {
  const int open = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  auto started = ChildProcess::start(child("Says"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  std::vector<std::string> lines;
  std::optional<std::string> ended;
  do {
    ended = (*started)->ended();
    for (auto& line : (*started)->lines()) lines.push_back(std::move(line));
    ::usleep(1000);
  } while (!ended);
  EXPECT_EQ(*ended, "");
  EXPECT_NE(std::find(lines.begin(), lines.end(), "files 0, home unknown"), lines.end()) << lines.size();
  ::close(open);
}

TEST(ChildProcess, IsKilledWhenNobodyWantsItAnyMore) {
  auto started = ChildProcess::start(child("Waits"));
  ASSERT_TRUE(started.ok()) << started.error().message;
  const auto waits = [&] {
    const auto lines = (*started)->lines();
    return std::find(lines.begin(), lines.end(), "waits") != lines.end();
  };
  while (!waits() && !(*started)->ended()) ::usleep(1000);
  EXPECT_FALSE((*started)->ended());
  const int pid = (*started)->pid();
  started->reset();
  EXPECT_NE(::kill(pid, 0), 0) << "it is gone, and was waited for";
}

TEST(OpenFiles, ConnectionsLeaveTheStateItsFiles) {
  for (const std::uint64_t limit : {256u, 1024u, 4096u, 1'048'576u}) {
    const auto shares = share_connections(limit, 512);
    EXPECT_GE(shares.other, 8u) << limit;
    EXPECT_LE(shares.client + shares.peer + 3 * shares.other, std::max<std::uint64_t>(limit, 704 + 128) - 704) << limit;
  }
  EXPECT_GT(share_connections(1'048'576, 512).client, 100'000u);
  EXPECT_LT(share_connections(1024, 512).client, 320u);
  EXPECT_GT(share_connections(4096, 64).client, share_connections(4096, 2048).client);
}

TEST(OpenFiles, TheSoftLimitIsRaisedToTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = std::min<rlim_t>(256, before.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(raise_open_files(), before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace leeward::os
