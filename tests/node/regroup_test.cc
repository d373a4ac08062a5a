// What survivors of a lost majority put down, and the entry that they begin by.
#include "node/regroup.h"

#include <gtest/gtest.h>

#include "node/group_state.h"
#include "node/records.h"

namespace leeward::node {
namespace {

Regroup some() {
  Regroup r;
  r.members[NodeId(4)] = {Incarnation(44), GroupId(2), {Term(7), Index(100)}};
  r.members[NodeId(5)] = {Incarnation(55), GroupId(2), {Term(7), Index(98)}};
  r.leader = NodeId(4);
  r.term = Term(9);
  r.become.group = GroupId(77);
  r.become.known = Epoch(3);
  r.become.region = "west";
  r.become.announced = {1, 2, 3, true};
  r.become.by = "ada";
  r.become.plan = "digest";
  return r;
}

TEST(RegroupRecord, ComesBackAsItWasAndLeavesOthersAlone) {
  std::string extra;
  set_record(extra, "other", "kept");
  EXPECT_EQ(*regroup_in(extra), std::nullopt);
  set_regroup(extra, some());
  const auto read = regroup_in(extra);
  ASSERT_TRUE(read.ok() && *read) << read.error().message;
  EXPECT_EQ(**read, some());
  auto later = some();
  ++later.term;
  set_regroup(extra, later);
  EXPECT_EQ((*regroup_in(extra))->term, Term(10)) << "there is one at most";
  drop_regroup(extra);
  EXPECT_EQ(*regroup_in(extra), std::nullopt);
  EXPECT_EQ(find_record(extra, "other"), "kept");
}

TEST(RegroupRecord, CutOrOfANewerVersionItIsRefused) {
  const auto whole = encode(some());
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(decode_regroup_record(whole.substr(0, size)).ok()) << size;
  EXPECT_FALSE(decode_regroup_record(whole + "x").ok());
  auto newer = whole;
  newer[0] = 2;
  EXPECT_EQ(decode_regroup_record(newer).error().code, Code::kNewerFormat);
  auto without_leader = some();
  without_leader.leader = NodeId(6);
  EXPECT_FALSE(decode_regroup_record(encode(without_leader)).ok());
}

TEST(RegroupRecord, ItsEntryMakesTheMembersAndRemovesWhoIsLost) {
  GroupState state;
  state.lineage.bytes[0] = 1;
  state.membership.voters = {NodeId(4), NodeId(5), NodeId(6)};
  state.membership.learners = {NodeId(7)};
  for (std::uint64_t id = 4; id < 8; ++id) {
    state.admitted[NodeId(id)] = Incarnation(id * 11);
    state.topology.push_back({NodeId(id), "", "west", "", "host-" + std::to_string(id), "", GroupRole::kStandby});
  }
  Entry entry;
  entry.index = Index(101);
  entry.kind = EntryKind::kRegroup;
  entry.payload = Bytes(payload_of(some()));
  const auto membership = raft::membership_in(entry);
  ASSERT_TRUE(membership.ok());
  EXPECT_EQ(membership->voters, (std::set<NodeId>{NodeId(4), NodeId(5)}));
  const auto changed = apply_to_group(entry, state);
  ASSERT_TRUE(changed.ok() && *changed);
  EXPECT_EQ(state.membership, *membership);
  EXPECT_EQ(state.admitted, (std::map<NodeId, Incarnation>{{NodeId(4), Incarnation(44)}, {NodeId(5), Incarnation(55)}}));
  EXPECT_EQ(state.removed.at(NodeId(6)), (Removed{Incarnation(66), Index(101), "host-6"}));
  EXPECT_TRUE(state.removed.contains(NodeId(7)));
  EXPECT_EQ(state.topology.size(), 2u);

  const std::string payload(entry.payload.view());
  for (std::size_t size = 0; size < payload.size(); ++size) {
    Entry cut = entry;
    cut.payload = Bytes(payload.substr(0, size));
    EXPECT_FALSE(raft::membership_in(cut).ok()) << size;
    auto before = state;
    EXPECT_FALSE(apply_to_group(cut, before).ok()) << size;
  }
}

}  // namespace
}  // namespace leeward::node
