// etcd's semantics, the slow and obvious way: every version of every key kept
// in one list, every question answered by going over it.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/rpc.pb.h"

namespace leeward::kv {

namespace pb = ::etcdserverpb;

class Model {
 public:
  using Kv = mvccpb::KeyValue;
  struct Change {
    std::int64_t main = 0;
    bool deletion = false;
    Kv kv;
    std::optional<Kv> previous;
  };

  std::int64_t revision() const { return revision_; }
  std::int64_t compacted() const { return compacted_; }
  const std::vector<Change>& changes() const { return changes_; }
  const std::map<std::int64_t, std::int64_t>& leases() const { return leases_; }

  static bool covers(const std::string& key, const std::string& end, const std::string& k) {
    if (end.empty()) return k == key;
    if (end == std::string(1, '\0')) return k >= key;
    return k >= key && k < end;
  }

  std::map<std::string, Kv> at(std::int64_t revision) const {
    std::map<std::string, Kv> out;
    for (const Change& change : changes_) {
      if (change.main > revision) break;
      if (change.deletion)
        out.erase(change.kv.key());
      else
        out[change.kv.key()] = change.kv;
    }
    return out;
  }

  // nullopt: etcd answers with an error.
  std::optional<pb::RangeResponse> range(const pb::RangeRequest& q) const { return range(q, revision_); }

  // --- commands: the text of the error, "" when done ---

  std::string put(const pb::PutRequest& q, pb::PutResponse& out) {
    if (std::string error = check_put(q); !error.empty()) return error;
    begin();
    do_put(q, out);
    end();
    return "";
  }
  std::string remove(const pb::DeleteRangeRequest& q, pb::DeleteRangeResponse& out) {
    begin();
    do_remove(q, out);
    end();
    return "";
  }
  std::string txn(const pb::TxnRequest& q, pb::TxnResponse& out) {
    std::vector<bool> path;
    choose(q, path);
    std::size_t i = 0;
    if (std::string error = check_txn(q, path, i); !error.empty()) return error;
    begin();
    i = 0;
    do_txn(q, path, i, out);
    out.mutable_header()->set_revision(present());
    end();
    return "";
  }
  std::string compact(std::int64_t revision) {
    if (revision <= compacted_) return "etcdserver: mvcc: required revision has been compacted";
    if (revision > revision_) return "etcdserver: mvcc: required revision is a future revision";
    if (in_gap(revision)) return "etcdserver: mvcc: required revision has been compacted";
    compacted_ = revision;
    return "";
  }
  // An epoch whose EpochChange takes the revision `first`.
  void begin_epoch(std::int64_t first) {
    if (first > revision_ + 1) gaps_.emplace_back(revision_, first);
    revision_ = first;
  }
  bool in_gap(std::int64_t revision) const {
    return std::any_of(gaps_.begin(), gaps_.end(), [&](const auto& g) { return g.first < revision && revision < g.second; });
  }
  std::string grant(std::int64_t id, std::int64_t ttl) {
    if (leases_.contains(id)) return "etcdserver: lease already exists";
    leases_[id] = std::max<std::int64_t>(ttl, 2);
    return "";
  }
  std::string revoke(std::int64_t id) {
    if (leases_.erase(id) == 0) return "etcdserver: requested lease not found";
    begin();
    for (const auto& [key, kv] : at(revision_))
      if (kv.lease() == id) erase(key, kv);
    end();
    return "";
  }

 private:
  void begin() { writing_ = true, wrote_ = false; }
  void end() {
    if (wrote_) ++revision_;
    writing_ = wrote_ = false;
  }
  std::int64_t present() const { return revision_ + (wrote_ ? 1 : 0); }

