// What a node knows of itself and of the others: what health paths, metrics,
// `leewardctl` and the console show. A value, copied out under no lock of the
// core loop; at most 100 ms old unless a field says otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/format.h"
#include "base/ids.h"
#include "base/log_view.h"
#include "base/units.h"
#include "ports/probe.h"
#include "ports/state_machine.h"

namespace leeward {

enum class GroupRole : std::uint8_t { kUnknown, kPrimary, kStandby, kObserver, kFenced };
inline const char* name(GroupRole role) {
  constexpr const char* kNames[] = {"unknown", "primary", "standby", "observer", "fenced"};
  return kNames[static_cast<int>(role)];
}

// As `state` of `cluster status`.
enum class MemberState : std::uint8_t {
  kDown, kStarting, kFollower, kCandidate, kLeader, kLearner, kSnapshot, kWaiting, kIsolated, kRemoved
};
inline const char* name(MemberState state) {
  constexpr const char* kNames[] = {"down",    "starting", "follower", "candidate", "leader",
                                    "learner", "snapshot", "waiting",  "isolated",  "removed"};
  return kNames[static_cast<int>(state)];
}

// How far a member is behind the primary, without comparing clocks. An unknown
// bound is nullopt and shown as such.
struct Lag {
  std::optional<std::uint64_t> writes, entries, bytes;
  std::optional<Duration> low, high;
};

struct NamedCheck {
  std::string check;
  bool ok = false;
  std::string detail;
};

// The newest drill that passed in any region, as each member has heard. Ordered
// by (count, time): a clock that is wrong cannot hide a later one.
struct DrillRecord {
  std::uint64_t count = 0;   // 0: none ever passed
  std::int64_t time_ms = 0;  // since 1970, by the clock of who drilled
  std::uint64_t rto_us = 0;
  auto operator<=>(const DrillRecord&) const = default;
};

// One member of any group, as last heard: every member reports itself twice a
// second to all others. `report_age` is nullopt when it was never heard.
struct MemberStatus {
  NodeId id;
  std::string name, region, zone, peer_address, client_url;
  GroupRole role = GroupRole::kUnknown;
  MemberState state = MemberState::kDown;
  bool voter = false;
  bool admitted = false;
  bool healthy = false;  // reported within the last 3 s and its own checks pass
  std::optional<Duration> report_age;
  Term term;
  NodeId leader;
  LogPoint applied;      // of its own group's log, position of the history
  Hash state_hash;       // at applied.position.index
  Index durable;
  std::uint64_t db_bytes = 0;
  std::uint64_t db_bytes_in_use = 0;
  Lag lag;               // standby members
  std::vector<NamedCheck> eligibility;  // standby members; empty before the first verdict
  bool stream_connected = false;
  std::string version;
  bool paused = false;           // by an operator; an isolated one has its own state
  bool verifying = false;        // it looks at what it holds, to rejoin
  bool leaping = false;          // another state is to take the place of the one applied
  bool lacks_state = false;      // and it cannot make that by itself
  std::string standing_reason;   // why it is isolated, and what its last verification found
  DrillRecord drill;             // the newest that it knows of
  std::uint64_t ledger_entries = 0;  // that its group has put aside and nobody has discarded
  std::uint32_t newest_format = kOldestFormat;  // that its version knows
  GroupId group;                 // as its log says; 0: none, or of a version that does not tell
  // Of its wall clock; positive: it is ahead of the answering node's. Half the
  // difference between the two ways' delays is in it.
  std::optional<Duration> clock_offset;
};

// What a region lacks of what the primary is known to have committed.
struct KnownLoss {
  std::uint64_t writes = 0, entries = 0, bytes = 0;
  bool operator==(const KnownLoss&) const = default;
};

// How an old primary is kept from acknowledging what its successor never has:
// the mode of whoever is armed.
struct FencingStatus {
  std::string mode;                   // contact, lease; empty: nobody is armed
  Duration lease{};                   // lease mode
  std::optional<Duration> remaining;  // lease mode, at the primary's leader: for how long it may acknowledge; 0: it may not
};

// What makes a region primary, as the member that carries it out knows it.
enum class PromotionKind : std::uint8_t { kPromotion, kSurvivors, kSwitchover };
inline const char* name(PromotionKind kind) {
  constexpr const char* kNames[] = {"promotion", "survivors", "switchover"};
  return kNames[static_cast<int>(kind)];
}
// survey, cut (lease mode), lease (lease mode), epoch_change of a promotion;
// survey, stage, begin, epoch_change of survivors; seal, stream at the primary and
// epoch_change at its successor of a switchover.
enum class PromotionStep : std::uint8_t { kSurvey, kCut, kLease, kEpochChange, kStage, kBegin, kSeal, kStream };
inline const char* name(PromotionStep step) {
  constexpr const char* kNames[] = {"survey", "cut", "lease", "epoch_change", "stage", "begin", "seal", "stream"};
  return kNames[static_cast<int>(step)];
}
struct PromotionProgress {
  PromotionKind kind{};
  PromotionStep step{};
  bool operator==(const PromotionProgress&) const = default;
};

// A region that follows, as this member of the primary group knows it.
struct FollowerStatus {
  std::string region;
  GroupId group;
  Position committed;  // in that group; the armed one's is M
  bool connected = false;  // acknowledged within the last 3 s, here or at another member
  bool armed = false;
  std::uint64_t lag_writes = 0, lag_entries = 0, lag_bytes = 0;  // behind this member's commit
  std::optional<Duration> lag;  // at most, since this member committed what the region lacks; nullopt: unknown
};

// What is done about a standby region that lags (`dr.rpo_policy`).
enum class RpoPolicy : std::uint8_t { kAlert, kThrottle, kRefuse };
inline const char* name(RpoPolicy policy) {
  constexpr const char* kNames[] = {"alert", "throttle", "refuse"};
  return kNames[static_cast<int>(policy)];
}

// As the primary's leader has it; other members of the primary know the policy alone.
struct RpoStatus {
  RpoPolicy configured = RpoPolicy::kAlert;
  RpoPolicy active = RpoPolicy::kAlert;  // alert while no group is armed, or a throttle has let go
  Duration budget{};
  bool judged = false;                   // this member leads and a group is armed: what follows is measured
  std::optional<Duration> lag;           // at most, of what the armed group has committed; nullopt: unknown
  bool exceeded = false;                 // the budget is passed and was not met for a while since
  bool refusing = false;
  std::optional<double> allowed;         // bytes a second of client writes; nullopt: without limit
  std::string detail;                    // why a policy is not active; empty: it is
};

// What a member that takes part in no group waits for, as far as there is a command for it.
enum class WaitsFor : std::uint8_t {
  kOther,
  kMajority,   // of empty ones, to begin a cluster
  kAdmission,  // to the group that lists it
  kAdding,     // to a group that runs without it
};

struct NodeStatus {
  Instant made{};  // when the node's own loop wrote this down; none: it does not run yet
  Duration up = Duration::max();  // for how long it has run by then
  Lineage lineage;
  std::string cluster_name;
  GroupId group;
  Epoch epoch;
  NodeId self;
  Incarnation incarnation;
  bool admitted = false;
  GroupRole role = GroupRole::kUnknown;
  Epoch contested;             // another history holds it by another promotion: neither serves; 0: none
  std::uint64_t contested_by = 0;  // that promotion
  Epoch newest_epoch;          // that this member knows of, its own group's or not
  std::string serving_region;  // of a newer epoch than the own group's, as far as it is heard; else empty
  MemberState state = MemberState::kStarting;
  std::uint32_t format = kOldestFormat;  // that the group's members write
  std::string waiting_for;  // why it is not serving yet, with whom it waits for; empty when it serves
  WaitsFor waits_for = WaitsFor::kOther;
  bool stopping = false;
  bool sealed = false;         // the epoch ends with a Seal that is open: a switchover is under way
  bool start_wait = false;     // a primary after a cold start, before its leader serves

