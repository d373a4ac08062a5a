// Watch: many watches on one stream.
//
// The hub calls ready() from its own threads; the ids it names gather in an
// Inbox and the loop is woken once for all of them. The loop polls the ready
// watches in turn, a piece each, and stops while the client is slower than its
// events: the hub then keeps them, not the connection.
#include <algorithm>
#include <array>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "api/handlers.h"
#include "base/codec.h"
#include "proto/rpc.pb.h"

namespace leeward::api::watch {
namespace {

using etcdserverpb::WatchCreateRequest;

constexpr std::int64_t kNoWatch = -1;          // etcd's InvalidWatchID
constexpr std::size_t kPieceBytes = 128_KiB;   // polled at once from one watch
constexpr std::size_t kTurnPolls = 64;         // then other calls of this loop run
constexpr std::size_t kJoinEvents = 16_KiB;
constexpr Duration kProgressRetry = std::chrono::milliseconds(5);
constexpr Duration kProgressPause = std::chrono::microseconds(5);  // for each watch, between two looks at all of them

class Stream;

// Where the hub's threads leave word. Outlives the stream as long as a watcher
// may still call.
struct Inbox {
  std::mutex mutex;
  std::vector<std::int64_t> ready;
  bool posted = false;
  std::weak_ptr<Stream> stream;
  Executor* loop = nullptr;
};

struct Watch {
  std::unique_ptr<Watcher> watcher;
  bool progress_notify = false;
  bool active = false;  // sent something since the last progress tick
  bool queued = false;  // in Stream::runnable_
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  explicit Stream(CallPtr call) : call_(std::move(call)), core_(call_->core()), inbox_(std::make_shared<Inbox>()) {}

  void start();
  void receive(const Bytes& message);
  void collect();  // takes what lies in the inbox
  void pump();
  void close();

 private:
  void create(const WatchCreateRequest& request);
  void refuse(std::string_view reason);
  void cancel(std::int64_t id);
  void pump_one(std::int64_t id, Watch& watch);
  void enqueue(std::int64_t id, Watch& watch);
  void send_events(std::int64_t id, const WatchEvents& events);
  void trace_events(Revision before, Revision upto, Instant applied);
  void send_control(Revision revision, std::int64_t id, bool created, bool canceled, Revision compacted = {},
                    std::string_view reason = {});
  void request_progress();
  void look_at_all();
  void answer_progress();
  void arm_progress_timer();
  void progress_tick();
  Revision store_revision() const { return core_.node.state().applied().revision; }
  Revision synced_revision() const;

