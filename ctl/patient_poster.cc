#include "ctl/patient_poster.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <ostream>
#include <stop_token>
#include <thread>

namespace leeward::ctl {
namespace {

// "/v3/dr/rejoin" is what was typed as "dr rejoin".
std::string typed(const std::string& path) {
  std::string out = path.starts_with("/v3/") ? path.substr(4) : path;
  std::replace(out.begin(), out.end(), '/', ' ');
  return out;
}

}  // namespace

Result<Reply> PatientPoster::post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) {
  const auto begun = std::chrono::steady_clock::now();
  // A call that is soon over by itself needs nobody to say so.
  if (timeout < 4 * first_) return poster_.post(endpoint, path, body, timeout);
  std::jthread teller([&](const std::stop_token& over) {
    std::mutex mutex;
    std::condition_variable_any ended;
    std::unique_lock lock(mutex);
    for (auto at = begun + first_; !ended.wait_until(lock, over, at, [&] { return over.stop_requested(); }); at += each_) {
      const auto passed = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begun);
      err_ << "leewardctl: " << typed(path) << " is under way at " << endpoint.text() << ": " << passed.count() << " s, at most "
           << std::chrono::duration_cast<std::chrono::seconds>(timeout).count() << " s" << std::endl;
    }
  });
  return poster_.post(endpoint, path, body, timeout);
}

Result<Ended> PatientPoster::stream(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                                    const std::function<Result<void>(std::string_view)>& take) {
  return poster_.stream(endpoint, method, request, silence, take);
}

}  // namespace leeward::ctl
