#include "standby/lag.h"

#include <algorithm>

namespace leeward::standby {

void LagMeter::restart(Epoch epoch) {
  epoch_ = epoch;
  newest_.reset();
  last_sent_.reset();
  answers_.clear();
}

bool LagMeter::add(const Answer& answer) {
  if (answer.stamp.epoch != epoch_) return false;
  if (!newest_ || answer.stamp > newest_->stamp) newest_ = answer;
  // One round of the leader may answer several pings: the last one sent counts.
  else if (answer.stamp == newest_->stamp && answer.sent > newest_->sent)
    newest_->sent = answer.sent;
  if (!last_sent_ || answer.sent > *last_sent_) last_sent_ = answer.sent;

  const auto at = std::upper_bound(answers_.begin(), answers_.end(), answer.stamp,
                                   [](const Stamp& stamp, const Answer& a) { return stamp < a.stamp; });
  answers_.insert(at, answer);
  if (answers_.size() > kMaxAnswers) thin();
  return true;
}

std::optional<Instant> LagMeter::newest_covered(HistoryIndex held) const {
  std::optional<Instant> sent;
  for (const auto& a : answers_)
    if (a.committed.index <= held && (!sent || a.sent > *sent)) sent = a.sent;
  return sent;
}

Lag LagMeter::lag(const Position& held, Instant now) const {
  Lag lag;
  if (!newest_) return lag;
  auto behind = [](std::uint64_t primary, std::uint64_t own) { return primary > own ? primary - own : 0; };
  const auto& commit = newest_->committed;
  lag.writes = behind(commit.writes, held.writes);
  lag.entries = behind(commit.index.value(), held.index.value());
  lag.bytes = behind(commit.bytes, held.bytes);

  if (const auto sent = newest_covered(held.index)) lag.high = now - *sent;
  std::optional<Instant> above;
  for (const auto& a : answers_)
    if (a.committed.index > held.index && (!above || a.arrived < *above)) above = a.arrived;
  lag.low = above ? now - *above : Duration{};
  return lag;
}

std::optional<Duration> LagMeter::silence(Instant now) const {
  if (!last_sent_) return std::nullopt;
  return now - *last_sent_;
}

std::optional<Duration> LagMeter::lag_at_newest(const Position& held) const {
  if (!newest_) return std::nullopt;
  const auto sent = newest_covered(held.index);
  if (!sent) return std::nullopt;
  return std::max(newest_->sent - *sent, Duration{});
}

void LagMeter::trim(HistoryIndex held) {
  // Of the answers at or below `held` only the latest sent can matter again,
  // for a held position never goes back but where the meter restarts.
  std::optional<Answer> best;
  while (!answers_.empty() && answers_.front().committed.index <= held) {
    if (!best || answers_.front().sent >= best->sent) best = answers_.front();
    answers_.pop_front();
  }
  if (best) answers_.push_front(*best);
}

void LagMeter::thin() {
  std::deque<Answer> kept;
  const auto half = answers_.size() / 2;
  for (std::size_t i = 0; i < answers_.size(); ++i)
    if (i >= half || i % 2 == 0) kept.push_back(answers_[i]);
  answers_ = std::move(kept);
}

std::uint64_t PingBook::sent(Instant now) {
  outstanding_.push_back({next_, now, false});
  if (outstanding_.size() > kMaxOutstanding) outstanding_.pop_front();
  return next_++;
}

std::optional<Instant> PingBook::answered(std::uint64_t sequence) {
  if (outstanding_.empty() || sequence < outstanding_.front().sequence) return std::nullopt;
  const auto at = sequence - outstanding_.front().sequence;
  if (at >= outstanding_.size() || outstanding_[at].answered) return std::nullopt;
  outstanding_[at].answered = true;
  const auto sent = outstanding_[at].sent;
  while (!outstanding_.empty() && outstanding_.front().answered) outstanding_.pop_front();
  return sent;
}

}  // namespace leeward::standby
