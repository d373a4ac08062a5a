// The opening half of SegmentedLog: replay, and the cut of a torn tail.
#include <algorithm>

#include "base/check.h"
#include "wal/log_store.h"

namespace leeward::wal {
namespace {

constexpr std::uint64_t kMinSegment = 4096;
constexpr std::uint64_t kMaxSegment = 1_GiB;
constexpr std::size_t kCutPiece = 1_MiB;

}  // namespace

Result<std::unique_ptr<SegmentedLog>> SegmentedLog::open(Disk& disk, Random& random, Path directory, LogOptions options) {
  if (options.segment_bytes < kMinSegment || options.segment_bytes > kMaxSegment)
    return Error{Code::kInvalid, "a log segment has 4 KiB to 1 GiB, not " + std::to_string(options.segment_bytes) + " bytes"};
  if (options.create) LEEWARD_TRY(disk.make_dirs(directory));
  std::unique_ptr<SegmentedLog> log(new SegmentedLog(disk, random, std::move(directory), options));
  LEEWARD_TRY(log->recover());
  return log;
}

Result<void> SegmentedLog::recover() {
  const auto numbers = list_segments(disk_, directory_);
  if (!numbers.ok()) return numbers.error();
  if (numbers->empty() && !options_.create)
    return Error{Code::kNotFound, "no log in " + directory_ + ": the directory is not the log's, or its files were removed"};
  LEEWARD_TRY(files_.discard_spare());
  if (numbers->empty()) return start_new();
  // Names found may be known to the page cache only.
  LEEWARD_TRY(disk_.sync_dir(directory_));
  LEEWARD_TRY(load_segments(*numbers));
  LEEWARD_TRY(replay_segments());
  unframed_ = last_.index + 1;
  before_unframed_ = written_ = last_;
  // A hint, and the entries it spoke of may have been in a cut tail.
  hard_state_.commit = std::min(hard_state_.commit, last_.index);
  count_bytes();
  return {};
}

Result<void> SegmentedLog::start_new() {
  LEEWARD_TRY(files_.prepare(0));
  return rotate(false, {});
}

// Opens what counts: the newest segment with the reset mark, and all after it.
Result<void> SegmentedLog::load_segments(const std::vector<std::uint64_t>& numbers) {
  std::vector<std::uint64_t> void_ones;
  for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
    const Path path = directory_ + "/" + segment_name(*number);
    if (!segments_.empty() && segments_.begin()->second->header.reset) {
      void_ones.push_back(*number);
      continue;
    }
    if (!segments_.empty() && segments_.begin()->first != *number + 1)
      return Error{Code::kCorrupt, path + " is followed by segment " + std::to_string(segments_.begin()->first) +
                                       ": a segment is missing between them"};
    auto file = disk_.open(path, OpenMode::kReadWrite);
    if (!file.ok()) return file.error();
    const auto header = read_header(**file, path, *number);
    if (!header.ok()) return header.error();
    if (header->owner != options_.owner)
      return Error{Code::kLineage, path + " belongs to another data directory (incarnation " +
                                       std::to_string(header->owner.value()) + ", this one is " +
                                       std::to_string(options_.owner.value()) + "); check node.wal_dir"};
    segments_.emplace(*number, std::make_shared<Segment>(Segment{*header, path, std::move(*file), salted_seed(*header)}));
  }
  // Left by a crash in the middle of reset().
  for (const std::uint64_t number : void_ones) LEEWARD_TRY(disk_.remove(directory_ + "/" + segment_name(number)));
  return void_ones.empty() ? Result<void>() : disk_.sync_dir(directory_);
}

Result<void> SegmentedLog::replay_segments() {
  Replay replay;
  replay.restart(segments_.begin()->second->header);
  next_sequence_ = segments_.begin()->second->header.first_sequence;
  for (const auto& [number, segment] : segments_) {
    const auto bad = replay.follow(segment->header);
    if (bad || segment->header.first_sequence != next_sequence_)
      return Error{Code::kCorrupt, segment->path + " at offset 0: " + bad.value_or("batches are missing before it")};
    active_ = segment;
    const bool last = number == segments_.rbegin()->first;
    const auto end = scan_segment(*segment->file, segment->path, segment->header, last, Depth::kAll, replay);
    if (!end.ok()) return end.error();
    if (end->fault) return end->fault->error();
    next_sequence_ = end->next_sequence;
    if (last) LEEWARD_TRY(finish_tail(*end));
  }
  base_ = replay.base;
  last_ = replay.last;
  hard_state_ = written_hard_state_ = replay.hard_state;
  index_ = std::move(replay.index);
  return {};
}

Result<void> SegmentedLog::finish_tail(const ScanEnd& end) {
  offset_ = end.offset;
  sealed_ = end.kind == ScanEnd::Kind::kSealed;
  if (end.kind == ScanEnd::Kind::kTorn) {
    torn_bytes_cut_ = end.dirty_end - end.offset;
    const std::string zeros(std::min<std::uint64_t>(torn_bytes_cut_, kCutPiece), '\0');
    for (std::uint64_t at = end.offset; at < end.dirty_end; at += zeros.size())
      LEEWARD_TRY(active_->file->write(at, std::string_view(zeros).substr(0, end.dirty_end - at)));
  }
  // Also without a cut: the last batch may be in the page cache only.
  return active_->file->sync();
}

}  // namespace leeward::wal
