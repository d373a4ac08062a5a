#include "admin/handler.h"

#include <algorithm>
#include <charconv>

#include "admin/checks.h"
#include "admin/pages.h"
#include "base/quantity.h"

namespace leeward::admin {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

constexpr Duration kStale = 2s;  // a leader that stands still for so long is none any more

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto hex = [](char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return std::nullopt;
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    }
  }
  return out;
}

Result<Query> parse_query(std::string_view text) {
  Query out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    if (part.empty()) continue;
    const std::size_t equals = std::min(part.find('='), part.size());
    const auto name = percent_decoded(part.substr(0, equals));
    const auto value = percent_decoded(part.substr(std::min(equals + 1, part.size())));
    if (!name || !value) return Error{Code::kInvalid, "\"" + std::string(part) + "\" is not percent-encoded well"};
    out.emplace_back(*name, *value);
  }
  return out;
}

HttpResponse plain(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.headers = {{"cache-control", "no-store"}, {"x-content-type-options", "nosniff"}};
  response.body = Bytes(text + "\n");
  return response;
}

HttpResponse bad_query(const std::string& text) { return plain(400, text); }

HttpResponse json(int status, std::string text) {
  HttpResponse response = plain(status, "");
  response.content_type = "application/json";
  response.body = Bytes(std::move(text));
  return response;
}

HttpResponse verdict_page(const Verdict& verdict) { return plain(verdict.ok ? 200 : 503, verdict.text); }

// The host that a browser believes to speak to is this machine: an address, localhost
// or its own name. A page from elsewhere whose name was made to resolve to a loopback
// address would else see what this node tells its operator. Only browsers need to say.
bool names_this_machine(const AdminSources& sources, const HttpRequest& request) {
  std::size_t given = 0;
  for (const auto& [name, value] : request.headers) given += name == "host";
  if (given == 0) return true;
  if (given > 1) return false;
  std::string host(request.header("host"));
  std::transform(host.begin(), host.end(), host.begin(), [](unsigned char c) { return std::tolower(c); });
  if (host.starts_with('[')) return host.find_first_not_of("[]:.0123456789abcdef") == std::string::npos;
  host.resize(std::min(host.find(':'), host.size()));
  if (host.find_first_not_of(".0123456789") == std::string::npos) return true;
  return host == "localhost" || host.ends_with(".localhost") ||
         std::find(sources.host_names.begin(), sources.host_names.end(), host) != sources.host_names.end();
}

bool is_operator(const AdminSources& sources, const HttpRequest& request) {
  const PeerIdentity& peer = request.peer;
  if (sources.insecure || peer.unix_socket) return true;
  if (peer.loopback && names_this_machine(sources, request)) return true;
  return !peer.common_name.empty() &&
         std::find(sources.operators.begin(), sources.operators.end(), peer.common_name) != sources.operators.end();
}

// Details name addresses and figures: not for whoever passes by.
bool sees_details(const AdminSources& sources, const HttpRequest& request) {
  return !request.peer.common_name.empty() || is_operator(sources, request);
}

HttpResponse no_details() {
  return plain(403, "?verbose needs a client certificate, or a request from the node itself");
}

// The one duration a path takes; `fallback` when it is not given.
Result<Duration> bound_of(const Query& query, std::string_view wanted, Duration fallback) {
  for (const auto& [name, value] : query) {
    if (name != wanted)
      return Error{Code::kInvalid, "unknown query \"" + name + "\"; expected ?" + std::string(wanted) + "=100ms"};
    const auto bound = parse_duration(value);
    if (!bound.ok()) return Error{Code::kInvalid, std::string(wanted) + ": " + bound.error().message};
    fallback = *bound;
  }
  return fallback;
}

template <class Judge>
HttpResponse bounded(const HttpRequest& request, std::string_view name, Duration fallback, Judge judge) {
  const auto query = parse_query(request.query);
  if (!query.ok()) return bad_query(query.error().message);
  const auto bound = bound_of(*query, name, fallback);
  return bound.ok() ? verdict_page(judge(*bound)) : bad_query(bound.error().message);
}

