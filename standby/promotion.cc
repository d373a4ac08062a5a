#include "standby/promotion.h"

#include <algorithm>

#include "standby/arming.h"
#include "standby/desk.h"
#include "standby/regions.h"
#include "standby/step_spans.h"

namespace leeward::standby {
namespace {

constexpr std::size_t kMaxInquiries = 16;

// Who starts a majority again loses nothing; of a fenced region that is all there is to do.
// Where the primary is heard, whoever lost a majority's disks needs no promotion.
Error without_quorum(const node::Group& group, const char* what, bool hears_primary) {
  std::string next = "; where a majority runs it elects one: ask again in a second; else start a majority of its members with their disks";
  if (hears_primary)
    next += "; the primary is heard, and where those disks are lost this region begins anew from what that has: leewardctl dr status at a member that is up";
  else next += group.role() == GroupRole::kFenced ? ", then leewardctl dr rejoin: it is fenced" : "; only where that is lost for good: leewardctl dr plan --members IDS";
  return {Code::kUnavailable, "leeward: no_quorum: " + own_region(group) + what + next};
}

}  // namespace

Promoter::Promoter(node::Group& group, Outbox& outbox, PromotionProbe& probe, PromotionOptions options, Surroundings around)
    : group_(group), outbox_(outbox), probe_(probe), options_(options), around_(std::move(around)),
      survivors_(group, outbox, probe, options,
                 {[this] { return around_.testimony(); }, [this] { around_.ping_primary(); }, [this] { return around_.checks(); },
                  [this] { return around_.region(); }, [this] { return around_.silence_left(); }, [this](const std::string& digest) { return done_already(digest); }}),
      contest_(group, outbox, [this] { return around_.region(); }) {}

Promoter::~Promoter() { *alive_ = false; }

Promoter::Promotion::Promotion() = default;

Error Promoter::not_leader() const {
  if (!group_.group()) return {Code::kUnavailable, "leeward: waiting: this member takes part in no group yet; ask another one, or leewardctl dr status what it waits for"};
  if (!group_.leader()) return without_quorum(group_, " has no leader", around_.testimony().heard);
  return led_elsewhere(group_);
}

void Promoter::plan(Executor& reply, Function<void(Result<PromotionPlan>)> done) {
  group_.loop().post([this, alive = alive_, answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    inquire(false, std::move(answer));
  });
}

void Promoter::promote(PromotionRequest request, Executor& reply, Function<void(Result<PromotionRecord>)> done) {
  group_.loop().post([this, alive = alive_, request = std::move(request), answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    if (!request.members.empty()) return survivors_.promote(std::move(request), std::move(answer));
    begin(std::move(request), std::move(answer));
  });
}

void Promoter::plan_survivors(std::vector<NodeId> members, Executor& reply, Function<void(Result<PromotionPlan>)> done) {
  group_.loop().post([this, alive = alive_, members = std::move(members), answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    survivors_.plan(std::move(members), std::move(answer));
  });
}

void Promoter::survivor(std::uint64_t promotion, std::string by, Executor& reply, Function<void(Result<SurvivorRecord>)> done) {
  group_.loop().post([this, alive = alive_, promotion, by = std::move(by), answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    if (!group_.is_leader()) return answer(not_leader());
    contest_.decide(promotion, std::move(by), std::move(answer));
  });
}

void Promoter::aided(NodeId from, const Aid& aid) {
  if (aid.kind == Aid::Kind::kEpochs) return contest_.told(from, aid);
  survivors_.heard(from, aid);
}

Result<RecoveryStatus> Promoter::status() const {
  const auto entries = group_.state().region_entries();
  RecoveryStatus status;
  for (const auto& entry : entries) {
    if (entry.kind != EntryKind::kEpochChange) continue;
    const auto change = region::decode_epoch_change(entry.payload.view());
    if (!change.ok()) return change.error();
    status.history.push_back({change->epoch, change->promotion, change->region, change->ending == region::Ending::kSealed,
                              change->ending == region::Ending::kForced, change->fork.index, entry.forked,
                              region::first_revision(*change, entry.forked), WallTime(std::chrono::milliseconds(change->time_ms)),
                              change->by, change->reason,
                              {change->announced.writes, change->announced.entries, change->announced.bytes},
                              change->announced.more});
  }
  for (const auto& entry : entries) {
    if (entry.kind != EntryKind::kMeasured) continue;
    const auto measured = region::decode_measured(entry.payload.view());
    if (!measured.ok()) return measured.error();
    for (auto& epoch : status.history) {
      if (epoch.epoch != measured->epoch) continue;
      epoch.measured = KnownLoss{measured->lost.writes, measured->lost.entries, measured->lost.bytes};
      epoch.measured_open = measured->lost.more;
    }
  }
  std::sort(status.history.begin(), status.history.end(), [](const auto& a, const auto& b) { return a.epoch < b.epoch; });
  return status;
}

// --- what is known ---

void Promoter::inquire(bool whole, Function<void(Result<PromotionPlan>)> done) {
  if (stopping_ || !group_.is_leader()) return done(not_leader());
  if (inquiries_.size() >= kMaxInquiries) return done(Error{Code::kOverloaded, "too many plans are being made"});
  const auto now = group_.clock().now();
  Inquiry inquiry;
  inquiry.id = group_.random() | 1;
  inquiry.asked = now;
  inquiry.until = now + options_.survey;
  inquiry.gives_up = now + options_.confirm_limit;
  // A group that follows nobody pings nobody but now.
  inquiry.whole = whole || !follows(group_.role());
  inquiry.done = std::move(done);
  const auto id = inquiry.id;
  inquiries_.push_back(std::move(inquiry));
  for (const auto voter : group_.membership().voters)
    if (voter != group_.self()) outbox_.send(voter, Survey{id});
  around_.ping_primary();
  group_.confirm([this, alive = alive_, id](Result<Index> confirmed) {
    if (!*alive || !confirmed.ok()) return;
    for (auto& i : inquiries_)
      if (i.id == id) i.confirmed = true;
    look(group_.clock().now());
  });
}

void Promoter::asked(NodeId from, const Survey& survey) {
  const auto own = around_.testimony();
  outbox_.send(from, SurveyReply{survey.id, own.heard, own.stamp, own.committed,
                                 static_cast<std::uint64_t>(own.age / 1ms), own.newest_epoch, own.damage});
}

void Promoter::told(NodeId from, const SurveyReply& reply) {
  for (auto& i : inquiries_) {
    if (i.id != reply.id || !group_.membership().voters.contains(from)) continue;
    i.said[from] = {from,
                    reply.heard,
                    reply.stamp,
                    reply.committed,
                    std::chrono::milliseconds(std::min<std::uint64_t>(reply.age_ms, UINT32_MAX)),
                    reply.newest_epoch,
                    reply.damage};
  }
  look(group_.clock().now());
}

void Promoter::look(Instant now) {
  const auto others = group_.membership().voters.size() - (group_.membership().voters.contains(group_.self()) ? 1 : 0);
  std::vector<Inquiry> over;
  for (auto it = inquiries_.begin(); it != inquiries_.end();) {
    const bool all = it->said.size() >= others && !it->whole;
    const bool ready = it->confirmed && (all || now >= it->until);
    if (!ready && now < it->gives_up && group_.is_leader()) {
      ++it;
      continue;
    }
    over.push_back(std::move(*it));
    it = inquiries_.erase(it);
  }
  for (auto& inquiry : over) {
    if (!group_.is_leader() || !group_.regions_of_log())
      inquiry.done(not_leader());
    else if (!inquiry.confirmed)
      inquiry.done(without_quorum(group_, " hears no majority of its voters", around_.testimony().heard));
    else
      inquiry.done(conclude(inquiry));
  }
}

PromotionPlan Promoter::conclude(const Inquiry& inquiry) {
  PlanFacts facts;
  facts.lineage = group_.lineage();
  facts.region = around_.region();
  facts.role = group_.role();
  facts.log = group_.regions_of_log();
  facts.committed = group_.committed().position;
  const auto& voters = group_.membership().voters;
  facts.voters = voters.size();
  for (const auto id : voters) {
    if (id == group_.self()) {
      facts.said.push_back(around_.testimony());
    } else if (const auto it = inquiry.said.find(id); it != inquiry.said.end()) {
      facts.said.push_back(it->second);
      // Told at some time since it was asked: the answer that it has is this old at most.
      facts.said.back().age += group_.clock().now() - inquiry.asked;
    } else {
      facts.silent.push_back(id);
    }
  }
  const auto stateless = group_.without_state();
  facts.stateless.assign(stateless.begin(), stateless.end());
  facts.leader_stateless = stateless.contains(group_.self());
  facts.checks = around_.checks();
  facts.listens_for = around_.silence_left();
  auto plan = make_plan(facts);
  plan.estimated_rto = estimated_rto();
  return plan;
}

// A plan confirms that this member leads; the promotion waits its survey out and
// commits the change, in lease mode after a Cut and the lease.
std::optional<Duration> Promoter::estimated_rto() const {
  const auto armed = armed_group(group_.state());
  if (!follows(group_.role()) || !group_.leader() || !armed || armed->group != group_.group()) return std::nullopt;
  const bool lease = armed->mode == region::FenceMode::kLease;
  return around_.silence_left() + options_.survey + (lease ? stamps_last(*armed, options_.lease_margin) : Duration()) +
         (lease ? 3 : 2) * around_.commit();
}

// --- what is done ---

// The group's own doing, found again: the command was sent twice.
std::optional<PromotionRecord> Promoter::done_already(const std::string& digest) const {
  if (group_.role() != GroupRole::kPrimary) return std::nullopt;
  std::optional<PromotionRecord> record;
  for (const auto& entry : group_.state().region_entries()) {
    if (entry.kind != EntryKind::kEpochChange) continue;
    const auto change = region::decode_epoch_change(entry.payload.view());
    if (!change.ok() || change->epoch != group_.epoch() || change->group != group_.group() || change->plan != digest)
      continue;
    record = PromotionRecord{change->epoch, change->promotion,  change->group,
                             group_.leader(), change->fork.index, entry.forked,
                             region::first_revision(*change, entry.forked), true, {}};
    record->region = change->region;
  }
  return record;
}

void Promoter::begin(PromotionRequest request, Function<void(Result<PromotionRecord>)> done) {
  if (auto record = done_already(request.digest)) return done(std::move(*record));
  if (promotion_) {
    if (promotion_->request.digest == request.digest) return promotion_->done.push_back(std::move(done));
    return done(Error{Code::kRefused, "another_promotion: a promotion by another plan is under way; ask for a new plan"});
  }
  if (!group_.is_leader()) return done(not_leader());
  const auto now = group_.clock().now();
  promotion_.emplace();
  promotion_->request = std::move(request);
  promotion_->begun = promotion_->step_begun = now;
  promotion_->gives_up = now + options_.commit_limit;
  promotion_->term = group_.term();
  promotion_->done.push_back(std::move(done));
  inquire(true, [this, alive = alive_](Result<PromotionPlan> plan) {
    if (*alive && promotion_) surveyed(std::move(plan));
  });
}

void Promoter::surveyed(Result<PromotionPlan> plan) {
  if (!plan.ok()) return end(plan.error());
  auto& p = *promotion_;
  auto idle = forced_by(*plan, p.request.force, plan->digest == p.request.digest);
  if (!idle.ok()) return end(idle.error());
  if (plan->digest != p.request.digest)
    return end(Error{Code::kRefused, "plan_changed: what the accepted plan rests on has changed, or the digest is not one of a plan; see leewardctl dr plan"});
  if ((!plan->sealed || !plan->allowed()) && !p.request.accept_data_loss)
    return end(Error{Code::kRefused, "accept_data_loss: this promotion may lose writes; say --accept-data-loss"});
  for (const auto& rule : *idle) p.notes.push_back("--force " + rule + " was not needed: that rule does not refuse");
  p.plan = std::move(*plan);
  p.planned = group_.clock().now();
  p.followed_at = group_.regions_of_log()->control().followed_at;
  const auto armed = group_.regions_of_log()->armed();
  // Forced or not: who is armed in lease mode can see to it that no stamp is out.
  const bool lease = !p.plan.sealed && armed && armed->mode == region::FenceMode::kLease;
  next_step(lease ? Step::kCut : Step::kEpochChange, "survey");
  if (!lease) return change();
  p.arming = armed->arming;
  p.gives_up += stamps_last(*armed, options_.lease_margin);
  cut();
}

// No stamp is returned from here on. One that stands already is of an attempt
// that did not end; the wait begins anew all the same.
void Promoter::cut() {
  auto& p = *promotion_;
  const auto* log = group_.regions_of_log();
  if (!log) return end(not_leader());
  if (log->control().cut && log->control().cut->arming == p.arming) {
    p.cut = log->control().cut->index;
    return;
  }
  raft::Proposal proposal;
  proposal.kind = EntryKind::kCut;
  proposal.payload = Bytes(encode(region::Cut{p.arming}));
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) return end(Error{Code::kUnavailable, index.error().message});
  p.cut = *index;
}

