#include "obs/metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/invariant.h"

namespace stoker::obs {
namespace {

constexpr std::array<std::int64_t, 18> latencies = {
    ms(1).ns,       ms(2).ns,       ms(5).ns,      ms(10).ns,     ms(25).ns,     ms(50).ns,
    ms(100).ns,     ms(250).ns,     ms(500).ns,    seconds(1).ns, ms(2500).ns,   seconds(5).ns,
    seconds(10).ns, seconds(30).ns, minutes(1).ns, minutes(2).ns, minutes(5).ns, minutes(10).ns};

bool is_name(std::string_view name) {
  return !name.empty() && name.front() >= 'a' && name.front() <= 'z' &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

/// Source: Prometheus exposition formats, "Text format details": \ and line feed, and " in labels.
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else {
      if (c == '\\' || (quotes && c == '"')) out += '\\';
      out += c;
    }
  }
}

void append_number(std::string& out, std::uint64_t magnitude, bool negative, Unit unit) {
  if (negative) out += '-';
  if (unit == Unit::plain) {
    out += fmt::format("{}", magnitude);
    return;
  }
  std::string text = fmt::format("{}.{:09}", magnitude / 1'000'000'000, magnitude % 1'000'000'000);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  out += text;
}

void append_number(std::string& out, std::int64_t number, Unit unit) {
  const auto bits = static_cast<std::uint64_t>(number);
  append_number(out, number < 0 ? 0 - bits : bits, number < 0, unit);
}

/// `{a="x",b="y"}`, nothing for no labels. `bound` is the value of a histogram's `le`.
void append_labels(std::string& out, const FamilyOptions& family,
                   const std::vector<std::string>& values, std::string_view bound = {}) {
  if (values.empty() && bound.empty()) return;
  char separator = '{';
  const auto append = [&](std::string_view name, std::string_view value) {
    out += separator;
    separator = ',';
    out += name;
    out += "=\"";
    append_escaped(out, value, true);
    out += '"';
  };
  for (std::size_t i = 0; i < values.size(); ++i) append(family.labels[i], values[i]);
  if (!bound.empty()) append("le", bound);
  out += '}';
}

void append_head(std::string& out, const FamilyOptions& family, std::string_view type) {
  out += "# HELP " + family.name + ' ';
  append_escaped(out, family.help, false);
  out += "\n# TYPE " + family.name + ' ';
  out += type;
  out += '\n';
}

void append_series(std::string& out, const FamilyOptions& family,
                   const std::vector<std::string>& labels, const Counter& counter) {
  out += family.name;
  append_labels(out, family, labels);
  out += ' ';
  append_number(out, counter.value(), false, family.unit);
  out += '\n';
}

void append_series(std::string& out, const FamilyOptions& family,
                   const std::vector<std::string>& labels, const Gauge& gauge) {
  out += family.name;
  append_labels(out, family, labels);
  out += ' ';
  append_number(out, gauge.value(), family.unit);
  out += '\n';
}

void append_series(std::string& out, const FamilyOptions& family,
                   const std::vector<std::string>& labels, const Histogram& histogram) {
  const Histogram::Snapshot now = histogram.snapshot();
  const std::span<const std::int64_t> bounds = histogram.bounds();
  for (std::size_t i = 0; i < now.cumulative.size(); ++i) {
    std::string bound = "+Inf";
    if (i < bounds.size()) {
      bound.clear();
      append_number(bound, bounds[i], family.unit);
    }
    out += family.name + "_bucket";
    append_labels(out, family, labels, bound);
    out += fmt::format(" {}\n", now.cumulative[i]);
  }
  out += family.name + "_sum";
  append_labels(out, family, labels);
  out += ' ';
  append_number(out, now.sum, family.unit);
  out += '\n' + family.name + "_count";
  append_labels(out, family, labels);
  out += fmt::format(" {}\n", now.cumulative.back());
}

template <class Metric>
void append_family(std::string& out, const Family<Metric>& family, std::string_view type,
                   const Registry::Shows& shows) {
  const FamilyOptions& options = family.options();
  append_head(out, options, type);
  family.each([&](const std::vector<std::string>& labels, const Metric& metric) {
    for (std::size_t i = 0; shows && i < labels.size(); ++i) {
      if (!shows(options.labels[i], labels[i])) return;
    }
    append_series(out, options, labels, metric);
  });
}

}  // namespace

