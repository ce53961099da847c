// Stoker's policies beside others on one trace: which models stay where only so many fit, how long
// an idle one is kept, and how many instances there are. See residency.h, reordering.h,
// keep_warm.h, scaling.h;
// ./dev bench policies --help.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "arrivals.h"
#include "base/json_writer.h"
#include "base/real_math.h"
#include "keep_warm.h"
#include "reordering.h"
#include "residency.h"
#include "scaling.h"
#include "sim/workload/open_trace.h"
#include "suspend.h"

namespace stoker::bench {
namespace {

struct Options {
  std::string trace;
  double thin = 1;
  std::vector<std::int32_t> residents = {4, 8, 16, 32};
  std::vector<std::int32_t> start_s = {1, 10, 60};
  std::vector<std::int32_t> concurrency = {1, 4};
  bool residency = true;
  bool suspend = true;
  bool json = false;
};

[[noreturn]] void usage(int code) {
  std::fprintf(code == 0 ? stdout : stderr,
               "usage: ./dev bench policies --trace FILE [--thin F] [--resident K,K,...]\n"
               "         [--start S,S,...] [--concurrency C,C,...] [--only-scaling | "
               "--only-suspend] [--json]\n"
               "  FILE: Stoker's JSONL, Azure's CSV, Mooncake's JSONL, or a folder of ServeGen\n"
               "  rates, whose times between requests become F times as long.\n"
               "  Scaling is measured for each start time in seconds and each concurrency of an\n"
               "  instance; --start 0 leaves it out.\n");
  std::exit(code);
}

std::vector<std::int32_t> numbers_of(const std::string& list) {
  std::vector<std::int32_t> numbers;
  for (const char* at = list.c_str(); at != nullptr && *at != '\0';) {
    numbers.push_back(std::atoi(at));
    at = std::strchr(at, ',');
    if (at != nullptr) ++at;
  }
  return numbers;
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&] {
      if (++i >= argc) usage(2);
      return std::string(argv[i]);
    };
    if (word == "--trace") {
      options.trace = value();
    } else if (word == "--thin") {
      options.thin = std::atof(value().c_str());
    } else if (word == "--resident") {
      options.residents = numbers_of(value());
    } else if (word == "--start") {
      options.start_s = numbers_of(value());
      std::erase_if(options.start_s, [](std::int32_t s) { return s <= 0; });
    } else if (word == "--concurrency") {
      options.concurrency = numbers_of(value());
      std::erase_if(options.concurrency, [](std::int32_t c) { return c <= 0; });
    } else if (word == "--only-scaling") {
      options.residency = false;
      options.suspend = false;
    } else if (word == "--only-suspend") {
      options.residency = false;
      options.start_s.clear();
    } else if (word == "--json") {
      options.json = true;
    } else if (word == "--help" || word == "-h") {
      usage(0);
    } else {
      usage(2);
    }
  }
  if (options.trace.empty() || options.thin < 1) usage(2);
  return options;
}

Result<Arrivals> read(const Options& options) {
  sim::TraceOptions trace_options;
  trace_options.servegen.thin = options.thin;
  auto source = sim::open_trace(options.trace, trace_options);
  if (!source) return tl::unexpected(source.error());
  Arrivals arrivals;
  sim::TraceRequest request;
  for (;;) {
    const Result<bool> more = (*source)->next(request);
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
    const sim::TraceDeployment& deployment = (*source)->world().deployments[request.deployment];
    arrivals.all.push_back(
        {Instant{} + request.at, sim::service_time(request, deployment), request.deployment});
  }
  arrivals.models = static_cast<std::uint32_t>((*source)->world().deployments.size());
  return arrivals;
}

void write_score(JsonWriter& json, const char* name, const KeepWarmScore& score) {
  json.object(name, [&] {
    json.field("cold_starts", static_cast<std::int64_t>(score.cold_starts));
    json.field("idle_device_seconds", score.idle_s);
  });
}

void write_score(JsonWriter& json, const char* name, const ScalingScore& score) {
  json.object(name, [&] {
    json.field("settings", score.settings);
    json.field("device_seconds", score.device_s);
    json.field("wait_p50_s", score.p50_s);
    json.field("wait_p99_s", score.p99_s);
  });
}

