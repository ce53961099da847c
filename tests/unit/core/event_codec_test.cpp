// Events and configurations as bytes: every field of every event comes back, and bytes that are cut
// off, damaged or not ours are refused without reading past their end.
#include "core/event_codec.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <concepts>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "aggregate_members.h"

namespace stoker::core {
namespace {

template <class T>
struct Fill {  // a plain struct: each of its members
  static T any() {
    T x{};
    std::apply(
        [](auto&... member) {
          ((member = Fill<std::remove_reference_t<decltype(member)>>::any()), ...);
        },
        members_of(x));
    return x;
  }
};
template <class T>
  requires std::integral<T>
struct Fill<T> {
  static T any() { return *rc::gen::arbitrary<T>(); }
};
template <class T>
  requires std::is_enum_v<T>
struct Fill<T> {
  static T any() { return static_cast<T>(*rc::gen::inRange(0, 2)); }  // each has two or more
};
template <>
struct Fill<std::string> {
  static std::string any() { return *rc::gen::arbitrary<std::string>(); }
};
template <class T>
struct Fill<std::optional<T>> {
  static std::optional<T> any() {
    return *rc::gen::arbitrary<bool>() ? std::optional(Fill<T>::any()) : std::nullopt;
  }
};
template <class T>
struct Fill<std::vector<T>> {
  static std::vector<T> any() {
    std::vector<T> all(*rc::gen::inRange<std::size_t>(0, 4));
    for (T& each : all) each = Fill<T>::any();
    return all;
  }
};
template <class K, class T>
struct Fill<std::map<K, T>> {
  static std::map<K, T> any() {
    std::map<K, T> all;
    for (int i = *rc::gen::inRange(0, 3); i > 0; --i) all[Fill<K>::any()] = Fill<T>::any();
    return all;
  }
};

template <class K, class T>
bool same(const std::map<K, T>& a, const std::map<K, T>& b);
template <class T>
bool same(const T& a, const T& b) {
  if constexpr (std::equality_comparable<T>) {
    return a == b;
  } else {
    return [&]<std::size_t... i>(std::index_sequence<i...>) {
      return (same(std::get<i>(members_of(a)), std::get<i>(members_of(b))) && ...);
    }(std::make_index_sequence<member_count<T>>());
  }
}
template <class K, class T>
bool same(const std::map<K, T>& a, const std::map<K, T>& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a) {
    if (!b.contains(key) || !same(value, b.at(key))) return false;
  }
  return true;
}

/// Calls `visit(event)` with one of each kind, filled anew.
template <class Visit>
void for_each_kind(Visit&& visit) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (visit(Fill<std::variant_alternative_t<i, Event>>::any()), ...);
  }(std::make_index_sequence<std::variant_size_v<Event>>());
}

static_assert(member_count<DeploymentSpec> >= 12 && member_count<ShutdownRequested> == 0 &&
              member_count<ScalePolicy> >= 10 && member_count<BoundsChanged> >= 3);

TEST(EventCodec, EveryFieldOfEveryEventComesBack) {
  rc::check([] {
    for_each_kind([](const auto& event) {
      using Kind = std::remove_cvref_t<decltype(event)>;
      const Instant at{*rc::gen::arbitrary<std::int64_t>()};
      std::string bytes;
      encode(bytes, at, event);
      bytes += "rest";
      std::string_view left = bytes;
      const std::optional<TimedEvent> back = decode_event(left);
      RC_ASSERT(back.has_value());
      RC_ASSERT(left == "rest");
      RC_ASSERT(back->at == at);
      RC_ASSERT(std::holds_alternative<Kind>(back->event));
      RC_ASSERT(same(event, std::get<Kind>(back->event)));
    });
  });
}

TEST(EventCodec, AConfigurationComesBack) {
  rc::check([] {
    const CoreConfig config = Fill<CoreConfig>::any();
    std::string bytes;
    encode(bytes, config);
    std::string_view left = bytes;
    const std::optional<CoreConfig> back = decode_config(left);
    RC_ASSERT(back && left.empty());
    RC_ASSERT(same(config, *back));
  });
}

TEST(EventCodec, WhatIsCutOffIsRefused) {
  rc::check([] {
    for_each_kind([](const auto& event) {
      std::string bytes;
      encode(bytes, Instant{1}, event);
      for (std::size_t length = 0; length < bytes.size(); ++length) {
        std::string_view cut = std::string_view(bytes).substr(0, length);
        RC_ASSERT(!decode_event(cut));
      }
    });
  });
  std::string bytes;
  encode(bytes, CoreConfig{Epoch{300}, 7, seconds(1)});
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    std::string_view cut = std::string_view(bytes).substr(0, length);
    EXPECT_FALSE(decode_config(cut)) << length;
  }
}

/// Nothing beyond an enumeration gets in: the core uses some as an index.
TEST(EventCodec, DamagedBytesAreRefusedOrAnEventOfOurs) {
  rc::check([] {
    for_each_kind([](const auto& event) {
      std::string bytes;
      encode(bytes, Instant{1}, event);
      for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
        bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
      }
      std::string_view left = bytes;
      const std::optional<TimedEvent> back = decode_event(left);
      if (!back) return;
      RC_ASSERT(left.size() < bytes.size());
      std::string again;
      encode(again, back->at, back->event);
      std::string_view again_left = again;
      RC_ASSERT(decode_event(again_left).has_value());
    });
  });
}

