// A command is one client write: the request's wire bytes and where it came
// from. Many commands make one kWrites entry; each keeps its own revision and
// its own result.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace leeward {

// Numbers are in the log: never reuse one.
enum class Op : std::uint8_t {
  kPut = 1,          // etcdserverpb.PutRequest
  kDeleteRange = 2,  // etcdserverpb.DeleteRangeRequest
  kTxn = 3,          // etcdserverpb.TxnRequest
  kCompact = 4,      // etcdserverpb.CompactionRequest
  kLeaseGrant = 5,   // etcdserverpb.LeaseGrantRequest, ID never 0
  kLeaseRevoke = 6,  // etcdserverpb.LeaseRevokeRequest
};

// Who waits for a command's result. Rides in the entry's envelope, so that the
// member that took the request answers from its own apply.
struct Origin {
  NodeId node;
  Incarnation incarnation;
  std::uint64_t sequence = 0;  // unique in that process; see `process`
  std::uint64_t process = 0;   // random per process start: a restarted member answers nobody
  bool operator==(const Origin&) const = default;
};

// W3C trace context, all zero when the request is not sampled.
struct TraceContext {
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{};
  bool sampled = false;
  bool operator==(const TraceContext&) const = default;
};

struct Command {
  Op op = Op::kPut;
  Bytes request;  // protobuf wire bytes, as the client sent them
  Origin origin;
  TraceContext trace;
};

// Payload of a kWrites entry: for each command, op (1 byte), varint length,
// request. Envelope: for each command, origin and, when sampled, the trace.
std::string encode_payload(const std::vector<Command>& commands);
std::string encode_envelope(const std::vector<Command>& commands);

// One command as it lies in a payload; `request` points into the payload.
struct CommandView {
  Op op;
  std::string_view request;
};
// Errors: kCorrupt. The number of commands must be `writes`.
Result<std::vector<CommandView>> decode_payload(std::string_view payload, std::uint32_t writes);

struct EnvelopeItem {
  Origin origin;
  TraceContext trace;
};
// An empty envelope gives no items; anything else must give `writes`.
Result<std::vector<EnvelopeItem>> decode_envelope(std::string_view envelope, std::uint32_t writes);

}  // namespace leeward
