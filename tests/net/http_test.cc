// HTTP/1.1 and HTTP/2 by curl, nghttp, our own client and raw bytes; and what a
// listener does with input that is none of these.
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "net/http_client.h"
#include "net/connection.h"
#include "support.h"

namespace leeward::net::test {
namespace {

constexpr const char* kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream, const std::string& payload = {}) {
  std::string out;
  for (int shift : {16, 8, 0}) out.push_back(static_cast<char>(payload.size() >> shift));
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(stream >> shift));
  return out + payload;
}

std::string literal(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) + value;
}

std::string grpc_headers(const std::string& method) {
  return literal(":method", "POST") + literal(":scheme", "http") + literal(":path", method) +
         literal(":authority", "x") + literal("content-type", "application/grpc") + literal("te", "trailers");
}

TEST(Http, CurlSpeaksBothVersions) {
  TestServer server;
  for (const std::string flags : {"--http1.1", "--http2-prior-knowledge", "--http1.0", "--http2"}) {
    const std::string curl = "curl -sS -m 60 " + flags + " http://" + server.address();
    EXPECT_EQ(run(curl + "/hello?you").output, "hello you\n") << flags;
    EXPECT_EQ(run(curl + "/stream").output, "one\ntwo\nthree\n") << flags;
    EXPECT_EQ(run(curl + "/echo -H 'Content-Type: a/b' -d 12345").output, "12345") << flags;
    EXPECT_EQ(run(curl + "/none -o /dev/null -w '%{http_code}'").output, "404") << flags;
    EXPECT_EQ(run(curl + "/big | wc -c").output, "8388608\n") << flags;
    EXPECT_EQ(run(curl + "/he%6Clo?x").output, "hello x\n") << flags;
    EXPECT_EQ(run(curl + "/he%zz -o /dev/null -w '%{http_code}'").output, "400") << flags;
    EXPECT_EQ(run(curl + "/hello -I -o /dev/null -w '%{http_code} %{size_download}'").output, "200 0") << flags;
    EXPECT_EQ(run(curl + "/hello -X OPTIONS -o /dev/null -w '%{http_code}'").output, "200") << flags;
    EXPECT_EQ(run("head -c 3000000 /dev/zero | " + curl + "/echo --data-binary @- -o /dev/null -w '%{http_code}'").output,
              "413") << flags;
    EXPECT_EQ(run("head -c 2000000 /dev/zero | " + curl + "/echo --data-binary @- | wc -c").output, "2000000\n") << flags;
  }
}

TEST(Http, NghttpMultiplexes) {
  TestServer server;
  const Ran got = run("nghttp -n -s -m 50 http://" + server.address() + "/hello");
  EXPECT_EQ(got.status, 0) << got.output;
  EXPECT_EQ(server.http.handled, 50);
}

TEST(Http, H2loadGetsAnAnswerToEachOfManyRequests) {
  TestServer server;
  const Ran got = run("h2load -n 20000 -c 10 -m 100 http://" + server.address() + "/hello");
  EXPECT_NE(got.output.find("20000 succeeded, 0 failed"), std::string::npos) << got.output;
}

