// The readers behind open_trace(), one a format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/workload/open_trace.h"
#include "sim/workload/trace.h"

namespace stoker::sim {

using OpenedSource = Result<std::unique_ptr<RequestSource>>;

[[nodiscard]] OpenedSource open_stoker_trace(const std::string& path, const TraceOptions& options);
[[nodiscard]] OpenedSource open_azure_trace(const std::string& path, const TraceOptions& options);
[[nodiscard]] OpenedSource open_mooncake_trace(const std::string& path,
                                               const TraceOptions& options);
/// `path` is a folder with at least one of recorded_files().
[[nodiscard]] OpenedSource open_recorded_folder(const std::string& path,
                                                const TraceOptions& options);
/// Gives: its files that end in .jsonl, by name.
[[nodiscard]] std::vector<std::string> recorded_files(const std::string& folder);
/// `path` is a folder.
[[nodiscard]] OpenedSource open_servegen_trace(const std::string& path,
                                               const TraceOptions& options);

}  // namespace stoker::sim
