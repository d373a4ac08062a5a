// leeward-bench: a load generator for any server of the etcd v3 API.
//
//   put | get | txn     closed loop: --inflight calls at any time
//   range               reads all keys under --prefix at once, --total times
//   watch               --watchers watch one key while it is written
//   load                puts `key<TAB>value` lines of standard input
//   steady              open loop: --rate puts a second, every outcome recorded in --record;
//                       values of --value-size bytes, or short ones without it
//   lag                 --rate puts a second at the first endpoint: how much later a watch at the
//                       last one tells each than a watch at the first, by the one clock here
//   history             prints every event from revision --from to now: `revision<TAB>key<TAB>value`
//
// One thread. Prints a table or, with -o json, one JSON object.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include "h2_client.h"
#include "proto/rpc.pb.h"

namespace leeward::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string workload;
  std::vector<std::string> endpoints{"127.0.0.1:2379"};
  int connections = 1;
  int inflight = 1;
  std::uint64_t total = 10000;
  double seconds = 0;  // > 0: for so long instead of `total`
  std::optional<std::size_t> value_size;
  std::uint64_t keys = 10000;
  std::string prefix = "bench/";
  bool serializable = false;
  int watchers = 100;
  double rate = 1000;
  std::string record;
  std::int64_t from = 1;
  bool json = false;
  bool progress = isatty(2);
  std::uint64_t seed = 1;
  double timeout_s = 5;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(stderr,
               "leeward-bench: %s\n"
               "usage: leeward-bench put|get|txn|range|watch|load|steady|lag|history [--endpoints A,B] [--connections N]\n"
               "  [--inflight N] [--total N | --seconds S] [--value-size BYTES] [--keys N] [--prefix P]\n"
               "  [--serializable] [--watchers N] [--rate N] [--record FILE] [--seed N] [-o json|table]\n",
               what.c_str());
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options o;
  if (argc < 2) usage("name a workload");
  o.workload = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--serializable") { o.serializable = true; continue; }
    if (flag == "--quiet") { o.progress = false; continue; }
    if (i + 1 >= argc) usage(flag + " needs a value or is unknown");
    const std::string value = argv[++i];
    try {
      if (flag == "--endpoints") {
        o.endpoints.clear();
        for (std::size_t at = 0; at <= value.size();) {
          const auto comma = std::min(value.find(',', at), value.size());
          o.endpoints.push_back(value.substr(at, comma - at));
          at = comma + 1;
        }
      } else if (flag == "--connections") o.connections = std::stoi(value);
      else if (flag == "--inflight") o.inflight = std::stoi(value);
      else if (flag == "--total") o.total = std::stoull(value);
      else if (flag == "--seconds") o.seconds = std::stod(value);
      else if (flag == "--value-size") o.value_size = std::stoul(value);
      else if (flag == "--keys") o.keys = std::stoull(value);
      else if (flag == "--prefix") o.prefix = value;
      else if (flag == "--watchers") o.watchers = std::stoi(value);
      else if (flag == "--rate") o.rate = std::stod(value);
      else if (flag == "--record") o.record = value;
      else if (flag == "--from") o.from = std::stoll(value);
      else if (flag == "--seed") o.seed = std::stoull(value);
      else if (flag == "--timeout") o.timeout_s = std::stod(value);
      else if (flag == "-o") o.json = value == "json";
      else usage("unknown flag " + flag);
    } catch (const std::logic_error&) {
      usage("not a number: " + flag + " " + value);
    }
  }
  if (o.connections < 1 || o.inflight < 1 || o.keys < 1 || o.rate <= 0) usage("counts and rates start at 1");
  return o;
}

class Latencies {
 public:
  void add(Clock::duration d) { us_.push_back(static_cast<float>(std::chrono::duration<double, std::micro>(d).count())); }
  std::size_t count() const { return us_.size(); }
  double percentile_ms(double p) {
    if (us_.empty()) return 0;
    std::sort(us_.begin(), us_.end());
    return us_[std::min(us_.size() - 1, static_cast<std::size_t>(p * static_cast<double>(us_.size())))] / 1000.0;
  }

 private:
  std::vector<float> us_;
};

