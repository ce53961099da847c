#include "worker/onnx/infer_request.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/text.h"
#include "worker/onnx/json_elements.h"

namespace stoker::worker::onnx {
namespace {

namespace ondemand = simdjson::ondemand;

tl::unexpected<Error> wrong(std::string message) {
  return failure(ErrorCode::invalid, std::move(message));
}
tl::unexpected<Error> broken_json(simdjson::error_code code) {
  return wrong(fmt::format("the request is not valid JSON: {}", simdjson::error_message(code)));
}

std::vector<std::string_view> names_of(const std::vector<TensorSpec>& specs) {
  std::vector<std::string_view> names;
  for (const TensorSpec& spec : specs) names.emplace_back(spec.name);
  return names;
}

/// "; did you mean 'x'?" or "; the model has 'a', 'b'".
std::string known_names(std::string_view wrong_name, const std::vector<TensorSpec>& specs) {
  const std::vector<std::string_view> names = names_of(specs);
  if (const auto near = closest(wrong_name, names))
    return fmt::format("; did you mean '{}'?", *near);
  return fmt::format("; the model has '{}'", fmt::join(names, "', '"));
}

std::optional<std::size_t> index_of(std::string_view name, const std::vector<TensorSpec>& specs) {
  const auto found = std::ranges::find(specs, name, &TensorSpec::name);
  if (found == specs.end()) return std::nullopt;
  return static_cast<std::size_t>(found - specs.begin());
}

/// Parameters that we act on. Others are ignored, as the protocol allows.
struct Parameters {
  std::optional<std::int64_t> binary_data_size;
  std::optional<bool> binary_data;
  std::optional<bool> binary_data_output;
};

/// `parameters` is a JSON object of them; `where` names their owner in messages.
Result<Parameters> read_parameters(ondemand::value parameters, std::string_view where) {
  ondemand::object object;
  if (parameters.get_object().get(object)) {
    return wrong(fmt::format("{}.parameters must be an object", where));
  }
  Parameters read;
  for (auto item : object) {
    std::string_view key;
    ondemand::value value;
    if (const auto code = item.unescaped_key().get(key)) return broken_json(code);
    if (const auto code = item.value().get(value)) return broken_json(code);
    if (key == "binary_data_size") {
      std::int64_t size = 0;
      if (value.get_int64().get(size) || size < 0) {
        return wrong(fmt::format("{}.parameters.{} must be a number of bytes", where, key));
      }
      read.binary_data_size = size;
    } else if (key == "binary_data" || key == "binary_data_output") {
      bool flag = false;
      if (value.get_bool().get(flag)) {
        return wrong(fmt::format("{}.parameters.{} must be true or false", where, key));
      }
      (key == "binary_data" ? read.binary_data : read.binary_data_output) = flag;
    } else if (key == "classification" || key.starts_with("shared_memory")) {
      return wrong(fmt::format("{}.parameters.{} is not supported", where, key));
    }
  }
  return read;
}

/// Parameters of an input or an output; none if it has no such key.
Result<Parameters> find_parameters(ondemand::object owner, std::string_view where) {
  ondemand::value found;
  const auto code = owner["parameters"].get(found);
  if (code == simdjson::NO_SUCH_FIELD) return Parameters{};
  if (code) return broken_json(code);
  return read_parameters(found, where);
}

Result<std::string_view> read_text(ondemand::object object, std::string_view key,
                                   std::string_view where) {
  std::string_view text;
  const auto code = object[key].get_string().get(text);
  if (code == simdjson::NO_SUCH_FIELD) return wrong(fmt::format("{} has no '{}'", where, key));
  if (code) return wrong(fmt::format("{}.{} must be a string", where, key));
  return text;
}

Result<Shape> read_shape(ondemand::object object, std::string_view where) {
  ondemand::array array;
  const auto code = object["shape"].get_array().get(array);
  if (code == simdjson::NO_SUCH_FIELD) return wrong(fmt::format("{} has no 'shape'", where));
  if (code) return wrong(fmt::format("{}.shape must be an array of sizes", where));
  Shape shape;
  for (auto item : array) {
    std::int64_t size = 0;
    if (item.get_int64().get(size) != simdjson::SUCCESS || size < 0) {
      return wrong(fmt::format("{}.shape[{}] is not a size: expected an integer of 0 or more",
                               where, shape.size()));
    }
    shape.push_back(size);
    if (shape.size() > max_tensor_rank) {
      return wrong(fmt::format("{}.shape has more than {} dimensions", where, max_tensor_rank));
    }
  }
  return shape;
}

class RequestReader {
 public:
  RequestReader(std::string_view json, std::string_view binary, bool has_binary_part,
                const ModelSignature& model)
      : json_(json),
        binary_(binary),
        has_binary_part_(has_binary_part),
        model_(model),
        given_(model.inputs.size(), false) {
    request_.inputs.resize(model.inputs.size());
  }

