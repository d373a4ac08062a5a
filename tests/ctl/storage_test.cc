// `leewardctl storage` over directories of stopped nodes: sound ones, and such as
// a crash, a bad disk or a mistaken hand leaves.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>

#include "base/quantity.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "node/group_state.h"
#include "os/clock.h"
#include "os/random.h"
#include "ports/manifest.h"
#include "region/ledger.h"
#include "support.h"
#include "wal/log_store.h"
#include "wal/superblock.h"

namespace leeward::ctl {
namespace {

class StorageTest : public CtlTest {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/leeward-storage-XXXXXX";
    directory_ = mkdtemp(pattern);
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + directory_).c_str()), 0); }

  // A node's directory after some writes.
  void fill(bool clean_shutdown, std::uint64_t starts = 0) {
    os::SeededRandom random(1);
    ASSERT_TRUE(disk_.make_dirs(directory_ + "/wal").ok());
    const Incarnation incarnation(77);
    auto log = wal::SegmentedLog::open(disk_, random, directory_ + "/wal", {.owner = incarnation, .segment_bytes = 1_MiB, .create = true});
    ASSERT_TRUE(log.ok()) << log.error().message;
    Position position;
    std::vector<Entry> entries;
    for (std::uint64_t i = 1; i <= 20; ++i) {
      const std::string payload(100, static_cast<char>('a' + i));
      position = extend(position, Epoch(1), EntryKind::kWrites, 1, payload);
      entries.push_back({.term = Term(1), .index = Index(i), .kind = EntryKind::kWrites, .epoch = Epoch(1), .writes = 1,
                         .position = position, .payload = Bytes(payload)});
    }
    ASSERT_TRUE((*log)->append(entries).ok());
    ASSERT_TRUE((*log)->set_hard_state({Term(1), NodeId(1), Index(20)}).ok());
    ASSERT_TRUE((*log)->sync().ok());
    auto superblock = wal::SuperblockFile::create(disk_, directory_, {.cluster_name = "orders", .node = NodeId(1), .incarnation = incarnation,
                                                                      .state_dir = "state-1", .starts = starts, .clean_shutdown = clean_shutdown});
    ASSERT_TRUE(superblock.ok()) << superblock.error().message;
  }

  // A state at entry 20, checkpoints of it at 5 and 15, and the log from `base` to 30.
  void fill_with_checkpoints(std::uint64_t base) {
    os::SeededRandom random(1);
    const Incarnation incarnation(77);
    ASSERT_TRUE(disk_.make_dirs(directory_ + "/wal").ok());
    auto log = wal::SegmentedLog::open(disk_, random, directory_ + "/wal", {.owner = incarnation, .segment_bytes = 1_MiB, .create = true});
    ASSERT_TRUE(log.ok()) << log.error().message;
    std::vector<Entry> entries;
    for (std::uint64_t i = 1; i <= 30; ++i) entries.push_back({.term = Term(1), .index = Index(i), .kind = EntryKind::kNoop});
    ASSERT_TRUE((*log)->reset({Index(base), Term(1), Position()}).ok());
    ASSERT_TRUE((*log)->append(std::span(entries).subspan(base)).ok());
    ASSERT_TRUE((*log)->set_hard_state({Term(1), NodeId(1), Index(30)}).ok());
    ASSERT_TRUE((*log)->sync().ok());

    os::SystemClock clock;
    NullLog silent;
    auto store = kv::open_rocksdb_store(directory_ + "/state-1");
    ASSERT_TRUE(store.ok()) << store.error().message;
    auto state = kv::MvccStateMachine::open(std::move(*store), disk_, clock, silent);
    ASSERT_TRUE(state.ok()) << state.error().message;
    ASSERT_TRUE(disk_.make_dirs(directory_ + "/snapshots").ok());
    for (std::uint64_t i = 0; i < 20; ++i) {
      ASSERT_TRUE((*state)->apply({&entries[i], 1}, nullptr, nullptr).ok());
      if (i + 1 != 5 && i + 1 != 15) continue;
      const auto manifest = (*state)->checkpoint(checkpoint(i + 1));
      ASSERT_TRUE(manifest.ok()) << manifest.error().message;
      std::ofstream(checkpoint(i + 1) + "/" + std::string(kManifestFile), std::ios::binary) << encode_manifest_file(*manifest);
    }
    ASSERT_TRUE((*state)->flush().ok());
    ASSERT_TRUE(wal::SuperblockFile::create(disk_, directory_, {.cluster_name = "orders", .node = NodeId(1), .incarnation = incarnation,
                                                                .state_dir = "state-1", .starts = 1, .clean_shutdown = true}).ok());
  }
  std::string checkpoint(std::uint64_t index) const { return directory_ + "/snapshots/checkpoint-" + std::to_string(index); }

  // The file of a ledger of one entry.
  std::string write_ledger() {
    const Position from{HistoryIndex(7), sha256("fork"), 7, 700};
    Entry entry{.index = Index(9), .kind = EntryKind::kWrites, .epoch = Epoch(1), .writes = 1, .payload = Bytes(std::string("lost"))};
    entry.position = extend(from, entry.epoch, entry.kind, entry.writes, entry.payload.view());
    const region::Ledger ledger{Index(20), Epoch(1), Epoch(2), from, from, entry.position, {}};
    auto writer = region::LedgerWriter::create(disk_, directory_, {}, GroupId(3), ledger);
    EXPECT_TRUE(writer.ok() && writer->add({&entry, 1}).ok() && writer->finish().ok());
    return region::ledger_path(directory_, ledger);
  }
  void name_in_state(const std::vector<region::Ledger>& ledgers) {
    node::GroupState group;
    group.control.ledgers = ledgers;
    auto store = kv::open_rocksdb_store(directory_ + "/state-1");
    ASSERT_TRUE(store.ok());
    Batch rows;
    rows.put(Family::kMeta, "group", encode(group));
    ASSERT_TRUE((*store)->write(rows).ok() && (*store)->flush().ok());
  }

  std::string segment() const {
    os::PosixDisk disk;
    const auto names = disk.list(directory_ + "/wal");
    for (const std::string& name : names.value())
      if (name.find("LOCK") == std::string::npos) return directory_ + "/wal/" + name;
    return "";
  }
  static void flip(const std::string& path, std::streamoff offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const int byte = file.get();
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ 1));
  }

  static void zero(const std::string& path, std::streamoff offset, std::size_t bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file.write(std::string(bytes, '\0').data(), static_cast<std::streamsize>(bytes));
  }

  std::string directory_;
};

