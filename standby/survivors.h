// Members that are left of a group without a majority become a group again, at
// an operator's word: PROTOCOL.md, "Survivors". Any of them carries it through;
// each step may be repeated by any of them.
//
// Core loop. Bounded: one inquiry and one promotion at once.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/group.h"
#include "standby/outbox.h"
#include "standby/plan.h"

namespace leeward::standby {

struct PromotionOptions {
  Duration survey = 300ms;          // in which the primary and all voters may answer
  Duration confirm_limit = 2s;      // for a quorum to say that this member leads
  Duration commit_limit = 10s;      // for the change to be committed
  Duration regroup_limit = 30s;     // for survivors to be a group and to commit it
  double lease_margin = 0.1;        // of the lease, waited beyond it: how far clocks may drift
};

class Survivors {
 public:
  struct Surroundings {
    Function<Testimony()> testimony;
    Function<void()> ping_primary;
    Function<std::vector<NamedCheck>()> checks;
    Function<std::string()> region;
    Function<Duration()> silence_left;
    Function<std::optional<PromotionRecord>(const std::string& digest)> done_already;
  };
  Survivors(node::Group& group, Outbox& outbox, PromotionProbe& probe, PromotionOptions options, Surroundings around)
      : group_(group), outbox_(outbox), probe_(probe), options_(options), around_(std::move(around)) {}
  ~Survivors() { *alive_ = false; }

  void plan(std::vector<NodeId> members, Function<void(Result<PromotionPlan>)> done);
  void promote(PromotionRequest request, Function<void(Result<PromotionRecord>)> done);

  void heard(NodeId from, const Aid& aid);
  // Also what a leader does for a group that has begun: it commits the change.
  void tick(Instant now);
  void stopping();
  std::optional<PromotionStep> step() const;  // of what is under way

 private:
  struct Inquiry {
    Inquiry();
    std::uint64_t id = 0;
    Instant until;
    SurvivorFacts facts;
    Function<void(Result<SurvivorFacts>)> done;
  };
  using Step = PromotionStep;  // survey, stage, begin, epoch_change
  struct Promotion {
    Promotion();
    std::uint64_t id = 0;
    PromotionRequest request;
    Step step = Step::kSurvey;
    Instant begun, step_begun, gives_up, sent{};
    node::Regroup regroup;
    std::set<NodeId> staged;
    std::vector<PromotionRecord::Step> steps;
    std::vector<std::string> notes;
    std::vector<Function<void(Result<PromotionRecord>)>> done;
  };

  void inquire(std::vector<NodeId> members, Function<void(Result<SurvivorFacts>)> done);
  void surveyed(Result<SurvivorFacts> facts);
  void answered(NodeId from, Aid::Kind kind, Result<void> result);
  void drive(Instant now);
  void next_step(Step step, const char* finished);
  void end(Result<PromotionRecord> result);
  void answer_later(NodeId to, Aid::Kind kind, std::uint64_t id, const Result<void>& result);
  void stage_here(NodeId from, std::uint64_t id, const std::string& record);
  void begin_here(NodeId from, std::uint64_t id, const std::string& plan);
  void send(NodeId to, Aid aid);
  bool of_this_region(NodeId id) const;
  SurvivorFacts::Said own() const;

  node::Group& group_;
  Outbox& outbox_;
  PromotionProbe& probe_;
  PromotionOptions options_;
  mutable Surroundings around_;
  std::optional<Inquiry> inquiry_;
  std::optional<Promotion> promotion_;
  std::optional<region::Armed> by_lease() const;
  struct Outlasting {
    Term term;
    Instant until;  // no stamp of the group before counts any more
  };
  std::optional<Outlasting> outlast_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
