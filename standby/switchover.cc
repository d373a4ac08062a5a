#include "standby/switchover.h"

#include <algorithm>

#include "base/quantity.h"
#include "region/entries.h"
#include "region/state.h"
#include "standby/desk.h"
#include "standby/step_spans.h"

namespace leeward::standby {
namespace {

constexpr Duration kAskInterval = 50ms;
constexpr std::size_t kMaxAborts = 16;
constexpr const char* kStatusTells = "leewardctl dr status shows how it ends";

// What a region says of itself and this leader judges better.
bool informs(const NamedCheck& check) { return check.check == "armed" || check.check == "lag"; }


}  // namespace

Error Switchover::not_leader() const {
  if (group_.role() == GroupRole::kFenced)
    return {Code::kUnavailable, "leeward: epoch " + std::to_string(group_.newest_epoch().value()) + " is served by another region: ask there"};
  if (group_.role() != GroupRole::kPrimary) return {Code::kUnavailable, "leeward: this region follows: ask the primary's leader"};
  const auto leader = group_.leader();
  if (!leader || leader == group_.self()) return {Code::kUnavailable, "leeward: " + own_region(group_) + " has no leader that is ready"};
  return {Code::kUnavailable, "leeward: node " + std::to_string(leader.value()) + " leads the primary: ask it" + at_client_url(group_, leader)};
}

// --- what is asked ---

std::optional<Error> Switchover::refusal(const SwitchoverRequest& request, const region::State& log) {
  const auto refused = [](std::string rule) { return Error{Code::kRefused, std::move(rule)}; };
  const auto armed = log.armed_group();
  if (log.history().seal) return refused("sealed: a switchover is under way; leewardctl dr abort takes it back");
  if (group_.cold_question() != 0) return refused("start_wait: this region asks whether another one was promoted");
  if (!request.region.empty() && request.region == survey(group_).own)
    return refused("already_primary: region " + request.region + " is primary already; there is nothing to do");
  if (!request.region.empty() && !survey(group_).role_of.contains(request.region))
    return refused("no_such_region: region " + request.region + " is not known; leewardctl cluster topology lists all");
  if (!armed) return refused("not_armed: no region is armed; leewardctl dr arm arms one");
  if (!request.region.empty() && request.region != armed->region)
    return refused("not_armed: region " + armed->region + " is armed; leewardctl dr arm --to " + request.region + " arms the other one");
  if (armed->unguarded)
    return refused("unguarded: a region was disarmed by force in this epoch; only a promotion of region " + armed->region + " ends it: stop all writers, then the primary's members, and leewardctl dr plan when it is silent");
  const auto now = group_.clock().now();
  const auto held = followers_.held(armed->region, now);
  if (followers_.begun_anew(armed->region, armed->group, now))
    return refused("not_armed: region " + armed->region + " has begun anew, as another group than the one that is armed; leewardctl dr disarm --force, then"
                   " leewardctl dr arm (no planned switchover in this epoch from then on)");
  if (!held || !held->connected)
    return refused("not_following: region " + armed->region + " does not follow; leewardctl standby status");
  const auto lag = followers_.lag(armed->region, now);
  if (!lag || *lag > options_.max_lag)
    return refused("lag: region " + armed->region + " is " + (lag ? human_duration(*lag) : std::string("an unknown time")) + " behind, the limit is " + human_duration(options_.max_lag));
  const auto checks = checks_();
  if (checks.empty()) return refused("not_following: no member of region " + armed->region + " is heard; leewardctl standby status");
  for (const auto& check : checks)
    if (!check.ok && !informs(check)) return refused(check.check + ": region " + armed->region + ": " + check.detail);
  return std::nullopt;
}

void Switchover::begin(SwitchoverRequest request, Done done) {
  if (stopping_ || !group_.is_leader() || group_.role() != GroupRole::kPrimary) return done(not_leader());
  const auto* log = group_.regions_of_log();
  if (!log) return done(not_leader());
  auto why = asked_ ? Error{Code::kRefused, "sealed: a switchover is under way; leewardctl dr abort takes it back"} : refusal(request, *log);
  if (why) {
    probe_.ended(PromotionKind::kSwitchover, PromotionResult::kRefused);
    return done(std::move(*why));
  }
  const auto armed = *log->armed_group();
  const region::Seal seal{group_.random() | 1, armed.group, armed.arming, request.by, request.reason};
  raft::Proposal proposal;
  proposal.kind = EntryKind::kSeal;
  proposal.epoch = log->live_epoch();
  proposal.payload = Bytes(encode(seal));
  // From here on this leader takes no write: all that it took stands before it.
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) return done(Error{Code::kUnavailable, "leeward: not begun: " + index.error().message});
  asked_ = Asked{seal.seal, armed.group, armed.region, group_.term(), *index, group_.clock().now(), std::nullopt, std::move(done)};
  group_.logger().warn("switchover: writes wait from here on", {{"to", armed.region}, {"by", request.by}});
}

