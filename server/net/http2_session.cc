#include "net/http2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "net/grpc.h"

namespace leeward::net {

namespace {

constexpr std::uint32_t kStreamWindow = 1 << 20;
constexpr std::int32_t kConnectionWindow = 8 << 20;
// A client may cancel much at once (its own deadline passes), but not for ever.
constexpr std::uint64_t kResetBurst = 2000, kResetsPerSecond = 200;
constexpr std::size_t kAcksQueued = 1000, kSettings = 32, kContinuations = 8;
constexpr std::size_t kAnswersWaiting = 256_KiB;  // of a stream; beyond it its window is not opened again
constexpr Duration kGoawayGrace = 100ms;  // for requests on their way when the notice goes out

nghttp2_nv field(std::string_view name, std::string_view value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

bool is_token(std::string_view name) {  // RFC 9110's, of lower case
  constexpr std::string_view kTokens = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
  return !name.empty() && name.find_first_not_of(kTokens) == std::string_view::npos;
}

bool is_text(std::string_view value) {
  return std::none_of(value.begin(), value.end(), [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

bool of_connection(std::string_view name, std::string_view value) {
  return name == "connection" || name == "keep-alive" || name == "proxy-connection" || name == "transfer-encoding" ||
         name == "upgrade" || (name == "te" && value != "trailers");
}

// RFC 9113's rules for a request, but for two: what an authority looks like
// (etcdctl 3.4 sends its endpoint as written, with "http://"), and that a path
// is not empty (which gRPC answers by a status). nghttp2's own check knows no
// exception, so it is off.
bool well_formed(const HeaderBlock& headers) {
  constexpr std::array<std::string_view, 4> kPseudo = {":method", ":scheme", ":path", ":authority"};
  std::array<bool, kPseudo.size()> seen{};
  bool regular = false;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    const auto [name, value] = headers.at(i);
    if (!is_text(value)) return false;
    if (!name.starts_with(':')) {
      if (!is_token(name) || of_connection(name, value)) return false;
      regular = true;
      continue;
    }
    const auto known = std::find(kPseudo.begin(), kPseudo.end(), name);
    if (regular || known == kPseudo.end() || std::exchange(seen[static_cast<std::size_t>(known - kPseudo.begin())], true))
      return false;
  }
  return seen[0] && seen[2];
}

}  // namespace

struct Http2Callbacks {
  using Slot = Http2Session::Slot;

  static Http2Session& self(void* user) { return *static_cast<Http2Session*>(user); }
  static Slot* slot(nghttp2_session* session, std::int32_t id) {
    return static_cast<Slot*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto made = std::make_unique<Slot>();
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, made.get());
    self(user).slots_[frame->hd.stream_id] = std::move(made);
    return 0;
  }

  static int header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
                    std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                    void* user) {
    Slot* s = slot(session, frame->hd.stream_id);
    if (!s || s->stream || frame->hd.type != NGHTTP2_HEADERS) return 0;  // trailers of a request say nothing to us
    if (s->headers.bytes() + name_size + value_size > self(user).context_.limits.header_bytes)
      s->oversized = true;
    else
      s->headers.add(text(name, name_size), text(value, value_size));
    return 0;
  }

  static int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const std::int32_t id = frame->hd.stream_id;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    Slot* s = slot(session, id);
    if (!s) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        self(user).dispatch(id, *s);
      else if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))  // trailers that end nothing
        self(user).refuse(id);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && s->stream) {
      const auto stream = s->stream;
      stream->half_close();
    }
    return 0;
  }

  static int data_received(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                           std::size_t size, void*) {
    if (Slot* s = slot(session, id); s && s->stream) {
      const auto stream = s->stream;
      stream->receive(text(data, size));
    }
    // The connection's window opens at once: it is shared. The stream's stays as
    // it is while its answers pile up, or a client with closed windows could
    // make them pile up for ever.
    nghttp2_session_consume_connection(session, size);
    if (Slot* s = slot(session, id); s && s->stream && s->stream->output().queued() > kAnswersWaiting)
      s->stream->hold(size);
    else
      nghttp2_session_consume_stream(session, id, size);
    return 0;
  }

  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    auto& slots = self(user).slots_;
    const auto found = slots.find(id);
    if (found == slots.end()) return 0;
    const auto owned = std::move(found->second);
    slots.erase(found);
    if (owned->stream) owned->stream->detach();
    return 0;
  }

  // What the client began and we have already answered in full is of no use.
  // (Not for plain HTTP: clients take the reset for a failure of the whole.)
  static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void*) {
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    const Slot* s = slot(session, frame->hd.stream_id);
    if (s && s->stream && !s->stream->reset_when_answered()) return 0;
    if (nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
  }

  // nghttp2 sends no header block over 64 KiB, and the client would wait for it for ever.
  static int frame_not_sent(nghttp2_session* session, const nghttp2_frame* frame, int why, void*) {
    if (frame->hd.type != NGHTTP2_HEADERS || why == NGHTTP2_ERR_STREAM_CLOSING || !slot(session, frame->hd.stream_id)) return 0;
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
  }

  static ssize_t read(nghttp2_session* session, std::int32_t id, std::uint8_t*, std::size_t wanted,
                      std::uint32_t* flags, nghttp2_data_source* source, void* user) {
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    if (self(user).context_.transport.queued() >= Transport::kQueueTarget) {
      self(user).held_ = true;
      return NGHTTP2_ERR_PAUSE;
    }
    auto ready = stream.output().ready(wanted);
    if (!ready) {
      const bool cut = stream.output().begun();
      stream.output_failed(ready.error());
      if (cut) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
      ready = std::size_t{0};
    }
    if (stream.output_ended() && *ready == stream.output().queued()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      std::vector<std::pair<std::string, std::string>> fields;
      stream.trailers(fields);
      if (!fields.empty()) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        std::vector<nghttp2_nv> nva;
        for (const auto& [name, value] : fields) nva.push_back(field(name, value));
        nghttp2_submit_trailer(session, id, nva.data(), nva.size());
      }
    } else if (*ready == 0) {
      return NGHTTP2_ERR_DEFERRED;
    }
    if (*ready > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return static_cast<ssize_t>(*ready);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* header, std::size_t size,
                       nghttp2_data_source* source, void* user) {
    constexpr std::size_t kFrameHeader = 9;
    auto& stream = *static_cast<Http2Stream*>(source->ptr);
    Transport& transport = self(user).context_.transport;
    LEEWARD_CHECK(frame->data.padlen == 0, "no padding was asked for");
    transport.write(text(header, kFrameHeader));
    stream.output().take(size, transport);
    self(user).drained_.push_back(stream.shared_from_this());
    return 0;
  }

  static int error(nghttp2_session*, int, const char* message, std::size_t size, void* user) {
    self(user).broken_.assign(message, size);
    return 0;
  }

  static const nghttp2_session_callbacks* table() {
    static const nghttp2_session_callbacks* const made = [] {
      nghttp2_session_callbacks* c = nullptr;
      LEEWARD_CHECK(nghttp2_session_callbacks_new(&c) == 0, "no memory for nghttp2");
      nghttp2_session_callbacks_set_on_begin_headers_callback(c, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback(c, header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(c, frame_received);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data_received);
      nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_closed);
      nghttp2_session_callbacks_set_on_frame_send_callback(c, frame_sent);
      nghttp2_session_callbacks_set_on_frame_not_send_callback(c, frame_not_sent);
      nghttp2_session_callbacks_set_send_data_callback(c, send_data);
      nghttp2_session_callbacks_set_error_callback2(c, error);
      return c;
    }();
    return made;
  }

  static const nghttp2_option* options() {
    static const nghttp2_option* const made = [] {
      nghttp2_option* o = nullptr;
      LEEWARD_CHECK(nghttp2_option_new(&o) == 0, "no memory for nghttp2");
      nghttp2_option_set_no_auto_window_update(o, 1);
      nghttp2_option_set_no_http_messaging(o, 1);  // well_formed() looks instead
      nghttp2_option_set_no_closed_streams(o, 1);
      nghttp2_option_set_stream_reset_rate_limit(o, kResetBurst, kResetsPerSecond);
      nghttp2_option_set_max_outbound_ack(o, kAcksQueued);
      nghttp2_option_set_max_settings(o, kSettings);
      nghttp2_option_set_max_continuations(o, kContinuations);
      return o;
    }();
    return made;
  }
};

