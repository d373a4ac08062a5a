// Sampling, OTLP's bytes, and the exporter against collectors of every kind.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <set>
#include <thread>

#include "base/traceparent.h"
#include "telemetry/exporter.h"
#include "telemetry/otlp.h"
#include "telemetry/tracer.h"

namespace leeward::telemetry {
namespace {

class TestClock final : public Clock {
 public:
  Instant now() const override { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }
  WallTime wall() const override { return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()); }
};

HttpResponse answer(int status, std::string body = {}, std::vector<std::pair<std::string, std::string>> headers = {}) {
  HttpResponse response;
  response.status = status;
  response.body = Bytes(std::move(body));
  response.headers = std::move(headers);
  return response;
}

// A collector that answers what the test says, and notes what came.
class Collector {
 public:
  using Answer = std::function<Result<HttpResponse>(const OtlpPost&, int call)>;
  explicit Collector(Answer answer) : answer_(std::move(answer)) {}

  OtlpCarrier carrier() {
    return [this](const OtlpPost& post) {
      int call = 0;
      {
        std::lock_guard lock(mutex_);
        call = ++calls_;
        bodies_.push_back(post.body);
        at_.push_back(std::chrono::steady_clock::now());
      }
      changed_.notify_all();
      return answer_(post, call);
    };
  }
  bool wait_calls(int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 60s, [&] { return calls_ >= n; });
  }
  int calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  Duration between(std::size_t a, std::size_t b) {
    std::lock_guard lock(mutex_);
    return at_.at(b) - at_.at(a);
  }
  std::string body(std::size_t i) {
    std::lock_guard lock(mutex_);
    return bodies_.at(i);
  }

 private:
  const Answer answer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int calls_ = 0;
  std::vector<std::string> bodies_;
  std::vector<std::chrono::steady_clock::time_point> at_;
};

