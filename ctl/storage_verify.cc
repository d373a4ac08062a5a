// `storage verify`: superblock and log by wal's tools, state and checkpoints by
// kv's, ledgers by region's, and what must hold between them.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "base/json.h"
#include "base/quantity.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/storage.h"
#include "kv/offline.h"
#include "node/group_state.h"
#include "region/ledger.h"
#include "wal/offline.h"

namespace leeward::ctl {
namespace {

constexpr std::string_view kStatePrefix = "state-", kCheckpointPrefix = "checkpoint-";
// "state-1" is a node's own first state, "state-INDEX-N" one that was received
// or made at a leap: the log need not lead to it from below. The index; 0: none.
Index exchanged_at(std::string_view name) {
  const auto second = name.find('-', kStatePrefix.size());
  std::uint64_t index = 0;
  if (name.starts_with(kStatePrefix) && second != name.npos) std::from_chars(name.data() + kStatePrefix.size(), name.data() + second, index);
  return Index(index);
}

struct Finding {
  enum class Kind {
    kDamage,
    kTornTail,    // a crash leaves it, the next start cuts it, nobody was told of it
    kIncomplete,  // a checkpoint that a crash left half made or half removed
  };
  Kind kind = Kind::kDamage;
  Path file;
  std::uint64_t offset = 0;
  std::string what;
  enum class Cure {
    kRefill,      // or what its kind of file allows: cure_of()
    kReunite,     // files of two directories: each is sound by itself
    kLedger,      // other members have the same file
    kCheckpoint,  // the node makes another
    kPlace,       // they may well lie elsewhere
    kLogPlace,    // so may the log
    kFetch,       // the next start fetches it from another member, if one has it
    kStart,       // the next start puts it right
  };
  Cure cure = Cure::kRefill;
};

const char* kind_text(Finding::Kind kind) {
  switch (kind) {
    case Finding::Kind::kDamage: return "damage";
    case Finding::Kind::kTornTail: return "torn_tail";
    case Finding::Kind::kIncomplete: return "incomplete";
  }
  return "damage";
}

struct Report {
  std::vector<Finding> findings;
  std::vector<kv::Uncovered> uncovered;
  wal::VerifyReport log;
  std::optional<kv::StateReport> state;
  std::size_t checkpoints = 0;
  std::uint64_t checkpoint_bytes = 0;
  std::size_t ledgers = 0;
  std::uint64_t ledger_entries = 0;

  std::size_t count(Finding::Kind kind) const {
    return static_cast<std::size_t>(std::count_if(findings.begin(), findings.end(), [&](const Finding& f) { return f.kind == kind; }));
  }
  bool sound() const { return count(Finding::Kind::kDamage) == 0; }
  std::uint64_t uncovered_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& u : uncovered) sum += u.bytes;
    return sum;
  }
};

class Verification {
 public:
  // `progress`: where a full scan says what it is at; may be null.
  Verification(Disk& disk, const StoragePlace& place, bool full_scan, std::ostream* progress)
      : disk_(disk), place_(place), full_(full_scan), progress_(full_scan ? progress : nullptr) {}

  Result<Report> run() {
    LEEWARD_TRY(superblock());
    LEEWARD_TRY(state());
    LEEWARD_TRY(checkpoints());
    LEEWARD_TRY(log());
    missing_state();
    if (full_) between();
    if (full_) LEEWARD_TRY(ledgers());
    LEEWARD_TRY(rest());
    return std::move(report_);
  }

 private:
  void looks_at(const Path& what) {
    if (progress_ != nullptr) *progress_ << "reading     " << what << std::endl;
  }
  kv::RowsSeen rows_seen() {
    if (progress_ == nullptr) return {};
    return [this](std::uint64_t rows) { *progress_ << "            " << grouped(rows) << " rows so far" << std::endl; };
  }

  void damage(const Path& file, std::uint64_t offset, const std::string& what) {
    report_.findings.push_back({Finding::Kind::kDamage, file, offset, what});
  }

  void elsewhere(const std::string& what) {
    report_.findings.push_back({Finding::Kind::kDamage, place_.snapshot_dir, 0, what, Finding::Cure::kPlace});
  }

