// Maintenance: what etcdctl's `endpoint`, `alarm`, `defrag` and `move-leader`
// ask of one node.
#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::maintenance {
namespace {

// The only alarm so far: a full disk, which ends by itself.
template <class Response>
void add_alarms(Response& response, const NodeStatus& status) {
  if (!status.disk_full) return;
  auto* alarm = response.add_alarms();
  alarm->set_memberid(status.self.value());
  alarm->set_alarm(etcdserverpb::NOSPACE);
}

}  // namespace

void alarm(CallPtr call, Bytes bytes) {
  etcdserverpb::AlarmRequest request;
  if (!parse(call, bytes, request)) return;
  using Request = etcdserverpb::AlarmRequest;
  const NodeStatus status = call->core().node.status();
  if (request.action() == Request::ACTIVATE)
    return call->finish(unimplemented("leeward: alarms are raised by the members themselves"));
  if (request.action() == Request::DEACTIVATE && status.disk_full)
    return call->finish({GrpcCode::kFailedPrecondition, "leeward: NOSPACE ends by itself once the disk has room", {}});
  etcdserverpb::AlarmResponse response;
  fill(response.mutable_header(), call->core());
  const bool asked = request.alarm() == etcdserverpb::NONE || request.alarm() == etcdserverpb::NOSPACE;
  if (request.action() == Request::GET && asked) add_alarms(response, status);
  call->reply_message(response);
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
  response.set_raftindex(status.commit.value());
  response.set_raftappliedindex(applied.point.index.value());
  response.set_raftterm(raft_term(applied.epoch, status.term));
  response.set_islearner(status.state == MemberState::kLearner);
  if (!status.leader) response.add_errors(std::string(error::kNoLeader.text));
  if (status.disk_full) response.add_errors("memberID:" + std::to_string(status.self.value()) + " alarm:NOSPACE ");
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

void snapshot(CallPtr call) {
  call->finish(unimplemented("leeward: Maintenance.Snapshot is not built yet"));
}

void downgrade(CallPtr call, Bytes) {
  call->finish(unimplemented("leeward: there is no downgrade of the storage format"));
}

}  // namespace leeward::api::maintenance
