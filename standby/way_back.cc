#include "standby/way_back.h"

#include <algorithm>

#include "standby/desk.h"
#include "standby/regions.h"

namespace leeward::standby {
namespace {

constexpr Duration kPatience = 50s;  // a state may have to be replayed
constexpr Duration kElection = 10s;  // who has just started has no leader yet
constexpr Duration kGreeting = 3s;   // a leader knows by then whether it follows
constexpr Duration kCommit = 5s;     // of one entry
constexpr std::size_t kMostWaiting = 16;

}  // namespace

void Returner::rejoin(RejoinRequest request, Executor& reply, Function<void(Result<RejoinRecord>)> done) {
  group_.loop().post([this, alive = alive_, request = std::move(request), answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    begin({std::move(request), std::move(answer), {}, false, {}});
  });
}

Index Returner::followed_at() const {
  const auto* regions = group_.regions();
  return regions ? regions->control().followed_at : Index();
}

RejoinRecord Returner::record(bool changed) const {
  RejoinRecord record;
  record.changed = changed;
  record.epoch = group_.epoch();
  record.index = group_.state().applied().point.position.index;
  if (const auto* regions = group_.regions()) {
    record.epoch = regions->group_epoch();
  }
  record.ledgers = summaries();
  return record;
}

std::vector<LedgerSummary> Returner::summaries() const {
  std::vector<LedgerSummary> out;
  if (const auto* regions = group_.regions())
    for (const auto& l : regions->control().ledgers) out.push_back({l.follow, l.epoch, l.followed, l.from, l.kept, l.to, l.survived_at});
  return out;
}

bool Returner::keeps(Index ledger) const {
  const auto all = summaries();
  return std::any_of(all.begin(), all.end(), [&](const auto& l) { return l.follow == ledger; });
}

void Returner::discard(Index ledger, bool accept_data_loss, std::string by, Executor& reply,
                       Function<void(Result<std::vector<LedgerSummary>>)> done) {
  group_.loop().post([this, alive = alive_, ledger, accept_data_loss, by = std::move(by), answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    begin_drop({ledger, group_.clock().now() + kCommit, std::move(answer)}, accept_data_loss, std::move(by));
  });
}

void Returner::begin_drop(Dropping asked, bool accept_data_loss, std::string by) {
  if (!group_.is_leader()) return asked.done(led_elsewhere(group_));
  if (!keeps(asked.ledger))
    return asked.done(Error{Code::kNotFound, "leeward: this group keeps no ledger " + std::to_string(asked.ledger.value()) + "; see leewardctl dr ledger show"});
  if (!accept_data_loss)
    return asked.done(Error{Code::kRefused, "accept_data_loss: what this ledger holds is nowhere else, but for what was replayed; leewardctl dr ledger export FILE keeps it, then say --accept-data-loss"});
  if (dropping_.size() >= kMostWaiting) return asked.done(Error{Code::kOverloaded, "too many wait for this already"});
  raft::Proposal discarded;
  discarded.kind = EntryKind::kDiscarded;
  discarded.payload = Bytes(region::encode(region::Discarded{asked.ledger, by}));
  if (const auto index = group_.propose({&discarded, 1}); !index.ok()) return asked.done(Error{Code::kUnavailable, "leeward: " + index.error().message});
  group_.logger().warn("a ledger is discarded", {{"ledger", asked.ledger}, {"by", by}});
  dropping_.push_back(std::move(asked));
}

void Returner::ledgers(Executor& reply, Function<void(Result<LedgerList>)> done) {
  group_.loop().post([this, alive = alive_, answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    group_.held_ledgers([this, alive, answer = std::move(answer)](std::vector<Index> held) mutable {
      if (!*alive) return answer(kNodeStops);
      LedgerList list{group_.lineage(), group_.group(), summaries()};
      for (auto& l : list.ledgers) l.held = std::find(held.begin(), held.end(), l.follow) != held.end();
      answer(std::move(list));
    });
  });
}

// Those who may have what this member has not.
std::string Returner::others() const {
  std::string out;
  for (const auto& n : group_.topology())
    if (n.id != group_.self() && group_.membership().contains(n.id))
      out += (out.empty() ? "" : " or ") + n.name + " at " + n.client_url;
  return out;
}

void Returner::ledger_page(Index ledger, HistoryIndex after, Executor& reply, Function<void(Result<LedgerPiece>)> done) {
  group_.loop().post([this, alive = alive_, ledger, after, answer = answer_on(reply, std::move(done))]() mutable {
    if (!*alive) return answer(kNodeStops);
    group_.read_ledger(ledger, after, [this, alive, answer = std::move(answer)](Result<node::LedgerPage> page) mutable {
      if (page.ok()) return answer(LedgerPiece{std::move(page->entries), page->end});
      Error error = page.error();
      if (*alive && error.code == Code::kUnavailable) error.message += ": ask " + others();
      answer(error);
    });
  });
}

void Returner::begin(Waiting asked) {
  if (!group_.group()) return asked.done(Error{Code::kUnavailable, "leeward: this member takes part in no group yet; leewardctl cluster status says what it waits for"});
  if (group_.role() == GroupRole::kPrimary)
    return asked.done(Error{Code::kRefused, "primary: this region is primary as far as it knows; it follows nobody"});
  if (there() && !asked.request.discard && !group_.is_leader()) return asked.done(record(false));
  if (waiting_.size() >= kMostWaiting) return asked.done(Error{Code::kOverloaded, "too many wait for this already"});
  const auto now = group_.clock().now();
  if (group_.is_leader()) return asked.request.discard ? begin_discard(std::move(asked)) : begin_rejoin(std::move(asked));
  if (group_.leader() && group_.leader() != group_.self()) return asked.done(led_elsewhere(group_));
  if (asked.until == Instant{}) asked.until = now + kElection;
  if (now >= asked.until) return asked.done(led_elsewhere(group_));
  waiting_.push_back(std::move(asked));
}

void Returner::begin_rejoin(Waiting asked) {
  if (diverged())
    return asked.done(Error{Code::kRefused, "diverged: " + client_.damage() + "; leewardctl dr rejoin --discard puts what this region holds beyond "
                                            "where they part into a ledger, and follows"});
  if (there()) return asked.done(record(false));
  asked.begun = true;
  asked.until = group_.clock().now() + kPatience;
  waiting_.push_back(std::move(asked));
  client_.rejoin();
}

void Returner::begin_discard(Waiting asked) {
  const auto now = group_.clock().now();
  const bool undecided = !diverged() && client_.undecided();
  if (asked.until == Instant{} || (undecided && asked.until > now + kGreeting)) asked.until = now + kGreeting;
  if (undecided && now < asked.until) return waiting_.push_back(std::move(asked));
  if (follows(group_.role()) && !heard_())
    return asked.done(Error{Code::kRefused, "primary_silent: no primary is heard, so there is nothing to follow; where it is lost, leewardctl dr plan"});
  if (!diverged())
    return asked.done(Error{Code::kRefused, "not_diverged: no source has told of other history than this region holds (" + std::string(name(client_.state())) +
                                            "); leewardctl dr status"});
  if (!asked.request.accept_data_loss)
    return asked.done(Error{Code::kRefused, "accept_data_loss: what this region alone holds is to be in a ledger only, which nothing replays; "
                                            "say --accept-data-loss"});
  group_.logger().warn("what this region holds beyond where it parts from the primary is to be put aside", {{"by", asked.request.by}});
  asked.begun = true;
  asked.until = now + kPatience;
  asked.followed_at = followed_at();
  waiting_.push_back(std::move(asked));
  client_.discard();
}

void Returner::look_after(Waiting asked, Instant now) {
  if (!asked.begun) return begin(std::move(asked));
  const bool discard = asked.request.discard;
  if (there() && (!discard || followed_at() > asked.followed_at)) return asked.done(record(true));
  if (!discard && diverged()) return begin_rejoin(std::move(asked));  // it says so
  if (discard && client_.unfound() && !client_.searches()) return asked.done(*client_.unfound());
  if (discard && !group_.is_leader())
    return asked.done(Error{Code::kUnknown, "leeward: leadership was lost on the way back; leewardctl dr status, and say it again where it has diverged still"});
  if (now < asked.until) return waiting_.push_back(std::move(asked));
  const bool begun = group_.role() != GroupRole::kFenced || group_.role_at_end() != GroupRole::kFenced;
  const auto why = !client_.damage().empty() ? client_.damage() : !client_.hindrance().empty() ? client_.hindrance() : std::string(name(client_.state()));
  asked.done(begun ? Error{Code::kUnknown, "leeward: this region is on its way back: " + group_.adoption() + "; see leewardctl dr status"}
                   : Error{Code::kUnavailable, "leeward: the way back was not found: " + why});
}

void Returner::tick(Instant now) {
  for (auto& d : std::exchange(dropping_, {})) {
    if (!keeps(d.ledger)) d.done(summaries());
    else if (now >= d.until) d.done(Error{Code::kUnknown, "leeward: it is not known whether the ledger is discarded; say it again"});
    else dropping_.push_back(std::move(d));
  }
  if (waiting_.empty()) return;
  if (group_.role() == GroupRole::kFenced) client_.rejoin();  // as often as the way is looked for anew
  for (auto& asked : std::exchange(waiting_, {})) look_after(std::move(asked), now);
}

void Returner::stopping() {
  for (auto& d : std::exchange(dropping_, {})) d.done(kNodeStops);
  for (auto& w : std::exchange(waiting_, {})) w.done(kNodeStops);
}

}  // namespace leeward::standby
