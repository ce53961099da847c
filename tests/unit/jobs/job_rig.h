// What the tests of jobs share: a folder that goes away, a gateway and a poster that write down
// what they are asked for, and a service between them.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "jobs/job_service.h"
#include "jobs/job_store.h"
#include "support/temp_dir.h"

namespace stoker::jobs {

class Folder {
 public:
  [[nodiscard]] std::filesystem::path file() const { return dir_ / "jobs.db"; }

 private:
  TempDir dir_;
};

/// What came so far, in order; takes and waits from the test's thread.
template <class T>
class Inbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  /// The next one; a default one, and a failure, if none comes for 20 s, which only a bug does.
  T next() {
    std::unique_lock lock(mutex_);
    const bool came =
        changed_.wait_for(lock, std::chrono::seconds(20), [&] { return taken_ < values_.size(); });
    EXPECT_TRUE(came) << "nothing comes";
    return came ? values_[taken_++] : T{};
  }
  [[nodiscard]] std::size_t left() {
    const std::lock_guard lock(mutex_);
    return values_.size() - taken_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<T> values_;
  std::size_t taken_ = 0;
};

struct Launched {
  gateway::DetachedRequest request;
  std::shared_ptr<gateway::DetachedSink> sink;
};

class FakeLauncher final : public gateway::RequestLauncher {
 public:
  void launch(gateway::DetachedRequest request,
              std::shared_ptr<gateway::DetachedSink> sink) override {
    launched.put({std::move(request), std::move(sink)});
  }
  void cancel_launched(RequestId request) override { cancelled.put(request); }

  Inbox<Launched> launched;
  Inbox<RequestId> cancelled;
};

struct Posted {
  outbound::PostRequest request;
  std::function<void(outbound::PostAnswer)> done;

  /// The value of a field; empty if there is none.
  [[nodiscard]] std::string field(const std::string& name) const {
    for (const std::string& each : request.fields) {
      if (each.starts_with(name + ": ")) return each.substr(name.size() + 2);
    }
    return {};
  }
};

class FakePoster final : public outbound::Poster {
 public:
  [[nodiscard]] Result<std::string> check(std::string_view url) const override {
    if (!url.starts_with("https://")) return failure(ErrorCode::invalid, "is not public");
    url.remove_prefix(8);
    return std::string(url.substr(0, url.find('/')));
  }
  void post(outbound::PostRequest request,
            std::function<void(outbound::PostAnswer)> done) override {
    posted.put({std::move(request), std::move(done)});
  }

  Inbox<Posted> posted;
};

struct Told {
  int status = 0;
  std::string json;
  std::string fields;
  RequestId request;  // whose answer it is, if one's
};

/// A service on a file, with one deployment "e" and tenants "default" and "acme".
class JobRig : public ::testing::Test {
 protected:
  ~JobRig() override { stop(); }

  void start() {
    static const gateway::DirectoryPtr directory = [] {
      gateway::Deployment e;
      e.id = DeploymentId{1};
      e.name = "e";
      return gateway::Directory::create({e}).value();
    }();
    service = JobService::create(JobStore::open(folder.file()).value(), options,
                                 {.new_request_id = [this] { return RequestId{++requests}; },
                                  .earlier_end = [this](RequestId) { return earlier; },
                                  .workers = [](const std::string&) { return Workers{}; },
                                  .window =
                                      [this](const std::string&) {
                                        pass_gate();
                                        return window;
                                      },
                                  .directory = directory,
                                  .poster = poster,
                                  .webhook_secrets = secrets,
                                  .log = log})
                  .value();
    deployment = directory->find("e");
    service->start(launcher, std::make_shared<const access::KeyRing>(
                                 std::vector<access::Key>{key(1, "default"), key(2, "acme")}));
  }
  void stop() { service.reset(); }
  /// Another life of the server.
  void restart() {
    stop();
    start();
  }

  /// What `calls` sends comes to the service in one round of its loop. Submits a job for that,
  /// whose round ends only afterwards.   Gives: its id.
  std::string in_one_round(const std::function<void()>& calls) {
    std::promise<void> go;
    std::promise<void> holds;
    {
      const std::lock_guard lock(gate_mutex_);
      go_ = go.get_future();
      holds_ = &holds;
    }
    std::future<Told> other = call(gateway::JobVerb::run, R"({"input":{"prompt":"x"}})");
    holds.get_future().wait();
    calls();
    go.set_value();
    return id_of(other.get().json);
  }

