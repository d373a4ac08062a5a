// What a promotion would keep, lose and rest on: from what each voter of the
// group knows, to the plan that an operator accepts. PROTOCOL.md, "Who may
// append EpochChange"; README.md, "Plan". Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node/regroup.h"
#include "ports/recovery.h"
#include "region/state.h"
#include "standby/messages.h"

namespace leeward::standby {

// What one voter of the group says.
struct Testimony {
  NodeId voter;
  bool heard = false;             // a fresh answer from the primary's leader
  std::optional<Stamp> stamp;     // of its newest answer ever; with it:
  Position committed;             // the primary's commit in it
  Duration age{};                 // since its ping was sent
  Epoch newest_epoch;             // it knows of
  std::string damage;             // why what is held may not be the primary's history
};

// What `held` lacks of what the primary is known to have committed.
KnownLoss loss_beyond(const Position& held, const Position& committed);

struct PlanFacts {
  Lineage lineage;
  std::string region;
  GroupRole role = GroupRole::kStandby;
  const region::State* log = nullptr;  // the leader's whole log
  Position committed;                  // of the group, confirmed
  std::size_t voters = 0;
  std::vector<NodeId> silent;          // of them
  std::vector<NodeId> stateless;       // of them: they went back and wait for a copy of the state
  bool leader_stateless = false;
  Duration listens_for{};              // still, until the leader may call a primary silent that it never heard
  std::vector<Testimony> said;         // by the others, the leader included
  std::vector<NamedCheck> checks;
};

// Of survivors of a lost majority.
struct SurvivorFacts {
  struct Said {
    node::RegroupStand stand;
    Testimony testimony;
  };
  Lineage lineage;
  std::string region;
  std::vector<NodeId> members;    // as the operator named them
  std::map<NodeId, Said> said;    // by whoever of the region answered
  Duration listens_for{};         // as in PlanFacts, of who was asked
  std::vector<NamedCheck> checks;
};

// Rules: "silent", "other_group", "left_out", "unfit", "quorum" are never forced: the operator's
// list is wrong then; "no_quorum" always is to be named, and "primary_heard",
// "newer_epoch", "corruption" where they refuse.
PromotionPlan make_plan(const SurvivorFacts& facts);
// What each member is to put down for that plan, and who begins it.
node::Regroup regroup_for(const PromotionPlan& plan, const SurvivorFacts& facts, const PromotionRequest& request,
                          std::int64_t time_ms);
region::EpochChange change_for(const region::Regrouped& regrouped, const region::State& log, Epoch known,
                               region::PromotionId promotion, std::uint64_t draw);

// Rules, in the order in which they are named: "serving", "sealed",
// "contested", "primary_heard", "not_armed", "no_quorum", "newer_epoch", "corruption".
// README.md, "Plan", says which of them an operator may force, and why.
PromotionPlan make_plan(const PlanFacts& facts);

// What the operator named of them is let go. Errors, all meaning that nothing
// was begun: kInvalid (there is no such rule to name), kRefused (rules that were
// not named, or that nobody may force). Gives those named that do not refuse.
// `accepted`: the operator has seen this plan, and may be told how to force it.
Result<std::vector<std::string>> forced_by(const PromotionPlan& plan, const std::vector<std::string>& force, bool accepted);

// The EpochChange that carries a plan out at the end of that log. `promotion`
// and `draw` are random; `draw` chooses among the epochs of a forced or
// unguarded one. Forced it is when the plan names rules that refuse.
region::EpochChange change_for(const PromotionPlan& plan, const region::State& log, region::PromotionId promotion,
                               std::uint64_t draw);

}  // namespace leeward::standby
