// What the log costs, on the disk that the tests run on. Not a check: run with
//   build/release/bin/wal_test --gtest_also_run_disabled_tests --gtest_filter='*LogBench*'
#include <stdlib.h>

#include <algorithm>
#include <cstdio>

#include "chain.h"
#include "os/clock.h"
#include "os/posix_disk.h"

namespace leeward::wal {
namespace {

class LogBench : public ::testing::Test {
 protected:
  LogBench() {
    const char* base = std::getenv("TMPDIR");
    std::string name = std::string(base != nullptr ? base : "/var/tmp") + "/leeward-wal-bench-XXXXXX";
    root_ = ::mkdtemp(name.data());
  }
  ~LogBench() override { (void)disk_.remove_all(root_); }

  // Appends and syncs `rounds` batches; prints what one took.
  void measure(const char* what, int rounds, int batch, std::size_t size) {
    LogOptions options;
    options.owner = Incarnation(1);
    options.create = true;
    auto log = SegmentedLog::open(disk_, random_, root_ + "/" + what, options);
    ASSERT_TRUE(log.ok()) << log.error().message;
    LogPoint last;
    std::vector<double> took;
    double cpu_us = 0;
    for (int i = 0; i < rounds; ++i) {
      const auto entries = entries_after(last, Term(1), batch, size);
      const Instant start = clock_.now();
      ASSERT_TRUE((*log)->append(entries).ok());
      cpu_us += to_ms(clock_.now() - start) * 1000;
      ASSERT_TRUE((*log)->sync().ok());
      took.push_back(to_ms(clock_.now() - start) * 1000);
      last = point_of(entries.back());
    }
    std::sort(took.begin(), took.end());
    std::printf("%-24s %5d x %4d entries of %6zu B: p50 %8.1f us  p99 %8.1f us; append alone %6.2f us an entry\n", what, rounds,
                batch, size, took[took.size() / 2], took[took.size() * 99 / 100], cpu_us / rounds / batch);
  }

  os::PosixDisk disk_;
  os::SystemClock clock_;
  os::SeededRandom random_{1};
  Path root_;
};

TEST_F(LogBench, DISABLED_AppendAndSync) {
  measure("lone", 5000, 1, 300);
  measure("group", 2000, 100, 300);
  measure("large", 500, 1, 256 * 1024);
}

// The floor: the same writes without a log.
TEST_F(LogBench, DISABLED_TheDiskAlone) {
  auto file = disk_.open(root_ + "/plain", OpenMode::kCreate);
  ASSERT_TRUE(file.ok());
  const std::string zeros(8_MiB, '\0'), data(512, 'x');
  ASSERT_TRUE((*file)->write(0, zeros).ok() && (*file)->sync().ok());
  std::vector<double> took;
  for (int i = 0; i < 5000; ++i) {
    const Instant start = clock_.now();
    ASSERT_TRUE((*file)->write(i * data.size(), data).ok() && (*file)->sync().ok());
    took.push_back(to_ms(clock_.now() - start) * 1000);
  }
  std::sort(took.begin(), took.end());
  std::printf("%-24s p50 %8.1f us  p99 %8.1f us\n", "512 B write and sync", took[2500], took[4950]);
}

// Opening 64 MiB of small entries.
TEST_F(LogBench, DISABLED_Open) {
  LogOptions options;
  options.owner = Incarnation(1);
  options.create = true;
  LogPoint last;
  {
    auto log = SegmentedLog::open(disk_, random_, root_ + "/open", options);
    for (int i = 0; i < 1500; ++i) {
      const auto entries = entries_after(last, Term(1), 100, 300);
      ASSERT_TRUE((*log)->append(entries).ok() && (*log)->sync().ok());
      last = point_of(entries.back());
    }
  }
  const Instant start = clock_.now();
  auto log = SegmentedLog::open(disk_, random_, root_ + "/open", options);
  ASSERT_TRUE(log.ok());
  std::printf("open with %llu entries: %.0f ms\n", static_cast<unsigned long long>(last.index.value()), to_ms(clock_.now() - start));
  const Instant reading = clock_.now();
  std::uint64_t read = 0;
  for (Index at{1}; at <= last.index;) {
    const auto entries = (*log)->read(at, last.index + 1, 1_MiB);
    ASSERT_TRUE(entries.ok());
    read += entries->size();
    at = at + entries->size();
  }
  std::printf("read %llu entries from files: %.2f us each\n", static_cast<unsigned long long>(read), to_ms(clock_.now() - reading) * 1000 / static_cast<double>(read));
}

}  // namespace
}  // namespace leeward::wal
