// What dashboards are told of a promotion before, while and after it is carried
// out: what the metrics page reads, of real members of two regions.
#include "operator.h"
#include "standby/messages.h"

namespace leeward::standby {
namespace {

class Figures : public Promotion {
 protected:
  void make_leased(std::uint64_t seed) {
    auto o = options(seed);
    o.fence_lease = 1s;
    r_ = std::make_unique<Story>(o);
    ASSERT_READY(*r_);
  }
  // As of now, not of the last time it was published.
  NodeStatus status(NodeId id) {
    NodeStatus node = r_->world.member(id)->status();
    node.known_loss.reset();
    node.estimated_rto.reset();
    node.promotion.reset();
    node.fencing = {};
    MemberStatus self;
    r_->world.stream(id)->extend(node, self);
    return node;
  }
  std::uint64_t count(NodeId id, PromotionKind kind, PromotionResult result) {
    return r_->world.stream(id)->probe().promotions.count(kind, result);
  }
  std::uint64_t ended(PromotionKind kind) {
    std::uint64_t n = 0;
    for (const auto id : r_->world.ids())
      if (r_->world.stream(id))
        for (const auto result : PromotionProbe::kResults) n += count(id, kind, result);
    return n;
  }
  // The steps that this member is seen in until `done`, in order.
  std::string steps(NodeId id, const std::function<bool()>& done) {
    std::string seen;
    std::optional<PromotionProgress> last;
    const auto look = [&] {
      if (!r_->world.stream(id)) return;
      const auto now = status(id).promotion;
      if (now && now != last) seen += std::string(seen.empty() ? "" : " ") + name(now->kind) + "/" + name(now->step);
      last = now;
    };
    EXPECT_TRUE(r_->world.run_until([&] { look(); return done(); })) << seen << r_->why();
    EXPECT_EQ(status(id).promotion, std::nullopt) << "it is over";
    return seen;
  }
  Duration last(NodeId id) { return std::chrono::microseconds(r_->world.stream(id)->probe().promotions.last_us.get()); }
};

TEST_F(Figures, KnownLossIsWhatThePrimaryToldAndTheGroupLacks) {
  make(101);
  for (const auto id : kStandbys)
    EXPECT_TRUE(r_->world.run_until([&] { return status(id).known_loss == KnownLoss{}; }, 2s)) << id.value();
  for (const auto id : kPrimaries) EXPECT_EQ(status(id).known_loss, std::nullopt) << "a primary loses to nobody";
  // What is written does not come through, the answers to pings do.
  r_->world.network.tamper = [](NodeId, NodeId, Lane lane, Bytes frame) {
    const auto stream = lane == Lane::kStream ? decode(frame) : Result<Frame>(Error{Code::kInvalid, ""});
    return stream.ok() && std::holds_alternative<Entries>(stream->body) ? Bytes() : frame;
  };
  r_->puts(*r_->world.leader(), 7);
  for (const auto id : kStandbys)
    ASSERT_TRUE(r_->world.run_until([&] { return status(id).known_loss && status(id).known_loss->writes == 7; }, 5s)) << id.value();
  const auto told = *status(*r_->leader()).known_loss;
  EXPECT_GE(told.entries, 1u);
  EXPECT_GT(told.bytes, 7 * 60u);
  lose_primary();
  const auto planned = plan(*r_->leader());
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  EXPECT_EQ(planned->loss, told) << "the plan announces the same";
}

TEST_F(Figures, NobodyWhoNeverHeardThePrimaryKnowsTheLoss) {
  make(102);
  r_->world.lose(GroupRole::kPrimary);
  for (const auto id : kStandbys) r_->world.crash(id);
  for (const auto id : kStandbys) r_->world.start(id);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->leader().has_value(); })) << r_->why();
  for (const auto id : kStandbys) EXPECT_EQ(status(id).known_loss, std::nullopt);
}

