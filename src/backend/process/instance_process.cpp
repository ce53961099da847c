#include "backend/process/instance_process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "backend/process/proc_fs.h"
#include "base/invariant.h"
#include "base/json_writer.h"
#include "base/overloaded.h"
#include "base/text.h"
#include "net/clock.h"

namespace stoker::backend {
namespace {

constexpr std::size_t outbox_limit_bytes = 1 << 20;
constexpr int packets_per_event = 16;  // then others have their turn
constexpr int last_packets = 1024;     // more than a socket holds
constexpr Duration terminate_to_kill = seconds(1);
constexpr Duration exit_after_close = seconds(2);  // docs/worker-contract.md
constexpr Duration longest_clear_pause = ms(500);
constexpr std::size_t exit_log_lines = 20;
constexpr std::size_t exit_log_bytes = 4 << 10;

std::string shutdown_packet(Duration grace) {
  JsonWriter json;
  json.object([&] {
    json.field("type", "shutdown");
    json.field("grace_ms", whole_ms(grace));
  });
  return json.take();
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("signal {} (SIG{})", signal, name)
                         : fmt::format("signal {}", signal);
}

std::string_view last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const std::size_t newline = text.rfind('\n');
  return newline == std::string_view::npos ? text : text.substr(newline + 1);
}

/// The kernel may hold a group for a moment after its last process.
void remove_cgroup(const Cgroup& cgroup) {
  for (int tries = 0; tries < 100 && !cgroup.remove(); ++tries) ::poll(nullptr, 0, 5);
}

void append_descendants(pid_t pid, std::vector<pid_t>& all) {
  all.push_back(pid);
  for (const pid_t child : children_of(pid)) append_descendants(child, all);
}

}  // namespace

InstanceProcess::InstanceProcess(InstanceServices& services, StartRequest request)
    : services_(services),
      request_(std::move(request)),
      conversation_({.worker = request_.worker,
                     .nonce = request_.nonce,
                     .endpoint = "unix:" + services.launcher.socket_path(request_.key),
                     .loopback_allowed =
                         request_.sandbox.network || !services.launcher.sandboxes(request_)}) {}

InstanceProcess::~InstanceProcess() {
  unwatch(process_.control.get(), control_watch_);
  unwatch(process_.output.get(), output_watch_);
  unwatch(process_.leader.pidfd.get(), leader_watch_);
  for (const net::TimerId timer : {stop_timer_, kill_timer_, clear_timer_, control_timer_}) {
    services_.loop.cancel(timer);
  }
}

// --- Plumbing ----------------------------------------------------------------------------------

void InstanceProcess::watch(int fd, std::uint32_t events, Watch& watch) {
  services_.loop.add(fd, events, watch);
  watch.active = true;
}

void InstanceProcess::unwatch(int fd, Watch& watch) {
  if (std::exchange(watch.active, false)) services_.loop.remove(fd);
}

template <class Work, class Then>
void InstanceProcess::run_blocking(Work work, Then then) {
  services_.spawner.submit(
      [weak = weak_from_this(), &loop = services_.loop, work = std::move(work), then] {
        loop.post([weak, result = work(), then] {
          if (const std::shared_ptr<InstanceProcess> self = weak.lock()) then(*self, result);
        });
      });
}

net::TimerId InstanceProcess::after(Duration delay, void (InstanceProcess::*action)()) {
  return services_.loop.run_at(services_.loop.now() + delay, [this, action] { (this->*action)(); });
}

// --- Start -------------------------------------------------------------------------------------

void InstanceProcess::launch() {
  services_.logs.open(request_.name);
  launching_ = std::make_shared<std::optional<Result<Launched>>>();
  run_blocking(
      [slot = launching_, &launcher = services_.launcher, request = request_] {
        slot->emplace(launcher.launch(request));
        return 0;
      },
      [](InstanceProcess& self, int) { self.on_launched(); });
}

