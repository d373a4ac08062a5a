// What etcd refuses before a request reaches its log (its v3rpc/key.go).
// nullptr: fine. Order of checks as there, for a client sees the first fault.
#pragma once

#include <cstddef>

#include "api/errors.h"
#include "proto/rpc.pb.h"

namespace leeward::api {

const EtcdError* check(const etcdserverpb::RangeRequest& request);
const EtcdError* check(const etcdserverpb::PutRequest& request);
const EtcdError* check(const etcdserverpb::DeleteRangeRequest& request);
// Operations of every nesting, their number, and that no key is written twice.
const EtcdError* check(const etcdserverpb::TxnRequest& request, std::size_t max_ops);

enum class TxnKind { kWrites, kReads, kSerializableReads };
TxnKind kind(const etcdserverpb::TxnRequest& request);

}  // namespace leeward::api
