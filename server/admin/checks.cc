#include "admin/checks.h"

#include "base/quantity.h"

namespace leeward::admin {
namespace {

std::string milliseconds(Duration d) {
  return format_duration(std::chrono::floor<std::chrono::milliseconds>(d));
}

NamedCheck started(const NodeStatus& s) {
  if (!s.waiting_for.empty()) return {"started", false, s.waiting_for};
  if (s.state == MemberState::kStarting) return {"started", false, "storage is being opened"};
  if (s.state == MemberState::kWaiting || !s.admitted)
    return {"started", false, "this member waits for its admission: leewardctl member admit " + std::to_string(s.self.value())};
  return {"started", true, ""};
}

NamedCheck storage(const NodeStatus& s) {
  if (s.disk_full) return {"storage", false, "no space left for log or state; writes stop until there is"};
  if (s.disk_stall && *s.disk_stall > kDiskStallLimit)
    return {"storage", false, "a sync has been running for " + milliseconds(*s.disk_stall)};
  return {"storage", true, ""};
}

NamedCheck integrity(const NodeStatus& s) { return {"integrity", s.fault.empty(), s.fault}; }

NamedCheck isolated(const NodeStatus& s) {
  if (s.state != MemberState::kIsolated) return {"isolated", true, ""};
  const MemberStatus* me = self(s);
  return {"isolated", false, std::string("isolated by an operator: ") + (me ? me->standing_reason : "") +
                                 "; leewardctl replica rejoin --id " + std::to_string(s.self.value())};
}

NamedCheck raft(const NodeStatus& s) {
  if (!s.leader) return {"raft", false, "no leader is known in term " + std::to_string(s.term.value())};
  return {"raft", true, "leader is " + std::to_string(s.leader.value())};
}

NamedCheck stream(const NodeStatus& s) {
  const MemberStatus* me = self(s);
  if (me)
    for (const NamedCheck& check : me->eligibility)  // what a stream that is under way does not mend by itself
      if (check.check == "integrity" && !check.ok)
        return {"stream", false, s.stream_state + (s.stream_state.empty() ? "" : ": ") + check.detail};
  // One that looks for another source is not to be drained for it.
  if ((me && me->stream_connected) || s.primary_heard) return {"stream", true, s.stream_state};
  std::string detail = s.primary_silence ? "the primary has been silent for " + milliseconds(*s.primary_silence)
                                         : "the primary was never heard";
  if (!s.stream_state.empty()) detail += "; stream: " + s.stream_state;
  return {"stream", false, detail};
}

NamedCheck apply(const NodeStatus& s) {
  if (s.state == MemberState::kSnapshot) return {"apply", false, "a snapshot is being installed"};
  if (s.apply_backlog > kApplyBacklogLimit)
    return {"apply", false, std::to_string(s.apply_backlog) + " committed entries wait to be applied"};
  if (s.leader == s.self || !s.leader) return {"apply", true, ""};
  // Its own commit index is as far behind as it is; the leader's report is not.
  for (const MemberStatus& member : s.members) {
    if (member.id != s.leader || !is_up(member)) continue;
    const auto there = member.applied.position.writes, here = s.applied.point.position.writes;
    if (there > here + kWritesBehindLimit) return {"apply", false, std::to_string(there - here) + " writes behind its leader"};
    return {"apply", true, ""};
  }
  return {"apply", false, "its leader's position is not known yet"};
}

// Whether stale reads may be judged at all: an empty or rebuilding store is not.
std::optional<std::string> unfit_for_reads(const NodeStatus& s) {
  for (const NamedCheck& check : {started(s), apply(s)})
    if (!check.ok) return check.detail;
  if (s.stopping) return "the node is stopping";
  return std::nullopt;
}

Verdict lag_within(const MemberStatus* me, Duration bound) {
  if (!me || !me->lag.high) return {false, "the lag is not known"};
  if (*me->lag.high > bound)
    return {false, "the lag is up to " + milliseconds(*me->lag.high) + ", more than " + format_duration(bound)};
  return {true, "the lag is at most " + milliseconds(*me->lag.high)};
}

}  // namespace

const MemberStatus* self(const NodeStatus& status) {
  for (const MemberStatus& member : status.members)
    if (member.id == status.self) return &member;
  return nullptr;
}

bool follows(GroupRole role) { return role == GroupRole::kStandby || role == GroupRole::kObserver; }

std::vector<NamedCheck> ready_checks(const NodeStatus& s) {
  std::vector<NamedCheck> out = {
      started(s),
      {"stopping", !s.stopping, s.stopping ? "a graceful stop is under way" : ""},
      {"fenced", s.role != GroupRole::kFenced,
       s.contested > Epoch() ? "epoch " + std::to_string(s.contested.value()) + " is contested: neither region serves until leewardctl dr survivor"
       : s.role == GroupRole::kFenced ? "a newer epoch than " + std::to_string(s.epoch.value()) + " exists; stale reads only" : ""},
      isolated(s),
      storage(s),
      integrity(s),
      raft(s),
  };
  if (follows(s.role)) out.push_back(stream(s));
  out.push_back(apply(s));
  return out;
}

Verdict leader(const NodeStatus& s) {
  if (s.role != GroupRole::kPrimary) return {false, std::string("this node's group is ") + name(s.role)};
  if (s.state != MemberState::kLeader)
    return {false, s.leader ? "the leader is " + std::to_string(s.leader.value()) : "no leader is known"};
  if (!s.leader_ready) return {false, "elected, and its first entry is not committed yet"};
  if (s.start_wait) return {false, "this region has started anew and does not serve yet; it waits for " + s.waiting_for};
  return {true, "leader of the primary cluster"};
}

Verdict primary(const NodeStatus& s) {
  if (s.role != GroupRole::kPrimary) return {false, std::string("this node's group is ") + name(s.role)};
  if (!s.leader) return {false, "the group has no leader"};
  if (const NamedCheck check = started(s); !check.ok) return {false, check.detail};
  if (s.stopping) return {false, "the node is stopping"};
  return {true, "primary in epoch " + std::to_string(s.epoch.value())};
}

Verdict replica(const NodeStatus& s, Duration bound) {
  if (const auto unfit = unfit_for_reads(s)) return {false, *unfit};
  if (follows(s.role)) return lag_within(self(s), bound);
  if (s.role != GroupRole::kPrimary)
    return {false, std::string("the lag of a node that is ") + name(s.role) + " is not known"};
  if (!s.leader) return {false, "no leader is known, so neither is the lag"};
  return {true, "member of the primary cluster"};
}

Verdict standby(const NodeStatus& s, Duration bound) {
  if (!follows(s.role)) return {false, std::string("this node's group is ") + name(s.role)};
  if (const auto unfit = unfit_for_reads(s)) return {false, *unfit};
  return lag_within(self(s), bound);
}

Verdict standby_eligible(const NodeStatus& s) {
  if (!follows(s.role)) return {false, std::string("this node's group is ") + name(s.role)};
  const MemberStatus* me = self(s);
  if (!me || me->eligibility.empty()) return {false, "there is no verdict yet"};
  std::string reasons;
  for (const NamedCheck& check : me->eligibility)
    if (!check.ok) reasons += (reasons.empty() ? "" : "; ") + check.check + ": " + check.detail;
  return reasons.empty() ? Verdict{true, "eligible for promotion"} : Verdict{false, reasons};
}

}  // namespace leeward::admin
