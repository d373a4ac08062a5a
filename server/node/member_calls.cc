// What the API asks (Service) and what only a leader answers.
#include <algorithm>

#include "base/codec.h"
#include "node/member.h"

namespace leeward::node {

namespace {

// What the leader answers to kAdmit and kAlarm.
constexpr std::int64_t kDoneNow = 0, kWasSo = 1;
constexpr Duration kSpokeLately = 3s;  // six reports
constexpr Duration kHeardInTime = 500ms;  // a keep-alive

}  // namespace

void Member::post_task(Function<void()> task) {
  if (inbox_.push(std::move(task))) wake_from_outside();
}

Origin Member::next_origin() {
  return {self(), context_.incarnation, next_sequence_.fetch_add(1, std::memory_order_relaxed) + 1, context_.process};
}

void Member::propose(Command command, std::optional<Instant> deadline, Executor& reply, Function<void(Outcome)> done) {
  const auto& limits = context_.options.limits;
  std::optional<Error> refused;
  if (stopping_.load(std::memory_order_relaxed)) refused = Error{Code::kUnavailable, kLeaving};
  if (inbox_.bytes() + waiting_bytes_.load(std::memory_order_relaxed) + command.request.size() > limits.waiting_bytes) {
    context_.probe.proposals_overloaded.add();
    refused = Error{Code::kOverloaded, text::kTooManyRequests};
  }
  if (refused) {
    reply.post([done = std::move(done), error = *refused]() mutable {
      Outcome outcome;
      outcome.end = Outcome::End::kNotApplied;
      outcome.error = std::move(error);
      done(std::move(outcome));
    });
    return;
  }
  if (!command.origin.node || command.origin.process != context_.process) command.origin = next_origin();
  WaitingWrite write;
  write.command = std::move(command);
  write.reply = &reply;
  write.done = std::move(done);
  write.deadline = deadline;
  write.arrived = context_.now();
  if (inbox_.push(std::move(write))) wake_from_outside();
}

bool Member::read_now() const {
  const auto gate = gate_.read();
  return gate.lease_until != 0 && gate.applied >= gate.commit &&
         context_.ports.clock.now().time_since_epoch().count() < gate.lease_until;
}

void Member::read_barrier(std::optional<Instant> deadline, Executor& reply, Function<void(Result<void>)> done) {
  post_task([this, deadline, &reply, done = std::move(done)]() mutable {
    auto answer = [this, &reply, done = std::move(done)](Result<Index> index) mutable {
      Result<void> result;
      if (!index.ok()) result = index.error();
      // Asked after what was confirmed is applied: a Seal before it is seen.
      else if (!may_be_read()) result = role_refusal();  // the state, come meanwhile, says who the group is
      else if (sealed()) result = Error{Code::kUnavailable, text::kSealed};
      else if (cold()) result = Error{Code::kUnavailable, text::kColdStart};  // elected meanwhile
      tell(result, [this, &reply, done = std::move(done)](Result<void> told) mutable {
        context_.replies.add(reply, [done = std::move(done), told = std::move(told)]() mutable { done(told); });
      });
    };
    if (context_.removed) return answer(Error{Code::kUnavailable, text::kRemoved});
    if (!may_be_read()) return answer(role_refusal());
    if (stopping_) return answer(Error{Code::kUnavailable, text::kStopped});
    if (cold()) return answer(Error{Code::kUnavailable, text::kColdStart});
    reads_->arrive(deadline, std::move(answer));
  });
}

void Member::keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) {
  post_task([this, lease, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kKeepAlive, lease, {}}, [this, &reply, done = std::move(done)](Result<std::int64_t> result) mutable {
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
    });
  });
}

void Member::lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) {
  post_task([this, lease, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kLeaseRemaining, lease, {}},
         [this, &reply, done = std::move(done)](Result<std::int64_t> result) mutable {
           context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
         });
  });
}

void Member::transfer_leadership(NodeId to, Executor& reply, Function<void(Result<void>)> done) {
  post_task([this, to, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kTransfer, static_cast<std::int64_t>(to.value()), {}}, [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
      Result<void> result;
      if (!r.ok()) result = r.error();
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
    });
  });
}

