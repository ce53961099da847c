// Counters, gauges and histograms, and the Prometheus text of all of them. An increment is one or
// two relaxed atomic additions; only finding a series by its labels and rendering take a lock, so
// keep the reference. Values are integers: a duration is kept in ns and shown in seconds, so that
// sums are exact. Must never grow without bound: a family holds at most `max_series`, later label
// values share one series whose labels all read "other".
//
//   auto& requests = registry.counter_family(
//       {.name = "stoker_requests_total", .help = "Requests ended", .labels = {"deployment"}});
//   Counter& chat = requests.with({"chat"});     // once
//   chat.add();                                  // hot path
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace stoker::obs {

/// What the integers of a family are, and so how they are shown.
enum class Unit : std::uint8_t { plain, seconds };  // seconds: kept in nanoseconds

/// Only grows. Threads: any.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  /// Of a family in seconds. Needs: d >= 0.
  void add(Duration d) noexcept { add(static_cast<std::uint64_t>(d.ns)); }
  [[nodiscard]] std::uint64_t value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

/// Goes up and down. Threads: any.
class Gauge {
 public:
  void set(std::int64_t n) noexcept { value_.store(n, std::memory_order_relaxed); }
  void set(Bytes bytes) noexcept { set(bytes.value); }
  void set(Duration d) noexcept { set(d.ns); }
  void add(std::int64_t n = 1) noexcept { value_.fetch_add(n, std::memory_order_relaxed); }
  void sub(std::int64_t n = 1) noexcept { value_.fetch_sub(n, std::memory_order_relaxed); }
  [[nodiscard]] std::int64_t value() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> value_ = 0;
};

/// Fixed buckets, value <= bound. Threads: any. Cost: a binary search and two additions.
class Histogram {
 public:
  static constexpr std::size_t max_bounds = 24;

  /// Needs: bounds strictly ascending, 1 to max_bounds of them.
  explicit Histogram(std::span<const std::int64_t> bounds);
  void observe(std::int64_t value) noexcept;
  void observe(Duration d) noexcept { observe(d.ns); }

  struct Snapshot {
    std::vector<std::uint64_t> cumulative;  // one per bound, then the count of all
    std::int64_t sum = 0;
  };
  /// Additions that run at the same time may be in the sum and not in the buckets, or the reverse.
  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] std::span<const std::int64_t> bounds() const { return {bounds_.data(), size_}; }

 private:
  std::size_t size_;
  std::array<std::int64_t, max_bounds> bounds_{};
  std::array<std::atomic<std::uint64_t>, max_bounds + 1> buckets_{};
  std::atomic<std::int64_t> sum_ = 0;
};

/// Bounds of request and cold-start times: 1 ms to 10 min.
[[nodiscard]] std::span<const std::int64_t> latency_bounds();

struct FamilyOptions {
  std::string name;  // stoker_[a-z0-9_]+, base unit last; a counter ends in _total
  std::string help;  // one sentence without a full stop
  std::vector<std::string> labels = {};
  Unit unit = Unit::plain;
  std::size_t max_series = 1000;
};

/// All series of one metric. Made by a Registry, lives as long as it.
template <class Metric>
class Family {
 public:
  using Make = std::function<std::unique_ptr<Metric>()>;
  Family(FamilyOptions options, Make make) : options_(std::move(options)), make_(std::move(make)) {}

  /// The series with these label values, made on first use. Needs: one value per label, in order.
  /// Gives: a reference that stays valid; the shared "other" series once max_series exist.
  /// Threads: any, under a lock.
  Metric& with(std::initializer_list<std::string_view> values);
  /// The only series of a family without labels.
  Metric& only() { return with({}); }

  [[nodiscard]] const FamilyOptions& options() const { return options_; }
  /// Calls visit(label values, metric) in the order of the values, under the lock.
  void each(const std::function<void(const std::vector<std::string>&, const Metric&)>& visit) const;

 private:
  FamilyOptions options_;
  Make make_;
  mutable std::mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Metric>> series_;
};
extern template class Family<Counter>;
extern template class Family<Gauge>;
extern template class Family<Histogram>;

class Registry {
 public:
  /// Needs: a well-formed name that is not taken. Threads: any; the reference stays valid.
  Family<Counter>& counter_family(FamilyOptions options);
  Family<Gauge>& gauge_family(FamilyOptions options);
  Family<Histogram>& histogram_family(FamilyOptions options,
                                      std::span<const std::int64_t> bounds = latency_bounds());
  Counter& counter(FamilyOptions options) { return counter_family(std::move(options)).only(); }
  Gauge& gauge(FamilyOptions options) { return gauge_family(std::move(options)).only(); }

  /// `collect` runs before every render(), on its thread, to set gauges that are cheaper to look up
  /// than to keep. It may call with() and set(), and must outlive the registry's last render().
  void on_render(std::function<void()> collect);
  /// Whether a reader may see the series that have this value of this label.
  using Shows = std::function<bool(std::string_view label, std::string_view value)>;
  /// Prometheus text exposition format 0.0.4, families in the order of their names. Without `shows`
  /// all series; else those of which it shows every label.
  [[nodiscard]] std::string render(const Shows& shows = {}) const;
  static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Entry {
    std::unique_ptr<Family<Counter>> counters;
    std::unique_ptr<Family<Gauge>> gauges;
    std::unique_ptr<Family<Histogram>> histograms;
  };
  Entry& claim(const FamilyOptions& options);

  mutable std::mutex mutex_;
  std::map<std::string, Entry> families_;
  std::vector<std::function<void()>> collectors_;
};

}  // namespace stoker::obs
