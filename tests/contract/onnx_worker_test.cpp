// What only stoker-worker-onnx does, on the real process: inference that means something, cancel of
// a run, errors in the protocol's shape.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "worker_process.h"

namespace stoker::test {
namespace {

std::string load_packet(const std::string& model, const std::string& options = "{}") {
  return fmt::format(
      R"({{"type":"load","deployment":"vad","model":"{}","options":{},"concurrency":2,"warmup":true}})",
      model, options);
}
std::string data_file(const char* name) {
  return fmt::format("{}/{}", STOKER_TEST_DATA, name);
}

std::string loop_request(std::int64_t rounds) {
  return fmt::format(
      R"({{"id":"r1","inputs":[{{"name":"rounds","shape":[],"datatype":"INT64","data":[{}]}},)"
      R"({{"name":"x","shape":[1],"datatype":"FP32","data":[2]}}]}})",
      rounds);
}

TEST(OnnxWorker, AnswersInTheNameOfItsDeployment) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER);
  worker.load(load_packet(data_file("loop.onnx")));
  const HttpConnection answer = worker.ask("POST", "/v2/models/alias/infer", loop_request(3), "q1");
  EXPECT_EQ(answer.status(), 200);
  EXPECT_EQ(answer.field("Content-Type"), "application/json");
  EXPECT_EQ(answer.body(), R"({"model_name":"vad","model_version":"1","id":"r1","outputs":[)"
                           R"({"name":"result","datatype":"FP32","shape":[1],"data":[8]}]})");
  EXPECT_EQ(worker.ask("GET", "/v2/models/vad/ready").body(), R"({"name":"vad","ready":true})");
}

TEST(OnnxWorker, ErrorsHaveTheShapeOfTheProtocol) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER);
  worker.load(load_packet(data_file("loop.onnx")));
  struct Case {
    const char* method;
    const char* path;
    const char* body;
    int status;
  };
  const Case cases[] = {
      {"GET", "/v2/models/vad/versions/9", "", 404},
      {"GET", "/v2/nothing", "", 404},
      {"GET", "/v2/models/vad/infer", "", 405},
      {"POST", "/v2/models/vad/infer", R"({"inputs":[]})", 400},
      {"POST", "/v2/models/vad/infer", "no JSON", 400},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path);
    const HttpConnection answer = worker.ask(c.method, c.path, c.body);
    EXPECT_EQ(answer.status(), c.status);
    EXPECT_NE(Json{answer.body()}.string("error"), "");
  }
}

TEST(OnnxWorker, CancelStopsARunAndSaysWhatItUsed) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER);
  worker.load(load_packet(data_file("loop.onnx")));
  HttpConnection running = worker.connect();
  running.send("POST", "/v2/models/vad/infer", loop_request(std::int64_t{1} << 40), "q1");
  ASSERT_TRUE(worker.active_becomes(1));
  const Json ended = worker.cancel("q1");
  EXPECT_EQ(ended.string("reason"), "cancelled");
  EXPECT_TRUE(worker.active_becomes(0));
  EXPECT_EQ(worker.ask("POST", "/v2/models/vad/infer", loop_request(1)).status(), 200);
}

TEST(OnnxWorker, AnUnknownOptionIsNamed) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER);
  worker.send(load_packet(data_file("loop.onnx"), R"({"treads":2})"));
  const Json failed = worker.wait_for("load_failed");
  EXPECT_EQ(failed.string("code"), "bad_option");
  EXPECT_NE(failed.string("message").find("threads"), std::string::npos);
  EXPECT_EQ(worker.wait_exit(), 3);
}

TEST(OnnxWorker, SaysWhereItLookedForItsLibrary) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER, {{"STOKER_ONNXRUNTIME", "/no/such/library.so"}});
  worker.send(load_packet(data_file("loop.onnx")));
  const Json failed = worker.wait_for("load_failed");
  EXPECT_EQ(failed.string("code"), "start_failed");
  EXPECT_NE(failed.string("message").find("/no/such/library.so"), std::string::npos);
}

// --- Silero VAD: is this speech? ---

