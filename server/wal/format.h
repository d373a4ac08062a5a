// The bytes of segment headers, batches and records, as FORMAT.md states them.
// Pure functions; no I/O. Internal to wal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/entry.h"
#include "base/ids.h"
#include "base/log_view.h"
#include "base/result.h"

namespace leeward::wal {

inline constexpr std::size_t kSector = 512;  // what a disk writes whole or not at all
inline constexpr std::uint32_t kSegmentVersion = 1;
inline constexpr std::size_t kBatchHeadBytes = 32;
inline constexpr std::size_t kRecordHeadBytes = 9;
inline constexpr std::size_t kPointBytes = 72;

struct SegmentHeader {
  std::uint64_t number = 0;
  std::uint64_t salt = 0;
  Incarnation owner;
  std::uint64_t first_sequence = 1;
  std::uint64_t bytes = 0;  // of the file
  bool reset = false;       // earlier segments are void
  HardState hard_state;
  LogPoint point;
};

struct BatchHead {
  std::uint64_t sequence = 0;
  std::uint32_t body_bytes = 0;
  std::uint32_t sectors = 1;
  std::uint32_t records = 0;
  bool seal = false;
};

enum class RecordType : std::uint8_t { kEntry = 1, kHardState = 2, kCut = 3 };

struct Record {
  RecordType type = RecordType::kEntry;
  std::string_view payload;
};

std::string segment_name(std::uint64_t number);
bool parse_segment_name(std::string_view name, std::uint64_t& number);
inline constexpr std::string_view kSpareName = "spare.seg";

// A checksum as it is stored: never 0, so that zeros are never valid.
std::uint32_t checksum(std::string_view data, std::uint32_t seed);
// Where checksums of one use of a file begin.
std::uint32_t salted_seed(const SegmentHeader& header);

std::string encode_header(const SegmentHeader& header);  // one sector
// Errors: kCorrupt, kNewerFormat; the caller adds the file's name.
Result<SegmentHeader> decode_header(std::string_view sector);

void put_point(std::string& out, const LogPoint& point);
bool get_point(std::string_view& in, LogPoint& point);
void put_hard_state(std::string& out, const HardState& state);
bool get_hard_state(std::string_view& in, HardState& state);

std::uint32_t sectors_for(std::size_t body_bytes);
inline std::size_t body_offset(std::uint32_t sectors) { return kBatchHeadBytes + 4 * (sectors - std::size_t{1}); }

// Appends zeros for head and table of a batch; records are appended next, then
// finish_batch pads, and fills in head and checksums.
void begin_batch(std::string& batch, std::uint32_t sectors);
void finish_batch(std::string& batch, const BatchHead& head, std::uint32_t seed);
// False: not a valid head under this seed.
bool decode_batch_head(std::string_view sector, std::uint32_t seed, BatchHead& head);
// The stored checksum of a sector >= 1 of a batch.
std::uint32_t stored_sector_checksum(std::string_view batch, std::uint32_t sector);

std::size_t begin_record(std::string& batch, RecordType type);
void finish_record(std::string& batch, std::size_t start, std::uint32_t seed);
// Takes one record off the front of `in`; false: cut short or a wrong checksum.
bool get_record(std::string_view& in, std::uint32_t seed, Record& record);

bool all_zero(std::string_view data);

}  // namespace leeward::wal
