// What an EpochChange does to revisions, reads, compaction and watches.
#include <gtest/gtest.h>

#include "kv/offline.h"
#include "support.h"

namespace leeward::kv {
namespace {

using region::Ending;

constexpr std::int64_t kFirst = std::int64_t{2} << 44;
constexpr const char* kCompactedText = "etcdserver: mvcc: required revision has been compacted";

class EpochTest : public testing::TestWithParam<StoreKind> {
 protected:
  // Revisions 2 to 4, then an epoch.
  void begin(Ending ending) {
    for (const char* value : {"1", "2", "3"}) m_.put("a", value);
    m_.apply({m_.maker().epoch_change(ending)});
  }
  std::string range_error(std::int64_t revision) {
    pb::RangeRequest q;
    q.set_key("a");
    q.set_revision(revision);
    const auto got = m_.range_bytes(q);
    return got.ok() ? "" : got.error().message;
  }

  Machine m_{GetParam()};
};

TEST_P(EpochTest, AnUnplannedOneBeginsAtRevisionsOfItsOwn) {
  begin(Ending::kGuarded);
  EXPECT_EQ(m_->applied().epoch, Epoch(2));
  EXPECT_EQ(m_->applied().revision, Revision(kFirst));
  EXPECT_EQ(m_->applied().compacted, Revision(0)) << "what came before is still there";
  EXPECT_EQ(m_.range("a").header().revision(), kFirst);
  EXPECT_EQ(m_.range("a").kvs(0).value(), "3");
  EXPECT_EQ(m_.range("a", "", kFirst).kvs(0).value(), "3") << "the change itself takes the first revision";
  EXPECT_EQ(m_.range("a", "", 3).kvs(0).value(), "2");
  EXPECT_EQ(m_.put("a", "4").header().revision(), kFirst + 1);
  EXPECT_EQ(m_.range("a").kvs(0).version(), 4);
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
}

TEST_P(EpochTest, APlannedOneGoesOnWithTheNextRevision) {
  begin(Ending::kSealed);
  EXPECT_EQ(m_->applied().epoch, Epoch(2));
  EXPECT_EQ(m_->applied().revision, Revision(5));
  EXPECT_EQ(range_error(5), "");
  EXPECT_EQ(m_.put("a", "4").header().revision(), 6);
}

TEST_P(EpochTest, WhatMayHaveBeenGivenOutInALostTailReadsAsCompacted) {
  begin(Ending::kGuarded);
  m_.put("a", "4");
  for (const std::int64_t revision : {std::int64_t{5}, std::int64_t{1000}, kFirst - 1}) {
    EXPECT_EQ(range_error(revision), kCompactedText) << revision;
    EXPECT_EQ(m_.compact(revision).etcd_error, kCompactedText) << revision;
    EXPECT_EQ(m_->hash_kv(Revision(revision)).error().code, Code::kCompacted) << revision;
    pb::TxnRequest txn;
    auto* range = txn.add_success()->mutable_request_range();
    range->set_key("a");
    range->set_revision(revision);
    EXPECT_EQ(m_->read_only_txn(wire(txn))->etcd_error, kCompactedText) << revision;
    txn.add_success()->mutable_request_put()->set_key("b");
    EXPECT_EQ(m_.run(Op::kTxn, wire(txn)).etcd_error, kCompactedText) << revision;
  }
  for (const std::int64_t revision : {std::int64_t{4}, kFirst, kFirst + 1}) EXPECT_EQ(range_error(revision), "") << revision;
  ASSERT_TRUE(m_->flush().ok());
  m_.crash();
  EXPECT_EQ(range_error(5), kCompactedText) << "after a restart too";
}

TEST_P(EpochTest, CompactionAtAFirstRevisionKeepsTheSums) {
  begin(Ending::kGuarded);
  EXPECT_EQ(m_.compact(kFirst).etcd_error, "");
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
  while (*m_->compact_step(2)) {
  }
  EXPECT_EQ(range_error(4), kCompactedText);
  EXPECT_EQ(m_.range("a", "", kFirst).kvs(0).value(), "3");
  m_.apply({m_.maker().epoch_change(Ending::kSealed)});
  EXPECT_EQ(m_.compact(kFirst + 1).etcd_error, "") << "no change lies between";
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
  m_.put("a", "4");
  m_.remove("a");
  EXPECT_EQ(m_.compact(kFirst + 3).etcd_error, "");
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
}

TEST_P(EpochTest, AllChangesAreKeptAndPartOfTheState) {
  begin(Ending::kGuarded);
  const Hash two = m_->state_hash();
  m_.apply({m_.maker().epoch_change(Ending::kForced, Epoch(9))});
  EXPECT_NE(m_->state_hash(), two);
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
  const auto entries = m_->region_entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].epoch, Epoch(2));
  EXPECT_EQ(entries[0].forked, Revision(4));
  EXPECT_EQ(entries[1].epoch, Epoch(9));
  EXPECT_EQ(entries[1].forked, Revision(kFirst));
  EXPECT_EQ(m_->applied().revision, Revision(std::int64_t{9} << 44));
}

