// The last minutes of this process in memory of fixed size, for when it is gone
// or nobody was looking: log events of level info and above, whatever the log's
// own level, and each second the times of the stages. README.md has the format.
//
// record(), text(): any thread; record() takes no lock and allocates nothing.
// dump(): from handlers of signals too.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ports/clock.h"
#include "ports/log.h"

namespace leeward::telemetry {

class FlightRecorder {
 public:
  static constexpr std::size_t kEvents = 8192;
  static constexpr std::size_t kEventBytes = 384;  // of one event, its number included: 3 MiB in all

  // `clock` outlives it.
  explicit FlightRecorder(const Clock& clock);

  // Fields that do not fit are left out, and the event says so.
  void record(Level level, std::string_view message, std::span<const Field> fields) noexcept;

  // Oldest first, a JSON object a line.
  std::string text() const;
  // Appends what was recorded from the event numbered `from` on, as text() does;
  // the number to go on from. What the ring has lost by then is passed over.
  std::uint64_t text_since(std::uint64_t from, std::string& out) const;
  // The same. False when the descriptor did not take all of it.
  bool dump(int fd) const noexcept;

 private:
  static constexpr std::size_t kWords = kEventBytes / sizeof(std::uint64_t) - 1;
  static constexpr std::size_t kTextBytes = kWords * sizeof(std::uint64_t);
  // Written by one thread at a time; whoever reads meanwhile sees it by the number.
  struct Event {
    std::atomic<std::uint64_t> number{0};  // 0: none, or being written
    std::array<std::atomic<std::uint64_t>, kWords> text{};
  };
  using Text = std::array<char, kTextBytes>;  // ends at the first NUL
  bool read(std::uint64_t number, Text& out) const noexcept;

  const Clock& clock_;
  const std::unique_ptr<std::array<Event, kEvents>> ring_;
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace leeward::telemetry
