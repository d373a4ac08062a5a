#include "standby/plan.h"

#include <algorithm>

#include "base/codec.h"
#include "base/sha256.h"

namespace leeward::standby {
namespace {

constexpr std::size_t kDigestDigits = 32;

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

// All that the plan rests on and that could change before it is carried out;
// no time that passes.
std::string digest_of(const PlanFacts& f, const PromotionPlan& plan, const Testimony* last) {
  std::string bytes;
  bytes.append(reinterpret_cast<const char*>(f.lineage.bytes.data()), f.lineage.bytes.size());
  codec::put_u64(bytes, plan.group.value());
  codec::put_u64(bytes, plan.from.value());
  codec::put_u64(bytes, plan.position.index.value());
  bytes.append(reinterpret_cast<const char*>(plan.position.hash.bytes.data()), plan.position.hash.bytes.size());
  const auto armed = f.log->armed();
  codec::put_u64(bytes, armed ? armed->arming : 0);
  codec::put_u64(bytes, last ? last->stamp->epoch.value() : 0);
  codec::put_u64(bytes, last ? last->stamp->term.value() : 0);
  codec::put_u64(bytes, last ? last->stamp->counter : 0);
  return sha256(bytes).hex().substr(0, kDigestDigits);
}

}  // namespace

PromotionPlan make_plan(const PlanFacts& f) {
  PromotionPlan plan;
  const auto& log = *f.log;
  plan.group = log.control().group;
  plan.region = f.region;
  plan.from = log.group_epoch();
  plan.to = plan.from + 1;
  plan.position = f.committed;
  plan.checks = f.checks;
  plan.silent = f.silent;
  for (const auto& t : f.said) plan.members.push_back(t.voter);
  const Testimony* last = newest(f.said);
  plan.sealed = log.may_end_sealed();
  if (last && !plan.sealed) {
    plan.loss = {beyond(last->committed.writes, f.committed.writes),
                 beyond(last->committed.index.value(), f.committed.index.value()),
                 beyond(last->committed.bytes, f.committed.bytes)};
    plan.unknown_for = last->age;
  }
  const auto refuse = [&](const char* rule, std::string detail) { plan.refusals.push_back({rule, std::move(detail)}); };
  std::vector<NodeId> hearing;
  for (const auto& t : f.said)
    if (t.heard) hearing.push_back(t.voter);
  if (!hearing.empty()) refuse("primary_heard", "nodes that hear the primary: " + ids(hearing));
  if (!log.armed()) refuse("not_armed", "this group is not the one that may end epoch " + std::to_string(plan.from.value()));
  if (f.said.size() * 2 <= f.voters)
    refuse("no_quorum", std::to_string(f.said.size()) + " of " + std::to_string(f.voters) + " voters answer; silent: " + ids(f.silent));
  Epoch known = log.known_epoch();
  for (const auto& t : f.said) known = std::max(known, t.newest_epoch);
  if (known > plan.from)
    refuse("newer_epoch", "epoch " + std::to_string(known.value()) + " is known; this group is in " + std::to_string(plan.from.value()));
  for (const auto& t : f.said)
    if (!t.damage.empty()) {
      refuse("corruption", "node " + std::to_string(t.voter.value()) + ": " + t.damage);
      break;
    }
  plan.digest = digest_of(f, plan, last);
  return plan;
}

region::EpochChange change_for(const PromotionPlan& plan, const region::State& log, region::PromotionId promotion,
                               std::uint64_t draw) {
  constexpr std::uint64_t kLeast = 2, kSpan = 1023;  // as region::State demands of an unguarded one
  region::EpochChange change;
  const auto armed = log.armed();
  change.epoch = armed && armed->unguarded ? log.known_epoch() + kLeast + draw % kSpan : log.group_epoch() + 1;
  change.promotion = promotion;
  change.group = log.control().group;
  change.region = plan.region;
  change.fork = log.end().index;
  change.fork_hash = log.end().hash;
  change.ending = log.may_end_sealed() ? region::Ending::kSealed : region::Ending::kGuarded;
  change.announced = {plan.loss.writes, plan.loss.entries, plan.loss.bytes, change.ending != region::Ending::kSealed};
  return change;
}

}  // namespace leeward::standby
