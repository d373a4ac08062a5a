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
  if (world_.options().forces) {
    if (!loss_ && world_.dice.chance(0.15)) return lose_members();
    if (loss_ && world_.dice.chance(0.5)) return loss_->done ? give_back() : regroup();
    for (const auto group : kGroups) take_in(group);
  }
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
    if (role(group) != GroupRole::kPrimary || !world_.dice.chance(0.7) || (loss_ && loss_->group == group)) continue;
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
    if (!plan.ok()) return;
    // Accepted some time later, perhaps, or by two at once, or at another node.
    PromotionRequest request{plan->digest, true, "ada", "the region burns"};
    if (!plan->allowed()) {
      if (!world_.options().forces || !force(*plan, request) || !world_.dice.chance(0.1)) return;
      world_.expect_two_primaries();
    }
    const auto pause = world_.dice.chance(0.7) ? Duration(1ms) : world_.dice.between(1ms, 3s);
    world_.scheduler.after(pause, [this, at, request] { ask(at, request); });
    if (world_.dice.chance(0.3)) world_.scheduler.after(pause + world_.dice.between(0ms, 200ms), [this, request] { ask(any(), request); });
  });
}

void Operator::ask(NodeId at, const PromotionRequest& request) {
  auto* stream = world_.stream(at);
  if (!stream) return;
  stream->recovery().promote(request, world_.client_loop(), [this, request](Result<PromotionRecord> record) {
    if (record.ok() && !record->repeated) ++done_[request.force.empty() ? "promote" : "promote by force"];
  });
}

// False: there is what may not be forced.
bool Operator::force(const PromotionPlan& plan, PromotionRequest& request) {
  for (const auto& refusal : plan.refusals) {
    if (!refusal.forceable) return false;
    request.force.push_back(refusal.rule);
  }
  return true;
}

std::vector<NodeId> Operator::left_of(GroupRole group) {
  auto ids = world_.of(group);
  std::erase_if(ids, [this](NodeId id) { return world_.lost(id) || world_.of_before(id); });
  return ids;
}

void Operator::lose_members() {
  const auto group = kGroups[world_.dice.below(kGroups.size())];
  const auto leader = world_.leader(group);
  if (!leader) return;
  const auto& members = world_.member(*leader)->membership();
  const auto all = world_.of(group);
  for (const auto id : all)
    if (world_.lost(id) || world_.of_before(id) || !members.is_voter(id)) return;
  const auto left = all[world_.dice.below(all.size())];
  if (!world_.running(left) || world_.member(left)->state().applied().point.index < Index(10)) return;  // the group has hardly begun
  ++done_["lose members"];
  loss_ = Loss{group, world_.scheduler.now() + world_.dice.between(3s, 40s)};
  for (const auto id : all)
    if (id != left) world_.lose(id);
}

void Operator::regroup() {
  if (world_.scheduler.now() - asked_ < 300ms) return;
  asked_ = world_.scheduler.now();
  if (!loss_->begun && asked_ > loss_->gives_up) {
    for (const auto id : world_.of(loss_->group)) if (world_.lost(id)) world_.find(id);
    return loss_.reset();
  }
  const auto left = left_of(loss_->group);
  // It waits for a state that none is left to give: the region begins anew beside the one that serves.
  if (loss_->begun && asked_ > loss_->gives_up + 60s && role(loss_->group) != GroupRole::kPrimary) {
    ++done_["begun anew"];
    world_.wipe_all(loss_->group);
    world_.find(loss_->group);
    return loss_.reset();
  }
  // Nobody may have told that it was done.
  if (const auto leader = world_.leader(loss_->group); leader && world_.member(*leader)->membership().voters == std::set(left.begin(), left.end())) {
    loss_->done = true;
    return;
  }
  auto* stream = world_.stream(left.front());
  if (!stream) return;
  stream->recovery().plan_survivors(left, world_.client_loop(), [this, left](Result<PromotionPlan> plan) {
    auto* there = world_.stream(left.front());
    PromotionRequest request{plan.ok() ? plan->digest : "", true, "ada", "two hosts are gone"};
    if (!plan.ok() || !there || !loss_ || loss_->done || left_of(loss_->group) != left || !force(*plan, request)) return;
    request.members = left;
    if (request.force.size() > 1 || !world_.checkers.regions(loss_->group).armed()) world_.expect_two_primaries();
    loss_->begun = true;
    there->recovery().promote(std::move(request), world_.client_loop(), [this, left](Result<PromotionRecord> record) {
      if (!record.ok() || !loss_ || loss_->done || left_of(loss_->group) != left) return;  // it may be of the loss before
      loss_->done = true;
      ++done_["survivors"];
    });
  });
}

