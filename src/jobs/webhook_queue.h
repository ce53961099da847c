// Calls the URLs that jobs name once they have ended: what is to be called is in the jobs' file
// until it has been, so that a restart forgets nothing. At least once, always under the same id.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "access/webhook_secrets.h"
#include "base/prng.h"
#include "jobs/job_store.h"
#include "net/event_loop.h"
#include "obs/log.h"
#include "outbound/poster.h"

namespace stoker::jobs {

struct WebhookOptions {
  Duration give_up_after = minutes(24 * 60);  // from the end of the job
  Duration first_pause = seconds(5);          // then four times as long each time, and
  Duration longest_pause = minutes(60);
  Duration timeout = seconds(15);
  std::size_t most_at_once = 32;
  std::size_t most_of_a_host = 4;  // so that one that hangs does not take them all
};

/// Before the next try, after `attempts` that failed: between half of what it would be and the
/// whole, so that calls that failed together do not come back together. Not less than what the
/// receiver asked for with Retry-After, up to the longest pause.
[[nodiscard]] Duration webhook_pause(const WebhookOptions& options, std::int64_t attempts,
                                     Duration retry_after, Prng& random);

/// Threads: the loop's only.
class WebhookQueue {
 public:
  /// All of it outlives the queue.
  WebhookQueue(net::EventLoop& loop, JobStore& store, outbound::Poster& poster,
               const access::WebhookSecrets& secrets, obs::Logger& log, WebhookOptions options);
  ~WebhookQueue();
  WebhookQueue(const WebhookQueue&) = delete;
  WebhookQueue& operator=(const WebhookQueue&) = delete;

  /// Calls what is due, and again when more is. After each change of what the store holds.
  void pump();

 private:
  void send(Webhook webhook);
  void heard(const Webhook& webhook, WallTime give_up_at, const outbound::PostAnswer& answer);
  [[nodiscard]] std::vector<std::string> busy_hosts() const;
  void unwritten(const Error& error);

  net::EventLoop& loop_;
  JobStore& store_;
  outbound::Poster& poster_;
  const access::WebhookSecrets& secrets_;
  obs::Logger& log_;
  const WebhookOptions options_;
  Prng random_;
  std::set<std::string> under_way_;           // ids
  std::map<std::string, std::size_t> hosts_;  // of those
  net::TimerId timer_ = 0;
  /// To here, for answers that come when this and its loop may be gone.
  struct Line {
    std::mutex mutex;
    WebhookQueue* queue;  // guarded by mutex; null once it is gone
  };
  std::shared_ptr<Line> line_;
};

}  // namespace stoker::jobs
