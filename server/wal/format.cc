#include "wal/format.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"

namespace leeward::wal {
namespace {

constexpr std::string_view kSegmentMagic = "LWLOGSEG";
constexpr std::uint32_t kBatchMagic = 0x3142574c;  // "LWB1"
constexpr std::uint32_t kSealFlag = 1;
constexpr std::uint32_t kResetFlag = 1;
constexpr std::size_t kNameDigits = 20;

void store_u32(std::string& out, std::size_t at, std::uint32_t v) { std::memcpy(out.data() + at, &v, 4); }

std::uint32_t header_checksum(std::string_view sector) {
  return checksum(sector.substr(16), crc32c(sector.substr(0, 12)));
}

}  // namespace

std::string segment_name(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  return "log-" + std::string(kNameDigits - digits.size(), '0') + digits + ".seg";
}

bool parse_segment_name(std::string_view name, std::uint64_t& number) {
  if (name.size() != 4 + kNameDigits + 4 || !name.starts_with("log-") || !name.ends_with(".seg")) return false;
  number = 0;
  for (char c : name.substr(4, kNameDigits)) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return segment_name(number) == name;
}

std::uint32_t checksum(std::string_view data, std::uint32_t seed) {
  const std::uint32_t crc = crc32c(data, seed);
  return crc == 0 ? 1 : crc;
}

std::uint32_t salted_seed(const SegmentHeader& header) {
  std::string bytes;
  codec::put_u64(bytes, header.number);
  codec::put_u64(bytes, header.salt);
  return crc32c(bytes);
}

void put_point(std::string& out, const LogPoint& point) {
  codec::put_u64(out, point.index.value());
  codec::put_u64(out, point.term.value());
  codec::put_u64(out, point.position.index.value());
  out.append(reinterpret_cast<const char*>(point.position.hash.bytes.data()), 32);
  codec::put_u64(out, point.position.writes);
  codec::put_u64(out, point.position.bytes);
}

bool get_point(std::string_view& in, LogPoint& point) {
  std::uint64_t index = 0, term = 0, history = 0;
  if (!(codec::get_u64(in, index) && codec::get_u64(in, term) && codec::get_u64(in, history) &&
        codec::get_fixed(in, point.position.hash.bytes) && codec::get_u64(in, point.position.writes) &&
        codec::get_u64(in, point.position.bytes)))
    return false;
  point.index = Index(index);
  point.term = Term(term);
  point.position.index = HistoryIndex(history);
  return true;
}

void put_hard_state(std::string& out, const HardState& state) {
  codec::put_u64(out, state.term.value());
  codec::put_u64(out, state.vote.value());
  codec::put_u64(out, state.commit.value());
}

bool get_hard_state(std::string_view& in, HardState& state) {
  std::uint64_t term = 0, vote = 0, commit = 0;
  if (!(codec::get_u64(in, term) && codec::get_u64(in, vote) && codec::get_u64(in, commit))) return false;
  state = {Term(term), NodeId(vote), Index(commit)};
  return true;
}

std::string encode_header(const SegmentHeader& header) {
  std::string out(kSegmentMagic);
  codec::put_u32(out, kSegmentVersion);
  codec::put_u32(out, 0);
  codec::put_u64(out, header.number);
  codec::put_u64(out, header.salt);
  codec::put_u64(out, header.owner.value());
  codec::put_u64(out, header.first_sequence);
  codec::put_u64(out, header.bytes);
  codec::put_u32(out, header.reset ? kResetFlag : 0);
  codec::put_u32(out, 0);
  put_hard_state(out, header.hard_state);
  put_point(out, header.point);
  out.resize(kSector, '\0');
  store_u32(out, 12, header_checksum(out));
  return out;
}

Result<SegmentHeader> decode_header(std::string_view sector) {
  if (sector.size() < kSector) return Error{Code::kCorrupt, "the file is shorter than a segment header"};
  sector = sector.substr(0, kSector);
  std::uint32_t version = 0, stored = 0, flags = 0, reserved = 0;
  std::string_view in = sector.substr(kSegmentMagic.size());
  codec::get_u32(in, version);
  codec::get_u32(in, stored);
  if (!sector.starts_with(kSegmentMagic) || stored != header_checksum(sector))
    return Error{Code::kCorrupt, "the segment header is damaged"};
  if (version > kSegmentVersion)
    return Error{Code::kNewerFormat, "segment format " + std::to_string(version) + ", this version knows up to " +
                                         std::to_string(kSegmentVersion) + "; run the newer leewardd"};
  SegmentHeader header;
  std::uint64_t owner = 0;
  const bool ok = codec::get_u64(in, header.number) && codec::get_u64(in, header.salt) && codec::get_u64(in, owner) &&
                  codec::get_u64(in, header.first_sequence) && codec::get_u64(in, header.bytes) &&
                  codec::get_u32(in, flags) && codec::get_u32(in, reserved) && get_hard_state(in, header.hard_state) &&
                  get_point(in, header.point);
  if (!ok || version == 0 || flags > kResetFlag) return Error{Code::kCorrupt, "the segment header makes no sense"};
  header.owner = Incarnation(owner);
  header.reset = flags == kResetFlag;
  return header;
}

// Head and table take 28 + 4 * sectors bytes, the body the rest.
std::uint32_t sectors_for(std::size_t body_bytes) {
  return static_cast<std::uint32_t>((kBatchHeadBytes - 4 + body_bytes + (kSector - 4) - 1) / (kSector - 4));
}

void begin_batch(std::string& batch, std::uint32_t sectors) {
  batch.clear();
  batch.reserve(sectors * kSector);
  batch.resize(body_offset(sectors), '\0');
}

void finish_batch(std::string& batch, const BatchHead& head, std::uint32_t seed) {
  LEEWARD_CHECK(batch.size() <= head.sectors * kSector && batch.size() == body_offset(head.sectors) + head.body_bytes);
  batch.resize(head.sectors * kSector, '\0');
  // From the back: a sector may hold checksums of later ones.
  for (std::uint32_t i = head.sectors - 1; i > 0; --i)
    store_u32(batch, kBatchHeadBytes + 4 * (i - std::size_t{1}),
              checksum(std::string_view(batch).substr(i * kSector, kSector), seed));
  std::string fields;
  codec::put_u32(fields, kBatchMagic);
  codec::put_u32(fields, 0);
  codec::put_u64(fields, head.sequence);
  codec::put_u32(fields, head.body_bytes);
  codec::put_u32(fields, head.sectors);
  codec::put_u32(fields, head.records);
  codec::put_u32(fields, head.seal ? kSealFlag : 0);
  batch.replace(0, fields.size(), fields);
  store_u32(batch, 4, checksum(std::string_view(batch).substr(8, kSector - 8), seed));
}

bool decode_batch_head(std::string_view sector, std::uint32_t seed, BatchHead& head) {
  std::uint32_t magic = 0, stored = 0, flags = 0;
  std::string_view in = sector.substr(0, kSector);
  if (in.size() < kSector) return false;
  codec::get_u32(in, magic);
  codec::get_u32(in, stored);
  if (magic != kBatchMagic || stored != checksum(in, seed)) return false;
  codec::get_u64(in, head.sequence);
  codec::get_u32(in, head.body_bytes);
  codec::get_u32(in, head.sectors);
  codec::get_u32(in, head.records);
  codec::get_u32(in, flags);
  head.seal = flags == kSealFlag;
  return flags <= kSealFlag;
}

std::uint32_t stored_sector_checksum(std::string_view batch, std::uint32_t sector) {
  std::uint32_t stored = 0;
  std::memcpy(&stored, batch.data() + kBatchHeadBytes + 4 * (sector - std::size_t{1}), 4);
  return stored;
}

std::size_t begin_record(std::string& batch, RecordType type) {
  const std::size_t start = batch.size();
  batch.append(kRecordHeadBytes - 1, '\0');
  batch.push_back(static_cast<char>(type));
  return start;
}

void finish_record(std::string& batch, std::size_t start, std::uint32_t seed) {
  store_u32(batch, start + 4, static_cast<std::uint32_t>(batch.size() - start - kRecordHeadBytes));
  store_u32(batch, start, checksum(std::string_view(batch).substr(start + 4), seed));
}

bool get_record(std::string_view& in, std::uint32_t seed, Record& record) {
  if (in.size() < kRecordHeadBytes) return false;
  std::uint32_t stored = 0, length = 0;
  std::memcpy(&stored, in.data(), 4);
  std::memcpy(&length, in.data() + 4, 4);
  if (length > in.size() - kRecordHeadBytes) return false;
  if (stored != checksum(in.substr(4, kRecordHeadBytes - 4 + length), seed)) return false;
  record.type = static_cast<RecordType>(in[8]);
  record.payload = in.substr(kRecordHeadBytes, length);
  in.remove_prefix(kRecordHeadBytes + length);
  return true;
}

bool all_zero(std::string_view data) {
  // Comparing with itself shifted by one runs at memcmp's speed.
  return data.empty() || (data[0] == 0 && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

}  // namespace leeward::wal
