#include "standby/pings.h"

#include <algorithm>

namespace leeward::standby {
namespace {
constexpr int kReadAttempts = 100;
}

// Of another epoch nothing counts that was heard, nor behind a Follow: what is
// held went back.
void Pinger::heed_epoch() {
  const auto* regions = group_.regions();
  const auto followed_at = regions ? regions->control().followed_at : followed_at_;
  if (meter_.epoch() == group_.epoch() && followed_at == followed_at_) return;
  followed_at_ = followed_at;
  meter_.restart(group_.epoch());
  verdict_ = HashVerdict::kNotCompared;
  compared_ = {};
}

void Pinger::tick(Instant now, const Regions& regions) {
  heed_epoch();
  meter_.trim(group_.state().applied().point.position.index);
  if (now < next_) return;
  next_ = std::max(next_ + interval_, now);  // late ones are not made up for
  const auto to = next_target(regions);
  if (to) send(to, book_.sent(now));
}

NodeId Pinger::next_target(const Regions& regions) {
  // Each time another member: one that is dead or cut off costs every third
  // ping, not all of them.
  const auto& all = regions.primary;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto id = all[turn_++ % all.size()];
    if (group_.link().connected(id)) return id;
  }
  return all.empty() ? NodeId() : all[turn_++ % all.size()];
}

bool Pinger::send(NodeId to, std::uint64_t sequence) {
  probe_.pings_sent.add();
  return outbox_.send(to, Ping{sequence, group_.self(), false, told_hash(group_)});
}

std::optional<std::uint64_t> Pinger::ping_now(Instant now, const Regions& regions) {
  const bool direct = leader_ && group_.link().connected(leader_);
  const auto to = direct ? leader_ : next_target(regions);
  if (!to) return std::nullopt;
  const auto sequence = book_.sent(now);
  if (!send(to, sequence)) return std::nullopt;
  return sequence;
}

void Pinger::ping_all(Instant now, const Regions& regions) {
  for (const auto id : regions.primary) (void)send(id, book_.sent(now));  // who cannot be reached does not answer
}

std::optional<Answer> Pinger::answered(const Pong& pong) {
  if (pong.origin != group_.self()) return std::nullopt;
  heed_epoch();
  const auto sent = book_.answered(pong.sequence);
  if (!sent) return std::nullopt;
  newest_epoch_ = std::max(newest_epoch_, pong.stamp.epoch);
  if (pong.stamp.epoch > group_.epoch()) newer_heard_ = group_.clock().now();
  const Answer answer{pong.stamp, pong.committed, *sent, group_.clock().now()};
  if (!meter_.add(answer)) return std::nullopt;
  probe_.pongs_received.add();
  if (meter_.newest()->stamp == pong.stamp) leader_ = pong.leader;
  judge_hash(pong);
  return answer;
}

void Pinger::judge_hash(const Pong& pong) {
  if (pong.verdict == HashVerdict::kNotCompared || pong.compared < compared_) return;
  const bool again = pong.compared == compared_ && pong.verdict == verdict_;
  compared_ = pong.compared;
  if (again) return;
  if (pong.verdict == HashVerdict::kDifferent) {
    probe_.hash_different.add();
    if (verdict_ != HashVerdict::kDifferent)
      group_.logger().error("state hash differs from the primary's", {{"history_index", compared_}});
  } else {
    probe_.hash_equal.add();
  }
  verdict_ = pong.verdict;
}

void PingAnswerer::ping(NodeId from, Epoch epoch, Ping ping) {
  if (group_.role() != GroupRole::kPrimary) return;
  if (epoch != group_.epoch()) ping.applied = {};  // behind the fork it may hold other history, and rightly
  if (ping.relayed) {
    if (!group_.membership().contains(from)) return;
  } else {
    ping.origin = from;
  }
  if (!group_.is_leader()) {
    const auto leader = group_.leader();
    if (ping.relayed || !leader || leader == group_.self()) return;  // its silence is the answer
    ping.relayed = true;
    outbox_.send(leader, std::move(ping));
    return;
  }
  if (waiting_.size() >= kMaxWaiting) return;
  waiting_.push_back({from, std::move(ping)});
  if (!in_round_) begin_round();
}

// All pings that come while a round runs share the next one: its confirmation
// must have begun after they came.
void PingAnswerer::begin_round() {
  in_round_ = true;
  auto round = std::make_shared<Round>(Round{group_.term(), ++counter_, std::exchange(waiting_, {})});
  group_.confirm([this, alive = std::weak_ptr<bool>(alive_), round](Result<Index> index) {
    if (alive.expired()) return;
    in_round_ = false;
    if (index.ok()) end_round(round, *index, 0);
    if (waiting_.empty()) return;
    if (group_.is_leader())
      begin_round();
    else
      waiting_.clear();
  });
}

void PingAnswerer::end_round(const std::shared_ptr<Round>& round, Index index, int attempt) {
  if (group_.term() != round->term || !group_.is_leader()) return;
  const auto point = group_.log().point(index);
  if (!point.ok()) {
    // Committed by the others, and not in this member's own log yet.
    if (attempt < kReadAttempts)
      group_.loop().after(1ms, [this, alive = std::weak_ptr<bool>(alive_), round, index, attempt] {
        if (!alive.expired()) end_round(round, index, attempt + 1);
      });
    return;
  }
  // In another region it is what a linearizable read goes by.
  if (!group_.may_acknowledge()) return;
  for (const auto& [reply_to, ping] : round->asked) {
    const auto compared = compare(group_.state(), ping.applied);
    if (compared.verdict == HashVerdict::kDifferent && compared.index != reported_) {
      reported_ = compared.index;
      probe_.hash_different.add();
      group_.logger().error("a following member's state hash differs",
                            {{"node", ping.origin}, {"history_index", compared.index}});
    } else if (compared.verdict == HashVerdict::kEqual) {
      probe_.hash_equal.add();
    }
    probe_.pings_answered.add();
    outbox_.send(reply_to, Pong{ping.sequence, ping.origin, group_.self(), {group_.epoch(), round->term, round->counter},
                                point->position, compared.verdict, compared.index});
  }
}

void PingAnswerer::relay(const Pong& pong) { outbox_.send(pong.origin, pong); }

}  // namespace leeward::standby
