// leewardctl as an operator types it, against a cluster that answers what a test
// has it answer.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "ctl/commands.h"
#include "os/posix_disk.h"

namespace leeward::ctl {

struct Ran {
  int code;
  std::string out, err;
};

// Answers by endpoint and path; remembers what was asked.
class FakeCluster final : public Poster {
 public:
  Result<Reply> post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration) override {
    asked.push_back(endpoint.text() + path + " " + body);
    if (const auto it = answers.find(endpoint.text() + path); it != answers.end()) return it->second;
    if (const auto it = answers.find(path); it != answers.end()) return it->second;
    return Error{Code::kUnavailable, "Connection refused"};
  }
  std::map<std::string, Reply> answers;
  std::vector<std::string> asked;
};

class CtlTest : public ::testing::Test {
 protected:
  Ran run(std::vector<std::string> arguments, Poster* poster) {
    std::ostringstream out, err;
    const int code = ctl::run(arguments, out, err, disk_, poster);
    EXPECT_TRUE(err.str().empty() || err.str().find('\n') == err.str().size() - 1) << "more than one line: " << err.str();
    return {code, out.str(), err.str()};
  }
  Ran run(std::vector<std::string> arguments) { return run(std::move(arguments), &cluster_); }

  FakeCluster cluster_;
  os::PosixDisk disk_;
};

}  // namespace leeward::ctl
