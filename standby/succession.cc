#include "standby/succession.h"

#include <algorithm>

#include "region/entries.h"
#include "region/state.h"

namespace leeward::standby {
namespace {

constexpr Duration kRetry = 100ms;

// The newest Seal and the newest EpochChange of a history.
struct Newest {
  std::optional<RegionEntry> seal, change;
};
Newest newest(const StateMachine& state) {
  Newest out;
  for (const auto& entry : state.region_entries()) {
    if (entry.kind == EntryKind::kSeal) out.seal = entry;
    if (entry.kind == EntryKind::kEpochChange && (!out.change || out.change->index < entry.index)) out.change = entry;
  }
  return out;
}

}  // namespace

void Succession::propose(EntryKind kind, Epoch epoch, std::string payload) {
  raft::Proposal proposal;
  proposal.kind = kind;
  proposal.epoch = epoch;
  proposal.payload = Bytes(std::move(payload));
  // Refused: the log has decided otherwise meanwhile, or is busy and asked again.
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) group_.logger().info("not appended", {{"kind", static_cast<int>(kind)}, {"reason", index.error().message}});
}

void Succession::look(const Regions& regions) {
  const auto* log = group_.is_leader() && follows(group_.role()) ? group_.regions_of_log() : nullptr;
  if (!log || !log->may_end_sealed()) return;
  const auto now = group_.clock().now();
  if (!sealed_at_) sealed_at_ = now;
  if (now < next_try_) return;
  next_try_ = now + kRetry;
  const auto& seal = *log->history().seal;
  if (seal.seal == unwanted_) return propose(EntryKind::kReclaimed, Epoch(), encode(region::Reclaimed{seal.seal, log->live_epoch()}));
  region::EpochChange change;
  change.epoch = log->group_epoch() + 1;
  change.promotion = group_.random() | 1;
  change.group = group_.group();
  change.region = regions.own;
  change.fork = log->end();
  change.ending = region::Ending::kSealed;
  change.time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(group_.clock().wall().time_since_epoch()).count();
  change.by = seal.by;
  change.reason = seal.reason;
  group_.logger().warn("the primary has sealed its history for this group, which has all of it: this group is to be primary",
                       {{"epoch", change.epoch}, {"fork", change.fork.index}});
  propose(EntryKind::kEpochChange, change.epoch, encode(change));
}

std::optional<PromotionStep> Succession::step() const {
  // The change is appended at once: from there on it is the log's end that says so.
  const bool under_way = sealed_at_ && group_.is_leader() && follows(group_.role()) && !follows(group_.role_at_end());
  return under_way ? std::optional(PromotionStep::kEpochChange) : std::nullopt;
}

// Any member that has applied the change may say so.
std::optional<SealTold> Succession::activated(std::uint64_t id) const {
  const auto found = newest(group_.state());
  if (!found.seal || !found.change || found.change->index < found.seal->index) return std::nullopt;
  const auto seal = region::decode_seal(found.seal->payload.view());
  if (!seal.ok() || seal->seal != id) return std::nullopt;
  SealTold told;
  told.seal = id;
  told.fate = SealFate::kActivated;
  told.applied = group_.state().applied().point.index;
  told.entry = std::string(found.change->payload.view());
  told.forked = found.change->forked;
  told.leader = group_.leader();
  told.took_us = static_cast<std::uint64_t>(took_ / 1us);
  return told;
}

// The old primary's writers wait for this: told at once, and again when asked.
void Succession::applied(std::span<const Entry> entries, const Regions& regions) {
  for (const auto& entry : entries) {
    if (entry.kind != EntryKind::kEpochChange) continue;
    const auto now = group_.clock().now();
    took_ = sealed_at_ ? now - *std::exchange(sealed_at_, std::nullopt) : Duration{};
    const auto found = newest(group_.state());
    const auto seal = found.seal ? region::decode_seal(found.seal->payload.view()) : Error{Code::kNotFound, ""};
    if (!group_.is_leader() || group_.role() != GroupRole::kPrimary || !seal.ok()) continue;
    if (const auto told = activated(seal->seal))
      for (const auto& [id, region] : regions.region_of)
        if (region != regions.own) outbox_.send(id, *told);
  }
}

void Succession::when_settled(Function<void(Index)> then) {
  const auto end = group_.last().index;
  if (group_.state().applied().point.index < end) return;  // asked again in a moment
  group_.confirm([alive = std::weak_ptr<bool>(alive_), this, then = std::move(then)](Result<Index> confirmed) mutable {
    if (!alive.expired() && confirmed.ok() && group_.is_leader()) then(group_.state().applied().point.index);
  });
}

void Succession::asked(NodeId from, const SealAsked& question) {
  if (const auto told = activated(question.seal)) return (void)outbox_.send(from, *told);
  if (question.take_back) unwanted_ = question.seal;  // known to whoever leads next, too
  const auto* log = group_.is_leader() && follows(group_.role()) ? group_.regions_of_log() : nullptr;
  if (!log) return;
  const auto& list = log->control().reclaimed;
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& r) { return r.seal == question.seal; });
  if (found != list.end())
    return when_settled([this, from, reclaimed = *found](Index applied) {
      outbox_.send(from, SealTold{reclaimed.seal, SealFate::kReclaimed, applied, encode(reclaimed)});
    });
  // One that has not come yet is let go when it comes.
  if (question.take_back && log->history().seal && log->history().seal->seal == question.seal)
    propose(EntryKind::kReclaimed, Epoch(), encode(region::Reclaimed{question.seal, log->live_epoch()}));
}

void Succession::asked(NodeId from, const ResignAsked& question) {
  const auto* log = group_.is_leader() && follows(group_.role()) ? group_.regions_of_log() : nullptr;
  if (!log) return;
  const auto& list = log->control().resigned;
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& r) { return r.arming == question.arming; });
  if (found != list.end())
    return when_settled([this, from, resigned = *found](Index applied) {
      outbox_.send(from, ResignTold{resigned.arming, applied, encode(resigned)});
    });
  // One of another group's is not ours to give up: a region that was rebuilt.
  const auto known = log->armed_group();
  if (known && known->arming == question.arming && known->group != group_.group()) return;
  if (question.resign) propose(EntryKind::kResigned, Epoch(), encode(region::Resigned{question.arming, log->live_epoch()}));
}

}  // namespace leeward::standby
