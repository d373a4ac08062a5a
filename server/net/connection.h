// What a server connection gives to the protocol it speaks, and what it asks
// of it. Internal to net; everything runs on the connection's loop.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "net/server.h"
#include "net/transport.h"

namespace leeward::net {

// A response's writer that was told to wait is asked for more below this.
constexpr std::size_t kDrainBelow = 64_KiB;

// At most one line a second and kind; says how many were left out. Any thread.
class LimitedLog {
 public:
  explicit LimitedLog(Log& log) : log_(log) {}
  void warn(Instant now, const std::string& message, std::string_view address, std::string_view detail);

 private:
  struct Kind {
    Instant last{};
    std::uint64_t suppressed = 0;
  };
  Log& log_;
  std::mutex mutex_;
  std::map<std::string, Kind> kinds_;  // by message; messages are constant text
};

struct ConnectionContext {
  Transport& transport;
  const ListenerOptions& options;
  ListenerLimits limits;  // as they were when it was accepted
  RpcHandler* rpc;
  HttpHandler* http;
  ListenerProbe& probe;
  PeerIdentity peer;
  IoLoop& loop() const { return transport.loop(); }
};

class Protocol {
 public:
  virtual ~Protocol() = default;
  // An error ends the connection; kCancelled is an ordinary end.
  virtual Result<void> receive(std::string_view data) = 0;
  virtual bool fill() { return false; }
  virtual void sent() {}                 // the kernel took output
  virtual void blocked() {}              // it takes none for now, or takes it again
  virtual bool eof() { return false; }   // true: keep the connection, an answer is due
  virtual void closed() = 0;             // the connection is gone: cancel everything
  virtual void drain() = 0;              // end when the present requests have ended
  virtual bool overdue(Instant now) = 0; // waits for the client for too long
};

std::unique_ptr<Protocol> make_http2(ConnectionContext context);
std::unique_ptr<Protocol> make_http1(ConnectionContext context);

// The decoded path, or nullopt where an escape is malformed.
std::optional<std::string> decode_path(std::string_view path);
const char* reason_phrase(int status);

}  // namespace leeward::net
