#include "standby/replication.h"

#include <algorithm>

namespace leeward::standby {
namespace {

constexpr Duration kTick = 50ms;
constexpr Duration kSurveyInterval = 1s;
constexpr Duration kArmedInterval = 250ms;
constexpr Duration kPresenceInterval = 500ms;
constexpr Duration kPresenceFresh = 2s;
constexpr std::uint64_t kHearsNowMs = 1000;
constexpr Duration kHandOverInterval = 10s;
constexpr Duration kColdInterval = 100ms;
constexpr Duration kAheadAfter = 3s;  // an answer of the primary has come since
constexpr std::size_t kMaxWaitingCommits = 65536;

}  // namespace

Replication::Replication(node::Group& group, ReplicationOptions options)
    : group_(group),
      options_(options),
      outbox_(group, probe_),
      followers_(group, outbox_),
      source_(group, outbox_, followers_, probe_, options.source),
      client_(group, outbox_, probe_, options.client),
      pinger_(group, outbox_, probe_, options.ping_interval),
      answerer_(group, outbox_, probe_),
      arming_(group, followers_, options.arming),
      rpo_(group, followers_, options.governor),
      promoter_(group, outbox_, probe_.promotions, options.promotion,
                {[this] { return testimony(group_.clock().now()); },
                 [this] { pinger_.ping_all(group_.clock().now(), regions_); },
                 [this] { return eligibility_; },
                 [this] { return regions_.own; },
                 [this] { return silence_left(group_.clock().now()); },
                 [this] { return commit_time(); }}),
      stamps_(group, outbox_),
      succession_(group, outbox_),
      switchover_(group, outbox_, probe_.promotions, followers_, options.switchover, [this] { return eligibility_; }),
      rearming_(group, outbox_, followers_, {options.arming}),
      desk_(group, switchover_, rearming_, regions_),
      returner_(group, client_, [this] { return heard(group_.clock().now()); }),
      measuring_(group, outbox_) {
  group_.on_frames(Lane::kStream, [this](NodeId from, Lane, Bytes frame) { received(from, std::move(frame)); });
  group_.observe(this);
  group_.extend_status(this);
}

Replication::~Replication() {
  if (timer_) group_.loop().cancel(timer_);
  if (ask_timer_) group_.loop().cancel(ask_timer_);
  group_.extend_status(nullptr);
  group_.unobserve(this);
  group_.on_frames(Lane::kStream, nullptr);
}

void Replication::start() {
  tick();
}

void Replication::stopping() {
  stopping_ = true;
  client_.stop();
  source_.end_all();
  promoter_.stopping();
  switchover_.stopping();
  rearming_.stopping();
  returner_.stopping();
  if (forward_) forward_->stopping();
  const Error stopped{Code::kUnavailable, "this node is stopping"};
  for (auto& w : std::exchange(waiting_commits_, {})) w.done(stopped);
  for (auto& [index, w] : std::exchange(waiting_applies_, {})) w.done(stopped);
}

bool Replication::heard(Instant now) const {
  const auto silence = pinger_.meter().silence(now);
  return silence && *silence < options_.primary_silence;
}

bool Replication::heard_by_others(Instant now) const {
  return std::any_of(told_.begin(), told_.end(),
                     [&](const auto& t) { return t.second.presence.heard && now - t.second.at < kPresenceFresh; });
}

NodeId Replication::primary_member() const {
  const auto leader = pinger_.primary_leader();
  if (leader && group_.link().connected(leader)) return leader;
  for (const auto id : regions_.primary)
    if (group_.link().connected(id)) return id;
  return leader;
}

std::optional<region::Armed> Replication::armed() const { return armed_group(group_.state()); }

// --- what comes in ---

void Replication::received(NodeId from, Bytes bytes) {
  if (stopping_ || !group_.lineage().known()) return;
  auto frame = decode(bytes);
  if (!frame.ok()) {
    probe_.malformed_frames.add();
    group_.logger().warn("a stream frame was dropped", {{"from", from}, {"detail", frame.error().message}});
    return;
  }
  if (frame->header.lineage != group_.lineage()) {
    probe_.malformed_frames.add();
    group_.logger().warn("a stream frame of another lineage was dropped", {{"from", from}});
    return;
  }
  dispatch(from, frame->header, std::move(frame->body), bytes.size());
}

void Replication::dispatch(NodeId from, const Header& header, Body body, std::size_t wire_bytes) {
  // Frames among the members of one group are believed from members only.
  const bool own = header.group == group_.group() && group_.membership().contains(from);
  struct Visitor {
    Replication& r;
    NodeId from;
    const Header& header;
    bool own;
    std::size_t wire_bytes;
    void operator()(const Hello& m) const { r.source_.hello(from, header.group, m, r.regions_); }
    void operator()(const Welcome& m) const { r.client_.welcome(from, m); }
    void operator()(const Refused& m) const { r.client_.refused(from, m); }
    void operator()(Entries& m) const {
      r.client_.entries(from, std::move(m), wire_bytes);
      r.succession_.look(r.regions_);
    }
    void operator()(const Idle& m) const { r.client_.idle(from, m); }
    void operator()(const Ack& m) const { r.source_.ack(from, m); }
    void operator()(const Bye& m) const { r.source_.bye(from, m); }
    void operator()(Ping& m) const { r.answerer_.ping(from, header.epoch, std::move(m)); }
    void operator()(const Pong& m) const { r.answered(from, m); }
    void operator()(const Progress& m) const {
      if (own && r.group_.role() == GroupRole::kPrimary) r.followers_.told(m);
    }
    void operator()(const Presence& m) const {
      if (!own) return;
      r.told_[from] = {m, r.group_.clock().now()};
      if (from == r.group_.leader()) r.remember_damage(m.streaming, m.damage);
    }
    void operator()(const Survey& m) const {
      if (own) r.promoter_.asked(from, m);
    }
    void operator()(const SurveyReply& m) const {
      if (own) r.promoter_.told(from, m);
    }
    void operator()(const Aid& m) const {
      if (m.kind == Aid::Kind::kLeftBehind) return r.measuring_.told(header.group, m);
      r.promoter_.aided(from, m);
    }
    void operator()(const StampSent& m) const { r.stamps_.asked(from, m); }
    void operator()(const StampReturned& m) const { r.stamps_.returned(header.group, m); }
    void operator()(const SealAsked& m) const { r.succession_.asked(from, m); }
    void operator()(const SealTold& m) const { r.told(from, header.group, m); }
    void operator()(const ResignAsked& m) const { r.succession_.asked(from, m); }
    void operator()(const ResignTold& m) const { r.rearming_.told(header.group, m); }
    void operator()(const ColdQuestion& m) const { r.asked_cold(from, m.question); }
    void operator()(const ColdAnswer& m) const {
      if (const auto armed = r.armed(); armed && armed->group == header.group) r.group_.cold_answer(m.question, m.newest);
    }
    void operator()(Forward& m) const {
      if (r.forward_) r.forward_->forward(from, std::move(m));
    }
    void operator()(ForwardReply& m) const {
      if (r.forward_) r.forward_->reply(from, std::move(m));
    }
  };
  std::visit(Visitor{*this, from, header, own, wire_bytes}, body);
}

void Replication::told(NodeId from, GroupId by, const SealTold& told) {
  if (!regions_.region_of.contains(from)) return;
  if (told.fate == SealFate::kActivated && from == told.leader) successor_ = from;
  switchover_.told(from, by, told);
  if (forward_ && successor_ == from) forward_->turned();
}

void Replication::answered(NodeId from, const Pong& pong) {
  if (pong.origin != group_.self()) {
    if (group_.role() == GroupRole::kPrimary && group_.membership().contains(from)) answerer_.relay(pong);
    return;
  }
  if (!follows(group_.role()) && group_.role() != GroupRole::kFenced) return;
  const auto answer = pinger_.answered(pong);
  if (!answer) return;
  client_.primary_leader(pinger_.primary_leader());
  client_.primary_committed(pinger_.meter().newest()->committed);
  std::vector<WaitingCommit> rest;
  for (auto& w : std::exchange(waiting_commits_, {})) {
    // Any answer to a ping sent after the wait began will do; sequences rise.
    if (w.sequence != 0 && w.sequence <= pong.sequence)
      w.done(pong.committed);
    else
      rest.push_back(std::move(w));
  }
  for (auto& w : waiting_commits_) rest.push_back(std::move(w));
  waiting_commits_ = std::move(rest);
}

void Replication::primary_commit(Duration timeout, Function<void(Result<Position>)> done) {
  const auto now = group_.clock().now();
  if (stopping_ || !heard(now)) return done(no_primary());
  if (waiting_commits_.size() >= kMaxWaitingCommits) return done(Error{Code::kOverloaded, "too many waiting reads"});
  waiting_commits_.push_back({0, now + timeout, std::move(done)});
  if (ask_timer_) return;
  ask_timer_ = group_.loop().after(Duration{}, [this] {
    ask_timer_ = 0;
    ask_commit();
  });
}

Error Replication::no_primary() const {
  return {Code::kUnavailable, "leeward: this region is a standby and hears no primary (epoch " +
                                  std::to_string(group_.epoch().value()) + ")"};
}

// One ping for all that began to wait before it: it may not be shared with a
// wait that begins after it was sent.
void Replication::ask_commit() {
  // When it cannot be sent, the next tick tries again.
  const auto sequence = pinger_.ping_now(group_.clock().now(), regions_);
  if (!sequence) return;
  for (auto& w : waiting_commits_)
    if (w.sequence == 0) w.sequence = *sequence;
}

HistoryIndex Replication::applied_here() const {
  return holds_what_is_put_aside(group_) ? HistoryIndex() : group_.state().applied().point.position.index;
}

void Replication::when_applied(HistoryIndex index, Instant until, Function<void(Result<void>)> done) {
  if (applied_here() >= index) return done({});
  if (stopping_) return done(Error{Code::kUnavailable, "this node is stopping"});
  waiting_applies_.emplace(index, WaitingApply{until, std::move(done)});
}

void Replication::expire_waiting(Instant now) {
  std::vector<Function<void(Result<void>)>> late;
  for (auto it = waiting_applies_.begin(); it != waiting_applies_.end();) {
    if (it->second.until > now) {
      ++it;
      continue;
    }
    late.push_back(std::move(it->second.done));
    it = waiting_applies_.erase(it);
  }
  for (auto& done : late) done(Error{Code::kDeadline, "the region did not catch up in time"});
  // A read has another region to go to: it need not wait out its time here.
  const bool silent = follows(role_) && !heard(now);
  std::vector<WaitingCommit> rest;
  for (auto& w : std::exchange(waiting_commits_, {})) {
    if (silent)
      w.done(no_primary());
    else if (w.until > now)
      rest.push_back(std::move(w));
    else
      w.done(Error{Code::kDeadline, "the primary did not confirm its commit in time"});
  }
  for (auto& w : waiting_commits_) rest.push_back(std::move(w));
  waiting_commits_ = std::move(rest);
}

// --- what happens here ---

// At once: from the entry on that turns it, what clients ask belongs to another
// region, and no read goes by what the epoch before had confirmed.
void Replication::heed_role() {
  const auto role = group_.role();
  if (role_ == GroupRole::kPrimary && role != GroupRole::kPrimary) {
    source_.end_all();
    followers_.release();
    rpo_.rest();
  }
  if (role == GroupRole::kPrimary) client_.stop();
  if (!follows(role)) follows_since_.reset();
  else if (!follows(role_) || !follows_since_) follows_since_ = group_.clock().now();
  role_ = role;
  if (forward_) forward_->following(follows(role));
  if (std::exchange(epoch_, group_.epoch()) == group_.epoch()) return;
  successor_ = NodeId();
  const Error over{Code::kUnavailable, "leeward: epoch " + std::to_string(epoch_.value()) + " has begun; ask again"};
  for (auto& w : std::exchange(waiting_commits_, {})) w.done(over);
  for (auto& [index, w] : std::exchange(waiting_applies_, {})) w.done(over);
}

void Replication::role_changed() {
  surveyed_ = {};
  if (!stopping_ && group_.lineage().known()) heed_role();
  if (!stopping_ && group_.lineage().known()) client_.tick(group_.clock().now(), regions_);
  if (!stopping_ && forward_) forward_->turned();
}

void Replication::committed(Index) {
  if (stopping_) return;
  if (group_.role() == GroupRole::kPrimary) {
    followers_.committed(group_.clock().now());
    source_.committed();
  } else {
    client_.committed();
  }
}

void Replication::applied(std::span<const Entry> entries) {
  if (!stopping_ && (group_.role() != role_ || group_.epoch() != epoch_)) heed_role();
  client_.applied();
  promoter_.applied(entries);
  succession_.applied(entries, regions_);
  switchover_.applied(entries);
  rearming_.applied(entries);
  if (forward_ && std::any_of(entries.begin(), entries.end(), [](const Entry& e) {
        return e.kind == EntryKind::kUnseal || e.kind == EntryKind::kEpochChange;
      }))
    forward_->turned();
  const auto index = applied_here();
  while (!waiting_applies_.empty() && waiting_applies_.begin()->first <= index) {
    auto done = std::move(waiting_applies_.begin()->second.done);
    waiting_applies_.erase(waiting_applies_.begin());
    done({});
  }
}

void Replication::tick() {
  timer_ = group_.loop().after(std::min(kTick, options_.ping_interval), [this] { tick(); });
  if (stopping_ || !group_.lineage().known()) return;
  const auto now = group_.clock().now();
  if (surveyed_ == Instant{} || now - surveyed_ >= kSurveyInterval) {
    regions_ = survey(group_);
    surveyed_ = now;
  }
  heed_role();
  if (role_ == GroupRole::kPrimary)
    tick_primary(now);
  else if (follows(role_))
    tick_following(now);
  else if (role_ == GroupRole::kFenced)
    client_.tick(now, regions_);
  expire_waiting(now);
  promoter_.tick(now);
  succession_.look(regions_);
  switchover_.tick(now, regions_);
  rearming_.tick(now, regions_);
  returner_.tick(now);
  measuring_.tick(now, regions_);
  if (forward_) forward_->turned();
}

void Replication::tick_primary(Instant now) {
  followers_.tick(now, regions_);
  source_.tick(now);
  arming_.tick(now, regions_);
  ask_cold(now);
  stamps_.tick(now, regions_);
  if (now - armed_at_ >= kArmedInterval || armed_at_ == Instant{}) {
    armed_ = armed();
    armed_at_ = now;
  }
  rpo_.tick(now, armed_);
}

// All members of the armed region: only its leader answers.
void Replication::ask_cold(Instant now) {
  const auto question = group_.cold_question();
  const auto armed = this->armed();
  if (question == 0 || !armed || now - asked_cold_ < kColdInterval) return;
  asked_cold_ = now;
  for (const auto& [id, region] : regions_.region_of)
    if (region == armed->region) outbox_.send(id, ColdQuestion{question});
}

void Replication::asked_cold(NodeId from, std::uint64_t question) {
  if (!group_.is_leader() || !regions_.region_of.contains(from)) return;
  group_.confirm([this, alive = std::weak_ptr<bool>(alive_), from, question](Result<Index> confirmed) {
    if (alive.expired() || !confirmed.ok()) return;
    const auto* log = group_.regions_of_log();
    if (log) outbox_.send(from, ColdAnswer{question, std::max(log->known_epoch(), group_.newest_epoch())});
  });
}

void Replication::tick_following(Instant now) {
  pinger_.tick(now, regions_);
  client_.tick(now, regions_);
  remember_damage(client_.state() == StreamState::kStreaming, client_.damage());
  if (!ask_timer_ && std::any_of(waiting_commits_.begin(), waiting_commits_.end(),
                                 [](const WaitingCommit& w) { return w.sequence == 0; }))
    ask_commit();
  tell_presence(now);
  hand_over(now);
}

// A new leader has found nothing yet, and with the primary gone it never will:
// what was found stands until a stream that begins at the log's end refutes it.
void Replication::remember_damage(bool streaming, const std::string& damage) {
  if (streaming || !damage.empty()) damage_ = damage;
}

void Replication::tell_presence(Instant now) {
  if (now - presence_told_ < kPresenceInterval) return;
  presence_told_ = now;
  const auto silence = pinger_.meter().silence(now);
  const Presence presence{heard(now), silence ? static_cast<std::uint64_t>(*silence / 1ms) : 0, client_.state() == StreamState::kStreaming, damage_};
  for (const auto id : others(group_)) outbox_.send(id, presence);
}

void Replication::hand_over(Instant now) {
  if (!group_.is_leader() || client_.without_source(now) < options_.handover_after) return;
  // A leader that heard something lately finds a source sooner than a new one would.
  const auto silence = pinger_.meter().silence(now);
  if (silence && *silence < options_.handover_after) return;
  if (now - handed_over_ < kHandOverInterval && handed_over_ != Instant{}) return;
  for (const auto& [id, told] : told_) {
    // Where all have been silent for as long, nobody is better placed.
    const bool hears = told.presence.heard && now - told.at < kPresenceFresh && told.presence.silence_ms < kHearsNowMs;
    if (!hears || !group_.membership().voters.contains(id)) continue;
    handed_over_ = now;
    group_.logger().warn("no source is reachable from this leader; handing leadership to a member that hears the primary",
                         {{"to", id}});
    group_.transfer_leadership(id);
    return;
  }
}

// --- what is shown ---

const Presence* Replication::leader_presence(Instant now) const {
  const auto it = told_.find(group_.leader());
  return it != told_.end() && now - it->second.at < kPresenceFresh ? &it->second.presence : nullptr;
}

Testimony Replication::testimony(Instant now) const {
  Testimony t;
  t.voter = group_.self();
  t.heard = heard(now) || pinger_.hears_newer(now, options_.primary_silence);
  if (const auto& newest = pinger_.meter().newest()) {
    t.stamp = newest->stamp;
    t.committed = newest->committed;
    t.age = now - newest->sent;
  }
  t.newest_epoch = std::max(group_.newest_epoch(), pinger_.newest_epoch());
  t.damage = damage_;
  return t;
}

// Who never had an answer of the primary has listened since it follows; a fork,
// which is rehearsed alone, has none to hear.
Duration Replication::silence_left(Instant now) const {
  const auto silence = pinger_.meter().silence(now);
  if (!silence && (!follows_since_ || regions_.primary.empty())) return Duration();
  return std::max(options_.primary_silence - silence.value_or(now - *follows_since_), Duration());
}

// On average, of what came by the stream while this member led.
Duration Replication::commit_time() const {
  const auto count = probe_.stage_fsync.count();
  return count == 0 ? Duration() : std::chrono::duration_cast<Duration>(std::chrono::duration<double>(probe_.stage_fsync.sum_seconds() / static_cast<double>(count)));
}

std::optional<PromotionProgress> Replication::promotion() const {
  if (const auto progress = promoter_.progress()) return progress;
  auto step = switchover_.step();
  if (!step) step = succession_.step();
  return step ? std::optional(PromotionProgress{PromotionKind::kSwitchover, *step}) : std::nullopt;
}

EligibilityFacts Replication::facts(const NodeStatus& node, const MemberStatus& self, Instant now) const {
  EligibilityFacts f;
  const auto armed = this->armed();
  f.armed = armed && armed->group == group_.group();
  if (armed) f.armed_region = armed->region;
  f.leader = group_.leader();
  f.leader_known = group_.is_leader() || (f.leader && f.leader != group_.self());
  f.heard = heard(now);
  f.heard_by_others = heard_by_others(now);
  const auto held = group_.committed().position;
  f.high = pinger_.meter().lag(held, now).high;
  f.lag_at_newest = pinger_.meter().lag_at_newest(held);
  if (const auto& newest = pinger_.meter().newest()) f.newest_age = now - newest->sent;
  f.hash = pinger_.verdict();
  f.hash_index = pinger_.compared();
  f.damage = damage_.empty() ? client_.hindrance() : damage_;
  if (const auto adoption = group_.adoption(); !adoption.empty())
    f.damage = f.damage.empty() ? adoption : f.damage + ": " + adoption;
  f.disk_full = node.disk_full;
  f.disk_stall = node.disk_stall;
  f.version = self.version;
  for (const auto& m : node.members)
    if (std::binary_search(regions_.primary.begin(), regions_.primary.end(), m.id) && m.report_age &&
        older_version(f.newest_primary_version, m.version))
      f.newest_primary_version = m.version;
  f.epoch = group_.epoch();
  f.newest_epoch = std::max(group_.newest_epoch(), pinger_.newest_epoch());
  f.isolated = self.state == MemberState::kIsolated;
  f.paused = self.paused;
  f.reason = self.standing_reason;
  f.voter = group_.membership().is_voter(group_.self());
  f.waiting = self.state == MemberState::kWaiting;
  return f;
}

void Replication::extend(NodeStatus& node, MemberStatus& self) {
  const auto now = group_.clock().now();
  const auto armed = this->armed();
  node.armed_region = armed ? armed->region : "";
  node.armed_group = armed ? armed->group : GroupId();
  const auto* regions = group_.regions();
  node.unguarded = regions && regions->live_epoch() > Epoch() && regions->history().unguarded == regions->live_epoch();
  if (armed) node.fencing.mode = region::name(armed->mode);
  if (armed && armed->mode == region::FenceMode::kLease) node.fencing.lease = armed->lease;
  node.promotion = promotion();
  if (group_.role() == GroupRole::kPrimary) {
    node.followers = followers_.status(now);
    node.rpo = rpo_.status();
    for (auto& f : node.followers) f.armed = armed && armed->group == f.group && f.group;
    std::vector<VoterVerdict> voters;
    for (const auto& m : node.members)
      if (armed && m.region == armed->region && m.voter)
        voters.push_back({m.id, is_up(m) ? m.eligibility : std::vector<NamedCheck>()});
    eligibility_ = voters.empty() ? std::vector<NamedCheck>() : judge_group(voters);
    return;
  }
  if (!follows(group_.role())) {
    eligibility_.clear();  // of the region that was armed while this one was primary
    return;
  }
  node.primary_heard = heard(now);
  const auto follows_for = now - follows_since_.value_or(now);
  node.primary_silence = pinger_.meter().silence(now);
  if (node.primary_silence) node.primary_silence = std::min(*node.primary_silence, follows_for);
  node.primary_silent = !node.primary_heard && follows_for >= options_.primary_silence;
  if (const auto& newest = pinger_.meter().newest()) node.known_loss = loss_beyond(group_.committed().position, newest->committed);
  node.estimated_rto = promoter_.estimated_rto();
  node.stream_state = name(client_.state());
  // No source has what follows: the primary itself has not.
  const auto& newest = pinger_.meter().newest();
  const auto held = group_.committed().position.index;
  if (node.primary_heard && newest && newest->committed.index < held && client_.undecided() && client_.without_source(now) > kAheadAfter)
    node.stream_state = "ahead of the primary, which lacks " + std::to_string(held.value() - newest->committed.index.value()) +
                        " entries that are held here: it was restored from a backup, or has lost them";
  const auto* leader = group_.is_leader() ? nullptr : leader_presence(now);
  if (leader)
    node.stream_state = leader->streaming ? "streaming, through the group's leader" : "the group's leader has no stream";
  if (const auto adoption = group_.adoption(); !adoption.empty()) node.stream_state = adoption;
  // Of other history than the primary's nobody can say how far it lags behind.
  if (client_.state() != StreamState::kDiverged && !(leader && !leader->damage.empty()) && applied_here() == group_.state().applied().point.position.index)
    self.lag = pinger_.meter().lag(group_.state().applied().point.position, now);
  self.stream_connected = client_.state() == StreamState::kStreaming || (leader && leader->streaming);
  self.eligibility = judge(facts(node, self, now), options_.eligibility);
  std::vector<VoterVerdict> voters;
  for (const auto id : group_.membership().voters) {
    VoterVerdict verdict{id, {}};
    for (const auto& m : node.members)
      if (m.id == id && is_up(m)) verdict.checks = m.eligibility;
    if (id == group_.self()) verdict.checks = self.eligibility;
    voters.push_back(std::move(verdict));
  }
  node.group_eligibility = judge_group(voters);
  eligibility_ = node.group_eligibility;
}

}  // namespace leeward::standby
