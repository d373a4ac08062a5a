#include "base/json.h"
#include "base/quantity.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "wal/offline.h"

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
  }
  return "other";
}

// A running node may write what is being read: its directory is left alone.
Result<std::unique_ptr<DirectoryLock>> lock(Disk& disk, const StoragePlace& place) {
  if (!disk.exists(place.data_dir)) return Error{Code::kNotFound, "there is no directory " + place.data_dir + "; give the node's data_dir"};
  auto held = disk.lock(place.data_dir);
  if (!held.ok() && held.error().code == Code::kInUse)
    return Error{Code::kInUse, held.error().message.substr(0, held.error().message.find("; ")) +
                                   "; stop the node first, or work on a copy of the directory"};
  return held;
}

// After a crash the next start cuts a torn tail; nobody was told of it.
bool tears_are_expected(Disk& disk, const StoragePlace& place) {
  const auto reading = wal::read_superblock(disk, place.data_dir);
  return reading.ok() && reading->current >= 0 && !reading->copies[static_cast<std::size_t>(reading->current)].data.clean_shutdown;
}

struct Judged {
  std::size_t damaged = 0, torn = 0;
};

Judged judge(const wal::VerifyReport& report, bool tears_expected) {
  Judged out;
  for (const wal::Fault& fault : report.faults)
    ++(fault.kind == wal::Fault::Kind::kTornTail && tears_expected ? out.torn : out.damaged);
  return out;
}

void print_report(const wal::VerifyReport& report, bool full_scan, std::ostream& out) {
  for (const wal::Fault& fault : report.faults)
    out << (fault.kind == wal::Fault::Kind::kTornTail ? "torn tail  " : "damage     ") << fault.file << " at offset " << fault.offset
        << ": " << fault.what << "\n";
  out << "segments   " << grouped(report.segments) << ", " << grouped(report.batches) << " batches";
  if (!full_scan) {
    out << "; heads only, --full-scan reads every byte\n";
    return;
  }
  out << ", " << grouped(report.entries) << " entries\n"
      << "log        " << grouped(report.base.index.value()) << " (exclusive) to " << grouped(report.last.index.value()) << ", last term "
      << report.last.term.value() << "\n"
      << "position   " << grouped(report.last.position.index.value()) << ", chain hash " << short_hash(report.last.position.hash.hex()) << "\n"
      << "hard state term " << report.hard_state.term.value() << ", vote " << report.hard_state.vote.value() << ", commit "
      << grouped(report.hard_state.commit.value()) << "\n";
}

std::string report_json(const wal::VerifyReport& report, const Judged& judged) {
  JsonWriter out;
  out.begin_object().field("sound", judged.damaged == 0).key("faults").begin_list();
  for (const wal::Fault& fault : report.faults)
    out.begin_object().field("kind", fault.kind == wal::Fault::Kind::kTornTail ? "torn_tail" : "damage").field("file", fault.file)
        .field("offset_bytes", std::to_string(fault.offset)).field("detail", fault.what).end_object();
  out.end_list().field("segments", std::to_string(report.segments)).field("batches", std::to_string(report.batches))
      .field("entries", std::to_string(report.entries)).field("base_index", std::to_string(report.base.index.value()))
      .field("last_index", std::to_string(report.last.index.value())).field("last_term", std::to_string(report.last.term.value()))
      .field("position_index", std::to_string(report.last.position.index.value()))
      .field("chain_hash", report.last.position.hash.hex()).end_object();
  return out.text();
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

}  // namespace

Result<void> storage_verify(Disk& disk, const StoragePlace& place, bool full_scan, const Output& output) {
  const auto held = lock(disk, place);
  if (!held.ok()) return held.error();
  const auto report = wal::verify(disk, place.data_dir, place.wal_dir, full_scan);
  if (!report.ok()) return report.error();
  const Judged judged = judge(*report, tears_are_expected(disk, place));
  if (output.json) output.out << report_json(*report, judged) << "\n";
  else print_report(*report, full_scan, output.out);
  if (judged.damaged > 0)
    return Error{Code::kCorrupt, std::to_string(judged.damaged) + " damaged " + (judged.damaged == 1 ? "place" : "places") +
                                     " found; do not start the node on this directory: empty it and let it be refilled by its peers"};
  if (!output.json)
    output.out << (judged.torn > 0 ? "sound; the node was not stopped cleanly, and its next start cuts the torn tail\n" : "sound\n");
  return {};
}

Result<void> storage_superblock(Disk& disk, const StoragePlace& place, const Output& output) {
  const auto held = lock(disk, place);
  if (!held.ok()) return held.error();
  const auto text = wal::dump_superblock(disk, place.data_dir);
  if (!text.ok()) return text.error();
  if (output.json) {
    JsonWriter out;
    out.begin_object().field("superblock", *text).end_object();
    output.out << out.text() << "\n";
  } else {
    output.out << *text;
  }
  return {};
}

Result<void> storage_log(Disk& disk, const StoragePlace& place, std::uint64_t from, std::uint64_t to, const Output& output) {
  const auto held = lock(disk, place);
  if (!held.ok()) return held.error();
  return wal::dump_log(disk, place.wal_dir, Index(from), Index(to),
                       [&](const wal::DumpedEntry& entry) { print_entry(entry, output); });
}

}  // namespace leeward::ctl
