// What a group knows about itself: kept in the state machine beside the data
// (atomic with what is applied), part of every snapshot, changed only by
// applying control entries. Plain values.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/format.h"
#include "base/ids.h"
#include "base/result.h"
#include "node/group.h"
#include "ports/state_machine.h"
#include "raft/types.h"
#include "region/state.h"

namespace leeward::node {

struct Removed {
  Incarnation incarnation;  // 0: nobody had filled that id
  Index index;              // of the entry that removed it
  std::string peer_address; // where it may be told
  bool operator==(const Removed&) const = default;
};

// A member's state has grown beyond its quota: the group takes no write that
// makes it larger until an operator has made room and lowered the alarm.
struct AlarmChange {
  NodeId member;
  bool raised = true;
};
std::string encode(const AlarmChange& change);
Result<AlarmChange> decode_alarm_change(std::string_view bytes);

struct GroupState {
  static constexpr std::size_t kMostRemoved = 64, kMostRetired = 256;

  Lineage lineage;
  region::State::Control control;  // who the group is among the regions; its id and role
  raft::Membership membership;
  // Which incarnation of each id may vote; 0: nobody has filled it yet. An id
  // once filled changes by kAdmit only.
  std::map<NodeId, Incarnation> admitted;
  std::vector<Node> topology;  // all regions
  // Nodes that the log has named since the first start: where they are reached
  // is the log's to say, not a file's.
  std::set<NodeId> named;
  // Ids that were members, as they went last. The newest kMostRemoved are kept.
  std::map<NodeId, Removed> removed;
  // Lives that were members, or held this group's state, and are none: and by which
  // entry. None of them is ever admitted again, so whoever knows of one may tell it,
  // however far it lags behind. The newest kMostRetired are kept.
  std::map<Incarnation, Index> retired;
  Index listed;  // where this group's own list changed last; 0: it is that of the first start
  std::map<GroupId, Index> others_listed;  // likewise of other groups, as far as known here
  // The newest kAdopt, or kFollow that put history aside: what lies before it
  // leads to another state than this group's. 0: none.
  Index leapt;
  std::set<NodeId> over_quota;  // members with a raised alarm; those that go take theirs along
  std::uint32_t format = kOldestFormat;  // that its members may write

  bool started() const { return lineage.known(); }
};

// Also the payload of the kBootstrap entry: the whole state after it.
std::string encode(const GroupState& state);
// Errors: kCorrupt, kNewerFormat. Empty bytes give an empty state.
Result<GroupState> decode_group_state(std::string_view bytes);
// Of the group whose state it is; not known when that cannot be read.
Lineage lineage_of(const Manifest& manifest);

// Of the groups of one lineage, each by the role and region of its first start.
bool same_list(const Node& a, const Node& b);

// What a membership entry says beside the sets: nodes that come, or are reached
// elsewhere from now on. Who goes, the sets say.
struct MembershipNote {
  std::vector<Node> nodes;
};
std::string encode(const MembershipNote& note);
Result<MembershipNote> decode_membership_note(std::string_view bytes);

// The members of one group, told to the others; the payload of a kOtherMembers.
struct GroupList {
  GroupId group;
  Index listed;  // in that group's log: a higher one is newer
  std::vector<Node> nodes;
};
std::string encode(const GroupList& list);
// Errors: kCorrupt, also for a list that is empty or of more than one group.
Result<GroupList> decode_group_list(std::string_view bytes);

// Of a life that is to vote as `id` from there on. Where the id is no member's it
// comes too late, and says that this life is none any more.
struct Admission {
  NodeId id;
  Incarnation incarnation;
};
std::string encode(const Admission& admission);
Result<Admission> decode_admission(std::string_view bytes);

// From there on the group's members may write that format; a lower one changes nothing.
struct FormatChange {
  std::uint32_t format = kOldestFormat;
};
std::string encode(const FormatChange& change);
Result<FormatChange> decode_format_change(std::string_view bytes);

// Applies one committed entry about members, or the group's first or an Adopt;
// others change nothing here (those about regions: region_log.h). Returns true when the state changed. Errors: kCorrupt.
Result<bool> apply_to_group(const Entry& entry, GroupState& state);

// All nodes of the list that `self` stands in: same role, for observers same
// region too.
std::vector<Node> own_list(const std::vector<Node>& nodes, NodeId self);
// Over name and lists, so that two nodes know they were told the same.
Hash list_hash(const std::string& cluster_name, const std::vector<Node>& nodes);
raft::Membership membership_of(const std::vector<Node>& list);

}  // namespace leeward::node
