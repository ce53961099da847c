#include "core/event_codec.h"

#include <array>
#include <cstdint>
#include <map>
#include <type_traits>
#include <utility>
#include <vector>

namespace stoker::core {
namespace {

// The fields of each struct, once, for writing and for reading. A field that is missing here is
// found by the round-trip test.
template <class V>
void fields(V& v, Bytes& x) {
  v(x.value);
}
template <class V>
void fields(V& v, Duration& x) {
  v(x.ns);
}
template <class V>
void fields(V& v, Instant& x) {
  v(x.ns);
}
template <class V>
void fields(V& v, NanoPrice& x) {
  v(x.value);
}
template <class V, class Tag>
void fields(V& v, Id<Tag>& x) {
  v(x.value);
}
template <class V>
void fields(V& v, MemoryNeed& x) {
  v(x.private_bytes, x.shared_bytes);
}
template <class V>
void fields(V& v, KeepWarm& x) {
  v(x.policy, x.min, x.max, x.wait_weight, x.suspend, x.host_cost_permille, x.suspended_max);
}
template <class V>
void fields(V& v, ScaleOn& x) {
  v(x.utilization, x.queue_wait, x.first_token, x.rate_milli);
}
template <class V>
void fields(V& v, ScalePolicy& x) {
  v(x.min_instances, x.max_instances, x.concurrency, x.target_utilization_percent,
    x.scale_up_threshold, x.spare_instances, x.on, x.scale_down_delay, x.scale_to_zero_delay,
    x.keep_warm);
}
template <class V>
void fields(V& v, RequestLimits& x) {
  v(x.max_queued, x.max_queued_per_tenant, x.queue_timeout, x.start_timeout, x.load_stall_timeout,
    x.drain_limit, x.cancel_grace, x.stop_grace, x.suspend_timeout);
}
template <class V>
void fields(V& v, DeviceNeed& x) {
  v(x.kinds, x.labels, x.devices, x.share_permille, x.exclusive);
}
template <class V>
void fields(V& v, DeviceSpec& x) {
  v(x.id, x.name, x.kind, x.memory, x.slots, x.node, x.labels, x.price_per_hour);
}
template <class V>
void fields(V& v, NodeSpec& x) {
  v(x.id, x.host_memory);
}
template <class V>
void fields(V& v, PoolSpec& x) {
  v(x.id, x.name, x.quota_devices, x.pending_limit);
}
template <class V>
void fields(V& v, StoredModel& x) {
  v(x.id, x.bytes, x.pinned);
}
template <class V>
void fields(V& v, StoreSpec& x) {
  v(x.node, x.disk, x.host_memory, x.rest);
}
template <class V>
void fields(V& v, DeploymentSpec& x) {
  v(x.id, x.name, x.scale, x.limits, x.estimate, x.measured, x.weights, x.model, x.needs,
    x.finish_abandoned_load, x.priority, x.pool, x.expected_start, x.can_suspend, x.expected_resume,
    x.suspended_bytes);
}
template <class V>
void fields(V& v, CoreConfig& x) {
  v(x.epoch, x.seed, x.shutdown_limit);
}

template <class V>
void fields(V& v, DeviceAdded& x) {
  v(x.device);
}
template <class V>
void fields(V& v, PoolAdded& x) {
  v(x.pool);
}
template <class V>
void fields(V& v, DeviceLost& x) {
  v(x.device);
}
template <class V>
void fields(V& v, DeviceReturned& x) {
  v(x.device);
}
template <class V>
void fields(V& v, DeploymentAdded& x) {
  v(x.deployment);
}
template <class V>
void fields(V& v, DeploymentChanged& x) {
  v(x.deployment);
}
template <class V>
void fields(V& v, DeploymentRemoved& x) {
  v(x.deployment);
}
template <class V>
void fields(V& v, RequestArrived& x) {
  v(x.request, x.deployment, x.tenant, x.priority, x.deadline, x.cost, x.affinity);
}
template <class V>
void fields(V& v, RequestEnded& x) {
  v(x.request, x.cost);
}
template <class V>
void fields(V& v, RequestCancelled& x) {
  v(x.request);
}
template <class V>
void fields(V& v, RequestUndelivered& x) {
  v(x.request);
}
template <class V>
void fields(V& v, InstancePlaced& x) {
  v(x.instance, x.generation);
}
template <class V>
void fields(V& v, StartOutcomeUnknown& x) {
  v(x.instance, x.generation);
}
template <class V>
void fields(V& v, InstanceUp& x) {
  v(x.instance, x.generation);
}
template <class V>
void fields(V& v, LoadProgressed& x) {
  v(x.instance, x.generation);
}
template <class V>
void fields(V& v, InstanceReady& x) {
  v(x.instance, x.generation, x.measured);
}
template <class V>
void fields(V& v, LoadFailed& x) {
  v(x.instance, x.generation, x.failure);
}
template <class V>
void fields(V& v, InstanceExited& x) {
  v(x.instance, x.generation, x.kind);
}
template <class V>
void fields(V& v, StartFailed& x) {
  v(x.instance, x.generation, x.failure);
}
template <class V>
void fields(V& v, InstanceHung& x) {
  v(x.instance, x.generation, x.kind);
}
template <class V>
void fields(V& v, InstanceUnkillable& x) {
  v(x.instance, x.generation);
}
template <class V>
void fields(V& v, WarmRequested& x) {
  v(x.deployment);
}
template <class V>
void fields(V& v, StopRequested& x) {
  v(x.deployment, x.instance);
}
template <class V>
void fields(V&, ShutdownRequested&) {}
template <class V>
void fields(V&, WokeUp&) {}
template <class V>
void fields(V& v, BoundsChanged& x) {
  v(x.deployment, x.min_instances, x.max_instances);
}
template <class V>
void fields(V& v, TenantWeighed& x) {
  v(x.tenant, x.weight);
}
template <class V>
void fields(V& v, FirstTokenSent& x) {
  v(x.request, x.took);
}
template <class V>
void fields(V& v, KeepWished& x) {
  v(x.deployment, x.idle);
}

template <class V>
void fields(V& v, NodeAdded& x) {
  v(x.node);
}
template <class V>
void fields(V& v, ModelInTier& x) {
  v(x.node, x.model, x.tier, x.bytes);
}
template <class V>
void fields(V& v, ModelLost& x) {
  v(x.node, x.model, x.tier);
}
template <class V>
void fields(V& v, TierLost& x) {
  v(x.node, x.tier);
}
template <class V>
void fields(V& v, StoreAdded& x) {
  v(x.store);
}
template <class V>
void fields(V& v, ModelFetched& x) {
  v(x.node, x.model, x.tier, x.move, x.bytes);
}
template <class V>
void fields(V& v, ModelDropped& x) {
  v(x.node, x.model, x.tier, x.move);
}
template <class V>
void fields(V& v, MoveFailed& x) {
  v(x.node, x.model, x.tier, x.move, x.failure, x.bytes);
}
template <class V>
void fields(V& v, InstanceSuspended& x) {
  v(x.instance, x.generation, x.host_bytes, x.device_bytes);
}
template <class V>
void fields(V& v, SuspendFailed& x) {
  v(x.instance, x.generation, x.failure);
}
template <class V>
void fields(V& v, InstanceResumed& x) {
  v(x.instance, x.generation, x.measured);
}
template <class V>
void fields(V& v, ResumeFailed& x) {
  v(x.instance, x.generation, x.failure);
}

template <class V>
void fields(V& v, StartInstance& x) {
  v(x.instance, x.generation, x.deployment, x.devices, x.pool, x.reason, x.reserved, x.wanted_at,
    x.expected_start, x.from);
}
template <class V>
void fields(V& v, StopInstance& x) {
  v(x.instance, x.generation, x.mode, x.reason, x.grace);
}
template <class V>
void fields(V& v, Dispatch& x) {
  v(x.request, x.instance, x.generation);
}
template <class V>
void fields(V& v, Refuse& x) {
  v(x.request, x.deployment, x.reason, x.retry_after);
}
template <class V>
void fields(V& v, CancelRequest& x) {
  v(x.request, x.instance, x.generation);
}
template <class V>
void fields(V& v, FailRequest& x) {
  v(x.request, x.instance);
}
template <class V>
void fields(V& v, AwaitRoom& x) {
  v(x.instance, x.deployment, x.reason, x.needed, x.most_free, x.unfit);
}

template <class V>
void fields(V& v, SuspendInstance& x) {
  v(x.instance, x.generation, x.reason, x.host_bytes, x.expected_resume, x.expected_start);
}
template <class V>
void fields(V& v, ResumeInstance& x) {
  v(x.instance, x.generation, x.deployment, x.devices, x.reason, x.reserved, x.wanted_at,
    x.expected_resume);
}

template <class V>
void fields(V& v, PrefetchModel& x) {
  v(x.node, x.model, x.tier, x.move, x.reason, x.bytes, x.saves);
}
template <class V>
void fields(V& v, DropModel& x) {
  v(x.node, x.model, x.tier, x.move, x.reason, x.bytes, x.saved);
}
template <class V>
void fields(V& v, PinModel& x) {
  v(x.node, x.model, x.tier, x.pinned);
}
template <class V>
void fields(V& v, RefuseCopy& x) {
  v(x.node, x.model, x.tier, x.reason, x.bytes, x.capacity);
}

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  template <class... T>
  void operator()(T&... values) {
    (put(values), ...);
  }

