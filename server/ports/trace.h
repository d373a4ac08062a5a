// Spans: what took how long on the way of one request, and of the few things
// that a node does by itself (elections, snapshots, promotions, drills).
//
// Any thread; nothing here blocks or allocates. Who has no tracer has a null
// pointer: one branch. A request that is not sampled has a context whose
// `sampled` is false, and nobody records anything for it: another branch.
// Nothing may be decided by what a tracer returns: ids are not replayable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/command.h"
#include "base/ids.h"
#include "base/units.h"

namespace leeward {

using SpanId = std::array<std::uint8_t, 8>;

enum class SpanKind : std::uint8_t { kInternal = 1, kServer = 2, kClient = 3 };  // OTLP's numbers

// Key and text are constants of the program: a span can hold neither keys nor
// values of clients, and is copied as it lies.
struct SpanAttribute {
  std::string_view key;
  std::string_view text;    // of a closed set; without data(): `number` counts
  std::int64_t number = 0;
};

struct Span {
  static constexpr std::size_t kAttributes = 6;

  std::string_view name;  // of a closed set, telemetry/README.md
  TraceContext context;   // the trace, and this span's own id
  SpanId parent{};        // all zero: the trace begins here
  SpanKind kind = SpanKind::kInternal;
  Instant start{}, end{};
  std::string_view failure;  // a constant text; empty: it did not fail
  std::array<SpanAttribute, kAttributes> attributes;
  std::size_t attribute_count = 0;

  // Beyond kAttributes nothing is kept.
  Span& with(std::string_view key, std::int64_t number) { return add({key, {}, number}); }
  Span& with(std::string_view key, std::string_view constant) { return add({key, constant, 0}); }

 private:
  Span& add(SpanAttribute attribute) {
    if (attribute_count < kAttributes) attributes[attribute_count++] = attribute;
    return *this;
  }
};

class Tracer {
 public:
  virtual ~Tracer() = default;

  // The context that a request goes on with here: a child's of a sampled
  // `parent`; of none, sometimes a trace of its own. Not sampled: `parent` as
  // it is, so that it can be passed on and written into logs.
  virtual TraceContext begin(const TraceContext& parent) = 0;
  // A trace that is always taken: of what happens seldom.
  virtual TraceContext root() = 0;
  virtual SpanId new_id() = 0;
  // Those of one call come from one part of the program. Where there is no room
  // they are dropped and counted.
  virtual void record(std::span<const Span> spans) = 0;

  // The revision that a sampled write became, for whoever hands its events to
  // watchers on another loop; the last few are kept.
  virtual void wrote(Revision revision, const TraceContext& trace) = 0;
  // Those in (after, upto] into `out`, as many as fit; how many. One load while
  // no write is sampled.
  virtual std::size_t written(Revision after, Revision upto, std::span<TraceContext> out) const = 0;

  void record(const Span& span) { record(std::span(&span, 1)); }
};

// A span below `parent` in its trace.
inline Span child_span(Tracer& tracer, const TraceContext& parent, std::string_view name, Instant start, Instant end) {
  Span span;
  span.name = name;
  span.context = parent;
  span.context.span_id = tracer.new_id();
  span.parent = parent.span_id;
  span.start = start;
  span.end = end;
  return span;
}

// A trace of its own: of what no request asked for, or an operator did.
inline Span root_span(Tracer& tracer, std::string_view name, Instant start, Instant end) {
  Span span;
  span.name = name;
  span.context = tracer.root();
  span.start = start;
  span.end = end;
  return span;
}

}  // namespace leeward
