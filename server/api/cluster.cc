// Cluster: the members of this node's own group, as etcd shows them.
#include <algorithm>

#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::cluster {
namespace {

std::string with_scheme(const std::string& address, bool tls) {
  if (address.find("://") != std::string::npos) return address;
  return (tls ? "https://" : "http://") + address;
}

// The members of this node's group, but for those who have just been removed.
template <class Response>
void fill_members(Response& response, const Core& core, const NodeStatus& status, const std::vector<NodeId>& without) {
  std::string region;
  for (const auto& member : status.members)
    if (member.id == status.self) region = member.region;
  for (const auto& member : status.members) {
    if (member.region != region) continue;  // a region is a group
    if (std::find(without.begin(), without.end(), member.id) != without.end()) continue;
    auto* out = response.add_members();
    out->set_id(member.id.value());
    out->set_name(member.name);
    if (!member.peer_address.empty()) out->add_peerurls(with_scheme(member.peer_address, core.options.peer_tls));
    if (!member.client_url.empty()) out->add_clienturls(member.client_url);
    // Before it takes part in its group a node knows of nobody who votes.
    out->set_islearner(!member.voter && status.state != MemberState::kStarting && status.state != MemberState::kWaiting);
  }
}

template <class Response>
void answer_with_members(const CallPtr& call, const NodeStatus& status, const std::vector<NodeId>& without = {}) {
  Response response;
  fill(response.mutable_header(), call->core());
  fill_members(response, call->core(), status, without);
  call->reply_message(response);
}

// In etcd's words where it has some for it.
void fail_as_etcd(const CallPtr& call, const Error& why) {
  namespace rule = node::rule;
  if (why.code == Code::kNotFound) return call->fail(error::kMemberNotFound);
  if (node::refused_by(why, rule::kInSync)) return call->fail(error::kLearnerNotReady);
  if (node::refused_by(why, rule::kLearner)) return call->fail(error::kMemberNotLearner);
  if (node::refused_by(why, rule::kQuorum)) return call->fail(error::kUnhealthy);
  if (node::refused_by(why, rule::kTaken)) return call->fail(error::kPeerUrlExists);
  if (why.code == Code::kInvalid) return call->fail(error::kMemberBadUrls);
  call->fail(why);
}

template <class Response>
void change(const CallPtr& call, node::MemberChange change) {
  if (!by_operator(call)) return;
  if (!call->core().status()->status.leader) return call->fail(error::kNoLeader);
  auto& node = call->core().node;
  auto gone = change.remove;
  node.change_members(std::move(change), call->loop(), [call, gone, before = node.status()](Result<Index> done) {
    if (!done.ok()) return fail_as_etcd(call, done.error());
    // Done, whatever comes now; a follower may have yet to apply it, and who is
    // removed itself knows of nobody any more.
    call->core().node.read_barrier(call->deadline(), call->loop(), [call, gone, before](Result<void>) {
      const NodeStatus now = call->core().node.status();
      if (call->open()) answer_with_members<Response>(call, now.state == MemberState::kRemoved ? before : now, gone);
    });
  });
}

}  // namespace

void member_list(CallPtr call, Bytes request) {
  etcdserverpb::MemberListRequest parsed;
  if (!parse(call, request, parsed)) return;
  const auto answer = [call] { answer_with_members<etcdserverpb::MemberListResponse>(call, call->core().node.status()); };
  if (!parsed.linearizable()) return answer();
  when_linearizable(call, answer);
}

// etcd makes the new member's id up; here its own configuration names it.
void member_add(CallPtr call, Bytes) {
  call->finish(unimplemented("leeward: a member's id stands in its configuration, and etcd's call has no place for it: "
                             "use leewardctl member add ID --peer-url HOST:PORT --client-url URL"));
}

void member_remove(CallPtr call, Bytes request) {
  etcdserverpb::MemberRemoveRequest parsed;
  if (!parse(call, request, parsed)) return;
  node::MemberChange wanted;
  wanted.remove.push_back(NodeId(parsed.id()));
  change<etcdserverpb::MemberRemoveResponse>(call, std::move(wanted));
}

void member_update(CallPtr call, Bytes request) {
  etcdserverpb::MemberUpdateRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (parsed.peerurls_size() != 1) return call->fail(error::kMemberBadUrls);
  node::MemberChange wanted;
  node::Node moved;
  moved.id = NodeId(parsed.id());
  const std::string& url = parsed.peerurls(0);
  const auto scheme = url.find("://");
  moved.peer_address = scheme == std::string::npos ? url : url.substr(scheme + 3);
  if (moved.peer_address.empty()) return call->fail(error::kMemberBadUrls);
  wanted.move.push_back(std::move(moved));
  change<etcdserverpb::MemberUpdateResponse>(call, std::move(wanted));
}

void member_promote(CallPtr call, Bytes request) {
  etcdserverpb::MemberPromoteRequest parsed;
  if (!parse(call, request, parsed)) return;
  node::MemberChange wanted;
  wanted.promote.push_back(NodeId(parsed.id()));
  change<etcdserverpb::MemberPromoteResponse>(call, std::move(wanted));
}

}  // namespace leeward::api::cluster