TEST_F(StorageTest, ASoundDirectoryIsSoundAndItsLogCanBeRead) {
  fill(true);
  const Ran verified = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(verified.code, 0) << verified.err << verified.out;
  EXPECT_NE(verified.out.find("20 entries\nlog         0 (exclusive) to 20, last term 1\n"), std::string::npos) << verified.out;
  EXPECT_TRUE(verified.out.ends_with("sound\n"));
  EXPECT_EQ(run({"storage", "verify", directory_}).code, 0);
  const Ran log = run({"storage", "log", directory_, "--from=3", "--to=5"});
  EXPECT_EQ(log.code, 0) << log.err;
  EXPECT_EQ(log.out.substr(0, 44), "3  term 1  writes  writes 1  100 B  position");
  EXPECT_EQ(std::count(log.out.begin(), log.out.end(), '\n'), 2);
}

TEST_F(StorageTest, WithoutAFullScanJsonLeavesOutWhatWasNotLookedAt) {
  fill(true);
  const Ran heads = run({"-o", "json", "storage", "verify", directory_});
  EXPECT_EQ(heads.code, 0) << heads.err;
  EXPECT_EQ(heads.out, R"({"sound":true,"full_scan":false,"faults":[],"segments":"1","batches":"1","checkpoints":"0"})" "\n");
  const std::string full = run({"-o", "json", "storage", "verify", "--full-scan", directory_}).out;
  EXPECT_TRUE(full.starts_with(R"({"sound":true,"full_scan":true,)")) << full;
  EXPECT_NE(full.find(R"("entries":"20","base_index":"0","last_index":"20","last_term":"1","position_index":"20")"), std::string::npos) << full;
}