TEST(Http, KeepAliveServesPipelinedRequestsInOrder) {
  TestServer server;
  RawClient raw(server.listener->port());
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += "GET /hello?" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  raw.send(requests + "GET /hello?last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string all = raw.read_all();
  std::size_t at = 0;
  for (int i = 0; i < 20; ++i) {
    at = all.find("hello " + std::to_string(i) + "\n", at);
    ASSERT_NE(at, std::string::npos) << i << all;
  }
  EXPECT_TRUE(all.ends_with("hello last\n"));
}

TEST(Http, AClientThatHalfClosesStillGetsItsAnswer) {
  TestServer server;
  RawClient raw(server.listener->port());
  raw.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  raw.half_close();
  EXPECT_GT(raw.read_all().size(), 8_MiB);
}

TEST(Http, MalformedAndOversizedRequestsGetTheirStatus) {
  TestServer server;
  const auto answer = [&](const std::string& request) {
    RawClient raw(server.listener->port());
    raw.try_send(request);
    return raw.read_all().substr(0, 12);
  };
  EXPECT_EQ(answer("GARBAGE\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(answer("GET / HTTP/9.9\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(answer("POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(answer("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(answer("POST /echo HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), "HTTP/1.1 413");
  EXPECT_EQ(answer("GET / HTTP/1.1\r\nX: " + std::string(70000, 'x') + "\r\n\r\n"), "HTTP/1.1 431");
  EXPECT_EQ(answer("GET / HTTP/1.1\r\nX: " + std::string(70000, 'x')), "HTTP/1.1 431");
  EXPECT_EQ(answer(std::string(100, '\xfe') + "\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(run("curl -s http://" + server.address() + "/hello?ok").output, "hello ok\n");
}

TEST(Http, WhatAHeaderExpectsIsMetOrRefused) {
  TestServer server;
  const auto answer = [&](const std::string& version, const std::string& fields, const std::string& body = "x") {
    RawClient raw(server.listener->port());
    raw.send("POST /echo HTTP/" + version + "\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n" + fields + "\r\n");
    const bool waits = body == "later";
    const std::string first = waits ? raw.read_until("\r\n\r\n") : "";
    raw.try_send(waits ? "x" : body);
    return first.substr(0, 13) + raw.read_all().substr(0, 12);
  };
  EXPECT_EQ(answer("1.1", "Expect: 100-continue\r\n", "later"), "HTTP/1.1 100 HTTP/1.1 200");
  EXPECT_EQ(answer("1.1", "Expect: 100-Continue\r\n", "later"), "HTTP/1.1 100 HTTP/1.1 200");
  EXPECT_EQ(answer("1.0", "Expect: 100-continue\r\n"), "HTTP/1.1 200");
  EXPECT_EQ(answer("1.1", "Expect: 200-ok\r\n"), "HTTP/1.1 417");
  EXPECT_EQ(server.http.handled, 3);
}

TEST(Http, NoTransferEncodingButChunkedIsServed) {
  TestServer server;
  const auto answer = [&](const std::string& coding) {
    RawClient raw(server.listener->port());
    raw.try_send("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: " + coding + "\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    return raw.read_all().substr(0, 12);
  };
  EXPECT_EQ(answer("Chunked"), "HTTP/1.1 200");
  EXPECT_EQ(answer("gzip, chunked"), "HTTP/1.1 501");
  EXPECT_EQ(answer("gzip"), "HTTP/1.1 501");
  EXPECT_EQ(answer("gzip\r\nTransfer-Encoding: chunked"), "HTTP/1.1 501");
  EXPECT_EQ(server.http.handled, 1);
}

TEST(Http, ASlowHeaderAndASilentClientAreCutOff) {
  TestServer server([](ListenerOptions& o) { o.limits.handshake_timeout = 100ms; });
  RawClient silent(server.listener->port()), slow(server.listener->port()), half_preface(server.listener->port());
  slow.send("GET /hello HTTP/1.1\r\nHo");
  half_preface.send("PRI * HT");
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(slow.closed());
  EXPECT_TRUE(half_preface.closed());
}

TEST(Http, AStreamIsCancelledWhenItsClientLeaves) {
  TestServer server;
  {
    RawClient raw(server.listener->port());
    raw.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_NE(raw.read_until("first\n").find("Transfer-Encoding: chunked"), std::string::npos);
  }
  EXPECT_TRUE(eventually([&] { return server.http.cancelled == 1; }));
}

TEST(Http, ConnectionsBeyondTheLimitAreClosed) {
  TestServer server([](ListenerOptions& o) { o.limits.connections = 2; });
  auto one = std::make_unique<RawClient>(server.listener->port());
  RawClient two(server.listener->port());
  ASSERT_TRUE(eventually([&] { return server.listener->probe().connections.get() == 2; }));
  RawClient three(server.listener->port());
  EXPECT_TRUE(three.closed());
  EXPECT_TRUE(server.log.wait_for("the limit is reached"));
  one.reset();
  ASSERT_TRUE(eventually([&] { return server.listener->probe().connections.get() == 1; }));
  EXPECT_EQ(run("curl -s http://" + server.address() + "/hello?x").output, "hello x\n");
}

TEST(Http, APortInUseNamesItsHolderAndTheKey) {
  TestServer server;
  MemoryLog log;
  ListenerOptions options;
  options.address = server.address();
  options.config_key = "listen.client";
  const auto second = Listener::open(options, {&server.thread.loop()}, nullptr, nullptr, log);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kInUse);
  EXPECT_NE(second.error().message.find("in use by net_test (pid " + std::to_string(getpid()) + ")"), std::string::npos)
      << second.error().message;
  EXPECT_NE(second.error().message.find("change listen.client"), std::string::npos);
}

// Two processes on one port, each at an address of its own.
TEST(Http, APortInUseNamesTheHolderAtThatAddress) {
  TestServer server;
  ASSERT_NE(server.listener, nullptr);
  const std::string port = std::to_string(server.listener->port());
  const std::string ready = "/tmp/leeward-net-test-" + std::to_string(getpid()) + ".port";
  unlink(ready.c_str());
  const auto other = fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    execlp("python3", "python3", "-c",
           "import socket, sys, time\n"
           "s = socket.socket()\ns.bind(('127.0.0.2', int(sys.argv[2])))\ns.listen()\n"
           "open(sys.argv[1], 'w').close()\n"
           "time.sleep(60)",
           ready.c_str(), port.c_str(), nullptr);
    _exit(127);
  }
  ASSERT_TRUE(eventually([&] { return access(ready.c_str(), F_OK) == 0; }));
  MemoryLog log;
  for (const auto& [host, holder] : {std::pair{"127.0.0.1:", getpid()}, {"127.0.0.2:", other}}) {
    ListenerOptions options;
    options.address = host + port;
    const auto second = Listener::open(options, {&server.thread.loop()}, nullptr, nullptr, log);
    ASSERT_FALSE(second.ok()) << options.address;
    EXPECT_NE(second.error().message.find("(pid " + std::to_string(holder) + ")"), std::string::npos) << second.error().message;
  }
  kill(other, SIGKILL);
  waitpid(other, nullptr, 0);
  unlink(ready.c_str());
}

TEST(Http, AUnixSocketServesAndAStaleOneIsReplaced) {
  const std::string path = "/tmp/leeward-net-test-" + std::to_string(getpid()) + ".sock";
  run("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"" + path + "\")'");
  TestServer server([&](ListenerOptions& o) { o.address = "unix://" + path; });
  ASSERT_NE(server.listener, nullptr);
  EXPECT_EQ(run("curl -s --unix-socket " + path + " http://x/hello?unix").output, "hello unix\n");
  HttpCall call;
  call.endpoint = "unix://" + path;
  call.path = "/hello?client";
  const auto answer = http_request(call);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "hello client\n");
  server.listener.reset();
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST(Http, WhatStandsInPlaceOfAUnixSocketIsNamedAndLeft) {
  const std::string path = "/tmp/leeward-net-test-" + std::to_string(getpid()) + ".other";
  MemoryLog log;
  TestServer server;
  for (const auto& [make, what] : {std::pair{"touch ", "a regular file"}, {"ln -s /nonexistent ", "a symbolic link"}, {"mkdir ", "a directory"}}) {
    run(make + path);
    ListenerOptions options;
    options.address = "unix://" + path;
    options.config_key = "admin.socket";
    const auto refused = Listener::open(options, {&server.thread.loop()}, nullptr, nullptr, log);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().message, "unix://" + path + " is " + what + ", not a socket that may be replaced; remove it or change admin.socket");
    EXPECT_EQ(std::remove(path.c_str()), 0);
  }
}

TEST(HttpClient, TellsAnAnswerFromNoAnswer) {
  TestServer server;
  HttpCall call;
  call.endpoint = server.address();
  call.path = "/none";
  auto answer = http_request(call);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->status, 404);
  call.method = "POST";
  call.path = "/echo";
  call.body = std::string(1 << 20, 'x');
  answer = http_request(call);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.size(), call.body.size());
  call.method = "GET";
  call.path = "/stream";
  answer = http_request(call);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "one\ntwo\nthree\n");
  call.path = "/hang";
  call.timeout = 100ms;
  // Time that ends before it has connected is no answer to a request; then with more of it.
  while ((answer = http_request(call)).error().code == Code::kUnavailable && call.timeout < 10s) call.timeout *= 2;
  EXPECT_EQ(answer.error().code, Code::kUnknown);
  server.listener.reset();
  EXPECT_EQ(http_request(call).error().code, Code::kUnavailable);
  call.endpoint = "no port";
  EXPECT_EQ(http_request(call).error().code, Code::kInvalid);
}

TEST(Sniff, APrefaceInSingleBytesIsHttp2) {
  TestServer server;
  RawClient raw(server.listener->port());
  const std::string all = std::string(kPreface) + frame(4, 0, 0) + frame(1, 5, 1, literal(":method", "GET") + literal(":scheme", "http") +
                          literal(":path", "/hello") + literal(":authority", "x"));
  for (char c : all) raw.send(std::string(1, c));
  EXPECT_NE(raw.read_until("hello").find("hello"), std::string::npos);
}

TEST(Sniff, TlsToAPlainPortGetsAnAlertAndOneLine) {
  // The second within a second is only counted; so again, until both were within one.
  auto took = std::chrono::steady_clock::duration::max();
  for (int tries = 0; tries < 20 && took >= 1s; ++tries) {
    TestServer server;
    const auto& probe = server.listener->probe();
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < 2; ++i) {
      RawClient raw(server.listener->port());
      raw.send(std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10));
      EXPECT_EQ(raw.read_all().substr(0, 2), "\x15\x03");
    }
    ASSERT_TRUE(eventually([&] { return probe.accepted.get() == 2 && probe.connections.get() == 0; }));
    took = std::chrono::steady_clock::now() - begun;
    EXPECT_TRUE(server.log.wait_for("speaks TLS and this port does not"));
    if (took < 1s) EXPECT_EQ(server.log.count("speaks TLS"), 1u) << server.log.all();
  }
  EXPECT_LT(took, 1s);
  TestServer server;
  EXPECT_NE(run("curl -sS -k https://" + server.address() + "/").status, 0);
}

TEST(Http2Hard, GarbageAfterThePrefaceEndsThatConnectionOnly) {
  TestServer server;
  const std::vector<std::string> inputs = {
      std::string(100, 'x'),
      frame(4, 0, 0, "odd"),                                      // SETTINGS of a wrong size
      frame(0, 0, 7, "data on an idle stream"),
      frame(1, 4, 1, "\xff\xff\xff\xff\xff\xff\xff"),             // no HPACK
      frame(1, 4, 2, grpc_headers("/test/Unary")),                // an even stream
      frame(9, 4, 1, "continuation of nothing"),
      std::string("\xff\xff\xff\x00\x00\x00\x00\x00\x01", 9),    // 16 MiB frame
      frame(8, 0, 0, std::string(4, '\0')),                       // WINDOW_UPDATE of 0
  };
  for (const auto& input : inputs) {
    RawClient raw(server.listener->port());
    raw.try_send(kPreface + frame(4, 0, 0) + input);
    EXPECT_TRUE(raw.closed()) << input.substr(0, 20);
  }
  for (const auto& input : inputs) RawClient(server.listener->port()).try_send(kPreface + input.substr(0, input.size() / 2));
  EXPECT_EQ(run("curl -s --http2-prior-knowledge http://" + server.address() + "/hello?ok").output, "hello ok\n");
  EXPECT_TRUE(eventually([&] { return server.listener->probe().connections.get() == 0; }));
}

TEST(Http2Hard, BrokenGrpcFramingGetsItsStatus) {
  TestServer server;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (const std::string& body : {std::string("\0\0\0\0\x09short", 10), std::string("\1\0\0\0\x01x", 6),
                                  std::string("\0\xff\xff\xff\xff", 5), std::string("\7\0\0\0\0", 5)}) {
    clients.push_back(std::make_unique<RawClient>(server.listener->port()));
    clients.back()->send(kPreface + frame(4, 0, 0) + frame(1, 4, 1, grpc_headers("/test/Unary")) + frame(0, 1, 1, body));
  }
  EXPECT_TRUE(eventually([&] { return server.rpc.cancelled == 4; })) << server.rpc.cancelled;
  EXPECT_EQ(server.rpc.finished, 0);
}

// The answer to one call with these header fields: its frames, up to the end of the stream.
struct Frames {
  bool reset = false;
  std::string fields;  // "name: value\n"
};
std::string decoded(nghttp2_hd_inflater* inflater, const std::string& block) {
  std::string out;
  const auto* at = reinterpret_cast<const std::uint8_t*>(block.data());
  const auto* const end = at + block.size();
  for (int flags = NGHTTP2_HD_INFLATE_EMIT; flags & NGHTTP2_HD_INFLATE_EMIT;) {
    nghttp2_nv nv{};
    const auto n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, static_cast<std::size_t>(end - at), 1);
    if (n < 0) return out + "(undecodable)";
    at += n;
    if (flags & NGHTTP2_HD_INFLATE_EMIT)
      out.append(reinterpret_cast<char*>(nv.name), nv.namelen).append(": ").append(reinterpret_cast<char*>(nv.value), nv.valuelen) += '\n';
  }
  nghttp2_hd_inflate_end_headers(inflater);
  return out;
}
Frames ask(TestServer& server, const std::string& fields, const std::string& after) {
  RawClient raw(server.listener->port());
  raw.send(kPreface + frame(4, 0, 0) + frame(1, 4, 1, fields) + after);
  nghttp2_hd_inflater* made = nullptr;
  nghttp2_hd_inflate_new(&made);
  const std::unique_ptr<nghttp2_hd_inflater, decltype(&nghttp2_hd_inflate_del)> inflater(made, nghttp2_hd_inflate_del);
  Frames got;
  for (;;) {
    std::string head, payload;
    while (head.size() < 9) {
      const std::string more = raw.read(9 - head.size());
      if (more.empty()) return got;
      head += more;
    }
    const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(head[i])); };
    const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
    while (payload.size() < size) payload += raw.read(size - payload.size());
    if (byte(8) != 1) continue;
    if (byte(3) == 3) return got.reset = true, got;
    if (byte(3) == 1) got.fields += decoded(made, payload);
    if (byte(4) & 1) return got;
  }
}

