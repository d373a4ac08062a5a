#include "base/entry.h"

#include <memory>

#include "base/check.h"
#include "base/codec.h"
#include "base/position_codec.h"
#include "base/sha256.h"

namespace leeward {
namespace {

// One reused context a thread: making a context costs as much as the hash.
Sha256& hasher() {
  thread_local Sha256 instance;
  return instance;
}

}  // namespace

Hash sha256(std::string_view data) {
  auto& h = hasher();
  h.start();
  h.add(data);
  return h.finish();
}

Position extend(const Position& before, Epoch epoch, EntryKind kind, std::uint32_t writes,
                std::string_view payload) {
  Position after{before.index + 1, {}, before.writes + writes, before.bytes + payload.size()};
  std::string head(reinterpret_cast<const char*>(before.hash.bytes.data()), before.hash.bytes.size());
  codec::put_be64(head, epoch.value());
  codec::put_be64(head, after.index.value());
  codec::put_be64(head, static_cast<std::uint64_t>(kind));
  codec::put_be64(head, writes);
  codec::put_be64(head, after.writes);
  codec::put_be64(head, after.bytes);
  auto& h = hasher();
  h.start();
  h.add(head);
  h.add(payload);
  after.hash = h.finish();
  return after;
}

bool chains(const Position& before, const Entry& entry) {
  if (leaps(entry.kind)) {
    const auto leap = decode_leap(entry.payload.view());
    return leap.ok() && entry.position == leap->position;
  }
  if (!is_history(entry.kind)) return entry.position == before;
  return entry.position == extend(before, entry.epoch, entry.kind, entry.writes, entry.payload.view());
}

std::string leap_payload(const Position& position, std::string_view rest) {
  std::string out;
  codec::put_position(out, position);
  codec::put_bytes(out, rest);
  return out;
}

Result<Leap> decode_leap(std::string_view in) {
  Leap leap;
  const bool ok = codec::get_position(in, leap.position) && codec::get_bytes(in, leap.rest) && in.empty();
  if (!ok) return Error{Code::kCorrupt, "an Adopt or Follow entry is cut short or malformed"};
  return leap;
}

std::string regroup_payload(const RegroupPayload& parts) {
  std::string out;
  for (const auto part : {parts.membership, parts.group, parts.members}) codec::put_bytes(out, part);
  return out;
}

Result<RegroupPayload> decode_regroup(std::string_view in) {
  RegroupPayload parts;
  for (auto* part : {&parts.membership, &parts.group, &parts.members})
    if (!codec::get_bytes(in, *part)) return Error{Code::kCorrupt, "a Regroup entry is cut short"};
  if (!in.empty()) return Error{Code::kCorrupt, "a Regroup entry is malformed"};
  return parts;
}

std::size_t encoded_size(const Entry& e) {
  using codec::varint_size;
  return 1 + 32 + varint_size(e.term.value()) + varint_size(e.index.value()) + varint_size(e.epoch.value()) +
         varint_size(e.writes) + varint_size(e.position.index.value()) + varint_size(e.position.writes) +
         varint_size(e.position.bytes) + varint_size(e.payload.size()) + e.payload.size() +
         varint_size(e.envelope.size()) + e.envelope.size();
}

void encode(const Entry& e, std::string& out) {
  codec::put_u8(out, static_cast<std::uint8_t>(e.kind));
  codec::put_varint(out, e.term.value());
  codec::put_varint(out, e.index.value());
  codec::put_varint(out, e.epoch.value());
  codec::put_varint(out, e.writes);
  codec::put_varint(out, e.position.index.value());
  codec::put_varint(out, e.position.writes);
  codec::put_varint(out, e.position.bytes);
  out.append(reinterpret_cast<const char*>(e.position.hash.bytes.data()), 32);
  codec::put_bytes(out, e.payload.view());
  codec::put_bytes(out, e.envelope.view());
}

Result<Entry> decode_entry(std::string_view& in, const std::shared_ptr<const void>& owner) {
  Entry e;
  std::uint8_t kind = 0;
  std::uint64_t term = 0, index = 0, epoch = 0, writes = 0, history = 0;
  std::string_view payload, envelope;
  bool ok = codec::get_u8(in, kind) && codec::get_varint(in, term) && codec::get_varint(in, index) &&
            codec::get_varint(in, epoch) && codec::get_varint(in, writes) && codec::get_varint(in, history) &&
            codec::get_varint(in, e.position.writes) && codec::get_varint(in, e.position.bytes) &&
            codec::get_fixed(in, e.position.hash.bytes) && codec::get_bytes(in, payload) &&
            codec::get_bytes(in, envelope) && writes <= UINT32_MAX;
  if (!ok) return Error{Code::kCorrupt, "a log entry is cut short or malformed"};
  e.kind = static_cast<EntryKind>(kind);
  e.term = Term(term);
  e.index = Index(index);
  e.epoch = Epoch(epoch);
  e.writes = static_cast<std::uint32_t>(writes);
  e.position.index = HistoryIndex(history);
  e.payload = Bytes(owner, payload);
  e.envelope = Bytes(owner, envelope);
  return e;
}

}  // namespace leeward
