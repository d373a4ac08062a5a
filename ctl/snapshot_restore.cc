// A member's directory from a snapshot file: server/kv/SNAPSHOT.md, "How it is restored".
#include <algorithm>

#include "base/json.h"
#include "base/quantity.h"
#include "base/units.h"
#include "config/config.h"
#include "ctl/snapshot.h"
#include "ctl/table.h"
#include "kv/stores.h"
#include "node/restored.h"
#include "os/clock.h"
#include "os/random.h"
#include "wal/log_store.h"
#include "wal/superblock.h"

namespace leeward::ctl {
namespace {

constexpr const char* kRestoredState = "state-1-1";  // as one that was received: the log does not lead to it
constexpr const char* kLockFile = "LOCK";

Result<config::Config> configuration(const RestoreTo& to) {
  config::Sources sources;
  if (!to.config.empty()) {
    if (auto read = config::read_file(to.config, sources); !read.ok()) return Error{Code::kInvalid, read.error().message};
  }
  sources.set = to.set;
  if (!to.data_dir.empty()) sources.set.push_back("node.data_dir=" + to.data_dir);
  if (!to.wal_dir.empty()) sources.set.push_back("node.wal_dir=" + to.wal_dir);
  const auto loaded = config::load(sources);
  if (loaded.ok()) return loaded.config;
  std::string text = loaded.problems.front();
  if (loaded.problems.size() > 1) text += " (and " + std::to_string(loaded.problems.size() - 1) + " more: leewardd --check-config names them)";
  return Error{Code::kInvalid, text};
}

std::vector<node::Node> lists_of(const config::Config& c) {
  std::vector<node::Node> nodes;
  for (const auto& [place, m] : c.everyone()) {
    const GroupRole role = place == config::Place::kActive    ? GroupRole::kPrimary
                           : place == config::Place::kStandby ? GroupRole::kStandby
                                                              : GroupRole::kObserver;
    nodes.push_back({m.id, m.name, m.region, m.zone, m.peer, config::client_url(c, m), role});
  }
  return nodes;
}

// What a file system of its own has at its top is nobody's.
Result<void> is_empty(Disk& disk, const std::string& directory) {
  if (!disk.exists(directory)) return {};
  const auto names = disk.list(directory);
  if (!names.ok()) return names.error();
  const auto other = std::find_if(names->begin(), names->end(), [](const std::string& name) { return name != "lost+found" && name != kLockFile; });
  if (other == names->end()) return {};
  return Error{Code::kRefused, directory + " is not empty (" + *other + "): nothing is restored over a member's data; move it away first, or name another directory"};
}

// Until it is whole it is no node's directory; what a failure leaves goes.
class UnfinishedDirectories {
 public:
  UnfinishedDirectories(Disk& disk, const config::Config::Node& node)
      : disk_(disk), data_(node.data_dir), wal_(node.wal_dir), makes_wal_(!disk.exists(node.wal_dir)) {}
  ~UnfinishedDirectories() {
    if (done_) return;
    (void)disk_.remove_all(data_ + "/" + kRestoredState);
    (void)disk_.remove(wal::superblock_path(data_));
    if (const auto names = disk_.list(wal_); names.ok())
      for (const auto& name : *names)
        if (name.ends_with(".seg")) (void)disk_.remove(wal_ + "/" + name);
    if (makes_wal_) (void)disk_.remove(wal_);
  }
  UnfinishedDirectories(const UnfinishedDirectories&) = delete;
  UnfinishedDirectories& operator=(const UnfinishedDirectories&) = delete;
  void finished() { done_ = true; }

