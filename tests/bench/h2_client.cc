#include "h2_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <stdexcept>

namespace leeward::bench {
namespace {

void append_frame(std::string& out, std::string_view message) {
  const std::uint32_t size = htonl(static_cast<std::uint32_t>(message.size()));
  out.push_back('\0');
  out.append(reinterpret_cast<const char*>(&size), 4);
  out.append(message);
}

nghttp2_nv header(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

struct Stream {
  std::string out;            // framed, not yet taken
  std::size_t out_taken = 0;
  bool open_for_sending = false;
  std::string in;             // response bytes with prefixes
  std::function<void(std::string_view)> on_message;
  Connection::Done done;
  Reply reply;
};

}  // namespace

class Connection::Impl {
 public:
  Impl(Loop& loop, int epoll, std::string address) : loop(loop), epoll_(epoll), address(std::move(address)) {
    connect_socket();
    nghttp2_session_callbacks* callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 16 << 20},
                                               {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, 2);
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, 64 << 20);
  }

  ~Impl() {
    nghttp2_session_del(session_);
    if (fd_ >= 0) close(fd_);
  }

  int submit(std::string_view path, std::string_view request, bool keep_open,
             std::function<void(std::string_view)> on_message, Done done) {
    auto stream = std::make_unique<Stream>();
    if (!request.empty() || !keep_open) append_frame(stream->out, request);
    stream->open_for_sending = keep_open;
    stream->on_message = std::move(on_message);
    stream->done = std::move(done);
    if (failed) {
      stream->done(stream->reply);
      return -1;
    }
    const nghttp2_nv headers[] = {header(":method", "POST"),
                                  header(":scheme", "http"),
                                  header(":path", path),
                                  header(":authority", address),
                                  header("content-type", "application/grpc"),
                                  header("te", "trailers")};
    nghttp2_data_provider provider{};
    provider.source.ptr = stream.get();
    provider.read_callback = read_body;
    const int id = nghttp2_submit_request(session_, nullptr, headers, std::size(headers), &provider, stream.get());
    if (id < 0) {
      stream->done(stream->reply);
      return -1;
    }
    streams[id] = std::move(stream);
    return id;
  }

  void send(int id, std::string_view message) {
    auto found = streams.find(id);
    if (found == streams.end()) return;
    append_frame(found->second->out, message);
    nghttp2_session_resume_data(session_, id);
  }

