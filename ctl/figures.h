// Fields of the server's answers as people read them.
#pragma once

#include <optional>
#include <string>

#include "base/units.h"
#include "ctl/server.h"

namespace leeward::ctl {

inline const char* yes_no(bool b) { return b ? "yes" : "no"; }
inline Duration from_ms(double ms) { return Duration(static_cast<std::int64_t>(ms * 1e6)); }
std::string figure(const boost::json::object& object, std::string_view name);      // "12,345"; "unknown" when absent
std::string size_figure(const boost::json::object& object, std::string_view name); // "1.5 MiB"
std::string time_figure(const boost::json::object& object, std::string_view name); // "80 ms", from a field in ms
// "0 to 80 ms", from lag_low_ms and lag_high_ms.
std::string lag_interval(const boost::json::object& object);
std::string short_hash(const std::string& hex);
// The id and, where a list of members names it, its name: "2 (a2)"; "none" for 0.
std::string member_name(const std::vector<boost::json::object>& members, std::uint64_t id);
std::string or_dash(const std::string& text);

}  // namespace leeward::ctl
