// `flight`: events that a node recorded, one a line.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <istream>

#include "ctl/commands.h"

namespace leeward::ctl {
namespace {

std::string shown(const boost::json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value);
}

// "13:04:05.123456  WARN   stands for election  term=3 epoch=1"
void print_event(const boost::json::object& event, std::ostream& out) {
  out << text_of(event, "ts") << "  ";
  std::string level = text_of(event, "level");
  level.resize(5, ' ');
  out << level << "  " << text_of(event, "msg");
  for (const auto& [key, value] : event)
    if (key != "ts" && key != "level" && key != "msg") out << "  " << std::string_view(key) << "=" << shown(value);
  out << "\n";
}

}  // namespace

Result<void> flight(std::istream& in, const std::string& name, const Output& output) {
  std::uint64_t events = 0, unreadable = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    boost::system::error_code fault;
    const auto event = boost::json::parse(line, fault);
    if (fault || !event.is_object()) {
      ++unreadable;
      continue;
    }
    ++events;
    if (output.json) output.out << line << "\n";
    else print_event(event.get_object(), output.out);
  }
  if (events == 0) return Error{Code::kInvalid, name + " holds no event of a flight recorder"};
  if (unreadable > 0) return Error{Code::kCorrupt, name + ": " + std::to_string(unreadable) + " lines are no events; the others are shown"};
  return {};
}

}  // namespace leeward::ctl
