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
  hindrance_.clear();
}

void StreamClient::stop() {
  if (state_ == StreamState::kOff) return;
  end_session();
  proposed_.clear();
  traces_.clear();
  state_ = StreamState::kOff;
  damage_.clear();
  hindrance_.clear();
  common_.reset();
  rejoin_ = takes_copy_ = false;
  if (search_) unfound_ = Error{Code::kUnavailable, "leeward: leadership was lost during the search; say it again"};
  search_.reset();
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
  if (search_ && now >= search_->until)
    return end_search({Code::kRefused, "no_answer: where the histories part was not found in time: " + search_->why + "; leewardctl dr status at the primary"});
  const auto to = choose(regions);
  if (!to && search_) return search_round_over(now);
  if (!to) {
    behind_rounds_ = behind_ > 0 ? behind_rounds_ + 1 : 0;
    const bool all_behind = behind_ > 0 && (behind_ == tried_.size() || behind_rounds_ >= options_.behind_rounds);
    tried_.clear();
    behind_ = 0;
    if (all_behind && state_ != StreamState::kResyncNeeded) {
      state_ = StreamState::kResyncNeeded;
      resync_from_ = group_.committed().position.index;
      hindrance_ = "no source keeps the log this group needs; it takes a copy of state";
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
  hello.way_back = goes_back() || search_;
  hello.end = received_;
  if (search_) {  // as if this log ended there
    const auto at = own_point(search_->asked);
    if (!at.ok()) return end_search({Code::kUnavailable, "leeward: " + at.error().message});
    hello.end = at->position;
    std::erase_if(hello.epochs, [&](const region::EpochRecord& r) { return r.fork.index > HistoryIndex() && r.fork.index >= hello.end.index; });
  }
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
  if (!from_source(from, welcome.session) || search_) return decline(from, welcome.session);
  if (state_ == StreamState::kStreaming) return;
  heard_ = progressed_ = group_.clock().now();
  state_ = StreamState::kStreaming;
  damage_.clear();
  hindrance_.clear();
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
  if (search_ && refused.reason == Refusal::kFork) return searched(refused);
  if (!search_ && (refused.reason == Refusal::kDiverged || lost)) return diverged(refused.at);
  if (refused.reason == Refusal::kFork) return forked(refused);
  if (search_) search_->why = std::string(name(refused.reason)) + ": " + refused.detail;
  if (refused.reason == Refusal::kBehind) ++behind_;
  const bool resync = state_ == StreamState::kResyncNeeded;
  fail_source(group_.clock().now(), name(refused.reason));
  if (resync) state_ = StreamState::kResyncNeeded;  // until one streams, or a state is adopted
}

bool StreamClient::goes_back() const {
  return group_.role() == GroupRole::kFenced && group_.role_at_end() == GroupRole::kFenced;
}

Result<LogPoint> StreamClient::own_begin() const {
  const auto* regions = group_.regions_of_log();
  const auto leapt = std::max(regions ? regions->control().followed_at : Index(), group_.leapt());
  return group_.log().point(std::max(group_.log().base().index, leapt));
}

Result<LogPoint> StreamClient::own_point(HistoryIndex index) const {
  const auto begin = own_begin();
  return begin.ok() ? last_point_at(group_.log(), index, begin->index, group_.last().index) : begin;
}

bool StreamClient::contradicts(const Position& theirs) const {
  const auto own = own_point(theirs.index);
  return own.ok() && own->position.index == theirs.index && own->position != theirs;
}

// Beyond the common position this group alone knows what it holds. Where clients
// may have had its word for it, an operator decides when it is put aside; and
// what a primary was lost for, before it comes back. A Seal says it was planned.
void StreamClient::forked(const Refused& refused) {
  const auto* log = group_.regions_of_log();
  auto at = refused.at;
  bool told = at.hash != Hash{} || at.index == HistoryIndex();  // all histories begin alike
  if (!told && log)  // its log begins above it, as this one's may: it is where an epoch began that this history alone has
    if (const auto fork = region::fork_at(log->history().epochs, at.index)) at = *fork, told = true;
  const auto begin = own_begin();
  auto own = own_point(at.index);
  // Nothing here can say what stood there: the epochs do, which agree up to it.
  const bool dropped = !own.ok() && told && begin.ok() && begin->position.index > at.index;
  if (dropped) own = LogPoint{begin->index, begin->term, at};
  if (!own.ok()) {
    damage_ = "the log does not reach down to history index " + std::to_string(at.index.value()) +
              ", where the primary's history and this group's part";
    state_ = StreamState::kForked;
    next_attempt_ = group_.clock().now() + kAskForkAgain;
    return end_session();
  }
  if (own->position.index != at.index || (told && own->position != at)) return diverged(at);
  end_session();
  tried_.clear();
  const auto end = group_.last().position;
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
  (void)go_back({refused.epochs, own->position, dropped ? begin->position : own->position, false});  // found again where it failed
}

Result<void> StreamClient::go_back(const region::Follow& follow, const std::optional<region::Resigned>& resigned) {
  std::vector<raft::Proposal> proposals;
  const auto add = [&](EntryKind kind, std::string payload) {
    proposals.emplace_back();
    proposals.back().kind = kind;
    proposals.back().payload = Bytes(std::move(payload));
  };
  if (resigned) add(EntryKind::kResigned, region::encode(*resigned));
  add(EntryKind::kFollow, region::encode(follow));
  const auto end = group_.last().position.index;
  const auto proposed = group_.propose(proposals);
  group_.logger().warn("this group goes back to the common position, to follow",
                       {{"common_history_index", follow.common.index}, {"end_history_index", end},
                        {"epoch", follow.history.empty() ? Epoch() : follow.history.back().epoch},
                        {"error", proposed.ok() ? std::string() : proposed.error().message}});
  retry(options_.backoff_min, "it forked");
  since_ = group_.clock().now();  // what was heard of the primary counts no more: nobody else is better placed yet
  return proposed.ok() ? Result<void>() : proposed.error();
}

void StreamClient::discard() {
  if (state_ != StreamState::kDiverged || search_) return;
  unfound_.reset();
  // Which state the log's end leads to is not known before the last leap is over.
  if (!group_.adoption().empty() || (group_.regions() && !group_.regions_of_log()))
    return end_search({Code::kUnavailable, "leeward: this group waits for its state; say it again"});
  begin_search();
}

// Not below what leads to this group's state: nobody could carry such a Follow out.
void StreamClient::begin_search() {
  const auto begin = own_begin();
  if (!begin.ok()) return end_search({Code::kUnavailable, "leeward: " + begin.error().message});
  auto& s = search_.emplace();
  s.low = begin->position.index;
  s.high = differs_at_;
  s.until = group_.clock().now() + options_.search_limit;
  s.why = "no source answers";
  if (s.low == HistoryIndex()) s.best = begin->position, s.low = s.low + 1;  // all histories begin alike
  backoff_ = options_.backoff_min;
  group_.logger().warn("looks for where this group's history and the primary's part", {{"from", s.low}, {"upto", s.high}});
  narrow();
}

void StreamClient::narrow() {
  auto& s = *search_;
  end_session();
  tried_.clear();
  s.hidden = 0;
  s.rounds = 0;
  if (s.low > s.high) return found();
  s.asked = s.low + (s.high.value() - s.low.value()) / 2;
  state_ = StreamState::kSeeking;
  next_attempt_ = group_.clock().now();
}

// By halves: a source tells what its history holds at the place that the Hello
// named as its end. One that is not so far tells of its own end: another is asked.
void StreamClient::searched(const Refused& refused) {
  auto& s = *search_;
  const auto& theirs = refused.at;
  const bool told = (theirs.hash != Hash{} || theirs.index == HistoryIndex()) && theirs.index <= s.asked;
  const auto own = own_point(theirs.index);
  s.epochs = refused.epochs;
  if (told && contradicts(theirs)) {
    s.high = theirs.index - 1;
    return narrow();
  }
  if (told && own.ok() && own->position == theirs) {
    if (!s.best || s.best->index < theirs.index) s.best = theirs;
    s.low = std::max(s.low, theirs.index + 1);
    if (theirs.index == s.asked) return narrow();
  }
  if (theirs.index == s.asked) ++s.hidden;
  s.why = theirs.index == s.asked ? "a source's log begins above history index " + std::to_string(s.asked.value())
                                  : "a source has committed no more than history index " + std::to_string(theirs.index.value());
  fail_source(group_.clock().now(), "it cannot tell");
}

void StreamClient::search_round_over(Instant now) {
  auto& s = *search_;
  const bool all_hidden = s.hidden > 0 && (s.hidden == tried_.size() || ++s.rounds >= options_.search_rounds);
  if (all_hidden) {  // whether they are the same there, and what is below, nobody can tell any more
    s.low = std::max(s.low, s.asked + 1);
    s.best.reset();
    return narrow();
  }
  tried_.clear();
  s.hidden = 0;
  backoff_ = std::min(backoff_ * 2, options_.backoff_max);
  next_attempt_ = now + jittered(backoff_);
}

void StreamClient::found() {
  const auto search = std::move(*std::exchange(search_, std::nullopt));
  if (!search.best)
    return end_search({Code::kRefused, "no_common_position: where this region's history and the primary's part is not found: below history index " +
                                           std::to_string(search.low.value()) + " they cannot be compared any more; stop all members of this "
                                           "region, empty their directories and start them: it begins anew"});
  if (search.best->index >= differs_at_) {  // the primary holds the same by now
    start(group_.clock().now());
    unfound_ = Error{Code::kRefused, "not_diverged: the primary holds what this region holds; it follows"};
    return;
  }
  const auto resigned = to_resign(search.best->index);
  if (!resigned.ok()) return end_search(resigned.error());
  const auto done = go_back({search.epochs, *search.best, *search.best, true}, *resigned);
  if (!done.ok()) unfound_ = Error{Code::kUnavailable, "leeward: " + done.error().message + "; say it again"};
}

// By lease a primary acknowledges nothing without the stamps of the group that it
// has armed, and none are returned before the state is back: that may take long.
// It gives the arming up first. One that this history alone holds nobody waits for.
Result<std::optional<region::Resigned>> StreamClient::to_resign(HistoryIndex common) {
  const auto* log = group_.regions_of_log();
  const auto by = log ? log->armed() : std::nullopt;
  if (!by || by->mode != region::FenceMode::kLease) return std::optional<region::Resigned>();
  for (const auto& entry : group_.state().region_entries()) {
    if (entry.kind != EntryKind::kArmed || entry.index <= common) continue;
    const auto armed = region::decode_armed(entry.payload.view());
    if (armed.ok() && armed->arming == by->arming) return std::optional(region::Resigned{by->arming, log->live_epoch()});
  }
  return Error{Code::kRefused, "lease: this region is armed by lease, and the primary would acknowledge nothing until it is back; "
                               "leewardctl dr disarm at the primary, then say it again, then leewardctl dr arm"};
}

void StreamClient::end_search(Error why) {
  search_.reset();
  end_session();
  state_ = StreamState::kDiverged;
  group_.logger().warn("no way back was found", {{"why", why.message}});
  unfound_ = std::move(why);
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
  differs_at_ = theirs.index;
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
    hindrance_ = "a member could not go back to the common position; the group takes a copy of state";
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
