#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/check.h"
#include "net/socket.h"

namespace leeward::net {

namespace {

// The newest reason in OpenSSL's queue, emptied on the way.
std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  return reason ? reason : "unknown reason";
}

// Likewise for a file: what the system says of it goes before "system lib".
std::string file_reason() {
  std::string reason = "unknown reason";
  while (const unsigned long code = ERR_get_error()) {
    if (ERR_SYSTEM_ERROR(code)) {
      ERR_clear_error();
      return system_error(ERR_GET_REASON(code)) + "; see that it is there and that this user may read it";
    }
    if (const char* text = ERR_reason_error_string(code)) reason = text;
  }
  return reason;
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered, unsigned size,
                void*) {
  static constexpr unsigned char kWanted[] = "\x02h2\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kWanted, sizeof kWanted - 1, offered, size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_NOACK;  // not demanded: the first bytes decide
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

// Without it OpenSSL asks for a passphrase at the terminal, and waits.
int no_passphrase(char*, int, int, void* asked) {
  if (asked != nullptr) *static_cast<bool*>(asked) = true;
  return 0;
}

Result<void> use_certificate(SSL_CTX* context, const TlsOptions& options) {
  if (options.cert.empty()) return {};
  bool asked = false;
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, &asked);
  struct Forget {
    SSL_CTX* context;
    ~Forget() { SSL_CTX_set_default_passwd_cb_userdata(context, nullptr); }
  } forget{context};
  if (SSL_CTX_use_certificate_chain_file(context, options.cert.c_str()) != 1)
    return Error{Code::kInvalid, "cannot use the certificate " + options.cert + ": " + file_reason()};
  if (SSL_CTX_use_PrivateKey_file(context, options.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return Error{Code::kInvalid, "cannot use the key " + options.key + " with " + options.cert + ": " +
                                     (asked ? "it is encrypted; give it without a passphrase, readable by this user alone" : file_reason())};
  if (SSL_CTX_check_private_key(context) != 1)
    return Error{Code::kInvalid, "the key " + options.key + " does not belong to " + options.cert};
  return {};
}

Result<void> use_ca(SSL_CTX* context, const TlsOptions& options, bool accepts) {
  if (options.ca.empty()) {
    if (!accepts) SSL_CTX_set_default_verify_paths(context);
    return {};
  }
  if (SSL_CTX_load_verify_file(context, options.ca.c_str()) != 1)
    return Error{Code::kInvalid, "cannot use the CA file " + options.ca + ": " + file_reason()};
  if (accepts) SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options.ca.c_str()));
  return {};
}

Result<std::shared_ptr<SSL_CTX>> make_context(const TlsOptions& options, bool accepts) {
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(accepts ? TLS_server_method() : TLS_client_method()), SSL_CTX_free);
  LEEWARD_CHECK(context != nullptr, "no memory for a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), options.min_version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // A resumed session would carry a client certificate past a changed CA.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE);
  LEEWARD_TRY(use_certificate(context.get(), options));
  LEEWARD_TRY(use_ca(context.get(), options, accepts));
  int verify = SSL_VERIFY_PEER;
  if (accepts) {
    SSL_CTX_set_alpn_select_cb(context.get(), select_alpn, nullptr);
    if (options.client_auth == ClientAuth::kNone) verify = SSL_VERIFY_NONE;
    if (options.client_auth == ClientAuth::kRequire) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  } else {
    static constexpr unsigned char kOffered[] = "\x08http/1.1";
    SSL_CTX_set_alpn_protos(context.get(), kOffered, sizeof kOffered - 1);
  }
  SSL_CTX_set_verify(context.get(), verify, nullptr);
  return context;
}

WallTime wall(const ASN1_TIME* time) {
  tm when{};
  if (ASN1_TIME_to_tm(time, &when) != 1) return {};
  const auto most = std::chrono::floor<std::chrono::seconds>(Duration::max());
  return WallTime(std::clamp(std::chrono::seconds(timegm(&when)), 0s, most));  // "without end" is the year 9999
}

// When all certificates of the file are valid, since who checks the first
// checks those above it; `starts_of` and `expires_of` are the certificates
// whose bounds these are.
struct Validity {
  WallTime starts{}, expires{};
  const X509 *starts_of = nullptr, *expires_of = nullptr;