void Member::admit(NodeId member, Executor& reply, Function<void(Result<bool>)> done) {
  post_task([this, member, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kAdmit, static_cast<std::int64_t>(member.value()), {}}, [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
      Result<bool> result = r.ok() ? Result<bool>(*r == kWasSo) : Result<bool>(r.error());
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
    });
  });
}

void Member::alarm(NodeId member, bool raised, Executor& reply, Function<void(Result<bool>)> done) {
  post_task([this, change = AlarmChange{member, raised}, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kAlarm, static_cast<std::int64_t>(change.member.value()), encode(change)},
         [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
           Result<bool> result = r.ok() ? Result<bool>(*r == kWasSo) : Result<bool>(r.error());
           context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
         });
  });
}

// --- core loop ---

void Member::call(Call call, CallDone done) {
  if (stopping_) return done(Error{Code::kUnavailable, text::kStopped});
  if (context_.removed) return done(Error{Code::kUnavailable, text::kRemoved});
  if (removes_self(call)) {
    ++leaving_;
    done = [this, done = std::move(done)](Result<std::int64_t> result) mutable {
      --leaving_;
      left_ |= result.ok();
      done(std::move(result));
    };
  }
  if (context_.is_leader()) return serve(std::move(call), std::move(done));
  call.id = ++next_call_;
  calls_[call.id] = {call, std::move(done), context_.now() + context_.patience(), NodeId()};
  drive_calls();
}

// Sends what has not gone to the present leader; ends what is out of time.
void Member::drive_calls() {
  const auto now = context_.now();
  const auto leader = context_.leader();
  std::vector<CallDone> late;
  std::vector<std::pair<CallDone, Result<std::int64_t>>> ended;
  std::vector<PendingCall> ours;
  for (auto it = calls_.begin(); it != calls_.end();) {
    auto& pending = it->second;
    if (pending.gives_up <= now) {
      late.push_back(std::move(pending.done));
      it = calls_.erase(it);
      continue;
    }
    if (const auto end = answered_by_removal(pending)) {
      ended.emplace_back(std::move(pending.done), *end);
      it = calls_.erase(it);
      continue;
    }
    // Keep-alives and questions may be asked again, changes not.
    const auto kind = pending.call.kind;
    const bool again = kind == CallKind::kKeepAlive || kind == CallKind::kLeaseRemaining || kind == CallKind::kSync ||
                       kind == CallKind::kWarrant;
    const bool fresh = !pending.sent_to || (again && pending.sent_to != leader);
    if (fresh && leader == self()) {
      ours.push_back(std::move(pending));
      it = calls_.erase(it);
      continue;
    }
    if (fresh && leader && context_.ports.link.connected(leader) &&
        context_.send(leader, Lane::kConsensus, FrameType::kCall, encode(pending.call)))
      pending.sent_to = leader;
    ++it;
  }
  for (auto& p : ours) serve(std::move(p.call), std::move(p.done));
  const Error error{Code::kUnavailable, leader ? text::kTimeout : text::kNoLeader};
  for (auto& done : late) done(error);
  for (auto& [done, result] : ended) done(std::move(result));

  auto end = [](std::vector<Waiter>& list, auto&& verdict) {
    std::vector<std::pair<CallDone, Result<std::int64_t>>> over;
    std::erase_if(list, [&](Waiter& w) {
      auto result = verdict(w);
      if (!result) return false;
      over.emplace_back(std::move(w.done), std::move(*result));
      return true;
    });
    for (auto& [done, result] : over) done(std::move(result));
  };
  end(transfers_, [&](Waiter& w) -> std::optional<Result<std::int64_t>> {
    if (leader && leader != w.from && (!w.to || w.to == leader)) return Result<std::int64_t>(leader.value());
    if (w.gives_up > now) return std::nullopt;
    return Result<std::int64_t>(
        Error{Code::kUnavailable, "etcdserver: request timed out, leader transfer took too long"});
  });
  end(until_applied_, [&](Waiter& w) -> std::optional<Result<std::int64_t>> {
    // Another leader's entry may stand there; behind a snapshot nobody knows.
    if (w.there == w.term) return Result<std::int64_t>(kDoneNow);
    if (w.there) return Result<std::int64_t>(Error{Code::kUnavailable, text::kLeaderChanged});
    if (context_.applied() >= w.index) return Result<std::int64_t>(Error{Code::kUnknown, text::kTimeout});
    if (w.gives_up > now) return std::nullopt;
    return Result<std::int64_t>(Error{Code::kUnknown, text::kTimeout});
  });
}

