// The invariants between the rows of a store (README.md), from the rows alone.
#include "base/codec.h"
#include "kv/applier.h"
#include "kv/layout.h"
#include "kv/offline.h"
#include "kv/scan.h"
#include "kv/state_hash.h"

namespace leeward::kv {
namespace {

constexpr std::size_t kMaxFaults = 20;  // more of them say nothing new
constexpr std::uint64_t kTellEach = 500'000;  // rows

std::string text(Rev rev) { return std::to_string(rev.main) + "/" + std::to_string(rev.sub); }

class RowsCheck {
 public:
  RowsCheck(const StoreSnapshot& rows, const Path& where, StateReport& report, const RowsSeen& seen)
      : rows_(rows), where_(where), report_(report), seen_(seen) {}

  Result<void> run() {
    auto numbers = rows_.get(Family::kMeta, kNumbersRow);
    if (!numbers.ok()) return row_error(numbers.error());
    if (*numbers) {
      auto decoded = Numbers::decode(**numbers);
      if (!decoded.ok()) return row_error(decoded.error());
      numbers_ = *decoded;
    }
    auto group = rows_.get(Family::kMeta, kGroupRow);
    if (!group.ok()) return row_error(group.error());
    report_.group_state = group->value_or("");
    const LogPoint& point = numbers_.point;
    report_.state = AppliedState{point, numbers_.epoch, Revision(numbers_.revision), Revision(numbers_.compacted),
                                 numbers_.hash.hash()};
    for (auto step : {&RowsCheck::versions, &RowsCheck::changes, &RowsCheck::leases, &RowsCheck::regions})
      if (auto done = (this->*step)(); !done.ok()) return row_error(done.error());
    totals();
    return {};
  }

 private:
  void fault(const std::string& what) {
    if (++found_ <= kMaxFaults) report_.faults.push_back({where_, 0, what, Code::kCorrupt});
  }
  void looked_at_one() {
    if (++looked_at_ % kTellEach == 0 && seen_) seen_(looked_at_);
  }
  // Rows that cannot be read are damage, a disk that fails is not.
  Result<void> row_error(const Error& error) {
    if (error.code == Code::kIo) return error;
    report_.faults.push_back({where_, 0, error.message, error.code});
    return {};
  }

  // head and hist: each version by itself, and what it adds to the state hash.
  Result<void> versions() {
    return for_each_version(rows_, [this](const Version& version) {
      looked_at_one();
      ++report_.versions;
      if (version.rev.main > numbers_.compacted) ++newer_versions_;
      if (version.rev.main > numbers_.revision) fault("version " + text(version.rev) + " is newer than the revision");
      if (version.superseded != 0 && version.superseded < version.rev.main)
        fault("version " + text(version.rev) + " is superseded by an older one");
      const bool newest = version.superseded == 0;
      if (newest && !version.record.empty()) key(version);
      if (!version.record.empty()) record(version);
      const bool dead = (!newest && version.superseded <= numbers_.compacted) ||
                        (version.record.empty() && version.rev.main <= numbers_.compacted);
      if (!dead) sum_ += hash_of_record(version.key, version.rev, version.record);
    });
  }

  void record(const Version& version) {
    Record r;
    if (!parse_record(version.record, r) || r.mod != version.rev.main || r.create > r.mod || r.create < 1 || r.version < 1)
      fault("the record of version " + text(version.rev) + " makes no sense");
  }

  void key(const Version& version) {
    ++report_.keys;
    Record r;
    if (!parse_record(version.record, r) || r.lease == 0) return;
    ++attached_;
    auto row = rows_.get(Family::kLease, lease_key_row(r.lease, version.key));
    if (!row.ok() || !*row) fault("the key of version " + text(version.rev) + " has a lease that does not know it");
  }

  // rev: every change names its version and the one it superseded, and the
  // running sum grows by just what they say.
  Result<void> changes() {
    const auto rows = rows_.iterate(Family::kRev);
    Rev before;
    Sum256 sum = numbers_.superseded_at_compacted, carried;
    const auto check_sum = [&] {
      if (before.main != 0 && before.main >= numbers_.compacted && carried != sum)
        fault("the superseded sum of revision " + std::to_string(before.main) + " is not that of its changes");
    };
    for (rows->seek({}); rows->valid(); rows->next()) {
      const Rev rev = parse_rev_key(rows->key());
      RevRow row;
      if (!parse_rev_row(rev, rows->value(), row)) {
        fault("change " + text(rev) + " cannot be read");
        return {};
      }
      looked_at_one();
      if (rev.sub != (rev.main == before.main ? before.sub + 1 : 0)) fault("changes are missing before " + text(rev));
      if (rev.sub == 0) {
        check_sum();
        carried = Sum256::parse(row.sum);
      }
      // What was superseded up to the compacted revision may be swept already.
      if (rev.main > numbers_.compacted) LEEWARD_TRY(change(rev, row, sum));
      before = rev;
    }
    LEEWARD_TRY(rows->status());
    check_sum();
    // A later epoch may begin at a revision of its own choice.
    const bool last = numbers_.epoch == Epoch(1) ? before.main == (numbers_.revision > 1 ? numbers_.revision : 0)
                                                 : before.main <= numbers_.revision;
    if (!last) fault("changes end at " + text(before) + ", the revision is " + std::to_string(numbers_.revision));
    if (sum != numbers_.superseded) fault("the superseded sum is not that of the changes");
    return {};
  }

