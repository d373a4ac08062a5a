// Terms, votes and changes of role: paper 5.2 and 5.4.1; dissertation 9.6
// (pre-vote), 4.2.3 (disruptive servers), 6.4.1 (leases), 3.10 (transfer).
#include <algorithm>

#include "base/check.h"
#include "raft/impl.h"
#include "raft/quorum.h"

namespace leeward::raft {

// A message of a higher term. False: it is answered or ignored.
bool Core::Impl::accept_term(const Message& m) {
  switch (m.type) {
    case MessageType::kPreVote:
      on_pre_vote(m);  // a question about a term that nobody is in yet
      return false;
    case MessageType::kPreVoteReply:
      if (!m.reject) {
        on_vote_reply(m, true);
        return false;
      }
      break;
    case MessageType::kVote:
      // Ignored without taking the term: a server that does not hear the leader
      // must not disturb those that do.
      if (refuses_votes(m)) return false;
      become_follower(m.term, {});
      return true;
    case MessageType::kAppend:
    case MessageType::kHeartbeat:
    case MessageType::kSnapshotOffer:
    case MessageType::kTimeoutNow:
      become_follower(m.term, m.from);
      return true;
    default: break;
  }
  if (!membership().contains(m.from)) return false;
  become_follower(m.term, {});
  return true;
}

// A leader of an old term learns that it is one; who asks is told no.
void Core::Impl::answer_old_term(const Message& m) {
  MessageType type;
  switch (m.type) {
    case MessageType::kAppend:
    case MessageType::kHeartbeat:
    case MessageType::kSnapshotOffer: type = MessageType::kAppendReply; break;
    case MessageType::kPreVote: type = MessageType::kPreVoteReply; break;
    case MessageType::kVote: type = MessageType::kVoteReply; break;
    case MessageType::kReadIndex: type = MessageType::kReadIndexReply; break;
    default: return;
  }
  Message reply = message(type, m.from);
  reply.reject = true;
  reply.context = m.context;
  reply.heard_serving = heard_serving_;
  send(std::move(reply));
}

void Core::Impl::step_same_term(Message& m) {
  switch (m.type) {
    case MessageType::kPreVote: return on_pre_vote(m);
    case MessageType::kPreVoteReply: return on_vote_reply(m, true);
    case MessageType::kVote: return on_vote(m);
    case MessageType::kVoteReply: return on_vote_reply(m, false);
    case MessageType::kAppend: return on_append(m);
    case MessageType::kAppendReply: return on_append_reply(m);
    case MessageType::kHeartbeat: return on_heartbeat(m);
    case MessageType::kHeartbeatReply: return on_heartbeat_reply(m);
    case MessageType::kSnapshotOffer: return on_snapshot_offer(m);
    case MessageType::kSnapshotReply: return on_snapshot_reply(m);
    case MessageType::kTimeoutNow: return on_timeout_now(m);
    case MessageType::kReadIndex: return on_read_index(m);
    case MessageType::kReadIndexReply: return on_read_index_reply(m);
  }
}

// While a leader may hold a lease that this member confirmed, and while it may
// have forgotten that it did.
bool Core::Impl::refuses_votes(const Message& m) const {
  if (!may_vote_ || now_ < votes_from_) return true;
  if (m.transfer) return false;  // the leader gave its lease up before
  if (std::holds_alternative<Leader>(role_)) return true;
  return heard_leader_ && now_ < *heard_leader_ + options_.election_timeout;
}

bool Core::Impl::up_to_date(const Message& m) const {
  const LogPoint last = log_.last();
  return std::pair(m.log_term, m.index) >= std::pair(last.term, last.index);
}

bool Core::Impl::may_campaign() const {
  return members_.may_be_voter(options_.id, commit_) && may_vote_ && may_lead_ && !fault_ && (now_ >= votes_from_ || sole_voter());
}

// And nobody else can be one: while the change that left it alone is not
// committed, as far as is known here, an earlier leader may hold a lease that
// this member confirmed.
bool Core::Impl::sole_voter() const {
  const Membership& m = membership();
  if (members_.changed_at() > commit_) return false;
  auto only_self = [&](const std::set<NodeId>& ids) { return ids.size() == 1 && ids.contains(options_.id); };
  return only_self(m.voters) && (m.outgoing.empty() || only_self(m.outgoing));
}

// Answers at once: nothing is promised by it.
void Core::Impl::on_pre_vote(const Message& m) {
  Message reply = message(MessageType::kPreVoteReply, m.from);
  reply.reject = m.term <= term_ || refuses_votes(m) || !up_to_date(m);
  if (!reply.reject) reply.term = m.term;
  reply.heard_serving = heard_serving_;
  send(std::move(reply));
}

void Core::Impl::on_vote(const Message& m) {
  const bool free = !vote_ || vote_ == m.from;
  Message reply = message(MessageType::kVoteReply, m.from);
  reply.reject = !free || refuses_votes(m) || !up_to_date(m);
  reply.heard_serving = heard_serving_;
  if (!reply.reject) {
    vote_ = m.from;
    if (auto* follower = std::get_if<Follower>(&role_)) follower->campaign_at = election_deadline();
  }
  send_durable(std::move(reply));
}

void Core::Impl::on_vote_reply(const Message& m, bool pre_vote) {
  if (!membership().is_voter(m.from)) return;
  if (auto* leader = std::get_if<Leader>(&role_); leader && !pre_vote) {
    leader->heard_serving = leader->heard_serving || m.heard_serving;
    return;
  }
  auto* candidate = std::get_if<Candidate>(&role_);
  if (!candidate || candidate->pre_vote != pre_vote) return;
  if (pre_vote && !m.reject && m.term != term_ + 1) return;
  candidate->heard_serving = candidate->heard_serving || m.heard_serving;
  candidate->votes.emplace(m.from, !m.reject);
  count_votes();
}

void Core::Impl::count_votes() {
  const auto& candidate = std::get<Candidate>(role_);
  switch (tally(membership(), candidate.votes)) {
    case Tally::kPending: return;
    case Tally::kLost: return become_follower(term_, {});
    case Tally::kWon: break;
  }
  if (candidate.pre_vote) {
    start_election(false);
  } else {
    become_leader();
  }
}

void Core::Impl::on_timeout_now(const Message& m) {
  const auto* follower = std::get_if<Follower>(&role_);
  if (!follower || (follower->leader && follower->leader != m.from) || !may_campaign()) return;
  start_election(true);
}

void Core::Impl::campaign(Instant now) {
  advance(now);
  Message own = message(MessageType::kPreVote, options_.id);
  if (std::holds_alternative<Leader>(role_) || !may_campaign() || (refuses_votes(own) && !sole_voter())) return;
  start_pre_vote();
}

void Core::Impl::start_pre_vote() {
  bool heard_serving = false;
  if (const auto* candidate = std::get_if<Candidate>(&role_)) heard_serving = candidate->heard_serving;
  leave_role();
  role_ = Candidate{true, false, heard_serving, election_deadline(), {{options_.id, true}}};
  request_votes(MessageType::kPreVote, term_ + 1, false);
  count_votes();
}

// The own vote counts once it is durable, and only then the others are asked:
// a candidate that forgot its term after a crash, and with it the end of its
// log, must not collect votes that were given to more than it still has.
void Core::Impl::start_election(bool transfer) {
  bool heard_serving = false;
  if (const auto* candidate = std::get_if<Candidate>(&role_)) heard_serving = candidate->heard_serving;
  leave_role();
  term_ = term_ + 1;
  vote_ = options_.id;
  role_ = Candidate{false, transfer, heard_serving, election_deadline(), {}};
  request_votes(MessageType::kVote, term_, transfer);
}

void Core::Impl::request_votes(MessageType type, Term term, bool transfer) {
  std::set<NodeId> voters = membership().voters;
  voters.insert(membership().outgoing.begin(), membership().outgoing.end());
  const LogPoint last = log_.last();
  for (NodeId id : voters) {
    if (id == options_.id) continue;
    Message m = message(type, id);
    m.term = term;
    m.index = last.index;
    m.log_term = last.term;
    m.transfer = transfer;
    if (type == MessageType::kPreVote) {
      send(std::move(m));
    } else {
      send_durable(std::move(m));
    }
  }
}

// Also a follower's new leader in the same term, or its loss of one.
void Core::Impl::become_follower(Term term, NodeId leader) {
  LEEWARD_CHECK(term >= term_, "a term goes back");
  leave_role();
  if (term > term_) vote_ = NodeId();
  term_ = term;
  role_ = Follower{leader, election_deadline(), {}};
}

void Core::Impl::become_leader() {
  const bool heard_serving = std::get<Candidate>(role_).heard_serving;
  LEEWARD_CHECK(vote_ == options_.id, "a leader voted for itself");
  leave_role();
  Leader leader;
  leader.heard_serving = heard_serving;
  leader.heartbeat_at = now_;
  role_ = std::move(leader);
  note_uncommitted(log_.last().index, log_.weight_above(commit_));
  reconcile_peers();
  Entry noop;
  noop.kind = EntryKind::kNoop;
  noop.position = log_.last().position;
  append_own(std::move(noop));
  leading().term_start = log_.last().index;
  leading().heartbeat_at = now_ + options_.heartbeat_interval;
  send_heartbeats();
}

// What waits on the role gets its answer.
void Core::Impl::leave_role() {
  if (auto* follower = std::get_if<Follower>(&role_)) {
    fail_reads(follower->reads.take_all());
  } else if (auto* leader = std::get_if<Leader>(&role_)) {
    for (const WaitingRead& read : leader->reads.take_all()) answer(read, false, {});
  }
}

Instant Core::Impl::election_deadline() {
  const auto timeout = options_.election_timeout;
  return now_ + timeout + Duration(static_cast<std::int64_t>(jitter_.next() % static_cast<std::uint64_t>(timeout.count())));
}

void Core::Impl::tick_election() {
  auto* follower = std::get_if<Follower>(&role_);
  const Instant campaign_at = follower ? follower->campaign_at : std::get<Candidate>(role_).campaign_at;
  if (now_ < campaign_at) return;
  if (may_campaign()) return start_pre_vote();
  if (!follower) return become_follower(term_, {});
  follower->campaign_at = election_deadline();
  if (!follower->leader) return;
  // No campaign, but the leader is not heard any more.
  become_follower(term_, {});
}

}  // namespace leeward::raft
