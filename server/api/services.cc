#include "api/services.h"

#include <google/protobuf/stubs/logging.h>

#include <unordered_map>

#include "api/handlers.h"

namespace leeward::api {
namespace {

constexpr Duration kLeaderInterval = std::chrono::milliseconds(500);

constexpr MethodEntry kTable[] = {
    {"/etcdserverpb.KV/Range", Method::kRange, kv::range, nullptr, true},
    {"/etcdserverpb.KV/Put", Method::kPut, kv::put},
    {"/etcdserverpb.KV/DeleteRange", Method::kDeleteRange, kv::delete_range},
    {"/etcdserverpb.KV/Txn", Method::kTxn, kv::txn},
    {"/etcdserverpb.KV/Compact", Method::kCompact, kv::compact},
    {"/etcdserverpb.Watch/Watch", Method::kWatch, nullptr, watch::watch},
    {"/etcdserverpb.Lease/LeaseGrant", Method::kLeaseGrant, lease::grant},
    {"/etcdserverpb.Lease/LeaseRevoke", Method::kLeaseRevoke, lease::revoke},
    {"/etcdserverpb.Lease/LeaseKeepAlive", Method::kLeaseKeepAlive, nullptr, lease::keep_alive},
    {"/etcdserverpb.Lease/LeaseTimeToLive", Method::kLeaseTimeToLive, lease::time_to_live},
    {"/etcdserverpb.Lease/LeaseLeases", Method::kLeaseLeases, lease::leases},
    {"/etcdserverpb.Cluster/MemberList", Method::kMemberList, cluster::member_list, nullptr, true},
    {"/etcdserverpb.Cluster/MemberAdd", Method::kMemberAdd, cluster::member_add},
    {"/etcdserverpb.Cluster/MemberRemove", Method::kMemberRemove, cluster::member_remove},
    {"/etcdserverpb.Cluster/MemberUpdate", Method::kMemberUpdate, cluster::member_update},
    {"/etcdserverpb.Cluster/MemberPromote", Method::kMemberPromote, cluster::member_promote},
    {"/etcdserverpb.Maintenance/Alarm", Method::kAlarm, maintenance::alarm},
    {"/etcdserverpb.Maintenance/Status", Method::kStatus, maintenance::status, nullptr, true},
    {"/etcdserverpb.Maintenance/Defragment", Method::kDefragment, maintenance::defragment, nullptr, true},
    {"/etcdserverpb.Maintenance/Hash", Method::kHash, maintenance::hash, nullptr, true},
    {"/etcdserverpb.Maintenance/HashKV", Method::kHashKV, maintenance::hash_kv, nullptr, true},
    {"/etcdserverpb.Maintenance/Snapshot", Method::kSnapshot, nullptr, maintenance::snapshot, true},
    {"/etcdserverpb.Maintenance/MoveLeader", Method::kMoveLeader, maintenance::move_leader},
    {"/etcdserverpb.Maintenance/Downgrade", Method::kDowngrade, maintenance::downgrade},
    {"/etcdserverpb.Auth/AuthEnable", Method::kAuthEnable, auth::enable},
    {"/etcdserverpb.Auth/AuthDisable", Method::kAuthDisable, auth::disable},
    {"/etcdserverpb.Auth/AuthStatus", Method::kAuthStatus, auth::status},
    {"/etcdserverpb.Auth/Authenticate", Method::kAuthenticate, auth::authenticate},
    {"/etcdserverpb.Auth/UserAdd", Method::kUserAdd, auth::not_built},
    {"/etcdserverpb.Auth/UserGet", Method::kUserGet, auth::no_such_user},
    {"/etcdserverpb.Auth/UserList", Method::kUserList, auth::user_list},
    {"/etcdserverpb.Auth/UserDelete", Method::kUserDelete, auth::no_such_user},
    {"/etcdserverpb.Auth/UserChangePassword", Method::kUserChangePassword, auth::no_such_user},
    {"/etcdserverpb.Auth/UserGrantRole", Method::kUserGrantRole, auth::no_such_user},
    {"/etcdserverpb.Auth/UserRevokeRole", Method::kUserRevokeRole, auth::no_such_user},
    {"/etcdserverpb.Auth/RoleAdd", Method::kRoleAdd, auth::not_built},
    {"/etcdserverpb.Auth/RoleGet", Method::kRoleGet, auth::no_such_role},
    {"/etcdserverpb.Auth/RoleList", Method::kRoleList, auth::role_list},
    {"/etcdserverpb.Auth/RoleDelete", Method::kRoleDelete, auth::no_such_role},
    {"/etcdserverpb.Auth/RoleGrantPermission", Method::kRoleGrantPermission, auth::no_such_role},
    {"/etcdserverpb.Auth/RoleRevokePermission", Method::kRoleRevokePermission, auth::no_such_role},
    {"/v3lockpb.Lock/Lock", Method::kLock, recipes::not_built},
    {"/v3lockpb.Lock/Unlock", Method::kUnlock, recipes::not_built},
    {"/v3electionpb.Election/Campaign", Method::kCampaign, recipes::not_built},
    {"/v3electionpb.Election/Proclaim", Method::kProclaim, recipes::not_built},
    {"/v3electionpb.Election/Leader", Method::kLeader, recipes::not_built},
    {"/v3electionpb.Election/Observe", Method::kObserve, nullptr, recipes::not_built_stream},
    {"/v3electionpb.Election/Resign", Method::kResign, recipes::not_built},
    {"/grpc.health.v1.Health/Check", Method::kHealthCheck, health::check, nullptr, true},
    {"/grpc.health.v1.Health/Watch", Method::kHealthWatch, nullptr, health::watch, true},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Method::kServerReflection, nullptr,
     reflection::info, true},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Method::kServerReflection, nullptr,
     reflection::info, true},
    {"/leeward.v1.Operations/ClusterStatus", Method::kClusterStatus, operations::cluster_status, nullptr, true},
    {"/leeward.v1.Operations/Topology", Method::kTopology, operations::topology, nullptr, true},
    {"/leeward.v1.Operations/ReplicaStatus", Method::kReplicaStatus, operations::replica_status, nullptr, true},
    {"/leeward.v1.Operations/StandbyStatus", Method::kStandbyStatus, operations::standby_status, nullptr, true},
    {"/leeward.v1.Operations/DrPlan", Method::kDrPlan, operations::dr_plan},
    {"/leeward.v1.Operations/DrPromote", Method::kDrPromote, operations::dr_promote},
    {"/leeward.v1.Operations/DrDrill", Method::kDrDrill, operations::dr_drill, nullptr, true},
    {"/leeward.v1.Operations/DrSurvivor", Method::kDrSurvivor, operations::dr_survivor},
    {"/leeward.v1.Operations/DrStatus", Method::kDrStatus, operations::dr_status, nullptr, true},
    {"/leeward.v1.Operations/DrRejoin", Method::kDrRejoin, operations::dr_rejoin},
    {"/leeward.v1.Operations/DrLedgers", Method::kDrLedgers, operations::dr_ledgers, nullptr, true},
    {"/leeward.v1.Operations/DrLedgerDiscard", Method::kDrLedgerDiscard, operations::dr_ledger_discard},
    {"/leeward.v1.Operations/DrLedgerPage", Method::kDrLedgerPage, operations::dr_ledger_page, nullptr, true},
    {"/leeward.v1.Operations/DrChanges", Method::kDrChanges, operations::dr_changes},
    {"/leeward.v1.Operations/DrSwitchover", Method::kDrSwitchover, operations::dr_switchover},
    {"/leeward.v1.Operations/DrAbort", Method::kDrAbort, operations::dr_abort},
    {"/leeward.v1.Operations/DrArm", Method::kDrArm, operations::dr_arm},
    {"/leeward.v1.Operations/DrDisarm", Method::kDrDisarm, operations::dr_disarm},
    {"/leeward.v1.Operations/StorageInfo", Method::kStorageInfo, operations::storage_info, nullptr, true},
    {"/leeward.v1.Operations/MemberAdmit", Method::kMemberAdmit, operations::member_admit},
    {"/leeward.v1.Operations/ClusterFinalize", Method::kClusterFinalize, operations::cluster_finalize},
    {"/leeward.v1.Operations/ReplicaPause", Method::kReplicaPause, operations::replica_pause, nullptr, true},
    {"/leeward.v1.Operations/ReplicaResume", Method::kReplicaResume, operations::replica_resume, nullptr, true},
    {"/leeward.v1.Operations/ReplicaIsolate", Method::kReplicaIsolate, operations::replica_isolate, nullptr, true},
    {"/leeward.v1.Operations/ReplicaRejoin", Method::kReplicaRejoin, operations::replica_rejoin, nullptr, true},
    {"/leeward.v1.Operations/MemberChange", Method::kMemberChange, operations::member_change, nullptr, true},
    {"/leeward.v1.Operations/MemberSync", Method::kMemberSync, operations::member_sync, nullptr, true},
};

