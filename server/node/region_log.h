// What this member's log says about regions: folded as it is applied, and, while
// the member leads, to the log's very end. Every entry is judged at both places
// by the same function (standby/PROTOCOL.md, "Two rules for every entry").
//
// Core loop.
#pragma once

#include <optional>
#include <span>

#include "node/context.h"
#include "region/state.h"

namespace leeward::node {

class RegionLog {
 public:
  explicit RegionLog(Context& context) : context_(context) {}

  // Anew from the group state and the state machine: at the start, and when the
  // state was exchanged. Errors: kCorrupt, kNewerFormat.
  Result<void> load();

  // Judges and takes in one committed entry. Errors: kCorrupt when it breaks a
  // rule: its leader had a bug, or this disk has; kNewerFormat.
  Result<void> apply(const Entry& entry);
  // The group began: who it is.
  void begin(const region::State::Control& control);
  const region::State& applied() const { return applied_; }

  // A leader's whole log, uncommitted entries included; nullptr where it cannot
  // be told: no leader, or its state is waited for.
  const region::State* prefix();
  // Whether a leader may take over a state of this epoch: not behind an entry,
  // committed or not, that ends it. Also while an earlier Adopt is waited for.
  bool may_adopt() const;
  // Whether these may be appended now, one after the other. Errors: kInvalid and
  // the rule, kUnavailable.
  Result<void> judge(std::span<const raft::Proposal> proposals);

 private:
  Context& context_;
  region::State applied_, prefix_;
  Index applied_at_, prefix_at_;
  Term prefix_term_;
};

}  // namespace leeward::node