void Member::serve(Call call, CallDone done) {
  if (!context_.is_leader()) return done(Error{Code::kUnavailable, text::kLeaderChanged});
  const auto id = NodeId(static_cast<std::uint64_t>(call.argument));
  switch (call.kind) {
    case CallKind::kKeepAlive: return serve_keep_alive(call.argument, std::move(done));
    case CallKind::kLeaseRemaining: return serve_lease_remaining(call.argument, std::move(done));
    case CallKind::kChange: return serve_change(std::move(call.body), std::move(done));
    case CallKind::kSync: return serve_sync(id, std::move(done));
    case CallKind::kWarrant:
      if (role() != GroupRole::kPrimary) return done(role_refusal());
      return tell(Result<std::int64_t>(0), std::move(done));
    case CallKind::kTransfer: return serve_transfer(id, std::move(done));
    case CallKind::kAdmit: return serve_admit(id, std::move(done));
    case CallKind::kAlarm: return serve_alarm(call.body, std::move(done));
    case CallKind::kFinalize: return serve_finalize(std::move(done));
  }
}

// After a read barrier: the leader still leads, and every grant that anybody
// was told of is applied here.
void Member::serve_keep_alive(std::int64_t lease, CallDone done) {
  if (role() != GroupRole::kPrimary) return done(role_refusal());
  if (!serving()) return done(Error{Code::kUnavailable, text::kColdStart});
  reads_->arrive(std::nullopt, [this, lease, done = std::move(done)](Result<Index> index) mutable {
    if (!index.ok()) return done(index.error());
    if (!lessor_->leading()) return done(Error{Code::kUnavailable, text::kLeaderChanged});
    if (sealed()) return done(Error{Code::kUnavailable, text::kSealed});
    const auto ttl = lessor_->renew(context_.now(), lease);
    if (!ttl) return done(Error{Code::kNotFound, text::kLeaseNotFound});
    tell(Result<std::int64_t>(*ttl), std::move(done));
  });
}

void Member::serve_lease_remaining(std::int64_t lease, CallDone done) {
  if (role() != GroupRole::kPrimary) return done(role_refusal());
  if (!serving()) return done(Error{Code::kUnavailable, text::kColdStart});
  reads_->arrive(std::nullopt, [this, lease, done = std::move(done)](Result<Index> index) mutable {
    if (!index.ok()) return done(index.error());
    if (!lessor_->leading()) return done(Error{Code::kUnavailable, text::kLeaderChanged});
    if (sealed()) return done(Error{Code::kUnavailable, text::kSealed});
    const auto left = lessor_->remaining(context_.now(), lease);
    if (!left) return done(Error{Code::kNotFound, text::kLeaseNotFound});
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*left).count();
    tell(Result<std::int64_t>(std::max<std::int64_t>(seconds, 0)), std::move(done));
  });
}

void Member::serve_transfer(NodeId to, CallDone done) {
  if (to == self()) return done(std::int64_t{0});
  if (aside().contains(to)) return done(Error{Code::kInvalid, "the target is paused or isolated by an operator"});
  const auto begun = context_.core->transfer_leadership(context_.now(), to);
  if (!begun.ok()) return done(begun.error());
  Waiter waiter;
  waiter.gives_up = context_.now() + 3 * context_.options.raft.election_timeout;
  waiter.from = self();
  waiter.to = to;
  waiter.done = std::move(done);
  transfers_.push_back(std::move(waiter));
}

// Its vote goes to no other process while the one that has it speaks.
Error Member::two_lives(NodeId id) const {
  return {Code::kUnavailable, "member " + std::to_string(id.value()) + ": the life of it that the group has admitted spoke a moment ago, and another"
                              " one speaks too; if two processes run with this id, stop the one that came with empty storage, else try again in " +
                              std::to_string(3 * context_.options.raft.election_timeout / 1s + 1) + " s"};
}

