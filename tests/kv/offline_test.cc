// What verify says of a state directory and of a checkpoint: sound when it is,
// and what is wrong when a bit or a row is.
#include "kv/offline.h"

#include <gtest/gtest.h>

#include "base/codec.h"
#include "kv/layout.h"
#include "support.h"

namespace leeward::kv {
namespace {

class OfflineTest : public ::testing::Test {
 protected:
  OfflineTest() : machine_(StoreKind::kRocksDb) {
    machine_.grant(7, 60);
    machine_.grant(8, 60);
    for (int i = 0; i < 40; ++i) machine_.put("k" + std::to_string(i % 12), std::string(100, 'v'), i % 3 == 0 ? 7 : 0);
    machine_.remove("k3");
    machine_.compact(20);
    EXPECT_TRUE(machine_->compact_step(10).ok());  // swept in part
    for (int i = 0; i < 20; ++i) machine_.put("k" + std::to_string(i % 5), "new");
    machine_.remove("k1", "k2");
    EXPECT_TRUE(machine_->flush().ok());
  }

  // Faults in the rows after `change` was done to a copy of them. The machine is stopped.
  std::vector<StateFault> after(const std::function<void(Batch&)>& change) {
    const Path copy = machine_.home().fresh_path();
    fs::copy(machine_.home().directory(), copy, fs::copy_options::recursive);
    auto store = machine_.home().open_at(copy);
    Batch batch;
    change(batch);
    EXPECT_TRUE(store->write(batch).ok());
    StateReport report;
    EXPECT_TRUE(check_rows(*store->snapshot(), "rows", report).ok());
    return report.faults;
  }
  // The newest row of `family` at or before `key`.
  std::pair<std::string, std::string> row(Family family, const std::string& key) {
    auto store = machine_.home().open();
    const auto rows = store->iterate(family);
    rows->seek_for_prev(key);
    return rows->valid() ? std::pair(std::string(rows->key()), std::string(rows->value())) : std::pair<std::string, std::string>();
  }

