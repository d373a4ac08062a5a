// Entries that chain, and a model of what a log should hold.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "os/random.h"
#include "ports/log_store.h"
#include "support/memory_disk.h"
#include "support/sanitized.h"
#include "wal/log_store.h"
#include "wal/offline.h"
#include "wal/superblock.h"

namespace leeward::wal {

// Under a sanitizer the long tests take every nth case.
inline constexpr unsigned kEvery = test::kSanitized ? 29 : 1;

inline const Path kDirectory = "/data/wal";

inline LogPoint point_of(const Entry& e) { return {e.index, e.term, e.position}; }

inline Entry entry_after(const LogPoint& before, Term term, std::string payload, EntryKind kind = EntryKind::kWrites) {
  Entry e;
  e.term = term;
  e.index = before.index + 1;
  e.kind = kind;
  e.position = before.position;
  if (is_history(kind)) {
    e.epoch = Epoch(1);
    e.writes = kind == EntryKind::kWrites ? 1 : 0;
    e.position = extend(before.position, e.epoch, kind, e.writes, payload);
  }
  e.payload = Bytes(std::move(payload));
  return e;
}

inline std::vector<Entry> entries_after(LogPoint before, Term term, int count, std::size_t size = 40) {
  std::vector<Entry> entries;
  for (int i = 0; i < count; ++i) {
    entries.push_back(entry_after(before, term, std::string(size, static_cast<char>('a' + (before.index.value() + term.value()) % 26))));
    before = point_of(entries.back());
  }
  return entries;
}

// What a log should hold.
struct Model {
  LogPoint base;
  std::map<Index, Entry> entries;
  HardState hard_state;

  LogPoint last() const { return entries.empty() ? base : point_of(entries.rbegin()->second); }
  LogPoint point(Index index) const { return index == base.index ? base : point_of(entries.at(index)); }
  void append(const std::vector<Entry>& more) {
    entries.erase(entries.lower_bound(more.front().index), entries.end());
    for (const auto& e : more) entries.emplace(e.index, e);
  }
  // The log keeps whole segments, so it is the log that says where its base is.
  void move_base(const LogPoint& to) {
    base = to;
    entries.erase(entries.begin(), entries.upper_bound(to.index));
  }
};

inline LogOptions small_options() {
  LogOptions options;
  options.owner = Incarnation(77);
  options.segment_bytes = 16384;
  options.cache_bytes = 2000;
  options.create = true;
  return options;
}

inline std::unique_ptr<SegmentedLog> open_log(Disk& disk, Random& random, const LogOptions& options = small_options()) {
  auto log = SegmentedLog::open(disk, random, kDirectory, options);
  EXPECT_TRUE(log.ok()) << (log.ok() ? "" : log.error().message);
  return log.ok() ? std::move(*log) : nullptr;
}

inline ::testing::AssertionResult holds(const LogView& log, const Model& model) {
  const auto fail = [] { return ::testing::AssertionFailure(); };
  if (log.base() != model.base) return fail() << "base " << log.base().index.value() << ", expected " << model.base.index.value();
  if (log.last() != model.last()) return fail() << "last " << log.last().index.value() << ", expected " << model.last().index.value();
  Index next = model.base.index + 1;
  while (next <= model.last().index) {
    auto read = log.read(next, model.last().index + 1, 3000);
    if (!read.ok()) return fail() << read.error().message;
    if (read->empty()) return fail() << "read nothing at " << next.value();
    for (const auto& e : *read) {
      if (e != model.entries.at(next)) return fail() << "entry " << next.value() << " differs";
      const auto point = log.point(next);
      if (!point.ok() || *point != point_of(e)) return fail() << "point " << next.value() << " differs";
      ++next;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace leeward::wal
