#include "world/operator.h"

#include <array>
#include <set>

#include "base/command.h"
#include "region/ledger.h"

namespace leeward::sim {
namespace {

constexpr std::array kGroups{GroupRole::kPrimary, GroupRole::kStandby};

}  // namespace

NodeId Operator::any() {
  const auto ids = world_.ids();
  return ids[world_.dice.below(ids.size())];
}

GroupRole Operator::role(GroupRole group) { return world_.checkers.regions(group).role(); }

// Of a group that has that role now; anybody if there is none.
NodeId Operator::leader_of(GroupRole now) {
  for (const auto group : kGroups)
    if (const auto leader = world_.leader(group); leader && role(group) == now) return *leader;
  return any();
}

void Operator::act() {
  switch (world_.dice.below(12)) {
    case 0: case 1: return lose();
    case 2: case 3: return promote(any());
    case 4: case 5: return promote(leader_of(GroupRole::kStandby));
    case 6: case 7: return take_back(false);
    case 8: case 9: return switch_over();
    case 10:
      if (const auto id = any(); world_.stream(id))
        world_.stream(id)->handover().abort(world_.client_loop(), [this](Result<HandoverState> r) {
          if (r.ok() && r->changed) ++done_["abort"];
        });
      return;
    default: return rearm();
  }
}

// The region that serves, for some time; one at a time.
void Operator::lose() {
  for (const auto group : kGroups)
    if (world_.lost(world_.of(group).front())) return;
  for (const auto group : kGroups) {
    if (role(group) != GroupRole::kPrimary || !world_.dice.chance(0.7)) continue;
    ++done_["lose"];
    world_.lose(group);
    world_.scheduler.after(world_.dice.between(2s, 30s), [this, group] { world_.find(group); });
    return;
  }
}

void Operator::promote(NodeId at) {
  auto* stream = world_.stream(at);
  if (!stream) return;
  stream->recovery().plan(world_.client_loop(), [this, at](Result<PromotionPlan> plan) {
    if (!plan.ok() || !plan->allowed()) return;
    // Accepted some time later, perhaps, or by two at once, or at another node.
    const PromotionRequest request{plan->digest, true, "ada", "the region burns"};
    const auto pause = world_.dice.chance(0.7) ? Duration(1ms) : world_.dice.between(1ms, 3s);
    world_.scheduler.after(pause, [this, at, request] { ask(at, request); });
    if (world_.dice.chance(0.3)) world_.scheduler.after(pause + world_.dice.between(0ms, 200ms), [this, request] { ask(any(), request); });
  });
}

void Operator::ask(NodeId at, const PromotionRequest& request) {
  auto* stream = world_.stream(at);
  if (!stream) return;
  stream->recovery().promote(request, world_.client_loop(), [this](Result<PromotionRecord> record) {
    if (record.ok() && !record->repeated) ++done_["promote"];
  });
}

void Operator::switch_over() {
  auto* stream = world_.stream(leader_of(GroupRole::kPrimary));
  if (!stream) return;
  stream->handover().switchover({"", "ada", "a rehearsal"}, world_.client_loop(), [this](Result<SwitchoverRecord> r) {
    if (r.ok()) ++done_["switchover"];
  });
}

void Operator::rearm() {
  auto* stream = world_.stream(any());
  if (!stream) return;
  if (world_.dice.chance(0.5)) {
    stream->handover().disarm(false, world_.client_loop(), [this](Result<HandoverState> r) {
      if (r.ok() && r->changed) ++done_["disarm"];
    });
  } else {
    stream->handover().arm("", world_.client_loop(), [this](Result<HandoverState> r) {
      if (r.ok() && r->changed) ++done_["arm"];
    });
  }
}

// Whoever leads a fenced group is told to follow; `all`: at every fenced one, else at any node.
void Operator::take_back(bool all) {
  for (const auto group : kGroups) {
    const auto leader = world_.leader(group);
    const auto at = all ? leader.value_or(NodeId()) : any();
    if (at == NodeId() || !world_.stream(at) || role(group) != GroupRole::kFenced) continue;
    world_.stream(at)->way_back().rejoin({}, world_.client_loop(), [this](Result<RejoinRecord> r) {
      if (r.ok() && r->changed) ++done_["rejoin"];
    });
  }
}

void Operator::mend() {
  for (const auto group : kGroups) {
    world_.find(group);
    const auto leader = world_.leader(group);
    if (!leader || !world_.stream(*leader)) continue;
    auto& member = *world_.member(*leader);
    for (const auto id : world_.of(group))
      if (!member.membership().is_voter(id)) member.admit(id, world_.client_loop(), [](Result<bool>) {});
    if (member.role() == GroupRole::kPrimary && !world_.checkers.regions(group).history().seal && !world_.checkers.armed())
      world_.stream(*leader)->handover().arm("", world_.client_loop(), [](Result<HandoverState>) {});
  }
  take_back(true);
}

bool Operator::at_rest() {
  const auto serves = role(kGroups[0]) == GroupRole::kPrimary ? kGroups[0] : kGroups[1];
  const auto follows = serves == kGroups[0] ? kGroups[1] : kGroups[0];
  return role(serves) == GroupRole::kPrimary && role(follows) == GroupRole::kStandby && world_.checkers.armed().has_value() &&
         !world_.checkers.regions(serves).history().seal;
}

void Operator::judge_ledgers(NodeId id, std::set<std::string>& put_aside, bool& incomplete) {
  const auto report = [&](const std::string& what) { world_.checkers.report("node " + std::to_string(id.value()) + ": " + what); };
  for (const auto& ledger : world_.member(id)->regions()->control().ledgers) {
    incomplete = incomplete || !ledger.complete();
    auto reader = region::LedgerReader::open(world_.disk(id), region::ledger_path("/data", ledger));
    if (!reader.ok()) {  // it came by a snapshot: others of its group have it
      if (reader.error().code != Code::kNotFound) report(reader.error().message);
      continue;
    }
    for (;;) {
      auto entry = reader->next();
      if (!entry.ok()) return report(entry.error().message);
      if (!*entry) break;
      if ((*entry)->kind != EntryKind::kWrites) continue;
      const auto commands = decode_payload((*entry)->payload.view(), (*entry)->writes);
      if (!commands.ok()) return report(commands.error().message);
      for (const auto& c : *commands) put_aside.emplace(c.request);
    }
  }
}

void Operator::judge() {
  std::set<std::string> put_aside;
  bool incomplete = false;
  for (const auto id : world_.ids()) judge_ledgers(id, put_aside, incomplete);
  std::size_t nowhere = 0;
  std::string first;
  for (const auto& told : world_.lost_puts(world_.ids().front())) {
    ++done_["lost writes"];
    if (put_aside.contains(World::request(told))) continue;
    if (nowhere++ == 0) first = told.key + " at revision " + std::to_string(told.revision.value());
  }
  if (nowhere > 0 && !incomplete)
    world_.checkers.report("I6: " + std::to_string(nowhere) + " acknowledged puts are neither in the history nor in a ledger, the first " + first);
  done_["writes that no ledger has, as announced"] += static_cast<int>(nowhere);
  const auto status = world_.stream(world_.ids().front())->recovery().status();
  if (!status.ok()) return world_.checkers.report(status.error().message);
  for (const auto& e : status->history) {
    if (!e.measured) continue;
    ++done_["losses measured"];
    if (!e.announced_open && e.measured->writes > e.announced.writes)
      world_.checkers.report("I7: epoch " + std::to_string(e.epoch.value()) + " announced a loss of " + std::to_string(e.announced.writes) +
                             " writes at most, measured were " + std::to_string(e.measured->writes));
  }
}

}  // namespace leeward::sim
