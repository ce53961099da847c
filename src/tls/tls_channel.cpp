#include "tls/tls_channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace stoker::tls {
namespace {

/// Records are put together up to here before they are sent, so that a large answer does not cost a
/// system call for each.
constexpr std::size_t gather_bytes = 24 << 10;
constexpr std::size_t record_bytes = 16 << 10;
/// What TLS has to say itself (handshake, tickets, key updates) beyond what the peer reads. One who
/// makes us speak and does not listen is cut off.
constexpr std::size_t most_sealed_bytes = 128 << 10;

bool is_letter(char c) {
  return c >= 'A' && c <= 'Z';
}

}  // namespace

/// What OpenSSL reads from and writes to: the socket and the channel's buffer.
struct SocketBio {
  static BIO_METHOD* method() {
    static BIO_METHOD* const made = make();
    return made;
  }

 private:
  static TlsChannel& channel_of(BIO* bio) { return *static_cast<TlsChannel*>(::BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int most) {
    TlsChannel& channel = channel_of(bio);
    BIO_clear_retry_flags(bio);
    const ssize_t got = ::recv(channel.fd_, into, static_cast<std::size_t>(most), 0);
    if (got > 0) {
      if (!std::exchange(channel.heard_any_, true)) channel.first_byte_ = *into;
      return static_cast<int>(got);
    }
    if (got == 0) {
      channel.peer_ended_ = true;
    } else if (errno == EAGAIN || errno == EINTR) {
      BIO_set_retry_read(bio);
      return -1;
    }
    return static_cast<int>(got);
  }
  static int write(BIO* bio, const char* bytes, int size) {
    TlsChannel& channel = channel_of(bio);
    BIO_clear_retry_flags(bio);
    if (channel.sealed_.size() > most_sealed_bytes) return -1;
    channel.sealed_.append({bytes, static_cast<std::size_t>(size)});
    return size;
  }
  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return channel_of(bio).peer_ended_ ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }
  static BIO_METHOD* make() {
    BIO_METHOD* const method =
        ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stoker socket");
    if (method == nullptr) throw std::bad_alloc();
    ::BIO_meth_set_read(method, &read);
    ::BIO_meth_set_write(method, &write);
    ::BIO_meth_set_ctrl(method, &control);
    return method;
  }
};

TlsChannel::TlsChannel(Owned<SSL> ssl, int fd, Side side)
    : ssl_(std::move(ssl)), fd_(fd), side_(side) {
  BIO* const bio = ::BIO_new(SocketBio::method());
  if (bio == nullptr) throw std::bad_alloc();
  ::BIO_set_data(bio, this);
  ::BIO_set_init(bio, 1);
  ::SSL_set_bio(ssl_.get(), bio, bio);
  if (side_ == Side::server) {
    ::SSL_set_accept_state(ssl_.get());
  } else {
    ::SSL_set_connect_state(ssl_.get());
  }
}

/// Gives false if the connection is broken. What the kernel does not take stays.
bool TlsChannel::flush() {
  while (!sealed_.empty()) {
    const ssize_t sent = ::send(fd_, sealed_.data(), sealed_.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    sealed_.consume(static_cast<std::size_t>(sent));
  }
  if (sealed_.capacity() > 0) sealed_.release();
  return true;
}

net::SecureChannel::Handshake TlsChannel::shake_hands() {
  ::ERR_clear_error();
  const int result = ::SSL_do_handshake(ssl_.get());
  if (result != 1) return fail(::SSL_get_error(ssl_.get(), result));
  if (!flush()) return fail(SSL_ERROR_SYSCALL);
  established_ = true;
  holds_input_ = ::SSL_has_pending(ssl_.get()) == 1;
  return Handshake::done;
}

/// The handshake is not done; perhaps it only waits.
net::SecureChannel::Handshake TlsChannel::fail(int ssl_error) {
  if ((ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE) && flush()) {
    return Handshake::under_way;
  }
  broken_ = true;
  if (heard_any_ && is_letter(first_byte_) && side_ == Side::server) {
    ::ERR_clear_error();
    failure_ = "the peer speaks plain text";
    return Handshake::not_tls;
  }
  const long verified = ::SSL_get_verify_result(ssl_.get());
  failure_ = take_error("the peer ended the handshake");
  if (verified != X509_V_OK) failure_ = ::X509_verify_cert_error_string(verified);
  (void)flush();  // the alert that says why
  return Handshake::failed;
}

std::ptrdiff_t TlsChannel::receive(char* into, std::size_t most) {
  ::ERR_clear_error();
  std::size_t got = 0;
  const int result = ::SSL_read_ex(ssl_.get(), into, most, &got);
  const int error = result == 1 ? SSL_ERROR_NONE : ::SSL_get_error(ssl_.get(), result);
  holds_input_ = result == 1 && ::SSL_has_pending(ssl_.get()) == 1;
  const bool sent = flush();  // what TLS answered by itself
  if (result == 1) return static_cast<std::ptrdiff_t>(got);
  if (error == SSL_ERROR_WANT_READ && sent) {
    errno = EAGAIN;
    return -1;
  }
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  broken_ = true;
  failure_ = take_error("the connection broke");
  if (peer_ended_) return 0;
  errno = EPROTO;
  return -1;
}

std::ptrdiff_t TlsChannel::send(std::string_view bytes) {
  std::size_t taken = 0;
  while (true) {
    if (!flush()) return -1;
    if (!sealed_.empty() || taken == bytes.size()) return static_cast<std::ptrdiff_t>(taken);
    while (taken < bytes.size() && sealed_.size() < gather_bytes) {
      const std::string_view piece = bytes.substr(taken, record_bytes);
      ::ERR_clear_error();
      std::size_t written = 0;
      if (::SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &written) != 1) {
        broken_ = true;
        failure_ = take_error("cannot be sealed");
        errno = EPROTO;
        return -1;
      }
      taken += written;
    }
  }
}

void TlsChannel::say_goodbye() {
  if (!established_ || broken_) return;
  ::ERR_clear_error();
  (void)::SSL_shutdown(ssl_.get());
  ::ERR_clear_error();
  (void)flush();
}

}  // namespace stoker::tls
