#include <algorithm>

#include "chain.h"

namespace leeward::wal {
namespace {

using test::MemoryDisk;

// A small directory with all there is: rotation, a cut, hard states, release.
class OfflineTest : public ::testing::Test {
 protected:
  OfflineTest() {
    EXPECT_TRUE(disk_.make_dirs("/data").ok());
    EXPECT_TRUE(SuperblockFile::create(disk_, "/data", {.cluster_name = "c", .node = NodeId(1), .incarnation = small_options().owner}).ok());
    LogOptions options = small_options();
    options.segment_bytes = 8192;
    auto log = open_log(disk_, random_, options);
    for (int i = 0; i < 30; ++i) add(*log, entries_after(model_.last(), Term(1), 1 + i % 3, 100 + 37 * i % 900));
    add(*log, entries_after(model_.point(model_.last().index - 4), Term(2), 2));
    EXPECT_TRUE(log->set_hard_state({Term(2), NodeId(1), Index(10)}).ok());
    EXPECT_TRUE(log->sync().ok());
    EXPECT_TRUE(log->release(Index(15)).ok());
    model_.move_base(log->base());
    add(*log, entries_after(model_.last(), Term(2), 3, 200));
  }
  void add(SegmentedLog& log, const std::vector<Entry>& entries) {
    EXPECT_TRUE(log.append(entries).ok());
    EXPECT_TRUE(log.sync().ok());
    model_.append(entries);
  }
  VerifyReport check(bool full = true) {
    auto report = verify(disk_, "/data", kDirectory, full);
    EXPECT_TRUE(report.ok());
    return report.ok() ? std::move(*report) : VerifyReport{};
  }

