// What a promotion would keep, lose and rest on: from what each voter of the
// group knows, to the plan that an operator accepts. PROTOCOL.md, "Who may
// append EpochChange"; README.md, "Plan". Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

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

struct PlanFacts {
  Lineage lineage;
  std::string region;
  const region::State* log = nullptr;  // the leader's whole log
  Position committed;                  // of the group, confirmed
  std::size_t voters = 0;
  std::vector<NodeId> silent;          // of them
  std::vector<Testimony> said;         // by the others, the leader included
  std::vector<NamedCheck> checks;
};

// Rules, in the order in which they are named: "primary_heard", "not_armed",
// "no_quorum", "newer_epoch", "corruption".
PromotionPlan make_plan(const PlanFacts& facts);

// The EpochChange that carries a plan out at the end of that log. `promotion`
// and `draw` are random; `draw` chooses among the epochs of an unguarded one.
region::EpochChange change_for(const PromotionPlan& plan, const region::State& log, region::PromotionId promotion,
                               std::uint64_t draw);

}  // namespace leeward::standby