  Result<void> change(Rev rev, const RevRow& row, Sum256& sum) {
    ++newer_changes_;
    const std::string key = escaped(row.key);
    auto own = rows_.get(Family::kHist, hist_key(key, rev));
    if (!own.ok()) return own.error();
    if (!*own) {
      auto head = rows_.get(Family::kHead, key);
      if (!head.ok()) return head.error();
      std::uint32_t sub = 0;
      std::string_view wire;
      Record r;
      const bool there = *head && parse_head(**head, sub, wire) && parse_record(wire, r) && Rev{r.mod, sub} == rev;
      if (!there || row.kind == ChangeKind::kDelete) fault("change " + text(rev) + " has no version");
    } else if ((row.kind == ChangeKind::kDelete) != (*own)->empty()) {
      fault("change " + text(rev) + " is of another kind than its version");
    }
    if (row.kind == ChangeKind::kCreate) return {};
    auto previous = rows_.get(Family::kHist, hist_key(key, row.previous));
    if (!previous.ok()) return previous.error();
    if (!*previous) {
      fault("change " + text(rev) + " superseded a version that is missing");
    } else {
      sum += hash_of_record(row.key, row.previous, **previous);
    }
    if (row.kind == ChangeKind::kDelete) sum += hash_of_record(row.key, rev, {});
    return {};
  }

  Result<void> leases() {
    const auto rows = rows_.iterate(Family::kLease);
    std::uint64_t held = 0;
    for (rows->seek({}); rows->valid(); rows->next()) {
      std::string_view key = rows->key(), value = rows->value();
      const char kind = key.empty() ? '\0' : key.front();
      key.remove_prefix(key.empty() ? 0 : 1);
      std::uint64_t id = 0, ttl = 0;
      if (!codec::get_be64(key, id) || (kind != 'L' && kind != 'K')) {
        fault("a row of leases cannot be read");
      } else if (kind == 'L') {
        if (!codec::get_varint(value, ttl)) fault("lease " + std::to_string(id) + " cannot be read");
        ++report_.leases;
        sum_ += hash_of_lease(static_cast<std::int64_t>(id), static_cast<std::int64_t>(ttl));
      } else {
        ++held;
        auto lease = rows_.get(Family::kLease, lease_row(static_cast<std::int64_t>(id)));
        if (!lease.ok()) return lease.error();
        if (!*lease) fault("a key is held by lease " + std::to_string(id) + ", which does not exist");
      }
    }
    LEEWARD_TRY(rows->status());
    if (held != attached_)
      fault("leases hold " + std::to_string(held) + " keys, " + std::to_string(attached_) + " keys name a lease");
    return {};
  }

  Result<void> regions() {
    Epoch newest(1);
    const auto rows = rows_.iterate(Family::kMeta);
    for (rows->seek(kRegionPrefix); rows->valid() && rows->key().starts_with(kRegionPrefix); rows->next()) {
      const auto entry = parse_region(rows->key(), rows->value());
      if (!entry.ok()) {
        fault("a region's entry cannot be read");
        continue;
      }
      if (entry->kind == EntryKind::kEpochChange) newest = std::max(newest, entry->epoch);
      sum_ += hash_of_region_entry(entry->kind, entry->index, region_body(*entry));
    }
    if (newest != numbers_.epoch)
      fault("the epoch is " + std::to_string(numbers_.epoch.value()) + ", the newest change is to " + std::to_string(newest.value()));
    return rows->status();
  }

  void totals() {
    if (report_.keys != numbers_.keys)
      fault("there are " + std::to_string(report_.keys) + " keys, " + std::to_string(numbers_.keys) + " were counted");
    if (newer_versions_ != newer_changes_)
      fault("there are " + std::to_string(newer_versions_) + " versions after the compacted revision, but " +
            std::to_string(newer_changes_) + " changes");
    if (sum_ != numbers_.hash)
      fault("the state hash of the rows is " + sum_.hash().hex() + ", the one kept is " + numbers_.hash.hash().hex());
    if (found_ > kMaxFaults)
      report_.faults.push_back({where_, 0, std::to_string(found_ - kMaxFaults) + " more faults like these", Code::kCorrupt});
  }

  const StoreSnapshot& rows_;
  const Path where_;
  StateReport& report_;
  const RowsSeen& seen_;
  std::uint64_t looked_at_ = 0;
  Numbers numbers_;
  Sum256 sum_;  // of what is live
  std::uint64_t attached_ = 0, newer_versions_ = 0, newer_changes_ = 0;
  std::size_t found_ = 0;
};

}  // namespace

Result<void> check_rows(const StoreSnapshot& rows, const Path& where, StateReport& report, const RowsSeen& seen) {
  return RowsCheck(rows, where, report, seen).run();
}

}  // namespace leeward::kv
