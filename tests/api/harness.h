// Services over a state machine, and a client of them.
#pragma once

#include <gtest/gtest.h>

#include "api/errors.h"
#include "fakes.h"
#include "scripted_state.h"

namespace leeward::api::test {

class RecordingLog final : public Log {
 public:
  bool enabled(Level) const override { return true; }
  void write(Level level, std::string_view message, std::initializer_list<Field> fields) override {
    std::string line = (level == Level::kWarn ? "warn " : "") + std::string(message);
    for (const auto& field : fields) line += " " + std::string(field.key) + "=" + field.value;
    lines.push_back(line);
  }
  std::vector<std::string> lines;
};

template <class Message>
Message parsed(const std::string& bytes) {
  Message message;
  EXPECT_TRUE(message.ParseFromString(bytes));
  return message;
}

template <class State>
class ServicesOver : public ::testing::Test {
 protected:
  explicit ServicesOver(Options options = {}) : options_(std::move(options)) {}
  template <class... Args>
  void begin(Args&&... args) {
    state = std::make_unique<State>(std::forward<Args>(args)...);
    begin_over(*state);
  }
  void begin_over(StateMachine& machine) {
    node = std::make_unique<FakeNode>(machine);
    services = std::make_unique<Services>(Dependencies{*node, clock, log, probe, nullptr, readers}, options_);
    gateway = std::make_unique<Gateway>(*services);
  }

  std::shared_ptr<FakeCall> make(const std::string& method) { return std::make_shared<FakeCall>(loop, method); }

  // Starts a call, gives it `request` and runs the loop.
  std::shared_ptr<FakeCall> run(std::shared_ptr<FakeCall> call, const std::string& request) {
    services->start(call);
    if (!call->status) call->deliver(request);
    if (!call->status) call->half_close();
    loop.run();
    return call;
  }
  template <class Request>
  std::shared_ptr<FakeCall> run(const std::string& method, const Request& request) {
    return run(make(method), request.SerializeAsString());
  }
  // The answer of a call that must succeed.
  template <class Response, class Request>
  Response ask(const std::string& method, const Request& request) {
    const auto call = run(method, request);
    EXPECT_TRUE(call->status) << method << " did not end";
    if (!call->status) return {};
    EXPECT_TRUE(call->status->ok()) << method << ": " << call->status->message;
    EXPECT_TRUE(call->exact);
    if (call->sent.size() != 1) {
      ADD_FAILURE() << method << " sent " << call->sent.size() << " messages";
      return {};
    }
    return parsed<Response>(call->sent.front());
  }
  template <class Request>
  RpcStatus refusal(const std::string& method, const Request& request) {
    const auto call = run(method, request);
    EXPECT_TRUE(call->status) << method << " did not end";
    return call->status.value_or(RpcStatus{});
  }
  std::shared_ptr<FakeExchange> http(std::string method, std::string path, std::string body) {
    auto exchange = std::make_shared<FakeExchange>(loop, std::move(method), std::move(path), std::move(body));
    gateway->handle(exchange);
    loop.run();
    return exchange;
  }
  std::shared_ptr<FakeExchange> post(std::string path, std::string body) { return http("POST", path, body); }

  Options options_;
  FakeClock clock;
  FakeLoop loop{clock};
  RecordingLog log;
  ApiProbe probe;
  std::vector<Executor*> readers;  // set before begin()
  std::unique_ptr<State> state;
  std::unique_ptr<FakeNode> node;
  std::unique_ptr<Services> services;
  std::unique_ptr<Gateway> gateway;
};

// The common case: the store is scripted.
class ScriptedServices : public ServicesOver<ScriptedState> {
 protected:
  explicit ScriptedServices(Options options = {}) : ServicesOver(std::move(options)) { begin(); }
};

#define EXPECT_REFUSED(status, expected_code, expected_text)             \
  do {                                                                   \
    const ::leeward::RpcStatus refused_ = (status);                      \
    EXPECT_EQ(::leeward::api::name(refused_.code), std::string(::leeward::api::name(expected_code))); \
    EXPECT_EQ(refused_.message, expected_text);                          \
  } while (0)

}  // namespace leeward::api::test
