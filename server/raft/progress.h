// What a leader knows of one follower's log (paper, figure 2: nextIndex and
// matchIndex; the three states are those of etcd's tracker).
//
//   kProbe      where the logs meet is not known: one append at a time, the
//               next after its answer or a heartbeat's
//   kReplicate  it is known: appends follow one another without waiting, up to
//               a window of bytes
//   kSnapshot   it needs what the log no longer has: nothing but heartbeats
//               until the snapshot is there
//
// Invariants: match < next. `match` only counts what the follower said is
// durable, and falls only when the follower turns out to have lost its log.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/ids.h"
#include "base/units.h"

namespace leeward::raft {

class Progress {
 public:
  enum class State { kProbe, kReplicate, kSnapshot };

  Progress(Index next, Instant now) : next_(next), heard_(now) {}

  State state() const { return state_; }
  Index match() const { return match_; }
  // What it had acknowledged when it was last found to hold less.
  std::optional<Index> had() const { return had_; }
  // It holds the log up to `index`, as answered to a question of that time: what it
  // acknowledged since then says more.
  void holds(Index index, Instant asked);
  Index next() const { return next_; }

  bool can_send(std::size_t max_inflight_bytes) const {
    if (state_ == State::kProbe) return !paused_;
    return state_ == State::kReplicate && inflight_bytes_ < max_inflight_bytes;
  }
  // An append that ends at `last` went out, after heartbeat round `round`. In
  // kProbe nothing follows it.
  void sent(Index last, std::size_t bytes, std::uint64_t round);
  // The follower holds everything up to `index`, durable.
  void acknowledged(Index index);

  // `append_sequence`: that of the next append. Answers to older ones are no
  // longer believed when they reject.
  void become_probe(Index next, std::uint64_t append_sequence);
  void become_snapshot();
  // The follower does not hold what it once acknowledged: its storage was lost.
  void lost_log(Index holds, std::uint64_t append_sequence);
  bool stale(std::uint64_t append_sequence) const { return append_sequence < first_believed_; }

  // A heartbeat of `round` was answered: an append that went out an `interval`
  // before it and has no answer may be lost. Rounds are times in nanoseconds;
  // there may be many of them in an interval, for reads.
  void resume(std::uint64_t round, std::uint64_t interval) { paused_ = paused_ && round < paused_at_ + interval; }
  void pause(std::uint64_t round) {
    paused_ = true;
    paused_at_ = round;
  }
  // The same for a pipeline: true when nothing was acknowledged for an
  // `interval` though something is under way. Then the follower is asked.
  bool stalled(std::uint64_t round, std::uint64_t interval);

  void heard(Instant now) { heard_ = now; }
  Instant heard() const { return heard_; }
  void round_acknowledged(std::uint64_t round, Duration rtt);
  std::uint64_t acked_round() const { return acked_round_; }
  std::optional<Duration> rtt() const { return rtt_; }
  Index told_commit() const { return told_commit_; }
  void tell_commit(Index commit) { told_commit_ = commit; }

 private:
  void clear_inflight();

  struct Inflight {
    Index last;
    std::size_t bytes;
  };

  State state_ = State::kProbe;
  Index match_;
  Index most_;  // that it acknowledged, and when
  Instant most_at_{};
  std::optional<Index> had_;
  Index next_;
  bool paused_ = false;
  std::uint64_t paused_at_ = 0;
  std::uint64_t first_believed_ = 0;
  std::deque<Inflight> inflight_;
  std::size_t inflight_bytes_ = 0;
  Index match_at_heartbeat_;
  std::uint64_t stalled_since_ = 0;  // round
  Index told_commit_;

  Instant heard_;
  std::uint64_t acked_round_ = 0;
  std::optional<Duration> rtt_;
};

}  // namespace leeward::raft