 private:
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7U) out_ += static_cast<char>(value | 0x80U);
    out_ += static_cast<char>(value);
  }
  template <class T>
  void put(T& value) {
    if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
      number(static_cast<std::uint64_t>(value));
    } else if constexpr (std::is_signed_v<T>) {
      const auto wide = static_cast<std::int64_t>(value);
      number((static_cast<std::uint64_t>(wide) << 1U) ^ static_cast<std::uint64_t>(wide >> 63));
    } else if constexpr (std::is_unsigned_v<T>) {
      number(value);
    } else {
      fields(*this, value);
    }
  }
  void put(std::string& text) {
    number(text.size());
    out_ += text;
  }
  template <class T>
  void put(std::optional<T>& value) {
    number(value ? 1 : 0);
    if (value) put(*value);
  }
  template <class T>
  void put(std::vector<T>& values) {
    number(values.size());
    for (T& each : values) put(each);
  }
  template <class T, std::size_t n>
  void put(std::array<T, n>& values) {
    for (T& each : values) put(each);
  }
  template <class K, class T>
  void put(std::map<K, T>& values) {
    number(values.size());
    for (auto& [key, value] : values) {
      K copy = key;
      put(copy);
      put(value);
    }
  }

  std::string& out_;
};

/// The last of each enumeration: what is beyond is not ours, and the core uses some as an index.
constexpr auto last_of(DeviceKind) {
  return DeviceKind::fake;
}
constexpr auto last_of(KeepWarmPolicy) {
  return KeepWarmPolicy::adaptive;
}
constexpr auto last_of(LoadFailure) {
  return LoadFailure::internal;
}
constexpr auto last_of(ExitKind) {
  return ExitKind::out_of_memory;
}
constexpr auto last_of(StartFailure) {
  return StartFailure::will_stay;
}
constexpr auto last_of(HangKind) {
  return HangKind::breach;
}
constexpr auto last_of(SuspendFailure) {
  return SuspendFailure::outcome_unknown;
}
constexpr auto last_of(MoveFailure) {
  return MoveFailure::error;
}
constexpr auto last_of(Tier) {
  return Tier::remote;
}
static_assert(static_cast<std::size_t>(last_of(DeviceKind{})) + 1 == device_kinds);
static_assert(static_cast<std::size_t>(last_of(Tier{})) + 1 == tiers);

