// One life of one instance, from the order to start until it is gone: control channel, output,
// stop with its escalation, and the proof of its end. On the event loop; what blocks goes to the
// spawner's thread and comes back as an event.
//
//   launching -> running -> ending (the leader has ended, the rest is being cleared) -> over
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/instance_backend.h"
#include "backend/process/launcher.h"
#include "backend/process/log_store.h"
#include "backend/process/remains.h"
#include "backend/process/serial_executor.h"
#include "backend/worker_conversation.h"
#include "net/event_loop.h"

namespace stoker::backend {

/// What all lives of one backend share. Outlives them.
struct InstanceServices {
  net::EventLoop& loop;
  SerialExecutor& spawner;
  LogStore& logs;
  const Launcher& launcher;
  Duration unkillable_after;
  BackendListener* listener = nullptr;
  std::function<void(InstanceKey)> forget;  // called just before on_exited
  std::vector<char> buffer = std::vector<char>(control_packet_bytes);  // of whoever reads just now
};

class InstanceProcess : public std::enable_shared_from_this<InstanceProcess> {
 public:
  InstanceProcess(InstanceServices& services, StartRequest request);
  ~InstanceProcess();
  InstanceProcess(const InstanceProcess&) = delete;
  InstanceProcess& operator=(const InstanceProcess&) = delete;

  /// Once, after construction.
  void launch();
  void send(std::string_view packet);
  void stop(StopMode mode, Duration grace);
  [[nodiscard]] InstanceInfo info() const;
  [[nodiscard]] std::vector<pid_t> processes() const;

  /// For the end of the backend, when no event will come any more: kills, waits (at most until
  /// `deadline`), reaps. Tells nobody.   Needs: the spawner's thread has ended.
  void end_now(Instant deadline);

 private:
  enum class Phase : std::uint8_t { launching, running, ending };
  /// Forwards the events of one descriptor to a member function.
  struct Watch final : net::FdHandler {
    Watch(InstanceProcess& o, void (InstanceProcess::*m)(std::uint32_t)) : owner(o), method(m) {}
    void on_events(std::uint32_t events) override { (owner.*method)(events); }
    InstanceProcess& owner;
    void (InstanceProcess::*method)(std::uint32_t);
    bool active = false;
  };
  struct Clearing {
    bool gone = false;
    std::int64_t oom_kills = 0;
  };

  void watch(int fd, std::uint32_t events, Watch& watch);
  void unwatch(int fd, Watch& watch);
  /// Runs `work` on the spawner's thread, then `then(result)` here, if this life still is.
  template <class Work, class Then>
  void run_blocking(Work work, Then then);
  net::TimerId after(Duration delay, void (InstanceProcess::*action)());

  void on_launched();
  void on_control(std::uint32_t events);
  void on_output(std::uint32_t events);
  void on_leader_ended(std::uint32_t events);

  /// Gives: false when there is no more to read now.
  bool read_packet();
  void take_packet(std::string_view packet);
  void flush();
  void close_control();
  void breach(const std::string& what);
  void control_lost();

  void begin_graceful_stop();
  void terminate();
  void kill_all();
  void give_up_killing();

  void clear();
  void on_cleared(Clearing clearing);
  void drain_output();
  [[nodiscard]] Remains remains() const;
  [[nodiscard]] ExitInfo describe_exit(std::int64_t oom_kills) const;
  void finish(ExitInfo exit);

  InstanceServices& services_;
  StartRequest request_;
  WorkerConversation conversation_;
  Phase phase_ = Phase::launching;
  std::shared_ptr<std::optional<Result<Launched>>> launching_;  // filled by the spawner
  Launched process_;
  int exit_code_ = 0;  // si_code and si_status of the leader
  int exit_status_ = 0;

  Watch control_watch_{*this, &InstanceProcess::on_control};
  Watch output_watch_{*this, &InstanceProcess::on_output};
  Watch leader_watch_{*this, &InstanceProcess::on_leader_ended};

  std::deque<std::string> outbox_;
  std::size_t outbox_bytes_ = 0;
  bool waits_for_room_ = false;  // the kernel's buffer of the control channel is full
  bool breached_ = false;

  std::optional<Duration> graceful_;  // a stop was asked for, with this grace
  bool kill_asked_ = false;
  bool killed_ = false;
  net::TimerId stop_timer_ = 0;
  net::TimerId kill_timer_ = 0;
  net::TimerId clear_timer_ = 0;
  net::TimerId control_timer_ = 0;
  Duration clear_pause_ = ms(2);
};

}  // namespace stoker::backend
