// A state as one file: what is read from it is what was there, and nothing that
// is not as it was written is believed.
#include "kv/snapshot_file.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/codec.h"
#include "base/crc32c.h"
#include "kv/applier.h"
#include "support.h"

namespace leeward::kv {
namespace {

std::string all_of(StateCopy& copy, std::size_t step = 1_MiB, std::size_t piece = 64_KiB) {
  for (;;) {
    const auto more = copy.measure(step);
    EXPECT_TRUE(more.ok()) << more.error().message;
    if (!more.ok() || !*more) break;
  }
  std::string out;
  for (;;) {
    auto next = copy.next(piece);
    EXPECT_TRUE(next.ok());
    if (!next.ok() || next->empty()) break;
    EXPECT_LE(next->size(), piece);
    out += next->view();
  }
  EXPECT_EQ(out.size(), copy.size());
  return out;
}

CopyNote test_note() {
  CopyNote note;
  note.cluster = "orders";
  note.lineage.bytes.fill(7);
  note.group = GroupId(77);
  note.node = NodeId(3);
  note.region = "east";
  note.version = "0.1.0";
  note.taken_ms = 1'700'000'000'123;
  return note;
}

// Keys with several versions, deleted ones, leases, two compactions of which one is
// swept in part, and a second epoch.
void fill(Machine& machine) {
  machine.grant(7, 60);
  machine.grant(8, 600);
  for (int i = 0; i < 60; ++i) machine.put("k" + std::to_string(i % 17), "v" + std::to_string(i), i % 5 == 0 ? 7 : 0);
  machine.put(std::string("\0with\0zeros", 11), std::string(3000, '\0'));
  machine.remove("k3");
  machine.compact(20);
  EXPECT_TRUE(machine->compact_step(10).ok());
  machine.apply({machine.maker().epoch_change(region::Ending::kGuarded)});
  for (int i = 0; i < 30; ++i) machine.put("k" + std::to_string(i % 5), "new" + std::to_string(i), i % 7 == 0 ? 8 : 0);
  machine.remove("k1", "k2");
  machine.put("k3", "again");
  machine.put("large", std::string(300'000, 'x'));
}

class SnapshotFileTest : public ::testing::TestWithParam<StoreKind> {
 protected:
  SnapshotFileTest() : machine_(GetParam()) {}

  std::string taken() {
    auto copy = machine_->copy(test_note());
    EXPECT_TRUE(copy.ok());
    return all_of(**copy);
  }
  Path file_with(const std::string& bytes) {
    const Path path = directory_ / "snapshot";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return path;
  }
  Result<SnapshotReport> read(const std::string& bytes) { return read_snapshot(disk_, file_with(bytes)); }

  // The same content in a machine of its own, which a first entry has made another epoch of.
  std::unique_ptr<MvccStateMachine> restored(const Path& file, StoreKind kind) {
    StoreHome& home = *homes_.emplace_back(std::make_unique<StoreHome>(kind));
    const auto state = restore_snapshot(
        disk_, file, home.open(),
        [](const SnapshotReport& report) -> Result<RestoredBeginning> {
          region::EpochChange change;
          change.epoch = report.state.epoch + 1;
          change.promotion = 5;
          change.group = GroupId(6);
          change.fork = report.state.point.position;
          change.ending = region::Ending::kForced;
          RestoredBeginning out;
          out.entry.kind = EntryKind::kEpochChange;
          out.entry.term = Term(1);
          out.entry.index = Index(1);
          out.entry.epoch = change.epoch;
          out.entry.payload = Bytes(encode(change));
          out.entry.position = extend(change.fork, out.entry.epoch, out.entry.kind, 0, out.entry.payload.view());
          out.group_state = "the group";
          return out;
        },
        clock_, log_);
    EXPECT_TRUE(state.ok()) << state.error().message;
    if (!state.ok()) return nullptr;
    auto machine = MvccStateMachine::open(home.open(), home.disk(), clock_, log_);
    EXPECT_TRUE(machine.ok());
    EXPECT_EQ((*machine)->state_hash(), state->state_hash);
    return std::move(*machine);
  }

  Machine machine_;
  TemporaryDirectory directory_;
  TestDisk disk_;
  TestClock clock_;
  NullLog log_;
  std::vector<std::unique_ptr<StoreHome>> homes_;
};

// Key by key, at each revision that is not compacted: value, version, create and mod revision, lease.
std::string content_at(MvccStateMachine& machine, std::int64_t revision) {
  pb::RangeRequest request;
  request.set_key(std::string(1, '\0'));
  request.set_range_end(kFromKey);
  request.set_revision(revision);
  auto reply = machine.range(wire(request));
  if (!reply.ok()) return "refused: " + reply.error().message;
  std::string bytes;
  for (;;) {
    auto piece = (*reply)->next(1_MiB);
    EXPECT_TRUE(piece.ok());
    if (!piece.ok() || piece->empty()) break;
    bytes += piece->view();
  }
  auto response = parse_as<pb::RangeResponse>(bytes);
  response.clear_header();
  return wire(response);
}

TEST_P(SnapshotFileTest, SaysWhatItIsOf) {
  fill(machine_);
  const auto report = read(taken());
  ASSERT_TRUE(report.ok()) << report.error().message;
  const AppliedState applied = machine_->applied();
  EXPECT_EQ(report->state.point, applied.point);
  EXPECT_EQ(report->state.epoch, Epoch(2));
  EXPECT_EQ(report->state.revision, applied.revision);
  EXPECT_EQ(report->state.compacted, Revision(20));
  EXPECT_EQ(report->state.state_hash, machine_.recomputed());
  EXPECT_EQ(report->keys, machine_->key_count());
  EXPECT_EQ(report->leases, 2u);
  EXPECT_EQ(report->size % 512, 32u);
  EXPECT_EQ(report->note.cluster, "orders");
  EXPECT_EQ(report->note.lineage, test_note().lineage);
  EXPECT_EQ(report->note.group, GroupId(77));
  EXPECT_EQ(report->note.node, NodeId(3));
  EXPECT_EQ(report->note.region, "east");
  EXPECT_EQ(report->note.taken_ms, test_note().taken_ms);
}

TEST_P(SnapshotFileTest, AnEmptyStateHasOneToo) {
  const auto report = read(taken());
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->keys, 0u);
  EXPECT_EQ(report->state.revision, Revision(1));
}

TEST_P(SnapshotFileTest, ThePiecesAreTheSameHoweverTheyAreTaken) {
  fill(machine_);
  const std::string whole = taken();
  for (const auto& [step, piece] : {std::pair<std::size_t, std::size_t>{1, 7}, {1000, 1_MiB}, {10_MiB, 4096}}) {
    auto copy = machine_->copy(test_note());
    EXPECT_EQ(all_of(**copy, step, piece), whole);
  }
}

TEST_P(SnapshotFileTest, IsOfOneRevisionWhateverIsWrittenMeanwhile) {
  fill(machine_);
  auto copy = machine_->copy(test_note());
  const AppliedState then = machine_->applied();
  ASSERT_TRUE((*copy)->measure(1000).ok());
  machine_.put("later", "1");
  machine_.compact(machine_->applied().revision.value());
  while (*machine_->compact_step(100)) {}
  EXPECT_EQ((*copy)->revision(), then.revision);
  const auto report = read(all_of(**copy));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->state.state_hash, then.state_hash);
}

TEST_P(SnapshotFileTest, DoesNotDependOnWhatWasSweptAlready) {
  fill(machine_);
  machine_.compact(machine_->applied().revision.value() - 3);
  const auto before = read(taken());
  while (*machine_->compact_step(5)) {}
  const auto after = read(taken());
  ASSERT_TRUE(before.ok() && after.ok()) << (before.ok() ? after : before).error().message;
  EXPECT_EQ(before->state.state_hash, after->state.state_hash);
  EXPECT_EQ(before->keys, after->keys);
  EXPECT_GT(before->versions, after->versions);
}

TEST_P(SnapshotFileTest, WhatIsRestoredIsWhatWasThere) {
  fill(machine_);
  const AppliedState was = machine_->applied();
  const Path file = file_with(taken());
  std::optional<Hash> hash;
  for (const StoreKind kind : {StoreKind::kRocksDb, StoreKind::kMemory}) {
    const auto machine = restored(file, kind);
    ASSERT_TRUE(machine);
    const AppliedState is = machine->applied();
    EXPECT_EQ(is.point.index, Index(1));
    EXPECT_EQ(is.point.term, Term(1));
    EXPECT_EQ(is.point.position.index, was.point.position.index + 1);
    EXPECT_EQ(is.epoch, was.epoch + 1);
    EXPECT_EQ(is.revision, Revision(3ll << 44));
    EXPECT_EQ(is.compacted, was.compacted);
    EXPECT_EQ(machine->group_state(), "the group");
    EXPECT_EQ(machine->key_count(), machine_->key_count());
    EXPECT_TRUE(machine->verify().ok());
    for (std::int64_t revision = 15; revision <= 70; ++revision) EXPECT_EQ(content_at(*machine, revision), content_at(*machine_, revision)) << revision;
    for (std::int64_t revision = (2ll << 44) - 1; revision <= was.revision.value(); ++revision)
      EXPECT_EQ(content_at(*machine, revision), content_at(*machine_, revision)) << revision;
    EXPECT_EQ(content_at(*machine, 0), content_at(*machine_, 0));
    EXPECT_EQ(content_at(*machine, was.revision.value() + 5), "refused: etcdserver: mvcc: required revision has been compacted");
    ASSERT_EQ(machine->leases().size(), 2u);
    EXPECT_EQ(machine->lease(8)->ttl_seconds, 600);
    for (const std::int64_t id : {7, 8}) EXPECT_EQ(machine->lease_keys(id), machine_->lease_keys(id));
    if (hash) EXPECT_EQ(*hash, machine->state_hash());
    hash = machine->state_hash();
    EXPECT_NE(*hash, was.state_hash);
  }
}

TEST_P(SnapshotFileTest, AFlippedBitAnywhereIsFound) {
  fill(machine_);
  const std::string whole = taken();
  ASSERT_TRUE(read(whole).ok());
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  std::vector<std::size_t> places;
  for (std::size_t at = 0; at < 120; ++at) places.push_back(at);
  for (std::size_t at = 0; at < 150; ++at) places.push_back(whole.size() - 1 - at);
  for (int i = 0; i < 150; ++i) places.push_back(dice.below(whole.size()));
  for (const std::size_t at : places) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1 << dice.below(8));
    const auto report = read(damaged);
    ASSERT_FALSE(report.ok()) << at;
    EXPECT_TRUE(report.error().code == Code::kCorrupt || report.error().code == Code::kNewerFormat) << at << ": " << report.error().message;
  }
}

