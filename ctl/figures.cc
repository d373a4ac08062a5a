#include "ctl/figures.h"

#include "base/quantity.h"

namespace leeward::ctl {
namespace {

constexpr const char* kUnknown = "unknown";

}  // namespace

std::string figure(const boost::json::object& object, std::string_view name) {
  const auto number = number_of(object, name);
  return number ? grouped(*number) : kUnknown;
}

std::string size_figure(const boost::json::object& object, std::string_view name) {
  const auto number = number_of(object, name);
  return number ? human_size(*number) : kUnknown;
}

std::string time_figure(const boost::json::object& object, std::string_view name) {
  const auto ms = real_of(object, name);
  return ms ? human_duration(from_ms(*ms)) : kUnknown;
}

std::string lag_interval(const boost::json::object& object) {
  if (!real_of(object, "lag_high_ms")) return kUnknown;
  return time_figure(object, "lag_low_ms") + " to " + time_figure(object, "lag_high_ms");
}

std::string short_hash(const std::string& hex) {
  return hex.empty() || hex.find_first_not_of('0') == std::string::npos ? "none" : hex.substr(0, 12);
}

std::string member_name(const std::vector<boost::json::object>& members, std::uint64_t id) {
  if (id == 0) return "none";
  for (const auto& member : members)
    if (number_of(member, "id") == id && !text_of(member, "name").empty())
      return std::to_string(id) + " (" + text_of(member, "name") + ")";
  return std::to_string(id);
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

}  // namespace leeward::ctl