void write_scaling(JsonWriter& json, const ScalingTable& table) {
  json.field("start_s", std::int64_t{table.start_s});
  json.field("concurrency", std::int64_t{table.concurrency});
  json.field("work_device_seconds", table.work_s);
  json.field("clairvoyant_device_seconds", table.clairvoyant_s);
  for (const ScalingCell& cell : table.cells) {
    json.object(cell.peer, [&] {
      write_score(json, "theirs", cell.theirs);
      write_score(json, "stoker", cell.ours);
      write_score(json, "stoker_best_on_the_rest", cell.best);
      json.field("ratio", cell.ratio());
      json.field("p99_no_worse", cell.no_worse());
    });
  }
}

std::vector<std::string> peers_of(const std::vector<ScalingTable>& scaling) {
  std::vector<std::string> peers;
  if (scaling.empty()) return peers;
  for (const ScalingCell& cell : scaling.front().cells) peers.push_back(cell.peer);
  return peers;
}

/// Geometric mean over all start times and concurrencies.
double mean_ratio(const std::vector<ScalingTable>& scaling, const std::string& peer) {
  double logs = 0;
  for (const ScalingTable& table : scaling) {
    for (const ScalingCell& cell : table.cells) {
      if (cell.peer == peer) logs += real_math::log(cell.ratio());
    }
  }
  return real_math::exp(logs / static_cast<double>(scaling.size()));
}

void print_scaling(const std::vector<ScalingTable>& scaling) {
  if (scaling.empty()) return;
  std::printf(
      "\nScaling: device seconds and p99 wait after the first third, settings fixed on it\n"
      "%5s %3s %-12s %10s %8s | %10s %8s %6s %-9s | %6s %9s %6s\n",
      "start", "c", "peer", "theirs", "p99 s", "Stoker", "p99 s", "ratio", "", "best", "clairvoy.",
      "work");
  for (const ScalingTable& table : scaling) {
    for (const ScalingCell& cell : table.cells) {
      const double theirs = cell.theirs.device_s;
      std::printf("%4ds %3d %-12s %10.0f %8.2f | %10.0f %8.2f %6.3f %-9s | %6.3f %9.3f %6.3f\n",
                  table.start_s, table.concurrency, cell.peer.c_str(), theirs, cell.theirs.p99_s,
                  cell.ours.device_s, cell.ours.p99_s, cell.ratio(),
                  cell.no_worse() ? "" : "p99 worse", cell.best.device_s / theirs,
                  table.clairvoyant_s / theirs, table.work_s / theirs);
    }
  }
  std::printf("geometric mean:");
  for (const std::string& peer : peers_of(scaling)) {
    std::printf("  %s %.3f", peer.c_str(), mean_ratio(scaling, peer));
  }
  std::printf(
      "\n  best: our least device time of all settings with that p99; clairvoyant: no request waits"
      "\n  and all is known; work: service time alone. All over theirs.\n");
}

void print_suspend(const std::vector<SuspendTable>& tables) {
  if (tables.empty()) return;
  std::printf(
      "\nSuspend before stop, a resume a tenth of a start, host memory for 4 K models: idle "
      "device\n"
      "seconds, and seconds that requests wait behind a start or resume of their model\n"
      "%4s %7s | %12s %12s %8s | %12s %12s %8s %8s | %6s %6s\n",
      "K", "start s", "idle", "cold wait", "starts", "idle", "cold wait", "starts", "resumes",
      "idle", "cold");
  for (const SuspendTable& t : tables) {
    std::printf("%4d %7d | %12.0f %12.0f %8llu | %12.0f %12.0f %8llu %8llu | %6.3f %6.3f\n",
                t.resident, t.start_s, t.without.idle_s, t.without.cold_s,
                static_cast<unsigned long long>(t.without.starts), t.with.idle_s, t.with.cold_s,
                static_cast<unsigned long long>(t.with.starts),
                static_cast<unsigned long long>(t.with.resumes),
                t.with.idle_s / std::max(t.without.idle_s, 1e-9),
                t.with.cold_s / std::max(t.without.cold_s, 1e-9));
  }
}

void write_scaling(JsonWriter& json, const std::vector<ScalingTable>& scaling) {
  json.array("scaling", [&] {
    for (const ScalingTable& table : scaling) json.object([&] { write_scaling(json, table); });
  });
  json.object("scaling_ratio_geometric_mean", [&] {
    for (const std::string& peer : peers_of(scaling)) json.field(peer, mean_ratio(scaling, peer));
  });
}

