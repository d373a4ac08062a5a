// Pause, resume, isolate, rejoin: README.md, "Paused and isolated".
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

constexpr int kHandOverTimeouts = 3;  // election timeouts, until it steps down without a successor
constexpr std::size_t kReadBytes = 1_MiB;
constexpr int kAttempts = 3;  // a log is shortened while it is read

const Error kBusy{Code::kUnavailable, "leeward: another change of this member is under way; try again in a moment"};

// Every entry that the disk holds chains on the one before it; the log's reader
// has checked the bytes. What is not on the disk yet is no matter of it.
Result<void> check_log(const LogStore& log) {
  for (int attempt = 1;; ++attempt) {
    const auto base = log.base();
    const auto last = log.last().index;
    auto before = base.position;
    Result<void> result;
    for (Index at = base.index + 1; at <= last && result.ok();) {
      const auto read = log.read_stored(at, last + 1, kReadBytes);
      if (!read.ok()) result = read.error();
      if (!read.ok() || read->empty()) break;
      for (const auto& e : *read) {
        if (!chains(before, e)) {
          result = Error{Code::kCorrupt, "log entry " + std::to_string(e.index.value()) + " does not chain on the one before it"};
          break;
        }
        before = e.position;
      }
      at = read->back().index + 1;
    }
    // Cut at its end by a new leader, or released at its beginning: not damage.
    const bool moved = log.base() != base || log.last().index < last;
    if (result.ok() || !moved || attempt == kAttempts) return result;
  }
}

}  // namespace

void Member::change_standing(StandingChange change, Executor& reply, Function<void(Result<void>)> done) {
  post_task([this, change = std::move(change), &reply, done = std::move(done)]() mutable {
    begin_standing(change, [this, &reply, done = std::move(done)](Result<void> result) mutable {
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
    });
  });
}

void Member::begin_standing(const StandingChange& change, StandingDone done) {
  if (stopping_) return done(Error{Code::kUnavailable, text::kStopped});
  // An exchange of the state writes a superblock of its own, made before.
  if (standing_changes_ || steps_aside_ || verification_running_ || starting_core_ || (installing_ && install_submitted_) ||
      (leaping_ && leaping_->submitted))
    return done(kBusy);
  using Kind = StandingChange::Kind;
  const auto now = standing_.kind;
  switch (change.kind) {
    case Kind::kPause:
      if (now == Standing::Kind::kPaused) return done({});
      if (now == Standing::Kind::kIsolated)
        return done(Error{Code::kRefused, "leeward: this member is isolated, which is more than paused; rejoin ends it"});
      if (!change.force)
        if (const auto left = majority_without_this(context_.now() - kReportFresh); !left.ok()) return done(left.error());
      return take_standing({Standing::Kind::kPaused, ""}, std::move(done));
    case Kind::kResume:
      if (now == Standing::Kind::kNone) return done({});
      if (now == Standing::Kind::kIsolated)
        return done(Error{Code::kRefused, "leeward: this member is isolated (" + standing_.reason +
                                              ") and comes back by leewardctl replica rejoin alone, which verifies what it holds"});
      return take_standing({}, std::move(done));
    case Kind::kIsolate: {
      if (const auto told = check_reason(change.reason); !told.ok()) return done(told.error());
      if (now == Standing::Kind::kNone && !change.force)
        if (const auto left = majority_without_this(context_.now() - kReportFresh); !left.ok()) return done(left.error());
      verification_failure_.clear();
      return take_standing({Standing::Kind::kIsolated, change.reason}, std::move(done));
    }
    case Kind::kRejoin:
      if (now == Standing::Kind::kNone) return done({});
      if (now == Standing::Kind::kPaused)
        return done(Error{Code::kRefused, "leeward: this member is paused, not isolated; leewardctl replica resume ends it"});
      return begin_rejoin(std::move(done));
  }
}

// What is committed lies on some majority; so where those that may lead are one
// themselves, one of them has all of it and can be elected.
Result<void> Member::majority_without_this(Instant heard_since) const {
  const auto& m = membership();
  const auto can_lead = [&](NodeId id) {
    if (id == self()) return false;
    const auto it = reports_.find(id);
    if (it == reports_.end() || it->second.at < heard_since) return false;
    const MemberStatus& s = it->second.status;
    return s.healthy && !s.paused && s.state != MemberState::kIsolated;
  };
  for (const auto* set : {&m.voters, &m.outgoing}) {
    if (!set->contains(self())) continue;
    const auto left = static_cast<std::size_t>(std::count_if(set->begin(), set->end(), can_lead));
    if (left * 2 > set->size()) continue;
    return Error{Code::kRefused, "leeward: refused by the rule healthy_majority: without this member " + std::to_string(left) + " of " +
                                     std::to_string(set->size()) +
                                     " voters are healthy and may lead, no majority; mend the others first, or --force"};
  }
  return {};
}

