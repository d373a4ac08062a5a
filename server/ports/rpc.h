// One gRPC call as the services see it; `net` implements it over HTTP/2, the
// JSON gateway over HTTP/1.1 and HTTP/2 bodies.
//
// A call belongs to one I/O loop: every method and every callback runs there,
// except loop(), which any thread may ask for in order to post back. Hold the
// call by shared_ptr as long as an answer is due; methods on an ended call do
// nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/command.h"
#include "base/function.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/executor.h"

namespace leeward {

// gRPC's numbers.
enum class GrpcCode : int {
  kOk = 0, kCancelled = 1, kUnknown = 2, kInvalidArgument = 3, kDeadlineExceeded = 4, kNotFound = 5,
  kAlreadyExists = 6, kPermissionDenied = 7, kResourceExhausted = 8, kFailedPrecondition = 9, kAborted = 10,
  kOutOfRange = 11, kUnimplemented = 12, kInternal = 13, kUnavailable = 14, kDataLoss = 15, kUnauthenticated = 16,
};

struct RpcStatus {
  GrpcCode code = GrpcCode::kOk;
  std::string message;
  std::vector<std::pair<std::string, std::string>> trailers;
  bool ok() const { return code == GrpcCode::kOk; }
};

// A message whose size is known and whose bytes are made as the window opens.
class MessageSource {
 public:
  virtual ~MessageSource() = default;
  virtual std::uint64_t size() const = 0;
  // Up to about `max` bytes; all pieces together are exactly size() bytes.
  virtual Result<Bytes> next(std::size_t max) = 0;
};

// Who calls, as far as the connection proves it.
struct PeerIdentity {
  bool tls = false;
  bool unix_socket = false;
  bool loopback = false;
  std::string common_name;  // of a verified client certificate, else empty
  std::string address;      // "127.0.0.1:4711", for logs
};

class RpcCall {
 public:
  virtual ~RpcCall() = default;

  virtual std::string_view method() const = 0;  // "/etcdserverpb.KV/Put"
  virtual std::optional<std::string_view> metadata(std::string_view lower_case_name) const = 0;
  virtual std::optional<Instant> deadline() const = 0;
  virtual const PeerIdentity& peer() const = 0;
  virtual const TraceContext& trace() const = 0;  // from traceparent; all zero without
  virtual Executor& loop() = 0;

  // Set in RpcHandler::start. A unary request is one message, then half-close.
  virtual void on_message(Function<void(Bytes)> callback) = 0;
  virtual void on_half_close(Function<void()> callback) = 0;
  // The client reset the stream or its connection went, or the deadline passed;
  // called at most once, never after finish().
  virtual void on_cancel(Function<void()> callback) = 0;
  // Called when queued() has fallen below 64 KiB after having been above.
  virtual void on_drain(Function<void()> callback) = 0;

  virtual void send(Bytes message) = 0;
  virtual void send(std::unique_ptr<MessageSource> message) = 0;
  virtual std::size_t queued() const = 0;  // bytes sent here and not yet taken by flow control
  // Ends the call; queued messages go out first. Without any message sent the
  // answer is trailers-only.
  virtual void finish(RpcStatus status) = 0;
};

class RpcHandler {
 public:
  virtual ~RpcHandler() = default;
  // Called when headers are complete, on the call's loop.
  virtual void start(std::shared_ptr<RpcCall> call) = 0;
};

}  // namespace leeward
