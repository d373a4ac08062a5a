#include "node/snapshots.h"

#include <algorithm>

#include "base/crc32c.h"
#include "node/group_state.h"

namespace leeward::node {
namespace {

constexpr std::string_view kCheckpointPrefix = "checkpoint-";
constexpr std::string_view kManifestName = "leeward-manifest";
constexpr Duration kOfferAgain = 1s;
constexpr Duration kGiveUpSending = 20s;
constexpr Duration kTryAgain = 1s;
constexpr Duration kPoolKept = 10min;   // of a snapshot whose fetching was broken off
constexpr Duration kServedLately = 60s;  // a checkpoint someone reads from is kept this long

std::string padded(std::uint64_t n) {
  const auto digits = std::to_string(n);
  return std::string(20 - digits.size(), '0') + digits;
}

Result<void> write_manifest(Disk& disk, const Path& directory, const Manifest& manifest) {
  auto file = disk.open(directory + "/" + std::string(kManifestName), OpenMode::kCreateOrOpen);
  if (!file.ok()) return file.error();
  LEEWARD_TRY((*file)->write(0, encode_manifest_file(manifest)));
  LEEWARD_TRY((*file)->sync());
  return disk.sync_dir(directory);
}

// A crash may have cut a removal short that had begun with other files.
bool is_whole(Disk& disk, const Path& directory, const Manifest& manifest) {
  return std::all_of(manifest.files.begin(), manifest.files.end(), [&](const StateFile& f) {
    const auto file = disk.open(directory + "/" + f.name, OpenMode::kRead);
    if (!file.ok()) return false;
    const auto size = (*file)->size();
    return size.ok() && *size == f.size;
  });
}

// Its manifest first: what a crash leaves of it is known as that, not as damage.
Result<void> remove_checkpoint(Disk& disk, const Path& directory) {
  if (disk.remove(directory + "/" + std::string(kManifestName)).ok()) (void)disk.sync_dir(directory);
  return disk.remove_all(directory);
}

}  // namespace

Snapshots::Snapshots(Context& context, OnReceived received, OnSent sent, OnFailed failed)
    : context_(context),
      received_(std::move(received)),
      sent_(std::move(sent)),
      failed_(std::move(failed)),
      fetch_(
          context, pool(),
          [this](Manifest manifest, NodeId from) { received_({std::move(manifest), state_dir_, from}); },
          [this](const Manifest& manifest, NodeId from, const Error* error) { given_up(manifest, from, error); }) {}

// Where the log does not reach, any more or at all, only the lineage tells.
Result<void> Snapshots::check_ours(const Manifest& manifest, const Lineage& own, const Path& directory) const {
  const auto lineage = lineage_of(manifest);
  const auto& log = *context_.log;
  const auto& point = manifest.state.point;
  // One that has never had an entry made none of them.
  bool ours = own.known() ? !lineage.known() || lineage == own : !lineage.known() || log.last().index > Index();
  if (ours && own.known() && point.index >= log.base().index && point.index <= log.last().index) {
    const auto here = log.point(point.index);
    if (!here.ok()) return here.error();
    ours = *here == point;
  }
  if (ours) return {};
  return Error{Code::kLineage, directory + " is of another cluster or node than the log of this one; name the right place: node.snapshot_dir,"
                               " or move away what lies there"};
}

Result<void> Snapshots::load(const Lineage& own) {
  auto& disk = context_.ports.disk;
  if (auto left = disk.list(pool()); left.ok() && !left->empty()) {
    pool_used_ = context_.now();
    pool_end_ = context_.log->last().index;
  }
  const auto& root = context_.options.snapshot_dir;
  auto names = disk.list(root);
  if (!names.ok()) return names.error();
  std::erase_if(*names, [](const std::string& name) { return !name.starts_with(kCheckpointPrefix); });
  std::vector<Result<Manifest>> manifests;  // of all, before any is removed
  for (const auto& name : *names) {
    manifests.push_back(read_manifest(disk, root + "/" + name + "/" + std::string(kManifestName)));
    if (manifests.back().ok()) LEEWARD_TRY(check_ours(*manifests.back(), own, root + "/" + name));
  }
  for (std::size_t i = 0; i < names->size(); ++i) {
    const auto& name = (*names)[i];
    auto& manifest = manifests[i];
    if (manifest.ok() && manifest->state.point.index <= context_.log->last().index && !superseded(*manifest) &&
        is_whole(disk, root + "/" + name, *manifest)) {
      checkpoints_.push_back({std::move(*manifest), root + "/" + name, std::nullopt, std::nullopt});
    } else {
      context_.ports.log.info("an incomplete or superseded checkpoint is removed", {{"dir", name}});
      LEEWARD_TRY(remove_checkpoint(disk, root + "/" + name));
    }
  }
  std::sort(checkpoints_.begin(), checkpoints_.end(), [](const Checkpoint& a, const Checkpoint& b) {
    return a.manifest.state.point.index < b.manifest.state.point.index;
  });
  return {};
}

// The core loop applies on meanwhile. Until its manifest is durable nothing
// knows of the checkpoint, and load() removes what a crash left of it.
bool Snapshots::make() {
  if (making_) return true;
  const auto applied = context_.state->applied().point.index;
  if (const auto* last = newest(); last && last->state.point.index >= applied) return false;
  making_ = true;
  making_since_ = context_.now();
  auto state = context_.state->current();
  const auto& root = context_.options.snapshot_dir;
  const auto directory = root + "/" + std::string(kCheckpointPrefix) + padded(applied.value());
  context_.run_on_files([this, state, root, directory]() mutable -> Function<void()> {
    auto manifest = write_checkpoint(context_.ports.disk, root, directory, *state);
    return [this, state = std::move(state), manifest = std::move(manifest), directory]() mutable {
      const bool still_current = state == context_.state->current();
      state.reset();
      made(std::move(manifest), directory, still_current);
    };
  });
  return true;
}

Result<Manifest> Snapshots::write_checkpoint(Disk& disk, const Path& root, const Path& directory, StateMachine& state) {
  LEEWARD_TRY(remove_checkpoint(disk, directory));
  auto manifest = state.checkpoint(directory);
  if (!manifest.ok()) return manifest.error();
  LEEWARD_TRY(write_manifest(disk, directory, *manifest));
  LEEWARD_TRY(disk.sync_dir(root));
  return manifest;
}

void Snapshots::made(Result<Manifest> manifest, const Path& directory, bool still_current) {
  making_ = false;
  made_ = context_.now();
  const auto waiting = std::exchange(offers_waiting_, {});
  tell_span("snapshot.make", making_since_, manifest.ok() ? manifest->state.point.index : Index(), {},
            manifest.ok() ? std::string_view() : "not made");
  if (manifest.ok() && still_current) {
    context_.ports.log.info("made a checkpoint", {{"index", manifest->state.point.index}});
    // Old ones go with the next keep_for_rewind(): the member may be at one of them.
    checkpoints_.push_back({std::move(*manifest), directory, std::nullopt, std::nullopt});
  } else {
    // Of a state that was exchanged meanwhile, or half made.
    remove_on_files(directory);
    if (manifest.ok() && checkpoints_.empty()) make();
    if (!manifest.ok() && manifest.error().code != Code::kNoSpace) return failed_(manifest.error());
    if (!manifest.ok()) context_.ports.log.warn("no space for a checkpoint", {});
  }
  for (const auto& [to, beyond] : waiting) {
    if (manifest.ok()) {
      offer(to, beyond);
    } else {
      sent_(to, false, Index());
    }
  }
}

bool Snapshots::may_try() const { return !making_ && context_.now() - made_ >= kTryAgain; }

const Snapshots::Checkpoint* Snapshots::for_rewind() const {
  if (!held_ || checkpoints_.empty()) return nullptr;
  const auto above = std::find_if(checkpoints_.begin(), checkpoints_.end(),
                                  [&](const Checkpoint& c) { return c.manifest.state.point.index > *held_; });
  const auto& c = above == checkpoints_.begin() ? checkpoints_.front() : *std::prev(above);
  return c.manifest.state.point.index < context_.log->base().index ? nullptr : &c;
}

void Snapshots::keep_for_rewind(std::optional<Index> held, bool known) {
  held_ = held;
  known_ = known;
  forget_old();
}

std::optional<bool> Snapshots::rewindable() const {
  if (!held_ || !known_) return std::nullopt;
  if (context_.log->base().index == Index() && context_.group.leapt == Index()) return true;  // from the very beginning
  const auto* c = for_rewind();
  return c && c->manifest.state.point.index <= *held_;
}

std::optional<Snapshots::Kept> Snapshots::at_or_below(HistoryIndex index) const {
  std::optional<Kept> best;
  for (const auto& c : checkpoints_)
    if (c.manifest.state.point.position.index <= index) best = Kept{c.manifest, c.directory};
  return best;
}

void Snapshots::forget_old() {
  const auto now = context_.now();
  const auto* kept = for_rewind();
  const auto kept_index = kept ? kept->manifest.state.point.index : Index();
  std::size_t extra = checkpoints_.size() - std::min(checkpoints_.size(), context_.options.storage.checkpoint_retention);
  for (auto it = checkpoints_.begin(); extra > 0; --extra) {
    const bool served_lately = it->served && now - *it->served < kServedLately;
    if (served_lately || (kept && it->manifest.state.point.index == kept_index)) {
      ++it;
      continue;
    }
    remove_on_files(it->directory);
    it = checkpoints_.erase(it);
  }
}

void Snapshots::remove_on_files(const Path& directory) {
  context_.run_on_files([&disk = context_.ports.disk, directory]() -> Function<void()> {
    (void)remove_checkpoint(disk, directory);  // what stays is removed at the next start
    return {};
  });
}

bool Snapshots::superseded(const Manifest& manifest) const {
  return manifest.state.point.index < context_.group.leapt;
}

void Snapshots::forget_superseded() {
  std::erase_if(checkpoints_, [this](const Checkpoint& c) {
    if (!superseded(c.manifest)) return false;
    remove_on_files(c.directory);
    return true;
  });
}

const Manifest* Snapshots::newest() const { return checkpoints_.empty() ? nullptr : &checkpoints_.back().manifest; }
const Manifest* Snapshots::oldest() const { return checkpoints_.empty() ? nullptr : &checkpoints_.front().manifest; }

const Snapshots::Checkpoint* Snapshots::find(const std::string& id) const {
  for (const auto& c : checkpoints_)
    if (c.manifest.id == id) return &c;
  return nullptr;
}

// --- the leader and whoever holds a checkpoint ---

void Snapshots::offer(NodeId to, Index beyond) {
  const auto now = context_.now();
  if (const auto it = transfers_.find(to); it != transfers_.end() && it->second.index >= beyond) return;
  // The log must reach from the snapshot on: what it has lost, a new one covers.
  // While an Adopt waits for its files there is none to give.
  if (context_.applied() < context_.group.leapt) return sent_(to, false, Index());
  const auto* manifest = newest();
  const bool reaches = manifest && manifest->state.point.index >= std::max(beyond, context_.log->base().index);
  if (!reaches && make()) {
    auto& waiting = offers_waiting_[to];
    waiting = std::max(waiting, beyond);
    return;
  }
  if (!manifest) {
    context_.ports.log.warn("no checkpoint could be made for a member that needs one", {{"node", to}});
    return sent_(to, false, Index());
  }
  auto& transfer = transfers_[to];
  transfer = {manifest->id, manifest->state.point.index, now, now, now};
  context_.ports.log.info("offers a snapshot", {{"node", to}, {"index", transfer.index}});
  send_offer(to, transfer);
}

void Snapshots::send_offer(NodeId to, Transfer& transfer) {
  transfer.offered = context_.now();
  if (const auto* c = find(transfer.id))
    context_.send(to, Lane::kBulk, FrameType::kSnapshotOffer, encode(c->manifest));
}

std::optional<Index> Snapshots::lowest_in_transfer() const {
  std::optional<Index> lowest;
  for (const auto& [to, t] : transfers_)
    if (!lowest || t.index < *lowest) lowest = t.index;
  return lowest;
}

const Manifest* Snapshots::lend(HistoryIndex above, const std::string& id) {
  const auto it = std::find_if(checkpoints_.begin(), checkpoints_.end(),
                               [&](const Checkpoint& c) { return c.manifest.id == id; });
  const bool none = it == checkpoints_.end() && checkpoints_.empty();
  if (none || (it == checkpoints_.end() ? checkpoints_.back() : *it).manifest.state.point.position.index < above) {
    if (context_.state->applied().point.position.index >= above) make();
    return nullptr;
  }
  auto& c = it == checkpoints_.end() ? checkpoints_.back() : *it;
  c.served = c.lent = context_.now();
  return &c.manifest;
}

std::optional<Index> Snapshots::lowest_lent() const {
  for (const auto& c : checkpoints_)
    if (c.lent && context_.now() - *c.lent < kServedLately) return c.manifest.state.point.index;
  return std::nullopt;
}

std::string Snapshots::new_state_dir(Index index) {
  next_dir_ = std::max(next_dir_, context_.state->applied().point.index.value()) + 1;
  return "state-" + std::to_string(index.value()) + "-" + std::to_string(next_dir_);
}

void Snapshots::on_frame(NodeId from, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kSnapshotOffer: return on_offer(from, frame);
    case FrameType::kSnapshotFetch: return on_fetch(from, frame);
    case FrameType::kSnapshotChunk: (void)fetch_.on_chunk(frame); return;
    case FrameType::kSnapshotGone: return on_gone(from, frame);
    case FrameType::kSnapshotDone: return on_done(from, frame);
    default: return;
  }
}