void Member::take_standing(Standing standing, StandingDone done) {
  standing_changes_ = true;
  auto then = [this, standing, done = std::move(done)](const Result<void>& written) mutable {
    standing_changes_ = false;
    if (!written.ok()) {
      done(written.error());
      if (written.error().code != Code::kNoSpace) fail(written.error());
      return wake();
    }
    constexpr const char* kNow[] = {"takes part in full again", "was paused by an operator", "was isolated by an operator"};
    context_.ports.log.warn(kNow[static_cast<int>(standing.kind)], {{"reason", standing.reason}});
    standing_ = std::move(standing);
    if (context_.core) context_.core->set_may_lead(may_lead());
    // At once: who leads next is not to hand it back.
    reported_.reset();
    send_reports();
    if (stands_aside() && context_.is_leader()) {
      steps_aside_ = StepsAside{context_.now(), {}};
      steps_aside_->done.push_back(std::move(done));
      heed_standings();
    } else {
      done({});
    }
    wake();
  };
  change_superblock([standing](SuperblockData& data) { set_standing(data.extra, standing); }, std::move(then));
}

// Whom leadership is not handed to; and a leader that stands aside hands it over.
void Member::heed_standings() {
  auto& core = *context_.core;
  core.set_passed_over(aside());
  if (!stands_aside() || core.role() != raft::Role::kLeader) {
    if (!steps_aside_) return;
    auto over = std::exchange(steps_aside_, std::nullopt);
    for (auto& done : over->done) done({});
    return;
  }
  const auto now = context_.now();
  if (!steps_aside_) steps_aside_ = StepsAside{now, {}};
  if (core.status().transferring_to) return;
  const bool late = now - steps_aside_->since >= kHandOverTimeouts * context_.options.raft.election_timeout;
  if (!late && core.transfer_leadership(now, NodeId()).ok()) return;
  context_.ports.log.warn("gives up leadership with nobody to hand it to", {});
  core.step_down(now);
  wake();
}

std::set<NodeId> Member::aside() const {
  std::set<NodeId> ids;
  for (const auto& [id, report] : reports_)
    if (report.status.paused || report.status.state == MemberState::kIsolated) ids.insert(id);
  return ids;
}

// The log and the state as they are read from disk, beside the loop that applies.
void Member::begin_rejoin(StandingDone done) {
  verification_running_ = true;
  verification_failure_.clear();
  context_.ports.log.info("verifies log and state before it rejoins", {});
  context_.run_on_files([this, state = context_.state->current()]() -> Function<void()> {
    auto verified = check_log(*context_.log);
    if (verified.ok()) verified = state->verify();
    return [this, verified] { end_rejoin(verified); };
  });
  done({});
}

void Member::end_rejoin(Result<void> verified) {
  verification_running_ = false;
  if (failed_ || stopping_) return;
  if (verified.ok() && context_.core)
    if (const auto& fault = context_.core->status().fault) verified = Error{Code::kCorrupt, *fault};
  if (verified.ok()) verified = differs_from_others();
  if (!verified.ok()) {
    verification_failure_ = verified.error().message;
    context_.ports.log.error("stays isolated: what it holds is not sound", {{"error", verification_failure_}});
    return;
  }
  take_standing({}, [this](Result<void> written) {
    if (!written.ok()) verification_failure_ = written.error().message;
  });
}

// At a position that another member reported, this one's state was another.
Result<void> Member::differs_from_others() const {
  for (const auto& [id, report] : reports_) {
    const auto& theirs = report.status;
    const auto ours = context_.state->state_hash_at(theirs.applied.position.index);
    if (ours && *ours != theirs.state_hash && theirs.state_hash != Hash())
      return Error{Code::kCorrupt, "the state hash at history index " + std::to_string(theirs.applied.position.index.value()) +
                                       " is not the one of member " + std::to_string(id.value())};
  }
  return {};
}

std::string Member::standing_reason() const {
  if (verification_failure_.empty()) return standing_.reason;
  return standing_.reason + "; not sound when it was to rejoin: " + verification_failure_;
}

}  // namespace leeward::node
