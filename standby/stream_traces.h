// The way of sampled writes through a following group, as spans: received from
// the source, made durable by a majority here, applied. Their traces come in the
// entries' envelopes.
//
// Core loop, at the group's leader. A branch an entry while nothing is sampled;
// no more than kMost entries are known at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "ports/trace.h"
#include "standby/messages.h"

namespace leeward::standby {

class StreamTraces {
 public:
  static constexpr std::size_t kMost = 256;

  explicit StreamTraces(Tracer* tracer) : tracer_(tracer) {}

  // An entry without an envelope has nothing that was sampled (traces_of).
  void received(const StreamEntry& entry, Instant now) {
    if (tracer_ && !entry.envelope.empty()) remember(entry, now);
  }
  void proposed(HistoryIndex upto, Instant now) {
    for (auto& entry : entries_)
      if (entry.index <= upto && !entry.proposed) entry.proposed = now;
  }
  void committed(HistoryIndex upto, Instant now) {
    for (auto& entry : entries_)
      if (entry.index <= upto && entry.proposed && !entry.committed) entry.committed = now;
  }
  void applied(HistoryIndex upto, Instant now) {
    while (!entries_.empty() && entries_.front().index <= upto) {
      tell(entries_.front(), now);
      entries_.pop_front();
    }
  }
  // The session is over: who leads next tells of what is still on its way.
  void clear() { entries_.clear(); }

 private:
  struct OnItsWay {
    HistoryIndex index;
    std::vector<TraceContext> writes;
    Instant received{};
    std::optional<Instant> proposed, committed;
  };
  void remember(const StreamEntry& entry, Instant now);
  void tell(const OnItsWay& entry, Instant applied);

  Tracer* const tracer_;
  std::deque<OnItsWay> entries_;  // by index
};

}  // namespace leeward::standby
