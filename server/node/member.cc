// The turn of the core loop, start and stop, and a leader's standing duties.
#include "node/member.h"

#include <algorithm>

#include "base/check.h"

namespace leeward::node {
namespace {

constexpr Duration kHousekeeping = 50ms;
constexpr Duration kFreshReport = 2s;  // of four
constexpr Duration kAdmissionRetry = 2s;
constexpr Duration kAlarmRetry = 2s;
constexpr Duration kTellTwins = 10s;
constexpr Duration kStopDrain = 5s;

}  // namespace

void Member::start() {
  context_.ports.core.post([this] { begin(); });
}

void Member::begin() {
  context_.ports.link.set_handler([this](NodeId from, Lane lane, Bytes bytes) { on_frame(from, lane, std::move(bytes)); });
  context_.ports.link.set_stranger_handler(
      [this](NodeId peer, const Lineage& theirs) { bootstrap_->hear_stranger(peer, theirs); });
  if (const auto at = removed_at(superblock_data_.extra)) {
    context_.removed = true;
    context_.ports.log.error("this member was removed from its group and does not serve: empty its directories and let it be "
                             "added again (leewardctl member add), or stop it", {{"index", *at}});
  } else {
    refresh_peers();
    if (context_.group.started()) {
      join_group();
    } else if (auto membership = started_with(superblock_data_.extra)) {
      begins_following_ = begins_following(superblock_data_.extra);
      start_core(std::move(*membership), false);
    }
  }
  running_ = true;
  started_ = context_.now();
  heed_format();
  if (joins_group(superblock_data_.extra) && !context_.joins_group) drop_joined();  // it ended before it was dropped
  housekeep();
}

// The core starts only when a crash from now on would find the record of it:
// a member that has voted must never look like one that has not.
void Member::start_core(raft::Membership membership, bool first, bool follows, GroupId joins) {
  if (first) {
    starting_core_ = true;
    begins_following_ = follows;
    context_.joins_group = joins;
    return change_superblock([membership, follows, joins](SuperblockData& data) {
                               set_started(data.extra, membership);
                               set_joins_group(data.extra, joins);
                               if (follows) set_begins_following(data.extra);
                             },
                             [this, membership](const Result<void>& written) {
                               if (!written.ok()) return fail(written.error());
                               starting_core_ = false;
                               start_core(membership, false);
                             });
  }
  auto options = context_.options.raft;
  options.id = self();
  options.seed = context_.ports.random.next();
  auto hard_state = context_.log->hard_state();
  // A crash may have come after a snapshot's log was begun and before its term
  // was written: this member voted in no term as high.
  if (context_.log->last().term > hard_state.term) hard_state = {context_.log->last().term, {}, hard_state.commit};
  const auto applied = context_.applied();
  hard_state.commit = std::max(hard_state.commit, applied);
  options.vote_wait = (superblock_data_.starts > 1 || context_.joins) && !context_.options.rehearsal;
  context_.core = std::make_unique<raft::Core>(
      options, *context_.log, raft::InitialState{hard_state, std::move(membership), applied}, context_.now());
  update_may_vote();
  guard_leapt();
  context_.core->set_may_lead(may_lead());
  waiting_for_.clear();
  waits_for_ = WaitsFor::kOther;
  publish_cluster_id();
  context_.ports.log.info("takes part in its group", {{"term", hard_state.term}, {"applied", applied}});
  const auto& m = context_.core->membership();
  std::string strangers;
  for (const auto id : bootstrap_->own_ids())
    if (!m.contains(id)) strangers += (strangers.empty() ? "" : ", ") + std::to_string(id.value());
  if (!strangers.empty())
    context_.ports.log.warn("the configuration lists nodes that are no members of this node's group; what the group has stored "
                            "counts", {{"nodes", strangers}, {"voters", m.voters.size()}});
  if (const auto listed = own_list(context_.options.nodes, self()).front().role; listed != role())
    context_.ports.log.info("the configuration names another role than the group has by its log, which counts",
                            {{"configured", name(listed)}, {"role", name(role())}});
  // Alone in its group nobody else can lead: no need to wait.
  if (m.voters.size() == 1 && m.is_voter(self()) && !m.joint()) context_.core->campaign(context_.now());
  wake();
}

void Member::wake() {
  if (!std::exchange(turn_posted_, true)) context_.ports.core.post([this] { turn(); });
}

void Member::wake_from_outside() {
  context_.ports.core.post([this] { turn(); });
}

void Member::turn() {
  turn_posted_ = false;
  if (failed_) return;
  auto inbox = inbox_.take();
  for (auto& task : inbox.tasks) task();
  if (!inbox.writes.empty()) proposals_->arrive(std::move(inbox.writes), write_refusal());
  if (context_.core && !installing_ && !context_.removed && !context_.frozen) {
    const auto now = context_.now();
    if (context_.core->next_tick() <= now) context_.core->tick(now);
    judge_serving();
    heed_lease();
    if (cold()) refuse_cold();
    proposals_->dispatch();
    reads_->dispatch();
  }
  if (context_.core && !context_.removed) {
    handle_ready();
    apply_committed();
    publish_gate();
    if (installing_) begin_install();
    if (!installing_ && context_.core->has_ready()) wake();
    arm_tick();
  }
  drive_staging();
  waiting_bytes_.store(proposals_->waiting_bytes(), std::memory_order_relaxed);
  if (stopping_ && !finishing_) continue_stop();
  context_.replies.flush();
}

void Member::arm_tick() {
  if (installing_ || context_.frozen) return;
  const auto now = context_.now();
  const auto next = std::min(context_.core->next_tick(), proposals_->held_until());
  if (tick_timer_ != 0 && tick_at_ <= next && tick_at_ > now) return;  // early is harmless
  if (tick_timer_ != 0) context_.ports.core.cancel(tick_timer_);
  tick_at_ = next;
  tick_timer_ = context_.ports.core.after(std::max(next - now, Duration(1ms)), [this] {
    tick_timer_ = 0;
    turn();
  });
}

// What needs no better clock than this.
void Member::housekeep() {
  if (failed_ || stopped_) return;
  housekeep_timer_ = context_.ports.core.after(kHousekeeping, [this] { housekeep(); });
  if (context_.leader()) context_.leaderless_since.reset();
  else if (!context_.leaderless_since) context_.leaderless_since = context_.now();
  proposals_->expire();
  reads_->expire();
  if (context_.removed) {
    publish_status();
    wake();
    return;
  }
  drive_calls();
  drive_changes();
  tell_removed();
  refresh_peers();
  if (context_.frozen) {
    note_epoch();
    send_reports();
    publish_status();
    return wake();
  }
  if (context_.core) context_.core->set_may_lead(may_lead());
  call_silent();
  heed_strangers();
  note_epoch();
  if (failed_) return;
  if (!context_.core) try_bootstrap();
  if (context_.core && !installing_) {
    watch_disk();
    watch_connections();
    heed_standings();
    lead_duties();
    expire_leases();
    checkpoint_when_due();
    keep_reserve();
    sweep();
    compact_when_due();
    if (failed_) return;
  }
  snapshots_->drive();
  if (!installing_) adoption_->drive();
  if (context_.core && !installing_) guard_leapt();
  send_reports();
  publish_status();
  wake();
}

// A directory of another cluster with this one's name and node id, put in its
// place by mistake: no member would ever speak with it.
void Member::heed_strangers() {
  if (const auto wrong = bootstrap_->wrong_directory(own_lineage())) fail(*wrong);
}

void Member::try_bootstrap() {
  if (starting_core_) return;
  bootstrap_->knock();
  auto verdict = bootstrap_->verdict();
  if (verdict.waiting_for != waiting_for_ && !verdict.waiting_for.empty())
    context_.ports.log.info("waits before it takes part in a group", {{"waiting_for", verdict.waiting_for}});
  waiting_for_ = std::move(verdict.waiting_for);
  waits_for_ = verdict.waits_for;
  if (verdict.start) start_core(std::move(*verdict.start), true, verdict.follows, verdict.joins);
}

void Member::hear_incarnation(NodeId from, Incarnation incarnation) {
  auto& newest = heard_incarnation_[from];
  const auto admitted = context_.group.admitted.find(from);
  if (admitted != context_.group.admitted.end() && admitted->second == incarnation) {
    const auto now = context_.now();
    if (newest && newest != incarnation && now - twins_told_ > kTellTwins) {
      twins_told_ = now;
      context_.ports.log.error("two processes say that they are this node; stop the one that came with empty storage", {{"node", from}});
    }
    admitted_heard_[from] = now;
  }
  if (newest && newest != incarnation && !beside_admitted(from)) reports_.erase(from);  // what another life said of itself
  newest = incarnation;
}

void Member::forget_lives(NodeId id) {
  heard_incarnation_.erase(id);
  admitted_heard_.erase(id);
  admission_proposed_.erase(id);
  told_removed_.erase(id);
}

// What was heard of an id before another life of it was admitted says nothing of that one.
void Member::forget_other_lives(const Entry& admission) {
  const auto admitted = decode_admission(admission.payload.view());
  if (!admitted.ok()) return;
  const auto heard = heard_incarnation_.find(admitted->id);
  if (heard != heard_incarnation_.end() && heard->second != admitted->incarnation) heard_incarnation_.erase(heard);
}

// Who spoke last by this id is who the group has admitted, and did not come with empty storage.
bool Member::is_admitted_life(NodeId id) const {
  const auto heard = heard_incarnation_.find(id);
  const auto admitted = context_.group.admitted.find(id);
  return heard != heard_incarnation_.end() && admitted != context_.group.admitted.end() && heard->second == admitted->second;
}

// A member that speaks is there: who else calls itself by its id did not take
// its place.
bool Member::beside_admitted(NodeId id) const {
  const auto heard = admitted_heard_.find(id);
  return heard != admitted_heard_.end() && context_.now() - heard->second < 3 * context_.options.raft.election_timeout;
}

void Member::lead_duties() {
  if (!context_.group.started() || !admitted()) bootstrap_->knock();
  if (!is_leader()) return;
  if (!context_.group.started()) return propose_first_entry();
  propose_fenced();
  leave_joint();
  spread_list();
  watch_quota();
  const auto now = context_.now();
  auto lives = heard_incarnation_;
  // A group that was restored begins with all ids open, its first leader's too.
  if (const auto own = context_.group.admitted.find(self()); own != context_.group.admitted.end() && !own->second)
    lives[self()] = context_.incarnation;
  for (const auto& [id, incarnation] : lives) {
    const auto it = context_.group.admitted.find(id);
    if (it == context_.group.admitted.end() || it->second == incarnation || context_.group.retired.contains(incarnation) || beside_admitted(id))
      continue;
    auto& proposed = admission_proposed_[id];
    if (proposed != Instant{} && now - proposed < kAdmissionRetry) continue;
    proposed = now;
    if (!it->second) {
      // Its first life: nobody has counted a vote of this id before.
      const raft::Proposal admit{EntryKind::kAdmit, Epoch(), 0, Bytes(encode(Admission{id, incarnation})), {}, {}};
      const auto index = context_.core->propose(now, {&admit, 1});
      context_.ports.log.info("admits a late starter", {{"node", id}, {"proposed", index.ok()}});
    } else if (membership().is_voter(id) && !membership().joint() && membership().voters.size() > 1) {
      // It lost its storage and with it its vote. As a learner it can catch up
      // until it is admitted; the quorum gets no larger by it.
      auto without = membership();
      without.voters.erase(id);
      without.learners.insert(id);
      const raft::Proposal demote{EntryKind::kMembership, Epoch(), 0, Bytes(raft::encode(without)), {}, {}};
      const auto index = context_.core->propose(now, {&demote, 1});
      context_.ports.log.warn("a member came back with empty storage: it follows without a vote until it is admitted",
                              {{"node", id}, {"proposed", index.ok()}});
    }
  }
}

// The first leader's first entry: who this group is. The standby list takes
// the lineage that the active list names.
void Member::propose_first_entry() {
  if (first_entry_term_ == context_.core->term() || context_.joins_group || context_.begun) return;
  GroupState state;
  const auto elsewhere = bootstrap_->lineage_elsewhere();
  const auto list = own_list(context_.options.nodes, self());
  state.control.role = list.front().role;
  if (state.control.role == GroupRole::kPrimary && (begins_following_ || bootstrap_->another_serves())) state.control.role = GroupRole::kStandby;
  if (state.control.role == GroupRole::kPrimary && context_.options.bootstrap != BootstrapMode::kForce && elsewhere) {
    waiting_for_ = "another node names a lineage already: this list may not start a second one";
    return;
  }
  if (elsewhere) {
    state.lineage = *elsewhere;
  } else if (state.control.role != GroupRole::kPrimary) {
    waiting_for_ = begins_following_ ? "the region that serves to name its lineage" : "the active members to make their lineage";
    bootstrap_->knock();
    return;
  } else {
    state.lineage = Lineage::make(random(), random(), context_.ports.clock.wall());
  }
  waiting_for_.clear();
  state.control.group = GroupId(random() | 1);
  state.membership = membership();
  state.topology = bootstrap_->nodes();
  state.format = context_.options.newest_format;
  for (const auto& n : list) state.admitted[n.id] = Incarnation();
  for (const auto id : state.membership.voters) state.admitted[id] = Incarnation();
  for (const auto& [id, incarnation] : heard_incarnation_)
    if (state.admitted.contains(id)) state.admitted[id] = incarnation;
  state.admitted[self()] = context_.incarnation;
  const raft::Proposal first{EntryKind::kBootstrap, Epoch(), 0, Bytes(encode(state)), {}, {}};
  if (context_.core->propose(context_.now(), {&first, 1}).ok()) first_entry_term_ = context_.core->term();
}

// A leader whose disk hangs, or is full, holds everybody up where the others' disks
// answer. Where theirs do not, nobody could even make a vote durable: it stays, and
// reads go on here.
void Member::watch_disk() {
  if (const auto fault = context_.core->status().fault; fault && !std::exchange(fault_logged_, true))
    context_.ports.log.error("this member's log differs from its leader's and takes no more of it", {{"fault", *fault}});
  for (const auto& peer : context_.core->status().peers)
    if (peer.had && std::exchange(loss_told_[peer.id], *peer.had) != *peer.had && is_admitted_life(peer.id))
      context_.ports.log.error("a member holds less than it had acknowledged: was its directory put back to an older copy? then empty it and let it"
                               " be admitted (leewardctl member admit)", {{"node", peer.id}, {"had", *peer.had}});
  auto stalled = wal_->stalled(context_.now());
  bool log = stalled.has_value();
  if (const auto since = held_since_ ? held_since_ : reserve_given_) {
    const auto full = context_.now() - *since;
    log = stalled && *stalled >= full;
    stalled = std::max(stalled.value_or(full), full);
    // What is committed may not be left out of a linearizable read, and waits.
    if (held_since_ && full >= context_.options.raft.election_timeout)
      reads_->end_all({Code::kUnavailable, text::kStateFull});
  }
  const auto better = outpaced_by();
  if (better && context_.core->role() == raft::Role::kLeader && !context_.core->status().transferring_to &&
      context_.core->transfer_leadership(context_.now(), better).ok())
    context_.ports.log.warn("hands leadership over: the state is behind that of another member", {{"to", better}});
  if (!stalled || *stalled < context_.options.raft.election_timeout) return;
  if (context_.core->role() != raft::Role::kLeader || membership().voters.size() < 2) return;
  if (!others_go_on(context_.now() - *stalled, log)) return;
  context_.ports.log.warn("gives up leadership: the disk does not answer",
                          {{"stall_ms", to_ms(*stalled)}, {"disk_full", disk_full()}});
  context_.core->step_down(context_.now());
}

// A voter that has been done for an election timeout with what this member's state is
// still at: a write that takes long takes long everywhere, a state that hangs does not.
NodeId Member::outpaced_by() {
  const auto now = context_.now();
  const auto at = applying_ ? applying_->entries.back().index : sweeping_ && !to_apply_.empty() ? to_apply_.front().index : Index();
  if (at != outpaced_at_) outpaced_since_.reset();
  outpaced_at_ = at;
  if (at == Index()) return {};
  const auto done = std::find_if(reports_.begin(), reports_.end(), [&](const auto& report) {
    const MemberStatus& s = report.second.status;
    return report.first != self() && membership().is_voter(report.first) && now - report.second.at <= kFreshReport && s.healthy &&
           !s.paused && s.applied.index >= at;
  });
  if (done == reports_.end()) {
    outpaced_since_.reset();
    return {};
  }
  if (!outpaced_since_) outpaced_since_ = now;
  return now - *outpaced_since_ >= context_.options.raft.election_timeout ? done->first : NodeId();
}

// Since this member's log, or else its state, takes no more. What is committed beyond
// its own disk the others have made durable without it. Where nothing tells, what they
// say themselves counts, but not what they may have said before they tried.
bool Member::others_go_on(Instant since, bool log) const {
  const auto durable = context_.core->durable();
  if (log && context_.core->last().index > durable) return context_.core->commit() > durable;
  return majority_without_this(since + context_.options.raft.election_timeout / 2).ok();
}

void Member::watch_connections() {
  for (const auto& n : topology()) {
    if (n.id == self() || !membership().contains(n.id)) continue;
    const bool now = context_.ports.link.connected(n.id);
    bool& before = connected_[n.id];
    if (before && !now) {
      context_.core->unreachable(n.id);
      lost_[n.id] = context_.now();
    }
    before = now;
  }
}

// Of this group's voters, one whose state is larger than this leader's quota, as
// far as it was heard lately, and since the alarms changed last; 0: none.
NodeId Member::over_quota() const {
  const auto quota = context_.options.storage.quota;
  if (quota == 0) return {};
  if (context_.state->db_bytes() > quota) return self();
  const auto now = context_.now();
  for (const auto& [id, report] : reports_)
    if (membership().is_voter(id) && now - report.at <= kFreshReport && report.at > alarms_changed_at_ && report.status.db_bytes > quota) return id;
  return {};
}

// As etcd's: what grew beyond the quota is told to an operator, who makes room
// and says so. A few writes more are taken until the size is looked at again.
void Member::watch_quota() {
  const auto id = role() == GroupRole::kPrimary ? over_quota() : NodeId();
  context_.over_quota = bool(id);
  const auto now = context_.now();
  if (!id || context_.group.over_quota.contains(id) || (alarmed_at_ && now - *alarmed_at_ < kAlarmRetry)) return;
  alarmed_at_ = now;
  const raft::Proposal alarm{EntryKind::kAlarm, Epoch(), 0, Bytes(encode(AlarmChange{id, true})), {}, {}};
  const auto index = context_.core->propose(now, {&alarm, 1});
  context_.ports.log.error("a state is larger than storage.quota: writes that need room are refused; compact, defragment, then lower the alarm"
                           " (etcdctl alarm disarm)",
                           {{"node", id}, {"quota_bytes", context_.options.storage.quota}, {"proposed", index.ok()}});
}

std::optional<Error> Member::write_refusal() {
  if (stopping_) return Error{Code::kUnavailable, kLeaving};
  if (context_.removed) return Error{Code::kUnavailable, text::kRemoved};
  // With both regions in its list a client is served elsewhere; the trailers say why.
  if (role() == GroupRole::kFenced) return Error{Code::kUnavailable, kTryNextEndpoint};
  if (role() != GroupRole::kPrimary && role() != GroupRole::kUnknown) return role_refusal();
  if (leaves()) return Error{Code::kUnavailable, kLeaving};
  if (cold() || (context_.is_leader() && warrant_->starved())) return Error{Code::kUnavailable, kTryNextEndpoint};
  // A follower whose state is full would never see the end of what it forwards.
  if (disk_full() && (context_.is_leader() || held_since_ || reserve_given_)) return Error{Code::kNoSpace, text::kNoSpace};
  return std::nullopt;
}

void Member::fail(const Error& error) {
  if (std::exchange(failed_, true)) return;
  context_.ports.log.error("cannot go on", {{"code", name(error.code)}, {"error", error.message}});
  if (context_.ports.fatal) context_.ports.fatal(error);
}

void Member::give_up_leadership() {
  post_task([this] {
    if (context_.core) (void)context_.core->transfer_leadership(context_.now(), NodeId());  // no leader: nothing to give
  });
}

void Member::stop(Function<void()> done) {
  post_task([this, done = std::move(done)]() mutable {
    stopping_ = true;
    stopped_callback_ = std::move(done);
    stop_deadline_ = context_.now() + kStopDrain + 2 * context_.options.raft.election_timeout;
    proposals_->refuse_waiting({Code::kUnavailable, kLeaving});
    for (auto* o : std::vector<GroupObserver*>(observers_)) o->stopping();
    if (is_leader() && membership().voters.size() > 1)
      (void)context_.core->transfer_leadership(context_.now(), NodeId());  // refused: nobody to take it
  });
}

// Until nothing is under way that someone waits for, or its time is over.
void Member::continue_stop() {
  // A swap under way writes the superblock: another one may not overtake it.
  if ((installing_ && install_submitted_) || (leaping_ && leaping_->submitted) || staging_ || activating_ || state_busy()) return;
  const bool late = context_.now() >= stop_deadline_;
  const bool leads = context_.is_leader() && membership().voters.size() > 1;
  if (!late && (leads || !proposals_->idle() || !wal_->idle() || installing_)) return;
  finishing_ = true;
  reads_->end_all({Code::kUnavailable, text::kStopped});
  finish_stop();
}

void Member::finish_stop() {
  const auto flushed = context_.state->flush();
  if (!flushed.ok()) context_.ports.log.error("the state could not be flushed", {{"error", flushed.error().message}});
  change_superblock([clean = flushed.ok()](SuperblockData& data) { data.clean_shutdown = clean; },
                    [this](const Result<void>& written) {
                      if (!written.ok()) context_.ports.log.warn("the directory could not be marked clean", {});
                      stopped_ = true;
                      failed_ = true;  // no turn after this one
                      if (tick_timer_ != 0) context_.ports.core.cancel(tick_timer_);
                      if (housekeep_timer_ != 0) context_.ports.core.cancel(housekeep_timer_);
                      context_.replies.flush();
                      if (stopped_callback_) stopped_callback_();
                    });
}

}  // namespace leeward::node
