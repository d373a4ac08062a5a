// What must hold after every step, whatever fails: I1 to I4 and I8 of the
// recovery protocol, and what clients were told. The first breach is kept.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/entry.h"
#include "node/member.h"

namespace leeward::sim {

class Checkers {
 public:
  // "" while all holds; else which invariant broke, and how.
  const std::string& breach() const { return breach_; }
  void report(std::string what) {
    if (breach_.empty()) breach_ = std::move(what);
  }

  // I1: one leader a term, by group. I3: it has all that was ever committed.
  void leader(GroupRole group, const node::Member& member);
  // I2: an index names one entry once it is committed. I4: an equal position
  // is an equal state.
  void applied(GroupRole group, NodeId node, std::span<const Entry> entries, const AppliedState& state);
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
  const std::vector<Told>& puts() const { return puts_; }

 private:
  struct Committed {
    Term term;
    Hash position;
    EntryKind kind;
    Hash payload;
    bool operator==(const Committed&) const = default;
  };
  struct GroupChecks {
    std::map<Term, NodeId> leaders;
    std::map<Index, Committed> committed;
    std::map<std::pair<Index, Term>, Hash> entries;
    std::map<NodeId, Index> log_checked;
  };
  std::map<GroupRole, GroupChecks> groups_;
  std::map<HistoryIndex, std::pair<Hash, Hash>> states_;  // chain hash, state hash
  std::map<Revision, std::pair<std::string, std::string>> contents_;
  std::set<Hash> refused_, requests_applied_;
  std::vector<Told> puts_;
  Revision highest_;
  std::string breach_;
};

}  // namespace leeward::sim
