// An HTTP/1.1 server connection. Beast parses; requests are answered one at a
// time, what a client sends ahead waits in a bounded buffer.
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <array>
#include <charconv>

#include "net/connection.h"

namespace leeward::net {

namespace http = boost::beast::http;

namespace {

constexpr std::size_t kAheadBytes = 64_KiB;

class Http1Session;

// One request and its answer. Handlers may hold it after the end; then its
// methods do nothing.
class Http1Exchange final : public HttpExchange, public std::enable_shared_from_this<Http1Exchange> {
 public:
  Http1Exchange(Http1Session& session, IoLoop& loop, HttpRequest request, bool head, bool options, bool keep_alive,
                bool chunked)
      : session_(&session), loop_(loop), request_(std::move(request)), head_(head), options_(options),
        keep_alive_(keep_alive), chunked_(chunked) {}

  const HttpRequest& request() const override { return request_; }
  Executor& loop() override { return loop_; }
  void respond(HttpResponse response) override;
  void start_stream(HttpResponse head) override;
  void write(Bytes chunk) override;
  void end() override;
  std::size_t queued() const override;
  bool open() const override { return session_ != nullptr; }
  void on_drain(Function<void()> callback) override {
    if (session_) drain_ = std::move(callback);
  }
  void on_cancel(Function<void()> callback) override {
    if (session_) cancel_ = std::move(callback);
  }

  bool streaming() const { return streaming_; }
  bool chunked() const { return chunked_; }
  bool keep_alive() const { return keep_alive_; }
  void sent(std::size_t queued);
  void detach(bool cancelled);

 private:
  void finish();

  Http1Session* session_;  // null when ended
  IoLoop& loop_;
  HttpRequest request_;
  Function<void()> drain_, cancel_;
  const bool head_, options_;  // HEAD, OPTIONS: answered as GET, without the body
  const bool keep_alive_, chunked_;
  bool streaming_ = false, above_ = false;
};

class Http1Session final : public Protocol {
 public:
  explicit Http1Session(ConnectionContext context) : context_(std::move(context)), since_(context_.loop().now()) {}
  ~Http1Session() override { closed(); }

  Result<void> receive(std::string_view data) override;
  void sent() override;
  bool eof() override;
  void closed() override;
  void drain() override;
  bool overdue(Instant now) override;

  // For the exchange.
  void send_head(const HttpResponse& response, const Http1Exchange& exchange, bool stream);
  void send(Bytes body) { context_.transport.write(std::move(body)); }
  void send(std::string_view text) { context_.transport.write(text); }
  std::size_t queued() const { return context_.transport.queued(); }
  void finished(bool keep);

 private:
  using Parser = http::request_parser<http::string_body>;
  void process();
  void begin(Parser& parser);
  void refuse(int status, std::string_view text);
  bool head_read();

