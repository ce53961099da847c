// A folder of traces that a server recorded, one after the other as it rotated them: read as one.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "sim/workload/combine.h"
#include "sim/workload/readers.h"

namespace stoker::sim {
namespace {

/// The requests of `source`, so much later.
class Later final : public RequestSource {
 public:
  Later(std::unique_ptr<RequestSource> source, Duration by) : source_(std::move(source)), by_(by) {}
  [[nodiscard]] const TraceWorld& world() const override { return source_->world(); }
  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    Result<bool> more = source_->next(out);
    if (more && *more) out.at = out.at + by_;
    return more;
  }

 private:
  std::unique_ptr<RequestSource> source_;
  Duration by_;
};

/// Keeps the time of the whole: a merged world has none of its own.
class Folder final : public RequestSource {
 public:
  Folder(std::unique_ptr<RequestSource> source, WallTime started_at)
      : source_(std::move(source)), started_at_(started_at) {
    look();
  }
  [[nodiscard]] const TraceWorld& world() const override { return world_; }
  [[nodiscard]] Result<bool> next(TraceRequest& out) override {
    Result<bool> more = source_->next(out);
    if (source_->world().deployments.size() != world_.deployments.size() ||
        source_->world().tenants.size() != world_.tenants.size()) {
      look();
    }
    return more;
  }

 private:
  void look() {
    world_ = source_->world();
    world_.started_at = started_at_;
  }
  std::unique_ptr<RequestSource> source_;
  WallTime started_at_;
  TraceWorld world_;
};

}  // namespace

std::vector<std::string> recorded_files(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".jsonl") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

OpenedSource open_recorded_folder(const std::string& path, const TraceOptions& options) {
  std::vector<std::unique_ptr<RequestSource>> sources;
  std::vector<WallTime> starts;
  for (const std::string& file : recorded_files(path)) {
    OpenedSource source = open_stoker_trace(file, options);
    if (!source) return source;
    const std::optional<WallTime> start = (*source)->world().started_at;
    if (!start) {
      return failure(ErrorCode::invalid,
                     fmt::format("{}:1: it does not say when it started (started_at_ms), so its "
                                 "place among the others of the folder is not known",
                                 file),
                     "Name that file itself, not its folder.");
    }
    sources.push_back(std::move(*source));
    starts.push_back(*start);
  }
  const WallTime first = *std::min_element(starts.begin(), starts.end());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sources[i] = std::make_unique<Later>(std::move(sources[i]), Duration{starts[i].ns - first.ns});
  }
  return std::make_unique<Folder>(merge(std::move(sources)), first);
}

}  // namespace stoker::sim
