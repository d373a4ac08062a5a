// The HTTP paths of the admin and the metrics port. README.md lists them and
// who may see what.
//
// handle() runs on the loop of its exchange; one handler serves one loop. The
// functions in AdminSources are called there: they must be safe from any thread
// and must not block.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admin/console.h"
#include "base/function.h"
#include "base/result.h"
#include "ports/executor.h"
#include "ports/http.h"
#include "ports/status.h"

namespace leeward::admin {

struct AdminSources {
  const StatusSource* status = nullptr;       // required; outlives the handler
  struct Page {
    std::string content_type, text;
  };
  std::function<Page(std::string_view accept)> metrics;  // by an Accept header; empty: not yet
  std::function<std::string()> config;        // effective configuration, secrets masked
  std::function<Result<std::string>()> dr_status;  // JSON
  // JSON; of these members alone when some are named. `done` runs once, on `loop`.
  std::function<void(std::vector<NodeId> members, Executor& loop, Function<void(Result<std::string>)> done)> dr_plan;
  std::function<bool()> loops_turn;           // the event loops make progress; unset: they do
  std::function<std::string()> flight;        // the flight recorder's events, JSON lines
  // Those from a number on are appended; the next number.
  std::function<std::uint64_t(std::uint64_t from, std::string& lines)> flight_since;
  // {"cluster_status":{}, "standby_status":{}, "dr_status":{}} as leewardctl prints them of this status. JSON
  std::function<Result<std::string>(const NodeStatus&)> answers;
  std::function<Instant()> now;               // as the clock of `status`; unset: its age does not count
  std::function<WallTime()> wall;             // shown; unset: 1970
  std::vector<std::string> operators;         // certificate common names
  bool insecure = false;                      // everyone is an operator
  std::vector<std::string> host_names;        // of this machine, beside its addresses and localhost
  Duration max_lag = 1s;                      // of /replica and /standby without a bound
};

enum class Surface { kAdmin, kMetrics };

class AdminHandler final : public HttpHandler {
 public:
  AdminHandler(AdminSources sources, Surface surface);
  AdminHandler(const AdminHandler&) = delete;
  void handle(std::shared_ptr<HttpExchange> exchange) override;

  // What handle() responds; nullopt: a plan, which the group's voters are asked for,
  // or the console's stream.
  std::optional<HttpResponse> answer(const HttpRequest& request) const;
  // Ends the console's streams, which would last as long as their readers like. Any thread.
  void stop() { console_->stop(); }

 private:
  HttpResponse health_paths(const HttpRequest& request, bool& known) const;
  HttpResponse checks_page(const HttpRequest& request, std::string_view root, std::vector<NamedCheck> checks,
                           std::span<const std::string_view> elsewhere = {}) const;
  HttpResponse operator_paths(const HttpRequest& request, bool& known) const;
  void plan(std::shared_ptr<HttpExchange> exchange) const;
  ConsoleView console_view() const;
  Duration age_of(const NodeStatus& status) const;

  const AdminSources sources_;
  const Surface surface_;
  const std::shared_ptr<Console> console_;
};

}  // namespace leeward::admin
