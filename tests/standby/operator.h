// What an operator does about a lost region, over the members of a story.
#pragma once

#include "story.h"

namespace leeward::standby {

class Promotion : public ::testing::Test {
 protected:
  void make(std::uint64_t seed) {
    r_ = std::make_unique<Story>(seed);
    ASSERT_TRUE(r_->ready()) << r_->why();
    r_->puts(*r_->world.leader(), 20);
    ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up(); }, 20s)) << r_->why();
  }
  // The primary region is gone, and so long that nobody calls it heard.
  void lose_primary() {
    r_->world.lose(GroupRole::kPrimary);
    r_->world.run_for(6s);
    ASSERT_TRUE(r_->world.run_until([&] { return r_->leader().has_value(); })) << r_->why();
  }
  Result<PromotionPlan> plan(NodeId id) {
    std::optional<Result<PromotionPlan>> answer;
    r_->world.stream(id)->recovery().plan(r_->world.client_loop(), [&](Result<PromotionPlan> p) { answer = std::move(p); });
    if (!r_->world.run_until([&] { return answer.has_value(); })) return Error{Code::kDeadline, "no answer" + r_->why()};
    return *answer;
  }
  struct Asked {
    std::optional<Result<PromotionRecord>> answer;
  };
  std::shared_ptr<Asked> ask(NodeId id, PromotionRequest request) {
    auto asked = std::make_shared<Asked>();
    r_->world.stream(id)->recovery().promote(std::move(request), r_->world.client_loop(),
                                             [asked](Result<PromotionRecord> record) { asked->answer = std::move(record); });
    return asked;
  }
  std::shared_ptr<Asked> ask(NodeId id, std::string digest, bool accept = true, std::string by = "ada") {
    return ask(id, PromotionRequest{std::move(digest), accept, std::move(by), "the region burns"});
  }
  Result<PromotionRecord> ended(const std::shared_ptr<Asked>& asked) {
    if (!r_->world.run_until([&] { return asked->answer.has_value(); })) return Error{Code::kDeadline, "no answer" + r_->why()};
    return *asked->answer;
  }
  Result<PromotionRecord> promote(NodeId id, std::string digest, bool accept = true) {
    return ended(ask(id, std::move(digest), accept));
  }
  Result<PromotionRecord> force(NodeId id, std::string digest, std::vector<std::string> rules, bool accept = true) {
    PromotionRequest request{std::move(digest), accept, "ada", "the region burns"};
    request.force = std::move(rules);
    return ended(ask(id, std::move(request)));
  }
  static std::string rules(const Result<PromotionPlan>& plan) {
    if (!plan.ok()) return plan.error().message;
    std::string out;
    for (const auto& r : plan->refusals) out += (out.empty() ? "" : " ") + r.rule;
    return out;
  }
  std::string refusal(NodeId id, std::string digest, bool accept = true) {
    const auto result = promote(id, std::move(digest), accept);
    return result.ok() ? "done" : result.error().code == Code::kRefused ? result.error().message : "not refused: " + result.error().message;
  }
  std::vector<region::EpochChange> changes(NodeId id) {
    std::vector<region::EpochChange> out;
    for (const auto& entry : r_->world.member(id)->state().region_entries())
      if (entry.kind == EntryKind::kEpochChange) out.push_back(*region::decode_epoch_change(entry.payload.view()));
    return out;
  }

  std::unique_ptr<Story> r_;
};

}  // namespace leeward::standby
