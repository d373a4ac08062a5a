#include "standby/messages.h"

#include <zstd.h>

#include <memory>

#include "base/check.h"
#include "base/codec.h"

namespace leeward::standby {
namespace {

constexpr std::uint8_t kMagic = 0xd7;
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kMaxEntriesBytes = 32_MiB;  // of one frame, decompressed
constexpr std::size_t kWorthCompressing = 512;
constexpr std::size_t kMaxEpochs = 65536;

// Wire numbers of the bodies, in the order of the variant; never reuse one.
constexpr std::uint8_t kFirstType = 1;

struct Writer {
  std::string out;

  void u8(std::uint8_t v) { codec::put_u8(out, v); }
  void num(std::uint64_t v) { codec::put_varint(out, v); }
  void fixed(std::uint64_t v) { codec::put_u64(out, v); }
  void text(std::string_view v) { codec::put_bytes(out, v); }
  void hash(const Hash& h) { out.append(reinterpret_cast<const char*>(h.bytes.data()), h.bytes.size()); }
  void position(const Position& p) {
    num(p.index.value());
    num(p.writes);
    num(p.bytes);
    hash(p.hash);
  }
  void point(const HashPoint& p) {
    num(p.index.value());
    hash(p.hash);
  }
};

// Reads from the front; once something is malformed, `ok` stays false and all
// that is read is zero.
struct Reader {
  std::string_view in;
  bool ok = true;

