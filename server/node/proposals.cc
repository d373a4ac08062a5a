#include "node/proposals.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "node/group.h"

namespace leeward::node {
namespace {

constexpr Duration kSealMayCome = 300ms;  // at a member that is fenced
constexpr double kLeastQueue = 65536;  // bytes that may wait behind a gate, however slow
constexpr auto kUnlimited = std::numeric_limits<std::size_t>::max();

}  // namespace

void Proposals::arrive(std::vector<WaitingWrite> writes, const std::optional<Error>& refusal) {
  const auto now = context_.now();
  const auto gate = gate_refusal();
  for (auto& w : writes) {
    if (w.deadline && *w.deadline <= now) {
      refuse(w, {Code::kDeadline, "the deadline passed before the request was proposed"});
    } else if (refusal) {
      refuse(w, *refusal);
    } else if (w.ungated) {
      waiting_bytes_ += w.bytes();
      ungated_.push_back(std::move(w));
    } else if (context_.is_leader() && lacks_room(w)) {
      refuse(w, {Code::kNoSpace, text::kNoSpace});
    } else if (gate) {
      context_.probe.gate_refused.add();
      refuse(w, *gate);
    } else if (waits_too_long()) {
      refuse(w, {Code::kOverloaded, text::kTooManyRequests});
    } else {
      waiting_bytes_ += w.bytes();
      waiting_.push_back(std::move(w));
    }
  }
}

std::optional<Error> Proposals::gate_refusal() {
  return gate_ && context_.is_leader() ? gate_->refusal() : std::nullopt;
}

bool Proposals::lacks_room(const WaitingWrite& write) const {
  return context_.no_room() && context_.state->grows(write.command.op, write.command.request.view());
}

// Behind a gate a queue is a time: who would wait for most of the time that a
// request has is told at once, instead of having its write done too late.
bool Proposals::waits_too_long() const {
  if (gate_rate_ <= 0) return false;
  const auto passes = gate_rate_ * to_s(context_.options.limits.request_timeout) / 2;
  return static_cast<double>(waiting_bytes_) > std::max(passes, kLeastQueue);
}

void Proposals::arrive(NodeId from, Forward forward, const std::optional<Error>& refusal) {
  std::vector<WaitingWrite> writes;
  std::size_t bytes = 0;
  for (auto& command : forward.commands) {
    WaitingWrite w;
    w.command = std::move(command);
    w.arrived = context_.now();
    w.via = from;
    w.term = forward.term;
    bytes += w.bytes();
    writes.push_back(std::move(w));
  }
  auto why = refusal;
  // A write is forwarded once: who is no leader says no.
  if (!why && (!context_.is_leader() || context_.core->term() != forward.term)) why = Error{Code::kUnavailable, text::kLeaderChanged};
  if (!why && waiting_bytes_ + bytes > context_.options.limits.waiting_bytes)
    why = Error{Code::kOverloaded, text::kTooManyRequests};
  arrive(std::move(writes), why);
  flush_refusals();
}

void Proposals::refused(const ForwardRefused& refused) {
  if (refused.process != context_.process) return;
  for (auto sequence : refused.sequences) {
    const auto it = pending_.find(sequence);
    if (it == pending_.end() || !it->second.forwarded) continue;
    tell_forward(it->second, "the leader refused it");
    Outcome outcome;
    outcome.end = Outcome::End::kNotApplied;
    outcome.error = refused.error;
    answer(it->second.reply, std::move(it->second.done), std::move(outcome));
    pending_.erase(it);
  }
}

void Proposals::dispatch() {
  held_until_ = Instant::max();
  if (!context_.is_leader()) gate_rate_ = 0;
  if (!nothing_waits() && context_.core) {
    if (context_.is_leader()) {
      cut_entries();
    } else if (const auto leader = context_.leader()) {
      forward_all(leader);
    }
  }
  note_held(held_until_ != Instant::max());
  flush_refusals();
}

void Proposals::note_held(bool held) {
  const auto now = context_.now();
  if (held_since_) context_.probe.gate_held_us.add(static_cast<std::uint64_t>((now - *held_since_) / 1us));
  held_since_.reset();
  if (held) held_since_ = now;
}

std::optional<WriteGate::Allowance> Proposals::allowance() {
  const auto allowed = gate_ ? gate_->allowance(context_.now()) : std::nullopt;
  gate_rate_ = allowed ? allowed->rate : 0;
  return allowed;
}

// A few batches may be at the wal loop; beyond them, waiting makes the next
// entry larger instead of the queue longer.
void Proposals::cut_entries() {
  if (!context_.group.started()) return;  // the group's first entry comes first
  if (context_.lags())
    return refuse_waiting({Code::kOverloaded, text::kTooManyRequests});
  // Behind a Seal nothing is written: who waits here, waits better where it was asked.
  if (const auto* log = regions_.prefix(); log && log->history().seal) return refuse_waiting({Code::kUnavailable, text::kSealed});
  if (const auto why = gate_refusal()) {
    context_.probe.gate_refused.add(waiting_.size());
    for (auto& w : std::exchange(waiting_, {})) {
      waiting_bytes_ -= w.bytes();
      refuse(w, *why);
    }
  }
  // Taken while nobody led, or before the alarm.
  if (context_.no_room())
    std::erase_if(waiting_, [this](WaitingWrite& w) {
      if (!lacks_room(w)) return false;
      waiting_bytes_ -= w.bytes();
      refuse(w, {Code::kNoSpace, text::kNoSpace});
      return true;
    });
  std::size_t cut = 0;
  while (!nothing_waits() && wal_.batches_in_flight() + cut < context_.options.limits.syncs_in_flight) {
    if (!cut_one()) return;
    ++cut;
  }
}

bool Proposals::cut_one() {
  const auto* regions = regions_.prefix();
  if (!regions) return false;
  const auto allowed = allowance();
  if (allowed && allowed->bytes == 0 && !waiting_.empty()) held_until_ = context_.now() + allowed->again;
  auto writes = take(allowed ? allowed->bytes : kUnlimited);
  if (writes.empty()) return false;
  std::vector<Command> commands;
  commands.reserve(writes.size());
  for (auto& w : writes) commands.push_back(w.command);
  raft::Proposal proposal;
  proposal.kind = EntryKind::kWrites;
  proposal.epoch = regions->live_epoch();
  proposal.writes = static_cast<std::uint32_t>(commands.size());
  proposal.payload = Bytes(encode_payload(commands));
  proposal.envelope = Bytes(encode_envelope(commands));
  const auto now = context_.now();
  if (!regions_.judge({&proposal, 1}).ok()) {
    // The log's end says that this group makes no history: it is about to know it.
    const char* why = regions->history().seal ? text::kSealed : text::kNotPrimary;
    for (auto& w : writes) refuse(w, {Code::kUnavailable, why});
    return false;
  }
  auto index = context_.core->propose(now, {&proposal, 1});
  if (index.ok()) {
    if (context_.traces.tracer()) trace(*index, writes, now);
    for (auto& w : writes) {
      context_.probe.stage_queue.observe(now - w.arrived);
      if (w.done) remember(w, false);
    }
    return true;
  }
  if (index.error().code == Code::kOverloaded) {
    for (auto& w : writes) refuse(w, {Code::kOverloaded, text::kTooManyRequests});
    return false;
  }
  // A transfer is under way or leadership is gone: it is not in the log, so it
  // may wait for who leads next.
  for (auto it = writes.rbegin(); it != writes.rend(); ++it) {
    waiting_bytes_ += it->bytes();
    (it->ungated ? ungated_ : waiting_).push_front(std::move(*it));
  }
  return false;
}

void Proposals::trace(Index index, const std::vector<WaitingWrite>& writes, Instant now) {
  std::vector<EntryTraces::Write> sampled;
  for (const auto& w : writes)
    if (w.command.trace.sampled) sampled.push_back({w.command.trace, w.arrived});
  context_.traces.proposed(index, context_.core->term(), std::move(sampled), now);
}

// What is below it, at the leader and where the entry is applied, names it.
TraceContext Proposals::forward_trace(const TraceContext& parent) {
  TraceContext own = parent;
  if (own.sampled && context_.traces.tracer()) own.span_id = context_.traces.tracer()->new_id();
  return own;
}

void Proposals::tell_forward(const Pending& p, std::string_view failure) {
  auto* tracer = context_.traces.tracer();
  if (!p.forwarded || !p.trace.sampled || tracer == nullptr) return;
  Span span = child_span(*tracer, p.trace, "forward", p.arrived, context_.now());
  span.context = p.forward;
  span.kind = SpanKind::kClient;
  span.failure = failure;
  tracer->record(span);
}

void Proposals::forward_all(NodeId leader) {
  const bool connected = context_.ports.link.connected(leader);
  if (!connected) return;  // held, until it is or another one leads
  while (!nothing_waits()) {
    auto writes = take(kUnlimited);
    Forward forward;
    forward.term = context_.core->term();
    for (auto& w : writes) {
      if (w.via) {
        refuse(w, {Code::kUnavailable, text::kLeaderChanged});
      } else {
        forward.commands.push_back(w.command);
        forward.commands.back().trace = w.forward = forward_trace(w.command.trace);
      }
    }
    if (forward.commands.empty()) continue;
    const bool sent = context_.send(leader, Lane::kConsensus, FrameType::kForward, encode(forward));
    for (auto& w : writes) {
      if (w.via) continue;
      if (!sent) {
        refuse(w, {Code::kUnavailable, text::kNoLeader});
      } else if (w.done) {
        context_.probe.stage_forward.observe(context_.now() - w.arrived);
        remember(w, true);
      }
    }
  }
}

// As much as makes one entry: what a leader proposes by itself first, and of the
// others what the gate allows, of which one may be larger than that.
std::vector<WaitingWrite> Proposals::take(std::size_t allowed) {
  const auto& limits = context_.options.limits;
  std::vector<WaitingWrite> writes;
  std::size_t bytes = 0, gated = 0;
  for (auto* queue : {&ungated_, &waiting_}) {
    while (!queue->empty() && writes.size() < limits.batch_writes) {
      if (queue == &waiting_ && gated >= allowed) break;
      auto& w = queue->front();
      if (still_wanted(w)) {
        if (!writes.empty() && bytes + w.bytes() > limits.batch_bytes) break;
        bytes += w.bytes();
        if (queue == &waiting_) gated += w.bytes();
        waiting_bytes_ -= w.bytes();
        writes.push_back(std::move(w));
      } else {
        waiting_bytes_ -= w.bytes();
      }
      queue->pop_front();
    }
  }
  return writes;
}

// False: it was refused, for its time or its term is over.
bool Proposals::still_wanted(WaitingWrite& w) {
  if (w.deadline && *w.deadline <= context_.now()) {
    refuse(w, {Code::kDeadline, "the deadline passed before the request was proposed"});
    return false;
  }
  if (w.term == Term() || w.term == context_.core->term()) return true;
  refuse(w, {Code::kUnavailable, text::kLeaderChanged});
  return false;
}

void Proposals::remember(WaitingWrite& w, bool forwarded) {
  const auto now = context_.now();
  pending_[w.command.origin.sequence] = {w.reply, std::move(w.done), w.deadline, w.arrived, now,
                                         now + context_.patience(), forwarded, context_.core->term(), w.command.trace, w.forward};
}

void Proposals::begin_apply(std::span<const Entry> entries) {
  applying_.clear();
  if (pending_.empty()) return;
  applying_.resize(entries.size());
  for (std::size_t e = 0; e < entries.size(); ++e) {
    if (entries[e].kind != EntryKind::kWrites || entries[e].envelope.empty()) continue;
    auto items = decode_envelope(entries[e].envelope.view(), entries[e].writes);
    if (!items.ok()) continue;  // outside the chain hash: only answers depend on it
    for (std::size_t c = 0; c < items->size(); ++c) {
      const auto& origin = (*items)[c].origin;
      if (origin.node != context_.options.self || origin.process != context_.process) continue;
      if (!pending_.contains(origin.sequence)) continue;
      applying_[e].resize(items->size());
      applying_[e][c] = origin.sequence;
    }
  }
}

bool Proposals::wanted(std::size_t entry, std::size_t command) const {
  return entry < applying_.size() && command < applying_[entry].size() && applying_[entry][command] != 0;
}

void Proposals::result(std::span<const Entry> entries, std::size_t entry, std::size_t command, CommandResult result) {
  const auto it = pending_.find(applying_[entry][command]);
  if (it == pending_.end()) return;
  const auto now = context_.now();
  if (!it->second.forwarded) context_.probe.commit_duration.observe(now - it->second.arrived);
  context_.probe.stage_quorum.observe(now - it->second.sent);
  tell_forward(it->second, {});
  Outcome outcome;
  outcome.end = Outcome::End::kApplied;
  outcome.result = std::move(result);
  outcome.term = entries[entry].term;
  if (fence_) {
    it->second.kept = std::move(outcome);
    return;
  }
  auto pending = std::move(it->second);
  pending_.erase(it);
  if (!warrant_.required()) return answer(pending.reply, std::move(pending.done), std::move(outcome));
  warrant_.pass([this, reply = pending.reply, done = std::move(pending.done), outcome = std::move(outcome)](bool may) mutable {
    if (!may) {
      outcome = Outcome();
      outcome.error = {Code::kUnknown, text::kNoStamp};
    }
    answer(reply, std::move(done), std::move(outcome));
  });
}

void Proposals::applied_term(Term term) {
  if (term <= applied_term_) return;
  applied_term_ = term;
  for (auto it = pending_.begin(); it != pending_.end();) {
    if (it->second.term >= term || it->second.kept) {
      ++it;
      continue;
    }
    tell_forward(it->second, "the leader changed");
    Outcome outcome;
    outcome.end = Outcome::End::kNotApplied;
    outcome.error = {Code::kUnavailable, text::kLeaderChanged};
    answer(it->second.reply, std::move(it->second.done), std::move(outcome));
    it = pending_.erase(it);
  }
}

void Proposals::fenced(const Error& error) {
  // With both regions in its list a client is served elsewhere.
  refuse_waiting({Code::kUnavailable, kTryNextEndpoint});
  // By lease nobody may be told anything once another region serves.
  if (warrant_.required()) return end_pending({Code::kUnknown, error.message});
  fence_ = Fence{{Code::kUnknown, error.message}, context_.now() + kSealMayCome};
}

// What was applied before it is in the history of the epoch that follows.
void Proposals::seal_applied() {
  if (!fence_) return;
  for (auto it = pending_.begin(); it != pending_.end();) {
    if (!it->second.kept) {
      ++it;
      continue;
    }
    answer(it->second.reply, std::move(it->second.done), std::move(*it->second.kept));
    it = pending_.erase(it);
  }
}

void Proposals::resume() {
  seal_applied();
  fence_.reset();
}

void Proposals::end_all(const Error& error) {
  refuse_waiting(error);
  end_pending({Code::kUnknown, error.message});
}

void Proposals::removed(const Error& error) {
  refuse_waiting(error);
  end_pending({Code::kUnknown, text::kStopped});
}

void Proposals::end_pending(const Error& error) {
  for (auto& [sequence, p] : pending_) {
    if (!p.kept) tell_forward(p, "its end is unknown");
    Outcome outcome;
    outcome.end = Outcome::End::kUnknown;
    outcome.error = error;
    answer(p.reply, std::move(p.done), std::move(outcome));
  }
  pending_.clear();
}

void Proposals::expire() {
  const auto now = context_.now();
  if (fence_ && now >= fence_->until) end_pending(std::exchange(fence_, std::nullopt)->error);
  for (auto it = pending_.begin(); it != pending_.end();) {
    auto& p = it->second;
    const bool late = p.deadline && *p.deadline <= now;
    if (!late && p.gives_up > now) {
      ++it;
      continue;
    }
    if (!p.kept) tell_forward(p, "its end is unknown");
    Outcome outcome;
    outcome.end = Outcome::End::kUnknown;
    if (late) {
      outcome.error = {Code::kDeadline, "the deadline passed; the write may or may not be applied"};
    } else if (leader_lost_ && *leader_lost_ >= p.sent) {
      outcome.error = {Code::kUnknown, text::kTimeoutLeaderFail};
    } else {
      const auto leader = context_.leader();
      const bool cut_off = p.forwarded && (!leader || !context_.ports.link.connected(leader));
      outcome.error = {Code::kUnknown, cut_off ? text::kTimeoutConnectionLost : text::kTimeout};
    }
    answer(p.reply, std::move(p.done), std::move(outcome));
    it = pending_.erase(it);
  }
  waiting_bytes_ = 0;
  const Error over{Code::kUnavailable, held_since_ ? text::kTimeout : context_.no_leader()};
  for (auto* queue : {&ungated_, &waiting_}) {
    for (auto& w : std::exchange(*queue, {})) {
      if (w.deadline && *w.deadline <= now) {
        refuse(w, {Code::kDeadline, "the deadline passed before the request was proposed"});
      } else if (w.arrived + context_.patience() <= now || context_.leaderless()) {
        refuse(w, over);
      } else {
        waiting_bytes_ += w.bytes();
        queue->push_back(std::move(w));
      }
    }
  }
  flush_refusals();
}

void Proposals::refuse_waiting(const Error& error) {
  waiting_bytes_ = 0;
  for (auto* queue : {&ungated_, &waiting_})
    for (auto& w : std::exchange(*queue, {})) refuse(w, error);
  flush_refusals();
}

void Proposals::refuse(WaitingWrite& w, const Error& error) {
  if (w.via) {
    auto& refusal = refusals_[{w.via, w.command.origin.process, error.code}];
    refusal.process = w.command.origin.process;
    refusal.error = error;
    refusal.sequences.push_back(w.command.origin.sequence);
  } else if (w.done) {
    Outcome outcome;
    outcome.end = Outcome::End::kNotApplied;
    outcome.error = error;
    answer(w.reply, std::move(w.done), std::move(outcome));
  }
}

void Proposals::flush_refusals() {
  for (auto& [to, refusal] : refusals_)
    context_.send(std::get<NodeId>(to), Lane::kConsensus, FrameType::kForwardRefused, encode(refusal));
  refusals_.clear();
}

void Proposals::answer(Executor* reply, Function<void(Outcome)> done, Outcome outcome) {
  count(outcome);
  if (!reply) return;
  context_.replies.add(*reply, [done = std::move(done), outcome = std::move(outcome)]() mutable {
    done(std::move(outcome));
  });
}

void Proposals::count(const Outcome& outcome) {
  auto& probe = context_.probe;
  switch (outcome.end) {
    case Outcome::End::kApplied: return probe.proposals_committed.add();
    case Outcome::End::kUnknown: return probe.proposals_unknown.add();
    case Outcome::End::kNotApplied:
      return outcome.error.code == Code::kOverloaded ? probe.proposals_overloaded.add()
                                                     : probe.proposals_refused.add();
  }
}

}  // namespace leeward::node
