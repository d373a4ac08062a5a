#include "standby/client.h"

#include <algorithm>
#include <utility>

namespace leeward::standby {
namespace {

constexpr std::size_t kTimedAtOnce = 1024;  // batches
constexpr Duration kAskForkAgain = 5s;
constexpr std::size_t kArrives = 4096;  // bytes of a frame; less, and the source counts as silent

}  // namespace

const char* name(StreamState state) {
  switch (state) {
    case StreamState::kOff: return "not the group's leader";
    case StreamState::kSeeking: return "seeking a source";
    case StreamState::kGreeting: return "greeting";
    case StreamState::kStreaming: return "streaming";
    case StreamState::kResyncNeeded: return "resync needed";
    case StreamState::kForked: return "waits for leewardctl dr rejoin";
    case StreamState::kDiverged: return "diverged";
  }
  return "?";
}

StreamClient::StreamClient(node::Group& group, Outbox& outbox, StandbyProbe& probe,
                           ClientOptions options)
    : group_(group), outbox_(outbox), probe_(probe), options_(options), traces_(group.tracer()) {}

StreamClient::~StreamClient() {
  if (ack_timer_) group_.loop().cancel(ack_timer_);
}

Duration StreamClient::jittered(Duration d) {
  return d / 2 + Duration(static_cast<Duration::rep>(group_.random() % static_cast<std::uint64_t>(d.count() + 1)));
}

Duration StreamClient::without_source(Instant now) const {
  return state_ == StreamState::kOff || state_ == StreamState::kStreaming ? Duration{} : now - since_;
}

void StreamClient::start(Instant now) {
  state_ = StreamState::kSeeking;
  since_ = next_attempt_ = now;
  backoff_ = options_.backoff_min;
  tried_.clear();
  behind_ = 0;
  behind_rounds_ = 0;
  refused_chains_ = 0;
  damage_.clear();
}

void StreamClient::stop() {
  if (state_ == StreamState::kOff) return;
  end_session();
  proposed_.clear();
  traces_.clear();
  state_ = StreamState::kOff;
  damage_.clear();
  common_.reset();
  rejoin_ = takes_copy_ = false;
}

void StreamClient::end_session() {
  if (session_) outbox_.send(source_, Bye{session_});
  arrivals_.clear();
  session_ = 0;
  source_ = NodeId();
  waiting_.clear();
  received_bytes_ = taken_bytes_ = granted_ = 0;
}

void StreamClient::retry(Duration delay, const char* why) {
  const auto now = group_.clock().now();
  if (state_ == StreamState::kStreaming) {
    since_ = now;
    probe_.reconnects.add();
    group_.logger().warn("the stream ended", {{"source", source_}, {"why", why}});
  }
  end_session();
  state_ = StreamState::kSeeking;
  next_attempt_ = now + jittered(delay);
}

// One source is of no use now; the others are asked soon, all of them again
// after a back-off.
void StreamClient::fail_source(Instant, const char* why) {
  if (source_) tried_.insert(source_);
  retry(options_.backoff_min, why);
}

NodeId StreamClient::choose(const Regions& regions) const {
  // Connected ones first, followers before the leader; among equals the start
  // differs by this member's id, so that groups spread.
  auto rank = [&](NodeId id) {
    return (group_.link().connected(id) ? 0 : 2) + (id == primary_leader_ ? 1 : 0);
  };
  const auto& all = regions.primary;
  NodeId best;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto id = all[(i + group_.self().value()) % all.size()];
    if (!tried_.contains(id) && (!best || rank(id) < rank(best))) best = id;
  }
  return best;
}

void StreamClient::seek(Instant now, const Regions& regions) {
  if (regions.primary.empty()) return;
  // While an adopted state is waited for nobody knows its epochs.
  if (group_.regions() && !group_.regions_of_log()) return;
  const auto to = choose(regions);
  if (!to) {
    behind_rounds_ = behind_ > 0 ? behind_rounds_ + 1 : 0;
    const bool all_behind = behind_ > 0 && (behind_ == tried_.size() || behind_rounds_ >= options_.behind_rounds);
    tried_.clear();
    behind_ = 0;
    if (all_behind && state_ != StreamState::kResyncNeeded) {
      state_ = StreamState::kResyncNeeded;
      resync_from_ = group_.committed().position.index;
      damage_ = "no source keeps the log this group needs; it takes a copy of state";
      probe_.resyncs_needed.add();
      group_.logger().error("resync needed: every source's log begins above this group's end",
                            {{"history_index", group_.last().position.index}});
    }
    backoff_ = std::min(backoff_ * 2, options_.backoff_max);
    next_attempt_ = now + (all_behind ? options_.behind_retry : jittered(backoff_));
    return;
  }
  session_ = group_.random() | 1;
  source_ = to;
  received_ = group_.last().position;
  granted_ = options_.window;
  heard_ = now;
  if (state_ != StreamState::kResyncNeeded && state_ != StreamState::kForked) state_ = StreamState::kGreeting;
  Hello hello;
  hello.session = session_;
  hello.region = regions.own;
  hello.epoch = group_.epoch();
  if (const auto* log = group_.regions_of_log()) {
    hello.epoch = log->group_epoch();
    hello.epochs = log->history().epochs;
  }
  hello.way_back = goes_back();
  hello.end = received_;
  hello.committed = held();
  hello.granted = granted_;
  hello.compression = options_.compression;
  if (!outbox_.send(to, hello)) {
    tried_.insert(to);
    session_ = 0;
    source_ = NodeId();
    if (state_ == StreamState::kGreeting) state_ = StreamState::kSeeking;
    next_attempt_ = now;
  }
}

