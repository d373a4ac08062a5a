// One HTTP/2 stream as a gRPC call or an HTTP exchange. Internal to net.
//
// The session owns the stream by shared_ptr while it is open, handlers as long
// as they like: once detached, all methods do nothing.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/connection.h"

namespace leeward::net {

class Http2Session;

// A queue that allocates nothing while it is empty, as std::deque would.
template <class T>
class Fifo {
 public:
  bool empty() const { return head_ == items_.size(); }
  T& front() { return items_[head_]; }
  void push(T item) { items_.push_back(std::move(item)); }
  void pop() {
    items_[head_++] = T();
    if (empty()) clear();
    else if (head_ >= 64 && head_ * 2 > items_.size()) {
      items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
  }
  void clear() { items_.clear(), head_ = 0; }

 private:
  std::vector<T> items_;
  std::size_t head_ = 0;
};

// What a stream has to send, made as the window opens. A gRPC message gets its
// prefix when its first piece is at hand, so that a source that fails before
// can still be answered by a status.
class StreamOutput {
 public:
  void push(Bytes body, bool prefixed);
  void push(std::unique_ptr<MessageSource> source);
  // Bytes ready to go at once, up to `wanted`; pulls sources. Errors: the source's.
  Result<std::size_t> ready(std::size_t wanted);
  void take(std::size_t count, Transport& transport);  // count <= what ready() said
  bool empty() const { return items_.empty() && staged_.empty(); }
  std::size_t queued() const { return queued_; }
  bool begun() const { return begun_; }  // within a message whose prefix has gone
  void clear();

 private:
  struct Item {
    Bytes body;
    std::unique_ptr<MessageSource> source;
    std::uint64_t left = 0;  // of the source
    bool prefixed = false;
  };
  Result<void> stage();

  Fifo<Item> items_;
  Fifo<Bytes> staged_;
  std::size_t staged_bytes_ = 0;
  std::size_t queued_ = 0;
  bool begun_ = false;
};

class Http2Stream : public std::enable_shared_from_this<Http2Stream> {
 public:
  Http2Stream(Http2Session& session, std::int32_t id);
  virtual ~Http2Stream() = default;

  std::int32_t id() const { return id_; }
  StreamOutput& output() { return output_; }
  bool output_ended() const { return output_ended_; }
  bool finished() const { return finished_; }
  // Bytes taken in for which the client was given no new window yet.
  void hold(std::size_t bytes) { held_ += bytes; }
  std::size_t take_held() { return std::exchange(held_, 0); }

  // Whether what the client still sends after the answer is cut off.
  virtual bool reset_when_answered() const { return true; }

  // From the session.
  virtual void receive(std::string_view data) = 0;
  virtual void half_close() = 0;
  virtual void output_failed(const Error& error) = 0;
  virtual void trailers(std::vector<std::pair<std::string, std::string>>& out) = 0;  // when output ends
  void detach();          // closed by the client or with the connection
  void after_output();    // the window took some: on_drain
  // True when the whole answer is there and its client's window has taken none of
  // it for `limit`. Asked by the sweep, so that sending costs nothing for it.
  bool stuck(Instant now, Duration limit);

 protected:
  void changed();  // output was added or has ended
  // Runs a handler's callback; the callbacks are dropped when the stream has
  // ended, but never under the feet of one that runs.
  template <class F, class... Args>
  void call(F& callback, Args&&... args) {
    if (!callback) return;
    const auto self = shared_from_this();
    ++calling_;
    callback(std::forward<Args>(args)...);
    --calling_;
    if (finished_ && calling_ == 0) drop_callbacks();
  }
  void drop_callbacks();
  void end_output();  // what is queued goes out, then the stream ends

