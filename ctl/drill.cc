#include <algorithm>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

// A member that leads has more to do: it comes last.
Result<std::vector<Endpoint>> to_ask(const Server& server, std::uint64_t id) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::vector<Endpoint> others, leaders;
  bool found = false;
  for (const object& member : list_of(status->json, "members")) {
    const std::string role = text_of(member, "role");
    const bool follows = role == "standby" || role == "observer";
    if (id != 0 ? text_of(member, "id") != std::to_string(id) : !follows) continue;
    found = true;
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (endpoint.ok()) (text_of(member, "state") == "leader" ? leaders : others).push_back(*endpoint);
  }
  if (!found)
    return Error{Code::kNotFound, id != 0 ? "no member has the id " + std::to_string(id) + "; leewardctl cluster status lists all of them"
                                          : "no following region is configured"};
  others.insert(others.end(), leaders.begin(), leaders.end());
  return others;
}

void print_drill(const object& report, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  const bool passed = true_of(report, "passed");
  line("drill", passed ? "passed" : "failed");
  line("member", figure(report, "node_id") + ", region " + or_dash(text_of(report, "region")));
  line("time to serve", report.contains("rto_ms") ? time_figure(report, "rto_ms") + ", from asking for the promotion to the first write" : "-");
  line("standby's lag", report.contains("standby_lag_during_ms") ? "at most " + time_figure(report, "standby_lag_during_ms") + " meanwhile"
                                                                 : "unknown: the primary was not heard all the time");
  line("took", time_figure(report, "duration_ms"));
  line("next", passed ? "leewardctl dr plan shows what the promotion itself would keep and lose now, and which rule forbids it"
                      : "leewardctl standby status and the member's log say more; leewardctl storage verify --full-scan looks at all that a stopped node holds");
  Table table({{"CHECK"}, {"OK"}, {"TIME", Table::Align::kRight}, {"DETAIL"}});
  for (const object& check : list_of(report, "checks"))
    table.add({text_of(check, "name"), yes_no(true_of(check, "ok")), time_figure(check, "ms"), or_dash(text_of(check, "detail"))});
  out << "\n" << table.text();
}

}  // namespace

Result<void> dr_drill(const Server& server, const Output& output, std::uint64_t id, Duration limit) {
  const auto order = to_ask(server, id);
  if (!order.ok()) return order.error();
  Result<Answer> answer = Error{Code::kUnavailable, "no member of a following region was reached; name one by --endpoints"};
  for (const Endpoint& endpoint : *order) {
    answer = server.call_at(endpoint, "/v3/dr/drill", {{"id", std::to_string(id)}}, limit);
    // A drill that was begun and is not heard of goes on: no second one beside it.
    if (answer.ok() || answer.error().code != Code::kUnavailable) break;
  }
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_drill(answer->json, output.out);
  if (true_of(answer->json, "passed")) return {};
  const auto checks = list_of(answer->json, "checks");
  const auto failed = std::find_if(checks.begin(), checks.end(), [](const object& c) { return !true_of(c, "ok"); });
  return Error{Code::kIo, failed == checks.end() ? "the drill failed" : "the drill failed at its check '" + text_of(*failed, "name") + "': " +
                                                                            text_of(*failed, "detail")};
}

}  // namespace leeward::ctl
