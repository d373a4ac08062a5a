// Survivors of a lost majority: this member leaves its group for the new one
// (stage), and the one whose log ends highest begins that group (activate).
// standby/PROTOCOL.md, "Survivors".
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

const Error kStagesLater{Code::kUnavailable, "leeward: this member is busy with its state or its log; say it again in a moment"};
constexpr Duration kFreezeLimit = 5s;

LogEnd end_of(const LogPoint& point) { return {point.term, point.index}; }

}  // namespace

RegroupStand Member::regroup_stand() {
  RegroupStand stand;
  stand.incarnation = context_.incarnation;
  stand.group = context_.group.control.group;
  // A frozen member's core knows nothing of what was appended beside it.
  stand.term = std::max(term(), context_.log->hard_state().term);
  if (context_.joins) stand.term = std::max(stand.term, context_.joins->term);
  const auto end = context_.frozen ? context_.log->last() : last();
  stand.end = end_of(end);
  stand.position = end.position;
  stand.leader = leader();
  stand.epoch = region_log_->applied().group_epoch();
  stand.role = role();
  // After a crash its state may be of before it was admitted, and nobody tells it more; who has staged was.
  const bool counts = admitted() || (context_.joins && context_.joins->members.contains(self()));
  stand.may = context_.group.started() && !context_.removed && !failed_ && !standing_.is_isolated() && counts && !leaping_;
  if (context_.joins) stand.plan = context_.joins->become.plan;
  else if (const auto& regrouped = region_log_->applied().control().regrouped) stand.plan = regrouped->plan;
  stand.sealed = sealed();
  stand.begun = !stand.plan.empty() && (!context_.joins || begun());
  return stand;
}

// Nothing of the group it was of counts here any more from when the record is
// durable; before that, its log stands still where the plan has it.
void Member::stage(Regroup regroup, Function<void(Result<void>)> done) {
  const auto own = regroup.members.find(self());
  if (stopping_ || failed_) return done(Error{Code::kUnavailable, text::kStopped});
  if (own == regroup.members.end() || own->second.incarnation != context_.incarnation)
    return done(Error{Code::kRefused, "plan_changed: node " + std::to_string(self().value()) + " is another than the plan names"});
  if (context_.joins && context_.joins->become.plan == regroup.become.plan && context_.joins->term == regroup.term) return done({});
  if (staging_ || installing_ || leaping_ || held_since_ || starting_core_ || standing_changes_ || verification_running_)
    return done(kStagesLater);
  context_.frozen = true;
  context_.serves = false;
  if (context_.core) publish_gate();
  staging_ = Staging{std::move(regroup), std::move(done), context_.now() + kFreezeLimit, false};
  proposals_->end_all(kStagesLater);
  reads_->end_all(kStagesLater);
  lessor_->follow();
  wake();
}

// In each turn, until all that was taken in is durable and applied.
void Member::drive_staging() {
  if (!staging_ || staging_->writing) return;
  // A core that begins anew knows nothing of what is on its way to log or state.
  if (!wal_->idle() || state_busy()) return wake_later();
  if (context_.now() >= staging_->gives_up || stopping_) {
    to_apply_.clear();  // it is handed out again
    return end_staging(kStagesLater);
  }
  if (!to_apply_.empty() || (context_.core && context_.core->has_ready())) return wake_later();
  const auto& r = staging_->regroup;
  const auto& own = r.members.at(self());
  const auto known = context_.joins ? std::max(context_.joins->term, term()) : term();
  if (end_of(context_.log->last()) != own.end || context_.group.control.group != own.group || known > r.term)
    return end_staging(Error{Code::kRefused, "plan_changed: the log of node " + std::to_string(self().value()) +
                                                 " has moved on since the plan; see leewardctl dr plan --members"});
  staging_->writing = true;
  change_superblock([r](SuperblockData& data) {
                      set_regroup(data.extra, r);
                      set_joins_group(data.extra, {});  // which it joined is another group from here on
                    },
                    [this](const Result<void>& written) {
                      if (!written.ok()) {
                        const auto error = written.error();
                        end_staging(error);
                        if (error.code != Code::kNoSpace) fail(error);
                        return;
                      }
                      context_.joins = staging_->regroup;
                      context_.joins_group = GroupId();
                      context_.ports.log.warn("leaves its group for one of survivors",
                                              {{"group", context_.joins->become.group}, {"plan", context_.joins->become.plan}});
                      end_staging({});
                    });
}

void Member::wake_later() {
  if (!std::exchange(turn_posted_, true)) context_.ports.core.after(Duration(1ms), [this] { turn(); });
}

