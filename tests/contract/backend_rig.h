// What the backend suites share: a loop that runs until something has happened, a listener that
// writes everything down, and temporary folders.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/instance_backend.h"
#include "net/clock.h"
#include "net/event_loop.h"

namespace stoker::backend {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "stoker-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// What was heard of one instance.
struct Heard {
  int hellos = 0;
  std::vector<WorkerMessage> messages;
  std::vector<std::string> breaches;
  int unkillable = 0;
  std::vector<ExitInfo> exits;

  template <class Message>
  [[nodiscard]] const Message* find() const {
    for (const WorkerMessage& message : messages) {
      if (const auto* found = std::get_if<Message>(&message)) return found;
    }
    return nullptr;
  }
};

class Recorder final : public BackendListener {
 public:
  explicit Recorder(net::EventLoop& loop) : loop_(loop) {}
  void on_hello(InstanceKey key, const WorkerHello&) override {
    ++live(key).hellos;
    if (after_hello) after_hello(key);
    loop_.stop();
  }
  void on_message(InstanceKey key, const WorkerMessage& message) override {
    EXPECT_TRUE(live(key).breaches.empty()) << "a message after a breach";
    live(key).messages.push_back(message);
    loop_.stop();
  }
  void on_contract_breach(InstanceKey key, const std::string& what) override {
    live(key).breaches.push_back(what);
    loop_.stop();
  }
  void on_unkillable(InstanceKey key) override {
    ++live(key).unkillable;
    loop_.stop();
  }
  void on_exited(InstanceKey key, const ExitInfo& exit) override {
    live(key).exits.push_back(exit);
    loop_.stop();
  }
  Heard& of(InstanceKey key) { return heard_[key]; }

  std::function<void(InstanceKey)> after_hello;

 private:
  Heard& live(InstanceKey key) {
    EXPECT_TRUE(heard_[key].exits.empty()) << "news of an instance that has exited";
    return heard_[key];
  }
  net::EventLoop& loop_;
  std::map<InstanceKey, Heard> heard_;
};

/// Runs the loop until `done`; the test fails if that takes 20 s.
inline void run_until(net::EventLoop& loop, const std::function<bool()>& done) {
  bool late = false;
  const net::TimerId guard = loop.run_at(net::monotonic_now() + seconds(20), [&] {
    late = true;
    loop.stop();
  });
  while (!done() && !late) loop.run();
  loop.cancel(guard);
  EXPECT_FALSE(late) << "waited 20 s in vain";
}

inline InstanceKey key_of(std::uint64_t instance) {
  return {InstanceId{instance}, Generation{1}};
}

inline constexpr const char* load_order =
    R"({"type":"load","deployment":"chat","options":{},"concurrency":1,"device":{"kind":"cpu","id":"cpu0"},"warmup":true})";

/// Unique on the machine: another run of these tests may be going on.
inline std::string nonce_of(std::uint64_t instance) {
  return "nonce-" + std::to_string(::getpid()) + "-" + std::to_string(instance);
}

/// A worker that does what `behaviour` says (tiny_worker.cpp).
inline StartRequest tiny_instance(std::uint64_t instance, const std::string& behaviour = "normal") {
  StartRequest request;
  request.key = key_of(instance);
  request.name = "chat/" + std::to_string(instance);
  request.worker = "tiny";
  request.nonce = nonce_of(instance);
  request.env = {{"TINY", behaviour}};
  request.load_order = load_order;
  return request;
}

}  // namespace stoker::backend
