#include "net/http2_stream.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "base/codec.h"
#include "base/traceparent.h"
#include "net/grpc.h"
#include "net/http2_session.h"

namespace leeward::net {

namespace {

constexpr std::size_t kPrefixBytes = 5;       // compressed flag, big-endian length
constexpr std::size_t kSourcePiece = 256_KiB;
constexpr std::size_t kDiscardMost = 64_MiB;
constexpr std::size_t kTrailerBytes = 4_KiB;  // of the text and each trailer; a whole head may have 64 KiB when it is encoded
constexpr const char* kLate = "context deadline exceeded";  // as Go says it

std::string message_prefix(std::uint64_t size) {
  std::string prefix(1, '\0');
  codec::put_be32(prefix, static_cast<std::uint32_t>(size));
  return prefix;
}

}  // namespace

void StreamOutput::push(Bytes body, bool prefixed) {
  queued_ += body.size() + (prefixed ? kPrefixBytes : 0);
  items_.push({std::move(body), nullptr, 0, prefixed});
}

void StreamOutput::push(std::unique_ptr<MessageSource> source) {
  const std::uint64_t size = source->size();
  queued_ += size + kPrefixBytes;
  items_.push({Bytes(), std::move(source), size, true});
}

void StreamOutput::clear() {
  items_.clear();
  staged_.clear();
  staged_bytes_ = queued_ = 0;
}

// Moves the next piece to where DATA frames take from.
Result<void> StreamOutput::stage() {
  Item& item = items_.front();
  Bytes piece = std::move(item.body);
  if (item.source && item.left > 0) {
    auto next = item.source->next(static_cast<std::size_t>(std::min<std::uint64_t>(item.left, kSourcePiece)));
    if (!next) return next.error();
    if (next->empty() || next->size() > item.left)
      return Error{Code::kCorrupt, "a message source gave another size than it had said"};
    piece = std::move(*next);
  }
  const auto add = [&](Bytes bytes) {
    staged_bytes_ += bytes.size();
    staged_.push(std::move(bytes));
  };
  if (item.prefixed) {
    add(Bytes(message_prefix(item.source ? item.left : piece.size())));
    item.prefixed = false;
  }
  if (item.source) item.left -= piece.size();
  if (!piece.empty()) add(std::move(piece));
  begun_ = item.source && item.left > 0;
  if (!begun_) items_.pop();
  return {};
}

Result<std::size_t> StreamOutput::ready(std::size_t wanted) {
  while (staged_bytes_ < wanted && !items_.empty()) LEEWARD_TRY(stage());
  return std::min(staged_bytes_, wanted);
}

void StreamOutput::take(std::size_t count, Transport& transport) {
  staged_bytes_ -= count;
  queued_ -= count;
  while (count > 0) {
    Bytes& front = staged_.front();
    const std::size_t n = std::min(count, front.size());
    if (n == front.size()) {
      transport.write(std::move(front));
      staged_.pop();
    } else {
      transport.write(front.slice(0, n));
      front = front.slice(n);
    }
    count -= n;
  }
}

Http2Stream::Http2Stream(Http2Session& session, std::int32_t id)
    : session_(&session), loop_(session.context().loop()), id_(id) {}

void Http2Stream::detach() {
  session_ = nullptr;
  output_.clear();
  if (finished_) return;
  finished_ = true;
  call(cancel_callback_);
  if (calling_ == 0) drop_callbacks();
}

void Http2Stream::drop_callbacks() {
  if (timer_ != 0) loop_.cancel(timer_), timer_ = 0;
  // A callback often owns the call: let them go only after this returns.
  const auto self = weak_from_this().lock();
  message_callback_ = nullptr;
  half_close_callback_ = nullptr;
  cancel_callback_ = nullptr;
  drain_callback_ = nullptr;
}

void Http2Stream::after_output() {
  if (!above_ || output_.queued() >= kDrainBelow) return;
  above_ = false;
  if (!finished_) call(drain_callback_);
}

bool Http2Stream::stuck(Instant now, Duration limit) {
  if (!output_ended_ || output_.empty() || output_.queued() != seen_queued_) {
    seen_queued_ = output_.queued();
    seen_since_ = now;
    return false;
  }
  return now - seen_since_ > limit;
}

void Http2Stream::changed() {
  if (output_.queued() > kDrainBelow) above_ = true;
  if (session_) session_->output_changed(*this);
}

void Http2Stream::end_output() {
  finished_ = true;
  output_ended_ = true;
  changed();
  if (calling_ == 0) drop_callbacks();
}

RpcStream::RpcStream(Http2Session& session, std::int32_t id, HeaderBlock headers)
    : Http2Stream(session, id), headers_(std::move(headers)), peer_(session.context().peer) {
  method_ = headers_.find(":path").value_or("");
  if (const auto parent = headers_.find("traceparent")) trace_ = parse_traceparent(*parent);
}

void RpcStream::start(RpcHandler* handler) {
  if (!method_.starts_with('/'))
    return finish({GrpcCode::kUnimplemented, "malformed method name: \"" + std::string(method_) + "\"", {}});
  if (const auto timeout = headers_.find("grpc-timeout")) {
    const auto duration = parse_grpc_timeout(*timeout);
    if (!duration)
      return finish({GrpcCode::kInternal, "malformed grpc-timeout: \"" + std::string(*timeout) + "\"", {}});
    deadline_ = loop_.now() + *duration;
    timer_ = loop_.after(*duration, [weak = weak_from_this(), this] {
      if (const auto self = weak.lock()) fail(GrpcCode::kDeadlineExceeded, kLate);
    });
  }
  if (!handler) return finish({GrpcCode::kUnimplemented, "this port serves no gRPC", {}});
  handler->start(std::shared_ptr<RpcCall>(shared_from_this(), this));
}

void RpcStream::on_message(Function<void(Bytes)> callback) {
  if (!finished_) message_callback_ = std::move(callback);
}
void RpcStream::on_half_close(Function<void()> callback) {
  if (!finished_) half_close_callback_ = std::move(callback);
}
void RpcStream::on_cancel(Function<void()> callback) {
  if (!finished_) cancel_callback_ = std::move(callback);
}
void RpcStream::on_drain(Function<void()> callback) {
  if (!finished_) drain_callback_ = std::move(callback);
}

void RpcStream::sending() {
  if (response_begun_) return changed();
  response_begun_ = true;
  if (output_.queued() > kDrainBelow) above_ = true;
  session_->respond(*this, {{":status", "200"}, {"content-type", "application/grpc"}}, true);
}

void RpcStream::count_sent(std::uint64_t bytes) {
  if (session_) session_->context().probe.rpc_bytes_sent.add(bytes);
}

void RpcStream::send(Bytes message) {
  if (finished_) return;
  count_sent(message.size());
  output_.push(std::move(message), true);
  sending();
}

void RpcStream::send(std::unique_ptr<MessageSource> message) {
  if (finished_) return;
  count_sent(message->size());
  output_.push(std::move(message));
  sending();
}

void RpcStream::finish(RpcStatus status) {
  if (finished_) return;
  status_ = std::move(status);
  if (!response_begun_) {
    response_begun_ = true;
    std::vector<std::pair<std::string, std::string>> fields;
    trailers(fields);
    std::vector<Http2Session::HeaderField> head{{":status", "200"}, {"content-type", "application/grpc"}};
    for (const auto& [name, value] : fields) head.push_back({name, value});
    if (session_) session_->respond(*this, head, false);
  }
  end_output();
}

void RpcStream::trailers(std::vector<std::pair<std::string, std::string>>& out) {
  out.emplace_back("grpc-status", std::to_string(static_cast<int>(status_.code)));
  if (!status_.message.empty()) out.emplace_back("grpc-message", percent_encode(cut_text(status_.message, kTrailerBytes)));
  for (auto& [name, value] : status_.trailers) out.emplace_back(std::move(name), cut_text(value, kTrailerBytes));
}

void RpcStream::fail(GrpcCode code, std::string message) {
  if (finished_) return;
  const auto self = shared_from_this();
  auto cancel = std::move(cancel_callback_);
  cancel_callback_ = nullptr;
  const bool cut = output_.begun();  // within a message no status can follow
  output_.clear();
  if (cut && session_) session_->reset(*this, NGHTTP2_CANCEL);
  finish({code, std::move(message), {}});
  if (cancel) cancel();
}

void RpcStream::output_failed(const Error& error) {
  status_ = {error.code == Code::kDeadline ? GrpcCode::kDeadlineExceeded : GrpcCode::kUnavailable, error.message, {}};
  output_.clear();
  output_ended_ = true;
  if (finished_) return;
  finished_ = true;
  // nghttp2 is in the middle of its output: handlers hear of it afterwards.
  loop_.post([self = shared_from_this(), this] {
    call(cancel_callback_);
    drop_callbacks();
  });
}

void RpcStream::receive(std::string_view data) {
  while (!data.empty() && !finished_) {
    if (!in_message_) {
      const std::size_t n = std::min(kPrefixBytes - prefix_.size(), data.size());
      prefix_.append(data.substr(0, n));
      data.remove_prefix(n);
      if (prefix_.size() < kPrefixBytes || !begin_message(prefix_)) continue;
      prefix_.clear();
      in_message_ = true;
    }
    const std::size_t n = std::min(expected_ - message_.size(), data.size());
    message_.append(data.substr(0, n));
    data.remove_prefix(n);
    if (message_.size() == expected_) end_message(Bytes(std::move(message_)));
  }
  if (in_message_ && expected_ == 0 && !finished_) end_message(Bytes());
}

bool RpcStream::begin_message(std::string_view prefix) {
  std::uint8_t compressed = 0;
  std::uint32_t size = 0;
  codec::get_u8(prefix, compressed);
  codec::get_be32(prefix, size);
  if (compressed != 0) {
    const std::string encoding(headers_.find("grpc-encoding").value_or("identity"));
    if (compressed == 1 && encoding != "identity") {
      status_.trailers.emplace_back("grpc-accept-encoding", "identity");
      fail(GrpcCode::kUnimplemented, "grpc: Decompressor is not installed for grpc-encoding \"" + encoding + "\"");
    } else {
      fail(GrpcCode::kInternal, "grpc: compressed flag set with identity or empty encoding");
    }
    return false;
  }
  const std::size_t limit = session_->context().limits.message_bytes;
  if (size > limit) {
    fail(GrpcCode::kResourceExhausted, "grpc: received message larger than max (" + std::to_string(size) + " vs. " +
                                           std::to_string(limit) + ")");
    return false;
  }
  expected_ = size;
  message_.clear();
  message_.reserve(std::min<std::size_t>(size, 64_KiB));  // no more on the word of a prefix alone
  return true;
}

void RpcStream::end_message(Bytes message) {
  in_message_ = false;
  message_.clear();
  // Its timer may not have had its turn yet, and the answer be made at once.
  if (deadline_ && loop_.now() >= *deadline_) return fail(GrpcCode::kDeadlineExceeded, kLate);
  if (session_) session_->context().probe.rpc_bytes_received.add(message.size());
  call(message_callback_, std::move(message));
}

void RpcStream::half_close() {
  if (finished_) return;
  if (in_message_ || !prefix_.empty()) return fail(GrpcCode::kInternal, "the request ends within a message");
  call(half_close_callback_);
}

HttpStream::HttpStream(Http2Session& session, std::int32_t id, const HeaderBlock& headers) : Http2Stream(session, id) {
  request_.peer = session.context().peer;
  std::string_view target;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const auto [name, value] = headers.at(i);
    if (name == ":method") request_.method = value;
    else if (name == ":path") target = value;
    else if (name == ":authority") request_.headers.emplace_back("host", value);
    else if (!name.starts_with(':')) request_.headers.emplace_back(name, value);
  }
  const auto question = target.find('?');
  if (question != std::string_view::npos) request_.query = target.substr(question + 1);
  auto path = decode_path(target.substr(0, question));
  malformed_ = !path;
  request_.path = path.value_or("");
  head_ = request_.method == "HEAD";
  options_ = request_.method == "OPTIONS";
  if (head_ || options_) request_.method = "GET";
}

