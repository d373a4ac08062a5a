// The Log port over a bounded queue and one writing thread. README.md has the
// formats and the rules for dropping, repetition and rotation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/clock.h"
#include "ports/log.h"
#include "telemetry/flight_recorder.h"

namespace leeward::telemetry {

enum class LogFormat { kJson, kPretty };

struct LogOptions {
  Level level = Level::kInfo;
  LogFormat format = LogFormat::kJson;
  std::string output = "stderr";  // or a path
  std::uint64_t max_size = 100_MiB;
  std::uint64_t max_backups = 5;
  Duration max_age = 30 * 24h;    // 0: backups do not age
  std::size_t queue_bytes = 4_MiB;
  NodeId node;
  std::string region;
  FlightRecorder* recorder = nullptr;  // takes events of info and above, whatever `level` says; outlives the logger
};

class Logger final : public Log {
 public:
  // `clock` outlives the logger. Errors: kIo when the file cannot be opened.
  static Result<std::unique_ptr<Logger>> open(LogOptions options, const Clock& clock);
  ~Logger() override;  // writes what is queued
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  bool enabled(Level level) const override;
  void write(Level level, std::string_view message, std::initializer_list<Field> fields) override;

  void set_level(Level level);
  void set_epoch(Epoch epoch);  // shown in every line; 0: left out
  void reopen();                // the file may have been moved away
  void flush();                 // returns when all that is queued has been written; for stops and tests
  std::uint64_t dropped() const;

 private:
  class Impl;
  explicit Logger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// "debug", "info", "warn", "error"; else kInvalid.
Result<Level> parse_level(std::string_view text);

}  // namespace leeward::telemetry
