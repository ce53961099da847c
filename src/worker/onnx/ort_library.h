// ONNX Runtime's shared library, opened at run time: a worker without it starts, says in its
// load_failed what is missing, and nothing links against a version. The API table only grows, so an
// older table works with newer headers (and the other way round for what we call).
// Must never be closed: the library keeps thread-local state that its own exit handlers need.
#pragma once

#include <onnxruntime_c_api.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace stoker::worker::onnx {

/// An object of the C API with its Release function.
template <class T>
using OrtPtr = std::unique_ptr<T, void (*)(T*)>;
template <class T>
OrtPtr<T> own(T* object, void (*release)(T*)) {
  return OrtPtr<T>(object, release);
}

/// What a failed call said. `code` tells whose fault it was.
struct OrtFailure {
  OrtErrorCode code = ORT_OK;
  std::string message;
};
template <class T>
using OrtResult = tl::expected<T, OrtFailure>;

/// The opened library with its environment (log, thread pools), one per process.
class OrtLibrary {
 public:
  /// Looks for the library in this order and opens the first that is named: the file or folder in
  /// `$STOKER_ONNXRUNTIME`; libonnxruntime.so beside the program; the one that `engines.sh`
  /// fetched. Errors: not_found, naming the places; invalid, if it is no ONNX Runtime or an older
  /// one than the API version that we use; unavailable, if it does not initialise. Cost: 50 to 100
  /// ms.
  [[nodiscard]] static Result<OrtLibrary> open();

  [[nodiscard]] const OrtApi& api() const { return *api_; }
  [[nodiscard]] const OrtEnv* env() const { return env_.get(); }
  /// "1.28.2".
  [[nodiscard]] std::string_view version() const { return version_; }

  /// Turns a status into a result and frees it.
  [[nodiscard]] OrtResult<void> check(OrtStatus* status) const;

 private:
  OrtLibrary(const OrtApi* api, std::string_view version)
      : api_(api), version_(version), env_(nullptr, api->ReleaseEnv) {}

  const OrtApi* api_;
  std::string_view version_;
  OrtPtr<OrtEnv> env_;
};

}  // namespace stoker::worker::onnx
