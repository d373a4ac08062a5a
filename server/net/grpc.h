// The parts of gRPC over HTTP/2 that are text:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"

namespace leeward::net {

// "application/grpc", also with "+proto" or parameters; not grpc-web.
bool is_grpc_content(std::string_view content_type);
// "100m" -> 100 ms; nullopt when malformed.
std::optional<Duration> parse_grpc_timeout(std::string_view text);
// For grpc-message: printable ASCII but '%' and spaces at the ends stays, the rest is %XX.
std::string percent_encode(std::string_view text);
// At most `bytes` of it, ending where a character of UTF-8 does.
std::string_view cut_text(std::string_view text, std::size_t bytes);

}  // namespace leeward::net
