// The document holds all routes and no others, each with its scope and the errors of its dialect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <array>
#include <cctype>
#include <map>
#include <string>
#include <utility>

#include "gateway/routes.h"
#include "openapi/document.h"
#include "test_gateway.h"

namespace stoker::gateway {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// What the document and the table must say alike of one operation.
struct Facts {
  std::string scope;
  std::string forbidden;  // the answer 403, which every route may give
  bool operator==(const Facts&) const = default;
};
void PrintTo(const Facts& facts, std::ostream* out) {
  *out << facts.scope << ", " << facts.forbidden;
}
using Operations = std::map<std::string, Facts>;  // by "POST /v2/{}/run"

/// "/v2/{deployment}/status/{job}" and "/v2/{}/status/{}" are the same, and "{*}" is a parameter
/// too.
std::string without_names(std::string_view path) {
  std::string plain;
  bool inside = false;
  for (const char c : path) {
    if (c == '}') inside = false;
    if (!inside) plain += c;
    if (c == '{') inside = true;
  }
  return plain;
}

std::string in_upper_case(std::string_view text) {
  std::string upper(text);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

std::string scope_text(Scope scope) {
  constexpr std::array names = {"open", "inference", "read", "admin"};
  return names.at(static_cast<std::size_t>(scope));
}

std::string forbidden_of(Dialect dialect) {
  switch (dialect) {
    case Dialect::anthropic:
      return "#/components/responses/AnthropicForbidden";
    case Dialect::ollama:
      return "#/components/responses/OllamaForbidden";
    case Dialect::open_inference:
      return "#/components/responses/OpenInferenceForbidden";
    default:
      return "#/components/responses/Forbidden";
  }
}

Operations of_table() {
  Operations operations;
  for (const RouteSpec& spec : all_routes()) {
    for (const char* method : {"GET", "POST", "PUT", "PATCH", "DELETE"}) {
      if (!allows(spec, method)) continue;
      operations[method + (" " + without_names(spec.pattern))] = {scope_text(spec.scope),
                                                                  forbidden_of(spec.dialect)};
    }
  }
  return operations;
}

/// The one scope that every way to present a key asks for; "open" where none is asked for.
std::string scope_of(const simdjson::dom::element& operation) {
  std::string scope = "open";
  for (const auto way : operation["security"].get_array()) {
    for (const auto& [scheme, roles] : way.get_object()) {
      const std::string role(roles.get_array().at(0).get_string().value());
      if (scope != "open" && scope != role) return "several";
      scope = role;
    }
  }
  return scope;
}

Operations of_document(const simdjson::dom::element& document) {
  Operations operations;
  for (const auto& [path, item] : document["paths"].get_object()) {
    for (const auto& [method, operation] : item.get_object()) {
      if (method == "parameters") continue;
      const std::string_view forbidden = operation["responses"]["403"]["$ref"];
      const std::string name = in_upper_case(method) + " " + without_names(path);
      const bool is_new =
          operations.insert({name, {scope_of(operation), std::string(forbidden)}}).second;
      EXPECT_TRUE(is_new) << name << " is there twice";
    }
  }
  return operations;
}

TEST(OpenApi, HasTheOperationsOfTheTable) {
  simdjson::dom::parser parser;
  const simdjson::dom::element document =
      parser.parse(simdjson::padded_string(openapi::document())).value();
  EXPECT_EQ(std::string_view(document["openapi"]).substr(0, 4), "3.1.");
  EXPECT_EQ(std::string_view(document["info"]["version"]), STOKER_VERSION);
  const Operations told = of_document(document);
  const Operations there = of_table();
  for (const auto& [name, facts] : there) {
    ASSERT_TRUE(told.contains(name)) << name << " is not in docs/reference/openapi.yaml";
    EXPECT_EQ(told.at(name), facts) << name;
  }
  for (const auto& [name, facts] : told) {
    EXPECT_TRUE(there.contains(name)) << name << " is in the document, but is no route";
  }
}

TEST(OpenApi, IsServedToEverybodyAndOnceToWhoKeepsIt) {
  TestGateway gateway;
  gateway.options.auth.keys_required = true;
  gateway.start();
  const std::string target = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n";
  const Answer whole = gateway.ask(target + "\r\n");
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.field("content-type"), "application/json");
  EXPECT_EQ(whole.field("cache-control"), "no-cache");
  EXPECT_EQ(whole.body, openapi::document());
  const std::string tag(whole.field("etag"));
  EXPECT_THAT(tag, StartsWith("\""));
  for (const std::string& has :
       {tag, "W/" + tag, "\"other\", " + tag + " ", std::string("*"), ",," + tag}) {
    const Answer same = gateway.ask(target + "If-None-Match: " + has + "\r\n\r\n");
    EXPECT_EQ(same.status, 304) << has;
    EXPECT_EQ(same.field("etag"), tag);
    EXPECT_EQ(same.body, "");
  }
  for (const char* other : {"\"other\"", "", ",", "W/"}) {
    const Answer again = gateway.ask(target + "If-None-Match: " + other + "\r\n\r\n");
    EXPECT_EQ(again.status, 200) << other;
    EXPECT_THAT(again.body, HasSubstr("/openapi.json"));
  }
}

}  // namespace
}  // namespace stoker::gateway
