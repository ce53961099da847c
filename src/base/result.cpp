#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace stoker {

Error errno_error(std::string what, std::string hint) {
  const int number = errno;
  ErrorCode code = ErrorCode::unavailable;
  if (number == ENOENT) code = ErrorCode::not_found;
  if (number == EADDRINUSE) code = ErrorCode::in_use;
  if (number == ENOSPC || number == EDQUOT) code = ErrorCode::no_capacity;
  return Error{code, std::move(what) + ": " + std::strerror(number), std::move(hint)};
}

}  // namespace stoker