  MemoryDisk disk_;
  os::SeededRandom random_{5};
  Model model_;
};

TEST_F(OfflineTest, ASoundDirectoryHasNoFaults) {
  for (const bool full : {false, true}) {
    const auto report = check(full);
    EXPECT_TRUE(report.sound()) << report.faults[0].error().message;
    EXPECT_GT(report.segments, 1u);
  }
  const auto report = check();
  EXPECT_EQ(report.base, model_.base);
  EXPECT_EQ(report.last, model_.last());
  EXPECT_EQ(report.hard_state.term, Term(2));
}

TEST_F(OfflineTest, AFlippedBitInAnyByteOfAnyFileIsFound) {
  std::uint64_t flipped = 0;
  for (const Path& path : disk_.files()) {
    if (path.ends_with(kSpareName)) continue;  // holds nothing
    const std::size_t size = disk_.contents(path).size();
    for (std::size_t at = 0; at < size; at += kEvery) {
      const auto mask = static_cast<std::uint8_t>(1u << (at % 8));
      disk_.flip(path, at, mask);
      const auto report = check();
      ASSERT_FALSE(report.sound()) << path << " at " << at;
      const auto& fault = report.faults.front();
      ASSERT_EQ(fault.file, path) << at;
      ASSERT_LE(fault.offset, at) << path;
      disk_.flip(path, at, mask);
      ++flipped;
    }
  }
  EXPECT_GT(flipped, 30000u / kEvery);
  EXPECT_TRUE(check().sound());
}

// What holds for verify holds for a start: a flipped bit in what was
// acknowledged is refused, never cut.
TEST_F(OfflineTest, AFlippedBitInTheLogNeverCostsAnAcknowledgedEntryAtAStart) {
  LogOptions options = small_options();
  options.segment_bytes = 8192;
  for (const Path& path : disk_.files()) {
    if (!path.starts_with(kDirectory) || path.ends_with(kSpareName)) continue;
    const std::string whole = disk_.contents(path);
    for (std::size_t at = 0; at < whole.size(); at += 3 * kEvery) {
      disk_.flip(path, at, 0x40);
      auto log = SegmentedLog::open(disk_, random_, kDirectory, options);
      if (log.ok()) {
        ASSERT_EQ((*log)->last(), model_.last()) << path << " at " << at;  // the bit was beyond the end
      } else {
        ASSERT_TRUE(log.error().code == Code::kCorrupt) << log.error().message;
      }
      disk_.overwrite(path, 0, whole);
    }
  }
}

// Any damage at all: a start refuses, or shows a prefix of what was handed in; it never invents or crashes.
TEST_F(OfflineTest, RandomDamageNeverInventsAnEntry) {
  LogOptions options = small_options();
  options.segment_bytes = 8192;
  std::map<Path, std::string> whole;
  for (const Path& path : disk_.files()) whole[path] = disk_.contents(path);
  unsigned opened = 0;
  for (std::uint64_t seed = 1; seed <= 3000; seed += kEvery) {
    os::SeededRandom random(seed);
    MemoryDisk disk;
    ASSERT_TRUE(disk.make_dirs(kDirectory).ok());
    const Path target = std::next(whole.begin(), static_cast<std::ptrdiff_t>(random.below(whole.size())))->first;
    for (const auto& [path, data] : whole) {
      std::string damaged = data;
      for (auto n = path == target ? 1 + random.below(3) : 0; n > 0; --n) {
        const std::size_t sectors = damaged.size() / kSector;
        const std::size_t at = random.below(sectors) * kSector;
        switch (random.below(4)) {
          case 0: damaged[at + random.below(kSector)] ^= static_cast<char>(1 + random.below(255)); break;
          case 1: damaged.replace(at, kSector, kSector, '\0'); break;
          case 2: damaged.replace(at, kSector, damaged, random.below(sectors) * kSector, kSector); break;
          case 3: if (random.below(8) == 0) damaged.resize(std::max(at, kSector)); break;
        }
      }
      auto file = disk.open(path, OpenMode::kCreate);
      ASSERT_TRUE(file.ok() && (*file)->write(0, damaged).ok());
    }
    ASSERT_TRUE(verify(disk, "/data", kDirectory, true).ok());
    auto log = SegmentedLog::open(disk, random, kDirectory, options);
    if (!log.ok()) continue;
    ++opened;
    const Index base = (*log)->base().index, last = (*log)->last().index;
    ASSERT_GE(base, model_.base.index) << "seed " << seed;
    if (base == last) continue;
    const auto entries = (*log)->read(base + 1, last + 1, SIZE_MAX);
    ASSERT_TRUE(entries.ok()) << "seed " << seed << entries.error().message;
    for (const Entry& entry : *entries) {
      const auto expected = model_.entries.find(entry.index);
      const bool overwritten = entry.term == Term(1);
      ASSERT_TRUE(overwritten || (expected != model_.entries.end() && expected->second == entry)) << "seed " << seed;
    }
  }
  EXPECT_GT(opened, 50u / kEvery);
}

TEST(Replay, GarbageInRecordsIsAFaultAndNothingElse) {
  os::SeededRandom random(3);
  std::string valid;
  encode(entry_after({}, Term(1), "payload"), valid);
  for (int i = 0; i < 200000; ++i) {
    std::string payload = random.below(2) == 0 ? valid : std::string(random.below(120), '\0');
    for (auto n = 1 + random.below(6); n > 0 && !payload.empty(); --n) payload[random.below(payload.size())] = static_cast<char>(random.next());
    payload.resize(random.below(payload.size() + 1));
    Replay replay;
    const auto type = static_cast<RecordType>(random.below(5));
    const bool taken = !replay.take({type, payload}, {}).has_value();
    EXPECT_TRUE(!taken || type == RecordType::kHardState || replay.last.index == Index(1));
  }
}

TEST_F(OfflineTest, AQuickLookFindsDamagedHeadersAndHeads) {
  disk_.flip(disk_.files().front(), 20, 1);
  EXPECT_FALSE(check(false).sound());
}

TEST_F(OfflineTest, FaultsInSeveralSegmentsAreAllNamed) {
  std::vector<Path> logs = disk_.files();
  std::erase_if(logs, [](const Path& p) { return !p.ends_with(".seg") || p.ends_with(kSpareName); });
  ASSERT_GE(logs.size(), 3u);
  disk_.flip(logs[0], 700, 1);
  disk_.flip(logs[1], 3, 1);
  disk_.flip("/data/superblock", 4096 + 9, 1);
  const auto report = check();
  ASSERT_EQ(report.faults.size(), 3u);
  EXPECT_EQ(report.faults[0].offset, 4096u);
  EXPECT_EQ(report.faults[1].file, logs[1]);
  EXPECT_EQ(report.faults[2].offset, 512u);
}

TEST_F(OfflineTest, AMissingSuperblockLogOrSegmentIsAFault) {
  std::vector<Path> logs = disk_.files();
  std::erase_if(logs, [](const Path& p) { return !p.ends_with(".seg"); });
  ASSERT_TRUE(disk_.remove(logs[1]).ok());
  EXPECT_FALSE(check().sound());
  logs.erase(logs.begin() + 1);
  for (const auto& path : logs) EXPECT_TRUE(disk_.remove(path).ok());
  EXPECT_FALSE(check().sound());
  ASSERT_TRUE(disk_.remove("/data/superblock").ok());
  EXPECT_EQ(verify(disk_, "/data", kDirectory, true).error().code, Code::kNotFound);
}

TEST_F(OfflineTest, ALogOfAnotherDirectoryIsAFaultInEachSegment) {
  ASSERT_TRUE(disk_.remove(superblock_path("/data")).ok());
  ASSERT_TRUE(SuperblockFile::create(disk_, "/data", {.cluster_name = "c", .node = NodeId(1), .incarnation = Incarnation(78)}).ok());
  for (const bool full : {false, true}) {
    const auto report = check(full);
    EXPECT_EQ(report.faults.size(), report.segments);
    for (const Fault& fault : report.faults) {
      EXPECT_EQ(fault.code, Code::kLineage) << fault.what;
      EXPECT_NE(fault.what.find("incarnation 77, the superblock's is 78"), std::string::npos) << fault.what;
    }
  }
}

TEST_F(OfflineTest, BytesBehindTheSuperblockAreFoundAndCutOffByAStart) {
  const Path path = superblock_path("/data");
  const std::string whole = disk_.contents(path);
  {
    auto file = disk_.open(path, OpenMode::kReadWrite);
    ASSERT_TRUE(file.ok() && (*file)->write(whole.size(), "more").ok());
  }
  for (const bool full : {false, true}) {
    const auto report = check(full);
    ASSERT_EQ(report.faults.size(), 1u);
    EXPECT_EQ(report.faults[0].file, path);
    EXPECT_EQ(report.faults[0].offset, whole.size());
    EXPECT_TRUE(report.faults[0].mends);
  }
  ASSERT_TRUE(SuperblockFile::open(disk_, "/data").ok());
  EXPECT_EQ(disk_.contents(path), whole);
  EXPECT_TRUE(check().sound());
}

TEST_F(OfflineTest, DumpsEntriesOfARange) {
  std::vector<Entry> seen;
  const Index from = model_.last().index - 2;
  ASSERT_TRUE(dump_log(disk_, kDirectory, from, model_.last().index, [&](const DumpedEntry& d) {
                seen.push_back(d.entry);
                seen.back().payload = Bytes::copy(d.entry.payload.view());
                EXPECT_GT(d.offset, 0u);
                EXPECT_TRUE(disk_.exists(d.file));
              }).ok());
  ASSERT_GE(seen.size(), 2u);
  EXPECT_EQ(seen.back(), model_.entries.at(model_.last().index - 1));
}

TEST_F(OfflineTest, ADumpStopsAtDamage) {
  const Path last = [&] {
    std::vector<Path> logs = disk_.files();
    std::erase_if(logs, [](const Path& p) { return !p.ends_with(".seg") || p.ends_with(kSpareName); });
    return logs.back();
  }();
  disk_.flip(last, 600, 1);
  std::uint64_t seen = 0;
  EXPECT_EQ(dump_log(disk_, kDirectory, Index(0), Index(UINT64_MAX), [&](const DumpedEntry&) { ++seen; }).error().code, Code::kCorrupt);
  EXPECT_GT(seen, 0u);
}

TEST_F(OfflineTest, TheSuperblockIsShownCopyByCopy) {
  disk_.flip("/data/superblock", 2 * 4096 + 100, 1);
  const auto text = dump_superblock(disk_, "/data");
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("copy 0 (current)"), std::string::npos);
  EXPECT_NE(text->find("cluster: c"), std::string::npos);
  EXPECT_NE(text->find("copy 2\n  the copy is damaged"), std::string::npos) << *text;
}

}  // namespace
}  // namespace leeward::wal
