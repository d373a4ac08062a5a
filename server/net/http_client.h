// One HTTP/1.1 request, blocking, on a connection of its own: what leewardctl
// speaks to a node. Any thread but an I/O loop.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "net/tls.h"
#include "ports/http.h"

namespace leeward::net {

struct HttpCall {
  // "http://host:port", "https://host:port", "host:port" (https when `tls` is
  // set) or "unix:///path/of/socket".
  std::string endpoint;
  std::string method = "GET";
  std::string path = "/";  // with query, encoded
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string content_type = "application/json";  // sent with a body
  std::optional<TlsOptions> tls;
  Duration timeout = 5s;  // from name lookup to the last byte (a lookup itself may take longer)
  Duration connect_timeout = 5s;  // of that, until it is connected, TLS included: a host that is gone says nothing
  std::size_t max_response = 64_MiB;  // of the body
  const std::atomic<bool>* cancelled = nullptr;  // once true the call ends within a moment, but for a lookup
};

// Any answer is a value, whatever its status. Errors mean there was none:
// kUnavailable: unreachable, certainly not sent; kPermission: a certificate was
// refused, by us or by the node; kInvalid: the endpoint makes no sense, or what
// answers is not TLS or not HTTP; kUnknown: sent, and cut off or timed out
// before a whole answer.
Result<HttpResponse> http_request(const HttpCall& call);

}  // namespace leeward::net