void InstanceProcess::on_launched() {
  Result<Launched> launched = std::move(**launching_);
  launching_.reset();
  if (!launched) {
    const Error& why = launched.error();
    const std::string text =
        why.hint.empty() ? why.message : fmt::format("{}; fix: {}", why.message, why.hint);
    services_.logs.append(request_.name, fmt::format("[stoker: not started: {}]\n", text));
    finish({.kind = ExitKind::start_failed,
            .value = 0,
            .text = text,
            .log_tail = {},
            .will_stay = why.code == ErrorCode::not_found || why.code == ErrorCode::invalid});
    return;
  }
  process_ = std::move(*launched);
  phase_ = Phase::running;
  watch(process_.control.get(), EPOLLIN | EPOLLRDHUP, control_watch_);
  watch(process_.output.get(), EPOLLIN, output_watch_);
  watch(process_.leader.pidfd.get(), EPOLLIN, leader_watch_);
  if (kill_asked_) {
    kill_all();
  } else if (graceful_) {
    begin_graceful_stop();
  }
  flush();
}

// --- Control channel ---------------------------------------------------------------------------

void InstanceProcess::send(std::string_view packet) {
  STOKER_INVARIANT(packet.size() <= control_packet_bytes, "{}: a packet of {} bytes", request_.name,
                   packet.size());
  const bool closed = phase_ != Phase::launching && !process_.control;
  if (breached_ || closed) return;
  outbox_.emplace_back(packet);
  outbox_bytes_ += packet.size();
  if (outbox_bytes_ > outbox_limit_bytes) {
    breach("it does not read its control channel");
  } else if (phase_ == Phase::running) {
    flush();
  }
}

void InstanceProcess::flush() {
  while (!outbox_.empty() && process_.control) {
    const std::string& packet = outbox_.front();
    const ssize_t sent =
        ::send(process_.control.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) {  // its end is closed; reading will say so
      outbox_.clear();
      outbox_bytes_ = 0;
      break;
    }
    outbox_bytes_ -= packet.size();
    outbox_.pop_front();
  }
  if (control_watch_.active && waits_for_room_ != !outbox_.empty()) {
    waits_for_room_ = !outbox_.empty();
    const std::uint32_t events = EPOLLIN | EPOLLRDHUP | (waits_for_room_ ? EPOLLOUT : 0U);
    services_.loop.modify(process_.control.get(), events, control_watch_);
  }
}

void InstanceProcess::on_control(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  for (int i = 0; i < packets_per_event && read_packet(); ++i) {
  }
}

bool InstanceProcess::read_packet() {
  if (!process_.control || breached_) return false;
  std::vector<char>& buffer = services_.buffer;
  // MSG_TRUNC: the packet's real length, however long. Descriptors that come along are not taken.
  const ssize_t got = ::recv(process_.control.get(), buffer.data(), buffer.size(), MSG_TRUNC);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
  if (got <= 0) {
    pollfd state{.fd = process_.control.get(), .events = POLLRDHUP, .revents = 0};
    ::poll(&state, 1, 0);
    if (got == 0 && state.revents == 0) {
      breach("it sent an empty message");
    } else {
      control_lost();
    }
    return false;
  }
  if (static_cast<std::size_t>(got) > buffer.size()) {
    breach("a message is longer than 64 KiB");
    return false;
  }
  take_packet({buffer.data(), static_cast<std::size_t>(got)});
  return true;
}

void InstanceProcess::take_packet(std::string_view packet) {
  const Result<WorkerMessage> message = conversation_.accept(packet);
  if (!message) {
    breach(message.error().message);
    return;
  }
  const auto* hello = std::get_if<WorkerHello>(&*message);
  if (hello == nullptr) {
    services_.listener->on_message(request_.key, *message);
    return;
  }
  if (!graceful_ && !kill_asked_ && !request_.load_order.empty()) {
    outbox_.push_front(request_.load_order);  // before anything that was sent meanwhile
    outbox_bytes_ += request_.load_order.size();
    flush();
  }
  services_.listener->on_hello(request_.key, *hello);
}

void InstanceProcess::control_lost() {
  close_control();
  if (phase_ == Phase::running) {
    control_timer_ = services_.loop.run_at(services_.loop.now() + exit_after_close, [this] {
      breach("it closed its control channel and did not exit");
    });
  }
}

void InstanceProcess::close_control() {
  unwatch(process_.control.get(), control_watch_);
  process_.control.reset();
  outbox_.clear();
  outbox_bytes_ = 0;
}

