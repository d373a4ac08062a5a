// The operator's console: a page, its style and its script, and the stream of
// documents that the page shows, one a second. README.md, "Console".
//
// Threads: open() runs on the loop of its exchange, the same one for all; stop()
// on any. While nobody looks nothing is made.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/executor.h"
#include "ports/http.h"
#include "ports/status.h"

namespace leeward::admin {

// A file of the page; nullptr: there is none by that path.
struct ConsoleFile {
  std::string_view path;  // "/", "/console.css", "/console.js"
  std::string_view content_type;
  std::string_view text;
};
const ConsoleFile* console_file(std::string_view path);

inline constexpr std::string_view kConsoleStream = "/console/events";
// Nothing from elsewhere, no script or style within the page, no form.
inline constexpr const char* kConsolePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

// What happened, as lines of the flight recorder, sorted as the console shows it.
class ConsoleEvents {
 public:
  static constexpr std::size_t kEvents = 40;  // the newest; older ones are dropped
  static constexpr std::size_t kSlow = 20;    // likewise

  // Lines of JSON, in the order of time.
  void take(std::string_view lines);
  // "events": [...], "slow": [{"request": {}, "second": {}}], "second": {}: the
  // newest first; a slow request has no "second" until the one in which it ended is over.
  void write(JsonWriter& out) const;

 private:
  struct Slow {
    std::string request, second;
  };
  void take_line(std::string_view line);

  std::deque<std::string> events_;
  std::deque<Slow> slow_;
  std::string second_;  // the newest
};

// What one document is made of.
struct ConsoleView {
  NodeStatus status;
  std::vector<NamedCheck> checks;  // of readiness
  Duration age{};                  // of the status
  std::int64_t time_ms = 0;        // since 1970, by this node's clock
  Duration max_lag{};              // dr.max_lag
  // {"cluster_status":{}, "standby_status":{}, "dr_status":{}}: what leewardctl
  // prints of that status; an error is told in their place.
  Result<std::string> answers = std::string("{}");
};
// One JSON object in one line. Pure.
std::string console_document(const ConsoleView& view, const ConsoleEvents& events);

class Console : public std::enable_shared_from_this<Console> {
 public:
  static constexpr std::size_t kStreams = 16;        // at once; one more is refused
  static constexpr std::size_t kBehind = 256_KiB;    // a reader that has so much to take still is let go
  static constexpr Duration kInterval = 1s;

  struct Sources {
    std::function<ConsoleView()> view;
    // The flight recorder's: appends lines from a number on, the next number. Unset: none.
    std::function<std::uint64_t(std::uint64_t from, std::string& lines)> flight_since;
  };
  // `sources` are called on the loop, while a stream is open.
  explicit Console(Sources sources) : sources_(std::move(sources)) {}

  // Answers with a stream, or with 503 and why.
  void open(const std::shared_ptr<HttpExchange>& exchange);
  // Ends all streams, on their loop; from then on there are none.
  void stop();

 private:
  void tick();
  Bytes next_document();
  void drop_closed();

  const Sources sources_;
  std::vector<std::shared_ptr<HttpExchange>> streams_;
  ConsoleEvents events_;
  std::uint64_t next_event_ = 0;
  bool ticking_ = false;
  std::atomic<Executor*> loop_{nullptr};  // of the streams, once there was one
  std::atomic<bool> stopped_{false};
};

}  // namespace leeward::admin
