#include "wal/segments.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/units.h"

namespace leeward::wal {
namespace {

constexpr std::size_t kMaxPiece = 1_MiB;
constexpr std::uint64_t kPage = 4096;
// Zeros written ahead per byte of log: from half of a segment on, this is done
// well before the segment is full.
constexpr std::uint64_t kAheadFactor = 4;

const std::string& zeros() {
  static const std::string data(kMaxPiece, '\0');
  return data;
}

// A failed sync is final, also for want of space.
Result<void> finally(Result<void> synced) {
  if (!synced.ok()) return Error{Code::kIo, synced.error().message};
  return {};
}

}  // namespace

Segments::Segments(Disk& disk, Random& random, Path directory, std::uint64_t segment_bytes)
    : disk_(disk),
      random_(random),
      directory_(std::move(directory)),
      segment_bytes_((segment_bytes + kPage - 1) / kPage * kPage),
      piece_(std::clamp<std::uint64_t>(segment_bytes / 8, kPage, kMaxPiece)) {}

Result<void> Segments::begin_spare(std::uint64_t bytes) {
  auto file = disk_.open(spare_path(), OpenMode::kCreateOrOpen);
  if (!file.ok()) return file.error();
  spare_ = Spare{std::move(*file), bytes, 0, bytes};
  if (auto allocated = spare_.file->allocate(bytes); !allocated.ok()) {
    LEEWARD_TRY(drop_spare());
    return allocated.error();
  }
  return {};
}

Result<void> Segments::zero_piece() {
  const std::uint64_t size = std::min<std::uint64_t>(piece_, spare_.dirty_end - spare_.zeroed);
  if (auto written = spare_.file->write(spare_.zeroed, std::string_view(zeros()).substr(0, size)); !written.ok()) {
    if (written.error().code == Code::kNoSpace) LEEWARD_TRY(drop_spare());
    return written.error();
  }
  spare_.zeroed += size;
  return {};
}

Result<void> Segments::drop_spare() {
  spare_ = Spare{};
  return disk_.remove(spare_path());
}

Result<void> Segments::discard_spare() {
  spare_ = Spare{};
  if (!disk_.exists(spare_path())) return {};
  LEEWARD_TRY(disk_.remove(spare_path()));
  return disk_.sync_dir(directory_);
}

Result<void> Segments::prepare(std::uint64_t needed) {
  std::uint64_t bytes = std::max(segment_bytes_, needed + 2 * kSector);
  bytes = (bytes + kPage - 1) / kPage * kPage;
  if (spare_.file && spare_.bytes < bytes) LEEWARD_TRY(drop_spare());
  if (!spare_.file) LEEWARD_TRY(begin_spare(bytes));
  while (spare_.zeroed < spare_.dirty_end) LEEWARD_TRY(zero_piece());
  return {};
}

Result<void> Segments::prepare_ahead(std::uint64_t written) {
  if (spare_.ready()) return {};
  debt_ += written * kAheadFactor;
  if (debt_ < piece_) return {};
  debt_ = 0;
  Result<void> done;
  if (!spare_.file) {
    done = begin_spare(segment_bytes_);
  } else {
    done = zero_piece();
    if (done.ok()) done = finally(spare_.file->sync());
  }
  if (!done.ok() && done.error().code == Code::kNoSpace) return {};
  return done;
}

Result<std::shared_ptr<Segment>> Segments::create(SegmentHeader header) {
  LEEWARD_CHECK(spare_.ready(), "prepare() comes first");
  header.salt = random_.next();
  header.bytes = spare_.bytes;
  // Until the rename nothing has happened, and all of it can be done again. The
  // sync is for the zeros too.
  LEEWARD_TRY(spare_.file->write(0, encode_header(header)));
  LEEWARD_TRY(finally(spare_.file->sync()));
  const Path path = directory_ + "/" + segment_name(header.number);
  LEEWARD_TRY(disk_.rename(spare_path(), path));
  LEEWARD_TRY(finally(disk_.sync_dir(directory_)));
  auto segment = std::make_shared<Segment>(Segment{header, path, std::move(spare_.file), salted_seed(header)});
  spare_ = Spare{};
  debt_ = 0;
  return segment;
}

Result<void> Segments::retire(std::shared_ptr<Segment> segment, std::uint64_t used, bool recycle) {
  const auto links = segment->file->links();
  if (!links.ok()) return links.error();
  if (recycle && *links == 1 && !spare_.file && segment->header.bytes == segment_bytes_) {
    LEEWARD_TRY(disk_.rename(segment->path, spare_path()));
    // Before a byte of it changes: else a crash could show the old name with the new content.
    LEEWARD_TRY(disk_.sync_dir(directory_));
    spare_ = Spare{std::move(segment->file), segment->header.bytes, 0, used};
    return {};
  }
  LEEWARD_TRY(disk_.remove(segment->path));
  // One by one: a crash must not leave a gap among those that remain.
  return disk_.sync_dir(directory_);
}

}  // namespace leeward::wal
