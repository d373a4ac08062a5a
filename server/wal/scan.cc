#include "wal/scan.h"

#include <algorithm>

#include "base/codec.h"

namespace leeward::wal {
namespace {

constexpr std::size_t kWindow = std::size_t{1} << 20;

// A part of a file in memory, moved forward as it is asked for.
class Window {
 public:
  explicit Window(const File& file) : file_(file) {}

  // Bytes [offset, offset + size), shorter only at the end of the file. Good until the next call.
  Result<std::string_view> view(std::uint64_t offset, std::size_t size) {
    if (offset < start_ || offset + size > start_ + data_.size()) {
      data_.clear();
      start_ = offset;
      const auto n = file_.read(offset, std::max(size, kWindow), data_);
      if (!n.ok()) return n.error();
    }
    return std::string_view(data_).substr(offset - start_, size);
  }

 private:
  const File& file_;
  std::uint64_t start_ = 0;
  std::string data_;
};

std::string number(std::uint64_t n) { return std::to_string(n); }

class Scanner {
 public:
  Scanner(const File& file, const Path& path, const SegmentHeader& header, bool last, Depth depth, Replay& replay)
      : window_(file), path_(path), header_(header), seed_(salted_seed(header)), last_(last), depth_(depth),
        replay_(replay) {
    end_.offset = kSector;
    end_.next_sequence = header.first_sequence;
  }

  Result<ScanEnd> run() {
    while (true) {
      const auto more = batch();
      if (!more.ok()) return more.error();
      if (!*more) return end_;
    }
  }

 private:
  // Each of these: true to go on, false at the end or a fault.
  Result<bool> batch() {
    const std::uint64_t at = end_.offset;
    if (at + kSector > header_.bytes) return fault(at, "the segment ends without its seal");
    const auto sector = window_.view(at, kSector);
    if (!sector.ok()) return sector.error();
    if (sector->size() < kSector) return fault(at, "the file is cut short");
    if (all_zero(*sector)) return unsealed_end(at, at, at);
    BatchHead head;
    if (!decode_batch_head(*sector, seed_, head)) return fault(at, "the head of batch " + number(end_.next_sequence) + " is damaged");
    if (auto what = wrong_head(head)) return fault(at, *what);
    if (head.seal) return sealed(at);
    if (depth_ == Depth::kHeads) return accept(head);
    const std::size_t size = head.sectors * kSector;
    const auto whole = window_.view(at, size);
    if (!whole.ok()) return whole.error();
    if (whole->size() < size) return fault(at, "the file is cut short");
    bool torn = false;
    for (std::uint32_t i = 1; i < head.sectors; ++i) {
      if (i > 1 && table_is_gone(*whole, i)) continue;
      const std::string_view data = whole->substr(i * kSector, kSector);
      if (checksum(data, seed_) == stored_sector_checksum(*whole, i)) continue;
      if (!all_zero(data)) return fault(at + i * kSector, "a sector of batch " + number(head.sequence) + " is damaged");
      torn = true;
    }
    if (torn) return unsealed_end(at, at + kSector, at + size);
    return records(head, *whole);
  }

  // True when the checksum of sector i stood in a sector that is zero: then the
  // batch is torn and nothing in it counts.
  static bool table_is_gone(std::string_view batch, std::uint32_t i) {
    const std::size_t home = (kBatchHeadBytes + 4 * (i - std::size_t{1})) / kSector;
    return home > 0 && all_zero(batch.substr(home * kSector, kSector));
  }

  std::optional<std::string> wrong_head(const BatchHead& head) const {
    if (head.sequence != end_.next_sequence)
      return "batch " + number(head.sequence) + " stands where " + number(end_.next_sequence) + " belongs";
    const bool fits = head.sectors >= 1 && head.sectors <= (header_.bytes - end_.offset) / kSector &&
                      head.sectors == sectors_for(head.body_bytes) && (!head.seal || head.body_bytes + head.records == 0);
    if (!fits) return "the head of batch " + number(head.sequence) + " makes no sense";
    return std::nullopt;
  }

  Result<bool> records(const BatchHead& head, std::string_view whole) {
    const std::size_t start = body_offset(head.sectors);
    const std::string_view body = whole.substr(start, head.body_bytes);
    std::string_view rest = body;
    for (std::uint32_t i = 0; i < head.records; ++i) {
      const std::uint64_t at = end_.offset + start + (body.size() - rest.size());
      Record record;
      if (!get_record(rest, seed_, record)) return fault(at, "a record is damaged");
      const Location where{header_.number, static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(record.payload.size())};
      if (auto what = replay_.take(record, where)) return fault(at, *what);
    }
    if (!rest.empty()) return fault(end_.offset, "batch " + number(head.sequence) + " holds more than its records");
    return accept(head);
  }

  Result<bool> accept(const BatchHead& head) {
    end_.offset += head.sectors * kSector;
    ++end_.next_sequence;
    ++end_.batches;
    return true;
  }

  Result<bool> sealed(std::uint64_t at) {
    end_.kind = ScanEnd::Kind::kSealed;
    end_.offset = at + kSector;
    ++end_.next_sequence;
    for (std::uint64_t offset = end_.offset; offset < header_.bytes; offset += kSector) {
      const auto sector = window_.view(offset, kSector);
      if (!sector.ok()) return sector.error();
      if (!all_zero(*sector)) return fault(offset, "there is data behind the seal");
    }
    return false;
  }

