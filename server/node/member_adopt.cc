// A committed kAdopt: the state of another group in place of this one's. The
// group itself (membership, incarnations, role, term and log) stays what it is.
#include <algorithm>

#include "base/check.h"
#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kNoSpaceRetry = 1s;

// Decoded and judged against the state it is to replace, as its proposer did.
Result<Manifest> judge_adopt(const Entry& entry, const AppliedState& state) {
  const auto adopt = decode_adopt(entry.payload.view());
  if (!adopt.ok()) return adopt.error();
  auto manifest = decode_manifest(adopt->manifest);
  if (!manifest.ok()) return manifest.error();
  if (manifest->state.point.position != adopt->position || entry.position != adopt->position)
    return Error{Code::kCorrupt, "an Adopt entry and its manifest name two positions"};
  if (adopt->position.index <= state.point.position.index || manifest->state.epoch != state.epoch)
    return Error{Code::kCorrupt, "a committed Adopt does not lead on from the state here"};
  return manifest;
}

}  // namespace

// It stands at the front: all before it is applied, or a later one releases
// this member from an earlier one.
void Member::meet_adopt() {
  auto manifest = judge_adopt(to_apply_.front(), context_.state->applied());
  if (!manifest.ok()) return fail(manifest.error());
  const auto& front = to_apply_.front();
  const auto judged = region_log_->applied().judge(region::State::Origin::kReceived, front.kind, front.epoch, front.payload.view());
  if (!judged.ok()) return fail({Code::kCorrupt, "an Adopt may not stand in this log: " + judged.error().message});
  if (auto result = apply_to_group(front, context_.group); !result.ok()) return fail(result.error());
  adopting_ = Adopting{std::move(*manifest), encode(context_.group), 1, false, {}};
  adoption_->need(adopting_->manifest);
  wait_for_adopt();
}

