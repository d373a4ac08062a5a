// Carries a promotion out, at the leader of a following group: asks the voters
// what they know, makes the plan, and, when an operator has accepted just that
// plan, commits the EpochChange that ends the epoch. PROTOCOL.md.
//
// Core loop; plan() and promote() from any thread. Bounded: a few inquiries at
// once, one promotion.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "node/group.h"
#include "ports/recovery.h"
#include "standby/contest.h"
#include "standby/outbox.h"
#include "standby/plan.h"
#include "standby/survivors.h"

namespace leeward::standby {

class Promoter final : public Recovery {
 public:
  // What this member itself knows, and what the replication does for it.
  struct Surroundings {
    Function<Testimony()> testimony;
    Function<void()> ping_primary;  // every member of it, at once
    Function<std::vector<NamedCheck>()> checks;
    Function<std::string()> region;
    Function<Duration()> silence_left;  // until the primary counts as silent here
    Function<Duration()> commit;        // what an entry of this group takes, as measured here; 0: not yet
  };
  Promoter(node::Group& group, Outbox& outbox, PromotionProbe& probe, PromotionOptions options, Surroundings around);
  ~Promoter() override;

  // Recovery
  void plan(Executor& reply, Function<void(Result<PromotionPlan>)> done) override;
  void promote(PromotionRequest request, Executor& reply, Function<void(Result<PromotionRecord>)> done) override;
  void plan_survivors(std::vector<NodeId> members, Executor& reply, Function<void(Result<PromotionPlan>)> done) override;
  void survivor(std::uint64_t promotion, std::string by, Executor& reply, Function<void(Result<SurvivorRecord>)> done) override;
  Result<RecoveryStatus> status() const override;

  void asked(NodeId from, const Survey& survey);
  void told(NodeId from, const SurveyReply& reply);
  void aided(NodeId from, const Aid& aid);
  void applied(std::span<const Entry> entries);
  void tick(Instant now);
  void stopping();
  // What stands between now and a group that serves if the primary is heard no
  // more, an operator's own time apart: README.md, "The time to serve". nullopt:
  // this group is not armed or has no leader.
  std::optional<Duration> estimated_rto() const;
  std::optional<PromotionProgress> progress() const;

 private:
  struct Inquiry {
    std::uint64_t id = 0;
    Instant asked, until, gives_up;
    bool whole = false;      // waits out its time: somebody may yet hear the primary
    bool confirmed = false;
    std::map<NodeId, Testimony> said;
    Function<void(Result<PromotionPlan>)> done;
  };
  using Step = PromotionStep;  // survey, cut, lease, epoch_change
  struct Promotion {
    Promotion();
    PromotionRequest request;
    Step step = Step::kSurvey;
    Instant begun, planned, step_begun, gives_up;
    Term term;                 // in which it was begun; over with it
    PromotionPlan plan;
    Index followed_at;         // when it was planned: of the newest Follow in the log
    region::ArmingId arming = 0;
    Index cut;
    Instant lease_over;
    region::EpochChange change;
    std::vector<PromotionRecord::Step> steps;
    std::vector<std::string> notes;
    std::vector<Function<void(Result<PromotionRecord>)>> done;
  };

  void inquire(bool whole, Function<void(Result<PromotionPlan>)> done);
  void look(Instant now);  // whether an inquiry has its answers
  PromotionPlan conclude(const Inquiry& inquiry);
  void begin(PromotionRequest request, Function<void(Result<PromotionRecord>)> done);
  void surveyed(Result<PromotionPlan> plan);
  void cut();
  void give_stamps_again();
  void change();
  void next_step(Step step, const char* finished);
  void end(Result<PromotionRecord> result);
  std::optional<PromotionRecord> done_already(const std::string& digest) const;
  Error not_leader() const;

  node::Group& group_;
  Outbox& outbox_;
  PromotionProbe& probe_;
  PromotionOptions options_;
  mutable Surroundings around_;
  Survivors survivors_;
  Contest contest_;
  std::vector<Inquiry> inquiries_;
  std::optional<Promotion> promotion_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool stopping_ = false;
};

}  // namespace leeward::standby