  Http2Session* session_;  // null once detached
  IoLoop& loop_;
  const std::int32_t id_;
  StreamOutput output_;
  bool response_begun_ = false, output_ended_ = false, finished_ = false, above_ = false;
  int calling_ = 0;
  std::size_t held_ = 0;
  std::size_t seen_queued_ = 0;  // by the last sweep,
  Instant seen_since_{};         // and since when
  Executor::TimerId timer_ = 0;  // the deadline
  Function<void(Bytes)> message_callback_;
  Function<void()> half_close_callback_, cancel_callback_, drain_callback_;
};

// Request headers, in one buffer.
class HeaderBlock {
 public:
  void add(std::string_view name, std::string_view value) {
    fields_.push_back({static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(name.size()),
                       static_cast<std::uint32_t>(value.size())});
    text_.append(name).append(value);
  }
  std::size_t bytes() const { return text_.size() + fields_.size() * 32; }  // as RFC 9113 counts
  std::size_t size() const { return fields_.size(); }
  std::pair<std::string_view, std::string_view> at(std::size_t i) const {
    const Field& f = fields_[i];
    return {std::string_view(text_).substr(f.at, f.name), std::string_view(text_).substr(f.at + f.name, f.value)};
  }
  std::optional<std::string_view> find(std::string_view name) const {
    for (std::size_t i = 0; i < fields_.size(); ++i)
      if (at(i).first == name) return at(i).second;
    return std::nullopt;
  }

 private:
  struct Field {
    std::uint32_t at, name, value;
  };
  std::string text_;
  std::vector<Field> fields_;
};

class RpcStream final : public Http2Stream, public RpcCall {
 public:
  RpcStream(Http2Session& session, std::int32_t id, HeaderBlock headers);
  // Hands the call to `handler`, or answers a malformed one.
  void start(RpcHandler* handler);

  std::string_view method() const override { return method_; }
  std::optional<std::string_view> metadata(std::string_view name) const override { return headers_.find(name); }
  std::optional<Instant> deadline() const override { return deadline_; }
  const PeerIdentity& peer() const override { return peer_; }
  const TraceContext& trace() const override { return trace_; }
  Executor& loop() override { return loop_; }
  void on_message(Function<void(Bytes)> callback) override;
  void on_half_close(Function<void()> callback) override;
  void on_cancel(Function<void()> callback) override;
  void on_drain(Function<void()> callback) override;
  void send(Bytes message) override;
  void send(std::unique_ptr<MessageSource> message) override;
  std::size_t queued() const override { return output_.queued(); }
  void finish(RpcStatus status) override;

  void receive(std::string_view data) override;
  void half_close() override;
  void output_failed(const Error& error) override;
  void trailers(std::vector<std::pair<std::string, std::string>>& out) override;

 private:
  void count_sent(std::uint64_t bytes);
  void sending();
  void fail(GrpcCode code, std::string message);  // ends the call over the handler's head
  bool begin_message(std::string_view prefix);
  void end_message(Bytes message);

  HeaderBlock headers_;
  std::string_view method_;
  PeerIdentity peer_;
  TraceContext trace_;
  std::optional<Instant> deadline_;
  RpcStatus status_;
  std::string prefix_;   // of the message being read
  std::string message_;
  std::size_t expected_ = 0;
  bool in_message_ = false;
  friend class Http2Session;
};

class HttpStream final : public Http2Stream, public HttpExchange {
 public:
  HttpStream(Http2Session& session, std::int32_t id, const HeaderBlock& headers);
  void start(HttpHandler* handler);

  const HttpRequest& request() const override { return request_; }
  Executor& loop() override { return loop_; }
  void respond(HttpResponse response) override;
  void start_stream(HttpResponse head) override;
  void write(Bytes chunk) override;
  void end() override;
  std::size_t queued() const override { return output_.queued(); }
  bool open() const override { return !finished_; }
  void on_drain(Function<void()> callback) override;
  void on_cancel(Function<void()> callback) override;

  bool reset_when_answered() const override { return false; }
  void receive(std::string_view data) override;
  void half_close() override;
  void output_failed(const Error& error) override;
  void trailers(std::vector<std::pair<std::string, std::string>>&) override {}

 private:
  void respond_plain(int status, std::string text);
  void begin(HttpResponse response, bool stream);

  HttpRequest request_;
  std::string body_;
  HttpHandler* handler_ = nullptr;
  std::size_t discarded_ = 0;  // of the body, after the answer
  bool head_ = false, options_ = false;  // answered as GET, without the body
  bool malformed_ = false;
};

}  // namespace leeward::net
