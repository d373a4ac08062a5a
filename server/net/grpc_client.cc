#include "net/grpc_client.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/codec.h"
#include "net/client_channel.h"

namespace leeward::net {
namespace {

constexpr std::size_t kFrameHead = 5;  // compressed flag, big-endian length
constexpr std::int32_t kAnswersWindow = 4 << 20;  // of many answers: a link of 100 ms should not idle

// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
GrpcCode code_of_http(int status) {
  switch (status) {
    case 400: return GrpcCode::kInternal;
    case 401: return GrpcCode::kUnauthenticated;
    case 403: return GrpcCode::kPermissionDenied;
    case 404: return GrpcCode::kUnimplemented;
    case 429: case 502: case 503: case 504: return GrpcCode::kUnavailable;
    default: return GrpcCode::kUnknown;
  }
}

// One stream of one HTTP/2 session.
class Exchange {
 public:
  using Take = std::function<Result<void>(std::string_view)>;
  // `take`: for a call with many answers; else null.
  Exchange(const HttpCall& call, const ClientEndpoint& endpoint, const Take* take) : call_(call), take_(take) {
    codec::put_u8(request_, 0);
    codec::put_be32(request_, static_cast<std::uint32_t>(call.body.size()));
    request_ += call.body;
    nghttp2_session_callbacks* callbacks = nullptr;
    LEEWARD_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0, "no memory for nghttp2");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, closed);
    LEEWARD_CHECK(nghttp2_session_client_new(&session_, callbacks, this) == 0, "no memory for nghttp2");
    nghttp2_session_callbacks_del(callbacks);
    submit(endpoint);
  }
  ~Exchange() { nghttp2_session_del(session_); }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  Result<GrpcAnswer> run(ClientChannel& channel) {
    while (!closed_) {
      if (auto written = write(channel); !written.ok()) return written.error();
      if (!nghttp2_session_want_read(session_)) break;
      const auto more = channel.receive();
      if (!more) return more.error();
      std::string plain = std::move(channel.plain());
      channel.plain().clear();
      if (nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(plain.data()), plain.size()) < 0)
        return Error{Code::kInvalid, "what answers is not gRPC"};
      if (too_large_) return Error{Code::kInvalid, "the answer is larger than it may be"};
      if (take_) {
        LEEWARD_TRY(hand_out());
        channel.give_up_after(call_.timeout);
      }
      if (!*more && !closed_) return Error{Code::kUnknown, "the answer was cut off"};
    }
    return answer();
  }

 private:
  static nghttp2_nv pair(std::string_view name, std::string_view value) {
    return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
            reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  }

  // The messages that are whole.
  Result<void> hand_out() {
    std::string_view rest = body_;
    for (;;) {
      std::string_view in = rest;
      std::uint8_t compressed = 0;
      std::uint32_t size = 0;
      if (!codec::get_u8(in, compressed) || !codec::get_be32(in, size) || size > in.size()) break;
      if (compressed != 0) return Error{Code::kInvalid, "the answer is compressed, which was not asked for"};
      LEEWARD_TRY((*take_)(in.substr(0, size)));
      rest = in.substr(size);
    }
    body_.erase(0, body_.size() - rest.size());
    return {};
  }

  void submit(const ClientEndpoint& endpoint) {
    const nghttp2_settings_entry window{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kAnswersWindow};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, take_ ? &window : nullptr, take_ ? 1 : 0);
    if (take_) nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kAnswersWindow);
    const std::string authority = endpoint.authority();
    std::vector<nghttp2_nv> headers = {pair(":method", "POST"), pair(":scheme", endpoint.tls ? "https" : "http"), pair(":path", call_.path),
                                       pair(":authority", authority), pair("content-type", "application/grpc"), pair("te", "trailers")};
    for (const auto& [name, value] : call_.headers) headers.push_back(pair(name, value));
    nghttp2_data_provider body{};
    body.source.ptr = this;
    body.read_callback = read;
    nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &body, nullptr);  // copies the headers
  }

  Result<void> write(ClientChannel& channel) {
    for (;;) {
      const std::uint8_t* bytes = nullptr;
      const auto size = nghttp2_session_mem_send(session_, &bytes);
      if (size < 0) return Error{Code::kInvalid, "what answers is not gRPC"};
      if (size == 0) return {};
      LEEWARD_TRY(channel.write({reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)}));
    }
  }

  Result<GrpcAnswer> answer() const {
    GrpcAnswer out;
    if (http_status_ == 0) return Error{Code::kUnknown, "the connection was closed without an answer"};
    if (grpc_status_ < 0 && http_status_ != 200) out.code = code_of_http(http_status_);
    else if (grpc_status_ >= 0 && grpc_status_ <= static_cast<int>(GrpcCode::kUnauthenticated)) out.code = static_cast<GrpcCode>(grpc_status_);
    out.message = message_;
    std::string_view rest = body_;
    std::uint8_t compressed = 0;
    std::uint32_t size = 0;
    if (codec::get_u8(rest, compressed) && codec::get_be32(rest, size) && compressed == 0 && size <= rest.size()) out.body = rest.substr(0, size);
    return out;
  }

  static ssize_t read(nghttp2_session*, std::int32_t, std::uint8_t* out, std::size_t room, std::uint32_t* flags,
                      nghttp2_data_source* source, void*) {
    auto* self = static_cast<Exchange*>(source->ptr);
    const std::size_t n = std::min(room, self->request_.size() - self->sent_);
    std::memcpy(out, self->request_.data() + self->sent_, n);
    self->sent_ += n;
    if (self->sent_ == self->request_.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  }

  static int header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                    std::size_t value_size, std::uint8_t, void* user) {
    auto* self = static_cast<Exchange*>(user);
    const std::string_view key(reinterpret_cast<const char*>(name), name_size), text(reinterpret_cast<const char*>(value), value_size);
    if (key == ":status") std::from_chars(text.data(), text.data() + text.size(), self->http_status_);
    if (key == "grpc-status") std::from_chars(text.data(), text.data() + text.size(), self->grpc_status_);
    if (key == "grpc-message") self->message_ = text.substr(0, 256);
    return 0;
  }

  static int data(nghttp2_session*, std::uint8_t, std::int32_t, const std::uint8_t* bytes, std::size_t size, void* user) {
    auto* self = static_cast<Exchange*>(user);
    if (self->body_.size() + size > self->call_.max_response + kFrameHead) self->too_large_ = true;
    else self->body_.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }

  static int closed(nghttp2_session*, std::int32_t, std::uint32_t, void* user) {
    static_cast<Exchange*>(user)->closed_ = true;
    return 0;
  }

  const HttpCall& call_;
  const Take* const take_;
  nghttp2_session* session_ = nullptr;
  std::string request_, body_, message_;
  std::size_t sent_ = 0;
  int http_status_ = 0, grpc_status_ = -1;
  bool closed_ = false, too_large_ = false;
};

Result<GrpcAnswer> exchange_over_channel(const HttpCall& call, const Exchange::Take* take) {
  const auto endpoint = parse_endpoint(call);
  if (!endpoint) return endpoint.error();
  auto channel = ClientChannel::open(call, *endpoint, true);
  if (!channel.ok()) return channel.error();
  Exchange exchange(call, *endpoint, take);
  auto answer = exchange.run(**channel);
  if (!answer.ok()) return Error{answer.error().code, call.endpoint + ": " + answer.error().message};
  return answer;
}

}  // namespace

Result<GrpcAnswer> grpc_request(const HttpCall& call) { return exchange_over_channel(call, nullptr); }

Result<GrpcAnswer> grpc_stream(const HttpCall& call, const std::function<Result<void>(std::string_view message)>& take) {
  return exchange_over_channel(call, &take);
}

}  // namespace leeward::net
