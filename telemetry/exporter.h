// Spans on their way to a collector: a bounded queue and one thread that sends
// what is in it as OTLP, in batches. README.md, "Traces", has the rules.
//
// record() is for any thread: it copies under a lock that is held for copies
// only, and drops what finds no room. Whatever the collector does (nothing, an
// endless answer, rubbish), nothing but the figures of OtlpProbe tells of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "ports/clock.h"
#include "ports/http.h"
#include "ports/log.h"
#include "ports/probe.h"
#include "ports/trace.h"
#include "telemetry/otlp.h"

namespace leeward::telemetry {

enum class OtlpEncoding { kProtobuf, kJson };

// Spans by their end. Every one that was recorded ends in one of them.
struct OtlpProbe {
  Counter sent;      // taken by the collector
  Counter rejected;  // refused by it, in whole or by partial_success
  Counter failed;    // not delivered: unreachable, too slow, cut off, retries used up
  Counter dropped;   // no room in the queue
  Gauge queued;
};

// One request to the collector, for whoever carries it. It may take until
// `timeout` and ends early when `*cancelled`.
struct OtlpPost {
  std::string_view content_type;
  std::string body;
  const std::vector<std::pair<std::string, std::string>>* headers = nullptr;
  Duration timeout{};
  std::size_t max_response = 0;
  const std::atomic<bool>* cancelled = nullptr;
};
// Any answer is a value. kUnavailable: certainly not sent.
using OtlpCarrier = std::function<Result<HttpResponse>(const OtlpPost&)>;

struct ExporterOptions {
  OtlpEncoding encoding = OtlpEncoding::kProtobuf;
  std::vector<std::pair<std::string, std::string>> headers;
  OtlpResource resource;
  std::size_t queue = 2048, batch = 512;  // spans; as many again may be on their way
  Duration delay = 5s;                    // between batches that are not full
  Duration timeout = 10s;                 // of one request
  Duration backoff = 1s, backoff_max = 30s;
  int attempts = 5;
  Duration last_words = 2s;               // for what is queued when it stops
};

class Exporter {
 public:
  // `clock` and `log` outlive it; `carry` is called by its thread alone.
  Exporter(ExporterOptions options, OtlpCarrier carry, const Clock& clock, Log& log);
  // Sends what is queued, for `last_words` at most.
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  void record(std::span<const Span> spans);
  const OtlpProbe& probe() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

// What a collector's answer says: whether to send the same again, and when.
struct OtlpVerdict {
  enum class Kind { kTaken, kRefused, kAgain };
  Kind kind = Kind::kTaken;
  std::uint64_t rejected = 0;       // of those taken
  std::optional<Duration> after;    // Retry-After
};
OtlpVerdict otlp_verdict(OtlpEncoding encoding, const HttpResponse& response);

}  // namespace leeward::telemetry
