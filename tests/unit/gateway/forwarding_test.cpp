#include "gateway/forwarding.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

TEST(Forwarding, KeepsWhatIsOfTheMessageAndDropsWhatIsOfTheConnectionOrSecret) {
  net::Fields fields;
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"Host", "h"},
           {"Content-Type", "application/json"},
           {"Authorization", "Bearer sk"},
           {"X-API-Key", "sk"},
           {"Api-Key", "sk"},
           {"Cookie", "c"},
           {"Connection", "keep-alive, X-Hop"},
           {"X-Hop", "1"},
           {"Keep-Alive", "1"},
           {"TE", "trailers"},
           {"Transfer-Encoding", "chunked"},
           {"Content-Length", "2"},
           {"Accept-Encoding", "gzip"},
           {"Expect", "100-continue"},
           {"X-Stoker-Request", "forged"},
           {"X-Stoker-Tenant", "8"},
           {"anthropic-version", "2023-06-01"}}) {
    fields.add(name, value);
  }
  std::string for_engine;
  add_fields_for_engine(for_engine, fields, RequestId{1}, TenantId{7});
  EXPECT_EQ(for_engine,
            "Content-Type: application/json\r\nanthropic-version: 2023-06-01\r\n"
            "X-Stoker-Request: req-0000000000000001\r\nX-Stoker-Tenant: 7\r\n");
  std::string of_translation;
  add_fields_of_translation(of_translation, RequestId{1}, TenantId{7});
  EXPECT_EQ(of_translation,
            "Content-Type: application/json\r\n"
            "X-Stoker-Request: req-0000000000000001\r\nX-Stoker-Tenant: 7\r\n");
}

TEST(Forwarding, OnlyTheGatewayWritesItsOwnFields) {
  net::Fields fields;
  fields.add("Content-Type", "text/plain");
  fields.add("X-Stoker-Usage", "input=1,output=1,cached=0,device_ms=1");
  fields.add("x-stoker-start", "warm");
  fields.add("Server-Timing", "x");
  fields.add("Date", "d");
  fields.add("X-Other", "kept");
  std::string for_client;
  add_fields_for_client(for_client, fields);
  EXPECT_EQ(for_client, "Content-Type: text/plain\r\nX-Other: kept\r\n");
}

TEST(Forwarding, NamesInThePathBecomeThoseOfTheEngine) {
  Deployment deployment;
  deployment.name = "add";
  struct Case {
    const char* path;
    const char* query;
    const char* wanted;
  };
  for (const Case& c :
       {Case{"/v1/chat/completions", "", "/v1/chat/completions"},
        Case{"/v2/models/alias/infer", "", "/v2/models/add/infer"},
        Case{"/v2/models/a%2Fb/versions/1/infer", "x=1", "/v2/models/add/versions/1/infer?x=1"},
        Case{"/v2/models/alias", "", "/v2/models/add"}, Case{"/invoke/add/", "", "/"},
        Case{"/invoke/add/a%20b/c", "q=%2F", "/a%20b/c?q=%2F"}}) {
    net::HttpRequest request;
    request.path = c.path;
    request.query = c.query;
    const auto match = match_route(c.path);
    ASSERT_TRUE(match) << c.path;
    EXPECT_EQ(target_for_engine(*match, request, deployment), c.wanted);
  }
}

TEST(Forwarding, KnowsMediaTypes) {
  EXPECT_TRUE(is_json("application/json"));
  EXPECT_TRUE(is_json("Application/JSON; charset=utf-8"));
  EXPECT_TRUE(is_json("application/problem+json"));
  EXPECT_FALSE(is_json("text/plain"));
  EXPECT_FALSE(is_json("application/jsonx"));
  EXPECT_FALSE(is_json(""));
  EXPECT_TRUE(is_event_stream("text/event-stream;charset=utf-8"));
  EXPECT_FALSE(is_event_stream("text/event-streams"));
}

}  // namespace
}  // namespace stoker::gateway