// What its group has put aside counts no more, though the Follow that says so is
// not committed yet.
Position StreamClient::held() const {
  const auto committed = group_.committed().position;
  return committed.index > received_.index ? received_ : committed;
}

bool StreamClient::from_source(NodeId from, std::uint64_t session) const {
  return session_ != 0 && from == source_ && session == session_;
}

// A Hello that was late may have begun a stream that nobody wants any more: it
// would fill the link up to its credit.
void StreamClient::decline(NodeId from, std::uint64_t session) { outbox_.send(from, Bye{session}); }

void StreamClient::welcome(NodeId from, const Welcome& welcome) {
  if (!from_source(from, welcome.session)) return decline(from, welcome.session);
  if (state_ == StreamState::kStreaming) return;
  heard_ = progressed_ = group_.clock().now();
  state_ = StreamState::kStreaming;
  damage_.clear();
  group_.logger().info("following", {{"source", from}, {"after_history_index", received_.index}});
  acknowledge(true);
}

// Only now does the round over the sources begin anew: one that streams and has
// nothing to stream, cut off from its own group, is of no more use than one whose
// log begins too high.
void StreamClient::progressed(Instant now) {
  progressed_ = now;
  backoff_ = options_.backoff_min;
  tried_.clear();
  behind_ = 0;
  behind_rounds_ = 0;
}

void StreamClient::refused(NodeId from, const Refused& refused) {
  if (!from_source(from, refused.session)) return;
  group_.logger().info("a source refused", {{"source", from}, {"reason", name(refused.reason)}, {"detail", refused.detail}});
  session_ = 0;  // there is none to say goodbye to
  // A source that is behind tells where it is: what is held at that place must
  // be the same, or the primary has lost what it had committed.
  const bool lost = refused.reason == Refusal::kNotYet && contradicts(refused.at);
  if (refused.reason == Refusal::kDiverged || lost) return diverged(refused.at);
  if (refused.reason == Refusal::kFork) return forked(refused);
  if (refused.reason == Refusal::kBehind) ++behind_;
  const bool resync = state_ == StreamState::kResyncNeeded;
  fail_source(group_.clock().now(), name(refused.reason));
  if (resync) state_ = StreamState::kResyncNeeded;  // until one streams, or a state is adopted
}

bool StreamClient::goes_back() const {
  return group_.role() == GroupRole::kFenced && group_.role_at_end() == GroupRole::kFenced;
}

Result<LogPoint> StreamClient::own_point(HistoryIndex index) const {
  const auto* regions = group_.regions_of_log();
  return last_point_at(group_.log(), index, regions ? regions->control().followed_at : Index(), group_.last().index);
}

bool StreamClient::contradicts(const Position& theirs) const {
  const auto own = own_point(theirs.index);
  return own.ok() && own->position.index == theirs.index && own->position != theirs;
}