TEST_P(SnapshotFileTest, AFileThatWasCutOrGrewIsFound) {
  fill(machine_);
  const std::string whole = taken();
  Dice dice(test_seed());
  for (const std::size_t size : {std::size_t(0), std::size_t(1), std::size_t(7), std::size_t(8), std::size_t(15), std::size_t(16), std::size_t(40),
                                 whole.size() - 32, whole.size() - 512, whole.size() - 1, dice.below(whole.size()), dice.below(whole.size())})
    EXPECT_EQ(read(whole.substr(0, size)).error().code, Code::kCorrupt) << size;
  EXPECT_NE(read(whole.substr(0, whole.size() - 512)).error().message.find("it was cut"), std::string::npos);
  EXPECT_EQ(read(whole + "x").error().code, Code::kCorrupt);
  EXPECT_EQ(read(whole + std::string(512, '\0')).error().code, Code::kCorrupt);
}

// Changes the first row of `family` that `change` says true of, and makes every
// checksum right again: a writer that errs, or somebody who means it.
std::string rewritten(std::string bytes, Family family, const std::function<bool(std::string& value)>& change) {
  bool done = false;
  for (std::size_t at = 8; at + 8 < bytes.size() - 32;) {
    std::string_view in = std::string_view(bytes).substr(at);
    std::uint32_t length = 0, old = 0;
    if (!codec::get_u32(in, length) || !codec::get_u32(in, old) || length == 0) break;
    std::string body(in.substr(0, length));
    if (body.front() == 'R' && !done) {
      std::string out = "R";
      for (std::string_view rows = std::string_view(body).substr(1); !rows.empty();) {
        std::uint8_t of = 0;
        std::string_view key, value;
        EXPECT_TRUE(codec::get_u8(rows, of) && codec::get_bytes(rows, key) && codec::get_bytes(rows, value));
        std::string changed(value);
        if (!done && of == static_cast<std::uint8_t>(family)) done = change(changed);
        codec::put_u8(out, of);
        codec::put_bytes(out, key);
        codec::put_bytes(out, changed);
      }
      EXPECT_EQ(out.size(), body.size());
      body = out;
    }
    std::string block;
    codec::put_u32(block, length);
    codec::put_u32(block, crc32c(body));
    bytes.replace(at, 8 + length, block + body);
    at += 8 + length;
  }
  EXPECT_TRUE(done);
  const Hash digest = sha256(std::string_view(bytes).substr(0, bytes.size() - 32));
  bytes.replace(bytes.size() - 32, 32, reinterpret_cast<const char*>(digest.bytes.data()), 32);
  return bytes;
}