std::unique_ptr<Protocol> make_http2(ConnectionContext context) {
  return std::make_unique<Http2Session>(std::move(context));
}

Http2Session::Http2Session(ConnectionContext context) : context_(std::move(context)) {
  LEEWARD_CHECK(nghttp2_session_server_new2(&session_, Http2Callbacks::table(), this, Http2Callbacks::options()) == 0,
                "no memory for an HTTP/2 session");
  const std::array<nghttp2_settings_entry, 3> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, context_.limits.streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(context_.limits.header_bytes)},
  }};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  context_.transport.schedule();
}

Http2Session::~Http2Session() {
  if (goaway_timer_ != 0) context_.loop().cancel(goaway_timer_);
  nghttp2_session_del(session_);
}

Result<void> Http2Session::receive(std::string_view data) {
  const ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  if (closed_) return {};
  context_.transport.schedule();
  if (n < 0)
    return Error{Code::kInvalid, broken_.empty() ? nghttp2_strerror(static_cast<int>(n)) : broken_};
  if (context_.transport.blocked()) bound_output();
  return {};
}

void Http2Session::dispatch(std::int32_t id, Slot& slot) {
  if (slot.oversized) {
    const std::array<nghttp2_nv, 1> head = {field(":status", "431")};
    nghttp2_submit_response(session_, id, head.data(), head.size(), nullptr);
    return;
  }
  if (!well_formed(slot.headers)) return refuse(id);
  const bool post = slot.headers.find(":method") == "POST";
  if (post && is_grpc_content(slot.headers.find("content-type").value_or(""))) {
    context_.probe.rpcs.add();
    auto stream = std::make_shared<RpcStream>(*this, id, std::move(slot.headers));
    slot.stream = stream;
    stream->start(context_.rpc);
    return;
  }
  context_.probe.http_requests.add();
  auto stream = std::make_shared<HttpStream>(*this, id, slot.headers);
  slot.stream = stream;
  stream->start(context_.http);
}