void Snapshots::on_fetch(NodeId from, const Frame& frame) {
  auto fetch = decode_snapshot_fetch(frame.body);
  if (!fetch.ok()) return;
  const auto now = context_.now();
  std::optional<Path> path;
  const auto it = std::find_if(checkpoints_.begin(), checkpoints_.end(),
                               [&](const Checkpoint& c) { return c.manifest.id == fetch->id; });
  if (it != checkpoints_.end() && fetch->file < it->manifest.files.size()) {
    it->served = now;
    if (it->lent) it->lent = now;
    path = it->directory + "/" + it->manifest.files[fetch->file].name;
  } else if (elsewhere_) {
    path = elsewhere_(fetch->id, fetch->file);
  }
  if (!path) {
    context_.send(from, Lane::kBulk, FrameType::kSnapshotGone, encode(SnapshotDone{fetch->id, false, Index()}));
    return;
  }
  if (const auto t = transfers_.find(from); t != transfers_.end() && t->second.id == fetch->id)
    t->second.progressed = now;
  context_.run_on_files([this, from, path = *path, fetch = std::move(*fetch)]() -> Function<void()> {
    SnapshotChunk chunk{fetch.id, fetch.file, fetch.offset, 0, {}};
    std::string bytes;
    auto file = context_.ports.disk.open(path, OpenMode::kRead);
    const bool ok = file.ok() && (*file)->read(fetch.offset, fetch.length, bytes).ok();
    if (ok) {
      chunk.data = Bytes(std::move(bytes));
      chunk.crc = crc32c(chunk.data.view());
    }
    return [this, from, ok, chunk = std::move(chunk)] {
      if (!ok) {
        context_.send(from, Lane::kBulk, FrameType::kSnapshotGone, encode(SnapshotDone{chunk.id, false, Index()}));
      } else {
        context_.send(from, Lane::kBulk, FrameType::kSnapshotChunk, encode_chunk_head(chunk), chunk.data);
      }
    };
  });
}

