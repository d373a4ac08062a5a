// TLS with certificates that openssl makes: by grpc++, curl and peers.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <sstream>

#include "net/http_client.h"
#include "net/peer_transport.h"
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>

#include "support.h"

namespace leeward::net::test {
namespace {

Certificates& certificates() {
  static Certificates made;
  static const bool once = [] {
    made.make("server", "server", "IP:127.0.0.1,DNS:localhost");
    made.make("client", "ops", "");
    made.make("expired", "expired", "IP:127.0.0.1", 0);
    made.make("elsewhere", "elsewhere", "DNS:elsewhere.example");
    made.make("stranger", "stranger", "IP:127.0.0.1", 2, "other");
    made.make("node1", "node-1", "IP:127.0.0.1");
    made.make("node2", "node-2", "IP:127.0.0.1");
    made.make("away", "node-9", "IP:10.9.9.9");
    return true;
  }();
  (void)once;
  return made;
}

std::string file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The first look that finds another certificate or a fault; false: none did.
Result<bool> reload_within(Duration time, Tls& tls) {
  for (Duration waited{}; waited < time; waited += 100ms) {
    std::this_thread::sleep_for(100ms);
    auto looked = tls.reload_if_changed();
    if (!looked.ok() || *looked) return looked;
  }
  return false;
}

TEST(TlsFiles, OneThatIsMissingIsNamedWithTheCauseAndWhatToDo) {
  for (auto key : {&TlsOptions::cert, &TlsOptions::ca}) {
    auto options = certificates().options("server", ClientAuth::kRequire);
    options.*key = "/nope";
    const auto made = Tls::server(options);
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.error().message.find("/nope: No such file or directory; see that"), std::string::npos) << made.error().message;
  }
}

std::shared_ptr<Tls> server_tls(const std::string& name, ClientAuth auth = ClientAuth::kNone) {
  auto made = Tls::server(certificates().options(name, auth));
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
  return made.ok() ? *made : nullptr;
}

std::unique_ptr<TestServer> tls_server(std::shared_ptr<Tls> tls) {
  return std::make_unique<TestServer>([&](ListenerOptions& o) { o.tls = tls; });
}

grpc::Status grpc_call(const std::string& address, const std::string& client, std::string* reply = nullptr) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = file(certificates().ca());
  if (!client.empty()) {
    options.pem_cert_chain = file(certificates().path(client + ".pem"));
    options.pem_private_key = file(certificates().path(client + ".key"));
  }
  grpc::GenericStub stub(grpc::CreateChannel(address, grpc::SslCredentials(options)));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  grpc::CompletionQueue queue;
  grpc::Slice slice("x");
  const grpc::ByteBuffer request(&slice, 1);
  auto call = stub.PrepareUnaryCall(&context, "/test/Peer", request, &queue);
  call->StartCall();
  grpc::ByteBuffer answer;
  grpc::Status status;
  call->Finish(&answer, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  std::vector<grpc::Slice> slices;
  if (reply && status.ok() && answer.Dump(&slices).ok())
    for (const auto& s : slices) reply->append(reinterpret_cast<const char*>(s.begin()), s.size());
  return status;
}

TEST(Tls, GrpcWithAClientCertificateNamesTheCaller) {
  const auto server = tls_server(server_tls("server", ClientAuth::kRequire));
  std::string who;
  const auto status = grpc_call(server->address(), "client", &who);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(who.starts_with("cn=ops tls=1")) << who;
  EXPECT_FALSE(grpc_call(server->address(), "").ok());
  EXPECT_TRUE(server->log.wait_for("showed no certificate")) << server->log.all();
}

TEST(Tls, AnOptionalCertificateMayBeMissingButNotWrong) {
  const auto server = tls_server(server_tls("server", ClientAuth::kOptional));
  std::string who;
  ASSERT_TRUE(grpc_call(server->address(), "", &who).ok());
  EXPECT_TRUE(who.starts_with("cn= tls=1")) << who;
  EXPECT_FALSE(grpc_call(server->address(), "stranger").ok());
  EXPECT_TRUE(server->log.wait_for("certificate is refused")) << server->log.all();
}

TEST(Tls, CurlSpeaksBothVersionsWithAndWithoutAlpn) {
  const auto server = tls_server(server_tls("server"));
  const std::string curl = "curl -sS -m 60 --cacert " + certificates().ca() + " https://" + server->address() + "/";
  for (const char* flags : {"--http1.1", "--http2", "--no-alpn --http1.1", "--tlsv1.3", "--tls-max 1.2"}) {
    EXPECT_EQ(run(curl + "hello?tls " + flags).output, "hello tls\n") << flags;
    EXPECT_EQ(run(curl + "big " + flags + " | wc -c").output, "8388608\n") << flags;
  }
  EXPECT_EQ(run(curl + "hello?x -o /dev/null -w '%{http_version}'").output, "2");
  // At the lowest security level, else the client itself would not offer it.
  const auto old = run("openssl s_client -tls1_1 -cipher ALL:@SECLEVEL=0 -connect " + server->address() + " </dev/null 2>&1");
  EXPECT_NE(old.output.find("SSL alert number 70"), std::string::npos) << old.output;
}

TEST(Tls, PlainTextToATlsPortIsToldSo) {
  const auto server = tls_server(server_tls("server"));
  EXPECT_NE(run("curl -sS http://" + server->address() + "/hello").output.find("this port speaks TLS"), std::string::npos);
  EXPECT_TRUE(server->log.wait_for("does not speak TLS"));
  RawClient h2(server->listener->port());
  h2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT_TRUE(h2.closed());
}

TEST(Tls, GarbageWithinTheHandshakeEndsThatConnectionOnly) {
  const auto server = tls_server(server_tls("server"));
  for (const std::string& input : {std::string("\x16\x03\x01\x00\x05xxxxx", 10), std::string("\x16\x03\x01\xff\xff", 5) + std::string(70000, 'x'),
                                  std::string("\x16"), std::string(100, '\x16')}) {
    RawClient raw(server->listener->port());
    raw.try_send(input);
    const bool complete = input.size() > 1;
    EXPECT_TRUE(!complete || raw.closed());
  }
  EXPECT_TRUE(grpc_call(server->address(), "").ok());
}

TEST(Tls, OurClientNamesWhatIsWrongWithACertificate) {
  const struct {
    const char* server;
    const char* text;
  } cases[] = {{"expired", "expired"}, {"elsewhere", "it does not name 127.0.0.1"}, {"stranger", "unable to get local issuer certificate"}};
  for (const auto& c : cases) {
    const auto server = tls_server(server_tls(c.server));
    HttpCall call;
    call.endpoint = "https://" + server->address();
    call.path = "/hello";
    call.tls = TlsOptions{"", "", certificates().ca(), ClientAuth::kNone, "1.2"};
    const auto answer = http_request(call);
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, Code::kPermission);
    EXPECT_NE(answer.error().message.find(c.text), std::string::npos) << answer.error().message;
    EXPECT_TRUE(server->log.wait_for("refused our certificate")) << server->log.all();
  }
}

TEST(Tls, OurClientSpeaksTlsToTlsOnly) {
  HttpCall call;
  call.path = "/hello?x";
  call.tls = TlsOptions{certificates().path("client.pem"), certificates().path("client.key"), certificates().ca(), ClientAuth::kNone, "1.2"};
  const auto server = tls_server(server_tls("server", ClientAuth::kRequire));
  call.endpoint = "https://" + server->address();
  const auto answer = http_request(call);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body.view(), "hello x\n");
  TestServer plain;
  call.endpoint = "https://" + plain.address();
  EXPECT_EQ(http_request(call).error().code, Code::kInvalid) << http_request(call).error().message;
  call.endpoint = "https://" + server->address();
  call.tls->cert.clear();
  call.tls->key.clear();
  const auto refused = http_request(call);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kPermission) << refused.error().message;
}

TEST(Tls, AReloadServesTheNewCertificateAndKeepsConnections) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok());
  const auto server = tls_server(*tls);
  const auto subject = [&] {
    return run("openssl s_client -connect " + server->address() + " </dev/null 2>/dev/null | openssl x509 -noout -subject").output;
  };
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = file(own.ca());
  const auto channel = grpc::CreateChannel(server->address(), grpc::SslCredentials(options));
  ASSERT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(60)));
  EXPECT_NE(subject().find("first"), std::string::npos);
  EXPECT_FALSE((*tls)->reload_if_changed().value());

  own.make("live", "second", "IP:127.0.0.1");
  const auto changed = (*tls)->reload_if_changed();
  ASSERT_TRUE(changed.ok()) << changed.error().message;
  EXPECT_TRUE(*changed);
  EXPECT_NE(subject().find("second"), std::string::npos);
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);

  std::ofstream(own.path("live.pem")) << "no certificate";
  const auto bad = (*tls)->reload_if_changed();
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find("live.pem"), std::string::npos) << bad.error().message;
  EXPECT_NE(subject().find("second"), std::string::npos);
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_READY);
  EXPECT_FALSE((*tls)->reload_if_changed().value()) << "a bad file is reported once";
}

TEST(Tls, OneThatHasExpiredDoesNotTakeThePlaceOfOneThatHasNot) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok());
  const auto expires = (*tls)->expires();
  own.make("live", "second", "IP:127.0.0.1", 0);
  const auto changed = (*tls)->reload_if_changed();
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.error().message.find("live.pem has expired, at 20"), std::string::npos) << changed.error().message;
  EXPECT_EQ((*tls)->expires(), expires);
  own.make("live", "third", "IP:127.0.0.1");
  EXPECT_TRUE((*tls)->reload_if_changed().value());
}

TEST(Tls, OneThatHasExpiredIsUsedAndSaidToHave) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1", 0);
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  EXPECT_NE((*tls)->fault_now().find("live.pem has expired, at 20"), std::string::npos) << (*tls)->fault_now();
  EXPECT_TRUE((*tls)->reload().ok()) << "there is no better one";
  EXPECT_NE((*tls)->fault_now(), "");
  own.make("live", "second", "IP:127.0.0.1");
  EXPECT_TRUE((*tls)->reload().ok());
  EXPECT_EQ((*tls)->fault_now(), "");
  auto dials = Tls::client({.ca = own.ca()});
  ASSERT_TRUE(dials.ok());
  EXPECT_EQ((*dials)->fault_now(), "") << "it has none";
}

std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(const std::string& path, const char* mode) {
  std::FILE* file = std::fopen(path.c_str(), mode);
  EXPECT_NE(file, nullptr) << path;
  return {file, std::fclose};
}

std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(const std::string& path) {
  return {PEM_read_PrivateKey(opened(path, "r").get(), nullptr, nullptr, nullptr), EVP_PKEY_free};
}

std::unique_ptr<X509, void (*)(X509*)> certificate(const std::string& path) {
  return {PEM_read_X509(opened(path, "r").get(), nullptr, nullptr, nullptr), X509_free};
}

// NAME.pem begins, or ends, in so many seconds, which the openssl command cannot say of one.
void date(const Certificates& own, const std::string& name, ASN1_TIME* (*bound)(const X509*), long seconds) {
  const auto ca_key = key(own.path("ca.key"));
  const auto dated = certificate(own.path(name + ".pem"));
  X509_gmtime_adj(bound(dated.get()), seconds);
  ASSERT_GT(X509_sign(dated.get(), ca_key.get(), EVP_sha256()), 0);
  PEM_write_X509(opened(own.path(name + ".pem"), "w").get(), dated.get());
}
void begins(const Certificates& own, const std::string& name, long seconds) { date(own, name, X509_getm_notBefore, seconds); }
void ends(const Certificates& own, const std::string& name, long seconds) { date(own, name, X509_getm_notAfter, seconds); }

TEST(Tls, OneThatIsNotValidYetTakesThePlaceOfOneThatIsWhenItIs) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok());
  own.make("live", "second", "IP:127.0.0.1", 3);
  begins(own, "live", 3600);
  const auto expires = (*tls)->expires();
  const auto changed = (*tls)->reload_if_changed();
  ASSERT_FALSE(changed.ok()) << "every client would refuse it";
  EXPECT_NE(changed.error().message.find("live.pem is not valid before 20"), std::string::npos) << changed.error().message;
  EXPECT_EQ((*tls)->expires(), expires);
  EXPECT_EQ((*tls)->fault_now(), "") << "the old one is in use";
  EXPECT_FALSE((*tls)->reload_if_changed().value()) << "told once";

  const auto written = std::chrono::steady_clock::now();
  begins(own, "live", 3);
  const auto early = (*tls)->reload_if_changed();
  bool taken = early.ok() && *early;  // when the machine stood still until then
  EXPECT_TRUE(!early.ok() || (taken && std::chrono::steady_clock::now() - written > 1900ms));
  if (!taken) {
    const auto later = reload_within(60s, **tls);
    ASSERT_TRUE(later.ok()) << later.error().message;
    taken = *later;
  }
  EXPECT_TRUE(taken) << "nobody has to say it again";
  EXPECT_GT((*tls)->expires(), expires);
}

// A new certificate with an old one above it in its file, a cross-signed root say: better than none.
TEST(Tls, OneThatWasRefusedAsExpiredTakesThePlaceOfOneThatHasExpiredSince) {
  Certificates own;
  own.make("next", "next", "IP:127.0.0.1");
  own.make("above", "above", "", 0);
  own.make("live", "first", "IP:127.0.0.1");
  ends(own, "live", 5);
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  std::ofstream(own.path("live.pem")) << file(own.path("next.pem")) << file(own.path("above.pem"));
  std::ofstream(own.path("live.key")) << file(own.path("next.key"));
  const auto changed = (*tls)->reload_if_changed();
  ASSERT_FALSE(changed.ok());
  EXPECT_EQ((*tls)->fault_now(), "") << "the old one is in use";
  EXPECT_FALSE((*tls)->reload_if_changed().value()) << "told once";

  const auto taken = reload_within(10s, **tls);
  ASSERT_TRUE(taken.ok()) << taken.error().message;
  EXPECT_TRUE(*taken) << "nobody has to say it again";
  EXPECT_EQ((*tls)->fault_now(), changed.error().message);
  EXPECT_FALSE((*tls)->reload_if_changed().value());
}

// It could not be read: who may is no change of its contents, nor of its time.
TEST(Tls, AFileWhoseOwnerOrModeIsSetIsReadAgain) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  EXPECT_FALSE((*tls)->reload_if_changed().value());
  ASSERT_EQ(chmod(own.path("live.key").c_str(), 0440), 0);
  EXPECT_TRUE((*tls)->reload_if_changed().value());
  EXPECT_FALSE((*tls)->reload_if_changed().value());
}

TEST(Tls, WhatCannotBeReadIsTriedAgainWhenTheOneInUseHasExpired) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  ends(own, "live", 5);
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  std::ofstream(own.path("live.pem")) << "no certificate";
  ASSERT_FALSE((*tls)->reload_if_changed().ok());
  EXPECT_FALSE((*tls)->reload_if_changed().value()) << "told once";
  EXPECT_FALSE(reload_within(20s, **tls).ok());
}

TEST(Tls, OneThatIsNotValidYetIsUsedAtAStartAndSaidToBe) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  begins(own, "live", 3600);
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  EXPECT_NE((*tls)->fault_now().find("live.pem is not valid before 20"), std::string::npos) << (*tls)->fault_now();
  EXPECT_TRUE((*tls)->reload().ok()) << "there is no better one";
}

TEST(Tls, TheOnesAboveItInTheFileCountToo) {
  Certificates own;
  own.make("live", "first", "IP:127.0.0.1");
  own.make("above", "above", "", 1);
  const auto with_the_one_above = [&] {
    const std::string chain = file(own.path("live.pem")) + file(own.path("above.pem"));
    std::ofstream(own.path("live.pem")) << chain;
  };
  with_the_one_above();
  auto tls = Tls::server(own.options("live"));
  ASSERT_TRUE(tls.ok()) << tls.error().message;
  const auto left = (*tls)->expires() - std::chrono::system_clock::now();
  EXPECT_LT(left, std::chrono::hours(25)) << "the first that ends";
  EXPECT_EQ((*tls)->fault_now(), "");

  own.make("live", "second", "IP:127.0.0.1");
  own.make("above", "above", "", 0);
  with_the_one_above();
  const auto changed = (*tls)->reload_if_changed();
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.error().message.find("live.pem: the certificate of /CN=above in it has expired, at 20"), std::string::npos)
      << changed.error().message;
  EXPECT_EQ((*tls)->fault_now(), "");
  auto begun = Tls::server(own.options("live"));
  ASSERT_TRUE(begun.ok()) << begun.error().message;
  EXPECT_EQ((*begun)->fault_now(), changed.error().message);

  own.make("above", "above", "");
  begins(own, "above", 3600);
  own.make("live", "third", "IP:127.0.0.1");
  with_the_one_above();
  const auto early = (*tls)->reload_if_changed();
  ASSERT_FALSE(early.ok());
  EXPECT_NE(early.error().message.find("/CN=above in it is not valid before 20"), std::string::npos) << early.error().message;
}

// NAME.pem with the client's key, signed by the CA, whose common name may hold any byte.
void sign(const std::string& name, std::string_view common_name) {
  const auto own = key(certificates().path("client.key")), ca_key = key(certificates().path("ca.key"));
  const auto ca = certificate(certificates().ca());
  const std::unique_ptr<X509, void (*)(X509*)> made(X509_new(), X509_free);
  X509_set_version(made.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 4711);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_issuer_name(made.get(), X509_get_subject_name(ca.get()));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.data()), static_cast<int>(common_name.size()), -1, 0);
  X509_set_pubkey(made.get(), own.get());
  ASSERT_GT(X509_sign(made.get(), ca_key.get(), EVP_sha256()), 0);
  PEM_write_X509(opened(certificates().path(name + ".pem"), "w").get(), made.get());
  std::filesystem::copy_file(certificates().path("client.key"), certificates().path(name + ".key"),
                             std::filesystem::copy_options::overwrite_existing);
}

// A C string would end at the NUL, and be an operator's.
TEST(Tls, ACommonNameWithANulInItIsNobodys) {
  const auto server = tls_server(server_tls("server", ClientAuth::kRequire));
  std::string reply;
  sign("whole", "ops");
  ASSERT_TRUE(grpc_call(server->address(), "whole", &reply).ok());
  EXPECT_TRUE(reply.starts_with("cn=ops tls=1")) << reply;
  reply.clear();
  sign("cut", std::string_view("ops\0evil", 8));
  ASSERT_TRUE(grpc_call(server->address(), "cut", &reply).ok());
  EXPECT_TRUE(reply.starts_with("cn= tls=1")) << reply;
}

TEST(Tls, OptionsThatCannotWorkAreRefused) {
  const auto good = certificates().options("server");
  auto options = good;
  options.key = certificates().path("client.key");
  EXPECT_FALSE(Tls::server(options).ok());
  options = good, options.cert = "/nowhere.pem";
  EXPECT_NE(Tls::server(options).error().message.find("/nowhere.pem"), std::string::npos);
  options = good, options.ca.clear(), options.client_auth = ClientAuth::kRequire;
  EXPECT_FALSE(Tls::server(options).ok());
  options = good, options.min_version = "1.1";
  EXPECT_FALSE(Tls::server(options).ok());
  EXPECT_GT((*Tls::server(good))->expires(), WallTime(std::chrono::system_clock::now()));
}

TEST(Tls, ManyConnectionsHoldLittleMemory) {
  TestServer server([](ListenerOptions& o) {
    o.tls = server_tls("server");
    o.limits.handshake_timeout = 60s;  // a hundred at once
  });
  const Ran got = run("h2load -n 2000 -c 100 -m 10 https://" + server.address() + "/hello");
  EXPECT_NE(got.output.find("2000 succeeded, 0 failed"), std::string::npos) << got.output;
}

struct TlsNode {
  TlsNode(unsigned id, std::shared_ptr<Tls> tls) {
    PeerTransportOptions options;
    options.address = "127.0.0.1:0";
    options.cluster = "test";
    options.self = NodeId(id);
    options.tls = std::move(tls);
    options.handshake_timeout = 30s;  // what waits for one that fails is dropped
    options.retry_first = 5ms;
    options.retry_most = 50ms;
    transport = std::move(*PeerTransport::open(std::move(options), io.loop(), core.loop(), log));
    core.loop().post([this] {
      transport->set_handler([this](NodeId, Lane, Bytes) { ++frames; });
    });
  }
  ~TlsNode() { transport->close(); }  // what is posted to the core loop still finds it
  void dial(unsigned id, std::uint16_t port) {
    core.loop().post([=, this] {
      transport->set_peers({{NodeId(id), "127.0.0.1:" + std::to_string(port)}});
      transport->send(NodeId(id), Lane::kConsensus, {Bytes(std::string(100000, 'x'))});
    });
  }
  MemoryLog log;
  IoThread io, core;
  std::atomic<int> frames{0};
  std::unique_ptr<PeerTransport> transport;
};

TEST(PeerTls, NodesOfOneAuthorityTalk) {
  TlsNode a(1, server_tls("node1", ClientAuth::kRequire)), b(2, server_tls("node2", ClientAuth::kRequire));
  b.dial(1, a.transport->port());
  EXPECT_TRUE(eventually([&] { return a.frames == 1; })) << a.log.all() << b.log.all();
}

TEST(PeerTls, ACertificateOfAnotherAuthorityNameOrTimeIsRefused) {
  const struct {
    const char* acceptor;
    const char* text;
  } cases[] = {{"expired", "expired"}, {"elsewhere", "it does not name 127.0.0.1"}, {"stranger", "unable to get local issuer"}};
  for (const auto& c : cases) {
    TlsNode a(1, server_tls("node1", ClientAuth::kRequire)), b(2, server_tls(c.acceptor, ClientAuth::kRequire));
    a.dial(2, b.transport->port());
    EXPECT_TRUE(a.log.wait_for(c.text)) << a.log.all();
    EXPECT_EQ(b.frames, 0);
  }
  TlsNode a(1, server_tls("node1", ClientAuth::kRequire)), plain(2, nullptr);
  plain.dial(1, a.transport->port());
  EXPECT_TRUE(a.log.wait_for("does not speak TLS")) << a.log.all();
  a.dial(2, plain.transport->port());
  EXPECT_TRUE(plain.log.wait_for("speaks TLS and this port does not")) << plain.log.all();
  EXPECT_TRUE(a.log.wait_for(", it may speak no TLS")) << a.log.all();
}

TEST(PeerTls, ANodeMayOnlyCallItselfWhatItsCertificateSays) {
  TlsNode a(1, server_tls("node1", ClientAuth::kRequire)), liar(2, server_tls("away", ClientAuth::kRequire));
  a.dial(2, liar.transport->port());  // so that a knows where node 2 stands
  liar.dial(1, a.transport->port());
  EXPECT_TRUE(a.log.wait_for("names neither 127.0.0.1 nor node-2")) << a.log.all();
  EXPECT_EQ(a.frames, 0);
}

}  // namespace
}  // namespace leeward::net::test
