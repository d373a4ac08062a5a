#include "wal/log_store.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace leeward::wal {
namespace {

constexpr std::size_t kHardStateRecord = kRecordHeadBytes + 24;
constexpr std::size_t kMaxEntry = 256_MiB;
constexpr std::size_t kCopyPiece = 1_MiB;
constexpr std::size_t kCutRecord = kRecordHeadBytes + kPointBytes;

std::size_t weight(const Entry& e) { return e.payload.size() + e.envelope.size(); }
LogPoint point_of(const Entry& e) { return {e.index, e.term, e.position}; }
std::string text(Index index) { return std::to_string(index.value()); }

}  // namespace

SegmentedLog::SegmentedLog(Disk& disk, Random& random, Path directory, LogOptions options)
    : disk_(disk), directory_(directory), options_(options), files_(disk, random, directory, options.segment_bytes) {}

LogPoint SegmentedLog::base() const {
  std::lock_guard lock(mutex_);
  return base_;
}

LogPoint SegmentedLog::last() const {
  std::lock_guard lock(mutex_);
  return last_;
}

HardState SegmentedLog::hard_state() const {
  std::lock_guard lock(mutex_);
  return hard_state_;
}

Result<LogPoint> SegmentedLog::point(Index index) const {
  std::shared_ptr<Segment> segment;
  Location where;
  {
    std::lock_guard lock(mutex_);
    if (index == base_.index) return base_;
    if (index == last_.index) return last_;
    if (index < base_.index) return Error{Code::kCompacted, "entry " + text(index) + " is no longer in the log"};
    if (index > last_.index) return Error{Code::kNotFound, "entry " + text(index) + " is beyond the end of the log"};
    const Index cached = last_.index + 1 - cache_.size();
    if (index >= cached) return point_of(cache_[index - cached]);
    where = index_[index - base_.index - 1];
    segment = segments_.at(where.segment);
  }
  auto entries = read_files(index, {{segment, where}});
  if (!entries.ok()) return entries.error();
  return point_of(entries->front());
}

Result<std::vector<Entry>> SegmentedLog::read(Index from, Index to, std::size_t max_bytes) const {
  std::vector<Entry> entries;
  std::vector<std::pair<std::shared_ptr<Segment>, Location>> where;
  {
    std::lock_guard lock(mutex_);
    if (from <= base_.index) return Error{Code::kCompacted, "entry " + text(from) + " is no longer in the log"};
    if (from > last_.index) return Error{Code::kNotFound, "entry " + text(from) + " is beyond the end of the log"};
    to = std::min(to, last_.index + 1);
    const Index cached = last_.index + 1 - cache_.size();
    std::size_t total = 0;
    if (from >= cached) {
      for (Index i = from; i < to; ++i) {
        const Entry& entry = cache_[i - cached];
        total += weight(entry);
        if (total > max_bytes && !entries.empty()) break;
        entries.push_back(entry);
      }
      return entries;
    }
    // A record is longer than what counts of its entry, so this is never too much.
    for (Index i = from; i < std::min(to, cached); ++i) {
      const Location& at = index_[i - base_.index - 1];
      total += at.length;
      if (total > max_bytes && !where.empty()) break;
      where.emplace_back(segments_.at(at.segment), at);
    }
  }
  if (where.empty()) return entries;
  return read_files(from, where);
}

Result<std::vector<Entry>> SegmentedLog::read_stored(Index from, Index to, std::size_t max_bytes) const {
  std::vector<std::pair<std::shared_ptr<Segment>, Location>> where;
  {
    std::lock_guard lock(mutex_);
    if (from <= base_.index) return Error{Code::kCompacted, "entry " + text(from) + " is no longer in the log"};
    std::size_t total = 0;
    for (Index i = from; i < to && i - base_.index - 1 < index_.size(); ++i) {
      const Location& at = index_[i - base_.index - 1];
      total += at.length;
      if (total > max_bytes && !where.empty()) break;
      where.emplace_back(segments_.at(at.segment), at);
    }
  }
  if (where.empty()) return std::vector<Entry>();
  return read_files(from, where);
}

