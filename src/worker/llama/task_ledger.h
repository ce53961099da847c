// Books of what each request did on llama.cpp's compute thread: which tasks it posted, and what
// each had used when its slot let go of it, whatever the reason. It hears of it from the hooks of
// third_party/patches/llama-worker-hooks.patch, not from answer bodies, which hold no counts for
// requests that were cancelled or failed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "server-hooks.h"
#include "worker/counters.h"
#include "worker/exchange.h"
#include "worker/llama/step_pacer.h"

namespace stoker::worker {

class RequestTasks;

/// One per loaded model. Threads: all hooks come from handler threads or the compute thread.
class TaskLedger final : public server_hooks {
 public:
  TaskLedger(WorkerCounters& counters, StepPacer pacer);

  void on_posted(const std::unordered_set<int>& id_tasks) override;
  std::uint64_t cache_owner() override;
  void on_released(int id_task, bool is_child, const server_slot_stats& stats) override;
  void on_cancelled(int id_task) override;
  void on_step(std::int32_t tokens, std::int64_t took_us) override;

 private:
  friend class RequestTasks;
  void let_go(int id_task);

  WorkerCounters& counters_;
  StepPacer pacer_;  // compute thread only
  std::mutex mutex_;
  std::unordered_map<int, RequestTasks*> owners_;
};

/// The tasks of one request. Tasks that the constructing thread posts while it lives are its own.
/// Needs: at most one per thread at a time; wait() before the end.
class RequestTasks {
 public:
  /// `cache_owner`: what the tasks compute of prompts is reused only for the same one.
  RequestTasks(TaskLedger& ledger, std::uint64_t cache_owner);
  ~RequestTasks();
  RequestTasks(const RequestTasks&) = delete;
  RequestTasks& operator=(const RequestTasks&) = delete;

  /// Blocks until no slot and no queue holds a task of this request; after a cancel that is at most
  /// one step. Gives: what they used in all. `cached` is part of `input`; `device_ms` runs from the
  /// first token computed to the last slot let go.
  RequestUsage wait();

 private:
  friend class TaskLedger;

  TaskLedger& ledger_;
  const std::uint64_t cache_owner_;
  std::condition_variable idle_;
  std::size_t open_ = 0;  // this and below: under ledger_.mutex_
  RequestUsage usage_;
  std::int64_t first_us_ = 0;  // on ggml's clock; 0: nothing computed yet
  std::int64_t last_us_ = 0;
};

}  // namespace stoker::worker