const std::string kOneMessage = frame(0, 1, 1, std::string("\0\0\0\0\1x", 6));

std::string call_headers(const std::string& path, const std::string& authority, const std::string& more = "") {
  return literal(":method", "POST") + literal(":scheme", "http") + literal(":path", path) + authority +
         literal("content-type", "application/grpc") + more;
}

// etcdctl 3.4 sends its endpoint as it was written.
TEST(Http2Hard, AnAuthorityMayBeAnything) {
  TestServer server;
  for (const std::string authority : {"http://127.0.0.1:2379", "x", "", "a b/c"}) {
    const Frames got = ask(server, call_headers("/test/Unary", literal(":authority", authority)), kOneMessage);
    EXPECT_FALSE(got.reset) << authority;
  }
  EXPECT_FALSE(ask(server, call_headers("/test/Unary", ""), kOneMessage).reset);
  EXPECT_EQ(server.rpc.finished, 5);
}

TEST(Http2Hard, AMalformedRequestIsResetAndReachesNoHandler) {
  TestServer server;
  const std::string sound = call_headers("/test/Unary", "");
  for (const std::string& fields : {
           sound + literal(":status", "200"), sound + literal(":path", "/late"), literal(":status", "200") + sound,
           literal(":method", "GET") + sound, literal(":odd", "x") + sound, sound + literal("X-Upper", "a"),
           sound + literal("", "a"), sound + literal("a b", "c"), sound + literal("a", "b\r\nc: d"),
           sound + literal("a", std::string("b\0c", 3)), sound + literal("connection", "close"),
           sound + literal("transfer-encoding", "chunked"), sound + literal("te", "gzip"),
           literal(":scheme", "http") + literal(":path", "/hello"), literal(":method", "GET") + literal(":scheme", "http"),
           literal(":method", "CONNECT") + literal(":authority", "x:1")}) {
    EXPECT_TRUE(ask(server, fields, kOneMessage).reset) << fields;
  }
  // Trailers that do not end the request.
  EXPECT_TRUE(ask(server, sound, frame(1, 4, 1, literal("a", "b"))).reset);
  EXPECT_EQ(server.rpc.finished + server.http.handled, 0);
  EXPECT_FALSE(ask(server, sound, frame(0, 0, 1, std::string("\0\0\0\0\1x", 6)) + frame(1, 5, 1, literal("a", "b"))).reset);
  EXPECT_EQ(server.rpc.finished, 1);
}

