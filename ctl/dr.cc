#include <boost/json/serialize.hpp>

#include <algorithm>
#include <optional>
#include <set>
#include <thread>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

// The state may have to be replayed first.
constexpr Duration kRejoinPatience = std::chrono::seconds(60);

// The clients' addresses of the members of some groups, leaders first.
template <class Wanted>
Result<std::vector<Endpoint>> leaders_first(const Server& server, Wanted wanted) {
  const auto status = server.call_member("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::vector<Endpoint> leaders, others;
  for (const object& member : list_of(status->json, "members")) {
    if (!wanted(member)) continue;
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (endpoint.ok()) (text_of(member, "state") == "leader" ? leaders : others).push_back(*endpoint);
  }
  leaders.insert(leaders.end(), others.begin(), others.end());
  return leaders;
}

bool follows(const object& of) { return text_of(of, "role") == "standby" || text_of(of, "role") == "observer"; }

std::string none_follows(const object& status) {
  for (const object& group : list_of(status, "groups")) {
    const std::string region = text_of(group, "region");
    if (text_of(group, "role") == "primary") continue;
    if (text_of(group, "role") == "fenced") return "region " + region + " is fenced and follows nobody: leewardctl dr rejoin";
    return "region " + region + " is not known to follow: start its members, then leewardctl standby status";
  }
  return "no following region is configured";
}

// The armed region is the one to be asked, where several follow, unless one is
// named; a region that is fenced and hears of no other by itself.
Result<std::vector<Endpoint>> to_ask(const Server& server, const std::string& region) {
  const auto status = server.call_member("/v3/dr/status");
  if (!status.ok()) return status.error();
  const std::string armed = text_of(status->json, "armed_region"), own = text_of(status->json, "region");
  auto order = leaders_first(server, [&](const object& m) {
    if (!region.empty()) return text_of(m, "region") == region;
    return follows(m) && (armed.empty() || text_of(m, "region") == armed);
  });
  if (order.ok() && order->empty() && region.empty() && text_of(status->json, "role") == "fenced")
    order = leaders_first(server, [&](const object& m) { return text_of(m, "region") == own; });
  // Who is armed may be lost, and as far as that is known here this region is next.
  if (order.ok() && region.empty() && armed != own && follows(status->json)) {
    const auto here = leaders_first(server, [&](const object& m) { return text_of(m, "region") == own; });
    if (here.ok()) order->insert(order->end(), here->begin(), here->end());
  }
  if (order.ok() && order->empty()) return Error{Code::kNotFound, region.empty() ? none_follows(status->json) : "no member is of region " + region};
  return order;
}

boost::json::array numbers(const std::vector<std::uint64_t>& ids) {
  boost::json::array out;
  for (const auto id : ids) out.push_back(boost::json::value(std::to_string(id)));
  return out;
}

// Members of a group without a majority: any of them will do.
Result<std::vector<Endpoint>> these(const Server& server, const std::vector<std::uint64_t>& ids) {
  std::set<std::string> unknown;
  for (const auto id : ids) unknown.insert(std::to_string(id));
  const auto named = unknown;
  auto order = leaders_first(server, [&](const object& m) {
    unknown.erase(text_of(m, "id"));
    return named.contains(text_of(m, "id"));
  });
  if (order.ok() && !unknown.empty())
    return Error{Code::kNotFound, "no member has the id " + *unknown.begin() + "; leewardctl cluster status lists all of them"};
  return order;
}

bool goes_on(const Error& error) { return exit_code(error) == kUnreachable || error.code == kCannotServe; }

std::vector<std::string> texts_of(const object& answer, std::string_view name) {
  std::vector<std::string> out;
  if (const auto* list = answer.if_contains(name); list && list->is_array())
    for (const auto& text : list->as_array())
      if (text.is_string()) out.emplace_back(text.as_string());
  return out;
}

std::string ids(const object& answer, std::string_view name) {
  std::string out;
  for (const auto& id : texts_of(answer, name)) out += (out.empty() ? "" : ", ") + id;
  return out;
}

std::string unknown_loss(const object& plan) {
  if (true_of(plan, "sealed")) return "none: the primary has sealed its history for this region";
  if (true_of(plan, "survivors") && text_of(plan, "unknown_since").empty()) return "without bound: whatever only the lost members had";
  if (text_of(plan, "unknown_since").empty()) return "without bound: what the primary has beyond that is not known here";
  return "whatever was committed after " + text_of(plan, "unknown_since") + ", " + time_figure(plan, "unknown_since_ms_ago") + " ago";
}

// Why that is what to do.
std::string with_reason(const std::string& command) {
  if (command == "leewardctl dr rejoin") return command + ": another region serves a newer epoch";
  if (command == "leewardctl dr switchover") return command + ", which loses nothing, while the primary lives";
  if (command == "leewardctl dr plan") return command + ", in a few seconds";
  return command;
}

void print_plan(const object& plan, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("promotion", true_of(plan, "allowed") ? "allowed" : "refused");
  for (const object& refusal : list_of(plan, "refusals"))
    line("", text_of(refusal, "rule") + ": " + text_of(refusal, "detail"));
  line("region", or_dash(text_of(plan, "region")) + ", epoch " + figure(plan, "from_epoch") + " -> " + figure(plan, "to_epoch") +
                     (true_of(plan, "epoch_drawn") ? " or above, drawn at random" : ""));
  line("members", or_dash(ids(plan, "members")) + (ids(plan, "silent").empty() ? "" : "; silent: " + ids(plan, "silent")));
  line("kept", "all up to history index " + figure(plan, "position_index"));
  const bool unbounded = text_of(plan, "unknown_since").empty() && !true_of(plan, "sealed");
  if (unbounded) line("lost, unknown", unknown_loss(plan));
  line("lost, known", figure(plan, "known_loss_writes") + " writes in " + figure(plan, "known_loss_entries") + " entries, " +
                          size_figure(plan, "known_loss_bytes"));
  if (!unbounded) line("lost, unknown", unknown_loss(plan));
  if (text_of(plan, "newest_known_epoch") != text_of(plan, "from_epoch"))
    line("lost, epochs", "all that was written after epoch " + figure(plan, "from_epoch") + ", up to epoch " + figure(plan, "newest_known_epoch"));
  if (plan.contains("estimated_rto_ms")) line("time to serve", time_figure(plan, "estimated_rto_ms") + ", estimated");
  line("digest", text_of(plan, "digest"));
  if (true_of(plan, "allowed") && unbounded)
    line("first", "see whether a majority of the primary's members can be started with their disks: that loses nothing");
  if (const auto next = text_of(plan, "next_command"); !next.empty()) line("next", with_reason(next));
  if (const auto force = text_of(plan, "force_command"); !force.empty()) {
    line("by force", force);
    line("", "only where the region that refuses it is lost for good: what that alone has, and goes on to acknowledge, is lost");
  }
  if (list_of(plan, "checks").empty()) return;
  Table table({{"CHECK"}, {"OK"}, {"DETAIL"}});
  for (const object& check : list_of(plan, "checks"))
    table.add({text_of(check, "check"), yes_no(true_of(check, "ok")), or_dash(text_of(check, "detail"))});
  out << "\n" << table.text();
}

// Who of the region is in the group no more, as it is added again.
std::vector<std::string> left_out(const object& topology, const std::string& region, const std::vector<std::uint64_t>& kept) {
  std::vector<std::string> out;
  for (const object& r : list_of(topology, "regions")) {
    if (text_of(r, "region") != region) continue;
    for (const object& m : list_of(r, "members"))
      if (std::find(kept.begin(), kept.end(), number_of(m, "id").value_or(0)) == kept.end())
        out.push_back("leewardctl member add " + text_of(m, "id") + " --name " + text_of(m, "name") + " --region " + region +
                      (text_of(m, "zone").empty() ? "" : " --zone " + text_of(m, "zone")) + " --peer-url " + text_of(m, "peer_address") +
                      " --client-url " + text_of(m, "client_url"));
  }
  return out;
}

// `topology`: as it was before.
void print_promotion(const object& done, std::ostream& out, const Promotion& asked = {}, const object& topology = {}) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  const std::string leader = figure(done, "leader_id");
  line("promotion", true_of(done, "repeated") ? "was done already" : "done in " + time_figure(done, "duration_ms"));
  line("region", text_of(done, "region") + " is primary in epoch " + figure(done, "epoch") +
                     (leader == "0" ? ", and nobody leads it now: leewardctl dr status" : ", led by node " + leader));
  line("history", "kept up to index " + figure(done, "fork_index") + ", revision " + figure(done, "fork_revision"));
  line("revisions", "go on at " + figure(done, "first_revision"));
  if (done.contains("paused_ms")) line("dark", time_figure(done, "paused_ms") + ", since the primary was last heard");
  for (const auto& note : texts_of(done, "notes")) line("note", note);
  for (const object& step : list_of(done, "steps")) line(("  " + text_of(step, "name")).c_str(), time_figure(step, "ms"));
  if (!asked.members.empty()) {
    line("members", "only those that were named; the others of the region are out of it: before they start again empty their directories, and set "
                    "cluster.bootstrap = \"join\" in their configuration; then");
    for (const auto& add : left_out(topology, text_of(done, "region"), asked.members)) line("", add);
  }
  line("next", "point clients at region " + text_of(done, "region") + "; leewardctl dr status --history shows the record");
}

