#include "backend/devices/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>

#include "backend/devices/nvml.h"

namespace stoker::backend {
namespace {

constexpr const char* no_nvml = "/nonexistent/libnvidia-ml.so.1";

TEST(Nvml, TellsDevicesAndTheirUse) {
  const Result<std::unique_ptr<NvmlReader>> nvml = NvmlReader::open(STOKER_FAKE_NVML);
  ASSERT_TRUE(nvml.has_value()) << nvml.error().message;
  ASSERT_EQ((*nvml)->devices().size(), 2U);
  EXPECT_EQ((*nvml)->driver_version(), "550.54");
  EXPECT_EQ((*nvml)->devices()[1].uuid, "GPU-bbbb");
  EXPECT_EQ((*nvml)->devices()[1].total, gib(80));
  const Result<NvmlUse> use = (*nvml)->use_of(0);
  ASSERT_TRUE(use.has_value());
  EXPECT_EQ(use->used, gib(20));
  EXPECT_EQ(use->busy_percent, 42);
}

TEST(Nvml, SumsTheMemoryOfGivenProcesses) {
  const Result<std::unique_ptr<NvmlReader>> nvml = NvmlReader::open(STOKER_FAKE_NVML);
  ASSERT_TRUE(nvml.has_value());
  EXPECT_EQ((*nvml)->memory_of(0, std::array{1000, 1099, 5}).value(), gib(2));
  EXPECT_EQ((*nvml)->memory_of(0, std::array{5}).value(), gib(0));
  EXPECT_FALSE((*nvml)->memory_of(1, std::array{1000}).has_value()) << "unknown is not zero";
}

TEST(Nvml, SaysWhyItIsNotThere) {
  EXPECT_EQ(NvmlReader::open(no_nvml).error().code, ErrorCode::not_found);
  EXPECT_EQ(NvmlReader::open("libc.so.6").error().code, ErrorCode::unavailable);
  ::setenv("FAKE_NVML_INIT", "9", 1);
  const Error error = NvmlReader::open(STOKER_FAKE_NVML).error();
  ::unsetenv("FAKE_NVML_INIT");
  EXPECT_EQ(error.code, ErrorCode::unavailable);
  EXPECT_THAT(error.message, testing::HasSubstr("Driver Not Loaded"));
}

TEST(Devices, AutoTakesAllGpusOrElseTheCpu) {
  const DeviceProbe gpus =
      probe_devices({.requests = {}, .nvml_library = STOKER_FAKE_NVML}).value();
  ASSERT_EQ(gpus.devices.size(), 2U);
  EXPECT_EQ(gpus.devices[1].id, "cuda1");
  EXPECT_EQ(gpus.cuda_state, "2 devices, driver 550.54");

  const DeviceProbe cpu = probe_devices({.requests = {}, .nvml_library = no_nvml}).value();
  ASSERT_EQ(cpu.devices.size(), 1U);
  EXPECT_EQ(cpu.devices[0].kind, DeviceKind::cpu);
  EXPECT_GT(cpu.devices[0].memory, mib(1));
  EXPECT_GE(cpu.devices[0].cores, 1);
  EXPECT_THAT(cpu.cuda_state, testing::HasSubstr("no NVIDIA driver"));
}

TEST(Devices, RequestsNarrowWhatIsThere) {
  const ProbeOptions options{
      .requests = {{.id = "big", .kind = DeviceKind::cuda, .index = 1, .memory = gib(40)},
                   {.id = "", .kind = DeviceKind::cuda},
                   {.id = "host", .kind = DeviceKind::cpu, .memory = gib(4), .slots = 3},
                   {.id = "", .kind = DeviceKind::fake}},
      .nvml_library = STOKER_FAKE_NVML};
  const std::vector<Device> devices = probe_devices(options).value().devices;
  ASSERT_EQ(devices.size(), 4U);
  EXPECT_EQ(devices[0].id, "big");
  EXPECT_EQ(devices[0].uuid, "GPU-bbbb");
  EXPECT_EQ(devices[0].memory, gib(40));
  EXPECT_EQ(devices[1].uuid, "GPU-aaaa") << "the next that is not yet named";
  EXPECT_EQ(devices[2].slots, 3);
  EXPECT_EQ(devices[3].kind, DeviceKind::fake);
}

TEST(Devices, WhatIsNotThereIsRefused) {
  const auto code = [](DeviceRequest request, std::string library) {
    return probe_devices({.requests = {std::move(request)}, .nvml_library = std::move(library)})
        .error()
        .code;
  };
  EXPECT_EQ(code({.id = "a", .kind = DeviceKind::cuda}, no_nvml), ErrorCode::not_found);
  EXPECT_EQ(code({.id = "a", .kind = DeviceKind::cuda, .index = 2}, STOKER_FAKE_NVML),
            ErrorCode::not_found);
  EXPECT_EQ(code({.id = "a", .kind = DeviceKind::cuda, .memory = gib(81)}, STOKER_FAKE_NVML),
            ErrorCode::invalid);
  const ProbeOptions twice{.requests = {{.id = "a"}, {.id = "a"}}, .nvml_library = no_nvml};
  EXPECT_EQ(probe_devices(twice).error().code, ErrorCode::invalid);
}

TEST(Devices, KindsHaveNames) {
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda, DeviceKind::fake}) {
    EXPECT_EQ(parse_device_kind(to_text(kind)), kind);
  }
  EXPECT_EQ(parse_device_kind("tpu"), std::nullopt);
}

}  // namespace
}  // namespace stoker::backend
