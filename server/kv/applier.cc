#include "kv/applier.h"

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "kv/txn.h"
#include "region/entries.h"

namespace leeward::kv {
namespace {

constexpr std::uint8_t kNumbersVersion = 1;
const Error kBadRow{Code::kCorrupt, "state store: a row cannot be read"};

void put_hash(std::string& out, std::string_view bytes) { out.append(bytes); }
bool get_raw(std::string_view& in, std::size_t size, std::string_view& out) {
  if (in.size() < size) return false;
  out = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

// The old record of a row of head, taken apart.
struct Old {
  Rev rev;
  std::string_view wire;
  Record record;
};
Old parse_old(std::string_view row) {
  Old old;
  LEEWARD_CHECK(parse_head(row, old.rev.sub, old.wire) && parse_record(old.wire, old.record),
                "a row of head cannot be read");
  old.rev.main = old.record.mod;
  return old;
}

}  // namespace

std::string Numbers::encode() const {
  std::string out;
  out.reserve(224);
  codec::put_u8(out, kNumbersVersion);
  codec::put_u64(out, point.index.value());
  codec::put_u64(out, point.term.value());
  codec::put_u64(out, point.position.index.value());
  put_hash(out, {reinterpret_cast<const char*>(point.position.hash.bytes.data()), 32});
  codec::put_u64(out, point.position.writes);
  codec::put_u64(out, point.position.bytes);
  codec::put_u64(out, epoch.value());
  codec::put_u64(out, static_cast<std::uint64_t>(revision));
  codec::put_u64(out, static_cast<std::uint64_t>(compacted));
  put_hash(out, hash.bytes());
  put_hash(out, superseded.bytes());
  put_hash(out, superseded_at_compacted.bytes());
  codec::put_u64(out, keys);
  return out;
}

Result<Numbers> Numbers::decode(std::string_view in) {
  Numbers out;
  std::uint8_t version;
  if (!codec::get_u8(in, version)) return kBadRow;
  if (version != kNumbersVersion) return Error{Code::kNewerFormat, "state store: written by a newer version"};
  std::uint64_t index, term, history, epoch, revision, compacted;
  std::string_view position, hash, superseded, at_compacted;
  if (!codec::get_u64(in, index) || !codec::get_u64(in, term) || !codec::get_u64(in, history) ||
      !get_raw(in, 32, position) || !codec::get_u64(in, out.point.position.writes) ||
      !codec::get_u64(in, out.point.position.bytes) || !codec::get_u64(in, epoch) || !codec::get_u64(in, revision) ||
      !codec::get_u64(in, compacted) || !get_raw(in, 32, hash) || !get_raw(in, 32, superseded) ||
      !get_raw(in, 32, at_compacted) || !codec::get_u64(in, out.keys))
    return kBadRow;
  out.point.index = Index(index);
  out.point.term = Term(term);
  out.point.position.index = HistoryIndex(history);
  std::memcpy(out.point.position.hash.bytes.data(), position.data(), 32);
  out.epoch = Epoch(epoch);
  out.revision = static_cast<std::int64_t>(revision);
  out.compacted = static_cast<std::int64_t>(compacted);
  out.hash = Sum256::parse(hash);
  out.superseded = Sum256::parse(superseded);
  out.superseded_at_compacted = Sum256::parse(at_compacted);
  return out;
}

void Applier::begin(const Numbers& numbers, bool capture) {
  numbers_ = numbers;
  capture_ = capture;
  overlay_.clear();
  appended_.clear();
  sums_.clear();
  events_.clear();
  rows_.clear();
}

Result<CommandResult> Applier::run(const CommandView& command, bool wanted) {
  CommandResult result;
  std::string response;
  const Answer answer = wanted ? &response : nullptr;
  rows_.clear();
  Result<const char*> text = texts::kMalformed;
  switch (command.op) {
    case Op::kPut: text = put(command.request, answer); break;
    case Op::kDeleteRange: text = delete_range(command.request, answer); break;
    case Op::kTxn: text = txn(command.request, answer); break;
    case Op::kCompact: text = compact(command.request, answer); break;
    case Op::kLeaseGrant: text = grant(command.request, answer); break;
    case Op::kLeaseRevoke: text = revoke(command.request, answer); break;
  }
  if (!text.ok()) return text.error();
  LEEWARD_CHECK(**text == '\0' || rows_.empty(), "a failed command changed something");
  finish_command();
  if (!wanted) return result;
  result.etcd_error = *text;
  result.revision = Revision(numbers_.revision);
  if (result.etcd_error.empty()) result.response = Bytes(std::move(response));
  return result;
}

// --- what commands do ---

Result<bool> Applier::lease_exists(std::int64_t id) const {
  auto row = overlay_.get(Family::kLease, lease_row(id));
  if (!row.ok()) return row.error();
  return row->has_value();
}

// What must hold before any operation of a command is done.
Result<const char*> Applier::check_put(const PutRequest& request) const {
  if (request.lease != 0) {
    auto exists = lease_exists(request.lease);
    if (!exists.ok()) return exists.error();
    if (!*exists) return texts::kLeaseNotFound;
  }
  if (request.ignore_value || request.ignore_lease) {
    auto row = overlay_.get(Family::kHead, escaped(request.key));
    if (!row.ok()) return row.error();
    if (!*row) return texts::kKeyNotFound;
  }
  return "";
}

Result<const char*> Applier::put(std::string_view wire, Answer answer) {
  PutRequest request;
  if (!parse(wire, request)) return texts::kMalformed;
  if (const char* text = check(request); *text) return text;
  auto text = check_put(request);
  if (!text.ok() || **text) return text;
  LEEWARD_TRY(do_put(request, answer));
  return "";
}

Result<void> Applier::do_put(const PutRequest& request, Answer answer) {
  std::string key = escaped(request.key);
  auto old_row = overlay_.get(Family::kHead, key);
  if (!old_row.ok()) return old_row.error();
  Record record;
  record.mod = numbers_.revision + 1;
  record.create = record.mod;
  record.version = 1;
  record.value = request.value;
  record.lease = request.lease;
  std::string_view previous;
  if (*old_row) {
    const Old old = parse_old(**old_row);
    previous = old.wire;
    record.create = old.record.create;
    record.version = old.record.version + 1;
    if (request.ignore_value) record.value = old.record.value;
    if (request.ignore_lease) record.lease = old.record.lease;
  }
  if (answer) {
    append_header(*answer, record.mod);
    if (request.prev_kv && *old_row) append_kv(*answer, 2, request.key, previous);
  }
  return write(request.key, std::move(key), std::move(*old_row), record);
}

Result<const char*> Applier::delete_range(std::string_view wire, Answer answer) {
  DeleteRequest request;
  if (!parse(wire, request)) return texts::kMalformed;
  if (const char* text = check(request); *text) return text;
  LEEWARD_TRY(do_delete(request, answer));
  return "";
}

Result<void> Applier::do_delete(const DeleteRequest& request, Answer answer) {
  struct Victim {
    std::string key, row;  // escaped, and its row of head
  };
  std::vector<Victim> victims;
  const EscapedRange range(request.range);
  if (request.range.single()) {
    auto row = overlay_.get(Family::kHead, range.low);
    if (!row.ok()) return row.error();
    if (*row) victims.push_back({range.low, std::move(**row)});
  } else {
    const auto head = overlay_.iterate(Family::kHead);
    for (head->seek(range.low); head->valid() && range.below_high(head->key()); head->next())
      victims.push_back({std::string(head->key()), std::string(head->value())});
    LEEWARD_TRY(head->status());
  }

  std::string previous, scratch;
  const std::size_t count = victims.size();
  for (Victim& victim : victims) {
    const std::string escaped_key = victim.key;
    const std::string_view key = unescape(escaped_key, scratch);
    if (answer && request.prev_kv) append_kv(previous, 3, key, parse_old(victim.row).wire);
    LEEWARD_TRY(erase(key, std::move(victim.key), std::move(victim.row)));
  }
  if (answer) {
    append_header(*answer, present());
    append_varint_field(*answer, 2, count);
    answer->append(previous);
  }
  return {};
}

Result<const char*> Applier::txn(std::string_view wire, Answer answer) {
  TxnRequest request;
  if (!parse(wire, request)) return texts::kMalformed;
  if (const char* text = check(request); *text) return text;
  return TxnRun(overlay_, this, {numbers_.revision, numbers_.compacted, numbers_.gaps.get()}).run(request, answer);
}

Result<const char*> Applier::compact(std::string_view wire, Answer answer) {
  std::int64_t revision = 0;
  WireReader in(wire);
  while (in.next())
    if (in.varint_field() == 1) revision = in.int64();
  if (!in.ok()) return texts::kMalformed;
  if (revision <= numbers_.compacted) return texts::kCompacted;
  if (revision > numbers_.revision) return texts::kFutureRev;
  if (end_of_gap(numbers_.gaps.get(), revision) != 0) return texts::kCompacted;
  auto sum = superseded_up_to(revision);
  if (!sum.ok()) return sum.error();
  numbers_.hash -= *sum;
  numbers_.hash += numbers_.superseded_at_compacted;
  numbers_.superseded_at_compacted = *sum;
  numbers_.compacted = revision;
  if (answer) append_header(*answer, numbers_.revision);
  return "";
}

Result<const char*> Applier::grant(std::string_view wire, Answer answer) {
  std::int64_t ttl = 0, id = 0;
  WireReader in(wire);
  while (in.next()) {
    if (in.varint_field() == 1) ttl = in.int64();
    if (in.varint_field() == 2) id = in.int64();
  }
  if (!in.ok()) return texts::kMalformed;
  if (id == 0) return texts::kLeaseNotFound;
  if (ttl > kMaxLeaseTtl) return texts::kLeaseTtlTooLarge;
  auto exists = lease_exists(id);
  if (!exists.ok()) return exists.error();
  if (*exists) return texts::kLeaseExists;
  ttl = std::max(ttl, kMinLeaseTtl);
  std::string value;
  codec::put_varint(value, static_cast<std::uint64_t>(ttl));
  overlay_.put(Family::kLease, lease_row(id), std::move(value));
  numbers_.hash += hash_of_lease(id, ttl);
  if (answer) {
    append_header(*answer, numbers_.revision);
    append_varint_field(*answer, 2, static_cast<std::uint64_t>(id));
    append_varint_field(*answer, 3, static_cast<std::uint64_t>(ttl));
  }
  return "";
}

Result<const char*> Applier::revoke(std::string_view wire, Answer answer) {
  std::int64_t id = 0;
  WireReader in(wire);
  while (in.next())
    if (in.varint_field() == 1) id = in.int64();
  if (!in.ok()) return texts::kMalformed;
  auto lease = overlay_.get(Family::kLease, lease_row(id));
  if (!lease.ok()) return lease.error();
  std::uint64_t ttl;
  if (!*lease) return texts::kLeaseNotFound;
  if (std::string_view value = **lease; !codec::get_varint(value, ttl)) return kBadRow;

  std::vector<std::string> keys;  // in order, so equal in all members
  {
    const std::string prefix = lease_key_row(id, {});
    const auto rows = overlay_.iterate(Family::kLease);
    for (rows->seek(prefix); rows->valid() && rows->key().starts_with(prefix); rows->next())
      keys.emplace_back(rows->key().substr(kLeaseKeyPrefix));
    LEEWARD_TRY(rows->status());
  }
  for (const std::string& key : keys) {
    std::string key_escaped = escaped(key);
    auto row = overlay_.get(Family::kHead, key_escaped);
    if (!row.ok()) return row.error();
    LEEWARD_CHECK(row->has_value(), "a lease names a key that does not exist");
    LEEWARD_TRY(erase(key, std::move(key_escaped), std::move(**row)));
  }
  overlay_.remove(Family::kLease, lease_row(id));
  numbers_.hash -= hash_of_lease(id, static_cast<std::int64_t>(ttl));
  if (answer) append_header(*answer, present());
  return "";
}

Result<void> Applier::region_entry(const Entry& entry) {
  const RegionEntry kept{entry.kind, entry.epoch, entry.position.index, entry.payload,
                         entry.kind == EntryKind::kEpochChange ? Revision(numbers_.revision) : Revision()};
  if (entry.kind == EntryKind::kEpochChange) LEEWARD_TRY(begin_epoch(entry));
  std::string row = region_row(entry.kind, entry.epoch, entry.position.index);
  auto old = overlay_.get(Family::kMeta, row);
  if (!old.ok()) return old.error();
  if (*old) {
    auto before = parse_region(row, **old);
    if (!before.ok()) return before.error();
    numbers_.hash -= hash_of_region_entry(before->kind, before->index, region_body(*before));
  }
  numbers_.hash += hash_of_region_entry(kept.kind, kept.index, region_body(kept));
  overlay_.put(Family::kMeta, std::move(row), region_value(kept));
  return {};
}

// The content stays what it was at the fork; only the numbers move.
Result<void> Applier::begin_epoch(const Entry& entry) {
  auto change = region::decode_epoch_change(entry.payload.view());
  if (!change.ok()) return change.error();
  const std::int64_t forked = numbers_.revision;
  const std::int64_t first = region::first_revision(*change, Revision(forked)).value();
  if (change->epoch != entry.epoch || change->epoch <= numbers_.epoch || change->epoch > region::kLastEpoch || first <= forked)
    return Error{Code::kCorrupt, "apply: an EpochChange to " + std::to_string(change->epoch.value()) + " meets epoch " +
                                     std::to_string(numbers_.epoch.value()) + " at revision " + std::to_string(forked)};
  if (first > forked + 1) {
    auto gaps = numbers_.gaps ? std::make_shared<Gaps>(*numbers_.gaps) : std::make_shared<Gaps>();
    gaps->push_back({forked, first});
    numbers_.gaps = std::move(gaps);
  }
  numbers_.epoch = change->epoch;
  numbers_.revision = first;
  return {};
}

// --- rows ---

Result<void> Applier::write(std::string_view key, std::string escaped, std::optional<std::string> old_row,
                            Record record) {
  const Rev rev{numbers_.revision + 1, static_cast<std::uint32_t>(rows_.size())};
  std::string row;
  codec::put_varint(row, rev.sub);
  const std::size_t sub_size = row.size();
  append_record(row, record);
  const std::string_view wire = std::string_view(row).substr(sub_size);
  const Sum256 digest = hash_of_record(key, rev, wire);
  numbers_.hash += digest;

  std::int64_t old_lease = 0;
  Rev old_rev;
  std::string_view previous;
  if (old_row) {
    const Old old = parse_old(*old_row);
    old_lease = old.record.lease;
    old_rev = old.rev;
    previous = old.wire;
    supersede(key, escaped, old.rev, old.wire);
  } else {
    ++numbers_.keys;
  }
  if (old_lease != record.lease) {
    if (old_lease != 0) overlay_.remove(Family::kLease, lease_key_row(old_lease, key));
    if (record.lease != 0) overlay_.put(Family::kLease, lease_key_row(record.lease, key), {});
  }
  note(old_row ? ChangeKind::kUpdate : ChangeKind::kCreate, old_rev, key);
  if (capture_) revisions_->add(key, wire, previous);
  overlay_.put_head(std::move(escaped), std::move(row), digest);
  return {};
}

Result<void> Applier::erase(std::string_view key, std::string escaped, std::string old_row) {
  const Rev rev{numbers_.revision + 1, static_cast<std::uint32_t>(rows_.size())};
  const Old old = parse_old(old_row);
  supersede(key, escaped, old.rev, old.wire);
  const Sum256 tombstone = hash_of_record(key, rev, {});
  numbers_.hash += tombstone;
  numbers_.superseded += tombstone;
  --numbers_.keys;
  if (old.record.lease != 0) overlay_.remove(Family::kLease, lease_key_row(old.record.lease, key));
  note(ChangeKind::kDelete, old.rev, key);
  if (capture_) revisions_->add(key, {}, old.wire);
  overlay_.append_hist(hist_key(escaped, rev), {});
  overlay_.remove_head(std::move(escaped));
  return {};
}

// Moves the record of `escaped` from head to hist; it counts until a
// compaction reaches the running command's revision.
void Applier::supersede(std::string_view key, std::string_view escaped, Rev old, std::string_view record) {
  const Sum256* known = overlay_.head_digest(escaped);
  numbers_.superseded += known ? *known : hash_of_record(key, old, record);
  overlay_.append_hist(hist_key(escaped, old), std::string(record));
}

void Applier::note(ChangeKind kind, Rev previous, std::string_view key) {
  if (capture_ && rows_.empty()) revisions_ = std::make_shared<Revisions>(numbers_.revision + 1);
  rows_.push_back({kind, previous, std::string(key)});
}

void Applier::finish_command() {
  if (rows_.empty()) return;
  const std::int64_t main = ++numbers_.revision;
  for (std::uint32_t sub = 0; sub < rows_.size(); ++sub) {
    const Row& row = rows_[sub];
    const Rev rev{main, sub};
    const auto sum = sub == 0 ? numbers_.superseded.bytes() : std::string_view();
    appended_.put(Family::kRev, rev_key(rev), encode_rev_row(rev, {row.kind, sum, row.previous, row.key}));
  }
  sums_.emplace_back(main, numbers_.superseded);
  if (capture_) events_.push_back(std::move(revisions_));
  rows_.clear();
}

Result<Sum256> Applier::superseded_up_to(std::int64_t revision) const {
  const auto after = std::upper_bound(sums_.begin(), sums_.end(), revision,
                                      [](std::int64_t r, const auto& sum) { return r < sum.first; });
  if (after != sums_.begin()) return std::prev(after)->second;
  const auto rows = store_.iterate(Family::kRev);
  rows->seek_for_prev(rev_key({revision, std::numeric_limits<std::uint32_t>::max()}));
  LEEWARD_TRY(rows->status());
  // An epoch's first revision has no row, and what is swept has none either.
  if (!rows->valid() || parse_rev_key(rows->key()).main <= numbers_.compacted) return numbers_.superseded_at_compacted;
  const Rev first{parse_rev_key(rows->key()).main, 0};
  auto value = store_.get(Family::kRev, rev_key(first));
  if (!value.ok()) return value.error();
  RevRow row;
  if (!*value || !parse_rev_row(first, **value, row)) return kBadRow;
  return Sum256::parse(row.sum);
}

void Applier::take(Batch& batch, std::vector<std::shared_ptr<const Revisions>>& events) {
  overlay_.drain(appended_);
  batch = std::move(appended_);
  appended_ = {};
  events = std::move(events_);
  events_.clear();
}

}  // namespace leeward::kv
