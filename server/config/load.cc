// The layers of a configuration, read into one Config. The only file that
// knows toml++.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#define TOML_HEADER_ONLY 1
// Its assertions do not hold for all bad input: one stands behind an error that
// was reported already.
#define TOML_ASSERT(expression) static_cast<void>(0)
#include <toml++/toml.h>

#include "config/schema.h"
#include "config/validate.h"

namespace leeward::config {
namespace {

// A scalar as it was written: `kind` matters in a file, where "5" is not 5.
struct Scalar {
  enum class Kind { kString, kInteger, kFloat, kBool, kUntyped } kind = Kind::kUntyped;
  std::string text;
  bool is(Kind k) const { return kind == k || kind == Kind::kUntyped; }
  std::string shown() const { return kind == Kind::kInteger || kind == Kind::kFloat || kind == Kind::kBool ? text : "\"" + text + "\""; }
};

Error expected(const std::string& text) { return {Code::kInvalid, text}; }

std::string choices_text(const std::vector<std::string_view>& choices) {
  std::string out;
  for (std::size_t i = 0; i < choices.size(); ++i)
    out += (i == 0 ? "\"" : i + 1 == choices.size() ? " or \"" : ", \"") + std::string(choices[i]) + "\"";
  return out;
}

Result<void> check_url(const std::string& text) {
  if (text.empty() || text.starts_with("http://") || text.starts_with("https://")) return {};
  return expected("\"" + text + "\" is not a URL; expected \"http://host:port\" or \"https://host:port\"");
}

Result<void> assign_string(const Key& key, std::string& to, const Scalar& value) {
  if (!value.is(Scalar::Kind::kString)) return expected(value.shown() + " is not a string; expected text in quotes");
  if (!key.choices.empty() && std::find(key.choices.begin(), key.choices.end(), value.text) == key.choices.end())
    return expected(value.shown() + " is not known; expected " + choices_text(key.choices));
  switch (key.form) {
    case Key::Form::kPlain: break;
    case Key::Form::kOptionalAddress:
      if (value.text.empty()) break;
      [[fallthrough]];
    case Key::Form::kAddress: LEEWARD_TRY(parse_address(value.text)); break;
    case Key::Form::kRequired:
      if (value.text.empty()) return expected("is empty; expected a value");
      break;
    case Key::Form::kUrl: LEEWARD_TRY(check_url(value.text)); break;
    case Key::Form::kSecret: break;
  }
  to = value.text;
  return {};
}

std::string range_text(std::uint64_t min, std::uint64_t max, std::string (*format)(std::uint64_t)) {
  const bool open = max >= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return open ? "at least " + format(min) : "from " + format(min) + " to " + format(max);
}

std::string plain_number(std::uint64_t n) { return std::to_string(n); }
std::string as_duration(std::uint64_t n) { return format_duration(Duration{static_cast<std::int64_t>(n)}); }

Result<void> assign_number(const Key& key, std::uint64_t& to, const Scalar& value) {
  std::uint64_t number = 0;
  const char* end = value.text.data() + value.text.size();
  const auto parsed = std::from_chars(value.text.data(), end, number);
  if (!value.is(Scalar::Kind::kInteger) || value.text.empty() || parsed.ptr != end || parsed.ec != std::errc{} ||
      number < key.min || number > key.max)
    return expected(value.shown() + " is out of range or not a number; expected a whole number " +
                    range_text(key.min, key.max, plain_number));
  to = number;
  return {};
}

Result<void> assign_size(const Key& key, std::uint64_t& to, const Scalar& value) {
  const auto size = parse_size(value.text);
  if (!size.ok()) return size.error();
  if (*size < key.min || *size > key.max)
    return expected(value.shown() + " is out of range; expected " + range_text(key.min, key.max, format_size));
  to = *size;
  return {};
}

Result<void> assign_duration(const Key& key, Duration& to, const Scalar& value) {
  if (key.forever && value.text == "forever") {
    to = Duration::max();
    return {};
  }
  const auto duration = parse_duration(value.text);
  if (!duration.ok()) return expected(duration.error().message + (key.forever ? ", or \"forever\"" : ""));
  if (const auto ns = static_cast<std::uint64_t>(duration->count()); ns < key.min || ns > key.max)
    return expected(value.shown() + " is out of range; expected " + range_text(key.min, key.max, as_duration));
  to = *duration;
  return {};
}

Result<void> assign_bool(bool& to, const Scalar& value) {
  if (!value.is(Scalar::Kind::kBool) || (value.text != "true" && value.text != "false"))
    return expected(value.shown() + " is neither true nor false; expected one of them, without quotes");
  to = value.text == "true";
  return {};
}

Result<void> assign_ratio(double& to, const Scalar& value) {
  double number = 0;
  const char* end = value.text.data() + value.text.size();
  const auto parsed = std::from_chars(value.text.data(), end, number);
  if (value.kind == Scalar::Kind::kString || value.kind == Scalar::Kind::kBool || value.text.empty() ||
      parsed.ptr != end || parsed.ec != std::errc{} || !(number >= 0 && number <= 1))
    return expected(value.shown() + " is not a ratio; expected a number from 0 to 1");
  to = number;
  return {};
}

bool is_list(const Key& key) {
  return std::holds_alternative<std::vector<std::string>*>(key.target) ||
         std::holds_alternative<std::vector<Member>*>(key.target) ||
         std::holds_alternative<std::vector<ObserverGroup>*>(key.target);
}

Result<void> assign(const Key& key, const Scalar& value) {
  struct {
    const Key& key;
    const Scalar& value;
    Result<void> operator()(std::string* to) { return assign_string(key, *to, value); }
    Result<void> operator()(bool* to) { return assign_bool(*to, value); }
    Result<void> operator()(std::uint64_t* to) { return assign_number(key, *to, value); }
    Result<void> operator()(double* to) { return assign_ratio(*to, value); }
    Result<void> operator()(Duration* to) { return assign_duration(key, *to, value); }
    Result<void> operator()(Size to) { return assign_size(key, *to.bytes, value); }
    Result<void> operator()(std::vector<std::string>*) { return expected("expected a list: [\"a\", \"b\"]"); }
    Result<void> operator()(std::vector<Member>*) { return expected("expected a list: [{ id = 1, peer = \"host:2380\" }, ...]"); }
    Result<void> operator()(std::vector<ObserverGroup>*) {
      return expected("expected a list: [{ region = \"r\", members = [...] }, ...]");
    }
  } visitor{key, value};
  return std::visit(visitor, key.target);
}

std::optional<Scalar> scalar(const toml::node& node) {
  if (const auto* s = node.as_string()) return Scalar{Scalar::Kind::kString, s->get()};
  if (const auto* i = node.as_integer()) return Scalar{Scalar::Kind::kInteger, std::to_string(i->get())};
  if (const auto* b = node.as_boolean()) return Scalar{Scalar::Kind::kBool, b->get() ? "true" : "false"};
  if (const auto* d = node.as_floating_point()) {
    std::ostringstream text;
    text << d->get();
    return Scalar{Scalar::Kind::kFloat, text.str()};
  }
  return std::nullopt;
}

// OpenTelemetry's own variables, and the key that each gives a value.
struct OpenTelemetryName {
  enum class Form { kPlain, kWord, kMilliseconds, kDisabled };
  std::string_view variable, key;
  Form form = Form::kPlain;
};
constexpr OpenTelemetryName kOpenTelemetry[] = {
    {"OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"},
    {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "telemetry.otlp_traces_endpoint"},
    {"OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol", OpenTelemetryName::Form::kWord},
    {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "telemetry.otlp_protocol", OpenTelemetryName::Form::kWord},
    {"OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp_headers"},
    {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "telemetry.otlp_headers"},
    {"OTEL_EXPORTER_OTLP_TIMEOUT", "telemetry.otlp_timeout", OpenTelemetryName::Form::kMilliseconds},
    {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "telemetry.otlp_timeout", OpenTelemetryName::Form::kMilliseconds},
    {"OTEL_EXPORTER_OTLP_CERTIFICATE", "telemetry.otlp_ca"},
    {"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "telemetry.otlp_ca"},
    {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "telemetry.otlp_cert"},
    {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "telemetry.otlp_cert"},
    {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "telemetry.otlp_key"},
    {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "telemetry.otlp_key"},
    {"OTEL_TRACES_SAMPLER", "telemetry.sampler", OpenTelemetryName::Form::kWord},
    {"OTEL_TRACES_SAMPLER_ARG", "telemetry.sample_ratio"},
    {"OTEL_SERVICE_NAME", "telemetry.service_name"},
    {"OTEL_RESOURCE_ATTRIBUTES", "telemetry.resource_attributes"},
    {"OTEL_BSP_MAX_QUEUE_SIZE", "telemetry.queue_spans"},
    {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "telemetry.batch_spans"},
    {"OTEL_BSP_SCHEDULE_DELAY", "telemetry.batch_delay", OpenTelemetryName::Form::kMilliseconds},
    {"OTEL_TRACES_EXPORTER", "telemetry.traces", OpenTelemetryName::Form::kWord},
    {"OTEL_SDK_DISABLED", "telemetry.traces", OpenTelemetryName::Form::kDisabled},
};

// Reads the layers one over the other and collects what is wrong.
class Loader {
 public:
  explicit Loader(Loaded& loaded) : loaded_(loaded), keys_(keys(loaded.config)) {
    for (const Key& key : keys_) {
      names_.push_back(key.name);
      for (std::size_t dot = key.name.find('.'); dot != std::string::npos; dot = key.name.find('.', dot + 1))
        prefixes_.insert(key.name.substr(0, dot));
    }
  }

  void file(const std::string& name, const std::string& text) {
    layer_ = name;
    lines_ = true;
    const toml::parse_result parsed = toml::parse(text);
    if (!parsed) {
      const auto at = parsed.error().source().begin;
      complain(at.line, "", std::string(parsed.error().description()) + " (column " + std::to_string(at.column) + ")");
      file_unread_ = true;
    } else {
      walk(parsed.table(), "");
    }
    lines_ = false;
  }

  void environment(const std::vector<std::string>& variables) {
    open_telemetry(variables);
    for (const std::string& variable : variables) leeward_variable(variable);
  }

  void set(const std::string& argument) {
    layer_ = "--set";
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos)
      return complain(0, argument, "has no value; expected section.key=value");
    const std::string name = argument.substr(0, equals), value = argument.substr(equals + 1);
    if (const Key* key = find(name))
      text_value(*key, value);
    else if (prefixes_.contains(name))
      whole_table(name, value);
    else
      unknown(0, name);
  }

  void finish() {
    std::stable_sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (auto& [line, text] : found_) loaded_.problems.push_back(std::move(text));
    if (file_unread_) return;  // what it gives would be said to be missing
    Findings findings{loaded_, std::move(unreadable_)};
    validate(findings);
  }

 private:
  const Key* find(const std::string& name) const {
    const auto it = std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.name == name; });
    return it == keys_.end() ? nullptr : &*it;
  }

