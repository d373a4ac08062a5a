#include <boost/json/array.hpp>

#include "base/json.h"
#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

std::vector<std::string> urls(const object& member, std::string_view name) {
  std::vector<std::string> out;
  const auto* value = member.if_contains(name);
  if (const auto* array = value ? value->if_array() : nullptr)
    for (const boost::json::value& url : *array)
      if (const auto* text = url.if_string()) out.emplace_back(*text);
  return out;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ",") + text;
  return or_dash(out);
}

// etcd's field names are not in snake case; ours are, everywhere.
std::string list_json(const std::vector<object>& members) {
  JsonWriter out;
  out.begin_object().key("members").begin_list();
  for (const object& member : members) {
    out.begin_object().field("id", text_of(member, "ID")).field("name", text_of(member, "name"));
    for (const auto& [from, to] : {std::pair{"peerURLs", "peer_urls"}, {"clientURLs", "client_urls"}}) {
      out.key(to).begin_list();
      for (const std::string& url : urls(member, from)) out.value(url);
      out.end_list();
    }
    out.field("is_learner", true_of(member, "isLearner")).end_object();
  }
  out.end_list().end_object();
  return out.text();
}

// Only the leader moves its leadership: it is asked first, then every endpoint.
Result<std::vector<Endpoint>> leader_first(const Server& server) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::vector<Endpoint> out;
  const auto leader = number_of(status->json, "leader_id").value_or(0);
  if (leader == 0) return Error{Code::kOverloaded, "the cluster has no leader; see leewardctl cluster status"};
  if (number_of(status->json, "node_id") == leader) out.push_back(status->from);
  for (const Endpoint& endpoint : server.endpoints()) out.push_back(endpoint);
  for (const object& member : list_of(status->json, "members"))
    if (number_of(member, "id") == leader)
      if (const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls); endpoint.ok()) out.push_back(*endpoint);
  return out;
}

}  // namespace

Result<void> member_list(const Server& server, const Output& output) {
  const auto answer = server.call("/v3/cluster/member/list");
  if (!answer.ok()) return answer.error();
  const auto members = list_of(answer->json, "members");
  if (output.json) {
    output.out << list_json(members) << "\n";
    return {};
  }
  Table table({{"ID", Table::Align::kRight}, {"NAME"}, {"PEER"}, {"CLIENT"}, {"LEARNER"}});
  for (const object& member : members)
    table.add({text_of(member, "ID"), or_dash(text_of(member, "name")), joined(urls(member, "peerURLs")),
               joined(urls(member, "clientURLs")), yes_no(true_of(member, "isLearner"))});
  output.out << table.text();
  return {};
}

Result<void> member_admit(const Server& server, const Output& output, std::uint64_t id) {
  const auto answer = server.call_group_of(id, "/v3/member/admit", {{"id", std::to_string(id)}});
  if (!answer.ok() && answer.error().code == Code::kNotFound)
    return Error{Code::kNotFound, answer.error().message + " (leewardctl cluster status)"};
  if (!answer.ok()) return answer.error();
  const bool already = true_of(answer->json, "already");
  if (output.json) output.out << "{\"id\":\"" << id << "\",\"admitted\":true,\"already\":" << (already ? "true" : "false") << "}\n";
  else if (already) output.out << "member " << id << " is admitted already; nothing was changed\n";
  else output.out << "member " << id << " is admitted; it votes when it has caught up (leewardctl cluster status)\n";
  return {};
}

Result<void> member_move_leader(const Server& server, const Output& output, std::uint64_t id) {
  const auto order = leader_first(server);
  if (!order.ok()) return order.error();
  std::string unreached;
  for (const Endpoint& endpoint : *order) {
    const auto answer = server.call_at(endpoint, "/v3/maintenance/transfer-leadership", {{"targetID", std::to_string(id)}});
    if (answer.ok()) {
      if (output.json) output.out << "{\"leader_id\":\"" << id << "\"}\n";
      else output.out << "leadership moved to member " << id << "\n";
      return {};
    }
    const bool elsewhere = answer.error().message.find("not leader") != std::string::npos || exit_code(answer.error()) == kUnreachable;
    if (answer.error().message.find("bad leader transferee") != std::string::npos)
      return Error{Code::kPermission, "member " + std::to_string(id) + " cannot lead: it is no voter of this group, not up, or was paused or isolated; "
                                      "leewardctl member list and cluster status show who is"};
    if (!elsewhere) return answer.error();
    if (exit_code(answer.error()) == kUnreachable)
      unreached += (unreached.empty() ? "" : "; ") + endpoint.text() + ": " + answer.error().message;
  }
  if (unreached.empty()) return Error{Code::kOverloaded, "the leader changed meanwhile; try again"};
  return Error{Code::kUnavailable, "the leader was not reached (" + unreached + "); name its endpoint by --endpoints, where it "
                                   "speaks TLS with --cacert, --cert and --key"};
}

}  // namespace leeward::ctl
