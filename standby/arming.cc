#include "standby/arming.h"

#include <algorithm>

#include "region/state.h"

namespace leeward::standby {
namespace {
constexpr Duration kInterval = 500ms;
}

std::optional<region::Armed> armed_group(const StateMachine& state) {
  auto history = region::State::history_of(state.region_entries());
  if (!history.ok()) return std::nullopt;
  return region::State({}, std::move(*history), {}).armed_group();
}

bool disarmed_by_hand(const StateMachine& state) {
  auto history = region::State::history_of(state.region_entries());
  if (!history.ok() || !history->armed || history->disarmed != history->armed->arming) return false;
  const auto armed_in = history->armed_in;
  return armed_in == region::State({}, std::move(*history), {}).live_epoch();
}

// An Armed in the log is either this leader's own proposal of this term, or of
// an older term and then committed, since an entry of this term is.
bool Arming::under_way() const {
  const auto applied = group_.state().applied().point.index;
  if (proposed_term_ == group_.term() && proposed_ > applied) return true;
  for (Index at = applied + 1; at <= group_.committed().index;) {
    const auto read = group_.log().read(at, group_.committed().index + 1, 1_MiB);
    if (!read.ok() || read->empty()) return true;  // cannot tell: not now
    for (const auto& e : *read)
      if (e.kind == EntryKind::kArmed || e.kind == EntryKind::kDisarmed || e.kind == EntryKind::kEpochChange) return true;
    at = read->back().index + 1;
  }
  return false;
}

void Arming::tick(Instant now, const Regions& regions) {
  if (now < next_) return;
  next_ = now + kInterval;
  if (group_.role() != GroupRole::kPrimary || !group_.is_leader()) return;
  if (armed_group(group_.state()) || disarmed_by_hand(group_.state())) return;

  for (const auto& region : regions.following) {
    if (regions.role_of.at(region) != GroupRole::kStandby) continue;
    const auto lag = followers_.lag(region, now);
    const auto follower = followers_.group_of(region);
    if (!lag || *lag > options_.arm_within || !follower) continue;
    if (under_way()) return;
    const region::Armed armed{group_.random() | 1, follower, region, options_.mode, options_.lease, false};
    raft::Proposal proposal;
    proposal.kind = EntryKind::kArmed;
    proposal.epoch = group_.epoch();
    proposal.payload = Bytes(encode(armed));
    const auto index = group_.propose({&proposal, 1});
    if (!index.ok()) return;  // busy or no longer leader: judged anew in a moment
    proposed_ = *index;
    proposed_term_ = group_.term();
    group_.logger().info("arming", {{"region", region}, {"group", follower}});
    return;
  }
}

}  // namespace leeward::standby