void Snapshots::on_done(NodeId from, const Frame& frame) {
  const auto done = decode_snapshot_done(frame.body);
  if (!done.ok()) return;
  const auto it = transfers_.find(from);
  if (it == transfers_.end() || it->second.id != done->id) return;
  tell_span("snapshot.send", it->second.begun, it->second.index, from, done->ok ? std::string_view() : "not installed");
  transfers_.erase(it);
  sent_(from, done->ok, done->index);
}

// --- the receiver ---

void Snapshots::on_offer(NodeId from, const Frame& frame) {
  auto manifest = decode_manifest(frame.body.view());
  if (!manifest.ok()) return;
  if (lineage_of(*manifest) != frame.header.lineage) return tell_done(from, *manifest, false);
  if (manifest->state.point.index <= context_.core->commit()) return tell_done(from, *manifest, true);
  if (fetch_.fetches(manifest->id)) {
    if (fetch_.from() != from) fetch_.go_on_from(from);
    return;
  }
  if (fetch_.active()) {
    if (!fetch_.stale()) return;
    tell_done(fetch_.from(), fetch_.manifest(), false);
  }
  begin(from, std::move(*manifest));
}

// The files of this one that an earlier attempt left are taken over; the others
// would only take space.
void Snapshots::begin(NodeId from, Manifest manifest) {
  state_dir_ = new_state_dir(manifest.state.point.index);
  pool_used_ = fetching_since_ = context_.now();
  context_.run_on_files([&disk = context_.ports.disk, pool = pool(), manifest]() -> Function<void()> {
    drop_from_pool(disk, pool, {manifest});
    return {};
  });
  fetch_.begin(
      std::move(manifest), from,
      [this, directory = context_.options.data_dir + "/" + state_dir_](const Manifest& m) {
        return lay_out_state(context_.ports.disk, pool(), m, directory);
      },
      "a snapshot");
}

