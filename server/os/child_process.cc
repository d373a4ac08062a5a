#include "os/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

namespace leeward::os {
namespace {

constexpr std::size_t kMaxLine = 65536;
constexpr const char* kSelf = "/proc/self/exe";

Error failed(const char* what, int error) { return {Code::kIo, std::string(what) + ": " + std::generic_category().message(error)}; }

void shut(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(const std::vector<std::string>& arguments) {
  int out[2] = {-1, -1}, in[2] = {-1, -1};
  if (::pipe2(out, O_CLOEXEC) != 0) return failed("pipe", errno);
  if (::pipe2(in, O_CLOEXEC) != 0) {
    const int error = errno;
    shut(out[0]);
    shut(out[1]);
    return failed("pipe", error);
  }
  ::fcntl(out[0], F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
  // No listener of ours may stay open in it, nor a lock.
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> words{"leewardd"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, kSelf, &files, &attributes, argv.data(), environment);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  shut(in[0]);
  shut(out[1]);
  if (error != 0) {
    shut(in[1]);
    shut(out[0]);
    return failed("start another process", error);
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, out[0], in[1]));
}

ChildProcess::~ChildProcess() {
  if (!ended_) {
    kill();
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  shut(out_);
  shut(in_);
}

std::vector<std::string> ChildProcess::lines() {
  char piece[16384];
  for (;;) {
    const ssize_t n = ::read(out_, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text_.append(piece, static_cast<std::size_t>(n));
    if (text_.size() > kMaxLine) break;
  }
  std::vector<std::string> out;
  for (std::size_t end; (end = text_.find('\n')) != std::string::npos;) {
    out.push_back(text_.substr(0, end));
    text_.erase(0, end + 1);
  }
  if (text_.size() > kMaxLine) out.push_back(std::exchange(text_, {}).substr(0, kMaxLine));
  return out;
}

std::optional<std::string> ChildProcess::ended() {
  if (ended_) return ended_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  if (WIFSIGNALED(status)) ended_ = "signal " + std::to_string(WTERMSIG(status));
  else if (WEXITSTATUS(status) != 0) ended_ = "exit code " + std::to_string(WEXITSTATUS(status));
  else ended_ = "";
  return ended_;
}

void ChildProcess::kill() {
  if (!ended_) ::kill(pid_, SIGKILL);
}

void end_with_parent() {
  constexpr int kNice = 10;
  (void)::setpriority(PRIO_PROCESS, 0, kNice);  // without it the node beside has half of a processor less; no more
  if (const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    (void)!::write(fd, "1000", 4);
    ::close(fd);
  }
  std::thread([] {
    char byte;
    for (;;) {
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) std::_Exit(1);
    }
  }).detach();
}

}  // namespace leeward::os