TEST_P(EpochTest, AllThatWasMeasuredIsKeptToo) {
  begin(Ending::kGuarded);
  m_.apply({m_.maker().history(EntryKind::kMeasured, "one"), m_.maker().history(EntryKind::kMeasured, "two")});
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
  const auto entries = m_->region_entries();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[1].payload.view(), "one");
  EXPECT_EQ(entries[2].payload.view(), "two");
  EXPECT_LT(entries[1].index, entries[2].index);
}

TEST_P(EpochTest, OneThatIsNotNewerIsCorruption) {
  begin(Ending::kGuarded);
  LogMaker other;
  for (int i = 0; i < 4; ++i) other.history(EntryKind::kTopology, "");
  const auto done = m_->apply(std::vector<Entry>{other.epoch_change(Ending::kGuarded)}, nullptr, nullptr);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kCorrupt);
}

TEST_P(EpochTest, AVersionThatVerifiesOfflineToo) {
  begin(Ending::kGuarded);
  m_.put("a", "4");
  StateReport report;
  ASSERT_TRUE(m_->flush().ok());
  m_.stop();
  ASSERT_TRUE(check_rows(*m_.home().open()->snapshot(), "rows", report).ok());
  for (const auto& fault : report.faults) ADD_FAILURE() << fault.what;
}

// --- watches ---

struct Heard {
  std::vector<std::int64_t> revisions;
  std::int64_t compacted = 0;
};
Heard drain(Watcher& watcher) {
  Heard out;
  while (auto piece = watcher.poll(1000)) {
    const auto response = parse_as<pb::WatchResponse>(piece->events.view());
    for (const auto& event : response.events()) out.revisions.push_back(event.kv().mod_revision());
    if (piece->compacted) out.compacted = piece->compacted->value();
  }
  return out;
}

TEST_P(EpochTest, AWatchThatHasSeenTheForkGoesOn) {
  m_.put("a", "1");
  auto open = m_->watch({.key = "a"}, [] {});
  drain(**open);
  begin(Ending::kGuarded);
  m_.put("a", "5");
  EXPECT_EQ(drain(**open).revisions, (std::vector<std::int64_t>{3, 4, 5, kFirst + 1}));
  auto resumed = m_->watch({.key = "a", .start = Revision(6)}, [] {});
  EXPECT_EQ(drain(**resumed).revisions, (std::vector<std::int64_t>{kFirst + 1})) << "it saw nothing that could be lost";
}

TEST_P(EpochTest, AWatchThatStartsInTheGapIsToldWhereToGoOn) {
  int woken = 0;
  auto waiting = m_->watch({.key = "a", .start = Revision(100)}, [&] { ++woken; });
  drain(**waiting);
  woken = 0;
  begin(Ending::kGuarded);
  EXPECT_EQ(woken, 1);
  EXPECT_EQ(drain(**waiting).compacted, kFirst);
  EXPECT_EQ(drain(**waiting).compacted, 0) << "once";
  for (const std::int64_t start : {std::int64_t{6}, kFirst - 1}) {
    auto late = m_->watch({.key = "a", .start = Revision(start)}, [] {});
    EXPECT_EQ(drain(**late).compacted, kFirst) << start;
  }
  auto first = m_->watch({.key = "a", .start = Revision(kFirst)}, [] {});
  EXPECT_EQ(drain(**first).compacted, 0);
  m_.put("a", "5");
  EXPECT_EQ(drain(**first).revisions, (std::vector<std::int64_t>{kFirst + 1}));
}

// A member that catches up applies writes of both epochs in one batch.
TEST_P(EpochTest, AWatchIsToldOfTheGapBeforeWhatComesBehindItInTheBatch) {
  auto waiting = m_->watch({.key = "a", .start = Revision(100)}, [] {});
  drain(**waiting);
  pb::PutRequest put;
  put.set_key("a");
  m_.apply({m_.maker().writes({command(Op::kPut, wire(put))}), m_.maker().epoch_change(Ending::kGuarded),
            m_.maker().writes({command(Op::kPut, wire(put))})});
  const Heard heard = drain(**waiting);
  EXPECT_TRUE(heard.revisions.empty());
  EXPECT_EQ(heard.compacted, kFirst);
}

INSTANTIATE_TEST_SUITE_P(Both, EpochTest, testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

}  // namespace
}  // namespace leeward::kv