  bool covers(WallTime now) const { return starts <= now && now < expires; }
};

Validity validity(SSL_CTX* context) {
  const X509* leaf = context ? SSL_CTX_get0_certificate(context) : nullptr;
  if (!leaf) return {};
  Validity whole{wall(X509_get0_notBefore(leaf)), wall(X509_get0_notAfter(leaf)), leaf, leaf};
  STACK_OF(X509)* above = nullptr;
  SSL_CTX_get0_chain_certs(context, &above);
  for (int i = 0; i < sk_X509_num(above); ++i) {
    const X509* each = sk_X509_value(above, i);
    if (const auto starts = wall(X509_get0_notBefore(each)); starts > whole.starts) whole.starts = starts, whole.starts_of = each;
    if (const auto expires = wall(X509_get0_notAfter(each)); expires < whole.expires) whole.expires = expires, whole.expires_of = each;
  }
  return whole;
}

// What is wrong with a file at `now`, and what to do; empty: nothing.
std::string fault(const std::string& file, SSL_CTX* context, WallTime now) {
  const Validity found = validity(context);
  if (!found.expires_of || found.covers(now)) return {};
  const bool late = found.expires <= now;
  const X509* whose = late ? found.expires_of : found.starts_of;
  std::string text = file;
  if (whose != SSL_CTX_get0_certificate(context)) {  // tools show a file's first one alone
    std::array<char, 256> subject{};
    X509_NAME_oneline(X509_get_subject_name(whose), subject.data(), subject.size());
    text += std::string(": the certificate of ") + subject.data() + " in it";
  }
  const time_t seconds = std::chrono::floor<std::chrono::seconds>(late ? found.expires : found.starts).time_since_epoch().count();
  tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> date{};
  strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text + (late ? " has expired, at " : " is not valid before ") + date.data() + ": who checks it refuses to connect; " +
         (late ? "renew it" : "wait until then, and see that the clocks here and at its issuer are right");
}

WallTime wall_now() { return std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now()); }

Result<void> check_options(const TlsOptions& options, bool accepts) {
  if (options.min_version != "1.2" && options.min_version != "1.3")
    return Error{Code::kInvalid, "TLS min_version is \"1.2\" or \"1.3\", not \"" + options.min_version + "\""};
  if (options.cert.empty() != options.key.empty())
    return Error{Code::kInvalid, "TLS needs cert and key together"};
  if (accepts && options.cert.empty()) return Error{Code::kInvalid, "a TLS listener needs cert and key"};
  if (accepts && options.client_auth != ClientAuth::kNone && options.ca.empty())
    return Error{Code::kInvalid, "client_auth needs ca: without it no client certificate can be checked"};
  return {};
}

}  // namespace

Result<std::shared_ptr<Tls>> Tls::server(TlsOptions options) { return make(std::move(options), true); }
Result<std::shared_ptr<Tls>> Tls::client(TlsOptions options) { return make(std::move(options), false); }

Result<std::shared_ptr<Tls>> Tls::make(TlsOptions options, bool accepts) {
  LEEWARD_TRY(check_options(options, accepts));
  std::shared_ptr<Tls> tls(new Tls(std::move(options), accepts));
  LEEWARD_TRY(tls->reload());
  return tls;
}

Result<Tls::Loaded> Tls::load() const {
  Loaded loaded;
  if (accepts_) {
    auto accepting = make_context(options_, true);
    if (!accepting) return accepting.error();
    loaded.accepting = *accepting;
  }
  auto dialing = make_context(options_, false);
  if (!dialing) return dialing.error();
  loaded.dialing = *dialing;
  return loaded;
}

Result<void> Tls::reload() {
  std::string fingerprint = this->fingerprint();  // before reading: a change in between is seen next time
  auto loaded = load();
  std::lock_guard lock(mutex_);
  fingerprint_ = std::move(fingerprint);
  again_ = WallTime::max();
  const WallTime now = wall_now();
  const Validity old = validity(loaded_.dialing.get());
  if (!loaded) {
    if (old.covers(now)) again_ = old.expires;
    return loaded.error();
  }
  if (std::string why = fault(options_.cert, loaded->dialing.get(), now); !why.empty() && old.covers(now)) {
    again_ = old.expires;  // no better from then on
    if (const WallTime starts = validity(loaded->dialing.get()).starts; starts > now) again_ = std::min(again_, starts);
    return Error{Code::kInvalid, std::move(why)};
  }
  loaded_ = std::move(*loaded);
  return {};
}

Result<bool> Tls::reload_if_changed() {
  {
    const std::string present = fingerprint();
    std::lock_guard lock(mutex_);
    if (present == fingerprint_ && wall_now() < again_) return false;
  }
  LEEWARD_TRY(reload());
  return true;
}

