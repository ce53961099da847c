#include "core/actions.h"

namespace stoker::core {

const char* to_text(StartReason reason) {
  switch (reason) {
    case StartReason::from_zero:
      return "from_zero";
    case StartReason::queue_depth:
      return "queue_depth";
    case StartReason::at_minimum:
      return "at_minimum";
    case StartReason::warm_request:
      return "warm_request";
    case StartReason::replace:
      return "replace";
    case StartReason::expected:
      return "expected";
    case StartReason::queue_wait:
      return "queue_wait";
    case StartReason::utilization:
      return "utilization";
    case StartReason::first_token:
      return "first_token";
    case StartReason::request_rate:
      return "request_rate";
    case StartReason::spare:
      return "spare";
  }
  return "unknown";
}

const char* to_text(StopReason reason) {
  switch (reason) {
    case StopReason::idle:
      return "idle";
    case StopReason::make_room:
      return "make_room";
    case StopReason::stop_request:
      return "stop_request";
    case StopReason::shutdown:
      return "shutdown";
    case StopReason::start_timeout:
      return "start_timeout";
    case StopReason::load_stalled:
      return "load_stalled";
    case StopReason::hung:
      return "hung";
    case StopReason::cancel_ignored:
      return "cancel_ignored";
    case StopReason::drain_limit:
      return "drain_limit";
    case StopReason::not_stopping:
      return "not_stopping";
    case StopReason::memory_overrun:
      return "memory_overrun";
    case StopReason::abandoned:
      return "abandoned";
    case StopReason::superseded:
      return "superseded";
    case StopReason::load_failed:
      return "load_failed";
    case StopReason::swap:
      return "swap";
    case StopReason::removed:
      return "removed";
    case StopReason::not_placed:
      return "not_placed";
    case StopReason::start_unconfirmed:
      return "start_unconfirmed";
    case StopReason::device_lost:
      return "device_lost";
    case StopReason::suspend_failed:
      return "suspend_failed";
    case StopReason::resume_failed:
      return "resume_failed";
    case StopReason::host_room:
      return "host_room";
    case StopReason::host_overrun:
      return "host_overrun";
    case StopReason::unlikely:
      return "unlikely";
    case StopReason::elsewhere:
      return "elsewhere";
  }
  return "unknown";
}

const char* to_text(StopMode mode) {
  return mode == StopMode::graceful ? "graceful" : "kill";
}

const char* to_text(RefuseReason reason) {
  switch (reason) {
    case RefuseReason::queue_full:
      return "queue_full";
    case RefuseReason::queue_timeout:
      return "queue_timeout";
    case RefuseReason::load_failed:
      return "load_failed";
    case RefuseReason::crash_loop:
      return "crash_loop";
    case RefuseReason::no_capacity:
      return "no_capacity";
    case RefuseReason::shutting_down:
      return "shutting_down";
    case RefuseReason::undeliverable:
      return "undeliverable";
    case RefuseReason::tenant_queue_full:
      return "tenant_queue_full";
    case RefuseReason::removed:
      return "removed";
  }
  return "unknown";
}

const char* to_text(WaitReason reason) {
  switch (reason) {
    case WaitReason::evicting:
      return "evicting";
    case WaitReason::swapping:
      return "swapping";
    case WaitReason::all_busy:
      return "all_busy";
    case WaitReason::quota:
      return "quota";
  }
  return "unknown";
}

const char* to_text(Tier tier) {
  switch (tier) {
    case Tier::host:
      return "host memory";
    case Tier::disk:
      return "disk";
    case Tier::remote:
      return "remote";
  }
  return "unknown";
}

const char* to_text(PrefetchReason reason) {
  switch (reason) {
    case PrefetchReason::room:
      return "room";
    case PrefetchReason::pinned:
      return "pinned";
  }
  return "unknown";
}

const char* to_text(DropReason reason) {
  switch (reason) {
    case DropReason::worth_less:
      return "worth_less";
    case DropReason::over_capacity:
      return "over_capacity";
    case DropReason::not_on_disk:
      return "not_on_disk";
  }
  return "unknown";
}

const char* to_text(CopyRefusal reason) {
  switch (reason) {
    case CopyRefusal::larger_than_tier:
      return "larger_than_tier";
    case CopyRefusal::no_room:
      return "no_room";
  }
  return "unknown";
}

const char* to_text(Unfit reason) {
  switch (reason) {
    case Unfit::lost:
      return "lost";
    case Unfit::distrusted:
      return "distrusted";
    case Unfit::wrong_kind:
      return "wrong kind";
    case Unfit::wrong_label:
      return "wrong label";
    case Unfit::too_small:
      return "too small";
    case Unfit::too_little_free:
      return "too little free memory";
    case Unfit::no_slot:
      return "no free slot";
    case Unfit::no_share:
      return "too little share left";
    case Unfit::not_alone:
      return "not alone";
  }
  return "unknown";
}

}  // namespace stoker::core