std::string names_of(const std::vector<NamedCheck>& checks) {
  std::string out;
  for (const NamedCheck& check : checks) out += (out.empty() ? "" : ", ") + check.check;
  return out;
}

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What `?verbose` and `?exclude=` ask for.
struct CheckQuery {
  bool verbose = false;
  std::vector<std::string> excluded;
};

// `elsewhere`: checks that a node of another role has.
Result<CheckQuery> check_query(const HttpRequest& request, const std::vector<NamedCheck>& checks,
                               std::span<const std::string_view> elsewhere) {
  const auto query = parse_query(request.query);
  if (!query.ok()) return query.error();
  CheckQuery out;
  for (const auto& [name, value] : *query) {
    if (name == "verbose") {
      out.verbose = value != "false" && value != "0";
    } else if (name == "exclude" && (value == "NOSPACE" || value == "CORRUPT")) {  // etcd's alarms, as its probes name them
      if (value == "NOSPACE") out.excluded.push_back("storage");
    } else if (name == "serializable") {
      // Whatever it says: no check here asks the leader.
    } else if (name == "exclude") {
      const bool known = std::any_of(checks.begin(), checks.end(), [&](const NamedCheck& c) { return c.check == value; });
      if (!known && !contains(elsewhere, value)) return Error{Code::kInvalid, "there is no check \"" + value + "\" here; expected one of " + names_of(checks)};
      out.excluded.push_back(value);
    } else {
      return Error{Code::kInvalid, "unknown query \"" + name + "\"; expected ?verbose or ?exclude=<check>"};
    }
  }
  return out;
}

constexpr const char* kPlanPath = "/dr/plan";

// Of `?members=4,5`; none: the whole group is asked.
Result<std::vector<NodeId>> members_of(const HttpRequest& request) {
  const auto query = parse_query(request.query);
  if (!query.ok()) return query.error();
  std::vector<NodeId> out;
  for (const auto& [name, value] : *query) {
    if (name != "members") return Error{Code::kInvalid, "unknown query \"" + name + "\"; expected ?members=4,5"};
    for (std::size_t at = 0; at <= value.size();) {
      const std::size_t end = std::min(value.find(',', at), value.size());
      std::uint32_t id = 0;
      const auto [stop, error] = std::from_chars(value.data() + at, value.data() + end, id);
      if (error != std::errc() || stop != value.data() + end || id == 0)
        return Error{Code::kInvalid, "\"" + value + "\" is no list of ids; expected ?members=4,5"};
      out.emplace_back(id);
      at = end + 1;
    }
  }
  return out;
}

HttpResponse as_asked(const std::string& method, HttpResponse response) {
  if (method == "OPTIONS") response.headers.emplace_back("allow", "GET, HEAD, OPTIONS");
  if (method != "GET") response.body = Bytes();
  return response;
}

// "[+]raft ok: leader is 1", as other servers of this kind list their checks.
std::string check_line(const NamedCheck& check, bool details) {
  std::string out = (check.ok ? "[+]" : "[-]") + check.check + (check.ok ? " ok" : " failed");
  if (details && !check.detail.empty()) out += ": " + check.detail;
  return out;
}

}  // namespace

AdminHandler::AdminHandler(AdminSources sources, Surface surface)
    : sources_(std::move(sources)),
      surface_(surface),
      console_(std::make_shared<Console>(Console::Sources{[this] { return console_view(); }, sources_.flight_since})) {}

void AdminHandler::handle(std::shared_ptr<HttpExchange> exchange) {
  if (auto response = answer(exchange->request())) return exchange->respond(std::move(*response));
  if (exchange->request().path == kConsoleStream) return console_->open(exchange);
  plan(std::move(exchange));
}

Duration AdminHandler::age_of(const NodeStatus& status) const {
  return sources_.now && status.made != Instant() ? sources_.now() - status.made : Duration{};
}