std::string Tls::fingerprint() const {
  std::string text;
  for (const auto* file : {&options_.cert, &options_.key, &options_.ca}) {
    struct stat info {};
    if (!file->empty() && stat(file->c_str(), &info) != 0) info = {};
    for (const auto part : {static_cast<long>(info.st_mtim.tv_sec), static_cast<long>(info.st_mtim.tv_nsec),
                            static_cast<long>(info.st_ctim.tv_sec), static_cast<long>(info.st_ctim.tv_nsec),  // who may read it
                            static_cast<long>(info.st_size), static_cast<long>(info.st_ino)})
      text += std::to_string(part) + ",";
  }
  return text;
}

std::shared_ptr<ssl_ctx_st> Tls::accepting() const {
  std::lock_guard lock(mutex_);
  return loaded_.accepting;
}

std::shared_ptr<ssl_ctx_st> Tls::dialing() const {
  std::lock_guard lock(mutex_);
  return loaded_.dialing;
}

WallTime Tls::expires() const {
  std::lock_guard lock(mutex_);
  return validity(loaded_.dialing.get()).expires;
}

std::string Tls::fault_now() const {
  std::lock_guard lock(mutex_);
  return fault(options_.cert, loaded_.dialing.get(), wall_now());
}

bool TlsPeer::names(std::string_view host) const {
  const auto same = [&](const std::string& name) {
    return name.size() == host.size() && strncasecmp(name.data(), host.data(), host.size()) == 0;
  };
  const auto wildcard = [&](const std::string& name) {
    const auto dot = host.find('.');
    return name.starts_with("*.") && dot != std::string_view::npos && dot > 0 &&
           strcasecmp(name.c_str() + 1, std::string(host.substr(dot)).c_str()) == 0;
  };
  if (std::any_of(addresses.begin(), addresses.end(), same)) return true;
  if (std::any_of(dns_names.begin(), dns_names.end(), [&](const auto& n) { return same(n) || wildcard(n); }))
    return true;
  return addresses.empty() && dns_names.empty() && !common_name.empty() && same(common_name);
}

// The BIO under a session: reads from Wire::in, appends to Wire::out. OpenSSL's
// own memory BIO would keep a buffer for each idle connection.
struct TlsBio {
  static int write(BIO* bio, const char* data, int size) {
    auto* wire = static_cast<TlsSession::Wire*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (!wire->out) return -1;
    wire->out->append(data, static_cast<std::size_t>(size));
    return size;
  }
  static int read(BIO* bio, char* data, int size) {
    auto* wire = static_cast<TlsSession::Wire*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (wire->in.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const std::size_t n = std::min(wire->in.size(), static_cast<std::size_t>(size));
    wire->in.copy(data, n);
    wire->in.remove_prefix(n);
    return static_cast<int>(n);
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "leeward");
      BIO_meth_set_write(m, write);
      BIO_meth_set_read(m, read);
      BIO_meth_set_ctrl(m, control);
      return m;
    }();
    return made;
  }
};

TlsSession::TlsSession(std::shared_ptr<ssl_ctx_st> context, bool accepts)
    : context_(std::move(context)), ssl_(SSL_new(context_.get())) {
  LEEWARD_CHECK(ssl_ != nullptr, "no memory for a TLS session");
  BIO* bio = BIO_new(TlsBio::method());
  BIO_set_data(bio, &wire_);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  accepts ? SSL_set_accept_state(ssl_) : SSL_set_connect_state(ssl_);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

std::unique_ptr<TlsSession> TlsSession::accept(std::shared_ptr<ssl_ctx_st> context) {
  return std::unique_ptr<TlsSession>(new TlsSession(std::move(context), true));
}

std::unique_ptr<TlsSession> TlsSession::dial(std::shared_ptr<ssl_ctx_st> context, const std::string& host, bool http2) {
  std::unique_ptr<TlsSession> session(new TlsSession(std::move(context), false));
  session->host_ = host;
  static constexpr unsigned char kHttp2[] = "\x02h2";
  if (http2) SSL_set_alpn_protos(session->ssl_, kHttp2, sizeof kHttp2 - 1);
  std::array<unsigned char, 16> address;
  X509_VERIFY_PARAM* expected = SSL_get0_param(session->ssl_);
  if (inet_pton(AF_INET, host.c_str(), address.data()) == 1 || inet_pton(AF_INET6, host.c_str(), address.data()) == 1) {
    X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str());
  } else {
    SSL_set1_host(session->ssl_, host.c_str());
    SSL_set_tlsext_host_name(session->ssl_, host.c_str());
  }
  return session;
}

Result<void> TlsSession::start(std::string& out) {
  wire_ = {{}, &out};
  auto result = handshake();
  wire_ = {};
  return result;
}

Result<void> TlsSession::handshake() {
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_);
  if (done == 1) {
    open_ = true;
    return {};
  }
  const int error = SSL_get_error(ssl_, done);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return {};
  return failure("TLS handshake failed");
}

