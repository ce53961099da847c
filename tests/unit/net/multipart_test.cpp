#include "net/multipart.h"

#include <gtest/gtest.h>

#include <string>

namespace stoker::net {
namespace {

constexpr std::string_view kForm =
    "--b\r\n"
    "Content-Disposition: form-data; name=\"model\"\r\n"
    "\r\n"
    "whisper\r\n"
    "--b\r\n"
    "content-disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\n"
    "Content-Type: audio/wav\r\n"
    "\r\n"
    "RIFF\r\n--\r\nx\r\n"
    "--b--\r\n";

TEST(Multipart, FindsTheBoundary) {
  EXPECT_EQ(form_boundary("multipart/form-data; boundary=b"), "b");
  EXPECT_EQ(form_boundary("Multipart/Form-Data; charset=x; boundary=\"b c\""), "b c");
  EXPECT_EQ(form_boundary("application/json"), std::nullopt);
  EXPECT_EQ(form_boundary("multipart/form-data"), std::nullopt);
  EXPECT_EQ(form_boundary("multipart/form-data; boundary="), std::nullopt);
  EXPECT_EQ(form_boundary("multipart/form-data; boundary=a; boundary=b"), std::nullopt);
}

TEST(Multipart, ReadsFieldsAndFiles) {
  const auto parts = parse_form(kForm, "b");
  ASSERT_TRUE(parts);
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ((*parts)[0].name, "model");
  EXPECT_EQ((*parts)[0].file_name, "");
  EXPECT_EQ((*parts)[0].content, "whisper");
  EXPECT_EQ((*parts)[1].name, "file");
  EXPECT_EQ((*parts)[1].file_name, "a;b.wav");
  EXPECT_EQ((*parts)[1].content_type, "audio/wav");
  EXPECT_EQ((*parts)[1].content, "RIFF\r\n--\r\nx");
}

TEST(Multipart, RefusesEveryFormThatWasCutOff) {
  const std::size_t whole = kForm.rfind("--\r\n") + 2;
  for (std::size_t size = 0; size < whole; ++size) {
    EXPECT_FALSE(parse_form(kForm.substr(0, size), "b")) << size;
  }
}

TEST(Multipart, RefusesAPartWithoutAName) {
  EXPECT_FALSE(parse_form("--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "b"));
  EXPECT_FALSE(parse_form("--b\r\nno colon\r\n\r\nx\r\n--b--", "b"));
}

// Where readers of forms are known to differ, nobody may be left to guess.
TEST(Multipart, RefusesWhatAnotherReaderMayReadDifferently) {
  for (const char* form : {
           "--b\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nx\r\n--b--",
           "--b\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\nx\r\n--b--",
           "--b\r\nContent-Disposition: form-data; name=a\r\n"
           "Content-Disposition: form-data; name=b\r\n\r\nx\r\n--b--",
           "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\nmore",
           "before\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--",
           "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--bb--",
           "--b\r\nContent-Disposition: form-data; name=a\r\n ; name=\"b:\"\r\n\r\nx\r\n--b--",
           "--b\nContent-Disposition: form-data; name=a\n\nx\n--b--",
       }) {
    EXPECT_FALSE(parse_form(form, "b")) << form;
  }
}

}  // namespace
}  // namespace stoker::net