TEST_F(StorageTest, TheSuperblockIsAParagraphForEachCopy) {
  fill(true);
  flip(wal::superblock_path(directory_), 2 * 4096 + 20);
  std::string wanted;
  for (const int copy : {0, 1, 2, 3})
    wanted += "copy " + std::to_string(copy) +
              (copy == 2 ? "\n  the copy is damaged\n"
                         : " (current)\n  sequence: 1\n  format: 1\n  cluster: orders\n  lineage: not known yet\n  node: 1\n"
                           "  group: 0\n  incarnation: 77\n  state: state-1\n  pending state: none\n  starts: 0\n"
                           "  clean shutdown: yes\n  extra: 0 bytes\n");
  EXPECT_EQ(run({"storage", "superblock", directory_}).out, wanted);
}

TEST_F(StorageTest, TheSuperblockInJsonHasAFieldForEachFigureAndLeavesOutWhatIsNotKnown) {
  fill(false);
  const std::string known = R"("sequence":"1","format":1,"cluster":"orders",)", rest = R"("state_dir":"state-1")";
  const auto copy = [&](int number) {
    return R"({"copy":)" + std::to_string(number) + R"(,"valid":true,"current":true,)" + known +
           R"("node_id":"1","incarnation":"77",)" + rest + R"(,"starts":"0","clean_shutdown":false,"extra_bytes":"0"})";
  };
  const Ran whole = run({"-o", "json", "storage", "superblock", directory_});
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.out, R"({"usable":true,"copies":[)" + copy(0) + "," + copy(1) + "," + copy(2) + "," + copy(3) + "]}\n");

  flip(wal::superblock_path(directory_), 2 * 4096 + 20);
  EXPECT_EQ(run({"-o", "json", "storage", "superblock", directory_}).out,
            R"({"usable":true,"copies":[)" + copy(0) + "," + copy(1) +
                R"(,{"copy":2,"valid":false,"current":false,"fault":"the copy is damaged"},)" + copy(3) + "]}\n");
  for (const int damaged : {0, 1}) flip(wal::superblock_path(directory_), damaged * 4096 + 20);
  const Ran unusable = run({"-o", "json", "storage", "superblock", directory_});
  EXPECT_TRUE(unusable.out.starts_with(R"({"usable":false,)")) << unusable.out;
  EXPECT_NE(unusable.out.find(R"({"copy":3,"valid":true,"current":false,)" + known), std::string::npos) << unusable.out;
  for (const Ran& ran : {unusable, run({"storage", "superblock", directory_})}) {
    EXPECT_EQ(ran.code, 1) << ran.out;
    EXPECT_NE(ran.err.find(wal::superblock_path(directory_) + ": no two of the four copies agree; copy 0: the copy is damaged"), std::string::npos) << ran.err;
  }
}

TEST_F(StorageTest, TheSuperblockInJsonShowsWhatIsKnownOfARunningClusterAndOfASwap) {
  fill(true);
  auto superblock = wal::SuperblockFile::open(disk_, directory_);
  ASSERT_TRUE(superblock.ok());
  SuperblockData data = (*superblock)->data();
  for (std::size_t i = 0; i < data.lineage.bytes.size(); ++i) data.lineage.bytes[i] = static_cast<std::uint8_t>(i * 0x11);
  data.group = GroupId(12'000'000'000'000'000'000u);
  data.pending_state_dir = "state-2";
  data.starts = 3;
  data.extra = "1234";
  ASSERT_TRUE((*superblock)->write(data).ok());
  const std::string out = run({"-o", "json", "storage", "superblock", directory_}).out;
  EXPECT_NE(out.find(R"("sequence":"2","format":1,"cluster":"orders","lineage":"00112233445566778899aabbccddeeff","node_id":"1",)"
                     R"("group":"12000000000000000000","incarnation":"77","state_dir":"state-1","pending_state_dir":"state-2",)"
                     R"("starts":"3","clean_shutdown":true,"extra_bytes":"4"})"),
            std::string::npos) << out;
}

TEST_F(StorageTest, AFlippedBitInTheLogIsDamageExit1) {
  fill(true);
  flip(segment(), 700);
  const Ran ran = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(ran.code, 1) << ran.out;
  EXPECT_NE(ran.err.find("1 damaged place found"), std::string::npos) << ran.err << ran.out;
  EXPECT_NE(ran.out.find(segment()), std::string::npos);
  // Not even where checkpoints are looked for beside it is it taken for one.
  const Ran beside = run({"storage", "verify", "--full-scan", "--snapshot-dir", directory_, directory_});
  EXPECT_NE(beside.err.find("empty it"), std::string::npos) << beside.err;
}