// As grpc says it.
RpcStatus unknown_method(std::string_view path) {
  const auto slash = path.rfind('/');
  if (path.size() < 2 || path.front() != '/' || slash == 0)
    return unimplemented("malformed method name: \"" + std::string(path) + "\"");
  const std::string service(path.substr(1, slash - 1));
  for (const auto& entry : kTable)
    if (entry.path.substr(0, slash + 1) == path.substr(0, slash + 1))
      return unimplemented("unknown method " + std::string(path.substr(slash + 1)) + " for service " + service);
  return unimplemented("unknown service " + service);
}

// What an old primary's streams end with: their clients go to another endpoint.
RpcStatus end_of_serving(const NodeStatus& status) {
  return {GrpcCode::kUnavailable, "leeward: fenced: epoch " + std::to_string(status.newest_epoch.value()) +
                                      " has begun in another region; ask there", {}};
}

std::optional<RpcStatus> fenced(const Core& core) {
  const auto view = core.status();
  if (view->status.role != GroupRole::kFenced) return std::nullopt;
  return end_of_serving(view->status);
}

// A member that its group has removed serves nobody: what it holds grows old.
// Its operator may ask it what it is, and take what it alone may hold.
bool answers_when_removed(std::string_view path) {
  return path.starts_with("/leeward.v1.") || path.starts_with("/grpc.") || path == "/etcdserverpb.Maintenance/Status" ||
         path == "/etcdserverpb.Maintenance/Snapshot";
}

