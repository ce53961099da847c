#include "sim/faults.h"

namespace stoker::sim {

const char* to_text(Fault fault) {
  switch (fault) {
    case Fault::process_dies:
      return "process_dies";
    case Fault::process_hangs:
      return "process_hangs";
    case Fault::process_slow:
      return "process_slow";
    case Fault::process_unkillable:
      return "process_unkillable";
    case Fault::process_dies_slowly:
      return "process_dies_slowly";
    case Fault::process_pauses:
      return "process_pauses";
    case Fault::process_resumes:
      return "process_resumes";
    case Fault::ignores_cancel:
      return "ignores_cancel";
    case Fault::unreachable:
      return "unreachable";
    case Fault::message_lost:
      return "message_lost";
    case Fault::message_twice:
      return "message_twice";
    case Fault::message_late:
      return "message_late";
    case Fault::load_fails_for_good:
      return "load_fails_for_good";
    case Fault::load_fails_partly:
      return "load_fails_partly";
    case Fault::load_out_of_memory:
      return "load_out_of_memory";
    case Fault::load_slow:
      return "load_slow";
    case Fault::load_larger:
      return "load_larger";
    case Fault::spawn_fails_may_pass:
      return "spawn_fails_may_pass";
    case Fault::spawn_fails_will_stay:
      return "spawn_fails_will_stay";
    case Fault::spawn_outcome_unknown:
      return "spawn_outcome_unknown";
    case Fault::device_lost:
      return "device_lost";
    case Fault::device_returned:
      return "device_returned";
    case Fault::swizzle:
      return "swizzle";
    case Fault::clock_steps:
      return "clock_steps";
    case Fault::client_leaves:
      return "client_leaves";
    case Fault::server_crashes:
      return "server_crashes";
    case Fault::server_sleeps:
      return "server_sleeps";
    case Fault::stale_message:
      return "stale_message";
    case Fault::stop_by_hand:
      return "stop_by_hand";
    case Fault::warm_by_hand:
      return "warm_by_hand";
    case Fault::deployment_changes:
      return "deployment_changes";
    case Fault::suspend_refused:
      return "suspend_refused";
    case Fault::suspend_unknown:
      return "suspend_unknown";
    case Fault::suspend_keeps_memory:
      return "suspend_keeps_memory";
    case Fault::suspend_larger:
      return "suspend_larger";
    case Fault::resume_refused:
      return "resume_refused";
    case Fault::resume_unknown:
      return "resume_unknown";
    case Fault::tier_lost:
      return "tier_lost";
    case Fault::model_lost:
      return "model_lost";
    case Fault::store_full:
      return "store_full";
    case Fault::report_lost:
      return "report_lost";
    case Fault::report_twice:
      return "report_twice";
    case Fault::report_late:
      return "report_late";
    case Fault::report_less:
      return "report_less";
    case Fault::prices_change:
      return "prices_change";
    case Fault::limits_change:
      return "limits_change";
    case Fault::count_:
      break;
  }
  return "none";
}

}  // namespace stoker::sim
