#include "telemetry/flight_recorder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/json.h"

namespace leeward::telemetry {
namespace {

constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warn", "error"};

// JSON into a buffer of fixed size: what does not fit whole is left out.
class Line {
 public:
  explicit Line(std::span<char> out) : out_(out) {}

  void begin(WallTime time, Level level, std::string_view message) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::microseconds>(time - day));
    char stamp[64];
    const int size = std::snprintf(stamp, sizeof stamp, "%04d-%02u-%02uT%02ld:%02ld:%02ld.%06ldZ", static_cast<int>(date.year()),
                                   static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                   static_cast<long>(clock.hours().count()), static_cast<long>(clock.minutes().count()),
                                   static_cast<long>(clock.seconds().count()), static_cast<long>(clock.subseconds().count()));
    put("{\"ts\":\"");
    put({stamp, static_cast<std::size_t>(size)});
    put("\",\"level\":\"");
    put(kLevels[static_cast<std::size_t>(level)]);
    put("\",\"msg\":");
    text(message);
    whole_ = at_;
  }
  void field(const Field& field) {
    put(",");
    text(field.key);
    put(":");
    if (field.quoted || field.value.find_first_of("in") != std::string::npos) text(field.value);  // inf and nan are no JSON
    else put(field.value);
    if (cut_) {
      at_ = whole_;
      left_out_ = true;
      cut_ = false;
    }
    whole_ = at_;
  }
  void end() {
    if (left_out_) put_at_end(",\"cut\":true}");
    else put_at_end("}");
    out_[at_] = '\0';  // over what was left out
  }

 private:
  static constexpr std::size_t kEnd = sizeof(",\"cut\":true}");  // kept free, with the NUL

  void put(std::string_view bytes) {
    if (cut_ || at_ + bytes.size() + kEnd > out_.size()) {
      cut_ = true;
      return;
    }
    std::memcpy(out_.data() + at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void put_at_end(std::string_view bytes) {
    std::memcpy(out_.data() + at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void text(std::string_view value) {
    put("\"");
    while (!value.empty()) {
      const std::size_t length = utf8_length(value);  // 0: a peer's bytes, say, which no reader of JSON takes
      const char c = value.front();
      if (c == '"' || c == '\\') put("\\");
      if (length == 0) put("?");
      else if (static_cast<unsigned char>(c) < 0x20) put(" ");
      else put(value.substr(0, length));
      value.remove_prefix(std::max<std::size_t>(length, 1));
    }
    put("\"");
  }

  const std::span<char> out_;
  std::size_t at_ = 0, whole_ = 0;
  bool cut_ = false, left_out_ = false;
};

bool write_all(int fd, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

FlightRecorder::FlightRecorder(const Clock& clock) : clock_(clock), ring_(std::make_unique<std::array<Event, kEvents>>()) {}

void FlightRecorder::record(Level level, std::string_view message, std::span<const Field> fields) noexcept {
  Text text{};
  Line line(text);
  line.begin(clock_.wall(), level, message);
  for (const Field& field : fields) line.field(field);
  line.end();

  const std::uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
  Event& event = (*ring_)[number % kEvents];
  event.number.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::size_t i = 0; i < kWords; ++i) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i * sizeof word, sizeof word);
    event.text[i].store(word, std::memory_order_relaxed);
  }
  event.number.store(number, std::memory_order_release);
}

bool FlightRecorder::read(std::uint64_t number, Text& out) const noexcept {
  const Event& event = (*ring_)[number % kEvents];
  if (event.number.load(std::memory_order_acquire) != number) return false;
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::uint64_t word = event.text[i].load(std::memory_order_relaxed);
    std::memcpy(out.data() + i * sizeof word, &word, sizeof word);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  out.back() = '\0';
  return event.number.load(std::memory_order_relaxed) == number;
}

std::string FlightRecorder::text() const {
  const std::uint64_t end = next_.load(std::memory_order_acquire);
  std::string out;
  Text line;
  for (std::uint64_t n = end > kEvents ? end - kEvents : 1; n < end; ++n)
    if (read(n, line)) out.append(line.data()).push_back('\n');
  return out;
}

std::uint64_t FlightRecorder::text_since(std::uint64_t from, std::string& out) const {
  const std::uint64_t end = next_.load(std::memory_order_acquire);
  Text line;
  for (from = std::max(from, end > kEvents ? end - kEvents : 1); from < end; ++from) {
    if (read(from, line)) out.append(line.data()).push_back('\n');
    else if ((*ring_)[from % kEvents].number.load(std::memory_order_acquire) <= from) break;  // it is being written: the next time
  }
  return from;
}

bool FlightRecorder::dump(int fd) const noexcept {
  const std::uint64_t end = next_.load(std::memory_order_acquire);
  Text line;
  for (std::uint64_t n = end > kEvents ? end - kEvents : 1; n < end; ++n) {
    if (!read(n, line)) continue;
    const std::size_t size = std::strlen(line.data());
    line[size] = '\n';  // over the NUL: there is room for one
    if (!write_all(fd, {line.data(), size + 1})) return false;
  }
  return true;
}

}  // namespace leeward::telemetry
