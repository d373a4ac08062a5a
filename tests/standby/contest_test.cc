// An epoch that two regions took apart from each other. Real members of two
// regions in the simulator.
#include <gtest/gtest.h>

#include "operator.h"

namespace leeward::standby {
namespace {

class Contested : public Promotion {
 protected:
  NodeId east() { return *r_->world.leader(); }
  NodeId west() { return *r_->leader(); }
  // Forces that group to an epoch; gives the promotion.
  region::PromotionId take(GroupRole group, Epoch epoch) {
    std::optional<NodeId> at;
    EXPECT_TRUE(r_->world.run_until([&] { return (at = r_->world.leader(group)).has_value(); })) << r_->why();
    auto change = r_->world.change_at(*at, region::Ending::kForced);
    change.epoch = epoch;
    const auto index = r_->world.propose(*at, change);
    EXPECT_TRUE(index.ok()) << index.error().message;
    EXPECT_TRUE(r_->world.run_until([&] { return r_->world.member(*at)->epoch() == epoch; })) << r_->why();
    return change.promotion;
  }
  bool all(const std::vector<NodeId>& ids, std::function<bool(node::Member&)> so) {
    return std::all_of(ids.begin(), ids.end(), [&](NodeId id) { return r_->world.member(id) && so(*r_->world.member(id)); });
  }
  bool contested(Epoch epoch) {
    const auto so = [&](node::Member& m) { return m.contested() == epoch && m.role() == GroupRole::kFenced; };
    return all(kPrimaries, so) && all(kStandbys, so);
  }
  Result<SurvivorRecord> survivor(NodeId at, region::PromotionId promotion) {
    std::optional<Result<SurvivorRecord>> answer;
    r_->world.stream(at)->recovery().survivor(promotion, "ada", r_->world.client_loop(),
                                              [&](Result<SurvivorRecord> record) { answer = std::move(record); });
    if (!r_->world.run_until([&] { return answer.has_value(); })) return Error{Code::kDeadline, "no answer" + r_->why()};
    return *answer;
  }
  void expect_nothing_is_served() {
    for (const auto id : {east(), west()}) {
      auto put = r_->world.client_put(id, "no", "x");
      auto read = r_->world.read(id, "k1");
      ASSERT_TRUE(r_->world.run_until([&] { return put->ended && read->ended; }, 60s)) << r_->why();
      EXPECT_NE(put->outcome.end, node::Outcome::End::kApplied);
      EXPECT_FALSE(read->confirmed.ok());
    }
  }
  void make_apart(std::uint64_t seed) {
    make(seed);
    r_->link(false);
    r_->world.run_for(1s);
  }
};

TEST_F(Contested, BothStopUntilOneIsNamedAndTheOtherIsFenced) {
  make_apart(71);
  const auto ours = take(GroupRole::kPrimary, Epoch(3)), theirs = take(GroupRole::kStandby, Epoch(3));
  r_->puts(east(), 3);
  r_->link(true);
  ASSERT_TRUE(r_->world.run_until([&] { return contested(Epoch(3)); }, 20s)) << r_->why();
  expect_nothing_is_served();
  EXPECT_STREQ(dr_state(r_->world.service(east())->status()), "contested");
  // It survives a restart of everybody.
  for (const auto id : r_->world.ids()) r_->world.crash(id);
  for (const auto id : r_->world.ids()) r_->world.start(id);
  ASSERT_TRUE(r_->world.run_until([&] { return contested(Epoch(3)) && r_->world.leader() && r_->leader(); }, 30s)) << r_->why();
  expect_nothing_is_served();
  // No force overrides it, once its log says so.
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(east())->regions_of_log()->control().contested.has_value(); }, 10s)) << r_->why();
  auto change = r_->world.change_at(east(), region::Ending::kForced);
  change.epoch = Epoch(40);
  EXPECT_TRUE(refused_by(r_->world.propose(east(), change), "is contested"));

  const auto wrong = survivor(east(), 12345);
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("unknown_promotion"), std::string::npos) << wrong.error().message;
  const auto goes_on = survivor(east(), ours);
  ASSERT_TRUE(goes_on.ok()) << goes_on.error().message;
  EXPECT_TRUE(goes_on->goes_on);
  EXPECT_GE(goes_on->epoch, Epoch(5)) << "revisions of the contested one have two contents";
  ASSERT_TRUE(r_->world.run_until([&] { return all(kPrimaries, [](auto& m) { return m.role() == GroupRole::kPrimary; }); }, 20s)) << r_->why();
  const auto fenced = survivor(west(), ours);
  ASSERT_TRUE(fenced.ok()) << fenced.error().message;
  EXPECT_FALSE(fenced->goes_on);
  ASSERT_TRUE(r_->world.run_until([&] {
    return all(kStandbys, [](auto& m) { return m.role() == GroupRole::kFenced && m.contested() == Epoch(); });
  }, 20s)) << r_->why();
  r_->world.run_for(5s);
  EXPECT_STREQ(dr_state(r_->world.service(west())->status()), "fenced");
  EXPECT_TRUE(all(kPrimaries, [](auto& m) { return m.role() == GroupRole::kPrimary && m.contested() == Epoch(); })) << "it stays decided";
  r_->puts(east(), 3);
  EXPECT_GE(r_->last_revision.value(), static_cast<std::int64_t>(goes_on->epoch.value()) * region::kRevisionsOfAnEpoch);
  const auto again = survivor(east(), ours);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->epoch, goes_on->epoch);
  // The one that is fenced may go with a history that holds the survivor.
  const auto* log = r_->world.member(west())->regions_of_log();
  ASSERT_TRUE(log);
  region::Follow follow{r_->epochs(east()), {}};
  const auto refused = log->judge(follow);
  EXPECT_EQ(refused.ok() ? "" : refused.error().message, "that is not the common position") << "it is not called contested any more";
  EXPECT_NE(theirs, ours);
}

