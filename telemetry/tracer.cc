#include "telemetry/tracer.h"

#include <cstring>

namespace leeward::telemetry {
namespace {

constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15;

}  // namespace

SpanTracer::SpanTracer(Exporter& exporter, Sampler sampler, double ratio, std::uint64_t seed)
    : exporter_(exporter), sampler_(sampler), all_(ratio >= 1),
      threshold_(ratio > 0 ? static_cast<std::uint64_t>(ratio * 0x1p63) : 0), state_(seed) {}

// SplitMix64 over a counter: a bijection, so no number comes twice.
std::uint64_t SpanTracer::next() {
  std::uint64_t z = state_.fetch_add(kGolden, std::memory_order_relaxed) + kGolden;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

SpanId SpanTracer::new_id() {
  std::uint64_t number = next();
  if (number == 0) number = 1;  // all zero is no id
  SpanId id;
  std::memcpy(id.data(), &number, id.size());
  return id;
}

TraceContext SpanTracer::new_trace() {
  TraceContext trace;
  const SpanId high = new_id();
  const SpanId low = new_id();
  std::memcpy(trace.trace_id.data(), high.data(), high.size());
  std::memcpy(trace.trace_id.data() + high.size(), low.data(), low.size());
  return trace;
}

bool SpanTracer::by_ratio(const TraceContext& trace) const {
  if (all_) return true;
  std::uint64_t low = 0;
  for (std::size_t i = 8; i < 16; ++i) low = low << 8 | trace.trace_id[i];
  return (low >> 1) < threshold_;
}

bool SpanTracer::sample(const TraceContext& parent, const TraceContext& trace) const {
  const bool has_parent = parent.trace_id != decltype(parent.trace_id){};
  switch (sampler_) {
    case Sampler::kParentBasedRatio: return has_parent ? parent.sampled : by_ratio(trace);
    case Sampler::kParentBasedOn: return !has_parent || parent.sampled;
    case Sampler::kParentBasedOff: return has_parent && parent.sampled;
    case Sampler::kRatio: return by_ratio(trace);
    case Sampler::kOn: return true;
    case Sampler::kOff: return false;
  }
  return false;
}

TraceContext SpanTracer::begin(const TraceContext& parent) {
  const bool has_parent = parent.trace_id != decltype(parent.trace_id){};
  TraceContext trace = has_parent ? parent : new_trace();
  if (!sample(parent, trace)) {
    TraceContext unsampled = parent;
    unsampled.sampled = false;
    return unsampled;
  }
  trace.span_id = new_id();
  trace.sampled = true;
  return trace;
}

TraceContext SpanTracer::root() {
  TraceContext trace = new_trace();
  trace.span_id = new_id();
  trace.sampled = true;
  return trace;
}

void SpanTracer::wrote(Revision revision, const TraceContext& trace) {
  std::lock_guard lock(mutex_);
  written_[next_written_++ % written_.size()] = {revision, trace};
  newest_.store(static_cast<std::int64_t>(revision.value()), std::memory_order_release);
}

std::size_t SpanTracer::written(Revision after, Revision upto, std::span<TraceContext> out) const {
  // Most pieces of a watch hold nothing that was sampled lately.
  if (newest_.load(std::memory_order_acquire) <= static_cast<std::int64_t>(after.value())) return 0;
  std::lock_guard lock(mutex_);
  std::size_t found = 0;
  for (const Written& one : written_)
    if (one.trace.sampled && one.revision > after && one.revision <= upto && found < out.size()) out[found++] = one.trace;
  return found;
}

}  // namespace leeward::telemetry
