#include "standby/measuring.h"

#include <vector>

#include "region/state.h"

namespace leeward::standby {
namespace {
constexpr Duration kTellAgain = 2s;
}

void Measuring::tick(Instant now, const Regions& regions) {
  const auto* log = group_.is_leader() && now - told_ >= kTellAgain ? group_.regions_of_log() : nullptr;
  if (!log) return;
  std::vector<region::Measured> untold;
  for (const auto& left : log->control().left_behind)
    if (!log->measured(left.epoch)) untold.push_back(left);
  for (const auto& left : untold) {  // to propose moves the log's end
    told_ = now;
    if (group_.role() == GroupRole::kPrimary) propose(left);
    else for (const auto id : regions.primary) outbox_.send(id, Aid{Aid::Kind::kLeftBehind, left.epoch.value(), region::encode(left)});
  }
}

void Measuring::told(GroupId by, const Aid& aid) {
  const auto measured = region::decode_measured(aid.body);
  if (measured.ok() && measured->group == by && group_.is_leader() && group_.role() == GroupRole::kPrimary) propose(*measured);
}

void Measuring::propose(const region::Measured& measured) {
  const auto* log = group_.regions_of_log();
  raft::Proposal proposal;
  proposal.kind = EntryKind::kMeasured;
  proposal.epoch = group_.epoch();
  proposal.payload = Bytes(region::encode(measured));
  // Refused: it stands in the log already, or the log has other things to decide first.
  if (!log || !log->judge(region::State::Origin::kOwn, proposal.kind, proposal.epoch, proposal.payload.view()).ok()) return;
  if (group_.propose({&proposal, 1}).ok())
    group_.logger().info("what a promotion lost is measured",
                         {{"epoch", measured.epoch}, {"writes", measured.lost.writes}, {"bytes", measured.lost.bytes}});
}

}  // namespace leeward::standby
