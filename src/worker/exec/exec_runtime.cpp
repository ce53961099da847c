#include "worker/exec/exec_runtime.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <future>
#include <system_error>

#include "base/invariant.h"
#include "worker/exec/http_probe.h"

namespace stoker::worker {
namespace {

constexpr Duration first_poll = ms(20);
constexpr Duration longest_poll = ms(250);
constexpr Duration probe_limit = seconds(2);
constexpr Duration term_grace = seconds(1);
constexpr Duration kill_limit = ms(400);
constexpr int exit_engine_hung = 4;

constexpr std::array<std::string_view, 3> usual_health_paths = {"/health", "/v1/models",
                                                                "/v2/health/ready"};

bool is_success(std::optional<int> status) {
  return status && *status >= 200 && *status < 300;
}

/// The engine's own code, save those that mean something else in the worker contract.
int exit_code_of(int status) {
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  const int code = WEXITSTATUS(status);
  return code == 0 || code == 2 || code == 3 ? 1 : code;
}

}  // namespace

void ExecRuntime::attach(WorkerContext& context) {
  context_ = &context;
  relay_ = std::make_unique<Relay>(context.loop, context.counters, context.listen_fd);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  child_signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  STOKER_INVARIANT(child_signals_, "no signalfd: errno {}", errno);
  context.loop.add(child_signals_.get(), EPOLLIN, *this);
}

// --- Loading ---

LoadResult ExecRuntime::load(const LoadOrder& order, LoadProgress& progress) {
  auto options = read_exec_options(order.options);
  if (!options) return load_failure(LoadFailure::bad_option, options.error());
  options_ = std::move(*options);
  model_ = order.model;
  std::error_code ignored;
  if (model_.starts_with('/') && !std::filesystem::exists(model_, ignored)) {
    return load_failure(LoadFailure::model_missing, fmt::format("{}: no such file", model_));
  }
  if (LoadResult started = start_engine(order); !started) return started;
  if (LoadResult up = wait_until_up(progress); !up) return up;
  expected_alive_ = true;
  if (engine_.exit_status()) {
    return load_failure(LoadFailure::start_failed, "the engine ended as soon as it was up");
  }
  watch_health();
  if (!options_.direct) run_relay(true);
  return {};
}

LoadResult ExecRuntime::start_engine(const LoadOrder& order) {
  port_ = find_free_port();
  if (port_ == 0) return load_failure(LoadFailure::start_failed, "no free port on 127.0.0.1");
  EngineCommand command;
  for (const std::string& word : options_.command) {
    command.words.push_back(fill_placeholders(word, order.model, port_));
  }
  command.env = options_.env;
  command.env.emplace_back("PORT", std::to_string(port_));
  const Result<void> started = engine_.start(command);
  if (!started) return load_failure(LoadFailure::start_failed, started.error().message);
  return {};
}

LoadResult ExecRuntime::wait_until_up(LoadProgress& progress) {
  // A foreign engine announces nothing, so it is asked again and again.
  for (Duration interval = first_poll; !is_up(); interval.ns = interval.ns * 5 / 4) {
    if (const std::optional<int> status = engine_.exit_status()) {
      return load_failure(
          LoadFailure::start_failed,
          fmt::format("{} ended before it was ready: {}", options_.command[0], exit_text(*status)));
    }
    progress.advance();
    if (!progress.pause(std::min(interval, longest_poll))) {
      return load_failure(LoadFailure::internal, "stopped");
    }
  }
  return {};
}

bool ExecRuntime::is_up() {
  const auto found = [this](std::string_view path) {
    health_path_ = path;
    return true;
  };
  if (!options_.health_path.empty()) {
    return is_success(probe_http(port_, options_.health_path, probe_limit)) &&
           found(options_.health_path);
  }
  for (const std::string_view path : usual_health_paths) {
    const std::optional<int> status = probe_http(port_, std::string(path), probe_limit);
    if (is_success(status)) return found(path);
    // Nobody there, or there but not ready yet: the other paths would say less.
    if (!status || *status >= 500) return false;
  }
  return probe_http(port_, "/", probe_limit) && found("/");
}

void ExecRuntime::watch_health() {
  if (options_.health_interval.ns == 0) return;
  health_ = std::make_unique<HealthWatch>(
      HealthQuestion{port_, health_path_, options_.health_interval, options_.health_failures},
      context_->counters, [this] {
        expected_alive_ = false;
        engine_.end(Duration{0}, kill_limit);
        worker_die(exit_engine_hung, "the engine no longer answers its health probe");
      });
}

/// From the load thread; returns when the loop has done it.
void ExecRuntime::run_relay(bool on) {
  std::promise<void> done;
  context_->loop.post([this, on, &done] {
    if (on) {
      relay_->open(port_);
    } else {
      relay_->close();
    }
    done.set_value();
  });
  done.get_future().wait();
}

void ExecRuntime::unload() {
  expected_alive_ = false;
  run_relay(false);
  if (!engine_.end(term_grace, seconds(10))) {
    worker_die(1, "processes of the engine cannot be killed");
  }
  health_.reset();
}

void ExecRuntime::serve(WorkerExchangePtr exchange) {
  STOKER_INVARIANT(false, "{}: the relay serves", exchange->id());
}

std::string ExecRuntime::endpoint() const {
  return options_.direct ? fmt::format("http://127.0.0.1:{}", port_) : std::string();
}

std::vector<std::string> ExecRuntime::weights_files() const {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(model_, ignored)) return {};
  return {model_};
}

// --- Endings ---

void ExecRuntime::on_events(std::uint32_t) {
  signalfd_siginfo info{};
  while (::read(child_signals_.get(), &info, sizeof info) == sizeof info) {
  }
  engine_.reap();
  const std::optional<int> status = engine_.exit_status();
  if (status && expected_alive_.exchange(false)) engine_died(*status);
}

void ExecRuntime::engine_died(int status) {
  engine_.end(Duration{0}, kill_limit);
  worker_die(exit_code_of(status), fmt::format("the engine ended: {}", exit_text(status)));
}

void ExecRuntime::abandon() {
  expected_alive_ = false;
  engine_.end(term_grace, kill_limit);
}

}  // namespace stoker::worker