void Snapshots::on_gone(NodeId from, const Frame& frame) {
  const auto gone = decode_snapshot_done(frame.body);
  if (!gone.ok() || !fetch_.gone(from, gone->id)) return;
  tell_done(from, fetch_.manifest(), false);
  fetch_.stop();
}

// What is there stays for the next attempt, but on a full disk.
void Snapshots::given_up(const Manifest& manifest, NodeId from, const Error* error) {
  tell_done(from, manifest, false);
  remove_on_files(context_.options.data_dir + "/" + state_dir_);
  if (!error) return;
  context_.ports.log.warn("a snapshot could not be fetched", {{"error", error->message}});
  if (error->code == Code::kNoSpace) clear_pool();
  if (error->code == Code::kIo) failed_(*error);
}

void Snapshots::tell_done(NodeId to, const Manifest& manifest, bool ok) {
  context_.send(to, Lane::kBulk, FrameType::kSnapshotDone, encode(SnapshotDone{manifest.id, ok, manifest.state.point.index}));
}

void Snapshots::tell_span(std::string_view name, Instant since, Index index, NodeId peer, std::string_view failure) {
  Tracer* tracer = context_.ports.tracer;
  if (tracer == nullptr) return;
  Span span = root_span(*tracer, name, since, context_.now());
  span.failure = failure;
  span.with("leeward.index", static_cast<std::int64_t>(index.value()));
  if (peer) span.with("leeward.peer", static_cast<std::int64_t>(peer.value()));
  tracer->record(span);
}

