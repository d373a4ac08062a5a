// Opening a member: locks, superblock, state and log, and what a crash left
// half done.
#include <algorithm>

#include "base/check.h"
#include "node/member.h"

namespace leeward::node {
namespace {

constexpr std::string_view kStatePrefix = "state-";
constexpr std::string_view kLogSuffix = ".seg";

Incarnation new_incarnation(Random& random) {
  for (;;)
    if (const auto v = random.next()) return Incarnation(v);
}

// What is damaged beyond this member's means comes back from its peers. A store
// whose files are missing is damaged too.
Error unusable(Error error, const MemberOptions& o, const char* then = "; ") {
  if (error.code != Code::kCorrupt && error.code != Code::kNotFound) return error;
  error.code = Code::kCorrupt;
  error.message += std::string(then) + "empty " + o.data_dir + (o.wal_dir.starts_with(o.data_dir + "/") ? "" : " and " + o.wal_dir) +
                   " and let this member be refilled by its peers, then admit it (leewardctl member admit); leewardctl storage "
                   "verify --full-scan names all that is damaged";
  return error;
}

}  // namespace

Error newer_format(const MemberOptions& o, std::uint32_t format) {
  return {Code::kNewerFormat, o.data_dir + " has format " + std::to_string(format) + ", and this version knows up to " + std::to_string(o.newest_format) +
                                  ": run the newer leewardd"};
}

Member::Member(MemberPorts ports, MemberOptions options) : context_(std::move(options), std::move(ports)) {
  context_.process = context_.ports.random.next();
  context_.wake = [this] { wake(); };
}

Member::~Member() = default;

Result<std::unique_ptr<Member>> Member::open(MemberPorts ports, MemberOptions options) {
  if (own_list(options.nodes, options.self).empty())
    return Error{Code::kInvalid, "node " + std::to_string(options.self.value()) + " stands in no member list"};
  std::unique_ptr<Member> member(new Member(std::move(ports), std::move(options)));
  LEEWARD_TRY(member->open_storage());
  return member;
}

Result<void> Member::open_storage() {
  auto& disk = context_.ports.disk;
  const auto& o = context_.options;
  for (const auto* dir : {&o.data_dir, &o.wal_dir, &o.snapshot_dir}) LEEWARD_TRY(disk.make_dirs(*dir));
  auto lock = disk.lock(o.data_dir);
  if (!lock.ok()) return lock.error();
  data_lock_ = std::move(*lock);
  if (o.wal_dir != o.data_dir) {
    auto wal_lock = disk.lock(o.wal_dir);
    if (!wal_lock.ok()) return wal_lock.error();
    wal_lock_ = std::move(*wal_lock);
  }
  // Apart from the data it may be another node's too, whose checkpoints load() would remove.
  if (!o.snapshot_dir.starts_with(o.data_dir + "/")) {
    auto snapshot_lock = disk.lock(o.snapshot_dir);
    if (!snapshot_lock.ok()) return snapshot_lock.error();
    snapshot_lock_ = std::move(*snapshot_lock);
  }
  LEEWARD_TRY(open_superblock());
  LEEWARD_TRY(check_rehearsal());
  // Of a drill that this process did not see the end of.
  if (!o.rehearsal)
    if (const auto removed = remove_fork(disk, o); !removed.ok())
      context_.ports.log.warn("a drill's directory could not be removed; the next start or drill tries again",
                              {{"reason", removed.error().message}});
  // A directory that never had a start has no log, or one that a crash left
  // half made.
  auto log = context_.ports.open_log(o.wal_dir, context_.incarnation, superblock_data_.starts == 0);
  if (!log.ok() && log.error().code == Code::kNotFound)
    return unusable(log.error(), o, "; if it lies elsewhere, name the place: node.wal_dir; if it is lost, ");
  if (!log.ok()) return unusable(log.error(), o);
  context_.log = std::move(*log);
  context_.removed = removed_at(superblock_data_.extra).has_value();
  drill_ = drill_in(superblock_data_.extra);
  superblock_data_.starts += 1;
  superblock_data_.clean_shutdown = false;
  LEEWARD_TRY(superblock_->write(superblock_data_));
  LEEWARD_TRY(finish_pending_state());
  remove_stray_state_dirs();
  auto state = context_.ports.open_state(o.data_dir + "/" + superblock_data_.state_dir);
  if (!state.ok()) return unusable(state.error(), o);
  context_.state = std::make_unique<StateHandle>(std::shared_ptr<StateMachine>(std::move(*state)));
  if (auto meets = check_log_meets_state(); !meets.ok()) return unusable(meets.error(), o);
  auto group = decode_group_state(context_.state->group_state());
  if (!group.ok()) return group.error();
  context_.group = std::move(*group);
  if (context_.group.format > o.newest_format) return newer_format(o, context_.group.format);
  if (o.rehearsal) become_alone();
  if (superblock_data_.lineage.known() && context_.group.started() &&
      superblock_data_.lineage != context_.group.lineage)
    return Error{Code::kLineage, "superblock and state in " + o.data_dir + " are of two lineages"};

  region_log_ = std::make_unique<RegionLog>(context_);
  LEEWARD_TRY(region_log_->load());
  auto seen = seen_in(superblock_data_.extra);
  if (!seen.ok()) return seen.error();
  told_ = noted_ = *seen;
  auto joins = regroup_in(superblock_data_.extra);
  if (!joins.ok()) return joins.error();
  if (*joins && (*joins)->become.group != context_.group.control.group) context_.joins = std::move(*joins);
  if (const auto group_joined = joins_group(superblock_data_.extra); group_joined != context_.group.control.group) context_.joins_group = group_joined;
  // Power may go between the superblock and the state's first flush: what the log holds is that group's.
  if (!context_.group.started()) context_.begun = superblock_data_.group;
  publish_seen();
  committed_ = context_.finished = context_.state->applied().point;
  swept_ = context_.state->applied().compacted;
  opened_at_ = std::min(context_.log->hard_state().commit, context_.log->last().index);
  wal_ = std::make_unique<WalLoop>(
      context_.ports.core, context_.ports.wal, context_.ports.clock, *context_.log, context_.probe,
      [this](std::uint64_t token, std::vector<raft::Message> messages) { persisted(token, std::move(messages)); },
      [this](const Error& error) { fail(error); });
  warrant_ = std::make_unique<Warrant>(
      context_, [this](CallDone done) { call({0, CallKind::kWarrant, 0, {}}, std::move(done)); });
  proposals_ = std::make_unique<Proposals>(context_, *wal_, *region_log_, *warrant_);
  reads_ = std::make_unique<Reads>(context_);
  lessor_ = std::make_unique<Lessor>(o.limits.lease_revokes_per_second);
  bootstrap_ = std::make_unique<Bootstrap>(context_);
  snapshots_ = std::make_unique<Snapshots>(
      context_, [this](Snapshots::Received received) { install(std::move(received)); },
      [this](NodeId to, bool ok, Index index) {
        if (context_.core) context_.core->snapshot_sent(context_.now(), to, ok, index);
        if (ok) context_.probe.snapshots_sent.add();
        wake();
      },
      [this](const Error& error) { fail(error); });
  LEEWARD_TRY(snapshots_->load(own_lineage()));
  adoption_ = std::make_unique<Adoption>(
      context_, *snapshots_, [this] { return lowest_applied(); }, [this] { return region_log_->adopts_behind(); },
      [this]() -> std::optional<std::vector<region::EpochRecord>> { return region_log_->applied().history().epochs; }, [this](const Error& error) { fail(error); });
  LEEWARD_TRY(adoption_->load());
  rewind_ = std::make_unique<Rewind>(context_);
  ledger_pages_ = std::make_unique<LedgerPages>(context_);
  ledger_fetch_ = std::make_unique<LedgerFetch>(context_, *ledger_pages_);
  auto_compaction_ = std::make_unique<AutoCompaction>(context_.options.compaction);
  snapshots_->serve_also([this](const std::string& id, std::uint32_t file) { return adoption_->file(id, file); });
  publish_status();
  return {};
}

// Nothing is there that a superblock would have to speak for.
bool Member::looks_new() const {
  auto& disk = context_.ports.disk;
  const auto& o = context_.options;
  const auto names = disk.list(o.data_dir);
  if (names.ok() && std::any_of(names->begin(), names->end(), [](const auto& n) { return n.starts_with(kStatePrefix); }))
    return false;
  const auto log = disk.list(o.wal_dir);
  return !log.ok() || std::none_of(log->begin(), log->end(), [](const auto& n) { return n.ends_with(kLogSuffix); });
}

Result<void> Member::open_superblock() {
  const auto& o = context_.options;
  SuperblockData fresh;
  fresh.format = kOldestFormat;
  fresh.cluster_name = o.cluster_name;
  fresh.node = o.self;
  fresh.incarnation = new_incarnation(context_.ports.random);
  fresh.state_dir = std::string(kStatePrefix) + "1";
  auto superblock = context_.ports.open_superblock(o.data_dir, looks_new() ? &fresh : nullptr);
  if (!superblock.ok() && superblock.error().code == Code::kNotFound)
    return unusable({Code::kCorrupt, "there is no superblock in " + o.data_dir + ", beside a log or a state: it was removed, or the"
                                     " directory is another"}, o);
  if (!superblock.ok()) return superblock.error();
  superblock_ = std::move(*superblock);
  superblock_data_ = superblock_->data();
  const auto& d = superblock_data_;
  if (d.format > o.newest_format) return newer_format(o, d.format);
  if (d.cluster_name != o.cluster_name)
    return Error{Code::kLineage, o.data_dir + " belongs to the cluster '" + d.cluster_name + "', not '" +
                                     o.cluster_name + "'"};
  if (d.node != o.self)
    return Error{Code::kLineage, o.data_dir + " belongs to node " + std::to_string(d.node.value()) + ", not " +
                                     std::to_string(o.self.value())};
  context_.incarnation = d.incarnation;
  standing_ = standing_in(d.extra);
  return {};
}

// A snapshot was complete on disk when the process ended: the log starts after
// it, whatever of reset() was done, and the state is that directory.
Result<void> Member::finish_pending_state() {
  const auto pending = superblock_data_.pending_state_dir;
  if (pending.empty()) return {};
  {
    auto state = context_.ports.open_state(context_.options.data_dir + "/" + pending);
    if (!state.ok()) return state.error();
    const auto point = (*state)->applied().point;
    if (context_.log->base() != point) LEEWARD_TRY(context_.log->reset(point));
  }
  superblock_data_.state_dir = pending;
  superblock_data_.pending_state_dir.clear();
  return superblock_->write(superblock_data_);
}

void Member::remove_stray_state_dirs() {
  auto names = context_.ports.disk.list(context_.options.data_dir);
  if (!names.ok()) return;  // what is left over costs space only
  for (const auto& name : *names) {
    if (!name.starts_with(kStatePrefix) || name == superblock_data_.state_dir) continue;
    const auto removed = context_.ports.disk.remove_all(context_.options.data_dir + "/" + name);
    if (!removed.ok()) context_.ports.log.warn("an old state directory could not be removed", {{"dir", name}});
  }
}

// The state must stand at a place of this very log: else one of the two
// directories was lost or exchanged, and going on would serve another history.
Result<void> Member::check_log_meets_state() {
  const auto applied = context_.state->applied().point;
  const auto base = context_.log->base(), last = context_.log->last();
  const auto& o = context_.options;
  if (applied.index < base.index)
    return Error{Code::kCorrupt, "the state in " + o.data_dir + " ends at " + std::to_string(applied.index.value()) +
                                     ", the log in " + o.wal_dir + " begins after " +
                                     std::to_string(base.index.value())};
  if (applied.index > last.index)
    return Error{Code::kCorrupt, "the log in " + o.wal_dir + " ends at " + std::to_string(last.index.value()) +
                                     " before the applied state at " + std::to_string(applied.index.value()) +
                                     ": its end is missing, or the directory was exchanged"};
  auto point = context_.log->point(applied.index);
  if (!point.ok()) return point.error();
  if (*point != applied)
    return Error{Code::kCorrupt, "log and state differ at " + std::to_string(applied.index.value()) +
                                     ": another term or chain hash"};
  return {};
}

}  // namespace leeward::node