struct Report {
  std::uint64_t done = 0, errors = 0;
  std::uint64_t moved = 0;  // repeated at another endpoint
  double seconds = 0;
  Latencies latencies;
  std::uint64_t bytes = 0;
  std::map<std::string, std::uint64_t> error_texts;
};

void print(const Options& o, Report& r) {
  const double rate = r.seconds > 0 ? static_cast<double>(r.done) / r.seconds : 0;
  const double p50 = r.latencies.percentile_ms(0.5), p99 = r.latencies.percentile_ms(0.99);
  const double max = r.latencies.percentile_ms(1.0);
  if (o.json) {
    fmt::print("{{\"workload\":\"{}\",\"done\":{},\"errors\":{},\"seconds\":{:.3f},\"per_second\":{:.1f},"
               "\"p50_ms\":{:.3f},\"p99_ms\":{:.3f},\"max_ms\":{:.3f},\"response_bytes\":{},\"moved\":{}}}\n",
               o.workload, r.done, r.errors, r.seconds, rate, p50, p99, max, r.bytes, r.moved);
  } else {
    fmt::print("{:<8} {:>9} done {:>6} errors {:>8.2f} s {:>10.1f} /s  p50 {:.3f} ms  p99 {:.3f} ms  max {:.3f} ms\n",
               o.workload, r.done, r.errors, r.seconds, rate, p50, p99, max);
  }
  for (const auto& [text, count] : r.error_texts) std::fprintf(stderr, "  %lu x %s\n", count, text.c_str());
}

volatile std::sig_atomic_t stop_asked = 0;

// Connections over the endpoints in turn; a lost one is made anew at the next.
class Pool {
 public:
  Pool(Loop& loop, const Options& o) : loop_(loop), o_(o) {
    for (int i = 0; i < o.connections; ++i) members_.push_back({make(i), static_cast<std::size_t>(i), {}});
  }
  // nullptr while none is usable.
  Connection* next() {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      auto& m = members_[at_++ % members_.size()];
      if (m.connection->failed() && m.connection->in_flight() == 0 && Clock::now() >= m.retry_at) {
        m.endpoint += 1;
        m.connection = make(m.endpoint);
        m.retry_at = Clock::now() + 50ms;
      }
      if (!m.connection->failed()) return m.connection.get();
    }
    return nullptr;
  }
  // The next one behind it; nullptr likewise.
  Connection* after(const Connection* connection) {
    for (std::size_t i = 0; i < members_.size(); ++i)
      if (members_[i].connection.get() == connection)
        for (std::size_t step = 1; step < members_.size(); ++step)
          if (auto& m = members_[(i + step) % members_.size()]; !m.connection->failed()) return m.connection.get();
    return next();
  }
  // The server at the other end can not serve now: use another endpoint.
  void leave(const Connection* connection) {
    for (auto& m : members_)
      if (m.connection.get() == connection && o_.endpoints.size() > 1 && m.connection->in_flight() == 0) {
        m.endpoint += 1;
        m.connection = make(m.endpoint);
      }
  }

 private:
  std::unique_ptr<Connection> make(std::size_t endpoint) {
    return std::make_unique<Connection>(loop_, o_.endpoints[endpoint % o_.endpoints.size()]);
  }
  struct Member {
    std::unique_ptr<Connection> connection;
    std::size_t endpoint;
    Clock::time_point retry_at;
  };
  Loop& loop_;
  const Options& o_;
  std::vector<Member> members_;
  std::size_t at_ = 0;
};

std::string key_at(const Options& o, std::uint64_t i) { return fmt::format("{}{:010}", o.prefix, i); }

std::string value_of(const Options& o, std::uint64_t i) {
  std::string v = fmt::format("{:016x}", i * 0x9e3779b97f4a7c15ull);
  v.resize(o.value_size.value_or(256), 'v');
  return v;
}

// Unique in its record, and so never cut short.
std::string steady_value(const Options& o, std::uint64_t i) {
  std::string v = fmt::format("{}-{}-{}", o.seed, i, getpid());
  if (o.value_size.value_or(0) > v.size()) v += '-', v.resize(*o.value_size, 'v');
  return v;
}

