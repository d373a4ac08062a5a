#include "kv/snapshot_file.h"

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "kv/applier.h"
#include "kv/epochs.h"
#include "kv/layout.h"
#include "kv/state_hash.h"
#include "kv/state_machine.h"

namespace leeward::kv {
namespace {

constexpr std::string_view kSnapshotMagic = "LWSNAP01";
constexpr std::uint8_t kSnapshotVersion = 1;
constexpr std::size_t kBlockHead = 8;
constexpr std::size_t kBlockBytes = 256_KiB;
constexpr std::uint64_t kDigestBytes = 32;
constexpr std::uint64_t kSnapshotAlign = 512;
constexpr std::size_t kReadAhead = 1_MiB;
constexpr std::uint64_t kSeenEach = 4_MiB;
constexpr std::size_t kRestoreBatch = 1_MiB;
constexpr int kSections = 5;
constexpr std::uint32_t kMostBlock = 1u << 30;  // far more than a request may be

int section_of(Family family) {
  switch (family) {
    case Family::kHead:
    case Family::kHist: return 0;
    case Family::kRev: return 1;
    case Family::kLease: return 2;
    case Family::kAuth: return 3;
    case Family::kMeta: return 4;
  }
  return kSections;
}

// Not the state's: the numbers stand in the file's head, the group is its members'.
bool left_out(std::string_view meta_row) { return meta_row == kNumbersRow || meta_row == kGroupRow; }

std::uint64_t sized(std::size_t bytes) { return codec::varint_size(bytes) + bytes; }

std::string framed(std::string_view body) {
  std::string out;
  out.reserve(kBlockHead + body.size());
  codec::put_u32(out, static_cast<std::uint32_t>(body.size()));
  codec::put_u32(out, crc32c(body));
  out.append(body);
  return out;
}

std::string end_body(std::uint64_t rows) {
  std::string out = "E";
  codec::put_varint(out, rows);
  return out;
}

std::uint64_t padding(std::uint64_t size) { return (kSnapshotAlign - size % kSnapshotAlign) % kSnapshotAlign; }

}  // namespace

// --- rows ---

RowWalk::RowWalk(const StoreSnapshot& rows) : rows_(rows), one_(rows.iterate_once(Family::kHead)), other_(rows.iterate_once(Family::kHist)) {
  one_->seek({});
  other_->seek({});
  settle();
}

void RowWalk::next() {
  at_->next();
  settle();
}

void RowWalk::settle() {
  constexpr Family kAlone[] = {Family::kHead, Family::kRev, Family::kLease, Family::kAuth, Family::kMeta};
  at_ = nullptr;
  for (;;) {
    while (section_ == kSections - 1 && one_->valid() && left_out(one_->key())) one_->next();
    const bool one = one_->valid(), other = other_ && other_->valid();
    if (one || other) {
      // Of a key its row of head comes first, being shorter.
      const bool first = one && (!other || one_->key() < other_->key());
      at_ = first ? one_.get() : other_.get();
      family_ = first ? kAlone[section_] : Family::kHist;
      return;
    }
    for (const auto* it : {one_.get(), other_.get()})
      if (it != nullptr && status_.ok()) status_ = it->status();
    if (!status_.ok() || section_ + 1 == kSections) return;
    other_.reset();
    one_ = rows_.iterate_once(kAlone[++section_]);
    one_->seek({});
  }
}

// --- writing ---

SnapshotWriter::SnapshotWriter(std::shared_ptr<const View> view, CopyNote note) : view_(std::move(view)), note_(std::move(note)) {
  digest_.start();
}

Result<std::uint64_t> SnapshotWriter::block_of_rows(std::string* body) {
  std::uint64_t bytes = 1;
  if (body) *body = "R";
  for (; walk_->valid() && bytes < kBlockBytes; walk_->next()) {
    const std::string_view key = walk_->key(), value = walk_->value();
    bytes += 1 + sized(key.size()) + sized(value.size());
    ++rows_;
    if (!body) continue;
    codec::put_u8(*body, static_cast<std::uint8_t>(walk_->family()));
    codec::put_bytes(*body, key);
    codec::put_bytes(*body, value);
  }
  LEEWARD_TRY(walk_->status());
  return bytes;
}

Result<std::string> SnapshotWriter::head() const {
  auto numbers = view_->snapshot->get(Family::kMeta, kNumbersRow);
  if (!numbers.ok()) return numbers.error();
  std::string out = "H";
  codec::put_u8(out, kSnapshotVersion);
  codec::put_u64(out, size_);
  codec::put_bytes(out, note_.cluster);
  out.append(reinterpret_cast<const char*>(note_.lineage.bytes.data()), note_.lineage.bytes.size());
  codec::put_u64(out, note_.group.value());
  codec::put_varint(out, note_.node.value());
  codec::put_bytes(out, note_.region);
  codec::put_u64(out, static_cast<std::uint64_t>(note_.taken_ms));
  codec::put_bytes(out, note_.version);
  codec::put_bytes(out, numbers->value_or(Numbers().encode()));
  return framed(out);
}

Result<bool> SnapshotWriter::measure(std::size_t max) {
  if (part_ != Part::kMeasure) return false;
  if (!walk_) {
    walk_ = std::make_unique<RowWalk>(*view_->snapshot);
    auto begun = head();  // the size in it takes as many bytes whatever it is
    if (!begun.ok()) return begun.error();
    size_ = kSnapshotMagic.size() + begun->size();
  }
  for (std::uint64_t seen = 0; walk_->valid() && seen < max;) {
    const auto block = block_of_rows(nullptr);
    if (!block.ok()) return block.error();
    size_ += kBlockHead + *block;
    seen += *block;
  }
  LEEWARD_TRY(walk_->status());
  if (walk_->valid()) return true;
  measured_rows_ = rows_;
  rows_ = 0;
  size_ += framed(end_body(measured_rows_)).size();
  size_ += padding(size_) + kDigestBytes;
  walk_ = std::make_unique<RowWalk>(*view_->snapshot);
  part_ = Part::kHead;
  return false;
}

Result<void> SnapshotWriter::stage() {
  std::string out;
  if (part_ == Part::kHead) {
    auto begun = head();
    if (!begun.ok()) return begun.error();
    out = std::string(kSnapshotMagic) + *begun;
    part_ = Part::kRows;
  } else if (part_ == Part::kRows && walk_->valid()) {
    std::string body;
    const auto block = block_of_rows(&body);
    if (!block.ok()) return block.error();
    out = framed(body);
  } else if (part_ == Part::kRows) {
    LEEWARD_TRY(walk_->status());
    LEEWARD_CHECK(rows_ == measured_rows_, "a snapshot of the store has changed between two walks");
    out = framed(end_body(rows_));
    out.append(padding(made_ + out.size()), '\0');
    walk_.reset();
    part_ = Part::kDigest;
  } else if (part_ == Part::kDigest) {
    const Hash digest = digest_.finish();
    out.assign(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
    part_ = Part::kDone;
    LEEWARD_CHECK(made_ + out.size() == size_, "a snapshot file is not as long as measured");
    view_ = std::make_shared<const View>(View{view_->state, 0, nullptr, nullptr});  // lets the store's snapshot go
  }
  if (part_ != Part::kDone) digest_.add(out);
  made_ += out.size();
  staged_ = Bytes(std::move(out));
  given_ = 0;
  return {};
}

Result<Bytes> SnapshotWriter::next(std::size_t max) {
  LEEWARD_CHECK(part_ != Part::kMeasure, "a snapshot file that was not measured");
  if (given_ == staged_.size() && part_ != Part::kDone) LEEWARD_TRY(stage());
  Bytes piece = staged_.slice(given_, max);
  given_ += piece.size();
  return piece;
}

// --- reading ---

namespace {

// What the rows come to, by the file's order: README.md, "State hash".
class RowsSum {
 public:
  explicit RowsSum(const Numbers& numbers) : numbers_(numbers) {}

  // False: a row that makes no sense.
  bool add(Family family, std::string_view key, std::string_view value, SnapshotReport& report) {
    if (section_of(family) < section_ || (section_of(family) == section_ && !(last_ < key))) return false;
    section_ = section_of(family);
    last_.assign(key);
    switch (family) {
      case Family::kHead: return head(key, value, report);
      case Family::kHist: return hist(key, value, report);
      case Family::kRev: {
        RevRow row;
        return key.size() == 12 && parse_rev_row(parse_rev_key(key), value, row);
      }
      case Family::kLease: return lease(key, value, report);
      case Family::kAuth: return true;
      case Family::kMeta: return meta(key, value);
    }
    return false;
  }
  const Sum256& sum() const { return sum_; }

 private:
  static bool is_escaped(std::string_view key) { return key.size() >= 2 && key.substr(key.size() - 2) == std::string_view("\0\1", 2); }

  bool head(std::string_view key, std::string_view value, SnapshotReport& report) {
    std::uint32_t sub = 0;
    std::string_view wire;
    Record record;
    if (!is_escaped(key) || !parse_head(value, sub, wire) || !parse_record(wire, record)) return false;
    key_.assign(key);
    newer_ = record.mod;
    ++report.keys;
    ++report.versions;
    sum_ += hash_of_record(unescape(key_, scratch_), {record.mod, sub}, wire);
    return true;
  }

  bool hist(std::string_view row, std::string_view record, SnapshotReport& report) {
    if (row.size() <= kHistSuffix || !is_escaped(hist_prefix(row))) return false;
    const Rev rev = hist_rev(row);
    if (hist_prefix(row) != key_) {
      if (!record.empty()) return false;  // a key that exists stands in head
      key_.assign(hist_prefix(row));
      newer_ = 0;
    }
    Record parsed;
    if (!record.empty() && !parse_record(record, parsed)) return false;
    ++report.versions;
    const bool dead = (newer_ != 0 && newer_ <= numbers_.compacted) || (record.empty() && rev.main <= numbers_.compacted);
    if (!dead) sum_ += hash_of_record(unescape(key_, scratch_), rev, record);
    newer_ = rev.main;
    return true;
  }

  bool lease(std::string_view key, std::string_view value, SnapshotReport& report) {
    const char kind = key.empty() ? '\0' : key.front();
    key.remove_prefix(key.empty() ? 0 : 1);
    std::uint64_t id = 0, ttl = 0;
    if (!codec::get_be64(key, id)) return false;
    if (kind == 'K') return true;
    if (kind != 'L' || !codec::get_varint(value, ttl)) return false;
    ++report.leases;
    sum_ += hash_of_lease(static_cast<std::int64_t>(id), static_cast<std::int64_t>(ttl));
    return true;
  }

  bool meta(std::string_view key, std::string_view value) {
    if (left_out(key)) return false;
    if (!key.starts_with(kRegionPrefix)) return key == kSweptRow;
    const auto entry = parse_region(key, value);
    if (!entry.ok()) return false;
    sum_ += hash_of_region_entry(entry->kind, entry->index, region_body(*entry));
    return true;
  }

  const Numbers& numbers_;
  Sum256 sum_;
  int section_ = 0;
  std::string last_, key_, scratch_;
  std::int64_t newer_ = 0;
};

class SnapshotReader {
 public:
  SnapshotReader(std::unique_ptr<File> file, Path path, std::uint64_t size, const BytesSeen& seen)
      : file_(std::move(file)), path_(std::move(path)), size_(size), seen_(seen) {
    digest_.start();
  }

  Result<SnapshotReport> run(const RowSink& sink) {
    LEEWARD_TRY(magic());
    LEEWARD_TRY(head());
    RowsSum sum(numbers_);
    for (bool more = true; more;) {
      auto block = this->block();
      if (!block.ok()) return block.error();
      std::string_view body = *block;
      more = !body.empty() && body.front() == 'R';
      if (more) LEEWARD_TRY(rows(body.substr(1), sum, sink));
      else LEEWARD_TRY(end(body));
    }
    LEEWARD_TRY(trailer());
    if (report_.keys != numbers_.keys)
      return Error{Code::kCorrupt, path_ + ": it holds " + std::to_string(report_.keys) + " keys and says " + std::to_string(numbers_.keys) + kAnother};
    if (sum.sum() != numbers_.hash)
      return Error{Code::kCorrupt, path_ + ": the state hash of its rows is " + sum.sum().hash().hex() + ", it says " + numbers_.hash.hash().hex() + kAnother};
    return std::move(report_);
  }

 private:
  static constexpr const char* kAnother = "; use another snapshot";

  Error damage(std::uint64_t at, const std::string& what) const {
    return {Code::kCorrupt, path_ + ": at byte " + std::to_string(at) + ": " + what + kAnother};
  }

  // The next `count` bytes; fewer only at the end of the file. Good until the next call.
  Result<std::string_view> take(std::uint64_t count) {
    if (buffer_.size() - taken_ < count) {
      buffer_.erase(0, taken_);
      base_ += taken_;
      taken_ = 0;
      while (buffer_.size() < count) {
        const auto wanted = std::max<std::uint64_t>(kReadAhead, count - buffer_.size());
        const auto read = file_->read(base_ + buffer_.size(), static_cast<std::size_t>(wanted), buffer_);
        if (!read.ok()) return read.error();
        if (*read == 0) break;
      }
    }
    const std::string_view out = std::string_view(buffer_).substr(taken_, static_cast<std::size_t>(count));
    taken_ += out.size();
    return out;
  }
  // The same, counted and hashed.
  Result<std::string_view> covered(std::uint64_t count) {
    auto out = take(count);
    if (!out.ok()) return out;
    digest_.add(*out);
    at_ += out->size();
    if (seen_ && at_ - told_ >= kSeenEach) seen_(told_ = at_, size_);
    return out;
  }

  Result<void> magic() {
    const auto found = covered(kSnapshotMagic.size());
    if (!found.ok()) return found.error();
    if (*found == kSnapshotMagic) return {};
    if (found->starts_with(kSnapshotMagic.substr(0, 6)) && found->size() == kSnapshotMagic.size())
      return Error{Code::kNewerFormat, path_ + ": another format of snapshot (" + std::string(*found) + "); use the leewardctl of the version that wrote it"};
    return Error{Code::kCorrupt, path_ + " is no snapshot of Leeward: it does not begin as one (etcd's own are read by etcdutl)"};
  }

  Result<std::string_view> block() {
    const std::uint64_t at = at_;
    const auto begun = covered(kBlockHead);
    if (!begun.ok()) return begun.error();
    std::string_view in = *begun;
    std::uint32_t length = 0, crc = 0;
    if (!codec::get_u32(in, length) || !codec::get_u32(in, crc) || length > size_ - at_ || length > kMostBlock)
      return damage(at, "it ends within a block, or the block's head is damaged");
    const auto body = covered(length);
    if (!body.ok()) return body.error();
    if (body->size() < length) return damage(at, "it ends within a block");
    if (crc32c(*body) != crc) return damage(at, "a block of " + std::to_string(length) + " bytes fails its checksum");
    return *body;
  }

  Result<void> head() {
    const std::uint64_t at = at_;
    const auto block = this->block();
    if (!block.ok()) return block.error();
    std::string_view in = *block;
    if (!in.starts_with('H')) return damage(at, "the first block is not the head");
    in.remove_prefix(1);
    std::uint8_t version = 0;
    std::string_view cluster, region, product, numbers;
    std::uint64_t group = 0, node = 0, taken = 0;
    if (!codec::get_u8(in, version)) return damage(at, "the head is malformed");
    if (version != kSnapshotVersion)
      return Error{Code::kNewerFormat, path_ + ": snapshot format " + std::to_string(version) + ", this version reads " +
                                           std::to_string(kSnapshotVersion) + "; use the newer leewardctl"};
    if (!codec::get_u64(in, report_.size) || !codec::get_bytes(in, cluster) || !codec::get_fixed(in, report_.note.lineage.bytes) ||
        !codec::get_u64(in, group) || !codec::get_varint(in, node) || !codec::get_bytes(in, region) || !codec::get_u64(in, taken) ||
        !codec::get_bytes(in, product) || !codec::get_bytes(in, numbers) || !in.empty())
      return damage(at, "the head is malformed");
    auto decoded = Numbers::decode(numbers);
    if (!decoded.ok()) return Error{decoded.error().code, path_ + ": " + decoded.error().message};
    numbers_ = *decoded;
    report_.numbers = numbers;
    report_.note.cluster = cluster;
    report_.note.region = region;
    report_.note.version = product;
    report_.note.group = GroupId(group);
    report_.note.node = NodeId(node);
    report_.note.taken_ms = static_cast<std::int64_t>(taken);
    report_.state = {numbers_.point, numbers_.epoch, Revision(numbers_.revision), Revision(numbers_.compacted), numbers_.hash.hash()};
    if (report_.size == size_) return {};
    return Error{Code::kCorrupt, path_ + ": it has " + std::to_string(size_) + " bytes of " + std::to_string(report_.size) +
                                     (size_ < report_.size ? ": it was cut" : ": something was added") + kAnother};
  }

  Result<void> rows(std::string_view in, RowsSum& sum, const RowSink& sink) {
    while (!in.empty()) {
      std::uint8_t family = 0;
      std::string_view key, value;
      if (!codec::get_u8(in, family) || family >= kFamilies || !codec::get_bytes(in, key) || !codec::get_bytes(in, value) ||
          !sum.add(static_cast<Family>(family), key, value, report_))
        return damage(at_, "before it, row " + std::to_string(report_.rows + 1) + " makes no sense");
      ++report_.rows;
      if (sink) LEEWARD_TRY(sink(static_cast<Family>(family), key, value));
    }
    return {};
  }

  Result<void> end(std::string_view in) {
    std::uint64_t rows = 0;
    if (!in.starts_with('E')) return damage(at_, "before it, a block of no known kind");
    in.remove_prefix(1);
    if (!codec::get_varint(in, rows) || !in.empty() || rows != report_.rows)
      return damage(at_, "it holds " + std::to_string(report_.rows) + " rows and says " + std::to_string(rows));
    const std::uint64_t zeros = padding(at_);
    if (at_ + zeros + kDigestBytes != size_) return damage(at_, "it does not end where it should");
    const auto found = covered(zeros);
    if (!found.ok()) return found.error();
    if (found->size() != zeros || found->find_first_not_of('\0') != std::string_view::npos) return damage(at_, "before it, something stands where zeros should");
    return {};
  }

  Result<void> trailer() {
    report_.digest = digest_.finish();
    const auto found = take(kDigestBytes);
    if (!found.ok()) return found.error();
    if (*found != std::string_view(reinterpret_cast<const char*>(report_.digest.bytes.data()), kDigestBytes))
      return damage(at_, "the SHA-256 at its end is not that of the file");
    if (seen_) seen_(size_, size_);
    return {};
  }

  const std::unique_ptr<File> file_;
  const Path path_;
  const std::uint64_t size_;
  const BytesSeen& seen_;
  std::string buffer_;      // of the file, from base_ on
  std::size_t taken_ = 0;   // of it
  std::uint64_t base_ = 0, at_ = 0, told_ = 0;
  Sha256 digest_;
  Numbers numbers_;
  SnapshotReport report_;
};

}  // namespace

Result<SnapshotReport> read_snapshot(Disk& disk, const Path& path, const RowSink& sink, const BytesSeen& seen) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  const auto size = (*file)->size();
  if (!size.ok()) return size.error();
  return SnapshotReader(std::move(*file), path, *size, seen).run(sink);
}

Result<AppliedState> restore_snapshot(Disk& disk, const Path& path, std::unique_ptr<Store> store,
                                      const std::function<Result<RestoredBeginning>(const SnapshotReport&)>& begin,
                                      const Clock& clock, Log& log, const BytesSeen& seen, const RowsSeen& checked) {
  Batch batch;
  std::size_t bytes = 0;
  const auto flush_at = [&](std::size_t limit) -> Result<void> {
    if (bytes < limit) return {};
    bytes = 0;
    LEEWARD_TRY(store->write(batch));
    batch.clear();
    return {};
  };
  const auto report = read_snapshot(
      disk, path,
      [&](Family family, std::string_view key, std::string_view value) -> Result<void> {
        batch.put(family, std::string(key), std::string(value));
        bytes += key.size() + value.size();
        return flush_at(kRestoreBatch);
      },
      seen);
  if (!report.ok()) return report.error();
  const auto beginning = begin(*report);
  if (!beginning.ok()) return beginning.error();
  auto numbers = Numbers::decode(report->numbers);
  if (!numbers.ok()) return numbers.error();
  numbers->point.index = Index();  // in a log that begins
  numbers->point.term = Term();
  batch.put(Family::kMeta, kNumbersRow, numbers->encode());
  LEEWARD_TRY(store->write(batch));
  StateReport rows;
  LEEWARD_TRY(check_rows(*store->snapshot(), path, rows, checked));
  if (!rows.sound())
    return Error{Code::kCorrupt, path + ": its rows contradict one another: " + rows.faults.front().what + "; use another snapshot"};
  auto machine = MvccStateMachine::open(std::move(store), disk, clock, log);
  if (!machine.ok()) return machine.error();
  (*machine)->set_group_state(beginning->group_state);
  LEEWARD_TRY((*machine)->apply({&beginning->entry, 1}, {}, {}));
  LEEWARD_TRY((*machine)->flush());
  return (*machine)->applied();
}

}  // namespace leeward::kv