TEST(Http2Hard, ABodyShorterThanItsLengthIsABadRequest) {
  TestServer server;
  const std::string fields = literal(":method", "POST") + literal(":scheme", "http") + literal(":path", "/echo");
  const Frames got = ask(server, fields + literal("content-length", "9"), frame(0, 1, 1, "short"));
  EXPECT_NE(got.fields.find(":status: 400\n"), std::string::npos) << got.fields;
  EXPECT_EQ(server.http.handled, 0);
  ask(server, fields + literal("content-length", "5"), frame(0, 1, 1, "short"));
  EXPECT_EQ(server.http.handled, 1);
}

TEST(Http2Hard, AMethodWithoutASlashIsMalformed) {
  TestServer server;
  for (const std::string path : {"", "test/Unary"})
    EXPECT_NE(ask(server, call_headers(path, ""), kOneMessage).fields.find("malformed method name: \"" + path + "\""),
              std::string::npos);
  EXPECT_EQ(server.rpc.started, 0);
}

TEST(Http2Hard, ATimeoutThatIsOverGetsItsStatus) {
  TestServer server;
  for (const std::string timeout : {"0S", "1n", "0H"})
    EXPECT_NE(ask(server, call_headers("/test/Unary", "", literal("grpc-timeout", timeout)), kOneMessage)
                  .fields.find("context deadline exceeded"),
              std::string::npos)
        << timeout;
  EXPECT_EQ(server.rpc.finished, 0);
  EXPECT_NE(ask(server, call_headers("/test/Unary", "", literal("grpc-timeout", "")), kOneMessage)
                .fields.find("malformed grpc-timeout: \"\""),
            std::string::npos);
}

