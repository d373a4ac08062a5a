// Client requests taken apart by hand: views into the wire bytes, which must
// outlive them. Parsing allocates only for transactions.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "kv/layout.h"

namespace leeward::kv {

// etcd's texts, exactly: client libraries compare them.
namespace texts {
inline constexpr const char* kEmptyKey = "etcdserver: key is not provided";
inline constexpr const char* kKeyNotFound = "etcdserver: key not found";
inline constexpr const char* kValueProvided = "etcdserver: value is provided";
inline constexpr const char* kLeaseProvided = "etcdserver: lease is provided";
inline constexpr const char* kTooManyOps = "etcdserver: too many operations in txn request";
inline constexpr const char* kDuplicateKey = "etcdserver: duplicate key given in txn request";
inline constexpr const char* kCompacted = "etcdserver: mvcc: required revision has been compacted";
inline constexpr const char* kFutureRev = "etcdserver: mvcc: required revision is a future revision";
inline constexpr const char* kLeaseNotFound = "etcdserver: requested lease not found";
inline constexpr const char* kLeaseExists = "etcdserver: lease already exists";
inline constexpr const char* kLeaseTtlTooLarge = "etcdserver: too large lease TTL";
// Ours: etcd cannot meet it, its framework refuses such bytes before.
inline constexpr const char* kMalformed = "etcdserver: malformed request";
}  // namespace texts

struct PutRequest {
  std::string_view key, value;
  std::int64_t lease = 0;
  bool prev_kv = false, ignore_value = false, ignore_lease = false;
};

struct DeleteRequest {
  KeyRange range;
  bool prev_kv = false;
};

struct RangeRequest {
  enum class Order : std::uint8_t { kNone, kAscend, kDescend };
  enum class Target : std::uint8_t { kKey, kVersion, kCreate, kMod, kValue };
  KeyRange range;
  std::int64_t limit = 0, revision = 0;
  Order order = Order::kNone;
  Target target = Target::kKey;
  bool keys_only = false, count_only = false;
  std::int64_t min_mod = 0, max_mod = 0, min_create = 0, max_create = 0;

  bool filtered() const { return min_mod != 0 || max_mod != 0 || min_create != 0 || max_create != 0; }
};

struct Compare {
  // As etcd: an unknown result holds always, an unknown target is always equal.
  enum class Result : std::uint8_t { kEqual, kGreater, kLess, kNotEqual, kUnknown };
  enum class Target : std::uint8_t { kVersion, kCreate, kMod, kValue, kLease, kUnknown };
  Result result = Result::kEqual;
  Target target = Target::kVersion;
  KeyRange range;
  // As etcd: a value given for another target than the asked one counts as 0 or "".
  std::optional<Target> given;
  std::int64_t number = 0;
  std::string_view value;
};

struct TxnRequest;
struct NoRequest {};
using TxnOp = std::variant<NoRequest, RangeRequest, PutRequest, DeleteRequest, std::unique_ptr<TxnRequest>>;

struct TxnRequest {
  std::vector<Compare> compares;
  std::vector<TxnOp> success, failure;
};

// False when the bytes are no such message.
bool parse(std::string_view wire, PutRequest& out);
bool parse(std::string_view wire, DeleteRequest& out);
bool parse(std::string_view wire, RangeRequest& out);
bool parse(std::string_view wire, TxnRequest& out);

// What etcd's server checks before it proposes; "" or etcd's text. The API
// checks too: here it keeps a faulty peer from changing state.
const char* check(const PutRequest& request);
const char* check(const DeleteRequest& request);
const char* check(const RangeRequest& request);
const char* check(const TxnRequest& request);

bool is_read_only(const TxnRequest& request);
bool has_put(const TxnRequest& request);

}  // namespace leeward::kv
