// leewardd: arguments, signals and the service manager. The node itself is
// wiring.h's Daemon.
#include <systemd/sd-daemon.h>

#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

#include "config/command_line.h"
#include "config/config.h"
#include "rehearse.h"
#include "wiring.h"

// jemalloc reads this at start: few arenas, since a handful of threads do all
// work, and freed pages go back to the system within a second.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0";
}

namespace leeward {
namespace {

constexpr int kRuntimeFailure = 1, kUsage = 2, kDataUnusable = 3;
constexpr std::chrono::seconds kStopLimit{30};
constexpr std::chrono::seconds kLeaveLimit{10};
constexpr std::chrono::seconds kStopSlack{5};  // of it, for threads to end

struct Arguments {
  config::Sources sources;
  bool check = false, print = false, rehearse = false;
};

Arguments parse(int argc, char** argv) {
  const std::vector<std::string_view> given(argv + 1, argv + argc);
  const auto line = config::parse_command_line(given);
  if (!line.ok()) {
    std::fprintf(stderr, "leewardd: %s\n", line.error().message.c_str());
    std::exit(kUsage);
  }
  if (line->help || line->version) {
    std::fputs(line->help ? config::usage().c_str() : ("leewardd " + std::string(version()) + "\nformat " + std::to_string(newest_format()) + " is the newest that it knows\n").c_str(), stdout);
    std::exit(0);
  }
  Arguments arguments;
  arguments.check = line->check_config;
  arguments.print = line->print_config;
  arguments.rehearse = line->rehearse;
  arguments.sources.dev = line->dev;
  arguments.sources.set = line->set;
  if (!line->config_file.empty()) {
    if (auto read = config::read_file(line->config_file, arguments.sources); !read.ok()) {
      std::fprintf(stderr, "leewardd: %s\n", read.error().message.c_str());
      std::exit(kUsage);
    }
  }
  for (char** variable = environ; *variable != nullptr; ++variable)
    arguments.sources.environment.emplace_back(*variable);
  return arguments;
}

config::Loaded load_or_exit(const Arguments& arguments) {
  config::Loaded loaded = config::load(arguments.sources);
  check_certificates(loaded);
  for (const auto& problem : loaded.problems) std::fprintf(stderr, "leewardd: %s\n", problem.c_str());
  for (const auto& warning : loaded.warnings) std::fprintf(stderr, "leewardd: warning: %s\n", warning.c_str());
  if (!loaded.ok()) std::exit(kUsage);
  return loaded;
}

void tell_manager_reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
             static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
}

void reload(Daemon& daemon, Arguments arguments) {
  tell_manager_reloading();
  const auto read = arguments.sources.file_name.empty() ? Result<void>()
                                                        : config::read_file(arguments.sources.file_name, arguments.sources);
  // Log file and certificates do not wait for a file that can be read.
  config::Loaded unread;
  if (!read.ok()) unread.problems.push_back(read.error().message);
  daemon.reload(read.ok() ? config::load(arguments.sources) : unread);
  sd_notify(0, "READY=1");
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// Ends the process if it is still there after `limit`: a thread that a disk
// holds can be neither joined nor asked. What is not on the disk by then is as
// after a crash.
class Deadline {
 public:
  explicit Deadline(std::chrono::seconds limit, int code = kRuntimeFailure)
      : thread_([this, limit, code](const std::stop_token& stop) {
          std::mutex mutex;
          std::unique_lock lock(mutex);
          if (wake_.wait_for(lock, stop, limit, [] { return false; }) || stop.stop_requested()) return;
          std::fprintf(stderr, "leewardd: not stopped within %lld s, the disk may not answer: leaving as after a crash\n",
                       static_cast<long long>(limit.count()));
          std::_Exit(code);
        }) {}

 private:
  std::condition_variable_any wake_;
  std::jthread thread_;
};

// Runs until a signal or a failure ends the node; the exit code.
int serve(Daemon& daemon, const Arguments& arguments, const sigset_t& signals) {
  std::uint64_t watchdog_us = 0;
  const bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
  std::string told;
  for (int turn = 0;; ++turn) {
    const timespec quarter{0, 250'000'000};
    const int signal = sigtimedwait(&signals, nullptr, &quarter);
    if (signal == SIGTERM || signal == SIGINT) break;
    if (signal == SIGHUP) reload(daemon, arguments);
    if (signal == SIGUSR1) daemon.dump_flight_recorder();
    if (signal == SIGUSR2) daemon.give_up_leadership();
    daemon.tick();
    if (const auto failure = daemon.failure()) {
      const bool damaged = failure->code == Code::kCorrupt;
      std::fprintf(stderr, "leewardd: %s%s\n", failure->message.c_str(),
                   damaged ? "; empty this node's directories and let it be refilled by its peers" : "");
      // Whatever of it was read after the start, the log's entries for one.
      const bool unusable = damaged || failure->code == Code::kLineage || failure->code == Code::kNewerFormat;
      return unusable ? kDataUnusable : kRuntimeFailure;
    }
    if (watched && daemon.healthy()) sd_notify(0, "WATCHDOG=1");
    if (turn % 20 == 19) daemon.check_files();
    if (std::string line = daemon.status_line(); line != told) {
      sd_notifyf(0, "STATUS=%s", line.c_str());
      told = std::move(line);
    }
  }
  sd_notify(0, "STOPPING=1\nSTATUS=stopping: handing leadership over");
  // A second signal ends the process at once, by the default action; from
  // before the first touch of the disk, which may not answer.
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  const sigset_t again = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &again, nullptr);
  const Deadline deadline(kStopLimit);
  daemon.ends_by_signal();
  return daemon.stop(kStopLimit - kStopSlack) ? 0 : kRuntimeFailure;
}

int exit_code(const Error& error) {
  switch (error.code) {
    case Code::kInUse:
    case Code::kLineage:
    case Code::kNewerFormat:
    case Code::kCorrupt:
    case Code::kIo: return kDataUnusable;
    case Code::kInvalid: return kUsage;
    default: return kRuntimeFailure;
  }
}

// There is nobody to be told and nothing to hand over yet, and the disk may not
// answer for long: the start is left as by a crash, which is safe at any instant.
void leave_start(int) {
  constexpr std::string_view kSaid = "leewardd: stopped while starting\n";
  (void)!write(STDERR_FILENO, kSaid.data(), kSaid.size());
  Daemon::ends_while_starting();
  std::_Exit(0);
}

// Keeps the manager patient while storage is being opened, which may take long,
// and takes the signals that end the process meanwhile; what comes after its end
// waits for serve().
class Starting {
 public:
  Starting() {
    std::signal(SIGTERM, leave_start);
    std::signal(SIGINT, leave_start);
    thread_ = std::jthread([this](const std::stop_token& stop) {
      const sigset_t taken = stop_signals();
      pthread_sigmask(SIG_UNBLOCK, &taken, nullptr);
      extend(stop);
    });
  }

