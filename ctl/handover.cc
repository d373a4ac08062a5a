// What is asked of a primary that lives: switchover, abort, arm, disarm.
#include <algorithm>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

// The server takes a switchover back by itself, and says so, well before that.
constexpr Duration kPatience = std::chrono::seconds(60);

// Only the primary's leader does these. Who was reached and did not answer in
// time may be at it: nobody else is asked then.
Result<Answer> ask_primary(const Server& server, const std::string& path, const object& request) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::vector<Endpoint> leaders, others;
  for (const object& member : list_of(status->json, "members")) {
    if (text_of(member, "role") != "primary") continue;
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (endpoint.ok()) (text_of(member, "state") == "leader" ? leaders : others).push_back(*endpoint);
  }
  leaders.insert(leaders.end(), others.begin(), others.end());
  Result<Answer> answer = Error{Code::kUnavailable, "no member of a serving primary region was reached; name one by --endpoints"};
  std::optional<Error> first;
  for (const Endpoint& endpoint : leaders) {
    answer = server.call_at(endpoint, path, request, kPatience);
    if (answer.ok() || (answer.error().code != Code::kUnavailable && answer.error().code != kCannotServe)) return answer;
    if (!first) first = answer.error();
  }
  if (first && first->code == Code::kUnavailable)
    return Error{first->code, "no member of the primary region answers (" + first->message + "); where it is lost: leewardctl dr plan"};
  return first ? *first : answer.error();
}

void print_switchover(const object& done, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("switchover", "done in " + time_figure(done, "duration_ms") + ", nothing lost");
  line("region", text_of(done, "region") + " is primary in epoch " + figure(done, "epoch") + ", led by node " + figure(done, "leader_id"));
  line("history", "all of it, up to index " + figure(done, "fork_index") + ", revision " + figure(done, "fork_revision"));
  line("revisions", "go on at " + figure(done, "first_revision"));
  line("writes paused", time_figure(done, "paused_ms"));
  for (const object& step : list_of(done, "steps")) line(("  " + text_of(step, "name")).c_str(), time_figure(step, "ms"));
  line("next", "point clients at region " + text_of(done, "region") + "; leewardctl dr status --history shows the record");
}

Result<void> change(const Server& server, const Output& output, const std::string& path, const object& request, const char* what) {
  const auto answer = ask_primary(server, path, request);
  if (!answer.ok()) return answer.error();
  if (output.json) {
    output.out << answer->text << "\n";
    return {};
  }
  const auto line = [&](const char* key, const std::string& text) { print_line(output.out, key, text); };
  line(what, true_of(answer->json, "changed") ? "done" : "nothing to do: it was so already");
  line("epoch", figure(answer->json, "epoch") + ", " + text_of(answer->json, "state"));
  line("armed", or_dash(text_of(answer->json, "armed_region")));
  if (const auto* force = request.if_contains("force"); force && force->is_bool() && force->as_bool() && true_of(answer->json, "changed"))
    line("note", "no planned switchover in this epoch from here on: the next change of roles is a promotion");
  line("next", text_of(answer->json, "next_command"));
  return {};
}

}  // namespace

Result<void> dr_switchover(const Server& server, const Output& output, const HandoverTo& to) {
  const auto answer = ask_primary(server, "/v3/dr/switchover", {{"region", to.region}, {"reason", to.reason}});
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_switchover(answer->json, output.out);
  return {};
}

Result<void> dr_abort(const Server& server, const Output& output) { return change(server, output, "/v3/dr/abort", {}, "abort"); }

Result<void> dr_arm(const Server& server, const Output& output, const HandoverTo& to) {
  return change(server, output, "/v3/dr/arm", {{"region", to.region}}, "arm");
}

Result<void> dr_disarm(const Server& server, const Output& output, bool force) {
  return change(server, output, "/v3/dr/disarm", {{"force", force}}, "disarm");
}

}  // namespace leeward::ctl
