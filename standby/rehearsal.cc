#include "standby/rehearsal.h"

#include <algorithm>
#include <charconv>

#include "proto/rpc.pb.h"
#include "region/entries.h"
#include "standby/regions.h"

namespace leeward::standby {
namespace {

constexpr Duration kConditionInterval = 5ms;
constexpr std::size_t kMaxPiece = 1_MiB;
constexpr const char* kKeyPrefix = "leeward-drill/";

// --- lines ---

std::string plain(std::string text) {
  std::replace_if(text.begin(), text.end(), [](char c) { return c == '\t' || c == '\n' || c == '\r'; }, ' ');
  return text;
}
std::string joined(std::initializer_list<std::string> fields) {
  std::string out;
  for (const auto& f : fields) out += (out.empty() ? "" : "\t") + f;
  return out + "\n";
}
std::string microseconds(Duration d) { return std::to_string(d / 1us); }

bool get(std::string_view text, std::uint64_t& out) {
  const auto end = std::from_chars(text.data(), text.data() + text.size(), out);
  return end.ec == std::errc() && end.ptr == text.data() + text.size();
}
bool get(std::string_view text, Hash& out) {
  if (text.size() != 2 * out.bytes.size()) return false;
  for (std::size_t i = 0; i < out.bytes.size(); ++i) {
    const auto end = std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, out.bytes[i], 16);
    if (end.ec != std::errc() || end.ptr != text.data() + 2 * i + 2) return false;
  }
  return true;
}

// --- reads ---

Result<etcdserverpb::RangeResponse> range(StateMachine& state, const etcdserverpb::RangeRequest& request) {
  auto reply = state.range(request.SerializeAsString());
  if (!reply.ok()) return reply.error();
  std::string bytes;
  for (;;) {
    const auto piece = (*reply)->next(kMaxPiece);
    if (!piece.ok()) return piece.error();
    if (piece->empty()) break;
    bytes += piece->view();
  }
  etcdserverpb::RangeResponse response;
  if (!response.ParseFromString(bytes)) return Error{Code::kCorrupt, "a read gave bytes that are no answer"};
  return response;
}

std::string rules_of(const PromotionPlan& plan) {
  std::string out;
  for (const auto& r : plan.refusals) out += (out.empty() ? "" : "; ") + r.rule + ": " + r.detail;
  return out;
}

std::string hexadecimal(std::uint64_t v) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
  return text;
}

}  // namespace

std::string line_of(const DrillCheck& check) {
  return joined({"check", check.name, check.ok ? "1" : "0", microseconds(check.took), plain(check.detail)});
}
std::string line_of(const LogPoint& end, const Hash& state_hash) {
  const auto& p = end.position;
  return joined({"end", std::to_string(end.index.value()), std::to_string(end.term.value()), std::to_string(p.index.value()),
                 std::to_string(p.writes), std::to_string(p.bytes), p.hash.hex(), state_hash.hex()});
}
std::string line_of(Duration rto, Epoch epoch) { return joined({"promoted", microseconds(rto), std::to_string(epoch.value())}); }
std::string last_line() { return "done\n"; }

Result<bool> take_line(std::string_view line, Rehearsed& out) {
  std::vector<std::string_view> fields;
  for (std::size_t at = 0; at <= line.size();) {
    const auto tab = std::min(line.find('\t', at), line.size());
    fields.push_back(line.substr(at, tab - at));
    at = tab + 1;
  }
  const Error malformed{Code::kCorrupt, "the drill's process wrote a line that is none: " + std::string(line.substr(0, 200))};
  std::uint64_t n[5] = {};
  if (fields[0] == "done" && fields.size() == 1) return true;
  if (fields[0] == "check" && fields.size() == 5 && get(fields[3], n[0])) {
    out.checks.push_back({std::string(fields[1]), fields[2] == "1", std::chrono::microseconds(n[0]), std::string(fields[4])});
    return false;
  }
  if (fields[0] == "end" && fields.size() == 8) {
    LogPoint end;
    for (std::size_t i = 0; i < 5; ++i)
      if (!get(fields[i + 1], n[i])) return malformed;
    if (!get(fields[6], end.position.hash) || !get(fields[7], out.state_hash)) return malformed;
    end.index = Index(n[0]);
    end.term = Term(n[1]);
    end.position.index = HistoryIndex(n[2]);
    end.position.writes = n[3];
    end.position.bytes = n[4];
    out.end = end;
    return false;
  }
  if (fields[0] == "promoted" && fields.size() == 3 && get(fields[1], n[0]) && get(fields[2], n[1])) {
    out.rto = std::chrono::microseconds(n[0]);
    out.epoch = Epoch(n[1]);
    return false;
  }
  return malformed;
}