std::string primary_of(const object& s) {
  const bool told = s.contains("silence_ms");
  if (true_of(s, "primary_heard")) return "heard, " + time_figure(s, "silence_ms") + " ago";
  if (true_of(s, "primary_silent")) return "silent for " + (told ? time_figure(s, "silence_ms") : "as long as this node has listened");
  // Right after a change of roles nobody can have been heard yet.
  return told && real_of(s, "silence_ms").value_or(0) >= 1000 ? "silent for " + time_figure(s, "silence_ms") : "not heard yet";
}

void print_dr_status(const object& s, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  const std::string state = text_of(s, "state");
  const bool takes_part = state != "waiting" && state != "removed" && state != text_of(s, "role");
  line("region", text_of(s, "region") + ": " + (takes_part ? text_of(s, "role") + ", " : "") + state);
  if (!text_of(s, "waiting_for").empty()) line("waiting", text_of(s, "waiting_for"));
  if (state == "start_wait") line("writes", "wait");
  if (state == "sealed") line("writes", "wait, until region " + or_dash(text_of(s, "armed_region")) + " has taken over or the switchover is taken back");
  const std::string serving = text_of(s, "serving_region");
  line("epoch", figure(s, "epoch") + (text_of(s, "newest_epoch") == text_of(s, "epoch") ? "" :
                "; epoch " + figure(s, "newest_epoch") + (serving.empty() ? " is known: it begins here in a moment, or another region serves it" : " is served by region " + serving)));
  if (const auto* contested = s.if_contains("contested"); contested && contested->is_object())
    line("contested", "epoch " + figure(contested->as_object(), "epoch") + " began by promotion " + text_of(contested->as_object(), "promotion_id") +
                          " here and by " + text_of(contested->as_object(), "other_promotion_id") + " elsewhere: leewardctl dr survivor");
  std::string armed = or_dash(text_of(s, "armed_region"));
  if (const auto* fencing = s.if_contains("fencing"); fencing && fencing->is_object())
    armed += " by " + text_of(fencing->as_object(), "mode");
  if (true_of(s, "unguarded")) armed += "; unguarded: a region was disarmed by force, and no planned switchover ends this epoch";
  line("armed", armed);
  if (follows(s)) line("primary", primary_of(s));
  for (const auto& warning : texts_of(s, "warnings")) line("warning", warning);
  if (const auto next = text_of(s, "next_command"); !next.empty()) line("next", next);
  Table table({{"REGION"}, {"ROLE"}, {"LEADER"}, {"INDEX", Table::Align::kRight}, {"MEMBERS"}});
  for (const object& group : list_of(s, "groups"))
    table.add({text_of(group, "region"), text_of(group, "role"), or_dash(text_of(group, "leader_id") == "0" ? "" : text_of(group, "leader_id")),
               figure(group, "position_index"), ids(group, "members")});
  out << "\n" << table.text();
}

