// The client's side of TLS, for our own command line.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "net/secure_channel.h"

namespace stoker::tls {

class TlsClient final : public net::ChannelMaker {
 public:
  /// The server must prove to be `host` by the machine's trusted roots, or to hold the very
  /// certificate of `own_certificate` (a PEM file; empty: none).
  /// Errors: invalid, not_found: that file.
  static Result<std::unique_ptr<TlsClient>> create(std::string host,
                                                   const std::string& own_certificate);
  ~TlsClient() override;
  [[nodiscard]] std::unique_ptr<net::SecureChannel> make(int fd) override;

 private:
  struct Impl;
  explicit TlsClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::tls
