// Says on the terminal that a call is waited for: what takes seconds shall not
// look like a command that hangs.
#pragma once

#include <iosfwd>

#include "ctl/http.h"

namespace leeward::ctl {

// Passes on to `poster`. Of a call that may take long it writes a line to `err`
// when it has taken `first`, and then each `each`. Both outlive it.
class PatientPoster final : public Poster {
 public:
  PatientPoster(Poster& poster, std::ostream& err, Duration first = std::chrono::seconds(2), Duration each = std::chrono::seconds(5))
      : poster_(poster), err_(err), first_(first), each_(each) {}
  Result<Reply> post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) override;
  Result<Ended> stream(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                       const std::function<Result<void>(std::string_view)>& take) override;

 private:
  Poster& poster_;
  std::ostream& err_;
  Duration first_, each_;
};

}  // namespace leeward::ctl