  // Its own faults are in the log's report; here: what it says of the rest.
  Result<void> superblock() {
    const auto reading = wal::read_superblock(disk_, place_.data_dir);
    if (!reading.ok()) return reading.error().code == Code::kNotFound ? Result<void>() : reading.error();
    if (reading->current >= 0) superblock_ = reading->copies[static_cast<std::size_t>(reading->current)].data;
    return {};
  }

  Result<void> state() {
    if (!superblock_ || superblock_->starts == 0) return {};
    const Path directory = place_.data_dir + "/" + superblock_->state_dir;
    looks_at(directory);
    if (!disk_.exists(directory)) return {};  // missing_state()
    auto checked = kv::verify_state(disk_, directory, full_, rows_seen());
    if (!checked.ok()) return checked.error();
    take(*checked);
    report_.state = std::move(*checked);
    return {};
  }

  void take(const kv::StateReport& checked) {
    for (const auto& fault : checked.faults) damage(fault.file, fault.offset, fault.what);
    report_.uncovered.insert(report_.uncovered.end(), checked.uncovered.begin(), checked.uncovered.end());
  }

  Result<void> checkpoints() {
    const auto names = disk_.list(place_.snapshot_dir);
    if (!names.ok() && names.error().code != Code::kNotFound) return names.error();
    if (!names.ok()) {
      if (place_.names_snapshot_dir) elsewhere("there is no such directory");
      return {};
    }
    for (const std::string& name : *names) {
      if (!name.starts_with(kCheckpointPrefix)) continue;
      const Path directory = place_.snapshot_dir + "/" + name;
      looks_at(directory);
      auto checked = kv::verify_checkpoint(disk_, directory, full_);
      if (!checked.ok()) return checked.error();
      const bool no_manifest = !checked->state && checked->faults.size() == 1 && checked->faults.front().code == Code::kNotFound;
      if (no_manifest && crashed()) {
        report_.findings.push_back({Finding::Kind::kIncomplete, directory, 0,
                                    "a checkpoint without its manifest: half made or half removed when the node ended; the next start removes it"});
        uncovered_tree(directory, "part of an incomplete checkpoint");
        continue;
      }
      take(*checked);
      ++report_.checkpoints;
      report_.checkpoint_bytes += checked->bytes;
      if (checked->state) points_.emplace(directory, checked->state->point);
    }
    return {};
  }

  Result<void> log() {
    std::set<Index> wanted;
    for (const auto& [directory, point] : points_) wanted.insert(point.index);
    if (report_.state && report_.state->state) wanted.insert(report_.state->state->point.index);
    looks_at(place_.wal_dir);
    auto checked = wal::verify(disk_, place_.data_dir, place_.wal_dir, full_, [&](const Entry& e) {
      if (wanted.contains(e.index)) in_log_[e.index] = {e.index, e.term, e.position};
      discarded_.erase(discarded_.lower_bound(e.index), discarded_.end());  // an overwritten tail goes as a whole
      if (e.kind != EntryKind::kDiscarded) return;
      if (const auto d = region::decode_discarded(e.payload.view()); d.ok()) discarded_[e.index] = d->follow;
    });
    if (!checked.ok()) return checked.error();
    for (const wal::Fault& fault : checked->faults) {
      const bool torn = fault.kind == wal::Fault::Kind::kTornTail && crashed();
      report_.findings.push_back({torn ? Finding::Kind::kTornTail : Finding::Kind::kDamage, fault.file, fault.offset, fault.what,
                                  fault.mends                    ? Finding::Cure::kStart
                                  : fault.code == Code::kLineage ? Finding::Cure::kReunite
                                  : checked->segments == 0       ? Finding::Cure::kLogPlace
                                                                 : Finding::Cure::kRefill});
    }
    report_.log = std::move(*checked);
    return {};
  }

