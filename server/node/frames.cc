#include "node/frames.h"

#include "base/codec.h"
#include "base/crc32c.h"

namespace leeward::node {
namespace {

constexpr std::uint8_t kVersion = 1;

using codec::get_bytes;
using codec::get_fixed;
using codec::get_u32;
using codec::get_u64;
using codec::get_u8;
using codec::get_varint;
using codec::put_bytes;
using codec::put_u32;
using codec::put_u64;
using codec::put_u8;
using codec::put_varint;

Error malformed(const char* what) { return Error{Code::kCorrupt, std::string("a malformed ") + what + " frame"}; }

template <class Array>
void put_array(std::string& out, const Array& bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

template <class Ord>
bool get_ordinal(std::string_view& in, Ord& value) {
  std::uint64_t v;
  if (!get_varint(in, v)) return false;
  value = Ord(static_cast<typename Ord::rep>(v));
  return true;
}

bool get_string(std::string_view& in, std::string& value) {
  std::string_view v;
  if (!get_bytes(in, v)) return false;
  value = v;
  return true;
}

bool get_bool(std::string_view& in, bool& value) {
  std::uint8_t v;
  if (!get_u8(in, v) || v > 1) return false;
  value = v == 1;
  return true;
}

void put_point(std::string& out, const LogPoint& point) {
  put_varint(out, point.index.value());
  put_varint(out, point.term.value());
  put_varint(out, point.position.index.value());
  put_array(out, point.position.hash.bytes);
  put_varint(out, point.position.writes);
  put_varint(out, point.position.bytes);
}

bool get_point(std::string_view& in, LogPoint& point) {
  return get_ordinal(in, point.index) && get_ordinal(in, point.term) && get_ordinal(in, point.position.index) &&
         get_fixed(in, point.position.hash.bytes) && get_varint(in, point.position.writes) &&
         get_varint(in, point.position.bytes);
}

// An optional figure: 0 for none, else one more than it.
void put_optional(std::string& out, const std::optional<std::uint64_t>& v) { put_varint(out, v ? *v + 1 : 0); }
void put_optional(std::string& out, const std::optional<Duration>& v) {
  put_varint(out, v ? static_cast<std::uint64_t>(std::max<std::int64_t>(v->count(), 0)) + 1 : 0);
}
bool get_optional(std::string_view& in, std::optional<std::uint64_t>& v) {
  std::uint64_t raw;
  if (!get_varint(in, raw)) return false;
  if (raw != 0) v = raw - 1;
  return true;
}
bool get_optional(std::string_view& in, std::optional<Duration>& v) {
  std::optional<std::uint64_t> raw;
  if (!get_optional(in, raw)) return false;
  if (raw) v = Duration(static_cast<std::int64_t>(*raw));
  return true;
}

}  // namespace

std::string encode_header(const FrameHeader& header) {
  std::string out;
  out.reserve(48);
  put_u8(out, kVersion);
  put_u8(out, static_cast<std::uint8_t>(header.type));
  put_array(out, header.lineage.bytes);
  put_u64(out, header.group.value());
  put_u64(out, header.incarnation.value());
  put_varint(out, header.seen.epoch.value());
  put_u64(out, header.seen.promotion);
  put_u8(out, static_cast<std::uint8_t>((header.heard ? 1 : 0) | (header.serves ? 2 : 0)));
  return out;
}

Result<Frame> decode_frame(const Bytes& bytes) {
  std::string_view in = bytes.view();
  Frame frame;
  std::uint8_t version, type, standing;
  std::uint64_t group, incarnation;
  if (!get_u8(in, version)) return malformed("empty");
  if (version > kVersion)
    return Error{Code::kNewerFormat, "a peer speaks version " + std::to_string(version) + " of the peer protocol"};
  if (version == 0 || !get_u8(in, type) || !get_fixed(in, frame.header.lineage.bytes) || !get_u64(in, group) ||
      !get_u64(in, incarnation) || !get_ordinal(in, frame.header.seen.epoch) || !get_u64(in, frame.header.seen.promotion) || !get_u8(in, standing) || standing > 3)
    return malformed("peer");
  frame.header.heard = standing & 1;
  frame.header.serves = standing & 2;
  frame.header.type = static_cast<FrameType>(type);
  frame.header.group = GroupId(group);
  frame.header.incarnation = Incarnation(incarnation);
  frame.body = bytes.slice(bytes.size() - in.size());
  return frame;
}

std::string encode(const Forward& forward) {
  std::string out;
  put_varint(out, forward.term.value());
  put_varint(out, forward.commands.size());
  put_bytes(out, encode_payload(forward.commands));
  put_bytes(out, encode_envelope(forward.commands));
  return out;
}

Result<Forward> decode_forward(const Bytes& body) {
  std::string_view in = body.view(), payload, envelope;
  std::uint64_t count;
  Forward forward;
  if (!get_ordinal(in, forward.term) || !get_varint(in, count) || count == 0 || count > body.size() || !get_bytes(in, payload) ||
      !get_bytes(in, envelope) || !in.empty())
    return malformed("forward");
  auto commands = decode_payload(payload, static_cast<std::uint32_t>(count));
  if (!commands) return commands.error();
  auto items = decode_envelope(envelope, static_cast<std::uint32_t>(count));
  if (!items) return items.error();
  if (items->size() != count) return malformed("forward");
  forward.commands.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& view = (*commands)[i];
    forward.commands.push_back({view.op, body.slice(view.request.data() - body.data(), view.request.size()),
                                (*items)[i].origin, (*items)[i].trace});
  }
  return forward;
}

std::string encode(const ForwardRefused& refused) {
  std::string out;
  put_u64(out, refused.process);
  put_u8(out, static_cast<std::uint8_t>(refused.error.code));
  put_bytes(out, refused.error.message);
  put_varint(out, refused.sequences.size());
  for (auto s : refused.sequences) put_varint(out, s);
  return out;
}

Result<ForwardRefused> decode_forward_refused(const Bytes& body) {
  std::string_view in = body.view();
  ForwardRefused refused;
  std::uint8_t code;
  std::uint64_t count;
  if (!get_u64(in, refused.process) || !get_u8(in, code) || code > static_cast<std::uint8_t>(Code::kRefused) ||
      !get_string(in, refused.error.message) || !get_varint(in, count) || count > in.size())
    return malformed("refusal");
  refused.error.code = static_cast<Code>(code);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t s;
    if (!get_varint(in, s)) return malformed("refusal");
    refused.sequences.push_back(s);
  }
  return refused;
}