void Switchover::abort(StateDone done) {
  if (stopping_ || !group_.is_leader() || group_.role() != GroupRole::kPrimary) return done(not_leader());
  const auto now = group_.clock().now();
  watch_seal(now);
  if (!open_) return done(Error{Code::kRefused, "not_sealed: no switchover is under way"});
  if (aborts_.size() >= kMaxAborts) return done(Error{Code::kOverloaded, "too many wait for this already"});
  open_->take_back = true;
  asked_at_ = {};
  aborts_.push_back({open_->seal.seal, now + options_.last_word, std::move(done)});
}

// --- what comes of it ---

// The leader that finds a Seal sees it through, whoever appended it.
void Switchover::watch_seal(Instant now) {
  const auto* log = group_.is_leader() && group_.role() == GroupRole::kPrimary ? group_.regions_of_log() : nullptr;
  if (!log || !log->history().seal) return open_.reset();
  const auto& seal = *log->history().seal;
  if (!open_ || open_->seal.seal != seal.seal || open_->term != group_.term()) open_ = Open{seal, group_.term(), now};
  if (open_->take_back || now - open_->since < options_.timeout) return;
  open_->take_back = true;
  group_.logger().warn("the switchover takes too long: it is taken back", {{"after_ms", options_.timeout / 1ms}});
}

// All members of that group: only its leader lets a Seal go, and any one that
// has applied the change says so.
void Switchover::ask(Instant now, const Regions& regions) {
  if (!open_ && !asked_) return;
  if (now - asked_at_ < kAskInterval) return;
  asked_at_ = now;
  const SealAsked question{open_ ? open_->seal.seal : asked_->seal, open_ && open_->take_back};
  for (const auto& [id, region] : regions.region_of)
    if (region != regions.own) outbox_.send(id, question);
}

void Switchover::tick(Instant now, const Regions& regions) {
  watch_seal(now);
  ask(now, regions);
  if (!aborts_.empty()) {
    std::vector<Abort> late;
    for (auto it = aborts_.begin(); it != aborts_.end();)
      if (it->gives_up <= now) {
        late.push_back(std::move(*it));
        it = aborts_.erase(it);
      } else {
        ++it;
      }
    for (auto& a : late)
      a.done(Error{Code::kUnknown, "leeward: writes wait on: the armed region, which may have taken over, has not answered; it is asked on. Start a majority of its"
                                    " members, or where it is lost for good: leewardctl dr reclaim; " + std::string(kStatusTells)});
  }
  if (!asked_) return;
  // Of an older term, and not there behind an entry of this one: it never will be.
  const auto applied = group_.state().applied().point;
  if (!asked_->sealed && applied.term > asked_->term && group_.role() == GroupRole::kPrimary)
    return end({Code::kUnknown, "leeward: leadership was lost before the history was sealed; nothing has changed: say it again"},
               PromotionResult::kFailed);
  if (now - asked_->begun > options_.timeout + options_.last_word)
    end(Error{Code::kUnknown, "leeward: writes wait: this region has handed over, and the armed one does not answer; it is asked on. Start a majority of its"
                               " members, or where it is lost for good: leewardctl dr reclaim; " + std::string(kStatusTells)});
}

void Switchover::applied(std::span<const Entry> entries) {
  for (const auto& entry : entries) {
    if (entry.kind == EntryKind::kSeal) {
      const auto seal = region::decode_seal(entry.payload.view());
      if (asked_ && seal.ok() && seal->seal == asked_->seal) asked_->sealed = group_.clock().now();
    } else if (entry.kind == EntryKind::kUnseal) {
      if (const auto unseal = region::decode_unseal(entry.payload.view()); unseal.ok()) unsealed(unseal->seal);
    }
  }
}