// A request of a client for the store, which `limits.rate` counts. Not counted are
// streams, for a keep-alive that is refused costs its lease, and what clients and
// operators find out by where to go.
bool is_counted(const MethodEntry& entry) {
  return entry.unary != nullptr && (entry.path.starts_with("/etcdserverpb.KV/") || entry.path.starts_with("/etcdserverpb.Lease/"));
}

// What must hold before any method of etcd's runs.
const EtcdError* refused(Core& core, const RpcCall& rpc, const MethodEntry& entry) {
  const bool needs_leader = rpc.metadata("hasleader") == "true";
  const auto view = core.status();
  if (view->status.state == MemberState::kRemoved && !answers_when_removed(entry.path)) return &kMemberRemoved;
  if (needs_leader && !view->status.leader) return &error::kNoLeader;
  if (view->status.state == MemberState::kLearner && !entry.learner) return &kLearner;
  if (is_counted(entry) && !core.limits.rate.take(core.clock.now())) {
    core.probe.over_rate.add();
    return &error::kTooManyRequests;
  }
  return nullptr;
}

// A stream whose client demands a leader ends when there is none for a while.
void watch_leader(const CallPtr& call, Instant last_seen) {
  std::weak_ptr<Call> weak = call;
  call->loop().after(kLeaderInterval, [weak, last_seen] {
    const CallPtr held = weak.lock();
    if (!held || !held->open()) return;
    Core& core = held->core();
    const Instant now = core.clock.now();
    if (core.status()->status.leader) return watch_leader(held, now);
    if (now - last_seen >= core.options.no_leader_grace) return held->fail(error::kNoLeader);
    watch_leader(held, last_seen);
  });
}

