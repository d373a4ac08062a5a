// A ledger's file: whole, or it says that it is not.
#include "region/ledger.h"

#include <gtest/gtest.h>

#include "base/command.h"
#include "support/memory_disk.h"

namespace leeward::region {
namespace {

using test::MemoryDisk;

constexpr const char* kDirectory = "/data";

class LedgerFile : public ::testing::Test {
 protected:
  void SetUp() override {
    Position at{HistoryIndex(10), sha256("fork"), 100, 1000};
    ledger_ = {Index(40), Epoch(1), Epoch(2), at, at, at, {}};
    for (int i = 0; i < 5; ++i) {
      Entry e;
      e.index = Index(30 + static_cast<std::uint64_t>(i));
      e.kind = EntryKind::kWrites;
      e.epoch = Epoch(1);
      e.writes = 1;
      e.payload = Bytes(encode_payload({Command{Op::kPut, Bytes("value " + std::to_string(i)), {}, {}}}));
      e.position = at = extend(at, e.epoch, e.kind, e.writes, e.payload.view());
      entries_.push_back(e);
    }
    ledger_.to = at;
    lineage_ = Lineage::make(1, 2, WallTime());
    auto writer = LedgerWriter::create(disk_, kDirectory, lineage_, GroupId(7), ledger_);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->add(entries_).ok());
    ASSERT_TRUE(writer->finish().ok());
    path_ = ledger_path(kDirectory, ledger_);
    auto file = disk_.open(path_, OpenMode::kRead);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->read(0, 1 << 20, bytes_).ok());
  }

  void put(std::string_view bytes) {
    auto file = disk_.open(path_, OpenMode::kCreateOrOpen);
    ASSERT_TRUE(file.ok() && (*file)->truncate(0).ok() && (*file)->write(0, bytes).ok());
  }
  // How many entries come before it ends, or what it says instead.
  Result<int> read() {
    auto reader = LedgerReader::open(disk_, path_);
    if (!reader.ok()) return reader.error();
    for (int n = 0;; ++n) {
      auto entry = reader->next();
      if (!entry.ok()) return entry.error();
      if (!*entry) return n;
      if (n < 5) {
        EXPECT_EQ((*entry)->position, entries_[static_cast<std::size_t>(n)].position);
      }
    }
  }

  MemoryDisk disk_;
  Ledger ledger_;
  Lineage lineage_;
  std::vector<Entry> entries_;
  Path path_;
  std::string bytes_;
};

TEST_F(LedgerFile, GivesBackWhatWasPutAside) {
  const auto n = read();
  ASSERT_TRUE(n.ok()) << n.error().message;
  EXPECT_EQ(*n, 5);
}

TEST_F(LedgerFile, CutAnywhereIsCorrupt) {
  for (std::size_t size = 0; size < bytes_.size(); ++size) {
    put(std::string_view(bytes_).substr(0, size));
    const auto n = read();
    ASSERT_FALSE(n.ok()) << "cut to " << size << " bytes it reads as whole";
    EXPECT_EQ(n.error().code, Code::kCorrupt) << size;
  }
}

TEST_F(LedgerFile, AnyFlippedBitIsFound) {
  for (std::size_t bit = 0; bit < bytes_.size() * 8; ++bit) {
    std::string damaged = bytes_;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    put(damaged);
    const auto n = read();
    ASSERT_FALSE(n.ok()) << "bit " << bit;
    EXPECT_EQ(n.error().code, Code::kCorrupt) << bit;
  }
}

TEST_F(LedgerFile, GarbageAndWhatStandsBehindTheEndAreCorrupt) {
  for (const std::string& garbage : {std::string("no ledger"), std::string(4096, '\0'), std::string(4096, '\xff'), bytes_ + "x", bytes_ + bytes_}) {
    put(garbage);
    const auto n = read();
    ASSERT_FALSE(n.ok());
    EXPECT_EQ(n.error().code, Code::kCorrupt);
  }
}

// Each entry is sound and stands in its place by its checksum alone: the chain tells.
TEST_F(LedgerFile, AnEntryThatIsLeftOutIsFound) {
  auto writer = LedgerWriter::create(disk_, kDirectory, lineage_, GroupId(7), ledger_);
  ASSERT_TRUE(writer.ok());
  std::vector<Entry> some = {entries_[0], entries_[2]};
  EXPECT_EQ(writer->add(some).error().code, Code::kCorrupt);
  auto shorter = LedgerWriter::create(disk_, kDirectory, lineage_, GroupId(7), ledger_);
  ASSERT_TRUE(shorter.ok() && shorter->add(std::span(entries_).first(4)).ok());
  EXPECT_EQ(shorter->finish().error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace leeward::region