TEST_F(StorageTest, AFlippedBitInTheSuperblockIsDamageToo) {
  fill(true);
  flip(wal::superblock_path(directory_), 2 * 4096 + 20);
  const Ran ran = run({"-o", "json", "storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out.substr(0, 15), "{\"sound\":false,");
}

TEST_F(StorageTest, ASuperblockAndALogOfTwoDirectoriesAreToBePutRightNotToBeEmptied) {
  fill(true);
  ASSERT_TRUE(disk_.remove(wal::superblock_path(directory_)).ok());
  ASSERT_TRUE(wal::SuperblockFile::create(disk_, directory_, {.cluster_name = "orders", .node = NodeId(1), .incarnation = Incarnation(78),
                                                              .state_dir = "state-1", .clean_shutdown = true}).ok());
  for (const auto& scan : {std::vector<std::string>{}, {"--full-scan"}}) {
    std::vector<std::string> arguments{"storage", "verify", directory_};
    arguments.insert(arguments.end(), scan.begin(), scan.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 1) << ran.out;
    EXPECT_NE(ran.out.find(segment() + ": it belongs to another data directory"), std::string::npos) << ran.out;
    EXPECT_NE(ran.err.find("of two data directories"), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find("empty it"), std::string::npos) << ran.err;
  }
}

TEST_F(StorageTest, ATornTailIsExpectedAfterACrashAndDamageAfterACleanStop) {
  for (const bool clean : {false, true}) {
    fill(clean);
    zero(segment(), 2 * 512, 512);  // a sector of the last batch that never reached the disk
    const Ran ran = run({"storage", "verify", "--full-scan", directory_});
    EXPECT_EQ(ran.code, clean ? 1 : 0) << ran.out << ran.err;
    EXPECT_NE(ran.out.find(clean ? "damage" : "torn tail"), std::string::npos) << ran.out;
    TearDown();
    SetUp();
  }
}

TEST_F(StorageTest, ABitFlippedInTheZerosBehindTheLogIsFoundAlsoAfterACrash) {
  for (const bool clean : {false, true}) {
    fill(clean);
    flip(segment(), 900'000);
    const Ran ran = run({"storage", "verify", "--full-scan", directory_});
    EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
    EXPECT_NE(ran.err.find("the next start mends it"), std::string::npos) << ran.err;
    TearDown();
    SetUp();
  }
}

// The log is cut to the newest checkpoint; the others always lie before it.
TEST_F(StorageTest, WithoutItsNewestCheckpointTheLogIsSound) {
  fill_with_checkpoints(10);
  const auto verify = [&] { return run({"storage", "verify", "--full-scan", directory_}); };
  const Ran sound = verify();
  EXPECT_EQ(sound.code, 0) << sound.err << sound.out;

  flip(checkpoint(15) + "/" + std::string(kManifestFile), 30);
  const Ran damaged = verify();
  EXPECT_EQ(damaged.code, 1) << damaged.out;
  EXPECT_NE(damaged.err.find("1 damaged place found, the first in " + checkpoint(15)), std::string::npos) << damaged.err << damaged.out;
  EXPECT_NE(damaged.err.find("state and log are sound: remove the damaged checkpoint's directory"), std::string::npos) << damaged.err;

  ASSERT_EQ(std::system(("rm -r " + checkpoint(15)).c_str()), 0);
  const Ran removed = verify();
  EXPECT_EQ(removed.code, 1) << removed.out;
  EXPECT_NE(removed.out.find("the newest checkpoint here ends at entry 5, and the log begins after entry 10"), std::string::npos) << removed.out;
  EXPECT_NE(removed.err.find("state and log are sound: name the checkpoints' place"), std::string::npos) << removed.err;
}

TEST_F(StorageTest, AStateBeforeTheLogIsToBeRefilled) {
  fill_with_checkpoints(25);
  const Ran ran = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(ran.code, 1) << ran.out;
  EXPECT_NE(ran.out.find("state-1: it ends at entry 20, the log begins after 25"), std::string::npos) << ran.out;
  EXPECT_NE(ran.err.find("empty it"), std::string::npos) << ran.err;
}

TEST_F(StorageTest, ADirectoryThatIsNoneIsSaidSo) {
  EXPECT_EQ(run({"storage", "verify", directory_ + "/none"}).code, 1);
  EXPECT_EQ(run({"storage", "verify", directory_}).code, 1);
  for (const char* command : {"verify", "superblock", "log"})
    EXPECT_NE(run({"storage", command, directory_}).err.find("neither superblock nor log; give the node's data_dir"), std::string::npos) << command;
  EXPECT_EQ(disk_.list(directory_)->size(), 0u) << "nothing is left behind";
  EXPECT_EQ(run({"storage", "log", directory_, "--from=5", "--to=1"}).code, 2);
}

TEST_F(StorageTest, ASnapshotDirThatIsGivenAndIsNotThereIsDamage) {
  fill(true);
  for (const auto& scan : {std::vector<std::string>{}, {"--full-scan"}}) {
    std::vector<std::string> arguments{"storage", "verify", "--snapshot-dir", directory_ + "/none", directory_};
    arguments.insert(arguments.end(), scan.begin(), scan.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 1) << ran.out;
    EXPECT_NE(ran.out.find("damage      " + directory_ + "/none: there is no such directory\n"), std::string::npos) << ran.out;
    EXPECT_NE(ran.err.find("name the checkpoints' place (--snapshot-dir"), std::string::npos) << ran.err;
  }
  // It was not given: a node that never made one has nothing there.
  const Ran silent = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(silent.code, 0) << silent.err;
  EXPECT_NE(silent.out.find("checkpoints 0, 0 B; there is none in " + directory_ + "/snapshots (--snapshot-dir)\n"), std::string::npos) << silent.out;
}

// What lies elsewhere is not lost: emptied by that advice, a sound directory would be.
TEST_F(StorageTest, ALogThatIsNotWhereItIsLookedForIsAskedForBeforeAnythingIsEmptied) {
  fill(true);
  ASSERT_TRUE(disk_.rename(directory_ + "/wal", directory_ + "/elsewhere").ok());
  for (const auto& arguments : {std::vector<std::string>{"storage", "verify", "--full-scan", directory_},
                                {"storage", "verify", "--full-scan", "--wal-dir", directory_ + "/none", directory_}}) {
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 1) << ran.out;
    EXPECT_NE(ran.err.find("where no log lies: name its place (--wal-dir, node.wal_dir)"), std::string::npos) << ran.err;
    EXPECT_EQ(ran.err.find("do not start"), std::string::npos) << ran.err;
  }
  EXPECT_EQ(run({"storage", "verify", "--full-scan", "--wal-dir", directory_ + "/elsewhere", directory_}).code, 0);
}

TEST_F(StorageTest, AStateThatIsMissingIsMendedByTheNextStartWhereTheLogLeadsToIt) {
  fill(true, 1);
  const Ran mends = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(mends.code, 1) << mends.out;
  EXPECT_NE(mends.out.find("state-1: there is no such directory"), std::string::npos) << mends.out;
  EXPECT_NE(mends.err.find("the next start mends it"), std::string::npos) << mends.err;
  os::SeededRandom random(2);
  auto log = wal::SegmentedLog::open(disk_, random, directory_ + "/wal", {.owner = Incarnation(77), .segment_bytes = 1_MiB});
  ASSERT_TRUE(log.ok());
  ASSERT_TRUE((*log)->reset((*log)->last()).ok());
  log->reset();
  const Ran lost = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(lost.code, 1) << lost.out;
  EXPECT_NE(lost.err.find("empty it"), std::string::npos) << lost.err;
}

TEST_F(StorageTest, ALogThatWasReleasedHasACheckpointSomewhereUnlessTheStateWasExchanged) {
  fill(true);
  {
    os::SeededRandom random(2);
    auto log = wal::SegmentedLog::open(disk_, random, directory_ + "/wal", {.owner = Incarnation(77), .segment_bytes = 1_MiB});
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE((*log)->reset((*log)->last()).ok());
  }
  ASSERT_TRUE(disk_.make_dirs(directory_ + "/other").ok());
  const std::vector<std::string> arguments{"storage", "verify", "--full-scan", "--snapshot-dir", directory_ + "/other", directory_};
  const Ran elsewhere = run(arguments);
  EXPECT_EQ(elsewhere.code, 1) << elsewhere.out;
  EXPECT_NE(elsewhere.out.find(directory_ + "/other: no checkpoint lies here, and the log begins after entry 20"), std::string::npos) << elsewhere.out;
  EXPECT_NE(elsewhere.err.find("name the checkpoints' place (--snapshot-dir"), std::string::npos) << elsewhere.err;
  EXPECT_EQ(run({"storage", "verify", "--full-scan", directory_}).code, 1);

  // Behind a snapshot, or a leap, there may be none for a moment.
  auto superblock = wal::SuperblockFile::open(disk_, directory_);
  ASSERT_TRUE(superblock.ok());
  SuperblockData data = (*superblock)->data();
  data.state_dir = "state-20-1";
  ASSERT_TRUE((*superblock)->write(data).ok());
  const Ran exchanged = run(arguments);
  EXPECT_EQ(exchanged.code, 0) << exchanged.out << exchanged.err;
  EXPECT_NE(exchanged.out.find("checkpoints 0, 0 B; there is none in " + directory_ + "/other"), std::string::npos) << exchanged.out;
  data.state_dir = "state-15-1";  // and then the log was shortened by what is not there
  ASSERT_TRUE((*superblock)->write(data).ok());
  const Ran shortened = run(arguments);
  EXPECT_EQ(shortened.code, 1) << shortened.out;
  EXPECT_NE(shortened.out.find(directory_ + "/other: no checkpoint lies here, and the log begins after entry 20"), std::string::npos) << shortened.out;
}

TEST_F(StorageTest, AnIndexThatIsNoneIsAUsageErrorThatSaysWhich) {
  fill(true);
  for (const char* flag : {"--from", "--to"})
    for (const char* index : {"-1", "99999999999999999999", "x"}) {
      const Ran ran = run({"storage", "log", std::string(flag) + "=" + index, directory_});
      EXPECT_EQ(ran.code, 2) << flag << " " << index;
      EXPECT_NE(ran.err.find("Value " + std::string(index) + " not in range"), std::string::npos) << ran.err;
    }
}

TEST_F(StorageTest, AFlippedBitAnywhereInALedgerIsFound) {
  fill(true);
  const std::string path = write_ledger();
  const Ran sound = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(sound.code, 0) << sound.err;
  EXPECT_NE(sound.out.find("ledgers     1, 1 entries\n"), std::string::npos) << sound.out;
  const auto size = disk_.open(path, OpenMode::kRead).value()->size().value();
  for (std::uint64_t at = 0; at < size; ++at) {
    flip(path, static_cast<std::streamoff>(at));
    const Ran ran = run({"storage", "verify", "--full-scan", directory_});
    EXPECT_EQ(ran.code, 1) << "byte " << at;
    EXPECT_NE(ran.err.find("another member of the group"), std::string::npos) << ran.err;
    flip(path, static_cast<std::streamoff>(at));
  }
}

TEST_F(StorageTest, ALedgerThatTheStateNamesAndThatIsMissingIsFound) {
  fill(true, 1);
  const region::Ledger ledger{Index(20), Epoch(1), Epoch(2), {}, {}, {HistoryIndex(3), sha256("to"), 3, 300}, {}};
  name_in_state({});
  EXPECT_EQ(run({"storage", "verify", "--full-scan", directory_}).code, 0);
  name_in_state({ledger});
  const Ran ran = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  EXPECT_NE(ran.out.find(region::ledger_path(directory_, ledger) + ": missing; another member"), std::string::npos) << ran.out;
  EXPECT_NE(ran.err.find("start the node"), std::string::npos) << ran.err;
  EXPECT_EQ(ran.err.find("empty it"), std::string::npos) << ran.err;

  // Discarded behind the state: it is to be gone.
  os::SeededRandom random(2);
  auto log = wal::SegmentedLog::open(disk_, random, directory_ + "/wal", {.owner = Incarnation(77), .segment_bytes = 1_MiB});
  ASSERT_TRUE(log.ok());
  const Entry discarded{.term = Term(1), .index = Index(21), .kind = EntryKind::kDiscarded, .position = (*log)->last().position,
                        .payload = Bytes(region::encode(region::Discarded{ledger.follow, "operator"}))};
  ASSERT_TRUE((*log)->append({&discarded, 1}).ok() && (*log)->sync().ok());
  log->reset();
  const Ran after = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_EQ(after.code, 0) << after.out << after.err;
}

TEST_F(StorageTest, HarmlessFindingsOfSeveralKindsAreCuredEachByItsOwn) {
  fill(true, 1);
  const std::string ledger = "take a damaged ledger's file from another member of the group, it has the same one";
  const std::string checkpoint = "remove the damaged checkpoint's directory, the node will make another";
  const std::string place = "name the checkpoints' place (--snapshot-dir, node.snapshot_dir); if they are lost, start the node, it will make another";
  const std::string fetch = "start the node, which fetches a missing ledger from another member of the group; keep the directories of members that have it";
  const auto expect_cures = [&](const std::string& cures, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"storage", "verify", "--full-scan", directory_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ran ran = run(arguments);
    EXPECT_EQ(ran.code, 1) << ran.out;
    EXPECT_TRUE(ran.err.ends_with("; state and log are sound: " + cures + "\n")) << ran.err << ran.out;
  };
  const std::vector<std::string> mistyped{"--snapshot-dir", directory_ + "/none"};
  name_in_state({});
  flip(write_ledger(), 40);
  expect_cures(ledger + "; " + place, mistyped);
  ASSERT_TRUE(disk_.make_dirs(directory_ + "/snapshots/checkpoint-1").ok());
  std::ofstream(directory_ + "/snapshots/checkpoint-1/leeward-manifest") << "damaged";
  expect_cures(ledger + "; " + checkpoint);
  name_in_state({{Index(21), Epoch(1), Epoch(2), {}, {}, {HistoryIndex(3), sha256("to"), 3, 300}, {}}});
  expect_cures(ledger + "; " + checkpoint + "; " + fetch);
  expect_cures(ledger + "; " + place + "; " + fetch, mistyped);
  flip(segment(), 900'000);
  expect_cures(ledger + "; " + checkpoint + "; " + fetch + "; the next start mends the rest, but have the disk looked at");

  flip(segment(), 700);
  const Ran damaged = run({"storage", "verify", "--full-scan", directory_});
  EXPECT_NE(damaged.err.find("empty it"), std::string::npos) << damaged.err;
}

TEST_F(StorageTest, OnlyAFullScanCallsStateAndLogSound) {
  fill(true, 1);
  name_in_state({});
  const auto names = disk_.list(directory_ + "/state-1").value();
  const auto table = std::find_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".sst"); });
  ASSERT_NE(table, names.end());
  flip(directory_ + "/state-1/" + *table, 10);
  ASSERT_TRUE(disk_.make_dirs(directory_ + "/snapshots/checkpoint-1").ok());
  std::ofstream(directory_ + "/snapshots/checkpoint-1/leeward-manifest") << "damaged";
  const std::string unread = "; state and log were not read whole: ", again = "verify again with --full-scan before the node is started\n";
  const std::string place = "name the checkpoints' place (--snapshot-dir, node.snapshot_dir) and ";
  const auto error = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"storage", "verify", directory_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments).err;
  };
  EXPECT_TRUE(error({}).ends_with(unread + again)) << error({});
  const std::vector<std::string> mistyped{"--snapshot-dir", directory_ + "/none"};
  EXPECT_TRUE(error(mistyped).ends_with(unread + place + again)) << error(mistyped);
  EXPECT_NE(error({"--full-scan"}).find("empty it"), std::string::npos) << error({"--full-scan"});
}

TEST_F(StorageTest, ADirectoryInUseIsRefused) {
  fill(true);
  const auto held = disk_.lock(directory_);
  ASSERT_TRUE(held.ok());
  const Ran ran = run({"storage", "verify", directory_});
  EXPECT_EQ(ran.code, 3);
  EXPECT_NE(ran.err.find("stop the node first"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace leeward::ctl