TEST(EventCodec, WhatIsNotOursIsRefused) {
  const std::string at(1, '\0');
  const std::string endless_number(11, '\xff');
  struct Case {
    const char* name;
    std::string bytes;
  };
  std::string unknown_device_kind;
  {
    DeviceAdded added;
    added.device.kind = static_cast<DeviceKind>(3);
    encode(unknown_device_kind, Instant{}, added);
  }
  std::string unknown_policy;
  {
    DeploymentChanged changed;
    changed.deployment.scale.keep_warm.policy = static_cast<KeepWarmPolicy>(3);
    encode(unknown_policy, Instant{}, changed);
  }
  std::string unknown_load_failure, unknown_exit, unknown_start_failure, unknown_hang;
  encode(unknown_load_failure, Instant{}, LoadFailed{{}, {}, static_cast<LoadFailure>(6)});
  encode(unknown_exit, Instant{}, InstanceExited{{}, {}, static_cast<ExitKind>(3)});
  encode(unknown_start_failure, Instant{}, StartFailed{{}, {}, static_cast<StartFailure>(2)});
  encode(unknown_hang, Instant{}, InstanceHung{{}, {}, static_cast<HangKind>(3)});
  const Case cases[] = {
      {"nothing", ""},
      {"a number without an end", endless_number},
      {"a kind of event that there is not", at + static_cast<char>(std::variant_size_v<Event>)},
      {"a kind beyond a byte", at + endless_number},
      {"a name longer than what is left", at + '\0' + '\x01' + '\x7f' + "cpu0"},
      {"a kind of device", unknown_device_kind},
      {"a policy", unknown_policy},
      {"a failure of a load", unknown_load_failure},
      {"a way to exit", unknown_exit},
      {"a failure of a start", unknown_start_failure},
      {"a way to hang", unknown_hang},
  };
  for (const Case& c : cases) {
    std::string_view left = c.bytes;
    EXPECT_FALSE(decode_event(left)) << c.name;
  }
}

TEST(EventCodec, ALengthThatIsALieAllocatesNothing) {
  // A device with 2^62 labels: more than there are bytes.
  std::string bytes;
  encode(bytes, Instant{}, DeviceAdded{});
  bytes.resize(bytes.size() - 2);  // its labels: none, and its price: 0
  bytes += std::string(8, '\xff') + '\x3f';
  std::string_view left = bytes;
  EXPECT_FALSE(decode_event(left));
}

/// Orders are compared as bytes, so two that differ in any field must differ there.
TEST(EventCodec, OrdersThatDifferHaveOtherBytes) {
  const auto bytes_of = [](const Action& action) {
    std::string bytes;
    encode(bytes, action);
    return bytes;
  };
  const StartInstance start{.instance = InstanceId{1},
                            .generation = Generation{2},
                            .deployment = DeploymentId{3},
                            .devices = {DeviceId{4}},
                            .pool = {},
                            .reason = StartReason::from_zero,
                            .reserved = {mib(1), mib(2)},
                            .wanted_at = Instant{5},
                            .expected_start = seconds(6)};
  const StopInstance stop{InstanceId{1}, Generation{2}, StopMode::graceful, StopReason::idle, {}};
  const Refuse refuse{RequestId{1}, DeploymentId{2}, RefuseReason::queue_full, seconds(1)};
  const AwaitRoom await{InstanceId{1}, DeploymentId{2}, WaitReason::all_busy, mib(3), mib(4), {}};
  const auto changed = [](auto action, auto change) {
    change(action);
    return Action(action);
  };
  const std::vector<Action> all = {
      start,
      changed(start, [](auto& a) { a.instance.value = 9; }),
      changed(start, [](auto& a) { a.generation.value = 9; }),
      changed(start, [](auto& a) { a.deployment.value = 9; }),
      changed(start, [](auto& a) { a.devices[0].value = 9; }),
      changed(start, [](auto& a) { a.devices.push_back(DeviceId{9}); }),
      changed(start, [](auto& a) { a.pool.value = 9; }),
      changed(start, [](auto& a) { a.reason = StartReason::spare; }),
      changed(start, [](auto& a) { a.reserved.private_bytes = mib(9); }),
      changed(start, [](auto& a) { a.reserved.shared_bytes = mib(9); }),
      changed(start, [](auto& a) { a.wanted_at.ns = -5; }),
      changed(start, [](auto& a) { a.expected_start.ns = 9; }),
      stop,
      changed(stop, [](auto& a) { a.mode = StopMode::kill; }),
      changed(stop, [](auto& a) { a.reason = StopReason::hung; }),
      changed(stop, [](auto& a) { a.grace.ns = 9; }),
      Dispatch{RequestId{1}, InstanceId{2}, Generation{3}},
      CancelRequest{RequestId{1}, InstanceId{2}, Generation{3}},
      FailRequest{RequestId{1}, InstanceId{2}},
      FailRequest{RequestId{2}, InstanceId{1}},
      refuse,
      changed(refuse, [](auto& a) { a.reason = RefuseReason::removed; }),
      changed(refuse, [](auto& a) { a.retry_after.ns = 9; }),
      await,
      changed(await, [](auto& a) { a.reason = WaitReason::quota; }),
      changed(await, [](auto& a) { a.needed = mib(9); }),
      changed(await, [](auto& a) { a.most_free = mib(9); }),
      changed(await, [](auto& a) { a.unfit[8] = 1; }),
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(bytes_of(all[i]), bytes_of(all[i])) << i;
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(bytes_of(all[i]), bytes_of(all[j])) << i << j;
  }
}

}  // namespace
}  // namespace stoker::core