void print_rejoin(const object& done, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("rejoin", true_of(done, "changed") ? "done" : "nothing to do: this region follows already");
  line("follows", "epoch " + figure(done, "epoch") + ", from history index " + figure(done, "position_index") + " on");
  if (list_of(done, "ledgers").empty()) line("put aside", "nothing");
  for (const object& l : list_of(done, "ledgers"))
    line("put aside", figure(l, "writes") + " writes of epoch " + figure(l, "epoch") + ", " + size_figure(l, "bytes") + ", in ledger " +
                          text_of(l, "ledger"));
  line("next", text_of(done, "next_command"));
}

// Until the region that was primary before follows nobody knows.
std::string measured_loss(const object& epoch) {
  if (!epoch.contains("measured_loss_writes")) return "not yet";
  return std::string(true_of(epoch, "measured_loss_open") ? "at least " : "") + figure(epoch, "measured_loss_writes") + " writes, " +
         size_figure(epoch, "measured_loss_bytes");
}

void print_history(const object& s, std::ostream& out) {
  Table table({{"EPOCH", Table::Align::kRight}, {"REGION"}, {"TIME"}, {"HOW"}, {"FORK", Table::Align::kRight},
               {"LOST, ANNOUNCED"}, {"LOST, MEASURED"}, {"BY"}, {"REASON"}, {"PROMOTION"}});
  for (const object& e : list_of(s, "history"))
    table.add({figure(e, "epoch"), text_of(e, "region"), text_of(e, "time"),
               true_of(e, "planned") ? "planned" : true_of(e, "forced") ? "forced" : "unplanned", figure(e, "fork_index"),
               figure(e, "announced_loss_writes") + " writes, " + size_figure(e, "announced_loss_bytes") +
                   (true_of(e, "announced_loss_open") ? ", and what was not heard of" : ""),
               measured_loss(e),
               or_dash(text_of(e, "operator")), or_dash(text_of(e, "reason")), text_of(e, "promotion_id")});
  const bool waiting = text_of(s, "state") == "waiting";
  out << (!list_of(s, "history").empty() ? table.text() : waiting ? "this member takes part in no group and knows no history: ask another one\n"
                                                                  : "epoch 1: nothing was promoted yet\n");
}

}  // namespace

