#include <algorithm>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

boost::json::object id_request(std::uint64_t id) {
  return id == 0 ? object() : object{{"id", std::to_string(id)}};
}

std::string failing_reasons(const object& standby) {
  const auto reasons = list_of(standby, "reasons");
  if (reasons.empty()) return "no verdict yet";
  // One reason for all is said once.
  const std::string first = text_of(reasons.front(), "detail");
  if (reasons.size() > 1 && std::all_of(reasons.begin(), reasons.end(), [&](const object& reason) {
        return !true_of(reason, "ok") && text_of(reason, "detail") == first;
      }))
    return first;
  std::string out;
  for (const object& reason : reasons)
    if (!true_of(reason, "ok")) {
      out += (out.empty() ? "" : "; ") + text_of(reason, "check");
      if (const std::string detail = text_of(reason, "detail"); !detail.empty()) out += ": " + detail;
    }
  return out.empty() ? "-" : out;
}

void print_standbys(const std::vector<object>& standbys, std::ostream& out) {
  if (standbys.empty()) {
    out << "no standby is known here: none is configured, or none has been heard since the roles changed; a region that is fenced comes back by leewardctl dr rejoin\n";
    return;
  }
  Table table({{"ID", Table::Align::kRight}, {"REGION"}, {"STREAM"}, {"LAG (WRITES)", Table::Align::kRight},
               {"(ENTRIES)", Table::Align::kRight}, {"(BYTES)", Table::Align::kRight}, {"(TIME)"}, {"ELIGIBLE"}, {"WHY NOT"}});
  for (const object& s : standbys)
    table.add({text_of(s, "id"), or_dash(text_of(s, "region")), true_of(s, "connected") ? "connected" : "down",
               figure(s, "lag_writes"), figure(s, "lag_entries"), size_figure(s, "lag_bytes"), lag_interval(s),
               yes_no(true_of(s, "promotion_eligible")), failing_reasons(s)});
  out << table.text();
}

// What the leader measures is not known to who does not lead.
void print_rpo(const object& rpo, std::ostream& out) {
  const std::string policy = text_of(rpo, "policy"), detail = text_of(rpo, "detail");
  std::string text = policy + (detail.empty() ? "" : ", suspended: " + detail) + "; budget " + time_figure(rpo, "budget_ms");
  if (!true_of(rpo, "judged")) {
    text += "; the leader measures it";
  } else {
    text += ", lag " + (real_of(rpo, "lag_ms") ? "at most " + time_figure(rpo, "lag_ms") : std::string("unknown"));
    if (true_of(rpo, "exceeded")) text += ", exceeded";
    if (true_of(rpo, "refusing")) text += "; writes are refused";
    if (number_of(rpo, "allowed_bytes_per_second")) text += "; writes are held to " + size_figure(rpo, "allowed_bytes_per_second") + "/s";
  }
  out << "rpo policy: " << text << "\n";
}

void print_replica(const object& answer, std::ostream& out) {
  const auto* value = answer.if_contains("member");
  const object member = value && value->is_object() ? value->as_object() : object();
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("member", text_of(member, "id") + " " + text_of(member, "name"));
  line("place", or_dash(text_of(member, "region")) + " / " + or_dash(text_of(member, "zone")));
  line("role", text_of(member, "role") + ", " + text_of(member, "state") + (true_of(member, "voter") ? ", votes" : ", does not vote") +
                   (true_of(member, "admitted") || !real_of(member, "report_age_ms") ? "" : ", not admitted: leewardctl member admit " + text_of(member, "id")));
  if (true_of(member, "paused")) line("standing", "paused: leewardctl replica resume --id " + text_of(member, "id"));
  if (text_of(member, "state") == "isolated")
    line("standing", "isolated: " + text_of(member, "standing_reason") + (true_of(member, "verifying") ? "; being verified" : ""));
  line("health", real_of(member, "report_age_ms") ? std::string(true_of(member, "healthy") ? "healthy" : "unhealthy") + ", heard " +
                                                        time_figure(member, "report_age_ms") + " ago"
                                                  : "never heard");
  line("applied", figure(member, "applied_index") + " (durable " + figure(member, "durable_index") + ", " +
                      figure(member, "lag_entries") + " entries behind)");
  line("position", figure(member, "position_index"));
  line("state hash", or_dash(text_of(member, "state_hash")) + " @ " + figure(member, "state_hash_index"));
  line("data", size_figure(member, "db_bytes") + ", " + size_figure(member, "db_bytes_in_use") + " in use");
  line("version", or_dash(text_of(member, "version")));
  line("addresses", or_dash(text_of(member, "client_url")) + ", peer " + or_dash(text_of(member, "peer_address")));
  const auto* standby = answer.if_contains("standby");
  if (standby && standby->is_object() && !standby->as_object().empty()) {
    out << "\n";
    print_standbys({standby->as_object()}, out);
  }
}

}  // namespace

Result<void> standby_status(const Server& server, const Output& output, std::uint64_t id) {
  const auto answer = server.call("/v3/standby/status", id_request(id));
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else {
    print_standbys(list_of(answer->json, "standbys"), output.out);
    if (const auto* rpo = answer->json.if_contains("rpo"); rpo && rpo->is_object() && !rpo->as_object().empty())
      print_rpo(rpo->as_object(), output.out);
  }
  return {};
}

Result<void> replica_status(const Server& server, const Output& output, std::uint64_t id) {
  const auto answer = server.call("/v3/replica/status", id_request(id));
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_replica(answer->json, output.out);
  return {};
}

}  // namespace leeward::ctl
