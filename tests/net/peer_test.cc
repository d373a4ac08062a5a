// Two transports in one process, each with an I/O loop and a core loop.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/codec.h"
#include "net/peer_frame.h"
#include "net/peer_transport.h"
#include "net/socket.h"
#include "support.h"

namespace leeward::net::test {
namespace {

Lineage lineage(std::uint8_t first) {
  Lineage l;
  l.bytes[0] = first;
  return l;
}

// A port that nobody else is given, for a node that is to come: nobody listens
// there, and a listener may share it.
class KeptPort {
 public:
  KeptPort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    number = local_address(fd_).port();
  }
  ~KeptPort() { ::close(fd_); }
  std::uint16_t number = 0;

 private:
  const int fd_;
};

struct Node {
  explicit Node(unsigned id, std::function<void(PeerTransportOptions&)> adjust = {}, std::uint16_t port = 0) {
    PeerTransportOptions options;
    options.address = "127.0.0.1:" + std::to_string(port);
    options.cluster = "test";
    options.self = NodeId(id);
    options.lineage = lineage(1);
    options.handshake_timeout = 30s;  // what waits for one that fails is dropped
    options.retry_first = 5ms;
    options.retry_most = 50ms;
    if (adjust) adjust(options);
    auto opened = PeerTransport::open(std::move(options), io.loop(), core.loop(), log);
    if (!opened.ok()) ADD_FAILURE() << opened.error().message;
    else transport = std::move(*opened);
    on_core([this] {
      transport->set_handler([this](NodeId from, Lane lane, Bytes frame) {
        std::lock_guard lock(mutex);
        ++frames;
        bytes += frame.size();
        if (keep) received.push_back(std::to_string(from.value()) + "/" + std::to_string(int(lane)) + "/" +
                                     std::string(frame.view()));
      });
    });
  }
  ~Node() { transport.reset(); }

  void on_core(Function<void()> work) {
    std::mutex m;
    std::condition_variable done;
    bool finished = false;
    core.loop().post([&] {
      work();
      std::lock_guard lock(m);
      finished = true;
      done.notify_all();
    });
    std::unique_lock lock(m);
    done.wait(lock, [&] { return finished; });
  }
  void knows(unsigned id, std::uint16_t port) {
    on_core([&] { transport->set_peers({{NodeId(id), "127.0.0.1:" + std::to_string(port)}}); });
  }
  bool send(unsigned to, const std::string& text, Lane lane = Lane::kConsensus) {
    bool taken = false;
    on_core([&] { taken = transport->send(NodeId(to), lane, {Bytes(text)}); });
    return taken;
  }
  bool connected(unsigned to) {
    bool is = false;
    on_core([&] { is = transport->connected(NodeId(to)); });
    return is;
  }
  std::size_t queued(unsigned to, Lane lane) {
    std::size_t n = 0;
    on_core([&] { n = transport->queued(NodeId(to), lane); });
    return n;
  }
  std::size_t total() {
    std::lock_guard lock(mutex);
    return bytes;
  }
  std::vector<std::string> got() {
    std::lock_guard lock(mutex);
    return received;
  }

