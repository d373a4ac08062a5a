// A committed entry that leaps (base/entry.h): another state in place of this
// one's, in the place that the log has come to. The group itself (membership,
// incarnations, role, term and log) stays what it is.
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kNoSpaceRetry = 1s;

}  // namespace

void Member::meet_leap() {
  return to_apply_.front().kind == EntryKind::kFollow ? meet_follow() : meet_adopt();
}

// Until the state can be made nothing behind the entry is applied to it; control
// entries take effect, so that the group goes on to vote and to replicate.
void Member::wait_for_leap() {
  if (leaping_->submitted) return;
  bool changed = false;
  for (auto& i = leaping_->looked_at; i < to_apply_.size(); ++i) {
    const auto& e = to_apply_[i];
    if (is_history(e.kind)) continue;
    if (e.kind == EntryKind::kFollow) break;  // in its turn
    if (e.kind == EntryKind::kAdopt) {
      to_apply_.erase(to_apply_.begin(), to_apply_.begin() + static_cast<std::ptrdiff_t>(i));
      return meet_adopt();
    }
    auto result = apply_to_group(e, context_.group);
    if (!result.ok()) return fail(result.error());
    changed |= *result;
  }
  if (changed) update_may_vote();
  // A snapshot that is to be installed was made behind this entry.
  if (context_.now() < leaping_->retry_at || installing_ || finishing_) return;
  if (!leaping_->manifest) return rewind();
  if (adoption_->holds(leaping_->manifest->id)) install_adopted();
}

// Beside the old state, which stays the current one until the superblock says
// otherwise; a crash before that begins again at this entry.
void Member::state_made(Result<std::shared_ptr<StateMachine>> state, const std::string& name) {
  if (failed_) return;
  if (state.ok()) return name_state(std::move(*state), name);
  if (state.error().code != Code::kNoSpace) return fail(state.error());
  context_.ports.log.warn("no space for the state that the log leaps to; tried again", {{"error", state.error().message}});
  leaping_->submitted = false;
  leaping_->retry_at = context_.now() + kNoSpaceRetry;
}

// From the write of the superblock on it is this member's state.
void Member::name_state(std::shared_ptr<StateMachine> state, const std::string& name) {
  wal_->run([this, name, state = std::move(state)]() mutable -> Function<void()> {
    auto data = superblock_->data();
    data.state_dir = name;
    const auto written = superblock_->write(data);
    return [this, written, data = std::move(data), state = std::move(state)]() mutable {
      if (failed_) return;
      if (!written.ok()) return fail(written.error());  // either name may be the one on disk: both are whole
      leapt(std::move(state), std::move(data));
    };
  });
}

// Behind which revision the state here holds what that one's history does not,
// without an epoch whose revisions begin above: watches cannot go on from there.
// Of a copy nobody knows it: 0.
std::optional<Revision> Member::taken_back_to(const StateMachine& next, const GroupState& group) const {
  const auto old = context_.state->applied().point;
  const auto& control = group.control;
  if (control.followed_at <= old.index) return std::nullopt;
  if (next.applied().point.index == control.followed_at && leaping_) {
    const auto follow = region::decode_follow(to_apply_.front().payload.view());
    return follow.ok() && follow->damaged ? std::optional(next.applied().revision) : std::nullopt;
  }
  const auto history = region::State::history_of(next.region_entries());
  const auto begins = [&](HistoryIndex fork) {
    return history.ok() && std::any_of(history->epochs.begin(), history->epochs.end(), [&](const auto& e) { return e.fork.index == fork; });
  };
  bool told = false, lost = false;
  for (const auto& l : control.ledgers) {
    if (l.follow <= old.index) continue;
    told = true;
    lost |= l.from.index < old.position.index && !begins(l.from.index);
  }
  return told && !lost ? std::nullopt : std::optional(Revision());  // untold: that ledger was discarded since
}

void Member::leapt(std::shared_ptr<StateMachine> state, SuperblockData data) {
  auto group = decode_group_state(state->group_state());
  if (!group.ok()) return fail(group.error());
  old_states_.emplace_back(context_.state->current(), context_.options.data_dir + "/" + superblock_data_.state_dir);
  superblock_data_ = std::move(data);
  const auto back_to = taken_back_to(*state, *group);
  context_.state->exchange(std::move(state), back_to);
  context_.finished = context_.state->applied().point;
  sweep_due_ = true;
  context_.group = std::move(*group);  // entries behind this one apply again, in order
  if (auto loaded = region_log_->load(); !loaded.ok()) return fail(loaded.error());
  publish_seen();
  const std::vector<Entry> entries{std::move(to_apply_.front())};
  const auto& entry = entries.front();
  to_apply_.erase(to_apply_.begin());
  leaping_.reset();
  adoption_->need_no_more();
  proposals_->state_exchanged();
  proposals_->applied_term(entry.term);
  context_.core->applied(entry.index);
  update_may_vote();
  const bool adopted = entry.kind == EntryKind::kAdopt;
  if (adopted) context_.probe.snapshots_received.add();
  context_.ports.log.info(adopted ? "a state was adopted" : "the state is back at the common position",
                          {{"index", entry.index}, {"history_index", entry.position.index}});
  published_.reset();
  publish_gate();
  if (!may_be_read()) reads_->end_asked(role_refusal());
  after_apply(entries);
  snapshots_->forget_superseded();
  snapshots_->make();  // the log is kept from the oldest one on, and there is none
  apply_committed();
  wake();
}

}  // namespace leeward::node
