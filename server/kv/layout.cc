#include "kv/layout.h"

#include <limits>

#include "base/check.h"
#include "base/codec.h"

namespace leeward::kv {
namespace {

constexpr char kEscaped0 = '\xff';      // 00 in a key is written 00 ff
constexpr char kTerminator = '\x01';    // and 00 01 ends it
constexpr char kAfterTerminator = '\x02';

std::uint64_t load_be64(const char* data) {
  std::uint64_t v;
  std::memcpy(&v, data, 8);
  return __builtin_bswap64(v);
}
std::uint32_t load_be32(const char* data) {
  std::uint32_t v;
  std::memcpy(&v, data, 4);
  return __builtin_bswap32(v);
}

}  // namespace

void append_escaped(std::string& out, std::string_view key) {
  out.reserve(out.size() + key.size() + 2);
  for (;;) {
    const std::size_t zero = key.find('\0');
    out.append(key.substr(0, zero));
    if (zero == std::string_view::npos) break;
    out.push_back('\0');
    out.push_back(kEscaped0);
    key.remove_prefix(zero + 1);
  }
  out.push_back('\0');
  out.push_back(kTerminator);
}

std::string_view unescape(std::string_view escaped, std::string& scratch) {
  LEEWARD_CHECK(escaped.size() >= 2, "an escaped key without its end");
  escaped.remove_suffix(2);
  if (escaped.find('\0') == std::string_view::npos) return escaped;
  scratch.clear();
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    scratch.push_back(escaped[i]);
    if (escaped[i] == '\0') ++i;
  }
  return scratch;
}

EscapedRange::EscapedRange(const KeyRange& range) : low(escaped(range.key)) {
  if (range.single()) {
    high = hist_after(low);
  } else if (!range.open_ended()) {
    high = escaped(range.end);
    // An empty range must not read as one without an upper bound.
    if (high < low) high = low;
  }
}

std::string hist_key(std::string_view escaped, Rev rev) {
  std::string out;
  out.reserve(escaped.size() + kHistSuffix);
  out.append(escaped);
  codec::put_be64(out, ~static_cast<std::uint64_t>(rev.main));
  codec::put_be32(out, ~rev.sub);
  return out;
}

std::string hist_seek(std::string_view escaped, std::int64_t at) {
  return hist_key(escaped, {at, std::numeric_limits<std::uint32_t>::max()});
}

std::string hist_after(std::string_view escaped) {
  std::string out(escaped);
  out.back() = kAfterTerminator;
  return out;
}

std::string_view hist_prefix(std::string_view row) { return row.substr(0, row.size() - kHistSuffix); }

Rev hist_rev(std::string_view row) {
  LEEWARD_CHECK(row.size() > kHistSuffix, "a short row in hist");
  const char* data = row.data() + row.size() - kHistSuffix;
  return {static_cast<std::int64_t>(~load_be64(data)), ~load_be32(data + 8)};
}

std::string rev_key(Rev rev) {
  std::string out;
  codec::put_be64(out, static_cast<std::uint64_t>(rev.main));
  codec::put_be32(out, rev.sub);
  return out;
}

Rev parse_rev_key(std::string_view row) {
  LEEWARD_CHECK(row.size() == 12, "a row of rev with a wrong key");
  return {static_cast<std::int64_t>(load_be64(row.data())), load_be32(row.data() + 8)};
}

bool parse_rev_row(Rev rev, std::string_view value, RevRow& row) {
  std::uint8_t kind;
  if (!codec::get_u8(value, kind) || kind < 1 || kind > 3) return false;
  row.kind = static_cast<ChangeKind>(kind);
  row.superseded = {};
  if (rev.sub == 0) {
    if (value.size() < 32) return false;
    row.superseded = value.substr(0, 32);
    value.remove_prefix(32);
  }
  row.key = value;
  return true;
}

std::string lease_row(std::int64_t id) {
  std::string out = "L";
  codec::put_be64(out, static_cast<std::uint64_t>(id));
  return out;
}

std::string lease_key_row(std::int64_t id, std::string_view key) {
  std::string out = "K";
  codec::put_be64(out, static_cast<std::uint64_t>(id));
  out.append(key);
  return out;
}

void append_record(std::string& out, const Record& record) {
  out.reserve(out.size() + record.value.size() + 48);
  append_varint_field(out, 2, static_cast<std::uint64_t>(record.create));
  append_varint_field(out, 3, static_cast<std::uint64_t>(record.mod));
  append_varint_field(out, 4, static_cast<std::uint64_t>(record.version));
  if (!record.value.empty()) append_bytes_field(out, 5, record.value);
  append_varint_field(out, 6, static_cast<std::uint64_t>(record.lease));
}

bool parse_record(std::string_view wire, Record& record) {
  record = {};
  WireReader in(wire);
  while (in.next()) {
    switch (in.varint_field()) {
      case 2: record.create = in.int64(); break;
      case 3: record.mod = in.int64(); break;
      case 4: record.version = in.int64(); break;
      case 6: record.lease = in.int64(); break;
      default: break;
    }
    if (in.bytes_field() == 5) record.value = in.bytes();
  }
  return in.ok() && record.mod > 0;
}

bool parse_head(std::string_view row, std::uint32_t& sub, std::string_view& record) {
  std::uint64_t v;
  if (!codec::get_varint(row, v)) return false;
  sub = static_cast<std::uint32_t>(v);
  record = row;
  return true;
}

void append_varint_field(std::string& out, int field, std::uint64_t value) {
  if (value == 0) return;
  codec::put_varint(out, static_cast<std::uint64_t>(field) << 3);
  codec::put_varint(out, value);
}

void append_bytes_field(std::string& out, int field, std::string_view value) {
  codec::put_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  codec::put_bytes(out, value);
}

std::size_t kv_size(std::string_view key, std::size_t record_size) {
  const std::size_t inner = 1 + codec::varint_size(key.size()) + key.size() + record_size;
  return 1 + codec::varint_size(inner) + inner;
}

void append_kv(std::string& out, int field, std::string_view key, std::string_view record) {
  codec::put_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  codec::put_varint(out, 1 + codec::varint_size(key.size()) + key.size() + record.size());
  append_bytes_field(out, 1, key);
  out.append(record);
}

void append_header(std::string& out, std::int64_t revision) {
  const auto v = static_cast<std::uint64_t>(revision);
  out.push_back('\x0a');
  if (v == 0) {
    out.push_back('\0');
    return;
  }
  codec::put_varint(out, 1 + codec::varint_size(v));
  append_varint_field(out, 3, v);
}

bool WireReader::fail() {
  ok_ = false;
  return false;
}

bool WireReader::next() {
  if (!ok_ || rest_.empty()) return false;
  std::uint64_t tag;
  if (!codec::get_varint(rest_, tag) || tag >> 3 == 0 || tag >> 32 != 0) return fail();
  field_ = static_cast<int>(tag >> 3);
  type_ = static_cast<int>(tag & 7);
  switch (type_) {
    case 0: return codec::get_varint(rest_, varint_) || fail();
    case 2: return codec::get_bytes(rest_, bytes_) || fail();
    case 1:
    case 5: {
      const std::size_t size = type_ == 1 ? 8 : 4;
      if (rest_.size() < size) return fail();
      rest_.remove_prefix(size);
      return true;
    }
    default: return fail();
  }
}

}  // namespace leeward::kv