template <class Condition>
bool eventually(Condition condition) {
  for (const auto end = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

ExporterOptions quick() {
  ExporterOptions options;
  options.delay = 5ms;
  options.backoff = 10ms;
  options.backoff_max = 40ms;
  options.last_words = 30s;  // where all goes well they take what they need
  options.resource = {{{"service.name", "leeward"}, {"service.instance.id", "7"}}, "1.2.3"};
  return options;
}

Span a_span() {
  Span span;
  span.name = "etcdserverpb.KV/Put";
  for (std::size_t i = 0; i < 16; ++i) span.context.trace_id[i] = static_cast<std::uint8_t>(0xa0 + i);
  for (std::size_t i = 0; i < 8; ++i) span.context.span_id[i] = static_cast<std::uint8_t>(i + 1);
  span.context.sampled = true;
  span.parent = {9, 9, 9, 9, 9, 9, 9, 9};
  span.kind = SpanKind::kServer;
  span.start = Instant(1'000ns);
  span.end = Instant(3'000ns);
  return span.with("rpc.system", "grpc").with("rpc.grpc.status_code", std::int64_t{14});
}

std::uint64_t ended(const OtlpProbe& p) { return p.sent.get() + p.rejected.get() + p.failed.get() + p.dropped.get(); }

TEST(Otlp, JsonHasHexadecimalIdsAndFiguresAsStrings) {
  Span span = a_span();
  span.failure = "Unavailable";
  const OtlpResource resource{{{"cloud.region", "east \"1\""}}, "1.2.3"};
  const auto root = boost::json::parse(otlp_json(resource, std::span(&span, 1), WallTime(5s)));
  const auto& group = root.at("resourceSpans").at(0);
  EXPECT_EQ(group.at("schemaUrl").as_string(), kSchemaUrl);
  EXPECT_EQ(group.at("resource").at("attributes").at(0).at("value").at("stringValue"), "east \"1\"");
  const auto& told = group.at("scopeSpans").at(0).at("spans").at(0);
  EXPECT_EQ(told.at("traceId"), "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
  EXPECT_EQ(told.at("spanId"), "0102030405060708");
  EXPECT_EQ(told.at("parentSpanId"), "0909090909090909");
  EXPECT_EQ(told.at("startTimeUnixNano"), "5000001000");
  EXPECT_EQ(told.at("endTimeUnixNano"), "5000003000");
  EXPECT_EQ(told.at("attributes").at(1).at("value").at("intValue"), "14");
  EXPECT_EQ(told.at("status").at("code"), 2);
  Span root_span = a_span();
  root_span.parent = {};
  EXPECT_EQ(otlp_json(resource, std::span(&root_span, 1), WallTime(5s)).find("parentSpanId"), std::string::npos);
}

TEST(Otlp, PartialSuccessIsReadAndRubbishRefusesNothing) {
  EXPECT_EQ(otlp_rejected_protobuf(std::string("\x0a\x02\x08\x03", 4)), 3u);
  EXPECT_EQ(otlp_rejected_protobuf(""), 0u);
  EXPECT_EQ(otlp_rejected_protobuf(std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10)), 0u);
  EXPECT_EQ(otlp_rejected_protobuf(std::string(100, '\xff')), 0u);
  EXPECT_EQ(otlp_rejected_json(R"({"partialSuccess":{"rejectedSpans":"12","errorMessage":"x"}})"), 12u);
  EXPECT_EQ(otlp_rejected_json(R"({"partialSuccess":{"rejectedSpans" : 4}})"), 4u);
  for (const char* none : {"{}", "", "\"rejectedSpans\"", "\"rejectedSpans\":", "\"rejectedSpans\":-3", "<html>"}) EXPECT_EQ(otlp_rejected_json(none), 0u) << none;
}

TEST(Otlp, OnlyFourStatusesAreSentAgain) {
  for (const int status : {429, 502, 503, 504}) EXPECT_EQ(otlp_verdict(OtlpEncoding::kProtobuf, answer(status)).kind, OtlpVerdict::Kind::kAgain);
  for (const int status : {301, 400, 401, 404, 413, 500, 501, 505}) EXPECT_EQ(otlp_verdict(OtlpEncoding::kProtobuf, answer(status)).kind, OtlpVerdict::Kind::kRefused) << status;
  EXPECT_EQ(otlp_verdict(OtlpEncoding::kProtobuf, answer(503, "", {{"retry-after", "7"}})).after, Duration(7s));
  EXPECT_EQ(otlp_verdict(OtlpEncoding::kProtobuf, answer(503, "", {{"retry-after", "99999"}})).after, Duration(60s));
  for (const char* odd : {"Wed, 21 Oct 2026 07:28:00 GMT", "", "-1", "1e9", "7 s"})
    EXPECT_EQ(otlp_verdict(OtlpEncoding::kProtobuf, answer(503, "", {{"retry-after", odd}})).after, std::nullopt) << odd;
}

TEST(Exporter, SendsBatchesOfAtMostTheirSize) {
  TestClock clock;
  NullLog log;
  Collector collector([](const OtlpPost&, int) { return answer(200); });
  auto options = quick();
  options.batch = 3;
  options.encoding = OtlpEncoding::kJson;
  Exporter exporter(options, collector.carrier(), clock, log);
  const std::vector<Span> spans(7, a_span());
  exporter.record(spans);
  ASSERT_TRUE(eventually([&] { return exporter.probe().sent.get() == 7; }));
  EXPECT_EQ(collector.calls(), 3);
  EXPECT_EQ(boost::json::parse(collector.body(0)).at("resourceSpans").at(0).at("scopeSpans").at(0).at("spans").as_array().size(), 3u);
  EXPECT_EQ(exporter.probe().queued.get(), 0);
}

TEST(Exporter, RetriesAsToldAndNotLongerThanItsAttempts) {
  TestClock clock;
  NullLog log;
  Collector soon([](const OtlpPost&, int call) { return call == 1 ? answer(429, "", {{"retry-after", "1"}}) : answer(200); });
  {
    Exporter exporter(quick(), soon.carrier(), clock, log);
    exporter.record(std::vector<Span>(1, a_span()));
    ASSERT_TRUE(eventually([&] { return exporter.probe().sent.get() == 1; }));
    EXPECT_EQ(soon.calls(), 2);
    EXPECT_GE(soon.between(0, 1), 990ms);
  }
  Collector never([](const OtlpPost&, int) { return answer(503); });
  auto options = quick();
  options.attempts = 3;
  Exporter exporter(options, never.carrier(), clock, log);
  exporter.record(std::vector<Span>(2, a_span()));
  ASSERT_TRUE(eventually([&] { return exporter.probe().failed.get() == 2; }));
  EXPECT_EQ(never.calls(), 3);
  EXPECT_EQ(never.body(0), never.body(2));
  EXPECT_GE(never.between(1, 2), 19ms);  // twice the first back-off
}

TEST(Exporter, WhatMayHaveBeenTakenIsNotSentTwice) {
  TestClock clock;
  NullLog log;
  for (const Code code : {Code::kUnknown, Code::kInvalid, Code::kPermission}) {
    Collector collector([&](const OtlpPost&, int) { return Result<HttpResponse>(Error{code, "cut off"}); });
    Exporter exporter(quick(), collector.carrier(), clock, log);
    exporter.record(std::vector<Span>(1, a_span()));
    ASSERT_TRUE(eventually([&] { return exporter.probe().failed.get() == 1; }));
    EXPECT_EQ(collector.calls(), 1);
  }
  Collector refuses([](const OtlpPost&, int) { return answer(400); });
  Exporter exporter(quick(), refuses.carrier(), clock, log);
  exporter.record(std::vector<Span>(1, a_span()));
  ASSERT_TRUE(eventually([&] { return exporter.probe().rejected.get() == 1; }));
  EXPECT_EQ(refuses.calls(), 1);
}

TEST(Exporter, PartialSuccessCountsAsRejectedAndNeverMoreThanWasSent) {
  TestClock clock;
  NullLog log;
  Collector collector([](const OtlpPost&, int call) {
    return answer(200, call == 1 ? std::string("\x0a\x02\x08\x02", 4) : std::string("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13));
  });
  Exporter exporter(quick(), collector.carrier(), clock, log);
  exporter.record(std::vector<Span>(5, a_span()));
  ASSERT_TRUE(eventually([&] { return exporter.probe().sent.get() == 3; }));
  EXPECT_EQ(exporter.probe().rejected.get(), 2u);
  exporter.record(std::vector<Span>(4, a_span()));
  ASSERT_TRUE(eventually([&] { return exporter.probe().rejected.get() == 6; }));
  EXPECT_EQ(exporter.probe().sent.get(), 3u);
}

TEST(Exporter, ACollectorThatHangsCostsDroppedSpansAndNoTime) {
  TestClock clock;
  NullLog log;
  // The exporter's thread may be left alone in it.
  const auto collector = std::make_shared<Collector>([](const OtlpPost& post, int) {
    while (!*post.cancelled) std::this_thread::sleep_for(1ms);
    return Result<HttpResponse>(Error{Code::kUnknown, "timed out"});
  });
  auto options = quick();
  options.queue = 100;
  options.batch = 10;
  options.timeout = 1h;
  options.last_words = 50ms;
  const auto began = std::chrono::steady_clock::now();
  {
    Exporter exporter(options, [collector, carry = collector->carrier()](const OtlpPost& post) { return carry(post); }, clock, log);
    exporter.record(std::vector<Span>(10, a_span()));
    ASSERT_TRUE(collector->wait_calls(1));
    const auto recording = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; ++i) exporter.record(std::vector<Span>(1, a_span()));
    EXPECT_LT(std::chrono::steady_clock::now() - recording, 10s);
    EXPECT_EQ(exporter.probe().dropped.get(), 900u);
    EXPECT_EQ(exporter.probe().queued.get(), 100);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 30s);
}

TEST(Exporter, SendsWhatIsQueuedWhenItStops) {
  TestClock clock;
  NullLog log;
  Collector collector([](const OtlpPost&, int) { return answer(200); });
  auto options = quick();
  options.delay = 1h;
  { Exporter(options, collector.carrier(), clock, log).record(std::vector<Span>(3, a_span())); }
  EXPECT_EQ(collector.calls(), 1);
}

TEST(Exporter, EverySpanHasOneEnd) {
  TestClock clock;
  NullLog log;
  Collector collector([](const OtlpPost&, int call) -> Result<HttpResponse> {
    switch (call % 4) {
      case 0: return answer(200);
      case 1: return answer(200, std::string("\x0a\x02\x08\x01", 4));
      case 2: return answer(500);
      default: return Error{Code::kUnknown, "cut off"};
    }
  });
  auto options = quick();
  options.queue = 64;
  options.batch = 16;
  Exporter exporter(options, collector.carrier(), clock, log);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) exporter.record(std::vector<Span>(1, a_span()));
    });
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return ended(exporter.probe()) == 4000; })) << ended(exporter.probe());
}

