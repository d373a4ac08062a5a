#include "kv/state_machine.h"

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "kv/offline.h"
#include "kv/snapshot_file.h"
#include "kv/txn.h"
#include "ports/file_hash.h"

namespace leeward::kv {
namespace {

const Error kStoppedError{Code::kUnavailable, "etcdserver: server stopped"};
const Error kBadOwnRow{Code::kCorrupt, "state store: a row cannot be read"};

// A file that is missing in a checkpoint just made says nothing against the
// state: somebody removed it. RocksDB calls it corruption.
Error not_of_the_state(const Error& error, const Path& checkpoint) {
  if (error.code != Code::kNotFound && error.message.find("No such file") == std::string::npos) return error;
  return {Code::kNotFound, "files of the checkpoint " + checkpoint + " went missing while it was made; state and log are not "
                           "touched: see what removes files there, then start the node again"};
}

// Keeps the view, so the snapshot, as long as the answer is being written.
class StreamedRange final : public RangeReply {
 public:
  StreamedRange(std::shared_ptr<const View> view, std::string request, const Clock& clock, Log& log, const StateMachineOptions& options)
      : view_(std::move(view)), wire_(std::move(request)), clock_(clock), log_(log), idle_limit_(options.snapshot_idle_limit),
        taken_(clock.now()), until_(taken_ + options.snapshot_limit) {}

  Result<void> prepare(std::size_t keep) {
    RangeRequest request;
    if (!parse(wire_, request)) return Error{Code::kInvalid, texts::kMalformed};
    if (const char* text = check(request); *text) return Error{Code::kInvalid, text};
    run_ = std::make_unique<RangeRun>(*view_->snapshot, request, view_->moment(), keep);
    LEEWARD_TRY(run_->prepare());
    size_ = run_->size();
    revision_ = view_->state.revision;
    if (size_ > keep) return {};
    // Small: write it now and let the snapshot go.
    std::string all;
    LEEWARD_TRY(run_->next(std::numeric_limits<std::size_t>::max(), all));
    LEEWARD_CHECK(all.size() == size_, "a range answer is not as long as measured");
    small_ = Bytes(std::move(all));
    run_.reset();
    view_.reset();
    return {};
  }

  std::uint64_t size() const override { return size_; }
  Revision revision() const override { return revision_; }
  Result<Bytes> next(std::size_t max) override {
    if (!view_) {
      Bytes piece = small_.slice(std::min(given_, small_.size()), max);
      given_ += piece.size();
      return piece;
    }
    const auto now = clock_.now();
    if (now >= until_ || now - taken_ >= idle_limit_) {
      log_.warn("the rest of a range is given up: its client takes too long", {{"bytes", size_}, {"bytes_taken", given_}});
      run_.reset();
      view_.reset();
      return Error{Code::kDeadline, "range: the answer was not taken in time"};
    }
    std::string piece;
    LEEWARD_TRY(run_->next(max, piece));
    taken_ = now;
    given_ += piece.size();
    return Bytes(std::move(piece));
  }

