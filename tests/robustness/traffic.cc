// leeward-traffic: clients that write and read at every node and write down
// what they were told; tests/robustness/run judges it.
//
//   leeward-traffic --endpoints A,B,... --record FILE [--seed N] [--writers N] [--reads N] [--think MS] [--keys N]
//
// Each endpoint has one connection with `writers` clients in a closed loop
// (`think` ms between an answer and the next write) and an open loop of `reads`
// reads a second, three linearizable ones to each serializable: they go on
// while the node is paused. One write in eight is a transaction of two puts.
//
// Standard input: `burst` (no thinking), `calm`, `hold` (nothing new; answers
// `held` once every call has ended), `go`. End of input ends the program.
//
// The record, a line a call: kind (w, r: linearizable, s: serializable), node,
// begin, end (ns of CLOCK_MONOTONIC), keys joined by a comma, value, outcome,
// revision of the answer's header, mod revision of what was read. Outcomes: ok;
// cut: the connection went before an answer; refused: the server says that
// nothing was done; maybe: any other error; hung: no answer for kPatience.
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "h2_client.h"
#include "proto/rpc.pb.h"

namespace leeward::robustness {
namespace {

using namespace std::chrono_literals;
using bench::Connection;
using bench::Reply;
using Clock = std::chrono::steady_clock;

// Longer than any server's own limit on a request.
constexpr auto kPatience = 20s;
constexpr auto kReconnectEvery = 20ms;
constexpr std::size_t kMaxReadsUnderWay = 500;

struct Options {
  std::vector<std::string> endpoints;
  std::string record;
  std::uint64_t seed = 1;
  int writers = 8;
  int reads = 20;
  int think_ms = 100;
  std::uint64_t keys = 300;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(stderr,
               "leeward-traffic: %s\nusage: leeward-traffic --endpoints A,B --record FILE [--seed N] [--writers N]"
               " [--reads N] [--think MS] [--keys N]\n",
               what.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) usage(flag + " needs a value");
    const std::string value = argv[i + 1];
    if (flag == "--endpoints") {
      for (std::size_t at = 0; at <= value.size();) {
        const auto comma = std::min(value.find(',', at), value.size());
        o.endpoints.push_back(value.substr(at, comma - at));
        at = comma + 1;
      }
    } else if (flag == "--record") o.record = value;
    else if (flag == "--seed") o.seed = std::stoull(value);
    else if (flag == "--writers") o.writers = std::stoi(value);
    else if (flag == "--reads") o.reads = std::stoi(value);
    else if (flag == "--think") o.think_ms = std::stoi(value);
    else if (flag == "--keys") o.keys = std::stoull(value);
    else usage("unknown flag " + flag);
  }
  if (o.endpoints.empty() || o.record.empty()) usage("--endpoints and --record are needed");
  return o;
}

class Record {
 public:
  explicit Record(const std::string& path) : file_(std::fopen(path.c_str(), "w")) {
    if (file_ == nullptr) throw std::runtime_error("cannot write " + path);
  }
  ~Record() { std::fclose(file_); }
  Record(const Record&) = delete;
  void flush() { std::fflush(file_); }

  struct Call {
    char kind = 'w';
    std::size_t node = 0;
    Clock::time_point begin;
    std::string keys, value;
  };
  void add(const Call& call, const char* outcome, const std::string& value, std::int64_t revision, std::int64_t mod) {
    std::fprintf(file_, "%c\t%zu\t%ld\t%ld\t%s\t%s\t%s\t%ld\t%ld\n", call.kind, call.node,
                 call.begin.time_since_epoch().count(), Clock::now().time_since_epoch().count(), call.keys.c_str(),
                 value.c_str(), outcome, revision, mod);
  }

 private:
  std::FILE* file_;
};

const char* outcome_of(const Reply& reply) {
  constexpr int kResourceExhausted = 8, kUnavailable = 14;
  if (reply.ok()) return "ok";
  if (reply.grpc_status < 0) return "cut";
  const bool timed_out = reply.message.find("request timed out") != std::string::npos ||
                         reply.message.find("request%20timed%20out") != std::string::npos;
  if ((reply.grpc_status == kUnavailable || reply.grpc_status == kResourceExhausted) && !timed_out) return "refused";
  return "maybe";
}

// All clients of one node.
class NodeClients {
 public:
  NodeClients(bench::Loop& loop, const Options& o, Record& record, std::size_t node)
      : loop_(loop), o_(o), record_(record), node_(node), random_(o.seed * 1000 + node),
        next_write_(static_cast<std::size_t>(o.writers)), next_read_(Clock::now()) {}

  void step(bool hold, bool burst) {
    const auto now = Clock::now();
    give_up_on_the_hung(now);
    if (!connection_ || connection_->failed()) {
      if (hold || now < reconnect_at_) return;
      reconnect_at_ = now + kReconnectEvery;
      connection_ = std::make_unique<Connection>(loop_, o_.endpoints[node_]);
    }
    if (hold || !connection_->connected()) return;
    for (std::size_t i = 0; i < next_write_.size(); ++i)
      if (!writing_[i] && (burst || now >= next_write_[i])) write(i);
    if (now - next_read_ > 1s) next_read_ = now;  // a pause is not made up for by a burst
    while (now >= next_read_ && reads_ < kMaxReadsUnderWay) {
      read();
      next_read_ += std::chrono::microseconds(1'000'000 / o_.reads);
    }
  }

