// Figures of the client port, by method and code; telemetry exports them. The
// set of methods is closed: whatever else a client asks for counts as kOther.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "ports/exemplars.h"
#include "ports/probe.h"
#include "ports/rpc.h"

namespace leeward::api {

#define LEEWARD_API_METHODS(X)                                                                                       \
  X(Range) X(RangeSerializable) X(Put) X(DeleteRange) X(Txn) X(Compact) X(Watch)                                     \
  X(LeaseGrant) X(LeaseRevoke) X(LeaseKeepAlive) X(LeaseTimeToLive) X(LeaseLeases)                                   \
  X(MemberList) X(MemberAdd) X(MemberRemove) X(MemberUpdate) X(MemberPromote)                                        \
  X(Alarm) X(Status) X(Defragment) X(Hash) X(HashKV) X(Snapshot) X(MoveLeader) X(Downgrade)                          \
  X(AuthEnable) X(AuthDisable) X(AuthStatus) X(Authenticate)                                                         \
  X(UserAdd) X(UserGet) X(UserList) X(UserDelete) X(UserChangePassword) X(UserGrantRole) X(UserRevokeRole)           \
  X(RoleAdd) X(RoleGet) X(RoleList) X(RoleDelete) X(RoleGrantPermission) X(RoleRevokePermission)                     \
  X(Lock) X(Unlock) X(Campaign) X(Proclaim) X(Leader) X(Observe) X(Resign)                                           \
  X(HealthCheck) X(HealthWatch) X(ServerReflection)                                                                  \
  X(ClusterStatus) X(Topology) X(ReplicaStatus) X(StandbyStatus) X(StorageInfo) X(MemberAdmit) X(DrPlan) X(MemberChange) \
  X(ReplicaPause) X(ReplicaResume) X(ReplicaIsolate) X(ReplicaRejoin) X(DrPromote) X(DrSurvivor) X(DrStatus) X(MemberSync) \
  X(DrRejoin) X(DrDrill) X(DrSwitchover) X(DrAbort) X(DrArm) X(DrDisarm)                                             \
  X(DrLedgers) X(DrLedgerPage) X(DrLedgerDiscard) X(DrChanges) X(ClusterFinalize)                                                                         \
  X(Other)

enum class Method : std::uint8_t {
#define LEEWARD_METHOD(name) k##name,
  LEEWARD_API_METHODS(LEEWARD_METHOD)
#undef LEEWARD_METHOD
};

inline constexpr std::string_view kMethodNames[] = {
#define LEEWARD_METHOD(name) #name,
    LEEWARD_API_METHODS(LEEWARD_METHOD)
#undef LEEWARD_METHOD
};
inline constexpr std::size_t kMethodCount = std::size(kMethodNames);

inline constexpr std::size_t kGrpcCodes = 17;  // gRPC's codes, 0 to 16

// What the availability objective counts against the server.
constexpr bool is_server_fault(GrpcCode code) {
  return code == GrpcCode::kUnknown || code == GrpcCode::kDeadlineExceeded || code == GrpcCode::kInternal ||
         code == GrpcCode::kUnavailable || code == GrpcCode::kDataLoss;
}

struct ApiProbe {
  struct OfMethod {
    Counter started;
    std::array<Counter, kGrpcCodes> requests;  // by code, when the call has ended
    Counter server_faults;
    Histogram duration;  // unary calls only: a stream lasts as long as its client likes
    Exemplars exemplars; // of it
  };
  std::array<OfMethod, kMethodCount> methods;
  Gauge in_flight;  // unary calls
  Gauge streams;
  Counter slow_requests;
  Counter over_rate;  // refused by limits.rate
  Counter watch_events;
  Histogram stage_watch;  // from applied until handed to the connection

  OfMethod& of(Method method) { return methods[static_cast<std::size_t>(method)]; }
  const OfMethod& of(Method method) const { return methods[static_cast<std::size_t>(method)]; }
};

}  // namespace leeward::api