namespace {

// Only the leader of a following group makes one: whoever is reached knows who
// that is, or was a moment ago.
Result<Answer> ask_plan(const Server& server, const Promotion& promotion) {
  const auto order = promotion.members.empty() ? to_ask(server, promotion.region) : these(server, promotion.members);
  if (!order.ok()) return order.error();
  const object request = {{"members", numbers(promotion.members)}};
  std::optional<Error> said;
  Result<Answer> answer = Error{Code::kUnavailable, "no member of a following region was reached; name one by --endpoints"};
  for (const Endpoint& endpoint : *order) {
    answer = server.call_at(endpoint, "/v3/dr/plan", request);
    if (answer.ok() || !goes_on(answer.error())) break;
    // One that takes part in no group knows the least.
    if (answer.error().code == kCannotServe && (!said || said->message.starts_with("waiting: "))) said = answer.error();
  }
  if (answer.ok() || !goes_on(answer.error())) return answer;
  // What a member that is up says tells more than that another one is down.
  if (said) return *said;
  if (!promotion.region.empty() || !promotion.members.empty()) return answer;
  std::set<std::string> others;
  const auto status = server.call("/v3/cluster/status");
  if (status.ok())
    for (const object& member : list_of(status->json, "members"))
      if (const auto at = parse_endpoint(text_of(member, "client_url"), status->from.tls);
          follows(member) && true_of(member, "healthy") && at.ok() &&
          std::none_of(order->begin(), order->end(), [&](const auto& asked) { return asked.text() == at->text(); })) others.insert(text_of(member, "region"));
  if (others.empty()) return Error{answer.error().code, "no member of the region that could be promoted answers (" + answer.error().message + "); leewardctl dr status says what is left"};
  return Error{answer.error().code, answer.error().message + "; region " + *others.begin() + " follows too: leewardctl dr plan --region " + *others.begin()};
}

// By lease it waits the lease out, with its margin.
Duration promotion_patience(const Server& server) {
  const auto status = server.call("/v3/dr/status");
  const auto* fencing = status.ok() ? status->json.if_contains("fencing") : nullptr;
  const auto* lease = fencing && fencing->is_object() ? fencing->as_object().if_contains("lease_ms") : nullptr;
  return 30s + 2 * std::chrono::milliseconds(lease && lease->is_number() ? lease->to_number<std::int64_t>() : 0);
}

// The same plan promotes once: who is primary by it already says so, whoever
// asks again and from wherever.
Result<Answer> ask_promotion(const Server& server, const Promotion& promotion) {
  // Those of another group refuse: the digest is not of theirs.
  auto order = leaders_first(server, [&](const object& m) {
    return promotion.region.empty() ? follows(m) || text_of(m, "role") == "fenced" : text_of(m, "region") == promotion.region;
  });
  const auto primaries = leaders_first(server, [](const object& m) { return text_of(m, "role") == "primary"; });
  if (!promotion.members.empty()) order = these(server, promotion.members);
  if (!order.ok()) return order.error();
  if (order->empty() && !promotion.region.empty()) return Error{Code::kNotFound, "no member is of region " + promotion.region};
  const std::size_t asked = order->size();
  if (promotion.members.empty() && primaries.ok()) order->insert(order->end(), primaries->begin(), primaries->end());
  boost::json::array force;
  for (const auto& rule : promotion.force) force.push_back(boost::json::value(rule));
  const object request = {{"digest", promotion.digest}, {"accept_data_loss", promotion.accept_data_loss}, {"reason", promotion.reason},
                          {"force", std::move(force)}, {"members", numbers(promotion.members)}};
  const Duration patience = promotion_patience(server);
  std::optional<Error> refusal, said;
  Error last{Code::kUnavailable, "no member of a following region was reached; name one by --endpoints"};
  for (std::size_t i = 0; i < order->size(); ++i) {
    auto answer = server.call_at((*order)[i], "/v3/dr/promote", request, patience);
    if (answer.ok()) return answer;
    if (exit_code(answer.error()) == kRefused) {
      // That a primary has nothing to promote is no answer to what those said who were to do it.
      if (!refusal && (i < asked || !said)) refusal = answer.error();
    } else if (!goes_on(answer.error())) {
      return answer.error();
    } else {
      last = answer.error();
      if (last.code == kCannotServe) said = last;
    }
  }
  // The lost region is asked last: that it cannot be reached tells the least.
  return refusal ? *refusal : said ? *said : last;
}

}  // namespace