// Reads runs of records that lie in one segment with one call each.
Result<std::vector<Entry>> SegmentedLog::read_files(
    Index from, const std::vector<std::pair<std::shared_ptr<Segment>, Location>>& where) const {
  std::vector<Entry> entries;
  entries.reserve(where.size());
  for (std::size_t i = 0; i < where.size();) {
    const auto& segment = where[i].first;
    std::size_t end = i + 1;
    while (end < where.size() && where[end].first == segment) ++end;
    const std::uint64_t start = where[i].second.offset;
    const auto& final = where[end - 1].second;
    auto data = std::make_shared<std::string>();
    const auto n = segment->file->read(start, final.offset + kRecordHeadBytes + final.length - start, *data);
    if (!n.ok()) return n.error();
    for (; i < end; ++i) {
      const Location& at = where[i].second;
      const Index index = from + entries.size();
      std::string_view in = std::string_view(*data).substr(std::min<std::size_t>(at.offset - start, data->size()));
      Record record;
      if (!get_record(in, segment->seed, record) || record.type != RecordType::kEntry)
        return Error{Code::kCorrupt, segment->path + " at offset " + std::to_string(at.offset) + ": the record of entry " +
                                         text(index) + " is damaged"};
      auto entry = decode_entry(record.payload, data);
      if (!entry.ok()) return entry.error();
      if (entry->index != index)
        return Error{Code::kCorrupt, segment->path + " at offset " + std::to_string(at.offset) + ": holds entry " +
                                         text(entry->index) + ", not " + text(index)};
      entries.push_back(std::move(*entry));
    }
  }
  return entries;
}

Result<void> SegmentedLog::append(std::span<const Entry> entries) {
  if (poison_) return *poison_;
  if (entries.empty()) return {};
  const Index first = entries.front().index;
  if (first <= base_.index || first > last_.index + 1)
    return Error{Code::kInvalid, "entry " + text(first) + " does not follow a log of " + text(base_.index) + " to " + text(last_.index)};
  const auto before = point(first - 1);
  if (!before.ok()) return before.error();
  LogPoint end = *before;
  for (const Entry& entry : entries) {
    if (entry.index != end.index + 1 || entry.term < end.term)
      return Error{Code::kInvalid, "entry " + text(entry.index) + " is out of order after " + text(end.index)};
    if (encoded_size(entry) > kMaxEntry)
      return Error{Code::kInvalid, "entry " + text(entry.index) + " is larger than a log record may be"};
    if (!chains(end.position, entry))
      return Error{Code::kCorrupt, "entry " + text(entry.index) + " does not continue the chain hash of the entry before it"};
    end = point_of(entry);
  }
  if (first < unframed_) {
    unframed_ = first;
    before_unframed_ = *before;
  }
  std::lock_guard lock(mutex_);
  while (!cache_.empty() && last_.index >= first) {
    cache_bytes_ -= weight(cache_.back());
    cache_.pop_back();
    last_.index = last_.index - 1;  // the rest of last_ is set below
  }
  for (const Entry& entry : entries) {
    cache_.push_back(entry);
    cache_bytes_ += weight(entry);
  }
  last_ = end;
  trim_cache();
  return {};
}

Result<void> SegmentedLog::set_hard_state(const HardState& state) {
  if (poison_) return *poison_;
  if (state == hard_state_) return {};
  hard_state_dirty_ = true;
  std::lock_guard lock(mutex_);
  hard_state_ = state;
  return {};
}

bool SegmentedLog::dirty() const { return hard_state_dirty_ || unframed_ <= last_.index; }

Result<void> SegmentedLog::sync() {
  if (poison_) return *poison_;
  std::uint64_t written = 0;
  while (frame_ || dirty()) {
    if (!frame_) {
      const Plan plan = plan_frame();
      LEEWARD_TRY(checked(make_room(sectors_for(plan.body_bytes))));
      build_frame(plan);
    }
    written += frame_->bytes.size();
    LEEWARD_TRY(checked(write_frame()));
  }
  if (written > 0 && offset_ > active_->header.bytes / 2) {
    LEEWARD_TRY(checked(files_.prepare_ahead(written)));
    count_bytes();
  }
  return {};
}

// What is final stays: see the class comment.
Result<void> SegmentedLog::checked(Result<void> result) {
  if (!result.ok() && result.error().code != Code::kNoSpace && !poison_) poison_ = result.error();
  return result;
}

SegmentedLog::Plan SegmentedLog::plan_frame() const {
  Plan plan;
  if (hard_state_dirty_) {
    plan.body_bytes += kHardStateRecord;
    ++plan.records;
  }
  if (unframed_ <= written_.index) {
    plan.body_bytes += kCutRecord;
    ++plan.records;
  }
  const Index cached = last_.index + 1 - cache_.size();
  for (Index i = unframed_; i <= last_.index; ++i) {
    const std::size_t size = kRecordHeadBytes + encoded_size(cache_[i - cached]);
    if (plan.entries > 0 && plan.body_bytes + size > options_.batch_bytes) break;
    plan.body_bytes += size;
    ++plan.entries;
    ++plan.records;
  }
  return plan;
}

