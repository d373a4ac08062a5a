#include "config/command_line.h"

#include "config/schema.h"

namespace leeward::config {
namespace {

const std::vector<std::string> kFlags = {"--config", "--set",     "--dev", "--check-config", "--print-config",
                                         "--version", "--help"};

}  // namespace

Result<CommandLine> parse_command_line(std::span<const std::string_view> arguments) {
  CommandLine out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    const std::size_t equals = std::min(argument.find('='), argument.size());
    const std::string_view flag = argument.substr(0, equals);
    if (flag == "--config" || flag == "--set") {
      std::string_view value;
      if (equals < argument.size()) value = argument.substr(equals + 1);
      else if (i + 1 < arguments.size()) value = arguments[++i];
      if (value.empty())
        return Error{Code::kInvalid, std::string(flag) + " has no value; expected " +
                                         (flag == "--config" ? "--config FILE" : "--set section.key=value")};
      if (flag == "--set") out.set.emplace_back(value);
      else out.config_file = value;
      continue;
    }
    if (argument == "--dev") out.dev = true;
    else if (argument == "--check-config") out.check_config = true;
    else if (argument == "--print-config") out.print_config = true;
    else if (argument == "--rehearse") out.rehearse = true;
    else if (argument == "--version") out.version = true;
    else if (argument == "--help" || argument == "-h") out.help = true;
    else {
      const std::string hint = nearest(flag, kFlags);
      return Error{Code::kInvalid, "unknown argument " + std::string(argument) +
                                       (hint.empty() ? "; leewardd --help lists them" : "; did you mean " + hint + "?")};
    }
  }
  if (out.help || out.version) return out;
  if (out.dev && !out.config_file.empty())
    return Error{Code::kInvalid, "--dev and --config exclude each other; change single values of --dev by --set"};
  if (!out.dev && out.config_file.empty() && !out.check_config && !out.print_config && out.set.empty())
    return Error{Code::kInvalid, "nothing to run; give --config FILE, or --dev for one node on this machine"};
  return out;
}

std::string usage() {
  return "usage: leewardd --config FILE [--set section.key=value ...]\n"
         "       leewardd --dev [--set section.key=value ...]\n"
         "\n"
         "  --config FILE            the configuration, TOML\n"
         "  --set section.key=value  overrides one value; repeatable\n"
         "  --dev                    one node on loopback, data in ./leeward-data, readable logs\n"
         "  --check-config           reports all that is wrong with the configuration, and exits\n"
         "  --print-config           prints the effective configuration with the origin of each value, and exits\n"
         "  --version                prints the version and the newest format that it knows, and exits\n"
         "\n"
         "Precedence: --set, environment LEEWARD_<SECTION>_<KEY>, file, default.\n"
         "Signals: TERM and INT stop gracefully (a second one at once), HUP reloads certificates, log level, log\n"
         "file, limits and RPO policy, USR2 gives up leadership.\n"
         "Exit codes: 0 clean, 1 runtime failure, 2 usage or configuration, 3 data directory unusable.\n";
}

}  // namespace leeward::config
