#include "ctl/replay.h"

#include <boost/json/array.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

namespace leeward::ctl {
namespace {

using boost::json::array;
using boost::json::object;

constexpr std::size_t kMostShown = 200;
constexpr std::size_t kMostGuards = 100;  // etcd's default is 128 for guards and operations together
constexpr int kMostTries = 5;             // of one transaction, while others change what it touches
constexpr std::uint64_t kProgressEach = 1000;
constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";


std::string to_base64(std::string_view in) {
  std::string out;
  for (std::size_t i = 0; i < in.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t have = std::min<std::size_t>(3, in.size() - i);
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < have ? static_cast<unsigned char>(in[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += k <= have ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string from_base64(std::string_view in) {
  std::string out;
  std::uint32_t bits = 0, held = 0;
  for (const char c : in) {
    const auto digit = kDigits.find(c);
    if (digit == std::string_view::npos) continue;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    if ((held += 6) >= 8) out += static_cast<char>(bits >> (held -= 8) & 0xff);
  }
  return out;
}

std::string bytes_of(const object& from, std::string_view name) { return from_base64(text_of(from, name)); }

// Keys in [from, to); nothing in `to`: to the end.
struct Span {
  std::string from;
  std::optional<std::string> to;
  bool single = false;
  object fields;  // key and range_end as the gateway takes them
};

Span span_of(const object& request) {
  Span span;
  span.from = bytes_of(request, "key");
  const std::string end = bytes_of(request, "range_end");
  span.fields["key"] = text_of(request, "key");
  span.single = end.empty();
  if (span.single) {
    span.to = span.from + '\0';
  } else {
    span.fields["range_end"] = text_of(request, "range_end");
    if (end != std::string_view("\0", 1)) span.to = end;
  }
  return span;
}

bool overlap(const Span& a, const Span& b) { return (!a.to || b.from < *a.to) && (!b.to || a.from < *b.to); }

template <class Spans>
bool overlap(const Span& span, const Spans& others) {
  return std::any_of(others.begin(), others.end(), [&](const Span& o) { return overlap(span, o); });
}

// Many single keys and a few ranges.
class KeySet {
 public:
  void add(const Span& span) {
    if (span.single) keys_.insert(span.from);
    else ranges_.push_back(span);
  }
  bool meets(const Span& span) const {
    const auto first = keys_.lower_bound(span.from);
    return (first != keys_.end() && (!span.to || *first < *span.to)) || overlap(span, ranges_);
  }

 private:
  std::set<std::string> keys_;
  std::vector<Span> ranges_;
};

// What a transaction touches, in whichever branch.
struct Touched {
  std::vector<Span> writes;
  std::vector<Span> reads;      // what its outcome hangs on
  std::vector<Span> revisions;  // of these, those whose revisions it compares
  bool compares_range = false;
  bool lease = false;
};

void add_put(const object& put, Touched& touched) {
  touched.writes.push_back(span_of(put));
  if (true_of(put, "ignore_value") || true_of(put, "ignore_lease")) touched.reads.push_back(span_of(put));
  if (const auto lease = text_of(put, "lease"); !lease.empty() && lease != "0") touched.lease = true;
}

const object& object_in(const object& from, std::string_view name) {
  static const object* const nothing = new object;
  const auto* value = from.if_contains(name);
  return value && value->is_object() ? value->as_object() : *nothing;
}

void add_txn(const object& txn, Touched& touched) {
  for (const object& compare : list_of(txn, "compare")) {
    const Span span = span_of(compare);
    touched.reads.push_back(span);
    if (!span.single) touched.compares_range = true;
    if (const auto target = text_of(compare, "target"); target == "MOD" || target == "CREATE") touched.revisions.push_back(span);
  }
  for (const char* branch : {"success", "failure"})
    for (const object& op : list_of(txn, branch)) {
      if (op.contains("request_put")) add_put(object_in(op, "request_put"), touched);
      if (op.contains("request_delete_range")) touched.writes.push_back(span_of(object_in(op, "request_delete_range")));
      if (op.contains("request_txn")) add_txn(object_in(op, "request_txn"), touched);
    }
}

class Replay {
 public:
  Replay(const Server& server, const KeptLedger& ledger, const ReplayOptions& options)
      : server_(server), ledger_(ledger), options_(options),
        prefix_(std::string(kMarkerPrefix) + ledger.group + "/" + std::to_string(ledger.id) + "/") {}

  Result<Replayed> run() {
    LEEWARD_TRY(find_primary());
    LEEWARD_TRY(find_fork());
    LEEWARD_TRY(read_markers());
    LedgerTransactions transactions(server_, ledger_);
    std::uint64_t seen = 0;
    for (;;) {
      auto transaction = transactions.next();
      if (!transaction.ok()) return transaction.error();
      if (!*transaction) return std::move(done_);
      LEEWARD_TRY(take(**transaction));
      if (++seen % kProgressEach == 0 && options_.progress != nullptr)
        *options_.progress << seen << " transactions, at history index " << text_of(**transaction, "index") << " of "
                           << text_of(ledger_.described, "to_index") << std::endl;
    }
  }

 private:
  // What there is of single keys, and as of which revision.
  struct Present {
    std::map<std::string, object> keys;
    std::uint64_t revision = 0;
  };

  Result<void> find_primary() {
    const auto status = server_.call("/v3/cluster/status");
    if (!status.ok()) return status.error();
    for (const object& member : list_of(status->json, "members")) {
      const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
      if (endpoint.ok() && text_of(member, "role") == "primary" && text_of(member, "state") != "down" && text_of(member, "state") != "waiting") primary_.push_back(*endpoint);
    }
    if (primary_.empty()) return Error{Code::kUnavailable, "no member of a region that serves was reached; name one by --endpoints"};
    return {};
  }

  // At the member that answered last, else at the next.
  Result<Answer> ask(const std::string& path, const object& request) {
    Result<Answer> answer = Error{Code::kUnavailable, "no member of the region that serves was reached"};
    for (std::size_t tried = 0; tried < 2 * primary_.size(); ++tried) {
      answer = server_.call_at(primary_[at_], path, request);
      if (answer.ok() || (exit_code(answer.error()) != kUnreachable && answer.error().code != kCannotServe)) return answer;
      at_ = (at_ + 1) % primary_.size();
    }
    return answer;
  }

  // Where the history that serves went another way than the ledger's.
  Result<void> find_fork() {
    const object& ledger = ledger_.described;
    if (const auto epoch = text_of(ledger, "epoch"); !epoch.empty() && epoch == text_of(ledger, "followed_epoch"))
      return Error{Code::kRefused, "same_epoch: ledger " + std::to_string(ledger_.id) + " was put aside within epoch " + epoch +
                                       ", whose revisions name other writes in the history that serves: nothing tells what changed there since; "
                                       "leewardctl dr ledger export gives its writes to be looked at"};
    const auto status = ask("/v3/dr/status", {});
    if (!status.ok()) return status.error();
    for (const object& epoch : list_of(status->json, "history"))
      if (number_of(epoch, "fork_index") == ledger_.from_index && told_upto_ == 0) told_upto_ = number_of(epoch, "first_revision").value_or(0);
    if (told_upto_ == 0)
      return Error{Code::kRefused, "the history that serves does not part from ledger " + std::to_string(ledger_.id) +
                                       " where that begins: it is of another time; leewardctl dr status --history shows the epochs"};
    return {};
  }

  Result<void> read_markers() {
    std::string key = prefix_, end = prefix_;
    ++end.back();
    for (;;) {
      const auto page = ask("/v3/kv/range", {{"key", to_base64(key)}, {"range_end", to_base64(end)}, {"limit", "5000"}, {"keys_only", true}});
      if (!page.ok()) return page.error();
      for (const object& kv : list_of(page->json, "kvs")) {
        key = bytes_of(kv, "key");
        markers_.insert(key);
        own_.insert(number_of(kv, "mod_revision").value_or(0));
      }
      if (!true_of(page->json, "more")) return {};
      key += '\0';
    }
  }

  // What others changed since the fork, up to `upto`, from the history.
  Result<void> read_changes(std::uint64_t upto) {
    while (told_upto_ <= upto && !compacted_) {
      const auto page = ask("/v3/dr/changes", {{"from_revision", std::to_string(told_upto_)}, {"to_revision", std::to_string(upto)}});
      if (!page.ok()) return page.error();
      if (text_of(page->json, "compacted") != "0") {
        compacted_ = true;
        return {};
      }
      const auto changes = list_of(page->json, "changes");
      for (const object& change : changes)
        if (bytes_of(change, "key").starts_with(prefix_) && !true_of(change, "deleted")) own_.insert(number_of(change, "revision").value_or(0));
      for (const object& change : changes)
        if (!own_.contains(number_of(change, "revision").value_or(0))) {
          Span key;
          key.from = bytes_of(change, "key");
          key.single = true;
          changed_.add(key);
        }
      const auto next = number_of(page->json, "next_revision").value_or(0);
      if (next <= told_upto_) return Error{Code::kCorrupt, "the history of changes does not go on"};
      told_upto_ = next;
    }
    return {};
  }

  Result<Present> look(const std::string& marker, const std::vector<const Span*>& keys) {
    array ops;
    const auto get = [&](const std::string& key) { ops.push_back(object{{"request_range", object{{"key", key}}}}); };
    get(to_base64(marker));
    for (const Span* key : keys) get(text_of(key->fields, "key"));
    const auto answer = ask("/v3/kv/txn", {{"success", std::move(ops)}});
    if (!answer.ok()) return answer.error();
    Present present;
    present.revision = number_of(object_in(answer->json, "header"), "revision").value_or(0);
    for (const object& response : list_of(answer->json, "responses"))
      for (const object& kv : list_of(object_in(response, "response_range"), "kvs")) present.keys[bytes_of(kv, "key")] = kv;
    return present;
  }

  void leave(const object& t, const char* kind, std::string why, const Touched& touched) {
    for (const Span& span : touched.writes) left_out_.add(span);
    (kind == std::string_view("conflicting") ? done_.conflicting : done_.lease_bound)++;
    if (done_.left.size() >= kMostShown) {
      ++done_.left_more;
      return;
    }
    done_.left.push_back({number_of(t, "index").value_or(0), number_of(t, "number").value_or(0), text_of(t, "op"), kind, std::move(why)});
  }

  // Why it may not be applied; empty: it may. What the history up to now says.
  std::string judge(const Touched& touched, const Present& present) const {
    if (compacted_) return "the history since the fork is compacted: nobody can tell what changed";
    for (const auto* spans : {&touched.writes, &touched.reads})
      for (const Span& span : *spans)
        if (changed_.meets(span)) return "changed since the fork: " + shown(span);
    for (const Span& span : touched.reads) {
      if (left_out_.meets(span)) return "hangs on what was not replayed: " + shown(span);
      if (const auto kv = present.keys.find(span.from); span.single && kv != present.keys.end()) {
        const auto lease = text_of(kv->second, "lease");
        if (!lease.empty() && revoked_.contains(lease)) return "hangs on a key whose lease had ended: " + shown(span);
      }
    }
    if (touched.compares_range) return "compares a range of keys";
    for (const Span& span : touched.revisions)
      if (applied_.meets(span)) return "compares a revision of what was replayed, which has another now: " + shown(span);
    return {};
  }

  static std::string shown(const Span& span) {
    std::string out;
    for (const char c : span.from.substr(0, 60)) out += c >= ' ' && c <= '~' ? c : '?';
    return out + (span.single ? "" : " (range)");
  }

  Result<void> take(const object& t) {
    const std::string op = text_of(t, "op");
    const object& request = object_in(t, op);
    Touched touched;
    if (op == "put") {
      add_put(request, touched);
    } else if (op == "delete_range") {
      touched.writes.push_back(span_of(request));
    } else if (op == "txn") {
      add_txn(request, touched);
    } else if (op == "lease_grant" || op == "lease_revoke") {
      if (op == "lease_revoke") revoked_.insert(text_of(request, "ID"));
      leave(t, "lease_bound", "a lease", touched);
      return {};
    } else {
      ++done_.other;
      return {};
    }
    const std::string marker = prefix_ + text_of(t, "index") + "/" + text_of(t, "number");
    if (markers_.contains(marker)) return replayed(touched, false);
    if (touched.lease) {
      leave(t, "lease_bound", "puts with a lease, which has ended", touched);
      return {};
    }
    std::vector<const Span*> keys;
    std::vector<const Span*> ranges;
    std::set<std::string> once;
    for (const auto* spans : {&touched.writes, &touched.reads})
      for (const Span& span : *spans)
        if (once.insert(text_of(span.fields, "key") + "/" + text_of(span.fields, "range_end")).second)
          (span.single ? keys : ranges).push_back(&span);
    if (keys.size() + ranges.size() > kMostGuards) {
      leave(t, "conflicting", "touches more keys than one transaction can guard", touched);
      return {};
    }
    for (int tries = 0; tries < kMostTries; ++tries) {
      const auto present = look(marker, keys);
      if (!present.ok()) return present.error();
      if (present->keys.contains(marker)) return replayed(touched, false);
      LEEWARD_TRY(read_changes(present->revision));
      if (auto why = judge(touched, *present); !why.empty()) {
        leave(t, "conflicting", std::move(why), touched);
        return {};
      }
      if (options_.dry_run) {
        ++done_.clean;
        for (const Span& span : touched.writes) applied_.add(span);
        return {};
      }
      const auto answer = ask("/v3/kv/txn", guarded(op, request, marker, keys, ranges, *present));
      if (!answer.ok() && exit_code(answer.error()) == kUsage) {
        leave(t, "conflicting", "refused: " + answer.error().message, touched);
        return {};
      }
      if (!answer.ok()) return answer.error();
      if (true_of(answer->json, "succeeded")) {
        own_.insert(number_of(object_in(answer->json, "header"), "revision").value_or(0));
        return replayed(touched, true);
      }
    }
    leave(t, "conflicting", "is being changed all the time", touched);
    return {};
  }

  Result<void> replayed(const Touched& touched, bool now) {
    for (const Span& span : touched.writes) applied_.add(span);
    ++(now ? done_.clean : done_.replayed);
    if (now) ++done_.applied;
    return {};
  }

  // All as it was judged, or nothing: what is there has the same revision still,
  // what is not there is not there still, nothing in a range is newer. The
  // original stands inside with its own compares.
  object guarded(const std::string& op, const object& request, const std::string& marker, const std::vector<const Span*>& keys,
                 const std::vector<const Span*>& ranges, const Present& present) const {
    array compares;
    const auto absent = [&](const std::string& key) {
      compares.push_back(object{{"key", key}, {"target", "VERSION"}, {"result", "EQUAL"}, {"version", "0"}});
    };
    absent(to_base64(marker));
    for (const Span* key : keys) {
      const auto kv = present.keys.find(key->from);
      if (kv == present.keys.end())
        absent(text_of(key->fields, "key"));
      else
        compares.push_back(object{{"key", text_of(key->fields, "key")}, {"target", "MOD"}, {"result", "EQUAL"}, {"mod_revision", text_of(kv->second, "mod_revision")}});
    }
    for (const Span* range : ranges) {
      object compare = range->fields;
      compare["target"] = "MOD";
      compare["result"] = "LESS";
      compare["mod_revision"] = std::to_string(present.revision + 1);
      compares.push_back(std::move(compare));
    }
    const std::string note = "ledger " + std::to_string(ledger_.id) + " of region " + ledger_.region;
    array ops;
    ops.push_back(object{{"request_put", object{{"key", to_base64(marker)}, {"value", to_base64(note)}}}});
    ops.push_back(object{{"request_" + op, request}});
    return {{"compare", std::move(compares)}, {"success", std::move(ops)}};
  }

  const Server& server_;
  const KeptLedger& ledger_;
  const ReplayOptions& options_;
  const std::string prefix_;  // of the markers of this ledger
  Replayed done_;
  std::vector<Endpoint> primary_;
  std::size_t at_ = 0;
  std::uint64_t told_upto_ = 0;   // changes below this revision are known
  bool compacted_ = false;
  std::set<std::string> markers_;
  std::set<std::uint64_t> own_;   // revisions that this replay made, now or before
  KeySet changed_;                // since the fork, by others
  KeySet applied_, left_out_;     // written by transactions of the ledger that were replayed, or were not
  std::set<std::string> revoked_; // leases, in the ledger
};

}  // namespace

Result<Replayed> replay(const Server& server, const KeptLedger& ledger, const ReplayOptions& options) {
  return Replay(server, ledger, options).run();
}

}  // namespace leeward::ctl
