// Who a group is that begins with a restored state: the same at every member that
// restores the same file by the same lists, and nobody else.
#include "node/restored.h"

#include <gtest/gtest.h>

#include "node/records.h"
#include "region/entries.h"

namespace leeward::node {
namespace {

std::vector<Node> restored_lists() {
  std::vector<Node> nodes;
  for (const std::uint64_t id : {1, 2, 3, 11, 12})
    nodes.push_back({NodeId(id), "n" + std::to_string(id), id < 10 ? "east" : "west", "", "10.0.0." + std::to_string(id) + ":2380", "",
                     id < 10 ? GroupRole::kPrimary : GroupRole::kStandby});
  return nodes;
}

RestoredFrom some_file() {
  RestoredFrom from;
  from.digest = sha256("a file");
  from.position = {HistoryIndex(500), sha256("the history"), 700, 9000};
  from.epoch = Epoch(4);
  from.taken_ms = 1'700'000'000'123;
  return from;
}

TEST(Restored, IsTheSameGroupAtEachMember) {
  const auto one = restored_group(some_file(), "orders", restored_lists(), NodeId(1), "");
  const auto two = restored_group(some_file(), "orders", restored_lists(), NodeId(2), "");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(encode(one->group), encode(two->group));
  EXPECT_EQ(one->first, two->first);
  EXPECT_TRUE(one->group.lineage.known());
  EXPECT_TRUE(bool(one->group.control.group));
  EXPECT_EQ(one->group.control.role, GroupRole::kPrimary);
  EXPECT_EQ(one->group.membership.voters, (std::set<NodeId>{NodeId(1), NodeId(2), NodeId(3)}));
  EXPECT_EQ(one->group.topology.size(), 5u);
  for (const auto& [id, incarnation] : one->group.admitted) EXPECT_FALSE(bool(incarnation)) << id.value();
  EXPECT_EQ(one->group.admitted.size(), 3u);
}

TEST(Restored, AddressesMakeNoDifferenceAndAllElseDoes) {
  const auto lineage = [](const RestoredFrom& from, const std::string& name, const std::vector<Node>& nodes, const std::string& token) {
    return restored_group(from, name, nodes, NodeId(1), token)->group.lineage;
  };
  const auto usual = lineage(some_file(), "orders", restored_lists(), "");
  auto moved = restored_lists();
  moved[1].peer_address = "10.9.9.9:2380";
  EXPECT_EQ(lineage(some_file(), "orders", moved, ""), usual);
  auto other_file = some_file();
  other_file.digest = sha256("another");
  auto fewer = restored_lists();
  fewer.pop_back();
  EXPECT_NE(lineage(other_file, "orders", restored_lists(), ""), usual);
  EXPECT_NE(lineage(some_file(), "others", restored_lists(), ""), usual);
  EXPECT_NE(lineage(some_file(), "orders", fewer, ""), usual);
  EXPECT_NE(lineage(some_file(), "orders", restored_lists(), "again"), usual);
}

TEST(Restored, BeginsWithAForcedEpochThatAnnouncesWhatNobodyKnows) {
  const auto restored = restored_group(some_file(), "orders", restored_lists(), NodeId(1), "");
  const Entry& first = restored->first;
  EXPECT_EQ(first.index, Index(1));
  EXPECT_EQ(first.term, Term(1));
  EXPECT_TRUE(chains(some_file().position, first));
  const auto change = region::decode_epoch_change(first.payload.view());
  ASSERT_TRUE(change.ok());
  // Above epoch 4, and not the next one: other regions may have begun that since.
  EXPECT_GE(change->epoch, Epoch(6));
  EXPECT_LE(change->epoch, Epoch(4 + 1024));
  EXPECT_EQ(first.epoch, change->epoch);
  EXPECT_EQ(change->epoch, region::decode_epoch_change(restored_group(some_file(), "orders", restored_lists(), NodeId(2), "")->first.payload.view())->epoch) << "of each member of one file";
  EXPECT_EQ(change->ending, region::Ending::kForced);
  EXPECT_EQ(change->group, restored->group.control.group);
  EXPECT_EQ(change->fork, some_file().position);
  EXPECT_TRUE(change->announced.more);
  EXPECT_NE(change->promotion, 0u);
  EXPECT_EQ(region::first_revision(*change, Revision(100)), Revision(static_cast<std::int64_t>(change->epoch.value()) << 44));
}

TEST(Restored, OnlyTheActiveListIsRestored) {
  EXPECT_EQ(restored_group(some_file(), "orders", restored_lists(), NodeId(11), "").error().code, Code::kInvalid);
  EXPECT_EQ(restored_group(some_file(), "orders", restored_lists(), NodeId(9), "").error().code, Code::kNotFound);
  auto last = some_file();
  last.epoch = region::kLastEpoch;
  EXPECT_FALSE(restored_group(last, "orders", restored_lists(), NodeId(1), "").ok());
}

TEST(Restored, TheDirectoryIsOfThatGroupAndHasHadItsFirstStart) {
  const auto restored = restored_group(some_file(), "orders", restored_lists(), NodeId(2), "");
  const auto data = restored_superblock(restored->group, "orders", NodeId(2), Incarnation(9), "state-1");
  EXPECT_EQ(data.lineage, restored->group.lineage);
  EXPECT_EQ(data.group, restored->group.control.group);
  EXPECT_EQ(data.node, NodeId(2));
  EXPECT_EQ(data.incarnation, Incarnation(9));
  EXPECT_GT(data.starts, 0u);
  ASSERT_TRUE(started_with(data.extra));
  EXPECT_EQ(started_with(data.extra)->voters, restored->group.membership.voters);
}

}  // namespace
}  // namespace leeward::node
