// Two observers of one world: each hears everything, the first one first.
#pragma once

#include "sim/world.h"

namespace stoker::sim {

class ObserverPair final : public Observer {
 public:
  /// Both outlive it.
  ObserverPair(Observer& first, Observer& second) : first_(first), second_(second) {}

  void on_server_start(Instant now, const core::CoreConfig& config) override {
    first_.on_server_start(now, config);
    second_.on_server_start(now, config);
  }
  void before_step(Instant now, const core::Event& event) override {
    first_.before_step(now, event);
    second_.before_step(now, event);
  }
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override {
    first_.on_action(now, cause, action);
    second_.on_action(now, cause, action);
  }
  void after_step(Instant now, const core::Event& event, const core::Core& core) override {
    first_.after_step(now, event, core);
    second_.after_step(now, event, core);
  }
  void on_arrival(Instant now, const Arrival& arrival) override {
    first_.on_arrival(now, arrival);
    second_.on_arrival(now, arrival);
  }
  void on_ended(Instant now, RequestId request, Ending ending) override {
    first_.on_ended(now, request, ending);
    second_.on_ended(now, request, ending);
  }
  void on_process_gone(Instant now, InstanceId instance) override {
    first_.on_process_gone(now, instance);
    second_.on_process_gone(now, instance);
  }
  void on_fault(Instant now, Fault fault) override {
    first_.on_fault(now, fault);
    second_.on_fault(now, fault);
  }
  void on_server_crash(Instant now) override {
    first_.on_server_crash(now);
    second_.on_server_crash(now);
  }

 private:
  Observer& first_;
  Observer& second_;
};

}  // namespace stoker::sim