void InstanceProcess::breach(const std::string& what) {
  if (std::exchange(breached_, true)) return;
  unwatch(process_.control.get(), control_watch_);
  // Not from in here: the cause may be a call of the listener's own.
  services_.loop.post([weak = weak_from_this(), what] {
    const std::shared_ptr<InstanceProcess> self = weak.lock();
    if (self) self->services_.listener->on_contract_breach(self->request_.key, what);
  });
}

// --- Output ------------------------------------------------------------------------------------

void InstanceProcess::on_output(std::uint32_t) {
  std::vector<char>& buffer = services_.buffer;
  const ssize_t got = ::read(process_.output.get(), buffer.data(), buffer.size());
  if (got > 0) {
    services_.logs.append(request_.name, {buffer.data(), static_cast<std::size_t>(got)});
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    unwatch(process_.output.get(), output_watch_);
  }
}

/// What the pipe held when its writers died: at most its size, so this ends.
void InstanceProcess::drain_output() {
  for (int i = 0; i < 64 && output_watch_.active; ++i) {
    pollfd state{.fd = process_.output.get(), .events = POLLIN, .revents = 0};
    if (::poll(&state, 1, 0) != 1) break;
    on_output(EPOLLIN);
  }
}

// --- Stop --------------------------------------------------------------------------------------

void InstanceProcess::stop(StopMode mode, Duration grace) {
  if (mode == StopMode::kill) {
    kill_asked_ = true;
    if (phase_ == Phase::running) kill_all();
  } else if (!graceful_ && !kill_asked_) {
    graceful_ = grace;
    if (phase_ == Phase::running) begin_graceful_stop();
  }
}

void InstanceProcess::begin_graceful_stop() {
  send(shutdown_packet(*graceful_));
  stop_timer_ = after(*graceful_, &InstanceProcess::terminate);
}

void InstanceProcess::terminate() {
  if (phase_ != Phase::running || killed_) return;
  if (process_.fence) {
    // bubblewrap's own two processes are spared: the leader must live to tell the exit code.
    const pid_t fence = process_.fence_pid;
    for (const pid_t pid : children_of(fence)) {
      signal_if(pid, SIGTERM, [fence](pid_t one) {
        const std::optional<ProcessStat> stat = stat_of(one);
        return stat && stat->parent == fence;
      });
    }
  } else {
    ::kill(-process_.leader.pid, SIGTERM);
  }
  stop_timer_ = after(terminate_to_kill, &InstanceProcess::kill_all);
}

/// Needs: the leader is not reaped, so that its group is its own.
void InstanceProcess::kill_all() {
  if (std::exchange(killed_, true)) return;
  if (process_.fence) signal_pidfd(process_.fence.get(), SIGKILL);
  ::kill(-process_.leader.pid, SIGKILL);
  kill_timer_ = after(services_.unkillable_after, &InstanceProcess::give_up_killing);
}

void InstanceProcess::give_up_killing() {
  services_.listener->on_unkillable(request_.key);
}

// --- End ---------------------------------------------------------------------------------------

void InstanceProcess::on_leader_ended(std::uint32_t) {
  unwatch(process_.leader.pidfd.get(), leader_watch_);
  siginfo_t info{};
  const int pidfd = process_.leader.pidfd.get();
  const int waited =
      ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG | WNOWAIT);
  STOKER_INVARIANT(waited == 0 && info.si_pid == process_.leader.pid,
                   "{}: waitid gave {}, somebody else reaped our child", request_.name, waited);
  exit_code_ = info.si_code;
  exit_status_ = info.si_status;
  // Its last words, `load_failed` among them; bounded, for a child of it may go on talking.
  for (int i = 0; i < last_packets && read_packet(); ++i) {
  }
  close_control();
  phase_ = Phase::ending;
  kill_all();
  clear();
}

Remains InstanceProcess::remains() const {
  return {.leader = process_.leader.pid,
          .fence = process_.fence.get(),
          .cgroup = process_.cgroup,
          .mark = services_.launcher.life_mark(request_.key)};
}

void InstanceProcess::clear() {
  run_blocking(
      [remains = remains()] {
        Clearing clearing;
        clearing.gone = clear_remains(remains);
        if (clearing.gone && remains.cgroup) clearing.oom_kills = remains.cgroup->oom_kills();
        return clearing;
      },
      [](InstanceProcess& self, Clearing clearing) { self.on_cleared(clearing); });
}