  std::string check_put(const pb::PutRequest& q) const {
    if (q.lease() != 0 && !leases_.contains(q.lease())) return "etcdserver: requested lease not found";
    if ((q.ignore_value() || q.ignore_lease()) && !at(present()).contains(q.key())) return "etcdserver: key not found";
    return "";
  }
  void do_put(const pb::PutRequest& q, pb::PutResponse& out) {
    const auto now = at(present());
    const auto old = now.find(q.key());
    const bool exists = old != now.end();
    Change change;
    change.main = revision_ + 1;
    change.kv.set_key(q.key());
    change.kv.set_mod_revision(revision_ + 1);
    change.kv.set_create_revision(exists ? old->second.create_revision() : revision_ + 1);
    change.kv.set_version(exists ? old->second.version() + 1 : 1);
    change.kv.set_value(q.ignore_value() ? old->second.value() : q.value());
    change.kv.set_lease(q.ignore_lease() ? old->second.lease() : q.lease());
    if (exists) change.previous = old->second;
    if (exists && q.prev_kv()) *out.mutable_prev_kv() = old->second;
    changes_.push_back(std::move(change));
    wrote_ = true;
    out.mutable_header()->set_revision(revision_ + 1);
  }
  void erase(const std::string& key, const Kv& old) {
    Change change;
    change.main = revision_ + 1;
    change.deletion = true;
    change.kv.set_key(key);
    change.kv.set_mod_revision(change.main);
    change.previous = old;
    changes_.push_back(std::move(change));
    wrote_ = true;
  }
  void do_remove(const pb::DeleteRangeRequest& q, pb::DeleteRangeResponse& out) {
    std::int64_t deleted = 0;
    for (const auto& [key, kv] : at(present())) {
      if (!covers(q.key(), q.range_end(), key)) continue;
      if (q.prev_kv()) *out.add_prev_kvs() = kv;
      erase(key, kv);
      ++deleted;
    }
    out.set_deleted(deleted);
    out.mutable_header()->set_revision(present());
  }

  static int order(std::int64_t a, std::int64_t b) { return a < b ? -1 : a > b ? 1 : 0; }
  static bool holds(const pb::Compare& c, const Kv& kv) {
    int r = 0;
    switch (c.target()) {
      case pb::Compare::VERSION: r = order(kv.version(), c.version()); break;
      case pb::Compare::CREATE: r = order(kv.create_revision(), c.create_revision()); break;
      case pb::Compare::MOD: r = order(kv.mod_revision(), c.mod_revision()); break;
      case pb::Compare::LEASE: r = order(kv.lease(), c.lease()); break;
      case pb::Compare::VALUE: r = kv.value().compare(c.value()); break;
      default: break;
    }
    switch (c.result()) {
      case pb::Compare::EQUAL: return r == 0;
      case pb::Compare::NOT_EQUAL: return r != 0;
      case pb::Compare::GREATER: return r > 0;
      case pb::Compare::LESS: return r < 0;
      default: return false;
    }
  }
  bool holds(const pb::Compare& c) const {
    bool any = false, all = true;
    for (const auto& [key, kv] : at(revision_))
      if (covers(c.key(), c.range_end(), key)) any = true, all = all && holds(c, kv);
    return any ? all : c.target() != pb::Compare::VALUE && holds(c, Kv{});
  }
  void choose(const pb::TxnRequest& q, std::vector<bool>& path) const {
    const bool yes = std::all_of(q.compare().begin(), q.compare().end(), [&](const auto& c) { return holds(c); });
    path.push_back(yes);
    for (const auto& op : yes ? q.success() : q.failure())
      if (op.has_request_txn()) choose(op.request_txn(), path);
  }
  std::string check_txn(const pb::TxnRequest& q, const std::vector<bool>& path, std::size_t& i) const {
    for (const auto& op : path[i++] ? q.success() : q.failure()) {
      std::string error;
      if (op.has_request_txn()) error = check_txn(op.request_txn(), path, i);
      if (op.has_request_put()) error = check_put(op.request_put());
      if (op.has_request_range() && op.request_range().revision() != 0) {
        if (op.request_range().revision() > revision_) error = "etcdserver: mvcc: required revision is a future revision";
        else if (op.request_range().revision() < compacted_ || in_gap(op.request_range().revision())) error = "etcdserver: mvcc: required revision has been compacted";
      }
      if (!error.empty()) return error;
    }
    return "";
  }
  void do_txn(const pb::TxnRequest& q, const std::vector<bool>& path, std::size_t& i, pb::TxnResponse& out) {
    out.set_succeeded(path[i]);
    out.mutable_header();
    for (const auto& op : path[i++] ? q.success() : q.failure()) {
      auto* response = out.add_responses();
      if (op.has_request_range()) *response->mutable_response_range() = *range(op.request_range(), present());
      if (op.has_request_put()) do_put(op.request_put(), *response->mutable_response_put());
      if (op.has_request_delete_range()) do_remove(op.request_delete_range(), *response->mutable_response_delete_range());
      if (op.has_request_txn()) do_txn(op.request_txn(), path, i, *response->mutable_response_txn());
    }
  }

