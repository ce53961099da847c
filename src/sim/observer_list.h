// Several observers of one world: each hears everything, in their order.
#pragma once

#include <initializer_list>
#include <vector>

#include "sim/world.h"

namespace stoker::sim {

class ObserverList final : public Observer {
 public:
  /// They outlive it.
  ObserverList(std::initializer_list<Observer*> all) : all_(all) {}

  void on_server_start(Instant now, const core::CoreConfig& config) override {
    for (Observer* each : all_) each->on_server_start(now, config);
  }
  void before_step(Instant now, const core::Event& event) override {
    for (Observer* each : all_) each->before_step(now, event);
  }
  void on_action(Instant now, const core::Event& cause, const core::Action& action) override {
    for (Observer* each : all_) each->on_action(now, cause, action);
  }
  void after_step(Instant now, const core::Event& event, const core::Core& core) override {
    for (Observer* each : all_) each->after_step(now, event, core);
  }
  void on_arrival(Instant now, const Arrival& arrival) override {
    for (Observer* each : all_) each->on_arrival(now, arrival);
  }
  void on_ended(Instant now, RequestId request, Ending ending) override {
    for (Observer* each : all_) each->on_ended(now, request, ending);
  }
  void on_process_gone(Instant now, InstanceId instance) override {
    for (Observer* each : all_) each->on_process_gone(now, instance);
  }
  void on_fault(Instant now, Fault fault) override {
    for (Observer* each : all_) each->on_fault(now, fault);
  }
  void on_server_crash(Instant now) override {
    for (Observer* each : all_) each->on_server_crash(now);
  }

 private:
  const std::vector<Observer*> all_;
};

}  // namespace stoker::sim
