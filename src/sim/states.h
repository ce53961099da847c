// Rare states that a run must really have been in: a simulator that never gets there proves nothing
// about them. Counted from outside of the core, by what was told to it and what it ordered.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace stoker::sim {

enum class State : std::uint8_t {
  // requests
  dispatched_at_once,
  dispatched_from_queue,
  dispatched_by_ready_instance,
  refused_queue_full,
  refused_tenant_queue_full,
  refused_queue_timeout,
  refused_load_failed,
  refused_crash_loop,
  refused_no_capacity,
  refused_shutting_down,
  refused_undeliverable,
  refused_removed,
  cancelled_while_queued,
  cancelled_while_loading,
  cancelled_while_running,
  cancel_crossed_the_end,
  cancel_ignored_by_worker,
  undelivered_then_served,
  undelivered_twice,
  ended_twice,
  end_told_after_death,
  failed_with_its_instance,
  expired_behind_busy_instance,
  affinity_kept,
  affinity_moved_for_load,
  two_tenants_waited,
  weights_waited,
  priorities_waited,
  one_tenant_flooded,
  burst_arrived,
  herd_arrived,
  // instances
  started_from_zero,
  started_for_queue_depth,
  started_for_minimum,
  started_by_hand,
  started_again_after_failure,
  started_for_queue_wait,
  started_for_utilization,
  started_for_first_token,
  started_for_request_rate,
  started_as_spare,
  crashed_while_starting,
  crashed_while_loading,
  crashed_while_idle,
  crashed_while_busy,
  crashed_while_draining,
  hung_while_busy,
  hung_while_loading,
  start_timed_out,
  load_stalled,
  load_failed_for_good,
  load_ran_out_of_memory,
  load_took_more_than_estimated,
  memory_overrun,
  slow_load_with_progress,
  start_failed_may_pass,
  start_failed_will_stay,
  start_outcome_unknown,
  ready_of_an_old_life,
  progress_lost,
  ready_told_twice,
  told_late,
  told_out_of_order,
  worker_slowed,
  died_slowly,
  load_failed_partly,
  paused_then_went_on,
  stopped_idle,
  kept_by_its_price,
  stopped_last_idle,
  stopped_while_loading_abandoned,
  drained_to_the_end,
  drain_limit_cut,
  graceful_stop_overdue,
  unkillable,
  unkillable_gone_at_last,
  backoff_waited,
  crash_loop_entered,
  crash_loop_left_by_hand,
  // rooms
  waited_for_room,
  evicted_idle,
  evicted_two_for_one,
  swapped_busy,
  all_busy,
  shared_weights_resident,
  two_models_on_a_device,
  several_devices_taken,
  exclusive_device_taken,
  share_taken,
  labels_decided,
  device_lost_idle,
  device_lost_while_loading,
  device_lost_while_busy,
  device_returned,
  device_distrusted,
  devices_swizzled,
  processes_swizzled,
  pool_start_placed_late,
  pool_start_given_up,
  pool_quota_reached,
  // where weights lie
  started_from_host_memory,
  started_from_disk,
  started_from_remote,
  tier_lost,
  model_lost,
  store_full,
  model_on_two_nodes,
  // suspended instances
  suspended_idle,
  suspended_to_make_room,
  suspended_for_swap,
  suspended_again,
  resumed_for_request,
  resumed_by_hand,
  resumed_for_minimum,
  resumed_for_load,
  asked_back_while_suspending,
  waited_for_own_devices,
  started_elsewhere,
  started_beside_suspended,
  host_room_made,
  host_room_awaited,
  suspended_until_unlikely,
  suspend_refused,
  suspend_outcome_unknown,
  suspend_kept_device_memory,
  suspended_larger_than_estimated,
  host_overrun,
  resume_refused,
  resume_outcome_unknown,
  crashed_while_suspending,
  crashed_while_suspended,
  crashed_while_resuming,
  hung_while_suspended,
  device_lost_while_suspended,
  server_crashed_while_suspended,
  stopped_by_hand_while_suspended,
  removed_while_suspended,
  // metering
  limit_requests,
  limit_input_tokens,
  limit_output_tokens,
  limit_device_time,
  limit_concurrency,
  limit_budget,
  limit_of_tenant,
  limit_can_never_pass,
  limit_lowered_below_use,
  day_slid_on,
  budget_freed,
  key_removed_while_open,
  reservation_grown,
  limit_reached_while_running,
  budget_used_up_while_running,
  reservation_released,
  reservation_lost_in_crash,
  ended_without_running,
  use_below_estimate,
  price_changed_while_open,
  usage_reported_twice,
  usage_reported_out_of_order,
  usage_reported_less,
  usage_reported_after_end,
  usage_report_nonsense,
  device_time_split_between_tenants,
  device_time_rest_carried,
  // the whole
  deployment_changed_while_running,
  maximum_lowered_below_live,
  minimum_raised_above_live,
  minimum_lowered_below_live,
  deployment_removed_while_busy,
  shut_down_while_busy,
  shutdown_limit_cut,
  server_crashed_while_loading,
  server_crashed_while_busy,
  overslept,
  clock_stepped,
  // paired runs
  looped_beside_others,
  count_
};
inline constexpr std::size_t state_count = static_cast<std::size_t>(State::count_);

[[nodiscard]] const char* to_text(State state);

class StateCounts {
 public:
  void reached(State state) { ++counts_[static_cast<std::size_t>(state)]; }
  void add(const StateCounts& other) {
    for (std::size_t i = 0; i < state_count; ++i) counts_[i] += other.counts_[i];
  }
  [[nodiscard]] std::uint64_t of(State state) const {
    return counts_[static_cast<std::size_t>(state)];
  }
  [[nodiscard]] std::int32_t reached_states() const {
    std::int32_t reached = 0;
    for (const std::uint64_t each : counts_) reached += each > 0 ? 1 : 0;
    return reached;
  }

 private:
  std::array<std::uint64_t, state_count> counts_{};
};

}  // namespace stoker::sim
