#include "ctl/http.h"

#include <charconv>

#include "net/grpc_client.h"
#include "net/http_client.h"

namespace leeward::ctl {
namespace {

Error endpoint_error(std::string_view text) {
  return {Code::kInvalid, "\"" + std::string(text) +
                              "\" is not an endpoint; expected host:port, http://host:port, https://host:port or unix:///path"};
}

net::TlsOptions tls_options(const Certificates& certificates) {
  return {.cert = certificates.cert, .key = certificates.key, .ca = certificates.ca};
}

// Whatever kept the answer away, the next endpoint may do better.
Error unreachable(const Endpoint& endpoint, const std::string& url, const Error& error) {
  std::string text = error.message;
  if (text.starts_with(url + ": ")) text.erase(0, url.size() + 2);
  if (!endpoint.tls && endpoint.socket.empty() && (text.find("without an answer") != std::string::npos || text.find("reset") != std::string::npos))
    text += "; does it want TLS (https://)?";
  // A port without TLS has many ways to break a handshake; only one that judges certificates surely speaks it.
  if (endpoint.tls && error.code != Code::kPermission && text.find("TLS handshake") != std::string::npos)
    text += "; the port may speak no TLS: then use http://" + endpoint.text();
  return {Code::kUnavailable, text};
}

}  // namespace

std::string Endpoint::text() const {
  if (!socket.empty()) return "unix://" + socket;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

Result<Endpoint> parse_endpoint(std::string_view text, bool tls_by_default) {
  Endpoint out;
  out.tls = tls_by_default;
  std::string_view rest = text;
  if (rest.starts_with("unix://")) {
    out.tls = false;
    out.socket = rest.substr(7);
    return out.socket.starts_with('/') ? Result<Endpoint>(out) : endpoint_error(text);
  }
  if (rest.starts_with("https://")) {
    out.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    out.tls = false;
    rest.remove_prefix(7);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos) return endpoint_error(text);
  out.host = rest.substr(0, colon);
  out.port = rest.substr(colon + 1);
  if (out.host.starts_with('[') && out.host.ends_with(']')) out.host = out.host.substr(1, out.host.size() - 2);
  else if (out.host.find(':') != std::string::npos) return endpoint_error(text);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(out.port.data(), out.port.data() + out.port.size(), port);
  if (out.host.empty() || out.host.find('/') != std::string::npos || parsed.ec != std::errc{} ||
      parsed.ptr != out.port.data() + out.port.size() || port == 0)
    return endpoint_error(text);
  return out;
}

Result<void> check(const Certificates& certificates) {
  const auto tls = net::Tls::client(tls_options(certificates));
  return tls.ok() ? Result<void>() : tls.error();
}

Result<Ended> Poster::stream(const Endpoint&, const std::string&, const std::string&, Duration, const std::function<Result<void>(std::string_view)>&) {
  return Error{Code::kUnimplemented, "no gRPC here"};
}

Result<Ended> HttpPoster::stream(const Endpoint& endpoint, const std::string& method, const std::string& request, Duration silence,
                                 const std::function<Result<void>(std::string_view)>& take) {
  net::HttpCall call;
  call.endpoint = endpoint.socket.empty() ? (endpoint.tls ? "https://" : "http://") + endpoint.text() : endpoint.text();
  call.path = method;
  call.body = request;
  call.timeout = silence;
  if (endpoint.tls) call.tls = tls_options(certificates_);
  const auto answer = net::grpc_stream(call, take);
  if (!answer.ok()) return unreachable(endpoint, call.endpoint, answer.error());
  return Ended{static_cast<int>(answer->code), answer->message};
}

Result<Reply> HttpPoster::post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) {
  net::HttpCall call;
  call.endpoint = endpoint.socket.empty() ? (endpoint.tls ? "https://" : "http://") + endpoint.text() : endpoint.text();
  call.method = "POST";
  call.path = path;
  call.body = body;
  call.timeout = timeout;
  if (endpoint.tls) call.tls = tls_options(certificates_);
  const auto response = net::http_request(call);
  if (!response.ok()) return unreachable(endpoint, call.endpoint, response.error());
  return Reply{response->status, std::string(response->body.view())};
}

}  // namespace leeward::ctl
