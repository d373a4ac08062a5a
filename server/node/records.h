// Named records in the superblock's `extra`: key, value, each length-prefixed.
// Unknown ones are kept as they are. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "ports/status.h"
#include "raft/types.h"

namespace leeward::node {

std::optional<std::string> find_record(const std::string& extra, std::string_view key);
void set_record(std::string& extra, std::string_view key, const std::string& value);
void drop_record(std::string& extra, std::string_view key);

// That this directory takes part in a group, with the membership it started
// from, for a crash before the group's first entry.
void set_started(std::string& extra, const raft::Membership& membership);
std::optional<raft::Membership> started_with(const std::string& extra);
// The group of a primary's list that began as one that follows: whatever it hears after a restart.
void set_begins_following(std::string& extra);
bool begins_following(const std::string& extra);

// An epoch and which promotion began it. 0: none, and the first epoch's.
struct Seen {
  Epoch epoch;
  std::uint64_t promotion = 0;
  bool operator==(const Seen&) const = default;
};
// The group that a member was told to join, where its log may name another one for
// a while: survivors go on with the log of the group that they were part of.
void set_joins_group(std::string& extra, GroupId group);  // none: it is dropped
GroupId joins_group(const std::string& extra);
// The newest epoch that a member of another group proved.
void set_seen(std::string& extra, const Seen& seen);
// Errors: kNewerFormat, kCorrupt.
Result<Seen> seen_in(const std::string& extra);

// The newest drill that this member knows of. What cannot be read is none.
void set_drill(std::string& extra, const DrillRecord& drill);
DrillRecord drill_in(const std::string& extra);

}  // namespace leeward::node
