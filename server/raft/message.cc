// Wire format of messages and memberships: README.md, "Formats".
#include <algorithm>

#include "base/codec.h"
#include "raft/types.h"

namespace leeward::raft {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::uint8_t kMembershipWithNote = 2;

enum Flag : std::uint8_t { kReject = 1, kTransfer = 2, kHeardServing = 4, kHasHash = 8, kKnownFlags = 15 };

void put_ids(std::string& out, const std::set<NodeId>& ids) {
  codec::put_varint(out, ids.size());
  for (NodeId id : ids) codec::put_varint(out, id.value());
}

// Ids must rise: one encoding for one set, and no second copy of an id.
bool get_ids(std::string_view& in, std::set<NodeId>& ids) {
  std::uint64_t count = 0;
  if (!codec::get_varint(in, count) || count > in.size()) return false;
  std::uint64_t previous = 0;
  for (; count > 0; --count) {
    std::uint64_t id = 0;
    if (!codec::get_varint(in, id) || id <= previous) return false;
    ids.insert(ids.end(), NodeId(id));
    previous = id;
  }
  return true;
}

Error format_error(std::uint8_t format, const char* what, std::uint8_t newest = kFormat) {
  if (format > newest) return {Code::kNewerFormat, std::string(what) + " has a newer format; upgrade this member"};
  return {Code::kCorrupt, std::string(what) + " has an unknown format"};
}

struct Fields {
  std::uint64_t from = 0, to = 0, term = 0, index = 0, log_term = 0, commit = 0, hint = 0, hint_term = 0, context = 0;
};

bool get_fields(std::string_view& in, Fields& f) {
  for (std::uint64_t* field : {&f.from, &f.to, &f.term, &f.index, &f.log_term, &f.commit, &f.hint, &f.hint_term}) {
    if (!codec::get_varint(in, *field)) return false;
  }
  return codec::get_u64(in, f.context);
}

void assign(const Fields& f, std::uint8_t flags, Message& m) {
  m.from = NodeId(f.from);
  m.to = NodeId(f.to);
  m.term = Term(f.term);
  m.index = Index(f.index);
  m.log_term = Term(f.log_term);
  m.commit = Index(f.commit);
  m.hint = Index(f.hint);
  m.hint_term = Term(f.hint_term);
  m.context = f.context;
  m.reject = flags & kReject;
  m.transfer = flags & kTransfer;
  m.heard_serving = flags & kHeardServing;
}

}  // namespace

std::string encode(const Membership& membership, std::string_view note) {
  std::string out;
  codec::put_u8(out, note.empty() ? kFormat : kMembershipWithNote);
  for (const auto* ids : {&membership.voters, &membership.outgoing, &membership.learners, &membership.learners_next}) {
    put_ids(out, *ids);
  }
  if (!note.empty()) codec::put_bytes(out, note);
  return out;
}

Result<Membership> membership_in(const Entry& entry) {
  if (entry.kind != EntryKind::kRegroup) return decode_membership(entry.payload.view());
  const auto parts = decode_regroup(entry.payload.view());
  if (!parts.ok()) return parts.error();
  return decode_membership(parts->membership);
}

Result<Membership> decode_membership(std::string_view in, std::string_view* note) {
  Membership membership;
  std::uint8_t format = 0;
  if (!codec::get_u8(in, format)) return Error{Code::kCorrupt, "a membership is empty"};
  if (format != kFormat && format != kMembershipWithNote) return format_error(format, "a membership", kMembershipWithNote);
  for (auto* ids : {&membership.voters, &membership.outgoing, &membership.learners, &membership.learners_next}) {
    if (!get_ids(in, *ids)) return Error{Code::kCorrupt, "a membership is cut short or malformed"};
  }
  std::string_view carried;
  if (format == kMembershipWithNote && (!codec::get_bytes(in, carried) || carried.empty()))
    return Error{Code::kCorrupt, "a membership's note is cut short or missing"};
  if (!in.empty()) return Error{Code::kCorrupt, "a membership is followed by other bytes"};
  if (note) *note = carried;
  return membership;
}

void encode(const Message& m, std::string& out) {
  const bool has_hash = m.log_hash != Hash{};
  codec::put_u8(out, kFormat);
  codec::put_u8(out, static_cast<std::uint8_t>(m.type));
  codec::put_u8(out, static_cast<std::uint8_t>((m.reject ? kReject : 0) | (m.transfer ? kTransfer : 0) |
                                               (m.heard_serving ? kHeardServing : 0) | (has_hash ? kHasHash : 0)));
  for (std::uint64_t v : {m.from.value(), m.to.value(), m.term.value(), m.index.value(), m.log_term.value(),
                          m.commit.value(), m.hint.value(), m.hint_term.value()}) {
    codec::put_varint(out, v);
  }
  codec::put_u64(out, m.context);
  if (has_hash) out.append(reinterpret_cast<const char*>(m.log_hash.bytes.data()), m.log_hash.bytes.size());
  codec::put_varint(out, m.entries.size());
  for (const Entry& entry : m.entries) encode(entry, out);
}

Result<Message> decode_message(const Bytes& frame) {
  const Error malformed{Code::kCorrupt, "a raft message is cut short or malformed"};
  std::string_view in = frame.view();
  std::uint8_t format = 0, type = 0, flags = 0;
  if (!codec::get_u8(in, format)) return malformed;
  if (format != kFormat) return format_error(format, "a raft message");
  Fields fields;
  if (!codec::get_u8(in, type) || !codec::get_u8(in, flags) || (flags & ~kKnownFlags) || !get_fields(in, fields)) {
    return malformed;
  }
  if (type < static_cast<std::uint8_t>(MessageType::kPreVote) ||
      type > static_cast<std::uint8_t>(MessageType::kReadIndexReply)) {
    return Error{Code::kCorrupt, "a raft message has an unknown type"};
  }
  Message m;
  m.type = static_cast<MessageType>(type);
  assign(fields, flags, m);
  if ((flags & kHasHash) && !codec::get_fixed(in, m.log_hash.bytes)) return malformed;
  std::uint64_t count = 0;
  if (!codec::get_varint(in, count) || count > in.size()) return malformed;
  m.entries.reserve(std::min<std::uint64_t>(count, in.size() / 32));
  // Entries share the frame's storage by way of this handle.
  const auto owner = std::make_shared<const Bytes>(frame);
  for (; count > 0; --count) {
    auto entry = decode_entry(in, owner);
    if (!entry) return entry.error();
    m.entries.push_back(std::move(*entry));
  }
  if (!in.empty()) return Error{Code::kCorrupt, "a raft message is followed by other bytes"};
  return m;
}

const char* name(Role role) {
  switch (role) {
    case Role::kFollower: return "follower";
    case Role::kPreCandidate: return "pre-candidate";
    case Role::kCandidate: return "candidate";
    case Role::kLeader: return "leader";
    case Role::kLearner: return "learner";
  }
  return "unknown";
}

}  // namespace leeward::raft
