#include "raft/progress.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace leeward::raft {

void Progress::sent(Index last, std::size_t bytes, std::uint64_t round) {
  LEEWARD_CHECK(state_ != State::kSnapshot, "an append to a follower that waits for a snapshot");
  if (state_ == State::kProbe) return pause(round);
  LEEWARD_CHECK(last + 1 >= next_, "an append goes back in a pipeline");
  if (last < next_) return;
  next_ = last + 1;
  inflight_.push_back({last, bytes});
  inflight_bytes_ += bytes;
}

void Progress::acknowledged(Index index) {
  if (index > most_) most_at_ = heard_;
  most_ = std::max(most_, index);
  match_ = std::max(match_, index);
  next_ = std::max(next_, match_ + 1);
  while (!inflight_.empty() && inflight_.front().last <= match_) {
    inflight_bytes_ -= inflight_.front().bytes;
    inflight_.pop_front();
  }
  if (state_ != State::kProbe || index < match_) return;
  // Where the logs meet is known now.
  state_ = State::kReplicate;
  paused_ = false;
  next_ = match_ + 1;
}

void Progress::become_probe(Index next, std::uint64_t append_sequence) {
  state_ = State::kProbe;
  next_ = std::max(next, match_ + 1);
  paused_ = false;
  first_believed_ = append_sequence;
  clear_inflight();
}

void Progress::become_snapshot() {
  state_ = State::kSnapshot;
  clear_inflight();
}

void Progress::lost_log(Index holds, std::uint64_t append_sequence) {
  match_ = std::min(match_, holds);
  told_commit_ = std::min(told_commit_, match_);
  become_probe(match_ + 1, append_sequence);
}

void Progress::holds(Index index, Instant asked) {
  if (index >= most_ || asked <= most_at_) return;
  had_ = std::exchange(most_, index);
}

bool Progress::stalled(std::uint64_t round, std::uint64_t interval) {
  const bool waiting = state_ == State::kReplicate && match_ + 1 < next_ && match_at_heartbeat_ == match_;
  if (waiting && round < stalled_since_ + interval) return false;
  match_at_heartbeat_ = match_;
  stalled_since_ = round;
  return waiting;
}

void Progress::round_acknowledged(std::uint64_t round, Duration rtt) {
  if (round <= acked_round_) return;
  acked_round_ = round;
  rtt_ = rtt;
}

void Progress::clear_inflight() {
  inflight_.clear();
  inflight_bytes_ = 0;
}

}  // namespace leeward::raft
