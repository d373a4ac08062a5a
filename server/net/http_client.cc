#include "net/http_client.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "net/client_channel.h"

namespace leeward::net {

namespace http = boost::beast::http;

namespace {

std::string request_text(const HttpCall& call, const ClientEndpoint& endpoint) {
  std::string text = call.method + " " + call.path + " HTTP/1.1\r\nHost: " + endpoint.authority() + "\r\nConnection: close\r\n";
  if (!call.body.empty() || call.method == "POST" || call.method == "PUT")
    text += "Content-Type: " + call.content_type + "\r\nContent-Length: " + std::to_string(call.body.size()) + "\r\n";
  for (const auto& [name, value] : call.headers) text += name + ": " + value + "\r\n";
  return text + "\r\n" + call.body;
}

using Parser = http::response_parser<http::string_body>;

HttpResponse to_response(Parser& parser) {
  auto& message = parser.get();
  HttpResponse response;
  response.status = static_cast<int>(message.result_int());
  response.content_type = std::string(message[http::field::content_type]);
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    response.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  response.body = Bytes(std::move(message.body()));
  return response;
}

Result<HttpResponse> read_response(ClientChannel& channel, const HttpCall& call) {
  Parser parser;
  parser.eager(true);
  parser.skip(call.method == "HEAD");
  parser.body_limit(call.max_response);
  while (!parser.is_done()) {
    auto more = channel.receive();
    if (!more) return more.error();
    boost::system::error_code error;
    std::string& plain = channel.plain();
    while (!plain.empty() && !parser.is_done()) {
      const std::size_t n = parser.put(boost::asio::buffer(plain), error);
      plain.erase(0, n);
      if (error == http::error::need_more || n == 0) break;
      if (error) return Error{Code::kInvalid, "what answers is not HTTP: " + error.message()};
    }
    if (*more) continue;
    if (!parser.got_some()) return Error{Code::kUnknown, "the connection was closed without an answer"};
    parser.put_eof(error);
    if (error || !parser.is_done()) return Error{Code::kUnknown, "the answer was cut off"};
  }
  return to_response(parser);
}

}  // namespace

Result<HttpResponse> http_request(const HttpCall& call) {
  const auto named = [&](Error error) {
    return Error{error.code, call.endpoint + ": " + error.message};
  };
  const auto endpoint = parse_endpoint(call);
  if (!endpoint) return endpoint.error();
  auto opened = ClientChannel::open(call, *endpoint, false);
  if (!opened.ok()) return opened.error();
  ClientChannel& channel = **opened;
  // A node that refuses early answers and closes before it has read all.
  const auto sent = channel.write(request_text(call, *endpoint));
  auto response = read_response(channel, call);
  if (!response) return named(sent.ok() || response.error().code == Code::kPermission ? response.error() : sent.error());
  return response;
}

}  // namespace leeward::net
