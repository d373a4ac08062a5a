// What the stream between regions sees of the member (Group). Core loop.
#include <algorithm>
#include <limits>

#include "node/member.h"

namespace leeward::node {

void Member::on_frames(Lane lane, PeerLink::Handler handler) { lane_handlers_[lane] = std::move(handler); }

void Member::observe(GroupObserver* observer) { observers_.push_back(observer); }

void Member::unobserve(GroupObserver* observer) { std::erase(observers_, observer); }

// Before the group's first entry it is what the configuration says.
GroupRole Member::role() const {
  if (context_.group.started()) {
    const auto role = context_.group.control.role;
    return role == GroupRole::kPrimary && superseded() ? GroupRole::kFenced : role;
  }
  return own_list(context_.options.nodes, self()).front().role;
}

bool Member::is_leader() const { return context_.is_leader() && context_.core->status().leader_ready; }

GroupRole Member::role_at_end() {
  const auto* prefix = context_.group.started() ? region_log_->prefix() : nullptr;
  return prefix ? prefix->role() : role();
}

Term Member::term() const { return context_.core ? context_.core->term() : context_.log->hard_state().term; }

const raft::Membership& Member::membership() const {
  if (context_.core) return context_.core->membership();
  return context_.frozen ? context_.group.membership : no_membership_;
}

// Who there is, the log says; where this node reaches those of the first start,
// its own file: the way to another region may differ from node to node.
std::vector<Node> Member::topology() const {
  if (context_.group.topology.empty()) return bootstrap_ ? bootstrap_->nodes() : context_.options.nodes;
  auto nodes = context_.group.topology;
  for (auto& n : nodes) {
    if (context_.group.named.contains(n.id)) continue;
    for (const auto& mine : context_.options.nodes) {
      if (mine.id != n.id) continue;
      n.peer_address = mine.peer_address;
      n.client_url = mine.client_url;
    }
  }
  // What it has applied may be of before it was added; it is of its region all the same.
  const auto is_self = [this](const Node& n) { return n.id == self(); };
  if (!context_.removed && std::none_of(nodes.begin(), nodes.end(), is_self))
    nodes.push_back(*std::find_if(context_.options.nodes.begin(), context_.options.nodes.end(), is_self));
  add_unlisted(nodes);
  return nodes;
}

// The list of another region is that of the group that told it last: of its
// survivors, perhaps, beside whom others live on who never heard of them. Who
// reports itself here with this lineage is heard and answered, or nobody could
// tell it of an epoch, and two regions would serve.
void Member::add_unlisted(std::vector<Node>& nodes) const {
  constexpr std::size_t kMost = 32;
  const auto listed = nodes.size();
  const auto own = own_list(context_.options.nodes, self());
  for (const auto& [id, heard] : reports_) {
    const auto& said = heard.status;
    if (!heard.same_lineage || heard.same_group || said.peer_address.empty() || id == self() || nodes.size() - listed >= kMost ||
        context_.now() - heard.at > kReportFresh)
      continue;
    const auto of_region = [&](const Node& n) { return n.region == said.region; };
    const auto named = [&](const Node& n) { return n.id == id; };
    if (std::any_of(own.begin(), own.end(), of_region) || std::any_of(nodes.begin(), nodes.end(), named)) continue;
    for (const std::vector<Node>* known : {&std::as_const(nodes), &context_.options.nodes}) {
      const auto like = std::find_if(known->begin(), known->end(), of_region);
      if (like == known->end()) continue;
      const auto role = like->role;
      nodes.push_back({id, said.name, said.region, said.zone, said.peer_address, said.client_url, role});
      break;
    }
  }
}

LogPoint Member::last() const { return context_.core ? context_.core->last() : context_.log->last(); }

Result<Index> Member::propose(std::span<const raft::Proposal> proposals) {
  if (!context_.core || installing_ || (leaping_ && leaping_->manifest) || context_.frozen) return Error{Code::kUnavailable, text::kNoLeader};
  // What a stream brings comes again; a group's own is one entry.
  if (!proposals.empty() && proposals.front().expected && context_.lags()) return Error{Code::kOverloaded, text::kTooManyRequests};
  LEEWARD_TRY(region_log_->judge(proposals));
  auto index = context_.core->propose(context_.now(), proposals);
  wake();
  return index;
}

void Member::confirm(Function<void(Result<Index>)> done) {
  if (!context_.is_leader()) return done(Error{Code::kUnavailable, "not leader"});
  reads_->confirm(std::move(done));
  wake();
}

void Member::transfer_leadership(NodeId to) {
  if (context_.core) (void)context_.core->transfer_leadership(context_.now(), to);  // no leader any more: nothing to hand over
  wake();
}

std::string Member::adoption() const {
  if (rewind_ && rewind_->active()) return rewind_->progress();
  if (left_without_state())
    return "its group became primary while it waited for a copy of the state, and none comes now: empty its directories and let it be admitted"
           " (leewardctl member admit " + std::to_string(self().value()) + ")";
  if (leaping_ && leaping_->lacks_state && (!adoption_ || adoption_->progress().empty()))
    return "waiting for a copy of the state behind the common position";
  if (leaping_ && !leaping_->manifest && !leaping_->lacks_state) return "about to go back to the common position";
  return adoption_ ? adoption_->progress() : std::string();
}

// It waits for a copy that would come from a region that its group follows no more:
// that became primary since, and may have been fenced again.
bool Member::left_without_state() const {
  return leaping_ && leaping_->lacks_state && std::any_of(reports_.begin(), reports_.end(), [&](const auto& report) {
           return membership().contains(report.first) && (report.second.status.role == GroupRole::kPrimary || report.second.status.role == GroupRole::kFenced) &&
                  report.second.status.applied.index > context_.applied();  // who holds nothing yet says what its file says
         });
}

// The newest leap is a Follow, and behind it nobody has given them a state.
bool Member::lacks_state() const {
  if (context_.group.leapt != context_.group.control.followed_at || context_.group.leapt == Index()) return false;
  const auto& m = membership();
  return (leaping_ && leaping_->lacks_state) ||
         std::any_of(reports_.begin(), reports_.end(),
                     [&](const auto& report) { return m.contains(report.first) && report.second.status.lacks_state; });
}

std::set<NodeId> Member::without_state() const {
  std::set<NodeId> out;
  if (!lacks_state()) return out;
  for (const auto id : membership().voters) {
    const auto report = reports_.find(id);
    if (id == self() ? leaping_ && leaping_->lacks_state : report != reports_.end() && report->second.status.lacks_state) out.insert(id);
  }
  return out;
}

void Member::adopt(std::span<const NodeId> sources) {
  if (is_leader() && !installing_ && (role() == GroupRole::kStandby || role() == GroupRole::kObserver))
    adoption_->pursue(sources);
}

void Member::retain(std::string_view holder, Index index) {
  if (index == Index(std::numeric_limits<Index::rep>::max())) {
    if (const auto it = retained_.find(holder); it != retained_.end()) retained_.erase(it);
  } else {
    retained_.insert_or_assign(std::string(holder), index);
  }
}

}  // namespace leeward::node
