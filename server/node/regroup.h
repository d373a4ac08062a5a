// Survivors of a group that lost its majority become a group of their own:
// standby/PROTOCOL.md, "Survivors". What each of them puts down before it counts
// for the new group, and the one entry by which that group begins. Plain values.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"
#include "ports/status.h"
#include "region/entries.h"

namespace leeward::node {

// Where a log ends: whoever has the highest has all that any of them knows to be
// committed.
struct LogEnd {
  Term term;
  Index index;
  auto operator<=>(const LogEnd&) const = default;
};

struct Regroup {
  struct Member {
    Incarnation incarnation;
    GroupId group;  // of which its log makes it a member
    LogEnd end;
    bool operator==(const Member&) const = default;
  };
  std::map<NodeId, Member> members;  // all of them vote
  NodeId leader;                     // its log ends highest: it appends the entry
  Term term;                         // of that entry: above all that the members know
  region::Regrouped become;          // the group; its `plan` is this regrouping's name
  bool operator==(const Regroup&) const = default;
};

std::string encode(const Regroup& regroup);
// Errors: kCorrupt, kNewerFormat.
Result<Regroup> decode_regroup_record(std::string_view bytes);

// The record in the superblock: from there on this member is of the new group,
// whatever its log says.
void set_regroup(std::string& extra, const Regroup& regroup);
void drop_regroup(std::string& extra);
Result<std::optional<Regroup>> regroup_in(const std::string& extra);

// The payload of the kRegroup that makes it so, and the lives that count, read
// from one.
std::string payload_of(const Regroup& regroup);
Result<std::map<NodeId, Incarnation>> regroup_members(std::string_view payload);

// What a member says of itself, asked whether it may be one of them.
struct RegroupStand {
  Incarnation incarnation;
  GroupId group;      // as its log says
  Term term;          // that it knows
  LogEnd end;
  Position position;  // there
  NodeId leader;      // that it follows, or itself
  Epoch epoch;        // of its history, as applied
  GroupRole role = GroupRole::kUnknown;
  bool may = false;   // it has data, a log that it can freeze, and was not removed
  std::string plan;   // regrouping that it takes part in, or took part in last; empty: none
  bool begun = false; // that one's first entry stands in its log
  bool sealed = false;  // its history is sealed for another region
};

}  // namespace leeward::node