std::string encode(const Call& call) {
  std::string out;
  put_u64(out, call.id);
  put_u8(out, static_cast<std::uint8_t>(call.kind));
  put_u64(out, static_cast<std::uint64_t>(call.argument));
  put_bytes(out, call.body);
  return out;
}

Result<Call> decode_call(const Bytes& body) {
  std::string_view in = body.view();
  Call call;
  std::uint8_t kind;
  std::uint64_t argument;
  if (!get_u64(in, call.id) || !get_u8(in, kind) || kind < 1 || kind > static_cast<std::uint8_t>(CallKind::kFinalize) || !get_u64(in, argument) ||
      !get_string(in, call.body))
    return malformed("call");
  call.kind = static_cast<CallKind>(kind);
  call.argument = static_cast<std::int64_t>(argument);
  return call;
}

std::string encode(const CallAnswer& answer) {
  std::string out;
  put_u64(out, answer.id);
  put_u8(out, answer.result.ok() ? 1 : 0);
  if (answer.result.ok()) {
    put_u64(out, static_cast<std::uint64_t>(*answer.result));
  } else {
    put_u8(out, static_cast<std::uint8_t>(answer.result.error().code));
    put_bytes(out, answer.result.error().message);
  }
  return out;
}

Result<CallAnswer> decode_call_answer(const Bytes& body) {
  std::string_view in = body.view();
  CallAnswer answer;
  bool ok;
  if (!get_u64(in, answer.id) || !get_bool(in, ok)) return malformed("answer");
  if (ok) {
    std::uint64_t value;
    if (!get_u64(in, value)) return malformed("answer");
    answer.result = static_cast<std::int64_t>(value);
    return answer;
  }
  std::uint8_t code;
  std::string text;
  if (!get_u8(in, code) || code > static_cast<std::uint8_t>(Code::kRefused) || !get_string(in, text))
    return malformed("answer");
  answer.result = Error{static_cast<Code>(code), text};
  return answer;
}

