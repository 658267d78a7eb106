// The AI SDK, by its provider for compatible servers.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";
import { CAPITAL, KEY, LONG, MODEL, V1, abandoned, check, main, rejection } from "./checks.mjs";

const provider = createOpenAICompatible({
  name: "redline",
  baseURL: V1,
  apiKey: KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(MODEL);
const asked = { model, prompt: CAPITAL[0].content, maxOutputTokens: 64, temperature: 0, maxRetries: 0 };

check("generate_text", async () => {
  const { text, usage, finishReason } = await generateText(asked);
  assert.match(text, /Paris/);
  assert.equal(finishReason, "stop");
  assert.ok(usage.inputTokens > 20 && usage.outputTokens > 3);
});

check("stream_text", async () => {
  const whole = await generateText(asked);
  const stream = streamText(asked);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  assert.equal(text, whole.text);
  assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
});

check("generate_object", async () => {
  const schema = z.object({ name: z.string().max(30), size: z.enum(["small", "large"]) });
  const { object } = await generateObject({ ...asked, schema });
  assert.ok(object.name && ["small", "large"].includes(object.size));
});

check("tools", async () => {
  const weather = tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string().max(30) }),
    execute: async ({ city }) => `rain in ${city}`,
  });
  const toolChoice = { type: "tool", toolName: "weather" };
  const { toolCalls, toolResults } = await generateText({ ...asked, tools: { weather }, toolChoice });
  assert.equal(toolCalls[0].toolName, "weather");
  assert.equal(toolResults[0].output, `rain in ${toolCalls[0].input.city}`);
});

check("embed", async () => {
  const { embedding } = await embed({ model: provider.embeddingModel(MODEL), value: "rain" });
  assert.equal(embedding.length, 576);
});

check("errors", async () => {
  const unknown = await rejection(generateText({ ...asked, model: provider("gpt-7") }));
  assert.ok(APICallError.isInstance(unknown) && unknown.statusCode === 404 && !unknown.isRetryable);
  const bad = await rejection(generateText({ ...asked, temperature: 3 }));
  assert.ok(APICallError.isInstance(bad) && bad.statusCode === 400);
});

check("leaving", async () => {
  await abandoned(async () => {
    const abort = new AbortController();
    const stream = streamText({
      ...asked,
      prompt: "Write a long story about a river. ".repeat(3),
      maxOutputTokens: LONG,
      abortSignal: abort.signal,
    });
    for await (const _ of stream.textStream) break;
    abort.abort();
  });
});

await main();
