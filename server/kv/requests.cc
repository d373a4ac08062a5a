#include "kv/requests.h"

#include <set>

#include "base/key_ranges.h"

namespace leeward::kv {
namespace {

// Deeper than any transaction whose operations are limited; keeps the stack.
constexpr int kMaxDepth = 128;

bool parse_compare(std::string_view wire, Compare& out) {
  WireReader in(wire);
  while (in.next()) {
    switch (in.varint_field()) {
      case 1: out.result = in.varint() <= 3 ? static_cast<Compare::Result>(in.varint()) : Compare::Result::kUnknown; break;
      case 2: out.target = in.varint() <= 4 ? static_cast<Compare::Target>(in.varint()) : Compare::Target::kUnknown; break;
      case 4: out.given = Compare::Target::kVersion; out.number = in.int64(); break;
      case 5: out.given = Compare::Target::kCreate; out.number = in.int64(); break;
      case 6: out.given = Compare::Target::kMod; out.number = in.int64(); break;
      case 8: out.given = Compare::Target::kLease; out.number = in.int64(); break;
      default: break;
    }
    switch (in.bytes_field()) {
      case 3: out.range.key = in.bytes(); break;
      case 7: out.given = Compare::Target::kValue; out.value = in.bytes(); break;
      case 64: out.range.end = in.bytes(); break;
      default: break;
    }
  }
  return in.ok();
}

bool parse_txn(std::string_view wire, TxnRequest& out, int depth);

bool parse_op(std::string_view wire, TxnOp& out, int depth) {
  WireReader in(wire);
  while (in.next()) {
    switch (in.bytes_field()) {
      case 1:
        if (!parse(in.bytes(), out.emplace<RangeRequest>())) return false;
        break;
      case 2:
        if (!parse(in.bytes(), out.emplace<PutRequest>())) return false;
        break;
      case 3:
        if (!parse(in.bytes(), out.emplace<DeleteRequest>())) return false;
        break;
      case 4:
        out.emplace<std::unique_ptr<TxnRequest>>(std::make_unique<TxnRequest>());
        if (!parse_txn(in.bytes(), *std::get<std::unique_ptr<TxnRequest>>(out), depth + 1)) return false;
        break;
      default: break;
    }
  }
  return in.ok();
}

bool parse_txn(std::string_view wire, TxnRequest& out, int depth) {
  if (depth > kMaxDepth) return false;
  WireReader in(wire);
  while (in.next()) {
    switch (in.bytes_field()) {
      case 1:
        if (!parse_compare(in.bytes(), out.compares.emplace_back())) return false;
        break;
      case 2:
        if (!parse_op(in.bytes(), out.success.emplace_back(), depth)) return false;
        break;
      case 3:
        if (!parse_op(in.bytes(), out.failure.emplace_back(), depth)) return false;
        break;
      default: break;
    }
  }
  return in.ok();
}

const char* check_ops(const std::vector<TxnOp>& ops);

const char* check_shape(const TxnRequest& request) {
  for (const Compare& compare : request.compares)
    if (compare.range.key.empty()) return texts::kEmptyKey;
  if (const char* text = check_ops(request.success); *text) return text;
  return check_ops(request.failure);
}

const char* check_ops(const std::vector<TxnOp>& ops) {
  for (const TxnOp& op : ops) {
    const char* text = texts::kKeyNotFound;  // an operation of no kind: etcd says so
    if (const auto* range = std::get_if<RangeRequest>(&op)) text = check(*range);
    if (const auto* put = std::get_if<PutRequest>(&op)) text = check(*put);
    if (const auto* remove = std::get_if<DeleteRequest>(&op)) text = check(*remove);
    if (const auto* txn = std::get_if<std::unique_ptr<TxnRequest>>(&op)) text = check_shape(**txn);
    if (*text) return text;
  }
  return "";
}

// Which keys a list of operations may put and delete.
struct Writes {
  std::set<std::string_view> puts;
  KeyRanges deletes;

