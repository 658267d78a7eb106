// Claude Code, with a short prompt of its own.
import assert from "node:assert/strict";
import { agent } from "./agents.mjs";
import { KEY, MODEL, URL, check, main } from "./checks.mjs";

check("print", async () => {
  const environment = {
    ANTHROPIC_BASE_URL: URL,
    ANTHROPIC_API_KEY: KEY,
    ANTHROPIC_MODEL: MODEL,
    ANTHROPIC_SMALL_FAST_MODEL: MODEL,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    CLAUDE_CODE_MAX_OUTPUT_TOKENS: "64",
  };
  const args = ["-p", "What is the capital of France?", "--system-prompt", "Be brief.", "--tools", ""];
  const said = await agent("claude", args, environment, /exceeded the \d+ output token maximum/);
  assert.ok(said.trim());
});

await main();
