#include "sim/shrink.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "sim/script_fields.h"
#include "sim/seed_run.h"

namespace stoker::sim {
namespace {

/// Fields that say which one is meant, and what keeps a deployment apart from others: without them
/// it is another script, not a simpler one.
bool stays_as_it_is(std::string_view field) {
  static constexpr std::string_view those[] = {
      "id",      "name",       "kind",     "kinds",  "node",  "memory", "pool", "slots",
      "request", "deployment", "instance", "device", "fault", "amount", "quota"};
  return std::count(std::begin(those), std::end(those), field) > 0;
}

/// A script as a list of things that can be taken out: first its steps, then its hits.
Script part_of(const Script& whole, const std::vector<bool>& kept) {
  Script part = whole;
  part.steps.clear();
  part.hits.clear();
  for (std::size_t i = 0; i < whole.steps.size(); ++i) {
    if (kept[i]) part.steps.push_back(whole.steps[i]);
  }
  for (std::size_t i = 0; i < whole.hits.size(); ++i) {
    if (kept[whole.steps.size() + i]) part.hits.push_back(whole.hits[i]);
  }
  return part;
}

class Shrinker {
 public:
  Shrinker(const Script& script, const std::function<bool(const ShrinkProgress&)>& go_on)
      : go_on_(go_on), best_(script) {
    progress_.from = progress_.size = script.size();
  }

  Shrunk run() {
    SeedResult first = run_script(best_);
    ++progress_.runs;
    if (!first.violation) return {best_, {}, progress_, false};
    violation_ = *first.violation;
    kind_ = kind_of_violation(violation_);
    cut_off(first);
    sweep_at_once();
    take_out_wholes();
    bool smaller = true;
    while (smaller && !stopped_) {
      smaller = take_out_parts();
      smaller |= simplify();
    }
    return {best_, violation_, progress_, !stopped_};
  }

 private:
  bool still_fails(const Script& candidate) {
    if (stopped_ || !go_on_(progress_)) {
      stopped_ = true;
      return false;
    }
    ++progress_.runs;
    SeedResult result = run_script(candidate);
    if (!result.violation || kind_of_violation(*result.violation) != kind_) return false;
    best_ = candidate;
    violation_ = *result.violation;
    progress_.size = best_.size();
    // Whatever comes after the violation has nothing to do with it.
    cut_off(result);
    return true;
  }

  void cut_off(const SeedResult& result) {
    const Instant end = Instant{} + result.virtual_time;
    if (best_.looping) return;  // the second run may differ much later
    std::erase_if(best_.steps, [&](const Step& each) { return each.at > end; });
    best_.until = std::min(best_.until, end);
    progress_.size = best_.size();
  }

  /// What only a sweep sees is seen in the step that did it, or steps are kept only to get there.
  void sweep_at_once() {
    if (best_.sweep_every == 1) return;
    Script candidate = best_;
    candidate.sweep_every = 1;
    still_fails(candidate);
  }

  /// All of a deployment, of a tenant, of a kind of fault; the header's flags.
  void take_out_wholes() {
    std::set<DeploymentId> deployments;
    std::set<TenantId> tenants;
    std::set<Fault> faults;
    for (const Step& each : best_.steps) {
      if (const auto* added = std::get_if<AddDeployment>(&each.what)) {
        deployments.insert(added->deployment.id);
      } else if (const auto* arrival = std::get_if<Arrival>(&each.what)) {
        tenants.insert(arrival->tenant);
      } else if (const auto* strike = std::get_if<Strike>(&each.what)) {
        faults.insert(strike->fault);
      }
    }
    for (const Hit& each : best_.hits) faults.insert(each.fault);
    for (const DeploymentId each : deployments) {
      if (each != best_.looping) still_fails(without(best_, each));
    }
    for (const Fault fault : faults) {
      Script less = best_;
      std::erase_if(less.hits, [&](const Hit& each) { return each.fault == fault; });
      erase_steps(less, [&](const Step& each) {
        const auto* strike = std::get_if<Strike>(&each.what);
        return strike != nullptr && strike->fault == fault;
      });
      still_fails(less);
    }
    for (const TenantId tenant : tenants) {
      Script less = best_;
      erase_steps(less, [&](const Step& each) {
        const auto* arrival = std::get_if<Arrival>(&each.what);
        return arrival != nullptr && arrival->tenant == tenant;
      });
      still_fails(less);
    }
  }

