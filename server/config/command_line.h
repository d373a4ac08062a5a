// The daemon's flags, read by hand: there are eight.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace leeward::config {

struct CommandLine {
  std::string config_file;
  std::vector<std::string> set;
  bool dev = false;
  bool check_config = false;
  bool print_config = false;
  bool version = false;
  bool help = false;
  bool rehearse = false;  // of a node's own making: see server/rehearse.h; not in the usage
};

// `arguments` without the program's name. kInvalid (exit 2) names the argument
// and what was expected.
Result<CommandLine> parse_command_line(std::span<const std::string_view> arguments);

std::string usage();

}  // namespace leeward::config
