#include <algorithm>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

Result<std::vector<Endpoint>> following_leader_first(const Server& server) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::vector<Endpoint> leaders, others;
  for (const object& member : list_of(status->json, "members")) {
    const std::string role = text_of(member, "role");
    if (role != "standby" && role != "observer") continue;
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (endpoint.ok()) (text_of(member, "state") == "leader" ? leaders : others).push_back(*endpoint);
  }
  if (leaders.empty() && others.empty()) return Error{Code::kNotFound, "no following region is configured"};
  leaders.insert(leaders.end(), others.begin(), others.end());
  return leaders;
}

std::string ids(const object& answer, std::string_view name) {
  std::string out;
  if (const auto* list = answer.if_contains(name); list && list->is_array())
    for (const auto& id : list->as_array())
      if (id.is_string()) out += (out.empty() ? "" : ", ") + std::string(id.as_string());
  return out;
}

std::string unknown_loss(const object& plan) {
  if (true_of(plan, "sealed")) return "none: the primary has sealed its history for this region";
  if (text_of(plan, "unknown_since").empty()) return "without bound: nobody here has an answer of the primary";
  return "whatever was committed after " + text_of(plan, "unknown_since") + ", " + time_figure(plan, "unknown_since_ms_ago") + " ago";
}

void print_plan(const object& plan, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("promotion", true_of(plan, "allowed") ? "allowed" : "refused");
  for (const object& refusal : list_of(plan, "refusals"))
    line("", text_of(refusal, "rule") + ": " + text_of(refusal, "detail"));
  line("region", or_dash(text_of(plan, "region")) + ", epoch " + figure(plan, "from_epoch") + " -> " + figure(plan, "to_epoch"));
  line("members", or_dash(ids(plan, "members")) + (ids(plan, "silent").empty() ? "" : "; silent: " + ids(plan, "silent")));
  line("kept", "all up to history index " + figure(plan, "position_index"));
  line("lost, known", figure(plan, "known_loss_writes") + " writes in " + figure(plan, "known_loss_entries") + " entries, " +
                          size_figure(plan, "known_loss_bytes"));
  line("lost, unknown", unknown_loss(plan));
  line("digest", text_of(plan, "digest"));
  Table table({{"CHECK"}, {"OK"}, {"DETAIL"}});
  for (const object& check : list_of(plan, "checks"))
    table.add({text_of(check, "check"), yes_no(true_of(check, "ok")), or_dash(text_of(check, "detail"))});
  out << "\n" << table.text();
}

}  // namespace

// Only the leader of a following group makes one: whoever is reached knows who
// that is, or was a moment ago.
Result<void> dr_plan(const Server& server, const Output& output) {
  const auto order = following_leader_first(server);
  if (!order.ok()) return order.error();
  Result<Answer> answer = Error{Code::kUnavailable, "no member of a following region was reached; name one by --endpoints"};
  for (const Endpoint& endpoint : *order) {
    answer = server.call_at(endpoint, "/v3/dr/plan", {});
    if (answer.ok() || (exit_code(answer.error()) != kUnreachable && answer.error().code != kCannotServe)) break;
  }
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_plan(answer->json, output.out);
  return {};
}

}  // namespace leeward::ctl