  template <class Wanted>
  static void erase_steps(Script& script, Wanted&& wanted) {
    std::erase_if(script.steps, wanted);
  }

  /// Complements of ever smaller parts, as ddmin; but after a success it goes on where it is, since
  /// most of a script has nothing to do with the violation. From the end: what comes late hangs on
  /// what came early.
  bool take_out_parts() {
    const std::size_t before = best_.size();
    for (std::size_t part = before / 2; part > 0 && !stopped_; part /= 2) {
      for (std::size_t end = best_.size(); end > 0 && !stopped_;) {
        const std::size_t begin = end - std::min(end, part);
        std::vector<bool> kept(best_.size(), true);
        for (std::size_t i = begin; i < end; ++i) kept[i] = false;
        still_fails(part_of(best_, kept));
        end = std::min(begin, best_.size());
      }
    }
    return best_.size() < before;
  }

  /// Sets one field after another to what it usually is.
  bool simplify() {
    bool simpler = false;
    const auto try_header = [&](auto change) {
      Script candidate = best_;
      change(candidate);
      if (to_text(candidate) != to_text(best_)) simpler |= still_fails(candidate);
    };
    try_header([](Script& s) { s.varied = false; });
    try_header([](Script& s) { s.with_limits = false; });
    try_header([](Script& s) { s.between_strikes = {}; });
    for (std::size_t i = 0; i < best_.steps.size() && !stopped_; ++i) simpler |= simplify_step(i);
    return simpler;
  }

  bool simplify_step(std::size_t index) {
    bool simpler = false;
    for (std::size_t field = 0; index < best_.steps.size() && !stopped_; ++field) {
      Script candidate = best_;
      bool is_there = false;
      std::visit([&](auto& what) { is_there = reset_field(what, field); },
                 candidate.steps[index].what);
      if (!is_there) break;
      if (to_text(candidate.steps[index]) == to_text(best_.steps[index])) continue;
      simpler |= still_fails(candidate);
    }
    return simpler;
  }

  /// Gives: false if there is no such field.
  template <class T>
  static bool reset_field(T& thing, std::size_t wanted) {
    T usual{};
    std::size_t number = 0;
    bool is_there = false;
    fields(thing, [&](const char* name, auto& value) {
      if (number++ != wanted) return;
      is_there = true;
      if (stays_as_it_is(name)) return;
      std::size_t other = 0;
      fields(usual, [&](const char*, auto& default_value) {
        if (other++ != wanted) return;
        if constexpr (std::is_same_v<decltype(value), decltype(default_value)>) {
          value = default_value;
        }
      });
    });
    return is_there;
  }

  const std::function<bool(const ShrinkProgress&)>& go_on_;
  Script best_;
  std::string violation_;
  std::string kind_;
  ShrinkProgress progress_;
  bool stopped_ = false;
};

}  // namespace

std::string kind_of_violation(const std::string& violation) {
  // "at 12.5 s, event 7: " comes before what the invariant says.
  std::string kind;
  for (std::size_t i = 0; i < violation.size(); ++i) {
    const auto is_digit = [&](std::size_t at) {
      return at < violation.size() && std::isdigit(static_cast<unsigned char>(violation[at])) != 0;
    };
    if (!is_digit(i)) {
      kind += violation[i];
      continue;
    }
    // The number of an invariant is its name: V18, L4.
    const bool is_name = i > 0 && (violation[i - 1] == 'V' || violation[i - 1] == 'L') &&
                         (i == 1 || violation[i - 2] == ' ' || violation[i - 2] == '(');
    std::string digits;
    for (; is_digit(i); ++i) digits += violation[i];
    --i;
    kind += is_name ? digits : "#";
  }
  if (kind.starts_with("V22 deployment")) return "V22 deployment";  // whatever differs without it
  return kind;
}

Shrunk shrink(const Script& script, const std::function<bool(const ShrinkProgress&)>& go_on) {
  return Shrinker(script, go_on).run();
}

}  // namespace stoker::sim
