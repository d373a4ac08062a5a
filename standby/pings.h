// Both ends of a ping. A member of a following group asks every 50 ms; the
// primary's leader answers with what is surely committed. README.md, "Lag".
// Core loop.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "node/group.h"
#include "standby/hashes.h"
#include "standby/lag.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

class Pinger {
 public:
  Pinger(node::Group& group, Outbox& outbox, StandbyProbe& probe, Duration interval)
      : group_(group), outbox_(outbox), probe_(probe), interval_(interval), meter_(group.epoch()),
        book_(group.random() >> 8 | 1) {}

  void tick(Instant now, const Regions& regions);
  // One more at once, to the primary's leader if it is known: its sequence.
  // nullopt: none could be sent.
  std::optional<std::uint64_t> ping_now(Instant now, const Regions& regions);
  // One to each member of the primary, at once.
  void ping_all(Instant now, const Regions& regions);
  // Counts an answer; nullopt when it is of another epoch, of no ping of ours,
  // or answered before.
  std::optional<Answer> answered(const Pong& pong);

  const LagMeter& meter() const { return meter_; }
  NodeId primary_leader() const { return leader_; }
  HashVerdict verdict() const { return verdict_; }
  HistoryIndex compared() const { return compared_; }
  Epoch newest_epoch() const { return newest_epoch_; }
  // A primary of a newer epoch than this group's has answered within that time.
  bool hears_newer(Instant now, Duration within) const { return newer_heard_ && now - *newer_heard_ < within; }

 private:
  NodeId next_target(const Regions& regions);
  void heed_epoch();
  bool send(NodeId to, std::uint64_t sequence);
  void judge_hash(const Pong& pong);

  node::Group& group_;
  Outbox& outbox_;
  StandbyProbe& probe_;
  Duration interval_;
  LagMeter meter_;
  PingBook book_;
  Instant next_{};
  std::size_t turn_ = 0;
  NodeId leader_;
  HashVerdict verdict_ = HashVerdict::kNotCompared;
  HistoryIndex compared_;
  Epoch newest_epoch_;
  Index followed_at_;          // of the newest Follow when the meter began
  std::optional<Instant> newer_heard_;
};

// At members of the primary group.
class PingAnswerer {
 public:
  static constexpr std::size_t kMaxWaiting = 1024;

  PingAnswerer(node::Group& group, Outbox& outbox, StandbyProbe& probe)
      : group_(group), outbox_(outbox), probe_(probe) {}

  void ping(NodeId from, Epoch epoch, Ping ping);  // epoch: the sender's
  // An answer to a ping that this member relayed.
  void relay(const Pong& pong);

 private:
  struct Waiting {
    NodeId reply_to;
    Ping ping;
  };
  void begin_round();
  struct Round {
    Term term;
    std::uint64_t counter = 0;
    std::vector<Waiting> asked;
  };
  void end_round(const std::shared_ptr<Round>& round, Index index, int attempt);

  node::Group& group_;
  Outbox& outbox_;
  StandbyProbe& probe_;
  std::vector<Waiting> waiting_;
  bool in_round_ = false;
  std::uint64_t counter_ = 0;  // never reused in a term: a restarted leader is of a later one
  HistoryIndex reported_;      // the last hash difference that was logged
  // A confirmation may come after this object is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