class Reader {
 public:
  explicit Reader(std::string_view& in) : in_(in) {}
  [[nodiscard]] bool good() const { return good_; }
  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) break;
      const auto byte = static_cast<std::uint8_t>(in_.front());
      in_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    good_ = false;
    return 0;
  }

 private:
  template <class T>
  void get(T& value) {
    if constexpr (std::is_enum_v<T>) {
      const std::uint64_t index = number();
      if (index > static_cast<std::uint64_t>(last_of(T{}))) good_ = false;
      value = good_ ? static_cast<T>(index) : T{};
    } else if constexpr (std::is_same_v<T, bool>) {
      value = number() != 0;
    } else if constexpr (std::is_signed_v<T>) {
      const std::uint64_t zigzag = number();
      const std::int64_t wide =
          static_cast<std::int64_t>(zigzag >> 1U) ^ -static_cast<std::int64_t>(zigzag & 1U);
      if (!std::in_range<T>(wide)) good_ = false;
      value = static_cast<T>(wide);
    } else if constexpr (std::is_unsigned_v<T>) {
      value = static_cast<T>(number());
    } else {
      fields(*this, value);
    }
  }
  /// A length that the rest could hold, so that a damaged one allocates nothing.
  std::size_t length() {
    const std::uint64_t n = number();
    if (n > in_.size()) good_ = false;
    return good_ ? static_cast<std::size_t>(n) : 0;
  }
  void get(std::string& text) {
    const std::size_t n = length();
    text.assign(in_.substr(0, n));
    in_.remove_prefix(n);
  }
  template <class T>
  void get(std::optional<T>& value) {
    value.reset();
    if (number() == 0) return;
    get(value.emplace());
  }
  template <class T>
  void get(std::vector<T>& values) {
    values.resize(length());
    for (T& each : values) get(each);
  }
  template <class K, class T>
  void get(std::map<K, T>& values) {
    values.clear();
    for (std::size_t n = length(); n > 0 && good_; --n) {
      K key{};
      get(key);
      get(values[key]);
    }
  }

  std::string_view& in_;
  bool good_ = true;
};

