// Lease mode: the primary's leader sends instants of its own clock to the armed
// region, whose leader returns them as long as nothing in its log ends the epoch
// or says that no stamp is returned any more. PROTOCOL.md, "Fencing".
//
// Core loop. Bounded: one stamp under way a tick, a few confirmations at once.
#pragma once

#include <memory>
#include <vector>

#include "node/group.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

class Stamps {
 public:
  Stamps(node::Group& group, Outbox& outbox) : group_(group), outbox_(outbox) {}

  // At the primary's leader: sends one when it is time to.
  void tick(Instant now, const Regions& regions);
  void returned(GroupId by, const StampReturned& stamp);

  // At the armed group's leader.
  void asked(NodeId from, const StampSent& stamp);

 private:
  static constexpr std::size_t kMostWaiting = 256;
  struct Waiting {
    NodeId from;
    StampSent stamp;
  };
  void begin_round();
  bool may_return(const StampSent& stamp);

  node::Group& group_;
  Outbox& outbox_;
  Instant sent_{};
  std::vector<Waiting> waiting_;
  bool in_round_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
