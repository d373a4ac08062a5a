// How far a member is behind the primary, as an interval, without comparing
// the clocks of two machines: only this member's own send and arrival times
// are subtracted from each other. README.md, "Lag", says why it is right.
//
// Pure: values in, values out. One epoch at a time; answers of another do not
// count. Memory is bounded: beyond kMaxAnswers the older half is thinned, which
// can only widen the interval.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/entry.h"
#include "base/units.h"
#include "ports/status.h"
#include "standby/messages.h"

namespace leeward::standby {

// What the primary's leader said to one ping. All that was committed when the
// ping was sent is at or below `committed`; `committed` was reached before the
// answer arrived.
struct Answer {
  Stamp stamp;
  Position committed;
  Instant sent;
  Instant arrived;
};

class LagMeter {
 public:
  static constexpr std::size_t kMaxAnswers = 4096;

  explicit LagMeter(Epoch epoch) : epoch_(epoch) {}

  Epoch epoch() const { return epoch_; }
  // Forgets all that was heard.
  void restart(Epoch epoch);

  // Answers may come in any order. False: of another epoch, not counted.
  bool add(const Answer& answer);

  // The interval for a held position. Unknown bounds are nullopt: `high` when
  // no ping was answered at or below `held`, all of it when none was answered.
  Lag lag(const Position& held, Instant now) const;

  // T: the answer with the highest stamp. Loss is stated against its commit.
  const std::optional<Answer>& newest() const { return newest_; }
  // Since the newest answered ping was sent. nullopt: none was.
  std::optional<Duration> silence(Instant now) const;
  // The high bound as it was at the sending of T, for what is held now: all
  // that was committed that long before T is held. nullopt: unknown.
  std::optional<Duration> lag_at_newest(const Position& held) const;

  // Drops what no position at or above `held` needs.
  void trim(HistoryIndex held);
  std::size_t answers() const { return answers_.size(); }

 private:
  std::optional<Instant> newest_covered(HistoryIndex held) const;
  void thin();

  Epoch epoch_;
  std::optional<Answer> newest_;
  std::optional<Instant> last_sent_;  // the latest send time of an answered ping
  std::deque<Answer> answers_;        // by stamp, so by commit
};

// The pings a member has sent and not had answered: send times by sequence.
class PingBook {
 public:
  static constexpr std::size_t kMaxOutstanding = 2048;  // 100 s of pings

  // `first`: random, so that an answer to an earlier life of this process is
  // not taken for one to a ping of this life, which was sent later.
  explicit PingBook(std::uint64_t first = 1) : next_(first) {}

  std::uint64_t sent(Instant now);
  // The send time, once; nullopt for what was never sent, is answered already
  // or too long ago.
  std::optional<Instant> answered(std::uint64_t sequence);
  std::size_t outstanding() const { return outstanding_.size(); }

 private:
  struct Outstanding {
    std::uint64_t sequence;
    Instant sent;
    bool answered;
  };
  std::uint64_t next_;
  std::deque<Outstanding> outstanding_;  // consecutive sequences
};

}  // namespace leeward::standby
