// Stoker's own trace format, read and written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "sim/workload/combine.h"
#include "sim/workload/trace_writer.h"
#include "workload_support.h"

namespace stoker::sim {
namespace {

using ::testing::HasSubstr;

TEST(StokerTrace, TheExampleOfItsDescription) {
  const TempFolder folder;
  const auto source = opened(folder.file(
      "trace",
      R"({"stoker_trace": 1, "devices": [{"kind": "cpu", "memory_bytes": 17179869184, "slots": 4, "price_per_hour": "1.20"}],)"
      R"( "deployments": {"chat": {"memory_bytes": 2000000000, "weights_bytes": 1800000000, "start_ms": 40, "load_ms": 900, "concurrency": 4,)"
      R"( "prefill_tokens_per_s": 3000, "decode_tokens_per_s": 45}}})"
      "\n"
      R"({"at_ms": 4704000.125, "id": "r1", "deployment": "chat", "tenant": "t1", "session": "s9", "route": "chat", "stream": true, "priority": 1,)"
      R"( "input_tokens": 120, "output_tokens": 64, "service_ms": 850.5, "deadline_ms": 30000, "gone_after_ms": 400, "outcome": "completed", "prefix": [17, 18]})"
      "\n"));
  const TraceWorld want_world{.devices = {{.kind = "cpu",
                                           .memory = gib(16),
                                           .slots = 4,
                                           .price_per_hour = {1'200'000'000}}},
                              .deployments = {{.name = "chat",
                                               .memory = {2'000'000'000},
                                               .weights = {1'800'000'000},
                                               .start = ms(40),
                                               .load = ms(900),
                                               .concurrency = 4,
                                               .prefill_tokens_per_s = 3000,
                                               .decode_tokens_per_s = 45}},
                              .tenants = {"t1"}};
  EXPECT_EQ(source->world(), want_world);
  TraceRequest want;
  want.at = Duration{4'704'000'125'000};
  want.session = fnv1a("s9");
  want.stream = true;
  want.priority = 1;
  want.input_tokens = 120;
  want.output_tokens = 64;
  want.service = us(850'500);
  want.deadline = seconds(30);
  want.gone_after = ms(400);
  want.outcome = TraceOutcome::completed;
  want.prefix = {17, 18};
  want.id = "r1";
  EXPECT_EQ(all_of(*source), std::vector<TraceRequest>{want});
}

TEST(StokerTrace, MissingFieldsHaveDefaultsAndUnknownOnesAreIgnored) {
  const TempFolder folder;
  const auto source = opened(folder.file(
      "trace", R"({"recorder": {"version": [1, {"x": 2}]}, "stoker_trace": 1, "devices": [{}],)"
               R"( "deployments": {"small": {"memory_bytes": 1000, "start_ms": null}}})"
               "\n\n"
               R"({"new_field": {"deep": [[]]}, "at_ms": 0, "tenant": null})"
               "\r\n"
               R"({"at_ms": 1, "deployment": "small", "service_ms": null, "route": "teleport"})"
               "\n"
               R"({"at_ms": 1, "deployment": "other", "tenant": "t", "session": 12})"));
  EXPECT_EQ(source->world().devices, std::vector<TraceDevice>{TraceDevice{}});
  ASSERT_EQ(source->world().deployments.size(), 3U);
  EXPECT_EQ(source->world().deployments[0],
            (TraceDeployment{.name = "small", .memory = {1000}, .weights = {1000}}));
  EXPECT_EQ(source->world().deployments[1], (TraceDeployment{.name = "model"}));
  EXPECT_EQ(source->world().deployments[2], (TraceDeployment{.name = "other"}));
  EXPECT_EQ(source->world().tenants, (std::vector<std::string>{"default", "t"}));
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 3U);
  TraceRequest first;
  first.deployment = 1;
  EXPECT_EQ(requests[0], first);
  EXPECT_EQ(requests[1].deployment, 0U);
  EXPECT_EQ(requests[1].service, std::nullopt);
  EXPECT_EQ(requests[1].route, TraceRoute::other);
  EXPECT_EQ(requests[2].deployment, 2U);
  EXPECT_EQ(requests[2].tenant, 1U);
  EXPECT_EQ(requests[2].session, fnv1a("12"));
}

TEST(StokerTrace, WhatCannotBeIsTakenForWhatItMustMean) {
  const TempFolder folder;
  const auto source = opened(folder.file(
      "trace", R"({"stoker_trace": 1, "deployments": {"a": {"weights_bytes": 3000000000},)"
               R"( "b": {"prefill_tokens_per_s": 0, "decode_tokens_per_s": 0}}})"));
  EXPECT_EQ(
      source->world().deployments,
      (std::vector<TraceDeployment>{
          {.name = "a", .memory = {3'000'000'000}, .weights = {3'000'000'000}}, {.name = "b"}}));
}

TEST(StokerTrace, WithoutRequestsIsFine) {
  const TempFolder folder;
  for (const char* head : {"{\"stoker_trace\": 1}", "{\"stoker_trace\": 1}\n\n"}) {
    const auto source = opened(folder.file("trace", head));
    EXPECT_TRUE(all_of(*source).empty());
    EXPECT_EQ(source->world(), TraceWorld{});
  }
}

TEST(StokerTrace, ReadOnceTheWorldGrows) {
  const TempFolder folder;
  const std::string path =
      folder.file("trace",
                  "{\"stoker_trace\": 1}\n{\"at_ms\": 0, \"deployment\": \"a\"}\n"
                  "{\"at_ms\": 1, \"deployment\": \"b\"}\n{broken\n");
  const auto source = opened(path, {.read_ahead = false});
  EXPECT_EQ(source->world().deployments.size(), 0U);
  TraceRequest request;
  EXPECT_TRUE(source->next(request).value());
  EXPECT_EQ(source->world().deployments.size(), 1U);
  EXPECT_TRUE(source->next(request).value());
  EXPECT_EQ(source->world().deployments.size(), 2U);
  const Result<bool> broken = source->next(request);
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr(path + ":4: "));
  // Read ahead, the same line is found before anything runs.
  EXPECT_FALSE(open_trace(path));
}

TEST(StokerTrace, EveryMistakeNamesItsLine) {
  struct Case {
    const char* name;
    const char* content;
    const char* place;  // ":LINE: "
    const char* message;
    const char* hint;
  };
  const std::string head = "{\"stoker_trace\": 1}\n";
  const Case in_requests[] = {
      {"no JSON", "at 5\n", ":2: ", "not a JSON object", "Correct the line"},
      {"half of JSON", "{\"at_ms\": 1,,}\n", ":2: ", "not JSON", "Correct the line"},
      {"a list", "[1, 2]\n", ":2: ", "not a JSON object", "Correct the line"},
      {"two in a line", "{\"at_ms\": 0} {\"at_ms\": 1}\n", ":2: ", "more after", "Correct"},
      {"no time", "{\"tenant\": \"t\"}\n", ":2: ", "no at_ms", "Correct"},
      {"time as text", "{\"at_ms\": \"5\"}\n", ":2: ", "at_ms must be a number of milliseconds",
       ""},
      {"before the start", "{\"at_ms\": -1}\n", ":2: ", "not -1", ""},
      {"too long", "{\"at_ms\": 0, \"deadline_ms\": 1e30}\n", ":2: ", "100 years, not 1e30", ""},
      {"unsorted", "{\"at_ms\": 7}\n{\"at_ms\": 5.5}\n", ":3: ", "at_ms 5.5 comes after 7",
       "Sort all lines but the first"},
      {"tokens", "{\"at_ms\": 7, \"input_tokens\": -4}\n",
       ":2: ", "input_tokens must be a number from 0", ""},
      {"name", "{\"at_ms\": 7, \"deployment\": 4}\n", ":2: ", "deployment must be a text", ""},
      {"truth", "{\"at_ms\": 7, \"stream\": \"yes\"}\n", ":2: ", "stream must be true or false",
       ""},
      {"list", "{\"at_ms\": 7, \"prefix\": 3}\n", ":2: ", "prefix must be a list", ""},
      {"ids", "{\"at_ms\": 7, \"prefix\": [3, \"x\"]}\n", ":2: ", "prefix must be a list of", ""},
      {"priority", "{\"at_ms\": 7, \"priority\": 1e12}\n", ":2: ", "priority must be a whole", ""},
  };
  const TempFolder folder;
  for (const Case& c : in_requests) {
    const std::string path = folder.file("trace", head + c.content);
    const auto source = open_trace(path);
    ASSERT_FALSE(source) << c.name;
    EXPECT_THAT(source.error().message, HasSubstr(path + c.place)) << c.name;
    EXPECT_THAT(source.error().message, HasSubstr(c.message)) << c.name;
    EXPECT_THAT(source.error().hint, HasSubstr(c.hint)) << c.name;
  }
  const Case in_heads[] = {
      {"version", R"({"stoker_trace": 2})", ":1: ", "version 2", ""},
      {"no head", R"({"at_ms": 1})", ":1: ", "no \"stoker_trace\"", "Put {\"stoker_trace\": 1}"},
      {"another file", R"({"hello": 1})", ":1: ", "neither", "ServeGen"},
      {"no trace", "hello", ":1: ", "no known trace", "ServeGen"},
      {"broken", "{\"stoker_trace\": 1", ":1: ", "not JSON", ""},
      {"empty", "", ": ", "empty", "ServeGen"},
      {"packed", "\x1f\x8b\x08", ": ", "packed", "gunzip"},
      {"device", R"({"stoker_trace": 1, "devices": [{}, {"memory_bytes": "big"}]})",
       ":1: ", "devices[1]: memory_bytes must be", ""},
      {"price", R"({"stoker_trace": 1, "devices": [{"price_per_hour": "$1"}]})",
       ":1: ", "price_per_hour must be a price", ""},
      {"deployment", R"({"stoker_trace": 1, "deployments": {"a": {"concurrency": 0}}})",
       ":1: ", "deployments.a: concurrency must be at least 1", ""},
      {"speed", R"({"stoker_trace": 1, "deployments": {"a": {"decode_tokens_per_s": -1}}})",
       ":1: ", "decode_tokens_per_s must be a number from 0", ""},
      {"list of deployments", R"({"stoker_trace": 1, "deployments": ["a"]})",
       ":1: ", "deployments must be an object", ""},
  };
  for (const Case& c : in_heads) {
    const std::string path = folder.file("trace", c.content);
    const auto source = open_trace(path);
    ASSERT_FALSE(source) << c.name;
    EXPECT_THAT(source.error().message, HasSubstr(path + c.place)) << c.name;
    EXPECT_THAT(source.error().message, HasSubstr(c.message)) << c.name;
    EXPECT_THAT(source.error().hint, HasSubstr(c.hint)) << c.name;
  }
}

TEST(StokerTrace, WritesWhatIsKnownAndNoMore) {
  const TraceWorld world{.devices = {}, .deployments = {{.name = "a"}}, .tenants = {"t\"1"}};
  TraceRequest request;
  request.at = us(1500);
  std::string line;
  append_trace_request(line, world, request);
  EXPECT_EQ(line, "{\"at_ms\":1.5,\"deployment\":\"a\",\"tenant\":\"t\\\"1\"}\n");
  std::string head;
  append_trace_head(head, world);
  EXPECT_EQ(head, "{\"stoker_trace\":1,\"deployments\":{\"a\":{}}}\n");
}

TEST(StokerTrace, ALastLineThatWasCutInTwoIsTheEnd) {
  const TempFolder folder;
  const std::string whole =
      "{\"stoker_trace\": 1}\n{\"at_ms\": 0, \"tenant\": \"a\"}\n{\"at_ms\": 1, \"tenant\": "
      "\"b\"}\n";
  const std::size_t second = whole.find("\"b\"") - 23;
  for (std::size_t size = second; size <= whole.size(); ++size) {
    const auto source = opened(folder.file("trace", whole.substr(0, size)));
    // Without its newline alone, a line is whole.
    EXPECT_EQ(all_of(*source).size(), size + 1 >= whole.size() ? 2U : 1U) << size;
  }
}

TEST(StokerTrace, ReceiptsOfARecordedRequest) {
  const TempFolder folder;
  const auto source = opened(folder.file(
      "trace",
      R"({"stoker_trace": 1, "started_at_ms": 1764288000000.25})"
      "\n"
      R"({"at_ms": 0, "id": "req-1", "start": "cold", "instance": "chat/3", "queue_ms": 0.5, "allocate_ms": 1,)"
      R"( "start_ms": 40, "load_ms": 900, "warmup_ms": 10, "ttft_ms": 25, "service_ms": 850.5, "sequence": 12})"
      "\n"
      R"({"at_ms": 5, "queue_ms": 0})"
      "\n"));
  EXPECT_EQ(source->world().started_at, WallTime{1'764'288'000'000'250'000});
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].id, "req-1");
  EXPECT_EQ(requests[0].receipt, (TraceReceipt{.start = TraceStart::cold,
                                               .instance = "chat/3",
                                               .queue = us(500),
                                               .allocate = ms(1),
                                               .starting = ms(40),
                                               .load = ms(900),
                                               .warmup = ms(10),
                                               .ttft = ms(25)}));
  EXPECT_EQ(requests[0].receipt->wait(), us(951'500));
  EXPECT_EQ(requests[1].receipt, TraceReceipt{});
}

TEST(RecordedFolder, IsReadAsOneTrace) {
  const TempFolder folder;
  (void)folder.file(
      "traffic-0000000002.jsonl",
      "{\"stoker_trace\": 1, \"started_at_ms\": 5000}\n"
      "{\"at_ms\": 0, \"deployment\": \"b\"}\n{\"at_ms\": 7, \"deployment\": \"a\"}\n");
  (void)folder.file("traffic-0000000001.jsonl",
                    "{\"stoker_trace\": 1, \"started_at_ms\": 2000}\n"
                    "{\"at_ms\": 1, \"deployment\": \"a\"}\n{\"at_ms\": 3");
  const auto source = opened(folder.path());
  EXPECT_EQ(source->world().started_at, WallTime{2'000'000'000});
  ASSERT_EQ(source->world().deployments.size(), 2U);
  const std::vector<TraceRequest> requests = all_of(*source);
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].at, ms(1));
  EXPECT_EQ(requests[1].at, ms(3000));
  EXPECT_EQ(requests[2].at, ms(3007));
  EXPECT_EQ(requests[2].deployment, requests[0].deployment);

  (void)folder.file("traffic-0000000003.jsonl", "{\"stoker_trace\": 1}\n");
  const auto unplaced = open_trace(folder.path());
  ASSERT_FALSE(unplaced);
  EXPECT_THAT(unplaced.error().message, HasSubstr("started_at_ms"));
}

std::vector<std::string> names(const char* mark) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 5);
  std::vector<std::string> made;
  for (std::size_t i = 0; i < count; ++i) {
    const auto text =
        *rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab \"\\/\n\t\x01{}[]:,")));
    made.push_back(text + mark + std::to_string(i) + "\xc3\xa4");
  }
  return made;
}

Duration any_duration() {
  return Duration{*rc::gen::inRange<std::int64_t>(0, 3'000'000'000'000'000'000)};
}
std::optional<Duration> maybe_duration() {
  return *rc::gen::arbitrary<bool>() ? std::optional(any_duration()) : std::nullopt;
}

TraceWorld any_world() {
  TraceWorld world;
  if (*rc::gen::arbitrary<bool>()) {
    world.started_at = WallTime{*rc::gen::inRange<std::int64_t>(0, 3'000'000'000'000'000'000)};
  }
  const auto devices = *rc::gen::inRange(0, 3);
  for (int i = 0; i < devices; ++i) {
    world.devices.push_back({.name = *rc::gen::elementOf(std::vector<std::string>{"", "gpu\\0"}),
                             .kind = *rc::gen::elementOf(std::vector<std::string>{"cpu", "cuda"}),
                             .memory = {*rc::gen::inRange<std::int64_t>(0, 1LL << 50)},
                             .slots = *rc::gen::inRange(0, 1000),
                             .price_per_hour = {*rc::gen::inRange<std::int64_t>(0, 1LL << 60)}});
  }
  for (const std::string& name : names("d")) {
    const auto memory = *rc::gen::inRange<std::int64_t>(0, 1LL << 50);
    world.deployments.push_back({.name = name,
                                 .memory = {memory},
                                 .weights = {*rc::gen::inRange<std::int64_t>(0, memory + 1)},
                                 .start = any_duration(),
                                 .load = any_duration(),
                                 .concurrency = *rc::gen::inRange(1, 1000),
                                 .prefill_tokens_per_s = *rc::gen::inRange(1, 1 << 30) / 1024.0,
                                 .decode_tokens_per_s = *rc::gen::inRange(1, 1 << 30) / 3.0,
                                 .request = any_duration()});
  }
  return world;
}

TraceRequest any_request(Duration at, const TraceWorld& world, std::size_t tenants) {
  TraceRequest r;
  r.at = at;
  r.deployment =
      static_cast<std::uint32_t>(*rc::gen::inRange<std::size_t>(0, world.deployments.size()));
  r.tenant = static_cast<std::uint32_t>(*rc::gen::inRange<std::size_t>(0, tenants));
  r.session = *rc::gen::arbitrary<std::uint64_t>();
  r.prefix = *rc::gen::arbitrary<std::vector<std::uint64_t>>();
  r.route = static_cast<TraceRoute>(*rc::gen::inRange(0, 10));
  r.stream = *rc::gen::arbitrary<bool>();
  r.priority = *rc::gen::arbitrary<std::int32_t>();
  r.input_tokens = *rc::gen::inRange(0, 1'000'000'001);
  r.output_tokens = *rc::gen::inRange(0, 1'000'000'001);
  r.service = maybe_duration();
  r.deadline = maybe_duration();
  r.gone_after = maybe_duration();
  r.outcome = static_cast<TraceOutcome>(*rc::gen::inRange(0, 7));
  if (*rc::gen::arbitrary<bool>()) r.id = "req-" + std::to_string(at.ns);
  if (*rc::gen::arbitrary<bool>()) {
    r.receipt = TraceReceipt{.start = static_cast<TraceStart>(*rc::gen::inRange(0, 4)),
                             .instance = *rc::gen::elementOf(std::vector<std::string>{"", "a/1"}),
                             .queue = any_duration(),
                             .allocate = any_duration(),
                             .starting = any_duration(),
                             .load = any_duration(),
                             .warmup = any_duration(),
                             .ttft = any_duration()};
  }
  return r;
}

RC_GTEST_PROP(StokerTrace, WhatIsWrittenReadsBackEqual, ()) {
  TraceWorld world = any_world();
  const std::vector<std::string> tenants = names("t");
  std::vector<TraceRequest> requests;
  const auto count = *rc::gen::inRange(0, 20);
  Duration at;
  for (int i = 0; i < count; ++i) {
    at = at + Duration{*rc::gen::inRange<std::int64_t>(0, 100'000'000'000'000'000)};
    requests.push_back(any_request(at, world, tenants.size()));
  }
  // The file knows tenants by their requests alone, in the order of the first of each.
  std::vector<std::uint32_t> number(tenants.size(), UINT32_MAX);
  for (TraceRequest& request : requests) {
    std::uint32_t& own = number[request.tenant];
    if (own == UINT32_MAX) {
      own = static_cast<std::uint32_t>(world.tenants.size());
      world.tenants.push_back(tenants[request.tenant]);
    }
    request.tenant = own;
  }
  const TempFolder folder;
  const std::string path = folder.path() + "/trace";
  const auto source = replay(world, requests);
  RC_ASSERT(write_trace(path, *source).value() == count);
  const auto again = opened(path);
  RC_ASSERT(again->world() == world);
  RC_ASSERT(all_of(*again) == requests);
}

TEST(WriteTrace, SaysWhyItCannot) {
  const auto source = replay({}, {});
  const Result<std::int64_t> written = write_trace("/no/such/folder/trace", *source);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("/no/such/folder/trace: No such file"));
}

}  // namespace
}  // namespace stoker::sim
