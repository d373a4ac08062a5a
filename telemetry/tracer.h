// The Tracer port: decides what is sampled, makes ids, hands spans to the
// exporter.
//
// Any thread. Parent-based: what comes with a valid trace context is sampled as
// that says; of what comes without one, `ratio` is. Ids are a sequence of 64-bit
// numbers, each once a process, begun by a random seed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "ports/trace.h"
#include "telemetry/exporter.h"

namespace leeward::telemetry {

enum class Sampler {
  kParentBasedRatio,  // the default
  kParentBasedOn,     // what has no parent is always sampled
  kParentBasedOff,    // never
  kRatio,             // whatever a parent says: by the trace id
  kOn,
  kOff,
};

class SpanTracer final : public Tracer {
 public:
  // `exporter` outlives it.
  SpanTracer(Exporter& exporter, Sampler sampler, double ratio, std::uint64_t seed);

  TraceContext begin(const TraceContext& parent) override;
  TraceContext root() override;
  SpanId new_id() override;
  using Tracer::record;
  void record(std::span<const Span> spans) override { exporter_.record(spans); }
  void wrote(Revision revision, const TraceContext& trace) override;
  std::size_t written(Revision after, Revision upto, std::span<TraceContext> out) const override;

 private:
  struct Written {
    Revision revision;
    TraceContext trace;
  };

  std::uint64_t next();
  TraceContext new_trace();
  bool by_ratio(const TraceContext& trace) const;
  bool sample(const TraceContext& parent, const TraceContext& trace) const;

  Exporter& exporter_;
  const Sampler sampler_;
  const bool all_;
  const std::uint64_t threshold_;  // of 63 bits of a trace id
  std::atomic<std::uint64_t> state_;

  std::atomic<std::int64_t> newest_{0};  // revision in written_; so that most look no further
  mutable std::mutex mutex_;
  std::array<Written, 64> written_;      // under mutex_
  std::size_t next_written_ = 0;         // likewise
};

}  // namespace leeward::telemetry
