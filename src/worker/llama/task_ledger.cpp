#include "worker/llama/task_ledger.h"

#include <algorithm>

#include "base/invariant.h"

namespace stoker::worker {

namespace {
thread_local RequestTasks* bound_request = nullptr;
}  // namespace

TaskLedger::TaskLedger(WorkerCounters& counters, StepPacer pacer)
    : counters_(counters), pacer_(pacer) {
  n_prompt_step = pacer_.bound();
}

void TaskLedger::on_posted(const std::unordered_set<int>& id_tasks) {
  STOKER_INVARIANT(bound_request != nullptr, "{} tasks posted outside a request", id_tasks.size());
  const std::lock_guard lock(mutex_);
  for (const int id : id_tasks) owners_.emplace(id, bound_request);
  bound_request->open_ += id_tasks.size();
}

std::uint64_t TaskLedger::cache_owner() {
  STOKER_INVARIANT(bound_request != nullptr, "tasks posted outside a request");
  return bound_request->cache_owner_;
}

void TaskLedger::on_released(int id_task, bool is_child, const server_slot_stats& stats) {
  const auto output = static_cast<std::int64_t>(stats.n_gen);
  count_tokens(counters_, stats.n_gen);
  const std::lock_guard lock(mutex_);
  const auto owner = owners_.find(id_task);
  if (owner == owners_.end()) return;
  RequestTasks& request = *owner->second;
  request.usage_.output += output;
  // A child (n > 1) starts from a copy of its parent's prompt; it is billed once.
  if (!is_child) {
    const auto cached = static_cast<std::int64_t>(stats.n_prompt_cached);
    request.usage_.input += cached + static_cast<std::int64_t>(stats.n_prompt_processed);
    request.usage_.cached += cached;
  }
  // A prompt that is refused holds a slot for a moment, and the device not at all.
  const bool computed = stats.n_prompt_cached + stats.n_prompt_processed + stats.n_gen > 0;
  if (stats.t_start > 0 && computed) {
    request.first_us_ =
        request.first_us_ == 0 ? stats.t_start : std::min(request.first_us_, stats.t_start);
    request.last_us_ = ggml_time_us();
  }
  let_go(id_task);
}

void TaskLedger::on_cancelled(int id_task) {
  const std::lock_guard lock(mutex_);
  let_go(id_task);
}

void TaskLedger::on_step(std::int32_t tokens, std::int64_t took_us) {
  count_step(counters_);
  n_prompt_step = pacer_.after_step(tokens, us(took_us));
}

void TaskLedger::let_go(int id_task) {
  const auto owner = owners_.find(id_task);
  if (owner == owners_.end()) return;
  RequestTasks& request = *owner->second;
  owners_.erase(owner);
  if (--request.open_ == 0) request.idle_.notify_all();
}

RequestTasks::RequestTasks(TaskLedger& ledger, std::uint64_t cache_owner)
    : ledger_(ledger), cache_owner_(cache_owner) {
  STOKER_INVARIANT(bound_request == nullptr, "two requests on one thread");
  bound_request = this;
}

RequestTasks::~RequestTasks() {
  wait();
  bound_request = nullptr;
}

RequestUsage RequestTasks::wait() {
  std::unique_lock lock(ledger_.mutex_);
  idle_.wait(lock, [this] { return open_ == 0; });
  usage_.device_ms = (last_us_ - first_us_ + 500) / 1000;
  return usage_;
}

}  // namespace stoker::worker
