#include "config/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "base/invariant.h"
#include "base/json_writer.h"
#include "config/key.h"
#include "config/runtime_options.h"
#include "config/tables.h"

namespace stoker::config {
namespace {

constexpr std::string_view example_name = "example";
constexpr std::string_view no_effect = "Has no effect yet in this version";

// ---- schema -----------------------------------------------------------------------------------

/// Needs: YAML of a default.
std::string as_json(std::string_view yaml) {
  std::vector<Problem> problems;
  const std::optional<YamlNode> node = parse_yaml(yaml, {}, problems);
  STOKER_INVARIANT(node.has_value(), "default '{}'", yaml);
  return to_json(*node, {}, {}, problems).value_or("null");
}

void write_schema(JsonWriter& json, const KeyInfo& key);

void write_properties(JsonWriter& json, const std::vector<KeyInfo>& keys) {
  json.object("properties", [&] {
    for (const KeyInfo& key : keys) {
      json.key(key.name);
      write_schema(json, key);
      for (const Alias& alias : key.aliases) {
        json.object(alias.name, [&] {
          json.field("description", fmt::format("Spelling of {}", key.name));
          if (key.nesting != Nesting::value)
            json.array("type", [&] {
              json.value("object");
              json.value("null");
            });
        });
      }
    }
  });
  json.field("additionalProperties", false);
}

void write_block(JsonWriter& json, const std::vector<KeyInfo>& keys) {
  json.object([&] {
    json.raw_field("type", R"(["object","null"])");
    write_properties(json, keys);
  });
}

void write_schema(JsonWriter& json, const KeyInfo& key) {
  json.object([&] {
    std::string description(key.doc);
    if (key.effect == Effect::later) description += fmt::format(". {}", no_effect);
    json.field("description", description);
    switch (key.nesting) {
      case Nesting::value:
        json.array("anyOf", [&] {
          json.raw(key.schema);
          json.raw(R"({"$ref":"#/$defs/macro"})");
        });
        json.raw_field("default", as_json(to_flow(key.initial)));
        return;
      case Nesting::block:
        json.raw_field("type", R"(["object","null"])");
        write_properties(json, key.children);
        return;
      case Nesting::list_of_blocks:
        json.array("anyOf", [&] {
          if (key.initial.line == "auto") json.raw(R"({"const":"auto"})");
          json.object([&] {
            json.field("type", "array");
            json.key("items");
            write_block(json, key.children);
          });
        });
        return;
      case Nesting::map_of_blocks:
        json.raw_field("type", R"(["object","null"])");
        json.key("additionalProperties");
        write_block(json, key.children);
        return;
    }
  });
}

// ---- reference --------------------------------------------------------------------------------

std::string initial_text(const KeyInfo& key) {
  if (key.nesting == Nesting::block || key.nesting == Nesting::map_of_blocks ||
      key.initial.is_map) {
    return {};
  }
  if (key.initial.line == yaml_null || key.initial.line == "\"\"") return "unset";
  return fmt::format("`{}`", key.initial.line);
}

void write_reference(std::string& out, const std::string& title, const std::vector<KeyInfo>& keys) {
  out += fmt::format("\n## {}\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title);
  const auto child_title = [&](const KeyInfo& key) {
    const std::string suffix = key.nesting == Nesting::list_of_blocks  ? "[]"
                               : key.nesting == Nesting::map_of_blocks ? ".NAME"
                                                                       : "";
    return fmt::format("{}{}{}", title == "The file" ? "" : title + ".", key.name, suffix);
  };
  for (const KeyInfo& key : keys) {
    std::string meaning(key.doc);
    if (!key.children.empty()) meaning += fmt::format("; see `{}` below", child_title(key));
    if (key.effect == Effect::later) meaning += fmt::format(". *{}*", no_effect);
    out += fmt::format("| `{}` | {} | {} | {} |\n", key.name, key.type, initial_text(key), meaning);
  }
  for (const KeyInfo& key : keys) {
    if (!key.children.empty()) write_reference(out, child_title(key), key.children);
  }
}

std::string_view reading_text(Reading reading) {
  switch (reading) {
    case Reading::as_written:
      return "";
    case Reading::seconds:
      return "a number is seconds";
    case Reading::milliseconds:
      return "a number is milliseconds";
    case Reading::percent:
      return "a number is percent";
    case Reading::keep_alive:
      return "a number is seconds, a negative one `never`";
    case Reading::ttl:
      return "a number is seconds, 0 is `never`";
    case Reading::per_token:
      return "per token";
    case Reading::per_million:
      return "per 1,000,000 tokens";
  }
  return "";
}

void write_spellings(std::string& out, const std::string& prefix,
                     const std::vector<KeyInfo>& keys) {
  for (const KeyInfo& key : keys) {
    const std::string path =
        prefix.empty() ? std::string(key.name) : fmt::format("{}.{}", prefix, key.name);
    if (!key.aliases.empty()) {
      std::string names;
      for (const Alias& alias : key.aliases) {
        const std::string_view reading = reading_text(alias.reading);
        names += fmt::format("{}`{}`", names.empty() ? "" : ", ", alias.name);
        if (!reading.empty()) names += fmt::format(" ({})", reading);
      }
      out += fmt::format("| `{}` | {} |\n", path, names);
    }
    // Within a deployment, its name says nothing.
    write_spellings(out, key.nesting == Nesting::map_of_blocks ? "" : path, key.children);
  }
}

constexpr std::string_view reference_head = R"(# The configuration file

Generated from the key tables in `src/config/tables.cpp`; do not edit. `stoker check FILE` reports every problem of a
file at once, `stoker check --print` shows it with canonical keys and every default, `stoker check --schema` prints a JSON
Schema for your editor. `configs/example.yaml` holds every key.

Stoker reads the file named by `--config`, else by `STOKER_CONFIG`, else `./stoker.yaml`, else
`~/.config/stoker/stoker.yaml`. `--set deployments.chat.concurrency=2` overrides one setting.

Relative paths in the file mean the folder of the file, for every command and from whatever folder it is run: `state_dir`,
`model`, `readable`, a Unix socket as `listen`, and the paths in `command` and `options`. Those of `--set` and `--listen` mean
the working directory.

## Values

| value | write | not |
|---|---|---|
| duration | `300s`, `5m`, `5 minutes`, `1.5h`, `1h30m`, `0`, and `never` where it is allowed | `300`: it has no unit |
| size | `40GiB`, `40Gi` (powers of 1024), `40GB` (powers of 1000) | `40G`: it may mean either |
| percentage | `70%` | `70`, `0.7` |
| price | `$0.001`, `0.001`, `0.001 EUR`: at most nine decimals | a currency that is not `currency` |
| count | `10`; with its noun where it has one: `10 requests queued`, `2 instances` | `10.0` |
| true or false | `true`, `false` | `yes`, `on` |

`${env.NAME}` anywhere in a value is replaced by an environment variable, which must be set; `$${env.NAME}` is the
text itself. Quote it inside `{...}` and `[...]`. Values from variables never appear in messages.

Anchors, aliases (`*name`), tags and second documents are refused, and so are unknown and repeated keys and quoted texts
of several lines (write those with `|`).
)";

constexpr std::string_view options_head = R"(
## options

What `options` of a deployment takes depends on its runtime. A duration is here `"200ms"`, `"5 minutes"` or a number of
milliseconds; a size `"64MiB"` or a number of bytes.
)";

constexpr std::string_view engines_text = R"(
## Engines of your own

With `runtime: command` Stoker runs any HTTP server: `command: [./venv/bin/vllm, serve, "{model}", --port, "{port}"]`.

- `{port}` is a free port of 127.0.0.1 that the engine must listen on; it is in the variable `PORT` too. `{host}` is 127.0.0.1,
  `{model}` the `model`.
- The program, if it has a slash, and every argument that names something that exists become absolute paths; an argument
  without a slash must name a file for that (`web.py` does, a folder `serve` does not). A program without a slash is looked
  for in the worker's `PATH`, `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`.
- Requests name the deployment as their `model`. An engine that knows it by another name gets that from
  `served_model_name`.
- vLLM and SGLang reuse what they read of one prompt for the next that begins alike. They are sent a `cache_salt` for each
  tenant, so that nobody can tell from the time of an answer what others have asked; `cache_salt: on` does the same for
  another engine that knows the field, `off` for none. What goes through a WebSocket has none.
- It is ready when `health_path` answers 2xx, and has `limits.start_timeout` (15m unless you set it) for that. One that
  answers with something else than 2xx or 5xx has `limits.load_timeout`. `stoker ps` shows what it answers.
- In the sandbox it sees `/usr`, `/opt`, its program's installation, what its arguments name with the folder round it, its
  `model`, and what `readable` lists; it has no network but its own loopback unless `network: true`. A server without a
  sandbox (`stoker doctor` says so) hides nothing.

Folder, environment and visible files in full: [the worker contract](../worker-contract.md#foreign-engines-stoker-worker-exec).
)";

void write_options(std::string& out) {
  out += options_head;
  for (const Runtime runtime :
       {Runtime::llama_cpp, Runtime::onnx, Runtime::command, Runtime::echo}) {
    out += fmt::format(
        "\n### runtime: {}\n\n| option | value | default | meaning |\n|---|---|---|---|\n",
        runtime_name(runtime));
    for (const OptionInfo& option : options_of(runtime)) {
      out += fmt::format("| `{}` | {} | {} | {} |\n", option.name, type_text(option),
                         option.initial, option.doc);
    }
  }
}

constexpr std::string_view spellings_head = R"(
## Other spellings

Names that users of other systems know are taken as what they are. A setting that is given twice, under two spellings,
must have one value.

| key | other spellings |
|---|---|
)";

// ---- example ----------------------------------------------------------------------------------

void write_comment(std::string& out, const std::string& indent, const KeyInfo& key) {
  std::string text(key.doc);
  text += fmt::format(" [{}]", key.type);
  if (key.effect == Effect::later) text += fmt::format(". {}", no_effect);
  const std::size_t width = 98 - indent.size();
  while (!text.empty()) {
    std::size_t end = text.size();
    if (end > width) {
      end = text.rfind(' ', width);
      if (end == std::string::npos) end = text.size();
    }
    out += fmt::format("{}# {}\n", indent, text.substr(0, end));
    text.erase(0, std::min(end + 1, text.size()));
  }
}

void write_example(std::string& out, std::size_t level, const std::vector<KeyInfo>& keys) {
  const std::string indent(level * 2, ' ');
  for (const KeyInfo& key : keys) {
    if (level == 0 || key.nesting == Nesting::block) out += '\n';
    write_comment(out, indent, key);
    out += fmt::format("{}{}:", indent, key.name);
    if (key.nesting == Nesting::block) {
      out += '\n';
      write_example(out, level + 1, key.children);
    } else if (key.nesting == Nesting::map_of_blocks) {
      out +=
          fmt::format("\n{}  {}:\n", indent, key.name == "tenants" ? default_tenant : example_name);
      write_example(out, level + 2, key.children);
    } else {
      out += ' ' + to_flow(key.initial) + '\n';
    }
  }
}

constexpr std::string_view example_head =
    R"(# Every setting of Stoker at its default. Generated from src/config/tables.cpp; a test compares.
# Copy what you change; leave the rest out. Meaning of the values: docs/reference/config.md
)";

