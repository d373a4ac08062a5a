// What an operator may write. Not hostile, but the file of a running service.
#include "config/config.h"

#include "base/check.h"
#include "target.h"

namespace leeward::fuzz {
namespace {

void configuration(std::string_view bytes) {
  const bool dev = !bytes.empty() && bytes.back() == '\n';
  config::Sources sources;
  sources.file_name = "leeward.toml";
  sources.file_text = std::string(bytes);
  sources.dev = dev;
  const auto loaded = config::load(sources);
  const std::string printed = config::print(loaded);
  if (!loaded.ok()) return;
  config::Sources again;
  again.file_name = "printed.toml";
  again.file_text = printed;
  const auto second = config::load(again);
  LEEWARD_CHECK(second.ok(), "what --print-config prints is a configuration: " +
                                 (second.problems.empty() ? "" : second.problems.front()));
}

std::vector<std::string> seeds() {
  config::Sources sources;
  sources.dev = true;
  const std::string whole = config::print(config::load(sources));
  return {whole, "[node]\nid = 1\n",
          "[cluster]\nmembers = [{ id = 1, name = \"a\", peer = \"127.0.0.1:2380\", client = \"127.0.0.1:2379\", "
          "region = \"east\", zone = \"a\" }]\n[node]\nid = 1\n[storage]\nquota = \"2GiB\"\n[raft]\nelection_timeout = \"1s\"",
          "[limits]\nrequest_timeout = \"-1s\"\n[tls]\nclient = { cert = \"a\", key = \"b\", client_auth = \"require\" }\n"};
}

}  // namespace

std::vector<Target> config_targets() { return {{"configuration", configuration, seeds}}; }

}  // namespace leeward::fuzz
