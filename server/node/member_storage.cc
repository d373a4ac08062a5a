// Checkpoints, what the log keeps, and the exchange of the whole state.
#include <algorithm>

#include "base/check.h"
#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kStorageInterval = 1s;
constexpr Duration kReserveInterval = 30s;
constexpr const char* kReserveName = "reserve";
constexpr std::size_t kSweptRows = 2000;  // of logical compaction, each time
constexpr Duration kSweepRetry = 1s;      // on a full disk

}  // namespace

void Member::checkpoint_when_due() {
  const auto now = context_.now();
  const auto applied = context_.state->applied().point;
  const auto* newest = snapshots_->newest();
  const auto since = newest ? newest->state.point.position.writes : 0;
  // Behind a snapshot, or a leap, the log does not lead here from the beginning: with no
  // checkpoint there is nothing that this member could go back to the common position from.
  const bool needed = !newest && (context_.log->base().index != Index() || context_.group.leapt != Index());
  const bool due = needed || applied.position.writes >= since + context_.options.storage.checkpoint_interval;
  if (context_.group.started() && !leaping_ && due && snapshots_->may_try()) snapshots_->make();
  if (stored_ && now - *stored_ < kStorageInterval) return;
  stored_ = now;
  remove_old_states();
  if (std::exchange(discarded_, false)) ledger_pages_->drop_discarded();
  if (!leaping_) ledger_fetch_->drive();
  heed_regroup();
  // What it may have to go back by is kept; nothing grows meanwhile.
  if (role() == GroupRole::kFenced || (leaping_ && !leaping_->manifest)) return;
  std::optional<Index> held;
  for (const auto& [holder, index] : retained_) held = std::min(held.value_or(index), index);
  // Right after a start the stream has not said yet what the other regions hold.
  const bool unknown = !held && role() == GroupRole::kPrimary && has_other_regions();
  snapshots_->keep_for_rewind(unknown ? Index() : held, !unknown);
  release_log();
}

bool Member::has_other_regions() const {
  const auto nodes = topology();
  return own_list(nodes, self()).size() < nodes.size();
}

void Member::compact_when_due() {
  const auto state = context_.state->applied();
  const auto upto = auto_compaction_->due(context_.now(), state.revision);
  if (!upto || *upto <= state.compacted || !may_write()) return;
  context_.ports.log.info("compacts", {{"revision", upto->value()}});
  std::vector<WaitingWrite> writes;
  writes.push_back(own_write(Op::kCompact, static_cast<std::uint64_t>(upto->value())));
  proposals_->arrive(std::move(writes), std::nullopt);
}

// On the apply loop: a revision that deleted a million keys is swept in one piece.
void Member::sweep() {
  const auto compacted = context_.state->applied().compacted;
  if (compacted != swept_ && !sweep_since_) sweep_since_ = context_.now();
  if (compacted == swept_ && !sweep_due_) return;
  if (sweep_again_ && context_.now() < *sweep_again_) return;
  sweep_waits_ = state_busy();
  if (sweep_waits_) return;
  sweeping_ = sweep_due_ = true;
  context_.ports.apply.post([this, state = context_.state->current(), compacted] {
    const auto more = state->compact_step(kSweptRows);
    context_.ports.core.post([this, of = std::weak_ptr(state), more, compacted] {
      sweeping_ = false;
      if (!failed_ && of.lock() == context_.state->current()) swept(more, compacted);
      turn();
    });
  });
}

void Member::swept(const Result<bool>& more, Revision compacted) {
  if (!more.ok()) {
    if (more.error().code != Code::kNoSpace) return fail(more.error());
    if (!sweep_again_)
      context_.ports.log.warn("no space to sweep what was compacted; it goes on once there is some", {{"error", more.error().message}});
    sweep_again_ = context_.now() + kSweepRetry;
    return;
  }
  sweep_again_.reset();
  if (*more) return;
  sweep_due_ = false;
  swept_ = compacted;
  if (!sweep_since_) return;
  context_.probe.compaction_duration.observe(context_.now() - *sweep_since_);
  sweep_since_.reset();
}

