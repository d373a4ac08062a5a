#include "api/validate.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "base/key_ranges.h"

namespace leeward::api {
namespace {

constexpr int kMaxDepth = 128;  // of nested transactions: as deep as the state machine takes them

using etcdserverpb::RangeRequest;
using etcdserverpb::RequestOp;
using etcdserverpb::TxnRequest;
using Ops = google::protobuf::RepeatedPtrField<RequestOp>;

struct Written {
  std::set<std::string_view> puts;
  KeyRanges deletes;
};

void add_delete(Written& written, const etcdserverpb::DeleteRangeRequest& request) {
  const std::string& end = request.range_end();
  if (end.empty())
    written.deletes.add(request.key(), request.key() + '\0');
  else if (end == std::string_view("\0", 1))
    written.deletes.add(request.key(), "");
  else
    written.deletes.add(request.key(), end);
}

bool add_put(Written& written, std::string_view key) {
  return !written.deletes.contains(key) && written.puts.insert(key).second;
}

bool collect(const Ops& ops, Written& written);

// Only one of the two branches will run, so they may write the same keys.
bool collect_nested(const TxnRequest& txn, Written& written) {
  Written success, failure;
  if (!collect(txn.success(), success) || !collect(txn.failure(), failure)) return false;
  for (const auto key : success.puts)
    if (!add_put(written, key)) return false;
  for (const auto key : failure.puts) {
    if (written.deletes.contains(key)) return false;
    if (!written.puts.insert(key).second && !success.puts.contains(key)) return false;
  }
  written.deletes.add(success.deletes);
  written.deletes.add(failure.deletes);
  return true;
}

// False when a key would be written twice, or put and deleted.
bool collect(const Ops& ops, Written& written) {
  for (const auto& op : ops)
    if (op.has_request_delete_range()) add_delete(written, op.request_delete_range());
  for (const auto& op : ops)
    if (op.has_request_txn() && !collect_nested(op.request_txn(), written)) return false;
  for (const auto& op : ops)
    if (op.has_request_put() && !add_put(written, op.request_put().key())) return false;
  return true;
}

const EtcdError* check_ops(const TxnRequest& request, std::size_t max_ops, int depth);

const EtcdError* check_op(const RequestOp& op, std::size_t max_ops, int depth) {
  switch (op.request_case()) {
    case RequestOp::kRequestRange: return check(op.request_range());
    case RequestOp::kRequestPut: return check(op.request_put());
    case RequestOp::kRequestDeleteRange: return check(op.request_delete_range());
    case RequestOp::kRequestTxn: return check_ops(op.request_txn(), max_ops, depth + 1);
    case RequestOp::REQUEST_NOT_SET: break;
  }
  return &error::kKeyNotFound;
}

const EtcdError* check_ops(const TxnRequest& request, std::size_t max_ops, int depth) {
  const auto ops = static_cast<std::size_t>(
      std::max({request.compare_size(), request.success_size(), request.failure_size()}));
  if (ops > max_ops || depth > kMaxDepth) return &error::kTooManyOps;
  for (const auto& compare : request.compare())
    if (compare.key().empty()) return &error::kEmptyKey;
  for (const Ops* list : {&request.success(), &request.failure()})
    for (const auto& op : *list)
      if (const EtcdError* why = check_op(op, max_ops - ops, depth)) return why;
  return nullptr;
}

// Takes `kind` down by what `ops` do.
void classify(const Ops& ops, TxnKind& kind) {
  for (const auto& op : ops) {
    if (op.has_request_txn()) {
      classify(op.request_txn().success(), kind);
      classify(op.request_txn().failure(), kind);
    } else if (!op.has_request_range()) {
      kind = TxnKind::kWrites;
    } else if (!op.request_range().serializable() && kind == TxnKind::kSerializableReads) {
      kind = TxnKind::kReads;
    }
    if (kind == TxnKind::kWrites) return;
  }
}

}  // namespace

const EtcdError* check(const RangeRequest& request) {
  if (request.key().empty()) return &error::kEmptyKey;
  if (!RangeRequest::SortOrder_IsValid(request.sort_order()) || !RangeRequest::SortTarget_IsValid(request.sort_target()))
    return &error::kInvalidSortOption;
  return nullptr;
}

const EtcdError* check(const etcdserverpb::PutRequest& request) {
  if (request.key().empty()) return &error::kEmptyKey;
  if (request.ignore_value() && !request.value().empty()) return &error::kValueProvided;
  if (request.ignore_lease() && request.lease() != 0) return &error::kLeaseProvided;
  return nullptr;
}

const EtcdError* check(const etcdserverpb::DeleteRangeRequest& request) {
  return request.key().empty() ? &error::kEmptyKey : nullptr;
}

const EtcdError* check(const TxnRequest& request, std::size_t max_ops) {
  if (const EtcdError* why = check_ops(request, max_ops, 0)) return why;
  for (const Ops* list : {&request.success(), &request.failure()}) {
    Written written;
    if (!collect(*list, written)) return &error::kDuplicateKey;
  }
  return nullptr;
}

TxnKind kind(const TxnRequest& request) {
  TxnKind kind = TxnKind::kSerializableReads;
  classify(request.success(), kind);
  if (kind != TxnKind::kWrites) classify(request.failure(), kind);
  // Comparing alone is a read of the newest state.
  if (kind == TxnKind::kSerializableReads && request.success().empty() && request.failure().empty())
    return TxnKind::kReads;
  return kind;
}

}  // namespace leeward::api
