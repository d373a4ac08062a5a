// How a state that is restored from a snapshot begins a new cluster: who its
// group is, and the entry that stands before all that it will write. Pure: the
// same file and lists give the same at every member (kv/SNAPSHOT.md, "How it is
// restored").
#pragma once

#include <string>
#include <vector>

#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"
#include "node/group_state.h"
#include "ports/superblock.h"

namespace leeward::node {

struct RestoredFrom {
  Hash digest;               // of the file
  Position position;         // in the history of the old cluster
  Epoch epoch;
  std::int64_t taken_ms = 0; // since 1970
};

struct Restored {
  GroupState group;
  Entry first;  // an EpochChange; index 1, term 1
};
// `self` is one of the active list. Errors: kInvalid, kNotFound (it stands in no list).
Result<Restored> restored_group(const RestoredFrom& from, const std::string& cluster_name, const std::vector<Node>& nodes, NodeId self,
                                const std::string& token);

// Of the directory of such a member. `state_dir`: a name below it.
SuperblockData restored_superblock(const GroupState& group, const std::string& cluster_name, NodeId self, Incarnation incarnation,
                                   std::string state_dir);

}  // namespace leeward::node