  bool deleted(std::string_view key) const { return deletes.contains(key); }
  void remove(const KeyRange& range) {
    std::string start(range.key);
    std::string end = range.single() ? start + '\0' : range.open_ended() ? std::string() : std::string(range.end);
    deletes.add(std::move(start), std::move(end));
  }
};

// etcd's rule: within what may run together no key is put twice, and none is
// both put and deleted. The two branches of a transaction exclude each other.
bool disjoint(const std::vector<TxnOp>& ops, Writes& out) {
  for (const TxnOp& op : ops)
    if (const auto* remove = std::get_if<DeleteRequest>(&op)) out.remove(remove->range);
  for (const TxnOp& op : ops) {
    const auto* txn = std::get_if<std::unique_ptr<TxnRequest>>(&op);
    if (!txn) continue;
    Writes yes, no;
    if (!disjoint((*txn)->success, yes) || !disjoint((*txn)->failure, no)) return false;
    for (const std::string_view key : yes.puts)
      if (out.puts.contains(key) || out.deleted(key)) return false;
    for (const std::string_view key : no.puts)
      if (out.puts.contains(key) || out.deleted(key)) return false;
    out.puts.merge(yes.puts);
    out.puts.merge(no.puts);
    out.deletes.add(yes.deletes);
    out.deletes.add(no.deletes);
  }
  for (const TxnOp& op : ops)
    if (const auto* put = std::get_if<PutRequest>(&op))
      if (out.deleted(put->key) || !out.puts.insert(put->key).second) return false;
  return true;
}

}  // namespace

bool parse(std::string_view wire, PutRequest& out) {
  WireReader in(wire);
  while (in.next()) {
    switch (in.bytes_field()) {
      case 1: out.key = in.bytes(); break;
      case 2: out.value = in.bytes(); break;
      default: break;
    }
    switch (in.varint_field()) {
      case 3: out.lease = in.int64(); break;
      case 4: out.prev_kv = in.varint() != 0; break;
      case 5: out.ignore_value = in.varint() != 0; break;
      case 6: out.ignore_lease = in.varint() != 0; break;
      default: break;
    }
  }
  return in.ok();
}

bool parse(std::string_view wire, DeleteRequest& out) {
  WireReader in(wire);
  while (in.next()) {
    if (in.bytes_field() == 1) out.range.key = in.bytes();
    if (in.bytes_field() == 2) out.range.end = in.bytes();
    if (in.varint_field() == 3) out.prev_kv = in.varint() != 0;
  }
  return in.ok();
}

bool parse(std::string_view wire, RangeRequest& out) {
  WireReader in(wire);
  while (in.next()) {
    if (in.bytes_field() == 1) out.range.key = in.bytes();
    if (in.bytes_field() == 2) out.range.end = in.bytes();
    switch (in.varint_field()) {
      case 3: out.limit = in.int64(); break;
      case 4: out.revision = in.int64(); break;
      case 5: out.order = in.varint() <= 2 ? static_cast<RangeRequest::Order>(in.varint()) : out.order; break;
      case 6: out.target = in.varint() <= 4 ? static_cast<RangeRequest::Target>(in.varint()) : out.target; break;
      case 8: out.keys_only = in.varint() != 0; break;
      case 9: out.count_only = in.varint() != 0; break;
      case 10: out.min_mod = in.int64(); break;
      case 11: out.max_mod = in.int64(); break;
      case 12: out.min_create = in.int64(); break;
      case 13: out.max_create = in.int64(); break;
      default: break;
    }
  }
  return in.ok();
}

bool parse(std::string_view wire, TxnRequest& out) { return parse_txn(wire, out, 0); }

const char* check(const PutRequest& request) {
  if (request.key.empty()) return texts::kEmptyKey;
  if (request.ignore_value && !request.value.empty()) return texts::kValueProvided;
  if (request.ignore_lease && request.lease != 0) return texts::kLeaseProvided;
  return "";
}

const char* check(const DeleteRequest& request) { return request.range.key.empty() ? texts::kEmptyKey : ""; }
const char* check(const RangeRequest& request) { return request.range.key.empty() ? texts::kEmptyKey : ""; }

const char* check(const TxnRequest& request) {
  if (const char* text = check_shape(request); *text) return text;
  for (const auto* ops : {&request.success, &request.failure})
    if (Writes writes; !disjoint(*ops, writes)) return texts::kDuplicateKey;
  return "";
}

bool has_put(const TxnRequest& request) {
  for (const auto* ops : {&request.success, &request.failure})
    for (const TxnOp& op : *ops) {
      if (std::holds_alternative<PutRequest>(op)) return true;
      if (const auto* txn = std::get_if<std::unique_ptr<TxnRequest>>(&op); txn && has_put(**txn)) return true;
    }
  return false;
}

bool is_read_only(const TxnRequest& request) {
  for (const auto* ops : {&request.success, &request.failure})
    for (const TxnOp& op : *ops) {
      if (std::holds_alternative<PutRequest>(op) || std::holds_alternative<DeleteRequest>(op)) return false;
      if (const auto* txn = std::get_if<std::unique_ptr<TxnRequest>>(&op); txn && !is_read_only(**txn)) return false;
    }
  return true;
}

}  // namespace leeward::kv
