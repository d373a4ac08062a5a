#include "wal/offline.h"

namespace leeward::wal {
namespace {

struct OpenSegment {
  std::uint64_t number = 0;
  Path path;
  std::unique_ptr<File> file;
  std::optional<SegmentHeader> header;  // nullopt: damaged
};

// All segments that count, oldest first; damaged headers go to `faults`.
Result<std::vector<OpenSegment>> open_segments(Disk& disk, const Path& directory, std::vector<Fault>& faults) {
  const auto numbers = list_segments(disk, directory);
  if (!numbers.ok()) return numbers.error();
  std::vector<OpenSegment> segments;
  for (const std::uint64_t number : *numbers) {
    OpenSegment segment{number, directory + "/" + segment_name(number), nullptr, std::nullopt};
    auto file = disk.open(segment.path, OpenMode::kRead);
    if (!file.ok()) return file.error();
    segment.file = std::move(*file);
    auto header = read_header(*segment.file, segment.path, number);
    if (header.ok()) {
      if (header->reset) segments.clear();
      segment.header = *header;
    } else if (header.error().code == Code::kIo) {
      return header.error();
    } else {
      faults.push_back({Fault::Kind::kDamage, segment.path, 0, header.error().message, header.error().code});
    }
    segments.push_back(std::move(segment));
  }
  return segments;
}

class LogCheck {
 public:
  LogCheck(std::vector<Fault>& faults, VerifyReport* report, Depth depth) : faults_(faults), report_(report), depth_(depth) {}

  Replay& replay() { return replay_; }

  Result<void> run(const std::vector<OpenSegment>& segments) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const bool last = i + 1 == segments.size();
      if (i > 0 && segments[i].number != segments[i - 1].number + 1) {
        fault(segments[i], 0, "segments before this one are missing");
        joined_ = false;
      }
      if (!segments[i].header) {
        joined_ = false;
        continue;
      }
      LEEWARD_TRY(segment(segments[i], *segments[i].header, last));
    }
    return {};
  }

 private:
  Result<void> segment(const OpenSegment& at, const SegmentHeader& header, bool last) {
    // After damage the chain is taken up again at the next header.
    if (!joined_) {
      replay_.restart(header);
    } else if (depth_ == Depth::kAll) {
      if (auto bad = replay_.follow(header)) fault(at, 0, *bad);
    }
    if (joined_ && header.first_sequence != next_sequence_) fault(at, 0, "batches before this segment are missing");
    const auto end = scan_segment(*at.file, at.path, header, last, depth_, replay_);
    if (!end.ok()) return end.error();
    joined_ = !end->fault;
    next_sequence_ = end->next_sequence;
    if (end->fault) faults_.push_back(*end->fault);
    if (!end->fault) tail(at, *end, last);
    if (report_ != nullptr) {
      ++report_->segments;
      report_->batches += end->batches;
    }
    return {};
  }

  void tail(const OpenSegment& at, const ScanEnd& end, bool last) {
    if (end.kind == ScanEnd::Kind::kSealed && last)
      faults_.push_back({Fault::Kind::kDamage, at.path, end.offset,
                         "it is sealed, and the segment that follows is missing (a crash in the instant between the two leaves the same)",
                         Code::kNotFound});
    if (end.kind != ScanEnd::Kind::kTorn) return;
    if (end.torn_head)
      faults_.push_back({Fault::Kind::kTornTail, at.path, end.offset,
                         "a batch that a crash tore; the next start cuts " + std::to_string(end.dirty_end - end.offset) + " bytes"});
    if (end.stray)
      faults_.push_back({.file = at.path, .offset = *end.stray,
                         .what = "bytes where zeros belong, behind the end of the log: flipped bits, or after a loss of power a "
                                 "batch whose head did not reach the disk; the next start writes zeros over them",
                         .mends = true});
  }

  void fault(const OpenSegment& at, std::uint64_t offset, const std::string& what) {
    faults_.push_back({Fault::Kind::kDamage, at.path, offset, what});
  }

  std::vector<Fault>& faults_;
  VerifyReport* report_;
  Depth depth_;
  Replay replay_;
  bool joined_ = false;
  std::uint64_t next_sequence_ = 0;
};

