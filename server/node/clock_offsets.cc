#include "node/clock_offsets.h"

#include <algorithm>

namespace leeward::node {
namespace {

std::int64_t micros(WallTime t) { return std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count(); }

}  // namespace

std::int64_t ClockOffsets::Peer::quickest() const {
  return *std::min_element(in_us.begin(), in_us.begin() + static_cast<std::ptrdiff_t>(std::min(heard, kSamples)));
}

void ClockOffsets::heard(NodeId from, const ClockReport& theirs, WallTime now) {
  if (theirs.sent_us == 0) {
    peers_.erase(from);
    return;
  }
  if (!peers_.contains(from) && peers_.size() == kMostClockWays) return;
  auto& peer = peers_[from];
  peer.in_us[peer.heard++ % kSamples] = micros(now) - theirs.sent_us;
  peer.out_us.reset();
  for (const auto& way : theirs.ways)
    if (way.from == self_) peer.out_us = way.late_us;
}

ClockReport ClockOffsets::report(WallTime now) const {
  ClockReport report{micros(now), {}};
  for (const auto& [id, peer] : peers_) report.ways.push_back({id, peer.quickest()});
  return report;
}

std::optional<Duration> ClockOffsets::of(NodeId node) const {
  const auto found = peers_.find(node);
  if (found == peers_.end() || !found->second.out_us) return std::nullopt;
  const auto out = *found->second.out_us, in = found->second.quickest();
  const auto apart = (out - in) / 2, doubt = std::max<std::int64_t>(out + in, 0) / 2;  // a clock that was set: the sum may be anything
  return std::chrono::microseconds(apart > 0 ? std::max<std::int64_t>(apart - doubt, 0) : std::min<std::int64_t>(apart + doubt, 0));
}

}  // namespace leeward::node