TEST_F(Contested, AnOlderEpochCountsAsWell) {
  make_apart(72);
  const auto ours = take(GroupRole::kPrimary, Epoch(3));
  (void)take(GroupRole::kStandby, Epoch(3));
  (void)take(GroupRole::kPrimary, Epoch(5));
  (void)take(GroupRole::kStandby, Epoch(9));
  r_->link(true);
  ASSERT_TRUE(r_->world.run_until([&] { return contested(Epoch(3)); }, 20s)) << r_->why();
  expect_nothing_is_served();
  const auto fenced = survivor(west(), ours);
  ASSERT_TRUE(fenced.ok()) << fenced.error().message;
  const auto goes_on = survivor(east(), ours);
  ASSERT_TRUE(goes_on.ok()) << goes_on.error().message;
  EXPECT_GE(goes_on->epoch, Epoch(11)) << "above all that both took";
  ASSERT_TRUE(r_->world.run_until([&] {
    return all(kPrimaries, [](auto& m) { return m.role() == GroupRole::kPrimary; }) &&
           all(kStandbys, [](auto& m) { return m.role() == GroupRole::kFenced && m.contested() == Epoch(); });
  }, 20s)) << r_->why();
  r_->puts(east(), 3);
}

TEST_F(Contested, OfTwoDecisionsTheHigherEpochStays) {
  make_apart(73);
  const auto ours = take(GroupRole::kPrimary, Epoch(3)), theirs = take(GroupRole::kStandby, Epoch(3));
  r_->link(true);
  ASSERT_TRUE(r_->world.run_until([&] { return contested(Epoch(3)); }, 20s)) << r_->why();
  for (const auto at : {east(), west()})
    ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(at)->regions_of_log()->control().contested.has_value(); }, 10s)) << r_->why();
  const auto a = survivor(east(), ours), b = survivor(west(), theirs);
  ASSERT_TRUE(a.ok()) << a.error().message;
  if (b.ok()) {
    const bool east_stays = a->epoch > b->epoch;
    ASSERT_TRUE(r_->world.run_until([&] {
      return all(kPrimaries, [&](auto& m) { return m.role() == (east_stays ? GroupRole::kPrimary : GroupRole::kFenced); }) &&
             all(kStandbys, [&](auto& m) { return m.role() == (east_stays ? GroupRole::kFenced : GroupRole::kPrimary); });
    }, 20s)) << r_->why();
  }
}

TEST_F(Contested, WhereNothingIsThereIsNothingToDecide) {
  make(74);
  const auto none = survivor(east(), 77);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("not_contested"), std::string::npos) << none.error().message;
}

}  // namespace
}  // namespace leeward::standby
