#include "standby/rearming.h"

#include <algorithm>

#include "region/state.h"

namespace leeward::standby {
namespace {

constexpr Duration kAskResigned = 100ms, kLookInterval = 1s;

}  // namespace

HandoverState Rearming::state(bool changed) const {
  const auto armed = armed_group(group_.state());
  return {group_.epoch(), group_.sealed() ? "sealed" : "serving", armed ? armed->region : "", changed};
}

std::optional<Error> Rearming::not_now(const region::State*& log) {
  if (stopping_ || !group_.is_leader() || group_.role() != GroupRole::kPrimary || !(log = group_.regions_of_log()))
    return Error{Code::kUnavailable, "leeward: this node does not lead the primary: ask node " + std::to_string(group_.leader().value())};
  if (log->history().seal) return Error{Code::kRefused, "sealed: a switchover is under way; leewardctl dr abort takes it back"};
  if (asked_) return Error{Code::kRefused, "under_way: another arming is under way"};
  return std::nullopt;
}

Error Rearming::gone(const region::Armed& armed) {
  return {Code::kRefused, "begun_anew: region " + armed.region + " has begun anew, as another group than the one that is armed, and nobody can answer for that;"
                          " leewardctl dr disarm --force gives it up, and with it planned switchovers in this epoch"};
}

Result<GroupId> Rearming::candidate(const std::string& region, const Regions& regions) const {
  const auto now = group_.clock().now();
  const auto role = regions.role_of.find(region);
  if (role == regions.role_of.end() || region == regions.own)
    return Error{Code::kRefused, "no_such_region: region " + region + " does not follow this one"};
  const auto group = followers_.group_of(region);
  const auto held = followers_.held(region, now);
  if (!group || !held || !held->connected) return Error{Code::kRefused, "not_following: region " + region + " does not follow; leewardctl standby status"};
  const auto lag = followers_.lag(region, now);
  if (!lag || *lag > options_.arming.arm_within) return Error{Code::kRefused, "lag: region " + region + " has not caught up; leewardctl standby status"};
  return group;
}

Result<void> Rearming::propose(EntryKind kind, std::string payload) {
  raft::Proposal proposal;
  proposal.kind = kind;
  proposal.epoch = group_.epoch();
  proposal.payload = Bytes(std::move(payload));
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) return index.error();
  return {};
}

void Rearming::arm(std::string region, const Regions& regions, Done done) {
  const region::State* log = nullptr;
  if (auto why = not_now(log)) return done(std::move(*why));
  const auto armed = log->armed_group();
  if (region.empty() && armed) region = armed->region;
  Result<GroupId> group = Error{Code::kRefused, "not_following: no region follows; leewardctl standby status"};
  if (!region.empty()) {
    group = candidate(region, regions);
  } else {
    for (const auto& r : regions.following)
      if (!group.ok() && regions.role_of.at(r) == GroupRole::kStandby) {
        group = candidate(r, regions);
        region = r;
      }
  }
  if (!group.ok()) return done(group.error());
  if (armed && followers_.begun_anew(armed->region, armed->group, group_.clock().now())) return done(gone(*armed));
  const auto& wanted = options_.arming;
  if (armed && armed->group == *group && armed->mode == wanted.mode && armed->lease == wanted.lease) return done(state(false));
  asked_ = Asked{std::move(region), group_.term(), group_.clock().now() + options_.limit, armed ? armed->arming : 0, std::move(done)};
  asked_at_ = {};
  if (!armed) propose_armed();
}

void Rearming::disarm(bool force, Done done) {
  const region::State* log = nullptr;
  if (auto why = not_now(log)) return done(std::move(*why));
  const auto armed = log->armed_group();
  if (armed && !force && followers_.begun_anew(armed->region, armed->group, group_.clock().now())) return done(gone(*armed));
  if (!armed && disarmed_by_hand(group_.state())) return done(state(false));
  if (!armed) return done(Error{Code::kRefused, "not_armed: no region is armed yet, and one that has caught up will be by itself; say it again when leewardctl dr status names it"});
  asked_ = Asked{"", group_.term(), group_.clock().now() + options_.limit, armed->arming, std::move(done)};
  asked_at_ = {};
  if (!force) return;
  if (const auto proposed = propose_disarmed(*log, std::nullopt); !proposed.ok())
    return end(Error{Code::kUnavailable, "leeward: not begun: " + proposed.error().message});
  group_.logger().warn("disarmed by force: until the next guarded promotion every arming is unguarded", {{"region", armed->region}});
}