 private:
  void extend(const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
      wake_.wait_for(lock, stop, 10s, [] { return false; });
    }
  }

  std::condition_variable_any wake_;
  std::jthread thread_;
};

int run(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  const config::Loaded loaded = load_or_exit(arguments);
  if (arguments.print) std::fputs(config::print(loaded).c_str(), stdout);
  if (arguments.check) std::printf("configuration is valid\n");
  if (arguments.print || arguments.check) return 0;
  if (arguments.rehearse) return rehearse(loaded.config);

  // Blocked before the first thread starts, so that all inherit it and only
  // Starting's thread and sigtimedwait() take them.
  sigset_t signals;
  sigemptyset(&signals);
  for (int s : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  auto starting = std::make_unique<Starting>();
  auto daemon = Daemon::start(loaded, [](const std::string& step) { sd_notifyf(0, "STATUS=%s", step.c_str()); });
  starting.reset();  // nothing of it after READY=1
  if (!daemon.ok()) {
    const Error& error = daemon.error();
    std::fprintf(stderr, "leewardd: %s\n", error.message.c_str());
    return exit_code(error);
  }
  sd_notify(0, "READY=1");
  const int code = serve(**daemon, arguments, signals);
  const Deadline leaving(kLeaveLimit, code);  // after a failure some loop may hang on the disk that failed
  (*daemon)->stop(1s);
  if (!(*daemon)->quiet()) std::_Exit(code);
  daemon->reset();
  return code;
}

}  // namespace
}  // namespace leeward

int main(int argc, char** argv) { return leeward::run(argc, argv); }
