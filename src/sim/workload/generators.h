// Made-up traffic: the shapes that a serverless platform must survive, each from a seed.
//
// The same options give the same requests on every machine. When requests arrive, who sends them
// and what they are like come from separate streams of randomness: a change of one leaves the
// others. Requests of different generators are put together with combine.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "sim/workload/token_lengths.h"
#include "sim/workload/trace.h"

namespace stoker::sim {

/// What the requests are like.
struct RequestMix {
  TraceRoute route = TraceRoute::chat;
  bool stream = true;
  std::int32_t priority = 0;
  TokenLengths input = {.median = 256, .sigma = 1.0, .most = 8192};
  TokenLengths output = {.median = 128, .sigma = 0.8, .most = 2048};
  std::optional<Duration> deadline;
  double gone_share = 0;               // so many clients hang up, at a moment that is
  Duration gone_within = seconds(10);  // uniform over this, from arrival
};

struct GeneratorOptions {
  std::uint64_t seed = 1;
  Duration length = minutes(10);  // requests are in [0, length)
  /// Empty lists stand for one deployment "chat" and one tenant "default".
  TraceWorld world;
  /// How often each is chosen, relative to the others. Empty: all alike.   Needs: as many as there
  /// are deployments / tenants, none negative, not all zero.
  std::vector<double> deployment_weights;
  std::vector<double> tenant_weights;
  RequestMix mix;
};

/// Independent arrivals at one rate.
[[nodiscard]] std::unique_ptr<RequestSource> poisson(double per_second,
                                                     const GeneratorOptions& options);

/// Independent arrivals at a rate that is constant for a while, then another.
struct RateStep {
  double per_second = 0;
  Duration length;
};
/// Called for each next step, without an end; the first begins at 0.  Gives: lengths above 0.
using RateCurve = std::function<RateStep()>;
[[nodiscard]] std::unique_ptr<RequestSource> follow(RateCurve curve,
                                                    const GeneratorOptions& options);

/// A day as a cosine: quiet at 04:00, busiest twelve hours later. In percent of the mean.
inline constexpr std::array<double, 24> office_day = {60,  43,  31,  23,  20,  23,  31,  43,
                                                      60,  79,  100, 121, 140, 157, 169, 177,
                                                      180, 177, 169, 157, 140, 121, 100, 79};
struct DayCurve {
  double mean_per_second = 1;
  std::array<double, 24> hours = office_day;  // at the full hours, in any unit; between them a line
  Duration day = minutes(24 * 60);            // shorter: a day in fast motion
};
[[nodiscard]] std::unique_ptr<RequestSource> day_curve(const DayCurve& curve,
                                                       const GeneratorOptions& options);

/// A steady rate, times `factor` for a while, again and again.
struct Burst {
  double base_per_second = 1;
  double factor = 100;
  Duration first = minutes(1);
  Duration lasting = seconds(5);
  Duration every = minutes(5);  // from begin to begin.  Needs: more than `lasting`
};
[[nodiscard]] std::unique_ptr<RequestSource> burst(const Burst& burst,
                                                   const GeneratorOptions& options);

/// On and off for exponential times, a rate in each: a Markov-modulated Poisson process.
struct OnOff {
  double on_per_second = 10;
  double off_per_second = 0;
  Duration mean_on = seconds(20);
  Duration mean_off = minutes(2);
};
[[nodiscard]] std::unique_ptr<RequestSource> on_off(const OnOff& on_off,
                                                    const GeneratorOptions& options);

/// A thundering herd: so many requests at one instant, again and again.
struct Herd {
  std::int64_t requests = 1000;
  Duration first = seconds(10);
  std::optional<Duration> every;  // unset: once
};
[[nodiscard]] std::unique_ptr<RequestSource> herd(const Herd& herd,
                                                  const GeneratorOptions& options);

/// Many deployments of falling popularity, as `options.world` has none of: model-0000 is the most
/// popular. Devices and tenants of `options` stay; its deployment (if one) describes each of them.
struct ManyModels {
  std::int32_t models = 100;
  double exponent = 1.0;  // Zipf's
  double per_second = 10;
};
[[nodiscard]] std::unique_ptr<RequestSource> many_models(const ManyModels& models,
                                                         const GeneratorOptions& options);

/// One tenant, "huge", has this share of the requests; "small-00" and so on have the rest alike.
struct HugeTenant {
  double huge_share = 0.9;
  std::int32_t small_tenants = 20;
  double per_second = 10;
};
[[nodiscard]] std::unique_ptr<RequestSource> huge_tenant(const HugeTenant& tenants,
                                                         const GeneratorOptions& options);

/// Conversations: each turn's prompt is all that was said before plus a new message, so that its
/// prefix is known to whoever served the turn before. The next turn comes when the answer should
/// have been there (by the deployment's speed) and the person has read it.
struct ChatSessions {
  double sessions_per_second = 0.2;
  double mean_turns = 5;              // geometric, at least 1
  Duration mean_think = seconds(30);  // exponential
  std::int64_t system_tokens = 1024;  // in front of every session of a deployment, all alike
  std::int64_t most_input = 32'768;   // a session that grows beyond it ends
};
/// `options.mix.input` is the length of one message, not of the prompt.
[[nodiscard]] std::unique_ptr<RequestSource> chat_sessions(const ChatSessions& sessions,
                                                           const GeneratorOptions& options);

}  // namespace stoker::sim
