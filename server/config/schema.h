// The one table of keys. Everything that walks over keys walks over this.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"

namespace leeward::config {

struct Size {
  std::uint64_t* bytes;
};

using Target = std::variant<std::string*, bool*, std::uint64_t*, double*, Duration*, Size, std::vector<std::string>*,
                            std::vector<Member>*, std::vector<ObserverGroup>*>;

struct Key {
  enum class Form { kPlain, kAddress, kOptionalAddress, kRequired, kUrl, kSecret };

  std::string name;  // "tls.peer.cert"
  Target target;
  std::vector<std::string_view> choices;  // of a string
  std::uint64_t min = 0, max = std::numeric_limits<std::int64_t>::max();  // of numbers, bytes and nanoseconds
  Form form = Form::kPlain;
  bool forever = false;  // a duration may be "forever": Duration::max()

  std::string_view section() const { return std::string_view(name).substr(0, name.find('.')); }
  std::string environment_name() const;  // LEEWARD_TLS_PEER_CERT
};

// The table over one Config, which must outlive it. In the order of print().
std::vector<Key> keys(Config& config);

// The candidate nearest to `name`, or "" when none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace leeward::config
