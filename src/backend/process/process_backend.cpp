#include "backend/process/process_backend.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <deque>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "backend/process/instance_process.h"
#include "backend/process/remains.h"
#include "backend/process/run_directory.h"
#include "base/invariant.h"
#include "net/clock.h"

namespace stoker::backend {
namespace {

// What earlier lives may leave in logs/: looked at once, at the start.
constexpr std::size_t log_files_kept = 200;
constexpr Bytes log_bytes_kept = mib(256);
constexpr std::size_t ended_keys_kept = 4096;
constexpr Duration last_kill_limit = seconds(5);

class ProcessBackendImpl final : public InstanceBackend {
 public:
  ProcessBackendImpl(net::EventLoop& loop, const ProcessBackendConfig& config, Launcher launcher)
      : launcher_(std::move(launcher)),
        logs_({.folder = config.state_dir + "/logs",
               .life = config.life,
               .file_bytes = config.log_file_bytes,
               .memory_bytes = config.log_memory_bytes}),
        spawner_(std::make_unique<SerialExecutor>("stoker-spawner")),
        services_{.loop = loop,
                  .spawner = *spawner_,
                  .logs = logs_,
                  .launcher = launcher_,
                  .unkillable_after = config.unkillable_after,
                  .listener = nullptr,
                  .forget = [this](InstanceKey key) { forget(key); }} {}

  ~ProcessBackendImpl() override {
    spawner_.reset();  // what it began is finished, so that no start is under way
    const Instant deadline = net::monotonic_now() + last_kill_limit;
    for (const auto& [key, life] : lives_) life->end_now(deadline);
    launcher_.close();
  }

  void set_listener(BackendListener& listener) override { services_.listener = &listener; }

  Result<void> start(const StartRequest& request) override {
    STOKER_INVARIANT(services_.listener != nullptr, "{}: no listener", request.name);
    if (lives_.contains(request.key) || ended_.contains(request.key)) return {};
    if (Result<void> right = check_start_request(request); !right) return right;
    auto life = std::make_shared<InstanceProcess>(services_, request);
    lives_.emplace(request.key, life);
    life->launch();
    return {};
  }

  void send(InstanceKey key, std::string_view packet) override {
    if (InstanceProcess* life = find(key)) life->send(packet);
  }
  void stop(InstanceKey key, StopMode mode, Duration grace) override {
    if (InstanceProcess* life = find(key)) life->stop(mode, grace);
  }

  std::vector<InstanceInfo> list() const override {
    std::vector<InstanceInfo> infos;
    for (const auto& [key, life] : lives_) infos.push_back(life->info());
    return infos;
  }
  std::vector<pid_t> processes_of(InstanceKey key) const override {
    const InstanceProcess* life = find(key);
    return life != nullptr ? life->processes() : std::vector<pid_t>();
  }

  std::string log_tail(std::string_view name, std::size_t lines) const override {
    return logs_.tail(name, lines);
  }
  std::vector<std::string> log_names(std::string_view deployment) const override {
    return logs_.names(deployment);
  }
  void follow_logs(LogFollower& follower) override { logs_.follow(follower); }
  void unfollow_logs(LogFollower& follower) override { logs_.unfollow(follower); }

 private:
  [[nodiscard]] InstanceProcess* find(InstanceKey key) const {
    const auto found = lives_.find(key);
    return found == lives_.end() ? nullptr : found->second.get();
  }
  void forget(InstanceKey key) {
    lives_.erase(key);
    ended_.insert(key);
    ended_order_.push_back(key);
    if (ended_order_.size() > ended_keys_kept) {
      ended_.erase(ended_order_.front());
      ended_order_.pop_front();
    }
  }

  Launcher launcher_;
  LogStore logs_;
  std::unique_ptr<SerialExecutor> spawner_;
  InstanceServices services_;
  std::map<InstanceKey, std::shared_ptr<InstanceProcess>> lives_;
  std::set<InstanceKey> ended_;  // the latest ones: a late repetition of a start must not start
  std::deque<InstanceKey> ended_order_;
};

std::string folder_of_this_program() {
  std::error_code failed;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failed);
  return program.parent_path().string();
}

}  // namespace

Result<std::unique_ptr<InstanceBackend>> ProcessBackend::create(net::EventLoop& loop,
                                                                ProcessBackendConfig config) {
  std::error_code failed;
  config.state_dir = std::filesystem::canonical(config.state_dir, failed).string();
  if (!failed) std::filesystem::create_directories(config.state_dir + "/logs", failed);
  if (failed) {
    return failure(ErrorCode::unavailable,
                   fmt::format("state_dir '{}': {}", config.state_dir, failed.message()));
  }
  ::chmod((config.state_dir + "/logs").c_str(), 0700);
  if (config.worker_dir.empty()) config.worker_dir = folder_of_this_program();
  const std::string tag = state_tag(config.state_dir);
  CgroupFactory cgroups = CgroupFactory::open(find_cgroup_places(), "stoker-" + tag);
  clear_earlier_life("STOKER_STATE=" + tag, cgroups);
  prune_log_files(config.state_dir + "/logs", log_files_kept, log_bytes_kept);
  Result<std::string> run_folder = make_run_directory(config.state_dir);
  if (!run_folder) return tl::unexpected(std::move(run_folder.error()));

  Launcher launcher({.state_dir = config.state_dir,
                     .run_folder = std::move(*run_folder),
                     .worker_dir = config.worker_dir,
                     .sandbox = config.sandbox ? probe_sandbox() : SandboxState{},
                     .cgroups = std::move(cgroups)});
  return std::make_unique<ProcessBackendImpl>(loop, config, std::move(launcher));
}

}  // namespace stoker::backend
