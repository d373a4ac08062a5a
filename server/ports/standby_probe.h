// Figures of the stream between regions; see probe.h for the rules.
#pragma once

#include <array>

#include "ports/probe.h"
#include "ports/status.h"

namespace leeward {

// How promotions ended that this member was asked for and carried out, or
// refused. Unknown: it does not know how it ended, another member will.
enum class PromotionResult : std::uint8_t { kDone, kRefused, kFailed, kUnknown };
inline const char* name(PromotionResult result) {
  constexpr const char* kNames[] = {"done", "refused", "failed", "unknown"};
  return kNames[static_cast<int>(result)];
}

struct PromotionProbe {
  static constexpr PromotionKind kKinds[] = {PromotionKind::kPromotion, PromotionKind::kSurvivors, PromotionKind::kSwitchover};
  static constexpr PromotionResult kResults[] = {PromotionResult::kDone, PromotionResult::kRefused, PromotionResult::kFailed,
                                                 PromotionResult::kUnknown};

  void ended(PromotionKind kind, PromotionResult result) { counts[static_cast<std::size_t>(kind)][static_cast<std::size_t>(result)].add(); }
  void done(PromotionKind kind, Duration took) {
    ended(kind, PromotionResult::kDone);
    last_us.set(took / std::chrono::microseconds(1));
  }
  std::uint64_t count(PromotionKind kind, PromotionResult result) const {
    return counts[static_cast<std::size_t>(kind)][static_cast<std::size_t>(result)].get();
  }

  std::array<std::array<Counter, std::size(kResults)>, std::size(kKinds)> counts;
  Gauge last_us;  // how long the last one took that was done
};

struct StandbyProbe {
  // Source side.
  Counter sessions, refusals, entries_sent, bytes_sent, wire_bytes_sent;
  // Following side. `chain_refused`: entries that did not chain; `divergences`:
  // the source holds other history at our position.
  Counter entries_received, bytes_received, wire_bytes_received;
  Counter reconnects, resyncs_needed, chain_refused, divergences;
  // State hashes compared with another region's, at either side.
  Counter hash_equal, hash_different;
  Counter pings_sent, pongs_received, pings_answered;
  Counter forwarded, forward_refused, forward_unknown;
  Counter malformed_frames;
  PromotionProbe promotions;
  // At the leader of a following group: from a frame's arrival to its proposal,
  // from there to the group's commit, from there to applied.
  Histogram stage_receive, stage_fsync, stage_apply;
};

}  // namespace leeward
