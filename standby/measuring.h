// What a promotion has lost, measured: the group that was primary before tells
// it when it follows again, and the primary puts it into the history, where each
// region's `dr status --history` finds it beside what was announced. README.md,
// "What was lost".
//
// Core loop.
#pragma once

#include "node/group.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

class Measuring {
 public:
  Measuring(node::Group& group, Outbox& outbox) : group_(group), outbox_(outbox) {}

  // At the leader: what this group left behind and its history does not tell yet,
  // to the primary, or, when this is the primary again, into the history.
  void tick(Instant now, const Regions& regions);
  // Aid::body is a region::Measured of the group that tells.
  void told(GroupId by, const Aid& aid);

 private:
  void propose(const region::Measured& measured);

  node::Group& group_;
  Outbox& outbox_;
  Instant told_{};
};

}  // namespace leeward::standby
