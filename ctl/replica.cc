// `replica pause | resume | isolate | rejoin`: asked of the member itself, whom
// any node knows the address of.
#include <chrono>
#include <thread>

#include "ctl/commands.h"
#include "ctl/figures.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

constexpr auto kReplicaPoll = std::chrono::milliseconds(200);

object member_of(const Answer& answer) {
  const auto* value = answer.json.if_contains("member");
  return value && value->is_object() ? value->as_object() : object();
}

// A node's word on one member names the address to ask it at; an endpoint that
// is the member itself is asked first, for the address may be another region's.
Result<Endpoint> place_of(const Server& server, std::uint64_t id) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  if (number_of(status->json, "node_id") == id) return status->from;
  for (const object& member : list_of(status->json, "members")) {
    if (number_of(member, "id") != id) continue;
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (!endpoint.ok()) return Error{Code::kNotFound, "member " + std::to_string(id) + " has no address that is known; name it by --endpoints"};
    return *endpoint;
  }
  return Error{Code::kNotFound, "no member has the id " + std::to_string(id) + "; leewardctl cluster status lists all of them"};
}

std::string standing_of(const object& member) {
  if (text_of(member, "state") == "isolated") return "isolated";
  return true_of(member, "paused") ? "paused" : "in service";
}

}  // namespace

Result<void> replica_change(const Server& server, const Output& output, const ReplicaChange& change) {
  const auto place = place_of(server, change.id);
  if (!place.ok()) return place.error();
  object request{{"id", std::to_string(change.id)}};
  if (!change.reason.empty()) request["reason"] = change.reason;
  if (change.force) request["force"] = true;
  if (const auto done = server.call_at(*place, "/v3/replica/" + change.what, request); !done.ok()) return done.error();
  // What it shows of itself is a moment old; a rejoin takes as long as its data.
  const std::string wanted = change.what == "pause" ? "paused" : change.what == "isolate" ? "isolated" : "in service";
  std::string standing, reason;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  for (;;) {
    const auto status = server.call_at(*place, "/v3/replica/status", {});
    if (!status.ok()) return status.error();
    const object member = member_of(*status);
    standing = standing_of(member);
    reason = text_of(member, "standing_reason");
    if (standing == wanted) {
      if (output.json) output.out << status->text << "\n";
      else output.out << "member " << change.id << " is " << standing << (reason.empty() ? "" : ": " + reason) << "\n";
      return {};
    }
    const bool failed = reason.find("not sound when it was to rejoin") != std::string::npos;
    if (!true_of(member, "verifying") && (failed || std::chrono::steady_clock::now() > until)) break;
    std::this_thread::sleep_for(kReplicaPoll);
  }
  return Error{Code::kIo, "member " + std::to_string(change.id) + " is still " + standing + (reason.empty() ? "" : ": " + reason)};
}

}  // namespace leeward::ctl
