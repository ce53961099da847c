#include "gateway/media_request.h"

#include <gtest/gtest.h>

namespace stoker::gateway {
namespace {

std::string part(const std::string& disposition, const std::string& content) {
  return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n";
}
const std::string file = part("name=\"file\"; filename=\"model\"", "x");
const std::string named = part("name=\"model\"", "m");

struct Case {
  std::string type;
  std::string body;
  std::string query;
  std::string field;
  std::string model;  // empty: refused
};

TEST(MediaRequest, FindsTheModelInTheBodyOrBesideIt) {
  const std::string form = "multipart/form-data; boundary=b";
  for (const Case& c : {
           Case{form, file + named + "--b--\r\n", "", "", "m"},
           Case{form, named + file + "--b--", "model=q", "f", "m"},
           Case{form, file + "--b--", "model=q", "f", "q"},
           Case{form, file + "--b--", "model=a%2Fb", "", "a/b"},
           Case{form, file + "--b--", "", "f", "f"},
           Case{"application/json", R"({"model":"m"})", "model=q", "f", "m"},
           Case{"application/json", R"({"input":"x"})", "", "f", "f"},
           Case{"audio/wav", "RIFF", "", "f", "f"},
           Case{form, file + "--b--", "", "", ""},
           Case{form, named + named + "--b--", "", "", ""},
           Case{form, named + part("name=model; filename=a", "n") + "--b--", "", "", ""},
           Case{form, part("name=model", "") + "--b--", "", "", ""},
           Case{form, part("name=model", "\xff") + "--b--", "", "", ""},
           Case{form, named, "", "f", ""},
           Case{"multipart/form-data", named + "--b--", "", "f", ""},
           Case{"application/json", R"({"model":"m")", "model=q", "f", ""},
           Case{"application/json", R"({"model":"m","model":"n"})", "", "f", ""},
           Case{"audio/wav", "RIFF", "", "", ""},
       }) {
    net::HttpRequest request;
    request.fields.add("content-type", c.type);
    if (!c.field.empty()) request.fields.add("x-stoker-model", c.field);
    request.query = c.query;
    request.body = c.body;
    JsonReader json;
    BodyFacts facts;
    const auto error = read_media_request(request, json, facts);
    EXPECT_EQ(error.has_value(), c.model.empty()) << c.type << " " << c.body;
    if (error) {
      EXPECT_EQ(error->status, 400);
    } else {
      EXPECT_EQ(facts.model, c.model) << c.body;
    }
  }
}

TEST(MediaRequest, AnotherModelChangesNothingElse) {
  net::HttpRequest request;
  const std::string body = part("name=\"stream\"", "true") + named + file + "--b--\r\n";
  request.fields.add("content-type", "multipart/form-data; boundary=b");
  request.body = body;
  JsonReader json;
  BodyFacts facts;
  ASSERT_FALSE(read_media_request(request, json, facts));
  EXPECT_TRUE(facts.stream);
  EXPECT_EQ(with_model(body, facts, "other"),
            part("name=\"stream\"", "true") + part("name=\"model\"", "other") + file + "--b--\r\n");
}

}  // namespace
}  // namespace stoker::gateway