  CallPtr call_;
  Core& core_;
  std::shared_ptr<Inbox> inbox_;
  std::unordered_map<std::int64_t, Watch> watches_;
  std::deque<std::int64_t> runnable_;
  std::int64_t next_id_ = 0;
  std::size_t answered_ = 0;  // bytes, since the client was last seen to take what it is sent
  bool pumping_ = false;
  bool turn_posted_ = false;
  std::optional<Revision> progress_target_;  // a manual request waits until all watches are there
  Executor::TimerId progress_timer_ = 0;
  Executor::TimerId pause_timer_ = 0;  // until all watches may be looked at again
};

void Stream::start() {
  const auto self = shared_from_this();
  inbox_->stream = self;
  inbox_->loop = &call_->loop();
  // The call keeps the stream; the stream lets go of the call when it ends.
  call_->rpc().on_message([self](Bytes message) { self->receive(message); });
  // A client that only listens may close its side; the watches go on, as in etcd.
  call_->rpc().on_half_close([] {});
  call_->rpc().on_drain([self] {
    self->answered_ = 0;
    self->pump();
  });
  call_->on_end([self] { self->close(); });
}

void Stream::close() {
  if (!call_) return;
  call_->loop().cancel(progress_timer_);
  call_->loop().cancel(pause_timer_);
  watches_.clear();
  runnable_.clear();
  call_.reset();
}

void Stream::receive(const Bytes& bytes) {
  if (!call_) return;
  // Only answers count: events are bounded where they are polled, and those of
  // one revision may be larger than this by themselves.
  if (call_->queued() <= kMaxAnswersQueued) answered_ = 0;
  if (answered_ > kMaxAnswersQueued) return call_->fail(error::kTooManyRequests);
  etcdserverpb::WatchRequest request;
  if (!parse(call_, bytes, request)) return;
  switch (request.request_union_case()) {
    case etcdserverpb::WatchRequest::kCreateRequest: return create(request.create_request());
    case etcdserverpb::WatchRequest::kCancelRequest: return cancel(request.cancel_request().watch_id());
    case etcdserverpb::WatchRequest::kProgressRequest: return request_progress();
    case etcdserverpb::WatchRequest::REQUEST_UNION_NOT_SET: return;  // etcd ignores what it does not know
  }
}

WatchRequest translate(const WatchCreateRequest& request, std::size_t fragment_bytes) {
  WatchRequest out;
  out.key = request.key().empty() ? std::string(1, '\0') : request.key();  // the smallest key
  out.range_end = request.range_end();
  out.start = Revision(request.start_revision());
  out.prev_kv = request.prev_kv();
  out.progress_notify = request.progress_notify();
  out.fragment = request.fragment();
  out.fragment_bytes = fragment_bytes;
  for (const int filter : request.filters()) {
    out.no_put |= filter == WatchCreateRequest::NOPUT;
    out.no_delete |= filter == WatchCreateRequest::NODELETE;
  }
  return out;
}

void Stream::create(const WatchCreateRequest& request) {
  if (request.start_revision() < 0) return refuse(error::kCompacted.text);
  const WatchRequest wanted = translate(request, core_.limits.max_request_bytes);
  const bool to_the_end = wanted.range_end == std::string_view("\0", 1);
  if (!wanted.range_end.empty() && !to_the_end && wanted.range_end <= wanted.key) return refuse(kEmptyWatchRange);
  std::int64_t id = request.watch_id();
  if (id == 0) {
    while (watches_.contains(next_id_)) ++next_id_;
    id = next_id_++;
  } else if (watches_.contains(id)) {
    return refuse(kDuplicateWatchId);
  }
  if (watches_.size() >= core_.options.max_watches_per_stream) return refuse(error::kTooManyRequests.text);

  auto watcher = core_.node.state().watch(wanted, [inbox = inbox_, id] {
    {
      std::lock_guard lock(inbox->mutex);
      inbox->ready.push_back(id);
      if (std::exchange(inbox->posted, true)) return;
    }
    inbox->loop->post([inbox] {
      if (const auto stream = inbox->stream.lock()) stream->collect();
    });
  });
  if (!watcher.ok()) return refuse(watcher.error().message);

  Watch& watch = watches_[id];
  watch.watcher = std::move(*watcher);
  watch.progress_notify = request.progress_notify();
  // A client that starts "now" resumes after the revision it is told here.
  Revision revision = store_revision();
  if (request.start_revision() == 0) {
    if (const Revision from = watch.watcher->synced(); from.value() > 0) revision = from;
  }
  send_control(revision, id, true, false);
  if (watch.progress_notify && progress_timer_ == 0) arm_progress_timer();
  enqueue(id, watch);
  pump();
}

void Stream::refuse(std::string_view reason) {
  send_control(store_revision(), kNoWatch, true, true, {}, reason);
}

void Stream::cancel(std::int64_t id) {
  if (watches_.erase(id) == 0) return;
  send_control(store_revision(), id, false, true);
  answer_progress();
}

void Stream::collect() {
  std::vector<std::int64_t> ready;
  {
    std::lock_guard lock(inbox_->mutex);
    ready.swap(inbox_->ready);
    inbox_->posted = false;
  }
  if (!call_) return;
  for (const std::int64_t id : ready)
    if (const auto found = watches_.find(id); found != watches_.end()) enqueue(id, found->second);
  pump();
}

void Stream::enqueue(std::int64_t id, Watch& watch) {
  if (std::exchange(watch.queued, true)) return;
  runnable_.push_back(id);
}

void Stream::pump() {
  if (!call_ || std::exchange(pumping_, true)) return;
  // A poll that gives nothing counts as well: there may be as many as watches.
  std::size_t polls = 0;
  while (call_ && !runnable_.empty() && call_->queued() < core_.options.watch_high_water && polls < kTurnPolls) {
    const std::int64_t id = runnable_.front();
    runnable_.pop_front();
    ++polls;
    const auto found = watches_.find(id);
    if (found == watches_.end()) continue;
    found->second.queued = false;
    pump_one(id, found->second);
  }
  pumping_ = false;
  if (!call_) return;
  if (polls == kTurnPolls && !runnable_.empty() && !std::exchange(turn_posted_, true)) {
    call_->loop().post([self = shared_from_this()] {
      self->turn_posted_ = false;
      self->pump();
    });
  }
  answer_progress();
}

// `watch` may be gone afterwards.
void Stream::pump_one(std::int64_t id, Watch& watch) {
  const Revision before = core_.tracer ? watch.watcher->synced() : Revision();
  const auto events = watch.watcher->poll(kPieceBytes);
  if (!events) return;
  if (events->compacted || !events->cancel_reason.empty()) {
    const Revision compacted = events->compacted.value_or(Revision());
    // Compaction is told by its revision alone, as etcd does.
    const std::string reason = events->compacted ? std::string() : events->cancel_reason;
    watches_.erase(id);
    send_control(events->revision.value() > 0 ? events->revision : store_revision(), id, false, true, compacted, reason);
    return;
  }
  watch.active |= events->count > 0;
  enqueue(id, watch);
  const Revision upto = core_.tracer ? watch.watcher->synced() : Revision();
  send_events(id, *events);
  if (core_.tracer && events->applied) trace_events(before, upto, *events->applied);
}

// The way of a sampled write ends where its events leave for a watcher.
void Stream::trace_events(Revision before, Revision upto, Instant applied) {
  std::array<TraceContext, 8> traces;
  const std::size_t count = core_.tracer->written(before, upto, traces);
  const Instant now = count > 0 ? core_.clock.now() : applied;
  for (std::size_t i = 0; i < count; ++i) core_.tracer->record(child_span(*core_.tracer, traces[i], "watch", applied, now));
}

void Stream::send_events(std::int64_t id, const WatchEvents& events) {
  core_.probe.watch_events.add(events.count);
  if (events.applied) core_.probe.stage_watch.observe(core_.clock.now() - *events.applied);
  std::string head;
  put_header(head, header_fields(core_), events.revision);
  if (id != 0) {
    codec::put_u8(head, 2 << 3);
    codec::put_varint(head, static_cast<std::uint64_t>(id));
  }
  if (events.fragment) {
    codec::put_u8(head, 7 << 3);
    codec::put_u8(head, 1);
  }
  if (events.events.size() > kJoinEvents) return call_->send(joined(std::move(head), events.events));
  head.append(events.events.view());
  call_->send(Bytes(std::move(head)));
}

void Stream::send_control(Revision revision, std::int64_t id, bool created, bool canceled, Revision compacted,
                          std::string_view reason) {
  if (!call_) return;
  etcdserverpb::WatchResponse response;
  fill(response.mutable_header(), header_fields(core_), revision);
  response.set_watch_id(id);
  response.set_created(created);
  response.set_canceled(canceled);
  response.set_compact_revision(compacted.value());
  response.set_cancel_reason(std::string(reason));
  Bytes answer(response.SerializeAsString());
  answered_ += answer.size();
  call_->send(std::move(answer));
}

// What all watches of this stream have been given; one that waits for a future
// revision is not ahead of the store.
Revision Stream::synced_revision() const {
  Revision lowest = store_revision();
  for (const auto& [id, watch] : watches_) lowest = std::min(lowest, watch.watcher->synced());
  return lowest;
}

void Stream::request_progress() {
  const bool waits = progress_target_ || pause_timer_ != 0;
  progress_target_ = std::max(progress_target_.value_or(Revision()), store_revision());
  if (!waits) look_at_all();  // else the answer that is due serves this request too
}

void Stream::look_at_all() {
  for (auto& [id, watch] : watches_) enqueue(id, watch);
  pump();
}

// Answered only when nothing before the revision is still to come. Finding that
// out costs as much as there are watches, and so does the pause before it is
// done again, whatever is asked meanwhile.
void Stream::answer_progress() {
  if (!progress_target_ || !call_ || !runnable_.empty() || pause_timer_ != 0) return;
  const Revision synced = synced_revision();
  Duration pause = kProgressPause * static_cast<Duration::rep>(watches_.size());
  if (synced >= *progress_target_) {
    progress_target_.reset();
    send_control(synced, kNoWatch, false, false);
  } else {
    pause = std::max(pause, kProgressRetry);
  }
  pause_timer_ = call_->loop().after(pause, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || !self->call_) return;
    self->pause_timer_ = 0;
    if (self->progress_target_) self->look_at_all();
  });
}

void Stream::arm_progress_timer() {
  // Up to a tenth later, so that streams opened together do not tick together.
  const Duration interval = core_.options.progress_interval;
  const auto spread = static_cast<Duration::rep>(reinterpret_cast<std::uintptr_t>(this) / 64 % 101);
  progress_timer_ = call_->loop().after(interval + interval / 1000 * spread, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && self->call_) self->progress_tick();
  });
}

void Stream::progress_tick() {
  // A client that takes nothing is told nothing: it would pile up.
  const bool taken = call_->queued() < core_.options.watch_high_water;
  for (auto& [id, watch] : watches_) {
    // A watch with events on the way says as much by them.
    const bool quiet = !std::exchange(watch.active, false) && !watch.queued;
    if (watch.progress_notify && quiet && taken)
      send_control(std::min(watch.watcher->synced(), store_revision()), id, false, false);
  }
  arm_progress_timer();
}

}  // namespace

void watch(CallPtr call) { std::make_shared<Stream>(std::move(call))->start(); }

}  // namespace leeward::api::watch
