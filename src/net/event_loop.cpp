#include "net/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <vector>

#include "base/invariant.h"
#include "base/unique_fd.h"
#include "net/clock.h"
#include "net/timer_heap.h"

namespace stoker::net {
namespace {

/// What one event causes may be sent only after those of all the others, so not too many.
constexpr int max_events_per_round = 16;
constexpr std::uint64_t wake_key = UINT64_MAX;

}  // namespace

struct EventLoop::Impl {
  /// What is registered for a descriptor. The generation tells a new registration of the same
  /// number from the one that an event of this round was meant for.
  struct Registration {
    FdHandler* handler = nullptr;
    std::uint32_t generation = 0;
  };

  UniqueFd epoll;
  UniqueFd wake;                            // edge-triggered, so that it need not be read
  std::vector<Registration> registrations;  // by descriptor
  TimerHeap timers;
  Instant now = monotonic_now();
  std::vector<RoundEndHook*> hooks;  // nullptr where one withdrew
  std::vector<std::shared_ptr<void>> disposed;
  std::function<void(Duration)> round_took;

  std::mutex posted_mutex;
  std::vector<std::function<void()>> posted;  // guarded by posted_mutex
  std::atomic<bool> has_posted = false;
  std::atomic<bool> stopped = false;

  void control(int operation, int fd, std::uint32_t events);
  void signal() const { ::eventfd_write(wake.get(), 1); }
  [[nodiscard]] int wait_ms() const;
  void dispatch(const epoll_event& event);
  void run_posted();
  void run_timers();
  void run_hooks();
  void run_round();
};

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
  auto impl = std::make_unique<Impl>();
  impl->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!impl->epoll) return tl::unexpected(errno_error("epoll_create1"));
  impl->wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wake) return tl::unexpected(errno_error("eventfd"));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = wake_key;
  if (::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, impl->wake.get(), &event) != 0) {
    return tl::unexpected(errno_error("epoll_ctl"));
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(impl)));
}

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EventLoop::~EventLoop() {
  impl_->disposed.clear();
  for (RoundEndHook* hook : impl_->hooks) {
    if (hook != nullptr) hook->queued_in_ = nullptr;
  }
}

// --- Descriptors -----------------------------------------------------------------------------

void EventLoop::Impl::control(int operation, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  const std::uint64_t generation = registrations[static_cast<std::size_t>(fd)].generation;
  event.data.u64 = generation << 32 | static_cast<std::uint32_t>(fd);
  // Fails only for a descriptor that is closed or registered twice (ours to prevent), or when the
  // kernel is out of memory, where going on without the descriptor would hang its owner.
  const int result = ::epoll_ctl(epoll.get(), operation, fd, &event);
  STOKER_INVARIANT(result == 0, "fd {}: epoll_ctl operation {} failed with errno {}", fd, operation,
                   errno);
}

void EventLoop::add(int fd, std::uint32_t events, FdHandler& handler) {
  const auto index = static_cast<std::size_t>(fd);
  if (index >= impl_->registrations.size()) impl_->registrations.resize(index + 1);
  Impl::Registration& registration = impl_->registrations[index];
  STOKER_INVARIANT(registration.handler == nullptr, "fd {} is registered already", fd);
  registration.handler = &handler;
  ++registration.generation;
  impl_->control(EPOLL_CTL_ADD, fd, events);
}

void EventLoop::modify(int fd, std::uint32_t events, FdHandler& handler) {
  const auto index = static_cast<std::size_t>(fd);
  STOKER_INVARIANT(
      index < impl_->registrations.size() && impl_->registrations[index].handler == &handler,
      "fd {} is not registered by this handler", fd);
  impl_->control(EPOLL_CTL_MOD, fd, events);
}

void EventLoop::remove(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  STOKER_INVARIANT(
      index < impl_->registrations.size() && impl_->registrations[index].handler != nullptr,
      "fd {} is not registered", fd);
  impl_->registrations[index].handler = nullptr;
  impl_->control(EPOLL_CTL_DEL, fd, 0);
}

void EventLoop::Impl::dispatch(const epoll_event& event) {
  if (event.data.u64 == wake_key) return;
  const auto fd = static_cast<std::uint32_t>(event.data.u64);
  const auto generation = static_cast<std::uint32_t>(event.data.u64 >> 32);
  const Registration registration = registrations[fd];
  if (registration.handler == nullptr || registration.generation != generation) return;
  registration.handler->on_events(event.events);
}

