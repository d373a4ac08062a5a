// etcd 3.5's errors in one table: the text and the gRPC code that its client
// libraries match. Nothing else in this folder writes an etcd text down.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "ports/rpc.h"

namespace leeward::api {

struct EtcdError {
  std::string_view text;
  GrpcCode code;
};

// name, gRPC code, text after "etcdserver: "
#define LEEWARD_ETCD_ERRORS(X)                                                                                     \
  X(EmptyKey, InvalidArgument, "key is not provided")                                                              \
  X(KeyNotFound, InvalidArgument, "key not found")                                                                 \
  X(ValueProvided, InvalidArgument, "value is provided")                                                           \
  X(LeaseProvided, InvalidArgument, "lease is provided")                                                           \
  X(TooManyOps, InvalidArgument, "too many operations in txn request")                                             \
  X(DuplicateKey, InvalidArgument, "duplicate key given in txn request")                                           \
  X(InvalidClientApiVersion, InvalidArgument, "invalid client api version")                                        \
  X(InvalidSortOption, InvalidArgument, "invalid sort option")                                                     \
  X(Compacted, OutOfRange, "mvcc: required revision has been compacted")                                           \
  X(FutureRevision, OutOfRange, "mvcc: required revision is a future revision")                                    \
  X(NoSpace, ResourceExhausted, "mvcc: database space exceeded")                                                   \
  X(LeaseNotFound, NotFound, "requested lease not found")                                                          \
  X(LeaseExists, FailedPrecondition, "lease already exists")                                                       \
  X(LeaseTtlTooLarge, OutOfRange, "too large lease TTL")                                                           \
  X(WatchCanceled, Cancelled, "watch canceled")                                                                    \
  X(MemberExists, FailedPrecondition, "member ID already exist")                                                   \
  X(PeerUrlExists, FailedPrecondition, "Peer URLs already exists")                                                 \
  X(MemberNotEnoughStarted, FailedPrecondition, "re-configuration failed due to not enough started members")       \
  X(MemberBadUrls, InvalidArgument, "given member URLs are invalid")                                               \
  X(MemberNotFound, NotFound, "member not found")                                                                  \
  X(MemberNotLearner, FailedPrecondition, "can only promote a learner member")                                     \
  X(LearnerNotReady, FailedPrecondition, "can only promote a learner member which is in sync with leader")         \
  X(TooManyLearners, FailedPrecondition, "too many learner members in cluster")                                    \
  X(ClusterIdMismatch, FailedPrecondition, "cluster ID mismatch")                                                  \
  X(RequestTooLarge, InvalidArgument, "request is too large")                                                      \
  X(TooManyRequests, ResourceExhausted, "too many requests")                                                       \
  X(RootUserNotExist, FailedPrecondition, "root user does not exist")                                              \
  X(RootRoleNotExist, FailedPrecondition, "root user does not have root role")                                     \
  X(UserExists, FailedPrecondition, "user name already exists")                                                    \
  X(UserEmpty, InvalidArgument, "user name is empty")                                                              \
  X(UserNotFound, FailedPrecondition, "user name not found")                                                       \
  X(RoleExists, FailedPrecondition, "role name already exists")                                                    \
  X(RoleNotFound, FailedPrecondition, "role name not found")                                                       \
  X(RoleEmpty, InvalidArgument, "role name is empty")                                                              \
  X(AuthFailed, InvalidArgument, "authentication failed, invalid user ID or password")                             \
  X(PermissionNotGiven, InvalidArgument, "permission not given")                                                   \
  X(PermissionDenied, PermissionDenied, "permission denied")                                                       \
  X(RoleNotGranted, FailedPrecondition, "role is not granted to the user")                                         \
  X(PermissionNotGranted, FailedPrecondition, "permission is not granted to the role")                             \
  X(AuthNotEnabled, FailedPrecondition, "authentication is not enabled")                                           \
  X(InvalidAuthToken, Unauthenticated, "invalid auth token")                                                       \
  X(InvalidAuthManagement, InvalidArgument, "invalid auth management")                                             \
  X(AuthOldRevision, InvalidArgument, "revision of auth store is old")                                             \
  X(NoLeader, Unavailable, "no leader")                                                                            \
  X(NotLeader, FailedPrecondition, "not leader")                                                                   \
  X(LeaderChanged, Unavailable, "leader changed")                                                                  \
  X(NotCapable, Unavailable, "not capable")                                                                        \
  X(Stopped, Unavailable, "server stopped")                                                                        \
  X(Timeout, Unavailable, "request timed out")                                                                     \
  X(TimeoutLeaderFailure, Unavailable, "request timed out, possibly due to previous leader failure")               \
  X(TimeoutConnectionLost, Unavailable, "request timed out, possibly due to connection lost")                      \
  X(TimeoutAppliedIndex, Unavailable, "request timed out, waiting for the applied index took too long")            \
  X(Unhealthy, Unavailable, "unhealthy cluster")                                                                   \
  X(Corrupt, DataLoss, "corrupt cluster")                                                                          \
  X(NotSupportedForLearner, Unavailable, "rpc not supported for learner")                                          \
  X(BadLeaderTransferee, FailedPrecondition, "bad leader transferee")                                              \
  X(WrongDowngradeVersionFormat, InvalidArgument, "wrong downgrade target version format")                         \
  X(InvalidDowngradeTarget, InvalidArgument, "invalid downgrade target version")                                   \
  X(ClusterVersionUnavailable, Unavailable, "cluster version not found during downgrade")                          \
  X(DowngradeInProcess, FailedPrecondition, "cluster has a downgrade job in progress")                             \
  X(NoInflightDowngrade, FailedPrecondition, "no inflight downgrade job")

namespace error {
#define LEEWARD_DECLARE(Name, Grpc, words) inline constexpr EtcdError k##Name{"etcdserver: " words, GrpcCode::k##Grpc};
LEEWARD_ETCD_ERRORS(LEEWARD_DECLARE)
#undef LEEWARD_DECLARE
}  // namespace error

// Said by a member that its group has removed: etcd's process ends there.
inline constexpr EtcdError kMemberRemoved{
    "leeward: this member was removed from its group; ask another one (leewardctl member list shows them)", GrpcCode::kUnavailable};

// Reasons of a cancelled watch, which etcd sends without its prefix.
inline constexpr std::string_view kDuplicateWatchId = "mvcc: duplicate watch ID provided on the WatchStream";
inline constexpr std::string_view kEmptyWatchRange = "mvcc: watcher range is empty";

// On these two texts alone etcd's Go client repeats a write at its next endpoint:
// where none may be acknowledged here, and at a member that stops or is being removed.
inline constexpr std::string_view kTryNextEndpoint = "there is no connection available";
inline constexpr std::string_view kLeaving = "there is no address available";
// At a learner, which answers stale reads alone. etcd says "rpc not supported for learner",
// which its client hands to its user: whoever has the members' addresses in its list
// would fail whenever one is replaced. Why is in the trailers.
inline constexpr EtcdError kLearner{kTryNextEndpoint, GrpcCode::kUnavailable};
inline bool names_next(std::string_view text) { return text == kTryNextEndpoint || text == kLeaving; }

RpcStatus status(const EtcdError& error);
// For what the state machine says; a text outside the table is UNKNOWN, as in etcd.
RpcStatus status_of_text(std::string_view etcd_text);
// Text first: node and kv put etcd's where there is one; else by code.
RpcStatus status_of(const Error& error);

RpcStatus unimplemented(std::string message);
RpcStatus permission_denied(std::string message);
RpcStatus invalid(std::string message);

const char* name(GrpcCode code);  // "INVALID_ARGUMENT"

}  // namespace leeward::api
