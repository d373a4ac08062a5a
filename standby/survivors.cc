#include "standby/survivors.h"

#include <algorithm>
#include <chrono>

#include "base/codec.h"
#include "standby/arming.h"
#include "standby/desk.h"
#include "standby/step_spans.h"

namespace leeward::standby {
namespace {

constexpr Duration kSendAgain = 500ms;

std::string encode(const SurvivorFacts::Said& said) {
  std::string out;
  const auto& s = said.stand;
  const auto& t = said.testimony;
  for (const auto number : {s.incarnation.value(), s.group.value(), s.term.value(), s.end.term.value(), s.end.index.value(),
                            s.position.index.value(), s.position.writes, s.position.bytes, s.leader.value(), s.epoch.value(),
                            static_cast<std::uint64_t>(s.role), static_cast<std::uint64_t>(s.may) | static_cast<std::uint64_t>(s.begun) << 1 | static_cast<std::uint64_t>(s.sealed) << 2, static_cast<std::uint64_t>(t.heard),
                            t.stamp ? t.stamp->epoch.value() : 0, t.stamp ? t.stamp->term.value() : 0, t.stamp ? t.stamp->counter : 0,
                            static_cast<std::uint64_t>(t.stamp.has_value()), t.committed.index.value(), t.committed.writes, t.committed.bytes,
                            static_cast<std::uint64_t>(t.age / 1ms), t.newest_epoch.value()})
    codec::put_varint(out, number);
  for (const auto* hash : {&s.position.hash, &t.committed.hash}) out.append(reinterpret_cast<const char*>(hash->bytes.data()), hash->bytes.size());
  codec::put_bytes(out, s.plan);
  codec::put_bytes(out, t.damage);
  return out;
}

std::optional<SurvivorFacts::Said> decode_said(NodeId from, std::string_view in) {
  std::uint64_t n[22];
  for (auto& number : n)
    if (!codec::get_varint(in, number)) return std::nullopt;
  SurvivorFacts::Said said;
  auto& s = said.stand;
  auto& t = said.testimony;
  std::string_view plan, damage;
  if (n[10] > static_cast<std::uint64_t>(GroupRole::kFenced) || !codec::get_fixed(in, s.position.hash.bytes) ||
      !codec::get_fixed(in, t.committed.hash.bytes) || !codec::get_bytes(in, plan) || !codec::get_bytes(in, damage) || !in.empty())
    return std::nullopt;
  s.incarnation = Incarnation(n[0]);
  s.group = GroupId(n[1]);
  s.term = Term(n[2]);
  s.end = {Term(n[3]), Index(n[4])};
  s.position.index = HistoryIndex(n[5]);
  s.position.writes = n[6];
  s.position.bytes = n[7];
  s.leader = NodeId(n[8]);
  s.epoch = Epoch(n[9]);
  s.role = static_cast<GroupRole>(n[10]);
  s.may = n[11] & 1;
  s.begun = n[11] & 2;
  s.sealed = n[11] & 4;
  s.plan = plan;
  t.voter = from;
  t.heard = n[12] != 0;
  if (n[16] != 0) t.stamp = Stamp{Epoch(n[13]), Term(n[14]), n[15]};
  t.committed.index = HistoryIndex(n[17]);
  t.committed.writes = n[18];
  t.committed.bytes = n[19];
  t.age = std::chrono::milliseconds(std::min<std::uint64_t>(n[20], UINT32_MAX));
  t.newest_epoch = Epoch(n[21]);
  t.damage = damage;
  return said;
}

// Empty: it was done.
std::string encode(const Result<void>& result) {
  std::string out;
  if (result.ok()) return out;
  codec::put_u8(out, static_cast<std::uint8_t>(result.error().code));
  out += result.error().message;
  return out;
}

Result<void> decode_result(std::string_view in) {
  std::uint8_t code = 0;
  if (in.empty()) return {};
  (void)codec::get_u8(in, code);  // there is one byte at least
  return Error{static_cast<Code>(code) == Code::kRefused ? Code::kRefused : Code::kUnavailable, std::string(in)};
}

}  // namespace

Survivors::Inquiry::Inquiry() = default;
Survivors::Promotion::Promotion() = default;

bool Survivors::of_this_region(NodeId id) const {
  if (id == group_.self()) return true;  // whatever its state knows of it yet
  const auto nodes = group_.topology();
  const auto own = around_.region();
  return std::any_of(nodes.begin(), nodes.end(), [&](const node::Node& n) { return n.id == id && n.region == own; });
}

SurvivorFacts::Said Survivors::own() const { return {group_.regroup_stand(), around_.testimony()}; }

void Survivors::send(NodeId to, Aid aid) {
  if (to != group_.self()) outbox_.send(to, std::move(aid));
  else heard(to, aid);
}

// --- what is known ---

void Survivors::inquire(std::vector<NodeId> members, Function<void(Result<SurvivorFacts>)> done) {
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  for (const auto id : members)
    if (!of_this_region(id))
      return done(Error{Code::kInvalid, "leeward: node " + std::to_string(id.value()) + " is no member of the group of node " +
                                            std::to_string(group_.self().value())});
  if (!std::binary_search(members.begin(), members.end(), group_.self()))
    return done(Error{Code::kUnavailable, "leeward: node " + std::to_string(group_.self().value()) + " is not among --members: ask one that is"});
  if (inquiry_) return done(Error{Code::kOverloaded, "another plan of survivors is being made; say it again"});
  inquiry_.emplace();
  inquiry_->id = group_.random() | 1;
  inquiry_->until = group_.clock().now() + options_.survey;
  inquiry_->facts.lineage = group_.lineage();
  inquiry_->facts.region = around_.region();
  inquiry_->facts.members = std::move(members);
  inquiry_->done = std::move(done);
  // All of the region: who is alive and not named would be cut off.
  for (const auto& node : group_.topology())
    if (node.region == inquiry_->facts.region && node.id != group_.self()) outbox_.send(node.id, Aid{Aid::Kind::kAsk, inquiry_->id, {}});
  around_.ping_primary();
}

void Survivors::plan(std::vector<NodeId> members, Function<void(Result<PromotionPlan>)> done) {
  inquire(std::move(members), [done = std::move(done)](Result<SurvivorFacts> facts) mutable {
    if (!facts.ok()) return done(facts.error());
    done(make_plan(*facts));
  });
}

void Survivors::heard(NodeId from, const Aid& aid) {
  if (!of_this_region(from)) return;
  switch (aid.kind) {
    case Aid::Kind::kAsk:
      return send(from, Aid{Aid::Kind::kTold, aid.id, encode(own())});
    case Aid::Kind::kTold:
      if (auto said = decode_said(from, aid.body); said && inquiry_ && inquiry_->id == aid.id) {
        said->testimony.age += options_.survey;  // at most, by when the plan is made
        inquiry_->facts.said[from] = std::move(*said);
      }
      return;
    case Aid::Kind::kStage: return stage_here(from, aid.id, aid.body);
    case Aid::Kind::kBegin: return begin_here(from, aid.id, aid.body);
    case Aid::Kind::kStaged:
    case Aid::Kind::kBegun:
      if (promotion_ && promotion_->id == aid.id) answered(from, aid.kind, decode_result(aid.body));
      return;
    default: return;
  }
}

// --- what is done ---

void Survivors::stage_here(NodeId from, std::uint64_t id, const std::string& record) {
  auto regroup = node::decode_regroup_record(record);
  if (!regroup.ok()) return;
  group_.stage(std::move(*regroup), [this, alive = alive_, from, id](Result<void> result) {
    if (*alive) answer_later(from, Aid::Kind::kStaged, id, result);
  });
}

void Survivors::begin_here(NodeId from, std::uint64_t id, const std::string& plan) {
  group_.activate(plan, [this, alive = alive_, from, id](Result<void> result) {
    if (*alive) answer_later(from, Aid::Kind::kBegun, id, result);
  });
}

// Whoever asked may be this member itself, in the midst of asking.
void Survivors::answer_later(NodeId to, Aid::Kind kind, std::uint64_t id, const Result<void>& result) {
  group_.loop().post([this, alive = alive_, to, aid = Aid{kind, id, encode(result)}]() mutable {
    if (*alive) send(to, std::move(aid));
  });
}

void Survivors::promote(PromotionRequest request, Function<void(Result<PromotionRecord>)> done) {
  if (auto record = around_.done_already(request.digest)) return done(std::move(*record));
  if (promotion_) {
    if (promotion_->request.digest == request.digest) return promotion_->done.push_back(std::move(done));
    return done(Error{Code::kRefused, "another_promotion: a promotion by another plan is under way; ask for a new plan"});
  }
  const auto now = group_.clock().now();
  promotion_.emplace();
  promotion_->id = group_.random() | 1;
  promotion_->request = std::move(request);
  promotion_->begun = promotion_->step_begun = now;
  promotion_->gives_up = now + options_.regroup_limit;
  promotion_->done.push_back(std::move(done));
  inquire(promotion_->request.members, [this, alive = alive_](Result<SurvivorFacts> facts) {
    if (*alive && promotion_) surveyed(std::move(facts));
  });
}

void Survivors::surveyed(Result<SurvivorFacts> facts) {
  if (!facts.ok()) return end(facts.error());
  auto& p = *promotion_;
  const auto plan = make_plan(*facts);
  if (plan.digest != p.request.digest) {
    // It has begun already, and goes on by itself.
    const bool under_way = std::any_of(facts->said.begin(), facts->said.end(), [&](const auto& s) {
      return s.second.stand.begun && s.second.stand.plan == p.request.digest;
    });
    if (!under_way)
      return end(Error{Code::kRefused, "plan_changed: what the accepted plan rests on has changed, or the digest is not one of a plan; see leewardctl dr plan --members"});
    return next_step(Step::kEpochChange, "survey");
  }
  auto idle = forced_by(plan, p.request.force, true);
  if (!idle.ok()) return end(idle.error());
  if (!p.request.accept_data_loss)
    return end(Error{Code::kRefused, "accept_data_loss: what only the lost members had is lost; say --accept-data-loss"});
  for (const auto& rule : *idle) p.notes.push_back("--force " + rule + " was not needed: that rule does not refuse");
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(group_.clock().wall().time_since_epoch()).count();
  p.regroup = regroup_for(plan, *facts, p.request, ms);
  group_.logger().warn("members of a lost majority's group are to be a group of their own",
                       {{"group", p.regroup.become.group}, {"leader", p.regroup.leader}, {"by", p.request.by}});
  if (const auto armed = by_lease()) p.gives_up += stamps_last(*armed, options_.lease_margin);
  next_step(Step::kStage, "survey");
}

// Only when all have put it down may the new group begin: a member that still
// took part in the old one could acknowledge what this one never hears of.
void Survivors::answered(NodeId from, Aid::Kind kind, Result<void> result) {
  auto& p = *promotion_;
  if (!result.ok()) {
    if (result.error().code == Code::kRefused) end(result.error());
    return;  // busy: it is asked again
  }
  if (kind == Aid::Kind::kStaged && p.step == Step::kStage) {
    p.staged.insert(from);
    if (p.staged.size() == p.regroup.members.size()) next_step(Step::kBegin, "stage");
  } else if (kind == Aid::Kind::kBegun && p.step == Step::kBegin) {
    next_step(Step::kEpochChange, "begin");
  }
}

void Survivors::drive(Instant now) {
  auto& p = *promotion_;
  if (auto record = around_.done_already(p.request.digest)) {
    next_step(Step::kEpochChange, "epoch_change");
    record->repeated = false;
    record->steps = p.steps;
    record->notes = p.notes;
    record->took = now - p.begun;
    return end(std::move(*record));
  }
  if (now >= p.gives_up)
    return end(Error{p.step == Step::kEpochChange || p.step == Step::kBegin ? Code::kUnknown : Code::kUnavailable,
                     "leeward: the survivors are no group yet; say it again"});
  if ((p.step != Step::kStage && p.step != Step::kBegin) || (p.sent != Instant{} && now - p.sent < kSendAgain)) return;
  p.sent = now;
  const auto id = p.id;
  if (p.step == Step::kBegin) return send(p.regroup.leader, Aid{Aid::Kind::kBegin, id, p.regroup.become.plan});
  const auto regroup = p.regroup;
  for (const auto& [member, _] : regroup.members)
    if (!p.staged.contains(member)) send(member, Aid{Aid::Kind::kStage, id, node::encode(regroup)});
}

void Survivors::next_step(Step step, const char* finished) {
  auto& p = *promotion_;
  const auto now = group_.clock().now();
  p.steps.push_back({finished, now - p.step_begun});
  p.step = step;
  p.step_begun = now;
  p.sent = {};
}

void Survivors::tick(Instant now) {
  if (inquiry_ && now >= inquiry_->until) {
    auto inquiry = std::move(*inquiry_);
    inquiry_.reset();
    inquiry.facts.said[group_.self()] = own();
    inquiry.facts.listens_for = around_.silence_left();
    if (follows(group_.role())) inquiry.facts.checks = around_.checks();  // a primary knows those of the armed region only
    inquiry.done(std::move(inquiry.facts));
  }
  if (promotion_) drive(now);
  // What was decided with the entry by which the group began. Of the group that was
  // armed stamps may be out, as long as the lease: nobody gives one from that entry on.
  const auto* log = group_.is_leader() ? group_.regions_of_log() : nullptr;
  if (!log || !log->control().regrouped) return outlast_.reset();
  // Not committed yet; or what stands below it, a Follow perhaps, waits for a state, and nobody
  // could apply an EpochChange.
  if (!group_.regions() || !group_.regions()->control().regrouped) return;
  if (const auto armed = by_lease()) {
    if (!outlast_ || outlast_->term != group_.term()) outlast_ = Outlasting{group_.term(), now + stamps_last(*armed, options_.lease_margin)};
    if (now < outlast_->until) return;
  }
  const auto change = change_for(*log->control().regrouped, *log, group_.newest_epoch(), group_.random() | 1, group_.random());
  raft::Proposal proposal;
  proposal.kind = EntryKind::kEpochChange;
  proposal.epoch = change.epoch;
  proposal.payload = Bytes(encode(change));
  if (group_.propose({&proposal, 1}).ok())
    group_.logger().warn("ends the epoch: the group of survivors is to be primary", {{"epoch", change.epoch}, {"fork", change.fork.index}});
}

// Armed by lease is, or was, the group that these are what is left of.
std::optional<region::Armed> Survivors::by_lease() const {
  const auto* log = group_.regions_of_log();
  auto armed = log ? log->armed_group() : std::nullopt;
  if (!armed) armed = armed_group(group_.state());
  if (!armed || armed->mode != region::FenceMode::kLease || armed->region != around_.region()) return std::nullopt;
  return armed;
}

void Survivors::stopping() {
  if (inquiry_) std::exchange(inquiry_, std::nullopt)->done(kNodeStops);
  if (promotion_) end(Error{Code::kUnknown, kNodeStops.message});
}

std::optional<PromotionStep> Survivors::step() const {
  return promotion_ ? std::optional(promotion_->step) : std::nullopt;
}

void Survivors::end(Result<PromotionRecord> result) {
  auto promotion = std::move(*promotion_);
  promotion_.reset();
  if (result.ok()) probe_.done(PromotionKind::kSurvivors, group_.clock().now() - promotion.begun);
  else probe_.ended(PromotionKind::kSurvivors, result_of(result.error()));
  tell_steps(group_.tracer(), "survivors", promotion.begun, promotion.steps, group_.clock().now(),
             result.ok() ? std::string_view() : name(result_of(result.error())));
  for (auto& done : promotion.done) done(result);
}

}  // namespace leeward::standby
