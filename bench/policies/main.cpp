// Stoker's policies beside others on one trace: which models stay where only so many fit, and how
// long an idle one is kept. See residency.h and keep_warm.h; ./dev bench policies --help.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "arrivals.h"
#include "base/json_writer.h"
#include "keep_warm.h"
#include "residency.h"
#include "sim/workload/open_trace.h"

namespace stoker::bench {
namespace {

struct Options {
  std::string trace;
  double thin = 1;
  std::vector<std::int32_t> residents = {4, 8, 16, 32};
  bool json = false;
};

[[noreturn]] void usage(int code) {
  std::fprintf(code == 0 ? stdout : stderr,
               "usage: ./dev bench policies --trace FILE [--thin F] [--resident K,K,...] [--json]\n"
               "  FILE: Stoker's JSONL, Azure's CSV, Mooncake's JSONL, or a folder of ServeGen\n"
               "  rates, whose times between requests become F times as long\n");
  std::exit(code);
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
      options.residents.clear();
      const std::string list = value();
      for (const char* at = list.c_str(); at != nullptr && *at != '\0';) {
        options.residents.push_back(std::atoi(at));
        at = std::strchr(at, ',');
        if (at != nullptr) ++at;
      }
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

void print_json(const Options& options, const Arrivals& arrivals,
                const std::vector<Residency>& residency, const KeepWarm& keep_warm) {
  JsonWriter json;
  json.object([&] {
    json.field("trace", options.trace);
    json.field("thin", options.thin);
    json.field("requests", static_cast<std::int64_t>(arrivals.all.size()));
    json.field("models", std::int64_t{arrivals.models});
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
  });
  std::printf("%s\n", json.text().c_str());
}

void print_text(const Options& options, const Arrivals& arrivals,
                const std::vector<Residency>& residency, const KeepWarm& keep_warm) {
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
  std::vector<Residency> residency;
  for (const std::int32_t resident : options.residents) {
    residency.push_back(measure_residency(*arrivals, resident));
  }
  const KeepWarm keep_warm = measure_keep_warm(*arrivals);
  if (options.json) {
    print_json(options, *arrivals, residency, keep_warm);
  } else {
    print_text(options, *arrivals, residency, keep_warm);
  }
  return 0;
}

}  // namespace
}  // namespace stoker::bench

int main(int argc, char** argv) {
  return stoker::bench::run(argc, argv);
}