// Beyond the common position this group alone knows what it holds. Where clients
// may have had its word for it, an operator decides when it is put aside; and
// what a primary was lost for, before it comes back. A Seal says it was planned.
void StreamClient::forked(const Refused& refused) {
  const bool told = refused.at.hash != Hash{};
  const auto base = group_.log().base();
  auto own = own_point(refused.at.index);
  // Nothing here can say what stood there: the epochs do, which agree up to it.
  const bool dropped = !own.ok() && told && base.position.index > refused.at.index;
  if (dropped) own = LogPoint{base.index, base.term, refused.at};
  if (!own.ok()) {
    damage_ = "the log does not reach down to history index " + std::to_string(refused.at.index.value()) +
              ", where the primary's history and this group's part";
    state_ = StreamState::kForked;
    next_attempt_ = group_.clock().now() + kAskForkAgain;
    return end_session();
  }
  if (own->position.index != refused.at.index || (told && own->position != refused.at)) return diverged(refused.at);
  end_session();
  tried_.clear();
  const auto end = group_.last().position;
  const auto* log = group_.regions_of_log();
  const bool planned = own->position == end && log && log->history().seal;
  if (goes_back() && !planned && !rejoin_ && !options_.auto_rejoin) {
    if (state_ != StreamState::kForked)
      group_.logger().warn("this group was primary: leewardctl dr rejoin puts what it alone holds into a ledger, and follows",
                           {{"common_history_index", own->position.index}, {"end_history_index", end.index}});
    state_ = StreamState::kForked;
    common_ = own->position;
    next_attempt_ = group_.clock().now() + kAskForkAgain;
    return;
  }
  raft::Proposal follow;
  follow.kind = EntryKind::kFollow;
  follow.payload = Bytes(region::encode(region::Follow{refused.epochs, own->position, dropped ? base.position : own->position}));
  const auto proposed = group_.propose({&follow, 1});
  group_.logger().warn("this group goes back to the common position, to follow",
                       {{"common_history_index", own->position.index}, {"end_history_index", end.index},
                        {"epoch", refused.epochs.empty() ? Epoch() : refused.epochs.back().epoch},
                        {"error", proposed.ok() ? std::string() : proposed.error().message}});
  retry(options_.backoff_min, "it forked");
}

void StreamClient::rejoin() {
  rejoin_ = true;
  next_attempt_ = group_.clock().now();
}

void StreamClient::diverged(const Position& theirs) {
  const auto own = own_point(theirs.index);
  const auto held = own.ok() ? own->position : received_;
  probe_.divergences.add();
  state_ = StreamState::kDiverged;
  since_ = group_.clock().now();
  damage_ = "the primary holds other history at index " + std::to_string(theirs.index.value()) + " (" +
            theirs.hash.hex().substr(0, 16) + " there, " + held.hash.hex().substr(0, 16) + " here)";
  group_.logger().error("diverged: following stops, the data is kept", {{"detail", damage_}});
  end_session();
}

void StreamClient::entries(NodeId from, Entries frame, std::size_t wire_bytes) {
  if (!from_source(from, frame.session)) return decline(from, frame.session);
  if (state_ != StreamState::kStreaming) return;
  if (!follows(group_.role_at_end())) return stop();  // what comes is of an epoch that has ended here
  heard_ = group_.clock().now();
  probe_.wire_bytes_received.add(wire_bytes);
  if (frame.before != received_) return retry(options_.backoff_min, "a frame was lost");
  progressed(heard_);
  received_ = frame.entries.back().position;
  for (auto& e : frame.entries) {
    received_bytes_ += cost(e);
    probe_.bytes_received.add(cost(e));
    traces_.received(e, heard_);
    waiting_.push_back(std::move(e));
  }
  probe_.entries_received.add(frame.entries.size());
  arrivals_.push_back({received_.index, heard_});
  offer();
}

void StreamClient::idle(NodeId from, const Idle& idle) {
  if (!from_source(from, idle.session) || state_ != StreamState::kStreaming) return;
  heard_ = group_.clock().now();
  if (idle.sent != received_.index) retry(options_.backoff_min, "a frame was lost");
}

void StreamClient::offer() {
  while (!waiting_.empty()) {
    if (offer_some() == 0) break;
  }
  if (state_ != StreamState::kStreaming) return;
  const auto grant = taken_bytes_ + options_.window;
  if (grant - granted_ >= options_.window / 8) acknowledge(false);
}

std::size_t StreamClient::offer_some() {
  std::vector<raft::Proposal> proposals;
  std::uint64_t bytes = 0;
  for (const auto& e : waiting_) {
    if (!proposals.empty() && bytes + cost(e) > options_.propose_bytes) break;
    bytes += cost(e);
    proposals.push_back({e.kind, e.epoch, e.writes, e.payload, e.envelope, e.position});
  }
  const auto first = group_.propose(proposals);
  if (first.ok()) {
    taken_bytes_ += bytes;
    time_proposed(*first + (proposals.size() - 1), proposals.back().expected->index);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(proposals.size()));
    refused_chains_ = 0;
    return proposals.size();
  }
  switch (first.error().code) {
    case Code::kOverloaded:
    case Code::kUnavailable:
      // The group is busy, hands leadership over, or has: offered again at the
      // next commit or tick, if this member still leads.
      break;
    case Code::kInvalid:
      probe_.chain_refused.add();
      group_.logger().error("received history does not chain", {{"source", source_}, {"detail", first.error().message}});
      if (++refused_chains_ >= 3) damage_ = "sources keep sending history that does not chain on what is held";
      fail_source(group_.clock().now(), "it does not chain");
      break;
    default:
      group_.logger().error("cannot propose received history", {{"detail", first.error().message}});
      fail_source(group_.clock().now(), "the group refuses it");
  }
  return 0;
}