  // A start makes it anew from a checkpoint or from the log's beginning, and the log behind.
  void missing_state() {
    if (!superblock_ || superblock_->starts == 0 || report_.state) return;
    const Path directory = place_.data_dir + "/" + superblock_->state_dir;
    const auto& base = report_.log.base;
    const bool led_to = report_.log.segments > 0 && (base.index == Index() || std::any_of(points_.begin(), points_.end(), [&](const auto& p) {
                          return p.second.index >= base.index;
                        }));
    report_.findings.push_back({Finding::Kind::kDamage, directory, 0, "there is no such directory, and the superblock names it as the state",
                                !full_   ? Finding::Cure::kCheckpoint  // where the log begins was not read
                                : led_to ? Finding::Cure::kStart
                                         : Finding::Cure::kRefill});
  }

  // The state stands at a place of the log, from which a restart replays; so
  // does at least the newest checkpoint, without which no log is released. A
  // node whose state was exchanged may have none for a moment: its log began
  // anew behind that state, and older checkpoints lead to another.
  void between() {
    const wal::VerifyReport& log = report_.log;
    if (!log.sound() && !report_.sound()) return;  // the log is not known whole
    if (report_.state && report_.state->state && report_.state->state->point.index.value() > 0)
      at_a_place_of_the_log(place_.data_dir + "/" + superblock_->state_dir, report_.state->state->point);
    else if (report_.state && report_.state->sound() && log.base.index.value() > 0)
      damage(place_.wal_dir, 0, "the log begins after entry " + std::to_string(log.base.index.value()) + ", the state is empty");
    const LogPoint* newest = nullptr;
    for (const auto& [directory, point] : points_) {
      if (point.index > log.base.index) at_a_place_of_the_log(directory, point);
      if (!newest || point.index > newest->index) newest = &point;
    }
    // The log leads on from the state all the same.
    const bool led_to = newest && newest->index >= log.base.index;
    if (!led_to && superblock_ && log.base.index > exchanged_at(superblock_->state_dir) &&
        superblock_->pending_state_dir.empty() && report_.sound())
      elsewhere((newest ? "the newest checkpoint here ends at entry " + std::to_string(newest->index.value()) : "no checkpoint lies here") +
                ", and the log begins after entry " + std::to_string(log.base.index.value()) + ": it is shortened below a checkpoint only");
  }

  void at_a_place_of_the_log(const Path& what, const LogPoint& point) {
    const wal::VerifyReport& log = report_.log;
    const std::string at = std::to_string(point.index.value());
    if (point.index < log.base.index)
      damage(what, 0, "it ends at entry " + at + ", the log begins after " + std::to_string(log.base.index.value()) +
                          ": an older state, or segments are missing");
    else if (point.index > log.last.index)
      damage(what, 0, "it holds entry " + at + ", the log ends at " + std::to_string(log.last.index.value()) +
                          ": the end of the log is missing");
    else if (const auto it = in_log_.find(point.index); point != (point.index == log.base.index ? log.base
                                                                  : it == in_log_.end()          ? LogPoint{}
                                                                                                 : it->second))
      damage(what, 0, "it and the log differ at entry " + at + ": another term or chain hash");
  }

  // What a promotion lost may stand nowhere else any more.
  Result<void> ledgers() {
    LEEWARD_TRY(missing_ledgers());
    const Path directory = region::ledgers_dir(place_.data_dir);
    const auto names = disk_.list(directory);
    if (!names.ok()) return names.error().code == Code::kNotFound ? Result<void>() : names.error();
    if (!names->empty()) looks_at(directory);
    for (const std::string& name : *names) {
      const Path path = directory + "/" + name;
      if (!name.ends_with(region::kLedgerSuffix)) {
        uncovered_file(path, "a ledger half written; begun anew at the next start");
        continue;
      }
      ++report_.ledgers;
      auto reader = region::LedgerReader::open(disk_, path);
      auto next = reader.ok() ? reader->next() : reader.error();
      for (; next.ok() && *next; next = reader->next()) ++report_.ledger_entries;
      if (!next.ok() && next.error().code == Code::kIo) return next.error();
      if (!next.ok()) damage(path, 0, next.error().message);
    }
    return {};
  }