  std::string place(std::size_t line) const { return lines_ && line ? layer_ + ":" + std::to_string(line) : layer_; }

  // Problems of the file come in its order, before those of other layers.
  void complain(std::size_t line, const std::string& key, const std::string& text) {
    found_.emplace_back(lines_ ? line : std::numeric_limits<std::size_t>::max(),
                        place(line) + ": " + key + (key.empty() ? "" : ": ") + text);
  }

  void unknown(std::size_t line, const std::string& name) {
    std::vector<std::string> candidates = names_;
    if (name.find('.') == std::string::npos) candidates.assign(prefixes_.begin(), prefixes_.end());
    std::string hint = nearest(name, candidates);
    const std::size_t dot = name.find('.');
    if (hint.empty() && dot != std::string::npos && prefixes_.contains(name.substr(0, dot))) {
      std::string known;
      for (const std::string& candidate : names_)
        if (candidate.starts_with(name.substr(0, dot + 1))) known += (known.empty() ? "" : ", ") + candidate.substr(dot + 1);
      complain(line, name, "unknown key; [" + name.substr(0, dot) + "] has " + known);
    } else {
      complain(line, name, hint.empty() ? "unknown key" : "unknown key; did you mean " + hint + "?");
    }
  }

  void walk(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const std::string path = prefix + std::string(name.str());
      const std::size_t line = node.source().begin.line ? node.source().begin.line : name.source().begin.line;
      if (const Key* key = find(path))
        node_value(*key, node, line);
      else if (prefixes_.contains(path) && node.is_table())
        walk(*node.as_table(), path + ".");
      else if (prefixes_.contains(path))
        complain(line, path, "is a section; expected [" + path + "] with keys of its own");
      else
        unknown(line, path);
    }
  }

  void settle(const Key& key, std::size_t line, const Result<void>& result) {
    if (result.ok()) {
      loaded_.origins[key.name] = place(line);
      return;
    }
    unreadable_.insert(key.name);
    complain(line, key.name, result.error().message);
  }

  void node_value(const Key& key, const toml::node& node, std::size_t line) {
    if (is_list(key) && node.is_array()) return list(key, *node.as_array(), line);
    const auto value = scalar(node);
    settle(key, line, value ? assign(key, *value) : Result<void>(expected("is a table or list; expected one value")));
  }

  void text_value(const Key& key, const std::string& text) {
    if (!is_list(key)) return settle(key, 0, assign(key, Scalar{Scalar::Kind::kUntyped, text}));
    if (auto* strings = std::get_if<std::vector<std::string>*>(&key.target); strings && !text.starts_with('[')) {
      (*strings)->clear();
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        (*strings)->push_back(text.substr(at, comma - at));
        at = comma + 1;
      }
      return settle(key, 0, {});
    }
    whole_table(key.name, text);
  }

  // `text` as the TOML value of `name`: a list, or a section as inline table.
  void whole_table(const std::string& name, const std::string& text) {
    const toml::parse_result parsed = toml::parse(name + " = " + text);
    if (parsed) return walk(parsed.table(), "");
    if (find(name)) unreadable_.insert(name);
    complain(0, name, "is not TOML: " + std::string(parsed.error().description()));
  }

  void list(const Key& key, const toml::array& array, std::size_t line) {
    const std::size_t before = found_.size();
    if (auto* strings = std::get_if<std::vector<std::string>*>(&key.target)) {
      (*strings)->clear();
      for (const toml::node& node : array) {
        if (const auto* s = node.as_string()) (*strings)->push_back(s->get());
        else complain(node.source().begin.line, key.name, "holds something that is not a string; expected [\"a\", \"b\"]");
      }
    } else if (auto* to = std::get_if<std::vector<Member>*>(&key.target)) {
      members(key.name, array, **to);
    } else if (auto* observers = std::get_if<std::vector<ObserverGroup>*>(&key.target)) {
      observer_groups(key.name, array, **observers);
    }
    if (found_.size() == before) loaded_.origins[key.name] = place(line);
    else unreadable_.insert(key.name);
  }

  void members(const std::string& name, const toml::array& array, std::vector<Member>& to) {
    to.clear();
    for (const toml::node& node : array) {
      const std::string path = name + "[" + std::to_string(to.size()) + "]";
      loaded_.origins[path] = place(node.source().begin.line);
      to.push_back(member(path, node));
    }
  }

  Member member(const std::string& path, const toml::node& node) {
    Member out;
    std::uint64_t id = 0;
    std::vector<Key> fields = {{.name = "id", .target = &id, .min = 1, .max = 0xffffffff},
                               {.name = "name", .target = &out.name},
                               {.name = "peer", .target = &out.peer, .form = Key::Form::kAddress},
                               {.name = "client", .target = &out.client},
                               {.name = "region", .target = &out.region},
                               {.name = "zone", .target = &out.zone}};
    const std::size_t line = node.source().begin.line;
    if (!node.is_table()) {
      complain(line, path, "is not a table; expected { id = 1, peer = \"host:2380\", client = \"host:2379\" }");
      return out;
    }
    const std::size_t before = found_.size();
    fill(path, *node.as_table(), fields);
    if (found_.size() != before) return out;
    if (id == 0) complain(line, path, "has no id; expected id = 1..4294967295");
    if (out.peer.empty()) complain(line, path, "has no peer address; expected peer = \"host:2380\"");
    std::string_view client = out.client;
    for (const std::string_view scheme : {"http://", "https://"})
      if (client.starts_with(scheme)) client.remove_prefix(scheme.size());
    if (!client.empty())
      if (const auto address = parse_address(client); !address.ok())
        complain(line, path + ".client", address.error().message);
    out.id = NodeId(id);
    return out;
  }

  void observer_groups(const std::string& name, const toml::array& array, std::vector<ObserverGroup>& to) {
    to.clear();
    for (const toml::node& node : array) {
      const std::string path = name + "[" + std::to_string(to.size()) + "]";
      const std::size_t line = node.source().begin.line;
      ObserverGroup& group = to.emplace_back();
      if (!node.is_table()) {
        complain(line, path, "is not a table; expected { region = \"r\", members = [...] }");
        continue;
      }
      toml::table rest = *node.as_table();
      if (const auto* array_node = rest["members"].as_array()) members(path + ".members", *array_node, group.members);
      rest.erase("members");
      fill(path, rest, {{.name = "region", .target = &group.region}});
      if (group.region.empty()) complain(line, path, "has no region; expected region = \"name\"");
      if (group.members.empty()) complain(line, path, "has no members; expected members = [{ id = 7, peer = \"host:2380\" }]");
    }
  }

  void fill(const std::string& path, const toml::table& table, const std::vector<Key>& fields) {
    for (const auto& [name, node] : table) {
      const auto field = std::find_if(fields.begin(), fields.end(), [&](const Key& f) { return f.name == name.str(); });
      if (field == fields.end()) {
        std::vector<std::string> candidates;
        for (const Key& f : fields) candidates.push_back(f.name);
        const std::string hint = nearest(name.str(), candidates);
        complain(node.source().begin.line, path + "." + std::string(name.str()),
                 hint.empty() ? "unknown key" : "unknown key; did you mean " + hint + "?");
        continue;
      }
      const auto value = scalar(node);
      const auto result = value ? assign(*field, *value) : Result<void>(expected("is a table or list; expected one value"));
      if (!result.ok()) complain(node.source().begin.line, path + "." + field->name, result.error().message);
    }
  }

  void leeward_variable(const std::string& variable) {
    const std::size_t equals = variable.find('=');
    if (!variable.starts_with("LEEWARD_") || equals == std::string::npos) return;
    const std::string name = variable.substr(0, equals);
    layer_ = name;
    const auto key = std::find_if(keys_.begin(), keys_.end(), [&](const Key& k) { return k.environment_name() == name; });
    if (key != keys_.end()) return text_value(*key, variable.substr(equals + 1));
    // What Kubernetes sets in each pod for a service whose name starts with "leeward".
    if (name.ends_with("_SERVICE_HOST") || name.find("_SERVICE_PORT") != std::string::npos || name.ends_with("_PORT") ||
        name.find("_PORT_") != std::string::npos)
      return;
    std::vector<std::string> candidates;
    bool known_section = false;
    for (const Key& k : keys_) {
      candidates.push_back(k.environment_name());
      known_section |= name.starts_with(Key{.name = std::string(k.section()), .target = k.target}.environment_name() + "_");
    }
    const std::string hint = nearest(name, candidates);
    const std::string text = "no such setting" + (hint.empty() ? "" : "; did you mean " + hint + "?");
    if (known_section) complain(0, "", text);
    else loaded_.warnings.push_back(name + ": " + text);
  }

  // An unusable value of OpenTelemetry's own variables never stops a start, and
  // an empty one is none. Those of traces alone come behind those of all signals.
  void open_telemetry(const std::vector<std::string>& variables) {
    for (const OpenTelemetryName& known : kOpenTelemetry) {
      const std::string prefix = std::string(known.variable) + "=";
      for (const std::string& variable : variables) {
        if (!variable.starts_with(prefix) || variable.size() == prefix.size()) continue;
        if (known.form == OpenTelemetryName::Form::kDisabled && variable == prefix + "false") continue;
        const auto result = open_telemetry(known, variable.substr(prefix.size()));
        if (result.ok()) loaded_.origins[std::string(known.key)] = known.variable;
        else loaded_.warnings.push_back(std::string(known.variable) + ": " + result.error().message + "; ignored");
      }
    }
  }

  Result<void> open_telemetry(const OpenTelemetryName& known, std::string text) {
    using Form = OpenTelemetryName::Form;
    if (known.form == Form::kWord || known.form == Form::kDisabled)
      std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    if (known.form == Form::kMilliseconds) {
      if (text.find_first_not_of("0123456789") != std::string::npos)
        return expected("\"" + text + "\" is not a number of milliseconds; expected one such as 10000");
      text += "ms";
    }
    if (known.form == Form::kDisabled) {
      if (text != "true") return expected("\"" + text + "\" is neither true nor false");
      text = "none";
    }
    return assign(*find(std::string(known.key)), Scalar{Scalar::Kind::kUntyped, std::move(text)});
  }

  Loaded& loaded_;
  std::vector<Key> keys_;
  std::vector<std::string> names_;
  std::set<std::string> prefixes_;
  std::set<std::string> unreadable_;
  std::vector<std::pair<std::size_t, std::string>> found_;
  std::string layer_;
  bool lines_ = false;
  bool file_unread_ = false;
};

}  // namespace

Loaded load(const Sources& sources) {
  Loaded loaded;
  if (sources.dev) loaded.config = dev_config();
  Loader loader(loaded);
  if (!sources.file_name.empty()) loader.file(sources.file_name, sources.file_text);
  loader.environment(sources.environment);
  for (const std::string& argument : sources.set) loader.set(argument);
  loader.finish();
  return loaded;
}

Result<void> read_file(const std::string& path, Sources& sources) {
  if (std::error_code unknown; std::filesystem::is_directory(path, unknown))
    return Error{Code::kIo, path + ": is a directory; name the file in it"};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || (file.peek() != std::ifstream::traits_type::eof() && !(text << file.rdbuf())))
    return Error{errno == ENOENT ? Code::kNotFound : Code::kIo,
                 path + ": " + std::strerror(errno) + "; give the configuration with --config FILE, or try --dev"};
  sources.file_name = path;
  sources.file_text = text.str();
  return {};
}

}  // namespace leeward::config
