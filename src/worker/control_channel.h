// The control channel: one thread between the orchestrator's socket and this process. It answers
// while compute and HTTP threads are busy or stuck, and it notices when the orchestrator is gone.
// It decides nothing: orders go to the handler, packets come from anybody.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "base/units.h"
#include "worker/control_message.h"

namespace stoker::worker {

/// Threads: the control channel's. A handler must not block for longer than a moment, except in
/// on_closed() and on_deadline(), which end the process.
class ControlHandler {
 public:
  virtual ~ControlHandler() = default;
  virtual void on_order(Order order) = 0;
  /// Time for a `progress` message.
  [[nodiscard]] virtual std::string progress() = 0;
  /// The orchestrator closed its end or broke the contract beyond repair. Called once.
  virtual void on_closed() = 0;
  /// The time of set_deadline() has come. Called once.
  virtual void on_deadline() = 0;
};

class ControlChannel {
 public:
  /// `mute`: while true nothing is read or sent (a fault of the echo worker).
  ControlChannel(UniqueFd socket, ControlHandler& handler, const std::atomic<bool>& mute);
  ~ControlChannel() = delete;  // it lives as long as the process; its thread is never joined

  /// Starts the thread with `hello` as the first packet.
  void start(std::string hello);
  /// Threads: any; never blocks. An orchestrator that lets max_waiting packets pile up is dead.
  void send(std::string packet);
  /// Threads: any. Calls the handler's on_deadline() at `at`.
  void set_deadline(Instant at);
  /// Threads: any. Sends what waits now, for at most `at_most`; for the end of the process.
  void flush(Duration at_most);

  static constexpr std::size_t max_waiting = 8192;

 private:
  void run();
  void read_packets();
  /// Gives: whether something still waits because the socket is full.
  bool send_waiting();
  void kick();
  [[nodiscard]] int milliseconds_to_next_event(Instant now) const;

  const UniqueFd socket_;
  UniqueFd kick_;  // eventfd
  ControlHandler& handler_;
  const std::atomic<bool>& mute_;
  std::mutex mutex_;
  std::deque<std::string> waiting_;
  std::atomic<std::int64_t> deadline_ns_{0};
  Instant next_progress_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace stoker::worker
