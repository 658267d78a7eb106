// Codex, with a short prompt of its own and without what the server would have to run.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { agent } from "./agents.mjs";
import { KEY, MODEL, V1, check, main } from "./checks.mjs";

const CONFIG = `
model = "${MODEL}"
model_provider = "here"
model_instructions_file = "${process.cwd()}/brief.md"
web_search = "disabled"
include_permissions_instructions = false
include_environment_context = false
check_for_update_on_startup = false
[features]
multi_agent = false
goals = false
[analytics]
enabled = false
[model_providers.here]
name = "here"
base_url = "${V1}"
wire_api = "responses"
env_key = "HERE_KEY"
request_max_retries = 0
stream_max_retries = 0
`;
mkdirSync(".codex");
writeFileSync(".codex/config.toml", CONFIG);
writeFileSync("brief.md", "You are a helpful assistant.");

check("exec", async () => {
  const args = ["exec", "--skip-git-repo-check", "What is the capital of France?"];
  const said = await agent("codex", args, { HERE_KEY: KEY }, /max_output_tokens/);
  assert.ok(said.trim());
});

await main();