TEST(Http2Hard, RapidResetIsCutOff) {
  TestServer server;
  RawClient raw(server.listener->port());
  raw.send(kPreface + frame(4, 0, 0));
  std::string burst;
  std::uint32_t stream = 1;
  bool cut = false;
  for (int i = 0; i < 200 && !cut; ++i) {
    burst.clear();
    for (int n = 0; n < 100; ++n, stream += 2)
      burst += frame(1, 4, stream, grpc_headers("/test/Hang")) + frame(3, 0, stream, std::string("\0\0\0\x08", 4));
    cut = !raw.try_send(burst);
  }
  EXPECT_TRUE(raw.closed());
  EXPECT_LT(server.rpc.started, 20000);
  EXPECT_TRUE(eventually([&] { return server.rpc.cancelled == server.rpc.started; }));
}

TEST(Http2Hard, StreamsBeyondTheLimitAreRefused) {
  TestServer server([](ListenerOptions& o) { o.limits.streams = 10; });
  RawClient raw(server.listener->port());
  std::string all = kPreface + frame(4, 0, 0);
  for (std::uint32_t stream = 1; stream < 200; stream += 2) all += frame(1, 4, stream, grpc_headers("/test/Hang"));
  raw.send(all);
  ASSERT_TRUE(eventually([&] { return server.rpc.started > 0; }));
  EXPECT_EQ(run("curl -s http://" + server.address() + "/hello?ok").output, "hello ok\n");
  EXPECT_LE(server.rpc.started, 100);
}

