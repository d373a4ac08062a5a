#include <charconv>

#include "config/schema.h"

namespace leeward::config {
namespace {

std::string quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string without_password(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const std::size_t start = scheme + 3, slash = std::min(url.find('/', start), url.size());
  const std::size_t at = url.substr(0, slash).rfind('@');
  if (at == std::string_view::npos || at < start) return std::string(url);
  return std::string(url.substr(0, start)) + "***" + std::string(url.substr(at));
}

std::string inline_table(const Member& member) {
  std::string out = "{ id = " + std::to_string(member.id.value());
  const std::pair<const char*, const std::string*> fields[] = {{"name", &member.name},
                                                               {"peer", &member.peer},
                                                               {"client", &member.client},
                                                               {"region", &member.region},
                                                               {"zone", &member.zone}};
  for (const auto& [name, value] : fields)
    if (!value->empty()) out += ", " + std::string(name) + " = " + quote(*value);
  return out + " }";
}

std::string member_list(const std::vector<Member>& members, const std::string& indent) {
  if (members.empty()) return "[]";
  std::string out = "[\n";
  for (const Member& member : members) out += indent + "  " + inline_table(member) + ",\n";
  return out + indent + "]";
}

std::string observer_list(const std::vector<ObserverGroup>& groups) {
  if (groups.empty()) return "[]";
  // A TOML 1.0 inline table stands on one line, except for arrays in it.
  std::string out = "[\n";
  for (const ObserverGroup& group : groups)
    out += "  { region = " + quote(group.region) + ", members = " + member_list(group.members, "  ") + " },\n";
  return out + "]";
}

std::string string_list(const std::vector<std::string>& strings) {
  std::string out = "[";
  for (const std::string& s : strings) out += (out.size() > 1 ? ", " : "") + quote(s);
  return out + "]";
}

std::string ratio(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  std::string out(text, end);
  return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
}

std::string value_text(const Key& key) {
  struct {
    const Key& key;
    std::string operator()(const std::string* v) {
      if (key.form == Key::Form::kSecret && !v->empty()) return quote("***");
      return quote(key.form == Key::Form::kUrl ? without_password(*v) : *v);
    }
    std::string operator()(const bool* v) { return *v ? "true" : "false"; }
    std::string operator()(const std::uint64_t* v) { return std::to_string(*v); }
    std::string operator()(const double* v) { return ratio(*v); }
    std::string operator()(const Duration* v) {
      return *v == Duration::max() ? "\"forever\"" : quote(format_duration(*v));
    }
    std::string operator()(const Size& v) { return quote(format_size(*v.bytes)); }
    std::string operator()(const std::vector<std::string>* v) { return string_list(*v); }
    std::string operator()(const std::vector<Member>* v) { return member_list(*v, ""); }
    std::string operator()(const std::vector<ObserverGroup>* v) { return observer_list(*v); }
  } visitor{key};
  return std::visit(visitor, key.target);
}

}  // namespace

std::string print(const Loaded& loaded) {
  Config config = loaded.config;  // the table wants a place to write to
  std::string out = "# The effective configuration; beside each value, where it comes from.\n";
  std::string_view section;
  const std::vector<Key> table = keys(config);
  for (const Key& key : table) {
    if (key.section() != section) {
      section = key.section();
      out += "\n[" + std::string(section) + "]\n";
    }
    const auto origin = loaded.origins.find(key.name);
    const std::string from = origin == loaded.origins.end() ? "default" : origin->second;
    const std::string value = value_text(key), name = key.name.substr(section.size() + 1);
    const bool inline_comment = value.find('\n') == std::string::npos;
    if (!inline_comment) out += "# " + from + "\n";
    out += name + " = " + value + (inline_comment ? "  # " + from : "") + "\n";
  }
  return out;
}

}  // namespace leeward::config
