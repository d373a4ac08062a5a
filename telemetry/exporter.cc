#include "telemetry/exporter.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace leeward::telemetry {
namespace {

constexpr std::size_t kMaxResponse = 64_KiB;  // a real one has a few bytes
constexpr Duration kMaxRetryAfter = 60s;
constexpr Duration kClockStep = 1ms;  // of the wall clock, below which spans stay on one scale

using Waited = std::chrono::steady_clock;

}  // namespace

OtlpVerdict otlp_verdict(OtlpEncoding encoding, const HttpResponse& response) {
  OtlpVerdict verdict;
  if (response.status >= 200 && response.status < 300) {
    const std::string_view body = response.body.view();
    verdict.rejected = encoding == OtlpEncoding::kJson ? otlp_rejected_json(body) : otlp_rejected_protobuf(body);
    return verdict;
  }
  const int status = response.status;
  if (status != 429 && status != 502 && status != 503 && status != 504) {
    verdict.kind = OtlpVerdict::Kind::kRefused;
    return verdict;
  }
  verdict.kind = OtlpVerdict::Kind::kAgain;
  for (const auto& [name, value] : response.headers) {
    unsigned seconds = 0;
    const auto [end, fault] = std::from_chars(value.data(), value.data() + value.size(), seconds);
    // A date, the other form, means comparing clocks: the back-off does instead.
    if (name == "retry-after" && fault == std::errc() && end == value.data() + value.size())
      verdict.after = std::min<Duration>(std::chrono::seconds(seconds), kMaxRetryAfter);
  }
  return verdict;
}

class Exporter::Impl {
 public:
  Impl(ExporterOptions options, OtlpCarrier carry, const Clock& clock, Log& log)
      : options_(std::move(options)), carry_(std::move(carry)), clock_(clock), log_(log), boot_(clock.wall() - clock.now().time_since_epoch()) {
    queue_.reserve(options_.queue);
  }

  void record(std::span<const Span> spans) {
    bool full = false;
    {
      std::lock_guard lock(mutex_);
      const std::size_t taken = stopping_ ? 0 : std::min(spans.size(), options_.queue - std::min(options_.queue, queue_.size()));
      queue_.insert(queue_.end(), spans.begin(), spans.begin() + static_cast<std::ptrdiff_t>(taken));
      if (taken < spans.size()) probe_.dropped.add(spans.size() - taken);
      probe_.queued.set(static_cast<std::int64_t>(queue_.size()));
      full = queue_.size() >= options_.batch;
    }
    if (full) changed_.notify_all();
  }

  void run() {
    std::vector<Span> taken;
    taken.reserve(options_.queue);
    while (next(taken))
      for (std::span<const Span> rest = taken; !rest.empty(); rest = rest.subspan(std::min(options_.batch, rest.size())))
        deliver(rest.first(std::min(options_.batch, rest.size())));
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  // False: it did not end in time, and is left alone with what it holds.
  bool stop() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    last_word_ = Waited::now() + options_.last_words;
    changed_.notify_all();
    if (changed_.wait_until(lock, last_word_, [this] { return ended_; })) return true;
    cancelled_ = true;
    // What it is in the middle of ends within a moment of that, unless it looks up a name.
    return changed_.wait_for(lock, 500ms, [this] { return ended_; });
  }

  const OtlpProbe& probe() const { return probe_; }