void HttpStream::start(HttpHandler* handler) {
  handler_ = handler;
  if (malformed_) return respond_plain(400, "malformed path\n");
  if (is_grpc_content(request_.header("content-type"))) return respond_plain(405, "gRPC is called by POST\n");
  if (!handler) return respond_plain(404, "not found\n");
}

void HttpStream::receive(std::string_view data) {
  if (finished_ || response_begun_) {
    discarded_ += data.size();
    if (discarded_ > kDiscardMost && session_) session_->reset(*this, NGHTTP2_NO_ERROR);
    return;
  }
  if (body_.size() + data.size() > session_->context().limits.body_bytes)
    return respond_plain(413, "the request body is too large\n");
  body_.append(data);
}

void HttpStream::half_close() {
  if (finished_ || response_begun_) return;
  if (const auto length = request_.header("content-length"); !length.empty() && length != std::to_string(body_.size()))
    return respond_plain(400, "the body is not as long as its content-length says\n");
  request_.body = Bytes(std::move(body_));
  handler_->handle(std::shared_ptr<HttpExchange>(shared_from_this(), this));
}

void HttpStream::respond_plain(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.body = Bytes(std::move(text));
  respond(std::move(response));
}

void HttpStream::begin(HttpResponse response, bool stream) {
  response_begun_ = true;
  if (options_) stream = false, response.body = Bytes();
  const std::string status = std::to_string(response.status), length = std::to_string(response.body.size());
  std::vector<Http2Session::HeaderField> head{{":status", status}};
  if (!response.content_type.empty()) head.push_back({"content-type", response.content_type});
  if (!stream && response.status != 204 && response.status != 304) head.push_back({"content-length", length});
  for (const auto& [name, value] : response.headers) head.push_back({name, value});
  const bool has_body = !head_ && (stream || !response.body.empty());
  if (has_body && !response.body.empty()) output_.push(std::move(response.body), false);
  session_->respond(*this, head, has_body);
  if (head_ || options_) end_output();
}

void HttpStream::respond(HttpResponse response) {
  if (finished_ || response_begun_ || !session_) return;
  begin(std::move(response), false);
  if (!finished_) end_output();
}

void HttpStream::start_stream(HttpResponse head) {
  if (finished_ || response_begun_ || !session_) return;
  head.body = Bytes();
  begin(std::move(head), true);
}

void HttpStream::write(Bytes chunk) {
  if (finished_ || !response_begun_ || chunk.empty()) return;
  output_.push(std::move(chunk), false);
  changed();
}

void HttpStream::end() {
  if (finished_ || !response_begun_) return;
  end_output();
}

void HttpStream::on_drain(Function<void()> callback) {
  if (!finished_) drain_callback_ = std::move(callback);
}
void HttpStream::on_cancel(Function<void()> callback) {
  if (!finished_) cancel_callback_ = std::move(callback);
}

void HttpStream::output_failed(const Error&) { output_ended_ = true; }

}  // namespace leeward::net