std::string encode(const RemovedNotice& notice) {
  std::string out;
  put_u64(out, notice.incarnation.value());
  put_varint(out, notice.index.value());
  put_varint(out, notice.applied.epoch.value());
  put_u64(out, notice.applied.promotion);
  return out;
}

Result<RemovedNotice> decode_removed_notice(const Bytes& body) {
  std::string_view in = body.view();
  RemovedNotice notice;
  std::uint64_t incarnation;
  if (!get_u64(in, incarnation) || !get_ordinal(in, notice.index) || !get_ordinal(in, notice.applied.epoch) ||
      !get_u64(in, notice.applied.promotion) || !in.empty())
    return malformed("notice of removal");
  notice.incarnation = Incarnation(incarnation);
  return notice;
}

std::string encode(const SnapshotFetch& fetch) {
  std::string out;
  put_bytes(out, fetch.id);
  put_u32(out, fetch.file);
  put_u64(out, fetch.offset);
  put_u32(out, fetch.length);
  return out;
}

Result<SnapshotFetch> decode_snapshot_fetch(const Bytes& body) {
  std::string_view in = body.view();
  SnapshotFetch fetch;
  if (!get_string(in, fetch.id) || !get_u32(in, fetch.file) || !get_u64(in, fetch.offset) ||
      !get_u32(in, fetch.length) || fetch.length > 8_MiB)
    return malformed("fetch");
  return fetch;
}

std::string encode_chunk_head(const SnapshotChunk& chunk) {
  std::string out;
  put_bytes(out, chunk.id);
  put_u32(out, chunk.file);
  put_u64(out, chunk.offset);
  put_u32(out, chunk.crc);
  return out;
}

Result<SnapshotChunk> decode_snapshot_chunk(const Bytes& body) {
  std::string_view in = body.view();
  SnapshotChunk chunk;
  if (!get_string(in, chunk.id) || !get_u32(in, chunk.file) || !get_u64(in, chunk.offset) || !get_u32(in, chunk.crc))
    return malformed("chunk");
  chunk.data = body.slice(body.size() - in.size());
  if (crc32c(chunk.data.view()) != chunk.crc) return Error{Code::kCorrupt, "a snapshot chunk fails its checksum"};
  return chunk;
}

std::string encode(const SnapshotDone& done) {
  std::string out;
  put_bytes(out, done.id);
  put_u8(out, done.ok ? 1 : 0);
  put_u64(out, done.index.value());
  return out;
}

Result<SnapshotDone> decode_snapshot_done(const Bytes& body) {
  std::string_view in = body.view();
  SnapshotDone done;
  std::uint64_t index;
  if (!get_string(in, done.id) || !get_bool(in, done.ok) || !get_u64(in, index)) return malformed("snapshot end");
  done.index = Index(index);
  return done;
}

std::string encode(const AdoptAsk& ask) {
  std::string out;
  put_varint(out, ask.above.value());
  put_bytes(out, ask.id);
  put_bytes(out, region::encode(region::Follow{ask.epochs, {}}));
  return out;
}

Result<AdoptAsk> decode_adopt_ask(const Bytes& body) {
  std::string_view in = body.view();
  AdoptAsk ask;
  std::string_view epochs;
  if (!get_ordinal(in, ask.above) || !get_string(in, ask.id) || !get_bytes(in, epochs) || !in.empty())
    return malformed("question for a checkpoint");
  auto follow = region::decode_follow(epochs);
  if (!follow.ok()) return follow.error();
  ask.epochs = std::move(follow->history);
  return ask;
}

std::string encode(const LedgerAsk& ask) {
  std::string out;
  put_u64(out, ask.follow.value());
  put_u64(out, ask.after.value());
  return out;
}

Result<LedgerAsk> decode_ledger_ask(const Bytes& body) {
  std::string_view in = body.view();
  std::uint64_t follow, after;
  if (!get_u64(in, follow) || !get_u64(in, after)) return malformed("ledger ask");
  return LedgerAsk{Index(follow), HistoryIndex(after)};
}

std::string encode(const LedgerPiece& piece) {
  std::string out = encode(LedgerAsk{piece.follow, piece.after});
  put_u8(out, static_cast<std::uint8_t>((piece.gone ? 1 : 0) | (piece.end ? 2 : 0)));
  for (const auto& e : piece.entries) encode(e, out);
  return out;
}

