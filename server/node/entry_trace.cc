#include "node/entry_trace.h"

#include <algorithm>

#include "base/codec.h"
#include "base/command.h"

namespace leeward::node {
namespace {

constexpr Duration kAppendGivenUp = 5s;  // after the entry was proposed

std::int64_t number(Index index) { return static_cast<std::int64_t>(index.value()); }
std::int64_t number(NodeId id) { return static_cast<std::int64_t>(id.value()); }

// Whether an envelope has a sampled write, without taking it apart: most have none.
bool any_sampled(std::string_view in) {
  std::uint8_t flags;
  std::uint64_t number;
  while (codec::get_u8(in, flags)) {
    if (flags & 1) return true;
    if (!codec::get_varint(in, number) || in.size() < 16) return false;
    in.remove_prefix(16);
    if (!codec::get_varint(in, number)) return false;
  }
  return false;
}

}  // namespace

void EntryTraces::proposed(Index index, Term term, std::vector<Write> writes, Instant now) {
  if (writes.empty()) return;
  forget(now);
  // What another leader has put in their place is not these.
  while (!entries_.empty() && entries_.back().index >= index) entries_.pop_back();
  if (entries_.size() >= kMostEntries) entries_.pop_front();
  OnItsWay& entry = entries_.emplace_back();
  entry.index = index;
  entry.term = term;
  entry.writes = std::move(writes);
  for (std::size_t i = 0; i < entry.writes.size(); ++i) entry.consensus.push_back(tracer_->new_id());
  entry.proposed = now;
}

void EntryTraces::handed(Index last, std::uint64_t token, Instant now) {
  for (OnItsWay& entry : entries_) {
    if (entry.index > last || entry.handed) continue;
    entry.handed = now;
    entry.token = token;
  }
}

void EntryTraces::durable(std::uint64_t token, Instant now) {
  for (OnItsWay& entry : entries_)
    if (entry.handed && entry.token <= token && !entry.durable) entry.durable = now;
}

void EntryTraces::sent(NodeId to, Index first, Index last, Instant now) {
  for (OnItsWay& entry : entries_) {
    if (entry.index < first || entry.index > last) continue;
    const bool again = std::any_of(entry.appends.begin(), entry.appends.end(), [&](const Append& a) { return a.to == to; });
    if (!again) entry.appends.push_back({to, now, std::nullopt});
  }
}

void EntryTraces::acknowledged(NodeId from, Index upto, Instant now) {
  for (OnItsWay& entry : entries_) {
    if (entry.index > upto) break;
    for (Append& append : entry.appends) {
      if (append.to != from || append.acknowledged) continue;
      append.acknowledged = now;
      if (entry.applied) tell_append(entry, append, now, {});
    }
  }
  forget(now);
}

void EntryTraces::committed(Index upto, Instant now) {
  for (OnItsWay& entry : entries_)
    if (entry.index <= upto && !entry.committed) entry.committed = now;
}

void EntryTraces::begin_apply(std::span<const Entry> entries) {
  applying_.clear();
  if (tracer_ == nullptr) return;
  for (std::size_t e = 0; e < entries.size(); ++e) {
    if (entries[e].kind != EntryKind::kWrites || !any_sampled(entries[e].envelope.view())) continue;
    const auto items = decode_envelope(entries[e].envelope.view(), entries[e].writes);
    if (!items.ok()) continue;  // outside the chain hash: nothing depends on it
    for (std::size_t c = 0; c < items->size(); ++c)
      if ((*items)[c].trace.sampled) applying_.push_back({e, c, (*items)[c].trace});
  }
}

const EntryTraces::Applying* EntryTraces::find(std::size_t entry, std::size_t command) const {
  const auto at = std::lower_bound(applying_.begin(), applying_.end(), std::pair(entry, command),
                                   [](const Applying& a, const auto& b) { return std::pair(a.entry, a.command) < b; });
  return at != applying_.end() && at->entry == entry && at->command == command ? &*at : nullptr;
}

void EntryTraces::result(std::size_t entry, std::size_t command, Revision revision) {
  if (const Applying* one = find(entry, command)) tracer_->wrote(revision, one->trace);
}

void EntryTraces::applied(std::span<const Entry> entries, Instant started, Instant now, bool following) {
  if (applying_.empty() && entries_.empty()) return;
  spans_.clear();
  for (OnItsWay& own : entries_) {
    if (entries.empty() || own.index > entries.back().index || own.applied) continue;
    own.applied = true;
    const auto same = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.index == own.index; });
    if (same != entries.end() && same->term == own.term) tell(own, started);
    else own.appends.clear();  // another leader's entry stands in its place
  }
  for (const Applying& one : applying_) {
    if (following) break;
    spans_.push_back(child_span(*tracer_, one.trace, "apply", started, now));
    spans_.back().with("leeward.index", number(entries[one.entry].index)).with("leeward.entries", static_cast<std::int64_t>(entries.size()));
  }
  if (!spans_.empty()) tracer_->record(spans_);
  forget(now);
}

void EntryTraces::tell(OnItsWay& entry, Instant applied) {
  for (std::size_t i = 0; i < entry.writes.size(); ++i) {
    const Write& write = entry.writes[i];
    spans_.push_back(child_span(*tracer_, write.trace, "queue", write.arrived, entry.proposed));
    TraceContext consensus = write.trace;
    consensus.span_id = entry.consensus[i];
    Span whole = child_span(*tracer_, write.trace, "consensus", entry.proposed, entry.committed.value_or(applied));
    whole.context = consensus;
    whole.with("leeward.index", number(entry.index)).with("leeward.writes", static_cast<std::int64_t>(entry.writes.size()));
    spans_.push_back(whole);
    if (entry.handed && entry.durable) spans_.push_back(child_span(*tracer_, consensus, "fsync", *entry.handed, *entry.durable));
    if (entry.committed) spans_.push_back(child_span(*tracer_, consensus, "quorum", entry.proposed, *entry.committed));
  }
  if (!spans_.empty()) tracer_->record(spans_);
  spans_.clear();
  for (Append& append : entry.appends)
    if (append.acknowledged) tell_append(entry, append, *append.acknowledged, {});
}

void EntryTraces::tell_append(const OnItsWay& entry, Append& append, Instant end, std::string_view failure) {
  append.told = true;
  for (std::size_t i = 0; i < entry.writes.size(); ++i) {
    TraceContext consensus = entry.writes[i].trace;
    consensus.span_id = entry.consensus[i];
    Span span = child_span(*tracer_, consensus, "append", append.sent, end);
    span.kind = SpanKind::kClient;
    span.failure = failure;
    tracer_->record(span.with("leeward.peer", number(append.to)));
  }
}

// Kept are entries that are not applied yet, and of others what a follower still
// owes; for some time.
void EntryTraces::forget(Instant now) {
  while (!entries_.empty()) {
    OnItsWay& oldest = entries_.front();
    const bool late = now - oldest.proposed > kAppendGivenUp;
    const bool owed = std::any_of(oldest.appends.begin(), oldest.appends.end(), [](const Append& a) { return !a.told; });
    if (!late && (!oldest.applied || owed)) return;
    if (oldest.applied)
      for (Append& append : oldest.appends)
        if (!append.told) tell_append(oldest, append, now, "not acknowledged in time");
    entries_.pop_front();
  }
}

}  // namespace leeward::node
