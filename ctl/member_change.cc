// Changes of who the members are: add, wait-sync, promote, remove, replace.
#include <boost/json/array.hpp>

#include <chrono>
#include <thread>

#include "ctl/commands.h"

namespace leeward::ctl {
namespace {

using boost::json::array;
using boost::json::object;

constexpr Duration kPoll = 500ms;

std::string spelled(const std::vector<std::uint64_t>& ids) {
  std::string out;
  for (const auto id : ids) out += (out.empty() ? "" : ", ") + std::to_string(id);
  return out;
}

array texts(const std::vector<std::uint64_t>& ids) {
  array out;
  for (const auto id : ids) out.push_back(boost::json::value(std::to_string(id)));
  return out;
}

// The change, of the group that `member` is of, then what was done as a line or as JSON.
Result<void> change(const Server& server, const Output& output, std::uint64_t member, const object& request, const std::string& done) {
  const auto answer = server.call_group_of(member, "/v3/member/change", request);
  if (!answer.ok() && answer.error().code == Code::kNotFound) return Error{Code::kNotFound, answer.error().message + " (leewardctl cluster status)"};
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << (answer->text.ends_with("\n") ? "" : "\n");
  else output.out << done << "\n";
  return {};
}

}  // namespace

Result<void> member_add(const Server& server, const Output& output, const NewMember& member) {
  const object added{{"id", std::to_string(member.id)}, {"name", member.name}, {"region", member.region}, {"zone", member.zone},
                     {"peer_address", member.peer_address}, {"client_url", member.client_url}};
  const std::string id = std::to_string(member.id);
  return change(server, output, member.id, {{"add", array{added}}},
                "member " + id + " is a learner now; start it with cluster.bootstrap = \"join\", then leewardctl member wait-sync " +
                    id + " and member promote " + id);
}

Result<void> member_promote(const Server& server, const Output& output, std::uint64_t id) {
  return change(server, output, id, {{"promote", texts({id})}}, "member " + std::to_string(id) + " votes now");
}

Result<void> member_remove(const Server& server, const Output& output, std::uint64_t id, bool force) {
  return change(server, output, id, {{"remove", texts({id})}, {"force", force}},
                "member " + std::to_string(id) + " is removed; stop it, and empty its directories before it is added again");
}

Result<void> member_replace(const Server& server, const Output& output, const std::vector<std::uint64_t>& pairs, bool force) {
  if (pairs.size() % 2 != 0) return Error{Code::kInvalid, "member replace takes pairs: OLD NEW [OLD NEW ...]"};
  std::vector<std::uint64_t> old, fresh;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    old.push_back(pairs[i]);
    fresh.push_back(pairs[i + 1]);
  }
  const std::string kind = old.size() == 1 ? "member " : "members ";
  return change(server, output, old.empty() ? 0 : old.front(), {{"promote", texts(fresh)}, {"remove", texts(old)}, {"force", force}},
                kind + spelled(fresh) + (old.size() == 1 ? " votes" : " vote") + " now in place of " + spelled(old));
}

Result<void> member_update(const Server& server, const Output& output, const NewMember& member) {
  const object moved{{"id", std::to_string(member.id)}, {"peer_address", member.peer_address}, {"client_url", member.client_url}};
  return change(server, output, member.id, {{"move", array{moved}}}, "member " + std::to_string(member.id) + " is looked for there now");
}

Result<void> member_wait_sync(const Server& server, const Output& output, std::uint64_t id, Duration limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  std::string told = "no answer yet";
  for (;;) {
    const auto answer = server.call_group_of(id, "/v3/member/sync", {{"id", std::to_string(id)}});
    // Nobody there, or no leader for the moment: it is what waiting is for.
    const bool passing = !answer.ok() && (answer.error().code == kCannotServe || exit_code(answer.error()) == kUnreachable);
    if (!answer.ok() && !passing) return answer.error();
    if (answer.ok() && true_of(answer->json, "in_sync")) {
      if (output.json) output.out << answer->text << (answer->text.ends_with("\n") ? "" : "\n");
      else
        output.out << "member " << id << " is in sync, " << number_of(answer->json, "behind_entries").value_or(0)
                   << " entries behind its leader\n";
      return {};
    }
    const std::string now = answer.ok() ? text_of(answer->json, "detail") : answer.error().message;
    if (now != told && !output.json) output.out << now << std::endl;
    told = now;
    if (std::chrono::steady_clock::now() + kPoll > until)
      return Error{Code::kOverloaded, "member " + std::to_string(id) + " is not in sync in time: " + told};
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace leeward::ctl
