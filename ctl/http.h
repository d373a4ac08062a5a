// How the command reaches a node: one POST over net's blocking client.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace leeward::ctl {

struct Endpoint {
  bool tls = false;
  std::string host, port;  // of TCP
  std::string socket;      // path of a unix socket; then host and port are empty
  std::string text() const;
};
// "host:port", "http://host:port", "https://host:port", "unix:///path";
// `tls_by_default` decides the first. kInvalid says what was expected.
Result<Endpoint> parse_endpoint(std::string_view text, bool tls_by_default);

struct Certificates {
  std::string ca, cert, key;  // PEM files; ca empty: the system's
};

// kInvalid, naming the file, when they are of no use.
Result<void> check(const Certificates& certificates);

struct Reply {
  int status = 0;
  std::string body;
};

// How a call by gRPC ended: gRPC's number, and what the node says.
struct Ended {
  int code = 0;
  std::string message;
};

// How requests go out; tests stand in for it.
class Poster {
 public:
  virtual ~Poster() = default;
  // Any answer is a value. kUnavailable: there was none, with the reason.
  virtual Result<Reply> post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) = 0;
  // By gRPC, for what JSON would make larger: gives each message of the answer to
  // `take`, whose error ends it. `silence`: how long nothing may come.
  virtual Result<Ended> stream(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                               const std::function<Result<void>(std::string_view)>& take);
};

class HttpPoster final : public Poster {
 public:
  explicit HttpPoster(Certificates certificates) : certificates_(std::move(certificates)) {}
  Result<Reply> post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) override;
  Result<Ended> stream(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                       const std::function<Result<void>(std::string_view)>& take) override;

 private:
  Certificates certificates_;
};

}  // namespace leeward::ctl