// Its incarnation first, and when that is applied its vote: nobody counts what a
// life says that is not admitted yet, and the group may need it from then on.
void Member::serve_admit(NodeId id, CallDone done) {
  const auto known = context_.group.admitted.find(id);
  const auto heard = heard_incarnation_.find(id);
  const auto name = "member " + std::to_string(id.value());
  if (known == context_.group.admitted.end() && !membership().contains(id))
    return done(Error{Code::kNotFound, name + " is not one of this group"});
  // Nobody hears itself. One that is silent may have another disk by now.
  const auto lives = id == self() ? context_.incarnation : heard == heard_incarnation_.end() ? Incarnation() : heard->second;
  const bool filled = known != context_.group.admitted.end() && known->second;
  if (!lives && !filled) return done(Error{Code::kUnavailable, name + " has not been heard: start it first, or, if it has just come, try again in a second"});
  if (!lives || (filled && known->second == lives && id != self() && !speaks(id, kSpokeLately)))
    return done(Error{Code::kUnavailable, name + " has not been heard since the life of it that the group has admitted: if its disk was "
                                                 "emptied, start it and see what its /readyz waits for (peer addresses, TLS); if it has just come, try again in a second"});
  const bool another = filled && known->second != lives;
  if (another && beside_admitted(id)) return done(two_lives(id));
  if (filled && !another && context_.group.membership.is_voter(id)) return done(kWasSo);
  const bool under_way = membership().joint() || (membership().is_voter(id) && !context_.group.membership.is_voter(id));
  if (under_way) return done(Error{Code::kExists, "another membership change is under way: try again"});
  if (!membership().is_voter(id) || another) {
    if (!answers(id)) return done(Error{Code::kUnavailable, name + " does not answer the leader: start it, and see its /readyz, or, if it has just come, try again in a second"});
    for (const auto& peer : context_.core->status().peers)
      if (peer.id == id && peer.match + context_.options.limits.apply_backlog < context_.core->commit())
        return done(Error{Code::kUnavailable,
                          name + " is " + std::to_string(context_.core->commit() - peer.match) +
                              " entries behind: wait until it has caught up"});
    // Its log may hold the newest Adopt and its disk nothing of what that needs.
    const auto report = reports_.find(id);
    if (id != self() && !speaks(id, kSpokeLately))
      return done(Error{Code::kUnavailable, name + " has not said yet that it is of this group: try again in a second"});
    if (report == reports_.end() || report->second.status.applied.index < context_.group.leapt)
      return done(Error{Code::kUnavailable, name + " still waits for a copy of state: wait until it has it"});
  }
  if (known == context_.group.admitted.end() || known->second != lives) {
    const raft::Proposal admit{EntryKind::kAdmit, Epoch(), 0, Bytes(encode(Admission{id, lives})), {}, {}};
    return propose_and_wait({&admit, 1}, [this, id, done = std::move(done)](Result<std::int64_t> admitted) mutable {
      if (!admitted.ok()) return done(admitted.error());
      if (context_.group.membership.is_voter(id)) return done(kDoneNow);
      serve({0, CallKind::kAdmit, static_cast<std::int64_t>(id.value()), {}}, [done = std::move(done)](Result<std::int64_t> voted) mutable {
        if (voted.ok()) return done(std::move(voted));
        done(Error{voted.error().code, voted.error().message + " (it is admitted and has no vote yet: run the same command again)"});
      });
    });
  }
  auto with = membership();
  with.learners.erase(id);
  with.voters.insert(id);
  const raft::Proposal vote{EntryKind::kMembership, Epoch(), 0, Bytes(raft::encode(with)), {}, {}};
  propose_and_wait({&vote, 1}, std::move(done));
}

// Answered when all of it is applied here.
void Member::propose_and_wait(std::span<const raft::Proposal> proposals, CallDone done) {
  const auto index = context_.core->propose(context_.now(), proposals);
  if (!index.ok()) return done(index.error());
  Waiter waiter;
  waiter.gives_up = context_.now() + context_.patience();
  waiter.index = *index + (proposals.size() - 1);
  waiter.term = context_.core->term();
  waiter.done = std::move(done);
  until_applied_.push_back(std::move(waiter));
}

void Member::serve_alarm(const std::string& body, CallDone done) {
  const auto change = decode_alarm_change(body);
  if (!change.ok()) return done(change.error());
  const auto& group = context_.group;
  if (change->raised && !group.membership.contains(change->member))
    return done(Error{Code::kNotFound, "member " + std::to_string(change->member.value()) + " is not one of this group"});
  if (group.over_quota.contains(change->member) == change->raised) return done(kWasSo);
  const raft::Proposal proposal{EntryKind::kAlarm, Epoch(), 0, Bytes(body), {}, {}};
  propose_and_wait({&proposal, 1}, std::move(done));
}

