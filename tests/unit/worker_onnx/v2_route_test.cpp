#include "worker/onnx/v2_route.h"

#include <gtest/gtest.h>

namespace stoker::worker::onnx {
namespace {

TEST(V2Path, Table) {
  struct Case {
    const char* path;
    V2Route route;
    const char* version = "";
  };
  const Case cases[] = {
      {"/v2", V2Route::server_metadata},
      {"/v2/", V2Route::server_metadata},
      {"/v2/health/live", V2Route::server_live},
      {"/v2/health/ready", V2Route::server_ready},
      {"/v2/models/vad", V2Route::model_metadata},
      {"/v2/models/vad/", V2Route::model_metadata},
      {"/v2/models/vad/ready", V2Route::model_ready},
      {"/v2/models/vad/infer", V2Route::infer},
      {"/v2/models/org%2Fvad:latest/infer", V2Route::infer},
      {"/v2/models/vad/versions/1", V2Route::model_metadata, "1"},
      {"/v2/models/vad/versions/7/infer", V2Route::infer, "7"},
      {"/v2/models/vad/versions/7/ready", V2Route::model_ready, "7"},
      {"/v2/models/versions/infer", V2Route::infer},  // a model called "versions"
      {"/v2/models/vad/versions", V2Route::unknown},
      {"/v2/models/vad/versions//infer", V2Route::unknown},
      {"/v2/models/vad/config", V2Route::unknown},
      {"/v2/models/vad/infer/more", V2Route::unknown},
      {"/v2/models", V2Route::unknown},
      {"/v2/models//infer", V2Route::unknown},
      {"/v2/health", V2Route::unknown},
      {"/v2x", V2Route::unknown},
      {"/v1/models", V2Route::unknown},
      {"/", V2Route::unknown},
      {"", V2Route::unknown},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path);
    const V2Target target = parse_v2_path(c.path);
    EXPECT_EQ(target.route, c.route);
    if (c.route != V2Route::unknown) {
      EXPECT_EQ(target.version, c.version);
    }
  }
}

}  // namespace
}  // namespace stoker::worker::onnx
