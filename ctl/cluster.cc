#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/quantity.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

std::string hash_at(const object& member) {
  return short_hash(text_of(member, "state_hash")) + " @ " + figure(member, "state_hash_index");
}

std::string health(const object& member) {
  if (!real_of(member, "report_age_ms")) return "never heard";
  if (true_of(member, "healthy")) return "healthy";
  return "heard " + time_figure(member, "report_age_ms") + " ago";
}

// What a configuration calls who was never heard, or is empty, says nothing of what it is.
std::string role(const object& member) {
  return real_of(member, "report_age_ms") && text_of(member, "state") != "waiting" ? text_of(member, "role") : "-";
}

std::string state(const object& member) {
  const bool heard = real_of(member, "report_age_ms").has_value();
  return heard && !true_of(member, "admitted") ? text_of(member, "state") + ", not admitted" : text_of(member, "state");
}

constexpr double kClockWarnMs = 100;

// What an operator should see though nobody asked: a few lines, or none.
void print_warnings(const object& status, const std::vector<object>& members, std::ostream& out) {
  for (const object& member : members)
    if (true_of(member, "over_quota"))
      out << "NOSPACE   node " << member_name(members, number_of(member, "id").value_or(0))
          << " is beyond storage.quota: compact, defragment, then etcdctl alarm disarm\n";
  if (true_of(status, "disk_full"))
    out << "NOSPACE   the disk of node " << member_name(members, number_of(status, "node_id").value_or(0)) << " is full: make room\n";
  for (const object& member : members)
    if (const auto ahead = real_of(member, "clock_offset_ms"); ahead && std::abs(*ahead) > kClockWarnMs)
      out << "clock     node " << member_name(members, number_of(member, "id").value_or(0)) << " is "
          << human_duration(from_ms(std::abs(*ahead)))
          << (*ahead > 0 ? " ahead of" : " behind") << " node " << member_name(members, number_of(status, "node_id").value_or(0))
          << ": see that both keep time\n";
}

// The newest format that every member's version knows, where its group writes an older one.
std::optional<std::uint64_t> to_finalize(const object& status, const std::vector<object>& members) {
  std::uint64_t all = UINT64_MAX;
  for (const object& member : members) all = std::min(all, number_of(member, "newest_format").value_or(0));
  const auto written = number_of(status, "format");
  return written && all != UINT64_MAX && all > *written ? std::optional(all) : std::nullopt;
}

void print_status(const object& status, std::ostream& out) {
  const auto members = list_of(status, "members");
  const auto leader = number_of(status, "leader_id").value_or(0);
  out << "cluster   " << or_dash(text_of(status, "cluster")) << "   lineage " << or_dash(text_of(status, "lineage")) << "\n"
      << "answered  node " << member_name(members, number_of(status, "node_id").value_or(0)) << ", " << text_of(status, "role")
      << " " << text_of(status, "state") << "\n"
      << "epoch     " << figure(status, "epoch") << "   term " << figure(status, "term") << "   leader " << member_name(members, leader)
      << "   revision " << figure(status, "revision") << "\n";
  if (const std::string waiting = text_of(status, "waiting_for"); !waiting.empty()) out << "waiting   " << waiting << "\n";
  print_warnings(status, members, out);
  if (const auto format = to_finalize(status, members); format && text_of(status, "state") != "waiting")
    out << "format    " << figure(status, "format") << " is written, all members know " << *format
        << ": leewardctl cluster finalize, when the upgrade is to stay\n";
  out << "\n";
  Table table({{"ID", Table::Align::kRight}, {"NAME"}, {"REGION"}, {"ZONE"}, {"ROLE"}, {"STATE"}, {"VOTER"}, {"HEALTH"},
               {"APPLIED", Table::Align::kRight}, {"LAG (ENTRIES)", Table::Align::kRight}, {"STATE HASH"}, {"DATA", Table::Align::kRight}});
  for (const object& member : members)
    table.add({text_of(member, "id"), text_of(member, "name"), or_dash(text_of(member, "region")), or_dash(text_of(member, "zone")),
               role(member), state(member), yes_no(true_of(member, "voter")), health(member),
               figure(member, "applied_index"), figure(member, "lag_entries"), hash_at(member), size_figure(member, "db_bytes")});
  out << table.text();
}

void print_topology(const object& topology, std::ostream& out) {
  out << "cluster  " << or_dash(text_of(topology, "cluster")) << "   lineage " << or_dash(text_of(topology, "lineage")) << "   epoch "
      << figure(topology, "epoch") << "\n";
  for (const object& region : list_of(topology, "regions")) {
    const auto members = list_of(region, "members");
    out << "\n" << or_dash(text_of(region, "region")) << ": " << text_of(region, "role") << ", leader "
        << member_name(members, number_of(region, "leader_id").value_or(0)) << "\n";
    Table table({{"ID", Table::Align::kRight}, {"NAME"}, {"ZONE"}, {"VOTER"}, {"PEER"}, {"CLIENT"}});
    for (const object& member : members)
      table.add({text_of(member, "id"), text_of(member, "name"), or_dash(text_of(member, "zone")), yes_no(true_of(member, "voter")),
                 or_dash(text_of(member, "peer_address")), or_dash(text_of(member, "client_url"))});
    out << table.text();
  }
}

}  // namespace

Result<void> cluster_status(const Server& server, const Output& output) {
  const auto answer = server.call_member("/v3/cluster/status");
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_status(answer->json, output.out);
  return {};
}

// Each region's group writes formats of its own; the primary's history goes to
// all, so that one comes last.
Result<void> cluster_finalize(const Server& server, const Output& output) {
  const auto status = server.call_member("/v3/cluster/status");
  if (!status.ok()) return status.error();
  const auto members = list_of(status->json, "members");
  std::vector<std::string> regions;
  for (const bool primary : {false, true})
    for (const object& m : members)
      if (const auto region = text_of(m, "region"); (text_of(m, "role") == "primary") == primary && std::find(regions.begin(), regions.end(), region) == regions.end())
        regions.push_back(region);
  boost::json::array all;
  for (const auto& region : regions) {
    Result<Answer> done = Error{Code::kUnavailable, "no member of region " + region + " has a known address"};
    for (const object& m : members) {
      const auto endpoint = parse_endpoint(text_of(m, "client_url"), status->from.tls);
      if (text_of(m, "region") != region || !endpoint.ok()) continue;
      done = server.call_at(*endpoint, "/v3/cluster/finalize", {});
      if (done.ok() || (exit_code(done.error()) != kUnreachable && done.error().code != kCannotServe)) break;
    }
    if (!done.ok())
      return Error{done.error().code, done.error().message + (all.empty() ? "" : "; " + std::to_string(all.size()) + " of " + std::to_string(regions.size()) +
                                                                                     " regions are finalized, say it again for the others")};
    all.push_back(std::move(done->json));
  }
  if (output.json) {
    output.out << boost::json::serialize(object{{"regions", std::move(all)}}) << "\n";
    return {};
  }
  for (const auto& value : all) {
    const object& region = value.as_object();
    print_line(output.out, text_of(region, "region").c_str(), "writes format " + figure(region, "format") + (true_of(region, "already") ? ", as before" : " from now on"));
  }
  print_line(output.out, "next", "no member goes back to an older version from here on; leewardctl cluster status");
  return {};
}

Result<void> cluster_topology(const Server& server, const Output& output) {
  const auto answer = server.call("/v3/cluster/topology");
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else print_topology(answer->json, output.out);
  return {};
}

}  // namespace leeward::ctl
