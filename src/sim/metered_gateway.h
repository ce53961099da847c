// The gateway's side of metering in the virtual world: keys and tenants with limits and budgets,
// price lists, what requests really use, the reports of workers and what becomes of them on the
// way. It asks metering before a request reaches the core, follows it to its end, and keeps, as the
// ledger does, what survives a crash of the server. Its own draws; everything follows from the
// seed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "core/metering/metering.h"
#include "sim/faults.h"
#include "sim/metering_checker.h"
#include "sim/world.h"

namespace stoker::sim {

class MeteredGateway final : public Observer {
 public:
  MeteredGateway(std::uint64_t seed, const FaultPlan& faults, std::int32_t sweep_every);

  /// Gives: false if a limit refuses it; then it must not arrive.   Needs: the server runs.
  [[nodiscard]] bool admit(Instant now, const Arrival& arrival);
  /// Requests whose reservations are used up and could not grow, since the last call: the gateway
  /// gives them up.
  [[nodiscard]] std::vector<RequestId> take_exhausted();
  void stop_faults();
  /// Needs: every request has ended.
  void check_settled(Instant now);
  [[nodiscard]] const StateCounts& states() const { return checker_.states(); }

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
  bool hits(Fault fault, std::int32_t times = 1);
  metering::Limits draw_limits(bool of_tenant);
  Prices draw_prices();
  KeyId any_key();
  void draw_keys();
  void tell_keys();
  void set_prices(DeploymentId deployment);
  void advance(Instant now);
  void strike(Instant now);
  void change_limits();
  void plan_reports(Instant now, RequestId request, Open& open);
  void send(Instant at, RequestId request, const Open& open, const metering::UsageReport& report);
  void deliver(Instant now, const Sent& sent);
  [[nodiscard]] static metering::Units part(const metering::Units& whole, std::int64_t permille);
  void settle(Instant now, RequestId request, Open& open, metering::Billing billing);

  FaultPlan faults_;
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
  std::vector<RequestId> exhausted_;
  // What survives a crash.
  std::map<KeyId, Pico> balances_;
  std::vector<Recorded> recorded_;  // of the last day, by time
  std::vector<Open> lost_;
};

}  // namespace stoker::sim
