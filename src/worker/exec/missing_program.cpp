#include "worker/exec/missing_program.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

namespace stoker::worker {
namespace {

namespace fs = std::filesystem;

/// The first path on the way from `program` that is not there; "" if the way ends at a file.
fs::path broken_link(fs::path program) {
  std::error_code error;
  for (int links = 0; links < 40; ++links) {
    const fs::path target = fs::read_symlink(program, error);
    if (error) break;
    program = (program.parent_path() / target).lexically_normal();
  }
  return fs::exists(program, error) ? fs::path() : program;
}

fs::path interpreter_of(const std::string& program) {
  std::ifstream file(program);
  std::string line;
  std::getline(file, line);
  if (!line.starts_with("#!")) return {};
  const std::size_t begin = line.find_first_not_of(' ', 2);
  if (begin == std::string::npos) return {};
  return line.substr(begin, line.find_first_of(" \t\r", begin) - begin);
}

std::string missing(std::string_view what, const fs::path& path, bool sandboxed) {
  std::string text = fmt::format("{}{} is missing", what, path.string());
  if (sandboxed) {
    text += fmt::format(
        ". If it exists on this machine, the worker's sandbox does not show it: add it, or the "
        "folder of its installation, to readable: (or write sandbox: off)");
  }
  return text;
}

}  // namespace

std::string explain_missing(const std::string& program, bool sandboxed) {
  if (program.find('/') == std::string::npos) {
    const char* path = std::getenv("PATH");
    return fmt::format("; it was looked for in PATH={}: write its whole path in command:",
                       path != nullptr ? path : "");
  }
  const fs::path gone = broken_link(program);
  if (gone == fs::path(program)) return missing("; ", gone, sandboxed);
  if (!gone.empty()) return missing("; it is a link, and ", gone, sandboxed);
  const fs::path interpreter = interpreter_of(program);
  std::error_code ignored;
  if (!interpreter.empty() && !fs::exists(interpreter, ignored)) {
    return missing("; it is a script, and its interpreter ", interpreter, sandboxed);
  }
  return {};
}

}  // namespace stoker::worker
