// A small gRPC client for load generation: many calls in flight over a few
// HTTP/2 connections on one thread, so that the loader costs little beside the
// servers it measures. Plain TCP to loopback; used by leeward-bench alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace leeward::bench {

using SteadyTime = std::chrono::steady_clock::time_point;

// The end of a call. grpc_status is -1 when the connection went before an
// answer came: the call may or may not have been executed.
struct Reply {
  int grpc_status = -1;
  std::string message;  // grpc-message
  std::string body;     // the (last) response message without its five-byte prefix
  bool ok() const { return grpc_status == 0; }
};

// One thread's event loop over epoll.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;

  // Waits at most `timeout` for events and handles them, then writes what the
  // callbacks produced: one write a connection and turn.
  void turn(std::chrono::milliseconds timeout);

 private:
  friend class Connection;
  int epoll_;
  std::vector<class Connection*> connections_;
};

class Connection {
 public:
  using Done = std::function<void(const Reply&)>;

  Connection(Loop& loop, std::string address);  // "127.0.0.1:2379"
  ~Connection();
  Connection(const Connection&) = delete;

  bool connected() const;
  const std::string& address() const;
  // True once the connection is lost or could not be made; calls then end at
  // once with status -1. Make a new object to try again.
  bool failed() const;
  std::size_t in_flight() const;

  // One request, one response. `done` runs in turn().
  void call(std::string_view path, std::string_view request, Done done);

  // A stream that stays open for sending; `on_message` for every response.
  // Returns an id for send().
  int open_stream(std::string_view path, std::function<void(std::string_view)> on_message, Done done);
  void send(int stream, std::string_view message);

  class Impl;

 private:
  friend class Loop;
  std::unique_ptr<Impl> impl_;
};

}  // namespace leeward::bench
