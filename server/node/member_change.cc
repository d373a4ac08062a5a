// Changes of the group's members: what its leader does, what one that was
// removed is told, and what the other regions' groups are told (membership.h).
#include <algorithm>

#include "base/codec.h"
#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kTellAgain = 1s;
constexpr Duration kCallInterval = 250ms;
constexpr Duration kSilent = 1s;  // two reports
constexpr Duration kListInterval = 2s;
constexpr Duration kHeardLately = 10s;
constexpr std::string_view kRemovedKey = "removed";

bool holds(const std::vector<NodeId>& ids, NodeId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

}  // namespace

void set_removed(std::string& extra, Index index) {
  std::string at;
  codec::put_varint(at, index.value());
  set_record(extra, kRemovedKey, at);
}

std::optional<Index> removed_at(const std::string& superblock_extra) {
  const auto record = find_record(superblock_extra, kRemovedKey);
  if (!record) return std::nullopt;
  std::string_view value = *record;
  std::uint64_t index;
  if (!codec::get_varint(value, index)) return std::nullopt;
  return Index(index);
}

// --- any thread ---

void Member::change_members(MemberChange change, Executor& reply, Function<void(Result<Index>)> done) {
  post_task([this, body = encode(change), &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kChange, 0, std::move(body)}, [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
      Result<Index> result = r.ok() ? Result<Index>(Index(static_cast<std::uint64_t>(*r))) : Result<Index>(r.error());
      context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
    });
  });
}

void Member::member_sync(NodeId member, Executor& reply, Function<void(Result<std::uint64_t>)> done) {
  post_task([this, member, &reply, done = std::move(done)]() mutable {
    call({0, CallKind::kSync, static_cast<std::int64_t>(member.value()), {}},
         [this, &reply, done = std::move(done)](Result<std::int64_t> r) mutable {
           Result<std::uint64_t> result = r.ok() ? Result<std::uint64_t>(static_cast<std::uint64_t>(*r)) : Result<std::uint64_t>(r.error());
           context_.replies.add(reply, [done = std::move(done), result = std::move(result)]() mutable { done(result); });
         });
  });
}

// --- the leader ---

bool Member::answers(NodeId id) const {
  if (id == self()) return true;
  if (!context_.ports.link.connected(id)) return false;  // known before an election timeout is over
  const auto peers = context_.core->status().peers;
  // Right after its election a leader takes everybody for alive.
  return std::any_of(peers.begin(), peers.end(), [&](const auto& p) { return p.id == id && p.active && p.rtt; });
}

Result<std::uint64_t> Member::entries_behind(NodeId id) const {
  const auto name = "member " + std::to_string(id.value());
  if (!membership().contains(id)) return Error{Code::kNotFound, name + " is not one of this group"};
  if (id == self()) return std::uint64_t{0};
  const auto raft = context_.core->status();
  const auto peer = std::find_if(raft.peers.begin(), raft.peers.end(), [&](const auto& p) { return p.id == id; });
  if (!answers(id) || !heard_incarnation_.contains(id))
    return refusal(rule::kInSync, name + " does not answer the leader; start it, and see its /readyz, or, if it has just come, try again in a second");
  if (peer->snapshot) return refusal(rule::kInSync, name + " is being sent a snapshot; wait for it (leewardctl member wait-sync)");
  // However short the log: it would be a voter that cannot vote, for it does not know that it is one.
  if (peer->match == Index() || peer->match < context_.log->base().index)
    return refusal(rule::kInSync, name + " has nothing yet, or less than the leader's log reaches down to; wait for it (leewardctl member wait-sync)");
  const auto behind = raft.commit - std::min(raft.commit, peer->match);
  if (behind > kInSyncEntries)
    return refusal(rule::kInSync, name + " is " + std::to_string(behind) + " entries behind the leader's commit, at most " +
                                      std::to_string(kInSyncEntries) + " are allowed; wait for it (leewardctl member wait-sync)");
  // Its log may hold the newest Adopt and its disk nothing of what that needs.
  const auto report = reports_.find(id);
  if (context_.group.leapt != Index() && (report == reports_.end() || report->second.status.applied.index < context_.group.leapt))
    return refusal(rule::kInSync, name + " still waits for a copy of state; wait for it (leewardctl member wait-sync)");
  // Until its own state says that this life is admitted it votes for nobody: with the leader gone nobody would lead.
  if (const auto known = context_.group.admitted.find(id); known != context_.group.admitted.end() && known->second == heard_incarnation_.at(id) &&
                                                           (report == reports_.end() || !report->second.status.admitted))
    return refusal(rule::kInSync, name + " has not applied yet that it is admitted; wait for it (leewardctl member wait-sync)");
  return behind;
}