  // Of those that the state names. What was discarded since, the log says.
  Result<void> missing_ledgers() {
    if (!report_.state) return {};
    const auto group = node::decode_group_state(report_.state->group_state);
    if (!group.ok() && group.error().code == Code::kNewerFormat) return group.error();  // nothing is damaged
    if (!group.ok()) {
      damage(place_.data_dir + "/" + superblock_->state_dir, 0, group.error().message);
      return {};
    }
    for (const region::Ledger& ledger : group->control.ledgers) {
      const Path path = region::ledger_path(place_.data_dir, ledger);
      const bool gone = std::any_of(discarded_.begin(), discarded_.end(), [&](const auto& d) { return d.second == ledger.follow; });
      if (!gone && !disk_.exists(path))
        report_.findings.push_back({Finding::Kind::kDamage, path, 0,
                                    "missing; another member of the group may have it: this one fetches it at its next start",
                                    Finding::Cure::kFetch});
    }
    return {};
  }

  // Files that belong to nothing above.
  Result<void> rest() {
    LEEWARD_TRY(rest_of(place_.data_dir, [&](const std::string& name, const Path& path) {
      if (name == "superblock" || path == region::ledgers_dir(place_.data_dir)) return;
      if (name.starts_with(kStatePrefix)) {
        if (superblock_ && name != superblock_->state_dir && name != superblock_->pending_state_dir)
          uncovered_tree(path, "a state that is not the current one; the next start removes it");
        else if (superblock_ && name == superblock_->pending_state_dir)
          pending(path);
        return;
      }
      if (name == "incoming" || name == "adopt") return uncovered_tree(path, "of a state that is being received: checked by its hash when it is whole");
      uncovered_file(path, name == "LOCK"      ? "a process number for people; the lock is not in its bytes"
                           : name == "reserve" ? "space kept aside for a disk that fills up"
                           : name.starts_with("flight") ? "what the flight recorder left; nothing depends on it"
                           : name == "exits"   ? "how often the process ended by what; nothing depends on it"
                                               : "not a file of the data");
    }));
    return rest_of(place_.wal_dir, [&](const std::string& name, const Path& path) {
      if (name.starts_with("log-") && name.ends_with(".seg")) return;
      uncovered_file(path, name == "spare.seg" ? "the next segment in preparation: holds nothing, the next start throws it away"
                           : name == "LOCK"    ? "a process number for people; the lock is not in its bytes"
                                               : "not a file of the log");
    });
  }

  // A snapshot whose installation was cut short; the next start finishes it.
  void pending(const Path& path) {
    looks_at(path);
    auto checked = kv::verify_state(disk_, path, full_, rows_seen());
    if (checked.ok()) take(*checked);
  }

  Result<void> rest_of(const Path& directory, const std::function<void(const std::string&, const Path&)>& each) {
    const auto names = disk_.list(directory);
    if (!names.ok()) return names.error().code == Code::kNotFound ? Result<void>() : names.error();
    for (const std::string& name : *names)
      if (const Path path = directory + "/" + name; path != place_.wal_dir && path != place_.snapshot_dir) each(name, path);
    return {};
  }

  void uncovered_file(const Path& path, const char* why) {
    const auto file = disk_.open(path, OpenMode::kRead);
    if (!file.ok()) return;
    if (const auto size = (*file)->size(); size.ok() && *size > 0) report_.uncovered.push_back({path, *size, why});
  }
  void uncovered_tree(const Path& directory, const char* why) {
    const auto names = disk_.list(directory);
    if (!names.ok()) return;
    for (const std::string& name : *names) uncovered_file(directory + "/" + name, why);
  }

  bool crashed() const { return superblock_ && !superblock_->clean_shutdown; }

  Disk& disk_;
  const StoragePlace& place_;
  const bool full_;
  std::ostream* const progress_;
  Report report_;
  std::optional<SuperblockData> superblock_;
  std::map<Path, LogPoint> points_;  // of checkpoints
  std::map<Index, LogPoint> in_log_;
  std::map<Index, Index> discarded_;  // by entry: the Follow whose ledger goes
};