  bool fail() {
    ok = false;
    in = {};
    return false;
  }
  std::uint8_t u8() {
    std::uint8_t v = 0;
    if (ok && !codec::get_u8(in, v)) fail();
    return ok ? v : 0;
  }
  bool flag() {
    const auto v = u8();
    if (v > 1) fail();
    return v == 1;
  }
  std::uint64_t num() {
    std::uint64_t v = 0;
    if (ok && !codec::get_varint(in, v)) fail();
    return ok ? v : 0;
  }
  std::uint64_t fixed() {
    std::uint64_t v = 0;
    if (ok && !codec::get_u64(in, v)) fail();
    return ok ? v : 0;
  }
  std::string_view view() {
    std::string_view v;
    if (ok && !codec::get_bytes(in, v)) fail();
    return ok ? v : std::string_view{};
  }
  std::string text() { return std::string(view()); }
  Hash hash() {
    Hash h;
    if (ok && !codec::get_fixed(in, h.bytes)) fail();
    return ok ? h : Hash{};
  }
  Position position() {
    Position p;
    p.index = HistoryIndex(num());
    p.writes = num();
    p.bytes = num();
    p.hash = hash();
    return p;
  }
  HashPoint point() {
    HashPoint p;
    p.index = HistoryIndex(num());
    p.hash = hash();
    return p;
  }
  template <class Enum>
  Enum in_range(Enum first, Enum last) {
    const auto v = u8();
    if (v < static_cast<std::uint8_t>(first) || v > static_cast<std::uint8_t>(last)) fail();
    return ok ? static_cast<Enum>(v) : first;
  }
};

void write(Writer& w, const std::vector<region::EpochRecord>& epochs) {
  w.num(epochs.size());
  for (const auto& e : epochs) {
    w.num(e.epoch.value());
    w.fixed(e.promotion);
    w.position(e.fork);
  }
}
void read(Reader& r, std::vector<region::EpochRecord>& epochs) {
  const auto count = r.num();
  if (count > kMaxEpochs) r.fail();
  for (std::uint64_t i = 0; r.ok && i < count; ++i) {
    region::EpochRecord e;
    e.epoch = Epoch(r.num());
    e.promotion = r.fixed();
    e.fork = r.position();
    epochs.push_back(e);
  }
}

void write(Writer& w, const Hello& m) {
  w.fixed(m.session);
  w.text(m.region);
  w.num(m.epoch.value());
  write(w, m.epochs);
  w.u8(m.way_back);
  w.position(m.end);
  w.position(m.committed);
  w.num(m.granted);
  w.u8(m.compression);
}
void read(Reader& r, Hello& m) {
  m.session = r.fixed();
  m.region = r.text();
  m.epoch = Epoch(r.num());
  read(r, m.epochs);
  m.way_back = r.flag();
  m.end = r.position();
  m.committed = r.position();
  m.granted = r.num();
  m.compression = r.flag();
}

void write(Writer& w, const Welcome& m) {
  w.fixed(m.session);
  w.position(m.committed);
}
void read(Reader& r, Welcome& m) {
  m.session = r.fixed();
  m.committed = r.position();
}

void write(Writer& w, const Refused& m) {
  w.fixed(m.session);
  w.u8(static_cast<std::uint8_t>(m.reason));
  w.text(m.detail);
  w.position(m.at);
  write(w, m.epochs);
}
void read(Reader& r, Refused& m) {
  m.session = r.fixed();
  m.reason = r.in_range(Refusal::kNotPrimary, Refusal::kFork);
  m.detail = r.text();
  m.at = r.position();
  read(r, m.epochs);
}

void write(Writer& w, const Idle& m) {
  w.fixed(m.session);
  w.num(m.sent.value());
}
void read(Reader& r, Idle& m) {
  m.session = r.fixed();
  m.sent = HistoryIndex(r.num());
}

void write(Writer& w, const Ack& m) {
  w.fixed(m.session);
  w.num(m.granted);
  w.position(m.committed);
  w.point(m.applied);
}
void read(Reader& r, Ack& m) {
  m.session = r.fixed();
  m.granted = r.num();
  m.committed = r.position();
  m.applied = r.point();
}

void write(Writer& w, const Bye& m) { w.fixed(m.session); }
void read(Reader& r, Bye& m) { m.session = r.fixed(); }

void write(Writer& w, const Ping& m) {
  w.num(m.sequence);
  w.num(m.origin.value());
  w.u8(m.relayed);
  w.point(m.applied);
}
void read(Reader& r, Ping& m) {
  m.sequence = r.num();
  m.origin = NodeId(r.num());
  m.relayed = r.flag();
  m.applied = r.point();
}

void write(Writer& w, const Pong& m) {
  w.num(m.sequence);
  w.num(m.origin.value());
  w.num(m.leader.value());
  w.num(m.stamp.epoch.value());
  w.num(m.stamp.term.value());
  w.num(m.stamp.counter);
  w.position(m.committed);
  w.u8(static_cast<std::uint8_t>(m.verdict));
  w.num(m.compared.value());
}
void read(Reader& r, Pong& m) {
  m.sequence = r.num();
  m.origin = NodeId(r.num());
  m.leader = NodeId(r.num());
  m.stamp.epoch = Epoch(r.num());
  m.stamp.term = Term(r.num());
  m.stamp.counter = r.num();
  m.committed = r.position();
  m.verdict = r.in_range(HashVerdict::kNotCompared, HashVerdict::kDifferent);
  m.compared = HistoryIndex(r.num());
}

void write(Writer& w, const Progress& m) {
  w.text(m.region);
  w.fixed(m.group.value());
  w.position(m.committed);
  w.num(m.age_ms);
}
void read(Reader& r, Progress& m) {
  m.region = r.text();
  m.group = GroupId(r.fixed());
  m.committed = r.position();
  m.age_ms = r.num();
}

void write(Writer& w, const Presence& m) {
  w.u8(m.heard);
  w.num(m.silence_ms);
  w.u8(m.streaming);
  w.text(m.damage);
}
void read(Reader& r, Presence& m) {
  m.heard = r.flag();
  m.silence_ms = r.num();
  m.streaming = r.flag();
  m.damage = r.text();
}

void write(Writer& w, const Survey& m) { w.fixed(m.id); }
void read(Reader& r, Survey& m) { m.id = r.fixed(); }

void write(Writer& w, const ColdQuestion& m) { w.fixed(m.question); }
void read(Reader& r, ColdQuestion& m) { m.question = r.fixed(); }

template <class Stamped>
void write_stamp(Writer& w, const Stamped& m) {
  w.num(m.term.value());
  w.fixed(m.sent);
  w.fixed(m.arming);
}
template <class Stamped>
void read_stamp(Reader& r, Stamped& m) {
  m.term = Term(r.num());
  m.sent = r.fixed();
  m.arming = r.fixed();
}
void write(Writer& w, const StampSent& m) { write_stamp(w, m); }
void read(Reader& r, StampSent& m) { read_stamp(r, m); }
void write(Writer& w, const StampReturned& m) { write_stamp(w, m); }
void read(Reader& r, StampReturned& m) { read_stamp(r, m); }

void write(Writer& w, const SealAsked& m) {
  w.fixed(m.seal);
  w.u8(m.take_back);
}
void read(Reader& r, SealAsked& m) {
  m.seal = r.fixed();
  m.take_back = r.flag();
}

void write(Writer& w, const SealTold& m) {
  w.fixed(m.seal);
  w.u8(static_cast<std::uint8_t>(m.fate));
  w.num(m.applied.value());
  w.text(m.entry);
  w.num(static_cast<std::uint64_t>(m.forked.value()));
  w.num(m.leader.value());
  w.num(m.took_us);
}
void read(Reader& r, SealTold& m) {
  m.seal = r.fixed();
  m.fate = r.in_range(SealFate::kReclaimed, SealFate::kActivated);
  m.applied = Index(r.num());
  m.entry = r.text();
  m.forked = Revision(static_cast<std::int64_t>(r.num()));
  m.leader = NodeId(r.num());
  m.took_us = r.num();
}

void write(Writer& w, const ResignAsked& m) {
  w.fixed(m.arming);
  w.u8(m.resign);
}
void read(Reader& r, ResignAsked& m) {
  m.arming = r.fixed();
  m.resign = r.flag();
}

void write(Writer& w, const ResignTold& m) {
  w.fixed(m.arming);
  w.num(m.applied.value());
  w.text(m.entry);
}
void read(Reader& r, ResignTold& m) {
  m.arming = r.fixed();
  m.applied = Index(r.num());
  m.entry = r.text();
}

void write(Writer& w, const ColdAnswer& m) {
  w.fixed(m.question);
  w.num(m.newest.value());
}
void read(Reader& r, ColdAnswer& m) {
  m.question = r.fixed();
  m.newest = Epoch(r.num());
}

void write(Writer& w, const Aid& m) {
  w.u8(static_cast<std::uint8_t>(m.kind));
  w.fixed(m.id);
  w.text(m.body);
}
void read(Reader& r, Aid& m) {
  m.kind = r.in_range(Aid::Kind::kAsk, Aid::Kind::kLeftBehind);
  m.id = r.fixed();
  m.body = r.text();
}

void write(Writer& w, const SurveyReply& m) {
  w.fixed(m.id);
  w.u8(m.heard);
  w.u8(m.stamp.has_value());
  if (m.stamp) {
    w.num(m.stamp->epoch.value());
    w.num(m.stamp->term.value());
    w.num(m.stamp->counter);
    w.position(m.committed);
    w.num(m.age_ms);
  }
  w.num(m.newest_epoch.value());
  w.text(m.damage);
}
void read(Reader& r, SurveyReply& m) {
  m.id = r.fixed();
  m.heard = r.flag();
  if (r.flag()) {
    Stamp stamp;
    stamp.epoch = Epoch(r.num());
    stamp.term = Term(r.num());
    stamp.counter = r.num();
    m.stamp = stamp;
    m.committed = r.position();
    m.age_ms = r.num();
  }
  m.newest_epoch = Epoch(r.num());
  m.damage = r.text();
}

void write(Writer& w, const Forward& m) {
  w.fixed(m.request);
  w.u8(static_cast<std::uint8_t>(m.call));
  w.num(m.timeout_ms);
  w.u8(static_cast<std::uint8_t>(m.command.op));
  w.text(m.command.request.view());
  w.u8(m.command.trace.sampled);
  w.out.append(reinterpret_cast<const char*>(m.command.trace.trace_id.data()), m.command.trace.trace_id.size());
  w.out.append(reinterpret_cast<const char*>(m.command.trace.span_id.data()), m.command.trace.span_id.size());
  w.fixed(static_cast<std::uint64_t>(m.lease));
}
void read(Reader& r, Forward& m, const Bytes& owner) {
  m.request = r.fixed();
  m.call = r.in_range(Call::kPropose, Call::kLeaseRemaining);
  m.timeout_ms = r.num();
  m.command.op = r.in_range(Op::kPut, Op::kLeaseRevoke);
  const auto request = r.view();
  m.command.trace.sampled = r.flag();
  if (r.ok && (!codec::get_fixed(r.in, m.command.trace.trace_id) || !codec::get_fixed(r.in, m.command.trace.span_id)))
    r.fail();
  m.lease = static_cast<std::int64_t>(r.fixed());
  if (r.ok) m.command.request = owner.slice(static_cast<std::size_t>(request.data() - owner.data()), request.size());
}

void write(Writer& w, const ForwardReply& m) {
  w.fixed(m.request);
  w.u8(static_cast<std::uint8_t>(m.outcome.end));
  w.u8(static_cast<std::uint8_t>(m.outcome.error.code));
  w.text(m.outcome.error.message);
  w.num(m.outcome.term.value());
  w.text(m.outcome.result.etcd_error);
  w.text(m.outcome.result.response.view());
  w.fixed(static_cast<std::uint64_t>(m.outcome.result.revision.value()));
  w.fixed(static_cast<std::uint64_t>(m.seconds));
}
void read(Reader& r, ForwardReply& m, const Bytes& owner) {
  m.request = r.fixed();
  m.outcome.end = r.in_range(node::Outcome::End::kApplied, node::Outcome::End::kUnknown);
  m.outcome.error.code = r.in_range(Code::kInvalid, Code::kRefused);
  m.outcome.error.message = r.text();
  m.outcome.term = Term(r.num());
  m.outcome.result.etcd_error = r.text();
  const auto response = r.view();
  m.outcome.result.revision = Revision(static_cast<std::int64_t>(r.fixed()));
  m.seconds = static_cast<std::int64_t>(r.fixed());
  if (r.ok)
    m.outcome.result.response = owner.slice(static_cast<std::size_t>(response.data() - owner.data()), response.size());
}

// Entries: indexes and totals follow from `before` and each entry's own
// figures; each hash is sent, so that a wrong one is told from a lost frame.
void write_run(std::string& out, const std::vector<StreamEntry>& entries) {
  for (const auto& e : entries) {
    codec::put_u8(out, static_cast<std::uint8_t>(e.kind));
    codec::put_varint(out, e.epoch.value());
    codec::put_varint(out, e.writes);
    out.append(reinterpret_cast<const char*>(e.position.hash.bytes.data()), e.position.hash.bytes.size());
    codec::put_bytes(out, e.payload.view());
    codec::put_bytes(out, e.envelope.view());
  }
}
bool read_run(const Bytes& run, std::uint64_t count, Entries& m) {
  Reader r{run.view()};
  auto at = [&](std::string_view v) { return run.slice(static_cast<std::size_t>(v.data() - run.data()), v.size()); };
  Position position = m.before;
  for (std::uint64_t i = 0; i < count && r.ok; ++i) {
    StreamEntry e;
    const auto kind = r.u8();
    e.kind = static_cast<EntryKind>(kind);
    if (kind == 0 || !is_history(e.kind)) return false;
    e.epoch = Epoch(r.num());
    const auto writes = r.num();
    if (writes > UINT32_MAX) return false;
    e.writes = static_cast<std::uint32_t>(writes);
    const auto hash = r.hash();
    const auto payload = r.view();
    const auto envelope = r.view();
    if (!r.ok) return false;
    e.payload = at(payload);
    e.envelope = at(envelope);
    position = {position.index + 1, hash, position.writes + e.writes, position.bytes + payload.size()};
    e.position = position;
    m.entries.push_back(std::move(e));
  }
  return r.ok && r.in.empty();
}

struct CompressorDelete {
  void operator()(ZSTD_CCtx* c) const { ZSTD_freeCCtx(c); }
  void operator()(ZSTD_DCtx* c) const { ZSTD_freeDCtx(c); }
};

// The compressed run, or "" when it does not pay. One context a thread: making
// one costs more than compressing a small frame.
std::string compressed(std::string_view run) {
  if (run.size() < kWorthCompressing) return {};
  thread_local std::unique_ptr<ZSTD_CCtx, CompressorDelete> context(ZSTD_createCCtx());
  std::string out(ZSTD_compressBound(run.size()), '\0');
  const auto size = ZSTD_compressCCtx(context.get(), out.data(), out.size(), run.data(), run.size(), 1);
  if (ZSTD_isError(size) || size > run.size() - run.size() / 10) return {};
  out.resize(size);
  return out;
}

bool decompress(std::string_view in, std::uint64_t size, Bytes& out) {
  if (size > kMaxEntriesBytes) return false;
  thread_local std::unique_ptr<ZSTD_DCtx, CompressorDelete> context(ZSTD_createDCtx());
  std::string run(size, '\0');
  const auto got = ZSTD_decompressDCtx(context.get(), run.data(), run.size(), in.data(), in.size());
  if (ZSTD_isError(got) || got != size) return false;
  out = Bytes(std::move(run));
  return true;
}

void write_entries(Writer& w, const Entries& m, bool compress) {
  w.fixed(m.session);
  w.position(m.before);
  w.num(m.entries.size());
  std::string run;
  std::size_t size = 0;
  for (const auto& e : m.entries) size += cost(e);
  run.reserve(size);
  write_run(run, m.entries);
  const auto small = compress ? compressed(run) : std::string{};
  w.num(small.empty() ? 0 : run.size());  // 0: as it is
  w.out.append(small.empty() ? run : small);
}

bool read_entries(Reader& r, Entries& m, const Bytes& frame) {
  m.session = r.fixed();
  m.before = r.position();
  const auto count = r.num();
  const auto size = r.num();
  if (!r.ok || count == 0) return false;
  Bytes run = frame.slice(static_cast<std::size_t>(r.in.data() - frame.data()), r.in.size());
  if (size > 0 && !decompress(r.in, size, run)) return false;
  r.in = {};
  return read_run(run, count, m);
}

template <std::size_t I = 0>
bool read_body(std::size_t which, Reader& r, Body& body, const Bytes& frame) {
  if constexpr (I == std::variant_size_v<Body>) {
    return false;
  } else {
    if (which != I) return read_body<I + 1>(which, r, body, frame);
    using T = std::variant_alternative_t<I, Body>;
    auto& m = body.emplace<T>();
    if constexpr (std::is_same_v<T, Entries>)
      return read_entries(r, m, frame);
    else if constexpr (std::is_same_v<T, Forward> || std::is_same_v<T, ForwardReply>)
      read(r, m, frame);
    else
      read(r, m);
    return r.ok && r.in.empty();
  }
}

}  // namespace

const char* name(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNotPrimary: return "not primary";
    case Refusal::kNotYet: return "source is behind";
    case Refusal::kBehind: return "behind the source's log";
    case Refusal::kDiverged: return "diverged";
    case Refusal::kEpoch: return "other epoch";
    case Refusal::kStranger: return "not in the topology";
    case Refusal::kEnded: return "ended";
    case Refusal::kFork: return "forked";
  }
  return "?";
}

