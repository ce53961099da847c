// A workload trace in memory: the world it was recorded in, and requests, one at a time.
//
// The simulator and the planner run on RequestSources and do not care whether one reads a file
// (open_trace.h), makes requests up (generators.h) or combines others (combine.h). Requests stream:
// ten million of them never stand in memory together. Must never hold a prompt, an answer, a key or
// an address. The file format is in docs/trace-format.md: where a field is missing there, the
// initialisers below are its default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/money.h"
#include "base/result.h"
#include "base/units.h"

namespace stoker::sim {

struct TraceDevice {
  std::string name;          // empty: it has none, as in most traces
  std::string kind = "cpu";  // as in the configuration; a recorder may know more kinds than we do
  Bytes memory = gib(16);
  std::int32_t slots = 0;  // instances at once; 0: as many as memory allows
  NanoPrice price_per_hour;
  bool operator==(const TraceDevice&) const = default;
};

struct TraceDeployment {
  std::string name;
  Bytes memory = {2'000'000'000};   // of one instance, weights included
  Bytes weights = {1'800'000'000};  // the part that instances on one device share
  Duration start = ms(40);          // spawn to hello
  Duration load = ms(900);          // hello to ready
  std::int32_t concurrency = 4;     // requests at once in one instance
  double prefill_tokens_per_s = 3000;
  double decode_tokens_per_s = 45;
  Duration request;  // what each request takes beside its tokens
  bool operator==(const TraceDeployment&) const = default;
};

/// The routes that run a model; `other` is one that a newer recorder knows.
enum class TraceRoute : std::uint8_t {
  chat,
  completions,
  embeddings,
  rerank,
  responses,
  messages,
  count_tokens,
  infer,
  invoke,
  other,
};
/// How the recorded request ended, which a simulation may compare itself to.
enum class TraceOutcome : std::uint8_t {
  unknown,
  completed,
  failed,
  cancelled,
  expired,
  refused,
  interrupted,
};
[[nodiscard]] std::string_view to_text(TraceRoute route);
[[nodiscard]] std::string_view to_text(TraceOutcome outcome);
[[nodiscard]] TraceRoute route_from_text(std::string_view text);      // `other` if it is none
[[nodiscard]] TraceOutcome outcome_from_text(std::string_view text);  // `unknown` if it is none

/// Whether the recorded request waited for a start.
enum class TraceStart : std::uint8_t { none, warm, cold, resumed };  // none: it never ran
[[nodiscard]] std::string_view to_text(TraceStart start);
[[nodiscard]] TraceStart start_from_text(std::string_view text);  // `none` if it is none

/// Where the time of a recorded request went, as on its receipt: consecutive intervals of its own
/// wait and the first one of its run. TraceRequest::service is its whole run.
struct TraceReceipt {
  TraceStart start = TraceStart::none;
  std::string instance;  // "chat/3", unique in one life of the server; empty: it never ran
  Duration queue;
  Duration allocate;
  Duration starting;  // "start_ms"
  Duration load;
  Duration warmup;
  Duration ttft;
  bool operator==(const TraceReceipt&) const = default;

  /// From arrival to its dispatch, or to its end if it never ran.
  [[nodiscard]] Duration wait() const { return queue + allocate + starting + load + warmup; }
};

/// The text that one id in TraceRequest::prefix stands for, as in Mooncake's traces.
inline constexpr std::int64_t prefix_block_tokens = 512;

struct TraceRequest {
  Duration at;                        // from the start of the trace
  std::uint32_t deployment = 0;       // index in TraceWorld::deployments
  std::uint32_t tenant = 0;           // index in TraceWorld::tenants
  std::uint64_t session = 0;          // a hash; 0: it belongs to none
  std::vector<std::uint64_t> prefix;  // blocks of the prompt from its front: equal ids, equal text
  TraceRoute route = TraceRoute::chat;
  bool stream = false;
  std::int32_t priority = 0;  // larger is served first
  std::int64_t input_tokens = 256;
  std::int64_t output_tokens = 128;
  std::optional<Duration> service;     // time on the device, where it is known
  std::optional<Duration> deadline;    // from arrival
  std::optional<Duration> gone_after;  // from arrival: the client hangs up then, unless it is done
  TraceOutcome outcome = TraceOutcome::unknown;
  std::string id;                       // the server's name for it; empty: not known
  std::optional<TraceReceipt> receipt;  // only a server that recorded it knows
  bool operator==(const TraceRequest&) const = default;

  /// As newly made, but the memory of `prefix` and `id` is kept.
  void clear();
};

struct TraceWorld {
  std::vector<TraceDevice> devices;  // empty: the trace does not say
  std::vector<TraceDeployment> deployments;
  std::vector<std::string> tenants;
  std::optional<WallTime> started_at;  // when at_ms was 0
  bool operator==(const TraceWorld&) const = default;
};

class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// Gives: what is known so far. A file that is read only once may name a deployment or a tenant
  /// for the first time in a request: then the lists grow at their ends, and indices stay.
  [[nodiscard]] virtual const TraceWorld& world() const = 0;
  /// Overwrites all of `out` with the next request. Times never go back.
  /// Gives: false at the end, and `out` says nothing.
  [[nodiscard]] virtual Result<bool> next(TraceRequest& out) = 0;

 protected:
  RequestSource() = default;
  RequestSource(const RequestSource&) = default;
  RequestSource& operator=(const RequestSource&) = default;
};

/// How long the request keeps one of its instance's places: as recorded, or modelled_time().
/// At most 100 years.
[[nodiscard]] Duration service_time(const TraceRequest& request, const TraceDeployment& deployment);
/// What each request takes, the tokens in over the speed of reading and the tokens out over the
/// speed of writing. At most 100 years.
[[nodiscard]] Duration modelled_time(const TraceRequest& request,
                                     const TraceDeployment& deployment);

}  // namespace stoker::sim
