// etcd's JSON gateway on the client port: /v3/* over the same services as
// gRPC, /version and /health. README.md, "JSON".
//
// Thread rule: handle() on the exchange's loop; any number of loops.
#pragma once

#include <memory>

#include "api/services.h"
#include "ports/http.h"

namespace leeward::api {

class Gateway final : public HttpHandler {
 public:
  // `services` and `other` outlive this. Paths that are not the gateway's go
  // to `other` (metrics, health paths), or are 404 without it.
  explicit Gateway(Services& services, HttpHandler* other = nullptr) : services_(services), other_(other) {}

  void handle(std::shared_ptr<HttpExchange> exchange) override;

 private:
  void version(HttpExchange& exchange) const;
  void health(const std::shared_ptr<HttpExchange>& exchange) const;

  Services& services_;
  HttpHandler* other_;
};

// grpc-gateway's.
int http_status(GrpcCode code);

}  // namespace leeward::api