TEST_P(SnapshotFileTest, RowsThatAreNotTheStatesAreFoundByItsHash) {
  fill(machine_);
  const auto report = read(rewritten(taken(), Family::kHead, [](std::string& value) {
    const std::size_t at = value.find("new");
    if (at == std::string::npos) return false;
    value[at] = 'N';
    return true;
  }));
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().message.find("state hash"), std::string::npos) << report.error().message;
}

TEST_P(SnapshotFileTest, RowsThatContradictOneAnotherAreNotRestored) {
  fill(machine_);
  const std::string bytes = rewritten(taken(), Family::kRev, [](std::string& value) {
    if (!value.ends_with("large")) return false;  // of a revision that is not compacted
    value[5] = static_cast<char>(value[5] ^ 1);  // in a superseded sum, which the state hash does not cover
    return true;
  });
  EXPECT_TRUE(read(bytes).ok());
  StoreHome home(GetParam());
  const auto restored = restore_snapshot(
      disk_, file_with(bytes), home.open(), [](const SnapshotReport&) -> Result<RestoredBeginning> { return RestoredBeginning{}; }, clock_, log_);
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().message.find("contradict one another"), std::string::npos) << restored.error().message;
}

TEST_P(SnapshotFileTest, AnotherFileIsNoSnapshot) {
  EXPECT_NE(read(std::string(4096, 'b')).error().message.find("no snapshot of Leeward"), std::string::npos);
  std::string newer = taken();
  newer.replace(6, 2, "02");
  EXPECT_EQ(read(newer).error().code, Code::kNewerFormat);
  EXPECT_EQ(read_snapshot(disk_, directory_ / "none").error().code, Code::kNotFound);
}

