// A committed kFollow: this group goes on with another group's history.
// standby/PROTOCOL.md, "The way back".
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kLookAgain = 1s;

}  // namespace

// It stands at the front, and all before it is applied. What it says of the
// group takes effect at once; the state follows.
void Member::meet_follow() {
  const Entry front = to_apply_.front();
  const auto held = context_.state->applied().point.position;
  const auto searched_from = region_log_->applied().control().followed_at;
  const auto leapt_before = context_.group.leapt;
  if (auto judged = region_log_->apply(front); !judged.ok()) return fail(judged.error());
  context_.group.control = region_log_->applied().control();
  if (auto result = apply_to_group(front, context_.group); !result.ok()) return fail(result.error());
  publish_seen();
  context_.ports.log.warn("the group follows another history", {{"epoch", region_log_->applied().group_epoch()},
                                                                {"history_index", front.position.index},
                                                                {"put_aside_entries", held.index - front.position.index}});
  leaping_ = Leaping{std::nullopt, encode(context_.group)};
  leaping_->searched_from = searched_from;
  leaping_->leapt_before = leapt_before;
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
  wait_for_leap();
}

void Member::rewind() {
  const auto& front = to_apply_.front();
  const auto ledger = context_.group.control.ledgers.back();
  auto lacks = [this](const char* why) {
    leaping_->retry_at = context_.now() + kLookAgain;
    if (!std::exchange(leaping_->lacks_state, true))
      context_.ports.log.error("this member cannot go back to the common position by itself; it waits for a copy of state",
                               {{"why", why}});
  };
  const auto from = std::max(leaping_->searched_from, leaping_->leapt_before);
  const auto at = [&](HistoryIndex index) { return last_point_at(*context_.log, index, from, front.index - 1); };
  const auto kept = at(ledger.kept.index), cut = at(front.position.index);
  if (!kept.ok()) return lacks("its log begins above what is put aside");
  auto start = snapshots_->at_or_below(front.position.index);
  // An earlier leap is not replayed: what lies before it leads to another state.
  const auto lowest = std::max(context_.log->base().index, leaping_->leapt_before);
  const bool reaches = cut.ok() && (start ? start->manifest.state.point.index : Index()) >= lowest;
  if (!reaches && leaping_->ledger_written) return lacks("no checkpoint that low is kept");
  if (kept->position != ledger.kept || (cut.ok() && cut->position != front.position))
    return fail({Code::kCorrupt, "the log holds other history at the common position"});
  leaping_->submitted = true;
  const auto name = snapshots_->new_state_dir(front.index);
  rewind_->begin({.lineage = context_.group.lineage,
                  .group = context_.group.control.group,
                  .follow = front,
                  .ledger = ledger,
                  .kept = kept->index,
                  .cut = reaches ? cut->index : Index(),
                  .start = std::move(start),
                  .ledger_only = !reaches,
                  .directory = context_.options.data_dir + "/" + name,
                  .group_state = leaping_->group_state},
                 [this, name, reaches](Result<std::shared_ptr<StateMachine>> state) {
                   if (reaches || !state.ok()) return state_made(std::move(state), name);
                   leaping_->submitted = false;
                   leaping_->ledger_written = true;
                   wait_for_leap();
                 });
}

}  // namespace leeward::node