TEST(Http2Hard, AReaderThatTakesNothingDelaysNobodyAndHoldsLittle) {
  TestServer server([](ListenerOptions& o) { o.limits.output_bytes = 1_MiB; });
  RawClient stuck(server.listener->port(), 4096);
  stuck.send(kPreface + frame(4, 0, 0, std::string("\0\x04\x7f\xff\xff\xff", 6)) +
             frame(8, 0, 0, std::string("\x7f\xf0\0\0", 4)));
  std::uint32_t stream = 1;
  const auto ask = [&](int count) {
    std::string all;  // at once: after the first answer it may not be read from
    for (int i = 0; i < count; ++i, stream += 2)
      all += frame(1, 5, stream, literal(":method", "GET") + literal(":scheme", "http") + literal(":path", "/big") +
                                     literal(":authority", "x"));
    stuck.send(all);
  };
  ask(2);
  ASSERT_TRUE(eventually([&] { return server.http.handled == 2; }));
  ASSERT_EQ(run("curl -s -m 30 http://" + server.address() + "/hello?ok").output, "hello ok\n");
  ask(60);
  for (int i = 0; i < 50; ++i)
    ASSERT_EQ(run("curl -s -m 30 http://" + server.address() + "/hello?ok").output, "hello ok\n");
  // It is not read from, so its further requests were not even begun.
  EXPECT_EQ(server.http.handled, 2 + 1 + 50);
}

