#include "sim/workload/open_trace.h"

#include <fmt/format.h>

#include <filesystem>

#include "sim/workload/json_fields.h"
#include "sim/workload/line_reader.h"
#include "sim/workload/readers.h"

namespace stoker::sim {
namespace {

constexpr std::string_view known_kinds =
    "A trace is a Stoker or Mooncake file of JSON lines, a folder of what a server recorded "
    "(*.jsonl), an Azure LLM CSV, or a folder of ServeGen CSVs.";

bool packed(std::string_view line) {
  return line.starts_with(
             "\xfd"
             "7zXZ") ||
         line.starts_with("\x1f\x8b") || line.starts_with("\x28\xb5\x2f\xfd") ||
         line.starts_with("BZh") || line.starts_with("PK\x03\x04");
}

Result<TraceKind> kind_of_json(const LineReader& lines, std::string_view line) {
  bool stoker = false;
  bool request = false;
  bool mooncake = false;
  simdjson::ondemand::parser parser;
  const Problem problem =
      for_each_field_of(parser, line, [&](std::string_view key, const JsonValue&) -> Problem {
        stoker = stoker || key == "stoker_trace";
        request = request || key == "at_ms";
        mooncake = mooncake || key == "input_length" || key == "hash_ids";
        return std::nullopt;
      });
  if (problem) return lines.wrong(*problem);
  if (stoker) return TraceKind::stoker;
  if (mooncake) return TraceKind::mooncake;
  if (request) {
    return lines.wrong("the first line has no \"stoker_trace\"",
                       "Put {\"stoker_trace\": 1} in front as a line of its own.");
  }
  return lines.wrong("neither a Stoker nor a Mooncake trace begins so", std::string(known_kinds));
}

}  // namespace

Result<TraceKind> detect_trace(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return recorded_files(path).empty() ? TraceKind::servegen : TraceKind::recorded_folder;
  }
  Result<LineReader> lines = LineReader::open(path);
  if (!lines) return tl::unexpected(lines.error());
  std::string_view line;
  const Result<bool> any = lines->next(line);
  if (!any) return tl::unexpected(any.error());
  if (!*any) {
    return failure(ErrorCode::invalid, fmt::format("{}: the file is empty", path),
                   std::string(known_kinds));
  }
  if (packed(line)) {
    return failure(ErrorCode::invalid, fmt::format("{}: the file is packed", path),
                   "Unpack it first (tar xf, gunzip, xz -d, unzip).");
  }
  if (line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);  // a byte order mark
  if (line.starts_with("TIMESTAMP,")) return TraceKind::azure;
  if (line.find_first_not_of(" \t") != std::string_view::npos &&
      line[line.find_first_not_of(" \t")] == '{') {
    return kind_of_json(*lines, line);
  }
  return lines->wrong("no known trace begins so", std::string(known_kinds));
}

Result<std::unique_ptr<RequestSource>> open_trace(const std::string& path,
                                                  const TraceOptions& options) {
  const Result<TraceKind> kind = detect_trace(path);
  if (!kind) return tl::unexpected(kind.error());
  switch (*kind) {
    case TraceKind::stoker:
      return open_stoker_trace(path, options);
    case TraceKind::recorded_folder:
      return open_recorded_folder(path, options);
    case TraceKind::azure:
      return open_azure_trace(path, options);
    case TraceKind::mooncake:
      return open_mooncake_trace(path, options);
    case TraceKind::servegen:
      return open_servegen_trace(path, options);
  }
  return failure(ErrorCode::invalid, path + ": no kind of trace");
}

}  // namespace stoker::sim
