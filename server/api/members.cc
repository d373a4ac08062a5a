// Operations that change who the members of this node's group are.
#include "api/handlers.h"
#include "proto/leeward.pb.h"

namespace leeward::api {

// True when the caller may change things; else the call is ended.
bool by_operator(const CallPtr& call) {
  if (call->core().is_operator(call->rpc().peer())) return true;
  call->finish(permission_denied(
      "leeward: this call needs an operator: a client certificate whose common name is in [admin] operators, the "
      "node's unix socket, or [admin] insecure = true"));
  return false;
}

namespace operations {
namespace {

namespace pb = leeward::v1;

bool is_id(std::uint64_t id) { return id != 0 && id <= UINT32_MAX; }

std::string without_scheme(const std::string& address) {
  const auto scheme = address.find("://");
  return scheme == std::string::npos ? address : address.substr(scheme + 3);
}

node::Node node_of(const pb::MemberChangeRequest::NewMember& m) {
  node::Node n;
  n.id = NodeId(m.id());
  n.name = m.name();
  n.region = m.region();
  n.zone = m.zone();
  n.peer_address = without_scheme(m.peer_address());
  n.client_url = m.client_url();
  return n;
}

Result<node::MemberChange> change_of(const pb::MemberChangeRequest& request) {
  node::MemberChange change;
  const auto take = [](const auto& from, auto& to) {
    for (const auto& m : from) {
      if (!is_id(m.id())) return false;
      to.push_back(node_of(m));
    }
    return true;
  };
  const auto take_ids = [](const auto& from, auto& to) {
    for (const auto id : from) {
      if (!is_id(id)) return false;
      to.push_back(NodeId(id));
    }
    return true;
  };
  if (!take(request.add(), change.add) || !take(request.move(), change.move) || !take_ids(request.promote(), change.promote) ||
      !take_ids(request.remove(), change.remove))
    return Error{Code::kInvalid, "leeward: an id is not a member's id; expected 1 to 4294967295"};
  change.force = request.force();
  return change;
}

}  // namespace

void member_admit(CallPtr call, Bytes bytes) {
  pb::MemberAdmitRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  if (!is_id(request.id())) return call->finish(invalid("leeward: id is not a member's id"));
  Core& core = call->core();
  if (!core.status()->status.leader) return call->fail(error::kNoLeader);
  core.log.info("member admit asked for", {{"member", request.id()}, {"peer", call->rpc().peer().address}});
  core.node.admit(NodeId(request.id()), call->loop(), [call, id = request.id()](Result<bool> done) {
    if (!done.ok()) return call->fail(done.error());
    pb::MemberAdmitResponse response;
    response.set_id(id);
    response.set_already(*done);
    call->reply_message(response);
  });
}

void cluster_finalize(CallPtr call, Bytes bytes) {
  pb::ClusterFinalizeRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Core& core = call->core();
  if (!core.status()->status.leader) return call->fail(error::kNoLeader);
  core.log.warn("the newest format is to be finalized", {{"peer", call->rpc().peer().address}});
  core.node.finalize(call->loop(), [call](Result<bool> done) {
    if (!done.ok()) return fail(call, done.error());
    const auto status = call->core().node.status();
    pb::ClusterFinalizeResponse response;
    for (const auto& m : status.members)
      if (m.id == status.self) response.set_region(m.region);
    response.set_format(status.format);
    response.set_already(*done);
    call->reply_message(response);
  });
}

void member_change(CallPtr call, Bytes bytes) {
  pb::MemberChangeRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  auto change = change_of(request);
  if (!change.ok()) return call->fail(change.error());
  Core& core = call->core();
  if (!core.status()->status.leader) return call->fail(error::kNoLeader);
  core.log.info("a change of the members is asked for",
                {{"add", change->add.size()}, {"promote", change->promote.size()}, {"remove", change->remove.size()},
                 {"force", change->force}, {"peer", call->rpc().peer().address}});
  core.node.change_members(std::move(*change), call->loop(), [call](Result<Index> done) {
    // Not a text that makes a client try again at its next endpoint.
    if (!done.ok() && done.error().code == Code::kUnknown)
      return call->finish({GrpcCode::kDeadlineExceeded, "leeward: the change is proposed, and not known to be made: "
                           "leewardctl member list shows who the members are", {}});
    if (!done.ok()) return call->fail(done.error());
    pb::MemberChangeResponse response;
    response.set_index(done->value());
    call->reply_message(response);
  });
}

void member_sync(CallPtr call, Bytes bytes) {
  pb::MemberSyncRequest request;
  if (!parse(call, bytes, request)) return;
  if (!is_id(request.id())) return call->finish(invalid("leeward: id is not a member's id"));
  call->core().node.member_sync(NodeId(request.id()), call->loop(), [call, id = request.id()](Result<std::uint64_t> behind) {
    pb::MemberSyncResponse response;
    response.set_id(id);
    if (behind.ok()) {
      response.set_in_sync(true);
      response.set_behind_entries(*behind);
    } else if (node::refused_by(behind.error(), node::rule::kInSync)) {
      response.set_detail(behind.error().message.substr(std::string_view(node::rule::kInSync).size() + 2));
    } else {
      return call->fail(behind.error());
    }
    call->reply_message(response);
  });
}

}  // namespace operations
}  // namespace leeward::api
