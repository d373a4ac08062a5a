// How the state machine's rows look. README.md, "Layouts", is the
// specification; this is its code. Plain functions, any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace leeward::kv {

// A place in the history of keys: main revision, and the write's number within it.
struct Rev {
  std::int64_t main = 0;
  std::uint32_t sub = 0;
  auto operator<=>(const Rev&) const = default;
};

// --- escaped keys: ordered as the keys are, and none a prefix of another ---

void append_escaped(std::string& out, std::string_view key);
inline std::string escaped(std::string_view key) {
  std::string out;
  append_escaped(out, key);
  return out;
}
// The key of an escaped one: a view into `escaped` where nothing was escaped,
// else into `scratch`.
std::string_view unescape(std::string_view escaped, std::string& scratch);

// A range of keys as etcd's requests name it.
struct KeyRange {
  std::string_view key;
  std::string_view end;  // "": the key alone; "\0": everything from `key` on

  bool single() const { return end.empty(); }
  bool open_ended() const { return end.size() == 1 && end[0] == '\0'; }
  bool contains(std::string_view k) const {
    return single() ? k == key : k >= key && (open_ended() || k < end);
  }
};
// Its bounds over escaped keys: [low, high), high "" for no bound.
struct EscapedRange {
  std::string low, high;
  explicit EscapedRange(const KeyRange& range);
  bool below_high(std::string_view escaped) const { return high.empty() || escaped < high; }
};

// --- rows ---

// hist: escaped key, then main and sub inverted, so that newer comes first.
inline constexpr std::size_t kHistSuffix = 12;
std::string hist_key(std::string_view escaped, Rev rev);
// Where the versions of a key at or below main revision `at` begin.
std::string hist_seek(std::string_view escaped, std::int64_t at);
// Behind all versions of a key.
std::string hist_after(std::string_view escaped);
std::string_view hist_prefix(std::string_view row);
Rev hist_rev(std::string_view row);

// rev: be64 main, be32 sub.
std::string rev_key(Rev rev);
Rev parse_rev_key(std::string_view row);

enum class ChangeKind : std::uint8_t { kCreate = 1, kUpdate = 2, kDelete = 3 };
struct RevRow {
  ChangeKind kind = ChangeKind::kCreate;
  std::string_view sum;  // 32 bytes in the first row of a main revision, else empty
  Rev previous;          // the version that an update or deletion superseded
  std::string_view key;
};
std::string encode_rev_row(Rev rev, const RevRow& row);
bool parse_rev_row(Rev rev, std::string_view value, RevRow& row);

// lease: 'L' be64 id -> varint ttl; 'K' be64 id key -> "".
std::string lease_row(std::int64_t id);
std::string lease_key_row(std::int64_t id, std::string_view key);
inline constexpr std::size_t kLeaseKeyPrefix = 9;

// meta: single rows by name; region entries as "region/" and their kind.
inline constexpr const char* kNumbersRow = "numbers";
inline constexpr const char* kGroupRow = "group";
inline constexpr const char* kSweptRow = "swept";
inline constexpr std::string_view kRegionPrefix = "region/";

// --- records: the value of a row of hist, and of head behind its sub revision ---

// A version of a key, stored as the fields 2 to 6 of mvccpb.KeyValue are on the
// wire: an answer is the key's field and these bytes. "" is a deletion.
struct Record {
  std::int64_t create = 0;
  std::int64_t mod = 0;
  std::int64_t version = 0;
  std::string_view value;
  std::int64_t lease = 0;
};
void append_record(std::string& out, const Record& record);
bool parse_record(std::string_view wire, Record& record);

// A row of head: varint sub revision, record.
bool parse_head(std::string_view row, std::uint32_t& sub, std::string_view& record);

// --- protobuf, by hand: what is written here is what protobuf would write ---

void append_varint_field(std::string& out, int field, std::uint64_t value);  // nothing for 0
void append_bytes_field(std::string& out, int field, std::string_view value);
// A mvccpb.KeyValue as a field of another message.
void append_kv(std::string& out, int field, std::string_view key, std::string_view record);
std::size_t kv_size(std::string_view key, std::size_t record_size);  // for fields 1 to 15
// ResponseHeader with a revision, as field 1.
void append_header(std::string& out, std::int64_t revision);

// Takes a message apart field by field. Views into the message.
class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}
  // False at the end and at malformed input; ok() tells which.
  bool next();
  bool ok() const { return ok_; }
  // Field number when its wire type is varint or length-delimited, else 0.
  int varint_field() const { return type_ == 0 ? field_ : 0; }
  int bytes_field() const { return type_ == 2 ? field_ : 0; }
  std::uint64_t varint() const { return varint_; }
  std::int64_t int64() const { return static_cast<std::int64_t>(varint_); }
  std::string_view bytes() const { return bytes_; }

 private:
  bool fail();

  std::string_view rest_, bytes_;
  std::uint64_t varint_ = 0;
  int field_ = 0, type_ = 0;
  bool ok_ = true;
};

}  // namespace leeward::kv
