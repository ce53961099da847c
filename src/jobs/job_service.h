// Keeps jobs and runs them: RunPod's job API over the gateway. A thread of its own; what one round
// of its loop changes is one transaction, and nobody hears of anything that is not on the disk.
//
// A job waits here, not in the core's queue, so that it can wait for days: only so many of a
// deployment are handed to the gateway as its instances can run, and a few more, so that the
// autoscaler sees that there is work. One that never ran is handed over again, also after a crash;
// one that a worker had is not.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "access/key_ring.h"
#include "gateway/detached.h"
#include "gateway/job_api.h"
#include "jobs/job_store.h"
#include "jobs/webhook_queue.h"
#include "net/event_loop.h"
#include "net/sse.h"
#include "obs/log.h"

namespace stoker::jobs {

/// What became of a request of an earlier life.
enum class EarlierEnd : std::uint8_t {
  never_ran,
  ran,  // a worker had it; whatever it did is not to be done twice
};

struct Workers {
  std::int64_t ready = 0;
  std::int64_t starting = 0;
  std::int64_t in_flight = 0;
};

struct JobServiceOptions {
  std::size_t most_open = 100'000;  // of a deployment; beyond: 429
  std::size_t most_output = std::size_t{16} << 20;
  Duration retention = minutes(24 * 60);  // of ended jobs
  WebhookOptions webhooks;
};

/// What the service is built on. All of it outlives the service; threads: any.
struct JobServiceParts {
  std::function<RequestId()> new_request_id;
  std::function<EarlierEnd(RequestId)> earlier_end;
  std::function<Workers(const std::string& deployment)> workers;
  /// How many of a deployment may be with the gateway at a time.
  std::function<std::size_t(const std::string& deployment)> window;
  gateway::DirectoryPtr directory;  // the first one
  outbound::Poster& poster;         // to webhooks
  const access::WebhookSecrets& webhook_secrets;
  obs::Logger& log;
};

class JobService final : public gateway::JobApi, private net::RoundEndHook {
 public:
  /// Errors: those of JobStore::open_jobs and of making a loop.
  [[nodiscard]] static Result<std::unique_ptr<JobService>> create(JobStore store,
                                                                  JobServiceOptions options,
                                                                  JobServiceParts parts);
  ~JobService() override;

  /// Takes up what an earlier life left, and begins to run jobs.
  /// Needs: called once; `launcher` outlives the service's stop().
  void start(gateway::RequestLauncher& launcher, access::KeyRingPtr keys);
  void call(gateway::JobCall call, std::shared_ptr<gateway::JobReply> reply) override;
  /// Threads: any.
  void replace_keys(access::KeyRingPtr keys);
  /// Threads: any.
  void replace_directory(gateway::DirectoryPtr directory);
  /// Hands nothing over any more; what runs goes on. Threads: any.
  void begin_drain();
  /// Writes what is not written and ends the thread; who waits for an answer is told. Threads: any
  /// but its own. May be called twice.
  void stop();

 private:
  struct Waiter {
    std::shared_ptr<gateway::JobReply> reply;
    net::TimerId timer = 0;
    bool as_called = false;  // wants the answer as its route gives it, not the job
  };
  /// A job that has not ended, or whose stream is still being read.
  struct Live {
    Job job;  // without its body
    bool handed_over = false;
    bool dispatched = false;
    std::vector<std::string> chunks;  // of a stream, JSON each
    std::size_t read_chunks = 0;
    std::string bytes;         // of an answer that came in pieces and is no stream
    std::string content_type;  // of that, and
    std::string answer;        // all of it, for those who called
    std::size_t size = 0;
    net::SseFramer framer{std::size_t{1} << 20};
    std::vector<Waiter> waiters;         // for its end
    std::vector<Waiter> stream_waiters;  // for the next pieces of its stream
    Duration pause = seconds(1);         // before it is handed over again
  };
  using LivePtr = std::shared_ptr<Live>;
  class Sink;
  struct Submission {
    LivePtr live;
    std::string idempotency_key;
    std::string fingerprint;
    bool at_once = false;  // somebody waits for it as for any request: it does not queue here
    std::function<void(bool stored)> then;
  };
  struct Queue {
    std::set<std::pair<bool, std::uint64_t>> waiting;  // low priority, number
    std::map<std::uint64_t, LivePtr> by_number;        // of those
    std::size_t with_gateway = 0;
    std::size_t open = 0;
    std::int64_t completed = 0;
    std::int64_t failed = 0;
    std::int64_t retried = 0;
  };

  JobService(JobStore store, JobServiceOptions options, JobServiceParts parts,
             std::unique_ptr<net::EventLoop> loop);

  void take_up();
  void answer(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void submit(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  [[nodiscard]] bool repeated(const gateway::JobCall& call, const std::string& fingerprint,
                              const std::shared_ptr<gateway::JobReply>& reply);
  void call_again(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void wait_for(const LivePtr& live, const gateway::JobCall& call,
                const std::shared_ptr<gateway::JobReply>& reply);
  void show(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void give_stream(Live& live, const std::shared_ptr<gateway::JobReply>& reply);
  void answer_stream_waiters(Live& live);
  void show_stream(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void cancel(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void retry(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void purge(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void show_health(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  void list(const gateway::JobCall& call, const std::shared_ptr<gateway::JobReply>& reply);
  [[nodiscard]] LivePtr find(const gateway::JobCall& call) const;
  /// The job as it is stored, or 404 to `reply`.
  [[nodiscard]] std::optional<Job> stored(const gateway::JobCall& call,
                                          const std::shared_ptr<gateway::JobReply>& reply);
  [[nodiscard]] std::string status_of(const Live& live) const;
  void answer_end(const Live& live, const Waiter& waiter) const;

  void enqueue(const LivePtr& live);
  void end_if_late(const LivePtr& live);
  void pump(const std::string& deployment);
  void hand_over(const LivePtr& live);
  void launch(const LivePtr& live);
  void give_back(const LivePtr& live);
  void on_dispatched(const LivePtr& live, std::string worker);
  void on_bytes(const LivePtr& live, std::string_view bytes);
  void on_end(const LivePtr& live, int status, const std::string& content_type, std::string body);
  void finish(const LivePtr& live, JobState state, std::string error);
  void leave_gateway(Live& live);
  [[nodiscard]] Result<void> note_webhook(const Job& job);
  void changed(const LivePtr& live);
  void after_commit(std::function<void()> action);
  void on_round_end() override;
  void sweep();

  JobStore store_;
  const JobServiceOptions options_;
  const JobServiceParts parts_;
  std::unique_ptr<net::EventLoop> loop_;
  std::thread thread_;
  gateway::RequestLauncher* launcher_ = nullptr;
  access::KeyRingPtr keys_;
  gateway::DirectoryPtr directory_;
  bool draining_ = false;
  WebhookQueue webhooks_;
  std::map<std::string, LivePtr> live_;
  std::map<std::string, Queue> queues_;
  std::vector<Submission> submissions_;      // of this round
  std::map<std::uint64_t, LivePtr> dirty_;   // changed since they were written
  std::vector<LivePtr> to_launch_;           // once they are written
  std::vector<std::function<void()>> then_;  // once all is written
};

}  // namespace stoker::jobs
