// Where log entries with sampled writes are on their way, as spans: at a leader
// queue, consensus (fsync, an append to each peer, quorum), at every member of
// the group that made the entry apply; and which revision a sampled write became.
//
// Core loop. Costs a branch a call while nothing is sampled, and no memory:
// what is known is of the sampled writes of the newest kMostEntries entries.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/entry.h"
#include "base/ids.h"
#include "ports/trace.h"

namespace leeward::node {

class EntryTraces {
 public:
  static constexpr std::size_t kMostEntries = 256;

  // A sampled write and when it came here.
  struct Write {
    TraceContext trace;
    Instant arrived{};
  };

  explicit EntryTraces(Tracer* tracer) : tracer_(tracer) {}

  Tracer* tracer() const { return tracer_; }
  // Whether what follows is worth calling: entries of this leader are on their way.
  bool any() const { return !entries_.empty(); }

  // --- a leader's entries ---
  void proposed(Index index, Term term, std::vector<Write> writes, Instant now);
  // Went to the disk loop, up to `last`, in the batch `token`; became durable.
  void handed(Index last, std::uint64_t token, Instant now);
  void durable(std::uint64_t token, Instant now);
  void sent(NodeId to, Index first, Index last, Instant now);
  void acknowledged(NodeId from, Index upto, Instant now);
  void committed(Index upto, Instant now);

  // --- apply, at any member ---
  // Looks for sampled writes in what is about to be applied.
  void begin_apply(std::span<const Entry> entries);
  bool wanted(std::size_t entry, std::size_t command) const {
    if (applying_.empty()) return false;
    return find(entry, command) != nullptr;
  }
  void result(std::size_t entry, std::size_t command, Revision revision);
  // `following`: the entries came from another region, whose spans tell of them.
  void applied(std::span<const Entry> entries, Instant started, Instant now, bool following);

 private:
  struct Append {
    NodeId to;
    Instant sent{};
    std::optional<Instant> acknowledged;
    bool told = false;
  };
  struct OnItsWay {
    Index index;
    Term term;
    std::vector<Write> writes;
    std::vector<SpanId> consensus;  // of each write: what is below it names it
    Instant proposed{};
    std::uint64_t token = 0;
    std::optional<Instant> handed, durable, committed;
    std::vector<Append> appends;
    bool applied = false;
  };
  struct Applying {
    std::size_t entry = 0, command = 0;
    TraceContext trace;
  };

  const Applying* find(std::size_t entry, std::size_t command) const;
  void tell(OnItsWay& entry, Instant applied);
  void tell_append(const OnItsWay& entry, Append& append, Instant end, std::string_view failure);
  void forget(Instant now);

  Tracer* const tracer_;
  std::deque<OnItsWay> entries_;    // by index
  std::vector<Applying> applying_;  // in order
  std::vector<Span> spans_;         // made together, told together
};

}  // namespace leeward::node