void Switchover::unsealed(region::SealId seal) {
  group_.logger().warn("the switchover was taken back: writes go on", {{"epoch", group_.epoch()}});
  if (asked_ && asked_->seal == seal)
    end({Code::kUnknown, "leeward: taken back after " + human_duration(group_.clock().now() - asked_->begun) + ": region " + asked_->region +
                             " had not taken over; this region serves on"},
        PromotionResult::kFailed);
  const auto armed = region::State::history_of(group_.state().region_entries());
  HandoverState state{group_.epoch(), "serving", armed.ok() && armed->armed ? armed->armed->region : "", true};
  end_aborts(state);
}

void Switchover::told(NodeId from, GroupId by, const SealTold& told) {
  if (told.fate == SealFate::kActivated) return activated(told);
  const auto* log = group_.is_leader() && group_.role() == GroupRole::kPrimary ? group_.regions_of_log() : nullptr;
  if (!log || !log->history().seal || log->history().seal->seal != told.seal) return;
  const region::Unseal unseal{told.seal, {by, told.applied, EntryKind::kReclaimed, told.entry}};
  raft::Proposal proposal;
  proposal.kind = EntryKind::kUnseal;
  proposal.epoch = log->live_epoch();
  proposal.payload = Bytes(encode(unseal));
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) group_.logger().info("not unsealed", {{"told_by", from}, {"reason", index.error().message}});
}

void Switchover::activated(const SealTold& told) {
  const auto change = region::decode_epoch_change(told.entry);
  if (!change.ok() || change->epoch <= group_.epoch()) return;
  end_aborts(Error{Code::kRefused, "activated: region " + change->region + " has begun epoch " + std::to_string(change->epoch.value())});
  if (!asked_ || asked_->seal != told.seal) return;
  if (change->ending != region::Ending::kSealed || change->group != asked_->group)
    return end(Error{Code::kUnknown, "leeward: region " + change->region + " was promoted meanwhile; " + kStatusTells});
  const auto now = group_.clock().now();
  const auto sealed = asked_->sealed.value_or(now);
  const Duration there = std::min(Duration(std::chrono::microseconds(told.took_us)), now - sealed);
  SwitchoverRecord record;
  record.epoch = change->epoch;
  record.promotion = change->promotion;
  record.region = change->region;
  record.leader = told.leader;
  record.fork = change->fork.index;
  record.fork_revision = told.forked;
  record.first_revision = region::first_revision(*change, told.forked);
  record.steps = {{"seal", sealed - asked_->begun}, {"stream", now - sealed - there}, {"epoch_change", there}};
  record.took = record.paused = now - asked_->begun;
  group_.logger().warn("switchover: another region is primary now", {{"region", change->region}, {"epoch", change->epoch}, {"paused_us", record.paused / 1us}});
  end(std::move(record));
}

void Switchover::stopping() {
  stopping_ = true;
  const Error error{Code::kUnknown, "leeward: this node is stopping; " + std::string(kStatusTells)};
  end_aborts(error);
  if (asked_) end(error);
}

std::optional<PromotionStep> Switchover::step() const {
  if (asked_ && !asked_->sealed) return PromotionStep::kSeal;
  return asked_ || open_ ? std::optional(PromotionStep::kStream) : std::nullopt;
}

void Switchover::end(Result<SwitchoverRecord> result) {
  if (!result.ok()) return end(result.error(), result_of(result.error()));
  probe_.done(PromotionKind::kSwitchover, result->took);
  tell_steps(group_.tracer(), "switchover", asked_->begun, result->steps, group_.clock().now(), {});
  auto done = std::move(asked_->done);
  asked_.reset();
  done(std::move(result));
}

void Switchover::end(Error error, PromotionResult counted) {
  probe_.ended(PromotionKind::kSwitchover, counted);
  tell_steps(group_.tracer(), "switchover", asked_->begun, std::vector<SwitchoverRecord::Step>(), group_.clock().now(), name(counted));
  auto done = std::move(asked_->done);
  asked_.reset();
  done(std::move(error));
}

void Switchover::end_aborts(const Result<HandoverState>& result) {
  for (auto& a : std::exchange(aborts_, {})) a.done(result);
}

}  // namespace leeward::standby