std::vector<Node> Member::own_members() const {
  auto nodes = topology();
  std::erase_if(nodes, [&](const Node& n) { return !context_.group.membership.contains(n.id); });
  return nodes;
}

void Member::serve_sync(NodeId id, CallDone done) {
  const auto behind = entries_behind(id);
  if (!behind.ok()) return done(behind.error());
  done(static_cast<std::int64_t>(*behind));
}

// A voter that goes on, to lead instead of this member; 0: none that could.
NodeId Member::successor(const MemberChange& change) const {
  NodeId best;
  Index most;
  const auto passed_over = aside();
  for (const auto& peer : context_.core->status().peers) {
    const bool can = peer.active && peer.rtt && membership().voters.contains(peer.id) && !holds(change.remove, peer.id) &&
                     !passed_over.contains(peer.id);
    if (!can || (best && peer.match <= most)) continue;
    best = peer.id;
    most = peer.match;
  }
  return best;
}

void Member::serve_change(std::string body, CallDone done) {
  auto change = decode_member_change(body);
  if (!change.ok()) return done(change.error());
  if (!is_leader() || !context_.group.started())
    return done(Error{Code::kUnavailable, "leeward: the leader has not committed an entry of its term yet; try again"});
  const MemberFacts facts{membership(), context_.group, own_members(), [this](NodeId id) { return answers(id); },
                          [this](NodeId id) { return entries_behind(id); }};
  const auto planned = plan(*change, facts);
  if (!planned.ok()) return done(planned.error());
  if (holds(change->remove, self()) && successor(*change)) {
    context_.ports.log.info("hands leadership over: it is to be removed", {{"successor", successor(*change)}});
    handovers_.push_back({std::move(*change), context_.now() + context_.patience(), std::move(done)});
    proposals_->refuse_waiting({Code::kUnavailable, kLeaving});
    return;
  }
  const auto stands_aside = aside();
  for (const auto id : planned->last.voters)
    if (holds(change->remove, self()) && !change->force && stands_aside.contains(id))
      return done(Error{Code::kUnavailable, "leeward: no voter that stays can take the leadership over, and member " + std::to_string(id.value()) +
                                                " is paused or isolated: resume it first (leewardctl replica resume), or --force"});
  std::vector<raft::Proposal> admissions;
  for (const auto id : change->promote) {
    const auto admitted = context_.group.admitted.find(id);
    const auto lives = heard_incarnation_.at(id);  // else it is not in sync
    if (admitted != context_.group.admitted.end() && admitted->second && admitted->second != lives && beside_admitted(id))
      return done(two_lives(id));
    if (admitted == context_.group.admitted.end() || admitted->second != lives)
      admissions.push_back({EntryKind::kAdmit, Epoch(), 0, Bytes(encode(Admission{id, lives})), {}, {}});
  }
  // First, and applied, before their votes count: as serve_admit().
  if (!admissions.empty())
    return propose_and_wait(admissions, [this, body = std::move(body), done = std::move(done)](Result<std::int64_t> admitted) mutable {
      if (!admitted.ok()) return done(admitted.error());
      serve({0, CallKind::kChange, 0, std::move(body)}, std::move(done));
    });
  const auto note = planned->nodes.empty() ? std::string() : encode(MembershipNote{planned->nodes});
  const raft::Proposal sets{EntryKind::kMembership, Epoch(), 0, Bytes(raft::encode(planned->first, note)), {}, {}};
  const auto index = context_.core->propose(context_.now(), {&sets, 1});
  if (!index.ok())
    return done(index.error().code == Code::kExists ? refusal(rule::kChangeUnderWay, index.error().message) : index.error());
  context_.ports.log.info("changes the group's members", {{"index", *index}, {"voters", planned->last.voters.size()},
                                                          {"learners", planned->last.learners.size()},
                                                          {"joint", planned->first.joint()}, {"forced", change->force}});
  changes_.push_back({planned->last, *index, context_.now() + context_.patience(), std::move(done)});
  wake();
}