Result<void> Rearming::propose_disarmed(const region::State& log, std::optional<region::Proof> resigned) {
  const bool unguarded = !resigned || log.history().unguarded == log.live_epoch();
  return propose(EntryKind::kDisarmed, encode(region::Disarmed{log.armed_group()->arming, std::move(resigned), unguarded}));
}

void Rearming::propose_armed() {
  const auto* log = group_.regions_of_log();
  if (!log) return;  // the next tick ends it
  const auto group = followers_.group_of(asked_->region);
  const auto& o = options_.arming;
  const region::Armed armed{group_.random() | 1, group, asked_->region, o.mode, o.lease, log->history().unguarded == log->live_epoch()};
  if (const auto proposed = propose(EntryKind::kArmed, encode(armed)); !proposed.ok())
    end(Error{Code::kUnknown, "leeward: nobody is armed: " + proposed.error().message + "; say it again"});
}

// Whoever asked: what is resigned is armed no more, and shall not be called so.
void Rearming::told(GroupId by, const ResignTold& told) {
  const auto* log = group_.is_leader() && group_.role() == GroupRole::kPrimary ? group_.regions_of_log() : nullptr;
  const auto armed = log ? log->armed_group() : std::nullopt;
  if (!armed || armed->arming != told.arming || armed->group != by || log->history().seal) return;
  const auto proposed = propose_disarmed(*log, region::Proof{by, told.applied, EntryKind::kResigned, told.entry});
  if (!proposed.ok()) group_.logger().info("not disarmed", {{"reason", proposed.error().message}});
}

void Rearming::applied(std::span<const Entry> entries) {
  for (const auto& entry : entries) {
    if (!asked_) return;
    if (entry.kind == EntryKind::kArmed && asked_->resigning == 0) return end(state(true));
    if (entry.kind != EntryKind::kDisarmed) continue;
    const auto disarmed = region::decode_disarmed(entry.payload.view());
    if (!disarmed.ok() || disarmed->arming != asked_->resigning) continue;
    asked_->resigning = 0;
    if (asked_->region.empty()) return end(state(true));
    propose_armed();
  }
}

void Rearming::tick(Instant now, const Regions& regions) {
  const auto* log = group_.is_leader() && group_.role() == GroupRole::kPrimary ? group_.regions_of_log() : nullptr;
  if (asked_ && (!log || group_.term() != asked_->term))
    end(Error{Code::kUnknown, "leeward: leadership was lost; leewardctl dr status shows who is armed: say it again"});
  if (!log) return;
  const auto armed = log->armed_group();
  const bool resign = asked_ && asked_->resigning != 0;
  if (armed && now - asked_at_ >= (resign ? kAskResigned : kLookInterval)) {
    asked_at_ = now;
    for (const auto& [id, region] : regions.region_of)
      if (region == armed->region) outbox_.send(id, ResignAsked{armed->arming, resign && asked_->resigning == armed->arming});
  }
  if (asked_ && now >= asked_->gives_up)
    end(Error{Code::kUnknown, resign ? "leeward: the armed region does not answer, and stays armed unless it has resigned meanwhile; "
                                       "leewardctl dr disarm --force gives up one that is known to be destroyed, and with it planned switchovers in this epoch"
                                     : "leeward: the arming is not committed; leewardctl dr status shows who is armed"});
}

void Rearming::stopping() {
  stopping_ = true;
  if (asked_) end(Error{Code::kUnknown, "leeward: this node is stopping; leewardctl dr status shows who is armed"});
}

void Rearming::end(Result<HandoverState> result) {
  auto done = std::move(asked_->done);
  asked_.reset();
  done(std::move(result));
}

}  // namespace leeward::standby
