// Why can a program not be run that the user sees with his own eyes? Because of a link that leads
// nowhere, an interpreter that is not there, or a sandbox that does not show it.
#pragma once

#include <string>

namespace stoker::worker {

/// Words that follow "PROGRAM: No such file or directory"; may be "".
/// `program`: as in the command; without a slash it was looked for in PATH.
[[nodiscard]] std::string explain_missing(const std::string& program, bool sandboxed);

}  // namespace stoker::worker