// Makes sure that the active segment takes that many sectors and a seal.
Result<void> SegmentedLog::make_room(std::size_t sectors) {
  if (!sealed_ && offset_ + (sectors + 1) * kSector <= active_->header.bytes) return {};
  // First all that needs space, so that a full disk stops nothing half way.
  LEEWARD_TRY(files_.prepare(sectors * kSector));
  if (!sealed_) LEEWARD_TRY(seal());
  return rotate(false, written_);
}

Result<void> SegmentedLog::seal() {
  Frame frame;
  begin_batch(frame.bytes, 1);
  finish_batch(frame.bytes, {next_sequence_, 0, 1, 0, true}, active_->seed);
  frame.sequence = next_sequence_;
  frame.seal = true;
  frame.end = written_;
  frame_ = std::move(frame);
  return write_frame();
}

Result<void> SegmentedLog::rotate(bool reset, const LogPoint& point) {
  SegmentHeader header;
  header.number = active_ ? active_->header.number + 1 : 1;
  header.owner = options_.owner;
  header.first_sequence = next_sequence_;
  header.reset = reset;
  header.hard_state = reset ? hard_state_ : written_hard_state_;
  header.point = point;
  auto made = files_.create(header);
  if (!made.ok()) return made.error();
  active_ = *made;
  offset_ = kSector;
  sealed_ = false;
  {
    std::lock_guard lock(mutex_);
    segments_.emplace(header.number, active_);
  }
  count_bytes();
  return {};
}

void SegmentedLog::build_frame(const Plan& plan) {
  Frame frame;
  const std::uint32_t sectors = sectors_for(plan.body_bytes);
  begin_batch(frame.bytes, sectors);
  if (hard_state_dirty_) {
    const std::size_t start = begin_record(frame.bytes, RecordType::kHardState);
    put_hard_state(frame.bytes, hard_state_);
    finish_record(frame.bytes, start, active_->seed);
    written_hard_state_ = hard_state_;
    hard_state_dirty_ = false;
  }
  frame.end = written_;
  if (unframed_ <= written_.index) {
    const std::size_t start = begin_record(frame.bytes, RecordType::kCut);
    put_point(frame.bytes, before_unframed_);
    finish_record(frame.bytes, start, active_->seed);
    frame.cut = frame.end = before_unframed_;
  }
  frame.first = unframed_;
  frame.entries.reserve(plan.entries);
  const Index cached = last_.index + 1 - cache_.size();
  for (std::size_t i = 0; i < plan.entries; ++i) {
    const Entry& entry = cache_[unframed_ + i - cached];
    const std::size_t start = begin_record(frame.bytes, RecordType::kEntry);
    encode(entry, frame.bytes);
    finish_record(frame.bytes, start, active_->seed);
    frame.entries.push_back({active_->header.number, static_cast<std::uint32_t>(offset_ + start),
                             static_cast<std::uint32_t>(frame.bytes.size() - start - kRecordHeadBytes)});
    frame.end = point_of(entry);
  }
  unframed_ = unframed_ + plan.entries;
  before_unframed_ = frame.end;
  frame.sequence = next_sequence_;
  finish_batch(frame.bytes,
               {next_sequence_, static_cast<std::uint32_t>(plan.body_bytes), sectors, plan.records, false}, active_->seed);
  frame_ = std::move(frame);
}

Result<void> SegmentedLog::write_frame() {
  LEEWARD_TRY(active_->file->write(offset_, frame_->bytes));
  if (auto synced = active_->file->sync(); !synced.ok())
    return Error{Code::kIo, synced.error().message};  // final, even for want of space: pages may be lost
  complete_frame();
  return {};
}

void SegmentedLog::complete_frame() {
  const Frame frame = std::move(*frame_);
  frame_.reset();
  offset_ += frame.bytes.size();
  ++next_sequence_;
  sealed_ = frame.seal;
  written_ = frame.end;
  {
    std::lock_guard lock(mutex_);
    if (frame.cut) index_.resize(frame.cut->index - base_.index);
    index_.insert(index_.end(), frame.entries.begin(), frame.entries.end());
    trim_cache();
  }
}

// The first entry that is not in the files as it stands in memory.
Index SegmentedLog::first_unwritten() const {
  const Index next = std::min(written_.index + 1, unframed_);
  return frame_ && !frame_->seal ? std::min(next, frame_->first) : next;
}

