// TLS contexts that reload, and TLS sessions over memory.
//
// A Tls holds certificate, key and CA. reload() builds new contexts and swaps
// them; connections that live keep the one they began with, and a file that
// cannot be used keeps the old ones. Any thread.
//
// A TlsSession is one connection's TLS: bytes in, bytes out, no socket. It
// belongs to the connection's loop.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/function.h"
#include "base/result.h"
#include "base/units.h"

struct ssl_ctx_st;
struct ssl_st;

namespace leeward::net {

enum class ClientAuth { kNone, kOptional, kRequire };

struct TlsOptions {
  std::string cert;  // PEM chain; may be empty for a client
  std::string key;
  std::string ca;    // PEM; whom to believe. Empty: a client takes the system's, a server asks nobody
  ClientAuth client_auth = ClientAuth::kNone;
  std::string min_version = "1.2";  // or "1.3"
};

class Tls {
 public:
  // A server needs cert and key; client_auth other than kNone needs ca.
  // Errors: kInvalid, naming the file and what is wrong with it.
  static Result<std::shared_ptr<Tls>> server(TlsOptions options);
  // Dials only: cert and key are optional.
  static Result<std::shared_ptr<Tls>> client(TlsOptions options);

  // Reads the files again. On an error the old contexts stay.
  Result<void> reload();
  // reload() when a file's time, size or inode has changed since the last try,
  // or a certificate is valid by now that was not then, or the loaded one, for
  // which another was refused, no longer. The value says whether there was a change.
  Result<bool> reload_if_changed();

  std::shared_ptr<ssl_ctx_st> accepting() const;  // null when made by client()
  std::shared_ptr<ssl_ctx_st> dialing() const;
  WallTime expires() const;  // the first of the chain; the epoch when there is none
  // What to tell when one of the chain has expired or is not valid yet, which is
  // no reason not to start: the connections that are refused for it say why.
  // Empty: all are valid.
  std::string fault_now() const;
  const TlsOptions& options() const { return options_; }

 private:
  struct Loaded {
    std::shared_ptr<ssl_ctx_st> accepting, dialing;
  };
  Tls(TlsOptions options, bool accepts) : options_(std::move(options)), accepts_(accepts) {}
  static Result<std::shared_ptr<Tls>> make(TlsOptions options, bool accepts);
  Result<Loaded> load() const;
  std::string fingerprint() const;

  const TlsOptions options_;
  const bool accepts_;
  mutable std::mutex mutex_;
  Loaded loaded_;            // under mutex_
  std::string fingerprint_;  // of the files of the last try; under mutex_
  WallTime again_ = WallTime::max();  // when what was refused then may be taken; under mutex_
};

// What a verified certificate says of its owner.
struct TlsPeer {
  bool verified = false;
  std::string common_name;
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;  // IP SANs as text

  // `host` is a name or an address: a SAN, or the common name where the
  // certificate has no SAN at all.
  bool names(std::string_view host) const;
};

class TlsSession {
 public:
  using OnPlain = Function<void(std::string_view)>;

  static std::unique_ptr<TlsSession> accept(std::shared_ptr<ssl_ctx_st> context);
  // Demands a certificate by the context's CA that names `host`. ALPN offers
  // HTTP/1.1, or HTTP/2 alone.
  static std::unique_ptr<TlsSession> dial(std::shared_ptr<ssl_ctx_st> context, const std::string& host, bool http2 = false);
  ~TlsSession();

  // Takes what came from the wire and gives plain text to `plain`, a piece at
  // a time; what must go to the wire is appended to `out`, in the error case
  // (an alert) too. Errors: kPermission, a certificate; kInvalid, no TLS or
  // broken; kCancelled, closed in order.
  Result<void> receive(std::string_view wire, std::string& out, OnPlain& plain);
  // Begins the handshake (a client's first flight).
  Result<void> start(std::string& out);
  Result<void> send(std::string_view plain, std::string& out);
  void close(std::string& out);  // close_notify

  bool open() const { return open_; }  // handshake done
  TlsPeer peer() const;

 private:
  TlsSession(std::shared_ptr<ssl_ctx_st> context, bool accepts);
  Result<void> handshake();
  Error failure(const char* doing) const;

  std::shared_ptr<ssl_ctx_st> context_;
  ssl_st* ssl_;
  std::string host_;  // as dialled
  bool open_ = false;
  // What the BIOs read from and write to during a call.
  struct Wire {
    std::string_view in;
    std::string* out = nullptr;
  } wire_;
  friend struct TlsBio;
};

}  // namespace leeward::net