  MemoryLog log;
  IoThread io, core;
  std::unique_ptr<PeerTransport> transport;
  std::mutex mutex;
  std::vector<std::string> received;
  std::size_t frames = 0, bytes = 0;
  bool keep = true;
};

TEST(Peer, FramesArriveWholeAndInOrderOnEachLane) {
  Node a(1), b(2);
  a.knows(2, b.transport->port());
  a.on_core([&] {
    for (int i = 0; i < 1000; ++i)
      for (Lane lane : {Lane::kConsensus, Lane::kStream})
        EXPECT_TRUE(a.transport->send(NodeId(2), lane, {Bytes("part "), Bytes(std::to_string(i))}));
  });
  ASSERT_TRUE(eventually([&] { return b.got().size() == 2000; })) << b.got().size() << a.log.all() << b.log.all();
  int consensus = 0, stream = 0;
  for (const auto& text : b.got()) {
    int& next = text.starts_with("1/1/") ? consensus : stream;
    EXPECT_EQ(text.substr(4), "part " + std::to_string(next++));
  }
  EXPECT_TRUE(eventually([&] { return a.queued(2, Lane::kConsensus) == 0 && a.queued(2, Lane::kStream) == 0; }));
}

TEST(Peer, AFrameOf16MiBArrives) {
  Node a(1), b(2);
  a.knows(2, b.transport->port());
  ASSERT_TRUE(a.send(2, std::string(16_MiB, 'x'), Lane::kBulk));
  ASSERT_TRUE(eventually([&] { return b.total() == 16_MiB; }));
  EXPECT_TRUE(eventually([&] { return a.queued(2, Lane::kBulk) == 0; }));
}

TEST(Peer, BothDirectionsWorkAtOnce) {
  Node a(1), b(2);
  a.knows(2, b.transport->port());
  b.knows(1, a.transport->port());
  ASSERT_TRUE(eventually([&] { return a.connected(2) && b.connected(1); }));
  EXPECT_TRUE(a.send(2, "to b"));
  EXPECT_TRUE(b.send(1, "to a"));
  EXPECT_TRUE(eventually([&] { return a.got().size() == 1 && b.got().size() == 1; }));
}

TEST(Peer, AnUnknownPeerIsRefusedAtOnce) {
  Node a(1);
  EXPECT_FALSE(a.send(9, "x"));
}

TEST(Peer, APeerThatComesBackIsReachedAgain) {
  Node a(1);
  const KeptPort port;
  a.knows(2, port.number);
  ASSERT_TRUE(a.log.wait_for("cannot reach a peer"));
  for (int round = 0; round < 3; ++round) {
    Node b(2, {}, port.number);
    ASSERT_TRUE(eventually([&] { return a.connected(2); }));
    ASSERT_TRUE(eventually([&] { return a.send(2, "again") && !b.got().empty(); }));
    b.transport.reset();
    ASSERT_TRUE(eventually([&] { return !a.connected(2); }));
  }
}

TEST(Peer, AnotherClusterNameOrLineageIsRefusedAndBothSidesAreTold) {
  Node b(2);
  {
    Node a(1, [](auto& o) { o.cluster = "staging"; });
    a.knows(2, b.transport->port());
    EXPECT_TRUE(a.log.wait_for("the cluster names differ: \"test\" here, \"staging\" there")) << a.log.all();
    EXPECT_TRUE(b.log.wait_for("the cluster names differ"));
    EXPECT_FALSE(a.connected(2));
  }
  {
    Node c(3, [](auto& o) { o.lineage = lineage(7); });
    c.knows(2, b.transport->port());
    std::atomic<unsigned> stranger{0};
    c.on_core([&] {
      c.transport->set_stranger_handler(
          [&](NodeId peer, const Lineage& theirs) { stranger = theirs == lineage(1) ? peer.value() : 99; });
    });
    EXPECT_TRUE(c.log.wait_for("another lineage")) << c.log.all();
    EXPECT_TRUE(eventually([&] { return stranger == 2; })) << stranger;
    c.transport.reset();
  }
  Node d(4), e(2);
  d.knows(5, e.transport->port());
  EXPECT_TRUE(d.log.wait_for("this is node 2, not 5")) << d.log.all();
}

TEST(Peer, AnUnknownLineageIsWelcomeUntilItTurnsOutToBeAnother) {
  Node a(1, [](auto& o) { o.lineage = {}; }), b(2);
  a.knows(2, b.transport->port());
  ASSERT_TRUE(eventually([&] { return a.connected(2); }));
  a.on_core([&] { a.transport->set_lineage(lineage(1)); });
  ASSERT_TRUE(eventually([&] { return a.send(2, "same") && !b.got().empty(); }));
  a.on_core([&] { a.transport->set_lineage(lineage(9)); });
  EXPECT_TRUE(eventually([&] { return !a.connected(2); }));
  EXPECT_TRUE(a.log.wait_for("another lineage")) << a.log.all();
}

TEST(Peer, AFullLaneRefusesAndOthersGoOn) {
  // Takes connections and reads nothing: its core loop is held up.
  Node a(1), b(2, [](auto& o) { o.undelivered_bytes = 1_MiB; });
  a.knows(2, b.transport->port());
  ASSERT_TRUE(eventually([&] { return a.connected(2); }));
  std::mutex gate;
  std::unique_lock held(gate);
  b.keep = false;
  b.core.loop().post([&] { std::lock_guard wait(gate); });
  const std::string chunk(1_MiB, 'x');
  int taken = 0;
  // Until it refuses though nothing of the queue goes on to the kernel any more.
  for (int tries = 0;; ++tries) {
    if (a.send(2, chunk, Lane::kBulk)) ++taken;
    else if (a.queued(2, Lane::kBulk) >= 6_MiB) break;
    ASSERT_LT(tries, 100'000);
  }
  EXPECT_LE(a.queued(2, Lane::kBulk), 8_MiB);
  EXPECT_TRUE(a.send(2, "heartbeat"));
  EXPECT_TRUE(eventually([&] { return a.queued(2, Lane::kConsensus) == 0; }));
  held.unlock();
  EXPECT_TRUE(eventually([&] { return a.queued(2, Lane::kBulk) == 0; }));
  const std::size_t expected = static_cast<std::size_t>(taken) * chunk.size();
  EXPECT_TRUE(eventually([&] { return b.total() >= expected; })) << b.total() << " of " << expected << "\n" << a.log.all() << b.log.all();
}

std::string hello_frame(unsigned from, unsigned to, Lane lane) {
  Hello hello{1, NodeId(from), NodeId(to), static_cast<std::uint8_t>(lane), "test", lineage(1)};
  const std::string payload = encode(hello);
  return frame_header(kHelloLane, {Bytes(payload)}) + payload;
}

TEST(Peer, GarbageClosesItsConnectionAndNothingElse) {
  Node a(1), b(2);
  a.knows(2, b.transport->port());
  ASSERT_TRUE(eventually([&] { return a.connected(2); }));
  const std::string hello = hello_frame(3, 2, Lane::kConsensus);
  std::string bad_checksum = frame_header(1, {Bytes("payload")}) + "pAyload";
  std::string huge = frame_header(1, {Bytes("x")});
  const std::uint32_t size = kMaxFrame + 1;
  huge.replace(0, 4, reinterpret_cast<const char*>(&size), 4);
  const std::vector<std::string> inputs = {std::string(200, 'g'),      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                           hello + bad_checksum,       hello + huge,
                                           hello + std::string(64, '\xff'), frame_header(1, {}),
                                           frame_header(0, {Bytes("short")}) + "short"};
  for (const auto& input : inputs) {
    RawClient raw(b.transport->port());
    raw.try_send(input);
    EXPECT_TRUE(raw.closed()) << input.substr(0, 40);
  }
  // A hello cut off anywhere only ends its own connection.
  for (std::size_t cut = 0; cut < hello.size(); cut += 7) RawClient(b.transport->port()).try_send(hello.substr(0, cut));
  EXPECT_TRUE(b.log.wait_for("closed a peer connection"));
  EXPECT_TRUE(a.send(2, "still here"));
  EXPECT_TRUE(eventually([&] { return b.got().size() == 1; }));
}

TEST(Peer, TwoProcessesOfOneNodeAreTold) {
  Node b(2);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<RawClient>(b.transport->port()));
    clients.back()->send(hello_frame(1, 2, Lane::kConsensus));
    ASSERT_FALSE(clients.back()->read(1).empty());  // its answer
  }
  EXPECT_TRUE(b.log.wait_for("two processes may run as one peer")) << b.log.all();
}

