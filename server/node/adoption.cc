#include "node/adoption.h"

#include <algorithm>

#include "base/quantity.h"
#include "ports/file_hash.h"
#include "ports/manifest.h"

namespace leeward::node {
namespace {

constexpr std::string_view kHeldPrefix = "held-";
constexpr std::string_view kHeldPart = ".part";
constexpr std::size_t kMostHeld = 3;
constexpr Duration kAskSourceAgain = 2s;
constexpr Duration kOfferMembersAgain = 1s;
constexpr Duration kRenew = 5s;   // asks the source to keep what is fetched from it
constexpr Duration kPursued = 3s;  // without pursue(): nobody wants it any more

// Not the id itself: a peer made that, and this is a file name.
std::string held_name(const std::string& id) { return std::string(kHeldPrefix) + sha256(id).hex(); }

Result<void> write_held(Disk& disk, const Path& pool, const Manifest& manifest) {
  const auto bytes = encode_manifest_file(manifest);
  const auto path = pool + "/" + held_name(manifest.id), part = path + std::string(kHeldPart);
  {
    auto file = disk.open(part, OpenMode::kCreateOrOpen);
    if (!file.ok()) return file.error();
    LEEWARD_TRY((*file)->truncate(0));
    LEEWARD_TRY((*file)->write(0, bytes));
    LEEWARD_TRY((*file)->sync());
  }
  LEEWARD_TRY(disk.rename(part, path));
  return disk.sync_dir(pool);
}

// Whether the log leaps to this state. What is asked of the log is a few points.
bool named_by_log(const LogView& log, Index from, const Position& position) {
  Index low = std::max(from, log.base().index), high = log.last().index;  // the first at or past it lies in (low, high]
  while (high.value() > low.value() + 1) {
    const auto middle = low + (high - low) / 2;
    const auto point = log.point(middle);
    if (!point.ok()) return true;  // unreadable: rather keep it
    (point->position.index < position.index ? low : high) = middle;
  }
  const auto point = log.point(high);
  if (!point.ok() || point->position != position) return false;
  const auto entries = log.read(high, high + 1, 1);
  return !entries.ok() || entries->empty() || entries->front().kind == EntryKind::kAdopt;
}

template <class Ids>
bool majority(const Ids& ids, const std::function<bool(NodeId)>& yes) {
  const auto count = static_cast<std::size_t>(std::count_if(ids.begin(), ids.end(), yes));
  return ids.empty() || count > ids.size() / 2;
}

}  // namespace

Adoption::Adoption(Context& context, Snapshots& snapshots, LowestApplied lowest, Epochs adopts_behind, Epochs applied,
                   OnFailed failed)
    : context_(context),
      snapshots_(snapshots),
      lowest_(std::move(lowest)),
      adopts_behind_(std::move(adopts_behind)),
      applied_epochs_(std::move(applied)),
      failed_(std::move(failed)),
      fetch_(
          context, pool(), [this](Manifest manifest, NodeId) { fetched(std::move(manifest)); },
          [this](const Manifest&, NodeId, const Error* error) {
            if (!error) return;
            context_.ports.log.warn("a state to adopt could not be fetched", {{"error", error->message}});
            if (error->code == Code::kIo) failed_(*error);
          }) {}

Result<void> Adoption::load() {
  auto& disk = context_.ports.disk;
  LEEWARD_TRY(disk.make_dirs(pool()));
  auto names = disk.list(pool());
  if (!names.ok()) return names.error();
  for (const auto& name : *names) {
    if (!name.starts_with(kHeldPrefix) || name.ends_with(kHeldPart)) continue;
    auto manifest = read_manifest(disk, pool() + "/" + name);
    const bool whole = manifest.ok() && std::all_of(manifest->files.begin(), manifest->files.end(), [&](const auto& f) {
                         return disk.exists(pooled(pool(), f));
                       });
    if (whole) {
      held_.emplace(manifest->id, *manifest);
    } else {
      LEEWARD_TRY(disk.remove(pool() + "/" + name));
    }
  }
  return {};
}

// --- the leader of a following group ---

void Adoption::pursue(std::span<const NodeId> sources) {
  if (!pursuit_ || pursuit_->term != context_.core->term()) {
    pursuit_ = Pursuit();
    lent_in_.clear();
    pursuit_->term = context_.core->term();
    pursuit_->turn = static_cast<std::size_t>(context_.options.self.value());
  }
  pursuit_->sources.assign(sources.begin(), sources.end());
  pursuit_->wanted = context_.now();
}

// From the log's end, as far as this member can tell; who lends it compares the
// epochs. Where the log stands the copy may stand too: a member may lack it.
bool Adoption::leads_on(const Manifest& manifest, const std::vector<region::EpochRecord>& epochs) const {
  const auto epoch = epochs.empty() ? Epoch(1) : epochs.back().epoch;
  const auto end = context_.core->last().position;
  const auto& to = manifest.state.point.position;
  return manifest.state.epoch >= epoch && (to.index > end.index || to == end);
}

// What was lent in an older epoch may be of a history that has ended below it: only
// who serves the newest one can say.
bool Adoption::is_lent(const Manifest& manifest) const {
  const auto newest = context_.seen.epoch;
  const auto lent = lent_in_.find(manifest.id);
  return manifest.state.epoch >= newest || (lent != lent_in_.end() && lent->second >= newest);
}

// The newest of what is held that leads on.
const Manifest* Adoption::candidate() const {
  if (held_.empty()) return nullptr;  // the log is read below
  const auto epochs = adopts_behind_();
  if (!epochs) return nullptr;
  const Manifest* best = nullptr;
  for (const auto& [id, m] : held_)
    if (is_lent(m) && leads_on(m, *epochs) && (!best || m.state.point.position.index > best->state.point.position.index)) best = &m;
  return best;
}

void Adoption::drive_pursuit() {
  auto& p = *pursuit_;
  const auto now = context_.now();
  const bool over = p.proposed && context_.applied() >= *p.proposed;
  if (over || now - p.wanted > kPursued || !context_.is_leader() || p.term != context_.core->term())
    return pursuit_.reset();
  if (p.proposed) return;
  const auto* held = candidate();
  if (!held) {
    if (!fetch_.stale()) {
      if (p.source && now - p.asked > kRenew) ask(fetch_.manifest().id);
      return;
    }
    return ask_source();
  }
  if (p.source && now - p.asked > kRenew) ask(held->id);
  if (p.id != held->id) {
    p.id = held->id;
    p.holders.clear();
    p.offered = {};
  }
  if (enough_hold(held->id)) return propose(*held);
  if (p.offered == Instant{} || now - p.offered >= kOfferMembersAgain) offer(*held);
}

void Adoption::ask_source() {
  auto& p = *pursuit_;
  const auto now = context_.now();
  if (p.sources.empty() || (p.asked != Instant{} && now - p.asked < kAskSourceAgain)) return;
  p.source = p.sources[p.turn++ % p.sources.size()];
  ask(fetch_.active() ? fetch_.manifest().id : "");
}

void Adoption::ask(const std::string& id) {
  pursuit_->asked = context_.now();
  auto epochs = adopts_behind_();
  if (!epochs) return;
  context_.send(pursuit_->source, Lane::kBulk, FrameType::kAdoptAsk,
                encode(AdoptAsk{context_.core->last().position.index, id, std::move(*epochs)}));
}

void Adoption::offer(const Manifest& manifest) {
  pursuit_->offered = context_.now();
  const auto& m = context_.core->membership();
  const auto body = encode(manifest);
  for (const auto* ids : {&m.voters, &m.outgoing, &m.learners, &m.learners_next})
    for (const auto id : *ids)
      if (id != context_.options.self && !pursuit_->holders.contains(id))
        context_.send(id, Lane::kBulk, FrameType::kAdoptOffer, body);
}

// In a joint configuration both sets must be able to go on from it.
bool Adoption::enough_hold(const std::string& id) const {
  const auto& m = context_.core->membership();
  auto holds = [&](NodeId node) {
    if (node == context_.options.self) return held_.contains(id);
    const auto it = pursuit_->holders.find(node);
    if (it == pursuit_->holders.end()) return false;
    // One that was wiped since holds nothing.
    const auto admitted = context_.group.admitted.find(node);
    return admitted == context_.group.admitted.end() || !admitted->second || admitted->second == it->second;
  };
  return majority(m.voters, holds) && majority(m.outgoing, holds);
}

void Adoption::propose(const Manifest& manifest) {
  const raft::Proposal adopt{EntryKind::kAdopt, Epoch(), 0,
                             Bytes(leap_payload(manifest.state.point.position, encode(manifest))), {}, {}};
  const auto index = context_.core->propose(context_.now(), {&adopt, 1});
  if (!index.ok()) return;  // leadership is on its way to another member: tried again, if it stays
  pursuit_->proposed = *index;
  context_.ports.log.info("adopts a state of the primary",
                          {{"history_index", manifest.state.point.position.index}, {"index", *index}});
  context_.wake();
}

// --- frames ---

void Adoption::on_frame(NodeId from, const Frame& frame) {
  switch (frame.header.type) {
    case FrameType::kAdoptAsk: return on_ask(from, frame);
    case FrameType::kAdoptManifest: return on_manifest(from, frame);
    case FrameType::kAdoptOffer: return on_offer(from, frame);
    case FrameType::kAdoptHeld: return on_held(from, frame);
    case FrameType::kSnapshotGone: return on_gone(from, frame);
    default: return;
  }
}

void Adoption::on_ask(NodeId from, const Frame& frame) {
  const auto ask = decode_adopt_ask(frame.body);
  if (!ask.ok()) return;
  // Who has gone another way would be led to what its own history contradicts.
  const auto epochs = applied_epochs_();
  const bool leads = epochs && !region::contested(*epochs, ask->epochs) &&
                     region::common_index(ask->epochs, ask->above, *epochs, context_.state->applied().point.position.index) == ask->above;
  const auto* manifest = leads ? snapshots_.lend(ask->above, ask->id) : nullptr;
  if (!manifest) {
    context_.send(from, Lane::kBulk, FrameType::kSnapshotGone, encode(SnapshotDone{ask->id, false, Index()}));
    return;
  }
  context_.send(from, Lane::kBulk, FrameType::kAdoptManifest, encode(*manifest));
}

void Adoption::on_manifest(NodeId from, const Frame& frame) {
  if (!pursuit_ || pursuit_->source != from || pursuit_->proposed || candidate()) return;
  auto manifest = decode_manifest(frame.body.view());
  if (!manifest.ok() || lineage_of(*manifest) != frame.header.lineage) return;
  const auto epochs = adopts_behind_();
  if (!epochs || !leads_on(*manifest, *epochs)) return;
  lent_in_[manifest->id] = context_.seen.epoch;
  if (held_.contains(manifest->id)) return context_.wake();
  if (!fetch_.stale()) return;
  if (fetch_.fetches(manifest->id)) return fetch_.go_on_from(from);
  begin(std::move(*manifest), from);
}

void Adoption::on_offer(NodeId from, const Frame& frame) {
  auto manifest = decode_manifest(frame.body.view());
  if (!manifest.ok() || lineage_of(*manifest) != frame.header.lineage) return;
  if (held_.contains(manifest->id)) return tell_held(from, *manifest);
  if (!fetch_.stale()) return;
  if (fetch_.fetches(manifest->id)) return fetch_.go_on_from(from);
  begin(std::move(*manifest), from);
}

void Adoption::tell_held(NodeId to, const Manifest& manifest) {
  context_.send(to, Lane::kBulk, FrameType::kAdoptHeld, encode(SnapshotDone{manifest.id, true, Index()}));
}

void Adoption::on_held(NodeId from, const Frame& frame) {
  const auto held = decode_snapshot_done(frame.body);
  if (!held.ok() || !pursuit_ || pursuit_->id != held->id) return;
  pursuit_->holders[from] = frame.header.incarnation;
  context_.wake();
}

void Adoption::on_gone(NodeId from, const Frame& frame) {
  const auto gone = decode_snapshot_done(frame.body);
  if (gone.ok() && fetch_.gone(from, gone->id)) fetch_.sender_is_gone();  // another holder is looked for
}

std::optional<Path> Adoption::file(const std::string& id, std::uint32_t place) const {
  const auto it = held_.find(id);
  if (it == held_.end() || place >= it->second.files.size()) return std::nullopt;
  return pooled(pool(), it->second.files[place]);
}

// --- fetching ---

// The manifest is written when the names of all its files are durable.
void Adoption::begin(Manifest manifest, NodeId from) {
  fetch_.begin(
      std::move(manifest), from,
      [this](const Manifest& m) { return write_held(context_.ports.disk, pool(), m); }, "a state to adopt");
}

void Adoption::fetched(Manifest manifest) {
  context_.ports.log.info("holds a state to adopt", {{"history_index", manifest.state.point.position.index}});
  const auto id = manifest.id;
  const auto it = held_.insert_or_assign(id, std::move(manifest)).first;
  if (const auto leader = context_.leader(); leader && leader != context_.options.self) tell_held(leader, it->second);
  context_.wake();
}

// --- what apply waits for ---

void Adoption::need(const Manifest& manifest) {
  need_ = manifest;
  need_turn_ = 0;
}

// Any member may hold it: those of this group are asked first, then the others.
void Adoption::drive_need() {
  if (held_.contains(need_->id)) return;
  if (!fetch_.stale()) return;
  std::vector<NodeId> own, others;
  const auto& members = context_.core->membership();
  for (const auto& n : context_.options.nodes)
    if (n.id != context_.options.self) (members.contains(n.id) ? own : others).push_back(n.id);
  own.insert(own.end(), others.begin(), others.end());
  if (own.empty()) return;
  const auto from = own[need_turn_++ % own.size()];
  if (fetch_.fetches(need_->id)) return fetch_.go_on_from(from);
  begin(*need_, from);
}

void Adoption::drive() {
  if (!context_.core) return;
  if (pursuit_) drive_pursuit();
  if (need_) drive_need();
  fetch_.drive();
  if (!held_.empty()) drop_old();
}

bool Adoption::holds_for(Index adopted) const {
  const auto point = context_.log->point(adopted);
  return point.ok() && std::any_of(held_.begin(), held_.end(), [&](const auto& held) {
           return held.second.state.point.position == point->position;
         });
}

// The oldest that no entry of the log asks for.
const Manifest* Adoption::least_needed() const {
  const Manifest* least = nullptr;
  for (const auto& [id, m] : held_) {
    if (least && m.state.point.position.index >= least->state.point.position.index) continue;
    if ((need_ && need_->id == id) || named_by_log(*context_.log, context_.group.control.followed_at, m.state.point.position)) continue;
    least = &m;
  }
  return least;
}

// Files go when every member has come past them. One that is never adopted
// stays until then, or until newer ones push it out.
void Adoption::drop_old() {
  const auto lowest = lowest_();
  std::vector<std::string> over;
  for (const auto& [id, m] : held_)
    if (lowest && m.state.point.position.index <= *lowest) over.push_back(id);
  if (over.empty() && held_.size() > kMostHeld)
    if (const auto* least = least_needed()) over.push_back(least->id);
  if (over.empty()) return;
  std::vector<std::string> removed;
  for (const auto& id : over) {
    removed.push_back(held_name(id));
    held_.erase(id);
    lent_in_.erase(id);
  }
  std::vector<Manifest> kept;
  for (const auto& [id, m] : held_) kept.push_back(m);
  if (fetch_.active()) kept.push_back(fetch_.manifest());
  context_.run_on_files([&disk = context_.ports.disk, pool = pool(), removed, kept]() -> Function<void()> {
    // The manifests first, for good: one that comes back must find its files.
    for (const auto& name : removed) (void)disk.remove(pool + "/" + name);
    if (disk.sync_dir(pool).ok()) drop_from_pool(disk, pool, kept, kHeldPrefix);
    return {};
  });
}

std::string Adoption::progress() const {
  if (fetch_.active())
    return "fetching a copy of state: " + human_size(fetch_.have()) + " of " + human_size(fetch_.total());
  if (need_) return held_.contains(need_->id) ? "installing a copy of state" : "waiting for a copy of state";
  if (!pursuit_) return {};
  if (pursuit_->proposed) return "adopting a copy of state";
  if (!candidate()) return "asking the primary for a copy of state";
  return "giving the copy of state to the other members: " + std::to_string(pursuit_->holders.size() + 1) + " of " +
         std::to_string(context_.core->membership().voters.size()) + " hold it";
}

}  // namespace leeward::node
