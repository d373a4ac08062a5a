// etcd's response header around what the state machine encoded. The store
// knows the revision; cluster, member and term are this node's.
//
// A response starts with field 1, the header. The fields are spliced into it,
// so that every parser sees one header; a response without one gets one in
// front, which protobuf merges.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/core.h"
#include "base/bytes.h"
#include "ports/rpc.h"
#include "ports/state_machine.h"
#include "proto/rpc.pb.h"

namespace leeward::api {

struct HeaderFields {
  std::uint64_t cluster_id = 0;
  std::uint64_t member_id = 0;
  std::uint64_t raft_term = 0;
};

// raft_term grows over promotions too: (epoch << 32) + term.
std::uint64_t raft_term(Epoch epoch, Term term);
HeaderFields header_fields(const Core& core);             // term of the last applied entry
HeaderFields header_fields(const Core& core, Term term);

// The encoded header field, tag included, and how many bytes of `response` it
// stands for.
struct Spliced {
  std::string head;
  std::size_t replaced = 0;
};
Spliced splice(const HeaderFields& fields, std::string_view response);

// A header field (tag 1) by itself.
void put_header(std::string& out, const HeaderFields& fields, Revision revision);
void fill(etcdserverpb::ResponseHeader* header, const HeaderFields& fields, Revision revision);
// Revision and term as they stand.
void fill(etcdserverpb::ResponseHeader* header, const Core& core);

// `head` and then `rest`, without joining them.
std::unique_ptr<MessageSource> joined(std::string head, Bytes rest);
// A whole RangeResponse from a reply. Errors: the reply's.
Result<std::unique_ptr<MessageSource>> range_message(const HeaderFields& fields, std::unique_ptr<RangeReply> reply,
                                                     Bytes& small);

}  // namespace leeward::api
