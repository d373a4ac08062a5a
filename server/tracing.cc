#include "tracing.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "config/values.h"
#include "net/grpc_client.h"
#include "net/http_client.h"
#include "wiring.h"

namespace leeward {
namespace {

constexpr const char* kHttpDefault = "http://localhost:4318";
constexpr const char* kGrpcDefault = "http://localhost:4317";
constexpr const char* kGrpcMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

telemetry::OtlpEncoding encoding_of(const config::Config::Telemetry& t) {
  return t.otlp_protocol == "http/json" ? telemetry::OtlpEncoding::kJson : telemetry::OtlpEncoding::kProtobuf;
}

telemetry::Sampler sampler_of(const std::string& name) {
  using telemetry::Sampler;
  return name == "always_on"                ? Sampler::kOn
         : name == "always_off"             ? Sampler::kOff
         : name == "traceidratio"           ? Sampler::kRatio
         : name == "parentbased_always_on"  ? Sampler::kParentBasedOn
         : name == "parentbased_always_off" ? Sampler::kParentBasedOff
                                            : Sampler::kParentBasedRatio;
}

// Where to: "scheme://host:port" and a path.
struct Target {
  std::string endpoint, path;
};

std::optional<Target> split(std::string url, bool grpc, Log& log) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return std::nullopt;  // refused when the configuration was read
  const std::size_t start = scheme + 3;
  const std::size_t slash = std::min(url.find_first_of("/?#", start), url.size());
  Target target{url.substr(0, slash), url.substr(slash)};
  if (const std::size_t at = target.endpoint.rfind('@'); at != std::string::npos && at >= start) {
    log.warn("user and password in an OTLP endpoint are not used: give telemetry.otlp_headers", {});
    target.endpoint.erase(start, at + 1 - start);
  }
  const std::string_view host = std::string_view(target.endpoint).substr(start);
  if (host.empty()) return std::nullopt;
  const std::size_t colon = host.rfind(':');
  const bool port = colon != std::string_view::npos && (host.back() != ']' && host.find(']', colon) == std::string_view::npos);
  if (!port) target.endpoint += grpc ? ":4317" : target.endpoint.starts_with("https://") ? ":443" : ":80";
  return target;
}

// The base has /v1/traces behind it, what is given for traces alone nothing.
std::optional<Target> target_of(const config::Config::Telemetry& t, Log& log) {
  const bool given = !t.otlp_traces_endpoint.empty() || !t.otlp_endpoint.empty();
  if (t.traces == "none" || (t.traces == "auto" && !given)) return std::nullopt;
  const bool grpc = t.otlp_protocol == "grpc";
  const bool own = !t.otlp_traces_endpoint.empty();
  auto target = split(own ? t.otlp_traces_endpoint : given ? t.otlp_endpoint : grpc ? kGrpcDefault : kHttpDefault, grpc, log);
  if (!target) {
    log.warn("the OTLP endpoint names no host; no spans are sent", {});
    return std::nullopt;
  }
  if (grpc) target->path = kGrpcMethod;
  else if (!own) target->path += target->path.ends_with('/') ? "v1/traces" : "/v1/traces";
  else if (target->path.empty()) target->path = "/";
  return target;
}

std::vector<std::pair<std::string, std::string>> resource_of(const config::Config& c) {
  char host[256] = "";
  (void)gethostname(host, sizeof host - 1);  // a host without a name has none here either
  std::vector<std::pair<std::string, std::string>> out = {{"service.name", c.telemetry.service_name},
                                                          {"service.version", version()},
                                                          {"host.name", host},
                                                          {"cloud.region", c.node.region},
                                                          {"cloud.availability_zone", c.node.zone}};
  static const std::string kDefaultName = config::Config{}.telemetry.service_name;
  for (auto& [key, value] : config::key_values(c.telemetry.resource_attributes).value_or(decltype(out){})) {
    const auto same = std::find_if(out.begin(), out.end(), [&, k = key](const auto& own) { return own.first == k; });
    if (same == out.end()) out.emplace_back(key, value);
    else if (key != "service.name" || c.telemetry.service_name == kDefaultName) same->second = value;
  }
  std::erase_if(out, [](const auto& pair) { return pair.second.empty() || pair.first == "service.instance.id"; });
  out.emplace_back("service.instance.id", std::to_string(c.node.id));
  return out;
}

// What of gRPC's statuses may be sent again (OTLP's specification, "Failures"),
// as the HTTP status that says so.
int http_status(GrpcCode code) {
  switch (code) {
    case GrpcCode::kOk: return 200;
    case GrpcCode::kCancelled:
    case GrpcCode::kDeadlineExceeded:
    case GrpcCode::kAborted:
    case GrpcCode::kOutOfRange:
    case GrpcCode::kUnavailable:
    case GrpcCode::kDataLoss: return 503;
    default: return 400;
  }
}

Result<HttpResponse> post_grpc(net::HttpCall call) {
  // Metadata has no upper case.
  for (auto& [name, value] : call.headers)
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  auto answer = net::grpc_request(call);
  if (!answer.ok()) return answer.error();
  HttpResponse response;
  response.status = http_status(answer->code);
  response.body = Bytes(std::move(answer->body));
  return response;
}

telemetry::OtlpCarrier carrier(Target target, const config::Config::Telemetry& t) {
  std::optional<net::TlsOptions> tls;
  if (target.endpoint.starts_with("https://")) {
    tls.emplace();
    tls->ca = t.otlp_ca;
    tls->cert = t.otlp_cert;
    tls->key = t.otlp_key;
  }
  return [target = std::move(target), tls = std::move(tls), grpc = t.otlp_protocol == "grpc"](const telemetry::OtlpPost& post) {
    net::HttpCall call;
    call.endpoint = target.endpoint;
    call.method = "POST";
    call.path = target.path;
    call.headers = *post.headers;
    call.body = post.body;
    call.content_type = post.content_type;
    call.tls = tls;
    call.timeout = post.timeout;
    call.max_response = post.max_response;
    call.cancelled = post.cancelled;
    return grpc ? post_grpc(std::move(call)) : net::http_request(call);
  };
}

}  // namespace

std::unique_ptr<Tracing> Tracing::make(const config::Config& config, std::uint64_t seed, const Clock& clock, Log& log) {
  const config::Config::Telemetry& t = config.telemetry;
  auto target = target_of(t, log);
  if (!target) return nullptr;
  telemetry::ExporterOptions options;
  options.encoding = encoding_of(t);
  options.headers = config::key_values(t.otlp_headers).value_or(decltype(options.headers){});
  options.resource = {resource_of(config), version()};
  options.queue = t.queue_spans;
  options.batch = t.batch_spans;
  options.delay = t.batch_delay;
  options.timeout = t.otlp_timeout;
  log.info("sending traces", {{"endpoint", target->endpoint}, {"protocol", t.otlp_protocol}, {"sample_ratio", t.sample_ratio}});
  auto carry = carrier(std::move(*target), t);
  return std::unique_ptr<Tracing>(new Tracing(std::move(options), std::move(carry), t, seed, clock, log));
}

Tracing::Tracing(telemetry::ExporterOptions options, telemetry::OtlpCarrier carrier, const config::Config::Telemetry& settings,
                 std::uint64_t seed, const Clock& clock, Log& log)
    : exporter_(std::move(options), std::move(carrier), clock, log),
      tracer_(exporter_, sampler_of(settings.sampler), settings.sample_ratio, seed) {}

}  // namespace leeward