// Silence, survey and commits: as long as the promotion then takes.
TEST_F(Figures, TheTimeToServeShrinksWithTheSilenceAndIsWhatAPromotionTakes) {
  make(103);
  const auto leader = *r_->leader();
  r_->world.run_for(1s);
  const auto at_rest = status(leader).estimated_rto;
  ASSERT_TRUE(at_rest);
  EXPECT_GT(*at_rest, 5s);
  EXPECT_LT(*at_rest, 5500ms);
  for (const auto id : kPrimaries) EXPECT_EQ(status(id).estimated_rto, std::nullopt) << "it serves";
  r_->world.lose(GroupRole::kPrimary);
  r_->world.run_for(3s);
  const auto later = *status(leader).estimated_rto;
  EXPECT_LT(later, *at_rest - 2500ms);
  lose_primary();
  const auto planned = plan(*r_->leader());
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ASSERT_TRUE(planned->estimated_rto);
  EXPECT_EQ(*planned->estimated_rto, *status(*r_->leader()).estimated_rto);
  ASSERT_TRUE(promote(*r_->leader(), planned->digest).ok());
  const auto took = last(*r_->leader());
  EXPECT_LT(took > *planned->estimated_rto ? took - *planned->estimated_rto : *planned->estimated_rto - took, 100ms)
      << "estimated " << *planned->estimated_rto / 1ms << " ms, took " << took / 1ms << " ms";
  EXPECT_EQ(status(*r_->leader()).estimated_rto, std::nullopt) << "it serves";
}

TEST_F(Figures, AGroupThatIsNotArmedOrHasNoLeaderCannotSayWhenItWouldServe) {
  make(104);
  std::optional<Result<HandoverState>> disarmed;
  r_->world.stream(*r_->world.leader())->handover().disarm(false, r_->world.client_loop(), [&](Result<HandoverState> s) { disarmed = std::move(s); });
  ASSERT_TRUE(r_->world.run_until([&] { return disarmed.has_value(); })) << r_->why();
  ASSERT_TRUE(disarmed->ok()) << disarmed->error().message;
  const NodeId standby = kStandbys[0];
  EXPECT_TRUE(r_->world.run_until([&] { return !status(standby).estimated_rto; }, 2s));
  EXPECT_EQ(status(standby).fencing.mode, "");
}

TEST_F(Figures, ByLeaseTheLeaseIsPartOfItAndItsRestIsTold) {
  make_leased(105);
  const auto primary = *r_->world.leader();
  const auto left = [&] { return r_->world.member(primary)->status().fencing.remaining; };
  ASSERT_TRUE(r_->world.run_until([&] { return left() > Duration(0); })) << r_->why();
  EXPECT_LE(*left(), 1s);
  EXPECT_EQ(status(primary).fencing.mode, "lease");
  EXPECT_EQ(status(primary).fencing.lease, 1s);
  const auto leader = *r_->leader();
  EXPECT_EQ(r_->world.member(leader)->status().fencing.remaining, std::nullopt) << "it acknowledges nothing";
  ASSERT_TRUE(status(leader).estimated_rto);
  EXPECT_GT(*status(leader).estimated_rto, 6100ms) << "silence, the lease and its margin";
  r_->link(false);
  r_->world.run_for(1200ms);
  EXPECT_EQ(left(), Duration(0));
  r_->link(true);
  EXPECT_TRUE(r_->world.run_until([&] { return left() > Duration(0); }, 5s)) << r_->why();
}

TEST_F(Figures, EachStepOfAPromotionShowsWhereItIsCarriedOutAndItsEndIsCounted) {
  make_leased(106);
  lose_primary();
  const auto leader = *r_->leader();
  const auto planned = plan(leader);
  ASSERT_TRUE(planned.ok() && planned->allowed()) << r_->why();
  EXPECT_EQ(ended(PromotionKind::kPromotion), 0u) << "a plan is none";
  EXPECT_NE(refusal(leader, "an old plan").find("plan_changed"), std::string::npos);
  EXPECT_EQ(count(leader, PromotionKind::kPromotion, PromotionResult::kRefused), 1u);
  EXPECT_EQ(last(leader), Duration(0));
  const auto asked = ask(leader, planned->digest);
  EXPECT_EQ(steps(leader, [&] { return asked->answer.has_value(); }),
            "promotion/survey promotion/cut promotion/lease promotion/epoch_change");
  ASSERT_TRUE(asked->answer->ok()) << asked->answer->error().message;
  EXPECT_EQ(count(leader, PromotionKind::kPromotion, PromotionResult::kDone), 1u);
  Duration sum{};
  for (const auto& step : (*asked->answer)->steps) sum += step.took;
  EXPECT_LT(sum - last(leader), 1ms);
  EXPECT_TRUE(promote(leader, planned->digest)->repeated);
  EXPECT_EQ(ended(PromotionKind::kPromotion), 2u) << "what was done already is not done again";
}

