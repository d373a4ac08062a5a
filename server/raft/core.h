// The Raft consensus core of one member: values in, a Ready out. No I/O, no
// threads, no clock and no randomness of its own: the time comes with each
// call, the seed with the constructor, so the same calls give the same result.
//
// Sources: Ongaro & Ousterhout, "In Search of an Understandable Consensus
// Algorithm" (2014), and Ongaro's dissertation: chapter 3 (elections, log,
// commit), 3.10 (transfer), 4 (membership), 6.4 (reads), 9.6 (pre-vote). The
// README walks through it with the paper beside it.
//
// Thread rule: one loop. Never re-entered: take_ready() after any batch of
// calls, do what it says, report back with persisted() and applied().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/log_view.h"
#include "base/result.h"
#include "base/units.h"
#include "raft/types.h"

namespace leeward::raft {

struct Options {
  NodeId id;
  Duration heartbeat_interval = 100ms;
  Duration election_timeout = 1s;        // a campaign starts after 1 to 2 of these
  double lease_fraction = 0.9;           // of election_timeout, from when the heartbeat was sent
  bool lease_reads = true;
  std::size_t max_append_bytes = 1_MiB;
  std::size_t max_inflight_bytes = 8_MiB;   // a follower, sent and not acknowledged
  std::size_t max_uncommitted_bytes = 64_MiB;
  std::uint64_t seed = 1;                // for election jitter
  // A restarted member grants no vote for one election timeout: it may have
  // confirmed a leader's lease just before. False only for the first start.
  bool vote_wait = true;
  std::size_t cache_bytes = 8_MiB;       // of recent entries kept in memory
};

// What the core starts from; the log itself stays in the log store.
struct InitialState {
  HardState hard_state;
  Membership membership;  // as of `applied`; later kMembership entries in the log are applied by the core
  Index applied;
};

// A linearizable read may be served when applied >= index.
struct ReadState {
  std::uint64_t context = 0;  // as given to read_index()
  bool ok = false;            // false: no leader, or leadership lost; certainly not confirmed
  Index index;
};

// Effects, in the order in which they must take place:
//  1. `messages` may go at once, before anything below is durable: a leader
//     sends and writes in parallel, its own disk is one vote among others.
//  2. `entries` and `hard_state` must be made durable, together. Later Readys
//     may be queued behind; then persisted(token).
//  3. `after_persist` (votes, append replies) goes only after 2.
//  4. `committed` is applied in order, and only after it is durable here; the
//     core hands out an entry only then. Then applied(index).
// `reads` may be answered as their index is reached.
struct Ready {
  std::uint64_t token = 0;  // rises by one a Ready that has something to persist; 0: nothing to persist
  std::vector<Message> messages;
  std::vector<Entry> entries;
  std::optional<HardState> hard_state;
  std::vector<Message> after_persist;
  std::vector<Entry> committed;  // bounded to about 4 MiB a Ready; more follow
  std::vector<ReadState> reads;
  // Followers that need a snapshot at or beyond this index: node transfers one
  // and calls snapshot_sent().
  struct SnapshotNeed {
    NodeId to;
    Index beyond;
  };
  std::vector<SnapshotNeed> snapshots;
  bool role_changed = false;  // role, leader or term differ from the last Ready
};

struct Status {
  NodeId id;
  Role role = Role::kFollower;
  Term term;
  NodeId leader;  // 0: unknown
  NodeId vote;
  Index commit;
  Index applied;
  Index last;
  bool leader_ready = false;  // leader, and an entry of its own term is committed
  std::optional<Instant> lease_until;  // leader's read lease, if it has one
  NodeId transferring_to;
  Membership membership;
  struct Peer {
    NodeId id;
    Index match;
    Index next;
    bool active = false;      // heard from within an election timeout
    bool snapshot = false;    // being sent one
    std::optional<Duration> rtt;
    std::optional<Index> had{};  // acknowledged, when it was last found to hold less: it has lost what others counted on
  };
  std::vector<Peer> peers;  // leader only
  // Since its start this member heard a serving leader; of a leader also: one
  // of those that answered its call for votes did.
  bool heard_serving = false;
  // What a leader sent does not chain with what is stored here, at the same
  // index and term: one of the two is corrupt. Set until the process ends; such
  // a member accepts nothing that does not chain and does not campaign.
  std::optional<std::string> fault;
};

class Core {
 public:
  // `log` outlives the core, which only reads it, and only what persisted() has
  // covered; what is newer it holds itself.
  Core(Options options, const LogView& log, InitialState initial, Instant now);
  ~Core();
  Core(Core&&) noexcept;