ConsoleView AdminHandler::console_view() const {
  ConsoleView view;
  view.status = sources_.status->status();
  view.checks = ready_checks(view.status);
  view.age = age_of(view.status);
  if (sources_.wall) view.time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(sources_.wall().time_since_epoch()).count();
  view.max_lag = sources_.max_lag;
  if (sources_.answers) view.answers = sources_.answers(view.status);
  return view;
}

// Its voters are asked what they know, so it takes until they have answered.
void AdminHandler::plan(std::shared_ptr<HttpExchange> exchange) const {
  sources_.dr_plan(*members_of(exchange->request()), exchange->loop(), [exchange](Result<std::string> plan) {
    const int refused = !plan.ok() && plan.error().code == Code::kInvalid ? 400 : 503;
    exchange->respond(as_asked(exchange->request().method, plan.ok() ? json(200, *plan + "\n") : plain(refused, plan.error().message)));
  });
}

std::optional<HttpResponse> AdminHandler::answer(const HttpRequest& request) const {
  if (request.method != "GET" && request.method != "HEAD" && request.method != "OPTIONS") {
    HttpResponse response = plain(405, "expected GET, HEAD or OPTIONS");
    response.headers.emplace_back("allow", "GET, HEAD, OPTIONS");
    return response;
  }
  bool known = true;
  HttpResponse response = health_paths(request, known);
  if (!known && surface_ == Surface::kAdmin) {
    response = operator_paths(request, known);
    const bool later = request.path == kPlanPath || (request.path == kConsoleStream && request.method == "GET");
    if (later && response.status == 200) return std::nullopt;
  }
  if (!known)
    response = plain(404, surface_ == Surface::kAdmin
                              ? "no such path; there are /livez, /readyz, /health, /leader, /primary, /replica, /standby, "
                                "/standby/eligible, /metrics, /dr/status, /dr/plan, /debug/config and /"
                              : "no such path; there are /metrics and the health paths");
  return as_asked(request.method, std::move(response));
}

HttpResponse AdminHandler::health_paths(const HttpRequest& request, bool& known) const {
  const std::string& path = request.path;
  known = true;
  if (path == "/livez" || path.starts_with("/livez/")) {
    const bool turns = !sources_.loops_turn || sources_.loops_turn();
    return checks_page(request, "/livez", {{"loop", turns, turns ? "" : "the event loops do not turn"}});
  }
  if (path == "/metrics" && sources_.metrics) {
    std::string accept;  // of HTTP, several fields of that name are one list
    for (const auto& [name, value] : request.headers)
      if (name == "accept") accept.append(accept.empty() ? "" : ",").append(value);
    auto page = sources_.metrics(accept);
    if (page.text.empty()) return plain(503, "the node is starting");  // half a page would read as a reset
    HttpResponse response = plain(200, "");
    response.content_type = page.content_type;
    response.body = Bytes(std::move(page.text));
    return response;
  }
  NodeStatus status = sources_.status->status();
  // A process that was suspended, or a loop that hangs, left it behind.
  const Duration age = age_of(status);
  for (MemberStatus& member : status.members)
    if (member.id == status.self && member.lag.high) *member.lag.high += age;
  const NamedCheck loop{"loop", age < kStale, age < kStale ? "" : "what this node knows of itself is " + human_duration(age) + " old"};
  const auto checks_now = [&] {
    auto checks = ready_checks(status);
    checks.push_back(loop);
    return checks;
  };
  if (path == "/readyz" || path.starts_with("/readyz/")) return checks_page(request, "/readyz", checks_now(), kChecksOfSomeRoles);
  if (path == "/ready" || path == "/readiness") return checks_page(request, path, checks_now(), kChecksOfSomeRoles);
  if (path == "/health") {
    const auto checks = checks_now();
    const auto query = check_query(request, checks, kChecksOfSomeRoles);
    if (!query.ok()) return bad_query(query.error().message);
    if (query->verbose && !sees_details(sources_, request)) return no_details();
    std::vector<NamedCheck> wanted;
    for (const NamedCheck& check : checks)
      if (std::find(query->excluded.begin(), query->excluded.end(), check.check) == query->excluded.end()) wanted.push_back(check);
    const bool ok = std::all_of(wanted.begin(), wanted.end(), [](const NamedCheck& c) { return c.ok; });
    return json(ok ? 200 : 503, health_json(wanted, sees_details(sources_, request)));
  }
  const bool verdict = path == "/leader" || path == "/primary" || path == "/replica" || path == "/standby" || path == "/standby/eligible";
  if (verdict && !loop.ok) return plain(503, loop.detail);
  if (path == "/leader") return verdict_page(leader(status));
  if (path == "/primary") return verdict_page(primary(status));
  if (path == "/standby/eligible") return verdict_page(standby_eligible(status));
  if (path == "/replica")
    return bounded(request, "lag", sources_.max_lag, [&](Duration bound) { return replica(status, bound); });
  if (path == "/standby")
    return bounded(request, "max_lag", sources_.max_lag, [&](Duration bound) { return standby(status, bound); });
  known = false;
  return {};
}

