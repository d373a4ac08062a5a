#include "telemetry/logger.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/json.h"

namespace leeward::telemetry {
namespace {

constexpr std::uint64_t kBurst = 20;          // lines of one message within kWindow
constexpr Duration kWindow = 1s;
constexpr std::size_t kMessagesTracked = 1024;
constexpr const char* kLevelNames[] = {"debug", "info", "warn", "error"};
constexpr const char* kPrettyNames[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
constexpr const char* kColours[] = {"\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[31m"};
constexpr const char* kPlain = "\x1b[0m";

bool is_common_field(std::string_view key) {
  return key == "ts" || key == "level" || key == "msg" || key == "node" || key == "region" || key == "epoch";
}

struct BrokenTime {
  std::tm utc{};
  long microseconds = 0;
};

BrokenTime broken(WallTime time) {
  const auto us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
  BrokenTime out;
  const std::time_t seconds = us >= 0 ? us / 1'000'000 : 0;
  gmtime_r(&seconds, &out.utc);
  out.microseconds = us >= 0 ? us % 1'000'000 : 0;
  return out;
}

// Quoted when it would not read as one word.
void append_pretty_value(std::string& out, const Field& field) {
  if (field.quoted && (field.value.empty() || field.value.find_first_of(" =\"\n\t\x1b\\") != std::string::npos))
    append_json_string(out, field.value);
  else
    out += field.value;
}

std::string failure(const std::string& what, const std::string& path) {
  return what + " " + path + ": " + std::strerror(errno);
}

// The file (or stderr) that lines go to. The writing thread's own.
class Output {
 public:
  explicit Output(const LogOptions& options) : options_(options), file_(options.output != "stderr") {}
  ~Output() { close(); }

  Result<void> open() {
    if (!file_) {
      fd_ = STDERR_FILENO;
      return {};
    }
    fd_ = ::open(options_.output.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd_ < 0)
      return Error{Code::kIo, failure("cannot open the log file", options_.output) + "; see log.output"};
    struct stat status {};
    size_ = fstat(fd_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
    return {};
  }

  bool write(std::string_view line, WallTime now) {
    if (file_ && size_ > 0 && size_ + line.size() > options_.max_size) rotate(now);
    if (fd_ < 0 && !open().ok()) return false;
    while (!line.empty()) {
      const ssize_t n = ::write(fd_, line.data(), line.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      size_ += static_cast<std::uint64_t>(n);
      line.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  void reopen() {
    if (!file_) return;
    close();
    (void)open();  // write() tries again
  }

 private:
  std::string backup(std::uint64_t n) const { return options_.output + "." + std::to_string(n); }

  void close() {
    if (file_ && fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  // A rename that fails leaves the older name in place: at worst a backup is
  // lost, never the line at hand.
  void rotate(WallTime now) {
    close();
    if (options_.max_backups == 0) {
      (void)::unlink(options_.output.c_str());
    } else {
      (void)::unlink(backup(options_.max_backups).c_str());
      for (std::uint64_t n = options_.max_backups; n > 1; --n) (void)::rename(backup(n - 1).c_str(), backup(n).c_str());
      (void)::rename(options_.output.c_str(), backup(1).c_str());
      if (options_.max_age > 0s) remove_aged(now);
    }
    (void)open();
  }

  void remove_aged(WallTime now) {
    for (std::uint64_t n = 1; n <= options_.max_backups; ++n) {
      struct stat status {};
      if (::stat(backup(n).c_str(), &status) != 0) continue;
      const WallTime written{std::chrono::seconds(status.st_mtime)};
      if (now - written > options_.max_age) (void)::unlink(backup(n).c_str());
    }
  }

  const LogOptions& options_;
  const bool file_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace

class Logger::Impl {
 public:
  Impl(LogOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock), output_(options_), level_(options_.level) {
    if (options_.format == LogFormat::kPretty && options_.output == "stderr")
      colours_ = ::isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  }

  Result<void> start() {
    LEEWARD_TRY(output_.open());
    thread_ = std::thread([this] { run(); });
    return {};
  }

  ~Impl() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      summarise(Instant::max());
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  bool enabled(Level level) const { return logged(level) || recorded(level); }
  void set_level(Level level) { level_.store(level, std::memory_order_relaxed); }
  void set_epoch(Epoch epoch) { epoch_.store(epoch.value(), std::memory_order_relaxed); }
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

  void write(Level level, std::string_view message, std::span<const Field> fields) {
    const Instant now = clock_.now();
    // Formatting a line that is then limited costs little; holding the lock
    // while formatting would make callers wait for each other.
    std::string line = logged(level) ? format(level, message, fields) : "";
    {
      const std::lock_guard lock(mutex_);
      summarise(now);
      if (limited(level, message, now)) return;
      if (recorded(level)) options_.recorder->record(level, message, fields);
      if (line.empty()) return;
      push(std::move(line));
    }
    wake_.notify_one();
  }

  void reopen() {
    {
      const std::lock_guard lock(mutex_);
      reopen_ = true;
    }
    wake_.notify_one();
  }

  void flush() {
    std::unique_lock lock(mutex_);
    summarise(clock_.now());
    wake_.notify_one();
    idle_.wait(lock, [this] { return queue_.empty() && !writing_ && !reopen_; });
  }

 private:
  struct Window {
    Level level = Level::kInfo;
    Instant start;
    std::uint64_t written = 0, suppressed = 0;
  };

  bool logged(Level level) const { return level >= level_.load(std::memory_order_relaxed); }
  bool recorded(Level level) const { return options_.recorder != nullptr && level >= Level::kInfo; }

  // Callers hold mutex_ in the next four.

  bool limited(Level level, std::string_view message, Instant now) {
    auto it = windows_.find(message);
    if (it == windows_.end()) {
      if (windows_.size() >= kMessagesTracked) return false;
      it = windows_.emplace(std::string(message), Window{level, now}).first;
    }
    Window& window = it->second;
    if (window.written < kBurst) {
      ++window.written;
      return false;
    }
    ++window.suppressed;
    return true;
  }

  // Closes the windows that have run out, telling what they held back.
  void summarise(Instant now) {
    if (now != Instant::max() && now < next_summary_) return;
    next_summary_ = now == Instant::max() ? now : now + kWindow / 4;
    for (auto it = windows_.begin(); it != windows_.end();) {
      const Window& window = it->second;
      if (now - kWindow < window.start) {
        ++it;
        continue;
      }
      if (window.suppressed > 0) {
        const Field repeated[] = {{"repeated", window.suppressed}};
        if (recorded(window.level)) options_.recorder->record(window.level, it->first, repeated);
        if (logged(window.level)) push(format(window.level, it->first, repeated));
      }
      it = windows_.erase(it);
    }
  }

  void push(std::string line) {
    if (queue_.size() + line.size() > options_.queue_bytes) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      ++untold_drops_;
      return;
    }
    if (untold_drops_ > 0) {
      const Field dropped[] = {{"dropped", untold_drops_}};
      untold_drops_ = 0;
      add(format(Level::kWarn, "log lines were dropped", dropped));
    }
    add(std::move(line));
  }

  void add(std::string line) {
    queue_ += line;
    ends_.push_back(queue_.size());
  }

  std::string format(Level level, std::string_view message, std::span<const Field> fields) const {
    return options_.format == LogFormat::kJson ? json(level, message, fields) : pretty(level, message, fields);
  }

  std::string json(Level level, std::string_view message, std::span<const Field> fields) const {
    const BrokenTime now = broken(clock_.wall());
    char stamp[48];
    std::snprintf(stamp, sizeof stamp, "%04d-%02d-%02dT%02d:%02d:%02d.%06ldZ", now.utc.tm_year + 1900, now.utc.tm_mon + 1,
                  now.utc.tm_mday, now.utc.tm_hour, now.utc.tm_min, now.utc.tm_sec, now.microseconds);
    JsonWriter out;
    out.begin_object().field("ts", stamp).field("level", kLevelNames[static_cast<int>(level)]).field("msg", message);
    if (options_.node) out.field("node", options_.node.value());
    if (!options_.region.empty()) out.field("region", options_.region);
    if (const std::uint64_t epoch = epoch_.load(std::memory_order_relaxed)) out.field("epoch", epoch);
    for (const Field& field : fields) {
      out.key(is_common_field(field.key) ? "event_" + std::string(field.key) : std::string(field.key));
      // "inf" and "nan" are numbers to C++ and not to JSON.
      const bool number = !field.quoted && field.value.find("inf") == std::string::npos && field.value.find("nan") == std::string::npos;
      if (number) out.raw(field.value);
      else out.value(field.value);
    }
    out.end_object();
    return out.text() + "\n";
  }

  std::string pretty(Level level, std::string_view message, std::span<const Field> fields) const {
    const BrokenTime now = broken(clock_.wall());
    char stamp[32];
    std::snprintf(stamp, sizeof stamp, "%02d:%02d:%02d.%03ld ", now.utc.tm_hour, now.utc.tm_min, now.utc.tm_sec,
                  now.microseconds / 1000);
    const int i = static_cast<int>(level);
    std::string out = stamp;
    out += colours_ ? kColours[i] + std::string(kPrettyNames[i]) + kPlain : std::string(kPrettyNames[i]);
    out += " ";
    out += message;
    if (fields.size() > 0) out += " ";
    for (const Field& field : fields) {
      out += " ";
      out += field.key;
      out += "=";
      append_pretty_value(out, field);
    }
    return out + "\n";
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait_for(lock, std::chrono::milliseconds(500), [this] { return stopping_ || reopen_ || !queue_.empty(); });
      summarise(clock_.now());
      if (queue_.empty() && !reopen_) {
        if (stopping_) return;
        continue;
      }
      std::string lines = std::exchange(queue_, {});
      const std::vector<std::size_t> ends = std::exchange(ends_, {});
      const bool reopen = std::exchange(reopen_, false);
      writing_ = true;
      lock.unlock();
      if (reopen) output_.reopen();
      write_lines(lines, ends);
      lock.lock();
      writing_ = false;
      idle_.notify_all();
    }
  }

  // Line by line, since a rotation may fall between any two; stderr in one go.
  void write_lines(const std::string& lines, const std::vector<std::size_t>& ends) {
    if (options_.output == "stderr") {
      if (!output_.write(lines, clock_.wall())) dropped_.fetch_add(ends.size(), std::memory_order_relaxed);
      return;
    }
    std::size_t start = 0;
    for (const std::size_t end : ends) {
      if (!output_.write(std::string_view(lines).substr(start, end - start), clock_.wall()))
        dropped_.fetch_add(1, std::memory_order_relaxed);
      start = end;
    }
  }

  const LogOptions options_;
  const Clock& clock_;
  Output output_;
  bool colours_ = false;
  std::atomic<Level> level_;
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::uint64_t> dropped_{0};

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::string queue_;               // whole lines
  std::vector<std::size_t> ends_;   // where each of them ends
  std::map<std::string, Window, std::less<>> windows_;
  Instant next_summary_{};
  std::uint64_t untold_drops_ = 0;
  bool reopen_ = false, writing_ = false, stopping_ = false;
  std::thread thread_;
};

Logger::Logger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Logger::~Logger() = default;

Result<std::unique_ptr<Logger>> Logger::open(LogOptions options, const Clock& clock) {
  auto impl = std::make_unique<Impl>(std::move(options), clock);
  LEEWARD_TRY(impl->start());
  return std::unique_ptr<Logger>(new Logger(std::move(impl)));
}

bool Logger::enabled(Level level) const { return impl_->enabled(level); }
void Logger::write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  impl_->write(level, message, {fields.begin(), fields.size()});
}
void Logger::set_level(Level level) { impl_->set_level(level); }
void Logger::set_epoch(Epoch epoch) { impl_->set_epoch(epoch); }
void Logger::reopen() { impl_->reopen(); }
void Logger::flush() { impl_->flush(); }
std::uint64_t Logger::dropped() const { return impl_->dropped(); }

Result<Level> parse_level(std::string_view text) {
  for (int i = 0; i < 4; ++i)
    if (text == kLevelNames[i]) return static_cast<Level>(i);
  return Error{Code::kInvalid, "\"" + std::string(text) + "\" is not a level; expected debug, info, warn or error"};
}

}  // namespace leeward::telemetry
