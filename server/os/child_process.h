// Another process of this very program, at a low priority, that writes lines to
// its standard output. It inherits no file, no environment and no signal mask,
// and learns by the end of its standard input that this process has gone.
//
// One thread at a time. Nothing blocks but the destructor, which kills a child
// that still runs and waits for it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace leeward::os {

class ChildProcess {
 public:
  // `arguments` without the program's name. Errors: kIo.
  static Result<std::unique_ptr<ChildProcess>> start(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The lines that have come since the last call, whole ones. Lines above 64 KiB
  // are cut there.
  std::vector<std::string> lines();
  // How it ended, in words: "exit code 1", "signal 9"; empty: by exit code 0.
  // nullopt: it runs. lines() has all that it wrote once this is known.
  std::optional<std::string> ended();
  void kill();
  int pid() const { return pid_; }

 private:
  ChildProcess(int pid, int out, int in) : pid_(pid), out_(out), in_(in) {}

  int pid_;
  int out_, in_;  // its standard output, its standard input
  std::string text_;
  std::optional<std::string> ended_;
};

// In the child: ends this process when its standard input ends, and lets the
// system take it before any other when memory is short. Starts a thread.
void end_with_parent();

}  // namespace leeward::os