std::span<const std::int64_t> latency_bounds() {
  return latencies;
}

Histogram::Histogram(std::span<const std::int64_t> bounds) : size_(bounds.size()) {
  STOKER_INVARIANT(size_ > 0 && size_ <= max_bounds, "{} bounds", size_);
  STOKER_INVARIANT(std::ranges::adjacent_find(bounds, std::greater_equal<>{}) == bounds.end(),
                   "{} bounds, not ascending", size_);
  std::ranges::copy(bounds, bounds_.begin());
}

void Histogram::observe(std::int64_t value) noexcept {
  const auto end = bounds_.begin() + static_cast<std::ptrdiff_t>(size_);
  const auto bucket = std::lower_bound(bounds_.begin(), end, value) - bounds_.begin();
  buckets_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::snapshot() const {
  Snapshot snapshot;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i <= size_; ++i) {
    total += buckets_[i].load(std::memory_order_relaxed);
    snapshot.cumulative.push_back(total);
  }
  snapshot.sum = sum_.load(std::memory_order_relaxed);
  return snapshot;
}

template <class Metric>
Metric& Family<Metric>::with(std::initializer_list<std::string_view> values) {
  STOKER_INVARIANT(values.size() == options_.labels.size(), "{}: {} label values for {} labels",
                   options_.name, values.size(), options_.labels.size());
  std::vector<std::string> key(values.begin(), values.end());
  const std::lock_guard lock(mutex_);
  auto found = series_.find(key);
  if (found == series_.end()) {
    if (series_.size() >= options_.max_series) key.assign(key.size(), "other");
    found = series_.try_emplace(std::move(key)).first;
    if (!found->second) found->second = make_();
  }
  return *found->second;
}

template <class Metric>
void Family<Metric>::each(
    const std::function<void(const std::vector<std::string>&, const Metric&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [values, metric] : series_) visit(values, *metric);
}

template class Family<Counter>;
template class Family<Gauge>;
template class Family<Histogram>;

Registry::Entry& Registry::claim(const FamilyOptions& options) {
  STOKER_INVARIANT(is_name(options.name) && options.name.starts_with("stoker_"), "metric name '{}'",
                   options.name);
  STOKER_INVARIANT(std::ranges::all_of(options.labels, is_name), "labels of {}", options.name);
  const auto [entry, fresh] = families_.try_emplace(options.name);
  STOKER_INVARIANT(fresh, "{} is registered twice", options.name);
  return entry->second;
}

Family<Counter>& Registry::counter_family(FamilyOptions options) {
  STOKER_INVARIANT(options.name.ends_with("_total"), "counter {} must end in _total", options.name);
  const std::lock_guard lock(mutex_);
  Entry& entry = claim(options);
  entry.counters = std::make_unique<Family<Counter>>(std::move(options),
                                                     [] { return std::make_unique<Counter>(); });
  return *entry.counters;
}

Family<Gauge>& Registry::gauge_family(FamilyOptions options) {
  const std::lock_guard lock(mutex_);
  Entry& entry = claim(options);
  entry.gauges =
      std::make_unique<Family<Gauge>>(std::move(options), [] { return std::make_unique<Gauge>(); });
  return *entry.gauges;
}

Family<Histogram>& Registry::histogram_family(FamilyOptions options,
                                              std::span<const std::int64_t> bounds) {
  const std::lock_guard lock(mutex_);
  Entry& entry = claim(options);
  entry.histograms = std::make_unique<Family<Histogram>>(
      std::move(options), [kept = std::vector(bounds.begin(), bounds.end())] {
        return std::make_unique<Histogram>(kept);
      });
  return *entry.histograms;
}

void Registry::on_render(std::function<void()> collect) {
  const std::lock_guard lock(mutex_);
  collectors_.push_back(std::move(collect));
}

std::string Registry::render(const Shows& shows) const {
  std::vector<std::function<void()>> collectors;
  {
    const std::lock_guard lock(mutex_);
    collectors = collectors_;
  }
  for (const auto& collect : collectors) collect();

  std::string out;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, entry] : families_) {
    if (entry.counters) append_family(out, *entry.counters, "counter", shows);
    if (entry.gauges) append_family(out, *entry.gauges, "gauge", shows);
    if (entry.histograms) append_family(out, *entry.histograms, "histogram", shows);
  }
  return out;
}

}  // namespace stoker::obs
