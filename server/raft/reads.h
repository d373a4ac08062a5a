// Linearizable reads that wait (dissertation, 6.4): a leader's for a round of
// heartbeats, a follower's for its leader's answer.
//
// Every read put in comes out exactly once: confirmed, expired or failed.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/ids.h"
#include "base/units.h"

namespace leeward::raft {

struct WaitingRead {
  NodeId from;  // 0: asked here
  std::uint64_t context = 0;
  Instant deadline;
};

// At a leader. Reads gather until a round starts; the round's index is the
// commit index at its start, and a majority's answers to it confirm it.
class ReadRounds {
 public:
  struct Round {
    std::uint64_t round = 0;
    Index index;
    std::vector<WaitingRead> reads;
  };

  void gather(WaitingRead read) { gathering_.push_back(read); }
  // A new round may start: reads wait, and not too many rounds are under way.
  bool ready() const { return !gathering_.empty() && rounds_.size() < kMaxRounds; }
  void start(std::uint64_t round, Index index);
  // Rounds up to `round` are confirmed; takes them out.
  std::vector<Round> confirm(std::uint64_t round);
  std::vector<WaitingRead> expire(Instant now);
  std::vector<WaitingRead> take_all();
  // Instant::max() when nothing waits.
  Instant next_deadline() const;

 private:
  static constexpr std::size_t kMaxRounds = 16;
  std::vector<WaitingRead> gathering_;
  std::deque<Round> rounds_;
};

// At a follower. Reads gather until they are sent to the leader as one batch.
class ForwardedReads {
 public:
  struct Batch {
    std::uint64_t id = 0;
    Instant deadline;
    std::vector<std::uint64_t> contexts;
  };

  void gather(std::uint64_t context) { gathering_.push_back(context); }
  bool ready() const { return !gathering_.empty(); }
  void send(std::uint64_t id, Instant deadline);
  // The contexts of batch `id`; empty when it is not waited for.
  std::vector<std::uint64_t> answered(std::uint64_t id);
  std::vector<std::uint64_t> expire(Instant now);
  std::vector<std::uint64_t> take_all();
  Instant next_deadline() const;

 private:
  std::vector<std::uint64_t> gathering_;
  std::deque<Batch> batches_;
};

}  // namespace leeward::raft