  Result<InferRequest> read() {
    const simdjson::padded_string padded(json_);
    ondemand::parser parser;
    ondemand::document document;
    ondemand::object root;
    if (const auto broken = parser.iterate(padded).get(document)) return broken_json(broken);
    const auto code = document.get_object().get(root);
    if (code == simdjson::INCORRECT_TYPE) return wrong("the request must be a JSON object");
    if (code) return broken_json(code);
    if (auto done = read_root(root); !done) return tl::unexpected(std::move(done.error()));
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
      return wrong("the request has text after its JSON object");
    }
    if (auto done = check_whole(); !done) return tl::unexpected(std::move(done.error()));
    return std::move(request_);
  }

 private:
  /// Keys in any order, each once.
  Result<void> read_root(ondemand::object root) {
    bool saw_inputs = false;
    bool saw_outputs = false;
    bool binary_by_default = false;
    for (auto item : root) {
      std::string_view key;
      ondemand::value value;
      if (const auto code = item.unescaped_key().get(key)) return broken_json(code);
      if (const auto code = item.value().get(value)) return broken_json(code);
      Result<void> done;
      if (key == "id") {
        std::string_view id;
        if (value.get_string().get(id)) return wrong("id must be a string");
        request_.id = id;
      } else if (key == "inputs") {
        if (std::exchange(saw_inputs, true)) return wrong("'inputs' is given twice");
        done = read_inputs(value);
      } else if (key == "outputs") {
        if (std::exchange(saw_outputs, true)) return wrong("'outputs' is given twice");
        done = read_outputs(value);
      } else if (key == "parameters") {
        const Result<Parameters> parameters = read_parameters(value, "request");
        if (!parameters) return tl::unexpected(parameters.error());
        binary_by_default = parameters->binary_data_output.value_or(false);
      }
      if (!done) return done;
    }
    if (!saw_inputs) return wrong("the request has no 'inputs'");
    settle_outputs(binary_by_default);
    return {};
  }

  Result<void> read_inputs(ondemand::value value) {
    ondemand::array array;
    if (value.get_array().get(array)) return wrong("'inputs' must be an array");
    std::size_t index = 0;
    for (auto item : array) {
      const std::string where = fmt::format("inputs[{}]", index++);
      ondemand::object object;
      if (item.get_object().get(object)) return wrong(where + " must be an object");
      if (auto done = read_input(object, where); !done) return done;
    }
    return {};
  }

  Result<void> read_input(ondemand::object object, const std::string& where) {
    const Result<std::string_view> name = read_text(object, "name", where);
    if (!name) return tl::unexpected(name.error());
    const std::optional<std::size_t> position = index_of(*name, model_.inputs);
    if (!position) {
      return wrong(fmt::format("{} '{}' is not an input of the model{}", where, *name,
                               known_names(*name, model_.inputs)));
    }
    const TensorSpec& spec = model_.inputs[*position];
    const std::string here = fmt::format("{} '{}'", where, spec.name);
    if (given_[*position]) return wrong(fmt::format("{} is given twice", here));
    given_[*position] = true;
    Tensor& tensor = request_.inputs[*position];

    if (auto done = check_type(object, spec, here); !done) return done;
    tensor.type = spec.type;
    Result<Shape> shape = read_shape(object, here);
    if (!shape) return tl::unexpected(shape.error());
    tensor.shape = std::move(*shape);
    const std::optional<std::int64_t> count = element_count(tensor.shape);
    if (!shape_fits(tensor.shape, spec)) {
      return wrong(fmt::format("{}.shape is {}, the model wants {} (-1: any size)", here,
                               shape_text(tensor.shape), shape_text(declared_shape(spec))));
    }
    // The smallest element takes a byte, as JSON and as binary data.
    if (!count || *count > static_cast<std::int64_t>(json_.size() + binary_.size())) {
      return wrong(fmt::format("{}.shape {} has more elements than the request has bytes", here,
                               shape_text(tensor.shape)));
    }
    return read_elements(object, *count, tensor, here);
  }