std::string put_request(std::string key, std::string value) {
  etcdserverpb::PutRequest request;
  request.set_key(std::move(key));
  request.set_value(std::move(value));
  return request.SerializeAsString();
}

std::string range_request(const Options& o, std::string key) {
  etcdserverpb::RangeRequest request;
  request.set_key(std::move(key));
  request.set_serializable(o.serializable);
  return request.SerializeAsString();
}

std::string prefix_end(std::string prefix) {
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

void show_progress(const Options& o, const Report& r, Clock::time_point started, Clock::time_point& shown) {
  if (!o.progress || Clock::now() - shown < 500ms) return;
  shown = Clock::now();
  const double s = std::chrono::duration<double>(shown - started).count();
  std::fprintf(stderr, "\r%s: %lu done, %lu errors, %.0f /s ", o.workload.c_str(), r.done, r.errors,
               static_cast<double>(r.done) / s);
}

// Keeps `inflight` calls under way until `total` or the time is up.
Report closed_loop(const Options& o, std::string_view path, std::function<std::string(std::uint64_t)> make) {
  Loop loop;
  Pool pool(loop, o);
  Report r;
  std::uint64_t sent = 0, in_flight = 0;
  const auto started = Clock::now();
  auto shown = started;
  const auto ends = started + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(o.seconds));
  const auto more = [&] { return !stop_asked && (o.seconds > 0 ? Clock::now() < ends : sent < o.total); };
  auto last_answer = started;
  while (more() || in_flight > 0) {
    while (in_flight < static_cast<std::uint64_t>(o.inflight) && more()) {
      Connection* connection = pool.next();
      if (connection == nullptr) break;
      const auto begun = Clock::now();
      ++in_flight;
      connection->call(path, make(sent++), [&, begun](const Reply& reply) {
        --in_flight;
        last_answer = Clock::now();
        if (reply.ok()) {
          ++r.done;
          r.bytes += reply.body.size();
          r.latencies.add(last_answer - begun);
        } else {
          ++r.errors;
          ++r.error_texts[reply.grpc_status < 0 ? "connection lost" : reply.message];
        }
      });
    }
    loop.turn(10ms);
    show_progress(o, r, started, shown);
    if (Clock::now() - last_answer > 30s) {
      ++r.error_texts["no answer for 30 s"];
      r.errors += in_flight + 1;
      break;
    }
  }
  r.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  if (o.progress) std::fprintf(stderr, "\r\033[K");
  return r;
}

Report run_put(const Options& o) {
  std::mt19937_64 random(o.seed);
  return closed_loop(o, "/etcdserverpb.KV/Put", [&o, &random](std::uint64_t i) mutable {
    return put_request(key_at(o, random() % o.keys), value_of(o, i));
  });
}

Report run_get(const Options& o) {
  std::mt19937_64 random(o.seed);
  return closed_loop(o, "/etcdserverpb.KV/Range",
                     [&o, &random](std::uint64_t) mutable { return range_request(o, key_at(o, random() % o.keys)); });
}

Report run_txn(const Options& o) {
  std::mt19937_64 random(o.seed);
  return closed_loop(o, "/etcdserverpb.KV/Txn", [&o, &random](std::uint64_t i) mutable {
    const std::string key = key_at(o, random() % o.keys);
    etcdserverpb::TxnRequest txn;
    auto* compare = txn.add_compare();
    compare->set_key(key);
    compare->set_target(etcdserverpb::Compare::VERSION);
    compare->set_result(etcdserverpb::Compare::GREATER);
    compare->set_version(0);
    auto* put = txn.add_success()->mutable_request_put();
    put->set_key(key);
    put->set_value(value_of(o, i));
    auto* create = txn.add_failure()->mutable_request_put();
    create->set_key(key);
    create->set_value(value_of(o, i));
    return txn.SerializeAsString();
  });
}

Report run_range(const Options& o) {
  etcdserverpb::RangeRequest request;
  request.set_key(o.prefix);
  request.set_range_end(prefix_end(o.prefix));
  request.set_serializable(o.serializable);
  const std::string bytes = request.SerializeAsString();
  return closed_loop(o, "/etcdserverpb.KV/Range", [&bytes](std::uint64_t) { return bytes; });
}