// Space put aside while there is plenty. When the disk fills up the state gets
// it: writes are refused from then on, and what is committed already is applied,
// so reads go on.
void Member::keep_reserve() {
  const auto bytes = context_.options.storage.reserve_bytes;
  const auto now = context_.now();
  const auto interval = reserve_given_ ? kStorageInterval : kReserveInterval;
  if (bytes == 0 || held_since_ || (reserve_looked_at_ && now - *reserve_looked_at_ < interval)) return;
  reserve_looked_at_ = now;
  const auto least = reserve_given_ ? 2 * bytes : 4 * bytes;
  context_.run_on_files([this, path = context_.options.data_dir + "/" + kReserveName, bytes, least]() -> Function<void()> {
    auto& disk = context_.ports.disk;
    bool there = disk.exists(path);
    if (!there) {
      const auto space = disk.space(context_.options.data_dir);
      if (!space.ok() || space->free_bytes < least) return {};
      auto file = disk.open(path, OpenMode::kCreateOrOpen);
      there = file.ok() && (*file)->allocate(bytes).ok();
      if (!there) (void)disk.remove(path);  // without one a full disk is a little worse; nothing else is
    }
    return [this, there] {
      if (there && !held_since_) reserve_given_.reset();
    };
  });
}

void Member::give_reserve() {
  if (context_.options.storage.reserve_bytes == 0 || reserve_given_) return;
  reserve_looked_at_ = context_.now();
  context_.run_on_files([this, path = context_.options.data_dir + "/" + kReserveName]() -> Function<void()> {
    const bool given = context_.ports.disk.remove(path).ok();
    return [this, given] {
      if (given) reserve_given_ = context_.now();
    };
  });
}

void Member::remove_old_states() {
  std::erase_if(old_states_, [this](const auto& old) {
    if (!old.first.expired()) return false;
    context_.run_on_files([&disk = context_.ports.disk, directory = old.second]() -> Function<void()> {
      (void)disk.remove_all(directory);  // what stays is removed at the next start
      return {};
    });
    return true;
  });
}

// The log is kept from what a restart replays, from the oldest checkpoint, and
// for whoever still reads it; these last only within the budget.
void Member::release_log() {
  const auto* oldest = snapshots_->oldest();
  if (!oldest) return;
  const auto durable = context_.state->durable();
  auto floor = std::min(durable, oldest->state.point.index);
  for (const auto& [holder, index] : retained_) floor = std::min(floor, index);
  if (const auto index = snapshots_->lowest_in_transfer()) floor = std::min(floor, *index);
  if (context_.is_leader())
    for (const auto& peer : context_.core->status().peers)
      if (peer.match.value() != 0) floor = std::min(floor, peer.match);
  // A group that is fetching a checkpoint needs the log behind it next. That is
  // a matter of minutes, and it may take as much again.
  const auto budget = context_.options.storage.retain_log_bytes;
  const auto lent = snapshots_->lowest_lent();
  if (lent) floor = std::min(floor, *lent);
  const auto wanted = floor;
  const auto most = lent ? 2 * budget : budget;
  if (const auto bytes = context_.log->bytes(); bytes > most)
    floor = std::max(floor, within_budget(bytes - most, std::min(durable, snapshots_->newest()->state.point.index)));
  if (floor <= released_ || floor <= context_.log->base().index) return;
  if (floor > wanted) {
    context_.probe.log_dropped.add();
    context_.ports.log.warn("the log outgrew its budget (dr.retain_log): what somebody still wanted to read is dropped",
                            {{"wanted_from", wanted}, {"kept_from", floor}, {"budget_bytes", most}});
  }
  released_ = floor;
  wal_->run([this, floor]() -> Function<void()> {
    const auto released = context_.log->release(floor);
    return [this, released] {
      if (!released.ok() && released.error().code != Code::kNoSpace) fail(released.error());
    };
  });
}

// Up to where the log is dropped to be shorter by `excess`, but not beyond
// `upto`: who is far behind loses what it waits for, others keep what they need.
Index Member::within_budget(std::uint64_t excess, Index upto) const {
  const auto base = context_.log->base();
  Index low = base.index, high = std::max(upto, base.index);
  while (low < high) {
    const auto middle = low + (high - low) / 2;
    const auto point = context_.log->point(middle);
    if (!point.ok()) return upto;
    if (point->position.bytes - base.position.bytes >= excess)
      high = middle;
    else
      low = middle + 1;
  }
  return high;
}

// A snapshot is complete in a directory of its own. It is taken only if the
// log here does not hold its last entry: what may have been acknowledged is
// never dropped for a copy of it.
void Member::install(Snapshots::Received received) {
  if (context_.frozen || !context_.core->wants_snapshot(received.manifest.state.point)) return drop_received(received);
  installing_ = std::move(received);
  install_submitted_ = false;
  wake();
}

