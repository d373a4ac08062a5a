#include "kv/range.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/codec.h"

namespace leeward::kv {
namespace {

constexpr int kKvsField = 2;
// Keys that do not pass, between two that do: up to so many are stepped over
// again by the second pass, which costs as much as one seek.
constexpr std::size_t kSteppedOver = 8;

const Error kBadRecord{Code::kCorrupt, "state store: a record cannot be read"};

}  // namespace

RangeRun::RangeRun(const StoreSnapshot& snapshot, const RangeRequest& request, const Moment& moment, std::size_t keep)
    : snapshot_(snapshot), request_(request), moment_(moment), keep_(keep) {}

Result<void> RangeRun::prepare() {
  if (request_.revision > moment_.revision) return Error{Code::kInvalid, texts::kFutureRev};
  const std::int64_t revision = request_.revision > 0 ? request_.revision : moment_.revision;
  if (revision < moment_.compacted || end_of_gap(moment_.gaps, revision) != 0)
    return Error{Code::kCompacted, texts::kCompacted};
  at_ = revision == moment_.revision ? kNewest : revision;
  if (request_.range.single()) return prepare_single();
  // Keys come in order by themselves; anything else must be sorted.
  sorted_ = !request_.count_only && (request_.target != RangeRequest::Target::kKey ||
                                     request_.order == RangeRequest::Order::kDescend);
  return sorted_ ? prepare_sorted() : prepare_scan();
}

Result<void> RangeRun::prepare_single() {
  kept_ = true;
  auto found = find_version(snapshot_, escaped(request_.range.key), at_);
  if (!found.ok()) return found.error();
  if (*found) {
    count_ = 1;
    if (!request_.count_only) {
      const std::string_view record = (*found)->record();
      Record parsed;
      if (request_.filtered() && !parse_record(record, parsed)) return kBadRecord;
      if (passes(parsed)) {
        kvs_.reserve(request_.range.key.size() + record.size() + 16);
        encode(kvs_, request_.range.key, record);
      }
    }
  }
  finish_sizes(kvs_.size());
  return {};
}

Result<void> RangeRun::prepare_scan() {
  RangeScan scan(snapshot_, request_.range, at_);
  std::uint64_t bytes = 0;
  kept_ = true;
  std::size_t passed_over = kSteppedOver + 1;  // since the last that passes; the first begins a run
  while (scan.next()) {
    ++count_;
    if (request_.count_only) continue;
    const bool full = request_.limit > 0 && selected_ >= static_cast<std::uint64_t>(request_.limit);
    if (full && more_) continue;
    Record parsed;
    if (request_.filtered() && !parse_record(scan.record(), parsed)) return kBadRecord;
    if (!passes(parsed)) {
      ++passed_over;
      continue;
    }
    if (full) {
      more_ = true;
      continue;
    }
    if (std::exchange(passed_over, 0) > kSteppedOver) runs_.push_back({std::string(scan.key()), 0});
    ++runs_.back().count;
    ++selected_;
    bytes += encoded_size(scan.key(), scan.record());
    kept_ = kept_ && bytes <= keep_;
    if (kept_) encode(kvs_, scan.key(), scan.record());
  }
  LEEWARD_TRY(scan.status());
  if (kept_) runs_ = {};
  else kvs_ = {};
  finish_sizes(bytes);
  return {};
}

bool RangeRun::before(const Item& a, const Item& b) const {
  const bool descending = request_.order == RangeRequest::Order::kDescend;
  if (request_.target == RangeRequest::Target::kKey) return descending ? b.key < a.key : a.key < b.key;
  if (a.number != b.number) return (a.number < b.number) != descending;
  if (const int order = a.value.compare(b.value); order != 0) return (order < 0) != descending;
  return a.key < b.key;
}

Result<void> RangeRun::prepare_sorted() {
  const auto limit = static_cast<std::size_t>(std::max<std::int64_t>(request_.limit, 0));
  // etcd takes the first keys and then sorts those when no order was asked for.
  const bool first_keys = limit > 0 && request_.order == RangeRequest::Order::kNone && !request_.filtered();
  const auto less = [this](const Item& a, const Item& b) { return before(a, b); };
  RangeScan scan(snapshot_, request_.range, at_);
  std::size_t passed = 0;
  while (scan.next()) {
    ++count_;
    Record record;
    if (!parse_record(scan.record(), record)) return kBadRecord;
    if (!passes(record)) continue;
    if (++passed > limit + 1 && first_keys) continue;
    Item item;
    switch (request_.target) {
      case RangeRequest::Target::kKey: break;
      case RangeRequest::Target::kVersion: item.number = record.version; break;
      case RangeRequest::Target::kCreate: item.number = record.create; break;
      case RangeRequest::Target::kMod: item.number = record.mod; break;
      case RangeRequest::Target::kValue: item.value = record.value; break;
    }
    item.key = scan.escaped_key();
    item.size = static_cast<std::uint32_t>(encoded_size(scan.key(), scan.record()));
    if (limit > 0 && items_.size() == limit) {
      // A heap whose top is the last of those kept.
      if (!less(item, items_.front())) continue;
      std::pop_heap(items_.begin(), items_.end(), less);
      items_.back() = std::move(item);
    } else {
      items_.push_back(std::move(item));
    }
    if (limit > 0) std::push_heap(items_.begin(), items_.end(), less);
  }
  LEEWARD_TRY(scan.status());
  more_ = limit > 0 && passed > limit;
  std::sort(items_.begin(), items_.end(), less);
  std::uint64_t bytes = 0;
  for (Item& item : items_) {
    item.value = {};
    bytes += item.size;
  }
  selected_ = items_.size();
  finish_sizes(bytes);
  return {};
}

// On the scan of a run, which begins with one and ends with one.
Result<void> RangeRun::next_that_passes() {
  while (scan_->next()) {
    Record parsed;
    if (request_.filtered() && !parse_record(scan_->record(), parsed)) return kBadRecord;
    if (passes(parsed)) return {};
  }
  LEEWARD_TRY(scan_->status());
  LEEWARD_CHECK(false, "a snapshot gave fewer keys the second time");
  return {};
}

bool RangeRun::passes(const Record& record) const {
  return (request_.max_mod == 0 || record.mod <= request_.max_mod) &&
         (request_.min_mod == 0 || record.mod >= request_.min_mod) &&
         (request_.max_create == 0 || record.create <= request_.max_create) &&
         (request_.min_create == 0 || record.create >= request_.min_create);
}

std::size_t RangeRun::encoded_size(std::string_view key, std::string_view record) const {
  if (!request_.keys_only) return kv_size(key, record.size());
  Record parsed;
  if (!parse_record(record, parsed) || parsed.value.empty()) return kv_size(key, record.size());
  const std::size_t value_field = 1 + codec::varint_size(parsed.value.size()) + parsed.value.size();
  return kv_size(key, record.size() - value_field);
}

void RangeRun::encode(std::string& out, std::string_view key, std::string_view record) const {
  if (!request_.keys_only) return append_kv(out, kKvsField, key, record);
  Record parsed;
  if (!parse_record(record, parsed)) return append_kv(out, kKvsField, key, record);
  parsed.value = {};
  std::string stripped;
  append_record(stripped, parsed);
  append_kv(out, kKvsField, key, stripped);
}

void RangeRun::begin(std::string& out) const { append_header(out, moment_.revision); }

void RangeRun::end(std::string& out) const {
  append_varint_field(out, 3, more_ ? 1 : 0);
  append_varint_field(out, 4, static_cast<std::uint64_t>(count_));
}

void RangeRun::finish_sizes(std::uint64_t kvs_bytes) {
  std::string frame;
  begin(frame);
  end(frame);
  size_ = frame.size() + kvs_bytes;
}

Result<void> RangeRun::next(std::size_t max, std::string& out) {
  if (ended_) return {};
  const std::size_t start = out.size();
  if (!begun_) {
    if (kept_) out.reserve(start + size_);
    begin(out);
    begun_ = true;
  }
  if (kept_) {
    // At most `keep` bytes: given out whole.
    out.append(kvs_);
    end(out);
    ended_ = true;
    return {};
  }
  std::string scratch;
  while (written_ < selected_ && out.size() - start < max) {
    if (sorted_) {
      const Item& item = items_[written_];
      auto found = find_version(snapshot_, item.key, at_);
      if (!found.ok()) return found.error();
      LEEWARD_CHECK(found->has_value(), "a key vanished from a snapshot");
      encode(out, unescape(item.key, scratch), (*found)->record());
    } else {
      if (left_in_run_ == 0) {
        const Run& run = runs_[run_++];
        scan_ = std::make_unique<RangeScan>(snapshot_, KeyRange{run.first, request_.range.end}, at_);
        left_in_run_ = run.count;
      }
      LEEWARD_TRY(next_that_passes());
      encode(out, scan_->key(), scan_->record());
      --left_in_run_;
    }
    ++written_;
  }
  if (written_ == selected_) {
    end(out);
    ended_ = true;
    scan_.reset();
  }
  return {};
}

}  // namespace leeward::kv