Rehearsal::Rehearsal(Parts parts, RehearsalOptions options, Told told)
    : parts_(parts), options_(options), told_(std::move(told)) {}

Rehearsal::~Rehearsal() { *alive_ = false; }

void Rehearsal::step(const char* name) {
  name_ = name;
  begun_ = parts_.group.clock().now();
}

void Rehearsal::pass(std::string detail) { told_.check({name_, true, parts_.group.clock().now() - begun_, std::move(detail)}); }

void Rehearsal::fail(const Error& error) {
  told_.check({name_, false, parts_.group.clock().now() - begun_, error.message});
  told_.done();
}

void Rehearsal::wait_until(Function<bool()> condition, Duration limit, Function<void()> then) {
  if (condition()) return then();
  if (limit <= Duration()) return fail({Code::kDeadline, "it did not come to that in time"});
  parts_.group.loop().after(kConditionInterval, [this, alive = std::weak_ptr(alive_), condition = std::move(condition), limit,
                                    then = std::move(then)]() mutable {
    if (const auto still = alive.lock(); still && *still) wait_until(std::move(condition), limit - kConditionInterval, std::move(then));
  });
}

// A leader alone commits all that its log holds, and applies it.
void Rehearsal::begin(const LogPoint& end) {
  end_ = end;
  step("apply");
  wait_until([this] { return parts_.group.is_leader() && parts_.group.state().applied().point.index >= end_.index; },
             options_.step_limit, [this] { lead(); });
}

void Rehearsal::lead() {
  const auto applied = parts_.group.state().applied();
  if (applied.point.position != end_.position)
    return fail({Code::kCorrupt, "the fork's state is not where its log ends: position " +
                                     std::to_string(applied.point.position.index.value()) + ", not " +
                                     std::to_string(end_.position.index.value())});
  pass("all of the log, up to history index " + std::to_string(end_.position.index.value()));
  told_.end(end_, applied.state_hash);
  verify_rows();
}

// What the disk holds, row by row, against the state hash.
void Rehearsal::verify_rows() {
  step("state");
  auto& group = parts_.group;
  parts_.files.post([this, &group, alive = std::weak_ptr(alive_)] {
    const auto verified = group.state().verify();
    group.loop().post([this, alive, verified] {
      if (const auto still = alive.lock(); !still || !*still) return;
      if (!verified.ok()) return fail(verified.error());
      pass(std::to_string(parts_.group.state().key_count()) + " keys, all rows as the state hash says");
      plan();
    });
  });
}

void Rehearsal::plan() {
  step("promote");
  asked_ = begun_;
  parts_.recovery.plan(parts_.group.loop(), [this, alive = std::weak_ptr(alive_)](Result<PromotionPlan> plan) {
    if (const auto still = alive.lock(); !still || !*still) return;
    if (!plan.ok()) return fail(plan.error());
    if (plan->allowed()) return promote(*plan);
    const bool unarmed = plan->refusals.size() == 1 && plan->refusals[0].rule == "not_armed";
    if (!unarmed) return fail({Code::kRefused, rules_of(*plan)});
    promote_unarmed();
  });
}

void Rehearsal::promote(const PromotionPlan& plan) {
  parts_.recovery.promote({plan.digest, true, "leeward drill", "drill"}, parts_.group.loop(),
                          [this, alive = std::weak_ptr(alive_)](Result<PromotionRecord> record) {
    if (const auto still = alive.lock(); !still || !*still) return;
    if (!record.ok()) return fail(record.error());
    std::string how;
    for (const auto& s : record->steps)
      how += (how.empty() ? "" : ", ") + s.name + " " + std::to_string(s.took / 1ms) + " ms";
    promoted(std::move(how));
  });
}