Report run_load(const Options& o) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (std::string line; std::getline(std::cin, line);) {
    const auto tab = line.find('\t');
    if (tab != std::string::npos && tab > 0) pairs.emplace_back(line.substr(0, tab), line.substr(tab + 1));
  }
  Options all = o;
  all.total = pairs.size();
  all.seconds = 0;
  return closed_loop(all, "/etcdserverpb.KV/Put",
                     [&pairs](std::uint64_t i) { return put_request(pairs[i].first, pairs[i].second); });
}

// `watchers` streams watch one key; `total` puts go to it. Latency: from the
// put's sending to each watcher's receipt of its event.
Report run_watch(const Options& o) {
  Loop loop;
  Report r;
  std::vector<std::unique_ptr<Connection>> connections;
  for (int i = 0; i < o.connections; ++i)
    connections.push_back(std::make_unique<Connection>(loop, o.endpoints[static_cast<std::size_t>(i) % o.endpoints.size()]));
  Connection writer(loop, o.endpoints.front());
  const std::string key = o.prefix + "watched";
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key(key);
  const std::string create_bytes = create.SerializeAsString();
  std::uint64_t created = 0;
  std::map<std::string, Clock::time_point> sent_at;
  for (int i = 0; i < o.watchers; ++i) {
    auto& c = *connections[static_cast<std::size_t>(i) % connections.size()];
    const int id = c.open_stream(
        "/etcdserverpb.Watch/Watch",
        [&](std::string_view bytes) {
          etcdserverpb::WatchResponse response;
          response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
          if (response.created()) ++created;
          for (const auto& event : response.events()) {
            ++r.done;
            auto begun = sent_at.find(event.kv().value());
            if (begun != sent_at.end()) r.latencies.add(Clock::now() - begun->second);
          }
        },
        [&](const Reply& reply) {
          ++r.errors;
          ++r.error_texts[reply.grpc_status < 0 ? "connection lost" : reply.message];
        });
    c.send(id, create_bytes);
  }
  const auto patience = Clock::now() + 20s;
  while (created < static_cast<std::uint64_t>(o.watchers) && Clock::now() < patience && r.errors == 0) loop.turn(10ms);
  const auto started = Clock::now();
  auto shown = started;
  std::uint64_t sent = 0, in_flight = 0;
  const std::uint64_t expected = o.total * static_cast<std::uint64_t>(o.watchers);
  while (r.done < expected && Clock::now() - started < 120s && r.errors == 0) {
    while (in_flight < static_cast<std::uint64_t>(o.inflight) && sent < o.total) {
      const std::string value = value_of(o, ++sent);
      sent_at[value] = Clock::now();
      ++in_flight;
      writer.call("/etcdserverpb.KV/Put", put_request(key, value), [&](const Reply& reply) {
        --in_flight;
        if (!reply.ok()) ++r.errors, ++r.error_texts["put: " + reply.message];
      });
    }
    loop.turn(10ms);
    show_progress(o, r, started, shown);
  }
  r.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  if (r.done < expected) ++r.errors, ++r.error_texts["events missing"];
  return r;
}

