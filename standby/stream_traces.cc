#include "standby/stream_traces.h"

#include "base/command.h"

namespace leeward::standby {

void StreamTraces::remember(const StreamEntry& entry, Instant now) {
  const auto items = decode_envelope(entry.envelope.view(), entry.writes);
  if (!items.ok()) return;  // outside the chain hash: nothing depends on it
  OnItsWay known{entry.position.index, {}, now, {}, {}};
  for (const auto& item : *items)
    if (item.trace.sampled) known.writes.push_back(item.trace);
  if (known.writes.empty()) return;
  // A session that began anew sends some again.
  while (!entries_.empty() && entries_.back().index >= known.index) entries_.pop_back();
  if (entries_.size() >= kMost) entries_.pop_front();
  entries_.push_back(std::move(known));
}

void StreamTraces::tell(const OnItsWay& entry, Instant applied) {
  if (!entry.proposed || !entry.committed) return;  // another leader's, adopted with a state
  for (const TraceContext& write : entry.writes) {
    Span whole = child_span(*tracer_, write, "standby", entry.received, applied);
    whole.with("leeward.history_index", static_cast<std::int64_t>(entry.index.value()));
    const Span parts[] = {whole, child_span(*tracer_, whole.context, "standby.receive", entry.received, *entry.proposed),
                          child_span(*tracer_, whole.context, "standby.fsync", *entry.proposed, *entry.committed),
                          child_span(*tracer_, whole.context, "standby.apply", *entry.committed, applied)};
    tracer_->record(parts);
  }
}

}  // namespace leeward::standby