void print(const Report& report, const StoragePlace& place, bool full_scan, std::ostream& out) {
  for (const Finding& f : report.findings) {
    out << (f.kind == Finding::Kind::kDamage ? "damage      " : f.kind == Finding::Kind::kTornTail ? "torn tail   " : "incomplete  ") << f.file;
    if (f.offset != 0) out << " at offset " << f.offset;
    out << ": " << f.what << "\n";
  }
  const wal::VerifyReport& log = report.log;
  out << "segments    " << grouped(log.segments) << ", " << grouped(log.batches) << " batches";
  if (full_scan) {
    out << ", " << grouped(log.entries) << " entries\n"
        << "log         " << grouped(log.base.index.value()) << " (exclusive) to " << grouped(log.last.index.value()) << ", last term "
        << log.last.term.value() << "\n"
        << "position    " << grouped(log.last.position.index.value()) << ", chain hash " << short_hash(log.last.position.hash.hex()) << "\n"
        << "hard state  term " << log.hard_state.term.value() << ", vote " << log.hard_state.vote.value() << ", commit "
        << grouped(log.hard_state.commit.value()) << "\n";
  } else {
    out << "; heads only, --full-scan reads every byte\n";
  }
  if (report.state) {
    out << "state       " << grouped(report.state->files) << " files, " << human_size(report.state->bytes);
    if (report.state->state && full_scan)
      out << "; at entry " << grouped(report.state->state->point.index.value()) << ", revision "
          << grouped(static_cast<std::uint64_t>(report.state->state->revision.value())) << ", " << grouped(report.state->keys) << " keys, "
          << grouped(report.state->versions) << " versions, " << grouped(report.state->leases) << " leases, state hash "
          << short_hash(report.state->state->state_hash.hex()) << (report.state->sound() ? " recomputed" : "");
    out << "\n";
  }
  out << "checkpoints " << grouped(report.checkpoints) << ", " << human_size(report.checkpoint_bytes);
  if (report.checkpoints == 0) out << "; there is none in " << place.snapshot_dir << " (--snapshot-dir)";
  out << "\n";
  if (report.ledgers > 0) out << "ledgers     " << grouped(report.ledgers) << ", " << grouped(report.ledger_entries) << " entries\n";
  if (!full_scan) return;
  out << "not covered " << grouped(report.uncovered_bytes()) << " bytes on which no data depends" << (report.uncovered.empty() ? "\n" : ":\n");
  for (const auto& u : report.uncovered) out << "            " << u.file << ", " << grouped(u.bytes) << ": " << u.why << "\n";
}

// What was not looked at is absent.
std::string json(const Report& report, bool full_scan) {
  JsonWriter out;
  const wal::VerifyReport& log = report.log;
  out.begin_object().field("sound", report.sound()).field("full_scan", full_scan).key("faults").begin_list();
  for (const Finding& f : report.findings)
    out.begin_object().field("kind", kind_text(f.kind)).field("file", f.file).field("offset_bytes", std::to_string(f.offset))
        .field("detail", f.what).end_object();
  out.end_list().field("segments", std::to_string(log.segments)).field("batches", std::to_string(log.batches))
      .field("checkpoints", std::to_string(report.checkpoints));
  if (!full_scan) return out.end_object().text();
  out.field("entries", std::to_string(log.entries)).field("base_index", std::to_string(log.base.index.value()))
      .field("last_index", std::to_string(log.last.index.value())).field("last_term", std::to_string(log.last.term.value()))
      .field("position_index", std::to_string(log.last.position.index.value())).field("chain_hash", log.last.position.hash.hex());
  if (report.state && report.state->state) {
    const AppliedState& state = *report.state->state;
    out.field("applied_index", std::to_string(state.point.index.value())).field("revision", std::to_string(state.revision.value()))
        .field("state_hash", state.state_hash.hex()).field("keys", std::to_string(report.state->keys))
        .field("versions", std::to_string(report.state->versions)).field("leases", std::to_string(report.state->leases));
  }
  out.field("ledgers", std::to_string(report.ledgers)).field("ledger_entries", std::to_string(report.ledger_entries))
      .field("uncovered_bytes", std::to_string(report.uncovered_bytes())).key("uncovered").begin_list();
  for (const auto& u : report.uncovered)
    out.begin_object().field("file", u.file).field("bytes", std::to_string(u.bytes)).field("detail", u.why).end_object();
  out.end_list().end_object();
  return out.text();
}

