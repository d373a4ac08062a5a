// A page of metrics in the making, for those who write parts of it.
#pragma once

#include <prometheus/metric_family.h>

#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ports/exemplars.h"
#include "ports/probe.h"

namespace leeward::telemetry {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// gRPC's own names, by number.
inline constexpr const char* kGrpcCodeNames[] = {
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss",
    "Unauthenticated"};

inline std::uint64_t value_of(const Counter* counter) { return counter ? counter->get() : 0; }

// Whether an Accept header puts OpenMetrics before Prometheus' text.
bool wants_open_metrics(std::string_view accept);

// Collects families in the order of writing.
class Page {
 public:
  // Opens a family; samples follow.
  Page& family(prometheus::MetricType type, std::string name, std::string help) {
    families_.push_back({std::move(name), std::move(help), type, {}});
    return *this;
  }
  Page& counter(std::string name, std::string help) {
    return family(prometheus::MetricType::Counter, "leeward_" + std::move(name), std::move(help));
  }
  Page& gauge(std::string name, std::string help) {
    return family(prometheus::MetricType::Gauge, "leeward_" + std::move(name), std::move(help));
  }
  Page& histogram(std::string name, std::string help) {
    return family(prometheus::MetricType::Histogram, "leeward_" + std::move(name), std::move(help));
  }
  Page& sample(double value, Labels labels = {}) {
    prometheus::ClientMetric& metric = add(std::move(labels));
    (families_.back().type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    return *this;
  }
  Page& sample(std::uint64_t value, Labels labels = {}) { return sample(static_cast<double>(value), std::move(labels)); }
  Page& sample(bool value, Labels labels = {}) { return sample(value ? 1.0 : 0.0, std::move(labels)); }
  Page& sample(const Histogram* source, Labels labels = {}, const Exemplars* exemplars = nullptr) {
    return sum({&source, 1}, std::move(labels), exemplars);
  }
  // One series of all of them; null ones count nothing.
  Page& sum(std::span<const Histogram* const> sources, Labels labels = {}, const Exemplars* exemplars = nullptr) {
    prometheus::ClientMetric::Histogram& out = add(std::move(labels)).histogram;
    for (std::size_t i = 0; i <= Histogram::kBounds.size(); ++i) {
      // Read once: count must be what the last bucket says, also while requests go on.
      for (const Histogram* source : sources) out.sample_count += source ? source->bucket(i) : 0;
      out.bucket.push_back({out.sample_count, i < Histogram::kBounds.size() ? Histogram::kBounds[i] : std::numeric_limits<double>::infinity()});
      exemplars_.push_back(exemplars ? exemplars->of_bucket(i) : std::nullopt);
    }
    for (const Histogram* source : sources) out.sample_sum += source ? source->sum_seconds() : 0;
    return *this;
  }

  std::string text() const;
  // The same in OpenMetrics 1.0, with exemplars.
  std::string open_metrics() const;

 private:
  prometheus::ClientMetric& add(Labels labels) {
    prometheus::ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<prometheus::MetricFamily> families_;
  std::vector<std::optional<Exemplar>> exemplars_;  // of the buckets of all histograms, in the order of writing
};

}  // namespace leeward::telemetry