  void readable() {
    char buffer[256 * 1024];
    while (!failed) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (n <= 0) return fail();
      if (nghttp2_session_mem_recv(session_, reinterpret_cast<uint8_t*>(buffer), n) < 0) return fail();
      if (n < static_cast<ssize_t>(sizeof buffer)) return;
    }
  }

  void writable() {
    if (!connected) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return fail();
      connected = true;
    }
    flush();
  }

  void flush() {
    if (failed || !connected) return;
    while (pending_.size() < 1 << 20) {
      const uint8_t* data;
      const ssize_t n = nghttp2_session_mem_send(session_, &data);
      if (n < 0) return fail();
      if (n == 0) break;
      pending_.append(reinterpret_cast<const char*>(data), n);
    }
    if (!pending_.empty()) {
      const ssize_t n = ::send(fd_, pending_.data(), pending_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) return fail();
      if (n > 0) pending_.erase(0, n);
    }
    watch(!pending_.empty());
  }

  void fail() {
    if (failed) return;
    failed = true;
    connected = false;
    epoll_ctl(epoll_, EPOLL_CTL_DEL, fd_, nullptr);
    auto lost = std::move(streams);
    streams.clear();
    for (auto& [id, stream] : lost) stream->done(Reply{});
  }

  Loop& loop;
  int epoll_;
  std::string address;
  bool connected = false;
  bool failed = false;
  std::map<int, std::unique_ptr<Stream>> streams;

 private:
  void connect_socket() {
    const auto colon = address.rfind(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
    if (colon == std::string::npos || inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr) != 1)
      throw std::runtime_error("not an IPv4 host:port: " + address);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_event event{EPOLLIN | EPOLLOUT, {.ptr = this}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd_, &event);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) fail();
  }

  void watch(bool write) {
    if (write == watching_write_) return;
    watching_write_ = write;
    epoll_event event{EPOLLIN | (write ? EPOLLOUT : 0u), {.ptr = this}};
    epoll_ctl(epoll_, EPOLL_CTL_MOD, fd_, &event);
  }

  static ssize_t read_body(nghttp2_session*, int32_t, uint8_t* buffer, size_t length, uint32_t* flags,
                           nghttp2_data_source* source, void*) {
    auto& stream = *static_cast<Stream*>(source->ptr);
    const std::size_t n = std::min(length, stream.out.size() - stream.out_taken);
    std::memcpy(buffer, stream.out.data() + stream.out_taken, n);
    stream.out_taken += n;
    if (stream.out_taken == stream.out.size()) {
      stream.out.clear();
      stream.out_taken = 0;
      if (!stream.open_for_sending) *flags |= NGHTTP2_DATA_FLAG_EOF;
      else if (n == 0) return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(n);
  }

  static Stream* find(nghttp2_session* session, int32_t id) {
    return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
                       const uint8_t* value, size_t value_length, uint8_t, void*) {
    Stream* stream = find(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    const std::string_view key(reinterpret_cast<const char*>(name), name_length);
    const std::string text(reinterpret_cast<const char*>(value), value_length);
    if (key == "grpc-status") stream->reply.grpc_status = std::atoi(text.c_str());
    if (key == "grpc-message") stream->reply.message = text;
    return 0;
  }

  static int on_data(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t length, void*) {
    Stream* stream = find(session, id);
    if (stream == nullptr) return 0;
    stream->in.append(reinterpret_cast<const char*>(data), length);
    std::size_t taken = 0;
    while (stream->in.size() - taken >= 5) {
      std::uint32_t size;
      std::memcpy(&size, stream->in.data() + taken + 1, 4);
      size = ntohl(size);
      if (stream->in.size() - taken - 5 < size) break;
      const std::string_view message(stream->in.data() + taken + 5, size);
      if (stream->on_message) stream->on_message(message);
      else stream->reply.body.assign(message);
      taken += 5 + size;
    }
    stream->in.erase(0, taken);
    return 0;
  }

  static int on_close(nghttp2_session*, int32_t id, uint32_t, void* user) {
    auto& self = *static_cast<Impl*>(user);
    auto found = self.streams.find(id);
    if (found == self.streams.end()) return 0;
    auto stream = std::move(found->second);
    self.streams.erase(found);
    stream->done(stream->reply);
    return 0;
  }

  int fd_ = -1;
  nghttp2_session* session_ = nullptr;
  std::string pending_;
  bool watching_write_ = true;
};

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
Loop::~Loop() { close(epoll_); }

void Loop::turn(std::chrono::milliseconds timeout) {
  for (Connection* c : connections_) c->impl_->flush();
  epoll_event events[64];
  const int n = epoll_wait(epoll_, events, 64, static_cast<int>(timeout.count()));
  for (int i = 0; i < n; ++i) {
    auto* connection = static_cast<Connection::Impl*>(events[i].data.ptr);
    if (connection->failed) continue;
    if (events[i].events & (EPOLLERR | EPOLLHUP)) {
      connection->readable();
      connection->fail();
      continue;
    }
    if (events[i].events & EPOLLOUT) connection->writable();
    if (events[i].events & EPOLLIN) connection->readable();
  }
  for (Connection* c : connections_) c->impl_->flush();
}

Connection::Connection(Loop& loop, std::string address)
    : impl_(std::make_unique<Impl>(loop, loop.epoll_, std::move(address))) {
  loop.connections_.push_back(this);
}
Connection::~Connection() { std::erase(impl_->loop.connections_, this); }
bool Connection::connected() const { return impl_->connected; }
bool Connection::failed() const { return impl_->failed; }
const std::string& Connection::address() const { return impl_->address; }
std::size_t Connection::in_flight() const { return impl_->streams.size(); }
void Connection::call(std::string_view path, std::string_view request, Done done) {
  impl_->submit(path, request, false, nullptr, std::move(done));
}
int Connection::open_stream(std::string_view path, std::function<void(std::string_view)> on_message, Done done) {
  return impl_->submit(path, {}, true, std::move(on_message), std::move(done));
}
void Connection::send(int stream, std::string_view message) { impl_->send(stream, message); }

}  // namespace leeward::bench