// On their own disks one after the other: two of three would be the group before.
void Operator::give_back() {
  const auto all = world_.of(loss_->group);
  if (std::any_of(all.begin(), all.end(), [this](NodeId id) { return world_.of_before(id); })) return;
  for (const auto id : all)
    if (world_.lost(id)) return world_.come_back(id, world_.dice.chance(0.6));
  loss_.reset();
}

// Whoever is up and no voter of the group that leads there.
void Operator::take_in(GroupRole group) {
  const auto leader = world_.leader(group);
  if (!leader || world_.of_before(*leader)) return;
  auto& member = *world_.member(*leader);
  for (const auto id : world_.of(group)) {
    if (!world_.running(id) || world_.lost(id)) continue;
    if (world_.service(id)->status().state == MemberState::kRemoved) world_.come_back(id, true);
    if (world_.of_before(id) || !world_.running(id)) continue;
    const auto& now = member.membership();
    if (now.is_voter(id)) {
      member.admit(id, world_.client_loop(), [](Result<bool>) {});
      continue;
    }
    node::MemberChange change;
    const bool learns = now.contains(id);
    if (learns) change.promote.push_back(id);
    else change.add.push_back(world_.spec(id));
    member.change_members(std::move(change), world_.client_loop(), [this, learns](Result<Index> done) {
      if (done.ok()) ++done_[learns ? "taken in" : "added"];
    });
  }
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
      if (!r.ok() && getenv("DBG")) fprintf(stderr, "rejoin: %s\n", r.error().message.c_str());
    });
  }
}

void Operator::force_at(NodeId at) {
  auto* stream = world_.stream(at);
  if (!stream) return;
  stream->recovery().plan(world_.client_loop(), [this, at](Result<PromotionPlan> plan) {
    PromotionRequest request{plan.ok() ? plan->digest : "", true, "ada", "there is no other way"};
    if (!plan.ok() || plan->allowed() || !force(*plan, request)) return;
    world_.expect_two_primaries();
    ask(at, request);
  });
}

void Operator::mend() {
  if (loss_) loss_->done ? give_back() : regroup();
  // Nobody serves, and who holds the history is fenced; or it is sealed for a group that is no more.
  const auto serves = [this](GroupRole group) { return role(group) == GroupRole::kPrimary; };
  const auto sealed = [&](GroupRole group) { return serves(group) && world_.checkers.regions(group).history().seal.has_value(); };
  if (sealed_since_ == Instant{} || std::none_of(kGroups.begin(), kGroups.end(), sealed)) sealed_since_ = world_.scheduler.now();
  if (world_.options().forces && !loss_) {
    if (std::none_of(kGroups.begin(), kGroups.end(), serves)) force_at(leader_of(GroupRole::kFenced));
    if (world_.scheduler.now() - sealed_since_ > 15s) force_at(leader_of(GroupRole::kPrimary));
  }
  // Survivors that follow the epoch of another region tell nobody that he was left out.
  for (const auto id : world_.ids())
    if (world_.of_before(id) && world_.running(id) && !world_.member(id)->leader()) world_.come_back(id, true);
  // As it says itself: its group became primary without a state for it.
  for (const auto id : world_.ids())
    if (world_.running(id) && world_.member(id)->adoption().find("empty its directories") != std::string::npos) world_.wipe(id);
  for (const auto group : kGroups) {
    if (!loss_ || loss_->group != group) world_.find(group);
    const auto leader = world_.leader(group);
    if (!leader || !world_.stream(*leader)) continue;
    auto& member = *world_.member(*leader);
    if (world_.options().forces) take_in(group);
    else for (const auto id : world_.of(group))
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
         !world_.checkers.regions(serves).history().seal && !loss_ && all_vote();
}

bool Operator::all_vote() {
  return std::all_of(kGroups.begin(), kGroups.end(), [this](GroupRole group) {
    const auto leader = world_.leader(group);
    const auto all = world_.of(group);
    return leader && std::all_of(all.begin(), all.end(), [&](NodeId id) { return world_.member(*leader)->membership().is_voter(id); });
  });
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
  bool incomplete = world_.checkers.survived() || done_.contains("begun anew");  // what the lost had is in no ledger
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
