#include "backend/fake/fake_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/invariant.h"
#include "base/json_writer.h"

namespace stoker::backend {
namespace {

constexpr int killed_signal = 9;
constexpr int crash_signal = 11;
constexpr int load_failed_code = 3;

template <class Body>
std::string packet(std::string_view type, Body&& body) {
  JsonWriter json;
  json.object([&] {
    json.field("type", type);
    body(json);
  });
  return json.take();
}

std::string hello_packet(const StartRequest& request) {
  return packet("hello", [&](JsonWriter& json) {
    json.field("contract", worker_contract);
    json.field("worker", request.worker);
    json.field("version", "fake");
    json.field("nonce", request.nonce);
    json.field("pid", 1);
  });
}

std::string memory_packet(std::string_view type, const FakeBackend::Script& script) {
  return packet(type, [&](JsonWriter& json) {
    json.field("private_bytes", script.private_bytes.value);
    json.field("shared_bytes", script.shared_bytes.value);
  });
}

ExitInfo exit_of(ExitKind kind, int value) {
  ExitInfo exit{.kind = kind, .value = value, .text = {}, .log_tail = "last words\n"};
  switch (kind) {
    case ExitKind::code:
      exit.text = fmt::format("exit {}", value);
      break;
    case ExitKind::signal:
      exit.text = fmt::format("signal {}", value);
      break;
    case ExitKind::oom:
      exit.text = "oom";
      break;
    case ExitKind::start_failed:
      exit.text = "the fake was told not to start";
      exit.log_tail.clear();
      break;
  }
  return exit;
}

}  // namespace

void FakeBackend::set_script(const std::string& worker, Script script) {
  scripts_[worker] = std::move(script);
}

void FakeBackend::set_listener(BackendListener& listener) {
  STOKER_INVARIANT(listener_ == nullptr, "{} listeners", 2);
  listener_ = &listener;
}

Result<void> FakeBackend::start(const StartRequest& request) {
  STOKER_INVARIANT(listener_ != nullptr, "{}: no listener", request.name);
  STOKER_INVARIANT(request.key.instance && request.key.generation, "{}: a key of 0", request.name);
  STOKER_INVARIANT(!request.nonce.empty(), "{}: no nonce", request.name);
  if (lives_.contains(request.key)) return {};
  if (Result<void> right = check_start_request(request); !right) return right;
  for (const auto& [key, life] : lives_) {
    STOKER_INVARIANT(life.ended || life.request.name != request.name, "{}: two live instances",
                     request.name);
  }
  const auto own = scripts_.find(request.worker);
  const Script script = own != scripts_.end() ? own->second : scripts_[""];
  lives_.emplace(request.key, Life{.request = request,
                                   .script = script,
                                   .conversation = WorkerConversation({.worker = request.worker,
                                                                       .nonce = request.nonce,
                                                                       .endpoint = script.endpoint,
                                                                       .loopback_allowed = true})});
  starts_.push_back(request);
  later(request.key, &FakeBackend::boot);
  return {};
}

void FakeBackend::later(InstanceKey key, void (FakeBackend::*action)(InstanceKey, Life&)) {
  loop_.post([this, alive = std::weak_ptr<int>(alive_), key, action] {
    if (alive.expired()) return;
    Life& life = lives_.at(key);
    if (!life.ended) (this->*action)(key, life);
  });
}

void FakeBackend::boot(InstanceKey key, Life& life) {
  if (life.script.boot == Boot::silent || life.phase == InstancePhase::stopping) return;
  if (life.script.boot == Boot::start_fails || life.script.boot == Boot::cannot_start) {
    ExitInfo exit = exit_of(ExitKind::start_failed, 0);
    exit.will_stay = life.script.boot == Boot::cannot_start;
    finish(key, life, exit);
    return;
  }
  deliver(key, life, hello_packet(life.request));
  if (life.ended) return;
  switch (life.script.boot) {
    case Boot::automatic:
      deliver(key, life, memory_packet("loaded", life.script));
      deliver(key, life, memory_packet("ready", life.script));
      break;
    case Boot::load_fails:
      deliver(key, life, packet("load_failed", [](JsonWriter& json) {
                json.field("code", "model_broken");
                json.field("message", "the fake was told to fail");
              }));
      finish(key, life, exit_of(ExitKind::code, load_failed_code));
      break;
    case Boot::crash:
      finish(key, life, exit_of(ExitKind::signal, crash_signal));
      break;
    case Boot::hello_only:
    case Boot::silent:
    case Boot::start_fails:
    case Boot::cannot_start:
      break;
  }
}

void FakeBackend::say(InstanceKey key, std::string_view packet) {
  const auto found = lives_.find(key);
  STOKER_INVARIANT(found != lives_.end() && !found->second.ended, "{}: not live",
                   key.instance.value);
  deliver(key, found->second, packet);
}

void FakeBackend::deliver(InstanceKey key, Life& life, std::string_view packet) {
  if (life.breached || life.ended) return;
  const Result<WorkerMessage> message = life.conversation.accept(packet);
  if (!message) {
    life.breached = true;
    listener_->on_contract_breach(key, message.error().message);
  } else if (const auto* hello = std::get_if<WorkerHello>(&*message)) {
    if (life.phase == InstancePhase::starting) life.phase = InstancePhase::running;
    if (!life.request.load_order.empty()) sent_.push_back({key, life.request.load_order});
    listener_->on_hello(key, *hello);
  } else {
    listener_->on_message(key, *message);
  }
}

void FakeBackend::exit(InstanceKey key, ExitKind kind, int value) {
  const auto found = lives_.find(key);
  STOKER_INVARIANT(found != lives_.end() && !found->second.ended, "{}: not live",
                   key.instance.value);
  finish(key, found->second, exit_of(kind, value));
}

void FakeBackend::report_unkillable(InstanceKey key) {
  listener_->on_unkillable(key);
}

void FakeBackend::finish(InstanceKey key, Life& life, const ExitInfo& exit) {
  life.ended = true;
  listener_->on_exited(key, exit);
}

void FakeBackend::send(InstanceKey key, std::string_view json_packet) {
  STOKER_INVARIANT(json_packet.size() <= control_packet_bytes, "a packet of {} bytes",
                   json_packet.size());
  const auto found = lives_.find(key);
  if (found == lives_.end() || found->second.ended || found->second.breached) return;
  sent_.push_back({key, std::string(json_packet)});
}

void FakeBackend::stop(InstanceKey key, StopMode mode, Duration grace) {
  const auto found = lives_.find(key);
  if (found == lives_.end() || found->second.ended) return;
  Life& life = found->second;
  stops_.push_back({key, mode, grace});
  life.phase = InstancePhase::stopping;
  if (mode == StopMode::kill) {
    if (life.script.obeys_kill) later(key, &FakeBackend::obey_kill);
  } else if (life.script.obeys_shutdown) {
    later(key, &FakeBackend::obey_shutdown);
  }
}

void FakeBackend::obey_kill(InstanceKey key, Life& life) {
  finish(key, life, exit_of(ExitKind::signal, killed_signal));
}
void FakeBackend::obey_shutdown(InstanceKey key, Life& life) {
  finish(key, life, exit_of(ExitKind::code, 0));
}

std::vector<InstanceInfo> FakeBackend::list() const {
  std::vector<InstanceInfo> infos;
  for (const auto& [key, life] : lives_) {
    if (life.ended) continue;
    infos.push_back({.key = key, .name = life.request.name, .phase = life.phase, .pid = 0});
  }
  return infos;
}

std::vector<pid_t> FakeBackend::processes_of(InstanceKey) const {
  return {};
}

std::string FakeBackend::log_tail(std::string_view name, std::size_t) const {
  for (const auto& [key, life] : lives_) {
    if (life.request.name == name) return "last words\n";
  }
  return {};
}

std::vector<std::string> FakeBackend::log_names(std::string_view deployment) const {
  std::vector<std::string> names;
  for (const auto& [key, life] : lives_) {
    if (deployment.empty() || life.request.name.starts_with(fmt::format("{}/", deployment))) {
      names.push_back(life.request.name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

void FakeBackend::follow_logs(LogFollower& follower) {
  followers_.push_back(&follower);
}
void FakeBackend::unfollow_logs(LogFollower& follower) {
  std::erase(followers_, &follower);
}

void FakeBackend::write_log(InstanceKey key, std::string_view bytes) {
  const std::string& name = lives_.at(key).request.name;
  for (LogFollower* follower : followers_) follower->on_log(name, bytes);
}

}  // namespace stoker::backend