 private:
  Disk& disk_;
  const Path data_, wal_;
  const bool makes_wal_;
  bool done_ = false;
};

Result<void> begin_log(Disk& disk, const config::Config& c, Incarnation owner, const LogPoint& point) {
  os::SystemRandom random;
  wal::LogOptions options;
  options.owner = owner;
  options.segment_bytes = c.storage.segment_size;
  options.create = true;
  auto log = wal::SegmentedLog::open(disk, random, c.node.wal_dir, options);
  if (!log.ok()) return log.error();
  return (*log)->reset(point);
}

Result<void> has_room(Disk& disk, const std::string& directory, std::uint64_t needed) {
  const auto space = disk.space(directory);
  if (!space.ok()) return space.error();
  if (space->free_bytes >= needed) return {};
  return Error{Code::kNoSpace, directory + " has " + human_size(space->free_bytes) + " free, the snapshot has " + human_size(needed) + ": free some room first"};
}

void put_restored(const Output& output, const config::Config& c, const node::GroupState& group, const AppliedState& state, const kv::SnapshotReport& from) {
  if (output.json) {
    JsonWriter out;
    out.begin_object().field("node_id", std::to_string(c.node.id)).field("data_dir", c.node.data_dir).field("wal_dir", c.node.wal_dir)
        .field("lineage", group.lineage.hex()).field("epoch", std::to_string(state.epoch.value())).field("revision", std::to_string(state.revision.value()))
        .field("snapshot_revision", std::to_string(from.state.revision.value())).field("keys", std::to_string(from.keys))
        .field("position_index", std::to_string(state.point.position.index.value())).field("state_hash", state.state_hash.hex()).end_object();
    output.out << out.text() << "\n";
    return;
  }
  std::ostream& out = output.out;
  print_line(out, "restored", "node " + std::to_string(c.node.id) + " of '" + c.cluster.name + "' in " + c.node.data_dir);
  print_line(out, "keys", grouped(from.keys) + ", as at revision " + std::to_string(from.state.revision.value()));
  print_line(out, "lineage", group.lineage.hex() + ": a new cluster; the members of the old one are not of it");
  print_line(out, "revision", std::to_string(state.revision.value()) + " in epoch " + std::to_string(state.epoch.value()) + "; what lies between is compacted");
  print_line(out, "next", group.membership.voters.size() > 1 ? "the same file and configuration lists at the other members, then start them all"
                                                             : "start leewardd");
}

}  // namespace

Result<void> snapshot_restore(Disk& disk, const Output& output, const RestoreTo& to, const Progress& progress) {
  const auto loaded = configuration(to);
  if (!loaded.ok()) return loaded.error();
  const config::Config& c = *loaded;
  const NodeId self(c.node.id);
  for (const auto* directory : {&c.node.data_dir, &c.node.wal_dir, &c.node.snapshot_dir}) LEEWARD_TRY(is_empty(disk, *directory));
  const auto nodes = lists_of(c);
  if (auto member = node::restored_group({}, c.cluster.name, nodes, self, to.token); !member.ok()) return Error{Code::kInvalid, member.error().message};
  const auto file = disk.open(to.file, OpenMode::kRead);
  if (!file.ok()) return file.error();
  const auto size = (*file)->size();
  if (!size.ok()) return size.error();
  LEEWARD_TRY(disk.make_dirs(c.node.data_dir));
  const auto held = disk.lock(c.node.data_dir);
  if (!held.ok()) return held.error();
  LEEWARD_TRY(has_room(disk, c.node.data_dir, *size));

  UnfinishedDirectories made(disk, c.node);
  LEEWARD_TRY(disk.make_dirs(c.node.wal_dir));
  const std::string state_dir = c.node.data_dir + "/" + kRestoredState;
  kv::RocksDbOptions options;
  options.write_buffer = 64_MiB;
  options.block_cache = 256_MiB;  // all rows are looked up again, in another order
  auto store = kv::open_rocksdb_store(state_dir, options);
  if (!store.ok()) return store.error();
  node::Restored restored;
  kv::SnapshotReport from;
  os::SystemClock clock;
  NullLog silent;
  kv::BytesSeen seen;
  kv::RowsSeen checked;
  if (progress) {
    seen = [&](std::uint64_t bytes, std::uint64_t of) { progress("restores", bytes, of); };
    checked = [&](std::uint64_t rows) { progress("holds rows against one another: " + grouped(rows), 0, 0); };
  }
  const auto state = kv::restore_snapshot(
      disk, to.file, std::move(*store),
      [&](const kv::SnapshotReport& report) -> Result<kv::RestoredBeginning> {
        from = report;
        auto group = node::restored_group({report.digest, report.state.point.position, report.state.epoch, report.note.taken_ms}, c.cluster.name,
                                          nodes, self, to.token);
        if (!group.ok()) return group.error();
        restored = std::move(*group);
        return kv::RestoredBeginning{restored.first, node::encode(restored.group)};
      },
      clock, silent, seen, checked);
  if (!state.ok()) return state.error();

  os::SystemRandom random;
  Incarnation incarnation;
  while (!incarnation) incarnation = Incarnation(random.next());
  LEEWARD_TRY(begin_log(disk, c, incarnation, state->point));
  LEEWARD_TRY(disk.sync_dir(c.node.wal_dir));
  LEEWARD_TRY(disk.sync_dir(c.node.data_dir));
  // The last: from here on it is a node's directory.
  const auto superblock = wal::SuperblockFile::create(disk, c.node.data_dir, node::restored_superblock(restored.group, c.cluster.name, self, incarnation, kRestoredState));
  if (!superblock.ok()) return superblock.error();
  made.finished();
  if (progress) progress({}, 1, 1);  // leaves no line behind
  put_restored(output, c, restored.group, *state, from);
  return {};
}

}  // namespace leeward::ctl