void Member::end_staging(Result<void> result) {
  auto done = std::move(staging_->done);
  staging_.reset();
  join_group();
  done(std::move(result));
}

// Who is to begin the new group waits for the word to; all others take part in
// it as soon as it is there. Before there was a record: in the old one.
void Member::join_group() {
  context_.frozen = context_.joins && context_.joins->leader == self() && !begun();
  if (context_.frozen) {
    waiting_for_ = "the survivors of its group to be one (leewardctl dr promote --members)";
    return;
  }
  heard_by_.clear();
  timed_appends_.clear();
  start_core(context_.group.membership, false);
  role_changed();
}

// The entry by which the new group begins stands in the log here.
bool Member::begun() const {
  return context_.joins && std::max(context_.log->last().term, last().term) >= context_.joins->term;
}

// The one step that decides. Repeatable: the entry is there or it is not.
void Member::activate(const std::string& plan, Function<void(Result<void>)> done) {
  if (!context_.joins || context_.joins->become.plan != plan || context_.joins->leader != self())
    return done(Error{Code::kRefused, "plan_changed: node " + std::to_string(self().value()) + " does not take part in it any more"});
  if (begun()) return done({});
  if (activating_ || staging_) return done(kStagesLater);
  activating_ = true;
  const auto& r = *context_.joins;
  const auto end = context_.log->last();
  Entry entry;
  entry.term = r.term;
  entry.index = end.index + 1;
  entry.kind = EntryKind::kRegroup;
  entry.position = end.position;
  entry.payload = Bytes(payload_of(r));
  const HardState state{r.term, self(), context_.log->hard_state().commit};
  wal_->run([this, entry, state, done = std::move(done)]() mutable -> Function<void()> {
    auto result = context_.log->append({&entry, 1});
    if (result.ok()) result = context_.log->set_hard_state(state);
    if (result.ok()) result = context_.log->sync();
    return [this, result, done = std::move(done)]() mutable {
      activating_ = false;
      // What is buffered may yet reach the disk: whether the group has begun only a restart tells.
      if (!result.ok()) {
        done(Error{Code::kUnknown, result.error().message});
        return fail(result.error());
      }
      context_.ports.log.warn("begins a group of survivors", {{"group", context_.joins->become.group}, {"term", context_.joins->term}});
      join_group();
      done({});
    };
  });
}

// When the group's state has it for good the record has done its duty. Not when
// it is applied: after a loss of power this member knows again only what is on
// its disk, and with the old group's id it would not be heard.
void Member::heed_regroup(Index applying) {
  if (context_.joins_group && context_.group.control.group == context_.joins_group) {
    if (!joined_at_) joined_at_ = std::max(context_.applied(), applying);
    if (context_.state->durable() < *joined_at_) return;
    joined_at_.reset();
    context_.joins_group = GroupId();
    drop_joined();
  }
  if (!context_.joins || context_.group.control.group != context_.joins->become.group) return;
  if (!regrouped_at_) {
    regrouped_at_ = std::max(context_.applied(), applying);
    for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
  }
  if (context_.state->durable() < *regrouped_at_) return;
  regrouped_at_.reset();
  const auto group = context_.joins->become.group;
  context_.joins.reset();
  if (context_.core) context_.core->set_may_lead(may_lead());
  change_superblock(
      [group](SuperblockData& data) {
        drop_regroup(data.extra);
        data.group = group;
      },
      [this](const Result<void>& written) {  // on a full disk it stays, and says what the log says too
        if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
      });
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
}

// A member that holds nothing is of the group that speaks to it and has it: where it
// began by the word of others with empty disks, or of a group of before that nobody
// leads any more. What it voted stays with its term.
void Member::join_spoken(GroupId group) {
  if (context_.group.started() || context_.leader() || context_.log->last().index > Index()) return;
  if (context_.joins_group)
    context_.ports.log.info("joins another group: who told it to start is of one that nobody leads", {{"group", group}, {"before", context_.joins_group}});
  context_.joins_group = group;
  change_superblock([group](SuperblockData& data) { set_joins_group(data.extra, group); },
                    [this](const Result<void>& written) {
                      if (!written.ok()) fail(written.error());
                    });
}

void Member::drop_joined() {
  change_superblock([group = context_.group.control.group](SuperblockData& data) {
                      set_joins_group(data.extra, {});
                      data.group = group;
                    },
                    [this](const Result<void>& written) {  // on a full disk the next start drops it
                      if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
                    });
}

// Until the entry is here, only who began the group may lead it: its log is the
// one that has all.
bool Member::may_lead() const {
  return !stands_aside() && !left_without_state() && (!context_.joins || begun());
}

}  // namespace leeward::node