Result<void> TlsSession::receive(std::string_view wire, std::string& out, OnPlain& plain) {
  wire_ = {wire, &out};
  Result<void> result;
  if (!open_) result = handshake();
  std::array<char, 16384> piece;  // one record
  while (open_ && result.ok()) {
    ERR_clear_error();
    const int n = SSL_read(ssl_, piece.data(), piece.size());
    if (n > 0) {
      plain({piece.data(), static_cast<std::size_t>(n)});
      continue;
    }
    const int error = SSL_get_error(ssl_, n);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
    if (error == SSL_ERROR_ZERO_RETURN)
      result = Error{Code::kCancelled, "closed by the other side"};
    else
      result = failure("TLS connection failed");
  }
  wire_ = {};
  return result;
}

Result<void> TlsSession::send(std::string_view plain, std::string& out) {
  wire_ = {{}, &out};
  Result<void> result;
  while (!plain.empty() && result.ok()) {
    ERR_clear_error();
    const int n = SSL_write(ssl_, plain.data(), static_cast<int>(std::min<std::size_t>(plain.size(), 16384)));
    if (n <= 0)
      result = failure("TLS connection failed");
    else
      plain.remove_prefix(static_cast<std::size_t>(n));
  }
  wire_ = {};
  return result;
}

void TlsSession::close(std::string& out) {
  if (!open_) return;
  wire_ = {{}, &out};
  SSL_shutdown(ssl_);
  ERR_clear_error();
  wire_ = {};
}

// Says in words what OpenSSL found: our own check of the other side's
// certificate first, then the alert that the other side sent about ours.
Error TlsSession::failure(const char* doing) const {
  const unsigned long code = ERR_peek_last_error();
  const long verify = SSL_get_verify_result(ssl_);
  const std::string what = std::string(doing) + ": ";
  const int reason = ERR_GET_REASON(code);
  const std::string text = openssl_reason();
  if (verify == X509_V_ERR_IP_ADDRESS_MISMATCH || verify == X509_V_ERR_HOSTNAME_MISMATCH)
    return {Code::kPermission, what + "the other side's certificate is refused: it does not name " + host_};
  if (verify != X509_V_OK)
    return {Code::kPermission, what + "the other side's certificate is refused: " +
                                   X509_verify_cert_error_string(verify)};
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return {Code::kPermission, what + "the other side showed no certificate, and client_auth requires one"};
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return {Code::kPermission, what + "the other side requires a client certificate; give cert and key"};
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return {Code::kPermission, what + "the other side refused our certificate: " + text};
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
      return {Code::kInvalid, what + "the other side does not speak TLS (" + text + ")"};
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:  // a port of ours without TLS sends it too: the one alert that says "not with me"
      return {Code::kInvalid, what + "the other side speaks no TLS, or no version of it that is spoken here (" + text + ")"};
    default:
      return {Code::kInvalid, what + (code ? text : "connection cut")};
  }
}

TlsPeer TlsSession::peer() const {
  TlsPeer peer;
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  if (!certificate || SSL_get_verify_result(ssl_) != X509_V_OK || SSL_get_verify_mode(ssl_) == SSL_VERIFY_NONE)
    return peer;
  peer.verified = true;
  // A NUL within a name is there to pass for another one.
  const auto plain = [](const std::string& name) { return name.find('\0') == std::string::npos; };
  std::array<char, 256> subject{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, subject.data(), subject.size());
  if (const std::string name(subject.data(), static_cast<std::size_t>(std::max(size, 0))); plain(name)) peer.common_name = name;
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(const_cast<X509*>(certificate), NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* entry = sk_GENERAL_NAME_value(names, i);
    if (entry->type == GEN_DNS) {
      const ASN1_IA5STRING* text = entry->d.dNSName;
      const std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                             static_cast<std::size_t>(ASN1_STRING_length(text)));
      if (plain(name)) peer.dns_names.push_back(name);
    } else if (entry->type == GEN_IPADD) {
      const ASN1_OCTET_STRING* raw = entry->d.iPAddress;
      std::array<char, INET6_ADDRSTRLEN> text{};
      const int family = ASN1_STRING_length(raw) == 4 ? AF_INET : AF_INET6;
      if ((family == AF_INET || ASN1_STRING_length(raw) == 16) &&
          inet_ntop(family, ASN1_STRING_get0_data(raw), text.data(), text.size()))
        peer.addresses.emplace_back(text.data());
    }
  }
  GENERAL_NAMES_free(names);
  return peer;
}

}  // namespace leeward::net
