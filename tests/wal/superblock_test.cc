#include "chain.h"

namespace leeward::wal {
namespace {

using test::MemoryDisk;

SuperblockData sample(std::uint64_t starts) {
  SuperblockData data;
  data.cluster_name = "orders";
  data.lineage.bytes[3] = 7;
  data.node = NodeId(3);
  data.group = GroupId(99);
  data.incarnation = Incarnation(12345);
  data.state_dir = "state-4";
  data.starts = starts;
  data.extra = std::string(1000 + starts % 2000, 'x');
  return data;
}

class SuperblockTest : public ::testing::Test {
 protected:
  SuperblockTest() { EXPECT_TRUE(disk_.make_dirs("/data").ok()); }
  void create() { ASSERT_TRUE(SuperblockFile::create(disk_, "/data", sample(1)).ok()); }
  std::unique_ptr<SuperblockFile> open() {
    auto block = SuperblockFile::open(disk_, "/data");
    EXPECT_TRUE(block.ok()) << (block.ok() ? "" : block.error().message);
    return block.ok() ? std::move(*block) : nullptr;
  }
  MemoryDisk disk_;
};

TEST_F(SuperblockTest, ComesBackAsItWasWritten) {
  EXPECT_EQ(SuperblockFile::open(disk_, "/data").error().code, Code::kNotFound);
  create();
  EXPECT_EQ(SuperblockFile::create(disk_, "/data", sample(1)).error().code, Code::kExists);
  auto block = open();
  SuperblockData expected = sample(1);
  expected.sequence = 1;
  EXPECT_EQ(block->data(), expected);
  ASSERT_TRUE(block->write(sample(2)).ok());
  EXPECT_EQ(block->data().sequence, 2u);
  block = open();
  EXPECT_EQ(block->data().starts, 2u);
  EXPECT_EQ(block->mended(), 0);
}

TEST_F(SuperblockTest, WhatDoesNotFitIsRefusedAndNothingChanges) {
  create();
  auto block = open();
  SuperblockData data = sample(2);
  data.extra = std::string(5000, 'x');
  EXPECT_EQ(block->write(data).error().code, Code::kInvalid);
  EXPECT_EQ(open()->data().starts, 1u);
}

TEST_F(SuperblockTest, AnyTwoCopiesMayBeDamagedAndAreMended) {
  for (int a = 0; a < 4; ++a)
    for (int b = a; b < 4; ++b) {
      MemoryDisk disk;
      ASSERT_TRUE(disk.make_dirs("/data").ok());
      ASSERT_TRUE(SuperblockFile::create(disk, "/data", sample(1)).ok());
      disk.flip("/data/superblock", a * 4096 + 40, 1);
      if (b != a) disk.flip("/data/superblock", b * 4096 + 4000, 1);
      for (const int mended : {a == b ? 1 : 2, 0}) {
        auto block = SuperblockFile::open(disk, "/data");
        ASSERT_TRUE(block.ok()) << a << b;
        EXPECT_EQ((*block)->data().starts, 1u);
        EXPECT_EQ((*block)->mended(), mended);
      }
    }
}

TEST_F(SuperblockTest, ASingleCopyIsNotBelieved) {
  create();
  for (int copy = 1; copy < 4; ++copy) disk_.flip("/data/superblock", copy * 4096 + 100, 1);
  const auto block = SuperblockFile::open(disk_, "/data");
  ASSERT_FALSE(block.ok());
  EXPECT_EQ(block.error().code, Code::kCorrupt);
}

TEST_F(SuperblockTest, ANewerDirectoryFormatIsRefused) {
  SuperblockData data = sample(1);
  data.format = kNewestFormat + 1;
  ASSERT_TRUE(SuperblockFile::create(disk_, "/data", data).ok());
  EXPECT_EQ(SuperblockFile::open(disk_, "/data").error().code, Code::kNewerFormat);
  EXPECT_TRUE(SuperblockFile::open(disk_, "/data", kNewestFormat + 1).ok());
}

TEST_F(SuperblockTest, ACrashAtAnyCallLeavesTheOldOrTheNewData) {
  for (std::uint64_t seed = 1; seed <= 2000; seed += kEvery) {
    MemoryDisk disk;
    os::SeededRandom random(seed);
    ASSERT_TRUE(disk.make_dirs("/data").ok());
    ASSERT_TRUE(SuperblockFile::create(disk, "/data", sample(1)).ok());
    std::uint64_t acknowledged = 1, attempted = 1;
    for (int life = 0; life < 5; ++life) {
      disk.power_off_after(random.below(20));
      auto block = SuperblockFile::open(disk, "/data");
      if (block.ok()) {
        const std::uint64_t found = (*block)->data().starts;
        ASSERT_TRUE(found >= acknowledged && found <= attempted) << "seed " << seed << " life " << life;
        ASSERT_EQ((*block)->data().extra, sample(found).extra);
        acknowledged = found;
        while (disk.powered()) {
          disk.refuse_writes(random.below(3) == 0 ? "superblock" : "", random.below(4));
          if ((*block)->write(sample(++attempted)).ok()) acknowledged = attempted;
        }
      } else {
        ASSERT_FALSE(disk.powered()) << "seed " << seed << " life " << life << ": " << block.error().message;
      }
      if (random.below(3) == 0) {
        disk.kill();
      } else {
        disk.crash(random.next());
      }
      disk.refuse_writes("");
    }
    auto block = SuperblockFile::open(disk, "/data");
    ASSERT_TRUE(block.ok()) << "seed " << seed << ": " << block.error().message;
    ASSERT_GE((*block)->data().starts, acknowledged) << "seed " << seed;
  }
}

TEST_F(SuperblockTest, AFailedSyncIsFinal) {
  create();
  auto block = open();
  disk_.fail_sync("superblock");
  EXPECT_EQ(block->write(sample(2)).error().code, Code::kIo);
  EXPECT_EQ(block->write(sample(3)).error().code, Code::kIo);
}

}  // namespace
}  // namespace leeward::wal
