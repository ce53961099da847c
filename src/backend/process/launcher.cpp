#include "backend/process/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "backend/process/proc_fs.h"
#include "backend/process/run_directory.h"

namespace stoker::backend {
namespace {

constexpr int sandbox_timeout_ms = 10'000;
// Positions in SpawnOrder::descriptors + 3.
constexpr int control_descriptor = 3;
constexpr int listen_descriptor = 4;
constexpr SandboxDescriptors sandbox_descriptors{.info = 5, .block = 6};

Result<FdPair> control_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return tl::unexpected(errno_error("socketpair"));
  }
  FdPair pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
  // Only our end: whether the worker's blocks is the worker's business.
  ::fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}

enum class WeGet { read_end, write_end };
Result<FdPair> pipe_pair(WeGet end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(errno_error("pipe"));
  FdPair pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
  if (end == WeGet::write_end) std::swap(pair.ours, pair.theirs);
  ::fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
  return pair;
}

std::string read_available(int fd) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  return got > 0 ? std::string(buffer.data(), static_cast<std::size_t>(got)) : std::string();
}

/// Reads until the end; empty after the time-out.
std::string read_to_end(int fd) {
  std::string text;
  for (;;) {
    pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&wanted, 1, sandbox_timeout_ms) != 1) return {};
    const std::string part = read_available(fd);
    if (part.empty()) return text;
    text += part;
  }
}

/// Before any plumbing, and in the sandbox's stead: bubblewrap would only say that it ended.
Result<void> check_program(const std::string& program) {
  if (::access(program.c_str(), X_OK) == 0) return {};
  if (errno == ENOENT || errno == ENOTDIR) {
    return failure(ErrorCode::not_found, fmt::format("worker program not found: {}", program),
                   "put it beside the program 'stoker' (./dev build builds all of them)");
  }
  if (errno == EACCES) {
    return failure(ErrorCode::invalid, fmt::format("worker program may not be run: {}", program),
                   "give the server's user the right to execute it (chmod +x)");
  }
  return tl::unexpected(errno_error(fmt::format("worker program {}", program)));
}

void kill_and_reap(const Launched& launched) {
  if (launched.fence) signal_pidfd(launched.fence.get(), SIGKILL);
  ::kill(-launched.leader.pid, SIGKILL);
  if (wait_for_end(launched.leader.pidfd.get(), sandbox_timeout_ms)) {
    ::waitpid(launched.leader.pid, nullptr, 0);
  }
}

}  // namespace

Result<Launcher::Plumbing> Launcher::lay_plumbing() {
  Result<FdPair> control = control_pair();
  Result<FdPair> output = pipe_pair(WeGet::read_end);
  Result<FdPair> info = pipe_pair(WeGet::read_end);
  Result<FdPair> block = pipe_pair(WeGet::write_end);
  for (const Result<FdPair>* pair : {&control, &output, &info, &block}) {
    if (!*pair) return tl::unexpected(pair->error());
  }
  return Plumbing{std::move(*control), std::move(*output), std::move(*info), std::move(*block)};
}

std::string Launcher::socket_path(InstanceKey key) const {
  return fmt::format("{}/{}-{}.sock", config_.run_folder, key.instance.value, key.generation.value);
}
std::string Launcher::program(const StartRequest& request) const {
  return fmt::format("{}/stoker-worker-{}", config_.worker_dir, request.worker);
}
std::string Launcher::state_mark() const {
  return "STOKER_STATE=" + state_tag(config_.state_dir);
}
std::string Launcher::life_mark(InstanceKey key) const {
  return fmt::format("STOKER_LIFE={}-{}-{}", state_tag(config_.state_dir), key.instance.value,
                     key.generation.value);
}

std::vector<std::string> Launcher::environment(const StartRequest& request) const {
  const bool sandboxed = sandboxes(request);
  const auto ours = [](const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return fmt::format("{}={}", name, value != nullptr ? value : otherwise);
  };
  std::vector<std::string> list{
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      ours("LANG", "C.UTF-8"),
      sandboxed ? "HOME=/tmp" : ours("HOME", "/tmp"),
      sandboxed ? "TMPDIR=/tmp" : ours("TMPDIR", "/tmp"),
      // A first touch of a small page is dear, models are large: ask for huge pages.
      "GLIBC_TUNABLES=glibc.malloc.hugetlb=1",
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("CUDA_") && !text.starts_with("CUDA_VISIBLE_DEVICES=")) {
      list.emplace_back(text);
    }
  }
  for (const auto& [name, value] : request.env) {
    std::erase_if(list, [&](const std::string& one) { return one.starts_with(name + "="); });
    list.push_back(fmt::format("{}={}", name, value));
  }
  // Last, and unlike the rest not to be overridden: the placement decided the device.
  std::erase_if(list, [](const auto& one) { return one.starts_with("CUDA_VISIBLE_DEVICES="); });
  list.push_back("CUDA_VISIBLE_DEVICES=" + request.device.cuda_visible_devices);
  list.push_back(fmt::format("STOKER_CONTROL_FD={}", control_descriptor));
  list.push_back(fmt::format("STOKER_LISTEN_FD={}", listen_descriptor));
  list.push_back("STOKER_INSTANCE=" + request.name);
  list.push_back("STOKER_NONCE=" + request.nonce);
  list.push_back(life_mark(request.key));
  list.push_back(state_mark());
  return list;
}

