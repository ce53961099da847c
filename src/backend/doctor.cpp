#include "backend/doctor.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <memory>

#include "backend/devices/devices.h"
#include "backend/devices/nvml.h"
#include "backend/process/cgroup.h"
#include "backend/process/proc_fs.h"
#include "backend/process/sandbox.h"
#include "base/text.h"

namespace stoker::backend {
namespace {

constexpr rlim_t few_descriptors = 4096;
constexpr Bytes little_disk = gib(10);
constexpr Bytes little_locked = mib(64);

Fact ok(std::string check, std::string detail) {
  return {std::move(check), FactState::ok, std::move(detail), {}};
}
Fact warn(std::string check, std::string detail, std::string hint) {
  return {std::move(check), FactState::warn, std::move(detail), std::move(hint)};
}
Fact fail(std::string check, std::string detail, std::string hint) {
  return {std::move(check), FactState::fail, std::move(detail), std::move(hint)};
}

Fact sandbox_fact() {
  const SandboxState state = probe_sandbox();
  if (state.works) return ok("sandbox", state.detail);
  return warn("sandbox", state.detail,
              state.program.empty()
                  ? "apt-get install bubblewrap; until then workers see the whole machine"
                  : "workers see the whole machine until user namespaces are allowed");
}

Fact user_namespace_fact() {
  const std::string text = read_small_file("/proc/sys/user/max_user_namespaces").value_or("0");
  std::int64_t allowed = 0;
  std::from_chars(text.data(), text.data() + text.size(), allowed);
  if (allowed > 0) return ok("user_namespaces", fmt::format("{} allowed", allowed));
  return warn("user_namespaces", "none allowed", "sysctl user.max_user_namespaces=16384");
}

/// Whether groups could be made in `place`; nothing is made.
Fact cgroup_fact(const char* controller, const std::string& place, bool version2) {
  std::string check = fmt::format("cgroup.{}", controller);
  const std::string hint =
      "run as a systemd service with Delegate=yes; until then limits are not enforced";
  if (place.empty()) return warn(std::move(check), "not mounted", hint);
  if (::access(place.c_str(), W_OK) != 0) {
    return warn(std::move(check), fmt::format("{} is not writable", place), hint);
  }
  const std::string listed = read_small_file(place + "/cgroup.controllers").value_or("");
  if (version2 && listed.find(controller) == std::string::npos) {
    return warn(std::move(check), fmt::format("not delegated to {}", place), hint);
  }
  return ok(std::move(check), fmt::format("version {}, {}", version2 ? 2 : 1, place));
}

Fact descriptor_fact() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string detail = fmt::format("{} (at most {})", limit.rlim_cur, limit.rlim_max);
  if (limit.rlim_cur >= few_descriptors) return ok("open_files", detail);
  return warn("open_files", detail, "raise it: ulimit -n 65536, or LimitNOFILE= of the service");
}

Fact locked_memory_fact() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return ok("locked_memory", "unlimited");
  const Bytes bytes{static_cast<std::int64_t>(limit.rlim_cur)};
  if (bytes >= little_locked) return ok("locked_memory", to_text(bytes));
  return warn("locked_memory", to_text(bytes),
              "weights cannot be pinned in memory: ulimit -l unlimited, or LimitMEMLOCK=infinity");
}

Fact huge_page_fact() {
  const std::string text =
      read_small_file("/sys/kernel/mm/transparent_hugepage/enabled").value_or("");
  const std::size_t begin = text.find('[');
  const std::size_t end = text.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) {
    return warn("huge_pages", "the kernel has none", "large models load more slowly");
  }
  const std::string mode = text.substr(begin + 1, end - begin - 1);
  if (mode != "never") return ok("huge_pages", mode);
  return warn("huge_pages", mode,
              "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled: loads get faster");
}

Fact instruction_fact() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
    return ok("instructions", "AVX2, FMA");
  }
  return fail("instructions", "no AVX2 or no FMA",
              "the workers are built for AVX2; rebuild the engines for this machine");
#else
  return ok("instructions", "not x86-64; the engines use what the compiler was told");
#endif
}

Fact disk_fact(const std::string& state_dir) {
  std::filesystem::path folder(state_dir);
  std::error_code ignored;
  while (folder.has_relative_path() && !std::filesystem::exists(folder, ignored)) {
    folder = folder.parent_path();
  }
  struct statvfs status{};
  if (::statvfs(folder.c_str(), &status) != 0) {
    return fail("disk", errno_error(folder.string()).message, "choose another state_dir");
  }
  const Bytes free{static_cast<std::int64_t>(status.f_bavail * status.f_frsize)};
  const std::string detail = fmt::format("{} free at {}", to_text(free), folder.string());
  if (::access(folder.c_str(), W_OK) != 0) {
    return fail("disk", fmt::format("{} is not writable", folder.string()),
                "choose another state_dir");
  }
  if (free >= little_disk) return ok("disk", detail);
  return warn("disk", detail, "models and logs need room; free some or choose another state_dir");
}

Fact device_fact(const std::string& nvml_library) {
  const Result<DeviceProbe> probe = probe_devices({.requests = {}, .nvml_library = nvml_library});
  if (!probe) return fail("devices", probe.error().message, probe.error().hint);
  std::string detail;
  for (const Device& device : probe->devices) {
    detail += fmt::format("{}{}: {}, {}", detail.empty() ? "" : "; ", device.id, device.model,
                          to_text(device.memory));
  }
  return ok("devices", detail);
}

Fact nvml_fact(const std::string& nvml_library) {
  const Result<std::unique_ptr<NvmlReader>> nvml = NvmlReader::open(nvml_library);
  if (nvml) return ok("nvml", fmt::format("driver {}", (*nvml)->driver_version()));
  if (nvml.error().code == ErrorCode::not_found) {
    return ok("nvml", nvml.error().message + "; models run on the cpu");
  }
  return warn("nvml", nvml.error().message,
              nvml.error().hint.empty()
                  ? "reinstall the NVIDIA driver; until then models run on the cpu"
                  : nvml.error().hint);
}

Fact worker_fact(const char* worker, const std::string& folder) {
  std::string check = fmt::format("worker.{}", worker);
  const std::string path = fmt::format("{}/stoker-worker-{}", folder, worker);
  if (::access(path.c_str(), X_OK) == 0) return ok(std::move(check), path);
  return warn(std::move(check), fmt::format("{} is missing", path),
              "build it, or deployments with this runtime cannot start");
}

}  // namespace

std::vector<Fact> examine_machine(const DoctorOptions& options) {
  const CgroupPlaces places = find_cgroup_places();
  const bool version2 = !places.unified.empty();
  std::vector<Fact> facts{
      sandbox_fact(),
      user_namespace_fact(),
      cgroup_fact("memory", version2 ? places.unified : places.memory, version2),
      cgroup_fact("pids", version2 ? places.unified : places.pids, version2),
      device_fact(options.nvml_library),
      nvml_fact(options.nvml_library),
      instruction_fact(),
      huge_page_fact(),
      locked_memory_fact(),
      descriptor_fact(),
      disk_fact(options.state_dir),
  };
  std::error_code ignored;
  const std::string folder =
      options.worker_dir.empty()
          ? std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string()
          : options.worker_dir;
  for (const char* worker : {"llama", "onnx", "exec", "echo"}) {
    facts.push_back(worker_fact(worker, folder));
  }
  return facts;
}

}  // namespace stoker::backend
