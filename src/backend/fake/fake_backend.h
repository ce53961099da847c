// A backend without processes, for tests of the orchestrator. It is as strict as the real one: what
// a test tells it to say passes through the same message checks, and every misuse by the caller
// that the real one would only survive stops the test (STOKER_INVARIANT).
//
// By default an instance says hello, loads and is ready as soon as the loop runs, and obeys stops.
// A Script changes that per worker name; the say/exit functions drive single steps.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/instance_backend.h"
#include "backend/worker_conversation.h"
#include "net/event_loop.h"

namespace stoker::backend {

class FakeBackend final : public InstanceBackend {
 public:
  enum class Boot : std::uint8_t {
    automatic,     // hello, loaded, ready by itself
    hello_only,    // hello by itself; the test says the rest
    silent,        // says nothing by itself
    start_fails,   // on_exited(start_failed), which may pass
    cannot_start,  // the same, and it will stay so
    load_fails,    // hello, load_failed(model_broken), exit 3
    crash,         // hello, then signal 11
  };
  struct Script {
    Boot boot = Boot::automatic;
    Bytes private_bytes = mib(10);
    Bytes shared_bytes = mib(100);
    std::string endpoint = "unix:/nonexistent";
    bool obeys_shutdown = true;  // false: a graceful stop ends only by a kill
    bool obeys_kill = true;      // false: unkillable; exit() ends it
  };

  explicit FakeBackend(net::EventLoop& loop) : loop_(loop) {}

  /// For all starts from now on of that worker ("echo"); "" is for those without a script.
  void set_script(const std::string& worker, Script script);

  /// One packet of the worker, raw; the same checks as for a real one.
  void say(InstanceKey key, std::string_view packet);
  void exit(InstanceKey key, ExitKind kind, int value);
  void report_unkillable(InstanceKey key);
  void write_log(InstanceKey key, std::string_view bytes);

  struct Sent {
    InstanceKey key;
    std::string packet;
  };
  struct Stopped {
    InstanceKey key;
    StopMode mode;
    Duration grace;
  };
  [[nodiscard]] const std::vector<StartRequest>& starts() const { return starts_; }
  [[nodiscard]] const std::vector<Sent>& sent() const { return sent_; }
  [[nodiscard]] const std::vector<Stopped>& stops() const { return stops_; }

  void set_listener(BackendListener& listener) override;
  Result<void> start(const StartRequest& request) override;
  void send(InstanceKey key, std::string_view json_packet) override;
  void stop(InstanceKey key, StopMode mode, Duration grace) override;
  std::vector<InstanceInfo> list() const override;
  std::vector<pid_t> processes_of(InstanceKey key) const override;
  std::string log_tail(std::string_view name, std::size_t lines) const override;
  std::vector<std::string> log_names(std::string_view deployment) const override;
  void follow_logs(LogFollower& follower) override;
  void unfollow_logs(LogFollower& follower) override;

 private:
  struct Life {
    StartRequest request;
    Script script;
    InstancePhase phase = InstancePhase::starting;
    WorkerConversation conversation;
    bool ended = false;
    bool breached = false;
  };
  /// Runs `action` on the loop if that life has not ended by then.
  void later(InstanceKey key, void (FakeBackend::*action)(InstanceKey, Life&));
  void boot(InstanceKey key, Life& life);
  void deliver(InstanceKey key, Life& life, std::string_view packet);
  void finish(InstanceKey key, Life& life, const ExitInfo& exit);
  void obey_kill(InstanceKey key, Life& life);
  void obey_shutdown(InstanceKey key, Life& life);

  net::EventLoop& loop_;
  BackendListener* listener_ = nullptr;
  std::map<std::string, Script, std::less<>> scripts_;
  std::map<InstanceKey, Life> lives_;  // never forgotten: a second start of a key must be seen
  std::vector<StartRequest> starts_;
  std::vector<Sent> sent_;
  std::vector<Stopped> stops_;
  std::vector<LogFollower*> followers_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  // posted work looks whether we still are
};

}  // namespace stoker::backend