/// The settings without which the example could not be: they have no default, or not this one.
void choose_for_example(std::vector<KeyInfo>& server) {
  const auto deployments = std::ranges::find(server, "deployments", &KeyInfo::name);
  const auto runtime = std::ranges::find(deployments->children, "runtime", &KeyInfo::name);
  runtime->initial.line = runtime_name(Runtime::echo);
}

}  // namespace

std::string schema() {
  JsonWriter json;
  json.object([&] {
    json.field("$schema", "https://json-schema.org/draft/2020-12/schema");
    json.field("title", "Stoker configuration");
    json.field("type", "object");
    json.raw_field("$defs", R"({"macro":{"type":"string","pattern":"\\$\\{env\\."}})");
    write_properties(json, infos_of(server_table()));
  });
  return json.take();
}

std::string reference_markdown() {
  const std::vector<KeyInfo> server = infos_of(server_table());
  std::string out(reference_head);
  write_reference(out, "The file", server);
  write_options(out);
  out += engines_text;
  out += spellings_head;
  write_spellings(out, "", server);
  return out;
}

std::string example_yaml() {
  std::vector<KeyInfo> server = infos_of(server_table());
  choose_for_example(server);
  std::string out(example_head);
  write_example(out, 0, server);
  return out;
}

}  // namespace stoker::config