// A primary by lease acknowledges nothing without stamps, so a Cut may stand only
// while somebody waits it out: one that a promotion left, here or at an earlier
// leader, is taken back. Who says the command again cuts and waits anew.
void Promoter::give_stamps_again() {
  const auto* log = group_.is_leader() && !stopping_ && !survivors_.step() ? group_.regions_of_log() : nullptr;
  const auto armed = log ? log->armed() : std::nullopt;
  if (!armed || armed->mode != region::FenceMode::kLease) return;
  if (!log->control().cut || log->control().cut->arming != armed->arming) return;
  raft::Proposal proposal;
  proposal.kind = EntryKind::kUncut;
  proposal.payload = Bytes(encode(region::Cut{armed->arming}));
  if (group_.propose({&proposal, 1}).ok()) group_.logger().warn("a promotion did not come to its end: the primary gets stamps again");
}

void Promoter::change() {
  auto& p = *promotion_;
  const auto* log = group_.regions_of_log();
  if (!log) return end(not_leader());
  // What was announced as kept would be in a ledger.
  if (log->end().index < p.plan.position.index || log->control().followed_at != p.followed_at)
    return end(Error{Code::kRefused, "plan_changed: this group has gone back below what the accepted plan keeps; see leewardctl dr plan"});
  // Under another arming stamps were given while this one waited them out.
  const auto& cut = log->control().cut;
  if (const auto armed = log->armed(); p.cut != Index() && (!armed || armed->arming != p.arming || !cut || cut->index != p.cut))
    return end(Error{Code::kRefused, "plan_changed: the arming whose lease was waited out has ended meanwhile; see leewardctl dr plan"});
  p.change = change_for(p.plan, *log, group_.random() | 1, group_.random());
  p.change.cut = p.cut;
  p.change.time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(group_.clock().wall().time_since_epoch()).count();
  p.change.by = p.request.by;
  p.change.reason = p.request.reason;
  p.change.plan = p.request.digest;
  raft::Proposal proposal;
  proposal.kind = EntryKind::kEpochChange;
  proposal.epoch = p.change.epoch;
  proposal.payload = Bytes(encode(p.change));
  const auto index = group_.propose({&proposal, 1});
  if (!index.ok()) return end(Error{Code::kUnavailable, index.error().message});
  group_.logger().warn("ends the epoch: this group is to be primary",
                       {{"epoch", p.change.epoch}, {"fork", p.change.fork.index}, {"by", p.request.by}});
}

