#include "base/json.h"
#include "base/quantity.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/storage.h"
#include "wal/offline.h"
#include "wal/superblock.h"

namespace leeward::ctl {
namespace {

const char* kind_name(EntryKind kind) {
  switch (kind) {
    case EntryKind::kWrites: return "writes";
    case EntryKind::kEpochChange: return "epoch-change";
    case EntryKind::kArmed: return "armed";
    case EntryKind::kDisarmed: return "disarmed";
    case EntryKind::kSeal: return "seal";
    case EntryKind::kUnseal: return "unseal";
    case EntryKind::kTopology: return "topology";
    case EntryKind::kMeasured: return "measured";
    case EntryKind::kNoop: return "noop";
    case EntryKind::kBootstrap: return "bootstrap";
    case EntryKind::kMembership: return "membership";
    case EntryKind::kAlarm: return "alarm";
    case EntryKind::kAdmit: return "admit";
    case EntryKind::kFenced: return "fenced";
    case EntryKind::kFollow: return "follow";
    case EntryKind::kAdopt: return "adopt";
    case EntryKind::kCut: return "cut";
    case EntryKind::kUncut: return "uncut";
    case EntryKind::kReclaimed: return "reclaimed";
    case EntryKind::kResigned: return "resigned";
    case EntryKind::kOtherMembers: return "other-members";
    case EntryKind::kRegroup: return "regroup";
    case EntryKind::kSurvivor: return "survivor";
    case EntryKind::kDiscarded: return "discarded";
    case EntryKind::kFormat: return "format";
  }
  return "other";
}

void print_entry(const wal::DumpedEntry& dumped, const Output& output) {
  const Entry& e = dumped.entry;
  if (output.json) {
    JsonWriter out;
    out.begin_object().field("index", std::to_string(e.index.value())).field("term", std::to_string(e.term.value()))
        .field("kind", kind_name(e.kind)).field("epoch", std::to_string(e.epoch.value())).field("writes", e.writes)
        .field("payload_bytes", std::to_string(e.payload.size())).field("position_index", std::to_string(e.position.index.value()))
        .field("chain_hash", e.position.hash.hex()).field("file", dumped.file).field("offset_bytes", std::to_string(dumped.offset))
        .end_object();
    output.out << out.text() << "\n";
    return;
  }
  output.out << e.index.value() << "  term " << e.term.value() << "  " << kind_name(e.kind) << "  writes " << e.writes << "  "
             << human_size(e.payload.size()) << "  position " << e.position.index.value() << "  "
             << short_hash(e.position.hash.hex()) << "\n";
}

// What is not known, or cannot be read of a damaged copy, is absent.
void put(JsonWriter& out, const SuperblockData& d) {
  out.field("sequence", std::to_string(d.sequence)).field("format", d.format).field("cluster", d.cluster_name);
  if (d.lineage.known()) out.field("lineage", d.lineage.hex());
  out.field("node_id", std::to_string(d.node.value()));
  if (d.group.value() != 0) out.field("group", std::to_string(d.group.value()));
  out.field("incarnation", std::to_string(d.incarnation.value())).field("state_dir", d.state_dir);
  if (!d.pending_state_dir.empty()) out.field("pending_state_dir", d.pending_state_dir);
  out.field("starts", std::to_string(d.starts)).field("clean_shutdown", d.clean_shutdown)
      .field("extra_bytes", std::to_string(d.extra.size()));
}

std::string superblock_json(const wal::SuperblockReading& reading) {
  JsonWriter out;
  out.begin_object().field("usable", reading.current >= 0).key("copies").begin_list();
  for (std::size_t i = 0; i < reading.copies.size(); ++i) {
    const wal::SuperblockCopy& copy = reading.copies[i];
    out.begin_object().field("copy", i).field("valid", copy.valid()).field("current", reading.counts(i));
    if (copy.valid())
      put(out, copy.data);
    else
      out.field("fault", copy.fault);
    out.end_object();
  }
  out.end_list().end_object();
  return out.text();
}

}  // namespace

Result<std::unique_ptr<DirectoryLock>> lock_stopped(Disk& disk, const StoragePlace& place) {
  if (!disk.exists(place.data_dir)) return Error{Code::kNotFound, "there is no directory " + place.data_dir + "; give the node's data_dir"};
  // Before the lock, which is a file: nothing is left in a directory named by mistake.
  if (!disk.exists(place.data_dir + "/superblock") && !disk.exists(place.wal_dir))
    return Error{Code::kNotFound, place.data_dir + " is no node's: it has neither superblock nor log; give the node's data_dir, and --wal-dir if the log is elsewhere"};
  auto held = disk.lock(place.data_dir);
  if (!held.ok() && held.error().code == Code::kInUse)
    return Error{Code::kInUse, held.error().message.substr(0, held.error().message.find("; ")) + "; stop the node first, or work on a copy of the directory"};
  return held;
}

Result<void> storage_superblock(Disk& disk, const StoragePlace& place, const Output& output) {
  const auto held = lock_stopped(disk, place);
  if (!held.ok()) return held.error();
  const auto reading = wal::read_superblock(disk, place.data_dir);
  if (!reading.ok()) return reading.error();
  if (output.json) {
    output.out << superblock_json(*reading) << "\n";
  } else {
    const auto text = wal::dump_superblock(disk, place.data_dir);
    if (!text.ok()) return text.error();
    output.out << *text;
  }
  if (reading->current < 0) return wal::no_quorum(*reading, wal::superblock_path(place.data_dir));
  return {};
}

Result<void> storage_log(Disk& disk, const StoragePlace& place, std::uint64_t from, std::uint64_t to, const Output& output) {
  if (from >= to) return Error{Code::kInvalid, "--from " + std::to_string(from) + " is not before --to " + std::to_string(to) + ", where it stops"};
  const auto held = lock_stopped(disk, place);
  if (!held.ok()) return held.error();
  return wal::dump_log(disk, place.wal_dir, Index(from), Index(to),
                       [&](const wal::DumpedEntry& entry) { print_entry(entry, output); });
}

}  // namespace leeward::ctl
