// Which requests run, which ended a short while ago, and which were cancelled before they came: the
// memory behind "each cancel is answered by exactly one `ended`". Knows neither sockets nor HTTP.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "worker/control_message.h"
#include "worker/counters.h"

namespace stoker::worker {

/// What the registry needs of a running request. Threads: any.
class Stoppable {
 public:
  virtual ~Stoppable() = default;
  virtual void stop() = 0;
};

/// Bounds of the memory. Beyond them the oldest entry is forgotten, and a late cancel hears
/// `unknown`.
struct RegistryLimits {
  Duration remember_cancel = seconds(30);
  Duration remember_ended = seconds(60);
  std::size_t max_cancels = 4096;
  std::size_t max_ended = 16384;
};

/// Threads: any. Callbacks run without the lock.
class RequestRegistry {
 public:
  /// `say_ended` sends one `ended` message.
  using SayEnded = std::function<void(const std::string& id, const RequestUsage&, EndReason)>;
  RequestRegistry(WorkerCounters& counters, RegistryLimits limits, SayEnded say_ended);

  enum class Admission : std::uint8_t {
    admitted,
    cancelled_before,  // its cancel has overtaken it
    duplicate,         // a request of that id runs
    closed,            // nothing is ready to serve
  };
  /// `remembered` is false for ids that the worker made up itself: nobody can cancel those later.
  Admission begin(const std::string& id, std::shared_ptr<Stoppable> request, Instant now);
  /// Needs: begin() admitted `id`. Answers the cancels that wait.
  void end(const std::string& id, const RequestUsage& usage, EndReason reason, Instant now,
           bool remembered);

  /// Gives: nothing; exactly one `ended` follows, now or when the request has ended. Cancels that
  /// come while the request still runs share one answer.
  void cancel(const std::string& id, Instant now);

  /// Opens for requests, after a load.
  void open();
  /// Refuses new requests and stops the running ones.
  void close();
  void stop_all();
  /// Blocks until no request runs, at most `at_most`. Gives: whether that is so.
  bool wait_until_idle(Duration at_most);
  [[nodiscard]] bool is_open() const;

 private:
  struct Running {
    std::shared_ptr<Stoppable> request;
    bool cancel_waits = false;
  };
  struct Ended {
    RequestUsage usage;
    EndReason reason = EndReason::completed;
    Instant forget_at;
  };
  struct Expiry {
    std::string id;
    Instant forget_at;
  };
  void forget_old(Instant now);
  void remember_ended(const std::string& id, const RequestUsage& usage, EndReason reason,
                      Instant now);

  WorkerCounters& counters_;
  const RegistryLimits limits_;
  const SayEnded say_ended_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  bool open_ = false;
  std::unordered_map<std::string, Running> running_;
  std::unordered_map<std::string, Ended> ended_;
  std::unordered_map<std::string, Instant> cancelled_early_;  // id -> when to forget
  std::deque<Expiry> ended_order_;
  std::deque<Expiry> cancel_order_;
};

}  // namespace stoker::worker