  static Result<void> check_type(ondemand::object object, const TensorSpec& spec,
                                 std::string_view here) {
    const Result<std::string_view> text = read_text(object, "datatype", here);
    if (!text) return tl::unexpected(text.error());
    if (*text == to_text(spec.type)) return {};
    return wrong(
        fmt::format("{}.datatype is '{}', the model wants {}", here, *text, to_text(spec.type)));
  }

  Result<void> read_elements(ondemand::object object, std::int64_t count, Tensor& tensor,
                             const std::string& here) {
    const Result<Parameters> parameters = find_parameters(object, here);
    if (!parameters) return tl::unexpected(parameters.error());
    ondemand::value data;
    const auto absent = object["data"].get(data);
    if (absent != simdjson::SUCCESS && absent != simdjson::NO_SUCH_FIELD)
      return broken_json(absent);
    const bool has_data = absent == simdjson::SUCCESS;
    if (has_data == parameters->binary_data_size.has_value()) {
      return wrong(fmt::format("{} needs either 'data' or parameters.binary_data_size", here));
    }
    if (parameters->binary_data_size) {
      return take_binary(static_cast<std::size_t>(*parameters->binary_data_size), count, tensor,
                         here);
    }
    if (auto done = read_json_elements(data, count, tensor); !done) {
      return wrong(fmt::format("{}.data {}", here, done.error().message));
    }
    return {};
  }

  Result<void> take_binary(std::size_t size, std::int64_t count, Tensor& tensor,
                           const std::string& here) {
    if (!has_binary_part_) {
      return wrong(
          fmt::format("{} has binary data, but the request has no "
                      "Inference-Header-Content-Length field",
                      here));
    }
    if (size > binary_.size()) {
      return wrong(fmt::format("{}.parameters.binary_data_size is {}, the body has {} bytes left",
                               here, size, binary_.size()));
    }
    const std::string_view taken = binary_.substr(0, size);
    binary_.remove_prefix(size);
    if (tensor.type == DataType::bytes) return take_binary_strings(taken, count, tensor, here);
    const std::size_t wanted = static_cast<std::size_t>(count) * element_bytes(tensor.type);
    if (size != wanted) {
      return wrong(fmt::format("{}.parameters.binary_data_size is {}, shape {} of {} needs {}",
                               here, size, shape_text(tensor.shape), to_text(tensor.type), wanted));
    }
    const auto* first = reinterpret_cast<const std::byte*>(taken.data());
    const bool aligned = reinterpret_cast<std::uintptr_t>(first) % element_bytes(tensor.type) == 0;
    if (aligned && tensor.type != DataType::boolean) {
      tensor.elements = {first, size};
      return {};
    }
    tensor.storage.assign(first, first + size);
    if (tensor.type == DataType::boolean) {
      // Kernels may count on 0 and 1; any other byte would be undefined behaviour in them.
      for (std::byte& element : tensor.storage) element = std::byte{element != std::byte{0}};
    }
    tensor.elements = tensor.storage;
    return {};
  }