Result<LedgerPiece> decode_ledger_piece(const Bytes& body) {
  std::string_view in = body.view();
  std::uint64_t follow, after;
  std::uint8_t flags;
  if (!get_u64(in, follow) || !get_u64(in, after) || !get_u8(in, flags) || flags > 3) return malformed("ledger piece");
  LedgerPiece piece{Index(follow), HistoryIndex(after), (flags & 1) != 0, (flags & 2) != 0, {}};
  const auto owner = std::make_shared<const Bytes>(body);  // payloads lie in it
  while (!in.empty()) {
    auto entry = decode_entry(in, owner);
    if (!entry.ok()) return entry.error();
    piece.entries.push_back(std::move(*entry));
  }
  return piece;
}

std::string encode(const Knock& knock) {
  std::string out;
  put_bytes(out, knock.cluster_name);
  put_array(out, knock.list_hash.bytes);
  return out;
}

Result<Knock> decode_knock(const Bytes& body) {
  std::string_view in = body.view();
  Knock knock;
  if (!get_string(in, knock.cluster_name) || !get_fixed(in, knock.list_hash.bytes))
    return malformed("knock");
  return knock;
}

std::string encode(const KnockAnswer& answer) {
  std::string out;
  put_bytes(out, answer.cluster_name);
  put_array(out, answer.list_hash.bytes);
  put_u8(out, static_cast<std::uint8_t>(answer.role));
  put_array(out, answer.lineage.bytes);
  put_u8(out, answer.same_group ? 1 : 0);
  put_u64(out, answer.admitted.value());
  put_bytes(out, answer.membership);
  put_varint(out, answer.applied.value());
  return out;
}

Result<KnockAnswer> decode_knock_answer(const Bytes& body) {
  std::string_view in = body.view();
  KnockAnswer answer;
  std::uint8_t role;
  std::uint64_t admitted, applied;
  if (!get_string(in, answer.cluster_name) || !get_fixed(in, answer.list_hash.bytes) || !get_u8(in, role) ||
      role > static_cast<std::uint8_t>(GroupRole::kFenced) || !get_fixed(in, answer.lineage.bytes) ||
      !get_bool(in, answer.same_group) || !get_u64(in, admitted) || !get_string(in, answer.membership) ||
      !get_varint(in, applied))
    return malformed("knock answer");
  answer.role = static_cast<GroupRole>(role);
  answer.admitted = Incarnation(admitted);
  answer.applied = Index(applied);
  return answer;
}

std::string encode(const Report& report) {
  const MemberStatus& s = report.status;
  std::string out;
  put_varint(out, s.id.value());
  for (const auto* text : {&s.name, &s.region, &s.zone, &s.peer_address, &s.client_url, &s.version})
    put_bytes(out, *text);
  put_u8(out, static_cast<std::uint8_t>(s.role));
  put_u8(out, static_cast<std::uint8_t>(s.state));
  put_u8(out, static_cast<std::uint8_t>((s.voter ? 1 : 0) | (s.admitted ? 2 : 0) | (s.healthy ? 4 : 0) |
                                        (s.stream_connected ? 8 : 0) | (s.paused ? 16 : 0) | (s.verifying ? 32 : 0) |
                                        (s.leaping ? 64 : 0) | (s.lacks_state ? 128 : 0)));
  put_varint(out, s.term.value());
  put_varint(out, s.leader.value());
  put_point(out, s.applied);
  put_array(out, s.state_hash.bytes);
  put_varint(out, s.durable.value());
  put_varint(out, s.db_bytes);
  put_varint(out, s.db_bytes_in_use);
  put_optional(out, s.lag.writes);
  put_optional(out, s.lag.entries);
  put_optional(out, s.lag.bytes);
  put_optional(out, s.lag.low);
  put_optional(out, s.lag.high);
  put_varint(out, s.eligibility.size());
  for (const auto& c : s.eligibility) {
    put_bytes(out, c.check);
    put_u8(out, c.ok ? 1 : 0);
    put_bytes(out, c.detail);
  }
  put_bytes(out, s.standing_reason);
  put_varint(out, s.drill.count);
  put_u64(out, static_cast<std::uint64_t>(s.drill.time_ms));
  put_varint(out, s.drill.rto_us);
  put_u64(out, static_cast<std::uint64_t>(report.clock.sent_us));
  put_varint(out, report.clock.ways.size());
  for (const auto& way : report.clock.ways) {
    put_varint(out, way.from.value());
    put_u64(out, static_cast<std::uint64_t>(way.late_us));
  }
  put_varint(out, s.ledger_entries);
  put_varint(out, s.newest_format);
  put_u64(out, s.group.value());
  return out;
}

