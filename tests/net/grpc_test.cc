// gRPC as grpc++ speaks it, against handlers that echo.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <thread>

#include "net/grpc.h"
#include "net/grpc_client.h"
#include "support.h"

namespace leeward::net::test {
namespace {

grpc::ByteBuffer buffer(const std::string& text) {
  grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

std::string text(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return out;
  for (const auto& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

struct Client {
  explicit Client(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr,
                  grpc::ChannelArguments arguments = {}) {
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel = grpc::CreateCustomChannel(address, credentials ? credentials : grpc::InsecureChannelCredentials(), arguments);
    stub = std::make_unique<grpc::GenericStub>(channel);
  }

  struct Answer {
    grpc::Status status;
    std::string message;
  };
  Answer unary(const std::string& method, const std::string& request, grpc::ClientContext& context) {
    if (context.deadline() == std::chrono::system_clock::time_point::max())
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    grpc::CompletionQueue queue;
    const grpc::ByteBuffer body = buffer(request);
    auto call = stub->PrepareUnaryCall(&context, method, body, &queue);
    call->StartCall();
    Answer answer;
    grpc::ByteBuffer reply;
    call->Finish(&reply, &answer.status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    answer.message = text(reply);
    return answer;
  }
  Answer unary(const std::string& method, const std::string& request) {
    grpc::ClientContext context;
    return unary(method, request, context);
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<grpc::GenericStub> stub;
};

// One bidirectional call, driven step by step.
struct Stream {
  Stream(Client& client, const std::string& method) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    call = client.stub->PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    next();
  }
  bool next() {
    void* tag;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  }
  bool write(const std::string& message) {
    call->Write(buffer(message), nullptr);
    return next();
  }
  std::optional<std::string> read() {
    grpc::ByteBuffer message;
    call->Read(&message, nullptr);
    if (!next()) return std::nullopt;
    return text(message);
  }
  void half_close() {
    call->WritesDone(nullptr);
    next();
  }
  grpc::Status finish() {
    grpc::Status status;
    call->Finish(&status, nullptr);
    next();
    return status;
  }
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
};

TEST(Grpc, AUnaryCallComesBackWithItsTrailer) {
  TestServer server;
  Client client(server.address());
  grpc::ClientContext context;
  const auto answer = client.unary("/test/Unary", "hello", context);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.message, "hello");
  EXPECT_EQ(context.GetServerTrailingMetadata().count("echo-trailer"), 1u);
}

TEST(Grpc, EmptyAndLargeMessagesAreKeptWhole) {
  TestServer server([](ListenerOptions& o) { o.limits.message_bytes = 8_MiB; });
  Client client(server.address());
  for (const std::size_t size : {0u, 1u, 16384u, 65535u, 65536u, 1u << 20, (8u << 20) - 3}) {
    const std::string message(size, 'x');
    const auto answer = client.unary("/test/Unary", message);
    ASSERT_TRUE(answer.status.ok()) << size << " " << answer.status.error_message();
    EXPECT_EQ(answer.message == message, true) << size;
  }
}

TEST(Grpc, AnErrorKeepsItsCodeTextAndTrailers) {
  TestServer server;
  Client client(server.address());
  grpc::ClientContext context;
  const auto answer = client.unary("/test/Fail", "", context);
  EXPECT_EQ(answer.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "100% wrong:\nläuft nicht");
  EXPECT_EQ(context.GetServerTrailingMetadata().count("why"), 1u);
}

grpc::ChannelArguments much_metadata() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, 1 << 20);
  return arguments;
}

TEST(Grpc, ALongErrorIsCutAtACharacterSoThatItArrives) {
  TestServer server;
  Client client(server.address(), nullptr, much_metadata());
  std::string letters;
  for (int i = 0; i < 35'000; ++i) letters += "ä";
  for (const auto& [text, wanted] : std::vector<std::pair<std::string, std::string>>{
           {std::string(70'000, 'x'), std::string(4096, 'x')}, {letters, letters.substr(0, 4096)}, {"x" + letters, "x" + letters.substr(0, 4094)},
           {std::string(30'000, '\xff'), std::string(4096, '\xff')}, {std::string(30'000, '\x80'), std::string(4096, '\x80')}}) {
    const auto answer = client.unary("/test/Says", text);
    EXPECT_EQ(answer.status.error_code(), grpc::INVALID_ARGUMENT) << answer.status.error_message().substr(0, 100);
    EXPECT_TRUE(answer.status.error_message() == wanted) << answer.status.error_message().size();
  }
  grpc::ClientContext context;
  EXPECT_EQ(client.unary("/test/Head", "1", context).status.error_code(), grpc::INVALID_ARGUMENT);
  const auto trailer = context.GetServerTrailingMetadata().find("heavy");
  ASSERT_NE(trailer, context.GetServerTrailingMetadata().end());
  EXPECT_EQ(trailer->second.size(), 4096u);
}

TEST(Grpc, ACallWhoseEndCannotBeSentIsReset) {
  TestServer server;
  Client client(server.address(), nullptr, much_metadata());
  for (const char* method : {"/test/Head", "/test/Trailers"}) {
    EXPECT_EQ(client.unary(method, "20").status.error_code(), grpc::INTERNAL) << method;
    EXPECT_TRUE(client.unary("/test/Unary", "x").status.ok()) << "the connection goes on";
  }
}

TEST(Grpc, AnUnknownMethodIsUnimplemented) {
  TestServer server;
  Client client(server.address());
  EXPECT_EQ(client.unary("/test/None", "x").status.error_code(), grpc::UNIMPLEMENTED);
}

TEST(Grpc, AStreamEchoesInOrder) {
  TestServer server;
  Client client(server.address());
  Stream stream(client, "/test/Echo");
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(stream.write("message " + std::to_string(i)));
    ASSERT_EQ(stream.read(), "message " + std::to_string(i));
  }
  stream.half_close();
  EXPECT_EQ(stream.read(), std::nullopt);
  EXPECT_TRUE(stream.finish().ok());
}

TEST(Grpc, AThousandCallsInFlightAllComeBack) {
  TestServer server([](ListenerOptions& o) { o.limits.streams = 1000; });
  Client client(server.address());
  struct Call {
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    grpc::Status status;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> call;
  };
  std::vector<Call> calls(1000);
  grpc::CompletionQueue queue;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    calls[i].context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    calls[i].call = client.stub->PrepareUnaryCall(&calls[i].context, "/test/Unary", buffer(std::to_string(i)), &queue);
    calls[i].call->StartCall();
    calls[i].call->Finish(&calls[i].reply, &calls[i].status, &calls[i]);
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    void* tag;
    bool ok;
    ASSERT_TRUE(queue.Next(&tag, &ok));
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(calls[i].status.ok()) << calls[i].status.error_message();
    EXPECT_EQ(text(calls[i].reply), std::to_string(i));
  }
  EXPECT_EQ(server.rpc.finished, 1000);
}

TEST(Grpc, ADeadlineCancelsTheCallAtTheServer) {
  TestServer server;
  Client client(server.address());
  // One whose time is over before it reaches the server is none there; then with more of it.
  for (auto patience = std::chrono::milliseconds(50); server.rpc.started == 0 && patience < 10s; patience *= 2) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience);
    EXPECT_EQ(client.unary("/test/Hang", "x", context).status.error_code(), grpc::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(eventually([&] { return server.rpc.started > 0 && server.rpc.cancelled == server.rpc.started; }));
}

TEST(Grpc, ACancelledCallIsCancelledOnce) {
  TestServer server;
  Client client(server.address());
  Stream stream(client, "/test/Hang");
  ASSERT_TRUE(eventually([&] { return server.rpc.started == 1; }));
  stream.context.TryCancel();
  EXPECT_EQ(stream.finish().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(eventually([&] { return server.rpc.cancelled == 1; }));
  // Nothing more when the connection goes.
  client = Client(server.address());
  EXPECT_TRUE(client.unary("/test/Unary", "x").status.ok());
  EXPECT_EQ(server.rpc.cancelled, 1);
}

TEST(Grpc, ALostConnectionCancelsItsCalls) {
  TestServer server;
  auto client = std::make_unique<Client>(server.address());
  auto stream = std::make_unique<Stream>(*client, "/test/Hang");
  ASSERT_TRUE(eventually([&] { return server.rpc.started == 1; }));
  server.listener->stop(Duration(0));
  EXPECT_EQ(server.rpc.cancelled, 1);
  EXPECT_EQ(stream->finish().error_code(), grpc::UNAVAILABLE);
}

TEST(Grpc, ASourceOf16MiBStreamsThroughSmallWindows) {
  TestServer server;
  grpc::ChannelArguments small;
  small.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65535);
  small.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  Client client(server.address(), nullptr, small);
  const auto answer = client.unary("/test/Source", std::to_string(16_MiB));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.message.size(), 16_MiB);
  for (std::size_t i = 0; i < answer.message.size(); ++i)
    ASSERT_EQ(answer.message[i], static_cast<char>('a' + i % 23)) << i;
}

TEST(Grpc, ASourceThatFailsAtOnceGivesAStatus) {
  TestServer server;
  Client client(server.address());
  const auto answer = client.unary("/test/BadSource", "x");
  EXPECT_EQ(answer.status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(answer.status.error_message(), "the snapshot is too old");
}

TEST(Grpc, ATooLargeRequestIsRefusedWithTheUsualText) {
  TestServer server([](ListenerOptions& o) { o.limits.message_bytes = 1000; });
  Client client(server.address());
  const auto answer = client.unary("/test/Unary", std::string(1001, 'x'));
  EXPECT_EQ(answer.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(answer.status.error_message(), "grpc: received message larger than max (1001 vs. 1000)");
  EXPECT_TRUE(client.unary("/test/Unary", std::string(1000, 'x')).status.ok());
}

TEST(Grpc, ACompressedRequestIsUnimplemented) {
  TestServer server;
  Client client(server.address());
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const auto answer = client.unary("/test/Unary", std::string(10000, 'x'), context);
  EXPECT_EQ(answer.status.error_code(), grpc::UNIMPLEMENTED);
  EXPECT_NE(answer.status.error_message().find("gzip"), std::string::npos);
}

TEST(Grpc, ASenderWaitsForASlowReaderAndOthersDoNot) {
  TestServer server;
  Client slow(server.address()), quick(server.address());
  Stream flood(slow, "/test/Flood");
  flood.half_close();
  ASSERT_TRUE(flood.read().has_value());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(quick.unary("/test/Unary", "x").status.ok());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(flood.read()->size(), 1_MiB);
  EXPECT_LE(server.rpc.most_queued, 2_MiB + 10);
  flood.context.TryCancel();
  flood.finish();
  EXPECT_TRUE(eventually([&] { return server.rpc.cancelled == 1; }));
}

HttpCall flooded(const TestServer& server) {
  HttpCall call;
  call.endpoint = "http://" + server.address();
  call.path = "/test/Flood";
  return call;
}

TEST(Grpc, AnswersOfOurOwnClientComeOneByOneAndWaitForIt) {
  TestServer server;
  int taken = 0;
  const auto ended = grpc_stream(flooded(server), [&](std::string_view message) -> Result<void> {
    EXPECT_EQ(message.size(), 1_MiB);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return ++taken < 20 ? Result<void>() : Error{Code::kNoSpace, "enough"};
  });
  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().code, Code::kNoSpace);
  EXPECT_NE(ended.error().message.find("enough"), std::string::npos);
  EXPECT_EQ(taken, 20);
  EXPECT_LE(server.rpc.most_queued, 2_MiB + 10);
  EXPECT_TRUE(eventually([&] { return server.rpc.cancelled == 1; }));
}

TEST(Grpc, OurOwnClientTellsHowACallOfManyAnswersEnded) {
  TestServer server;
  HttpCall call = flooded(server);
  call.path = "/test/None";
  const auto ended = grpc_stream(call, [](std::string_view) { return Result<void>(); });
  ASSERT_TRUE(ended.ok()) << ended.error().message;
  EXPECT_EQ(ended->code, GrpcCode::kUnimplemented);
}

TEST(Grpc, TheTraceContextReachesTheHandler) {
  TestServer server;
  Client client(server.address());
  grpc::ClientContext context;
  context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  const auto answer = client.unary("/test/Peer", "", context);
  EXPECT_NE(answer.message.find("trace=0af7651916cd43dd8448eb211c80319c sampled=1"), std::string::npos)
      << answer.message;
}

TEST(Grpc, AGracefulStopLetsRunningCallsEnd) {
  TestServer server;
  Client client(server.address());
  Stream stream(client, "/test/Echo");
  ASSERT_TRUE(stream.write("one"));
  ASSERT_EQ(stream.read(), "one");
  std::thread stopping([&] { server.listener->stop(60s); });
  ASSERT_TRUE(stream.write("two"));
  EXPECT_EQ(stream.read(), "two");
  stream.half_close();
  EXPECT_EQ(stream.read(), std::nullopt);
  EXPECT_TRUE(stream.finish().ok());
  stopping.join();
  EXPECT_EQ(server.listener->probe().connections.get(), 0);
  EXPECT_EQ(server.rpc.cancelled, 0);
}

// What a call costs the server is printed, not judged: machines differ.
TEST(Grpc, H2loadsCallsAllComeBack) {
  TestServer server;
  const std::string body = "/tmp/leeward-net-body-" + std::to_string(getpid());
  std::ofstream(body) << std::string("\0\0\0\0\x40", 5) << std::string(64, 'x');
  for (const auto& [clients, streams] : {std::pair(10, 100), std::pair(1, 1)}) {
    const int calls = clients * streams * 10 + 20000;
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const Ran got = run("h2load -n " + std::to_string(calls) + " -c " + std::to_string(clients) + " -m " + std::to_string(streams) + " -d " + body +
                        " -H 'content-type: application/grpc' -H 'te: trailers' http://" + server.address() + "/test/Unary");
    getrusage(RUSAGE_SELF, &after);
    EXPECT_NE(got.output.find(std::to_string(calls) + " succeeded, 0 failed"), std::string::npos) << got.output;
    const auto us = [](const timeval& t) { return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec); };
    const double spent = us(after.ru_utime) + us(after.ru_stime) - us(before.ru_utime) - us(before.ru_stime);
    std::printf("%d clients, %d in flight each: %.1f us of server CPU a call\n", clients, streams, spent / calls);
  }
  std::remove(body.c_str());
}

TEST(GrpcText, TimeoutsAreReadAsWritten) {
  EXPECT_EQ(parse_grpc_timeout("100m"), Duration(100ms));
  EXPECT_EQ(parse_grpc_timeout("1S"), Duration(1s));
  EXPECT_EQ(parse_grpc_timeout("20u"), Duration(20us));
  EXPECT_EQ(parse_grpc_timeout("99999999H"), Duration(std::chrono::hours(24 * 365)));
  for (const char* bad : {"", "1", "S", "123456789S", "-1S", "1.5S", "1x"}) EXPECT_EQ(parse_grpc_timeout(bad), std::nullopt) << bad;
}

TEST(GrpcText, AMessageHasNoSpaceAtItsEnds) {
  EXPECT_EQ(percent_encode(" a b "), "%20a b%20");
  EXPECT_EQ(percent_encode(" "), "%20");
  EXPECT_EQ(percent_encode("100%\n"), "100%25%0A");
}

TEST(GrpcText, OnlyGrpcContentIsGrpc) {
  for (const char* yes : {"application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"}) EXPECT_TRUE(is_grpc_content(yes));
  for (const char* no : {"application/json", "application/grpc-web", "", "application/grp"}) EXPECT_FALSE(is_grpc_content(no));
}

}  // namespace
}  // namespace leeward::net::test