TEST(Http2Hard, AnAnswerThatWaitsTooLongForItsWindowIsDropped) {
  TestServer server([](ListenerOptions& o) { o.limits.stall_timeout = 1s; });
  RawClient raw(server.listener->port());
  raw.send(kPreface + frame(4, 0, 0, std::string("\0\x04\0\0\0\0", 6)) + frame(4, 1, 0) +
           frame(1, 5, 1, literal(":method", "GET") + literal(":scheme", "http") + literal(":path", "/big") +
                              literal(":authority", "x")));
  // RST_STREAM of stream 1, CANCEL; all before it are frames of a living connection.
  const std::string reset = frame(3, 0, 1, std::string("\0\0\0\x08", 4));
  std::string all;
  while (all.find(reset) == std::string::npos) {
    const std::string more = raw.read(4096);
    ASSERT_FALSE(more.empty()) << "the connection ended";
    all += more;
  }
  raw.send(frame(6, 0, 0, "12345678"));
  EXPECT_FALSE(raw.read(17).empty());
}

TEST(Http2Hard, AClientWithClosedWindowsCannotMakeAnswersPileUp) {
  TestServer server;
  RawClient raw(server.listener->port());
  const auto be32 = [](std::uint32_t v) {
    std::string out;
    for (int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(v >> shift));
    return out;
  };
  // Its stream window is 0: no answer can go, and the kernel takes all else.
  raw.send(kPreface + frame(4, 0, 0, std::string("\0\x04", 2) + be32(0)) + frame(4, 1, 0) + frame(1, 4, 1, grpc_headers("/test/Echo")));
  // (The server's settings count once they are acknowledged.)
  std::int64_t stream_credit = 1 << 20, connection_credit = 65535;
  std::uint64_t answered = 0;
  // Reads frames up to the answer of a ping; what was granted before it is counted.
  const auto settle = [&] {
    for (int round = 0; round < 2; ++round) {
      raw.send(frame(6, 0, 0, "12345678"));
      for (;;) {
        std::string head;
        while (head.size() < 9) {
          const std::string more = raw.read(9 - head.size());
          if (more.empty()) return false;
          head += more;
        }
        const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(head[i])); };
        const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
        const std::uint32_t stream = byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8);
        std::string payload;
        while (payload.size() < size) {
          const std::string more = raw.read(size - payload.size());
          if (more.empty()) return false;
          payload += more;
        }
        if (byte(3) == 0) answered += size;
        if (byte(3) == 8) {
          std::uint32_t by = 0;
          for (const char c : payload) by = by << 8 | static_cast<unsigned char>(c);
          (stream == 0 ? connection_credit : stream_credit) += by;
        }
        EXPECT_NE(byte(3), 3u) << "the stream was reset";
        if (byte(3) == 6) break;
      }
    }
    return true;
  };
  const std::string message = std::string("\0\0\0\x03\xfb", 5) + std::string(1019, 'm');
  std::uint64_t sent = 0;
  const auto send_all = [&](std::uint64_t most) {
    ASSERT_TRUE(settle());
    for (int idle = 0; sent < most && idle < 3;) {
      std::string data;
      while (stream_credit >= 1024 && connection_credit >= 1024 && data.size() < 256_KiB && sent < most) {
        data += frame(0, 0, 1, message);
        stream_credit -= 1024, connection_credit -= 1024, sent += 1024;
      }
      idle = data.empty() ? idle + 1 : 0;
      if (!data.empty()) raw.send(data);
      ASSERT_TRUE(settle());
    }
  };
  send_all(16_MiB);
  EXPECT_LT(sent, 3_MiB) << "the client may go on for ever";
  EXPECT_GE(sent, 1_MiB);
  EXPECT_EQ(answered, 0u);
  // Once it reads again, all goes on.
  raw.send(frame(8, 0, 1, be32(64 << 20)) + frame(8, 0, 0, be32(64 << 20)));
  send_all(8_MiB);
  EXPECT_EQ(sent, 8_MiB);
  ASSERT_TRUE(settle());
  EXPECT_EQ(answered, sent);
}

TEST(HttpText, PathsAreDecodedOrRefused) {
  EXPECT_EQ(decode_path("/a%20b%2F"), "/a b/");
  EXPECT_EQ(decode_path("/%41"), "/A");
  for (const char* bad : {"%", "%4", "%zz", "/x%4"}) EXPECT_EQ(decode_path(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace leeward::net::test