void write_trace(JsonWriter& json, const Options& options, const Arrivals& arrivals) {
  json.field("trace", options.trace);
  json.field("thin", options.thin);
  json.field("requests", static_cast<std::int64_t>(arrivals.all.size()));
  json.field("models", std::int64_t{arrivals.models});
}

void print_scaling_json(const Options& options, const Arrivals& arrivals,
                        const std::vector<ScalingTable>& scaling) {
  JsonWriter json;
  json.object([&] {
    write_trace(json, options, arrivals);
    write_scaling(json, scaling);
  });
  std::printf("%s\n", json.text().c_str());
}

void print_json(const Options& options, const Arrivals& arrivals,
                const std::vector<Residency>& residency, const std::vector<Reordering>& reordering,
                const KeepWarm& keep_warm, const std::vector<ScalingTable>& scaling,
                const std::vector<SuspendTable>& suspend) {
  JsonWriter json;
  json.object([&] {
    write_trace(json, options, arrivals);
    const auto misses = [&](auto of) {
      for (const Residency& r : residency) {
        json.object(std::to_string(r.resident), [&] {
          json.field("lru", static_cast<std::int64_t>(of(r.lru)));
          json.field("gdsf", static_cast<std::int64_t>(of(r.gdsf)));
          json.field("lrfu", static_cast<std::int64_t>(of(r.lrfu)));
          json.field("stoker", static_cast<std::int64_t>(of(r.stoker)));
          json.field("belady", static_cast<std::int64_t>(of(r.belady)));
        });
      }
    };
    json.object("residency", [&] { misses([](const Misses& m) { return m.all; }); });
    json.object("residency_after_first_third",
                [&] { misses([](const Misses& m) { return m.rest; }); });
    json.array("suspend", [&] {
      for (const SuspendTable& t : suspend) {
        json.object([&] {
          json.field("resident", t.resident);
          json.field("start_s", t.start_s);
          json.field("asleep", t.asleep);
          for (const bool with : {false, true}) {
            const SuspendScore& score = with ? t.with : t.without;
            json.object(with ? "with" : "without", [&] {
              json.field("idle_device_s", score.idle_s);
              json.field("wait_s", score.wait_s);
              json.field("cold_s", score.cold_s);
              json.field("starts", static_cast<std::int64_t>(score.starts));
              json.field("resumes", static_cast<std::int64_t>(score.resumes));
              json.field("suspended_s", score.host_s);
            });
          }
        });
      }
    });
    json.array("reordering", [&] {
      for (const Reordering& r : reordering) {
        json.object([&] {
          json.field("resident", r.resident);
          json.field("load_s", r.load_s);
          json.field("loads_in_order", static_cast<std::int64_t>(r.loads_in_order));
          json.field("loads", static_cast<std::int64_t>(r.loads));
          json.field("waited_longer", static_cast<std::int64_t>(r.waited_longer));
          json.field("p99_extra_wait_s", r.p99_extra_s);
          json.field("largest_extra_wait_s", r.largest_extra_s);
        });
      }
    });
    json.object("keep_warm", [&] {
      for (const NamedScore& each : keep_warm.fixed)
        write_score(json, each.name.c_str(), each.score);
      write_score(json, "hybrid_histogram", keep_warm.hybrid);
      for (const NamedScore& each : keep_warm.stoker) {
        write_score(json, each.name.c_str(), each.score);
      }
      for (const NamedScore& each : keep_warm.clairvoyant) {
        write_score(json, each.name.c_str(), each.score);
      }
      json.field("stoker_idle_vs_ttl_at_equal_cold_starts", keep_warm.stoker_over_fixed_20min);
    });
    write_scaling(json, scaling);
  });
  std::printf("%s\n", json.text().c_str());
}

