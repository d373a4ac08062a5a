#include "node/restored.h"

#include <algorithm>
#include <cstring>

#include "base/codec.h"
#include "node/records.h"
#include "region/entries.h"

namespace leeward::node {
namespace {

// Numbers that are drawn at random elsewhere: here they follow from the file.
class DrawnFromFile {
 public:
  explicit DrawnFromFile(std::string seed) : seed_(std::move(seed)) {}
  std::uint64_t next(std::string_view what) const {
    std::string text = seed_;
    codec::put_bytes(text, what);
    const Hash hash = sha256(text);
    std::uint64_t out;
    std::memcpy(&out, hash.bytes.data(), sizeof(out));
    return out;
  }

 private:
  std::string seed_;
};

}  // namespace

Result<Restored> restored_group(const RestoredFrom& from, const std::string& cluster_name, const std::vector<Node>& nodes, NodeId self,
                                const std::string& token) {
  const auto list = own_list(nodes, self);
  const std::string node = "node " + std::to_string(self.value());
  if (list.empty()) return Error{Code::kNotFound, node + " stands in no member list"};
  if (list.front().role != GroupRole::kPrimary)
    return Error{Code::kInvalid, node + " stands in the list of a region that follows: restore the members of cluster.members; this one "
                                        "begins on empty directories and follows them"};

  std::string seed = "leeward restored from a snapshot";
  seed.append(reinterpret_cast<const char*>(from.digest.bytes.data()), from.digest.bytes.size());
  const Hash lists = list_hash(cluster_name, nodes);
  seed.append(reinterpret_cast<const char*>(lists.bytes.data()), lists.bytes.size());
  codec::put_bytes(seed, token);
  const DrawnFromFile drawn(std::move(seed));

  Restored out;
  auto& group = out.group;
  group.lineage = Lineage::make(drawn.next("lineage"), drawn.next("lineage, too"), WallTime(std::chrono::milliseconds(from.taken_ms)));
  group.control.group = GroupId(drawn.next("group") | 1);
  group.control.role = GroupRole::kPrimary;
  group.membership = membership_of(list);
  group.topology = nodes;
  group.format = kNewestFormat;
  for (const auto& n : list) group.admitted[n.id] = Incarnation();  // open: the first leader fills them, its own too

  region::EpochChange change;
  // As by force: regions may have begun later epochs than the snapshot's, and theirs have those revisions.
  change.epoch = region::forced_epoch(from.epoch, drawn.next("epoch"));
  if (change.epoch > region::kLastEpoch) return Error{Code::kInvalid, "the snapshot's epoch is one of the last there are"};
  change.promotion = drawn.next("promotion") | 1;
  change.group = group.control.group;
  change.region = list.front().region;
  change.fork = from.position;
  change.ending = region::Ending::kForced;
  change.announced.more = true;
  change.time_ms = from.taken_ms;
  change.by = "leewardctl snapshot restore";
  change.reason = "from the snapshot " + from.digest.hex().substr(0, 16);
  Entry& entry = out.first;
  entry.kind = EntryKind::kEpochChange;
  entry.term = Term(1);
  entry.index = Index(1);
  entry.epoch = change.epoch;
  entry.payload = Bytes(region::encode(change));
  entry.position = extend(from.position, entry.epoch, entry.kind, 0, entry.payload.view());
  return out;
}

SuperblockData restored_superblock(const GroupState& group, const std::string& cluster_name, NodeId self, Incarnation incarnation,
                                   std::string state_dir) {
  SuperblockData data;
  data.cluster_name = cluster_name;
  data.lineage = group.lineage;
  data.node = self;
  data.group = group.control.group;
  data.incarnation = incarnation;
  data.state_dir = std::move(state_dir);
  data.starts = 1;  // so that a log that is missing is missed
  data.clean_shutdown = true;
  set_started(data.extra, group.membership);
  return data;
}

}  // namespace leeward::node
