#include "backend/process/sandbox.h"

#include <fmt/format.h>
#include <glob.h>
#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "backend/process/spawn.h"

namespace stoker::backend {
namespace {

/// What programs need of the system itself. /etc by name: the rest of it holds secrets.
constexpr std::array system_folders{"/usr", "/opt", "/nix/store"};
constexpr std::array system_links{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
constexpr std::array system_files{"/etc/alternatives", "/etc/ca-certificates",
                                  "/etc/group",        "/etc/hosts",
                                  "/etc/ld.so.cache",  "/etc/ld.so.conf",
                                  "/etc/ld.so.conf.d", "/etc/localtime",
                                  "/etc/mime.types",   "/etc/nsswitch.conf",
                                  "/etc/OpenCL",       "/etc/passwd",
                                  "/etc/pki",          "/etc/ssl",
                                  "/etc/vulkan"};

void append(std::vector<std::string>& list, std::initializer_list<std::string_view> words) {
  list.insert(list.end(), words.begin(), words.end());
}

void append_system(std::vector<std::string>& list) {
  for (const char* folder : system_folders) append(list, {"--ro-bind-try", folder, folder});
  for (const char* path : system_links) {
    std::array<char, 256> target{};
    const ssize_t length = ::readlink(path, target.data(), target.size());
    if (length > 0) {
      append(list, {"--symlink", {target.data(), static_cast<std::size_t>(length)}, path});
    } else {
      append(list, {"--ro-bind-try", path, path});  // a system without merged /usr
    }
  }
  for (const char* file : system_files) append(list, {"--ro-bind-try", file, file});
  append(list, {"--ro-bind", "/sys", "/sys"});
}

void append_namespaces(std::vector<std::string>& list, bool network) {
  append(list, {"--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc",
                "--unshare-uts", "--unshare-cgroup-try", "--hostname", "worker"});
  if (!network) append(list, {"--unshare-net"});
  append(list, {"--cap-drop", "ALL"});
  // Read-only as a whole: bubblewrap covers /proc/sys only where it looks writable to it, and for
  // root without capabilities it does not, though the kernel lets root write core_pattern.
  append(list, {"--proc", "/proc", "--remount-ro", "/proc"});
  append(list, {"--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"});
}

void append_cuda(std::vector<std::string>& list) {
  for (const char* pattern : {"/dev/nvidia*", "/dev/dxg"}) {
    glob_t found{};
    if (::glob(pattern, 0, nullptr, &found) == 0) {
      for (std::size_t i = 0; i < found.gl_pathc; ++i) {
        append(list, {"--dev-bind-try", found.gl_pathv[i], found.gl_pathv[i]});
      }
    }
    ::globfree(&found);
  }
}

bool is_below(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

struct Binding {
  std::string path;
  bool writable = false;
  auto operator<=>(const Binding&) const = default;
};

void append_bindings(std::vector<std::string>& list, const SandboxSpec& spec,
                     const SandboxPaths& paths) {
  std::vector<Binding> bindings;
  if (!paths.program_dir.empty()) bindings.push_back({paths.program_dir, false});
  for (const std::string& path : spec.readable_paths) bindings.push_back({path, false});
  for (const std::string& path : spec.writable_paths) bindings.push_back({path, true});
  // By path, so that a folder comes before what lies in it and does not cover it.
  std::sort(bindings.begin(), bindings.end());
  for (const Binding& binding : bindings) {
    append(list, {binding.writable ? "--bind" : "--ro-bind-try", binding.path, binding.path});
    if (is_below(paths.state_dir, binding.path)) append(list, {"--tmpfs", paths.state_dir});
    for (const std::string& file : spec.hidden_files) {
      // Gone meanwhile, it needs no cover, and bubblewrap could not make one.
      if (is_below(file, binding.path) && ::access(file.c_str(), F_OK) == 0) {
        append(list, {"--ro-bind", "/dev/null", file});
      }
    }
  }
}

}  // namespace

SandboxState probe_sandbox() {
  SandboxState state;
  for (const char* path : {"/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"}) {
    if (::access(path, X_OK) == 0) {
      state.program = path;
      break;
    }
  }
  if (state.program.empty()) {
    state.detail = "bubblewrap is not installed";
    return state;
  }
  std::vector<std::string> arguments = sandbox_arguments(
      state.program, {}, {}, {.state_dir = "/nonexistent", .program_dir = {}}, {});
  append(arguments, {"/usr/bin/true"});
  const Result<CommandOutput> run = run_command(arguments, 5000);
  if (run && run->exit_code == 0) {
    const Result<CommandOutput> version = run_command({state.program, "--version"}, 5000);
    state.works = true;
    state.detail = version ? version->text.substr(0, version->text.find('\n')) : "bubblewrap";
  } else {
    state.detail = run ? run->text.substr(0, run->text.find('\n')) : run.error().message;
  }
  return state;
}

Result<void> check_sandbox_paths(const SandboxSpec& spec) {
  for (const std::vector<std::string>* paths : {&spec.readable_paths, &spec.writable_paths}) {
    for (const std::string& path : *paths) {
      if (!path.starts_with('/') || path == "/") {
        return failure(ErrorCode::invalid,
                       fmt::format("sandbox path '{}' must be absolute and not the root", path));
      }
      // A file to read that is not there is the worker's to report: it knows that it is its model.
      if (paths == &spec.writable_paths && ::access(path.c_str(), F_OK) != 0) {
        return tl::unexpected(errno_error(fmt::format("sandbox path '{}'", path)));
      }
    }
  }
  return {};
}

std::vector<std::string> sandbox_arguments(const std::string& program, const SandboxSpec& spec,
                                           const DeviceBinding& device, const SandboxPaths& paths,
                                           SandboxDescriptors descriptors) {
  std::vector<std::string> list{program};
  if (descriptors.info >= 0) append(list, {"--info-fd", std::to_string(descriptors.info)});
  if (descriptors.block >= 0) append(list, {"--block-fd", std::to_string(descriptors.block)});
  append_system(list);
  append_namespaces(list, spec.network);
  if (spec.network) append(list, {"--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"});
  if (device.kind == DeviceBinding::Kind::cuda) append_cuda(list);
  append_bindings(list, spec, paths);
  append(list, {"--"});
  return list;
}

pid_t parse_sandbox_info(std::string_view json) {
  simdjson::dom::parser parser;
  std::int64_t pid = 0;
  if (parser.parse(json.data(), json.size())["child-pid"].get(pid) != simdjson::SUCCESS) return 0;
  return static_cast<pid_t>(pid);
}

}  // namespace stoker::backend
