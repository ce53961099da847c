// Opens recorded traffic, in whatever format it is.
//
//   Stoker     JSON lines; the first has "stoker_trace". See docs/trace-format.md. Also a folder of
//              them (*.jsonl) that a server recorded: read as one.
//   Azure      CSV with the head TIMESTAMP,ContextTokens,GeneratedTokens (Azure LLM 2023 and 2024).
//   Mooncake   JSON lines with timestamp (ms), input_length, output_length, hash_ids.
//   ServeGen   a folder of CSV files without a head, one a client: t, rate, CV, distribution and
//   its
//              two parameters. No log but a recipe: requests are drawn from it with a seed.
//
// The kind is told by the content, never by the name. Every error of a file names FILE:LINE.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "sim/workload/token_lengths.h"
#include "sim/workload/trace.h"

namespace stoker::sim {

struct ServeGenOptions {
  /// Times between requests are so many times as long as recorded: 1000 leaves a thousandth of the
  /// requests, as bursty as before. Whoever prints results prints it too.
  double thin = 1.0;
  Duration from;                   // of the recorded time; it becomes 0
  std::optional<Duration> length;  // unset: to the end of what was recorded
  std::uint64_t seed = 1;
  enum class Clients : std::uint8_t { are_deployments, are_tenants };
  Clients clients = Clients::are_deployments;
  TokenLengths input = {.median = 512, .sigma = 1.0, .most = 32'768};  // the folder has none
  TokenLengths output = {.median = 128, .sigma = 0.8, .most = 4'096};
};

struct TraceOptions {
  /// Deployments that the trace names but does not describe; the name is the one of requests that
  /// name none.
  TraceDeployment unknown_deployment = {.name = "model"};
  /// Reads a Stoker trace twice, so that world() is whole from the start and a broken line is found
  /// before a run begins. Without it the world grows as names turn up.
  bool read_ahead = true;
  ServeGenOptions servegen;
};

enum class TraceKind : std::uint8_t { stoker, recorded_folder, azure, mooncake, servegen };

/// Errors: no such file; content of no known kind, with what was found; a wrong first line.
[[nodiscard]] Result<TraceKind> detect_trace(const std::string& path);
/// Errors: those of detect_trace, and of the reader of that kind.
[[nodiscard]] Result<std::unique_ptr<RequestSource>> open_trace(const std::string& path,
                                                                const TraceOptions& options = {});

}  // namespace stoker::sim