void print_text(const Options& options, const Arrivals& arrivals,
                const std::vector<Residency>& residency, const std::vector<Reordering>& reordering,
                const KeepWarm& keep_warm) {
  std::printf("%s: %zu requests to %u models, thinned by %g\n\n", options.trace.c_str(),
              arrivals.all.size(), arrivals.models, options.thin);
  std::printf("Misses after the first third, with K equal models resident\n");
  std::printf("%4s %10s %10s %10s %10s %10s   %s\n", "K", "LRU", "GDSF", "LRFU", "Stoker", "Belady",
              "Stoker / best other");
  for (const Residency& r : residency) {
    const std::uint64_t best = std::min({r.lru.rest, r.gdsf.rest, r.lrfu.rest});
    std::printf("%4d %10llu %10llu %10llu %10llu %10llu   ", r.resident,
                static_cast<unsigned long long>(r.lru.rest),
                static_cast<unsigned long long>(r.gdsf.rest),
                static_cast<unsigned long long>(r.lrfu.rest),
                static_cast<unsigned long long>(r.stoker.rest),
                static_cast<unsigned long long>(r.belady.rest));
    if (r.belady.rest < 200) {
      std::printf("(too few)\n");
    } else {
      std::printf("%.3f\n", static_cast<double>(r.stoker.rest) / static_cast<double>(best));
    }
  }
  std::printf(
      "\nSwap-aware order of the core, K equal models resident; extra wait: beyond one load\n");
  std::printf("%4s %8s %12s %12s %8s %12s %12s %12s\n", "K", "load s", "in order", "reordered",
              "ratio", "waited more", "p99 extra s", "most extra s");
  for (const Reordering& r : reordering) {
    std::printf("%4d %8d %12llu %12llu %8.3f %12llu %12.1f %12.1f\n", r.resident, r.load_s,
                static_cast<unsigned long long>(r.loads_in_order),
                static_cast<unsigned long long>(r.loads),
                static_cast<double>(r.loads) / static_cast<double>(r.loads_in_order),
                static_cast<unsigned long long>(r.waited_longer), r.p99_extra_s, r.largest_extra_s);
  }
  std::printf("\nKeep warm, after the first third\n%-20s %12s %16s %16s\n", "policy", "cold starts",
              "idle device s", "Stoker there");
  const auto row = [&](const std::string& name, const KeepWarmScore& score) {
    const double ours = idle_at(keep_warm.stoker, score.cold_starts);
    std::printf("%-20s %12llu %16.0f %16.0f  %.3f\n", name.c_str(),
                static_cast<unsigned long long>(score.cold_starts), score.idle_s, ours,
                score.idle_s > 0 ? ours / score.idle_s : 1.0);
  };
  for (const NamedScore& each : keep_warm.fixed) row(each.name, each.score);
  row("hybrid_histogram", keep_warm.hybrid);
  for (const NamedScore& each : keep_warm.clairvoyant) row(each.name, each.score);
}

int run(int argc, char** argv) {
  const Options options = options_of(argc, argv);
  const Result<Arrivals> arrivals = read(options);
  if (!arrivals) {
    std::fprintf(stderr, "error: %s\n", arrivals.error().message.c_str());
    if (!arrivals.error().hint.empty()) {
      std::fprintf(stderr, "  fix: %s\n", arrivals.error().hint.c_str());
    }
    return 1;
  }
  std::vector<ScalingTable> scaling;
  for (const std::int32_t concurrency : options.concurrency) {
    for (const std::int32_t start_s : options.start_s) {
      scaling.push_back(measure_scaling(*arrivals, start_s, concurrency));
    }
  }
  std::vector<SuspendTable> suspend;
  for (const std::int32_t resident : options.residents) {
    if (!options.suspend) break;
    for (const std::int32_t start_s : {10, 60}) {
      suspend.push_back(measure_suspend(*arrivals, resident, start_s));
    }
  }
  if (!options.residency) {
    if (options.json) {
      print_scaling_json(options, *arrivals, scaling);
    } else {
      print_scaling(scaling);
      print_suspend(suspend);
    }
    return 0;
  }
  std::vector<Residency> residency;
  std::vector<Reordering> reordering;
  for (const std::int32_t resident : options.residents) {
    residency.push_back(measure_residency(*arrivals, resident));
    for (const std::int32_t load_s : {10, 60}) {
      reordering.push_back(
          measure_reordering(*arrivals, resident, load_s, residency.back().stoker.all));
    }
  }
  const KeepWarm keep_warm = measure_keep_warm(*arrivals);
  if (options.json) {
    print_json(options, *arrivals, residency, reordering, keep_warm, scaling, suspend);
  } else {
    print_text(options, *arrivals, residency, reordering, keep_warm);
    print_scaling(scaling);
    print_suspend(suspend);
  }
  return 0;
}

}  // namespace
}  // namespace stoker::bench

int main(int argc, char** argv) {
  return stoker::bench::run(argc, argv);
}
