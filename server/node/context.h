// What the parts of a member share. Core loop only, but for what says so.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/function.h"
#include "node/entry_trace.h"
#include "node/frames.h"
#include "node/group_state.h"
#include "node/options.h"
#include "node/regroup.h"
#include "node/replies.h"
#include "node/state_handle.h"
#include "ports/status.h"
#include "raft/core.h"

namespace leeward::node {

struct Context {
  Context(MemberOptions o, MemberPorts p) : options(std::move(o)), ports(std::move(p)), traces(ports.tracer) {}

  MemberOptions options;
  MemberPorts ports;
  EntryTraces traces;
  NodeProbe probe;  // any thread
  Replies replies;

  std::unique_ptr<LogStore> log;
  std::unique_ptr<StateHandle> state;  // any thread
  std::unique_ptr<raft::Core> core;    // null until the member takes part in a group
  GroupState group;                    // as applied
  // Up to here all is applied, and what follows from it is done here: leases, answers,
  // observers. Readers may see the state of the next batch already.
  LogPoint finished;
  Incarnation incarnation;
  std::uint64_t process = 0;           // of this start; see Origin
  Seen seen;                           // what every frame tells
  bool heard = false, serves = false;  // likewise
  bool over_quota = false;             // a leader: a member's state is larger than it may be, as last looked at
  bool removed = false;                // from its group: the core, if there is one, stands still for good
  bool frozen = false;                 // likewise, until the survivors of the group are one
  std::optional<Regroup> joins;        // the group of survivors that this member is of, until its log says so
  GroupId joins_group;                 // likewise of a newcomer: the group that took it in
  GroupId begun;                       // that the superblock names, where the state lost that it had begun

  std::optional<Instant> leaderless_since;  // this member knows nobody who leads it

  Function<void()> wake;               // asks for a turn of the core loop

  Instant now() const { return ports.clock.now(); }
  Index applied() const { return finished.index; }
  // The state is so far behind the log that this member takes nothing more in.
  bool lags() const {
    if (core->commit() - applied() > options.limits.apply_backlog) return true;
    const auto held = log->last().position.bytes, done = finished.position.bytes;
    return held > done && held - done > options.limits.apply_backlog_bytes;
  }
  // Nothing is taken that makes the state larger.
  bool no_room() const { return over_quota || !group.over_quota.empty(); }
  GroupId group_id() const { return joins ? joins->become.group : joins_group ? joins_group : group.control.group ? group.control.group : begun; }
  NodeId leader() const { return core && !removed && !frozen ? core->leader() : NodeId(); }
  bool is_leader() const { return core && !removed && !frozen && core->role() == raft::Role::kLeader; }
  Duration patience() const { return options.limits.request_timeout + 2 * options.raft.election_timeout; }

  // For as long as anybody waits: who comes now need not.
  bool leaderless() const { return leaderless_since && (!core || now() - *leaderless_since >= patience()); }
  // Where no group is taken part in yet, another endpoint may serve.
  const char* no_leader() const;

  // False when the frame was dropped at once: then it surely never arrives.
  bool send(NodeId to, Lane lane, FrameType type, std::string body, Bytes tail = {}) {
    FrameHeader header{type, group.lineage, group_id(), incarnation, seen, heard, serves};
    std::vector<Bytes> parts;
    parts.emplace_back(encode_header(header) + body);
    if (!tail.empty()) parts.push_back(std::move(tail));
    return ports.link.send(to, lane, std::move(parts));
  }

  // Runs `work` on the files loop, then what it returns on the core loop. In
  // order among themselves; not with the wal loop's.
  void run_on_files(Function<Function<void()>()> work) {
    ports.files.post([&core = ports.core, work = std::move(work)]() mutable {
      if (auto then = work()) core.post(std::move(then));
    });
  }
};

// etcd's texts, on which client libraries take their paths.
namespace text {
inline constexpr const char* kTooManyRequests = "etcdserver: too many requests";
inline constexpr const char* kNoLeader = "etcdserver: no leader";
inline constexpr const char* kStopped = "etcdserver: server stopped";
inline constexpr const char* kTimeout = "etcdserver: request timed out";
inline constexpr const char* kTimeoutLeaderFail = "etcdserver: request timed out, possibly due to previous leader failure";
inline constexpr const char* kTimeoutConnectionLost = "etcdserver: request timed out, possibly due to connection lost";
inline constexpr const char* kLeaderChanged = "etcdserver: leader changed";
inline constexpr const char* kLeaseNotFound = "etcdserver: requested lease not found";
inline constexpr const char* kNoSpace = "etcdserver: mvcc: database space exceeded";
inline constexpr const char* kStateFull =
    "leeward: this member's disk has no space for what is committed: ask another member, or for a serializable read";
inline constexpr const char* kColdStart =
    "leeward: this region has started anew and asks whether another one was promoted meanwhile; ask again";
inline constexpr const char* kNoStamp =
    "leeward: the armed region does not answer, and without its word this one acknowledges nothing (dr.self_fence = \"lease\")";
inline constexpr const char* kRemoved =
    "leeward: this member was removed from its group; ask another one (leewardctl member list shows them)";
}  // namespace text

inline const char* Context::no_leader() const { return core ? text::kNoLeader : kTryNextEndpoint; }

}  // namespace leeward::node