  // To be called at `next_tick()` or soon after; drives elections, heartbeats,
  // lease and transfer time-outs.
  void tick(Instant now);
  Instant next_tick() const;

  // A message from a peer. A message of a non-member is ignored except where
  // the paper needs it (a follower accepts a leader it does not know yet).
  void step(Instant now, Message message);

  // Leader: appends proposals in order and returns the index of the first.
  // Errors, all meaning "certainly not in the log": kUnavailable (not leader, or
  // a transfer is under way), kOverloaded (max_uncommitted_bytes), kInvalid (an
  // `expected` position that does not chain), kExists (a membership change while
  // another is uncommitted).
  Result<Index> propose(Instant now, std::span<const Proposal> proposals);

  // Asks for a read index; the answer is a ReadState with this context, sooner
  // or later, exactly one. Calls between two take_ready() share one round.
  // `by_lease` false: only a round begun after this call will do, at a leader;
  // others refuse.
  void read_index(Instant now, std::uint64_t context, bool by_lease = true);

  // The read index at once if a valid lease allows it, with an entry of this
  // leader's own term committed.
  std::optional<Index> lease_read(Instant now) const;

  // Starts a transfer to a voter (0: the most up-to-date one). Ends by itself
  // after an election timeout. kUnavailable when not leader, kNotFound, kInvalid.
  Result<void> transfer_leadership(Instant now, NodeId to);

  // Campaigns at once, for a group of one and for tests. Does nothing while a
  // live leader is heard or vote_wait runs: its own vote is a vote too.
  void campaign(Instant now);

  // A leader that can not write (disk hangs or is full) gives up leadership.
  void step_down(Instant now);

  // Everything of the Ready with this token, and of those before, is durable.
  void persisted(Instant now, std::uint64_t token);
  // Applied up to `index`. Membership entries take effect when appended.
  void applied(Index index);
  // Whether a snapshot at `point` may be installed. Ask just before the log is
  // reset: false when this member leads, or holds that entry (it may have
  // acknowledged more, which a reset would lose). Then tell the leader that the
  // transfer ended well. From a yes to restored() the core takes no message:
  // what it would acknowledge the reset drops.
  bool wants_snapshot(const LogPoint& point) const;
  // The log now starts after `point`, with this membership (a snapshot was installed).
  void restored(Instant now, const LogPoint& point, Membership membership);
  // Leader: a snapshot transfer to `to` ended; on success it holds `index`.
  void snapshot_sent(Instant now, NodeId to, bool ok, Index index);
  // A peer's connection was lost: its unacknowledged appends are sent again.
  void unreachable(NodeId peer);

  // A member whose storage came back empty forgot its votes: until its group has
  // admitted it, it neither votes nor campaigns. True at first.
  void set_may_vote(bool may);

  // An operator's word: a member that may not lead campaigns never, also when a
  // leader asks it to; it votes and replicates as before, and a leader goes on
  // until it hands over or steps down. True at first.
  void set_may_lead(bool may);
  // To whom leadership is not handed when no target is named.
  void set_passed_over(std::set<NodeId> ids);

  // Leader: who needs the log from below this index is sent a snapshot, though
  // the log reaches down. 0: the log decides alone.
  void set_replication_floor(Index floor);
  // Whether this member, as leader, serves clients: its heartbeats say so once
  // an entry of its term is committed, and those who heard it say so in their
  // vote replies. True at first.
  void set_serving(bool serving);

  Ready take_ready();
  bool has_ready() const;

  Status status() const;
  Role role() const;
  NodeId leader() const;
  Term term() const;
  const Membership& membership() const;
  // Log end including what is not persisted yet.
  LogPoint last() const;
  Index durable() const;  // log end that persisted() has told of
  Index commit() const;
  // As LogView::read, including what is not persisted yet.
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace leeward::raft
