// The server's side of TLS: one certificate for all connections, replaced while they go on. TLS 1.2
// and 1.3 with AEAD ciphers and forward secrecy only; no renegotiation, compression or early data;
// sessions are resumed by tickets, whose keys live as long as the certificate is in use.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "net/secure_channel.h"

namespace stoker::tls {

struct CertificateFiles {
  std::string certificate;  // PEM: the server's, then those that lead to the root
  std::string key;          // PEM, without a password
  friend bool operator==(const CertificateFiles&, const CertificateFiles&) = default;
};

struct CertificateInfo {
  std::string subject;      // "CN=stoker.example.com"
  std::string fingerprint;  // SHA-256, 64 hex digits
  WallTime not_after;
};

class TlsServer final : public net::ChannelMaker {
 public:
  /// Errors: not_found, invalid: a file cannot be read, is no certificate or key, or the two do not
  /// belong together. An expired certificate is taken: it is the owner's to replace.
  static Result<std::unique_ptr<TlsServer>> create(CertificateFiles files);
  ~TlsServer() override;

  [[nodiscard]] std::unique_ptr<net::SecureChannel> make(int fd) override;

  /// Reads `files` and uses them for connections from now on; others go on as they are.
  /// Errors: as create(), and invalid where the certificate has expired and the one in use has not:
  /// then everything stays. Threads: any.
  Result<void> replace(CertificateFiles files, WallTime now);
  [[nodiscard]] CertificateFiles files() const;
  [[nodiscard]] CertificateInfo certificate() const;

 private:
  struct Context;
  explicit TlsServer(std::shared_ptr<const Context> context);
  static Result<std::shared_ptr<const Context>> load(CertificateFiles files);
  [[nodiscard]] std::shared_ptr<const Context> current() const;

  mutable std::mutex mutex_;
  std::shared_ptr<const Context> context_;  // guarded by mutex_
};

}  // namespace stoker::tls