HttpResponse AdminHandler::checks_page(const HttpRequest& request, std::string_view root, std::vector<NamedCheck> checks,
                                       std::span<const std::string_view> elsewhere) const {
  const bool details = sees_details(sources_, request);
  const auto query = check_query(request, checks, elsewhere);
  if (!query.ok()) return bad_query(query.error().message);
  if (query->verbose && !details) return no_details();
  if (request.path.size() > root.size()) {
    const std::string wanted = request.path.substr(root.size() + 1);
    const auto found = std::find_if(checks.begin(), checks.end(), [&](const NamedCheck& c) { return c.check == wanted; });
    if (found == checks.end() && contains(elsewhere, wanted)) return plain(200, "not a check of this node's role");
    if (found == checks.end()) return plain(404, "there is no check \"" + wanted + "\" here; there are " + names_of(checks));
    return plain(found->ok ? 200 : 503, found->ok ? "ok" : check_line(*found, details));
  }
  std::string lines;
  bool ok = true;
  for (const NamedCheck& check : checks) {
    if (std::find(query->excluded.begin(), query->excluded.end(), check.check) != query->excluded.end()) {
      if (query->verbose) lines += "[+]" + check.check + " excluded: ok\n";
      continue;
    }
    ok = ok && check.ok;
    if (query->verbose || !check.ok) lines += check_line(check, details) + "\n";
  }
  const std::string name(root.substr(1));
  if (ok) return plain(200, query->verbose ? lines + name + " check passed" : "ok");
  return plain(503, lines + name + " check failed");
}

HttpResponse AdminHandler::operator_paths(const HttpRequest& request, bool& known) const {
  const std::string& path = request.path;
  const ConsoleFile* file = console_file(path);
  known = file || path == kConsoleStream || path == "/dr/status" || path == kPlanPath || path == "/debug/config" || path == "/debug/flight";
  if (!known) return {};
  if (!is_operator(sources_, request))
    return plain(403, "this path needs an operator: a client certificate whose common name is in [admin] operators, "
                      "or a request from the node itself, to an address, localhost or its own name");
  if (path == kConsoleStream) return plain(200, "");
  if (path == kPlanPath) {
    const auto members = members_of(request);
    return members.ok() ? HttpResponse{} : bad_query(members.error().message);
  }
  if (path == "/debug/flight") {
    HttpResponse response = plain(200, "");
    response.content_type = "application/x-ndjson";
    response.body = Bytes(sources_.flight ? sources_.flight() : "");
    return response;
  }
  if (path == "/debug/config") return plain(200, sources_.config ? sources_.config() : "");
  if (path == "/dr/status") {
    const auto told = sources_.dr_status();
    return told.ok() ? json(200, *told + "\n") : plain(500, told.error().message);
  }
  HttpResponse response = plain(200, "");
  response.content_type = file->content_type;
  response.headers.emplace_back("content-security-policy", kConsolePolicy);
  response.headers.emplace_back("referrer-policy", "no-referrer");
  response.body = Bytes(nullptr, file->text);
  return response;
}

}  // namespace leeward::admin