  bool idle() const { return under_way_.empty(); }

 private:
  std::uint64_t begin(Record::Call call, std::size_t writer) {
    const std::uint64_t id = ++calls_;
    under_way_.emplace(id, UnderWay{std::move(call), writer});
    return id;
  }

  // The end of a call; nothing when it was given up before.
  void end(std::uint64_t id, const char* outcome, const std::string& value, std::int64_t revision, std::int64_t mod) {
    const auto found = under_way_.find(id);
    if (found == under_way_.end()) return;
    const UnderWay& call = found->second;
    record_.add(call.call, outcome, value, revision, mod);
    if (call.call.kind != 'w') --reads_;
    else {
      writing_[call.writer] = false;
      const auto think = std::chrono::milliseconds(o_.think_ms / 2 + static_cast<int>(random_() % (o_.think_ms + 1)));
      next_write_[call.writer] = Clock::now() + think;
    }
    under_way_.erase(found);
  }

  void give_up_on_the_hung(Clock::time_point now) {
    while (!under_way_.empty() && now - under_way_.begin()->second.call.begin > kPatience)
      end(under_way_.begin()->first, "hung", under_way_.begin()->second.call.value, 0, 0);
  }

  std::string key() { return "k" + std::to_string(random_() % o_.keys); }

  void write(std::size_t writer) {
    writing_[writer] = true;
    const std::string first = key();
    const std::string value = std::to_string(o_.seed) + "." + std::to_string(node_) + "." + std::to_string(calls_ + 1);
    etcdserverpb::PutRequest put;
    put.set_key(first);
    put.set_value(value);
    std::string second = random_() % 8 == 0 ? key() : first;
    const auto id = begin({'w', node_, Clock::now(), first == second ? first : first + "," + second, value}, writer);
    if (first == second) {
      connection_->call("/etcdserverpb.KV/Put", put.SerializeAsString(), [this, id, value](const Reply& reply) {
        etcdserverpb::PutResponse response;
        response.ParseFromString(reply.body);
        end(id, outcome_of(reply), value, response.header().revision(), 0);
      });
      return;
    }
    etcdserverpb::TxnRequest txn;
    *txn.add_success()->mutable_request_put() = put;
    put.set_key(second);
    *txn.add_success()->mutable_request_put() = put;
    connection_->call("/etcdserverpb.KV/Txn", txn.SerializeAsString(), [this, id, value](const Reply& reply) {
      etcdserverpb::TxnResponse response;
      response.ParseFromString(reply.body);
      end(id, outcome_of(reply), value, response.header().revision(), 0);
    });
  }

  void read() {
    ++reads_;
    etcdserverpb::RangeRequest range;
    range.set_key(key());
    range.set_serializable(random_() % 4 == 0);
    const auto id = begin({range.serializable() ? 's' : 'r', node_, Clock::now(), range.key(), {}}, 0);
    connection_->call("/etcdserverpb.KV/Range", range.SerializeAsString(), [this, id](const Reply& reply) {
      etcdserverpb::RangeResponse response;
      response.ParseFromString(reply.body);
      const bool some = response.kvs_size() > 0;
      end(id, outcome_of(reply), some ? response.kvs(0).value() : "", response.header().revision(),
          some ? response.kvs(0).mod_revision() : 0);
    });
  }

  struct UnderWay {
    Record::Call call;
    std::size_t writer = 0;
  };

  bench::Loop& loop_;
  const Options& o_;
  Record& record_;
  std::size_t node_;
  std::mt19937_64 random_;
  std::unique_ptr<Connection> connection_;
  Clock::time_point reconnect_at_;
  std::uint64_t calls_ = 0;
  std::size_t reads_ = 0;
  std::map<std::uint64_t, UnderWay> under_way_;  // oldest first
  std::map<std::size_t, bool> writing_;
  std::vector<Clock::time_point> next_write_;
  Clock::time_point next_read_;
};

// Lines of standard input without waiting for them.
class Commands {
 public:
  // False at the end of input.
  template <class F>
  bool poll(F&& handle) {
    pollfd ready{0, POLLIN, 0};
    while (::poll(&ready, 1, 0) > 0) {
      char bytes[256];
      const ssize_t n = ::read(0, bytes, sizeof bytes);
      if (n <= 0) return false;
      text_.append(bytes, static_cast<std::size_t>(n));
      for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1))
        handle(text_.substr(0, end));
    }
    return true;
  }

 private:
  std::string text_;
};

void run(const Options& o) {
  bench::Loop loop;
  Record record(o.record);
  std::vector<std::unique_ptr<NodeClients>> clients;
  for (std::size_t i = 0; i < o.endpoints.size(); ++i)
    clients.push_back(std::make_unique<NodeClients>(loop, o, record, i));
  bool burst = false, hold = false, told = false;
  Commands commands;
  while (commands.poll([&](const std::string& line) {
    if (line == "burst") burst = true;
    else if (line == "calm") burst = false;
    else if (line == "hold") hold = true, told = false;
    else if (line == "go") hold = false;
    else usage("unknown command " + line);
  })) {
    bool idle = true;
    for (auto& c : clients) {
      c->step(hold, burst);
      idle = idle && c->idle();
    }
    loop.turn(1ms);
    record.flush();
    if (hold && idle && !told) {
      told = true;
      std::puts("held");
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace leeward::robustness

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    leeward::robustness::run(leeward::robustness::parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "leeward-traffic: %s\n", error.what());
    return 1;
  }
}
