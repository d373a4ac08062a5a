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
  // Leader: the epochs at its log's end, uncommitted entries included, where an
  // Adopt of a state that they lead to may be appended; nullopt: not now. Also
  // while an earlier Adopt, or a copy of state behind a Follow, is waited for.
  std::optional<std::vector<region::EpochRecord>> adopts_behind() const;
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
