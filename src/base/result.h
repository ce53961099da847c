// Errors of the world (I/O, processes, peers) as values. Our own bugs are STOKER_INVARIANT;
// a user's mistakes are lists of config::Problem. Exceptions never cross a module border.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace stoker {

/// A new code only when some caller acts differently on it.
enum class ErrorCode {
  invalid,          // the caller's input is wrong and will stay wrong
  not_found,        // what was named does not exist
  no_capacity,      // no room now; later may work
  unavailable,      // the world failed; trying again may work
  outcome_unknown,  // it may or may not have happened
  corrupt,          // data failed a check
  in_use,           // somebody else holds it (port, lock)
};

struct Error {
  ErrorCode code = ErrorCode::unavailable;
  std::string message;  // what happened, with the values
  std::string hint;     // what the reader can do; empty if nothing
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> failure(ErrorCode code, std::string message, std::string hint = {}) {
  return tl::unexpected(Error{code, std::move(message), std::move(hint)});
}

/// Error of the last system call: "WHAT: strerror(errno)".
[[nodiscard]] Error errno_error(std::string what, std::string hint = {});

}  // namespace stoker
