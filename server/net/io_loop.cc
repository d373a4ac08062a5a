#include "net/io_loop.h"

#include <time.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/impl/src.hpp>
#include <map>
#include <mutex>
#include <unordered_map>

#include "base/check.h"

namespace leeward::net {

namespace asio = boost::asio;

// Readiness handlers run in one turn at most, before posted work and output
// get their turn.
constexpr int kHandlersPerTurn = 512;

struct IoLoop::Impl {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::ip::tcp::resolver resolver{context};
  std::atomic<bool> stopped{false};
  std::atomic<std::thread::id> thread{};

  std::mutex mutex;
  std::vector<Callback> inbox;  // under mutex
  std::vector<Callback> running;

  std::map<std::pair<Instant, TimerId>, Callback> timers;
  std::unordered_map<TimerId, Instant> due;
  TimerId next_timer = 1;

  std::vector<std::shared_ptr<TurnEnd>> turn_ends, ending;
  std::string read_buffer = std::string(64_KiB, '\0');
  std::string spare_buffer;
};

IoLoop::IoLoop() : impl_(std::make_unique<Impl>()) {}

// What callbacks own may cancel timers and close descriptors as it goes, so it
// goes while everything else still stands.
IoLoop::~IoLoop() {
  const auto inbox = std::move(impl_->inbox);
  const auto timers = std::exchange(impl_->timers, {});
  const auto turn_ends = std::move(impl_->turn_ends);
}

void IoLoop::run() {
  impl_->thread = std::this_thread::get_id();
  while (!impl_->stopped) turn();
  impl_->thread = std::thread::id();
}

void IoLoop::stop() {
  impl_->stopped = true;
  asio::post(impl_->context, [] {});
}

void IoLoop::turn() {
  if (impl_->timers.empty()) {
    impl_->context.run_one();
  } else {
    const Duration wait = std::max(impl_->timers.begin()->first.first - now(), Duration(0));
    if (wait.count() > 0) impl_->context.run_one_for(wait);
  }
  for (int i = 0; i < kHandlersPerTurn && impl_->context.poll_one() > 0; ++i) {
  }
  run_timers();
  // A task may ask for another one: that belongs to this turn too, once.
  for (int round = 0; round < 2 && !impl_->turn_ends.empty(); ++round) {
    impl_->ending.swap(impl_->turn_ends);
    for (auto& task : impl_->ending) task->turn_end();
    impl_->ending.clear();
  }
  if (!impl_->turn_ends.empty()) asio::post(impl_->context, [] {});
}

void IoLoop::run_timers() {
  if (impl_->timers.empty()) return;
  const Instant present = now();
  while (!impl_->timers.empty() && impl_->timers.begin()->first.first <= present) {
    auto node = impl_->timers.extract(impl_->timers.begin());
    impl_->due.erase(node.key().second);
    node.mapped()();
  }
}

void IoLoop::post(Callback callback) {
  bool wake;
  {
    std::lock_guard lock(impl_->mutex);
    wake = impl_->inbox.empty();
    impl_->inbox.push_back(std::move(callback));
  }
  if (wake) asio::post(impl_->context, [this] { drain_inbox(); });
}

void IoLoop::drain_inbox() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->running.swap(impl_->inbox);
  }
  for (auto& callback : impl_->running) {
    callback();
    callback = nullptr;
  }
  impl_->running.clear();
}

Executor::TimerId IoLoop::after(Duration delay, Callback callback) {
  const TimerId id = impl_->next_timer++;
  const Instant due = now() + delay;
  impl_->timers.emplace(std::pair(due, id), std::move(callback));
  impl_->due.emplace(id, due);
  return id;
}

void IoLoop::cancel(TimerId timer) {
  const auto found = impl_->due.find(timer);
  if (found == impl_->due.end()) return;
  impl_->timers.erase({found->second, timer});
  impl_->due.erase(found);
}

bool IoLoop::on_loop() const { return impl_->thread.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

Instant IoLoop::now() const {
  timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return Instant(std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec));
}

void IoLoop::at_turn_end(std::shared_ptr<TurnEnd> task) { impl_->turn_ends.push_back(std::move(task)); }

std::string& IoLoop::read_buffer() { return impl_->read_buffer; }
std::string& IoLoop::spare_buffer() { return impl_->spare_buffer; }

void IoLoop::resolve(const HostPort& target, Function<void(Result<std::vector<SocketAddress>>)> done) {
  if (auto numeric = numeric_addresses(target); !numeric.empty()) {
    done(std::move(numeric));
    return;
  }
  auto shared = std::make_shared<decltype(done)>(std::move(done));
  impl_->resolver.async_resolve(
      target.host, std::to_string(target.port),
      [shared, target](const boost::system::error_code& error, const asio::ip::tcp::resolver::results_type& found) {
        if (error) {
          (*shared)(Error{Code::kUnavailable, "cannot resolve " + target.host + ": " + error.message()});
          return;
        }
        std::vector<SocketAddress> addresses;
        for (const auto& entry : found)
          addresses.emplace_back(entry.endpoint().data(), static_cast<unsigned>(entry.endpoint().size()));
        (*shared)(std::move(addresses));
      });
}

struct FdWatch::State : std::enable_shared_from_this<FdWatch::State> {
  struct Direction {
    Function<void()> ready;
    bool wanted = false;
    bool armed = false;
  };

  State(asio::io_context& context, int fd) : descriptor(context, fd) {}

  void arm(Direction& direction, asio::posix::descriptor_base::wait_type type) {
    if (closed || direction.armed || !direction.wanted) return;
    direction.armed = true;
    descriptor.async_wait(type, [self = shared_from_this(), &direction, type](const boost::system::error_code& error) {
      direction.armed = false;
      if (self->closed || error == asio::error::operation_aborted) return;
      if (direction.wanted) direction.ready();
      self->arm(direction, type);
    });
  }

  asio::posix::stream_descriptor descriptor;
  Direction read, write;
  bool closed = false;
};

FdWatch::FdWatch(IoLoop& loop, int fd, Function<void()> readable, Function<void()> writable)
    : state_(std::make_shared<State>(loop.impl_->context, fd)) {
  state_->read.ready = std::move(readable);
  state_->write.ready = std::move(writable);
}

FdWatch::~FdWatch() {
  state_->closed = true;
  boost::system::error_code ignored;  // the descriptor is gone either way
  state_->descriptor.close(ignored);
}

int FdWatch::release() {
  state_->closed = true;
  return state_->descriptor.release();
}

int FdWatch::fd() const { return state_->descriptor.native_handle(); }

void FdWatch::want_read(bool on) {
  state_->read.wanted = on;
  state_->arm(state_->read, asio::posix::descriptor_base::wait_read);
}

void FdWatch::want_write(bool on) {
  state_->write.wanted = on;
  state_->arm(state_->write, asio::posix::descriptor_base::wait_write);
}

}  // namespace leeward::net
