// The cluster as the command sees it: endpoints tried in turn, answers as JSON.
#pragma once

#include <boost/json/object.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ctl/http.h"

namespace leeward::ctl {

// What the process ends with.
enum Exit : int { kDone = 0, kFailed = 1, kUsage = 2, kRefused = 3, kUnreachable = 4 };

// Errors of this folder carry in `code` what decides the exit code: kInvalid
// usage, kPermission and kInUse refused, kUnavailable and kDeadline
// unreachable; all else failed.
Exit exit_code(const Error& error);

// Of call_at(): reached, and cannot serve this now; another may. Not
// kUnavailable, which means that nobody was reached.
inline constexpr Code kCannotServe = Code::kUnknown;

struct Answer {
  boost::json::object json;
  std::string text;   // as it came
  Endpoint from;
};

class Server {
 public:
  Server(std::vector<Endpoint> endpoints, Duration timeout, Poster& poster)
      : endpoints_(std::move(endpoints)), timeout_(timeout), poster_(poster) {}

  // Asks the first endpoint that is reached and does not answer UNAVAILABLE.
  Result<Answer> call(const std::string& path, const boost::json::object& request = {}) const;
  // Likewise, and passes over who takes part in no group where another one does: it
  // has heard of less, and not of late.
  Result<Answer> call_member(const std::string& path) const;
  // Of a member's own group: where whoever answers is of another region, a member of that one is asked.
  Result<Answer> call_group_of(std::uint64_t member, const std::string& path, const boost::json::object& request) const;
  // Asks this one only; `at_least`: for what takes longer than a question.
  Result<Answer> call_at(const Endpoint& endpoint, const std::string& path, const boost::json::object& request,
                         Duration at_least = {}) const;

  // By gRPC, with an answer of many messages (Poster::stream). An end other than OK is an error, as call_at's.
  Result<void> stream_at(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                         const std::function<Result<void>(std::string_view)>& take) const;
  // The endpoints in turn until `one` gives no error that another one may mend.
  Result<void> try_each(const std::function<Result<void>(const Endpoint&)>& one) const;

  const std::vector<Endpoint>& endpoints() const { return endpoints_; }

 private:
  std::vector<Endpoint> endpoints_;
  Duration timeout_;
  Poster& poster_;
};

// Fields of an answer, in the forms in which a gateway may write them. A field
// that is not there reads as empty, 0, false or nullopt.
std::string text_of(const boost::json::object& object, std::string_view name);
std::optional<std::uint64_t> number_of(const boost::json::object& object, std::string_view name);
std::optional<double> real_of(const boost::json::object& object, std::string_view name);
bool true_of(const boost::json::object& object, std::string_view name);
std::vector<boost::json::object> list_of(const boost::json::object& object, std::string_view name);

}  // namespace leeward::ctl
