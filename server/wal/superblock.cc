#include "wal/superblock.h"

#include <algorithm>
#include <cstring>

#include "base/codec.h"
#include "base/crc32c.h"
#include "wal/format.h"

namespace leeward::wal {
namespace {

constexpr std::string_view kMagic = "LWSUPERB";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeadBytes = 32;
constexpr int kQuorum = 2;
constexpr std::uint64_t kFileBytes = kSuperblockCopies * kSuperblockCopyBytes;

std::uint32_t copy_checksum(std::string_view copy) { return checksum(copy.substr(16), crc32c(copy.substr(0, 12))); }

std::string encode_data(const SuperblockData& d) {
  std::string out;
  codec::put_u32(out, d.format);
  codec::put_bytes(out, d.cluster_name);
  out.append(reinterpret_cast<const char*>(d.lineage.bytes.data()), d.lineage.bytes.size());
  codec::put_u64(out, d.node.value());
  codec::put_u64(out, d.group.value());
  codec::put_u64(out, d.incarnation.value());
  codec::put_u64(out, d.starts);
  codec::put_u8(out, d.clean_shutdown ? 1 : 0);
  codec::put_bytes(out, d.state_dir);
  codec::put_bytes(out, d.pending_state_dir);
  codec::put_bytes(out, d.extra);
  return out;
}

bool get_string(std::string_view& in, std::string& out) {
  std::string_view view;
  if (!codec::get_bytes(in, view)) return false;
  out = view;
  return true;
}

bool decode_data(std::string_view in, SuperblockData& d) {
  std::uint64_t node = 0, group = 0, incarnation = 0;
  std::uint8_t clean = 0;
  const bool ok = codec::get_u32(in, d.format) && get_string(in, d.cluster_name) &&
                  codec::get_fixed(in, d.lineage.bytes) && codec::get_u64(in, node) && codec::get_u64(in, group) &&
                  codec::get_u64(in, incarnation) && codec::get_u64(in, d.starts) && codec::get_u8(in, clean) &&
                  get_string(in, d.state_dir) && get_string(in, d.pending_state_dir) && get_string(in, d.extra);
  d.node = NodeId(node);
  d.group = GroupId(group);
  d.incarnation = Incarnation(incarnation);
  d.clean_shutdown = clean == 1;
  return ok && in.empty() && clean <= 1;
}

// "" when it does not fit.
std::string encode_copy(const SuperblockData& data, int copy) {
  const std::string body = encode_data(data);
  if (kHeadBytes + body.size() > kSuperblockCopyBytes) return {};
  std::string out(kMagic);
  codec::put_u32(out, kVersion);
  codec::put_u32(out, 0);
  codec::put_u32(out, static_cast<std::uint32_t>(copy));
  codec::put_u32(out, static_cast<std::uint32_t>(body.size()));
  codec::put_u64(out, data.sequence);
  out += body;
  out.resize(kSuperblockCopyBytes, '\0');
  const std::uint32_t crc = copy_checksum(out);
  std::memcpy(out.data() + 12, &crc, 4);
  return out;
}

SuperblockCopy decode_copy(std::string_view in, int number, std::uint32_t newest) {
  SuperblockCopy copy;
  if (in.size() < kSuperblockCopyBytes) {
    copy.fault = "the file is cut short";
    return copy;
  }
  std::uint32_t version = 0, stored = 0, which = 0, length = 0;
  std::string_view rest = in.substr(kMagic.size());
  codec::get_u32(rest, version);
  codec::get_u32(rest, stored);
  codec::get_u32(rest, which);
  codec::get_u32(rest, length);
  codec::get_u64(rest, copy.data.sequence);
  if (!in.starts_with(kMagic) || stored != copy_checksum(in)) {
    copy.fault = "the copy is damaged";
  } else if (version > kVersion) {
    copy.fault = "superblock format " + std::to_string(version) + ", this version knows up to " + std::to_string(kVersion);
    copy.code = Code::kNewerFormat;
  } else if (which != static_cast<std::uint32_t>(number) || length > rest.size() ||
             !decode_data(rest.substr(0, length), copy.data)) {
    copy.fault = "the copy makes no sense at this place";
  } else if (copy.data.format > newest) {
    copy.fault = "directory format " + std::to_string(copy.data.format) + ", this version knows up to " + std::to_string(newest);
    copy.code = Code::kNewerFormat;
  }
  return copy;
}

int find_current(const SuperblockReading& reading) {
  int best = -1;
  for (int i = 0; i < kSuperblockCopies; ++i) {
    if (!reading.copies[i].valid()) continue;
    const auto agree = std::count_if(reading.copies.begin(), reading.copies.end(), [&](const SuperblockCopy& other) {
      return other.valid() && other.data == reading.copies[i].data;
    });
    if (agree >= kQuorum && (best < 0 || reading.copies[i].data.sequence > reading.copies[best].data.sequence)) best = i;
  }
  return best;
}

SuperblockReading decode_all(std::string_view all, std::uint32_t newest) {
  SuperblockReading reading;
  for (int i = 0; i < kSuperblockCopies; ++i) {
    const std::size_t start = std::min(all.size(), i * kSuperblockCopyBytes);
    reading.copies[i] = decode_copy(all.substr(start, kSuperblockCopyBytes), i, newest);
  }
  reading.current = find_current(reading);
  return reading;
}

Result<SuperblockReading> read_file(const File& file, std::uint32_t newest) {
  std::string all;
  const auto n = file.read(0, kFileBytes, all);
  if (!n.ok()) return n.error();
  const auto size = file.size();
  if (!size.ok()) return size.error();
  auto reading = decode_all(all, newest);
  reading.behind = *size - std::min<std::uint64_t>(*size, kFileBytes);
  return reading;
}

Error too_large() {
  return {Code::kInvalid, "the superblock holds 4 KiB; shorten cluster.name or what else it names"};
}

}  // namespace

Error no_quorum(const SuperblockReading& reading, const Path& path) {
  std::string what;
  for (int i = 0; i < kSuperblockCopies; ++i) {
    const auto& copy = reading.copies[i];
    if (copy.code == Code::kNewerFormat && !copy.valid())
      return {Code::kNewerFormat, path + ": " + copy.fault + "; run the newer leewardd"};
    what += "; copy " + std::to_string(i) + ": " + (copy.valid() ? "sequence " + std::to_string(copy.data.sequence) : copy.fault);
  }
  return {Code::kCorrupt, path + ": no two of the four copies agree" + what +
                              ". Empty this node's directories and let it be refilled from its peers"};
}

Path superblock_path(const Path& directory) { return directory + "/superblock"; }

Result<SuperblockReading> read_superblock(Disk& disk, const Path& directory) {
  auto file = disk.open(superblock_path(directory), OpenMode::kRead);
  if (!file.ok()) return file.error();
  return read_file(**file, kNewestFormat);
}

Result<std::unique_ptr<SuperblockFile>> SuperblockFile::create(Disk& disk, const Path& directory,
                                                               const SuperblockData& data) {
  const Path path = superblock_path(directory), made = path + ".new";
  if (disk.exists(path)) return Error{Code::kExists, path + " exists"};
  auto file = disk.open(made, OpenMode::kCreateOrOpen);
  if (!file.ok()) return file.error();
  std::unique_ptr<SuperblockFile> block(new SuperblockFile(std::move(*file), path));
  block->attempts_ = data.sequence;
  LEEWARD_TRY(block->file_->allocate(kFileBytes));
  LEEWARD_TRY(block->write(data));
  LEEWARD_TRY(disk.rename(made, path));
  LEEWARD_TRY(disk.sync_dir(directory));
  return block;
}

Result<std::unique_ptr<SuperblockFile>> SuperblockFile::open(Disk& disk, const Path& directory, std::uint32_t newest_format) {
  const Path path = superblock_path(directory);
  auto file = disk.open(path, OpenMode::kReadWrite);
  if (!file.ok()) return file.error();
  LEEWARD_TRY(disk.sync_dir(directory));
  std::unique_ptr<SuperblockFile> block(new SuperblockFile(std::move(*file), path));
  const auto reading = read_file(*block->file_, newest_format);
  if (!reading.ok()) return reading.error();
  // One pair may say it already and the other not yet.
  const bool newer = std::any_of(reading->copies.begin(), reading->copies.end(), [](const auto& c) { return !c.valid() && c.code == Code::kNewerFormat; });
  if (reading->current < 0 || newer) return no_quorum(*reading, path);
  block->data_ = reading->copies[reading->current].data;
  for (const auto& copy : reading->copies) block->mended_ += !(copy.valid() && copy.data == block->data_);
  block->attempts_ = block->data_.sequence;
  // First of all: the quorum may stand in the page cache only, and must not be
  // torn together with the copies that are mended below.
  LEEWARD_TRY(block->file_->sync());
  for (int i = 0; i < kSuperblockCopies; ++i) {
    const auto& copy = reading->copies[i];
    if (!(copy.valid() && copy.data == block->data_))
      LEEWARD_TRY(block->file_->write(i * kSuperblockCopyBytes, encode_copy(block->data_, i)));
  }
  if (reading->behind > 0) LEEWARD_TRY(block->file_->truncate(kFileBytes));
  if (block->mended_ > 0 || reading->behind > 0) LEEWARD_TRY(block->file_->sync());
  return block;
}

Result<void> SuperblockFile::write(const SuperblockData& data) {
  if (poisoned_) return Error{Code::kIo, path_ + ": an earlier write failed; the process must stop"};
  SuperblockData next = data;
  next.sequence = ++attempts_;
  if (encode_copy(next, 0).empty()) return too_large();
  // The pair that is whole is written last, once the other one is.
  for (const int pair : {1 - whole_pair_, whole_pair_}) {
    auto written = write_pair(pair, next);
    if (!written.ok()) {
      poisoned_ = written.error().code != Code::kNoSpace;
      return written;
    }
    whole_pair_ = pair;
  }
  data_ = std::move(next);
  return {};
}

Result<void> SuperblockFile::write_pair(int pair, const SuperblockData& data) {
  for (const int copy : {2 * pair, 2 * pair + 1})
    LEEWARD_TRY(file_->write(copy * kSuperblockCopyBytes, encode_copy(data, copy)));
  if (auto synced = file_->sync(); !synced.ok()) return Error{Code::kIo, synced.error().message};
  return {};
}

}  // namespace leeward::wal
