// Both ends of peer connections, as the I/O loop sees them. Internal to net;
// everything runs on the I/O loop unless it says otherwise.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_set>

#include "net/connection.h"
#include "net/peer_frame.h"
#include "net/peer_transport.h"

namespace leeward::net {

// Shared by both loops.
struct PeerTransport::LaneView {
  std::atomic<std::size_t> queued{0};
  std::atomic<bool> up{false};
  std::atomic<bool> down{false};  // the last attempt failed and the next one waits
  std::atomic<std::size_t> unfinished{0};  // what came of a frame that is not whole yet
};

class PeerDialer;
class PeerInbound;

// What one inbound connection has delivered and the core loop not yet handled.
struct Intake {
  std::atomic<std::size_t> bytes{0};
  std::atomic<bool> paused{false};
  PeerInbound* connection = nullptr;  // the I/O loop's; null once closed
};

struct PeerTransport::Shared final : IoLoop::TurnEnd, std::enable_shared_from_this<PeerTransport::Shared> {
  struct Peer {
    std::string address;
    HostPort target;
    std::map<std::uint8_t, std::shared_ptr<PeerDialer>> lanes;
    std::optional<Code> reported;  // its outage is in the log, for this reason
  };
  struct Received {
    NodeId from;
    Lane lane;
    Bytes frame;
    std::shared_ptr<Intake> intake;
  };

  Shared(PeerTransportOptions o, IoLoop& i, Executor& c, Log& log)
      : options(std::move(o)), io(i), core(c), log(log), limited(log), lineage(options.lineage),
        jitter(options.seed ^ options.self.value()) {}

  void start(int fd);
  void accept_some();
  void apply_peers(std::vector<std::pair<PeerAddress, HostPort>> wanted,
                   std::map<std::pair<NodeId, std::uint8_t>, std::shared_ptr<LaneView>> views);
  void send(std::vector<Outgoing> batch);
  void adopt_lineage(const Lineage& known);
  void heard(NodeId from);  // an accepted hello
  void stranger(NodeId peer, const Lineage& theirs);
  void replaced(NodeId from, std::uint8_t lane, const std::string& before, const std::string& now);
  void received(Received frame);
  void turn_end() override;
  void shut();
  Hello hello(NodeId to, std::uint8_t lane) const;
  std::string refusal(const Hello& hello, const TlsPeer& certificate, bool tls) const;
  Duration jittered(Duration wait);
  void warn(const std::string& message, std::string_view address, std::string_view detail) {
    limited.warn(io.now(), message, address, detail);
  }

  // The core loop's.
  void deliver();
  Handler handler;
  StrangerHandler on_stranger;

  const PeerTransportOptions options;
  IoLoop& io;
  Executor& core;
  Log& log;
  LimitedLog limited;
  struct Replaced {
    Instant since{};
    int count = 0;
  };
  std::map<std::pair<NodeId, std::uint8_t>, Replaced> replacements;  // of live connections
  PeerProbe probe;
  std::uint16_t port = 0;

  Lineage lineage;
  std::uint64_t jitter;
  std::unique_ptr<FdWatch> acceptor;
  std::map<NodeId, Peer> peers;
  std::unordered_set<std::shared_ptr<PeerInbound>> inbound;
  std::vector<Received> batch;  // of this turn
  bool flushing = false, closed = false;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Received> pending;  // under mutex
  bool done = false;              // under mutex
};

// The dialing end of one (peer, lane): connects, says hello, sends.
class PeerDialer final : public Transport::Owner, public std::enable_shared_from_this<PeerDialer> {
 public:
  PeerDialer(PeerTransport::Shared& shared, NodeId node, std::uint8_t lane, HostPort target, std::string address,
             std::shared_ptr<PeerTransport::LaneView> view)
      : shared_(shared), node_(node), lane_(lane), target_(std::move(target)), address_(std::move(address)),
        view_(std::move(view)) {}

  void dial();  // unless it is on its way or there already
  PeerTransport::LaneView& view() { return *view_; }
  void hurry();  // the peer is known to be alive: do not wait out the back-off
  void send(std::vector<Bytes> parts, std::size_t bytes);
  void adopt_lineage();
  void stop();

  void on_open() override;
  void on_data(std::string_view data) override;
  void on_sent(std::size_t bytes) override;
  void on_closed(const Error& why) override;

 private:
  enum class State { kIdle, kDialing, kUp, kWaiting, kStopped };
  struct Queued {
    std::string header;
    std::vector<Bytes> parts;
  };
  void try_addresses(std::vector<SocketAddress> addresses);
  void connected(int fd);
  void failed(const Error& why);
  void answered(std::string_view payload);
  void put(Queued frame);
  void say_hello();

  PeerTransport::Shared& shared_;
  const NodeId node_;
  const std::uint8_t lane_;
  const HostPort target_;
  const std::string address_;
  const std::shared_ptr<PeerTransport::LaneView> view_;

  State state_ = State::kIdle;
  std::uint64_t attempt_ = 0;        // callbacks of an earlier attempt are void
  std::unique_ptr<FdWatch> connecting_;
  std::shared_ptr<Transport> transport_;
  FrameReader reader_{4096};
  std::vector<Queued> waiting_;      // before the hello is answered
  std::size_t outstanding_ = 0;      // bytes counted in view_->queued and held here
  std::size_t overhead_ = 0;         // hello bytes written, not counted there
  Lineage theirs_;
  Duration retry_{};
  Executor::TimerId timer_ = 0;
};

// The accepting end.
class PeerInbound final : public Transport::Owner, public std::enable_shared_from_this<PeerInbound> {
 public:
  PeerInbound(PeerTransport::Shared& shared, SocketAddress from)
      : shared_(shared), address_(from.text()), intake_(std::make_shared<Intake>()) {
    intake_->connection = this;
  }
  void begin(int fd);
  void cut(Error why) { transport_->close(std::move(why)); }
  void resume();
  bool accepted() const { return accepted_; }
  NodeId from() const { return hello_.from; }
  std::uint8_t lane() const { return hello_.lane; }
  void check_lineage();

  void on_data(std::string_view data) override;
  std::string on_not_tls(std::string_view) override { return {}; }
  void on_closed(const Error& why) override;

 private:
  void greet(std::string_view payload);
  void refuse(std::string reason);
  void take(Frame frame);
  void tell_unfinished(std::size_t bytes);

  PeerTransport::Shared& shared_;
  const std::string address_;
  const std::shared_ptr<Intake> intake_;
  std::shared_ptr<Transport> transport_;
  FrameReader reader_{4096};
  Hello hello_;
  bool accepted_ = false;
  std::size_t unfinished_ = 0;  // as told
  Executor::TimerId timer_ = 0;
};

}  // namespace leeward::net
