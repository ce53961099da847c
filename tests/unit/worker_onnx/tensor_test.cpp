#include "worker/onnx/tensor.h"

#include <gtest/gtest.h>

namespace stoker::worker::onnx {
namespace {

TEST(DataType, TextComesBack) {
  for (int i = 0; i <= static_cast<int>(DataType::bytes); ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(parse_data_type(to_text(type)), type);
  }
  EXPECT_EQ(parse_data_type("fp32"), std::nullopt);
}

TEST(ElementCount, Table) {
  constexpr std::int64_t huge = std::int64_t{1} << 62;
  struct Case {
    const char* name;
    Shape shape;
    std::optional<std::int64_t> count;
  };
  const Case cases[] = {
      {"scalar", {}, 1},
      {"vector", {7}, 7},
      {"cube", {2, 3, 4}, 24},
      {"no elements", {2, 0, 4}, 0},
      {"largest", {huge, 1}, huge},
      {"one too many", {huge, 2}, std::nullopt},
      {"wraps round to a small number",
       {std::int64_t{1} << 32, std::int64_t{1} << 32, 5},
       std::nullopt},
      {"zero after an overflow", {huge, 8, 0}, 0},
      {"negative", {-1}, std::nullopt},
      {"negative beside zero", {0, -1}, std::nullopt},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(element_count(c.shape), c.count);
  }
}

TEST(ShapeFits, Table) {
  struct Case {
    const char* name;
    Shape shape;
    std::optional<Shape> declared;
    bool fits;
  };
  const Case cases[] = {
      {"equal", {2, 3}, Shape{2, 3}, true},
      {"free dimension", {9, 3}, Shape{-1, 3}, true},
      {"wrong dimension", {9, 4}, Shape{-1, 3}, false},
      {"wrong rank", {3}, Shape{-1, 3}, false},
      {"scalar", {}, Shape{}, true},
      {"anything goes", {1, 2, 3}, std::nullopt, true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(shape_fits(c.shape, {"x", DataType::fp32, c.declared}), c.fits);
  }
}

}  // namespace
}  // namespace stoker::worker::onnx