class Tracers : public ::testing::Test {
 protected:
  TestClock clock;
  NullLog log;
  Collector collector{[](const OtlpPost&, int) { return answer(200); }};
  Exporter exporter{quick(), collector.carrier(), clock, log};
  const TraceContext sampled = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  const TraceContext unsampled = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
};

TEST_F(Tracers, AParentDecidesWhetherItsChildIsSampled) {
  for (const double ratio : {0.0, 1.0}) {
    SpanTracer tracer(exporter, Sampler::kParentBasedRatio, ratio, 1);
    const auto child = tracer.begin(sampled);
    EXPECT_TRUE(child.sampled);
    EXPECT_EQ(child.trace_id, sampled.trace_id);
    EXPECT_NE(child.span_id, sampled.span_id);
    EXPECT_EQ(tracer.begin(unsampled), unsampled);
    EXPECT_EQ(tracer.begin({}).sampled, ratio == 1.0);
  }
  SpanTracer off(exporter, Sampler::kOff, 1, 1), on(exporter, Sampler::kOn, 0, 1);
  EXPECT_FALSE(off.begin(sampled).sampled);
  EXPECT_TRUE(on.begin(unsampled).sampled);
}

TEST_F(Tracers, TheRatioHolds) {
  SpanTracer tracer(exporter, Sampler::kParentBasedRatio, 0.1, 42);
  int taken = 0;
  for (int i = 0; i < 100'000; ++i) taken += tracer.begin({}).sampled;
  EXPECT_GT(taken, 9'500);
  EXPECT_LT(taken, 10'500);
}

TEST_F(Tracers, IdsAreNeverZeroAndNeverTwice) {
  SpanTracer tracer(exporter, Sampler::kOn, 1, 0);
  std::set<SpanId> ids;
  for (int i = 0; i < 10'000; ++i) ids.insert(tracer.new_id());
  EXPECT_EQ(ids.size(), 10'000u);
  EXPECT_FALSE(ids.contains(SpanId{}));
}

TEST_F(Tracers, FindTheWritesOfARangeOfRevisions) {
  SpanTracer tracer(exporter, Sampler::kOn, 1, 0);
  std::array<TraceContext, 2> found;
  EXPECT_EQ(tracer.written(Revision(0), Revision(100), found), 0u);
  for (int i = 1; i <= 100; ++i) tracer.wrote(Revision(i), tracer.root());
  EXPECT_EQ(tracer.written(Revision(99), Revision(200), found), 1u);
  EXPECT_EQ(tracer.written(Revision(90), Revision(99), found), 2u);  // no more than there is room for
  EXPECT_EQ(tracer.written(Revision(100), Revision(200), found), 0u);
  EXPECT_EQ(tracer.written(Revision(1), Revision(10), found), 0u);  // forgotten
}

// ThreadSanitizer's runtime brings operators of its own; the other builds count.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEEWARD_OPERATORS_TAKEN
#endif
#endif

#ifndef LEEWARD_OPERATORS_TAKEN
// Operators new of this binary count while this is set.
thread_local bool counting = false;
thread_local std::size_t allocations = 0;

TEST_F(Tracers, ARequestThatIsNotSampledAllocatesNothing) {
  SpanTracer tracer(exporter, Sampler::kParentBasedRatio, 0, 7);
  counting = true;
  allocations = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto trace = tracer.begin(i % 2 ? unsampled : TraceContext{});
    if (trace.sampled) break;
  }
  counting = false;
  EXPECT_EQ(allocations, 0u);
  counting = true;
  void* volatile one = ::operator new(1);
  ::operator delete(one);
  counting = false;
  EXPECT_EQ(allocations, 1u);  // the counter counts
}
#endif

}  // namespace
}  // namespace leeward::telemetry

#ifndef LEEWARD_OPERATORS_TAKEN
void* operator new(std::size_t size) {
  if (leeward::telemetry::counting) ++leeward::telemetry::allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif
