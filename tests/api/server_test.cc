// The services behind the real listener, driven by real clients: etcdctl,
// grpc++ and plain HTTP. The member applies each command at once.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "harness.h"
#include "net/io_loop.h"
#include "net/server.h"
#include "proto/health.grpc.pb.h"
#include "proto/leeward.grpc.pb.h"
#include "proto/rpc.grpc.pb.h"
#include "real_store.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

class LoopClock final : public Clock {
 public:
  explicit LoopClock(net::IoLoop& loop) : loop_(loop) {}
  Instant now() const override { return loop_.now(); }
  WallTime wall() const override { return {}; }

 private:
  net::IoLoop& loop_;
};

// A program whose output is read line by line. Its own end is forced.
class Program {
 public:
  explicit Program(std::vector<std::string> words) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      setenv("ETCDCTL_API", "3", 1);
      std::vector<char*> argv;
      for (auto& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      execvp(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = fdopen(ends[0], "r");
  }
  ~Program() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    fclose(out_);
  }
  std::string line() {
    char text[4096];
    if (fgets(text, sizeof(text), out_) == nullptr) return "(end)";
    std::string out = text;
    if (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
  }
  // The rest of the output; `code` is how it ended.
  std::string rest(int& code) {
    std::string out;
    char text[4096];
    while (fgets(text, sizeof(text), out_) != nullptr) out += text;
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return out;
  }

 private:
  pid_t pid_ = -1;
  FILE* out_ = nullptr;
};

// etcdctl gives up after 2 s and 5 s of its own, and a machine may pause as long.
const std::string kPatience[] = {"--dial-timeout=30s", "--command-timeout=30s"};

class Server : public ::testing::Test {
 protected:
  Server() : clock(loop) {
    machine = open_state_machine(disk, clock, log);
    node = std::make_unique<FakeNode>(*machine);
    MemberStatus self;
    self.id = NodeId(7);
    self.name = "n7";
    self.role = GroupRole::kPrimary;
    self.state = MemberState::kLeader;
    self.voter = true;
    self.report_age = Duration(0);
    self.peer_address = "127.0.0.1:2380";
    Options options;
    options.insecure = true;
    services = std::make_unique<Services>(Dependencies{*node, clock, log, probe}, options);
    gateway = std::make_unique<Gateway>(*services);
    net::ListenerOptions listen;
    listen.address = "127.0.0.1:0";
    listen.limits.message_bytes = 2_MiB;
    thread = std::thread([this] { loop.run(); });
    auto opened = net::Listener::open(listen, {&loop}, services.get(), gateway.get(), log);
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
    listener = std::move(*opened);
    address = "127.0.0.1:" + std::to_string(listener->port());
    self.client_url = "http://" + address;
    node->info.members = {self};
    channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }
  ~Server() override {
    channel.reset();
    listener->stop(std::chrono::seconds(2));
    loop.stop();
    thread.join();
    listener.reset();
  }

  std::vector<std::string> etcdctl_words(std::vector<std::string> words) const {
    words.insert(words.begin(), {"etcdctl", "--endpoints=" + address, kPatience[0], kPatience[1]});
    return words;
  }
  std::string etcdctl_line() const {
    return "ETCDCTL_API=3 etcdctl --endpoints=" + address + " " + kPatience[0] + " " + kPatience[1] + " ";
  }
  // What etcdctl prints, when it succeeds.
  std::string etcdctl(std::vector<std::string> words, bool succeeds = true) {
    int code = 0;
    const std::string out = Program(etcdctl_words(std::move(words))).rest(code);
    EXPECT_EQ(code == 0, succeeds) << out;
    return out;
  }
  std::string shell(const std::string& command) {
    int code = 0;
    return Program({"bash", "-c", command}).rest(code);
  }

  net::IoLoop loop;
  LoopClock clock;
  NullLog log;
  NoDisk disk;
  ApiProbe probe;
  std::unique_ptr<kv::MvccStateMachine> machine;
  std::unique_ptr<FakeNode> node;
  std::unique_ptr<Services> services;
  std::unique_ptr<Gateway> gateway;
  std::unique_ptr<net::Listener> listener;
  std::thread thread;
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

TEST_F(Server, EtcdctlPutsGetsAndDeletes) {
  EXPECT_EQ(etcdctl({"put", "foo", "bar"}), "OK\n");
  EXPECT_EQ(etcdctl({"get", "foo"}), "foo\nbar\n");
  EXPECT_EQ(etcdctl({"put", "foo", "baz", "--prev-kv"}), "OK\nfoo\nbar\n");
  etcdctl({"put", "fop", "x"});
  EXPECT_EQ(etcdctl({"get", "fo", "--prefix", "--keys-only", "--order=DESCEND"}), "fop\n\nfoo\n\n");
  EXPECT_EQ(etcdctl({"get", "foo", "--rev=2"}), "foo\nbar\n");
  EXPECT_NE(etcdctl({"get", "", "--from-key", "--limit=1", "--write-out=fields"}).find("\"Count\" : 2"),
            std::string::npos);
  EXPECT_EQ(etcdctl({"del", "fo", "--prefix"}), "2\n");
  EXPECT_EQ(etcdctl({"get", "foo"}), "");
}

TEST_F(Server, EtcdctlRunsTransactions) {
  etcdctl({"put", "k", "1"});
  const std::string txn = "printf 'value(\"k\") = \"1\"\\n\\nput k 2\\nget k\\n\\nget k\\n\\n' | " + etcdctl_line() + "txn 2>&1";
  EXPECT_EQ(shell(txn), "SUCCESS\n\nOK\n\nk\n2\n");
  EXPECT_EQ(shell(txn), "FAILURE\n\nk\n2\n");
  const std::string twice = "printf '\\nput k 2\\nput k 3\\n\\n\\n' | " + etcdctl_line() + "txn 2>&1";
  EXPECT_NE(shell(twice).find("etcdserver: duplicate key given in txn request"), std::string::npos);
}

TEST_F(Server, EtcdctlWatchesHistoryAndWhatFollows) {
  etcdctl({"put", "w", "1"});
  etcdctl({"put", "w", "2"});
  Program watch(etcdctl_words({"watch", "w", "--rev=2", "--prev-kv"}));
  for (const std::string line : {"PUT", "w", "1", "PUT", "w", "1", "w", "2"}) EXPECT_EQ(watch.line(), line);
  etcdctl({"del", "w"});
  for (const std::string line : {"DELETE", "w", "2", "w", ""}) EXPECT_EQ(watch.line(), line);
}

TEST_F(Server, EtcdctlIsToldOfCompaction) {
  for (int i = 0; i < 4; ++i) etcdctl({"put", "k", std::to_string(i)});
  EXPECT_EQ(etcdctl({"compact", "4"}), "compacted revision 4\n");
  EXPECT_NE(etcdctl({"get", "k", "--rev=2"}, false).find("etcdserver: mvcc: required revision has been compacted"),
            std::string::npos);
  EXPECT_NE(etcdctl({"compact", "99"}, false).find("etcdserver: mvcc: required revision is a future revision"),
            std::string::npos);
  EXPECT_NE(etcdctl({"watch", "k", "--rev=2"}, false).find("required revision has been compacted"), std::string::npos);
}

TEST_F(Server, EtcdctlGrantsKeepsAndRevokesLeases) {
  const std::string granted = etcdctl({"lease", "grant", "60"});
  ASSERT_EQ(granted.find("lease "), 0u) << granted;
  const std::string id = granted.substr(6, granted.find(' ', 6) - 6);
  etcdctl({"put", "leased", "x", "--lease=" + id});
  const std::string alive = etcdctl({"lease", "timetolive", id, "--keys"});
  EXPECT_NE(alive.find("granted with TTL(60s), remaining(60s), attached keys([leased])"), std::string::npos) << alive;
  EXPECT_NE(etcdctl({"lease", "keep-alive", "--once", id}).find("keepalived with TTL(60)"), std::string::npos);
  EXPECT_NE(etcdctl({"lease", "list"}).find(id), std::string::npos);
  EXPECT_NE(etcdctl({"lease", "revoke", id}).find("revoked"), std::string::npos);
  EXPECT_EQ(etcdctl({"get", "leased"}), "");
  EXPECT_NE(etcdctl({"lease", "revoke", id}, false).find("etcdserver: requested lease not found"), std::string::npos);
  EXPECT_NE(etcdctl({"lease", "timetolive", id}).find("already expired"), std::string::npos);
}

TEST_F(Server, EtcdctlShowsStatusMembersHashAndAlarms) {
  etcdctl({"put", "k", "1"});
  const std::string table = etcdctl({"endpoint", "status", "--write-out=table"});
  EXPECT_NE(table.find("|  7 |  3.5.17 |"), std::string::npos) << table;
  EXPECT_NE(table.find("true |      false |"), std::string::npos) << "the leader, and no learner: " << table;
  EXPECT_NE(etcdctl({"member", "list"}).find("7, started, n7, http://127.0.0.1:2380, http://" + address + ", false"),
            std::string::npos);
  EXPECT_NE(etcdctl({"endpoint", "hashkv"}).find(address + ", "), std::string::npos);
  // etcdctl 3.4 takes the URLs of the list as they are, and sends them as the authority.
  for (const std::string command : {"status", "hashkv", "health"})
    EXPECT_NE(etcdctl({"endpoint", command, "--cluster"}).find("http://" + address), std::string::npos) << command;
  EXPECT_EQ(etcdctl({"alarm", "list"}), "");
  EXPECT_EQ(etcdctl({"alarm", "disarm"}), "");
  node->info.over_quota = {NodeId(7), NodeId(9)};
  EXPECT_EQ(etcdctl({"alarm", "list"}), "memberID:7 alarm:NOSPACE \nmemberID:9 alarm:NOSPACE \n");
  EXPECT_NE(etcdctl({"endpoint", "status", "-w", "json"}).find("memberID:9 alarm:NOSPACE"), std::string::npos);
  EXPECT_EQ(etcdctl({"alarm", "disarm"}), "memberID:7 alarm:NOSPACE \nmemberID:9 alarm:NOSPACE \n");
  EXPECT_EQ(etcdctl({"alarm", "list"}), "");
  EXPECT_NE(etcdctl({"endpoint", "health"}).find("is healthy"), std::string::npos);
}

TEST_F(Server, EtcdctlHearsWhatIsNotBuilt) {
  EXPECT_NE(etcdctl({"user", "add", "u:p"}, false).find("not built yet"), std::string::npos);
  EXPECT_NE(etcdctl({"auth", "enable"}, false).find("etcdserver: root user does not exist"), std::string::npos);
  EXPECT_NE(etcdctl({"member", "add", "n9", "--peer-urls=http://127.0.0.1:9"}, false).find("leewardctl member add"),
            std::string::npos);
}

// etcdctl's own lock and elect run over KV, Watch and Lease.
TEST_F(Server, EtcdctlsLockHoldsAndPasses) {
  Program holder(etcdctl_words({"lock", "mutex"}));
  const std::string key = holder.line();
  EXPECT_EQ(key.find("mutex/"), 0u);
  EXPECT_NE(etcdctl({"get", "mutex/", "--prefix", "--keys-only"}).find(key), std::string::npos);
}

TEST_F(Server, ManyClientsWriteAndReadTheirOwnWrites) {
  const auto stub = KV::NewStub(channel);
  std::vector<std::thread> clients;
  std::atomic<int> wrong{0};
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 200; ++i) {
        grpc::ClientContext put_context, get_context;
        PutRequest put;
        PutResponse stored;
        put.set_key("client" + std::to_string(c));
        put.set_value(std::to_string(i));
        RangeRequest get;
        RangeResponse read;
        get.set_key(put.key());
        if (!stub->Put(&put_context, put, &stored).ok() || !stub->Range(&get_context, get, &read).ok() ||
            read.kvs_size() != 1 || read.kvs(0).value() != put.value() || stored.header().cluster_id() != 0xc0ffee)
          ++wrong;
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(machine->applied().revision, Revision(1601));
  EXPECT_EQ(probe.in_flight.get(), 0);
}

TEST_F(Server, ALargeRangeGoesThroughFlowControl) {
  const auto stub = KV::NewStub(channel);
  for (int i = 0; i < 40; ++i) {
    grpc::ClientContext context;
    PutRequest put;
    PutResponse stored;
    put.set_key("big" + std::to_string(100 + i));
    put.set_value(std::string(1_MiB - 1000, static_cast<char>('a' + i % 26)));
    ASSERT_TRUE(stub->Put(&context, put, &stored).ok());
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto wide = KV::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  RangeRequest get;
  RangeResponse read;
  get.set_key("big");
  get.set_range_end("bih");
  const auto status = wide->Range(&context, get, &read);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(read.kvs_size(), 40);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(read.kvs(i).value(), std::string(1_MiB - 1000, static_cast<char>('a' + i % 26)));
}

TEST_F(Server, WatchersOfOneStreamSeeTheirKeysOnly) {
  const auto kv = KV::NewStub(channel);
  const auto watch = Watch::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = watch->Watch(&context);
  for (int i = 0; i < 100; ++i) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key("key" + std::to_string(i));
    request.mutable_create_request()->set_watch_id(i + 1);
    ASSERT_TRUE(stream->Write(request));
  }
  WatchResponse response;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_TRUE(response.created());
  }
  for (int i = 0; i < 500; ++i) {
    grpc::ClientContext put_context;
    PutRequest put;
    PutResponse stored;
    put.set_key("key" + std::to_string(i % 100));
    ASSERT_TRUE(kv->Put(&put_context, put, &stored).ok());
  }
  int events = 0;
  std::map<std::int64_t, std::int64_t> last;
  while (events < 500) {
    ASSERT_TRUE(stream->Read(&response));
    for (const auto& event : response.events()) {
      EXPECT_EQ(event.kv().key(), "key" + std::to_string(response.watch_id() - 1));
      EXPECT_GT(event.kv().mod_revision(), last[response.watch_id()]);
      last[response.watch_id()] = event.kv().mod_revision();
      ++events;
    }
  }
  context.TryCancel();
  stream->Finish();
}

TEST_F(Server, AnOversizedPutHasEtcdsError) {
  const auto stub = KV::NewStub(channel);
  grpc::ClientContext context;
  PutRequest put;
  PutResponse stored;
  put.set_key("k");
  put.set_value(std::string(1700 * 1024, 'x'));
  const auto status = stub->Put(&context, put, &stored);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "etcdserver: request is too large");
}

TEST_F(Server, GrpcClientsAskForHealthAndStatus) {
  grpc::ClientContext health_context, status_context;
  grpc::health::v1::HealthCheckResponse health;
  ASSERT_TRUE(grpc::health::v1::Health::NewStub(channel)->Check(&health_context, {}, &health).ok());
  EXPECT_EQ(health.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  leeward::v1::ClusterStatusResponse status;
  ASSERT_TRUE(leeward::v1::Operations::NewStub(channel)->ClusterStatus(&status_context, {}, &status).ok());
  EXPECT_EQ(status.leader_id(), 7u);
  EXPECT_EQ(status.members_size(), 1);
}

TEST_F(Server, CurlSpeaksToTheGateway) {
  const auto curl = [&](const std::string& path, const std::string& body) {
    return shell("curl -s -m 60 http://" + address + path + (body.empty() ? "" : " -d '" + body + "'"));
  };
  EXPECT_NE(curl("/v3/kv/put", R"({"key":"Zm9v","value":"YmFy"})").find(R"("revision":"2")"), std::string::npos);
  EXPECT_NE(curl("/v3/kv/range", R"({"key":"Zm9v"})").find(R"("value":"YmFy")"), std::string::npos);
  EXPECT_EQ(curl("/health", ""), "{\"health\":\"true\",\"reason\":\"\"}\n");
  EXPECT_NE(curl("/version", "").find("3.5.17"), std::string::npos);
  Program watch({"curl", "-s", "-N", "http://" + address + "/v3/watch", "-d",
                 R"({"create_request":{"key":"Zm9v","start_revision":2}})"});
  EXPECT_NE(watch.line().find("\"created\":true"), std::string::npos);
  EXPECT_NE(watch.line().find("YmFy"), std::string::npos);
}

}  // namespace
}  // namespace leeward::api::test
