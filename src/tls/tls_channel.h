// One TLS connection over a non-blocking socket. Records that the socket does not take wait here,
// two dozen KiB at most: a peer that does not read stops whoever writes, as without TLS.
#pragma once

#include <memory>
#include <string>

#include "net/buffer.h"
#include "net/secure_channel.h"
#include "tls/openssl.h"

namespace stoker::tls {

class TlsChannel final : public net::SecureChannel {
 public:
  enum class Side : std::uint8_t { server, client };
  /// `ssl` is new: nothing has been sent or received on it.
  TlsChannel(Owned<SSL> ssl, int fd, Side side);

  Handshake shake_hands() override;
  [[nodiscard]] std::string failure() const override { return failure_; }
  std::ptrdiff_t receive(char* into, std::size_t most) override;
  [[nodiscard]] bool holds_input() const override { return holds_input_; }
  std::ptrdiff_t send(std::string_view bytes) override;
  [[nodiscard]] bool holds_output() const override { return !sealed_.empty(); }
  void say_goodbye() override;

 private:
  friend struct SocketBio;
  bool flush();
  Handshake fail(int ssl_error);

  Owned<SSL> ssl_;
  int fd_;
  Side side_;
  net::Buffer sealed_;  // records that the kernel has not taken
  std::string failure_;
  char first_byte_ = 0;  // that the peer sent
  bool heard_any_ = false;
  bool peer_ended_ = false;
  bool holds_input_ = false;
  bool established_ = false;
  bool broken_ = false;
};

}  // namespace stoker::tls