void InstanceProcess::on_cleared(Clearing clearing) {
  if (!clearing.gone) {
    clear_timer_ = after(clear_pause_, &InstanceProcess::clear);
    clear_pause_ = std::min(Duration{clear_pause_.ns * 2}, longest_clear_pause);
    return;
  }
  drain_output();
  ExitInfo exit = describe_exit(clearing.oom_kills);
  siginfo_t info{};
  ::waitid(P_PIDFD, static_cast<id_t>(process_.leader.pidfd.get()), &info, WEXITED | WNOHANG);
  ::unlink(services_.launcher.socket_path(request_.key).c_str());
  if (process_.cgroup) {
    services_.spawner.submit([cgroup = *process_.cgroup] { remove_cgroup(cgroup); });
  }
  finish(std::move(exit));
}

ExitInfo InstanceProcess::describe_exit(std::int64_t oom_kills) const {
  ExitInfo exit;
  exit.log_tail = services_.logs.tail(request_.name, exit_log_lines);
  if (exit.log_tail.size() > exit_log_bytes) {
    exit.log_tail.erase(0, exit.log_tail.size() - exit_log_bytes);
  }
  exit.value = exit_status_;
  exit.kind = exit_code_ == CLD_EXITED ? ExitKind::code : ExitKind::signal;
  // bubblewrap tells the death of its child by a signal as exit code 128 + number, as shells do.
  if (process_.fence && exit.kind == ExitKind::code && exit.value > 128 && exit.value <= 128 + 64) {
    exit.kind = ExitKind::signal;
    exit.value -= 128;
  }
  const std::string_view line = last_line(exit.log_tail);
  if (oom_kills > 0 && !(exit.kind == ExitKind::code && exit.value == 0)) {
    exit.kind = ExitKind::oom;
    exit.text = fmt::format("oom (limit {})", to_text(request_.memory_limit));
  } else if (process_.fence && exit.kind == ExitKind::code && !conversation_.greeted() &&
             line.starts_with("bwrap: ")) {
    exit.kind = ExitKind::start_failed;
    exit.text = fmt::format("the sandbox could not be made: {}", line);
  } else if (exit.kind == ExitKind::code) {
    exit.text = fmt::format("exit {}", exit.value);
  } else {
    exit.text = signal_text(exit.value);
  }
  return exit;
}

void InstanceProcess::finish(ExitInfo exit) {
  const std::shared_ptr<InstanceProcess> self = shared_from_this();
  BackendListener& listener = *services_.listener;
  services_.logs.close(request_.name);
  services_.forget(request_.key);
  listener.on_exited(request_.key, exit);
}

// --- Questions ---------------------------------------------------------------------------------

InstanceInfo InstanceProcess::info() const {
  InstanceInfo info{.key = request_.key, .name = request_.name, .phase = {}, .pid = 0};
  info.pid = process_.leader.pid;
  if (kill_asked_ || graceful_ || phase_ == Phase::ending) {
    info.phase = InstancePhase::stopping;
  } else {
    info.phase = conversation_.greeted() ? InstancePhase::running : InstancePhase::starting;
  }
  return info;
}

std::vector<pid_t> InstanceProcess::processes() const {
  std::vector<pid_t> pids;
  if (phase_ != Phase::running) return pids;
  if (process_.cgroup) return process_.cgroup->members();
  append_descendants(process_.leader.pid, pids);
  return pids;
}

void InstanceProcess::end_now(Instant deadline) {
  if (launching_ && *launching_ && **launching_) process_ = std::move(***launching_);
  if (!process_.leader.pidfd) return;
  killed_ = true;
  if (process_.fence) signal_pidfd(process_.fence.get(), SIGKILL);
  ::kill(-process_.leader.pid, SIGKILL);
  while (!wait_for_end(process_.leader.pidfd.get(), 5) || !clear_remains(remains())) {
    if (net::monotonic_now() > deadline) return;
  }
  siginfo_t info{};
  ::waitid(P_PIDFD, static_cast<id_t>(process_.leader.pidfd.get()), &info, WEXITED | WNOHANG);
  ::unlink(services_.launcher.socket_path(request_.key).c_str());
  if (process_.cgroup) remove_cgroup(*process_.cgroup);
}

}  // namespace stoker::backend
