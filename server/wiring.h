// Puts the parts together: the only place, with main.cc, that names concrete
// classes of more than one folder. Which loop runs on which thread is decided
// here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace leeward {

// A running node. Made, asked and stopped by the main thread.
class Daemon {
 public:
  // Opens storage and listeners and starts all loops; health paths answer from
  // before storage is opened. `progress` is told what takes long (replay).
  // Errors: kInUse, kLineage, kNewerFormat, kCorrupt, kIo for the data directory
  // (exit code 3); kInvalid for what the configuration names (2); else 1.
  static Result<std::unique_ptr<Daemon>> start(const config::Loaded& loaded,
                                               const std::function<void(const std::string&)>& progress);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // SIGHUP: certificates, log level and limits of `fresh`; the log file is
  // reopened. What cannot change while running is named in the log and ignored.
  void reload(const config::Loaded& fresh);
  // Looks whether certificate files have changed and reloads them. Called often.
  void check_files();
  // What the main thread does a few times a second: tells log and peer link what
  // the node has learnt of itself, samples round trips.
  void tick();
  void give_up_leadership();
  void dump_flight_recorder();
  // Transfers leadership, drains and flushes; false when that took over `limit`.
  bool stop(Duration limit);

  // One line for systemd's STATUS=.
  std::string status_line() const;
  // True while the core loop turns and the disk answers within its limit.
  bool healthy() const;
  // After stop(): no call is under way any more. Else it must not be destroyed.
  bool quiet() const;
  // What the process ends by, for the next one to tell; stop() says so itself.
  void ends_by_signal();
  // The same of a start that a signal ends, said by its handler: it was asked for.
  static void ends_while_starting() noexcept;
  // Set when the node cannot go on: leave, with exit code 3 when its data is
  // damaged (kCorrupt), another cluster's (kLineage) or of a format that this
  // version does not read (kNewerFormat), else 1 (a failed fsync).
  std::optional<Error> failure() const;

 private:
  class Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Adds to `loaded` what is wrong with the certificate files that it names, a
// line each; one that is not valid now is a warning.
void check_certificates(config::Loaded& loaded);

// The version of this build, "0.1.0".
const char* version();
std::uint32_t newest_format();  // that it knows: base/format.h
const char* revision();  // the commit that was built, "-dirty" behind it if files differ; or "unknown"

}  // namespace leeward
