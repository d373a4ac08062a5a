// Plain HTTP requests (gateway, health, metrics, console), version 1.1 and 2.
// Same loop rule as rpc.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/function.h"
#include "ports/executor.h"
#include "ports/rpc.h"

namespace leeward {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded, without query
  std::string query;   // raw, without '?'
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  Bytes body;          // whole; larger than the listener's limit is answered 413 by net
  PeerIdentity peer;

  // "" when absent.
  std::string_view header(std::string_view lower_case_name) const {
    for (const auto& [name, value] : headers)
      if (name == lower_case_name) return value;
    return {};
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  Bytes body;
};

// Answers one request: respond() once, or start_stream(), write()*, end().
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual Executor& loop() = 0;
  virtual void respond(HttpResponse response) = 0;
  virtual void start_stream(HttpResponse head) = 0;  // body empty; chunked or DATA frames follow
  virtual void write(Bytes chunk) = 0;
  virtual void end() = 0;
  virtual std::size_t queued() const = 0;
  // False once it has ended or its client has gone away: nothing sent reaches it.
  virtual bool open() const = 0;
  virtual void on_drain(Function<void()> callback) = 0;
  virtual void on_cancel(Function<void()> callback) = 0;  // the client went away
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  virtual void handle(std::shared_ptr<HttpExchange> exchange) = 0;
};

}  // namespace leeward
