#include <stdlib.h>

#include <atomic>
#include <thread>

#include "base/crc32c.h"
#include "os/posix_disk.h"

#include "chain.h"

namespace leeward::wal {
namespace {

using test::MemoryDisk;

class LogTest : public ::testing::Test {
 protected:
  LogTest() { EXPECT_TRUE(disk_.make_dirs("/data").ok()); }
  void open(const LogOptions& options = small_options()) { log_ = open_log(disk_, random_, options); }
  void reopen() {
    log_.reset();
    open();
  }
  void append(const std::vector<Entry>& entries) {
    const auto done = log_->append(entries);
    ASSERT_TRUE(done.ok()) << done.error().message;
    model_.append(entries);
  }
  void add(int count, std::size_t size = 40, Term term = Term(1)) { append(entries_after(model_.last(), term, count, size)); }
  void sync() {
    const auto done = log_->sync();
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  Path segment(std::uint64_t number) { return kDirectory + "/" + segment_name(number); }
  // Offset of the first sector that is all zero, from the second on.
  std::uint64_t used(const Path& path) {
    const std::string data = disk_.contents(path);
    std::uint64_t at = data.size();
    while (at > 0 && all_zero(std::string_view(data).substr(at - kSector, kSector))) at -= kSector;
    return at;
  }
  Error open_error() {
    log_.reset();
    auto log = SegmentedLog::open(disk_, random_, kDirectory, small_options());
    return log.ok() ? Error{Code::kInvalid, "it opened"} : log.error();
  }

  MemoryDisk disk_;
  os::SeededRandom random_{1};
  std::unique_ptr<SegmentedLog> log_;
  Model model_;
};

TEST_F(LogTest, AnEmptyLogHasNothingAndComesBackAsThat) {
  open();
  EXPECT_EQ(log_->last(), LogPoint{});
  EXPECT_EQ(log_->hard_state(), HardState{});
  EXPECT_EQ(log_->read(Index(1), Index(2), 100).error().code, Code::kNotFound);
  EXPECT_EQ(log_->read(Index(0), Index(2), 100).error().code, Code::kCompacted);
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, EntriesAreReadBeforeAndAfterTheirSyncAndAfterAReopen) {
  open();
  add(10);
  EXPECT_TRUE(holds(*log_, model_));
  sync();
  EXPECT_TRUE(holds(*log_, model_));
  add(100, 300);
  sync();
  EXPECT_TRUE(holds(*log_, model_));
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, OneSyncIsOneWriteAndOneFdatasync) {
  open();
  add(5);
  ASSERT_TRUE(log_->set_hard_state({Term(1), NodeId(2), Index(0)}).ok());
  const auto operations = disk_.operations(), syncs = disk_.syncs();
  sync();
  EXPECT_EQ(disk_.operations() - operations, 2u);
  EXPECT_EQ(disk_.syncs() - syncs, 1u);
  sync();  // nothing to do
  EXPECT_EQ(disk_.operations() - operations, 2u);
}

TEST_F(LogTest, ReadsKeepToTheirBoundButAlwaysGiveOne) {
  open();
  add(20, 1000);
  sync();
  for (const Index from : {Index(1), Index(19)}) {
    EXPECT_EQ(log_->read(from, Index(21), 10)->size(), 1u);
    EXPECT_EQ(log_->read(from, Index(21), 2500)->size(), 2u);
    EXPECT_EQ(log_->read(from, from + 1, 100000)->size(), 1u);
  }
}

TEST_F(LogTest, HardStateComesBack) {
  open();
  add(3);
  const HardState state{Term(7), NodeId(3), Index(2)};
  ASSERT_TRUE(log_->set_hard_state(state).ok());
  EXPECT_EQ(log_->hard_state(), state);
  sync();
  reopen();
  EXPECT_EQ(log_->hard_state(), state);
  // Across a rotation too, where it is in a header only.
  add(60, 1000);
  sync();
  reopen();
  EXPECT_EQ(log_->hard_state(), state);
}

TEST_F(LogTest, ACommitHintBeyondTheLogIsCut) {
  open();
  add(3);
  ASSERT_TRUE(log_->set_hard_state({Term(1), NodeId(1), Index(100)}).ok());
  sync();
  reopen();
  EXPECT_EQ(log_->hard_state().commit, Index(3));
}

TEST_F(LogTest, AConflictOverwritesTheTailWhetherSyncedOrNot) {
  open();
  add(10);
  sync();
  append(entries_after(model_.point(Index(6)), Term(2), 2));  // over synced ones
  EXPECT_TRUE(holds(*log_, model_));
  append(entries_after(model_.point(Index(7)), Term(3), 4));  // over buffered ones
  append(entries_after(model_.point(Index(4)), Term(4), 1));  // over both
  EXPECT_TRUE(holds(*log_, model_));
  sync();
  EXPECT_TRUE(holds(*log_, model_));
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
  EXPECT_EQ(log_->last().index, Index(5));
}

TEST_F(LogTest, AConflictMayReachBackOverSegments) {
  open();
  add(100, 500);
  sync();
  append(entries_after(model_.point(Index(10)), Term(2), 60, 500));
  sync();
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, WhatDoesNotChainIsRefusedAndChangesNothing) {
  open();
  add(3);
  auto more = entries_after(model_.last(), Term(1), 2);
  more[1].payload = Bytes(std::string("something else"));
  EXPECT_EQ(log_->append(more).error().code, Code::kCorrupt);
  EXPECT_EQ(log_->append(entries_after(model_.point(Index(2)), Term(0), 1)).error().code, Code::kInvalid);
  auto gap = entries_after(model_.last(), Term(1), 2);
  gap.erase(gap.begin());
  EXPECT_EQ(log_->append(gap).error().code, Code::kInvalid);
  EXPECT_TRUE(holds(*log_, model_));
  sync();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, AdoptAndFollowNameThePositionThatTheHistoryGoesOnFrom) {
  open();
  add(3);
  const Position elsewhere{HistoryIndex(1000), sha256("elsewhere"), 5000, 70000};
  Entry adopt = entry_after(model_.last(), Term(1), leap_payload(elsewhere, "manifest"), EntryKind::kAdopt);
  adopt.position = elsewhere;
  adopt.position.hash = sha256("another place");
  EXPECT_EQ(log_->append({&adopt, 1}).error().code, Code::kCorrupt);  // not where its payload leads
  adopt.position = elsewhere;
  append({adopt});
  add(2);
  sync();
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
  EXPECT_EQ(log_->last().position.index, HistoryIndex(1002));
}

TEST_F(LogTest, ABatchLargerThanASegmentGetsOneOfItsOwn) {
  open();
  add(1, 100000);
  sync();
  add(3);
  sync();
  EXPECT_TRUE(holds(*log_, model_));
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, ReleaseDropsWholeSegmentsAndKeepsTheBasePoint) {
  open();
  for (int i = 0; i < 40; ++i) {
    add(5, 300);
    sync();
  }
  const auto before = log_->bytes();
  ASSERT_TRUE(log_->release(Index(150)).ok());
  EXPECT_LE(log_->base().index, Index(150));
  EXPECT_GT(log_->base().index, Index(50));
  EXPECT_LT(log_->bytes(), before);
  EXPECT_EQ(log_->base(), model_.point(log_->base().index));
  model_.move_base(log_->base());
  EXPECT_TRUE(holds(*log_, model_));
  EXPECT_EQ(log_->read(Index(1), Index(5), 100).error().code, Code::kCompacted);
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, ReleasedSegmentsAreUsedAgainAndTheirOldBytesAreNot) {
  open();
  // Records of equal size, so that old ones would stand exactly where new ones are looked for.
  for (int round = 0; round < 30; ++round) {
    for (int i = 0; i < 20; ++i) {
      add(1, 440);
      sync();
    }
    ASSERT_TRUE(log_->release(model_.last().index - 1).ok());
    model_.move_base(log_->base());
    if (round % 3 == 0) reopen();
    ASSERT_TRUE(holds(*log_, model_)) << "round " << round;
  }
  EXPECT_LE(log_->bytes(), 3 * small_options().segment_bytes);
}

TEST_F(LogTest, AReaderKeepsASegmentFromBeingRecycledUnderIt) {
  open();
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> reads{0};
  std::thread reader([&] {
    while (!stop) {
      const Index base = log_->base().index, last = log_->last().index;
      for (const Index from : {base + 1, base + (last - base) / 2 + 1}) {
        const auto entries = log_->read(from, last + 1, 2000);
        if (!entries.ok()) {
          EXPECT_TRUE(entries.error().code == Code::kCompacted || entries.error().code == Code::kNotFound) << entries.error().message;
          continue;
        }
        Index expected = from;
        for (const auto& e : *entries) {
          EXPECT_EQ(e.index, expected);
          ++expected;
        }
        ++reads;
      }
      const auto point = log_->point(last);
      EXPECT_TRUE(point.ok() || point.error().code == Code::kCompacted);
    }
  });
  for (int i = 0; i < 3000 || reads < 200; ++i) {
    ASSERT_TRUE(log_->append(entries_after(log_->last(), Term(1), 2, 200)).ok());
    ASSERT_TRUE(log_->sync().ok());
    if (i % 20 != 0) continue;
    ASSERT_TRUE(log_->release(log_->last().index - 5).ok());
  }
  stop = true;
  reader.join();
}

TEST_F(LogTest, ResetStartsAnewAfterASnapshot) {
  open();
  add(50, 300);
  ASSERT_TRUE(log_->set_hard_state({Term(2), NodeId(1), Index(3)}).ok());
  sync();
  add(5);  // buffered: gone
  const LogPoint point{Index(500), Term(2), Position{HistoryIndex(400), sha256("s"), 10, 20}};
  ASSERT_TRUE(log_->reset(point).ok());
  model_ = Model{point, {}, {}};
  EXPECT_TRUE(holds(*log_, model_));
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
  EXPECT_EQ(log_->hard_state().term, Term(2));
  add(5, 40, Term(2));
  sync();
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, WithoutSpaceNothingCountsAndNothingIsLost) {
  open();
  add(5);
  sync();
  disk_.refuse_writes("wal");
  add(5);
  EXPECT_EQ(log_->sync().error().code, Code::kNoSpace);
  EXPECT_TRUE(holds(*log_, model_));  // still read from memory
  add(5);
  EXPECT_EQ(log_->sync().error().code, Code::kNoSpace);
  disk_.refuse_writes("");
  sync();
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, WithoutSpaceForAnotherSegmentTheLogWaits) {
  open();
  disk_.set_capacity(20000);
  int synced = 0;
  while (true) {
    add(1, 2000);
    const auto done = log_->sync();
    if (!done.ok()) {
      EXPECT_EQ(done.error().code, Code::kNoSpace);
      break;
    }
    ++synced;
    ASSERT_LT(synced, 100);
  }
  EXPECT_GE(synced, 5);
  EXPECT_EQ(log_->sync().error().code, Code::kNoSpace);
  disk_.set_capacity(UINT64_MAX);
  sync();
  reopen();
  EXPECT_TRUE(holds(*log_, model_));
}

TEST_F(LogTest, AFailedSyncIsFinal) {
  open();
  add(5);
  sync();
  disk_.fail_sync("/wal/");
  add(1);
  EXPECT_EQ(log_->sync().error().code, Code::kIo);
  // The disk works again; what it holds is not known, so the log stays shut.
  EXPECT_EQ(log_->sync().error().code, Code::kIo);
  EXPECT_EQ(log_->append(entries_after(model_.last(), Term(1), 1)).error().code, Code::kIo);
  EXPECT_EQ(log_->set_hard_state({Term(9), NodeId(1), Index(1)}).error().code, Code::kIo);
  EXPECT_EQ(log_->release(Index(3)).error().code, Code::kIo);
  EXPECT_EQ(log_->reset(model_.last()).error().code, Code::kIo);
  EXPECT_TRUE(log_->read(Index(1), Index(3), 1000).ok());  // reads go on
}

TEST_F(LogTest, ATornTailIsCutAndAFlippedBitIsNot) {
  open();
  add(5);
  sync();
  const std::uint64_t first_end = used(segment(1));
  append(entries_after(model_.last(), Term(1), 5, 1500));
  sync();
  log_.reset();
  const std::string whole = disk_.contents(segment(1));
  const std::uint64_t end = used(segment(1));
  ASSERT_GT(end, first_end + 4 * kSector);
  // Any set of missing sectors of the last batch: it is dropped whole.
  for (std::uint64_t at = first_end; at < end; at += kSector) {
    disk_.overwrite(segment(1), 0, whole);
    disk_.overwrite(segment(1), at, std::string(kSector, '\0'));
    open();
    EXPECT_EQ(log_->last().index, Index(5)) << at;
    EXPECT_GT(log_->torn_bytes_cut(), 0u);
    EXPECT_EQ(used(segment(1)), first_end) << at;
    log_.reset();
  }
  // One flipped bit in any of its sectors: refused, with file, offset and index.
  for (std::uint64_t at = first_end + 5; at < end; at += kSector / 2) {
    disk_.overwrite(segment(1), 0, whole);
    disk_.flip(segment(1), at, 0x10);
    const Error error = open_error();
    EXPECT_EQ(error.code, Code::kCorrupt) << at;
    EXPECT_NE(error.message.find("log-00000000000000000001.seg at offset " + std::to_string(at / kSector * kSector)), std::string::npos) << error.message;
    EXPECT_NE(error.message.find("last good entry: 5"), std::string::npos) << error.message;
  }
}

TEST_F(LogTest, AMissingBatchBeforeAValidOneIsCorruption) {
  open();
  std::vector<std::uint64_t> starts;
  for (int i = 0; i < 4; ++i) {
    starts.push_back(used(segment(1)));
    add(2);
    sync();
  }
  log_.reset();
  disk_.overwrite(segment(1), starts[1], std::string(kSector, '\0'));
  EXPECT_EQ(open_error().code, Code::kCorrupt);
  EXPECT_EQ(disk_.contents(segment(1)).substr(starts[1], kSector), std::string(kSector, '\0'));  // nothing was cut
}

TEST_F(LogTest, AMissingTailBeforeAnotherSegmentIsCorruption) {
  open();
  add(60, 1000);
  sync();
  add(60, 1000);
  sync();
  log_.reset();
  const std::uint64_t end = used(segment(1));
  disk_.overwrite(segment(1), end - kSector, std::string(kSector, '\0'));
  EXPECT_EQ(open_error().code, Code::kCorrupt);
}

TEST_F(LogTest, AMissingSegmentIsCorruption) {
  open();
  for (int i = 0; i < 60; ++i) {
    add(1, 1000);
    sync();
  }
  log_.reset();
  ASSERT_TRUE(disk_.remove(segment(2)).ok());
  const Error error = open_error();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_NE(error.message.find("missing"), std::string::npos);
}

TEST_F(LogTest, AnotherDirectorysLogIsRefused) {
  open();
  add(1);
  sync();
  log_.reset();
  LogOptions options = small_options();
  options.owner = Incarnation(78);
  EXPECT_EQ(SegmentedLog::open(disk_, random_, kDirectory, options).error().code, Code::kLineage);
}

TEST_F(LogTest, ANewerFormatIsRefusedAndADamagedOneIsCorrupt) {
  open();
  log_.reset();
  std::string header = disk_.contents(segment(1)).substr(0, kSector);
  header[8] = 2;
  disk_.overwrite(segment(1), 0, header);
  EXPECT_EQ(open_error().code, Code::kCorrupt);  // only the byte was changed: a flipped bit
  const std::uint32_t crc = checksum(std::string_view(header).substr(16), crc32c(std::string_view(header).substr(0, 12)));
  header.replace(12, 4, reinterpret_cast<const char*>(&crc), 4);
  disk_.overwrite(segment(1), 0, header);
  const Error error = open_error();
  EXPECT_EQ(error.code, Code::kNewerFormat);
  EXPECT_NE(error.message.find("run the newer leewardd"), std::string::npos);
}

TEST_F(LogTest, ASegmentThatBeginsInAnotherHistoryIsCorruption) {
  open();
  for (int i = 0; i < 60; ++i) {
    add(1, 1000);
    sync();
  }
  log_.reset();
  const std::string whole = disk_.contents(segment(2));
  auto header = decode_header(whole);
  ASSERT_TRUE(header.ok());
  header->point.position.hash.bytes[0] ^= 1;  // the same index and term
  disk_.overwrite(segment(2), 0, encode_header(*header));
  const Error error = open_error();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_NE(error.message.find("does not begin where the one before ended"), std::string::npos) << error.message;
}

TEST_F(LogTest, ALogIsMadeOnlyWhenAskedTo) {
  LogOptions options = small_options();
  options.create = false;
  ASSERT_TRUE(disk_.make_dirs(kDirectory).ok());
  EXPECT_EQ(SegmentedLog::open(disk_, random_, kDirectory, options).error().code, Code::kNotFound);
}

// Puts one batch with one record behind what is there, with all checksums right.
void forge_batch(MemoryDisk& disk, const Path& path, std::uint64_t offset, std::uint64_t sequence, RecordType type,
                 const std::string& record) {
  const auto header = decode_header(disk.contents(path));
  ASSERT_TRUE(header.ok());
  const std::uint32_t seed = salted_seed(*header);
  const std::size_t body = kRecordHeadBytes + record.size();
  std::string batch;
  begin_batch(batch, sectors_for(body));
  const std::size_t start = begin_record(batch, type);
  batch += record;
  finish_record(batch, start, seed);
  finish_batch(batch, {sequence, static_cast<std::uint32_t>(body), sectors_for(body), 1, false}, seed);
  disk.overwrite(path, offset, batch);
}

std::string record_of(const Entry& entry) {
  std::string record;
  encode(entry, record);
  return record;
}

TEST_F(LogTest, AnEntryOffTheChainIsCorruptionThoughItsChecksumsAreRight) {
  open();
  add(2);
  sync();
  log_.reset();
  const std::uint64_t end = used(segment(1));
  const Entry good = entry_after(model_.last(), Term(1), "next");
  forge_batch(disk_, segment(1), end, 2, RecordType::kEntry, record_of(good));
  open();
  EXPECT_EQ(log_->last(), point_of(good));
  log_.reset();
  Entry bad = good;
  bad.position.writes += 1;
  forge_batch(disk_, segment(1), end, 2, RecordType::kEntry, record_of(bad));
  const Error error = open_error();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_NE(error.message.find("entry 3 does not continue the chain hash"), std::string::npos) << error.message;
}

TEST_F(LogTest, ACutBackToABeginningInAnotherHistoryIsCorruption) {
  open();
  const LogPoint base = log_->base();
  add(2);
  sync();
  log_.reset();
  const std::uint64_t end = used(segment(1));
  const auto cut_to = [&](const LogPoint& point) {
    std::string record;
    put_point(record, point);
    forge_batch(disk_, segment(1), end, 2, RecordType::kCut, record);
  };
  cut_to(base);
  open();
  EXPECT_EQ(log_->last(), base);
  log_.reset();
  LogPoint other = base;
  other.position.hash.bytes[0] ^= 1;
  cut_to(other);
  const Error error = open_error();
  EXPECT_EQ(error.code, Code::kCorrupt);
  EXPECT_NE(error.message.find("a cut names another past"), std::string::npos) << error.message;
}

TEST(Format, WhatAnEarlierUseOfAFileLeftIsNotValid) {
  SegmentHeader now{.number = 4, .salt = 11}, number{.number = 5, .salt = 11}, salt{.number = 4, .salt = 12};
  std::string batch;
  begin_batch(batch, 1);
  const std::size_t start = begin_record(batch, RecordType::kHardState);
  put_hard_state(batch, {});
  finish_record(batch, start, salted_seed(now));
  const std::string records = batch.substr(start);
  finish_batch(batch, {1, static_cast<std::uint32_t>(records.size()), 1, 1, false}, salted_seed(now));
  for (const auto& header : {now, number, salt}) {
    BatchHead head;
    Record record;
    std::string_view in = records;
    const bool same = header.number == now.number && header.salt == now.salt;
    EXPECT_EQ(decode_batch_head(batch, salted_seed(header), head), same);
    EXPECT_EQ(get_record(in, salted_seed(header), record), same);
  }
}

TEST(Format, ChecksumsStandInEarlierSectorsThanWhatTheyCover) {
  for (std::size_t body = 1; body < 2'000'000; body += 1 + body / 7) {
    const std::uint32_t sectors = sectors_for(body);
    EXPECT_LE(body_offset(sectors) + body, sectors * kSector);
    EXPECT_TRUE(sectors == 1 || body_offset(sectors - 1) + body > (sectors - 1) * kSector);
  }
  for (std::uint32_t i = 1; i < 20000; ++i) EXPECT_LT((kBatchHeadBytes + 4 * (i - 1) + 3) / kSector, i);
}

TEST_F(LogTest, AReleaseBesideABufferedConflictKeepsWhatACrashWouldNeed) {
  open();
  for (int i = 0; i < 20; ++i) {
    add(5, 500);
    sync();
  }
  append(entries_after(model_.point(Index(20)), Term(2), 2));
  ASSERT_TRUE(log_->release(Index(22)).ok());  // beyond what the files hold of it
  EXPECT_LE(log_->base().index, Index(20));
  log_.reset();
  disk_.crash(1, MemoryDisk::Tear::kLoseAll);
  open();
  EXPECT_LE(log_->base().index, Index(20));
  EXPECT_EQ(log_->last().index, Index(100));  // the conflict was never synced
}

TEST_F(LogTest, AClientsValueThatLooksLikeABatchIsNotTakenForOne) {
  open();
  add(2);
  sync();
  // A whole earlier batch as payload, where a torn write may leave it at a sector's start.
  const std::string batch = disk_.contents(segment(1)).substr(kSector, kSector);
  std::string payload;
  for (int i = 0; i < 8; ++i) payload += batch;
  const std::uint64_t start = used(segment(1));
  append({entry_after(model_.last(), Term(1), payload)});
  sync();
  log_.reset();
  disk_.overwrite(segment(1), start, std::string(kSector, '\0'));
  open();
  EXPECT_EQ(log_->last().index, Index(2));
}

TEST_F(LogTest, TheDefaultSegmentsWorkOnARealDisk) {
  char name[] = "/tmp/leeward-wal-test-XXXXXX";
  const Path root = ::mkdtemp(name);
  os::PosixDisk disk;
  LogOptions options;
  options.owner = Incarnation(1);
  options.segment_bytes = 1_MiB;
  options.create = true;
  for (int round = 0; round < 3; ++round) {
    auto log = SegmentedLog::open(disk, random_, root + "/wal", options);
    ASSERT_TRUE(log.ok()) << log.error().message;
    EXPECT_EQ((*log)->last(), model_.last());
    for (int i = 0; i < 100; ++i) {
      const auto entries = entries_after(model_.last(), Term(1), 10, 2000);
      ASSERT_TRUE((*log)->append(entries).ok());
      model_.append(entries);
      ASSERT_TRUE((*log)->sync().ok());
    }
    ASSERT_TRUE((*log)->release(model_.last().index - 400).ok());
    model_.move_base((*log)->base());
    EXPECT_TRUE(holds(**log, model_));
  }
  ASSERT_TRUE(disk.remove_all(root).ok());
}

}  // namespace
}  // namespace leeward::wal
