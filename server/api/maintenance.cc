// Maintenance: what etcdctl's `endpoint`, `alarm`, `defrag` and `move-leader`
// ask of one node.
#include <algorithm>

#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::maintenance {
namespace {

// Of members over their quota, which an operator ends; and of this one's full
// disk, which ends by itself.
std::vector<NodeId> without_space(const NodeStatus& status) {
  auto members = status.over_quota;
  if (status.disk_full && std::find(members.begin(), members.end(), status.self) == members.end()) members.push_back(status.self);
  return members;
}

void add_alarm(etcdserverpb::AlarmResponse& response, NodeId member) {
  auto* alarm = response.add_alarms();
  alarm->set_memberid(member.value());
  alarm->set_alarm(etcdserverpb::NOSPACE);
}

// As etcd's: the answer holds the alarm if it is raised, by this call or before, or if this call has lowered it.
void change_alarm(const CallPtr& call, const etcdserverpb::AlarmRequest& request, const NodeStatus& status) {
  const bool raise = request.action() == etcdserverpb::AlarmRequest::ACTIVATE;
  const NodeId member(request.memberid());
  const bool kept = std::find(status.over_quota.begin(), status.over_quota.end(), member) != status.over_quota.end();
  if (request.alarm() == etcdserverpb::CORRUPT && raise)
    return call->finish(unimplemented("leeward: only the NOSPACE alarm may be raised by hand"));
  if (request.alarm() != etcdserverpb::NOSPACE) {  // none, or one that nobody has raised
    etcdserverpb::AlarmResponse response;
    fill(response.mutable_header(), call->core());
    return call->reply_message(response);
  }
  if (!raise && !kept && status.disk_full && member == status.self)
    return call->finish({GrpcCode::kFailedPrecondition, "leeward: the disk of this member is full; NOSPACE ends by itself once it has room", {}});
  call->core().log.info(raise ? "an alarm is raised by hand" : "an alarm is lowered", {{"member", member}, {"peer", call->rpc().peer().address}});
  call->core().node.alarm(member, raise, call->loop(), [call, member, raise](Result<bool> done) {
    if (!done.ok()) return call->fail(done.error());
    etcdserverpb::AlarmResponse response;
    fill(response.mutable_header(), call->core());
    if (raise || !*done) add_alarm(response, member);
    call->reply_message(response);
  });
}

// Of all members, whichever is named: etcd does not look at the id here.
void list_alarms(const CallPtr& call, bool nospace) {
  etcdserverpb::AlarmResponse response;
  fill(response.mutable_header(), call->core());
  if (nospace)
    for (const NodeId member : without_space(call->core().node.status())) add_alarm(response, member);
  call->reply_message(response);
}

}  // namespace

void alarm(CallPtr call, Bytes bytes) {
  etcdserverpb::AlarmRequest request;
  if (!parse(call, bytes, request)) return;
  using Request = etcdserverpb::AlarmRequest;
  const NodeStatus status = call->core().node.status();
  if (request.action() != Request::GET) return change_alarm(call, request, status);
  const bool nospace = request.alarm() != etcdserverpb::CORRUPT;
  // Read like a key, as in etcd; but who asks why nobody leads is told what is known.
  if (status.role != GroupRole::kPrimary || !status.leader) return list_alarms(call, nospace);
  when_linearizable(call, [call, nospace] { list_alarms(call, nospace); });
}

void status(CallPtr call, Bytes bytes) {
  etcdserverpb::StatusRequest request;
  if (!parse(call, bytes, request)) return;
  Core& core = call->core();
  const NodeStatus status = core.node.status();
  const AppliedState applied = core.node.state().applied();
  etcdserverpb::StatusResponse response;
  fill(response.mutable_header(), core);
  response.set_version(core.options.version);
  response.set_dbsize(static_cast<std::int64_t>(core.node.state().db_bytes()));
  response.set_dbsizeinuse(static_cast<std::int64_t>(core.node.state().db_bytes_in_use()));
  response.set_leader(status.leader.value());
  response.set_raftindex(std::max(status.commit, applied.point.index).value());  // the status is a little older than the state
  response.set_raftappliedindex(applied.point.index.value());
  response.set_raftterm(raft_term(applied.epoch, status.term));
  response.set_islearner(status.state == MemberState::kLearner);
  if (!status.leader) response.add_errors(std::string(error::kNoLeader.text));
  for (const NodeId member : without_space(status)) response.add_errors("memberID:" + std::to_string(member.value()) + " alarm:NOSPACE ");
  call->reply_message(response);
}

void defragment(CallPtr call, Bytes bytes) {
  etcdserverpb::DefragmentRequest request;
  if (!parse(call, bytes, request)) return;
  StateMachine& state = call->core().node.state();
  in_background<Result<void>>(call, [&state] { return state.defragment(); }, [call](Result<void> done) {
    if (!done.ok()) return call->fail(done.error());
    call->reply_message(etcdserverpb::DefragmentResponse());  // without header, as etcd's
  });
}

namespace {

template <class Response>
void answer_hash(const CallPtr& call, Revision revision, std::function<void(Response&, const StateMachine::KvHash&)> add) {
  StateMachine& state = call->core().node.state();
  in_background<Result<StateMachine::KvHash>>(
      call, [&state, revision] { return state.hash_kv(revision); },
      [call, add = std::move(add)](Result<StateMachine::KvHash> hash) {
        if (!hash.ok()) return call->fail(hash.error());
        Response response;
        fill(response.mutable_header(), call->core());
        response.set_hash(hash->hash);
        if (add) add(response, *hash);
        call->reply_message(response);
      });
}

}  // namespace

void hash(CallPtr call, Bytes bytes) {
  etcdserverpb::HashRequest request;
  if (parse(call, bytes, request)) answer_hash<etcdserverpb::HashResponse>(call, Revision(0), nullptr);
}

void hash_kv(CallPtr call, Bytes bytes) {
  etcdserverpb::HashKVRequest request;
  if (!parse(call, bytes, request)) return;
  answer_hash<etcdserverpb::HashKVResponse>(
      call, Revision(request.revision()), [](etcdserverpb::HashKVResponse& response, const StateMachine::KvHash& hash) {
        response.set_compact_revision(hash.compacted.value());
        response.set_hash_revision(hash.revision.value());
      });
}

void move_leader(CallPtr call, Bytes bytes) {
  etcdserverpb::MoveLeaderRequest request;
  if (!parse(call, bytes, request)) return;
  Core& core = call->core();
  // As etcd; but the operator at the machine has no other way to the leader.
  if (core.node.status().leader != core.self() && !call->rpc().peer().unix_socket) return call->fail(error::kNotLeader);
  if (request.targetid() == 0) return call->fail(error::kBadLeaderTransferee);
  core.node.transfer_leadership(NodeId(request.targetid()), call->loop(), [call](Result<void> done) {
    if (!done.ok()) {
      const Code code = done.error().code;
      if (code == Code::kInvalid || code == Code::kNotFound) return call->fail(error::kBadLeaderTransferee);
      return call->fail(done.error());
    }
    etcdserverpb::MoveLeaderResponse response;
    fill(response.mutable_header(), call->core());
    call->reply_message(response);
  });
}

void downgrade(CallPtr call, Bytes) {
  call->finish(unimplemented("leeward: there is no downgrade of the storage format"));
}

}  // namespace leeward::api::maintenance