 private:
  std::shared_ptr<const View> view_;
  std::string wire_;
  const Clock& clock_;
  Log& log_;
  const Duration idle_limit_;
  Instant taken_, until_;
  std::unique_ptr<RangeRun> run_;
  std::uint64_t size_ = 0;
  Revision revision_;
  Bytes small_;
  std::size_t given_ = 0;
};

// Over all of a manifest but its id.
std::string manifest_id(const Manifest& manifest) {
  std::string bytes;
  const AppliedState& state = manifest.state;
  for (const std::uint64_t v :
       {state.point.index.value(), state.point.term.value(), state.point.position.index.value(),
        state.point.position.writes, state.point.position.bytes, state.epoch.value(),
        static_cast<std::uint64_t>(state.revision.value()), static_cast<std::uint64_t>(state.compacted.value())})
    codec::put_u64(bytes, v);
  for (const Hash& hash : {state.point.position.hash, state.state_hash})
    bytes.append(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size());
  codec::put_bytes(bytes, manifest.membership);
  for (const StateFile& file : manifest.files) {
    codec::put_bytes(bytes, file.name);
    codec::put_u64(bytes, file.size);
    bytes.append(reinterpret_cast<const char*>(file.hash.bytes.data()), file.hash.bytes.size());
  }
  return sha256(bytes).hex();
}

AppliedState applied_state(const Numbers& numbers) {
  AppliedState state;
  state.point = numbers.point;
  state.epoch = numbers.epoch;
  state.revision = Revision(numbers.revision);
  state.compacted = Revision(numbers.compacted);
  state.state_hash = numbers.hash.hash();
  return state;
}

}  // namespace

MvccStateMachine::MvccStateMachine(Disk& disk, const Clock& clock, Log& log, const StateMachineOptions& options)
    : disk_(disk), clock_(clock), log_(log), options_(options), published_(std::make_shared<Published>()),
      hub_(std::make_shared<WatchHub>(published_, clock, options.watch)) {}

MvccStateMachine::~MvccStateMachine() { published_->set(nullptr); }

Result<std::unique_ptr<MvccStateMachine>> MvccStateMachine::open(std::unique_ptr<Store> store, Disk& disk,
                                                                 const Clock& clock, Log& log,
                                                                 const StateMachineOptions& options) {
  std::unique_ptr<MvccStateMachine> machine(new MvccStateMachine(disk, clock, log, options));
  LEEWARD_TRY(machine->load(std::move(store)));
  machine->hub_->reset(machine->numbers_.revision);
  return machine;
}

Result<void> MvccStateMachine::load(std::unique_ptr<Store> store) {
  auto numbers_row = store->get(Family::kMeta, kNumbersRow);
  auto group_row = store->get(Family::kMeta, kGroupRow);
  auto swept_row = store->get(Family::kMeta, kSweptRow);
  for (const auto* row : {&numbers_row, &group_row, &swept_row})
    if (!row->ok()) return row->error();
  Numbers numbers;
  if (*numbers_row) {
    auto decoded = Numbers::decode(**numbers_row);
    if (!decoded.ok()) return decoded.error();
    numbers = *decoded;
  }
  auto entries = read_region_entries(*store->snapshot());
  if (!entries.ok()) return entries.error();
  auto gaps = gaps_of(*entries);
  if (!gaps.ok()) return gaps.error();
  numbers.gaps = std::move(*gaps);
  std::uint64_t swept = 0;
  if (*swept_row) {
    std::string_view in = **swept_row;
    if (!codec::get_u64(in, swept)) return kBadOwnRow;
  }
  applier_.reset();
  store_ = std::move(store);
  applier_ = std::make_unique<Applier>(*store_);
  numbers_ = numbers;
  swept_ = static_cast<std::int64_t>(swept);
  group_state_ = stored_group_state_ = group_row->value_or("");
  {
    const std::lock_guard lock(checkpoint_mutex_);
    described_.clear();
  }
  // What was read is on disk: nothing else survives an open.
  durable_.store(numbers_.point.index.value(), std::memory_order_release);
  {
    const std::lock_guard lock(hashes_mutex_);
    hashes_.clear();
  }
  remember_hash(numbers_);
  publish();
  log_.info("state opened", {{"applied", numbers_.point.index}, {"revision", numbers_.revision}, {"keys", numbers_.keys}});
  return {};
}

Result<void> MvccStateMachine::install(std::unique_ptr<Store> store) {
  LEEWARD_TRY(load(std::move(store)));
  hub_->reset(numbers_.revision);
  return {};
}

// --- apply ---

Result<void> MvccStateMachine::check_follows(const Entry& entry) const {
  const LogPoint& at = applier_->numbers().point;
  if (leaps(entry.kind)) {
    // A checkpoint of another group, or an older one, becomes this one's state:
    // the place in the log is the entry's, whatever it was there.
    if (entry.position == at.position) return {};
    return Error{Code::kCorrupt, "apply: an Adopt or Follow of history position " + std::to_string(entry.position.index.value()) +
                                     " meets the state of " + std::to_string(at.position.index.value())};
  }
  if (entry.index != at.index + 1)
    return Error{Code::kInvalid, "apply: entry " + std::to_string(entry.index.value()) + " does not follow " +
                                     std::to_string(at.index.value())};
  const bool moves = is_history(entry.kind);
  if (entry.position.index != at.position.index + (moves ? 1 : 0))
    return Error{Code::kCorrupt, "apply: the position of entry " + std::to_string(entry.index.value()) +
                                     " does not follow the state's"};
  return {};
}

Result<void> MvccStateMachine::apply_entry(const Entry& entry, std::size_t e,
                                           const std::function<bool(std::size_t, std::size_t)>& wanted) {
  LEEWARD_TRY(check_follows(entry));
  if (entry.kind == EntryKind::kWrites) {
    auto commands = decode_payload(entry.payload.view(), entry.writes);
    if (!commands.ok()) return commands.error();
    for (std::size_t c = 0; c < commands->size(); ++c) {
      const bool want = wanted && wanted(e, c);
      auto result = applier_->run((*commands)[c], want);
      if (!result.ok()) return result.error();
      if (want) answers_.push_back({e, c, std::move(*result)});
    }
  } else if (is_region_kind(entry.kind)) {
    LEEWARD_TRY(applier_->region_entry(entry));
  } else if (is_history(entry.kind)) {
    return Error{Code::kUnimplemented, "apply: history entries of kind " +
                                           std::to_string(static_cast<int>(entry.kind)) + " are not built"};
  }
  Numbers& numbers = applier_->numbers();
  numbers.point = {entry.index, entry.term, entry.position};
  if (is_history(entry.kind)) remember_hash(numbers);
  return {};
}

Result<void> MvccStateMachine::apply(std::span<const Entry> entries,
                                     const std::function<bool(std::size_t, std::size_t)>& wanted,
                                     const std::function<void(std::size_t, std::size_t, CommandResult)>& result) {
  if (entries.empty()) return {};
  const bool capture = hub_->wanted();
  applier_->begin(numbers_, capture);
  answers_.clear();
  for (std::size_t e = 0; e < entries.size(); ++e) LEEWARD_TRY(apply_entry(entries[e], e, wanted));

  Batch batch;
  std::vector<std::shared_ptr<const Revisions>> events;
  applier_->take(batch, events);
  batch.put(Family::kMeta, kNumbersRow, applier_->numbers().encode());
  if (group_state_ != stored_group_state_) batch.put(Family::kMeta, kGroupRow, group_state_);
  if (auto written = store_->write(batch); !written.ok()) {
    applier_->refused();
    return written;
  }
  stored_group_state_ = group_state_;
  const auto gaps_before = numbers_.gaps;
  numbers_ = applier_->numbers();
  publish();
  if (gaps_before != numbers_.gaps) hub_->cancel_starts_in_gaps(*numbers_.gaps);
  // Who is told may read at once; before the events, so that whoever hands those
  // on finds what the results say of them.
  for (Answer& answer : answers_) result(answer.entry, answer.command, std::move(answer.result));
  hub_->publish(numbers_.revision, std::move(events), capture);
  answers_.clear();
  return {};
}

void MvccStateMachine::remember_hash(const Numbers& numbers) {
  const std::lock_guard lock(hashes_mutex_);
  // An apply() that a full disk refused comes again.
  while (!hashes_.empty() && hashes_.back().first >= numbers.point.position.index) hashes_.pop_back();
  hashes_.emplace_back(numbers.point.position.index, numbers.hash.hash());
  while (hashes_.size() > options_.remembered_hashes) hashes_.pop_front();
}

void MvccStateMachine::publish() {
  auto view = std::make_shared<View>();
  view->state = applied_state(numbers_);
  view->keys = numbers_.keys;
  view->gaps = numbers_.gaps;
  view->snapshot = store_->snapshot();
  published_->set(std::move(view));
}

void MvccStateMachine::set_group_state(std::string bytes) { group_state_ = std::move(bytes); }
std::string MvccStateMachine::group_state() const { return group_state_; }

Result<void> MvccStateMachine::flush() {
  LEEWARD_TRY(store_->flush());
  now_durable(numbers_.point.index);
  return {};
}

// A checkpoint of an older state may end after a flush.
void MvccStateMachine::now_durable(Index index) {
  std::uint64_t known = durable_.load(std::memory_order_relaxed);
  while (known < index.value() && !durable_.compare_exchange_weak(known, index.value(), std::memory_order_release)) {
  }
}

// --- compaction ---

// Each row of rev at or below the compacted revision names the version that it
// superseded, which is dead, and is dead itself if it is a deletion. Oldest
// first, and a version never goes after the one that superseded it: what is
// left always tells which versions live. No other row is read: seeks would
// have to wade through what earlier steps removed.
Result<bool> MvccStateMachine::compact_step(std::size_t max) {
  const std::int64_t compacted = numbers_.compacted;
  if (swept_ >= compacted) return false;
  Batch batch;
  std::size_t changes = 0;
  std::int64_t done = swept_;
  const auto rows = store_->iterate(Family::kRev);
  // From the revision swept last: its row was kept then.
  for (rows->seek(rev_key({swept_, 0})); rows->valid(); rows->next()) {
    const Rev rev = parse_rev_key(rows->key());
    if (rev.main > compacted) break;
    if (rev.main != done && done > swept_ && changes >= max) break;
    done = rev.main;
    RevRow row;
    if (!parse_rev_row(rev, rows->value(), row)) return kBadOwnRow;
    if (row.kind != ChangeKind::kCreate) {
      const std::string key = escaped(row.key);
      batch.remove(Family::kHist, hist_key(key, row.previous));
      if (row.kind == ChangeKind::kDelete) batch.remove(Family::kHist, hist_key(key, rev));
      changes += 2;
    }
    // The last one stays: its sum is asked for by the next compaction, and a
    // watch may start there.
    if (rev.main < compacted) batch.remove(Family::kRev, std::string(rows->key()));
    ++changes;
  }
  LEEWARD_TRY(rows->status());
  const bool more = rows->valid() && parse_rev_key(rows->key()).main <= compacted;
  const std::int64_t swept = more ? done : compacted;
  std::string row;
  codec::put_u64(row, static_cast<std::uint64_t>(swept));
  batch.put(Family::kMeta, kSweptRow, std::move(row));
  LEEWARD_TRY(store_->write(batch));
  swept_ = swept;  // now only: what a full disk refused is swept at the next try
  publish();  // the snapshot of the last one holds what was swept, and no defragmenting would free it
  return more;
}

// --- checkpoints ---

Result<StateFile> MvccStateMachine::describe(const Path& directory, const std::string& name) {
  auto file = disk_.open(directory + "/" + name, OpenMode::kRead);
  if (!file.ok()) return file.error();
  auto size = (*file)->size();
  if (!size.ok()) return size.error();
  // Table files are written once under a number that is not used again.
  const bool immutable = name.ends_with(".sst");
  if (const auto it = described_.find(name); immutable && it != described_.end() && it->second.size == *size)
    return it->second;
  auto hash = hash_file(**file, *size);
  if (!hash.ok()) return hash.error();
  StateFile out{name, *size, *hash};
  if (immutable) described_[name] = out;
  return out;
}

Result<void> MvccStateMachine::read_state(const Path& directory, Manifest& out) const {
  auto copy = store_->open_checkpoint(directory);
  if (!copy.ok()) return copy.error();
  auto numbers_row = (*copy)->get(Family::kMeta, kNumbersRow);
  if (!numbers_row.ok()) return numbers_row.error();
  auto group_row = (*copy)->get(Family::kMeta, kGroupRow);
  if (!group_row.ok()) return group_row.error();
  Numbers numbers;
  if (*numbers_row) {
    auto decoded = Numbers::decode(**numbers_row);
    if (!decoded.ok()) return decoded.error();
    numbers = *decoded;
  }
  out.state = applied_state(numbers);
  out.membership = group_row->value_or("");
  return {};
}

Result<Manifest> MvccStateMachine::checkpoint(const std::string& directory) {
  const std::lock_guard lock(checkpoint_mutex_);
  LEEWARD_TRY(store_->checkpoint(directory));
  auto names = disk_.list(directory);
  if (!names.ok()) return not_of_the_state(names.error(), directory);
  // Entries are applied meanwhile: what the files hold, only they can tell.
  Manifest manifest;
  if (auto read = read_state(directory, manifest); !read.ok()) return not_of_the_state(read.error(), directory);
  now_durable(manifest.state.point.index);
  std::map<std::string, StateFile> still;
  for (const std::string& name : *names) {
    auto file = describe(directory, name);
    if (!file.ok()) return not_of_the_state(file.error(), directory);
    if (described_.contains(name)) still.emplace(name, *file);
    manifest.files.push_back(std::move(*file));
  }
  described_ = std::move(still);
  manifest.id = manifest_id(manifest);
  return manifest;
}

// --- reads ---

AppliedState MvccStateMachine::applied() const { return published_->get()->state; }
Index MvccStateMachine::durable() const { return Index(durable_.load(std::memory_order_acquire)); }
Hash MvccStateMachine::state_hash() const { return published_->get()->state.state_hash; }

std::optional<Hash> MvccStateMachine::state_hash_at(HistoryIndex index) const {
  const std::lock_guard lock(hashes_mutex_);
  const auto it = std::lower_bound(hashes_.begin(), hashes_.end(), index,
                                   [](const auto& known, HistoryIndex i) { return known.first < i; });
  // What stands in a batch that is not written yet is not told.
  if (it == hashes_.end() || it->first != index || index > published_->get()->state.point.position.index)
    return std::nullopt;
  return it->second;
}

std::vector<RegionEntry> MvccStateMachine::region_entries() const {
  auto entries = read_region_entries(*published_->get()->snapshot);
  return entries.ok() ? std::move(*entries) : std::vector<RegionEntry>();
}

Result<std::unique_ptr<RangeReply>> MvccStateMachine::range(std::string_view request) {
  auto view = published_->get();
  auto reply = std::make_unique<StreamedRange>(std::move(view), std::string(request), clock_, log_, options_);
  LEEWARD_TRY(reply->prepare(options_.keep_bytes));
  return std::unique_ptr<RangeReply>(std::move(reply));
}

Result<CommandResult> MvccStateMachine::read_only_txn(std::string_view wire) {
  CommandResult out;
  TxnRequest request;
  if (!parse(wire, request)) {
    out.etcd_error = texts::kMalformed;
    return out;
  }
  if (out.etcd_error = check(request); !out.etcd_error.empty()) return out;
  if (!is_read_only(request)) return Error{Code::kInvalid, "this transaction writes: propose it"};
  const auto view = published_->get();
  std::string response;
  auto text = TxnRun(*view->snapshot, nullptr, view->moment()).run(request, &response);
  if (!text.ok()) return text.error();
  out.etcd_error = *text;
  out.revision = view->state.revision;
  if (out.etcd_error.empty()) out.response = Bytes(std::move(response));
  return out;
}

Result<StateMachine::KvHash> MvccStateMachine::hash_kv(Revision revision) {
  const auto view = published_->get();
  const Moment moment = view->moment();
  const std::int64_t at = revision.value() > 0 ? revision.value() : moment.revision;
  if (at > moment.revision) return Error{Code::kInvalid, texts::kFutureRev};
  if (at < moment.compacted || end_of_gap(moment.gaps, at) != 0) return Error{Code::kCompacted, texts::kCompacted};
  KvHash out;
  out.revision = Revision(at);
  out.compacted = Revision(moment.compacted);
  std::string row;
  LEEWARD_TRY(for_each_version(*view->snapshot, [&](const Version& version) {
    if (version.rev.main > at) return;
    // Superseded at or before the compaction: gone, whether swept already or not.
    if (version.superseded != 0 && version.superseded <= moment.compacted) return;
    if (version.record.empty() && version.rev.main <= moment.compacted) return;
    row.clear();
    codec::put_bytes(row, version.key);
    codec::put_u64(row, static_cast<std::uint64_t>(version.rev.main));
    codec::put_u32(row, version.rev.sub);
    codec::put_bytes(row, version.record);
    out.hash = crc32c(row, out.hash);
  }));
  return out;
}

Result<std::unique_ptr<StateCopy>> MvccStateMachine::copy(const CopyNote& note) const {
  return std::unique_ptr<StateCopy>(std::make_unique<SnapshotWriter>(published_->get(), note));
}

Result<void> MvccStateMachine::verify() const {
  StateReport report;
  LEEWARD_TRY(check_rows(*published_->get()->snapshot, "the state", report));
  if (report.sound()) return {};
  return Error{Code::kCorrupt, report.faults.front().file + ": " + report.faults.front().what};
}

Result<Hash> MvccStateMachine::recompute_state_hash() const {
  const auto view = published_->get();
  const std::int64_t compacted = view->state.compacted.value();
  Sum256 sum;
  LEEWARD_TRY(for_each_version(*view->snapshot, [&](const Version& version) {
    if (version.superseded != 0 && version.superseded <= compacted) return;
    if (version.record.empty() && version.rev.main <= compacted) return;
    sum += hash_of_record(version.key, version.rev, version.record);
  }));
  for (const LeaseInfo& lease : leases()) sum += hash_of_lease(lease.id, lease.ttl_seconds);
  for (const RegionEntry& entry : region_entries()) sum += hash_of_region_entry(entry.kind, entry.index, region_body(entry));
  return sum.hash();
}

// --- leases ---

std::vector<LeaseInfo> MvccStateMachine::leases() const {
  std::vector<LeaseInfo> out;
  const auto view = published_->get();
  const auto it = view->snapshot->iterate(Family::kLease);
  for (it->seek("L"); it->valid() && it->key().starts_with('L'); it->next()) {
    std::string_view key = it->key().substr(1), value = it->value();
    std::uint64_t id, ttl;
    if (!codec::get_be64(key, id) || !codec::get_varint(value, ttl)) continue;
    out.push_back({static_cast<std::int64_t>(id), static_cast<std::int64_t>(ttl)});
  }
  return out;
}

std::optional<LeaseInfo> MvccStateMachine::lease(std::int64_t id) const {
  const auto view = published_->get();
  auto row = view->snapshot->get(Family::kLease, lease_row(id));
  std::uint64_t ttl;
  if (!row.ok() || !*row) return std::nullopt;
  std::string_view value = **row;
  if (!codec::get_varint(value, ttl)) return std::nullopt;
  return LeaseInfo{id, static_cast<std::int64_t>(ttl)};
}

std::vector<std::string> MvccStateMachine::lease_keys(std::int64_t id) const {
  std::vector<std::string> out;
  const std::string prefix = lease_key_row(id, {});
  const auto view = published_->get();
  const auto it = view->snapshot->iterate(Family::kLease);
  for (it->seek(prefix); it->valid() && it->key().starts_with(prefix); it->next())
    out.emplace_back(it->key().substr(kLeaseKeyPrefix));
  return out;
}

Result<std::unique_ptr<Watcher>> MvccStateMachine::watch(const WatchRequest& request, std::function<void()> ready) {
  return hub_->watch(request, std::move(ready));
}

bool MvccStateMachine::grows(Op op, std::string_view request) const {
  if (op != Op::kTxn) return op == Op::kPut || op == Op::kLeaseGrant;
  TxnRequest txn;
  return parse(request, txn) && has_put(txn);
}

std::uint64_t MvccStateMachine::db_bytes() const { return store_->bytes(); }
std::uint64_t MvccStateMachine::db_bytes_in_use() const { return store_->bytes_in_use(); }
std::uint64_t MvccStateMachine::key_count() const { return published_->get()->keys; }
std::uint64_t MvccStateMachine::watcher_count() const { return hub_->count(); }
std::uint64_t MvccStateMachine::watch_backlog() const { return hub_->backlog(); }
Result<void> MvccStateMachine::defragment() { return store_->compact(); }

}  // namespace leeward::kv
