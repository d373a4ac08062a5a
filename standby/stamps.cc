#include "standby/stamps.h"

#include <algorithm>
#include <chrono>

namespace leeward::standby {
namespace {

constexpr Duration kStampInterval = 100ms;

}  // namespace

void Stamps::tick(Instant now, const Regions& regions) {
  const auto wanted = group_.stamp_wanted();
  if (!wanted || now - sent_ < std::min(kStampInterval, wanted->lease / 8)) return;
  sent_ = now;
  // Only the armed group's leader answers, and this one cannot tell who that is.
  for (const auto& [id, region] : regions.region_of)
    if (region == wanted->region)
      outbox_.send(id, StampSent{group_.term(), static_cast<std::uint64_t>(now.time_since_epoch().count()), wanted->arming});
}

void Stamps::returned(GroupId by, const StampReturned& stamp) {
  const auto wanted = group_.stamp_wanted();
  if (!wanted || wanted->group != by || wanted->arming != stamp.arming) return;
  group_.stamp_returned(stamp.term, Instant(Duration(static_cast<std::int64_t>(stamp.sent))), stamp.arming);
}

void Stamps::asked(NodeId from, const StampSent& stamp) {
  if (!follows(group_.role()) || !group_.is_leader() || waiting_.size() >= kMostWaiting) return;
  waiting_.push_back({from, stamp});
  if (!in_round_) begin_round();
}

// Confirmed by a round begun after the stamp came, and judged by the whole log
// after that: a Cut that is appended from here on waits for this lease.
void Stamps::begin_round() {
  in_round_ = true;
  group_.confirm([this, alive = std::weak_ptr<bool>(alive_), asked = std::exchange(waiting_, {})](Result<Index> confirmed) {
    if (alive.expired()) return;
    in_round_ = false;
    for (const auto& [from, stamp] : asked)
      if (confirmed.ok() && may_return(stamp)) outbox_.send(from, StampReturned{stamp.term, stamp.sent, stamp.arming});
    if (waiting_.empty()) return;
    if (group_.is_leader()) begin_round();
    else waiting_.clear();
  });
}

bool Stamps::may_return(const StampSent& stamp) {
  const auto* log = group_.is_leader() ? group_.regions_of_log() : nullptr;
  if (!log || !follows(log->role()) || group_.newest_epoch() > log->group_epoch()) return false;
  const auto armed = log->armed();
  if (!armed || armed->arming != stamp.arming) return false;
  return !log->control().cut || log->control().cut->arming != stamp.arming;
}

}  // namespace leeward::standby
