// A committed kAdopt: the state of another group in place of this one's. The
// group itself (membership, incarnations, role, term and log) stays what it is.
#include <algorithm>

#include "base/check.h"
#include "node/member.h"

namespace leeward::node {
namespace {

// Decoded and judged against the history it is to lead on, as its proposer did.
Result<Manifest> judge_adopt(const Entry& entry, const region::State& regions) {
  const auto adopt = decode_leap(entry.payload.view());
  if (!adopt.ok()) return adopt.error();
  auto manifest = decode_manifest(adopt->rest);
  if (!manifest.ok()) return manifest.error();
  if (manifest->state.point.position != adopt->position || entry.position != adopt->position)
    return Error{Code::kCorrupt, "an Adopt entry and its manifest name two positions"};
  if (adopt->position.index < regions.end().index || manifest->state.epoch < regions.live_epoch())
    return Error{Code::kCorrupt, "a committed Adopt does not lead on from the state here"};
  return manifest;
}

}  // namespace

// It stands at the front: all before it is applied, or a later one releases
// this member from an earlier one.
void Member::meet_adopt() {
  auto manifest = judge_adopt(to_apply_.front(), region_log_->applied());
  if (!manifest.ok()) return fail(manifest.error());
  const auto& front = to_apply_.front();
  const auto judged = region_log_->applied().judge(region::State::Origin::kReceived, front.kind, front.epoch, front.payload.view());
  if (!judged.ok()) return fail({Code::kCorrupt, "an Adopt may not stand in this log: " + judged.error().message});
  if (auto result = apply_to_group(front, context_.group); !result.ok()) return fail(result.error());
  context_.group.control = region_log_->applied().control_in(manifest->state.epoch);
  adoption_->need(*manifest);
  leaping_ = Leaping{std::move(*manifest), encode(context_.group)};
  wait_for_leap();
}

// The state is made on the files loop: commits go on meanwhile.
void Member::install_adopted() {
  leaping_->submitted = true;
  const auto name = snapshots_->new_state_dir(to_apply_.front().index);
  context_.run_on_files([this, name, entry = to_apply_.front(), manifest = *leaping_->manifest,
                         group_state = leaping_->group_state]() mutable -> Function<void()> {
    const auto directory = context_.options.data_dir + "/" + name;
    auto state = make_adopted(directory, manifest, entry, std::move(group_state));
    if (!state.ok() && state.error().code == Code::kNoSpace)
      (void)context_.ports.disk.remove_all(directory);  // tried again as a whole
    return [this, name, state = std::move(state)]() mutable { state_made(std::move(state), name); };
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

// When the files that an Adopt asks for are gone, nobody may be led to that
// entry by the log, nor to a Follow that put history aside, for which a member
// needs a checkpoint of its own: only snapshots from behind it lead on.
void Member::guard_leapt() {
  const auto leapt = context_.group.leapt;
  const bool gone = leapt.value() != 0 && context_.applied() >= leapt && !adoption_->holds_for(leapt);
  context_.core->set_replication_floor(gone ? leapt : Index());
}

std::optional<HistoryIndex> Member::lowest_applied() const {
  if (leaping_) return std::nullopt;
  auto lowest = context_.state->applied().point.position.index;
  const auto& m = membership();
  for (const auto* ids : {&m.voters, &m.outgoing, &m.learners, &m.learners_next})
    for (const auto id : *ids) {
      if (id == self()) continue;
      const auto it = reports_.find(id);
      if (it == reports_.end() || it->second.status.leaping) return std::nullopt;
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
    case FrameType::kLedgerAsk:
      if (const auto ask = decode_ledger_ask(frame.body); ask.ok()) ledger_fetch_->asked(from, *ask);
      return;
    case FrameType::kLedgerPiece:
      if (auto piece = decode_ledger_piece(frame.body); piece.ok()) ledger_fetch_->answered(from, std::move(*piece));
      return;
    default: break;
  }
  snapshots_->on_frame(from, frame);
}

}  // namespace leeward::node