void SegmentedLog::trim_cache() {
  const Index safe = first_unwritten();
  while (cache_bytes_ > options_.cache_bytes && last_.index + 1 - cache_.size() < safe) {
    cache_bytes_ -= weight(cache_.front());
    cache_.pop_front();
  }
}

Result<void> SegmentedLog::release(Index index) {
  if (poison_) return *poison_;
  // While a cut waits to be written, the files still hold what it makes void: a
  // crash would bring that back, and what is before it must then still be there.
  index = std::min(index, first_unwritten() - 1);
  if (index <= base_.index) return {};
  const std::uint64_t keep =
      index < written_.index ? index_[index - base_.index].segment : active_->header.number;  // home of entry index + 1
  if (segments_.begin()->first >= keep) return {};
  return checked(drop_before(keep));
}

Result<void> SegmentedLog::drop_before(std::uint64_t keep) {
  // The base moves to just before the first entry in a segment that is kept.
  const auto kept = std::partition_point(index_.begin(), index_.end(),
                                         [&](const Location& at) { return at.segment < keep; });
  const std::size_t dropped = static_cast<std::size_t>(kept - index_.begin());
  const auto base = point(base_.index + dropped);
  if (!base.ok()) return base.error();
  std::vector<std::shared_ptr<Segment>> gone;
  {
    std::lock_guard lock(mutex_);
    index_.erase(index_.begin(), kept);
    base_ = *base;
    while (!cache_.empty() && last_.index + 1 - cache_.size() <= base_.index) {
      cache_bytes_ -= weight(cache_.front());
      cache_.pop_front();
    }
    while (segments_.begin()->first < keep) {
      gone.push_back(std::move(segments_.begin()->second));
      segments_.erase(segments_.begin());
    }
  }
  for (auto& segment : gone) {
    // No reader can come to hold it from now on.
    const bool alone = segment.use_count() == 1;
    const std::uint64_t bytes = segment->header.bytes;
    LEEWARD_TRY(files_.retire(std::move(segment), bytes, alone));
  }
  count_bytes();
  return {};
}

Result<void> SegmentedLog::reset(const LogPoint& point) {
  if (poison_) return *poison_;
  LEEWARD_TRY(checked(files_.prepare(0)));
  LEEWARD_TRY(checked(rotate(true, point)));
  // From here on the old segments are void, whatever happens to their files.
  std::vector<std::shared_ptr<Segment>> gone;
  {
    std::lock_guard lock(mutex_);
    while (segments_.begin()->second != active_) {
      gone.push_back(std::move(segments_.begin()->second));
      segments_.erase(segments_.begin());
    }
    base_ = last_ = point;
    index_.clear();
    cache_.clear();
    cache_bytes_ = 0;
  }
  written_ = before_unframed_ = point;
  written_hard_state_ = hard_state_;
  unframed_ = point.index + 1;
  hard_state_dirty_ = false;
  frame_.reset();
  for (auto& segment : gone) {
    const bool alone = segment.use_count() == 1;
    const std::uint64_t bytes = segment->header.bytes;
    LEEWARD_TRY(checked(files_.retire(std::move(segment), bytes, alone)));
  }
  count_bytes();
  return {};
}

// The copy's task holds the segment, so that it is not recycled under it.
Result<Function<Result<void>()>> SegmentedLog::fork(const Path& directory) {
  if (poison_) return *poison_;
  for (const auto& [number, segment] : segments_)
    if (segment != active_) LEEWARD_TRY(disk_.link(segment->path, directory + "/" + segment_name(number)));
  return Function<Result<void>()>([&disk = disk_, source = active_, written = offset_,
                                   to = directory + "/" + segment_name(active_->header.number)]() -> Result<void> {
    auto copy = disk.open(to, OpenMode::kCreate);
    if (!copy.ok()) return copy.error();
    std::string piece;
    for (std::uint64_t at = 0; at < written; at += piece.size()) {
      piece.clear();
      const auto read = source->file->read(at, std::min<std::uint64_t>(kCopyPiece, written - at), piece);
      if (!read.ok()) return read.error();
      if (piece.empty()) return Error{Code::kCorrupt, source->path + " is shorter than what was written to it"};
      LEEWARD_TRY((*copy)->write(at, piece));
    }
    return (*copy)->truncate(source->header.bytes);  // zeros to its end, as in the log
  });
}

void SegmentedLog::count_bytes() {
  std::uint64_t bytes = files_.spare_bytes();
  for (const auto& [number, segment] : segments_) bytes += segment->header.bytes;
  bytes_.store(bytes, std::memory_order_relaxed);
}

}  // namespace leeward::wal