Result<Launched> Launcher::launch(const StartRequest& request) const {
  if (Result<void> there = check_program(program(request)); !there) {
    return tl::unexpected(std::move(there.error()));
  }
  if (Result<void> right = check_sandbox_paths(request.sandbox); sandboxes(request) && !right) {
    return tl::unexpected(std::move(right.error()));
  }
  Result<Plumbing> plumbing = lay_plumbing();
  if (!plumbing) return tl::unexpected(std::move(plumbing.error()));
  const std::string path = socket_path(request.key);
  const Result<UniqueFd> listener = listen_at(path);
  if (!listener) return tl::unexpected(listener.error());

  Launched launched;
  Result<void> done = start_process(request, *plumbing, listener->get(), launched);
  if (done) {
    launched.control = std::move(plumbing->control.ours);
    launched.output = std::move(plumbing->output.ours);
    return launched;
  }
  if (launched.leader.pidfd) kill_and_reap(launched);
  if (launched.cgroup) (void)launched.cgroup->remove();
  ::unlink(path.c_str());
  const std::string output = read_available(plumbing->output.ours.get());
  if (!output.empty()) done.error().message += ": " + output.substr(0, output.find('\n'));
  return tl::unexpected(std::move(done.error()));
}

SpawnOrder Launcher::order_for(const StartRequest& request, const Plumbing& plumbing,
                               int listener) const {
  SpawnOrder order{.program = program(request),
                   .arguments = {program(request)},
                   .environment = environment(request),
                   .descriptors = {plumbing.control.theirs.get(), listener},
                   .output = plumbing.output.theirs.get()};
  if (!sandboxes(request)) return order;
  const SandboxPaths paths{.state_dir = config_.state_dir, .program_dir = config_.worker_dir};
  order.program = config_.sandbox.program;
  order.arguments =
      sandbox_arguments(order.program, request.sandbox, request.device, paths, sandbox_descriptors);
  order.arguments.push_back(program(request));
  order.descriptors.push_back(plumbing.info.theirs.get());
  order.descriptors.push_back(plumbing.block.theirs.get());
  return order;
}

/// On failure `launched` holds what is to be taken down again.
Result<void> Launcher::start_process(const StartRequest& request, Plumbing& plumbing, int listener,
                                     Launched& launched) const {
  const bool sandboxed = sandboxes(request);
  const auto name = fmt::format("{}-{}", request.key.instance.value, request.key.generation.value);
  // bubblewrap's own two processes count too.
  const std::int32_t pids = request.pids_limit > 0 ? request.pids_limit + (sandboxed ? 2 : 0) : 0;
  Result<std::optional<Cgroup>> cgroup =
      config_.cgroups.create(name, {.memory = request.memory_limit, .pids = pids});
  if (!cgroup) return tl::unexpected(std::move(cgroup.error()));
  launched.cgroup = std::move(*cgroup);

  Result<Spawned> leader = spawn(order_for(request, plumbing, listener));
  if (!leader) return tl::unexpected(std::move(leader.error()));
  launched.leader = std::move(*leader);
  if (launched.cgroup) {
    if (Result<void> in = launched.cgroup->attach(launched.leader.pid); !in) return in;
  }
  return sandboxed ? enter_sandbox(launched, plumbing) : Result<void>{};
}

/// Learns process 1 of the namespace while bubblewrap waits for us, so that the fence and the
/// cgroup stand before the first instruction of the worker.
Result<void> Launcher::enter_sandbox(Launched& launched, Plumbing& plumbing) {
  plumbing.info.theirs.reset();  // or its end would never be seen
  const pid_t first = parse_sandbox_info(read_to_end(plumbing.info.ours.get()));
  if (first <= 0) return failure(ErrorCode::unavailable, "the sandbox could not be made");
  launched.fence = open_pidfd(first);
  // Its parent is not reaped, so a child of it by that number can only be the one.
  const std::optional<ProcessStat> stat = stat_of(first);
  if (!launched.fence || !stat || stat->parent != launched.leader.pid) {
    launched.fence.reset();
    return failure(ErrorCode::unavailable, "the sandbox ended at once");
  }
  launched.fence_pid = first;
  if (launched.cgroup) {
    if (Result<void> attached = launched.cgroup->attach(first); !attached) return attached;
  }
  if (::write(plumbing.block.ours.get(), "x", 1) != 1)
    return tl::unexpected(errno_error("unblock the sandbox"));
  return {};
}

}  // namespace stoker::backend
