// What must hold after every step, whatever fails: I1 to I4 and I8 of the
// recovery protocol, in each group and across both, and what clients were told.
// The first breach is kept.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/entry.h"
#include "node/member.h"
#include "region/state.h"

namespace leeward::sim {

class Checkers {
 public:
  Checkers() { history_.emplace(HistoryIndex(), Shared{}); }
  // "" while all holds; else which invariant broke, and how.
  const std::string& breach() const { return breach_; }
  void report(std::string what) {
    if (breach_.empty()) breach_ = std::move(what);
  }

  // I1: one leader a term, by group. I3: it has all that was ever committed.
  void leader(GroupRole group, const node::Member& member);
  // I2: an index names one entry once it is committed; every entry chains on the
  // one before; in all groups a history index names one entry, and a following
  // group applies none that the primary has not committed. I4: an equal position
  // is an equal state. I1: what the entries say about regions may stand there
  // (region::State), one group at most is armed, and the state keeps it.
  void applied(GroupRole group, NodeId node, std::span<const Entry> entries, const StateMachine& state);
  // How far a member has committed and what it holds: nothing in a following
  // group is ahead of what the primary has committed, nor beside it.
  void stands(GroupRole group, NodeId node, const Position& committed, const Position& last, Instant now);
  // What a standby says of its lag, by a clock that may run off by `drift`: the
  // oldest write that it lacks was committed within that interval.
  void lag(NodeId node, HistoryIndex held, const Lag& told, Instant now, double drift);
  // When nothing more is to be applied: the node's state says of the regions what
  // its group's log says.
  void regions_at_rest(GroupRole group, NodeId node, const StateMachine& state);
  // The arming that counts in the primary.
  std::optional<region::Armed> armed() const;
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
  struct GroupChecks {
    region::State regions;  // all entries below `next` folded
    Index next{1};
    std::map<Index, Entry> to_fold;
    std::map<Term, NodeId> leaders;
    std::map<Index, Committed> committed;
    std::map<std::pair<Index, Term>, Hash> entries;
    std::map<NodeId, Index> log_checked;
  };
  void share(NodeId node, const Position& position, std::optional<Hash> payload);
  void check_chain(NodeId node, std::span<const Entry> entries);
  void ahead(NodeId node, const char* what, HistoryIndex index);
  void fold(GroupRole group, NodeId node, const Entry& entry);
  void check_armed(GroupRole group, const Entry& entry);

  std::map<GroupRole, GroupChecks> groups_;
  std::map<HistoryIndex, Shared> history_;
  std::map<HistoryIndex, Entry> about_regions_;  // of the primary's history
  HistoryIndex primary_committed_;
  std::map<HistoryIndex, Instant> committed_at_;  // of the primary; by the world's time
  std::optional<region::Armed> in_force_;
  std::map<HistoryIndex, StateAt> states_;
  std::uint64_t compared_across_ = 0, adoptions_ = 0;
  std::map<Revision, std::pair<std::string, std::string>> contents_;
  std::set<Hash> refused_, requests_applied_;
  std::vector<Told> puts_;
  Revision highest_;
  std::string breach_;
};

}  // namespace leeward::sim
