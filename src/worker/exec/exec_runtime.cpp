#include "worker/exec/exec_runtime.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <future>
#include <system_error>

#include "base/invariant.h"
#include "base/text.h"
#include "net/clock.h"
#include "worker/exec/http_probe.h"
#include "worker/exec/listening_ports.h"
#include "worker/exec/missing_program.h"

namespace stoker::worker {
namespace {

constexpr Duration first_poll = ms(20);
constexpr Duration longest_poll = ms(250);
constexpr Duration term_grace = seconds(1);
constexpr Duration kill_limit = ms(400);
constexpr int exit_engine_hung = 4;

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
  // Ours to say: the port that is asked, and the device that was placed.
  std::erase_if(command.env, [](const auto& variable) {
    return variable.first == "PORT" || variable.first == "CUDA_VISIBLE_DEVICES";
  });
  command.env.emplace_back("PORT", std::to_string(port_));
  const Result<void> started = engine_.start(command);
  if (!started) {
    return load_failure(
        LoadFailure::start_failed,
        started.error().message + explain_missing(command.words[0], options_.sandboxed));
  }
  return {};
}

/// A foreign engine announces nothing, so it is asked again and again. Only this worker knows what
/// the engine answers, so it keeps both limits itself, and the orchestrator hears `loading` for as
/// long as they allow. An engine that serves HTTP and refuses its health path will hardly change
/// its mind, so it gets the shorter one.
LoadResult ExecRuntime::wait_until_up(LoadProgress& progress) {
  const std::string& program = options_.command[0];
  ReadyProbe probe(port_, options_.health_path);
  const Instant begun = net::monotonic_now();
  Instant moved = begun;
  for (Duration interval = first_poll; !probe.ask(); interval.ns = interval.ns * 5 / 4) {
    if (const std::optional<int> status = engine_.exit_status()) {
      return load_failure(LoadFailure::start_failed, fmt::format("{} ended before it was ready: {}",
                                                                 program, exit_text(*status)));
    }
    const Instant now = net::monotonic_now();
    if (!probe.is_refused()) moved = now;
    const bool is_refused = now - moved >= options_.load_timeout;
    if (is_refused || now - begun >= options_.start_timeout) {
      return load_failure(
          LoadFailure::start_failed,
          fmt::format("{} runs, but was not ready within {} (limits.{}): {}, {} times{}", program,
                      to_text(is_refused ? options_.load_timeout : options_.start_timeout),
                      is_refused ? "load_timeout" : "start_timeout", probe.last_result(),
                      probe.times(), advice_for(probe)));
    }
    progress.advance(probe.last_result());
    if (!progress.pause(std::min(interval, longest_poll))) {
      return load_failure(LoadFailure::internal, "stopped");
    }
  }
  health_path_ = probe.path();
  return {};
}

/// What the user may do about an engine that does not get ready; begins with "; ", or "".
std::string ExecRuntime::advice_for(const ReadyProbe& probe) const {
  if (probe.is_refused()) return "; set health_path to a path that gives 2xx once it is ready";
  if (probe.somebody_listens()) return {};
  const std::vector<int> others = listening_ports(list_descendants());
  if (!others.empty()) {
    return fmt::format("; the engine listens on port {}: tell it {{port}} in its command",
                       fmt::join(others, ", "));
  }
  const bool is_told = std::ranges::any_of(options_.command, [](const std::string& word) {
    return word.find("{port}") != std::string::npos;
  });
  return is_told ? "" : "; does it read PORT? If not, tell it {port} in its command";
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
  engine_.close();
  engine_.end(term_grace, kill_limit);
}

}  // namespace stoker::worker
