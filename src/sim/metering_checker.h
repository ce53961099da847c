// Holds metering against V23 to V26 of RELIABILITY.md 4 and against its limits, call by call, with
// books of its own that are kept from the calls and their answers alone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/id_table.h"
#include "base/prng.h"
#include "core/metering/metering.h"
#include "sim/exact_window.h"
#include "sim/states.h"

namespace stoker::sim {

namespace metering = core::metering;

class MeteringChecker {
 public:
  MeteringChecker(std::uint64_t seed, std::int32_t sweep_every)
      : prng_(seed), sweep_every_(sweep_every) {}

  // What metering was told; after the call.
  void tenant_set(TenantId tenant, const metering::Limits& limits);
  void key_set(KeyId key, TenantId tenant, const metering::Limits& limits);
  void key_removed(KeyId key);
  void prices_set(DeploymentId deployment, const metering::PriceList& list);
  void corrected(const metering::Correction& correction);
  void admit(Instant now, const metering::AdmissionWish& wish, const metering::Admission& answer,
             const metering::Metering& state);
  void dispatched(Instant now, RequestId request, InstanceId instance,
                  const std::vector<DeviceId>& devices);
  void undelivered(Instant now, RequestId request);
  void reported(Instant now, RequestId request, const metering::UsageReport& report,
                const metering::Reported& answer, const metering::Metering& state);
  void settled(Instant now, const metering::UsageRecord& record, const metering::Metering& state);
  void released(Instant now, RequestId request);
  void instance_gone(Instant now, InstanceId instance);

  // A life of the server ends, another begins.
  void began(const metering::MeteringConfig& config);
  void device_added(DeviceId device, std::int32_t slots) { slots_[device] = slots; }
  void lost(RequestId request);  // open when the server died: one record is still to come
  void counted_again(Instant at, KeyId key, const metering::Units& used);
  void interrupted(const metering::UsageRecord& record);

  /// Each event; sometimes the full sweep.
  void after_event(Instant now, const metering::Metering& state);
  /// Needs: no request is open.
  void check_settled(Instant now, const metering::Metering& state);

  [[nodiscard]] const StateCounts& states() const { return states_; }

 private:
  struct Subject {
    metering::Limits limits;
    std::array<ExactWindow, metering::windowed_kinds> windows;
    std::int64_t open = 0;
    Pico spent;
    Pico reserved;
    TenantId tenant;
    bool removed = false;
    bool device_time_was_short = false;
    bool budget_was_short = false;
  };
  struct Grant {
    std::int64_t amount = 0;
    std::uint64_t of_key = 0;  // numbers in the windows
    std::uint64_t of_tenant = 0;
  };
  struct Request {
    metering::ReservationId id;
    KeyId key;
    DeploymentId deployment;
    metering::PriceList list;
    metering::Units granted;
    metering::Units reported;
    Pico reserved;
    std::array<Grant, metering::windowed_kinds> last_grant;
    InstanceId instance;  // it runs there; zero: nowhere
    std::int64_t device_ns = 0;
    std::int64_t device_ms = 0;  // as last told
    std::int32_t attempts = 0;
    std::uint64_t last_report = 0;
    bool prices_changed = false;
    std::vector<metering::UsageReport> reports;  // of some requests
  };
  struct Instance {
    std::vector<RequestId> running;
    std::vector<DeviceId> devices;
    std::set<TenantId> tenants;
    Instant last;
    std::int64_t busy_ns = 0;
    std::int64_t billed_ns = 0;
    std::int64_t dropped_ns = 0;
    std::int64_t moments = 0;  // at each of which less than a nanosecond per request gets lost here
    bool gone = false;
  };

  Request& request(RequestId id);
  Subject& key_of(const Request& r) { return keys_.at(r.key); }
  Subject& tenant_of(const Request& r) { return tenants_.at(key_of(r).tenant); }
  void set(Subject& subject, const metering::Limits& limits);
  void grant(Instant now, Request& r, const metering::Amounts& amounts, Pico reserved);
  void end(Instant now, Request& r, const metering::Amounts& unused);
  void check_granted(Instant now, Subject& subject, const metering::Amounts& amounts,
                     bool priced) const;
  void check_refused(Instant now, KeyId key, const metering::LimitHit& hit,
                     const metering::Amounts& amounts, Pico cost);
  void count_refusal(Subject& subject, const metering::LimitHit& hit);
  void account(Instant now, Instance& instance);
  void leave(Instant now, RequestId id, Request& r, std::int64_t billed_ms, bool billed);
  void forget_if_empty(InstanceId id);
  void check_bill(Instant now, const Request& r, std::int64_t billed_ms);
  void check_record(const metering::UsageRecord& record);
  void replay_reports(Request& r, const metering::Units& used);
  void check_books(const metering::Metering& state);
  void reached(State state) { states_.reached(state); }

  Prng prng_;
  const std::int32_t sweep_every_;
  std::int32_t until_sweep_ = 1;
  metering::MeteringConfig config_;
  StateCounts states_;
  std::map<KeyId, Subject> keys_;
  std::map<TenantId, Subject> tenants_;
  std::map<DeploymentId, metering::PriceList> prices_;
  std::map<InstanceId, Instance> instances_;
  std::map<DeviceId, std::int32_t> slots_;
  std::map<DeviceId, std::int64_t> billed_on_;  // ns, over all lives
  IdTable<RequestId, Request> requests_;
  std::set<RequestId> lost_;
  std::uint64_t last_sequence_ = 0;
  metering::PriceVersion last_price_version_;
  std::uint64_t admitted_ = 0;
  std::uint64_t released_ = 0;
  std::uint64_t records_ = 0;
  Pico revenue_;
  Pico credits_;
  Pico brought_;
};

}  // namespace stoker::sim
