#include "admin/pages.h"

#include "base/json.h"

namespace leeward::admin {
namespace {

// Names that monitoring of other stores of this kind looks for.
std::string health_name(const std::string& check) {
  if (check == "storage") return "disk";
  if (check == "apply") return "store";
  return check;
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

}  // namespace leeward::admin
