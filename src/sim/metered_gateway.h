// The gateway's side of metering in the virtual world: keys and tenants with limits and budgets,
// price lists, what requests really use, the reports of workers and what becomes of them on the
// way. It asks metering before a request reaches the core, follows it to its end, and keeps, as the
// ledger does, what survives a crash of the server. Its own draws; everything follows from the
// seed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "core/metering/metering.h"
#include "sim/chances.h"
#include "sim/metering_checker.h"
#include "sim/world.h"

namespace stoker::sim {

class MeteredGateway final : public Observer {
 public:
  /// `between_strikes`: mean time between changes of prices and limits; {0}: there are none.
  /// `with_limits`: keys and tenants may have some.
  MeteredGateway(std::uint64_t seed, const Chances& chances, Duration between_strikes,
                 bool with_limits, std::int32_t sweep_every);

  /// Hears of requests whose reservations are used up and could not grow: the gateway gives them
  /// up.
  void on_exhausted(std::function<void(RequestId)> heard) { on_exhausted_ = std::move(heard); }
  /// Hears when a report will arrive; then advance() is to be called.
  void on_sent(std::function<void(Instant)> heard) { on_sent_ = std::move(heard); }
  /// What is due until now, each at its own time.
  void advance(Instant now);

  /// Gives: false if a limit refuses it; then it must not arrive.   Needs: the server runs.
  [[nodiscard]] bool admit(Instant now, const Arrival& arrival);
  void stop_faults(Instant now);
  /// Needs: every request has ended.
  void check_settled(Instant now);
  [[nodiscard]] const StateCounts& states() const { return checker_.states(); }
  [[nodiscard]] const Chances& chances() const { return chances_; }

  void on_server_start(Instant now, const core::CoreConfig& config) override;
  void before_step(Instant now, const core::Event& event) override;
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override;
  void after_step(Instant now, const core::Event& event, const core::Core& core) override;
  void on_ended(Instant now, RequestId request, Ending ending) override;
  void on_process_gone(Instant now, InstanceId instance) override;
  void on_server_crash(Instant now) override;

 private:
  struct Key {
    TenantId tenant;
    metering::Limits limits;
    bool removed = false;
  };
  struct Open {
    metering::ReservationId id;
    metering::AdmissionWish wish;
    metering::PriceList list;
    metering::Units truth;  // what it uses if it runs to its end
    Duration service;
    Instant dispatched_at;
    bool runs = false;
    bool turned_away = false;  // by the core, at its arrival
    std::int32_t attempt = 0;
    std::uint64_t last_report = 0;
  };
  struct Sent {  // a report on its way
    RequestId request;
    metering::ReservationId id;
    metering::UsageReport report;
  };
  struct Recorded {  // what the ledger holds of a request, as far as windows need it
    Instant at;
    KeyId key;
    metering::Units used;
  };

  template <class T>
  T draw(T least, T most) {
    return static_cast<T>(
        least + static_cast<T>(prng_.below(static_cast<std::uint64_t>(most - least) + 1)));
  }
  bool one_in(std::uint64_t n) { return prng_.below(n) == 0; }
  /// From here on draws are about this, and the same whatever was drawn before.
  void draw_for(Roll roll, Subject who, std::uint32_t time = 0) {
    prng_ = chances_.draws(roll, who, time);
  }
  metering::Limits draw_limits(bool of_tenant);
  Prices draw_prices();
  KeyId any_key();
  void draw_keys();
  void tell_keys();
  void set_prices(DeploymentId deployment);
  void strike(Instant now);
  void change_limits();
  void plan_reports(Instant now, RequestId request, Open& open);
  void send(Instant at, RequestId request, const Open& open, const metering::UsageReport& report);
  void deliver(Instant now, const Sent& sent);
  [[nodiscard]] static metering::Units part(const metering::Units& whole, std::int64_t permille);
  void settle(Instant now, RequestId request, Open& open, metering::Billing billing);

  Chances chances_;
  const Duration between_strikes_;
  Prng prng_;
  MeteringChecker checker_;
  metering::MeteringConfig config_;
  std::unique_ptr<metering::Metering> state_;
  bool with_limits_ = false;
  std::map<TenantId, metering::Limits> tenants_;
  std::map<KeyId, Key> keys_;
  std::map<TenantId, std::vector<KeyId>> keys_of_;
  std::map<DeploymentId, Prices> prices_;
  std::map<InstanceId, std::vector<DeviceId>> devices_of_;
  IdTable<RequestId, Open> open_;
  std::map<std::pair<Instant, std::uint64_t>, Sent> on_its_way_;
  std::uint64_t next_sent_ = 1;
  std::optional<Instant> next_strike_;
  std::uint64_t strikes_ = 0;
  std::function<void(RequestId)> on_exhausted_;
  std::function<void(Instant)> on_sent_;
  // What survives a crash.
  std::map<KeyId, Pico> balances_;
  std::vector<Recorded> recorded_;  // of the last day, by time
  std::vector<Open> lost_;
};

}  // namespace stoker::sim