TEST_P(SnapshotFileTest, RandomHistoriesComeBack) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 60; ++i) {
      const std::string key = "r" + std::to_string(dice.below(12));
      const std::int64_t revision = machine_->applied().revision.value();
      if (dice.one_in(9)) machine_.grant(static_cast<std::int64_t>(1 + dice.below(6)), 10);
      else if (dice.one_in(12)) machine_.revoke(static_cast<std::int64_t>(1 + dice.below(6)));
      else if (dice.one_in(5)) machine_.remove(key, dice.one_in(3) ? "r9" : "");
      else if (dice.one_in(15)) machine_.compact(revision - static_cast<std::int64_t>(dice.below(10)));
      else if (dice.one_in(10)) (void)machine_->compact_step(1 + dice.below(5));
      else machine_.put(key, std::string(dice.below(200), 'z'));
    }
    const auto machine = restored(file_with(taken()), dice.one_in(2) ? StoreKind::kRocksDb : StoreKind::kMemory);
    ASSERT_TRUE(machine);
    EXPECT_EQ(content_at(*machine, 0), content_at(*machine_, 0));
    EXPECT_EQ(content_at(*machine, machine_->applied().revision.value() - 5), content_at(*machine_, machine_->applied().revision.value() - 5));
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, SnapshotFileTest, ::testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

}  // namespace
}  // namespace leeward::kv
