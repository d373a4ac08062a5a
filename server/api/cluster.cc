// Cluster: the members of this node's own group, as etcd shows them.
#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::cluster {
namespace {

std::string with_scheme(const std::string& address, bool tls) {
  if (address.find("://") != std::string::npos) return address;
  return (tls ? "https://" : "http://") + address;
}

void answer_list(const CallPtr& call) {
  Core& core = call->core();
  const NodeStatus status = core.node.status();
  etcdserverpb::MemberListResponse response;
  fill(response.mutable_header(), core);
  std::string region;
  for (const auto& member : status.members)
    if (member.id == status.self) region = member.region;
  for (const auto& member : status.members) {
    if (member.region != region) continue;  // a region is a group
    auto* out = response.add_members();
    out->set_id(member.id.value());
    out->set_name(member.name);
    if (!member.peer_address.empty()) out->add_peerurls(with_scheme(member.peer_address, core.options.peer_tls));
    if (!member.client_url.empty()) out->add_clienturls(member.client_url);
    // Never heard since this node's start: unknown is not a learner.
    out->set_islearner(member.report_age && !member.voter);
  }
  call->reply_message(response);
}

}  // namespace

void member_list(CallPtr call, Bytes request) {
  etcdserverpb::MemberListRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (!parsed.linearizable()) return answer_list(call);
  when_linearizable(call, [call] { answer_list(call); });
}

void member_change(CallPtr call, Bytes) {
  call->finish(unimplemented("leeward: membership changes over etcd's API are not built yet; a member that came back "
                             "empty is taken in by `leewardctl member admit ID`"));
}

}  // namespace leeward::api::cluster