constexpr double sample_rate = 16000;
constexpr std::size_t frame_samples = 512;   // 32 ms
constexpr std::size_t context_samples = 64;  // the model wants the end of the frame before, too

/// A voice that sways between "ah" and "ee": harmonics of 130 Hz under the formants of both.
float voice(double t) {
  struct Formant {
    double ah_hz, ee_hz, width_hz, gain;
  };
  constexpr Formant formants[] = {
      {700, 300, 90, 1}, {1200, 2200, 110, 0.6}, {2600, 3000, 160, 0.3}};
  constexpr double pitch_hz = 130;
  const auto sine = [&](double hz) { return std::sin(2 * std::numbers::pi * hz * t); };
  const double ah = 0.5 + 0.5 * sine(3);
  double sound = 0;
  for (int harmonic = 1; harmonic * pitch_hz < 3800; ++harmonic) {
    double gain = 0;
    for (const Formant& f : formants) {
      const double off = (harmonic * pitch_hz - f.ah_hz * ah - f.ee_hz * (1 - ah)) / f.width_hz;
      gain += f.gain / (1 + off * off);
    }
    sound += gain * sine(harmonic * pitch_hz);
  }
  return static_cast<float>(0.12 * std::max(0.05, std::abs(sine(2))) * sound);
}
float silence(double) {
  return 0;
}

struct Frame {
  double speech = 0;
  std::vector<double> state;
  std::string shape;
};

std::vector<double> numbers(simdjson::dom::element array) {
  std::vector<double> read;
  for (const double number : array.get_array()) read.push_back(number);
  return read;
}

Frame infer(const WorkerProcess& worker, const std::vector<float>& samples,
            const std::vector<double>& state) {
  const std::string body =
      fmt::format(R"({{"inputs":[{{"name":"input","shape":[1,{}],"datatype":"FP32","data":[{}]}},)"
                  R"({{"name":"state","shape":[2,1,128],"datatype":"FP32","data":[{}]}},)"
                  R"({{"name":"sr","shape":[],"datatype":"INT64","data":[16000]}}],)"
                  R"("outputs":[{{"name":"output"}},{{"name":"stateN"}}]}})",
                  samples.size(), fmt::join(samples, ","), fmt::join(state, ","));
  const HttpConnection answer = worker.ask("POST", "/v2/models/vad/infer", body);
  EXPECT_EQ(answer.status(), 200) << answer.body();
  simdjson::dom::parser parser;
  const simdjson::dom::element json = parser.parse(answer.body());
  const auto outputs = json["outputs"];
  return {numbers(outputs.at(0)["data"]).at(0), numbers(outputs.at(1)["data"]),
          simdjson::minify(outputs.at(0)["shape"])};
}

/// Mean probability of speech over the second half of a second of `sound`, state carried over.
double speech_in(const WorkerProcess& worker, float (*sound)(double)) {
  constexpr std::size_t frames = 30;
  std::vector<double> state(256, 0.0);
  std::vector<float> samples(context_samples + frame_samples, 0.0F);
  double sum = 0;
  for (std::size_t frame = 0; frame < frames; ++frame) {
    std::copy(samples.end() - context_samples, samples.end(), samples.begin());
    for (std::size_t i = 0; i < frame_samples; ++i) {
      const auto at = static_cast<double>(frame * frame_samples + i);
      samples[context_samples + i] = sound(at / sample_rate);
    }
    Frame heard = infer(worker, samples, state);
    EXPECT_EQ(heard.shape, "[1,1]");
    state = std::move(heard.state);
    if (frame >= frames / 2) sum += heard.speech;
  }
  return sum / (frames - frames / 2);
}

TEST(OnnxWorker, HearsSpeechAndSilence) {
  WorkerProcess worker(STOKER_TEST_ONNX_WORKER);
  worker.load(load_packet(STOKER_TEST_VAD_MODEL));
  EXPECT_LT(speech_in(worker, silence), 0.05);
  const double speech = speech_in(worker, voice);
  EXPECT_GT(speech, 0.8);
  EXPECT_EQ(speech_in(worker, voice), speech);  // the same input gives the same answer
}

}  // namespace
}  // namespace stoker::test