Result<void> dr_plan(const Server& server, const Output& output, const Promotion& promotion) {
  const auto plan = ask_plan(server, promotion);
  if (!plan.ok()) return plan.error();
  for (const object& refusal : list_of(plan->json, "refusals"))
    if (!output.json && text_of(refusal, "rule") == "serving")
      return Error{Code::kRefused, "serving: " + text_of(refusal, "detail") + "; a planned change of roles is leewardctl dr switchover"};
  if (output.json) output.out << plan->text << "\n";
  else print_plan(plan->json, output.out);
  return {};
}

Result<void> dr_promote(const Server& server, const Output& output, const Promotion& promotion) {
  Result<Answer> before = Error{Code::kUnavailable, "not asked"};
  if (!promotion.members.empty()) before = server.call("/v3/cluster/topology");
  const auto done = ask_promotion(server, promotion);
  if (!done.ok()) return done.error();
  if (output.json) output.out << done->text << "\n";
  else print_promotion(done->json, output.out, promotion, before.ok() ? before->json : object());
  return {};
}

// For a primary that is sealed for a region which burned: an epoch of its own, by
// force. What that region wrote, had it begun one, is lost.
Result<void> dr_reclaim(const Server& server, const Output& output, Promotion promotion) {
  const auto status = server.call("/v3/dr/status");
  if (!status.ok()) return status.error();
  promotion.region = text_of(status->json, "region");
  if (text_of(status->json, "state") != "sealed")
    return Error{Code::kRefused, "not_sealed: region " + promotion.region + " is " + text_of(status->json, "state") +
                                     "; only a primary in the midst of a switchover is reclaimed"};
  const auto plan = ask_plan(server, promotion);
  if (!plan.ok()) return plan.error();
  std::string rules;
  for (const object& refusal : list_of(plan->json, "refusals")) rules += (rules.empty() ? "" : ",") + text_of(refusal, "rule");
  if (promotion.force.empty())
    return Error{Code::kRefused, "sealed: the region it was sealed for may serve; leewardctl dr abort asks it. Where it is lost for good: "
                                 "leewardctl dr reclaim --force " + rules};
  promotion.digest = text_of(plan->json, "digest");
  promotion.accept_data_loss = true;
  const auto done = ask_promotion(server, promotion);
  if (!done.ok()) return done.error();
  const object told = {{"epoch", text_of(done->json, "epoch")}, {"state", "serving"}, {"next_command", "leewardctl dr status --history"}};
  if (output.json) output.out << boost::json::serialize(told) << "\n";
  else print_promotion(done->json, output.out);
  return {};
}