// Out of a joint membership as soon as its entry is committed, whoever began it.
void Member::leave_joint() {
  if (!is_leader() || !membership().joint()) return;
  const raft::Proposal leave{EntryKind::kMembership, Epoch(), 0, Bytes(raft::encode(left(membership()))), {}, {}};
  // Refused until then: tried again in a moment.
  if (const auto index = context_.core->propose(context_.now(), {&leave, 1}); index.ok())
    context_.ports.log.info("leaves the joint membership", {{"index", *index}});
}

void Member::drive_changes() {
  const auto now = context_.now();
  std::vector<std::pair<CallDone, Result<std::int64_t>>> over;
  std::erase_if(changes_, [&](PendingChange& c) {
    const bool applied = context_.applied() >= c.index;
    const bool there = applied && context_.group.membership == c.target;
    if (there)
      over.emplace_back(std::move(c.done), static_cast<std::int64_t>(c.index.value()));
    else if (c.gives_up <= now || (applied && !context_.group.membership.joint()))
      over.emplace_back(std::move(c.done), Error{Code::kUnknown, text::kTimeout});
    else
      return false;
    return true;
  });
  std::vector<Handover> to_pass;
  std::erase_if(handovers_, [&](Handover& h) {
    const auto leader = context_.leader();
    if (h.gives_up <= now) {
      over.emplace_back(std::move(h.done), Error{Code::kUnavailable, "leeward: no other member took the leadership over; try again"});
      return true;
    }
    if (leader == self()) {
      // It will see the end of nothing that is under way when it is gone.
      if (!proposals_->idle()) return false;
      if (const auto to = successor(h.change)) (void)context_.core->transfer_leadership(now, to);  // under way already, or again
      return false;
    }
    // The next leader takes changes when it has committed an entry of its term.
    if (!leader || committed_.term != context_.core->term()) return false;
    to_pass.push_back(std::move(h));
    return true;
  });
  for (auto& h : to_pass) call({0, CallKind::kChange, 0, encode(h.change)}, std::move(h.done));
  for (auto& [done, result] : over) done(std::move(result));
}

// A leader that was asked for a change and is removed by it speaks no more: that
// it is gone is the answer.
std::optional<Result<std::int64_t>> Member::answered_by_removal(const PendingCall& pending) const {
  if (pending.call.kind != CallKind::kChange || !pending.sent_to || context_.group.membership.contains(pending.sent_to))
    return std::nullopt;
  const auto removed = context_.group.removed.find(pending.sent_to);
  if (removed == context_.group.removed.end()) return std::nullopt;
  const auto change = decode_member_change(pending.call.body);
  if (change.ok() && holds(change->remove, pending.sent_to)) return static_cast<std::int64_t>(removed->second.index.value());
  return Error{Code::kUnknown, text::kTimeout};
}

// Its own removal was asked for here and is under way: what it took from now on
// might be done without its seeing the end, so its clients do better elsewhere.
bool Member::leaves() const {
  return left_ || leaving_ > 0 ||
         std::any_of(handovers_.begin(), handovers_.end(), [&](const Handover& h) { return holds(h.change.remove, self()); });
}

bool Member::removes_self(const Call& call) const {
  if (call.kind != CallKind::kChange) return false;
  const auto change = decode_member_change(call.body);
  return change.ok() && holds(change->remove, self());
}

// --- those that were removed ---

// True when that life of `from` was a member and is none any more: it is told,
// and nothing that it says counts.
bool Member::tell_if_removed(NodeId from, const FrameHeader& header) {
  if (!context_.group.retired.contains(header.incarnation)) {
    retire_late_life(from, header);
    return false;
  }
  auto& told = told_removed_[from];
  if (told != Instant{} && context_.now() - told < kTellAgain) return true;
  told = context_.now();
  say_removed(from, header.incarnation);
  return true;
}