Result<bool> verify_superblock(Disk& disk, const Path& directory, VerifyReport& report) {
  const auto reading = read_superblock(disk, directory);
  if (!reading.ok()) {
    if (reading.error().code == Code::kNotFound) return false;
    return reading.error();
  }
  const Path path = superblock_path(directory);
  for (int i = 0; i < kSuperblockCopies; ++i) {
    const auto& copy = reading->copies[i];
    std::string what = copy.fault;
    if (copy.valid() && reading->current < 0) what = "no other copy agrees with it";
    if (copy.valid() && reading->current >= 0 && copy.data != reading->copies[reading->current].data)
      what = "differs from the newest; a crash in the middle of a write leaves this, the next start mends it";
    if (!what.empty())
      report.faults.push_back({Fault::Kind::kDamage, path, i * kSuperblockCopyBytes, "copy " + std::to_string(i) + ": " + what, copy.code,
                               reading->current >= 0});
  }
  if (reading->behind > 0)
    report.faults.push_back({.file = path, .offset = kSuperblockCopies * kSuperblockCopyBytes,
                             .what = std::to_string(reading->behind) + " bytes behind the last copy, which nothing wrote; the next start cuts them off",
                             .mends = reading->current >= 0});
  if (reading->current >= 0) report.owner = reading->copies[reading->current].data.incarnation;
  return true;
}

std::string describe(const SuperblockData& d) {
  const auto line = [](const char* key, const std::string& value) { return std::string("  ") + key + ": " + value + "\n"; };
  return line("sequence", std::to_string(d.sequence)) + line("format", std::to_string(d.format)) +
         line("cluster", d.cluster_name) + line("lineage", d.lineage.known() ? d.lineage.hex() : "not known yet") +
         line("node", std::to_string(d.node.value())) + line("group", std::to_string(d.group.value())) +
         line("incarnation", std::to_string(d.incarnation.value())) + line("state", d.state_dir) +
         line("pending state", d.pending_state_dir.empty() ? "none" : d.pending_state_dir) +
         line("starts", std::to_string(d.starts)) + line("clean shutdown", d.clean_shutdown ? "yes" : "no") +
         line("extra", std::to_string(d.extra.size()) + " bytes");
}

}  // namespace

Result<VerifyReport> verify(Disk& disk, const Path& data_directory, const Path& log_directory, bool full_scan,
                            const std::function<void(const Entry&)>& each) {
  VerifyReport report;
  const auto found = verify_superblock(disk, data_directory, report);
  if (!found.ok()) return found.error();
  const auto segments = open_segments(disk, log_directory, report.faults);
  if (!segments.ok() && segments.error().code != Code::kNotFound) return segments.error();
  const bool has_log = segments.ok() && !segments->empty();
  if (!*found && !has_log) return Error{Code::kNotFound, "neither a superblock in " + data_directory + " nor a log in " + log_directory};
  if (!*found) report.faults.push_back({Fault::Kind::kDamage, superblock_path(data_directory), 0, "the superblock is missing", Code::kNotFound});
  if (!has_log) {
    report.faults.push_back({Fault::Kind::kDamage, log_directory, 0, "the log is missing", Code::kNotFound});
    return report;
  }
  for (const OpenSegment& segment : *segments)
    if (report.owner && segment.header && segment.header->owner != *report.owner)
      report.faults.push_back({Fault::Kind::kDamage, segment.path, 0,
                               "it belongs to another data directory (incarnation " + std::to_string(segment.header->owner.value()) +
                                   ", the superblock's is " + std::to_string(report.owner->value()) + ")",
                               Code::kLineage});
  LogCheck check(report.faults, &report, full_scan ? Depth::kAll : Depth::kHeads);
  check.replay().on_entry = [&](const Entry& entry, const Location&) {
    ++report.entries;
    if (each) each(entry);
  };
  LEEWARD_TRY(check.run(*segments));
  report.base = check.replay().base;
  report.last = check.replay().last;
  report.hard_state = check.replay().hard_state;
  return report;
}

Result<std::string> dump_superblock(Disk& disk, const Path& data_directory) {
  const auto reading = read_superblock(disk, data_directory);
  if (!reading.ok()) return reading.error();
  std::string out;
  for (int i = 0; i < kSuperblockCopies; ++i) {
    const auto& copy = reading->copies[i];
    out += "copy " + std::to_string(i) + (reading->counts(i) ? " (current)" : "") + "\n";
    out += copy.valid() ? describe(copy.data) : "  " + copy.fault + "\n";
  }
  if (reading->current < 0) out += "no two copies agree: the directory is unusable\n";
  return out;
}

Result<void> dump_log(Disk& disk, const Path& log_directory, Index from, Index to,
                      const std::function<void(const DumpedEntry&)>& each) {
  std::vector<Fault> faults;
  const auto segments = open_segments(disk, log_directory, faults);
  if (!segments.ok()) return segments.error();
  if (segments->empty()) return Error{Code::kNotFound, "no log in " + log_directory};
  LogCheck check(faults, nullptr, Depth::kAll);
  check.replay().on_entry = [&](const Entry& entry, const Location& where) {
    if (entry.index < from || entry.index >= to) return;
    const Path file = log_directory + "/" + segment_name(where.segment);
    each({entry, file, where.offset});
  };
  LEEWARD_TRY(check.run(*segments));
  for (const auto& fault : faults)
    if (fault.kind == Fault::Kind::kDamage) return fault.error();
  return {};
}

}  // namespace leeward::wal