Finding::Cure cure_of(const Finding& f, const StoragePlace& place) {
  if (f.cure != Finding::Cure::kRefill) return f.cure;
  if (f.file.starts_with(region::ledgers_dir(place.data_dir) + "/")) return Finding::Cure::kLedger;
  if (f.file.starts_with(place.snapshot_dir + "/" + std::string(kCheckpointPrefix))) return Finding::Cure::kCheckpoint;
  return Finding::Cure::kRefill;
}

// One line: how much, where first, and what to do. Only what has no cure of its
// own costs the directory: several harmless findings are still harmless.
Error damage_error(const Report& report, const StoragePlace& place, bool full_scan) {
  using enum Finding::Cure;
  const std::size_t damaged = report.count(Finding::Kind::kDamage);
  const Finding* first = nullptr;
  std::set<Finding::Cure> cures;
  for (const Finding& f : report.findings) {
    if (f.kind != Finding::Kind::kDamage) continue;
    if (first == nullptr) first = &f;
    cures.insert(cure_of(f, place));
  }
  const std::string what = std::to_string(damaged) + " damaged " + (damaged == 1 ? "place" : "places") + " found, the first in " + first->file;
  if (cures.contains(kReunite))
    return {Code::kCorrupt, what + "; superblock and log are of two data directories: put those of one together again, or name the log's "
                                   "place (--wal-dir, node.wal_dir)"};
  if (cures.contains(kRefill))
    return {Code::kCorrupt, what + "; do not start the node on this directory: empty it and let it be refilled by its peers"};
  if (cures.contains(kLogPlace))
    return {Code::kCorrupt, what + ", where no log lies: name its place (--wal-dir, node.wal_dir); only if it is lost, empty the directory "
                                   "and let it be refilled by its peers"};
  const bool alone = cures.size() == 1;
  if (alone && cures.contains(kStart))
    return {Code::kCorrupt, what + "; nothing acknowledged depends on it and the next start mends it, but have the disk looked at"};
  if (!full_scan)  // names and heads tell nothing of state and log: no start is advised on them
    return {Code::kCorrupt, what + "; state and log were not read whole: " +
                                (cures.contains(kPlace) ? "name the checkpoints' place (--snapshot-dir, node.snapshot_dir) and " : "") +
                                "verify again with --full-scan before the node is started"};
  const std::pair<Finding::Cure, std::string> texts[] = {
      {kLedger, std::string(alone ? "take the file of that name" : "take a damaged ledger's file") + " from another member of the group, it has the same one"},
      {kCheckpoint, "remove the damaged checkpoint's directory, the node will make another"},
      {kPlace, "name the checkpoints' place (--snapshot-dir, node.snapshot_dir); if they are lost, start the node, it will make another"},
      {kFetch, "start the node, which fetches a missing ledger from another member of the group; keep the directories of members that have it"},
      {kStart, "the next start mends the rest, but have the disk looked at"},
  };
  std::string cured;
  for (const auto& [cure, text] : texts)
    if (cures.contains(cure)) cured += (cured.empty() ? "" : "; ") + text;
  return {Code::kCorrupt, what + "; state and log are sound: " + cured};
}

}  // namespace

Result<void> storage_verify(Disk& disk, const StoragePlace& place, bool full_scan, const Output& output) {
  const auto held = lock_stopped(disk, place);
  if (!held.ok()) return held.error();
  const auto report = Verification(disk, place, full_scan, output.json ? nullptr : &output.out).run();
  if (!report.ok()) return report.error();
  if (output.json) output.out << json(*report, full_scan) << "\n";
  else print(*report, place, full_scan, output.out);
  if (!report->sound()) return damage_error(*report, place, full_scan);
  if (output.json) return {};
  output.out << (report->findings.empty() ? "sound\n" : "sound; the node was not stopped cleanly, and its next start mends the above\n");
  return {};
}

}  // namespace leeward::ctl