void Promoter::next_step(Step step, const char* finished) {
  auto& p = *promotion_;
  const auto now = group_.clock().now();
  p.steps.push_back({finished, now - p.step_begun});
  p.step = step;
  p.step_begun = now;
}

void Promoter::applied(std::span<const Entry> entries) {
  contest_.applied();
  if (!promotion_) return;
  for (const auto& entry : entries) {
    auto& p = *promotion_;
    if (entry.kind != EntryKind::kEpochChange) continue;
    const auto change = region::decode_epoch_change(entry.payload.view());
    if (p.step != Step::kEpochChange || !change.ok() || change->promotion != p.change.promotion)
      return end(Error{Code::kRefused, "newer_epoch: another epoch has begun meanwhile"});
    next_step(Step::kEpochChange, "epoch_change");
    auto record = done_already(p.request.digest);
    if (!record) return end(Error{Code::kUnknown, "leeward: the change is applied, and this group is not primary"});
    record->repeated = false;
    record->steps = p.steps;
    record->notes = p.notes;
    record->took = group_.clock().now() - p.begun;
    if (p.plan.unknown_for) record->paused = *p.plan.unknown_for + (group_.clock().now() - p.planned);
    return end(std::move(*record));
  }
}

void Promoter::tick(Instant now) {
  look(now);
  survivors_.tick(now);
  contest_.tick(now);
  if (!promotion_) return give_stamps_again();
  auto& p = *promotion_;
  const bool lost = !group_.is_leader() || group_.term() != p.term;
  if (lost && p.step == Step::kEpochChange)
    // A new leader commits it or cuts it off; the same command finds out which.
    return end(Error{Code::kUnknown, "leeward: leadership was lost before the change was committed; say it again"});
  if (lost) return end(Error{Code::kUnavailable, "leeward: leadership was lost; say it again"});
  // Waited out in full from when it is known to be committed, also when it stood
  // in the log before.
  if (p.step == Step::kCut && group_.state().applied().point.index >= p.cut) {
    const auto armed = group_.regions_of_log() ? group_.regions_of_log()->armed() : std::nullopt;
    if (!armed || armed->arming != p.arming) return end(Error{Code::kRefused, "not_armed: the arming has ended"});
    next_step(Step::kLease, "cut");
    p.lease_over = now + stamps_last(*armed, options_.lease_margin);
  }
  if (p.step == Step::kLease && now >= p.lease_over) {
    next_step(Step::kEpochChange, "lease");
    return change();
  }
  if (now >= p.gives_up)
    end(Error{p.step == Step::kEpochChange ? Code::kUnknown : Code::kUnavailable, "leeward: the promotion does not come to an end; say it again"});
}

void Promoter::stopping() {
  stopping_ = true;
  survivors_.stopping();
  contest_.stopping();
  for (auto& i : std::exchange(inquiries_, {})) i.done(kNodeStops);
  if (promotion_) end(Error{Code::kUnknown, "this node is stopping"});
}

std::optional<PromotionProgress> Promoter::progress() const {
  if (promotion_) return PromotionProgress{PromotionKind::kPromotion, promotion_->step};
  if (const auto step = survivors_.step()) return PromotionProgress{PromotionKind::kSurvivors, *step};
  return std::nullopt;
}

void Promoter::end(Result<PromotionRecord> result) {
  auto promotion = std::move(*promotion_);
  promotion_.reset();
  if (result.ok()) probe_.done(PromotionKind::kPromotion, group_.clock().now() - promotion.begun);
  else probe_.ended(PromotionKind::kPromotion, result_of(result.error()));
  tell_steps(group_.tracer(), "promotion", promotion.begun, promotion.steps, group_.clock().now(),
             result.ok() ? std::string_view() : name(result_of(result.error())));
  for (auto& done : promotion.done) done(result);
}

}  // namespace leeward::standby
