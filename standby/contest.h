// An epoch that two histories hold by different promotions: neither group may
// serve until an operator has said which one goes on. PROTOCOL.md, "Contested".
// The newest epoch travels in every frame's header; deeper ones only show when
// whole epoch histories are compared, which leaders tell each other.
//
// Core loop.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "node/group.h"
#include "ports/recovery.h"
#include "standby/outbox.h"

namespace leeward::standby {

class Contest {
 public:
  Contest(node::Group& group, Outbox& outbox, Function<std::string()> region)
      : group_(group), outbox_(outbox), region_(std::move(region)) {}

  // The leader of another group, about its epochs.
  void told(NodeId from, const Aid& aid);
  // At the leader. One at once.
  void decide(region::PromotionId promotion, std::string by, Function<void(Result<SurvivorRecord>)> done);
  void applied();
  void tick(Instant now);
  void stopping();

 private:
  struct Decision {
    SurvivorRecord record;
    region::Survivor survivor;
    Instant gives_up{};
    Function<void(Result<SurvivorRecord>)> done;
  };

  node::Group& group_;
  Outbox& outbox_;
  Function<std::string()> region_;
  Instant told_{};
  std::optional<Decision> decision_;
};

}  // namespace leeward::standby