  Machine machine_;
};

const std::string kEnd(8, '\xff');

TEST_F(OfflineTest, ASoundStateIsSoundAndItsHashIsRecomputed) {
  const Hash hash = machine_->state_hash();
  machine_.stop();
  auto report = verify_state(machine_.home().disk(), machine_.home().directory(), true);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const auto& fault : report->faults) ADD_FAILURE() << fault.file << ": " << fault.what;
  ASSERT_TRUE(report->state.has_value());
  EXPECT_EQ(report->state->state_hash, hash);
  EXPECT_EQ(report->leases, 2u);
  EXPECT_EQ(report->keys, 9u);  // k0 to k11 without those from k1 to k2
  for (const auto& u : report->uncovered) EXPECT_FALSE(u.file.ends_with(".sst")) << u.file;
}

TEST_F(OfflineTest, ARowThatIsNotWhatTheOthersSayIsFound) {
  const auto expect_fault = [&](const char* what, const std::function<void(Batch&)>& change) {
    const auto found = after(change);
    ASSERT_FALSE(found.empty()) << what;
    EXPECT_EQ(found.front().file, "rows");
  };
  machine_.stop();
  const auto head = row(Family::kHead, kEnd), hist = row(Family::kHist, kEnd), rev = row(Family::kRev, kEnd),
             lease = row(Family::kLease, kEnd), held = row(Family::kLease, "L"), numbers = row(Family::kMeta, kNumbersRow);
  ASSERT_TRUE(after([](Batch&) {}).empty());
  expect_fault("a value changed", [&](Batch& b) {
    auto value = head.second;
    value.back() = static_cast<char>(value.back() ^ 1);
    b.put(Family::kHead, head.first, value);
  });
  expect_fault("a key gone", [&](Batch& b) { b.remove(Family::kHead, head.first); });
  expect_fault("an old version gone", [&](Batch& b) { b.remove(Family::kHist, hist.first); });
  expect_fault("a change gone", [&](Batch& b) { b.remove(Family::kRev, rev.first); });
  expect_fault("a lease gone", [&](Batch& b) { b.remove(Family::kLease, lease.first); });
  expect_fault("a key's lease gone", [&](Batch& b) { b.remove(Family::kLease, held.first); });
  for (std::size_t at = 1 + 8 * 6 + 32; at < numbers.second.size(); at += 5)  // behind index, term and position
    expect_fault("a number changed", [&](Batch& b) {
      auto value = numbers.second;
      value[at] = static_cast<char>(value[at] ^ 0x10);
      b.put(Family::kMeta, kNumbersRow, value);
    });
}

TEST_F(OfflineTest, AFlippedBitInAFileOfTheStateIsFoundAndNamed) {
  machine_.stop();
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  TestDisk& disk = machine_.home().disk();
  const Path directory = machine_.home().directory();
  auto names = disk.list(directory);
  ASSERT_TRUE(names.ok());
  int flips = 0;
  for (const auto& name : *names) {
    if (!name.ends_with(".sst") && !name.starts_with("MANIFEST-") && name != "CURRENT") continue;
    const Path path = directory + "/" + name;
    const auto size = fs::file_size(path);
    for (const std::uint64_t at : {std::uint64_t{0}, dice.below(size), dice.below(size), dice.below(size), size - 1}) {
      auto file = disk.open(path, OpenMode::kReadWrite);
      std::string byte;
      ASSERT_TRUE((*file)->read(at, 1, byte).ok());
      const std::string flipped(1, static_cast<char>(byte[0] ^ 1 << dice.below(8)));
      ASSERT_TRUE((*file)->write(at, flipped).ok());
      const auto report = verify_state(disk, directory, true);
      ASSERT_TRUE(report.ok());
      EXPECT_FALSE(report->sound()) << name << " at " << at;
      // RocksDB does not say whose properties it could not read.
      EXPECT_TRUE(std::any_of(report->faults.begin(), report->faults.end(), [&](const StateFault& f) {
        return f.file == path || (f.file == directory && f.what.starts_with("the store does not open"));
      })) << name << " at " << at << (report->faults.empty() ? "" : ": " + report->faults.front().what);
      ASSERT_TRUE((*file)->write(at, byte).ok());
      ++flips;
    }
  }
  EXPECT_GT(flips, 30);
  EXPECT_TRUE(verify_state(disk, directory, true)->sound());
}

TEST_F(OfflineTest, ACheckpointIsTheFilesOfItsManifestAndNoOthers) {
  const Path directory = machine_.home().fresh_path();
  auto manifest = machine_->checkpoint(directory);
  ASSERT_TRUE(manifest.ok());
  TestDisk& disk = machine_.home().disk();
  const Path file_path = directory + "/" + std::string(kManifestFile);
  EXPECT_EQ(verify_checkpoint(disk, directory, true)->faults.at(0).code, Code::kNotFound);
  auto file = disk.open(file_path, OpenMode::kCreateOrOpen);
  ASSERT_TRUE((*file)->write(0, encode_manifest_file(*manifest)).ok());
  const auto sound = verify_checkpoint(disk, directory, true);
  ASSERT_TRUE(sound.ok());
  EXPECT_TRUE(sound->sound()) << sound->faults.front().what;
  EXPECT_EQ(sound->files, manifest->files.size() + 1);
  for (const StateFile& part : manifest->files) {
    if (part.size == 0) continue;
    const Path path = directory + "/" + part.name;
    fs::resize_file(path, part.size - 1);
    const auto report = verify_checkpoint(disk, directory, false);
    ASSERT_EQ(report->faults.size(), 1u) << part.name;
    EXPECT_EQ(report->faults.front().file, path);
    fs::resize_file(path, part.size);  // with a zero byte where another was, mostly
  }
}

}  // namespace
}  // namespace leeward::kv
