// How a node with empty storage finds out what it is part of. Core loop.
//
// It knocks at every address of every list, and wherever the answers lead.
// Active members start their group only when a majority of each list answers
// with the same name and lists and nobody names a lineage; a standby list
// starts when a majority of both lists answers and none names a group in it; so
// does the first primary's list, to follow, when another region's group is the
// primary by the word of its majority: the file says what was true at first. If
// a group is already running, the node waits until that group has admitted this
// incarnation, or counts it as a learner, and starts with the membership it was
// told. A group whose members no file names any more calls those that are silent
// or were removed (Member::call_silent): so none begins before it has listened
// for a while.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "node/context.h"

namespace leeward::node {

class Bootstrap {
 public:
  // What to start with, or whom the node waits for.
  struct Verdict {
    std::optional<raft::Membership> start;
    std::string waiting_for;
    bool follows = false;  // a list of the primary's, whose region another one has succeeded
    GroupId joins{};       // the running group that it starts as a member of
    WaitsFor waits_for = WaitsFor::kOther;
  };

  explicit Bootstrap(Context& context);

  // Sends a knock to all that are known, at most every `kInterval`.
  void knock();
  void answer(NodeId from, const FrameHeader& header, const Knock& knock, bool cold);
  void hear(NodeId from, const FrameHeader& header, const KnockAnswer& answer);
  Verdict verdict() const;
  // By the word of a member of that group: it has admitted this incarnation, or
  // counts it as a learner.
  bool takes_in(GroupId group) const;

  // `from` names another lineage than this directory is of. When a majority of
  // this node's own list names one and the same, it is this directory that does
  // not belong here: wrong_directory() says so (kLineage), and the process must
  // end. Until then strangers() names who does; empty: nobody lately.
  void hear_stranger(NodeId from, const Lineage& theirs);
  std::optional<Error> wrong_directory(const Lineage& ours) const;
  std::string strangers() const;

  // Who there is before this group's log says it: those of the file, and those
  // that a member of a running group told; of its own group its word counts.
  std::vector<Node> nodes() const;

  // The lineage that members of other lists name.
  std::optional<Lineage> lineage_elsewhere() const;
  // A majority of another list's group says that it is the primary. What begins
  // here follows it, also where the file names this list as the first primary:
  // that life ended with its disks, and the file is as it was.
  bool another_serves() const;
  const std::set<NodeId>& own_ids() const { return own_; }
  bool in_own_list(NodeId id) const { return own_.contains(id); }

 private:
  struct Heard {
    KnockAnswer answer;
    GroupId group;
    Incarnation incarnation;
    Instant at{};
  };
  bool tells(const Heard& heard) const;
  bool takes_in(const Heard& heard, const raft::Membership& membership) const;
  bool majority(const std::set<NodeId>& list, std::string& missing) const;
  Verdict new_group() const;
  std::vector<Node> list_told() const;
  // "node 4 at http://...", the latter as far as it was told.
  std::string named(NodeId id) const;

  Context& context_;
  Hash list_hash_;
  std::set<NodeId> own_, active_;
  std::map<NodeId, Heard> heard_;
  std::vector<Node> told_, told_afar_;  // by members of the own list's group, of another one
  struct Stranger {
    Lineage lineage;
    Instant at{};
  };
  std::map<NodeId, Stranger> strangers_;
  std::set<NodeId> differing_;  // answered with another name or other lists
  std::optional<Instant> knocked_, listens_since_;
};

}  // namespace leeward::node
