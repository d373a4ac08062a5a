#include "ctl/server.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <charconv>

namespace leeward::ctl {
namespace {

// gRPC's codes, as the gateway puts them into its error body.
constexpr std::uint64_t kInvalidArgument = 3, kDeadlineExceeded = 4, kPermissionDenied = 7, kFailedPrecondition = 9,
                        kUnimplemented = 12, kUnavailableCode = 14, kUnauthenticated = 16;

Code code_of(std::uint64_t grpc_code) {
  switch (grpc_code) {
    case kInvalidArgument: return Code::kInvalid;
    case kDeadlineExceeded: return Code::kOverloaded;
    case kPermissionDenied:
    case kUnauthenticated:
    case kFailedPrecondition: return Code::kPermission;
    case kUnimplemented: return Code::kUnimplemented;
    case kUnavailableCode: return kCannotServe;
    default: return Code::kNotFound;
  }
}

// What a server that does not answer in JSON says for itself: one line that a
// terminal may show, or nothing.
std::string plain_text(const std::string& body) {
  constexpr std::size_t kLongest = 200;
  const std::string line = body.substr(0, body.find_first_of("\r\n"));
  const bool shown = line.size() <= kLongest && !line.starts_with('<') &&
                     std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; });
  return shown ? line : std::string();
}

Error refusal(const Endpoint& endpoint, const Reply& reply, const boost::json::value& body) {
  const boost::json::object object = body.is_object() ? body.as_object() : boost::json::object();
  std::string text = text_of(object, "message");
  if (text.empty()) text = text_of(object, "error");
  const auto code = number_of(object, "code");
  if (text.empty() || !code) {
    const std::string said = plain_text(reply.body);
    // 400 is about how we ask, and the text says what is wrong with it.
    const std::string hint = said.empty() || reply.status != 400 ? "; is it the client port of a Leeward node?" : "";
    return {kCannotServe, endpoint.text() + " answered HTTP " + std::to_string(reply.status) + (said.empty() ? "" : ": " + said) + hint};
  }
  if (reply.status == 404 && text == "Not Found")
    return {kCannotServe, endpoint.text() + " does not know this call; is it a Leeward node, and of this version?"};
  return {code_of(*code), text};
}

}  // namespace

Exit exit_code(const Error& error) {
  switch (error.code) {
    case Code::kInvalid: return kUsage;
    case Code::kPermission:
    case Code::kRefused:
    case Code::kInUse: return kRefused;
    case Code::kUnavailable:
    case Code::kDeadline: return kUnreachable;
    default: return kFailed;
  }
}

Result<Answer> Server::call_at(const Endpoint& endpoint, const std::string& path, const boost::json::object& request,
                               Duration at_least) const {
  const auto reply = poster_.post(endpoint, path, boost::json::serialize(request), std::max(timeout_, at_least));
  if (!reply.ok()) return reply.error();
  boost::json::error_code fault;
  boost::json::value body = boost::json::parse(reply->body, fault);
  if (reply->status != 200) return refusal(endpoint, *reply, fault ? boost::json::value() : body);
  if (fault || !body.is_object())
    return Error{kCannotServe, endpoint.text() + " did not answer in JSON; is it the client port of a Leeward node?"};
  return Answer{std::move(body.as_object()), reply->body, endpoint};
}

Result<void> Server::stream_at(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                               const std::function<Result<void>(std::string_view)>& take) const {
  const auto ended = poster_.stream(endpoint, method, request, std::max(timeout_, silence), take);
  if (!ended.ok()) return ended.error();
  if (ended->code == 0) return {};
  const std::string text = ended->message.empty() ? endpoint.text() + " ended the call with gRPC code " + std::to_string(ended->code) : ended->message;
  return Error{code_of(static_cast<std::uint64_t>(ended->code)), text};
}

Result<void> Server::try_each(const std::function<Result<void>(const Endpoint&)>& one) const {
  std::string unreached;
  std::optional<Error> cannot_serve;
  for (const Endpoint& endpoint : endpoints_) {
    const auto done = one(endpoint);
    if (done.ok()) return done;
    if (done.error().code == kCannotServe) {
      cannot_serve = done.error();
    } else if (exit_code(done.error()) == kUnreachable) {
      unreached += (unreached.empty() ? "" : "; ") + endpoint.text() + ": " + done.error().message;
    } else {
      return done;
    }
  }
  if (cannot_serve) return *cannot_serve;
  return Error{Code::kUnavailable, "no endpoint was reached (" + unreached + "); check that nodes run and --endpoints names them"};
}

Result<Answer> Server::call(const std::string& path, const boost::json::object& request) const {
  std::optional<Answer> out;
  LEEWARD_TRY(try_each([&](const Endpoint& endpoint) -> Result<void> {
    auto answer = call_at(endpoint, path, request);
    if (!answer.ok()) return answer.error();
    out = std::move(*answer);
    return {};
  }));
  return std::move(*out);
}

Result<Answer> Server::call_group_of(std::uint64_t member, const std::string& path, const boost::json::object& request) const {
  auto answer = call(path, request);
  if (answer.ok() || answer.error().code != Code::kNotFound) return answer;
  const auto status = call("/v3/cluster/status");
  if (!status.ok()) return answer;
  std::string own, wanted;
  for (const boost::json::object& m : list_of(status->json, "members")) {
    if (text_of(m, "id") == text_of(status->json, "node_id")) own = text_of(m, "region");
    if (number_of(m, "id") == member) wanted = text_of(m, "region");
  }
  if (wanted.empty() || wanted == own) return answer;
  for (const bool leader : {true, false})
    for (const boost::json::object& m : list_of(status->json, "members")) {
      const auto endpoint = parse_endpoint(text_of(m, "client_url"), status->from.tls);
      if (text_of(m, "region") != wanted || (text_of(m, "state") == "leader") != leader || !endpoint.ok()) continue;
      answer = call_at(*endpoint, path, request);
      if (answer.ok() || (exit_code(answer.error()) != kUnreachable && answer.error().code != kCannotServe)) return answer;
    }
  return answer;
}

Result<Answer> Server::call_member(const std::string& path) const {
  std::optional<Answer> best;
  const auto asked = try_each([&](const Endpoint& endpoint) -> Result<void> {
    auto answer = call_at(endpoint, path, {});
    if (!answer.ok()) return answer.error();
    const std::string state = text_of(answer->json, "state");
    const bool knows = state != "waiting" && state != "removed";
    if (!best || knows) best = std::move(*answer);
    if (knows) return {};
    return Error{kCannotServe, endpoint.text() + " takes part in no group"};
  });
  if (best) return std::move(*best);
  return asked.error();
}

std::string text_of(const boost::json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  if (!value) return {};
  if (const auto* text = value->if_string()) return std::string(*text);
  return value->is_primitive() && !value->is_null() ? boost::json::serialize(*value) : std::string();
}

std::optional<std::uint64_t> number_of(const boost::json::object& object, std::string_view name) {
  const std::string text = text_of(object, name);
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> real_of(const boost::json::object& object, std::string_view name) {
  const std::string text = text_of(object, name);
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc{}) return std::nullopt;
  return number;
}

bool true_of(const boost::json::object& object, std::string_view name) { return text_of(object, name) == "true"; }

std::vector<boost::json::object> list_of(const boost::json::object& object, std::string_view name) {
  std::vector<boost::json::object> out;
  const auto* value = object.if_contains(name);
  if (const auto* array = value ? value->if_array() : nullptr)
    for (const boost::json::value& item : *array)
      if (const auto* element = item.if_object()) out.push_back(*element);
  return out;
}

}  // namespace leeward::ctl