TEST(Peer, ASilentConnectionIsClosed) {
  Node b(2, [](auto& o) { o.handshake_timeout = 50ms; });
  RawClient raw(b.transport->port());
  EXPECT_TRUE(raw.closed());
}

TEST(Peer, ANewerFormatIsRefusedWithItsReason) {
  Node b(2);
  std::string payload = encode(Hello{2, NodeId(3), NodeId(2), 1, "test", lineage(1)});
  RawClient raw(b.transport->port());
  raw.send(frame_header(kHelloLane, {Bytes(payload)}) + payload);
  EXPECT_NE(raw.read_all().find("newer than ours"), std::string::npos);
}

TEST(PeerFrame, AnyCutOfTheStreamGivesTheSameFrames) {
  std::string stream;
  for (const char* text : {"", "a", "hello world"}) stream += frame_header(2, {Bytes(text)}) + text;
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    FrameReader reader;
    std::vector<std::string> frames;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      std::string_view piece = std::string_view(stream).substr(at, step);
      while (!piece.empty()) {
        auto frame = reader.next(piece);
        ASSERT_TRUE(frame.ok());
        if (*frame) frames.push_back((*frame)->payload);
      }
    }
    EXPECT_EQ(frames, (std::vector<std::string>{"", "a", "hello world"})) << step;
  }
}

TEST(PeerFrame, AnyFlippedBitIsFound) {
  const std::string good = frame_header(2, {Bytes("payload")}) + "payload";
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << bit % 8);
    FrameReader reader;
    std::string_view in = bad;
    const auto frame = reader.next(in);
    EXPECT_TRUE(!frame.ok() || !*frame) << bit;  // refused, or longer than what came
  }
}

}  // namespace
}  // namespace leeward::net::test