  // No valid batch at `at`. Looks at all that is behind, from `from` on; a torn
  // batch whose head is there accounts for what is not zero below `torn_end`.
  Result<bool> unsealed_end(std::uint64_t at, std::uint64_t from, std::uint64_t torn_end) {
    const std::string expected = "batch " + number(end_.next_sequence);
    if (!last_) return fault(at, expected + " is missing or incomplete although another segment follows");
    end_.dirty_end = from;
    end_.torn_head = from > at;
    for (std::uint64_t offset = from; offset < header_.bytes; offset += kSector) {
      const auto sector = window_.view(offset, kSector);
      if (!sector.ok()) return sector.error();
      if (all_zero(*sector)) continue;
      BatchHead later;
      if (decode_batch_head(*sector, seed_, later) && later.sequence > end_.next_sequence)
        return fault(at, expected + " is missing or incomplete although batch " + number(later.sequence) + " stands at " + number(offset));
      if (offset >= torn_end && !end_.stray) end_.stray = offset;
      end_.dirty_end = offset + kSector;
    }
    end_.kind = end_.dirty_end > at ? ScanEnd::Kind::kTorn : ScanEnd::Kind::kOpen;
    return false;
  }

  Result<bool> fault(std::uint64_t offset, const std::string& what) {
    end_.fault = Fault{Fault::Kind::kDamage, path_, offset, what + " (last good entry: " + number(replay_.last.index.value()) + ")"};
    return false;
  }

  Window window_;
  const Path& path_;
  const SegmentHeader& header_;
  const std::uint32_t seed_;
  const bool last_;
  const Depth depth_;
  Replay& replay_;
  ScanEnd end_;
};

}  // namespace

void Replay::restart(const SegmentHeader& header) {
  base = last = header.point;
  hard_state = header.hard_state;
  index.clear();
}

std::optional<std::string> Replay::follow(const SegmentHeader& header) const {
  if (header.point != last) return "the segment does not begin where the one before ended";
  if (header.hard_state != hard_state) return "the segment does not carry the hard state on";
  return std::nullopt;
}

std::optional<std::string> Replay::take(const Record& record, const Location& where) {
  std::string_view in = record.payload;
  switch (record.type) {
    case RecordType::kEntry: return take_entry(record, where);
    case RecordType::kCut: return take_cut(record);
    case RecordType::kHardState:
      if (!get_hard_state(in, hard_state) || !in.empty()) return "a hard state record is malformed";
      return std::nullopt;
  }
  return "a record of an unknown type";
}

std::optional<std::string> Replay::take_entry(const Record& record, const Location& where) {
  std::string_view in = record.payload;
  const auto entry = decode_entry(in, nullptr);
  if (!entry.ok()) return entry.error().message;
  if (!in.empty()) return "an entry record is longer than its entry";
  if (entry->index != last.index + 1)
    return "entry " + number(entry->index.value()) + " stands where " + number(last.index.value() + 1) + " belongs";
  if (entry->term < last.term) return "entry " + number(entry->index.value()) + " has a term below that of the entry before";
  if (!chains(last.position, *entry)) return "entry " + number(entry->index.value()) + " does not continue the chain hash";
  last = {entry->index, entry->term, entry->position};
  index.push_back(where);
  if (on_entry) on_entry(*entry, where);
  return std::nullopt;
}

std::optional<std::string> Replay::take_cut(const Record& record) {
  std::string_view in = record.payload;
  LogPoint point;
  if (!get_point(in, point) || !in.empty()) return "a cut record is malformed";
  if (point.index >= last.index) return "a cut at " + number(point.index.value()) + " cuts nothing";
  if (point.index < base.index) {
    // The entries below are in segments that were released.
    base = point;
    index.clear();
  } else {
    if (point.index == base.index && point != base) return "a cut names another past";
    index.resize(point.index - base.index);
  }
  last = point;
  return std::nullopt;
}

Result<ScanEnd> scan_segment(const File& file, const Path& path, const SegmentHeader& header, bool last, Depth depth,
                             Replay& replay) {
  return Scanner(file, path, header, last, depth, replay).run();
}

Result<SegmentHeader> read_header(const File& file, const Path& path, std::uint64_t expected) {
  std::string sector;
  const auto n = file.read(0, kSector, sector);
  if (!n.ok()) return n.error();
  auto header = decode_header(sector);
  if (!header.ok()) return Error{header.error().code, path + " at offset 0: " + header.error().message};
  const auto size = file.size();
  if (!size.ok()) return size.error();
  if (header->number != expected || header->bytes != *size || *size % kSector != 0 || *size > UINT32_MAX)
    return Error{Code::kCorrupt, path + " at offset 0: number or size differ from what the segment header says"};
  return header;
}

Result<std::vector<std::uint64_t>> list_segments(Disk& disk, const Path& directory) {
  const auto names = disk.list(directory);
  if (!names.ok()) return names.error();
  std::vector<std::uint64_t> numbers;
  for (const auto& name : *names)
    if (std::uint64_t number = 0; parse_segment_name(name, number)) numbers.push_back(number);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace leeward::wal