// Whose group takes no decision follows nobody, whatever it was last.
bool decides_nothing(const object& status) {
  const std::string state = text_of(status, "state");
  return state == "waiting" || state == "removed" || state == "no_quorum" || (state == "fenced" && (text_of(status, "next_command").starts_with("start ") || text_of(status, "next_command").starts_with("members ")));
}

Error cannot_begin(const object& status) {
  const std::string next = text_of(status, "next_command"), waiting = text_of(status, "waiting_for"), state = text_of(status, "state");
  return {kCannotServe, "region " + text_of(status, "region") + " cannot begin it: the member that was asked is " + (state == "fenced" ? "fenced, and without a majority" : state) +
                            (waiting.empty() ? "" : " (for " + waiting + ")") + (next.empty() ? "" : "; next: " + next)};
}

// Who leads the region of whoever is asked begins; asked at the one that serves,
// a fenced one is meant.
Result<void> dr_rejoin(const Server& server, const Output& output, bool discard, bool accept_data_loss) {
  const auto status = server.call("/v3/dr/status");
  if (!status.ok()) return status.error();
  const std::string own = text_of(status->json, "region");
  const bool serves = text_of(status->json, "role") == "primary";
  if (serves && discard)
    return Error{Code::kRefused, "primary: region " + own + " serves; name a member of the region that has diverged by --endpoints"};
  const auto order = leaders_first(server, [&](const object& m) { return serves ? text_of(m, "role") == "fenced" : text_of(m, "region") == own; });
  if (!order.ok()) return order.error();
  if (order->empty() && decides_nothing(status->json)) return cannot_begin(status->json);
  if (order->empty()) return Error{Code::kNotFound, "region " + own + " serves, and hears of no region that is fenced: start its members, or name one of them by --endpoints"};
  Result<Answer> answer = Error{Code::kUnavailable, "no member of a fenced region was reached; name one by --endpoints"};
  for (const Endpoint& endpoint : *order) {
    answer = server.call_at(endpoint, "/v3/dr/rejoin", {{"discard", discard}, {"accept_data_loss", accept_data_loss}}, kRejoinPatience);
    if (answer.ok() || !goes_on(answer.error())) break;
  }
  if (!answer.ok() && !goes_on(answer.error())) return answer.error();
  if (!answer.ok() || !true_of(answer->json, "changed")) {
    const auto now = server.call_at(status->from, "/v3/dr/status", {});
    if (now.ok() && decides_nothing(now->json)) return cannot_begin(now->json);
  }
  if (!answer.ok()) return answer.error();
  // Its region may follow as another group than the one that this member is of; or it
  // has not heard yet that its own does.
  const auto still_fenced = [&] {
    for (int i = 0; i < 10; ++i) {
      const auto now = server.call_at(status->from, "/v3/dr/status", {});
      if (!now.ok() || text_of(now->json, "role") != "fenced") return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    return true;
  };
  if (!true_of(answer->json, "changed") && text_of(status->json, "role") == "fenced" && still_fenced())
    return Error{Code::kRefused, "other_group: region " + own + " follows, and the member that was asked is not of its group; leewardctl dr status there says what to do"};
  if (output.json) output.out << answer->text << "\n";
  else print_rejoin(answer->json, output.out);
  return {};
}

Result<void> dr_survivor(const Server& server, const Output& output, const std::string& promotion) {
  const auto status = server.call("/v3/dr/status");
  if (!status.ok()) return status.error();
  const std::string own = text_of(status->json, "region");
  const auto order = leaders_first(server, [&](const object& m) { return text_of(m, "region") == own; });
  if (!order.ok()) return order.error();
  Result<Answer> answer = Error{Code::kUnavailable, "no member of region " + own + " was reached; name one by --endpoints"};
  for (const Endpoint& endpoint : *order) {
    answer = server.call_at(endpoint, "/v3/dr/survivor", {{"promotion_id", promotion}});
    if (answer.ok() || !goes_on(answer.error())) break;
  }
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else output.out << "region " << own << ": " << text_of(answer->json, "state") << " in epoch " << figure(answer->json, "epoch")
                  << " after contested epoch " << figure(answer->json, "contested_epoch") << "\nnext: " << text_of(answer->json, "next_command") << "\n";
  return {};
}

Result<void> dr_status(const Server& server, const Output& output, bool history) {
  const auto answer = server.call_member("/v3/dr/status");
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else if (history) print_history(answer->json, output.out);
  else print_dr_status(answer->json, output.out);
  return {};
}

}  // namespace leeward::ctl
