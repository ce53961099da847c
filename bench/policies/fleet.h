// A fleet of instances of one model, scaled by a peer's rule: what sim::World is for our core.
// Requests wait in one queue, first come first served, and go to the instance with the fewest in
// flight. A start takes the same time always, a stop none; a device is paid from the order to start
// until the end.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <queue>
#include <span>
#include <vector>

#include "arrivals.h"

namespace stoker::bench {

struct FleetSetup {
  std::int32_t concurrency = 1;
  Duration start_time;
  Instant split;  // costs and waits before and after it are booked apart
  Instant end;
};

/// What a policy cost, and what it made requests wait.
struct ScalingBook {
  double device_s = 0;
  std::vector<float> waits_s;
  /// Of the waits; 0 without any.   Cost: O(n), reorders.
  [[nodiscard]] double percentile(double share);
};
struct ScalingBooks {
  ScalingBook before, after;  // the split
  void pay(const FleetSetup& setup, Instant from, Instant to);
  void waited(const FleetSetup& setup, Instant arrived, Duration wait);
};

class Fleet;

class ScalingRule {
 public:
  virtual ~ScalingRule() = default;
  /// After it was offered to the instances.
  virtual void arrived(Fleet& fleet) = 0;
  /// Its own clock; nullopt: nothing to do until the next request.
  [[nodiscard]] virtual std::optional<Instant> next_tick(const Fleet& fleet) const = 0;
  virtual void tick(Fleet& fleet) = 0;
};

class Fleet {
 public:
  Fleet(const FleetSetup& setup, ScalingRule& rule, ScalingBooks& books)
      : setup_(setup), rule_(rule), books_(books) {}
  void run(std::span<const Arrival> requests);

  [[nodiscard]] Instant now() const { return now_; }
  [[nodiscard]] std::int32_t concurrency() const { return setup_.concurrency; }
  [[nodiscard]] std::int32_t waiting() const { return static_cast<std::int32_t>(queue_.size()); }
  [[nodiscard]] std::int32_t requests() const { return waiting() + in_flight_; }
  /// Not draining.
  [[nodiscard]] std::int32_t live() const;
  [[nodiscard]] std::int32_t ready() const;
  /// Sum over time of requests that wait or run, in request-seconds.
  [[nodiscard]] double request_seconds() const { return request_s_; }

  void start(std::int32_t count);
  /// Starting ones go first, then those with the fewest in flight, which finish what they have.
  void stop(std::int32_t count);

 private:
  struct Instance {
    std::uint64_t id = 0;
    Instant ordered_at;
    std::int32_t in_flight = 0;
    bool ready = false;
    bool draining = false;
  };
  struct Due {
    Instant at;
    std::uint64_t order = 0;
    std::uint64_t instance = 0;
    bool is_ready = false;  // else one of its requests ends
    bool operator>(const Due& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  void pass_until(Instant at);
  void dispatch();
  void happen(const Due& due);
  void gone(std::size_t index);
  [[nodiscard]] std::optional<std::size_t> find(std::uint64_t id) const;

  const FleetSetup setup_;
  ScalingRule& rule_;
  ScalingBooks& books_;
  Instant now_;
  std::vector<Instance> instances_;  // by id
  std::deque<const Arrival*> queue_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::int32_t in_flight_ = 0;
  double request_s_ = 0;
  std::uint64_t next_ = 1;
};

}  // namespace stoker::bench