// Nobody needs it: the member that offered it may replicate again. One that is
// frozen does not know whether it needs it.
void Member::drop_received(const Snapshots::Received& received) {
  snapshots_->dropped(received, !context_.frozen && !leads());
}

// Once nothing is on its way to the log: note the new state in the superblock,
// begin the log anew after it, make it the current one. After a crash open()
// finishes from the first of these on.
void Member::begin_install() {
  if (install_submitted_ || !wal_->idle() || context_.core->has_ready()) return;
  if (leaping_ ? leaping_->submitted : state_busy() || !to_apply_.empty()) return;
  // What was under way is written by now, and acknowledged: it may reach beyond
  // the snapshot. From here to restored() on_frame() lets nothing in.
  if (!context_.core->wants_snapshot(installing_->manifest.state.point)) {
    const auto received = std::move(*installing_);
    installing_.reset();
    drop_received(received);
    return wake();
  }
  install_submitted_ = true;
  if (leaping_) {  // the snapshot was made behind that entry
    leaping_.reset();
    to_apply_.clear();
    adoption_->need_no_more();
  }
  wal_->run([this, pending = installing_->state_dir, manifest = installing_->manifest]() -> Function<void()> {
    auto data = superblock_->data();
    data.pending_state_dir = pending;
    if (const auto group = decode_group_state(manifest.membership); group.ok() && group->started()) {
      data.lineage = group->lineage;
      data.group = group->control.group;
    }
    auto failed = [this](const Error& error) -> Function<void()> { return [this, error] { fail(error); }; };
    if (auto r = superblock_->write(data); !r.ok()) return failed(r.error());
    if (auto r = context_.log->reset(manifest.state.point); !r.ok()) return failed(r.error());
    auto state = context_.ports.open_state(context_.options.data_dir + "/" + data.pending_state_dir);
    if (!state.ok()) return failed(state.error());
    if ((*state)->applied().point != manifest.state.point)
      return failed({Code::kCorrupt, "a received snapshot does not hold the state it announced"});
    data.state_dir = std::exchange(data.pending_state_dir, "");
    if (auto r = superblock_->write(data); !r.ok()) return failed(r.error());
    return [this, state = std::move(*state), manifest, data]() mutable {
      installed(std::move(state), manifest, std::move(data));
    };
  });
}

void Member::change_superblock(Function<void(SuperblockData&)> change, Function<void(const Result<void>&)> then) {
  wal_->run([this, change = std::move(change), then = std::move(then)]() mutable -> Function<void()> {
    auto data = superblock_->data();
    change(data);
    const auto written = superblock_->write(data);
    return [this, written, data = superblock_->data(), then = std::move(then)]() mutable {
      if (written.ok()) superblock_data_ = std::move(data);
      then(written);
    };
  });
}

void Member::installed(std::unique_ptr<StateMachine> state, const Manifest& manifest, SuperblockData data) {
  old_states_.emplace_back(context_.state->current(), context_.options.data_dir + "/" + superblock_data_.state_dir);
  superblock_data_ = std::move(data);
  auto group = decode_group_state(state->group_state());
  if (!group.ok()) return fail(group.error());
  const auto back_to = taken_back_to(*state, *group);
  context_.state->exchange(std::shared_ptr<StateMachine>(std::move(state)), back_to);
  context_.finished = context_.state->applied().point;
  sweep_due_ = true;
  context_.group = std::move(*group);
  if (auto loaded = region_log_->load(); !loaded.ok()) return fail(loaded.error());
  publish_seen();
  heed_regroup();
  heed_format();
  snapshots_->forget_superseded();
  publish_cluster_id();
  proposals_->state_exchanged();
  committed_ = manifest.state.point;
  released_ = committed_.index;
  const auto received = std::move(*installing_);
  installing_.reset();
  install_submitted_ = false;
  context_.core->restored(context_.now(), manifest.state.point, context_.group.membership);
  for (const auto& [id, incarnation] : context_.group.admitted) forget_lives(id);  // they speak soon again
  update_may_vote();
  context_.probe.snapshots_received.add();
  context_.ports.log.info("a snapshot was installed", {{"index", committed_.index}, {"from", received.from}});
  published_.reset();
  publish_gate();
  if (!may_be_read()) reads_->end_asked(role_refusal());
  reads_->applied();
  snapshots_->installed(received);
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
  wake();
}

}  // namespace leeward::node