  /// Each string: its length in 4 bytes, little-endian, then its bytes.
  static Result<void> take_binary_strings(std::string_view bytes, std::int64_t count,
                                          Tensor& tensor, const std::string& here) {
    while (!bytes.empty() && std::ssize(tensor.strings) < count) {
      std::uint32_t length = 0;
      if (bytes.size() < sizeof length) break;
      std::memcpy(&length, bytes.data(), sizeof length);
      bytes.remove_prefix(sizeof length);
      if (length > bytes.size()) {
        return wrong(fmt::format("{}: string {} has {} bytes, its binary data ends after {}", here,
                                 tensor.strings.size(), length, bytes.size()));
      }
      tensor.strings.emplace_back(bytes.substr(0, length));
      bytes.remove_prefix(length);
    }
    if (bytes.empty() && std::ssize(tensor.strings) == count) return {};
    return wrong(
        fmt::format("{}: binary data holds {} strings and {} more bytes, shape {} needs {} "
                    "strings",
                    here, tensor.strings.size(), bytes.size(), shape_text(tensor.shape), count));
  }

  Result<void> read_outputs(ondemand::value value) {
    ondemand::array array;
    if (value.get_array().get(array)) return wrong("'outputs' must be an array");
    std::size_t index = 0;
    for (auto item : array) {
      const std::string where = fmt::format("outputs[{}]", index++);
      ondemand::object object;
      if (item.get_object().get(object)) return wrong(where + " must be an object");
      const Result<std::string_view> name = read_text(object, "name", where);
      if (!name) return tl::unexpected(name.error());
      const std::optional<std::size_t> position = index_of(*name, model_.outputs);
      if (!position) {
        return wrong(fmt::format("{} '{}' is not an output of the model{}", where, *name,
                                 known_names(*name, model_.outputs)));
      }
      const Result<Parameters> parameters = find_parameters(object, where);
      if (!parameters) return tl::unexpected(parameters.error());
      const bool again =
          std::ranges::any_of(wishes_, [&](const Wish& wish) { return wish.output == *position; });
      if (again) return wrong(fmt::format("{} '{}' is given twice", where, *name));
      wishes_.push_back({*position, parameters->binary_data});
    }
    return {};
  }

  /// All outputs when none is named; `binary` where an output does not say itself.
  void settle_outputs(bool binary) {
    for (const Wish& wish : wishes_) {
      request_.outputs.push_back({wish.output, wish.binary.value_or(binary)});
    }
    if (!wishes_.empty()) return;
    for (std::size_t i = 0; i < model_.outputs.size(); ++i) request_.outputs.push_back({i, binary});
  }

  Result<void> check_whole() const {
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (given_[i]) continue;
      const TensorSpec& spec = model_.inputs[i];
      return wrong(fmt::format("input '{}' is missing: the model wants {} {}", spec.name,
                               to_text(spec.type), shape_text(declared_shape(spec))));
    }
    if (binary_.empty()) return {};
    return wrong(fmt::format("the body has {} bytes of binary data that no input asked for",
                             binary_.size()));
  }

  struct Wish {
    std::size_t output = 0;
    std::optional<bool> binary;
  };

  const std::string_view json_;
  std::string_view binary_;  // what is left of it
  const bool has_binary_part_;
  const ModelSignature& model_;
  std::vector<bool> given_;
  std::vector<Wish> wishes_;
  InferRequest request_;
};

}  // namespace

Result<InferRequest> parse_infer_request(std::string_view body,
                                         std::optional<std::size_t> json_bytes,
                                         const ModelSignature& model) {
  if (json_bytes && *json_bytes > body.size()) {
    return wrong(fmt::format("Inference-Header-Content-Length is {}, the body has {} bytes",
                             *json_bytes, body.size()));
  }
  const std::size_t split = json_bytes.value_or(body.size());
  return RequestReader(body.substr(0, split), body.substr(split), json_bytes.has_value(), model)
      .read();
}

Result<std::size_t> parse_json_bytes(std::string_view field_value) {
  std::size_t bytes = 0;
  const char* const end = field_value.data() + field_value.size();
  const auto [rest, code] = std::from_chars(field_value.data(), end, bytes);
  if (code != std::errc{} || rest != end) {
    return wrong("Inference-Header-Content-Length must be a number of bytes");
  }
  return bytes;
}

}  // namespace stoker::worker::onnx