// Callbacks own the call, the call owns the transport's: the circle is cut
// where the call ends.
void run_unary(const CallPtr& call, UnaryHandler handler) {
  call->rpc().on_message([call, handler](Bytes message) {
    if (!call->open()) return;
    if (!call->take_request()) return call->finish({GrpcCode::kInternal, "a unary call has one request message", {}});
    handler(call, std::move(message));
  });
  call->rpc().on_half_close([call] {
    if (!call->requested()) call->finish({GrpcCode::kInternal, "the request message is missing", {}});
  });
}

}  // namespace

std::span<const MethodEntry> method_table() { return kTable; }

const MethodEntry* find_method(std::string_view path) {
  static const auto* index = [] {
    auto* made = new std::unordered_map<std::string_view, const MethodEntry*>;
    for (const auto& entry : kTable) made->emplace(entry.path, &entry);
    return made;
  }();
  const auto found = index->find(path);
  return found == index->end() ? nullptr : found->second;
}

Services::Services(Dependencies dependencies, Options options)
    : core_(std::make_unique<Core>(dependencies, std::move(options))) {
  // The library writes a line to stderr for each garbled string: a client is
  // answered, it does not fill the disk.
  google::protobuf::SetLogHandler(nullptr);
}

Services::~Services() = default;

void Services::start(std::shared_ptr<RpcCall> rpc) {
  const MethodEntry* entry = find_method(rpc->method());
  const bool streaming = entry != nullptr && entry->stream != nullptr;
  auto call = std::make_shared<Call>(*core_, rpc, entry ? entry->method : Method::kOther, streaming);
  rpc->on_cancel([call] { call->cancelled(); });
  if (entry == nullptr) return call->finish(unknown_method(rpc->method()));
  if (const EtcdError* why = refused(*core_, *rpc, *entry)) return call->fail(*why);
  if (!streaming) return run_unary(call, entry->unary);
  // Watches and keep-alives are of a region that serves; a snapshot any member gives.
  if (auto why = fenced(*core_); why && !entry->learner) return call->finish(std::move(*why));
  if (rpc->metadata("hasleader") == "true") watch_leader(call, core_->clock.now());
  note_stream(call, !entry->learner);
  entry->stream(call);
}

// Those that have ended go when there are twice as many as were left last time.
void Services::note_stream(const CallPtr& call, bool of_serving) {
  std::lock_guard lock(streams_mutex_);
  if (streams_.size() >= forget_at_) {
    std::erase_if(streams_, [](const Stream& stream) { return stream.call.expired(); });
    forget_at_ = std::max(kStreamsKept, 2 * streams_.size());
  }
  streams_.push_back({call, of_serving});
}

void Services::heed(const NodeStatus& status) {
  if (status.state == MemberState::kRemoved) return end_streams(false, api::status(kMemberRemoved));
  if (status.role == GroupRole::kFenced) end_streams(true, end_of_serving(status));
}

void Services::end_streams(bool of_serving_only, const RpcStatus& why) {
  std::vector<std::weak_ptr<Call>> ended;
  {
    std::lock_guard lock(streams_mutex_);
    std::erase_if(streams_, [&](const Stream& stream) {
      if (of_serving_only && !stream.of_serving) return false;
      ended.push_back(stream.call);
      return true;
    });
  }
  for (const auto& stream : ended)
    if (const CallPtr call = stream.lock())
      call->loop().post([call, why] {
        if (call->open()) call->finish(why);
      });
}

}  // namespace leeward::api
