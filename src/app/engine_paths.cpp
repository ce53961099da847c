#include "app/engine_paths.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string_view>
#include <system_error>

namespace stoker::app {
namespace {

namespace fs = std::filesystem;

/// As the kernel: more links in a row are a circle.
constexpr int most_links = 40;

bool is_below(const fs::path& path, std::string_view folder) {
  const std::string text = path.string();
  return text.starts_with(folder) && (text.size() == folder.size() || text[folder.size()] == '/');
}

bool is_of_the_system(const fs::path& path) {
  for (const char* folder :
       {"/usr", "/opt", "/nix/store", "/bin", "/sbin", "/lib", "/lib64", "/proc", "/sys", "/dev"}) {
    if (is_below(path, folder)) return true;
  }
  return false;
}

/// A folder that holds more than one installation is not shown as a whole.
bool is_too_wide(const fs::path& folder) {
  constexpr std::array<std::string_view, 13> wide = {
      "/",    "/home", "/root", "/tmp", "/var",   "/var/tmp", "/var/lib",
      "/etc", "/mnt",  "/srv",  "/run", "/media", "/boot"};
  if (std::ranges::find(wide, folder.string()) != wide.end()) return true;
  const char* home = std::getenv("HOME");
  return folder.parent_path() == "/home" ||
         (home != nullptr && folder == fs::path(home).lexically_normal());
}

class EnginePaths {
 public:
  /// The program, every link on the way to it, and the interpreter that its first line names: each
  /// with its installation.
  void add_program(fs::path program) {
    for (int links = 0; links < most_links && programs_.insert(program).second; ++links) {
      add_installation(program);
      std::error_code error;
      const fs::path target = fs::read_symlink(program, error);
      if (error) break;
      program = (program.parent_path() / target).lexically_normal();
    }
    std::error_code error;
    const fs::path real = fs::canonical(program, error);  // links among the folders
    if (!error && programs_.insert(real).second) add_installation(real);
    const fs::path interpreter = interpreter_of(program);
    if (interpreter.is_absolute()) add_program(interpreter.lexically_normal());
  }

  /// A file that the command names, with what lies beside it: a script imports its neighbours.
  void add_argument(const fs::path& path) {
    add(path);
    std::error_code ignored;
    if (!fs::is_directory(path, ignored) && !is_too_wide(path.parent_path())) {
      add(path.parent_path());
    }
  }

  [[nodiscard]] std::vector<std::string> take() const { return {paths_.begin(), paths_.end()}; }

 private:
  void add(const fs::path& path) {
    if (path != "/" && !is_of_the_system(path)) paths_.insert(path.string());
  }

  /// Of /x/venv/bin/vllm it is /x/venv, of /x/engine/server the folder.
  void add_installation(const fs::path& program) {
    const fs::path folder = program.parent_path();
    const fs::path prefix = folder.filename() == "bin" ? folder.parent_path() : folder;
    if (!is_too_wide(prefix)) return add(prefix);
    add(is_too_wide(folder) ? program : folder);
  }

  static fs::path interpreter_of(const fs::path& program) {
    std::ifstream file(program, std::ios::binary);
    std::array<char, 256> begin{};
    file.read(begin.data(), begin.size());
    std::string_view line(begin.data(), static_cast<std::size_t>(file.gcount()));
    if (!line.starts_with("#!")) return {};
    line = line.substr(2, line.find('\n') - 2);
    while (line.starts_with(' ')) line.remove_prefix(1);
    return line.substr(0, line.find_first_of(" \t\r"));
  }

  std::set<fs::path> programs_;
  std::set<std::string> paths_;
};

}  // namespace

std::vector<std::string> engine_paths(const std::vector<std::string>& command) {
  EnginePaths paths;
  for (std::size_t i = 0; i < command.size(); ++i) {
    const fs::path word = command[i];
    if (!word.is_absolute()) continue;  // a program is then found by PATH, in /usr
    std::error_code ignored;
    if (i == 0) {
      paths.add_program(word);
    } else if (fs::exists(word, ignored)) {
      paths.add_argument(word);
    }
  }
  return paths.take();
}

}  // namespace stoker::app