// It holds this group's state and was never admitted, and its id was removed: the
// log says that it is none any more, or that the id was added again meanwhile.
void Member::retire_late_life(NodeId from, const FrameHeader& header) {
  if (!context_.group.removed.contains(from) || !is_leader()) return;  // of most frames
  if (!group() || header.group != group() || !header.incarnation) return;
  if (context_.group.membership.contains(from) || membership().contains(from)) return;
  auto& proposed = admission_proposed_[from];
  const auto now = context_.now();
  if (proposed != Instant{} && now - proposed < kTellAgain) return;
  proposed = now;
  const raft::Proposal late{EntryKind::kAdmit, Epoch(), 0, Bytes(encode(Admission{from, header.incarnation})), {}, {}};
  (void)context_.core->propose(now, {&late, 1});  // not now: it is heard again
  wake();
}

void Member::say_removed(NodeId id, Incarnation life) {
  const auto it = context_.group.retired.find(life);
  if (it == context_.group.retired.end()) return;
  refresh_peers();
  const auto& regions = region_log_->applied();
  const auto live = regions.live_epoch();
  context_.send(id, Lane::kControl, FrameType::kRemoved, encode(RemovedNotice{life, it->second, {live, regions.promotion(live)}}));
}

void Member::tell_removed() {
  for (const auto& [id, removed] : context_.group.removed) {
    if (!removed.incarnation || told_removed_.contains(id) || id == self()) continue;
    if (const auto it = peers_.find(id); it == peers_.end()) continue;  // it will speak up
    told_removed_[id] = context_.now();
    if (removed.index > opened_at_) context_.ports.log.info("a member was removed", {{"node", id}, {"index", removed.index}});
    say_removed(id, removed.incarnation);
  }
  // One that has come back in another life may be told again when that ends.
  std::erase_if(told_removed_, [&](const auto& told) { return !context_.group.removed.contains(told.first); });
}

void Member::hear_removed(NodeId from, const Frame& frame) {
  const auto notice = decode_removed_notice(frame.body);
  if (!notice.ok() || !context_.core || context_.removed) return;
  if (!frame.header.lineage.known() || (own_lineage().known() && frame.header.lineage != own_lineage())) return;
  // Survivors of a lost majority are another group: their word counts when an
  // epoch of theirs has begun, so never by halves. One that they were told of, of
  // another region perhaps, says nothing of them.
  const bool survivors = bootstrap_->in_own_list(from) && region_log_->applied().superseded_by(notice->applied.epoch, notice->applied.promotion);
  if (group() && frame.header.group != group() && !survivors) return;
  if (notice->incarnation != context_.incarnation) return;
  context_.ports.log.error("this member was removed from its group and serves no more: empty its directories and let it be "
                           "added again (leewardctl member add), or stop it", {{"told_by", from}, {"index", notice->index}});
  change_superblock([index = notice->index](SuperblockData& data) { set_removed(data.extra, index); },
                    [this](const Result<void>& written) {
                      if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
                    });
  retire(notice->index);
}

// From here on it says nothing to anybody but its operator.
void Member::retire(Index removed_by) {
  context_.removed = true;
  const Error gone{Code::kUnavailable, text::kRemoved};
  proposals_->removed(gone);
  reads_->end_all(gone);
  lessor_->follow();
  for (auto& [id, pending] : std::exchange(calls_, {})) {
    // Who asked for just that is answered by it.
    const auto change = pending.call.kind == CallKind::kChange ? decode_member_change(pending.call.body) : Result<MemberChange>(gone);
    if (change.ok() && holds(change->remove, self())) pending.done(static_cast<std::int64_t>(removed_by.value()));
    else pending.done(gone);
  }
  for (auto& change : std::exchange(changes_, {})) change.done(Error{Code::kUnknown, text::kTimeout});
  for (auto& handover : std::exchange(handovers_, {})) handover.done(gone);
  for (auto& transfer : std::exchange(transfers_, {})) transfer.done(gone);
  for (auto& waiter : std::exchange(until_applied_, {})) waiter.done(Error{Code::kUnknown, text::kTimeout});
  if (auto aside = std::exchange(steps_aside_, std::nullopt))
    for (auto& done : aside->done) done({});
  gate_.publish(ReadGate{});
  peers_.clear();
  context_.ports.link.set_peers({});
  published_.reset();
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
}

