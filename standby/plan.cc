#include "standby/plan.h"

#include <algorithm>

#include "base/codec.h"
#include "base/sha256.h"

namespace leeward::standby {
namespace {

constexpr std::size_t kDigestDigits = 32;
constexpr const char* kForceable[] = {"sealed", "primary_heard", "not_armed", "newer_epoch", "corruption"};
constexpr const char* kNoQuorum = "no_quorum";
constexpr Duration kOldAnswer = 1s;  // pings are answered twenty times a second

bool forceable(const std::string& rule) {
  return std::find(std::begin(kForceable), std::end(kForceable), rule) != std::end(kForceable);
}

std::string ids(const std::vector<NodeId>& nodes) {
  std::string out;
  for (const auto id : nodes) out += (out.empty() ? "" : ", ") + std::to_string(id.value());
  return out;
}

std::uint64_t beyond(std::uint64_t there, std::uint64_t here) { return there > here ? there - here : 0; }

// The newest answer that anybody has: by its stamp, which orders the primary's
// answers; its age as the member says that sent the ping.
const Testimony* newest(const std::vector<Testimony>& said) {
  const Testimony* out = nullptr;
  for (const auto& t : said)
    if (t.stamp && (!out || *t.stamp > *out->stamp || (*t.stamp == *out->stamp && t.age < out->age))) out = &t;
  return out;
}

// Who died a moment ago is heard still.
std::string heard_by(const std::vector<NodeId>& nodes, const Testimony* last) {
  std::string out = "nodes that hear the primary: " + ids(nodes);
  if (last && last->age >= kOldAnswer)
    out += "; its newest answer is " + std::to_string(last->age / 1ms) + " ms old, and it is called silent after dr.primary_silence: ask again in some seconds";
  return out;
}

std::string just_begun(Duration listens_for) {
  return "this region has just begun to follow, and calls a primary silent that it has not heard in dr.primary_silence: ask again in " +
         std::to_string(listens_for / 1s + 1) + " s";
}

bool names(const PromotionPlan& plan, std::string_view rule) {
  return std::any_of(plan.refusals.begin(), plan.refusals.end(), [&](const auto& r) { return r.rule == rule; });
}

// All that the plan rests on and that could change before it is carried out;
// no time that passes. While the primary is heard its answers go on, and the
// group follows: of these the digest says that it is so and no more.
std::string digest_of(const PlanFacts& f, const PromotionPlan& plan, const Testimony* last) {
  const bool heard = names(plan, "primary_heard");
  if (heard) last = nullptr;
  std::string bytes;
  bytes.append(reinterpret_cast<const char*>(f.lineage.bytes.data()), f.lineage.bytes.size());
  codec::put_u64(bytes, plan.group.value());
  codec::put_u64(bytes, plan.from.value());
  const Position position = heard ? Position{} : plan.position;
  codec::put_u64(bytes, position.index.value());
  bytes.append(reinterpret_cast<const char*>(position.hash.bytes.data()), position.hash.bytes.size());
  codec::put_u64(bytes, heard);
  const auto armed = f.log->armed();
  codec::put_u64(bytes, armed ? armed->arming : 0);
  codec::put_u64(bytes, last ? last->stamp->epoch.value() : 0);
  codec::put_u64(bytes, last ? last->stamp->term.value() : 0);
  codec::put_u64(bytes, last ? last->stamp->counter : 0);
  codec::put_u64(bytes, plan.known.value());
  codec::put_u64(bytes, plan.unknown_for.has_value());  // or the loss is without bound
  codec::put_u64(bytes, f.log->control().followed_at.value());  // behind a way back it is another history
  return sha256(bytes).hex().substr(0, kDigestDigits);
}

}  // namespace

KnownLoss loss_beyond(const Position& held, const Position& committed) {
  return {beyond(committed.writes, held.writes), beyond(committed.index.value(), held.index.value()), beyond(committed.bytes, held.bytes)};
}

PromotionPlan make_plan(const PlanFacts& f) {
  PromotionPlan plan;
  const auto& log = *f.log;
  plan.group = log.control().group;
  plan.region = f.region;
  plan.from = log.group_epoch();
  plan.position = f.committed;
  plan.checks = f.checks;
  plan.silent = f.silent;
  for (const auto& t : f.said) plan.members.push_back(t.voter);
  const Testimony* last = newest(f.said);
  plan.sealed = log.may_end_sealed();
  if (last && !plan.sealed) {
    plan.loss = loss_beyond(f.committed, last->committed);
    plan.unknown_for = last->age;
  }
  const auto refuse = [&](const char* rule, std::string detail) {
    plan.refusals.push_back({rule, std::move(detail), forceable(rule)});
  };
  if (f.role == GroupRole::kPrimary && !log.history().seal)
    refuse("serving", "this group is primary in epoch " + std::to_string(plan.from.value()) + ", there is nothing to promote");
  if (f.role == GroupRole::kPrimary && log.history().seal)
    refuse("sealed", "this group is primary and has sealed its history for another region, which may have been promoted by it");
  if (const auto& contested = log.control().contested)
    refuse("contested", "epoch " + std::to_string(contested->epoch.value()) + " began here and elsewhere: leewardctl dr survivor says which goes on");
  std::vector<NodeId> hearing;
  for (const auto& t : f.said)
    if (t.heard) hearing.push_back(t.voter);
  if (!hearing.empty()) {
    plan.too_early = last && last->age >= kOldAnswer;
    refuse("primary_heard", heard_by(hearing, last));
  } else if (!last && f.listens_for > Duration()) {
    plan.too_early = true;
    refuse("primary_heard", just_begun(f.listens_for));
  }
  if (!log.armed()) refuse("not_armed", "this group is not the one that may end epoch " + std::to_string(plan.from.value()));
  if (f.said.size() * 2 <= f.voters)
    refuse("no_quorum", std::to_string(f.said.size()) + " of " + std::to_string(f.voters) + " voters answer; silent: " + ids(f.silent));
  plan.known = log.known_epoch();
  for (const auto& t : f.said) plan.known = std::max(plan.known, t.newest_epoch);
  if (plan.known > plan.from)
    refuse("newer_epoch", "epoch " + std::to_string(plan.known.value()) + " is known; this group is in " +
                              std::to_string(plan.from.value()) + ", and all that was written since is lost by force");
  for (const auto& t : f.said)
    if (!t.damage.empty()) {
      plan.unknown_for.reset();  // what the primary has instead, and since when, is not known here
      refuse("corruption", "node " + std::to_string(t.voter.value()) + ": " + t.damage);
      break;
    }
  if (f.leader_stateless || (!f.stateless.empty() && f.stateless.size() * 2 >= f.voters))
    refuse("no_state", "nodes " + ids(f.stateless) + (f.stateless.size() * 2 < f.voters ? ", which leads (leewardctl member move-leader)," : "") +
                           " wait for a copy of the state of the region that they follow, and have none to serve;"
                       " where that region is lost for good, leewardctl snapshot save there takes what they had before");
  else if (f.committed.index == HistoryIndex())  // of a list that begins anew, or was never reached
    refuse("no_state", "this group holds nothing yet: it would serve an empty state, and cut off whoever holds more");
  const auto armed = log.armed();
  if (plan.known > plan.from) plan.unknown_for.reset();  // of later epochs nothing is known here
  plan.unguarded = armed && armed->unguarded;
  plan.drawn = !plan.refusals.empty() || (armed && armed->unguarded && !plan.sealed);
  plan.to = plan.drawn ? region::forced_epoch(plan.known, 0) : plan.from + 1;
  plan.digest = digest_of(f, plan, last);
  return plan;
}

Result<std::vector<std::string>> forced_by(const PromotionPlan& plan, const std::vector<std::string>& force, bool accepted) {
  std::vector<std::string> idle;
  for (const auto& rule : force) {
    const auto refusing = std::find_if(plan.refusals.begin(), plan.refusals.end(), [&](const auto& r) { return r.rule == rule; });
    if (refusing != plan.refusals.end() && refusing->forceable) continue;
    if (rule == kNoQuorum)
      return Error{Code::kInvalid, "leeward: --force no_quorum goes with --members IDS, the members that are left; see leewardctl dr plan --members IDS"};
    if (!forceable(rule)) {
      std::string rules;
      for (const auto* r : kForceable) rules += (rules.empty() ? "" : ", ") + std::string(r);
      return Error{Code::kInvalid, "leeward: --force " + rule + ": there is no such rule to force; there are " + rules + ", and with --members no_quorum"};
    }
    idle.push_back(rule);
  }
  std::string left, flags;
  bool final = false;
  for (const auto& r : plan.refusals) {
    if (std::find(force.begin(), force.end(), r.rule) != force.end()) continue;
    left += (left.empty() ? "" : "; ") + r.rule + ": " + r.detail;
    flags += (flags.empty() ? "" : ",") + r.rule;
    final |= !r.forceable;
  }
  if (!left.empty() && names(plan, "primary_heard") && !names(plan, "not_armed") && !plan.survivors && !plan.unguarded)
    left += "; while the primary lives, leewardctl dr switchover loses nothing";
  if (!left.empty() && !accepted) left += "; this is not what the plan said that was accepted: see leewardctl dr plan";
  else if (!left.empty() && !final) left += " (--force " + flags + " overrides)";
  if (!left.empty()) return Error{Code::kRefused, left};
  return idle;
}

// --- survivors ---

namespace {

// Whose log has all that any of them knows to be committed: PROTOCOL.md.
NodeId longest(const SurvivorFacts& f) {
  NodeId best;
  for (const auto id : f.members)
    if (f.said.contains(id) && (!best || f.said.at(id).stand.end > f.said.at(best).stand.end)) best = id;
  return best;
}

std::string digest_of(const SurvivorFacts& f, const PromotionPlan& plan, const Testimony* last) {
  if (names(plan, "primary_heard")) last = nullptr;
  std::string bytes = "survivors";
  bytes.append(reinterpret_cast<const char*>(f.lineage.bytes.data()), f.lineage.bytes.size());
  for (const auto id : f.members) {
    const auto it = f.said.find(id);
    const auto stand = it == f.said.end() ? node::RegroupStand{} : it->second.stand;
    for (const auto number : {id.value(), stand.incarnation.value(), stand.group.value(), stand.end.term.value(), stand.end.index.value()})
      codec::put_u64(bytes, number);
  }
  bytes.append(reinterpret_cast<const char*>(plan.position.hash.bytes.data()), plan.position.hash.bytes.size());
  for (const auto number : {last ? last->stamp->epoch.value() : 0, last ? last->stamp->term.value() : 0, last ? last->stamp->counter : 0,
                            plan.known.value()})
    codec::put_u64(bytes, number);
  return sha256(bytes).hex().substr(0, kDigestDigits);
}

}  // namespace

PromotionPlan make_plan(const SurvivorFacts& f) {
  PromotionPlan plan;
  plan.survivors = plan.drawn = true;
  plan.region = f.region;
  plan.members = f.members;
  plan.checks = f.checks;
  const auto leader = longest(f);
  const auto listed = [&](NodeId id) { return std::find(f.members.begin(), f.members.end(), id) != f.members.end(); };
  const auto refuse = [&](const char* rule, std::string detail, bool forceable) { plan.refusals.push_back({rule, std::move(detail), forceable}); };
  // Logs of different groups cannot be compared. Who takes part in a regrouping is between two.
  const auto settled = [](const node::RegroupStand& stand) { return stand.may && stand.plan.empty(); };
  std::map<GroupId, std::vector<NodeId>> groups;
  for (const auto& [id, said] : f.said)
    if (listed(id) && settled(said.stand)) groups[said.stand.group].push_back(id);
  std::vector<NodeId> left_out, unfit, led, go_on, hearing;
  bool sealed = false;
  std::vector<Testimony> testimonies;
  std::string damage;
  for (const auto id : f.members)
    if (!f.said.contains(id)) plan.silent.push_back(id);
  for (const auto& [id, said] : f.said) {
    if (!listed(id)) {
      const bool other = groups.size() == 1 && settled(said.stand) && said.stand.group != groups.begin()->first;
      if (said.stand.may && !other) left_out.push_back(id);
      if (other && said.stand.leader) go_on.push_back(id);
      continue;
    }
    if (!said.stand.may) unfit.push_back(id);
    if (said.stand.leader) led.push_back(id);
    sealed |= said.stand.sealed;
    if (said.testimony.heard) hearing.push_back(id);
    if (damage.empty() && !said.testimony.damage.empty()) damage = "node " + std::to_string(id.value()) + ": " + said.testimony.damage;
    testimonies.push_back(said.testimony);
    plan.from = std::max(plan.from, said.stand.epoch);
    plan.known = std::max({plan.known, said.stand.epoch, said.testimony.newest_epoch});
  }
  bool follows = true;
  if (leader) {
    const auto& stand = f.said.at(leader).stand;
    plan.group = stand.group;
    plan.position = stand.position;
    follows = stand.role == GroupRole::kStandby || stand.role == GroupRole::kObserver;
  }
  const Testimony* last = newest(testimonies);
  // A following group's lost members had only what the primary had; of a primary
  // nobody knows what they alone may have committed.
  if (last && follows && plan.known == plan.from) {
    plan.loss = loss_beyond(plan.position, last->committed);
    plan.unknown_for = last->age;
  }
  if (!plan.silent.empty()) refuse("silent", "no answer of " + ids(plan.silent) + ": name only members that are up", false);
  if (groups.size() > 1) {
    std::string parts;
    for (const auto& [group, members] : groups) parts += (parts.empty() ? "" : "; ") + ids(members);
    refuse("other_group", "the members named are of different groups, whose logs cannot be compared (" + parts + "): name those of one, and empty the directories"
                          " of the others", false);
  }
  if (!left_out.empty()) refuse("left_out", "members that answer and are not named: " + ids(left_out), false);
  if (!unfit.empty()) refuse("unfit", "empty, without a state or waiting for one, not admitted, isolated or removed: " + ids(unfit), false);
  if (!led.empty()) refuse("quorum", "this group has a leader, as " + ids(led) + " say: leewardctl dr plan without --members", false);
  if (!go_on.empty())
    refuse("quorum", "this region goes on as another group, as " + ids(go_on) + " say: leewardctl dr status at the members named says what is left to do there", false);
  if (sealed) refuse("sealed", "this group was primary and has sealed its history for another region, which may have been promoted by it: see there first", true);
  if (!hearing.empty()) {
    plan.too_early = last && last->age >= kOldAnswer;
    refuse("primary_heard", heard_by(hearing, last), true);
  } else if (!last && f.listens_for > Duration()) {
    plan.too_early = true;
    refuse("primary_heard", just_begun(f.listens_for), true);
  }
  if (led.empty()) refuse(kNoQuorum, "a majority of the group is lost; what only the lost members had may have been committed, and they are never to vote again", true);
  if (plan.known > plan.from)
    refuse("newer_epoch", "epoch " + std::to_string(plan.known.value()) + " is known; this group is in " + std::to_string(plan.from.value()) +
                              ", and all that was written since is lost by force", true);
  if (!damage.empty()) refuse("corruption", damage, true);
  plan.to = region::forced_epoch(plan.known, 0);
  plan.digest = digest_of(f, plan, last);
  return plan;
}

node::Regroup regroup_for(const PromotionPlan& plan, const SurvivorFacts& f, const PromotionRequest& request, std::int64_t time_ms) {
  node::Regroup regroup;
  regroup.leader = longest(f);
  for (const auto id : f.members) {
    const auto& stand = f.said.at(id).stand;
    regroup.members[id] = {stand.incarnation, stand.group, stand.end};
    regroup.term = std::max(regroup.term, stand.term);
  }
  ++regroup.term;
  // Of the plan alone: who says it again means the same group.
  const auto name = sha256("group of survivors " + plan.digest);
  std::uint64_t group = 0;
  for (int i = 0; i < 8; ++i) group = group << 8 | name.bytes[static_cast<std::size_t>(i)];
  regroup.become.group = GroupId(group | 1);
  regroup.become.known = plan.known;
  regroup.become.region = plan.region;
  regroup.become.announced = {plan.loss.writes, plan.loss.entries, plan.loss.bytes, true};
  regroup.become.time_ms = time_ms;
  regroup.become.by = request.by;
  regroup.become.reason = request.reason;
  regroup.become.plan = plan.digest;
  return regroup;
}

region::EpochChange change_for(const region::Regrouped& regrouped, const region::State& log, Epoch known,
                               region::PromotionId promotion, std::uint64_t draw) {
  region::EpochChange change;
  change.epoch = region::forced_epoch(std::max({regrouped.known, log.known_epoch(), known}), draw);
  change.promotion = promotion;
  change.group = log.control().group;
  change.region = regrouped.region;
  change.fork = log.end();
  change.ending = region::Ending::kForced;
  change.announced = regrouped.announced;
  change.time_ms = regrouped.time_ms;
  change.by = regrouped.by;
  change.reason = regrouped.reason;
  change.plan = regrouped.plan;
  return change;
}

region::EpochChange change_for(const PromotionPlan& plan, const region::State& log, region::PromotionId promotion,
                               std::uint64_t draw) {
  region::EpochChange change;
  const auto armed = log.armed();
  change.ending = !plan.refusals.empty() ? region::Ending::kForced
                  : log.may_end_sealed() ? region::Ending::kSealed
                                         : region::Ending::kGuarded;
  const bool drawn = change.ending == region::Ending::kForced || (change.ending == region::Ending::kGuarded && armed && armed->unguarded);
  change.epoch = drawn ? region::forced_epoch(std::max(plan.known, log.known_epoch()), draw) : log.group_epoch() + 1;
  change.promotion = promotion;
  change.group = log.control().group;
  change.region = plan.region;
  change.fork = log.end();
  change.announced = {plan.loss.writes, plan.loss.entries, plan.loss.bytes, change.ending != region::Ending::kSealed};
  return change;
}

}  // namespace leeward::standby
