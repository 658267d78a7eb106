// openai for Node.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { CAPITAL, KEY, LIMITED_KEY, LONG, MODEL, URL, V1, abandoned, check, main, rejection } from "./checks.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY, maxRetries: 0 });
const asked = { model: MODEL, messages: CAPITAL, max_tokens: 64, temperature: 0 };
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 30 } },
  required: ["city"],
  additionalProperties: false,
};

check("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes(MODEL));
});

check("chat", async () => {
  const answer = await client.chat.completions.create(asked);
  assert.match(answer.choices[0].message.content, /Paris/);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

check("stream", async () => {
  const whole = await client.chat.completions.create(asked);
  const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(final.usage.completion_tokens, whole.usage.completion_tokens);
});

check("tools", async () => {
  const answer = await client.chat.completions.create({
    ...asked,
    tools: [{ type: "function", function: { name: "weather", parameters } }],
    tool_choice: { type: "function", function: { name: "weather" } },
  });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
});

check("structured_output", async () => {
  const format = { type: "json_schema", json_schema: { name: "city", strict: true, schema: parameters } };
  const answer = await client.chat.completions.parse({ ...asked, response_format: format });
  assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ["city"]);
});

check("embeddings", async () => {
  const { data } = await client.embeddings.create({ model: MODEL, input: ["rain", "rain"] });
  const norm = data[0].embedding.reduce((sum, x) => sum + x * x, 0);
  assert.equal(data[0].embedding.length, 576);
  assert.ok(Math.abs(norm - 1) < 1e-3, `${norm}`);
  assert.deepEqual(data[0].embedding, data[1].embedding);
});

check("responses", async () => {
  const question = { model: MODEL, input: CAPITAL[0].content, max_output_tokens: 32, temperature: 0 };
  const response = await client.responses.create(question);
  assert.match(response.output_text, /Paris/);
  const final = await client.responses.stream(question).finalResponse();
  assert.equal(final.output[0].content[0].text, response.output_text);
});

check("errors", async () => {
  const unknown = await rejection(client.chat.completions.create({ ...asked, model: "gpt-7" }));
  assert.ok(unknown instanceof OpenAI.NotFoundError);
  const bad = await rejection(client.chat.completions.create({ ...asked, temperature: 3 }));
  assert.ok(bad instanceof OpenAI.BadRequestError && bad.param === "temperature");
});

check("retries", async () => {
  const body = { model: MODEL, prompt: "x", max_tokens: LONG, ignore_eos: true, stream: true };
  const abort = new AbortController();
  const headers = { authorization: `Bearer ${LIMITED_KEY}`, "content-type": "application/json" };
  const options = { method: "POST", body: JSON.stringify(body), headers, signal: abort.signal };
  const busy = await fetch(`${URL}/v1/completions`, options);
  assert.equal(busy.status, 200);
  setTimeout(() => abort.abort(), 1500);
  const limited = client.withOptions({ apiKey: LIMITED_KEY });
  assert.ok((await rejection(limited.chat.completions.create(asked))) instanceof OpenAI.RateLimitError);
  const answer = await limited.chat.completions.create(asked, { maxRetries: 5 });
  assert.match(answer.choices[0].message.content, /Paris/);
});

check("leaving", async () => {
  await abandoned(async () => {
    const stream = await client.chat.completions.create({ ...asked, max_tokens: LONG, ignore_eos: true, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
  });
});

await main();