void Http2Session::refuse(std::int32_t id) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
}

void Http2Session::respond(Http2Stream& stream, const std::vector<HeaderField>& head, bool has_body) {
  std::vector<nghttp2_nv> nva;
  nva.reserve(head.size());
  for (const auto& [name, value] : head) nva.push_back(field(name, value));
  nghttp2_data_provider provider;
  provider.source.ptr = &stream;
  provider.read_callback = Http2Callbacks::read;
  nghttp2_submit_response(session_, stream.id(), nva.data(), nva.size(), has_body ? &provider : nullptr);
  context_.transport.schedule();
}

void Http2Session::output_changed(Http2Stream& stream) {
  nghttp2_session_resume_data(session_, stream.id());  // an error: it was not deferred, which is as good
  context_.transport.schedule();
}

void Http2Session::reset(Http2Stream& stream, std::uint32_t error_code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id(), error_code);
  context_.transport.schedule();
}

bool Http2Session::fill() {
  if (closed_) return false;
  held_ = false;
  for (;;) {
    while (context_.transport.queued() < Transport::kQueueTarget) {
      const std::uint8_t* data = nullptr;
      const ssize_t n = nghttp2_session_mem_send(session_, &data);
      if (n < 0) {
        context_.transport.close({Code::kInvalid, nghttp2_strerror(static_cast<int>(n))});
        return false;
      }
      if (n == 0) break;
      context_.transport.write(text(data, static_cast<std::size_t>(n)));
    }
    if (drained_.empty()) break;
    std::vector<std::shared_ptr<Http2Stream>> drained;
    drained.swap(drained_);
    for (auto& stream : drained) stream->after_output();
    if (closed_) return false;
    for (auto& stream : drained)
      if (stream->output().queued() <= kAnswersWaiting)
        if (const std::size_t held = stream->take_held()) nghttp2_session_consume_stream(session_, stream->id(), held);
  }
  if (!nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_))
    context_.transport.close_when_sent(broken_.empty() ? Error{Code::kCancelled, "ended in order"}
                                                       : Error{Code::kInvalid, broken_});
  return held_ || context_.transport.queued() >= Transport::kQueueTarget;
}

std::size_t Http2Session::pending_output() const {
  std::size_t bytes = context_.transport.queued();
  for (const auto& [id, slot] : slots_)
    if (slot->stream) bytes += slot->stream->output().queued();
  return bytes;
}

// Only while the kernel takes nothing: a client that closed its windows must
// be read from, or it could never open them.
void Http2Session::bound_output() {
  const bool over = context_.transport.blocked() && pending_output() > context_.limits.output_bytes;
  if (over == paused_) return;
  paused_ = over;
  context_.transport.pause_reading(over);
}

void Http2Session::closed() {
  closed_ = true;
  if (goaway_timer_ != 0) context_.loop().cancel(goaway_timer_);
  auto slots = std::move(slots_);
  slots_.clear();
  for (auto& [id, slot] : slots)
    if (slot->stream) slot->stream->detach();
}

void Http2Session::drain() {
  if (closed_ || goaway_timer_ != 0) return;
  nghttp2_submit_shutdown_notice(session_);
  context_.transport.schedule();
  goaway_timer_ = context_.loop().after(kGoawayGrace, [this] {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    context_.transport.schedule();
  });
}

bool Http2Session::overdue(Instant now) {
  // An answer may hold a snapshot of the state, so it does not wait for ever for
  // a window. A stream that goes on (a watch) bounds itself by on_drain.
  for (const auto& [id, slot] : slots_)
    if (slot->stream && slot->stream->stuck(now, context_.limits.stall_timeout)) reset(*slot->stream, NGHTTP2_CANCEL);
  const Transport& transport = context_.transport;
  return transport.blocked() && now - transport.blocked_since() > context_.limits.stall_timeout;
}

}  // namespace leeward::net
