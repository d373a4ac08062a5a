// Traces of this process: from the configuration, the tracer that all parts
// write to and the exporter behind it, on `net`'s HTTP client.
#pragma once

#include <cstdint>
#include <memory>

#include "config/config.h"
#include "ports/clock.h"
#include "ports/log.h"
#include "telemetry/exporter.h"
#include "telemetry/tracer.h"

namespace leeward {

class Tracing {
 public:
  // Null where no traces are asked for: nobody has a tracer then. What cannot be
  // used is a warning in the log and means null, too. `clock` and `log` outlive it.
  static std::unique_ptr<Tracing> make(const config::Config& config, std::uint64_t seed, const Clock& clock, Log& log);

  Tracer& tracer() { return tracer_; }
  const telemetry::OtlpProbe& probe() const { return exporter_.probe(); }

 private:
  Tracing(telemetry::ExporterOptions options, telemetry::OtlpCarrier carrier, const config::Config::Telemetry& settings,
          std::uint64_t seed, const Clock& clock, Log& log);

  telemetry::Exporter exporter_;
  telemetry::SpanTracer tracer_;
};

}  // namespace leeward
