// Which region is armed, by an operator's hand, at the primary's leader: the
// armed group resigns first and proves it, then Disarmed, then the new Armed.
// PROTOCOL.md, "Entries"; README.md, "Armed".
//
// A resignation whose Disarmed was lost with a leader is found again by the next
// one: it asks, once a second. Core loop.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "node/group.h"
#include "ports/handover.h"
#include "standby/arming.h"
#include "standby/followers.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

struct RearmingOptions {
  ArmingOptions arming;
  Duration limit = 10s;  // in which the armed region may answer
};

class Rearming {
 public:
  using Done = Function<void(Result<HandoverState>)>;

  Rearming(node::Group& group, Outbox& outbox, const Followers& followers, RearmingOptions options)
      : group_(group), outbox_(outbox), followers_(followers), options_(options) {}

  void arm(std::string region, const Regions& regions, Done done);
  void disarm(bool force, Done done);

  void told(GroupId by, const ResignTold& told);
  void applied(std::span<const Entry> entries);
  void tick(Instant now, const Regions& regions);
  void stopping();

 private:
  // One at a time; over with the leader's term.
  struct Asked {
    std::string region;            // to be armed; empty: nobody
    Term term;
    Instant gives_up;
    region::ArmingId resigning = 0;  // waited for
    Done done;
  };

  std::optional<Error> not_now(const region::State*& log);
  // Why that region cannot be armed; its group where it can.
  static Error gone(const region::Armed& armed);
  Result<GroupId> candidate(const std::string& region, const Regions& regions) const;
  void propose_armed();
  Result<void> propose_disarmed(const region::State& log, std::optional<region::Proof> resigned);
  Result<void> propose(EntryKind kind, std::string payload);
  void end(Result<HandoverState> result);
  HandoverState state(bool changed) const;

  node::Group& group_;
  Outbox& outbox_;
  const Followers& followers_;
  RearmingOptions options_;
  std::optional<Asked> asked_;
  Instant asked_at_{};
  bool stopping_ = false;
};

}  // namespace leeward::standby
