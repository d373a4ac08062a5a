#include "api/dr_advice.h"

#include <algorithm>
#include <map>
#include <set>

namespace leeward::api::operations {
namespace {

constexpr Duration kHearsAll = std::chrono::seconds(5);  // after its start a node has heard whoever is up

std::string list(const std::vector<NodeId>& ids, const char* between = ", ") {
  std::string out;
  for (const NodeId id : ids) out += (out.empty() ? "" : between) + std::to_string(id.value());
  return out;
}

std::string named_members(const std::vector<NodeId>& ids) { return (ids.size() == 1 ? "member " : "members ") + list(ids); }
std::string on_empty_disks(const std::vector<NodeId>& ids) { return ids.size() == 1 ? " runs on an empty disk" : " run on empty disks"; }
std::string directories(const std::vector<NodeId>& ids) { return (ids.size() == 1 ? "directory of " : "directories of ") + named_members(ids); }

// Of another region: who answers, and is of that group if one is named, and who does not.
OwnVoters voters_of(const NodeStatus& status, const std::string& region, GroupId group = {}) {
  OwnVoters out;
  for (const auto& m : status.members) {
    if (m.region != region || !(m.voter || !m.report_age || m.state == MemberState::kWaiting)) continue;
    const bool another = group && m.group && m.group != group;
    (is_up(m) && !another && m.state != MemberState::kWaiting ? out.up : out.down).push_back(m.id);
  }
  return out;
}

OwnVoters armed_voters(const NodeStatus& status) { return voters_of(status, status.armed_region, status.armed_group); }

// Of that region, running without anything on their disks.
std::vector<NodeId> empty_ones(const NodeStatus& status, const std::string& region) {
  std::vector<NodeId> out;
  for (const auto& m : status.members)
    if (m.region == region && m.state == MemberState::kWaiting && is_up(m)) out.push_back(m.id);
  return out;
}

bool follows(const NodeStatus& status) { return status.role == GroupRole::kStandby || status.role == GroupRole::kObserver; }

std::string own_region(const NodeStatus& status) {
  for (const auto& m : status.members)
    if (m.id == status.self) return m.region;
  return {};
}

// The region that it was armed with has another group by now.
bool armed_with_another(const NodeStatus& status) {
  if (status.armed_region.empty() || !status.armed_group) return false;
  if (status.role != GroupRole::kPrimary) return status.armed_region == own_region(status) && status.group && status.group != status.armed_group;
  return std::any_of(status.followers.begin(), status.followers.end(),
                     [&](const auto& f) { return f.region == status.armed_region && f.connected && f.group && f.group != status.armed_group; });
}

// As the leader of a primary knows it.
bool lease_ran_out(const NodeStatus& status) { return status.fencing.mode == "lease" && status.fencing.remaining && *status.fencing.remaining <= Duration(); }

constexpr const char* kArmAnew = "leewardctl dr disarm --force at the primary, then leewardctl dr arm (no planned switchover in this epoch from then on)";

// What is lost is lost for good; whoever is only down loses nothing by coming back.
std::string next_without_quorum(const NodeStatus& status) {
  const auto own = own_voters(status);
  const auto empty = empty_ones(status, own_region(status));
  std::string next = "start " + named_members(own.down) + " with their disks (a majority is enough, and nothing is lost)";
  if (!empty.empty())
    next = named_members(empty) + on_empty_disks(empty) +
           (empty.size() == own.down.size() ? ", and too few are left without them" : "; start as many others of " + list(own.down) + " with theirs as make a majority");
  if (status.sealed) next = "region " + status.armed_region + " may have been promoted by the switchover that is under way: leewardctl dr status there, before anything else; " + next;
  // What is in a ledger is nowhere else.
  const std::string first = status.ledger_entries > 0 ? "first leewardctl dr ledger export FILE, then " : "";
  if (follows(status) && status.primary_heard)
    return next + "; where a majority's disks are lost, " + first + "empty the " + directories(own.up) + " too: the region begins anew, from what the primary has (while it was armed, there is no planned switchover in this epoch after that)";
  std::set<std::string> ready;
  for (const auto& m : status.members)
    if (m.role == GroupRole::kStandby && is_up(m) && voters_of(status, m.region).majority()) ready.insert(m.region);
  if (status.role == GroupRole::kPrimary && !ready.empty()) next += "; or promote region " + *ready.begin() + ": leewardctl dr plan";
  return next + "; only where they are lost for good: leewardctl dr plan --members " + list(own.up, ",");
}

// Its region has another group by now: one that began anew, or of survivors.
std::string next_of_left_behind(const NodeStatus& status) {
  const std::string own = own_region(status);
  const auto goes_on = [&](const MemberStatus& m) {
    return m.region == own && m.id != status.self && is_up(m) && m.leader && m.role != GroupRole::kFenced && m.group && m.group != status.group;
  };
  if (status.leader || std::none_of(status.members.begin(), status.members.end(), goes_on)) return {};
  return "leewardctl snapshot save FILE at this member keeps what it alone holds: its region goes on without it. Then empty its directories, start it, "
         "and leewardctl member admit " + std::to_string(status.self.value());
}

std::string next_of_fenced(const NodeStatus& status) {
  const std::string own = own_region(status);
  if (!status.serving_region.empty() && voters_of(status, status.serving_region).up.empty())
    return "leewardctl dr rejoin, when region " + status.serving_region + " is back; only where that is lost for good: leewardctl dr plan --region " + own;
  return "leewardctl dr rejoin";
}

// By a member of its group; which it has heard of, and who that is stands in what it waits for.
std::string next_of_waiting(const NodeStatus& status) {
  const auto own = std::to_string(status.self.value());
  if (status.waits_for == WaitsFor::kMajority)
    return "start those that are silent, first whoever has data on its disks: as soon as a majority of empty ones answers, a new cluster begins without it";
  if (status.waits_for == WaitsFor::kAdmission) return "leewardctl member admit " + own + ", at that member";
  for (const auto& m : status.members)
    if (m.id == status.self && status.waits_for == WaitsFor::kAdding)
      return "leewardctl member add " + std::to_string(m.id.value()) + " --name " + m.name + " --region " + m.region + (m.zone.empty() ? "" : " --zone " + m.zone) +
             " --peer-url " + m.peer_address + (m.client_url.empty() ? "" : " --client-url " + m.client_url) + ", at that member";
  for (const auto& m : status.members)
    if (m.region == own_region(status) && m.id != status.self && is_up(m) && m.state != MemberState::kWaiting && !m.client_url.empty())
      return "leewardctl --endpoints " + m.client_url + " dr status";
  return "leewardctl cluster status";
}

// Another region that is up and led by nobody: what is to be done there its members say.
std::string no_leader_there(const NodeStatus& status, const std::string& region, const std::vector<const MemberStatus*>& members) {
  const MemberStatus* asked = nullptr;
  for (const auto* m : members) {
    if (region == own_region(status) || (is_up(*m) && m->leader)) return {};
    if (is_up(*m) && m->state != MemberState::kWaiting && m->state != MemberState::kRemoved) asked = m;
  }
  if (asked == nullptr || asked->client_url.empty()) return {};
  return "region " + region + " has no leader: leewardctl --endpoints " + asked->client_url + " dr status";
}

}  // namespace

// The way on from a state that is none to stay in.
std::string next_command(const NodeStatus& status) {
  const std::string_view state = dr_state(status);
  if (!status.leader && status.up < kHearsAll && state != "removed" && state != "waiting") return "leewardctl dr status (this node has just started, and hears of the others in a moment)";
  if (state == "contested") return "leewardctl dr survivor --promotion-id P";
  if (state == "fenced" || state == "no_quorum")
    if (auto next = next_of_left_behind(status); !next.empty()) return next;
  if (const auto empty = empty_ones(status, own_region(status)); state == "fenced" && !status.leader && !own_voters(status).majority() && !empty.empty())
    return named_members(empty) + on_empty_disks(empty) + ". Where a majority's disks are lost: leewardctl snapshot save FILE at " + named_members(own_voters(status).up) +
           " keeps what is held there alone, then empty the " + directories(own_voters(status).up) + " too: the region follows by itself";
  if (state == "fenced" && !status.leader && !own_voters(status).majority())
    return "start " + named_members(own_voters(status).down) + " with their disks, then leewardctl dr rejoin; where a majority of the disks is"
           " lost: empty the " + directories(own_voters(status).up) + " too (what they alone hold is lost), and the region follows by itself";
  if (state == "fenced") return next_of_fenced(status);
  if (state == "electing") return "leewardctl dr status (an election is under way)";
  if (state == "waiting") return next_of_waiting(status);
  if (state == "no_quorum") return next_without_quorum(status);
  if (state == "sealed") {
    const auto armed = armed_voters(status);
    if (armed_with_another(status)) return "leewardctl dr reclaim: region " + status.armed_region + " has begun anew, and answers for that switchover no more";
    if (const auto empty = empty_ones(status, status.armed_region); !empty.empty())
      return named_members(empty) + " of region " + status.armed_region + on_empty_disks(empty) + ": where a majority of its disks is lost it answers no more: leewardctl dr reclaim";
    if (armed.majority()) return "leewardctl dr abort";
    return "start " + named_members(armed.down) + " of region " + status.armed_region + ", then leewardctl dr abort takes the switchover back if it was not"
           " done; only where that region is lost for good: leewardctl dr reclaim";
  }
  if (state == "start_wait" && !armed_voters(status).majority())
    return "start " + named_members(armed_voters(status).down) + " of region " + status.armed_region +
           " with their disks: it says whether it was promoted; only where they are lost for good: " + kArmAnew;
  if (state == "serving" && lease_ran_out(status)) {
    const auto armed = armed_voters(status);
    if (armed.majority()) return "leewardctl dr status at region " + status.armed_region + ", which answers this one too seldom";
    return "start " + named_members(armed.down) + " of region " + status.armed_region + " with their disks; only where that region is lost for good: leewardctl dr disarm --force";
  }
  if (armed_with_another(status) && !(state == "following" && status.primary_silent)) return kArmAnew;
  if (state == "following" && status.stream_state == "diverged") return "leewardctl dr rejoin --discard";
  if (state == "following" && status.primary_silent && !status.serving_region.empty())
    return "leewardctl dr status (region " + status.serving_region + " serves epoch " + std::to_string(status.newest_epoch.value()) + ", which this one is to follow)";
  if (state == "following" && status.primary_silent) return "leewardctl dr plan";
  if (state == "following" && !status.primary_heard) return "leewardctl dr status (the primary is called silent after dr.primary_silence)";
  const auto is_fenced = [](const MemberStatus& m) { return m.healthy && m.role == GroupRole::kFenced; };
  if (state == "serving" && std::any_of(status.members.begin(), status.members.end(), is_fenced)) return "leewardctl dr rejoin";
  // What keeps the stream from its group's leader that one says.
  if (state == "following" && status.stream_state.find("no stream") != std::string::npos)
    for (const auto& member : status.members)
      if (member.id == status.leader && member.id != status.self && !member.client_url.empty())
        return "leewardctl --endpoints " + member.client_url + " dr status";
  return "";
}

// What is well only until the next failure.
std::vector<std::string> warnings(const NodeStatus& status) {
  std::vector<std::string> out;
  // Who takes part in no group is sent no reports.
  if (status.up < kHearsAll || dr_state(status) == std::string_view("waiting")) return out;
  std::map<std::string, std::vector<const MemberStatus*>> regions;
  for (const auto& m : status.members) regions[m.region].push_back(&m);
  for (const auto& [region, members] : regions) {
    std::vector<NodeId> down;
    for (const auto* m : members) {
      if (!is_up(*m) && m->id != status.self) down.push_back(m->id);
      if (m->state == MemberState::kLearner && !m->admitted && is_up(*m))
        out.push_back("member " + std::to_string(m->id.value()) + " has no vote: leewardctl member admit " + std::to_string(m->id.value()));
    }
    if (const auto empty = empty_ones(status, region); !empty.empty())
      out.push_back(named_members(empty) + " of region " + region + on_empty_disks(empty) + (empty.size() == 1 ? ", and takes part in no group" : ", and take part in no group"));
    if (auto leaderless = no_leader_there(status, region, members); !leaderless.empty()) out.push_back(std::move(leaderless));
    const bool own = std::any_of(members.begin(), members.end(), [&](const auto* m) { return m->id == status.self; });
    const bool kept = own ? status.ledger_entries > 0 : std::any_of(members.begin(), members.end(), [](const auto* m) { return is_up(*m) && m->ledger_entries > 0; });
    if (kept) out.push_back("region " + region + " has put history aside, and nobody has decided about it: leewardctl dr ledger show");
    // Who leads there decides which group counts.
    const auto leads = std::find_if(members.begin(), members.end(), [](const auto* m) { return m->state == MemberState::kLeader && is_up(*m); });
    for (const auto* m : members)
      if (leads != members.end() && is_up(*m) && m->group && (*leads)->group && m->group != (*leads)->group)
        out.push_back("member " + std::to_string(m->id.value()) + " of region " + region + " is of a group that is gone, and counts for nothing: leewardctl dr status at that member");
    if (down.size() == members.size()) out.push_back("no member of region " + region + " is heard");
    else if (!down.empty()) out.push_back((down.size() > 1 ? "members " : "member ") + list(down) + " of region " + region + (down.size() > 1 ? " are not heard" : " is not heard"));
  }
  if (const auto own = own_region(status); status.role == GroupRole::kPrimary && regions.size() > 1)
    if (const auto voters = std::count_if(regions[own].begin(), regions[own].end(), [](const auto* m) { return m->voter; }); voters == 1 || voters == 2)
      out.push_back(voters == 1 ? "this region stands on one voter, and stops when that fails: leewardctl member add ID, then member promote ID"
                                : "this region stands on two voters, and stops when either fails: leewardctl member add ID, then member promote ID");
  if (status.role == GroupRole::kPrimary && !status.sealed && lease_ran_out(status))
    out.push_back("this region acknowledges nothing until region " + status.armed_region + ", armed by lease, answers");
  if (armed_with_another(status))
    out.push_back("region " + status.armed_region + " is armed as a group that is gone: what it is now can neither be promoted nor handed over to");
  if (status.role == GroupRole::kPrimary && status.armed_region.empty() && regions.size() > 1)
    out.push_back("no region is armed: one that has caught up is armed by itself, unless an operator has disarmed one in this epoch: then leewardctl dr arm");
  return out;
}

}  // namespace leeward::api::operations
