// The OpenAPI document of a running server, and answers held against it.
import assert from 'node:assert/strict';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const isMethod = (name) => ['get', 'post', 'put', 'patch', 'delete'].includes(name);
/// JSON pointer of a place in the document.
const pointer = (...parts) => `#/${parts.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/')}`;

export class ApiDocument {
  /// Fetched as any client would; the document itself is checked by its own schema.
  static async of(stoker) {
    const answer = await fetch(`${stoker.url}/openapi.json`);
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('content-type'), /^application\/json/);
    const document = await answer.json();
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors, null, 1));
    return new ApiDocument(document);
  }

  constructor(document) {
    this.document = document;
    // Strict: a keyword that is none, a type that is missing, is a mistake of ours.
    this.ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
    addFormats(this.ajv);
    this.ajv.addVocabulary(Object.keys(document));
    this.ajv.addSchema(document, 'api');
    /// "GET /healthz" -> the statuses that were seen.
    this.seen = new Map();
    this.operations = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item).filter(isMethod).map((method) => ({ path, method, name: `${method.toUpperCase()} ${path}` })));
  }

  /// What a reference leads to, with where that is.
  resolve(place) {
    let at = place;
    for (;;) {
      let here = this.document;
      for (const part of at.slice(2).split('/')) {
        here = here?.[decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')];
      }
      assert.ok(here !== undefined, `${place} leads to nothing`);
      if (here.$ref === undefined) return { value: here, at };
      at = here.$ref;
    }
  }

  check(schemaAt, value, what) {
    const validate = this.ajv.getSchema(`api${schemaAt}`);
    assert.ok(validate, `no schema at ${schemaAt}`);
    if (!validate(value)) {
      assert.fail(`${what}: ${this.ajv.errorsText(validate.errors)}\n${JSON.stringify(validate.errors, null, 1)}\n${JSON.stringify(value, null, 1)}`);
    }
  }
  /// Holds `value` against one of components/schemas.
  checkNamed(name, value) { this.check(pointer('components', 'schemas', name), value, name); }

  patternOf(path) {
    const parameters = (this.document.paths[path].parameters ?? []).map(({ $ref }) => this.resolve($ref).value);
    const part = (name) => (parameters.find((one) => one.name === name)['x-slashes'] ? '.*' : '[^/]+');
    return new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{([^}]+)\}/g, (_, name) => part(name))}$`);
  }

  /// The operation of a request: the path with the fewest parameters that fits, as the server tries them.
  find(method, target) {
    const path = target.split('?')[0];
    const fits = this.operations.filter((one) => one.method === method.toLowerCase() && this.patternOf(one.path).test(path));
    fits.sort((a, b) => (a.path.match(/\{/g) ?? []).length - (b.path.match(/\{/g) ?? []).length);
    assert.ok(fits.length > 0, `${method} ${path} is not in the document`);
    return fits[0];
  }

  /// Holds an answer against its operation: its status is named there, so are its content type and
  /// fields, and the body fits the schema. `answer`: {status, headers, text, json}.
  checkAnswer(method, target, answer) {
    const operation = this.find(method, target);
    const what = `${operation.name} -> ${answer.status}`;
    const statuses = this.document.paths[operation.path][operation.method].responses;
    assert.ok(statuses[answer.status], `${what} is not in the document: ${answer.text}`);
    const { value: response, at } = this.resolve(pointer('paths', operation.path, operation.method, 'responses', String(answer.status)));
    this.checkFields(response, at, answer, what);
    const type = (answer.headers['content-type'] ?? '').split(';')[0];
    if (response.content) {
      const media = type in response.content ? type : '*/*';
      assert.ok(response.content[media], `${what}: its type is '${type}'`);
      if (response.content[media].schema) {
        if (type === 'application/json') assert.notEqual(answer.json, undefined, `${what} is no JSON: ${answer.text}`);
        const body = type === 'application/json' ? answer.json : answer.text;
        this.check(this.narrowest(`${at}/content/${media.replaceAll('/', '~1')}/schema`, answer), body, what);
      }
    } else {
      assert.equal(answer.text, '', what);
    }
    if (!this.seen.has(operation.name)) this.seen.set(operation.name, new Set());
    this.seen.get(operation.name).add(answer.status);
    return answer;
  }

  /// Of what never ran an error is ours, so that "whatever the engine said" does not excuse it.
  narrowest(schemaAt, answer) {
    const { value: schema, at } = this.resolve(schemaAt);
    const mayBeTheEngines = schema.anyOf?.some(({ $ref }) => $ref === '#/components/schemas/EngineError');
    return mayBeTheEngines && answer.headers['x-stoker-start'] === undefined ? `${at}/anyOf/0` : schemaAt;
  }

  checkFields(response, at, answer, what) {
    const known = new Set(Object.keys(response.headers ?? {}).map((name) => name.toLowerCase()));
    for (const name of Object.keys(response.headers ?? {})) {
      const { value: header, at: headerAt } = this.resolve(`${at}/headers/${name}`);
      const text = answer.headers[name.toLowerCase()];
      assert.ok(text !== undefined || !header.required, `${what}: no ${name}`);
      if (text === undefined) continue;
      this.check(`${headerAt}/schema`, header.schema.type === 'integer' ? Number(text) : text, `${what}, ${name}`);
    }
    for (const name of Object.keys(answer.headers)) {
      const ours = /^(x-stoker-|x-request-id|request-id|retry-after|etag|location|preference-applied|idempotent-)/.test(name);
      assert.ok(!ours || known.has(name), `${what}: ${name} is not in the document`);
    }
  }
}