// As an observer, or before the primary has armed this region, it could end the
// epoch by force alone; the entry is the same.
void Rehearsal::promote_unarmed() {
  constexpr std::uint64_t kLeast = 2, kSpan = 1023;  // as region::State demands of a forced one
  auto& group = parts_.group;
  const auto* log = group.regions_of_log();
  if (!log) return fail({Code::kUnavailable, "the fork lost its leadership"});
  region::EpochChange change;
  change.epoch = log->known_epoch() + kLeast + group.random() % kSpan;
  change.promotion = group.random() | 1;
  change.group = group.group();
  change.fork = log->end();
  change.ending = region::Ending::kForced;
  change.announced.more = true;
  change.by = "leeward drill";
  change.reason = "drill";
  raft::Proposal proposal;
  proposal.kind = EntryKind::kEpochChange;
  proposal.epoch = change.epoch;
  proposal.payload = Bytes(encode(change));
  const auto index = group.propose({&proposal, 1});
  if (!index.ok()) return fail(index.error());
  wait_until([this] { return parts_.group.role() == GroupRole::kPrimary; }, options_.step_limit,
             [this] { promoted("by force: this group is not armed"); });
}

void Rehearsal::promoted(std::string how) {
  if (parts_.group.role() != GroupRole::kPrimary) return fail({Code::kUnavailable, "the fork did not turn primary"});
  pass(std::move(how));
  step("write");
  key_ = kKeyPrefix + hexadecimal(parts_.group.random());
  value_ = hexadecimal(parts_.group.random());
  write();
}

void Rehearsal::write() {
  etcdserverpb::PutRequest request;
  request.set_key(key_);
  request.set_value(value_);
  Command command;
  command.op = Op::kPut;
  command.request = Bytes(request.SerializeAsString());
  parts_.service.propose(std::move(command), begun_ + options_.answer_limit, parts_.group.loop(),
                         [this, alive = std::weak_ptr(alive_)](node::Outcome outcome) {
    if (const auto still = alive.lock(); !still || !*still) return;
    const auto now = parts_.group.clock().now();
    if (outcome.end == node::Outcome::End::kApplied && outcome.result.etcd_error.empty()) {
      pass("revision " + std::to_string(outcome.result.revision.value()));
      told_.promoted(now - asked_, parts_.group.epoch());
      step("read");
      return read();
    }
    // Clients ask again as well.
    if (outcome.end == node::Outcome::End::kNotApplied && now < begun_ + options_.answer_limit) {
      parts_.group.loop().after(kConditionInterval, [this, alive] {
        if (const auto again = alive.lock(); again && *again) write();
      });
      return;
    }
    fail({Code::kUnavailable, outcome.error.message.empty() ? outcome.result.etcd_error : outcome.error.message});
  });
}

void Rehearsal::read() {
  parts_.service.read_barrier(begun_ + options_.answer_limit, parts_.group.loop(),
                              [this, alive = std::weak_ptr(alive_)](Result<void> confirmed) {
    if (const auto still = alive.lock(); !still || !*still) return;
    if (!confirmed.ok()) return fail(confirmed.error());
    etcdserverpb::RangeRequest request;
    request.set_key(key_);
    const auto found = range(parts_.group.state(), request);
    if (!found.ok()) return fail(found.error());
    if (found->kvs_size() != 1 || found->kvs(0).value() != value_)
      return fail({Code::kCorrupt, "what was written is not what a linearizable read gives"});
    pass("the value that was written");
    sample();
  });
}

void Rehearsal::sample() {
  step("sample");
  auto& group = parts_.group;
  std::vector<std::string> from{std::string(1, '\0')};
  for (int i = 1; i < options_.samples; ++i) {
    const auto random = group.random();
    from.emplace_back(reinterpret_cast<const char*>(&random), sizeof random);
    // Keys are mostly text: half of the places are among it.
    if (i % 2 == 0) from.back()[0] = static_cast<char>('a' + random % 26);
  }
  parts_.files.post([this, &group, limit = options_.sample_keys, from = std::move(from), alive = std::weak_ptr(alive_)] {
    std::uint64_t keys = 0;
    Result<void> all;
    for (const auto& key : from) {
      etcdserverpb::RangeRequest request;
      request.set_key(key);
      request.set_range_end(std::string(1, '\0'));
      request.set_limit(limit);
      const auto found = range(group.state(), request);
      if (!found.ok()) all = found.error();
      if (!found.ok()) break;
      keys += static_cast<std::uint64_t>(found->kvs_size());
    }
    group.loop().post([this, alive, keys, all] {
      if (const auto still = alive.lock(); !still || !*still) return;
      if (!all.ok()) return fail(all.error());
      if (keys == 0) return fail({Code::kCorrupt, "no key was found"});
      pass(std::to_string(keys) + " keys read");
      told_.done();
    });
  });
}

}  // namespace leeward::standby
