// What must hold after every step, whatever fails: I1 to I4 and I8 of the
// recovery protocol, in each group and across both, and what clients were told.
// The first breach is kept.
//
// Histories part where an epoch ends before all of it was streamed. So what must
// be one in all regions is one for each **branch**: what was written after one
// EpochChange, named by its promotion id (0: epoch 1). Below its fork a branch
// is the one that it began on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/entry.h"
#include "node/member.h"
#include "region/state.h"

namespace leeward::sim {

class Checkers {
 public:
  Checkers() { branches_[0].entries.emplace(HistoryIndex(), Shared{}); }
  // "" while all holds; else which invariant broke, and how.
  const std::string& breach() const { return breach_; }
  void report(std::string what) {
    if (breach_.empty() && !contested_) breach_ = std::move(what);
  }
  // Two forced promotions drew the same number (standby/PROTOCOL.md, Contested): what
  // comes after is told apart by no number, and is not judged.
  bool contested() const { return contested_; }
  // Whether survivors went on without the rest, whoever was told so.
  bool survived() const {
    return std::any_of(groups_.begin(), groups_.end(), [](const auto& g) { return !g.second.became.empty(); });
  }
  // What was found, and on as if nothing had been: for stories that go on.
  std::string forgive() { return std::exchange(breach_, std::string()); }

  // I1: one leader a term, by group. I3: it has all that was ever committed.
  void leader(GroupRole group, const node::Member& member);
  // I2: an index names one entry once it is committed; every entry chains on the
  // one before; in all groups a history index of a branch names one entry, and a
  // group applies none of a branch that the group that writes it has not
  // committed. I4: an equal position is an equal state. I1: what the entries say
  // about regions may stand there (region::State), one group at most is armed,
  // the state keeps it, no group goes back to an older epoch, and no epoch is
  // begun twice unless by force.
  void applied(GroupRole group, NodeId node, std::span<const Entry> entries, const StateMachine& state);
  // How far a member has committed and what it holds: nothing in a following
  // group is ahead of what the primary has committed, nor beside it.
  void stands(GroupRole group, NodeId node, const LogPoint& committed, const LogView& log, Instant now);
  // What a standby says of its lag, by a clock that may run off by `drift`: the
  // oldest write that it lacks was committed within that interval.
  void lag(GroupRole group, NodeId node, const LogPoint& held, const Lag& told, Instant now, double drift);
  // Behind that entry the group's log holds history that no primary made: survivors went on otherwise than the lost
  // had committed; or a story plants it, as if the primary had been restored from a backup since. It is a branch
  // of its own, until a Follow leads back.
  void diverges(GroupRole group, const LogPoint& behind, const std::optional<Position>& first = std::nullopt);
  // Before `stands`: whether survivors have begun a group of their own in this log
  // (kRegroup), the state being that member's. What the group had committed and they
  // lack is not held against them.
  void regroups(GroupRole group, NodeId node, const LogView& log, const StateMachine& state);
  // Whether any of them went on with entries that others had committed otherwise.
  bool parted() const { return parted_; }
  // When nothing more is to be applied: the node's state says of the regions what
  // its group's log says.
  void regions_at_rest(GroupRole group, NodeId node, const StateMachine& state);
  // The arming that counts in the newest epoch that a group writes: a newer one may have been lost with its members.
  std::optional<region::Armed> armed();
  // The disks of all its members are gone: what comes is another group, with a log of its own.
  void begins_anew(GroupRole group, std::span<const NodeId> members) {
    groups_.erase(group);
    for (auto& [promotion, b] : branches_)
      if (b.writer == group) b.writer = GroupRole::kUnknown;
    for (const auto id : members) seen_.erase(id);
  }
  // What a group has applied of the entries about regions.
  const region::State& regions(GroupRole group) { return groups_[group].regions; }
  // How often two groups had a state at the same position, and it was compared.
  std::uint64_t compared_across() const { return compared_across_; }
  // How often a group took over a state.
  std::uint64_t adoptions() const { return adoptions_; }
  // I2 over whole logs: same index and term, same entry.
  void log(GroupRole group, NodeId node, const LogView& log);

  // What clients were told, whose own order is known.
  struct Told {
    Revision before;  // the highest revision acknowledged to anybody before the request began
    std::string key, value;
    Revision revision;
  };
  Revision highest() const { return highest_; }
  void acknowledged_put(const Told& told);
  // Refused as certainly not applied: it must never be, before or after.
  void refused_put(const std::string& request);
  // A linearizable read: value "" when the key is not there.
  void acknowledged_read(const Told& told, Revision mod_revision);
  // I8: what some member has at a revision, however old; "" and 0: no such key.
  void seen(const std::string& key, const std::string& value, Revision mod_revision);
  const std::vector<Told>& puts() const { return puts_; }

