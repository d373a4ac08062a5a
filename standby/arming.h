// At the primary's leader: commits `Armed` for the standby group that has
// caught up, while no group is armed in this epoch. Core loop.
#pragma once

#include <optional>

#include "node/group.h"
#include "region/entries.h"
#include "standby/followers.h"

namespace leeward::standby {

struct ArmingOptions {
  Duration arm_within = 2s;  // lag of a region that counts as caught up, as the leader sees it
  region::FenceMode mode = region::FenceMode::kContact;
  Duration lease = 10s;
};

// The group that may end the present epoch, by what is applied. What cannot be
// read arms nobody.
std::optional<region::Armed> armed_group(const StateMachine& state);
// Whether the newest Armed of this epoch was disarmed: that was an operator, and
// nobody is armed again by itself.
bool disarmed_by_hand(const StateMachine& state);

// How long after the last one was given, by a Cut or by the group's end, no stamp
// counts any more. `margin`: of the lease, how far clocks may drift.
inline Duration stamps_last(const region::Armed& armed, double margin) {
  return armed.lease + std::chrono::duration_cast<Duration>(armed.lease * margin);
}

class Arming {
 public:
  Arming(node::Group& group, const Followers& followers, ArmingOptions options)
      : group_(group), followers_(followers), options_(options) {}

  void tick(Instant now, const Regions& regions);

 private:
  // True when this leader's log may hold an Armed that is not applied yet.
  bool under_way() const;

  node::Group& group_;
  const Followers& followers_;
  ArmingOptions options_;
  Instant next_{};
  Term proposed_term_;
  Index proposed_;
};

}  // namespace leeward::standby
