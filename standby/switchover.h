// Hands a primary that lives over to the armed region, at its leader: commits a
// Seal behind which nothing is written, and waits until that region has ended
// the epoch there, or until it has let the Seal go. PROTOCOL.md, "Switchover".
//
// A Seal that stands in the log is seen through by whoever leads, also when the
// one that was asked is gone: after `timeout` it is taken back.
//
// Core loop; Handover's part of it from any thread (handover.h posts).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "node/group.h"
#include "ports/handover.h"
#include "ports/standby_probe.h"
#include "standby/followers.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

struct SwitchoverOptions {
  Duration timeout = 5s;        // dr.switchover_timeout: an open Seal is taken back after it
  Duration max_lag = 1s;        // dr.max_lag, of the region that takes over
  Duration last_word = 10s;     // an operator's question about what began ends after timeout and this
};

class Switchover {
 public:
  using Done = Function<void(Result<SwitchoverRecord>)>;
  using StateDone = Function<void(Result<HandoverState>)>;

  // `checks`: what a majority of the armed group's voters says of its
  // eligibility, as last heard; empty: nothing.
  Switchover(node::Group& group, Outbox& outbox, PromotionProbe& probe, const Followers& followers, SwitchoverOptions options,
             Function<std::vector<NamedCheck>()> checks)
      : group_(group), outbox_(outbox), probe_(probe), followers_(followers), options_(options), checks_(std::move(checks)) {}

  void begin(SwitchoverRequest request, Done done);
  void abort(StateDone done);

  void told(NodeId from, GroupId by, const SealTold& told);
  void applied(std::span<const Entry> entries);
  void tick(Instant now, const Regions& regions);
  void stopping();
  std::optional<PromotionStep> step() const;  // of one that is under way: seal, stream

 private:
  // What an operator waits for. It outlives this member's leadership: the Seal
  // is in the log then, or never will be.
  struct Asked {
    region::SealId seal = 0;
    GroupId group;
    std::string region;
    Term term;
    Index index;
    Instant begun;
    std::optional<Instant> sealed;  // applied here
    Done done;
  };
  struct Abort {
    region::SealId seal = 0;
    Instant gives_up;
    StateDone done;
  };
  // The Seal that is open in this leader's log.
  struct Open {
    region::Seal seal;
    Term term;
    Instant since;
    bool take_back = false;
  };

  std::optional<Error> refusal(const SwitchoverRequest& request, const region::State& log);
  void watch_seal(Instant now);
  void ask(Instant now, const Regions& regions);
  void activated(const SealTold& told);
  void unsealed(region::SealId seal);
  void end(Result<SwitchoverRecord> result);
  void end(Error error, PromotionResult counted);
  void end_aborts(const Result<HandoverState>& result);
  Error not_leader() const;

  node::Group& group_;
  Outbox& outbox_;
  PromotionProbe& probe_;
  const Followers& followers_;
  SwitchoverOptions options_;
  Function<std::vector<NamedCheck>()> checks_;
  std::optional<Asked> asked_;
  std::vector<Abort> aborts_;
  std::optional<Open> open_;
  Instant asked_at_{};
  bool stopping_ = false;
};

}  // namespace leeward::standby
