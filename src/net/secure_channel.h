// Encryption between one connection and its socket, as the HTTP server and client see it. net/ has
// no cryptography of its own: tls/ implements this, and a program without TLS links none of it.
// Threads: the connection's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace stoker::net {

class SecureChannel {
 public:
  virtual ~SecureChannel() = default;

  enum class Handshake : std::uint8_t {
    under_way,
    done,
    failed,
    not_tls,  // the peer speaks plain text; nothing was sent to it
  };
  /// Goes on with what has come; for each time that the socket is readable or writable.
  virtual Handshake shake_hands() = 0;
  /// Why the handshake or a receive() failed, for people.
  [[nodiscard]] virtual std::string failure() const = 0;

  /// As recv(2): 0 when the peer has ended; -1 with errno, EAGAIN where nothing whole has come.
  virtual std::ptrdiff_t receive(char* into, std::size_t most) = 0;
  /// The socket has been read further than receive() has given: it has more without news of epoll.
  [[nodiscard]] virtual bool holds_input() const = 0;

  /// Seals and sends. Gives how many of `bytes` it took, fewer if the socket takes no more for now;
  /// -1 if the connection is broken.
  virtual std::ptrdiff_t send(std::string_view bytes) = 0;
  /// Some of what was taken is not with the kernel yet; send() goes on with it, also with {}.
  [[nodiscard]] virtual bool holds_output() const = 0;
  /// Tells the peer that nothing more will come, as far as the socket takes it now.
  virtual void say_goodbye() = 0;
};

class ChannelMaker {
 public:
  virtual ~ChannelMaker() = default;
  /// A channel over the connected socket `fd`, which outlives it. Threads: any.
  [[nodiscard]] virtual std::unique_ptr<SecureChannel> make(int fd) = 0;
};

}  // namespace stoker::net