// Puts at a fixed rate whatever the answers do, and a record of every outcome:
// begin and end in ns of CLOCK_MONOTONIC, key, value, ok | maybe, revision,
// endpoint. All that was not acknowledged is a maybe.
Report run_steady(const Options& o) {
  Loop loop;
  Pool pool(loop, o);
  Report r;
  std::ofstream record;
  if (!o.record.empty()) record.open(o.record, std::ios::trunc);
  std::uint64_t sent = 0, in_flight = 0;
  const auto started = Clock::now();
  auto shown = started;
  const auto ends = started + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(o.seconds > 0 ? o.seconds : 1e9));
  const auto between = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / o.rate));
  auto due = started;
  const auto ns = [](Clock::time_point t) { return t.time_since_epoch().count(); };
  Clock::time_point drain_until{};
  // As etcd's client does: on these texts, which say that nothing was done, and on
  // no other, a write goes to the next endpoint.
  const auto tries = 2 * o.endpoints.size();
  std::function<void(Connection*, std::string, std::function<void(const Reply&)>, std::size_t)> attempt =
      [&](Connection* at, std::string request, std::function<void(const Reply&)> done, std::size_t left) {
        at->call("/etcdserverpb.KV/Put", request, [&, at, request, done, left](const Reply& reply) {
          const bool elsewhere = reply.message == "there is no connection available" || reply.message == "there is no address available";
          Connection* other = !reply.ok() && left > 0 && elsewhere ? pool.after(at) : nullptr;
          if (other == nullptr) return done(reply);
          ++r.moved;
          attempt(other, request, done, left - 1);
        });
      };
  const auto put_at = [&](Connection* at, std::string request, std::function<void(const Reply&)> done) {
    attempt(at, std::move(request), std::move(done), tries);
  };
  while (true) {
    const auto now = Clock::now();
    const bool ending = stop_asked || now >= ends;
    if (ending && drain_until == Clock::time_point{}) drain_until = now + 8s;
    if (ending && (in_flight == 0 || now > drain_until)) break;
    while (!ending && due <= Clock::now() && in_flight < static_cast<std::uint64_t>(std::max(o.inflight, 1))) {
      Connection* connection = pool.next();
      if (connection == nullptr) break;
      due += between;
      if (Clock::now() - due > 1s) due = Clock::now();  // a pause is not made up for by a burst
      const std::string key = key_at(o, sent % o.keys), value = steady_value(o, sent);
      ++sent;
      ++in_flight;
      const auto begun = Clock::now();
      std::string endpoint = connection->address();
      put_at(connection, put_request(key, value), [&, begun, key, value, endpoint = std::move(endpoint)](const Reply& reply) {
        --in_flight;
        const auto end = Clock::now();
        std::int64_t revision = 0;
        const char* outcome = "maybe";
        if (reply.ok()) {
          etcdserverpb::PutResponse response;
          response.ParseFromString(reply.body);
          revision = response.header().revision();
          outcome = "ok";
          ++r.done;
          r.latencies.add(end - begun);
        } else {
          ++r.errors;
          ++r.error_texts[reply.grpc_status < 0 ? "connection lost" : reply.message];
        }
        if (record.is_open())
          record << ns(begun) << '\t' << ns(end) << '\t' << key << '\t' << value << '\t' << outcome << '\t' << revision
                 << '\t' << endpoint << '\n';
      });
    }
    loop.turn(1ms);
    show_progress(o, r, started, shown);
  }
  r.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  return r;
}

// Puts at a fixed rate; a watch at each end. What both tell of one revision is
// compared: from the state of the first, which the leader's commit is applied
// to at once, to that of the last. Neither the put nor its answer counts.
Report run_lag(const Options& o) {
  Loop loop;
  Report r;
  Connection writer(loop, o.endpoints.front());
  struct End {
    std::unique_ptr<Connection> connection;
    bool watching = false;
  };
  End ends[2];
  std::map<std::int64_t, Clock::time_point> first;
  std::uint64_t sent = 0, in_flight = 0;
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key(o.prefix);
  create.mutable_create_request()->set_range_end(prefix_end(o.prefix));
  const auto failed = [&r](const Reply& reply) { ++r.errors, ++r.error_texts[reply.grpc_status < 0 ? "connection lost" : reply.message]; };
  for (int i = 0; i < 2; ++i) {
    auto& end = ends[i];
    end.connection = std::make_unique<Connection>(loop, i == 0 ? o.endpoints.front() : o.endpoints.back());
    const int id = end.connection->open_stream(
        "/etcdserverpb.Watch/Watch",
        [&, i](std::string_view bytes) {
          const auto now = Clock::now();
          etcdserverpb::WatchResponse response;
          response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
          if (response.created()) ends[i].watching = true;
          for (const auto& event : response.events()) {
            const auto revision = event.kv().mod_revision();
            if (i == 0) {
              first.emplace(revision, now);
            } else if (const auto it = first.find(revision); it != first.end()) {
              ++r.done;
              r.latencies.add(now - it->second);
              first.erase(it);
            }
          }
        },
        failed);
    end.connection->send(id, create.SerializeAsString());
  }
  const auto patience = Clock::now() + 20s;
  while (!(ends[0].watching && ends[1].watching) && r.errors == 0 && Clock::now() < patience) loop.turn(1ms);
  const auto started = Clock::now();
  const auto until = started + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(o.seconds > 0 ? o.seconds : 10));
  const auto between = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / o.rate));
  auto due = started;
  while (r.errors == 0 && !stop_asked) {
    const auto now = Clock::now();
    if (now > until + 10s || (now > until && in_flight == 0 && r.done >= sent)) break;
    for (; due <= now && now < until; due += between) {
      ++in_flight;
      writer.call("/etcdserverpb.KV/Put", put_request(key_at(o, sent % o.keys), value_of(o, sent)), [&](const Reply& reply) {
        --in_flight;
        if (!reply.ok()) failed(reply);
      });
      ++sent;
    }
    loop.turn(1ms);
  }
  r.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  if (r.done < sent) ++r.errors, ++r.error_texts["events missing"];
  return r;
}