void Member::wait_for_adopt() {
  if (adopting_->submitted) return;
  bool changed = false;
  for (auto& i = adopting_->looked_at; i < to_apply_.size(); ++i) {
    const auto& e = to_apply_[i];
    if (is_history(e.kind)) continue;
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
  if (adoption_->holds(adopting_->manifest.id) && context_.now() >= adopting_->retry_at && !installing_ &&
      !finishing_)
    install_adopted();
}

// Beside the old state, which stays the current one until the superblock says
// otherwise; a crash before that begins again at this entry. The state is made
// on the files loop: commits go on meanwhile.
void Member::install_adopted() {
  adopting_->submitted = true;
  const auto name = snapshots_->new_state_dir(to_apply_.front().index);
  context_.run_on_files([this, name, entry = to_apply_.front(), manifest = adopting_->manifest,
                         group_state = adopting_->group_state]() mutable -> Function<void()> {
    const auto directory = context_.options.data_dir + "/" + name;
    auto state = make_adopted(directory, manifest, entry, std::move(group_state));
    if (!state.ok() && state.error().code == Code::kNoSpace)
      (void)context_.ports.disk.remove_all(directory);  // tried again as a whole
    return [this, name, state = std::move(state)]() mutable {
      if (failed_) return;
      if (state.ok()) return name_adopted(std::move(*state), name);
      if (state.error().code != Code::kNoSpace) return fail(state.error());
      context_.ports.log.warn("no space to adopt a state", {});
      adopting_->submitted = false;
      adopting_->retry_at = context_.now() + kNoSpaceRetry;
    };
  });
}

Result<std::shared_ptr<StateMachine>> Member::make_adopted(const Path& directory, const Manifest& manifest,
                                                           const Entry& entry, std::string group_state) {
  LEEWARD_TRY(lay_out_state(context_.ports.disk, Adoption::pool(context_.options.data_dir), manifest, directory));
  auto opened = context_.ports.open_state(directory);
  if (!opened.ok()) return opened.error();
  std::shared_ptr<StateMachine> state = std::move(*opened);
  const auto found = state->applied();
  if (found.point != manifest.state.point || found.state_hash != manifest.state.state_hash)
    return Error{Code::kCorrupt, "an adopted checkpoint does not hold the state it announced"};
  state->set_group_state(std::move(group_state));
  LEEWARD_TRY(state->apply({&entry, 1}, [](std::size_t, std::size_t) { return false; },
                           [](std::size_t, std::size_t, CommandResult) {}));
  LEEWARD_TRY(state->flush());
  return state;
}

// From the write of the superblock on it is this member's state.
void Member::name_adopted(std::shared_ptr<StateMachine> state, const std::string& name) {
  wal_->run([this, name, state = std::move(state)]() mutable -> Function<void()> {
    auto data = superblock_->data();
    data.state_dir = name;
    const auto written = superblock_->write(data);
    return [this, written, data = std::move(data), state = std::move(state)]() mutable {
      if (failed_) return;
      if (!written.ok()) return fail(written.error());  // either name may be the one on disk: both are whole
      adopted(std::move(state), std::move(data));
    };
  });
}

void Member::adopted(std::shared_ptr<StateMachine> state, SuperblockData data) {
  if (failed_) return;
  auto group = decode_group_state(state->group_state());
  if (!group.ok()) return fail(group.error());
  old_states_.emplace_back(context_.state->current(), context_.options.data_dir + "/" + superblock_data_.state_dir);
  superblock_data_ = std::move(data);
  context_.state->exchange(std::move(state));
  context_.group = std::move(*group);  // entries behind this one apply again, in order
  if (auto loaded = region_log_->load(); !loaded.ok()) return fail(loaded.error());
  publish_seen();
  const std::vector<Entry> entries{std::move(to_apply_.front())};
  to_apply_.erase(to_apply_.begin());
  adopting_.reset();
  adoption_->need_no_more();
  proposals_->state_exchanged();
  proposals_->applied_term(entries.back().term);
  context_.core->applied(entries.back().index);
  update_may_vote();
  context_.probe.snapshots_received.add();
  context_.ports.log.info("a state was adopted", {{"index", entries.back().index},
                                                  {"history_index", entries.back().position.index}});
  publish_gate();
  after_apply(entries);
  snapshots_->forget_superseded();
  snapshots_->make();  // the log is kept from the oldest one on, and there is none
  apply_committed();
  wake();
}

// When the files that an Adopt asks for are gone, nobody may be led to that
// entry by the log: only snapshots from behind it lead on.
void Member::guard_adopted() {
  const auto adopted = context_.group.adopted;
  const bool gone = adopted.value() != 0 && context_.applied() >= adopted && !adoption_->holds_for(adopted);
  context_.core->set_replication_floor(gone ? adopted : Index());
}

std::optional<HistoryIndex> Member::lowest_applied() const {
  auto lowest = context_.state->applied().point.position.index;
  const auto& m = membership();
  for (const auto* ids : {&m.voters, &m.outgoing, &m.learners, &m.learners_next})
    for (const auto id : *ids) {
      if (id == self()) continue;
      const auto it = reports_.find(id);
      if (it == reports_.end()) return std::nullopt;
      lowest = std::min(lowest, it->second.status.applied.position.index);
    }
  return lowest;
}

// Of another group of this lineage: a checkpoint is asked for, or given.
void Member::on_foreign_bulk(NodeId from, const Frame& frame) {
  if (!frame.header.lineage.known() || frame.header.lineage != context_.group.lineage) return;
  const auto nodes = topology();
  if (std::none_of(nodes.begin(), nodes.end(), [from](const Node& n) { return n.id == from; })) return;
  switch (frame.header.type) {
    case FrameType::kAdoptAsk:
      if (role() == GroupRole::kPrimary && !stands_aside()) adoption_->on_frame(from, frame);
      return;
    case FrameType::kSnapshotFetch: return snapshots_->on_frame(from, frame);
    case FrameType::kSnapshotChunk: (void)adoption_->on_chunk(frame); return;  // late, or unasked
    case FrameType::kAdoptManifest:
    case FrameType::kSnapshotGone: return adoption_->on_frame(from, frame);
    default: return;
  }
}

void Member::on_bulk(NodeId from, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kAdoptOffer:
    case FrameType::kAdoptHeld: return adoption_->on_frame(from, frame);
    case FrameType::kSnapshotGone: adoption_->on_frame(from, frame); break;
    case FrameType::kSnapshotChunk:
      if (adoption_->on_chunk(frame)) return;
      break;
    default: break;
  }
  snapshots_->on_frame(from, frame);
}

}  // namespace leeward::node