 private:
  struct Committed {
    Term term;
    Hash position;
    EntryKind kind;
    Hash payload;
    bool operator==(const Committed&) const = default;
  };
  // An entry of the history, whichever group had it first. Without a payload:
  // a position alone, of a commit or an Adopt.
  struct Shared {
    Position position;
    std::optional<Hash> payload;
  };
  struct StateAt {
    Hash position, state;
    GroupRole group;
  };
  struct Branch {
    region::PromotionId before = 0;  // the branch it goes on from,
    HistoryIndex fork;               // after this entry
    Epoch epoch{1};
    bool forced = false;
    bool parted = false;            // no EpochChange begins it: survivors' own, or planted,
    std::optional<Position> first;  // with this entry, where it is known
    GroupRole writer = GroupRole::kPrimary;  // by what it was when all began
    HistoryIndex committed;                  // by that group
    std::map<HistoryIndex, Instant> committed_at;  // by the world's time
    std::map<HistoryIndex, Shared> entries;
    std::map<HistoryIndex, StateAt> states;
    std::map<HistoryIndex, Entry> about_regions;
    std::optional<region::Armed> in_force;
  };
  struct GroupChecks {
    region::State regions;  // all entries below `next` folded
    Index next{1};
    std::vector<std::pair<Index, Index>> leapt;  // of its log, by an Adopt: nobody has applied [first, second)
    bool leapt_over(Index at) const {
      return std::any_of(leapt.begin(), leapt.end(), [at](const auto& over) { return over.first <= at && at < over.second; });
    }
    std::map<Index, Entry> to_fold;
    Epoch epoch;  // of the newest history entry folded
    std::map<Index, region::PromotionId> branches;  // on which the log is, from that index on
    std::map<Term, NodeId> leaders;
    std::map<Index, Committed> committed;
    std::map<HistoryIndex, HistoryIndex> committed_beyond;  // by the fork of a change that nobody has applied: up to where
    std::map<std::pair<Index, Term>, Hash> entries;
    std::map<NodeId, Index> log_checked;
    std::set<std::pair<Index, Term>> regrouped;
    std::set<GroupId> became;  // by those
  };
  // The EpochChanges of a log, as far as it was read; an end that is cut off is
  // read anew.
  struct Seen {
    Index upto;
    Term term;
    std::map<Index, HistoryIndex> forks;
  };
  Branch& branch(region::PromotionId tip, HistoryIndex index);
  void commit_before(const Branch& b);
  region::PromotionId tip(GroupRole group, Index index);
  void begin_branches(GroupRole group, NodeId node, std::span<const Entry> entries);
  // The fork of the first EpochChange of this log that nobody has applied yet.
  std::optional<std::pair<Index, HistoryIndex>> unapplied_change(GroupRole group, NodeId node, const LogView& log);
  void share(NodeId node, region::PromotionId tip, const Position& position, std::optional<Hash> payload);
  void check_chain(GroupRole group, NodeId node, std::span<const Entry> entries);
  void ahead(GroupRole group, NodeId node, const char* what, region::PromotionId tip, HistoryIndex index);
  region::State::History history_at(const GroupChecks& g, HistoryIndex index, region::PromotionId tip);
  void fold(GroupRole group, NodeId node, const Entry& entry);
  void begin_group(GroupRole group, NodeId node, const LogView& log, Index regroup, const StateMachine& state);
  void give_up_beyond(GroupRole group, Epoch epoch);
  // The branch of survivors' own that this entry begins.
  std::optional<region::PromotionId> parted_at(const Entry& entry) const;
  void forgive_refusals(const LogView& log, Index after, Index upto);
  void check_armed(Branch& branch, GroupRole group, const Entry& entry);
  void check_state(GroupRole group, NodeId node, const AppliedState& state);

  std::map<GroupRole, GroupChecks> groups_;
  std::map<region::PromotionId, Branch> branches_;
  std::map<NodeId, Seen> seen_;
  std::uint64_t compared_across_ = 0, adoptions_ = 0;
  std::map<Revision, std::pair<std::string, std::string>> contents_;
  std::set<Hash> refused_, requests_applied_;
  std::vector<Told> puts_;
  Revision highest_;
  std::string breach_;
  bool contested_ = false;
  bool parted_ = false;
};

}  // namespace leeward::sim