void Member::finalize(Executor& reply, Function<void(Result<bool>)> done) {
  post_task([this, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kFinalize, 0, {}}, [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
      Result<bool> result = r.ok() ? Result<bool>(*r == kWasSo) : Result<bool>(r.error());
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
    });
  });
}

// A history is read in every region: all nodes there are have to know the format.
std::optional<Error> Member::who_lacks(std::uint32_t format) const {
  std::string silent, older;
  if (context_.options.newest_format < format) older = std::to_string(self().value()) + " (" + context_.options.version + ", which leads)";
  for (const auto& n : topology()) {
    if (n.id == self()) continue;
    const auto report = reports_.find(n.id);
    if (report == reports_.end() || context_.now() - report->second.at > kReportFresh)
      silent += (silent.empty() ? "" : ", ") + std::to_string(n.id.value());
    else if (const auto& m = report->second.status; m.newest_format < format)
      older += (older.empty() ? "" : ", ") + std::to_string(n.id.value()) + " (" + m.version + ")";
  }
  if (!older.empty())
    return Error{Code::kRefused, "version: nodes " + older + " do not know format " + std::to_string(format) + ": upgrade them first"};
  if (!silent.empty())
    return Error{Code::kRefused, "silent: nobody knows which formats nodes " + silent + " know: start them, or remove them"};
  return std::nullopt;
}

void Member::serve_finalize(CallDone done) {
  auto format = context_.options.newest_format;
  for (const auto& n : topology())  // of who was removed, or is silent, what it said last tells nothing
    if (const auto report = reports_.find(n.id); report != reports_.end() && context_.now() - report->second.at <= kReportFresh)
      format = std::max(format, report->second.status.newest_format);
  if (context_.group.format >= format) return done(kWasSo);
  if (auto why = who_lacks(format)) return done(std::move(*why));
  context_.ports.log.warn("the format is finalized: no member goes back to an older version from here on", {{"format", format}});
  const raft::Proposal proposal{EntryKind::kFormat, Epoch(), 0, Bytes(encode(FormatChange{format})), {}, {}};
  propose_and_wait({&proposal, 1}, std::move(done));
}

// What is refused at an open is so too where it comes while the process runs:
// by an entry, or with a state. The superblock says it to versions that do not
// read the state any more.
void Member::heed_format() {
  const auto format = context_.group.format;
  if (format > context_.options.newest_format) return fail(newer_format(context_.options, format));
  if (format <= superblock_data_.format) return;
  change_superblock([format](SuperblockData& data) { data.format = std::max(data.format, format); },
                    [this](const Result<void>& written) {  // on a full disk the next start says it
                      if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
                    });
}

// What a leader writes into the history by itself.
bool Member::may_write() const { return lessor_->leading() && is_leader() && !stopping_ && !sealed() && context_.serves; }

// Of a request whose first field is all that it says: LeaseRevokeRequest.ID,
// CompactionRequest.revision. The next leader finds for itself what is to be
// done, and begins every lease anew: it is void for it.
WaitingWrite Member::own_write(Op op, std::uint64_t argument) const {
  std::string request;
  codec::put_u8(request, 0x08);
  codec::put_varint(request, argument);
  WaitingWrite w;
  w.command.op = op;
  w.command.request = Bytes(std::move(request));
  w.arrived = context_.now();
  w.ungated = true;
  w.term = context_.core->term();
  return w;
}

void Member::expire_leases() {
  if (!may_write()) return;
  const auto now = context_.now();
  if (const auto waited = reads_->waited(now); waited > kHeardInTime && !expiry_waits_) expiry_waits_ = std::max(now - waited, extended_at_);
  if (expiry_waits_) return;
  std::vector<WaitingWrite> revokes;
  for (const auto id : lessor_->expired(now)) {
    revokes.push_back(own_write(Op::kLeaseRevoke, static_cast<std::uint64_t>(id)));
    context_.probe.leases_expired.add();
  }
  if (!revokes.empty()) proposals_->arrive(std::move(revokes), std::nullopt);
}

}  // namespace leeward::node
