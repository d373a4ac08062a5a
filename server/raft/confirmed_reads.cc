// Reads that are linearizable without a log entry: dissertation 6.4 (rounds of
// heartbeats) and 6.4.1 (leases).
#include <algorithm>

#include "raft/impl.h"
#include "raft/quorum.h"

namespace leeward::raft {

// The newest round that a majority answered.
std::uint64_t Core::Impl::quorum_round() const {
  const auto& leader = std::get<Leader>(role_);
  auto acked = [&](NodeId id) {
    if (id == options_.id) return UINT64_MAX;
    const auto found = leader.peers.find(id);
    return found == leader.peers.end() ? std::uint64_t{0} : found->second.acked_round();
  };
  return majority(membership(), acked, UINT64_MAX);
}

// A majority followed this leader after the round's start and grants no vote
// for an election timeout from there; the rest of the timeout is the margin for
// clocks that drift.
std::optional<Instant> Core::Impl::lease_until() const {
  const auto* leader = std::get_if<Leader>(&role_);
  if (!leader || !options_.lease_reads || leader->transfer || leader->lease_void || !leader_ready()) return {};
  const std::uint64_t round = quorum_round();
  if (round == 0) return {};
  const Instant start = round == UINT64_MAX ? now_ : Instant(Duration(static_cast<std::int64_t>(round)));
  const double lease = static_cast<double>(options_.election_timeout.count()) * options_.lease_fraction;
  return start + Duration(static_cast<std::int64_t>(lease));
}

std::optional<Index> Core::Impl::lease_read(Instant now) const {
  const auto until = lease_until();
  if (!until || now >= *until) return {};
  return commit_;
}

void Core::Impl::read_index(Instant now, std::uint64_t context, bool by_lease) {
  advance(now);
  if (std::holds_alternative<Leader>(role_)) return gather_read({{}, context, now_ + options_.election_timeout}, by_lease);
  auto* follower = std::get_if<Follower>(&role_);
  if (!by_lease || !follower || !follower->leader) return fail_reads({context});
  follower->reads.gather(context);
  work_ = true;
}

void Core::Impl::gather_read(WaitingRead read, bool by_lease) {
  if (const auto index = by_lease ? lease_read(now_) : std::nullopt) return answer(read, true, *index);
  leading().reads.gather(read);
  work_ = true;
}

// Not before an entry of this term is committed: until then the commit index
// may be behind what an earlier leader acknowledged.
void Core::Impl::start_read_round() {
  Leader& leader = leading();
  if (!leader.reads.ready() || !leader_ready()) return;
  const std::uint64_t round = send_heartbeats();
  leader.reads.start(round, commit_);
  confirm_reads();  // a group of one needs nobody
}

void Core::Impl::confirm_reads() {
  Leader& leader = leading();
  for (const auto& round : leader.reads.confirm(quorum_round())) {
    for (const WaitingRead& read : round.reads) answer(read, true, round.index);
  }
}

void Core::Impl::answer(const WaitingRead& read, bool ok, Index index) {
  if (!read.from) {
    reads_.push_back({read.context, ok, index});
    return;
  }
  Message reply = message(MessageType::kReadIndexReply, read.from);
  reply.context = read.context;
  reply.reject = !ok;
  reply.index = index;
  send(std::move(reply));
}

void Core::Impl::fail_reads(const std::vector<std::uint64_t>& contexts) {
  for (std::uint64_t context : contexts) reads_.push_back({context, false, {}});
}

void Core::Impl::forward_reads() {
  auto* follower = std::get_if<Follower>(&role_);
  if (!follower || !follower->reads.ready()) return;
  Message m = message(MessageType::kReadIndex, follower->leader);
  m.context = ++forward_sequence_;
  follower->reads.send(m.context, now_ + options_.election_timeout);
  send(std::move(m));
}

void Core::Impl::on_read_index(const Message& m) {
  const WaitingRead read{m.from, m.context, now_ + options_.election_timeout};
  if (!std::holds_alternative<Leader>(role_)) return answer(read, false, {});
  gather_read(read, true);
}

void Core::Impl::on_read_index_reply(const Message& m) {
  auto* follower = std::get_if<Follower>(&role_);
  if (!follower || m.from != follower->leader) return;
  for (std::uint64_t context : follower->reads.answered(m.context)) reads_.push_back({context, !m.reject, m.index});
}

void Core::Impl::tick_reads() {
  if (auto* follower = std::get_if<Follower>(&role_)) {
    fail_reads(follower->reads.expire(now_));
  } else if (auto* leader = std::get_if<Leader>(&role_)) {
    for (const WaitingRead& read : leader->reads.expire(now_)) answer(read, false, {});
  }
}

}  // namespace leeward::raft