  std::optional<pb::RangeResponse> range(const pb::RangeRequest& q, std::int64_t now) const {
    if (q.revision() > now) return std::nullopt;
    const std::int64_t revision = q.revision() > 0 ? q.revision() : now;
    if (revision < compacted_ || in_gap(revision)) return std::nullopt;
    std::vector<Kv> kvs;
    pb::RangeResponse out;
    out.mutable_header()->set_revision(now);
    for (const auto& [key, kv] : at(revision))
      if (covers(q.key(), q.range_end(), key)) kvs.push_back(kv);
    out.set_count(static_cast<std::int64_t>(kvs.size()));
    if (q.count_only()) return out;
    const bool filtered = q.min_mod_revision() || q.max_mod_revision() || q.min_create_revision() || q.max_create_revision();
    // etcd: no order asked for, no filter: the first limit + 1 keys, sorted afterwards.
    if (q.limit() > 0 && q.sort_order() == pb::RangeRequest::NONE && !filtered &&
        kvs.size() > static_cast<std::size_t>(q.limit()) + 1)
      kvs.resize(static_cast<std::size_t>(q.limit()) + 1);
    std::erase_if(kvs, [&](const Kv& kv) {
      return (q.max_mod_revision() && kv.mod_revision() > q.max_mod_revision()) ||
             (q.min_mod_revision() && kv.mod_revision() < q.min_mod_revision()) ||
             (q.max_create_revision() && kv.create_revision() > q.max_create_revision()) ||
             (q.min_create_revision() && kv.create_revision() < q.min_create_revision());
    });
    const bool descending = q.sort_order() == pb::RangeRequest::DESCEND;
    std::stable_sort(kvs.begin(), kvs.end(), [&](const Kv& a, const Kv& b) {
      const Kv& x = descending ? b : a;
      const Kv& y = descending ? a : b;
      switch (q.sort_target()) {
        case pb::RangeRequest::VERSION: return x.version() < y.version();
        case pb::RangeRequest::CREATE: return x.create_revision() < y.create_revision();
        case pb::RangeRequest::MOD: return x.mod_revision() < y.mod_revision();
        case pb::RangeRequest::VALUE: return x.value() < y.value();
        default: return x.key() < y.key();
      }
    });
    if (q.limit() > 0 && kvs.size() > static_cast<std::size_t>(q.limit())) {
      kvs.resize(static_cast<std::size_t>(q.limit()));
      out.set_more(true);
    }
    for (Kv& kv : kvs) {
      if (q.keys_only()) kv.clear_value();
      *out.add_kvs() = kv;
    }
    return out;
  }

  std::vector<Change> changes_;
  std::int64_t revision_ = 1, compacted_ = 0;
  std::map<std::int64_t, std::int64_t> leases_;
  std::vector<std::pair<std::int64_t, std::int64_t>> gaps_;  // last before, first after
  bool writing_ = false, wrote_ = false;
};

}  // namespace leeward::kv
