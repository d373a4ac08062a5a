// The RPO governor: how fast client writes may go into the log, so that the lag
// of the armed region meets a budget. README.md, "Governor", has the reasons.
//
// Pure: what was measured in, the allowed rate out. One leader's view; restart()
// when what was measured does not continue. Amounts are costs of history
// positions (cost_of), rates are costs a second.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/entry.h"
#include "base/units.h"
#include "ports/status.h"

namespace leeward::standby {

// What a position weighs on its way: bytes, and for each write what it costs a
// link and a log beyond them. Never falls along a history.
constexpr std::uint64_t kWriteCost = 64;
constexpr std::uint64_t cost_of(const Position& p) { return p.bytes + kWriteCost * p.writes; }

struct GovernorOptions {
  RpoPolicy policy = RpoPolicy::kAlert;
  Duration budget = 1s;
  // Writes are never held below this, whatever is measured.
  double floor = 4096;  // some dozen small writes
  // A throttle lets go of a region that says nothing and has not moved for
  // `silent`, and of one that speaks and has not moved for `stuck`.
  Duration silent = 5s, stuck = 30s;
  // The budget counts as met again when it was for so long.
  Duration calm = 5s;
};

struct GovernorInput {
  Instant now{};
  std::optional<Duration> lag;     // high bound of the armed region's; nullopt: unknown
  bool connected = false;          // it has acknowledged lately
  std::uint64_t cut = 0;           // cost of this leader's whole log
  std::uint64_t acknowledged = 0;  // of it what the armed region's majority holds
};

class Governor {
 public:
  explicit Governor(GovernorOptions options) : options_(options) {}

  const GovernorOptions& options() const { return options_; }
  void set_policy(RpoPolicy policy, Duration budget);
  // Nothing is measured any more: no region is armed, or this is no leader.
  void restart();
  // About every 50 ms.
  void step(const GovernorInput& input);

  // A second's worth of writes; nullopt: without limit.
  std::optional<double> rate() const { return rate_; }
  bool refuses() const { return refuses_; }
  // The budget is passed, and was not met for `calm` since.
  bool over() const { return over_; }
  // It would throttle, and does not: the region does not move at all.
  bool let_go() const { return let_go_; }
  // What the verdicts rest on: the lag, or how long it is unknown. nullopt: no step yet.
  std::optional<Duration> lag() const { return lag_; }
  // What the region takes, measured over a budget; 0: not known.
  double drain() const { return drain_; }

 private:
  struct Sample {
    Instant at;
    std::uint64_t acknowledged;
  };

  void watch_progress(const GovernorInput& input);
  void judge_budget(Instant now);
  void judge_refusal();
  void throttle(const GovernorInput& input);
  void measure_drain(Instant now);
  Duration window() const;

  GovernorOptions options_;
  std::optional<Duration> lag_;
  std::optional<Instant> begun_;       // the first step
  std::deque<Sample> samples_;         // over window(), oldest first
  Instant moved_{};                    // when `acknowledged` rose last, or nothing was missing
  std::optional<Instant> low_since_;   // lag far below the budget
  std::optional<Instant> met_since_;
  double drain_ = 0;
  bool engaged_ = false, let_go_ = false, refuses_ = false, over_ = false;
  std::optional<double> rate_;
};

}  // namespace leeward::standby
