#include "gateway/routes.h"

#include <gtest/gtest.h>

#include <set>

namespace stoker::gateway {
namespace {

TEST(Routes, FindTheirRowAndTheirParameter) {
  struct Case {
    const char* path;
    Route route;
    const char* first;
    const char* raw_rest;
  };
  for (const Case& c : {
           Case{"/v1/chat/completions", Route::chat, "", ""},
           Case{"/v1/messages", Route::messages, "", ""},
           Case{"/v1/messages/count_tokens", Route::count_tokens, "", ""},
           Case{"/v1/audio/transcriptions", Route::transcriptions, "", ""},
           Case{"/v1/images/edits", Route::media, "", ""},
           Case{"/api/chat", Route::ollama_chat, "", ""},
           Case{"/api/ps", Route::ollama_ps, "", ""},
           Case{"/v1/models", Route::models, "", ""},
           Case{"/v1/models/chat", Route::model, "chat", "chat"},
           Case{"/v1/models/org/repo", Route::model, "org/repo", "org/repo"},
           Case{"/v1/models/org%2Frepo", Route::model, "org/repo", "org%2Frepo"},
           Case{"/v2", Route::server_metadata, "", ""},
           Case{"/v2/health/ready", Route::server_ready, "", ""},
           Case{"/v2/models/add", Route::model_metadata, "add", ""},
           Case{"/v2/models/add/ready", Route::model_ready, "add", ""},
           Case{"/v2/models/add/infer", Route::infer, "add", ""},
           Case{"/v2/models/org%2Fadd/infer", Route::infer, "org/add", ""},
           Case{"/v2/models/add/versions/1/infer", Route::infer, "add", ""},
           Case{"/v2/models/add/versions/1", Route::model_metadata, "add", ""},
           Case{"/invoke/echo/", Route::invoke, "echo", ""},
           Case{"/invoke/echo/a/b", Route::invoke, "echo", "a/b"},
           Case{"/invoke/echo/a%20b/", Route::invoke, "echo", "a%20b/"},
           Case{"/api/v1/logs/chat/3", Route::logs, "chat/3", "chat/3"},
           Case{"/api/v1/requests/req-1", Route::request, "req-1", ""},
       }) {
    const auto match = match_route(c.path);
    ASSERT_TRUE(match) << c.path;
    EXPECT_EQ(match->spec->route, c.route) << c.path;
    EXPECT_EQ(match->first, c.first) << c.path;
    EXPECT_EQ(match->raw_rest, c.raw_rest) << c.path;
  }
}

// A25: whatever is not in its normal form is no route, and no spelling reaches an admin row.
TEST(Routes, RefuseEveryOtherSpelling) {
  for (const char* path : {
           "",
           "v1/models",
           "/v1/models/",
           "/v1//models",
           "/V1/models",
           "/v1/models/%00",
           "/v1/models/a%2",
           "/v1/models/a%zz",
           "/v1/models/..",
           "/v1/models/%2e%2e",
           "/v1/models/%2e%2e%2fapi",
           "/v1/models/a/../b",
           "/v1/models/a%2F..%2Fb",
           "/v1/models/..;/b",
           "/v1/models/a\\b",
           "/v1/models/a%5Cb",
           "/v1/models/%c0%af",
           "/v1/models/%ff",
           "/v1/models/a%0ab",
           "/invoke/echo/../../api/v1/ps",
           "/invoke/echo/%2e%2e/ps",
           "/invoke/echo/a//b",
           "/invoke/echo",
           "/invoke//x",
           "/%61pi/v1/ps",
           "/api%2Fv1%2Fps",
           "/api/v1/%70s",
           "/api/v1/ps/",
           "//api/v1/ps",
           "/api/v1/./ps",
           "/api/v1/ps;x",
           "/healthz/",
           "/unknown",
       }) {
    EXPECT_FALSE(match_route(path)) << path;
  }
}

TEST(Routes, SayWhichMethodsTheyAllow) {
  const auto chat = match_route("/v1/chat/completions");
  EXPECT_TRUE(allows(*chat->spec, "POST"));
  EXPECT_FALSE(allows(*chat->spec, "GET"));
  EXPECT_FALSE(allows(*chat->spec, "post"));
  EXPECT_EQ(allowed_methods(*chat->spec), "POST");
  const auto invoke = match_route("/invoke/echo/x");
  EXPECT_EQ(allowed_methods(*invoke->spec), "GET, POST, PUT, PATCH, DELETE");
  EXPECT_FALSE(allows(*invoke->spec, "CONNECT"));
  EXPECT_FALSE(allows(*invoke->spec, "HEAD"));
  EXPECT_FALSE(allows(*chat->spec, "HEAD"));
  EXPECT_TRUE(allows(*match_route("/healthz")->spec, "HEAD"));
}

TEST(Routes, WhatIsReadNeedsReadWhatIsChangedNeedsAdminAndNothingElseIsOpen) {
  std::set<std::string_view> open;
  for (const RouteSpec& spec : all_routes()) {
    if (spec.pattern.starts_with("/api/v1/") || spec.pattern == "/metrics") {
      const bool secret = spec.route == Route::keys || spec.route == Route::key ||
                          spec.route == Route::webhook_secret;
      const bool only_read = spec.methods == method::get && !secret;
      EXPECT_EQ(spec.scope, only_read ? Scope::read : Scope::admin) << spec.pattern;
    }
    if (spec.scope == Scope::open) open.insert(spec.pattern);
  }
  EXPECT_EQ(open, (std::set<std::string_view>{"/healthz", "/readyz", "/openapi.json"}));
}

TEST(Routes, ARuntimeWithoutTheRouteIsNotStartedForIt) {
  EXPECT_FALSE(runtime_offers(RuntimeKind::llama_cpp, Route::infer));
  EXPECT_FALSE(runtime_offers(RuntimeKind::onnx, Route::chat));
  EXPECT_TRUE(runtime_offers(RuntimeKind::llama_cpp, Route::chat));
  EXPECT_TRUE(runtime_offers(RuntimeKind::onnx, Route::infer));
  EXPECT_TRUE(runtime_offers(RuntimeKind::command, Route::messages));
}

}  // namespace
}  // namespace stoker::gateway
