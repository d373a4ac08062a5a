// The checkers over logs made by hand: what must be found is found, and where
// histories may part nothing is. plants_test.cc does the same with real members.
#include <gtest/gtest.h>

#include "node/group_state.h"
#include "world/checkers.h"

namespace leeward::sim {
namespace {

constexpr auto kEast = GroupRole::kPrimary, kWest = GroupRole::kStandby;

// Entries of one group's log, one behind the other.
struct Group final : LogView {
  Group(GroupRole role, GroupId id) : role(role), id(id) {
    node::GroupState state;
    state.lineage.bytes[0] = 1;
    state.control.group = id;
    state.control.role = role;
    add(EntryKind::kBootstrap, Epoch(), node::encode(state));
  }
  void add(EntryKind kind, Epoch epoch, std::string payload) {
    Entry e;
    e.kind = kind;
    e.epoch = epoch;
    e.term = Term(1);
    e.payload = Bytes(std::move(payload));
    e.index = Index(entries.size() + 1);
    const auto before = entries.empty() ? Position() : entries.back().position;
    e.position = is_history(kind) ? extend(before, epoch, kind, 0, e.payload.view()) : before;
    entries.push_back(std::move(e));
  }
  void change(Epoch epoch, region::PromotionId promotion, GroupId to) {
    region::EpochChange c;
    c.epoch = epoch;
    c.promotion = promotion;
    c.group = to;
    c.fork = entries.back().position;
    add(EntryKind::kEpochChange, epoch, encode(c));
  }
  // What the other group has is received.
  void follow(const Group& other) {
    for (const auto& e : other.entries)
      if (is_history(e.kind) && e.position.index > entries.back().position.index) add(e.kind, e.epoch, std::string(e.payload.view()));
  }

  LogPoint base() const override { return {}; }
  LogPoint last() const override { return *point(Index(entries.size())); }
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t) const override {
    return std::vector<Entry>(entries.begin() + static_cast<std::ptrdiff_t>(from.value()) - 1,
                              entries.begin() + static_cast<std::ptrdiff_t>(to.value()) - 1);
  }
  Result<LogPoint> point(Index index) const override {
    if (index == Index()) return LogPoint();
    const auto& e = entries[index.value() - 1];
    return LogPoint{e.index, e.term, e.position};
  }

  GroupRole role;
  GroupId id;
  std::vector<Entry> entries;
};

struct Stands final : node::StateHandle {
  Stands(const LogPoint& point, std::uint8_t content) : StateHandle(nullptr) {
    state.point = point;
    state.state_hash.bytes[0] = content;
  }
  AppliedState applied() const override { return state; }
  AppliedState state;
};

struct Check : testing::Test {
  void SetUp() override {
    region::Armed armed;
    armed.arming = 3;
    armed.group = west.id;
    east.add(EntryKind::kArmed, Epoch(1), encode(armed));
    west.follow(east);
    apply(east, NodeId(1));
    apply(west, NodeId(4));
    ASSERT_EQ(checkers.breach(), "");
  }
  // All of the group's log, by a member, whose state is then this.
  void apply(Group& group, NodeId node, std::uint8_t content = 0) {
    checkers.stands(group.role, node, group.last(), group, Instant());
    checkers.applied(group.role, node, group.entries, Stands(group.last(), content));
  }
  void expect(const std::string& breach) {
    EXPECT_NE(checkers.breach().find(breach), std::string::npos) << "\"" << checkers.breach() << "\"";
  }

  Checkers checkers;
  Group east{kEast, GroupId(11)}, west{kWest, GroupId(22)};
};

TEST_F(Check, HistoriesPartAtAnEpochChangeAndNowhereElse) {
  east.add(EntryKind::kWrites, Epoch(1), "");  // lost with its region
  apply(east, NodeId(1));
  west.change(Epoch(2), 7, west.id);
  west.add(EntryKind::kWrites, Epoch(2), "");
  apply(west, NodeId(4), 1);
  apply(west, NodeId(5), 1);
  EXPECT_EQ(checkers.breach(), "");
  apply(east, NodeId(2));
  EXPECT_EQ(checkers.breach(), "");
  EXPECT_EQ(checkers.regions(kWest).role(), GroupRole::kPrimary);
}

TEST_F(Check, WithoutAChangeOneIndexNamesOneEntry) {
  east.add(EntryKind::kWrites, Epoch(1), "");
  apply(east, NodeId(1));
  west.add(EntryKind::kTopology, Epoch(1), "");
  apply(west, NodeId(4));
  expect("I2");
}

TEST_F(Check, InOneBranchOneIndexNamesOneEntryToo) {
  west.change(Epoch(2), 7, west.id);
  auto other = west;
  west.add(EntryKind::kWrites, Epoch(2), "");
  other.add(EntryKind::kTopology, Epoch(2), "");
  apply(west, NodeId(4));
  checkers.stands(kWest, NodeId(5), other.last(), other, Instant());
  expect("I2");
}

TEST_F(Check, StatesAreComparedWithinABranch) {
  east.add(EntryKind::kWrites, Epoch(1), "");
  apply(east, NodeId(1), 1);
  west.change(Epoch(2), 7, west.id);
  apply(west, NodeId(4), 2);  // at the same index
  EXPECT_EQ(checkers.breach(), "");
  apply(west, NodeId(5), 3);
  expect("I4");
}

TEST_F(Check, NoGroupGoesBackToAnOlderEpoch) {
  west.change(Epoch(2), 7, west.id);
  west.add(EntryKind::kWrites, Epoch(1), "");
  apply(west, NodeId(4));
  expect("of epoch 1 behind one of epoch 2");
}

TEST_F(Check, AnEpochBeginsOnceUnlessByForce) {
  auto lost = west;
  west.change(Epoch(2), 7, west.id);
  apply(west, NodeId(4));
  Group third{GroupRole::kObserver, GroupId(33)};
  third.follow(lost);
  third.change(Epoch(2), 8, third.id);
  apply(third, NodeId(7));
  expect("I1: epoch 2 begins twice");
}

TEST_F(Check, AStandbyHoldsNothingThatThePrimaryHasNotCommittedButAChange) {
  auto ahead = west;
  west.change(Epoch(2), 7, west.id);
  checkers.stands(kWest, NodeId(4), *west.point(Index(west.entries.size() - 1)), west, Instant());
  EXPECT_EQ(checkers.breach(), "") << "uncommitted, and its own";
  ahead.add(EntryKind::kWrites, Epoch(1), "");
  checkers.stands(kWest, NodeId(5), *ahead.point(Index(ahead.entries.size() - 1)), ahead, Instant());
  expect("the primary has committed up to");
}

TEST_F(Check, AnEpochEndsAtNothingThatThePrimaryHasNotCommitted) {
  west.add(EntryKind::kWrites, Epoch(1), "");
  west.change(Epoch(2), 7, west.id);
  checkers.stands(kWest, NodeId(4), *west.point(Index(west.entries.size() - 2)), west, Instant());
  expect("the primary has committed up to");
}

}  // namespace
}  // namespace leeward::sim