void Snapshots::installed(const Received& received) {
  tell_span("snapshot.install", fetching_since_, received.manifest.state.point.index, received.from, {});
  clear_pool();
  tell_done(received.from, received.manifest, true);
}

void Snapshots::dropped(const Received& received, bool ok) {
  tell_span("snapshot.install", fetching_since_, received.manifest.state.point.index, received.from, "not wanted any more");
  remove_on_files(context_.options.data_dir + "/" + received.state_dir);
  clear_pool();
  tell_done(received.from, received.manifest, ok);
}

void Snapshots::clear_pool() {
  pool_used_.reset();
  context_.run_on_files([&disk = context_.ports.disk, pool = pool()]() -> Function<void()> {
    drop_from_pool(disk, pool, {});
    return {};
  });
}

void Snapshots::drive() {
  const auto now = context_.now();
  std::vector<NodeId> over;
  for (auto& [to, t] : transfers_) {
    const bool silent = now - t.progressed > kGiveUpSending;
    if (silent || !context_.is_leader() || !find(t.id)) {
      over.push_back(to);
    } else if (now - t.offered > kOfferAgain) {
      send_offer(to, t);
    }
  }
  for (const auto to : over) {
    transfers_.erase(to);
    sent_(to, false, Index());
  }
  if (fetch_.active()) {
    pool_used_ = now;
    pool_end_ = context_.log->last().index;
  }
  fetch_.drive();
  // The log leads on, so what is there was installed before this process began,
  // or is not wanted any more; or nobody offers it again.
  const bool leads_on = context_.log->last().index > pool_end_;
  if (pool_used_ && !fetch_.active() && (leads_on || now - *pool_used_ > kPoolKept)) clear_pool();
}

}  // namespace leeward::node
