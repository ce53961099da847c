#include "worker/worker_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/invariant.h"
#include "base/overloaded.h"
#include "net/clock.h"

namespace stoker::worker {
namespace {

constexpr int exit_ok = 0;
constexpr int exit_usage = 2;
constexpr int exit_load_failed = 3;
/// How long stopped requests may take to let go at the end of a shutdown.
constexpr Duration stop_grace = seconds(1);
constexpr Duration flush_limit = ms(200);
constexpr Duration signal_grace = seconds(5);

UniqueFd duplicate(int fd) {
  return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/// Blocks SIGTERM and SIGINT in this thread and all later ones; they arrive on the descriptor.
UniqueFd catch_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t caught;
  ::sigemptyset(&caught);
  ::sigaddset(&caught, SIGTERM);
  ::sigaddset(&caught, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &caught, nullptr);
  return UniqueFd(::signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

WorkerProcess::WorkerProcess(Runtime& runtime, net::EventLoop& loop)
    : runtime_(runtime),
      loop_(loop),
      registry_(counters_, RegistryLimits{},
                [this](const std::string& id, const RequestUsage& usage, EndReason reason) {
                  if (control_ != nullptr) control_->send(ended_packet(id, usage, reason));
                }),
      home_{loop, counters_, registry_, std::this_thread::get_id(),
            worker_http_limits().write_buffer_bytes},
      front_(home_, runtime),
      context_{loop, counters_, mute_control_},
      signals_(catch_signals()) {}

void WorkerProcess::run_supervised(const Supervised& start) {
  control_ = new ControlChannel(UniqueFd(start.control_fd), *this, mute_control_);
  listen(UniqueFd(start.listen_fd));
  control_->start(hello_packet({runtime_.name(), start.nonce, ::getpid()}));
  serve();
}

void WorkerProcess::run_standalone(const Standalone& start) {
  const auto address = net::parse_listen_address(start.listen);
  Result<UniqueFd> listener =
      address ? net::listen_on(*address, /*reuse_port=*/false) : tl::unexpected(address.error());
  if (!listener) {
    fmt::print(stderr, "{}: {}\n", start.listen, listener.error().message);
    exit_now(exit_usage);
  }
  fmt::print(stderr, "listening on {}\n", net::bound_address(listener->get()));
  listen(std::move(*listener));
  loader_->order_load(start.order);
  serve();
}

void WorkerProcess::listen(UniqueFd listener) {
  // The server closes its listener when it drains; the contract wants the socket open until exit.
  kept_listener_ = duplicate(listener.get());
  context_.listen_fd = listener.get();
  runtime_.attach(context_);
  if (!runtime_.accepts_itself()) {
    server_ =
        std::make_unique<net::HttpServer>(loop_, std::move(listener), worker_http_limits(), front_);
  } else {
    static_cast<void>(listener.release());  // the runtime's, until exit
  }
  loader_ = new Loader(runtime_, registry_,
                       {.send = [this](std::string packet) { send(std::move(packet)); },
                        .failed = [this](const LoadError& error) { load_failed(error); }});
}

void WorkerProcess::serve() {
  loop_.add(signals_.get(), EPOLLIN, *this);
  loop_.run();
  exit_now(exit_ok);
}

void WorkerProcess::send(std::string packet) {
  if (control_ != nullptr) {
    control_->send(std::move(packet));
  } else {
    fmt::print(stderr, "{}\n", packet);  // by hand: how the load goes is shown to the person
  }
}

void WorkerProcess::load_failed(const LoadError& error) {
  // The log first: who reads the packet may kill this process at once.
  fmt::print(stderr, "load failed: {}: {}\n", to_text(error.code), error.message);
  std::fflush(stderr);
  send(load_failed_packet(error));
  exit_now(exit_load_failed);
}

// --- Control thread ---

void WorkerProcess::on_order(Order order) {
  std::visit(Overloaded{[this](LoadOrder& load) {
                          if (!loader_->order_load(std::move(load))) {
                            send(error_packet("already_loaded", "unload first"));
                          }
                        },
                        [this](const CancelOrder& cancel) {
                          registry_.cancel(cancel.request, net::monotonic_now());
                        },
                        [this](const UnloadOrder&) { loader_->order_unload(); },
                        [this](const SuspendOrder&) { suspend_or_resume(true); },
                        [this](const ResumeOrder&) { suspend_or_resume(false); },
                        [this](const ShutdownOrder& shutdown) { shut_down(shutdown.grace); }},
             order);
}

void WorkerProcess::suspend_or_resume(bool suspend) {
  if (!runtime_.can_suspend()) {
    send(error_packet("unsupported", "this worker cannot suspend"));
  } else if (suspend && !loader_->order_suspend()) {
    send(error_packet("not_ready", "nothing is ready to be suspended"));
  } else if (!suspend && !loader_->order_resume()) {
    send(error_packet("not_suspended", "nothing is suspended"));
  }
}

std::string WorkerProcess::progress() {
  return progress_packet(counters_);
}

void WorkerProcess::on_closed() {
  // Nobody waits for `ended` any more, and the end of the process stops everything: asking requests
  // to stop first would only give a stuck engine a chance to hold this thread.
  exit_now(exit_ok);
}

void WorkerProcess::on_deadline() {
  registry_.close();
  registry_.wait_until_idle(stop_grace);
  exit_now(exit_ok);
}

// --- The end ---

void WorkerProcess::on_events(std::uint32_t) {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (shutting_down_) exit_now(exit_ok);  // asked twice
    shut_down(signal_grace);
  }
}

void WorkerProcess::shut_down(Duration grace) {
  const bool repeated = shutting_down_.exchange(true);
  loader_->stop();
  const Instant deadline = net::monotonic_now() + grace;
  // By hand there is no control thread; the loop keeps the time.
  if (control_ != nullptr) {
    control_->set_deadline(deadline);
  } else {
    loop_.post([this, deadline] { loop_.run_at(deadline, [this] { on_deadline(); }); });
  }
  if (repeated) return;
  loop_.post([this] {
    const auto done = [this] { exit_now(exit_ok); };
    if (server_) {
      server_->drain(done);
    } else {
      runtime_.drain(done);
    }
  });
}

void WorkerProcess::exit_now(int code) {
  if (exiting_.exchange(true)) {
    for (;;) ::pause();  // another thread is on its way out
  }
  runtime_.abandon();
  if (control_ != nullptr) control_->flush(flush_limit);
  std::fflush(nullptr);
  ::_exit(code);
}

void worker_die(int code, std::string_view why) {
  fmt::print(stderr, "{}\n", why);
  std::fflush(nullptr);
  ::_exit(code);
}

int worker_main(int argc, char** argv, Runtime& runtime) {
  const auto line = read_command_line(argc, argv);
  if (!line) {
    fmt::print(stderr, "{}\n{}", line.error(), usage_text(argv[0]));
    return exit_usage;
  }
  if (line->wants_help) {
    fmt::print("{}", usage_text(argv[0]));
    return exit_ok;
  }
  Result<std::unique_ptr<net::EventLoop>> loop = net::EventLoop::create();
  STOKER_INVARIANT(loop, "no event loop: {}", loop.error().message);
  auto* process = new WorkerProcess(runtime, **loop);  // never destroyed, see its comment
  if (line->supervised) process->run_supervised(*line->supervised);
  process->run_standalone(line->standalone);
}

}  // namespace stoker::worker