// --- Timers, posted work, round ends ---------------------------------------------------------

TimerId EventLoop::run_at(Instant at, std::function<void()> action) {
  return impl_->timers.add(at, std::move(action));
}

void EventLoop::cancel(TimerId timer) {
  impl_->timers.cancel(timer);
}

void EventLoop::post(std::function<void()> action) {
  {
    const std::lock_guard lock(impl_->posted_mutex);
    impl_->posted.push_back(std::move(action));
  }
  // Only the first of several needs to wake the loop: it takes all that it finds.
  if (!impl_->has_posted.exchange(true)) impl_->signal();
}

void EventLoop::Impl::run_posted() {
  if (!has_posted.load(std::memory_order_relaxed)) return;
  has_posted.store(false);  // before taking, so that whoever posts now wakes the loop again
  std::vector<std::function<void()>> actions;
  {
    const std::lock_guard lock(posted_mutex);
    actions.swap(posted);
  }
  for (std::function<void()>& action : actions) action();
}

void EventLoop::Impl::run_timers() {
  // What a timer sets for now or the past runs in the next round, so that the loop cannot starve.
  for (std::size_t left = timers.size(); left > 0; --left) {
    const std::function<void()> action = timers.take_due(now);
    if (!action) return;
    action();
  }
}

void EventLoop::at_round_end(RoundEndHook& hook) {
  if (hook.queued_in_ != nullptr) return;
  hook.queued_in_ = this;
  impl_->hooks.push_back(&hook);
}

RoundEndHook::~RoundEndHook() {
  if (queued_in_ == nullptr) return;
  std::ranges::replace(queued_in_->impl_->hooks, this, nullptr);
}

void EventLoop::Impl::run_hooks() {
  // By index, because a hook may queue others; those wait for the next round.
  const std::size_t count = hooks.size();
  for (std::size_t i = 0; i < count; ++i) {
    RoundEndHook* hook = std::exchange(hooks[i], nullptr);
    if (hook == nullptr) continue;
    hook->queued_in_ = nullptr;
    hook->on_round_end();
  }
  hooks.erase(hooks.begin(), hooks.begin() + static_cast<std::ptrdiff_t>(count));
}

void EventLoop::dispose(std::shared_ptr<void> object) {
  impl_->disposed.push_back(std::move(object));
}

// --- Rounds ----------------------------------------------------------------------------------

int EventLoop::Impl::wait_ms() const {
  if (!hooks.empty() || has_posted.load(std::memory_order_relaxed)) return 0;
  const std::optional<Instant> earliest = timers.earliest();
  if (!earliest) return -1;
  const std::int64_t left_ns = (*earliest - monotonic_now()).ns;
  if (left_ns <= 0) return 0;
  // Rounded up: waking before the time would only mean another round.
  return static_cast<int>(std::min<std::int64_t>((left_ns + 999'999) / 1'000'000, 3'600'000));
}

void EventLoop::Impl::run_round() {
  std::array<epoll_event, max_events_per_round> events;
  const int count = ::epoll_wait(epoll.get(), events.data(), max_events_per_round, wait_ms());
  STOKER_INVARIANT(count >= 0 || errno == EINTR, "epoll_wait failed with errno {}", errno);
  now = monotonic_now();
  for (int i = 0; i < count; ++i) dispatch(events[static_cast<std::size_t>(i)]);
  run_posted();
  run_timers();
  run_hooks();
  if (!disposed.empty()) {
    std::vector<std::shared_ptr<void>> dying;
    dying.swap(disposed);  // destructors may dispose of others
  }
  if (round_took && count > 0) round_took(monotonic_now() - now);
}

void EventLoop::observe_rounds(std::function<void(Duration)> took) {
  impl_->round_took = std::move(took);
}

Instant EventLoop::now() const {
  return impl_->now;
}

void EventLoop::run() {
  while (!impl_->stopped.load()) impl_->run_round();
  impl_->stopped.store(false);
}

void EventLoop::stop() {
  impl_->stopped.store(true);
  impl_->signal();
}

}  // namespace stoker::net
