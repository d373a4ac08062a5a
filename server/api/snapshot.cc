// Maintenance.Snapshot: the state as one file, made as the client takes it
// (kv/SNAPSHOT.md). README.md, "Snapshots".
#include <algorithm>

#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::maintenance {
namespace {

constexpr int kMostSnapshots = 2;                   // each keeps what the store would have dropped since
constexpr std::size_t kMeasuredAtOnce = 4_MiB;
constexpr std::size_t kSnapshotPiece = 256_KiB;
constexpr std::size_t kSnapshotQueued = 512_KiB;    // above it the client has to take some first
constexpr Duration kLookEach = 1s;
constexpr Duration kNothingTaken = 1min, kSnapshotLongest = 2h;

// What one step has made: of measuring nothing.
struct SnapshotStep {
  bool measuring = false;
  Bytes piece;
};

// One on its way. The call's loop, but make(), which is on the background's while
// `busy_`. Kept by its timer, so a second at most beyond the call's end.
class SnapshotOnItsWay : public std::enable_shared_from_this<SnapshotOnItsWay> {
 public:
  SnapshotOnItsWay(CallPtr call, std::unique_ptr<StateCopy> copy)
      : call_(std::move(call)), core_(call_->core()), place_(core_.snapshots), copy_(std::move(copy)), revision_(copy_->revision()),
        begun_(core_.clock.now()), progressed_(begun_) {}
  ~SnapshotOnItsWay() {
    if (place_) place_->fetch_sub(1);
  }

  void begin() {
    core_.log.info("sends a snapshot", {{"revision", revision_}, {"peer", call_->rpc().peer().address}});
    call_->on_end([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->let_go();
    });
    call_->rpc().on_drain([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->go_on();
    });
    look_later();
    go_on();
  }

 private:
  // At once, or with the step under way: what holds the store's rows, and the place.
  void let_go() {
    if (busy_) return;
    copy_.reset();
    if (place_) place_->fetch_sub(1);
    place_.reset();
  }

  void go_on() {
    if (busy_ || !call_->open() || call_->queued() > kSnapshotQueued) return;
    if (core_.stopping) return call_->fail(error::kStopped);
    busy_ = true;
    Executor& loop = core_.background ? *core_.background : call_->loop();
    loop.post([self = shared_from_this()] {
      auto step = std::make_shared<Result<SnapshotStep>>(self->make());
      Executor& back = self->call_->loop();
      back.post([self = std::move(self), step] { self->made(std::move(*step)); });
    });
  }

  Result<SnapshotStep> make() {
    SnapshotStep out;
    if (measuring_) {
      const auto more = copy_->measure(kMeasuredAtOnce);
      if (!more.ok()) return more.error();
      measuring_ = *more;
      out.measuring = true;
      return out;
    }
    auto piece = copy_->next(kSnapshotPiece);
    if (!piece.ok()) return piece.error();
    out.piece = std::move(*piece);
    return out;
  }

  void made(Result<SnapshotStep> step) {
    busy_ = false;
    if (!call_->open()) return let_go();
    if (!step.ok()) return call_->fail(step.error());
    if (step->measuring) {
      size_ = copy_->size();
      progressed_ = core_.clock.now();
      return go_on();
    }
    if (step->piece.empty()) {
      core_.log.info("a snapshot was sent", {{"revision", revision_}, {"bytes", sent_}});
      return call_->finish({});
    }
    sent_ += step->piece.size();
    etcdserverpb::SnapshotResponse response;
    fill(response.mutable_header(), header_fields(core_), revision_);
    response.set_remaining_bytes(size_ - sent_);
    response.set_blob(step->piece.data(), step->piece.size());
    response.set_version(core_.options.version);
    call_->send(Bytes(response.SerializeAsString()));
    go_on();
  }

  void look_later() {
    call_->loop().after(kLookEach, [self = shared_from_this()] { self->look(); });
  }
  // A client that takes nothing more would hold its place, and the store's rows, for ever.
  void look() {
    if (!call_->open()) return;
    const Instant now = core_.clock.now();
    const std::uint64_t taken = sent_ - std::min<std::uint64_t>(sent_, call_->queued());
    if (busy_ || taken != taken_) progressed_ = now;
    taken_ = taken;
    if (core_.stopping) return call_->fail(error::kStopped);
    if (now - progressed_ < kNothingTaken && now - begun_ < kSnapshotLongest) return look_later();
    core_.log.warn("a snapshot is given up: its client takes too long", {{"revision", revision_}, {"bytes", size_}, {"bytes_taken", taken}});
    call_->finish({GrpcCode::kDeadlineExceeded, "leeward: nothing of the snapshot was taken for a minute, or not all of it in two hours", {}});
  }

  const CallPtr call_;
  Core& core_;
  std::shared_ptr<std::atomic<int>> place_;  // null once it is given back
  std::unique_ptr<StateCopy> copy_;
  const Revision revision_;
  const Instant begun_;
  Instant progressed_;
  std::uint64_t size_ = 0, sent_ = 0, taken_ = 0;  // of the file
  bool busy_ = false;
  bool measuring_ = true;  // make()'s
};

CopyNote note_of(const Core& core) {
  const auto view = core.status();
  CopyNote note;
  note.cluster = view->status.cluster_name;
  note.lineage = view->status.lineage;
  note.group = view->status.group;
  note.node = view->status.self;
  if (const MemberStatus* self = view->self()) note.region = self->region;
  note.version = core.options.product_version;
  note.taken_ms = std::chrono::duration_cast<std::chrono::milliseconds>(core.clock.wall().time_since_epoch()).count();
  return note;
}

void begin_snapshot(const CallPtr& call) {
  Core& core = call->core();
  if (core.stopping) return call->fail(error::kStopped);
  // What is empty was wiped and has not been filled again.
  if (core.node.state().applied().point.index == Index()) return call->fail(error::kNoLeader);
  if (core.snapshots->fetch_add(1) >= kMostSnapshots) {
    core.snapshots->fetch_sub(1);
    return call->finish({GrpcCode::kResourceExhausted,
                         "leeward: this member sends " + std::to_string(kMostSnapshots) + " snapshots already; ask another member, or again later", {}});
  }
  auto copy = core.node.state().copy(note_of(core));
  if (!copy.ok()) {
    core.snapshots->fetch_sub(1);
    return call->fail(copy.error());
  }
  std::make_shared<SnapshotOnItsWay>(call, std::move(*copy))->begin();
}

}  // namespace

void snapshot(CallPtr call) {
  call->rpc().on_message([call](Bytes bytes) {
    if (!call->open()) return;
    if (!call->take_request()) return call->finish({GrpcCode::kInternal, "this call has one request message", {}});
    etcdserverpb::SnapshotRequest request;
    if (parse(call, std::as_const(bytes), request)) begin_snapshot(call);
  });
  call->rpc().on_half_close([call] {
    if (call->open() && !call->requested()) call->finish({GrpcCode::kInternal, "the request message is missing", {}});
  });
}

}  // namespace leeward::api::maintenance
