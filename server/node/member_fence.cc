// A newer epoch than the group's own was proved: serving ends here, Raft goes
// on. standby/PROTOCOL.md, "Fencing".
#include <algorithm>

#include "node/member.h"

namespace leeward::node {

// Every frame carries the newest epoch that its sender has applied, or was told
// of by one who had: reports, twice a second to every node of every region,
// are the knocking. False: this frame of the own group may not be counted yet.
bool Member::heed_epoch(NodeId from, const FrameHeader& header) {
  if (!context_.group.started()) return true;
  const auto& regions = region_log_->applied();
  const bool newest = header.seen.epoch > told_.epoch;
  const bool supersedes = header.seen != told_ && regions.superseded_by(header.seen.epoch, header.seen.promotion) &&
                          (newest || !regions.superseded_by(told_.epoch, told_.promotion));
  // A Follow may come before anybody told: then the log knows that epoch, and its history has not come to it.
  const bool news = supersedes || (newest && header.seen.epoch > regions.live_epoch());
  if (news && knows(from)) {
    const bool served = role() == GroupRole::kPrimary;
    told_ = header.seen;
    publish_seen();
    context_.ports.log.warn("a newer epoch exists", {{"epoch", told_.epoch}, {"told_by", from}, {"own_epoch", regions.group_epoch()}});
    note_epoch();
    if (served) end_serving();
  }
  return header.group != group() || role() != GroupRole::kFenced || told_ == noted_;
}

// A full disk is waited for: until then nothing of the own group is counted.
void Member::note_epoch() {
  if (told_ == noted_ || std::exchange(noting_, true)) return;
  change_superblock([seen = told_](SuperblockData& data) { set_seen(data.extra, seen); },
                    [this, seen = told_](const Result<void>& written) {
                      noting_ = false;
                      if (!written.ok() && written.error().code != Code::kNoSpace) return fail(written.error());
                      if (written.ok()) noted_ = seen;
                    });
}

bool Member::knows(NodeId node) const {
  const auto nodes = topology();
  return std::any_of(nodes.begin(), nodes.end(), [node](const Node& n) { return n.id == node; });
}

Epoch Member::contested() const {
  const auto& regions = region_log_->applied();
  if (regions.control().contested) return regions.control().contested->epoch;
  const auto& decided = regions.control().decided;
  const bool over = std::any_of(decided.begin(), decided.end(), [this](const auto& s) { return s.epoch == told_.epoch; });
  return !over && regions.contested_by(told_.epoch, told_.promotion) ? told_.epoch : Epoch();
}

bool Member::superseded() const { return region_log_->applied().superseded_by(told_.epoch, told_.promotion); }

// A region that is told of the other side of a contested epoch names its own.
void Member::publish_seen() {
  const auto& regions = region_log_->applied();
  const auto live = regions.live_epoch();
  context_.seen = told_.epoch > live ? told_ : Seen{live, regions.promotion(live)};
}

// What is in the log may still be committed; whether the newer epoch has it,
// nobody here can tell.
void Member::end_serving() {
  const auto error = role_refusal();
  proposals_->fenced(error);
  // Asked twice these do no harm: they are passed on to who serves now.
  std::vector<CallDone> calls;
  for (auto it = calls_.begin(); it != calls_.end();) {
    const auto kind = it->second.call.kind;
    const bool twice = kind == CallKind::kKeepAlive || kind == CallKind::kLeaseRemaining;
    if (twice) calls.push_back(std::move(it->second.done));
    it = twice ? calls_.erase(it) : std::next(it);
  }
  for (auto& done : calls) done(Error{Code::kUnavailable, text::kNotPrimary});
  reads_->end_all(error);
  lessor_->follow();
  judge_serving();
  publish_gate();
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
  published_.reset();
  publish_status();
  wake();
}

std::string Member::serving_region() const {
  if (!superseded() && told_.epoch <= region_log_->applied().live_epoch()) return {};
  // The newest that a lost primary said is that it serves: an older epoch.
  for (const auto& [id, report] : reports_)
    if (report.status.role == GroupRole::kPrimary && report.seen == told_ && !membership().contains(id)) return report.status.region;
  return {};
}

// Why a group that is not primary takes no write and confirms no read.
Error Member::role_refusal() const {
  if (role() != GroupRole::kFenced) return {Code::kUnavailable, text::kStandby};
  if (const auto epoch = contested(); epoch > Epoch())
    return {Code::kUnavailable, "leeward: epoch " + std::to_string(epoch.value()) +
                                    " is contested, two regions began it: neither serves until leewardctl dr survivor"};
  const auto region = serving_region();
  return {Code::kUnavailable, "leeward: this region is fenced: epoch " + std::to_string(context_.seen.epoch.value()) +
                                  " is served by " + (region.empty() ? "another region" : "region " + region) +
                                  "; only serializable reads are served here"};
}

// Its leader has the log say so: then every member knows, whatever it was told.
void Member::propose_fenced() {
  if (role() != GroupRole::kFenced || role_at_end() != GroupRole::kPrimary) return;
  // By a forced change at the log's end it is primary again, of a newer epoch still.
  if (const auto* log = regions_of_log(); log && !log->superseded_by(told_.epoch, told_.promotion)) return;
  raft::Proposal fenced;
  fenced.kind = EntryKind::kFenced;
  fenced.payload = Bytes(region::encode(region::Fenced{told_.epoch, told_.promotion, serving_region()}));
  const auto index = propose({&fenced, 1});
  context_.ports.log.warn("this group is fenced", {{"epoch", told_.epoch}, {"proposed", index.ok()}});
}

// --- cold start ---

// Since the last time that a leader of this group was heard to serve, every
// voter may have been down: long enough for the armed region to be promoted.
// Then its leader asks before it serves. Each frame says whether its sender has
// gone through; one that leads without serving is not heard.
void Member::hear_start(NodeId from, const FrameHeader& header) {
  heard_by_[from] = header.heard;
  if (from != context_.leader() || context_.heard) return;
  context_.heard = header.serves;
  leader_cold_ = !header.serves;
}

// This member of a primary was never told of a leader that serves, and the one
// that it has does not.
bool Member::follows_cold() const {
  return context_.group.started() && role() == GroupRole::kPrimary && !context_.is_leader() && context_.leader() &&
         !context_.heard && leader_cold_ && region_log_->applied().armed_group();
}

// A call is refused at once then: its client may have another region to go to.
bool Member::cold() {
  if (follows_cold()) return true;
  return context_.group.started() && role() == GroupRole::kPrimary && context_.is_leader() && !serving();
}

// What came while there was no leader was judged by nothing yet.
void Member::refuse_cold() {
  proposals_->refuse_waiting({Code::kUnavailable, kTryNextEndpoint});
  reads_->end_asked({Code::kUnavailable, text::kColdStart});
}

bool Member::may_serve() {
  if (role() != GroupRole::kPrimary || !context_.is_leader()) return false;
  if (context_.heard || answered_) return true;
  const auto* log = regions_of_log();
  if (!log) return false;
  if (!log->armed_group()) return true;
  if (std::any_of(heard_by_.begin(), heard_by_.end(),
                  [this](const auto& h) { return h.second && membership().is_voter(h.first); }))
    return true;
  const auto now = context_.now();
  if (!cold_since_) {
    cold_since_ = now;
    question_ = random() | 1;
    context_.ports.log.warn("no member has heard a serving leader since it started: the armed region is asked whether it was promoted",
                            {{"region", log->armed_group()->region}});
  }
  const auto wait = context_.options.limits.start_wait;
  if (wait == Duration::max() || now - *cold_since_ < wait) return false;
  context_.ports.log.error("the armed region has not answered; this one serves, as dr.start_wait says", {{"waited_s", to_s(wait)}});
  return true;
}

void Member::judge_serving() {
  const bool before = context_.serves;
  context_.serves = context_.core && may_serve();
  if (context_.serves) context_.heard = true;
  if (!context_.is_leader() || context_.serves) {
    cold_since_.reset();
    question_ = 0;
    answered_ = false;
  }
  if (context_.serves != before) publish_gate();
}

bool Member::serving() {
  if (!context_.serves) judge_serving();
  return context_.serves;
}

void Member::cold_answer(std::uint64_t question, Epoch newest) {
  if (question == 0 || question != question_ || newest > region_log_->applied().group_epoch()) return;
  answered_ = true;
  judge_serving();
}

// --- lease mode ---

// From when the Armed stands in the leader's log until its Disarmed is
// committed, under the newest arming; at a follower by what is applied, for
// what it answers is confirmed at or behind that.
std::optional<region::Armed> Member::stamp_wanted() {
  if (!context_.group.started() || role() != GroupRole::kPrimary) return std::nullopt;
  const auto by_lease = [](const std::optional<region::Armed>& armed) { return armed && armed->mode == region::FenceMode::kLease; };
  if (const auto* log = context_.is_leader() ? regions_of_log() : nullptr)
    if (auto armed = log->armed_group(); by_lease(armed)) return armed;
  auto armed = region_log_->applied().armed_group();
  return by_lease(armed) ? armed : std::nullopt;
}

void Member::stamp_returned(Term term, Instant sent, region::ArmingId arming) {
  if (sent > context_.now()) return;  // of another machine's or boot's clock
  warrant_->returned(term, sent, arming);
  wake();
}

void Member::heed_lease() {
  // Else it would pass for want of a lease, though another epoch may have acknowledged by now.
  if (context_.group.started() && role() != GroupRole::kPrimary) warrant_->end();
  const auto armed = stamp_wanted();
  warrant_->require(armed ? std::optional(Warrant::Lease{armed->arming, armed->lease}) : std::nullopt);
  warrant_->drive();
}

}  // namespace leeward::node