// Every event of every key since --from, as one member holds it.
Report run_history(const Options& o) {
  Loop loop;
  Connection connection(loop, o.endpoints.front());
  Report r;
  std::int64_t target = 0;
  const auto started = Clock::now();
  etcdserverpb::RangeRequest ask;
  ask.set_key("x");
  ask.set_serializable(o.serializable);
  connection.call("/etcdserverpb.KV/Range", ask.SerializeAsString(), [&](const Reply& reply) {
    etcdserverpb::RangeResponse response;
    if (!reply.ok() || !response.ParseFromString(reply.body)) ++r.errors, ++r.error_texts[reply.message];
    target = response.header().revision();
  });
  while (target == 0 && r.errors == 0 && Clock::now() - started < 10s) loop.turn(10ms);
  std::int64_t seen = o.from - 1;
  etcdserverpb::WatchRequest create;
  create.mutable_create_request()->set_key(std::string(1, '\0'));
  create.mutable_create_request()->set_range_end(std::string(1, '\0'));
  create.mutable_create_request()->set_start_revision(o.from);
  const int id = connection.open_stream(
      "/etcdserverpb.Watch/Watch",
      [&](std::string_view bytes) {
        etcdserverpb::WatchResponse response;
        response.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
        if (response.canceled()) ++r.errors, ++r.error_texts["cancelled: " + response.cancel_reason()];
        for (const auto& event : response.events()) {
          seen = std::max(seen, event.kv().mod_revision());
          if (event.kv().mod_revision() > target) continue;
          ++r.done;
          std::printf("%ld\t%s\t%s\n", event.kv().mod_revision(), event.kv().key().c_str(),
                      event.type() == mvccpb::Event::PUT ? event.kv().value().c_str() : "<deleted>");
        }
      },
      [&](const Reply& reply) { ++r.errors, ++r.error_texts["watch ended: " + reply.message]; });
  connection.send(id, create.SerializeAsString());
  auto last = Clock::now();
  for (std::int64_t before = seen; seen < target && r.errors == 0; loop.turn(10ms)) {
    if (seen != before) before = seen, last = Clock::now();
    if (Clock::now() - last > 10s) ++r.errors, ++r.error_texts["no event for 10 s"];
  }
  r.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  return r;
}

int run(int argc, char** argv) {
  const Options o = parse(argc, argv);
  const std::map<std::string, Report (*)(const Options&)> workloads = {
      {"put", run_put},     {"get", run_get},   {"txn", run_txn},      {"range", run_range},
      {"watch", run_watch}, {"load", run_load}, {"steady", run_steady}, {"lag", run_lag},
      {"history", run_history}};
  const auto found = workloads.find(o.workload);
  if (found == workloads.end()) usage("no workload named " + o.workload);
  Report report = found->second(o);
  if (o.workload != "history") print(o, report);
  else for (const auto& [text, count] : report.error_texts) std::fprintf(stderr, "leeward-bench: %s (%lu)\n", text.c_str(), count);
  return report.errors > 0 && o.workload != "steady" ? 1 : 0;
}

}  // namespace
}  // namespace leeward::bench

int main(int argc, char** argv) {
  const auto ask = [](int) { leeward::bench::stop_asked = 1; };
  std::signal(SIGTERM, ask);
  std::signal(SIGINT, ask);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return leeward::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "leeward-bench: %s\n", error.what());
    return 1;
  }
}
