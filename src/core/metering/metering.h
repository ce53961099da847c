// Who may use how much, who has used what, and what it costs: limits, reservations, usage and
// accounts of keys and tenants. Pure state as all of core/: time is an argument, nothing is stored
// or logged, the same calls give the same answers. ledger/ persists what comes out.
//
// Life of a request: admit() reserves what it is expected to use -> dispatched() -> report() any
// number of times -> settle() gives its one usage record; release() instead of settle() if it was
// refused elsewhere before it was admitted. A reservation that is too small grows with the reports.
// It stands before core::Core: what is refused here makes no core event.
//
// Threads: one owner, no lock. Nothing is due at a time of its own: there are no timers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/id_table.h"
#include "base/money.h"
#include "base/units.h"
#include "core/metering/accounts.h"
#include "core/metering/device_time.h"
#include "core/metering/limits.h"
#include "core/metering/price_book.h"
#include "core/metering/units.h"

namespace stoker::core::metering {

struct MeteringConfig {
  Duration minute = minutes(1);  // length of the short window; shorter in simulations
  Duration day = minutes(24 * 60);
  std::uint64_t last_sequence = 0;  // of the records of earlier lives
  PriceVersion last_price_version;
};

/// Names one admission until it is settled or released; never used twice.
using ReservationId = Id<struct ReservationTag>;

struct AdmissionWish {
  RequestId request;
  KeyId key;
  DeploymentId deployment;
  Units estimate;  // what it may use at most, as far as that is known; grows if it was too little
};
struct UnknownKey {};
using Admission = std::variant<ReservationId, LimitHit, UnknownKey>;

/// What a worker says a request has used until now. Cumulative; device_ms is not looked at: device
/// time is measured here.
struct UsageReport {
  std::int32_t attempt = 1;
  std::uint64_t sequence = 0;  // of this worker's reports for the request, growing
  Units used;
};
enum class ReportEffect : std::uint8_t {
  taken,     // it said more than was known
  repeated,  // nothing new: a duplicate, or overtaken by a later one
  less,      // less than an earlier one, which stays: the worker contradicts itself
  stale,     // no such reservation (any more)
  nonsense   // of an attempt that never was, or beyond any count
};
struct Reported {
  ReportEffect effect = ReportEffect::taken;
  bool grown = false;                 // the reservation was enlarged
  std::optional<LimitHit> exhausted;  // it could not be: the request should be ended
};

enum class Billing : std::uint8_t {
  billed,
  free  // it never ran: only the request itself was used
};

/// The final word on one request; exactly one for each that was admitted.
struct UsageRecord {
  std::uint64_t sequence = 0;  // strictly growing over all lives of the server
  RequestId request;
  KeyId key;
  TenantId tenant;
  DeploymentId deployment;
  PriceVersion price_version;  // in force at its admission
  Prices prices;
  Units used;
  Charge charge;  // its total is the amount
  Billing billing = Billing::billed;
};

/// What an operator books by hand.
struct Correction {
  std::uint64_t sequence = 0;
  KeyId key;
  Pico amount;  // > 0: the key owes more
};

class Metering {
 public:
  explicit Metering(const MeteringConfig& config);

  /// Adds it or changes its limits; what is open and what was used stays and counts.
  void set_tenant(TenantId tenant, const Limits& limits);
  /// Needs: the tenant is known, and the key's tenant never changes.
  void set_key(KeyId key, TenantId tenant, const Limits& limits);
  /// Nothing more is admitted for it; what is open goes on to its end. What it owes stays.
  void remove_key(KeyId key);
  PriceVersion set_prices(DeploymentId deployment, const Prices& prices) {
    return prices_.set(deployment, prices);
  }

  /// Reserves the estimate of both the key and its tenant, or nothing.
  /// Gives: the limit that bars it for longest otherwise; the key's before the tenant's.
  /// Needs: plausible(estimate); now >= every earlier now, as in all that follow.
  /// Cost: O(1) amortised; what it takes is fetching the key: see bench/metering.
  [[nodiscard]] Admission admit(Instant now, const AdmissionWish& wish);
  /// It runs on an instance from now; not the first time if it came back undelivered.
  void dispatched(Instant now, ReservationId id, InstanceId instance, std::int32_t devices = 1);
  /// It provably never reached its worker: this run is not billed.
  void undelivered(Instant now, ReservationId id);
  /// Duplicates, late and reordered reports change nothing: use is the largest that was reported.
  /// Beyond the reservation this is enlarged; where a limit forbids it, what was used is charged
  /// all the same, and the caller should end the request.
  [[nodiscard]] Reported report(Instant now, ReservationId id, const UsageReport& report);
  /// Ends it: what it did not use is given back, what it used is booked.
  /// Needs: an open reservation. Its last report comes before.
  [[nodiscard]] UsageRecord settle(Instant now, ReservationId id, Billing billing);
  /// It was not admitted after all: everything is taken back, the request itself included.
  /// Needs: an open reservation that was never dispatched.
  void release(Instant now, ReservationId id);
  void instance_gone(InstanceId instance) { device_time_.instance_gone(instance); }

