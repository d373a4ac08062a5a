// An HTTP/2 server connection over nghttp2. Internal to net.
//
// nghttp2 asks for output at the end of a turn (fill); DATA frames take their
// payload from the stream's output without an extra copy. Windows are opened
// as data is taken in; what bounds memory is the number of streams times the
// largest message.
#pragma once

#include <unordered_map>

#include "net/http2_stream.h"

struct nghttp2_session;

namespace leeward::net {

class Http2Session final : public Protocol {
 public:
  explicit Http2Session(ConnectionContext context);
  ~Http2Session() override;

  Result<void> receive(std::string_view data) override;
  bool fill() override;
  void blocked() override { bound_output(); }
  void closed() override;
  void drain() override;
  bool overdue(Instant now) override;

  // For streams.
  struct HeaderField {
    std::string_view name, value;
  };
  ConnectionContext& context() { return context_; }
  // Sends the head; the body, if any, is pulled from the stream's output.
  void respond(Http2Stream& stream, const std::vector<HeaderField>& head, bool has_body);
  void output_changed(Http2Stream& stream);
  void reset(Http2Stream& stream, std::uint32_t error_code);

 private:
  friend struct Http2Callbacks;
  struct Slot {
    HeaderBlock headers;
    bool oversized = false;
    std::shared_ptr<Http2Stream> stream;
  };
  void dispatch(std::int32_t id, Slot& slot);
  void refuse(std::int32_t id);  // a malformed request: its stream is reset
  std::size_t pending_output() const;
  void bound_output();

  ConnectionContext context_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<std::int32_t, std::unique_ptr<Slot>> slots_;
  std::vector<std::shared_ptr<Http2Stream>> drained_;
  Executor::TimerId goaway_timer_ = 0;
  std::string broken_;    // nghttp2's words for the last protocol error
  bool held_ = false;     // output waits for the transport, not for windows
  bool paused_ = false;   // not read from
  bool closed_ = false;
};

}  // namespace leeward::net
