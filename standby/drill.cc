#include "standby/drill.h"

#include <algorithm>

#include "standby/desk.h"
#include "standby/regions.h"
#include "standby/step_spans.h"

namespace leeward::standby {
namespace {

constexpr Duration kLook = 10ms;

}  // namespace

Drill::Drill(node::Group& group, Stage& stage, DrillOptions options, LagBound lag)
    : group_(group), stage_(stage), options_(options), lag_(std::move(lag)) {
  group_.observe(this);
}

Drill::~Drill() {
  *alive_ = false;
  group_.unobserve(this);
}

void Drill::drill(Executor& reply, Function<void(Result<DrillReport>)> done) {
  group_.loop().post([this, alive = alive_, answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    begin(std::move(answer));
  });
}

void Drill::begin(Function<void(Result<DrillReport>)> done) {
  if (stopping_) return done(kNodeStops);
  if (run_) return done(Error{Code::kRefused, "under_way: a drill is under way at this member"});
  if (group_.lineage().known() && !group_.leader())
    return done(Error{Code::kRefused, "no_quorum: nobody leads this region, and nothing in it could be compared; leewardctl dr status names who is to be started"});
  run_ = std::make_unique<Run>();
  run_->done = std::move(done);
  run_->begun = run_->step_begun = group_.clock().now();
  run_->report.node = group_.self();
  run_->report.region = region();
  ++runs_;
  watch();
  group_.fork(options_.fork, [this, alive = alive_](Result<node::Forked> fork) {
    if (*alive) forked(std::move(fork));
  });
}

std::string Drill::region() const {
  for (const auto& n : group_.topology())
    if (n.id == group_.self()) return n.region;
  return {};
}

// The highest bound while the drill runs; what is unknown once has no bound.
void Drill::watch() {
  if (!run_) return;
  note_here();
  const auto lag = lag_();
  auto& highest = run_->report.standby_lag;
  if (lag) highest = std::max(highest.value_or(Duration()), *lag);
  else run_->lag_unknown = true;
  group_.loop().after(options_.sample, [this, alive = alive_, run = runs_] {
    if (*alive && run == runs_) watch();
  });
}

void Drill::note_here() {
  const auto end = run_->fork_end;
  if (run_->here || end == LogPoint() || group_.state().applied().point.index < end.index) return;
  run_->here = group_.log().point(end.index);
  run_->hash_here = group_.state().state_hash_at(end.position.index);
}

void Drill::check(std::string name, bool ok, std::string detail) {
  const auto now = group_.clock().now();
  run_->report.checks.push_back({std::move(name), ok, now - run_->step_begun, std::move(detail)});
  run_->step_begun = now;
}

void Drill::forked(Result<node::Forked> fork) {
  if (!fork.ok() && fork.error().code == Code::kRefused) {
    auto run = std::move(run_);
    return run->done(fork.error());
  }
  if (!fork.ok()) {
    check("fork", false, fork.error().message);
    return finish({});
  }
  check("fork", true, "state at " + std::to_string(fork->state.point.index.value()) + ", log up to " +
                          std::to_string(fork->last.index.value()));
  run_->fork_end = fork->last;
  note_here();
  if (stopping_) return rehearsed({.broken = "this node is stopping"});
  rehearsing_ = true;
  group_.loop().after(options_.limit, [this, alive = alive_, run = runs_] {
    if (*alive && run == runs_ && rehearsing_) stage_.cancel("it took longer than a drill may");
  });
  stage_.rehearse(*fork, [this, alive = alive_](Rehearsed told) {
    if (*alive) rehearsed(std::move(told));
  });
}

void Drill::rehearsed(Rehearsed told) {
  rehearsing_ = false;
  auto& report = run_->report;
  report.checks.insert(report.checks.end(), told.checks.begin(), told.checks.end());
  report.rto = told.rto;
  report.epoch = told.epoch;
  if (told.end) report.position = told.end->position;
  run_->step_begun = group_.clock().now();
  if (!told.broken.empty()) check("rehearsal", false, told.broken);
  run_->rehearsed = std::move(told);
  if (!run_->rehearsed.end) return remove();
  compare(group_.clock().now() + options_.apply_limit);
}

// Equal position means equal state: in the fork, all of it read anew from the
// disk, and here.
void Drill::compare(Instant until) {
  if (const auto verdict = compared()) {
    check("hash", verdict->ok, verdict->detail);
    return remove();
  }
  if (group_.clock().now() >= until || stopping_) {
    check("hash", false, "this member has not applied what the fork holds");
    return remove();
  }
  group_.loop().after(kLook, [this, alive = alive_, until] {
    if (*alive) compare(until);
  });
}

std::optional<DrillCheck> Drill::compared() {
  note_here();
  if (!run_->here) return std::nullopt;
  const auto& end = *run_->rehearsed.end;
  const auto& here = *run_->here;
  DrillCheck verdict;
  if (!here.ok()) {
    verdict.detail = here.error().message;
  } else if (end.index != here->index) {
    verdict.detail = "the fork's log ends at " + std::to_string(end.index.value()) + ", it was forked at " +
                     std::to_string(here->index.value());
  } else if (here->term != end.term) {
    verdict.detail = "the end of the log was replaced by another leader's while it was forked; drill again";
  } else if (here->position != end.position) {
    verdict.detail = "the chain hash at " + std::to_string(end.position.index.value()) + " is another one here";
  } else if (const auto hash = run_->hash_here; !hash) {
    verdict.detail = "this member remembers no state hash of " + std::to_string(end.position.index.value());
  } else if (*hash != run_->rehearsed.state_hash) {
    verdict.detail = "the state hash at " + std::to_string(end.position.index.value()) + " is " + hash->hex() + " here and " +
                     run_->rehearsed.state_hash.hex() + " in the fork";
  } else {
    verdict.ok = true;
    verdict.detail = "equal to this member's at history index " + std::to_string(end.position.index.value());
  }
  return verdict;
}

void Drill::remove() {
  group_.drop_fork([this, alive = alive_](Result<void> removed) {
    if (*alive) finish(std::move(removed));
  });
}

void Drill::finish(Result<void> removed) {
  if (!removed.ok()) check("remove", false, removed.error().message);
  const bool follows_on = follows(group_.role());
  check("follow", follows_on, follows_on ? "this member follows on" : std::string("this member's group is ") + name(group_.role()));
  auto run = std::move(run_);
  auto& report = run->report;
  report.took = group_.clock().now() - run->begun;
  if (run->lag_unknown) report.standby_lag.reset();
  const auto failed = std::find_if(report.checks.begin(), report.checks.end(), [](const auto& c) { return !c.ok; });
  tell_steps(group_.tracer(), "drill", run->begun, report.checks, run->begun + report.took,
             failed == report.checks.end() ? std::string_view() : "a check failed");
  if (failed == report.checks.end()) {
    group_.logger().info("a drill of the promotion has passed", {{"rto_ms", report.rto.value_or(Duration()) / 1ms},
                                                                 {"took_ms", report.took / 1ms}});
    group_.drilled(report.rto.value_or(Duration()));
  } else {
    group_.logger().error("a drill of the promotion has failed", {{"check", failed->name}, {"reason", failed->detail}});
  }
  run->done(std::move(report));
}

void Drill::stopping() {
  stopping_ = true;
  if (rehearsing_) stage_.cancel("this node is stopping");
}

}  // namespace leeward::standby
