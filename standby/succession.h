// The following group's part in what a primary hands over while it lives: ends
// the epoch at a Seal that names this group, lets a Seal go, resigns an arming.
// Whichever entry comes first in this group's log has decided. PROTOCOL.md,
// "Switchover".
//
// Core loop. Bounded: an answer for each question, nothing is kept.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "node/group.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

class Succession {
 public:
  Succession(node::Group& group, Outbox& outbox) : group_(group), outbox_(outbox) {}

  // Commits the planned EpochChange when the log ends at such a Seal: whenever
  // history was appended, and again and again.
  void look(const Regions& regions);
  void asked(NodeId from, const SealAsked& question);
  void asked(NodeId from, const ResignAsked& question);
  void applied(std::span<const Entry> entries, const Regions& regions);
  std::optional<PromotionStep> step() const;  // epoch_change, until that is committed

 private:
  std::optional<SealTold> activated(std::uint64_t seal) const;
  void propose(EntryKind kind, Epoch epoch, std::string payload);
  // Runs `then` when what the log holds now is known to be committed: applied
  // here, and this leader confirmed after that. Not at all if it is not.
  void when_settled(Function<void(Index applied)> then);

  node::Group& group_;
  Outbox& outbox_;
  std::optional<Instant> sealed_at_;  // this leader saw a Seal for its group at its log's end
  Duration took_{};                   // from there to the change
  Instant next_try_{};
  region::SealId unwanted_ = 0;       // the primary wants this one back, come or not
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