// --- who is dialed ---

// All of the topology; members that this log does not name yet, by their own
// word; and those that were removed, who are told so in each of their lives.
void Member::refresh_peers() {
  std::map<NodeId, std::string> wanted;
  std::set<std::string> taken;
  for (const auto& n : topology()) {
    taken.insert(n.peer_address);
    if (n.id != self()) wanted[n.id] = n.peer_address;
  }
  for (const auto& [id, heard] : reports_)
    if (heard.same_group && context_.now() - heard.at < kHeardLately && !heard.status.peer_address.empty() &&
        !taken.contains(heard.status.peer_address))
      wanted.try_emplace(id, heard.status.peer_address);
  for (const auto& [id, removed] : context_.group.removed)
    if (id != self() && !removed.peer_address.empty() && !taken.contains(removed.peer_address))
      wanted.try_emplace(id, removed.peer_address);
  if (wanted == peers_ && running_) return;
  peers_ = wanted;
  std::vector<PeerAddress> peers;
  for (const auto& [id, address] : wanted) peers.push_back({id, address});
  context_.ports.link.set_peers(std::move(peers));
}

// As a member of this group, by what it reports of itself.
bool Member::speaks(NodeId id, Duration within) const {
  const auto report = reports_.find(id);
  const auto lost = lost_.find(id);
  return context_.ports.link.connected(id) && report != reports_.end() && report->second.same_group &&
         context_.now() - report->second.at < within && (lost == lost_.end() || lost->second < report->second.at);
}

// A node on an empty disk may know nobody who still is a member, for its file is
// of the first start: it is told of the group as if it had knocked. So are those
// that were removed, lest they begin another life beside this group.
void Member::call_silent() {
  const auto now = context_.now();
  if (!context_.group.started() || (silent_called_ && now - *silent_called_ < kCallInterval)) return;
  silent_called_ = now;
  for (const auto& [id, address] : peers_) {
    if (!context_.group.membership.contains(id) && !context_.group.removed.contains(id)) continue;
    if (!speaks(id, kSilent)) bootstrap_->answer(id, {}, {}, waits_cold());
  }
}

// --- the other groups ---

void Member::spread_list() {
  if (!is_leader() || !context_.group.started() || context_.group.listed == Index()) return;
  const auto now = context_.now();
  if (list_spread_ && list_spread_of_ == context_.group.listed && now - *list_spread_ < kListInterval) return;
  list_spread_ = now;
  list_spread_of_ = context_.group.listed;
  GroupList list{group(), context_.group.listed, {}};
  for (const auto& n : context_.group.topology)
    if (context_.group.membership.contains(n.id)) list.nodes.push_back(n);
  if (list.nodes.empty()) return;
  const auto body = encode(list);
  for (const auto& n : topology())
    if (!same_list(n, list.nodes.front())) context_.send(n.id, Lane::kControl, FrameType::kGroupList, body);
}

// What another group says of itself, this one commits: so a member that starts
// knows where the others are.
void Member::hear_list(NodeId from, const Frame& frame) {
  auto list = decode_group_list(frame.body.view());
  if (!list.ok() || !context_.core || !is_leader() || !context_.group.started()) return;
  const auto& header = frame.header;
  const bool theirs = std::any_of(list->nodes.begin(), list->nodes.end(), [&](const Node& n) { return n.id == from; });
  if (header.lineage != own_lineage() || header.group != list->group || list->group == group() || !theirs) return;
  const auto known = context_.group.others_listed.find(list->group);
  if (known != context_.group.others_listed.end() && known->second >= list->listed) return;
  const auto now = context_.now();
  if (list_proposed_ && now - *list_proposed_ < kListInterval) return;
  list_proposed_ = now;
  const raft::Proposal take{EntryKind::kOtherMembers, Epoch(), 0, frame.body, {}, {}};
  const auto index = context_.core->propose(now, {&take, 1});
  context_.ports.log.info("the members of another region have changed", {{"told_by", from}, {"nodes", list->nodes.size()},
                                                                          {"proposed", index.ok()}});
  wake();
}

}  // namespace leeward::node