TEST_F(Figures, SurvivorsAreOfAKindOfTheirOwn) {
  make(107);
  r_->world.lose(GroupRole::kPrimary);
  for (const auto id : {NodeId(5), NodeId(6)}) r_->world.crash(id);
  r_->world.run_for(6s);
  const NodeId left(4);
  std::optional<Result<PromotionPlan>> planned;
  r_->world.stream(left)->recovery().plan_survivors({left}, r_->world.client_loop(), [&](Result<PromotionPlan> p) { planned = std::move(p); });
  ASSERT_TRUE(r_->world.run_until([&] { return planned.has_value(); })) << r_->why();
  ASSERT_TRUE(planned->ok()) << planned->error().message;
  EXPECT_EQ((*planned)->estimated_rto, std::nullopt);
  PromotionRequest request{(*planned)->digest, true, "ada", "the region burns"};
  request.members = {left};
  request.force = {"no_quorum"};
  const auto asked = ask(left, std::move(request));
  EXPECT_EQ(steps(left, [&] { return asked->answer.has_value(); }),
            "survivors/survey survivors/stage survivors/begin survivors/epoch_change");
  ASSERT_TRUE(asked->answer->ok()) << asked->answer->error().message;
  EXPECT_EQ(count(left, PromotionKind::kSurvivors, PromotionResult::kDone), 1u);
  EXPECT_EQ(ended(PromotionKind::kPromotion), 0u);
  EXPECT_GT(last(left), 300ms) << "the survey";
}

TEST_F(Figures, ASwitchoverShowsOnBothSides) {
  make(108);
  r_->world.run_for(2s);
  const auto from = *r_->world.leader(), to = *r_->leader();
  const auto begin = [&] {
    auto answer = std::make_shared<std::optional<Result<SwitchoverRecord>>>();
    r_->world.stream(from)->handover().switchover({"", "ada", "a rehearsal"}, r_->world.client_loop(), [answer](Result<SwitchoverRecord> r) { *answer = std::move(r); });
    return answer;
  };
  // One that nobody over there hears of is taken back.
  r_->world.network.cut_regions("east", "west");
  const auto lost = begin();
  r_->world.run_for(6s);
  r_->world.network.heal_regions();
  ASSERT_TRUE(r_->world.run_until([&] { return lost->has_value(); })) << r_->why();
  EXPECT_EQ(count(from, PromotionKind::kSwitchover, PromotionResult::kFailed), 1u) << (*lost)->error().message;
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up() && status(to).primary_heard; }, 20s)) << r_->why();
  r_->world.run_for(3s);

  const auto done = begin();
  std::string there;
  const auto here = steps(from, [&] {
    if (const auto p = status(to).promotion) there = std::string(name(p->kind)) + "/" + name(p->step);
    return done->has_value();
  });
  ASSERT_TRUE((*done)->ok()) << (*done)->error().message;
  EXPECT_EQ(here, "switchover/seal switchover/stream");
  EXPECT_EQ(there, "switchover/epoch_change");
  EXPECT_EQ(count(from, PromotionKind::kSwitchover, PromotionResult::kDone), 1u);
  EXPECT_LT((**done)->took - last(from), 1ms);
  EXPECT_EQ(status(to).promotion, std::nullopt);
}

}  // namespace
}  // namespace leeward::standby