  /// Books money that no request moved: a payment (amount < 0), a correction.
  [[nodiscard]] Correction correct(KeyId key, Pico amount);

  // After a crash, before anything is admitted. Limits and keys are set first.
  /// What an earlier life had booked for the key.
  void bring_forward(KeyId key, Pico balance);
  /// What an earlier life recorded at `at` still counts in windows.   Needs: in order of time.
  void count_again(Instant at, KeyId key, const Units& used);
  /// The record of an admission that the server did not survive: nothing is known of its use.
  [[nodiscard]] UsageRecord interrupted(const AdmissionWish& wish, const PriceList& list);

  /// The tighter one of key and tenant.   Gives: nullopt for an unknown key or without a limit.
  [[nodiscard]] std::optional<Standing> standing(Instant now, KeyId key, LimitKind kind);
  [[nodiscard]] PriceList prices_of(DeploymentId id) const { return prices_.in_force(id); }
  /// What the key or the tenant owes.
  [[nodiscard]] Pico balance(KeyId key) const;
  [[nodiscard]] Pico balance(TenantId tenant) const;
  [[nodiscard]] Pico balance(OwnAccount account) const {
    return own_[static_cast<std::size_t>(account)].balance();
  }
  /// What open requests may still cost, at their reservations.
  [[nodiscard]] Pico reserved(KeyId key) const;
  [[nodiscard]] Pico reserved(TenantId tenant) const;
  [[nodiscard]] std::size_t open_reservations() const { return open_; }
  [[nodiscard]] Units granted(ReservationId id) const;
  /// As far as reported; device time until the last report.
  [[nodiscard]] Units used(ReservationId id) const;
  /// The full sweep; for tests and simulation.   Source: RELIABILITY.md 4, V23-V26.
  void check_invariants() const;

 private:
  struct alignas(64) Subject {  // a key or a tenant
    Meter meter;
    Pico budget;
    Pico reserved;
    Account account;
    TenantId tenant;
    std::uint32_t tenant_index = 0;  // of a key
    bool has_budget = false;
    bool removed = false;
  };
  struct Reservation {
    bool open = false;
    bool running = false;
    std::uint32_t life = 0;  // of this place in the table
    std::uint32_t key_index = 0;
    std::uint32_t tenant_index = 0;
    std::int32_t attempt = 0;
    std::uint64_t last_report = 0;  // its sequence
    RequestId request;
    KeyId key;
    DeploymentId deployment;
    Units granted;
    Units used;
    PriceList list;
    Pico reserved;
    Units last_grant;    // of each unit: what is given back is of that one
    Steps granted_at{};  // when that was
    DeviceTime::Run run;
  };

  void advance(Instant now);
  void set_limits(Subject& subject, const Limits& limits);
  [[nodiscard]] Subject* find(KeyId key);
  [[nodiscard]] const Subject* find(KeyId key) const {
    return const_cast<Metering*>(this)->find(key);
  }
  [[nodiscard]] const Subject* find(TenantId tenant) const;
  [[nodiscard]] Subject& tenant_of(const Subject& key) { return tenants_[key.tenant_index]; }
  [[nodiscard]] Reservation* find(ReservationId id);
  [[nodiscard]] Reservation& open_one(ReservationId id);
  /// No cost: no money is involved, a used up budget is no bar.
  using Cost = std::optional<Pico>;
  [[nodiscard]] bool affords(const Subject& subject, Cost cost) const;
  [[nodiscard]] bool admits(Subject& subject, const Amounts& wish, Cost cost);
  [[nodiscard]] std::optional<LimitHit> hit(Subject& subject, Whose whose, const Amounts& wish,
                                            Cost cost);
  [[nodiscard]] std::optional<LimitHit> barred(Subject& key, const Amounts& wish, Cost cost);
  void charge(Subject& key, const Amounts& granted, Pico cost);
  void take_back(Subject& key, const Amounts& unused, const Steps& granted_at, Pico cost);
  void grow(Reservation& r, Reported& reported);
  void enlarge(Reservation& r, const Units& more);
  void close(ReservationId id, Reservation& r);
  [[nodiscard]] Account& own(OwnAccount account) { return own_[static_cast<std::size_t>(account)]; }
  void book(Subject& key, const Charge& charge);
  void book(Subject& key, Pico amount, OwnAccount against);

  const Clock clock_;
  Instant now_;
  bool started_ = false;  // now_ was told
  Steps steps_{};
  Instant step_ends_;  // of the shortest step
  std::uint64_t last_sequence_;
  PriceBook prices_;
  std::array<Account, own_accounts> own_;
  DeviceTime device_time_;
  std::vector<Subject> keys_;  // never shrinks: what a removed key owes stays
  std::vector<Subject> tenants_;
  struct KeyPlace {  // both, so that neither is waited for to fetch the other
    std::uint32_t key = 0;
    std::uint32_t tenant = 0;
  };
  IdTable<KeyId, KeyPlace> key_index_;
  IdTable<TenantId, std::uint32_t> tenant_index_;
  std::vector<Reservation> reservations_;
  std::vector<std::uint32_t> free_;
  std::size_t open_ = 0;
};

}  // namespace stoker::core::metering
