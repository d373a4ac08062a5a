// Both stores behind ports/store.h must do the same under the same operations.
#include "support.h"

namespace leeward::kv {
namespace {

class StoreTest : public testing::TestWithParam<StoreKind> {
 protected:
  StoreHome home_{GetParam()};
};

using Rows = std::map<std::string, std::string>;
using Tables = std::array<Rows, kFamilies>;

Rows contents(Iterator& it) {
  Rows out;
  for (it.seek({}); it.valid(); it.next()) out.emplace(it.key(), it.value());
  return out;
}
template <class Source>
Tables contents(const Source& source) {
  Tables out;
  for (int i = 0; i < kFamilies; ++i) out[static_cast<std::size_t>(i)] = contents(*source.iterate(static_cast<Family>(i)));
  return out;
}

TEST_P(StoreTest, ABatchIsSeenWholeInAllFamilies) {
  auto store = home_.open();
  Batch batch;
  batch.put(Family::kHead, "a", "1");
  batch.put(Family::kMeta, "a", "2");
  batch.put(Family::kHead, "a", "3");
  batch.put(Family::kHead, "b", "4");
  batch.remove(Family::kHead, "b");
  ASSERT_TRUE(store->write(batch).ok());
  EXPECT_EQ(*store->get(Family::kHead, "a"), "3");
  EXPECT_EQ(*store->get(Family::kMeta, "a"), "2");
  EXPECT_EQ(*store->get(Family::kHead, "b"), std::nullopt);
  EXPECT_EQ(*store->get(Family::kRev, "a"), std::nullopt);
}

TEST_P(StoreTest, ASnapshotStaysAsItWas) {
  auto store = home_.open();
  Batch batch;
  batch.put(Family::kHead, "a", "1");
  batch.put(Family::kHead, "b", "1");
  ASSERT_TRUE(store->write(batch).ok());
  const auto snapshot = store->snapshot();
  batch.clear();
  batch.put(Family::kHead, "a", "2");
  batch.remove(Family::kHead, "b");
  batch.put(Family::kHead, "c", "2");
  ASSERT_TRUE(store->write(batch).ok());
  EXPECT_EQ(contents(*snapshot->iterate(Family::kHead)), (Rows{{"a", "1"}, {"b", "1"}}));
  EXPECT_EQ(*snapshot->get(Family::kHead, "b"), "1");
  EXPECT_EQ(*snapshot->get(Family::kHead, "c"), std::nullopt);
  EXPECT_EQ(contents(*store->iterate(Family::kHead)), (Rows{{"a", "2"}, {"c", "2"}}));
}

TEST_P(StoreTest, AnIteratorGoesBothWays) {
  auto store = home_.open();
  Batch batch;
  for (const char* key : {"b", "d", "f"}) batch.put(Family::kRev, key, key);
  ASSERT_TRUE(store->write(batch).ok());
  const auto it = store->iterate(Family::kRev);
  it->seek("c");
  ASSERT_TRUE(it->valid());
  EXPECT_EQ(it->key(), "d");
  it->prev();
  EXPECT_EQ(it->key(), "b");
  it->prev();
  EXPECT_FALSE(it->valid());
  it->seek_for_prev("e");
  EXPECT_EQ(it->key(), "d");
  it->seek_for_prev("d");
  EXPECT_EQ(it->key(), "d");
  it->seek_for_prev("a");
  EXPECT_FALSE(it->valid());
  it->seek("g");
  EXPECT_FALSE(it->valid());
}

TEST_P(StoreTest, AReaderMayOutliveTheStore) {
  auto store = home_.open();
  Batch batch;
  batch.put(Family::kHead, "a", "1");
  ASSERT_TRUE(store->write(batch).ok());
  const auto snapshot = store->snapshot();
  const auto it = snapshot->iterate(Family::kHead);
  store.reset();
  it->seek({});
  ASSERT_TRUE(it->valid());
  EXPECT_EQ(it->value(), "1");
}

TEST_P(StoreTest, ACrashLosesWholeBatchesFromTheEndAndNothingFlushed) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  auto store = home_.open();
  std::vector<Tables> states(1);  // after each batch since the last flush
  for (int round = 0; round < 40; ++round) {
    for (std::uint64_t n = dice.below(30); n > 0; --n) {
      Batch batch;
      Tables next = states.back();
      for (std::uint64_t changes = 1 + dice.below(8); changes > 0; --changes) {
        const auto family = static_cast<Family>(dice.below(kFamilies));
        Rows& rows = next[static_cast<std::size_t>(family)];
        std::string key = "k" + std::to_string(dice.below(20));
        if (dice.one_in(3)) {
          rows.erase(key);
          batch.remove(family, std::move(key));
        } else {
          std::string value(dice.below(100), static_cast<char>('a' + dice.below(26)));
          rows[key] = value;
          batch.put(family, std::move(key), std::move(value));
        }
      }
      ASSERT_TRUE(store->write(batch).ok());
      states.push_back(std::move(next));
      ASSERT_EQ(contents(*store), states.back());
    }
    if (dice.one_in(2)) {
      ASSERT_TRUE(store->flush().ok());
      states.erase(states.begin(), states.end() - 1);
    }
    if (!dice.one_in(3)) continue;
    home_.crash();
    store.reset();
    store = home_.open();
    const Tables now = contents(*store);
    const auto it = std::find(states.begin(), states.end(), now);
    ASSERT_NE(it, states.end()) << "the store came back in a state that never was";
    states = {now};
  }
}

TEST_P(StoreTest, ACheckpointOpensAsAStoreOfItsOwn) {
  auto store = home_.open();
  Batch batch;
  batch.put(Family::kHead, "a", "1");
  ASSERT_TRUE(store->write(batch).ok());
  const Path directory = home_.fresh_path();
  ASSERT_TRUE(store->checkpoint(directory).ok());
  batch.clear();
  batch.put(Family::kHead, "a", "2");
  ASSERT_TRUE(store->write(batch).ok());
  ASSERT_TRUE(store->flush().ok());
  auto copy = home_.open_at(directory);
  EXPECT_EQ(*copy->get(Family::kHead, "a"), "1");
  batch.clear();
  batch.put(Family::kHead, "a", "3");
  ASSERT_TRUE(copy->write(batch).ok());
  EXPECT_EQ(*store->get(Family::kHead, "a"), "2");
}

TEST(RocksDbStore, TellsThatTheDirectoryIsInUse) {
  StoreHome home(StoreKind::kRocksDb);
  auto store = home.open();
  auto second = open_rocksdb_store(home.directory());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kInUse) << second.error().message;
}

TEST(RocksDbStore, TellsThatThereIsNone) {
  StoreHome home(StoreKind::kRocksDb);
  auto store = open_rocksdb_store(home.fresh_path(), {.create = false});
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::kNotFound) << store.error().message;
}

TEST(MemoryStore, FindsAFlippedByteInItsImage) {
  StoreHome home(StoreKind::kMemory);
  auto store = home.open();
  Batch batch;
  batch.put(Family::kHead, "a", "value");
  ASSERT_TRUE(store->write(batch).ok());
  ASSERT_TRUE(store->flush().ok());
  auto file = home.disk().open(home.directory() + "/IMAGE", OpenMode::kReadWrite);
  ASSERT_TRUE((*file)->write(12, "X").ok());
  auto again = open_memory_store(home.disk(), home.directory());
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(Both, StoreTest, testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

}  // namespace
}  // namespace leeward::kv
