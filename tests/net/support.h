// What the tests of net share: a log that remembers, a listener on a thread of
// its own, handlers that echo, and raw sockets.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "net/server.h"

namespace leeward::net::test {

class MemoryLog final : public Log {
 public:
  bool enabled(Level) const override { return true; }
  void write(Level, std::string_view message, std::initializer_list<Field> fields) override {
    std::string line(message);
    for (const auto& field : fields) line += " " + std::string(field.key) + "=" + field.value;
    std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }
  // True as soon as a line with `text` has been written; false after a minute.
  bool wait_for(const std::string& text) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return contains(text); });
  }
  std::size_t count(const std::string& text) {
    std::lock_guard lock(mutex_);
    std::size_t n = 0;
    for (const auto& line : lines_) n += line.find(text) != std::string::npos;
    return n;
  }
  std::string all() {
    std::lock_guard lock(mutex_);
    std::string text;
    for (const auto& line : lines_) text += line + "\n";
    return text;
  }

 private:
  bool contains(const std::string& text) {
    for (const auto& line : lines_)
      if (line.find(text) != std::string::npos) return true;
    return false;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

// Waits for a condition; false after a minute.
bool eventually(const std::function<bool()>& condition);

// Echoes each message. Further methods, by their last word:
//   /test/Unary     one message back at half-close, then OK
//   /test/Echo      each message back at once, OK at half-close
//   /test/Fail      INVALID_ARGUMENT with a text that needs encoding, and a trailer
//   /test/Says      INVALID_ARGUMENT with the message as its text
//   /test/Head      INVALID_ARGUMENT with as many trailers of 10,000 bytes as the message says
//   /test/Trailers  likewise, behind a message
//   /test/Hang      never answers; cancels are counted
//   /test/Source    the message says how many bytes to send from a MessageSource
//   /test/BadSource a source that fails at its first piece
//   /test/Flood     sends 1 MiB messages until cancelled, as fast as they drain
//   /test/Peer      who calls: address, common name, trace id
class EchoHandler final : public RpcHandler {
 public:
  void start(std::shared_ptr<RpcCall> call) override;

  std::atomic<int> started{0}, cancelled{0}, finished{0};
  std::atomic<std::size_t> most_queued{0};
};

// GET /hello, /stream (three chunks), /big (8 MiB), /hang; POST /echo; else 404.
class PageHandler final : public HttpHandler {
 public:
  void handle(std::shared_ptr<HttpExchange> exchange) override;
  std::atomic<int> handled{0}, cancelled{0};
};

struct TestServer {
  explicit TestServer(std::function<void(ListenerOptions&)> adjust = {});
  ~TestServer() { listener.reset(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(listener->port()); }

  MemoryLog log;
  EchoHandler rpc;
  PageHandler http;
  IoThread thread;
  std::unique_ptr<Listener> listener;
};

// A blocking socket with a time limit on each read.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port, int receive_buffer = 0);
  ~RawClient();
  void send(std::string_view data);
  bool try_send(std::string_view data);
  void half_close();
  std::string read(std::size_t size);                    // up to size; "" at the end or after a minute
  std::string read_until(std::string_view mark);         // also at the end
  std::string read_all() { return read_until(std::string_view()); }
  bool closed();                                          // reads to the end within a minute

 private:
  int fd_;
};

// Runs a command, gives its standard output and error together.
struct Ran {
  int status;
  std::string output;
};
Ran run(const std::string& command);

// A directory with ca.pem and certificates made by openssl; removed at the end.
class Certificates {
 public:
  Certificates();
  ~Certificates();
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string ca() const { return path("ca.pem"); }
  // NAME.pem and NAME.key, signed by `ca` ("ca" or "other").
  void make(const std::string& name, const std::string& common_name, const std::string& san, int days = 2,
            const std::string& ca = "ca");
  TlsOptions options(const std::string& name, ClientAuth auth = ClientAuth::kNone) const {
    return {path(name + ".pem"), path(name + ".key"), ca(), auth, "1.2"};
  }

 private:
  std::string directory_;
};

}  // namespace leeward::net::test