template <class Variant, std::size_t i>
Variant read_one(Reader& reader) {
  std::variant_alternative_t<i, Variant> value{};
  fields(reader, value);
  return value;
}

/// Gives: an alternative of that index, nullopt if there is none.
template <class Variant, std::size_t... i>
std::optional<Variant> read_alternative(Reader& reader, std::uint64_t index,
                                        std::index_sequence<i...> /*all*/) {
  static constexpr std::array readers = {read_one<Variant, i>...};
  if (index >= readers.size()) return std::nullopt;
  return readers[index](reader);
}

template <class Variant>
void write(std::string& out, const Variant& variant) {
  out += static_cast<char>(variant.index());
  Writer writer(out);
  std::visit(
      [&](const auto& value) {
        auto copy = value;  // one list of fields serves reading too, and reading needs references
        fields(writer, copy);
      },
      variant);
}

}  // namespace

void encode(std::string& out, const CoreConfig& config) {
  Writer writer(out);
  CoreConfig copy = config;
  fields(writer, copy);
}

void encode(std::string& out, Instant at, const Event& event) {
  Writer writer(out);
  writer(at);
  write(out, event);
}

void encode(std::string& out, const Action& action) {
  write(out, action);
}

std::optional<CoreConfig> decode_config(std::string_view& bytes) {
  Reader reader(bytes);
  CoreConfig config;
  fields(reader, config);
  return reader.good() ? std::optional(config) : std::nullopt;
}

std::optional<TimedEvent> decode_event(std::string_view& bytes) {
  Reader reader(bytes);
  Instant at;
  reader(at);
  std::optional<Event> event = read_alternative<Event>(
      reader, reader.number(), std::make_index_sequence<std::variant_size_v<Event>>());
  if (!event || !reader.good()) return std::nullopt;
  return TimedEvent{at, *std::move(event)};
}

}  // namespace stoker::core