 private:
  // Waits for a full batch, for the delay, or for the end, and takes all there is.
  bool next(std::vector<Span>& taken) {
    taken.clear();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, options_.delay, [this] { return stopping_ || queue_.size() >= options_.batch; });
    if (queue_.empty()) return !stopping_;
    taken.swap(queue_);
    probe_.queued.set(0);
    return true;
  }

  std::string encode(std::span<const Span> batch) {
    // One scale for all spans of a process, or a child might begin before its
    // parent: it is moved only when the wall clock was.
    const WallTime boot = clock_.wall() - clock_.now().time_since_epoch();
    if (boot - boot_ > kClockStep || boot_ - boot > kClockStep) boot_ = boot;
    return options_.encoding == OtlpEncoding::kJson ? otlp_json(options_.resource, batch, boot_)
                                                        : otlp_protobuf(options_.resource, batch, boot_);
  }

  void deliver(std::span<const Span> batch) {
    if (time_left() <= Duration()) return probe_.failed.add(batch.size());
    OtlpPost post;
    post.content_type = options_.encoding == OtlpEncoding::kJson ? "application/json" : "application/x-protobuf";
    post.body = encode(batch);
    post.headers = &options_.headers;
    post.max_response = kMaxResponse;
    post.cancelled = &cancelled_;
    Duration backoff = options_.backoff;
    for (int attempt = 1;; ++attempt) {
      post.timeout = std::max<Duration>(time_left(), 1ms);
      const auto answer = carry_(post);
      OtlpVerdict verdict;
      if (answer.ok()) {
        verdict = otlp_verdict(options_.encoding, *answer);
      } else {
        // Sent in part, or its answer makes no sense: it may have been taken, and
        // sending it twice is worse than not at all.
        verdict.kind = answer.error().code == Code::kUnavailable ? OtlpVerdict::Kind::kAgain : OtlpVerdict::Kind::kRefused;
      }
      if (verdict.kind == OtlpVerdict::Kind::kTaken) return taken(batch.size(), verdict.rejected);
      const bool again = verdict.kind == OtlpVerdict::Kind::kAgain && attempt < options_.attempts;
      if (!again || !pause(verdict.after.value_or(backoff))) return lost(batch.size(), answer);
      backoff = std::min(2 * backoff, options_.backoff_max);
    }
  }

  void taken(std::uint64_t spans, std::uint64_t rejected) {
    rejected = std::min(rejected, spans);
    probe_.rejected.add(rejected);
    probe_.sent.add(spans - rejected);
    tell(rejected == 0, "the collector refuses some");
  }

  void lost(std::uint64_t spans, const Result<HttpResponse>& answer) {
    const bool refused = answer.ok() && otlp_verdict(options_.encoding, *answer).kind == OtlpVerdict::Kind::kRefused;
    (refused ? probe_.rejected : probe_.failed).add(spans);
    tell(false, answer.ok() ? "the collector answered " + std::to_string(answer->status) : answer.error().message);
  }

  // When it changes, not for each batch.
  void tell(bool well, const std::string& reason) {
    if (well == well_ || cancelled_) return;  // left alone, it knows of no log any more
    well_ = well;
    if (well) log_.info("spans are delivered again", {});
    else log_.warn("spans are not delivered; leeward_otlp_spans_total counts them", {{"reason", reason}});
  }

  Duration time_left() {
    std::lock_guard lock(mutex_);
    return stopping_ ? std::min<Duration>(last_word_ - Waited::now(), options_.timeout) : options_.timeout;
  }

  // False: there is no time for that, it stops.
  bool pause(Duration duration) {
    std::unique_lock lock(mutex_);
    if (stopping_) return false;
    return !changed_.wait_for(lock, duration, [this] { return stopping_; });
  }

  const ExporterOptions options_;
  const OtlpCarrier carry_;
  const Clock& clock_;
  Log& log_;
  OtlpProbe probe_;
  std::atomic<bool> cancelled_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Span> queue_;  // under mutex_, with what follows
  bool stopping_ = false, ended_ = false;
  Waited::time_point last_word_{};

  // The thread's own.
  WallTime boot_;  // wall time of Instant zero
  bool well_ = true;
};

Exporter::Exporter(ExporterOptions options, OtlpCarrier carry, const Clock& clock, Log& log)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(carry), clock, log)) {
  std::thread([impl = impl_] { impl->run(); }).detach();
}

Exporter::~Exporter() { (void)impl_->stop(); }

void Exporter::record(std::span<const Span> spans) { impl_->record(spans); }

const OtlpProbe& Exporter::probe() const { return impl_->probe(); }

}  // namespace leeward::telemetry
