#include "worker/control_channel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/invariant.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr Duration progress_interval = seconds(1);

}  // namespace

ControlChannel::ControlChannel(UniqueFd socket, ControlHandler& handler,
                               const std::atomic<bool>& mute)
    : socket_(std::move(socket)),
      kick_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      handler_(handler),
      mute_(mute) {
  STOKER_INVARIANT(kick_, "no eventfd: errno {}", errno);
}

void ControlChannel::start(std::string hello) {
  send(std::move(hello));
  next_progress_ = net::monotonic_now() + progress_interval;
  thread_ = std::thread([this] { run(); });
  thread_.detach();
}

void ControlChannel::send(std::string packet) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= max_waiting) return;  // run() sees the full queue and gives up
    waiting_.push_back(std::move(packet));
  }
  kick();
}

void ControlChannel::set_deadline(Instant at) {
  deadline_ns_.store(at.ns);
  kick();
}

void ControlChannel::flush(Duration at_most) {
  const Instant until = net::monotonic_now() + at_most;
  while (send_waiting() && net::monotonic_now() < until) {
    pollfd writable{socket_.get(), POLLOUT, 0};
    ::poll(&writable, 1, 10);
  }
}

void ControlChannel::kick() {
  const std::uint64_t one = 1;
  // A full eventfd is a kick that nobody has heard yet: nothing is lost.
  static_cast<void>(!::write(kick_.get(), &one, sizeof one));
}

int ControlChannel::milliseconds_to_next_event(Instant now) const {
  std::int64_t next = next_progress_.ns;
  if (const std::int64_t deadline = deadline_ns_.load(); deadline != 0) {
    next = std::min(next, deadline);
  }
  constexpr std::int64_t ns_per_ms = 1'000'000;
  return static_cast<int>(std::max<std::int64_t>(0, (next - now.ns + ns_per_ms - 1) / ns_per_ms));
}

void ControlChannel::run() {
  while (!closed_) {
    const bool full = !mute_ && send_waiting();
    std::array<pollfd, 2> polled = {
        pollfd{socket_.get(), static_cast<short>(POLLIN | (full ? POLLOUT : 0)), 0},
        pollfd{kick_.get(), POLLIN, 0}};
    if (mute_) polled[0].fd = -1;
    ::poll(polled.data(), polled.size(), milliseconds_to_next_event(net::monotonic_now()));
    if (polled[1].revents != 0) {
      std::uint64_t kicks = 0;
      static_cast<void>(!::read(kick_.get(), &kicks, sizeof kicks));
    }
    if (polled[0].revents != 0 && !mute_) read_packets();
    const Instant now = net::monotonic_now();
    if (const std::int64_t deadline = deadline_ns_.load(); deadline != 0 && deadline <= now.ns) {
      deadline_ns_.store(0);
      handler_.on_deadline();
    }
    if (now >= next_progress_) {
      next_progress_ = now + progress_interval;
      const std::lock_guard lock(mutex_);
      // An old `progress` that could not be sent makes a new one pointless.
      if (waiting_.empty() && !mute_) waiting_.push_back(handler_.progress());
      closed_ = closed_ || waiting_.size() >= max_waiting;
    }
  }
  handler_.on_closed();
}

void ControlChannel::read_packets() {
  static_assert(max_packet_bytes == 65536);
  std::vector<char> buffer(max_packet_bytes);
  for (;;) {
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t size = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT);
    if (size < 0) {
      closed_ = errno != EAGAIN && errno != EINTR;
      return;
    }
    // An empty packet is no JSON object, so 0 can only mean the end.
    if (size == 0) {
      closed_ = true;
      return;
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) {
      send(error_packet("bad_message", "the packet is longer than 64 KiB"));
      continue;
    }
    auto order = parse_order(std::string_view(buffer.data(), static_cast<std::size_t>(size)));
    if (order) {
      handler_.on_order(std::move(*order));
    } else {
      send(error_packet(order.error().code, order.error().message));
    }
    if (mute_) return;
  }
}

bool ControlChannel::send_waiting() {
  const std::lock_guard lock(mutex_);
  while (!waiting_.empty()) {
    const std::string& packet = waiting_.front();
    const ssize_t sent =
        ::send(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)) return true;
    // Any other error is the orchestrator's end; reading will say so.
    waiting_.pop_front();
  }
  return false;
}

}  // namespace stoker::worker
