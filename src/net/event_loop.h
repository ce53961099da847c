// One epoll loop on one thread: descriptors, timers, and work posted from other threads.
// Everything that belongs to a loop is used on its thread only; post() and stop() are the
// two exceptions. Must never block outside epoll_wait.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "base/units.h"

namespace stoker::net {

/// What is told when a descriptor has news. Owned by the caller, who removes it before it dies.
class FdHandler {
 public:
  virtual ~FdHandler() = default;
  /// `events` as epoll gives them (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR).
  virtual void on_events(std::uint32_t events) = 0;
};

class EventLoop;

/// Work put off to the end of the current round, so that what several callbacks of one round cause
/// is done once (one system call for several writes). Owned by the caller; withdraws itself when it
/// dies.
class RoundEndHook {
 public:
  RoundEndHook() = default;
  virtual ~RoundEndHook();
  RoundEndHook(const RoundEndHook&) = delete;
  RoundEndHook& operator=(const RoundEndHook&) = delete;
  virtual void on_round_end() = 0;

 private:
  friend class EventLoop;
  EventLoop* queued_in_ = nullptr;
};

using TimerId = std::uint64_t;  // 0 is no timer

class EventLoop {
 public:
  static Result<std::unique_ptr<EventLoop>> create();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Level-triggered. A handler may remove itself or any other inside on_events: a removed
  /// handler is not called again, in the same round neither.
  void add(int fd, std::uint32_t events, FdHandler& handler);
  void modify(int fd, std::uint32_t events, FdHandler& handler);
  void remove(int fd);

  /// Runs `action` once at or after `at`. Gives an id for cancel(); ids are never used again.
  TimerId run_at(Instant at, std::function<void()> action);
  void cancel(TimerId timer);

  /// Threads: any. Runs `action` on the loop's thread soon, in the order of posting.
  void post(std::function<void()> action);

  /// Calls hook.on_round_end() once, after all events, posted work and timers of this round. Asked
  /// for again before that: still once. Asked for outside run(): in its first round.
  void at_round_end(RoundEndHook& hook);
  /// Keeps `object` alive to the end of the round: for what must go away inside one of its own
  /// callbacks.
  void dispose(std::shared_ptr<void> object);

  /// `took` is called after each round that had news, with the time since they were known: as
  /// answers are written at the end of a round, the most that what was read waited to be written.
  /// Needs: run() does not run.
  void observe_rounds(std::function<void(Duration)> took);

  /// Monotonic time, read once per round; outside run() the time of the last round.
  [[nodiscard]] Instant now() const;
  /// Runs until stop(). May be run again afterwards.
  void run();
  /// Threads: any.
  void stop();

 private:
  friend class RoundEndHook;
  struct Impl;
  explicit EventLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::net