  static access::Key key(std::uint64_t id, const std::string& tenant) {
    access::Key key;
    key.id = KeyId{id};
    key.tenant_name = tenant;
    key.digest = access::Digest("secret " + tenant);
    return key;
  }

  gateway::JobCall a_call(gateway::JobVerb verb, std::uint64_t as) {
    gateway::JobCall what;
    what.verb = verb;
    what.deployment = deployment;
    what.key = std::make_shared<const access::Key>(key(as, as == 1 ? "default" : "acme"));
    return what;
  }
  std::future<Told> send(gateway::JobCall what) {
    struct Reply final : gateway::JobReply {
      std::promise<Told> told;
      bool answered = false;
      void answer(int status, std::string json) override {
        answer_with(status, {}, {}, std::move(json));
      }
      void answer_with(int status, RequestId request, std::string fields,
                       std::string body) override {
        answered = true;
        told.set_value({status, std::move(body), std::move(fields), request});
      }
      void refuse(gateway::ApiError error, RequestId request, std::string fields) override {
        answer_with(error.status, request, std::move(fields), error.code + ": " + error.message);
      }
      ~Reply() override {
        if (!answered) told.set_value({503, "dropped", {}, {}});
      }
    };
    auto reply = std::make_shared<Reply>();
    std::future<Told> told = reply->told.get_future();
    service->call(std::move(what), std::move(reply));
    return told;
  }
  std::future<Told> call(gateway::JobVerb verb, std::string body, std::string job = {},
                         std::string idempotency_key = {}, std::uint64_t as = 1) {
    gateway::JobCall what = a_call(verb, as);
    what.job = std::move(job);
    what.body = std::move(body);
    what.idempotency_key = std::move(idempotency_key);
    return send(std::move(what));
  }
  /// A request of another route that is to go on as a job after `wait`.
  std::future<Told> call_route(const std::string& target, std::string body, Duration wait,
                               std::string idempotency_key = {}) {
    gateway::JobCall what = a_call(gateway::JobVerb::call, 1);
    what.target = target;
    what.body = std::move(body);
    what.wait = wait;
    what.idempotency_key = std::move(idempotency_key);
    return send(std::move(what));
  }
  Told submit(const std::string& more = "", const std::string& idempotency_key = {}) {
    return call(gateway::JobVerb::run, R"({"input":{"prompt":"x"})" + more + "}", {},
                idempotency_key)
        .get();
  }
  /// Of a job that is accepted.
  std::string submitted(const std::string& more = "") {
    const Told told = submit(more);
    EXPECT_EQ(told.status, 200) << told.json;
    return id_of(told.json);
  }
  static std::string id_of(const std::string& json) {
    const std::size_t begin = json.find("job-");
    return begin == json.npos ? json : json.substr(begin, json.find('"', begin) - begin);
  }
  Told status(const std::string& job, std::uint64_t as = 1) {
    return call(gateway::JobVerb::status, "", job, "", as).get();
  }
  /// Waits for its end.
  Told ended(const std::string& job) { return call(gateway::JobVerb::status_sync, "", job).get(); }
  static void complete(const Launched& launched, std::string body = R"({"ok":1})") {
    launched.sink->on_dispatched("e/1");
    launched.sink->on_end(200, "application/json", std::move(body));
  }

  Folder folder;
  obs::Logger log{{.level = obs::Level::error}};
  FakeLauncher launcher;
  FakePoster poster;
  access::WebhookSecrets secrets{"0123456789abcdef"};
  JobServiceOptions options;
  std::size_t window = 100;
  EarlierEnd earlier = EarlierEnd::never_ran;
  std::atomic<std::uint64_t> requests = 100;
  gateway::DeploymentPtr deployment;
  std::unique_ptr<JobService> service;

 private:
  void pass_gate() {
    std::unique_lock lock(gate_mutex_);
    if (holds_ == nullptr) return;
    const std::future<void> go = std::move(go_);
    std::exchange(holds_, nullptr)->set_value();
    lock.unlock();
    go.wait();
  }
  std::mutex gate_mutex_;
  std::future<void> go_;
  std::promise<void>* holds_ = nullptr;  // set: the next look at the window waits for go_
};

}  // namespace stoker::jobs