void StreamClient::time_proposed(Index last, HistoryIndex upto) {
  const auto now = group_.clock().now();
  if (!arrivals_.empty()) probe_.stage_receive.observe(now - arrivals_.front().at);
  traces_.proposed(upto, now);
  while (!arrivals_.empty() && arrivals_.front().upto <= upto) arrivals_.pop_front();
  if (proposed_.size() < kTimedAtOnce) proposed_.push_back({last, now});
}

void StreamClient::applied() {
  const auto now = group_.clock().now();
  const auto index = group_.state().applied().point.index;
  for (; !proposed_.empty() && proposed_.front().last <= index; proposed_.pop_front())
    if (proposed_.front().committed) probe_.stage_apply.observe(now - proposed_.front().at);
  traces_.applied(group_.state().applied().point.position.index, now);
}

void StreamClient::acknowledge(bool with_hashes) {
  const auto now = group_.clock().now();
  granted_ = taken_bytes_ + options_.window;
  Ack ack{session_, granted_, held(), {}};
  if (with_hashes) {
    ack.applied = told_hash(group_);
    hashes_told_at_ = now;
  }
  acked_ = ack.committed;
  acked_at_ = now;
  outbox_.send(source_, std::move(ack));
}

void StreamClient::committed() {
  const auto now = group_.clock().now();
  const auto index = group_.committed().index;
  for (auto& p : proposed_) {
    if (p.last > index) break;
    if (std::exchange(p.committed, true)) continue;
    probe_.stage_fsync.observe(now - p.at);
    p.at = now;
  }
  traces_.committed(group_.committed().position.index, now);
  if (state_ != StreamState::kStreaming) return;
  if (!follows(group_.role_at_end())) return stop();
  if (!waiting_.empty()) offer();
  if (ack_timer_ || held() == acked_) return;
  ack_timer_ = group_.loop().after(options_.ack_delay, [this] {
    ack_timer_ = 0;
    if (state_ == StreamState::kStreaming && held() != acked_) acknowledge(false);
  });
}

// The log stands still meanwhile: a copy must not be of what it has passed.
void StreamClient::take_copy(Instant now, const Regions& regions) {
  if (!std::exchange(takes_copy_, true)) {
    end_session();
    state_ = StreamState::kResyncNeeded;
    since_ = now;
    damage_ = "a member could not go back to the common position; the group takes a copy of state";
    probe_.resyncs_needed.add();
  }
  if (follows(group_.role()) && follows(group_.role_at_end())) group_.adopt(regions.primary);
}

// One value may take longer over the link than a source may be silent.
void StreamClient::hear_what_arrives(Instant now) {
  const auto arrived = session_ ? group_.link().unfinished(source_, Lane::kStream) : 0;
  if (arrived < arrived_) arrived_ = 0;  // another frame
  if (arrived < arrived_ + kArrives) return;
  heard_ = progressed_ = now;
  arrived_ = arrived;
}

void StreamClient::tick(Instant now, const Regions& regions) {
  hear_what_arrives(now);
  const bool leads = group_.is_leader() && group_.lineage().known() &&
                     (goes_back() || (follows(group_.role()) && follows(group_.role_at_end())));
  if (!leads) return stop();
  if (state_ == StreamState::kOff) start(now);
  if (group_.lacks_state()) return take_copy(now, regions);
  if (std::exchange(takes_copy_, false)) start(now);
  switch (state_) {
    case StreamState::kOff:
    case StreamState::kDiverged:
      return;
    case StreamState::kSeeking:
    case StreamState::kForked:
      if (session_ && now - heard_ > options_.hello_timeout) return fail_source(now, "no answer");
      if (!session_ && now >= next_attempt_) seek(now, regions);
      return;
    case StreamState::kGreeting:
      if (now - heard_ > options_.hello_timeout) fail_source(now, "no answer");
      return;
    case StreamState::kResyncNeeded:
      if (group_.committed().position.index > resync_from_) {
        end_session();
        start(now);
        return seek(now, regions);
      }
      group_.adopt(regions.primary);
      if (session_ && now - heard_ > options_.hello_timeout) {
        tried_.insert(source_);
        end_session();
      }
      if (!session_ && now >= next_attempt_) seek(now, regions);
      return;
    case StreamState::kStreaming:
      break;
  }
  if (!waiting_.empty()) offer();
  if (state_ != StreamState::kStreaming) return;
  if (!waiting_.empty() || primary_committed_.index <= received_.index) progressed(now);
  if (now - heard_ > options_.source_silence) return fail_source(now, "silence");
  if (now - progressed_ > options_.stall) return fail_source(now, "the source is behind the primary");
  if (now - acked_at_ >= options_.ack_interval) acknowledge(now - hashes_told_at_ >= options_.ack_interval);
}

}  // namespace leeward::standby
