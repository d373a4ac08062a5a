#include "admin/pages.h"

#include <algorithm>
#include <map>

#include "admin/checks.h"
#include "base/json.h"
#include "base/quantity.h"

namespace leeward::admin {
namespace {

// Names that monitoring of other stores of this kind looks for.
std::string health_name(const std::string& check) {
  if (check == "storage") return "disk";
  if (check == "apply") return "store";
  return check;
}

std::string decimal(std::uint64_t n) { return std::to_string(n); }

struct Group {
  GroupRole role = GroupRole::kUnknown;
  NodeId leader;
  std::uint64_t position = 0;
  std::vector<const MemberStatus*> members;
};

std::map<std::string, Group> groups(const NodeStatus& s) {
  std::map<std::string, Group> out;
  for (const MemberStatus& member : s.members) {
    Group& group = out[member.region];
    group.members.push_back(&member);
    if (member.role != GroupRole::kUnknown) group.role = member.role;
    if (member.state == MemberState::kLeader) group.leader = member.id;
    group.position = std::max(group.position, member.applied.position.index.value());
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else out += c;
  }
  return out;
}

std::string lag_text(const MemberStatus& member) {
  if (!follows(member.role)) return "&ndash;";
  if (!member.lag.high) return "unknown";
  std::string out;
  if (member.lag.writes) out = grouped(*member.lag.writes) + (*member.lag.writes == 1 ? " write, " : " writes, ");
  return out + (member.lag.low ? human_duration(*member.lag.low) : "?") + " to " + human_duration(*member.lag.high);
}

std::string eligible_text(const MemberStatus& member) {
  if (!follows(member.role)) return "&ndash;";
  if (member.eligibility.empty()) return "no verdict yet";
  std::string failing;
  for (const NamedCheck& check : member.eligibility)
    if (!check.ok) failing += (failing.empty() ? "" : ", ") + escaped(check.check);
  return failing.empty() ? "yes" : "no: " + failing;
}

constexpr const char* kHead =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"refresh\" content=\"2\">\n<style>\n"
    ":root{color-scheme:light dark;--line:#8884;--dim:#5f6670;--good:#1a7f45;--bad:#c0362c}\n"
    "@media(prefers-color-scheme:dark){:root{--dim:#9aa1ab;--good:#4cc38a;--bad:#ff8577}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.35rem;margin:0}h2{font-size:1rem;margin:1.8rem 0 .3rem}\n"
    "p{margin:.2rem 0;color:var(--dim)}p b{color:CanvasText}.foot{margin-top:1.8rem;overflow-wrap:anywhere}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
    "th,td{text-align:left;padding:.3rem 1.2rem .3rem 0;border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "th{font-weight:500;color:var(--dim)}td.n,th.n{text-align:right}tr.me td:first-child{font-weight:600}\n"
    ".good{color:var(--good)}.bad{color:var(--bad)}code{font:13px ui-monospace,monospace}\n"
    // A narrow screen shows a member as a card, so that no figure is out of sight.
    "@media(max-width:52rem){tr:first-child{display:none}tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}\n"
    "td,td.n{display:flex;justify-content:space-between;gap:1rem;text-align:right;white-space:normal;border:0;padding:.05rem 0;"
    "overflow-wrap:anywhere}td::before{content:attr(data-l);color:var(--dim);font-weight:400}}\n"
    "</style>\n";

struct Cell {
  const char* label;
  std::string text;            // as HTML
  const char* style = "";      // class of the cell
};

std::string health_text(const MemberStatus& m) {
  if (!m.report_age) return "never heard";
  return m.healthy ? "healthy" : "unhealthy, heard " + human_duration(*m.report_age) + " ago";
}

std::vector<Cell> cells(const MemberStatus& m, bool following) {
  std::vector<Cell> out = {
      {"member", decimal(m.id.value()) + " " + escaped(m.name)},
      {"zone", escaped(m.zone)},
      {"state", std::string(m.admitted || !m.report_age ? name(m.state) : "not admitted") + (m.voter ? "" : ", no vote")},
      {"health", health_text(m), m.healthy && m.report_age ? "good" : "bad"},
  };
  if (following) {
    out.push_back({"lag", lag_text(m)});
    out.push_back({"may be promoted", eligible_text(m)});
  }
  out.push_back({"applied", grouped(m.applied.index.value()), "n"});
  out.push_back({"position", grouped(m.applied.position.index.value()), "n"});
  out.push_back({"data", human_size(m.db_bytes), "n"});
  out.push_back({"address", escaped(m.client_url.empty() ? m.peer_address : m.client_url)});
  return out;
}

void append_group(std::string& out, const std::string& region, const Group& group, NodeId self) {
  const bool following = follows(group.role);
  out += "<h2>" + escaped(region.empty() ? "region not named" : region) + " &middot; " + name(group.role) +
         "</h2>\n<div class=\"wide\"><table>\n<tr>";
  for (const Cell& cell : cells(*group.members.front(), following))
    out += std::string(std::string_view(cell.style) == "n" ? "<th class=\"n\">" : "<th>") + cell.label + "</th>";
  out += "</tr>\n";
  for (const MemberStatus* m : group.members) {
    out += m->id == self ? "<tr class=\"me\">" : "<tr>";
    for (const Cell& cell : cells(*m, following))
      out += std::string("<td data-l=\"") + cell.label + "\" class=\"" + cell.style + "\">" + cell.text + "</td>";
    out += "</tr>\n";
  }
  out += "</table></div>\n";
}

}  // namespace

std::string health_json(const std::vector<NamedCheck>& checks, bool details) {
  std::string reason;
  JsonWriter list;
  list.begin_object();
  for (const NamedCheck& check : checks) {
    list.key(health_name(check.check)).begin_object().field("ok", check.ok);
    if (details && !check.detail.empty()) list.field("detail", check.detail);
    list.end_object();
    if (!check.ok) reason += (reason.empty() ? "" : "; ") + health_name(check.check) + (details ? ": " + check.detail : "");
  }
  list.end_object();
  JsonWriter out;
  out.begin_object().field("health", reason.empty() ? "true" : "false").field("status", reason.empty() ? "healthy" : "unhealthy");
  if (!reason.empty()) out.field("reason", reason);
  out.key("checks").raw(list.text()).end_object();
  return out.text() + "\n";
}

std::string console_html(const NodeStatus& s, const std::vector<NamedCheck>& checks) {
  const MemberStatus* me = self(s);
  const std::string title = escaped(s.cluster_name) + " &middot; " + (me ? escaped(me->name) : "node " + decimal(s.self.value()));
  std::string out = std::string(kHead) + "<title>" + title + "</title></head><body>\n<h1>" + title + "</h1>\n";
  out += std::string("<p><b>") + name(s.role) + "</b>, " + name(s.state) + " &middot; epoch <b>" + decimal(s.epoch.value()) +
         "</b> &middot; term " + decimal(s.term.value()) + " &middot; leader " +
         (s.leader ? decimal(s.leader.value()) : "<b class=\"bad\">none</b>") + " &middot; revision " +
         grouped(static_cast<std::uint64_t>(s.applied.revision.value())) + " &middot; armed: " +
         (s.armed_region.empty() ? "nobody" : escaped(s.armed_region)) + "</p>\n";
  bool ready = true;
  for (const NamedCheck& check : checks) {
    if (check.ok) continue;
    ready = false;
    out += "<p><span class=\"bad\">not ready</span> &middot; " + escaped(check.check) + ": " + escaped(check.detail) + "</p>\n";
  }
  if (ready) out += "<p class=\"good\">ready</p>\n";
  for (const auto& [region, group] : groups(s)) append_group(out, region, group, s.self);
  out += "<p class=\"foot\">lineage <code>" + (s.lineage.known() ? s.lineage.hex() : "not known yet") + "</code> &middot; state hash <code>" +
         s.applied.state_hash.hex().substr(0, 16) + "</code> at " + grouped(s.applied.point.position.index.value()) + "</p>\n";
  return out + "</body></html>\n";
}

}  // namespace leeward::admin