  Term term;
  NodeId leader;
  bool leader_ready = false;
  Index commit, last;
  std::uint64_t leader_changes = 0;
  AppliedState applied;
  Index durable;
  std::uint64_t log_bytes = 0;
  std::uint64_t apply_backlog = 0;     // committed and not applied
  std::uint64_t proposals_pending = 0; // writes taken here whose end is not known yet
  std::optional<Duration> disk_stall;  // the running sync is older than this
  bool disk_full = false;
  std::vector<NodeId> over_quota;  // for whom the group keeps a NOSPACE alarm: their state is, or was, larger than its quota
  std::string fault;                   // what is known to be corrupt here; empty: nothing
  std::uint64_t checkpoint_writes = 0; // applied since the newest checkpoint
  bool topology_differs = false;       // the configuration's member lists are not the group's
  std::optional<bool> rewindable;      // to what the following regions hold, from a checkpoint here; nullopt: none follows
  bool primary_heard = false;          // standby groups: a fresh answer from the primary's leader
  std::optional<Duration> primary_silence;  // since its last answer, at most since this group follows; nullopt: it had none
  bool primary_silent = false;         // for as long as it takes to call it lost (dr.primary_silence)
  std::vector<NamedCheck> group_eligibility;  // standby groups: what a majority of the voters passes
  std::string adopting, rewinding;     // another state is taken over: the progress, for people; empty: none is
  std::string stream_state;            // standby groups: "streaming", "seeking", "resync needed", "diverged", ...
  std::string armed_region;            // of the newest Armed of this epoch; empty: none
  GroupId armed_group;
  bool unguarded = false;              // a region was disarmed by force in this epoch: no switchover ends it
  FencingStatus fencing;
  std::optional<KnownLoss> known_loss;    // following groups: by the newest answer of the primary here; nullopt: there is none
  // The armed group: from now, if the primary is not heard again and an operator
  // accepts the plan at once, until the group serves. nullopt: it could not.
  std::optional<Duration> estimated_rto;
  std::optional<PromotionProgress> promotion;  // that this member carries out
  std::uint64_t ledger_entries = 0;    // that the group has put aside and nobody has discarded
  bool ledgers_complete = true;        // false: one of them says that something is missing in it
  std::vector<FollowerStatus> followers;  // primary groups
  std::optional<RpoStatus> rpo;           // primary groups
  DrillRecord drill;                      // the newest that passed, here or elsewhere

