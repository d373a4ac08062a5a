#include "raft/log_window.h"

#include <algorithm>

#include "base/check.h"

namespace leeward::raft {
namespace {

LogPoint point_of(const Entry& entry) { return {entry.index, entry.term, entry.position}; }

}  // namespace

std::size_t weight(const Entry& entry) { return sizeof(Entry) + entry.payload.size() + entry.envelope.size(); }

LogWindow::LogWindow(const LogView& stored, std::size_t cache_bytes)
    : stored_(stored), cache_bytes_(cache_bytes), before_(stored.last()), written_(before_.index),
      stable_(before_.index) {}

LogPoint LogWindow::last() const { return recent_.empty() ? before_ : point_of(recent_.back()); }

LogPoint LogWindow::base() const {
  const LogPoint stored = stored_.base();
  return stored.index < before_.index ? stored : before_;
}

std::optional<LogPoint> LogWindow::point(Index index) const {
  if (index == before_.index) return before_;
  if (index > before_.index) {
    if (index > last().index) return std::nullopt;
    return point_of(at(index));
  }
  if (index < stored_.base().index) return std::nullopt;
  auto found = stored_.point(index);
  if (!found) return std::nullopt;
  return *found;
}

Term LogWindow::term(Index index) const {
  const auto found = point(index);
  return found ? found->term : Term();
}

Index LogWindow::find_meeting(Index index, Term term, Index floor) const {
  index = std::min(index, last().index);
  while (index > floor) {
    const auto here = point(index);
    if (!here || here->term <= term) break;
    index = index - 1;
  }
  return index;
}

Result<std::vector<Entry>> LogWindow::read(Index from, Index to, std::size_t max_bytes) const {
  LEEWARD_CHECK(from.value() > 0 && from < to && to <= last().index + 1, "a read outside the log");
  if (from <= before_.index) return stored_.read(from, std::min(to, before_.index + 1), max_bytes);
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  for (Index i = from; i < to; ++i) {
    const Entry& entry = at(i);
    bytes += weight(entry);
    if (!entries.empty() && bytes > max_bytes) break;
    entries.push_back(entry);
  }
  return entries;
}

std::size_t LogWindow::weight_above(Index index) const {
  std::size_t bytes = 0;
  for (auto entry = recent_.rbegin(); entry != recent_.rend() && entry->index > index; ++entry) bytes += weight(*entry);
  return bytes;
}

void LogWindow::append(Entry entry) {
  const LogPoint end = last();
  LEEWARD_CHECK(entry.index == end.index + 1, "an appended entry leaves a gap");
  LEEWARD_CHECK(entry.term >= end.term, "an appended entry goes back in terms");
  recent_bytes_ += weight(entry);
  recent_.push_back(std::move(entry));
}

void LogWindow::truncate(Index from) {
  LEEWARD_CHECK(from.value() > 0, "nothing comes before the first entry");
  while (!recent_.empty() && recent_.back().index >= from) {
    recent_bytes_ -= weight(recent_.back());
    recent_.pop_back();
  }
  const Index keep = from - 1;
  if (keep < before_.index) {
    auto found = stored_.point(keep);
    LEEWARD_CHECK(found.ok(), "the log is cut where it cannot be read");
    before_ = *found;
  }
  written_ = std::min(written_, keep);
  stable_ = std::min(stable_, keep);
  for (Write& write : writes_) write.last = std::min(write.last, keep);
}

void LogWindow::restore(const LogPoint& point) {
  recent_.clear();
  recent_bytes_ = 0;
  writes_.clear();
  before_ = point;
  written_ = stable_ = point.index;
}

std::vector<Entry> LogWindow::take_unwritten(std::uint64_t token) {
  std::vector<Entry> entries;
  const Index end = last().index;
  entries.reserve(end - written_);
  for (Index i = written_ + 1; i <= end; ++i) entries.push_back(at(i));
  written_ = end;
  writes_.push_back({token, end});
  return entries;
}

void LogWindow::persisted(std::uint64_t token) {
  while (!writes_.empty() && writes_.front().token <= token) {
    stable_ = std::max(stable_, writes_.front().last);
    writes_.pop_front();
  }
  trim();
}

void LogWindow::trim() {
  while (recent_bytes_ > cache_bytes_ && !recent_.empty() && recent_.front().index <= stable_) {
    before_ = point_of(recent_.front());
    recent_bytes_ -= weight(recent_.front());
    recent_.pop_front();
  }
}

}  // namespace leeward::raft