  ConnectionContext context_;
  std::string in_;
  std::unique_ptr<Parser> parser_;
  std::shared_ptr<Http1Exchange> exchange_;
  Instant since_;  // what is waited for now has been waited for since
  bool headed_ = false, draining_ = false, ending_ = false, eof_ = false, processing_ = false, first_ = true;
};

Result<void> Http1Session::receive(std::string_view data) {
  if (ending_) return {};
  in_.append(data);
  process();
  if (exchange_ && in_.size() > kAheadBytes) context_.transport.pause_reading(true);
  return {};
}

void Http1Session::process() {
  if (processing_) return;  // an exchange that answers at once comes back here
  processing_ = true;
  while (!exchange_ && !ending_ && !in_.empty()) {
    if (!parser_) {
      parser_ = std::make_unique<Parser>();
      parser_->header_limit(static_cast<std::uint32_t>(context_.limits.header_bytes));
      parser_->body_limit(context_.limits.body_bytes);
      parser_->eager(true);
      since_ = context_.loop().now();
      headed_ = false;
    }
    boost::system::error_code error;
    const std::size_t n = parser_->put(boost::asio::buffer(in_), error);
    in_.erase(0, n);
    if (error == http::error::need_more || (!error && n == 0 && !parser_->is_done())) {
      if (in_.size() > context_.limits.header_bytes) refuse(431, "the header is too large\n");
      else head_read();
      break;
    }
    if (error == http::error::header_limit) refuse(431, "the header is too large\n");
    else if (error == http::error::body_limit) refuse(413, "the request body is too large\n");
    else if (error) refuse(400, "malformed request: " + error.message() + "\n");
    else if (head_read() && parser_->is_done()) begin(*parser_);
  }
  processing_ = false;
}

// Looks once at what a whole header asks for; false when the request is refused.
bool Http1Session::head_read() {
  if (headed_ || !parser_->is_header_done()) return true;
  headed_ = true;
  since_ = context_.loop().now();  // the body's time begins
  const auto& message = parser_->get();
  const auto codings = message.count(http::field::transfer_encoding);
  if (codings > 1 || (codings == 1 && !boost::beast::iequals(message[http::field::transfer_encoding], "chunked")))
    return refuse(501, "no transfer encoding but chunked is served\n"), false;
  const auto expected = message[http::field::expect];
  if (expected.empty() || message.version() < 11) return true;
  if (!boost::beast::iequals(expected, "100-continue")) return refuse(417, "nothing but 100-continue can be expected\n"), false;
  if (!parser_->is_done()) send("HTTP/1.1 100 Continue\r\n\r\n");
  return true;
}

void Http1Session::begin(Parser& parser) {
  auto& message = parser.get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  const auto question = target.find('?');
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  auto path = decode_path(target.substr(0, question));
  if (!path) return refuse(400, "malformed path\n");
  request.path = std::move(*path);
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  request.body = Bytes(std::move(message.body()));
  request.peer = context_.peer;
  const bool head = request.method == "HEAD", options = request.method == "OPTIONS";
  if (head || options) request.method = "GET";
  context_.probe.http_requests.add();
  first_ = false;
  exchange_ = std::make_shared<Http1Exchange>(*this, context_.loop(), std::move(request), head, options,
                                              parser.keep_alive() && !draining_ && !eof_, message.version() >= 11);
  parser_.reset();
  const auto exchange = exchange_;
  if (context_.http) {
    context_.http->handle(exchange);
    return;
  }
  HttpResponse none;
  none.status = 404;
  none.body = Bytes(std::string("not found\n"));
  exchange->respond(std::move(none));
}

void Http1Session::refuse(int status, std::string_view text) {
  context_.probe.protocol_errors.add();
  ending_ = true;
  std::string answer = "HTTP/1.1 " + std::to_string(status) + " " + reason_phrase(status) +
                       "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
                       std::to_string(text.size()) + "\r\n\r\n";
  send(answer.append(text));
  context_.transport.close_when_sent({Code::kCancelled, "refused a request"});
}

void Http1Session::send_head(const HttpResponse& response, const Http1Exchange& exchange, bool stream) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_phrase(response.status) + "\r\n";
  const auto add = [&](std::string_view name, std::string_view value) {
    head.append(name).append(": ");
    // A line break would let a value forge headers.
    for (char c : value) head.push_back(c == '\r' || c == '\n' ? ' ' : c);
    head.append("\r\n");
  };
  if (!response.content_type.empty()) add("Content-Type", response.content_type);
  if (stream && exchange.chunked()) add("Transfer-Encoding", "chunked");
  if (!stream && response.status != 204 && response.status != 304)
    add("Content-Length", std::to_string(response.body.size()));
  if (!exchange.keep_alive() || draining_ || (stream && !exchange.chunked())) add("Connection", "close");
  else if (!exchange.chunked()) add("Connection", "keep-alive");  // HTTP/1.0 asked for it
  for (const auto& [name, value] : response.headers) add(name, value);
  send(head.append("\r\n"));
}

void Http1Session::finished(bool keep) {
  exchange_.reset();
  since_ = context_.loop().now();
  if (!keep || draining_ || eof_) {
    ending_ = true;
    context_.transport.close_when_sent({Code::kCancelled, "ended in order"});
    return;
  }
  context_.transport.pause_reading(false);
  if (!in_.empty() && !processing_) {
    // Not from within the handler of the request before.
    context_.loop().post([weak = std::weak_ptr(context_.transport.shared_from_this()), this] {
      if (const auto transport = weak.lock(); transport && !transport->closed()) process();
    });
  }
}

void Http1Session::sent() {
  if (exchange_) {
    const auto exchange = exchange_;
    exchange->sent(context_.transport.queued());
  }
}

// A client may close its side and still wait for the answer, but not listen to
// an endless one.
bool Http1Session::eof() {
  eof_ = true;
  return exchange_ != nullptr && !exchange_->streaming();
}

void Http1Session::closed() {
  ending_ = true;
  if (const auto exchange = std::move(exchange_)) exchange->detach(true);
}

void Http1Session::drain() {
  draining_ = true;
  if (!exchange_ && !parser_) {
    ending_ = true;
    context_.transport.close_when_sent({Code::kCancelled, "stopping"});
  }
}

bool Http1Session::overdue(Instant now) {
  const auto& limits = context_.limits;
  const Transport& transport = context_.transport;
  if (transport.blocked()) return now - transport.blocked_since() > limits.stall_timeout;
  if (exchange_ || ending_) return false;
  if (parser_ && !parser_->is_header_done()) return now - since_ > limits.handshake_timeout;
  if (parser_) return now - since_ > limits.body_timeout;
  return now - since_ > (first_ ? limits.handshake_timeout : limits.idle_timeout);
}

void Http1Exchange::respond(HttpResponse response) {
  if (!session_ || streaming_) return;
  if (options_) response.body = Bytes();
  session_->send_head(response, *this, false);
  if (!head_) session_->send(std::move(response.body));
  finish();
}

void Http1Exchange::start_stream(HttpResponse head) {
  if (!session_ || streaming_) return;
  head.body = Bytes();
  if (options_) return respond(std::move(head));
  streaming_ = true;
  session_->send_head(head, *this, true);
  if (head_) finish();
}

void Http1Exchange::write(Bytes chunk) {
  if (!session_ || !streaming_ || chunk.empty()) return;
  if (chunked_) {
    std::array<char, 20> size;
    const auto end = std::to_chars(size.data(), size.data() + size.size(), chunk.size(), 16).ptr;
    session_->send(std::string_view(size.data(), static_cast<std::size_t>(end - size.data())));
    session_->send(std::string_view("\r\n"));
  }
  session_->send(std::move(chunk));
  if (chunked_) session_->send(std::string_view("\r\n"));
  if (session_->queued() > kDrainBelow) above_ = true;
}

void Http1Exchange::end() {
  if (!session_ || !streaming_) return;
  if (chunked_) session_->send(std::string_view("0\r\n\r\n"));
  finish();
}

std::size_t Http1Exchange::queued() const { return session_ ? session_->queued() : 0; }

void Http1Exchange::sent(std::size_t queued) {
  if (!above_ || queued >= kDrainBelow) return;
  above_ = false;
  if (drain_) drain_();
}

void Http1Exchange::finish() {
  Http1Session* session = session_;
  detach(false);
  session->finished(keep_alive_ && (!streaming_ || chunked_ || head_));
}

void Http1Exchange::detach(bool cancelled) {
  const auto self = shared_from_this();
  session_ = nullptr;
  // A callback that runs now, or owns this exchange, is destroyed on a later turn.
  auto drain = std::make_shared<Function<void()>>(std::move(drain_));
  auto cancel = std::make_shared<Function<void()>>(std::move(cancel_));
  drain_ = nullptr;
  cancel_ = nullptr;
  if (cancelled && *cancel) (*cancel)();
  if (*drain || *cancel) loop_.post([drain, cancel, self] {});
}

}  // namespace

std::unique_ptr<Protocol> make_http1(ConnectionContext context) {
  return std::make_unique<Http1Session>(std::move(context));
}

}  // namespace leeward::net