  struct Peer {
    NodeId id;
    Index match;
    std::optional<Duration> rtt;
    bool active = false;
  };
  std::vector<Peer> peers;             // leader only: its followers
  std::vector<MemberStatus> members;   // all groups, by id, this node included
};

// How old a report may be for its member to be up.
inline constexpr Duration kReportFresh = std::chrono::seconds(3);
inline bool is_up(const MemberStatus& m) { return m.report_age && *m.report_age <= kReportFresh; }

// The voters of the answering node's own group, as it knows them, and who of them
// is up and not on an empty disk.
struct OwnVoters {
  std::vector<NodeId> up, down;
  bool majority() const { return up.size() > down.size(); }
};
inline OwnVoters own_voters(const NodeStatus& s) {
  OwnVoters out;
  std::string region;
  for (const auto& m : s.members)
    if (m.id == s.self) region = m.region;
  for (const auto& m : s.members) {
    if (m.region != region || !(m.voter || m.state == MemberState::kWaiting)) continue;
    const bool another = m.group && s.group && m.group != s.group;  // its region has begun anew, or is one of survivors
    const bool heard = is_up(m) && !another && m.admitted && m.state != MemberState::kWaiting;
    (m.id == s.self || heard ? out.up : out.down).push_back(m.id);
  }
  return out;
}

// As `state` of `dr status` and of the health page.
inline const char* dr_state(const NodeStatus& s) {
  for (const auto& m : s.members)
    if (m.id == s.self && m.state == MemberState::kRemoved) return "removed";
  if (s.contested > Epoch()) return "contested";
  if (s.role == GroupRole::kFenced) return "fenced";
  if (!s.rewinding.empty()) return "rewinding";
  if (!s.adopting.empty()) return "adopting";
  if (!s.leader && s.state == MemberState::kWaiting) return "waiting";
  if (!s.leader) return own_voters(s).majority() ? "electing" : "no_quorum";
  if (s.start_wait) return "start_wait";
  if (s.sealed) return "sealed";
  return s.role == GroupRole::kPrimary ? "serving" : "following";
}

// Figures of a node's own loops; telemetry exports them.
struct NodeProbe {
  Counter proposals_committed, proposals_refused, proposals_unknown, proposals_overloaded;
  Counter elections_won, elections_lost, elections_started;
  Counter syncs, sync_bytes;
  Counter snapshots_sent, snapshots_received;
  Counter leases_expired;
  Counter gate_held_us;        // microseconds in which a client write waited for the write gate, here as leader
  Counter gate_refused;        // client writes that it refused, likewise
  Histogram commit_duration;   // propose to applied, at the leader
  Histogram fsync_duration;
  Histogram compaction_duration;  // from the command until what it released is swept here
  Counter log_dropped;            // times the log's budget took what somebody still wanted to read
  Histogram stage_queue, stage_forward, stage_fsync, stage_append, stage_quorum, stage_apply;
};

class StatusSource {
 public:
  virtual ~StatusSource() = default;
  virtual NodeStatus status() const = 0;          // any thread
  virtual const NodeProbe& probe() const = 0;
};

}  // namespace leeward
