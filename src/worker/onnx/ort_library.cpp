#include "worker/onnx/ort_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace stoker::worker::onnx {
namespace {

namespace fs = std::filesystem;

/// Version 28 is ONNX Runtime 1.28, the oldest that we test with.
constexpr std::uint32_t api_version = 28;
constexpr const char* library_name = "libonnxruntime.so";
constexpr const char* hint = "run scripts/engines.sh, or set STOKER_ONNXRUNTIME to the library";

/// An explicit choice stands alone: falling back from it would hide that it is wrong.
std::vector<fs::path> candidates() {
  if (const char* chosen = std::getenv("STOKER_ONNXRUNTIME");
      chosen != nullptr && *chosen != '\0') {
    std::error_code ignored;
    const fs::path path(chosen);
    return {fs::is_directory(path, ignored) ? path / library_name : path};
  }
  std::vector<fs::path> paths;
  std::error_code unknown;
  const fs::path program = fs::read_symlink("/proc/self/exe", unknown);
  if (!unknown) paths.push_back(program.parent_path() / library_name);
  paths.emplace_back(STOKER_ONNXRUNTIME_LIBRARY);
  return paths;
}

}  // namespace

Result<OrtLibrary> OrtLibrary::open() {
  std::string places;
  fs::path found;
  for (const fs::path& path : candidates()) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) {
      found = path;
      break;
    }
    places += fmt::format("{}{}", places.empty() ? "" : ", ", path.string());
  }
  if (found.empty()) {
    return failure(ErrorCode::not_found,
                   fmt::format("ONNX Runtime is not installed; looked at {}", places), hint);
  }
  void* library = ::dlopen(found.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return failure(ErrorCode::invalid, fmt::format("cannot open ONNX Runtime: {}", ::dlerror()),
                   hint);
  }
  using GetApiBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetApiBase>(::dlsym(library, "OrtGetApiBase"));
  if (get_base == nullptr) {
    return failure(ErrorCode::invalid, fmt::format("{} is not ONNX Runtime", found.string()), hint);
  }
  const OrtApiBase* base = get_base();
  const OrtApi* api = base->GetApi(api_version);
  if (api == nullptr) {
    return failure(ErrorCode::invalid,
                   fmt::format("{} is ONNX Runtime {}, 1.{} or newer is needed", found.string(),
                               base->GetVersionString(), api_version),
                   hint);
  }
  OrtLibrary opened(api, base->GetVersionString());
  OrtEnv* env = nullptr;
  // Its warnings are about the models of others and would drown what our log is for.
  if (auto made = opened.check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "stoker", &env)); !made) {
    return failure(ErrorCode::unavailable, "ONNX Runtime does not start: " + made.error().message);
  }
  opened.env_ = own(env, api->ReleaseEnv);
  return opened;
}

OrtResult<void> OrtLibrary::check(OrtStatus* status) const {
  if (status == nullptr) return {};
  OrtFailure failed{api_->GetErrorCode(status), api_->GetErrorMessage(status)};
  api_->ReleaseStatus(status);
  while (failed.message.ends_with('\n')) failed.message.pop_back();
  return tl::unexpected(std::move(failed));
}

}  // namespace stoker::worker::onnx
