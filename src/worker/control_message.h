// The packets of the control channel: reading the orchestrator's, writing the worker's. Plain
// functions on text; docs/worker-contract.md is the specification.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>

#include "worker/memory_use.h"
#include "worker/runtime.h"

namespace stoker::worker {

inline constexpr int contract_version = 1;
inline constexpr std::size_t max_packet_bytes = 64 << 10;

struct CancelOrder {
  std::string request;
};
struct UnloadOrder {};
struct SuspendOrder {};
struct ResumeOrder {};
struct ShutdownOrder {
  Duration grace;
};
using Order =
    std::variant<LoadOrder, CancelOrder, UnloadOrder, SuspendOrder, ResumeOrder, ShutdownOrder>;

/// What the worker answers with an `error` message.
struct BadOrder {
  std::string_view code;  // "bad_message", "unsupported"
  std::string message;
};
/// Errors: the packet is not an object with a known type and the fields that the type needs.
tl::expected<Order, BadOrder> parse_order(std::string_view packet);

enum class EndReason : std::uint8_t { cancelled, completed, failed, unknown };
[[nodiscard]] const char* to_text(EndReason reason);
[[nodiscard]] const char* to_text(LoadFailure code);

struct Hello {
  std::string_view worker;
  std::string_view nonce;
  std::int64_t pid = 0;
};
[[nodiscard]] std::string hello_packet(const Hello& hello);
[[nodiscard]] std::string loading_packet(std::optional<double> fraction,
                                         std::string_view detail = {});
[[nodiscard]] std::string loaded_packet(MemoryUse memory);
[[nodiscard]] std::string ready_packet(MemoryUse memory, std::string_view endpoint);
[[nodiscard]] std::string load_failed_packet(const LoadError& error);
[[nodiscard]] std::string progress_packet(const WorkerCounters& counters);
[[nodiscard]] std::string ended_packet(std::string_view request, const RequestUsage& usage,
                                       EndReason reason);
[[nodiscard]] std::string unloaded_packet();
[[nodiscard]] std::string suspended_packet(MemoryUse memory);
[[nodiscard]] std::string resumed_packet(MemoryUse memory);
[[nodiscard]] std::string error_packet(std::string_view code, std::string_view message);

}  // namespace stoker::worker