bool get_micros(std::string_view& in, std::int64_t& us) {
  std::uint64_t bits;
  if (!get_u64(in, bits)) return false;
  us = static_cast<std::int64_t>(bits);
  return true;
}

bool within_reach(std::int64_t us) { return us >= -kMostClockUs && us <= kMostClockUs; }

Result<Report> decode_report(const Bytes& body) {
  std::string_view in = body.view();
  Report report;
  MemberStatus& s = report.status;
  std::uint8_t role, state, flags;
  std::uint64_t checks;
  if (!get_ordinal(in, s.id) || !get_string(in, s.name) || !get_string(in, s.region) || !get_string(in, s.zone) ||
      !get_string(in, s.peer_address) || !get_string(in, s.client_url) || !get_string(in, s.version) ||
      !get_u8(in, role) || role > static_cast<std::uint8_t>(GroupRole::kFenced) || !get_u8(in, state) ||
      state > static_cast<std::uint8_t>(MemberState::kRemoved) || !get_u8(in, flags) || !get_ordinal(in, s.term) ||
      !get_ordinal(in, s.leader) || !get_point(in, s.applied) || !get_fixed(in, s.state_hash.bytes) ||
      !get_ordinal(in, s.durable) || !get_varint(in, s.db_bytes) || !get_varint(in, s.db_bytes_in_use) ||
      !get_optional(in, s.lag.writes) || !get_optional(in, s.lag.entries) || !get_optional(in, s.lag.bytes) ||
      !get_optional(in, s.lag.low) || !get_optional(in, s.lag.high) || !get_varint(in, checks) || checks > 64)
    return malformed("report");
  s.role = static_cast<GroupRole>(role);
  s.state = static_cast<MemberState>(state);
  s.voter = (flags & 1) != 0;
  s.admitted = (flags & 2) != 0;
  s.healthy = (flags & 4) != 0;
  s.stream_connected = (flags & 8) != 0;
  for (std::uint64_t i = 0; i < checks; ++i) {
    NamedCheck c;
    if (!get_string(in, c.check) || !get_bool(in, c.ok) || !get_string(in, c.detail)) return malformed("report");
    s.eligibility.push_back(std::move(c));
  }
  s.paused = (flags & 16) != 0;
  s.verifying = (flags & 32) != 0;
  s.leaping = (flags & 64) != 0;
  s.lacks_state = (flags & 128) != 0;
  if (!get_string(in, s.standing_reason)) return malformed("report");
  if (in.empty()) return report;  // of the version before drills
  std::uint64_t drilled;
  if (!get_varint(in, s.drill.count) || !get_u64(in, drilled) || !get_varint(in, s.drill.rto_us)) return malformed("report");
  s.drill.time_ms = static_cast<std::int64_t>(drilled);
  if (in.empty()) return report;  // of the version before clocks
  std::uint64_t ways;
  if (!get_micros(in, report.clock.sent_us) || !get_varint(in, ways) || ways > kMostClockWays) return malformed("report");
  report.clock.ways.resize(ways);
  for (auto& way : report.clock.ways)
    if (!get_ordinal(in, way.from) || !get_micros(in, way.late_us)) return malformed("report");
  // Of a clock that is centuries off; all else in the report counts.
  if (!within_reach(report.clock.sent_us)) report.clock = {};
  std::erase_if(report.clock.ways, [](const ClockReport::Way& way) { return !within_reach(way.late_us); });
  if (in.empty()) return report;  // of the version before formats
  std::uint64_t newest, of_group;
  if (!get_varint(in, s.ledger_entries) || !get_varint(in, newest) || newest < kOldestFormat || newest > UINT32_MAX || !get_u64(in, of_group))
    return malformed("report");
  s.group = GroupId(of_group);
  s.newest_format = static_cast<std::uint32_t>(newest);
  return report;
}

}  // namespace leeward::node
