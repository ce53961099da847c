// Files that vanish with the test, and sources read to their end.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fnv1a.h"
#include "sim/workload/open_trace.h"
#include "sim/workload/trace.h"
#include "support/temp_dir.h"

namespace stoker::sim {

class TempFolder {
 public:
  /// Gives: the path of a new file with this content.
  [[nodiscard]] std::string file(const std::string& name, std::string_view content) const {
    const std::filesystem::path path = dir_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  [[nodiscard]] std::string path() const { return dir_.path().string(); }

 private:
  TempDir dir_;
};

inline std::vector<TraceRequest> all_of(RequestSource& source) {
  std::vector<TraceRequest> requests;
  TraceRequest request;
  request.prefix = {99};  // what was there must be overwritten
  request.session = 99;
  for (;;) {
    const Result<bool> more = source.next(request);
    if (!more) {
      ADD_FAILURE() << more.error().message;
      return requests;
    }
    if (!*more) return requests;
    requests.push_back(request);
  }
}

inline std::unique_ptr<RequestSource> opened(const std::string& path,
                                             const TraceOptions& options = {}) {
  Result<std::unique_ptr<RequestSource>> source = open_trace(path, options);
  if (!source) {
    ADD_FAILURE() << source.error().message << " | " << source.error().hint;
    std::abort();
  }
  return std::move(*source);
}

/// One number for a whole sequence.
inline std::uint64_t hash_of(RequestSource& source) {
  std::uint64_t hash = 0;
  const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3ULL; };
  const auto add_signed = [&](std::int64_t value) { add(static_cast<std::uint64_t>(value)); };
  for (const TraceRequest& r : all_of(source)) {
    add_signed(r.at.ns);
    add(r.deployment);
    add(r.tenant);
    add(r.session);
    for (const std::uint64_t id : r.prefix) add(id);
    add_signed(r.input_tokens);
    add_signed(r.output_tokens);
    add_signed(r.gone_after ? r.gone_after->ns : -1);
  }
  return hash;
}

struct Gaps {
  double mean_s = 0;
  double cv = 0;  // deviation over mean
};
inline Gaps gaps_of(const std::vector<TraceRequest>& requests) {
  double sum = 0;
  double squares = 0;
  for (std::size_t i = 1; i < requests.size(); ++i) {
    const double gap = static_cast<double>((requests[i].at - requests[i - 1].at).ns) * 1e-9;
    sum += gap;
    squares += gap * gap;
  }
  const double count = static_cast<double>(requests.size() - 1);
  const double mean = sum / count;
  return {mean, std::sqrt(squares / count - mean * mean) / mean};
}

}  // namespace stoker::sim