Bytes encode(const Header& header, const Body& body, EncodeOptions options) {
  Writer w;
  w.u8(kMagic);
  w.u8(kVersion);
  w.u8(static_cast<std::uint8_t>(kFirstType + body.index()));
  w.out.append(reinterpret_cast<const char*>(header.lineage.bytes.data()), header.lineage.bytes.size());
  w.fixed(header.group.value());
  w.num(header.epoch.value());
  std::visit(
      [&](const auto& m) {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, Entries>)
          write_entries(w, m, options.compress);
        else
          write(w, m);
      },
      body);
  return Bytes(std::move(w.out));
}

Result<Frame> decode(const Bytes& bytes) {
  const Error corrupt{Code::kCorrupt, "a stream frame is malformed"};
  Reader r{bytes.view()};
  if (r.u8() != kMagic || !r.ok) return corrupt;
  const auto version = r.u8();
  if (!r.ok || version == 0) return corrupt;
  if (version > kVersion)
    return Error{Code::kNewerFormat, "a stream frame has version " + std::to_string(version) +
                                         "; this node reads up to " + std::to_string(kVersion) + ", upgrade it"};
  const auto type = r.u8();
  Frame frame;
  if (r.ok && !codec::get_fixed(r.in, frame.header.lineage.bytes)) r.fail();
  frame.header.group = GroupId(r.fixed());
  frame.header.epoch = Epoch(r.num());
  if (!r.ok || type < kFirstType) return corrupt;
  if (!read_body(type - kFirstType, r, frame.body, bytes)) return corrupt;
  return frame;
}

Bytes traces_of(const Bytes& envelope, std::uint32_t writes) {
  if (envelope.empty()) return {};
  const auto items = decode_envelope(envelope.view(), writes);
  if (!items.ok()) return {};
  bool sampled = false;
  std::vector<Command> commands;
  commands.reserve(items->size());
  for (const auto& item : *items) {
    commands.push_back({Op::kPut, {}, {}, item.trace});
    sampled = sampled || item.trace.sampled;
  }
  return sampled ? Bytes(encode_envelope(commands)) : Bytes();
}

}  // namespace leeward::standby
