#include "kv/scan.h"

#include "base/check.h"

namespace leeward::kv {
namespace {

const Error kBadHead{Code::kCorrupt, "state store: a row of head cannot be read"};

bool starts_with(std::string_view row, std::string_view escaped) {
  return row.size() == escaped.size() + kHistSuffix && row.starts_with(escaped);
}

}  // namespace

Result<std::optional<Found>> find_version(const StoreSnapshot& snapshot, std::string_view escaped, std::int64_t at) {
  auto head = snapshot.get(Family::kHead, escaped);
  if (!head.ok()) return head.error();
  if (*head) {
    std::uint32_t sub;
    std::string_view record;
    if (!parse_head(**head, sub, record)) return kBadHead;
    Record parsed;
    if (at != kNewest && !parse_record(record, parsed)) return kBadHead;
    if (at == kNewest || parsed.mod <= at) {
      Found found{std::move(**head), 0};
      found.skip = found.row.size() - record.size();
      return std::optional<Found>(std::move(found));
    }
  }
  if (at == kNewest) return std::optional<Found>();
  const auto hist = snapshot.iterate(Family::kHist);
  hist->seek(hist_seek(escaped, at));
  LEEWARD_TRY(hist->status());
  if (!hist->valid() || !starts_with(hist->key(), escaped) || hist->value().empty()) return std::optional<Found>();
  return std::optional<Found>(Found{std::string(hist->value()), 0});
}

RangeScan::RangeScan(const StoreSnapshot& snapshot, const KeyRange& range, std::int64_t at)
    : range_(range), at_(at), head_(snapshot.iterate(Family::kHead)) {
  head_->seek(range_.low);
  if (at_ == kNewest) return;
  hist_ = snapshot.iterate(Family::kHist);
  hist_->seek(range_.low);
}

bool RangeScan::emit(std::string_view escaped, std::string_view record) {
  escaped_ = escaped;
  key_ = unescape(escaped, scratch_);
  record_ = record;
  return true;
}

bool RangeScan::next() { return at_ == kNewest ? next_newest() : next_at(); }

bool RangeScan::next_newest() {
  if (pending_ == Pending::kHead) head_->next();
  pending_ = Pending::kHead;
  if (!head_->valid() || !range_.below_high(head_->key())) return false;
  std::uint32_t sub;
  std::string_view record;
  if (!parse_head(head_->value(), sub, record)) {
    corrupt_ = true;
    return false;
  }
  return emit(head_->key(), record);
}

bool RangeScan::next_at() {
  for (;;) {
    if (pending_ == Pending::kHead) head_->next();
    pending_ = Pending::kNothing;
    if (!hist_skip_.empty()) {
      hist_->seek(hist_skip_);
      hist_skip_.clear();
    }
    const bool in_head = head_->valid() && range_.below_high(head_->key());
    const bool in_hist = hist_->valid() && range_.below_high(hist_prefix(hist_->key()));
    if (!in_head && !in_hist) return false;

    // The smaller key of the two, or the one they share.
    const bool head_first = in_head && (!in_hist || head_->key() <= hist_prefix(hist_->key()));
    const bool hist_too = in_hist && (!head_first || head_->key() == hist_prefix(hist_->key()));
    if (hist_too) hist_skip_ = hist_after(hist_prefix(hist_->key()));
    if (head_first) {
      pending_ = Pending::kHead;
      std::uint32_t sub;
      std::string_view wire;
      Record parsed;
      if (!parse_head(head_->value(), sub, wire) || !parse_record(wire, parsed)) {
        corrupt_ = true;
        return false;
      }
      if (parsed.mod <= at_) return emit(head_->key(), wire);
    }
    if (!hist_too) continue;
    from_hist_.assign(hist_prefix(hist_->key()));
    hist_->seek(hist_seek(from_hist_, at_));
    if (hist_->valid() && starts_with(hist_->key(), from_hist_) && !hist_->value().empty())
      return emit(from_hist_, hist_->value());
  }
}

Result<void> RangeScan::status() const {
  if (corrupt_) return kBadHead;
  LEEWARD_TRY(head_->status());
  if (hist_) LEEWARD_TRY(hist_->status());
  return {};
}

Result<void> for_each_version(const StoreSnapshot& snapshot, const std::function<void(const Version&)>& visit) {
  const auto head = snapshot.iterate(Family::kHead);
  const auto hist = snapshot.iterate(Family::kHist);
  head->seek({});
  hist->seek({});
  std::string escaped, scratch;
  while (head->valid() || hist->valid()) {
    const bool head_first = head->valid() && (!hist->valid() || head->key() <= hist_prefix(hist->key()));
    escaped.assign(head_first ? head->key() : hist_prefix(hist->key()));
    Version version;
    version.key = unescape(escaped, scratch);
    std::int64_t newer = 0;
    if (head_first) {
      Record parsed;
      if (!parse_head(head->value(), version.rev.sub, version.record) || !parse_record(version.record, parsed))
        return kBadHead;
      version.rev.main = parsed.mod;
      visit(version);
      newer = parsed.mod;
      head->next();
    }
    for (; hist->valid() && starts_with(hist->key(), escaped); hist->next()) {
      version.rev = hist_rev(hist->key());
      version.record = hist->value();
      version.superseded = newer;
      visit(version);
      newer = version.rev.main;
    }
  }
  LEEWARD_TRY(head->status());
  return hist->status();
}

}  // namespace leeward::kv
