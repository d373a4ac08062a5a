#include "standby/contest.h"

#include <algorithm>
#include <chrono>

#include "region/state.h"

namespace leeward::standby {
namespace {

constexpr Duration kTellInterval = 1s;
constexpr Duration kDecisionLimit = 10s;

bool takes_epochs(GroupRole role) { return role == GroupRole::kPrimary || role == GroupRole::kFenced; }

std::string digits(region::PromotionId id) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(id));
  return text;
}

}  // namespace

void Contest::tick(Instant now) {
  if (decision_ && now >= decision_->gives_up)
    std::exchange(decision_, std::nullopt)->done(Error{Code::kUnknown, "leeward: it is not committed yet; say it again"});
  if (now - told_ < kTellInterval || !group_.is_leader() || !takes_epochs(group_.role())) return;
  told_ = now;
  const auto history = region::State::history_of(group_.state().region_entries());
  if (!history.ok() || history->epochs.empty()) return;
  const Aid aid{Aid::Kind::kEpochs, 0, region::encode(region::Follow{history->epochs, {}})};
  const auto own = region_();
  for (const auto& node : group_.topology())
    if (node.region != own) outbox_.send(node.id, aid);
}

void Contest::told(NodeId from, const Aid& aid) {
  const auto* log = group_.is_leader() ? group_.regions_of_log() : nullptr;
  if (!log || !takes_epochs(log->role()) || log->control().contested) return;
  const auto nodes = group_.topology();
  const auto known = std::find_if(nodes.begin(), nodes.end(), [from](const node::Node& n) { return n.id == from; });
  const auto theirs = region::decode_follow(aid.body);
  if (known == nodes.end() || !theirs.ok()) return;
  const auto record = log->contested_by(theirs->history);
  if (!record) return;
  // Once decided for the other side this group is fenced as it is.
  const auto& decided = log->control().decided;
  if (std::any_of(decided.begin(), decided.end(), [&](const auto& s) { return s.epoch == record->epoch && s.promotion == record->promotion; })) return;
  raft::Proposal fenced;
  fenced.kind = EntryKind::kFenced;
  fenced.payload = Bytes(region::encode(region::Fenced{record->epoch, record->promotion, known->region}));
  if (group_.propose({&fenced, 1}).ok())
    group_.logger().error("another region holds an epoch of this one by another promotion: both stop; leewardctl dr survivor",
                          {{"epoch", record->epoch}, {"region", known->region}, {"own", digits(log->promotion(record->epoch))},
                           {"theirs", digits(record->promotion)}});
}

void Contest::decide(region::PromotionId promotion, std::string by, Function<void(Result<SurvivorRecord>)> done) {
  const auto* log = group_.regions_of_log();
  if (!log) return done(Error{Code::kUnavailable, "leeward: this group waits for its state; say it again"});
  if (decision_) return done(Error{Code::kUnavailable, "leeward: another decision is under way; say it again"});
  const auto& control = log->control();
  if (!control.contested) {
    if (group_.contested() != Epoch()) return done(Error{Code::kUnavailable, "leeward: this group was told that it is contested, its log does not say so yet; say it again"});
    for (const auto& s : control.decided)
      if (s.promotion == promotion) return done(SurvivorRecord{s.epoch, group_.epoch(), log->promotion(s.epoch) == promotion});
    return done(Error{Code::kRefused, "not_contested: no epoch of this group is held by another one too"});
  }
  const auto epoch = control.contested->epoch;
  const auto own = log->promotion(epoch);
  if (promotion != own && promotion != control.contested->promotion)
    return done(Error{Code::kRefused, "unknown_promotion: epoch " + std::to_string(epoch.value()) + " began by promotion " + digits(own) +
                                          " here and by " + digits(control.contested->promotion) + " elsewhere"});
  const region::Survivor survivor{epoch, promotion};
  std::vector<raft::Proposal> proposals(1);
  proposals[0].kind = EntryKind::kSurvivor;
  proposals[0].payload = Bytes(region::encode(survivor));
  SurvivorRecord record{epoch, group_.epoch(), promotion == own};
  if (record.goes_on) {
    // In an epoch of its own: revisions of the contested one have two contents.
    region::EpochChange change;
    change.epoch = record.epoch = region::forced_epoch(std::max(log->known_epoch(), group_.newest_epoch()), group_.random());
    change.promotion = group_.random() | 1;
    change.group = control.group;
    change.region = region_();
    change.fork = log->end();
    change.ending = region::Ending::kForced;
    change.announced.more = true;
    change.time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(group_.clock().wall().time_since_epoch()).count();
    change.by = std::move(by);
    change.reason = "survivor of contested epoch " + std::to_string(epoch.value());
    proposals.emplace_back();
    proposals[1].kind = EntryKind::kEpochChange;
    proposals[1].epoch = change.epoch;
    proposals[1].payload = Bytes(region::encode(change));
  }
  const auto index = group_.propose(proposals);
  if (!index.ok()) return done(Error{Code::kUnavailable, index.error().message});
  decision_ = Decision{record, survivor, group_.clock().now() + kDecisionLimit, std::move(done)};
}

void Contest::applied() {
  if (!decision_) return;
  const auto& d = *decision_;
  if (d.record.goes_on ? group_.epoch() != d.record.epoch : group_.contested() == d.record.contested) return;
  auto decision = std::move(*std::exchange(decision_, std::nullopt));
  decision.done(decision.record);
}

void Contest::stopping() {
  if (decision_) std::exchange(decision_, std::nullopt)->done(Error{Code::kUnknown, "this node is stopping"});
}

}  // namespace leeward::standby
