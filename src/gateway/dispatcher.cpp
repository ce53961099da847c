#include "gateway/dispatcher.h"

namespace stoker::gateway {

const char* to_text(RejectReason reason) {
  switch (reason) {
    case RejectReason::queue_full:
      return "queue_full";
    case RejectReason::rate_limited:
      return "rate_limit_exceeded";
    case RejectReason::unknown_key:
      return "invalid_api_key";
    case RejectReason::queue_timeout:
      return "queue_timeout";
    case RejectReason::load_failed:
      return "load_failed";
    case RejectReason::crash_loop:
      return "crash_loop";
    case RejectReason::start_timeout:
      return "start_timeout";
    case RejectReason::no_capacity:
      return "no_capacity";
    case RejectReason::draining:
      return "draining";
    case RejectReason::undeliverable:
      return "undeliverable";
    case RejectReason::storage:
      return "storage";
  }
  return "unknown";
}

const char* to_text(WaitState::Phase phase) {
  switch (phase) {
    case WaitState::Phase::queue:
      return "queue";
    case WaitState::Phase::allocate:
      return "allocate";
    case WaitState::Phase::start:
      return "start";
    case WaitState::Phase::load:
      return "load";
    case WaitState::Phase::warmup:
      return "warmup";
  }
  return "unknown";
}

const char* to_text(EndState state) {
  switch (state) {
    case EndState::completed:
      return "completed";
    case EndState::failed:
      return "failed";
    case EndState::cancelled:
      return "cancelled";
    case EndState::expired:
      return "expired";
    case EndState::refused:
      return "refused";
    case EndState::interrupted:
      return "interrupted";
  }
  return "unknown";
}

}  // namespace stoker::gateway
